/* How weights lie (kernels/layout.h), chosen by the time of whole steps: the plan sleeps and wakes anew for every layout, with kernel parameters that won
 * for the old one where they are right for the new. */
#ifndef KOI_LAYOUTS_H
#define KOI_LAYOUTS_H
#include "contest.h"
#include "drive.h"
#include "steps.h"

/* Seconds that the layouts will take together, when a token and a prefill take so long. */
double koi_layouts_s(const koi_drive *v, double token_s, double prefill_s);
/* Every layout that was not given up before, until deadline_ns of koi_now_ns, in between the one that is there, which is timed before and after. A
 * winner goes to the log, and the plan is awake with it; else it is awake as before. After a failure it may be asleep. lost, told: as elsewhere. */
koine_status koi_layouts_tune(koi_drive *v, uint64_t deadline_ns, koi_lost lost, bool (*told)(void *user, const char *what), void *user, koi_step_choice *out);
#endif
