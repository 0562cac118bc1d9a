/* Speeds from end to end, as lines of the log: what tuning is worth, and what the order of devices follows. */
#ifndef KOI_ENDS_H
#define KOI_ENDS_H
#include "device/tuned.h"
#include "drive.h"

/* A line for decode and one for prefill, from the speeds in turns. A disk that is full costs the keeping only. */
void koi_ends_note(const koi_device *d, const koi_drive *v, const koi_speed *before, const koi_speed *after);
/* The same where nothing won and nothing was compared: one step of each, as it is. */
koine_status koi_ends_plain(const koi_device *d, koi_drive *v);
/* What the device reads from memory, where the log says nothing of it yet: the roof of the report. */
void koi_ends_read(const koi_device *d, double bytes_per_s);
#endif
