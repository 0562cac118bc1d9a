/* koine_tune and koine_tuned_*: check arguments, call. */
#include "base/record.h"
#include "device/tuned_text.h"
#include "engine/stage.h"
#include "tune/report.h"
#include "tune/tune.h"

enum { DEFAULT_SECONDS = 60 };

koine_status koine_tune(koine_plan *plan, const koine_tune_options *options, koine_progress_fn *progress, void *user, char **report)
{
  if (!plan || !report) return koi_missing("koine_tune");
  koine_tune_options own;
  koi_text t = {0};
  koine_status s = KOI_TAKE(koine_tune_options, options, &own);
  if (!s) s = koi_flags("koine_tune", own.flags, KOINE_TUNE_AFTER_CRASH | KOINE_TUNE_AFTER_HANG);
  if (!s) s = koi_engine_need(plan);
  if (s) return s;
  koi_lost lost = own.flags & KOINE_TUNE_AFTER_HANG ? KOI_LOST_HUNG : own.flags & KOINE_TUNE_AFTER_CRASH ? KOI_LOST_CRASHED : KOI_LOST_NOTHING;
  s = koi_tune(plan, own.seconds ? own.seconds : DEFAULT_SECONDS, lost, progress, user, &t);
  if (!s) return koi_text_take(&t, report);
  koi_free(t.s);
  return s;
}

/* ---- what was measured ---- */
koine_status koine_tuned_list(koine_runtime *runtime, const char *device, bool json, char **out)
{
  size_t i = 0;
  if (!runtime || !out) return koi_missing("koine_tuned_list");
  koine_status s = device ? koi_runtime_find(runtime, device, &i) : KOINE_OK;
  return s ? s : koi_tuned_list(runtime, i, device ? i + 1 : runtime->n_endpoints, json, out);
}

koine_status koine_tuned_why(koine_runtime *runtime, const char *device, const char *op, bool json, char **out)
{
  size_t i;
  if (!runtime || !op || !out) return koi_missing("koine_tuned_why");
  koine_status s = koi_runtime_find(runtime, device, &i);
  return s ? s : koi_tuned_why(runtime, i, op, json, out);
}

koine_status koine_tuned_export(koine_runtime *runtime, const char *device, char **out, size_t *n_bytes)
{
  size_t i = 0;
  if (!runtime || !out || !n_bytes) return koi_missing("koine_tuned_export");
  koine_status s = device ? koi_runtime_find(runtime, device, &i) : KOINE_OK;
  return s ? s : koi_tuned_export(runtime, device ? &runtime->endpoints[i] : NULL, out, n_bytes);
}

koine_status koine_tuned_import(koine_runtime *runtime, const char *name, const char *text, size_t n_bytes, char **report)
{
  if (!runtime || !name || (!text && n_bytes) || !report) return koi_missing("koine_tuned_import");
  return koi_tuned_import(runtime, name, text ? text : "", n_bytes, report);
}

koine_status koine_tuned_report(koine_runtime *runtime, const char *device, char **html)
{
  size_t i;
  if (!runtime || !html) return koi_missing("koine_tuned_report");
  koine_status s = koi_runtime_find(runtime, device, &i);
  return s ? s : koi_report_html(runtime, i, html);
}
