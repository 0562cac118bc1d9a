/* The public functions for models, plans and sessions: check arguments, call. Those of the machine are in device/machine.c, those of
 * text in api_text.c, checks and measurements in known_answer.c and bench.c. */
#include "plan/plan.h"
#include "device/machine.h"
#include "engine/session.h"

/* PACKAGE_VERSION comes from configure. */
const char *koine_version(void) { return PACKAGE_VERSION; }
const char *koine_last_error(void) { return koi_error_text(); }
void koine_text_free(char *text) { koi_free(text); }
void koine_ids_free(int32_t *ids) { koi_free(ids); }
void koine_log_set(koine_log_fn *fn, void *user) { koi_log_set(fn, user); }

static koine_status missing(const char *what) { return koi_error(KOINE_ERR_ARG, "%s: NULL, expected an object", what); }

/* Option structs begin with their size: a caller built against a shorter one is refused rather than read past its end. */
static koine_status check_size(const size_t *size, size_t wanted, const char *what)
{
  if (!size || *size == wanted) return KOINE_OK;
  return koi_error(KOINE_ERR_ARG, "%s: size %zu, expected %zu (set .size to sizeof the struct)", what, *size, wanted);
}

/* ---- model ---- */
koine_status koine_model_open(const char *path, koine_model **out)
{
  return path && out ? koi_model_open(path, out) : missing("koine_model_open");
}

koine_status koine_model_synthetic(const koine_shape *shape, koine_model **out)
{
  if (!shape || !out) return missing("koine_model_synthetic");
  koine_status s = check_size(&shape->size, sizeof *shape, "koine_shape");
  return s ? s : koi_model_synthetic(shape, out);
}

void koine_model_close(koine_model *model) { koi_model_close(model); }

koine_status koine_model_get_info(const koine_model *model, koine_model_info *out)
{
  return model && out ? koi_model_get_info(model, out) : missing("koine_model_get_info");
}

koine_status koine_model_describe(const koine_model *model, const uint64_t *contexts, size_t n_contexts, bool json, char **out)
{
  if (!model || !out || (n_contexts && !contexts)) return missing("koine_model_describe");
  return koi_model_describe(model, contexts, n_contexts, koi_plan_usual_scratch(model, KOI_DEFAULT_CHUNK), json, out);
}

/* ---- plan ---- */
koine_status koine_plan_make(koine_runtime *runtime, koine_model *model, const koine_plan_options *options, koine_plan **out)
{
  if (!runtime || !model || !out) return missing("koine_plan_make");
  size_t i;
  koine_status s = check_size(options ? &options->size : NULL, sizeof *options, "koine_plan_options");
  if (!s) s = koi_runtime_find(runtime, options ? options->device : NULL, &i);
  koi_plan_wish wish = {.chunk = options ? options->chunk : 0};
  return s ? s : koi_plan_make(runtime, model, &runtime->endpoints[i], i, &wish, out);
}

koine_status koine_plan_describe(const koine_plan *plan, char **out) { return plan && out ? koi_plan_text(plan, out) : missing("koine_plan_describe"); }

koine_status koine_plan_wake(koine_plan *plan, koine_progress_fn *progress, void *user)
{
  if (!plan) return missing("koine_plan_wake");
  return plan->awake ? KOINE_OK : koi_engine_wake(plan, progress, user);
}

void koine_plan_sleep(koine_plan *plan)
{
  if (plan) koi_engine_sleep(plan);
}

void koine_plan_free(koine_plan *plan)
{
  koine_plan_sleep(plan);
  koi_plan_free(plan);
}

koine_status koine_plan_get_usage(const koine_plan *plan, koine_plan_usage *out)
{
  if (!plan || !out) return missing("koine_plan_get_usage");
  const koi_plan_stage *s = &plan->stages[0];
  *out = (koine_plan_usage){.weight_bytes = s->bytes.weights, .scratch_bytes = s->bytes.scratch, .wake_ns = plan->wake_ns};
  if (!plan->awake) return KOINE_OK;
  const koi_stage *st = koi_engine_stage(plan);
  out->weight_bytes = st->at.laid->bytes, out->weight_bytes_per_token = st->at.laid->bytes_per_token;
  out->scratch_bytes = st->scratch_bytes + st->dev->gemm_bytes;
  return KOINE_OK;
}

/* ---- session ---- */
koine_status koine_session_open(koine_plan *plan, const koine_session_options *options, koine_session **out)
{
  if (!plan || !out) return missing("koine_session_open");
  koine_status s = check_size(options ? &options->size : NULL, sizeof *options, "koine_session_options");
  if (s) return s;
  return plan->awake ? koi_session_open(plan, options, out) : koi_error(KOINE_ERR_ARG, "the plan is asleep: call koine_plan_wake first");
}

void koine_session_close(koine_session *session) { koi_session_close(session); }

/* Logits that are no numbers are no result: the op that made the first one is named. */
static koine_status check_logits(koine_session *session, const float *logits, size_t n_rows)
{
  size_t n = n_rows * session->plan->model->config.n_vocab, i = 0;
  while (i < n && logits[i] == logits[i]) i++;
  return i < n ? koi_session_explain_nan(session) : KOINE_OK;
}

koine_status koine_session_eval(koine_session *session, const int32_t *tokens, size_t n_tokens, const koine_eval_options *options, float *logits)
{
  if (!session || (n_tokens && !tokens)) return missing("koine_session_eval");
  koine_status s = check_size(options ? &options->size : NULL, sizeof *options, "koine_eval_options");
  if (s) return s;
  atomic_store(&session->cancelled, false);
  s = koi_session_eval(session, tokens, n_tokens, options, logits);
  return s ? s : check_logits(session, logits, options ? options->n_logits : 1);
}

void koine_session_cancel(koine_session *session)
{
  if (session) atomic_store(&session->cancelled, true);
}

size_t koine_session_n_held(const koine_session *session) { return session ? session->n_held : 0; }

koine_status koine_session_get_stats(const koine_session *session, koine_session_stats *out)
{
  if (!session || !out) return missing("koine_session_get_stats");
  koi_session_get_stats(session, out);
  return KOINE_OK;
}
