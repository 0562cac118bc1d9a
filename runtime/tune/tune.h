/* Tuning an awake plan: which parameters matter, a contest for each, and what it is worth from end to end. */
#ifndef KOI_TUNE_H
#define KOI_TUNE_H
#include "contest.h"
#include "plan/plan.h"

/* About `seconds` in all; half goes to decode, half to prefill, within these by the measured share of a step. Winners go to the log, and this
 * plan uses them from now on. lost: as koi_contest has it. *report: a table, and the speeds before and after. KOINE_ERR_STATE where nothing
 * could be kept; KOINE_ERR_CANCELLED keeps what was found until then. */
koine_status koi_tune(koine_plan *p, double seconds, koi_lost lost, koine_progress_fn *progress, void *user, koi_text *report);
#endif
