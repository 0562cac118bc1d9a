/* koine_tune: checks arguments, calls. */
#include "base/record.h"
#include "tune/tune.h"

enum { DEFAULT_SECONDS = 60 };

koine_status koine_tune(koine_plan *plan, const koine_tune_options *options, koine_progress_fn *progress, void *user, char **report)
{
  if (!plan || !report) return koi_error(KOINE_ERR_ARG, "koine_tune: an argument is missing");
  koine_tune_options own;
  koi_text t = {0};
  koine_status s = KOI_TAKE(koine_tune_options, options, &own);
  if (s) return s;
  if (!plan->awake) return koi_error(KOINE_ERR_STATE, "the plan is asleep: call koine_plan_wake first");
  koi_lost lost = own.flags & KOINE_TUNE_AFTER_HANG ? KOI_LOST_HUNG : own.flags & KOINE_TUNE_AFTER_CRASH ? KOI_LOST_CRASHED : KOI_LOST_NOTHING;
  s = koi_tune(plan, own.seconds ? own.seconds : DEFAULT_SECONDS, lost, progress, user, &t);
  if (!s) return koi_text_take(&t, report);
  koi_free(t.s);
  return s;
}
