/* What the log says of one trial, whose start it has, so that what ends the process is not tried for ever. */
#ifndef KOI_TRIED_H
#define KOI_TRIED_H
#include "contest.h"
#include "device/tuned.h"

/* A line to the log; a disk that is full costs the keeping only. */
void koi_tried_note(const koi_device *d, const koi_tuned_line *l);
/* Whether op, constants and parameters of `what` were wrong or ended the process, perhaps twice; the log has a line then that says so. */
bool koi_tried_given_up(const koi_device *d, const koi_tuned_line *what, koi_lost lost);
#endif
