/* The public functions for models, plans and sessions: check arguments, call. Other files of this folder have the rest, by the parts of koine.h. */
#include "base/record.h"
#include "plan/plan.h"
#include "device/machine.h"
#include "engine/saved.h"
#include "placing.h"

/* PACKAGE_VERSION comes from configure. */
const char *koine_version(void) { return PACKAGE_VERSION; }
const char *koine_last_error(void) { return koi_error_text(); }
void koine_text_free(char *text) { koi_free(text); }
void koine_ids_free(int32_t *ids) { koi_free(ids); }
int koine_version_number(void) { return KOINE_VERSION_NUMBER; }
void koine_log_set(koine_log_fn *fn, void *user) { koi_log_set(fn, user); }
void koine_log_set_areas(unsigned areas, koine_log_level least) { koi_log_level(areas, least); }
koine_log_area koine_log_area_now(void) { return koi_log_area(); }

const char *koine_status_text(koine_status status)
{
  static const char *const texts[] = {
    [-KOINE_OK] = "no error", [-KOINE_ERR_ARG] = "wrong argument", [-KOINE_ERR_FILE] = "bad file", [-KOINE_ERR_NO_DEVICE] = "no such device",
    [-KOINE_ERR_MEMORY] = "out of memory", [-KOINE_ERR_DEVICE] = "device failure", [-KOINE_ERR_CANCELLED] = "cancelled",
    [-KOINE_ERR_CHECK] = "check failed", [-KOINE_ERR_NUMERIC] = "not a number", [-KOINE_ERR_STATE] = "wrong state",
    [-KOINE_ERR_UNSUPPORTED] = "not supported",
  };
  return status <= 0 && status > -(int)KOI_COUNT(texts) ? texts[-status] : "unknown status";
}

/* ---- model ---- */
koine_status koine_model_open(const char *path, koine_model **out)
{
  return path && out ? koi_model_open(path, out) : koi_missing("koine_model_open");
}

koine_status koine_model_synthetic(const koine_shape *shape, koine_model **out)
{
  if (!shape || !out) return koi_missing("koine_model_synthetic");
  koine_shape own;
  koine_status s = KOI_TAKE(koine_shape, shape, &own);
  return s ? s : koi_model_synthetic(&own, out);
}

void koine_model_close(koine_model *model) { koi_model_close(model); }

koine_status koine_model_get_info(const koine_model *model, koine_model_info *out)
{
  if (!model || !out) return koi_missing("koine_model_get_info");
  koine_model_info own;
  koine_status s = koi_model_get_info(model, &own);
  if (!s) KOI_GIVE(koine_model_info, &own, out);
  return s;
}

koine_status koine_model_describe(const koine_model *model, const uint64_t *contexts, size_t n_contexts, bool json, char **out)
{
  if (!model || !out || (n_contexts && !contexts)) return koi_missing("koine_model_describe");
  return koi_model_describe(model, contexts, n_contexts, koi_plan_usual_scratch(model, KOI_DEFAULT_CHUNK), koi_plan_cache_bytes, json, out);
}

/* ---- plan ---- */
/* What does not fit whole may fit with routed experts that take turns; if not, the reason why it does not fit whole is the one to tell. */
static koine_status plan_by_turns(koine_runtime *runtime, koine_model *model, const koine_plan_options *o, koi_plan_wish *wish, koi_placement *place, koine_plan **out)
{
  enum { LONG = 1024 };
  char why[LONG];
  koi_print(why, sizeof why, "%s", koi_error_text());
  koine_status s = koi_placing_turns(runtime, model, o, place);
  wish->place = place;
  if (!s) s = koi_plan_make(runtime, model, NULL, 0, wish, out);
  if (s) return o->misses_on ? s : koi_error(KOINE_ERR_MEMORY, "%s", why); /* else it is the device for misses that does not hold them, say */
  koi_log(KOINE_LOG_WARNING, "%s; so routed experts take turns in the memory that is left, which is slower", why);
  return s;
}

static void warn_of_misses(const koine_plan *p, const char *device)
{
  bool any = false;
  for (size_t i = 0; i < p->n_stages; i++) any |= p->stages[i].experts && p->stages[i].experts->experts;
  if (!any) koi_log(KOINE_LOG_WARNING, "misses on %.80s: no routed experts come by turns in this plan, so that none is missed and the device has nothing to do", device);
}

koine_status koine_plan_make(koine_runtime *runtime, koine_model *model, const koine_plan_options *options, koine_plan **out)
{
  if (!runtime || !model || !out) return koi_missing("koine_plan_make");
  size_t i = 0;
  koine_plan_options own;
  koi_placement place = {0};
  const char *basis = NULL;
  koine_status s = KOI_TAKE(koine_plan_options, options, &own);
  if (!s && own.keep_layout > 1) s = koi_error(KOINE_ERR_UNSUPPORTED, "koine_plan_options: keep_layout is %u, expected 0 or 1", own.keep_layout);
  bool named = !s && (own.n_layers || own.n_experts || own.placement || own.n_expert_caches);
  if (named) s = koi_placing(runtime, model, &own, &place);
  else if (!s && !own.device) s = koi_placing_best(runtime, model, &own, &place, &basis);
  if (!s && own.n_expert_caches) s = koi_placing_caches(runtime, &own, &place);
  if (!s && own.misses_on) s = koi_placing_misses(runtime, &own, &place);
  if (!s && !place.n_stages && !named) s = koi_runtime_find(runtime, own.device, &i);
  if (s && (s != KOINE_ERR_MEMORY || named)) return koi_placement_free(&place), s;
  koi_plan_wish wish = {.chunk = own.chunk, .cache = own.cache, .context = own.context, .mark_bytes = own.mark_bytes, .memory_bytes = own.memory_bytes,
                        .place = place.n_stages ? &place : NULL, .split_groups = own.split_groups, .keep_layout = own.keep_layout};
  if (!s) s = koi_plan_make(runtime, model, &runtime->endpoints[i], i, &wish, out);
  if (s == KOINE_ERR_MEMORY && !own.n_expert_caches && !own.placement) s = plan_by_turns(runtime, model, &own, &wish, &place, out);
  if (!s) (*out)->basis = basis;
  if (!s && own.misses_on) warn_of_misses(*out, own.misses_on);
  koi_placement_free(&place);
  return s;
}

koine_status koine_plan_describe(const koine_plan *plan, char **out) { return plan && out ? koi_plan_text(plan, out) : koi_missing("koine_plan_describe"); }

koine_status koine_plan_line(const koine_plan *plan, char **out) { return plan && out ? koi_plan_line(plan, out) : koi_missing("koine_plan_line"); }

koine_status koine_plan_wake(koine_plan *plan, koine_progress_fn *progress, void *user)
{
  if (!plan) return koi_missing("koine_plan_wake");
  return plan->awake ? KOINE_OK : koi_engine_wake(plan, progress, user);
}

koine_status koine_plan_sleep(koine_plan *plan)
{
  if (!plan || !plan->awake) return KOINE_OK;
  unsigned n = atomic_load(&plan->awake->n_sessions);
  if (n) return koi_error(KOINE_ERR_STATE, "the plan has %u open session%s: close %s first", n, n > 1 ? "s" : "", n > 1 ? "them" : "it");
  koi_engine_sleep(plan);
  return KOINE_OK;
}

void koine_plan_free(koine_plan *plan)
{
  if (koine_plan_sleep(plan)) koi_log(KOINE_LOG_WARNING, "koine_plan_free: %s; nothing is freed", koi_error_text());
  else koi_plan_free(plan);
}

koine_status koine_plan_get_usage(const koine_plan *plan, koine_plan_usage *out)
{
  if (!plan || !out) return koi_missing("koine_plan_get_usage");
  koi_stage_bytes b = koi_plan_bytes(plan);
  koine_plan_usage own = {.weight_bytes = b.weights, .scratch_bytes = b.scratch, .cache_bytes = b.caches, .mark_bytes = b.marks, .program_bytes = b.programs,
                          .limit_bytes = koi_plan_limit(plan), .weight_bytes_per_token = koi_plan_bytes_per_token(plan), .wake_ns = plan->wake_ns};
  for (size_t i = 0; i < plan->n_all; i++) own.guess_bytes += koi_plan_gate_bytes(plan, &plan->stages[i]);
  if (plan->awake) {
    koi_expert_figures x = koi_engine_experts(plan);
    koi_engine_bytes(plan, &own.weight_bytes, &own.scratch_bytes);
    own.experts_there = x.n_there, own.experts_loaded = x.n_loaded, own.expert_bytes = x.bytes, own.expert_ns = x.ns;
    own.experts_guessed = x.guesses, own.guesses_right = x.right, own.guesses_used = x.used, own.guess_ns = x.guess_ns, own.guess_bytes = x.guess_bytes;
    own.experts_elsewhere = x.n_stayed, own.elsewhere_ns = x.stayed_ns;
  }
  KOI_GIVE(koine_plan_usage, &own, out);
  return KOINE_OK;
}

/* ---- session ---- */
koine_status koine_session_open(koine_plan *plan, const koine_session_options *options, koine_session **out)
{
  if (!plan || !out) return koi_missing("koine_session_open");
  koine_session_options own;
  koine_status s = KOI_TAKE(koine_session_options, options, &own);
  if (!s) s = koi_engine_need(plan);
  return s ? s : koi_session_open(plan, &own, out);
}

void koine_session_close(koine_session *session)
{
  if (session && session->batch) koine_batch_drop(session->batch, session);
  koi_session_close(session);
}

koine_status koine_session_eval(koine_session *session, const int32_t *tokens, size_t n_tokens, const koine_eval_options *options, float *logits)
{
  if (!session || (n_tokens && !tokens)) return koi_missing("koine_session_eval");
  koine_eval_options own;
  koine_status s = KOI_TAKE(koine_eval_options, options, &own);
  if (!s) s = koi_session_alone(session, "koine_session_eval");
  if (s) return s;
  atomic_store(&session->cancelled, false);
  s = koi_session_eval(session, tokens, n_tokens, options ? &own : NULL, logits);
  return s ? s : koi_session_check_logits(session, logits, options ? own.n_logits : 1);
}

void koine_session_cancel(koine_session *session)
{
  if (session) atomic_store(&session->cancelled, true);
}

koine_status koine_session_truncate(koine_session *session, size_t n_tokens)
{
  if (!session) return koi_missing("koine_session_truncate");
  koine_status s = koi_session_alone(session, "koine_session_truncate");
  return s ? s : koi_session_truncate(session, n_tokens);
}

koine_status koine_session_fork(koine_session *session, koine_session **out)
{
  if (!session || !out) return koi_missing("koine_session_fork");
  koine_status s = koi_session_alone(session, "koine_session_fork");
  return s ? s : koi_session_fork(session, out);
}

koine_status koine_session_save(koine_session *session, const char *path)
{
  if (!session || !path) return koi_missing("koine_session_save");
  koine_status s = koi_session_alone(session, "koine_session_save");
  return s ? s : koi_session_save(session, path);
}

koine_status koine_session_look(koine_plan *plan, const char *path, int32_t **tokens, size_t *n_tokens, int32_t **marks, size_t *n_marks)
{
  if (!plan || !path || !tokens || !n_tokens || !marks || !n_marks) return koi_missing("koine_session_look");
  koine_status s = koi_engine_need(plan);
  return s ? s : koi_session_look(plan, path, tokens, n_tokens, marks, n_marks);
}

koine_status koine_session_load(koine_plan *plan, const koine_session_options *options, const char *path, size_t n_tokens, koine_session **out)
{
  if (!plan || !path || !out) return koi_missing("koine_session_load");
  koine_session_options own;
  koine_status s = KOI_TAKE(koine_session_options, options, &own);
  if (!s) s = koi_engine_need(plan);
  return s ? s : koi_session_load(plan, &own, path, n_tokens, out);
}

size_t koine_session_n_held(const koine_session *session) { return session ? session->n_held : 0; }

koine_status koine_session_get_stats(const koine_session *session, koine_session_stats *out)
{
  if (!session || !out) return koi_missing("koine_session_get_stats");
  koine_session_stats own;
  koi_session_get_stats(session, &own);
  KOI_GIVE(koine_session_stats, &own, out);
  return KOINE_OK;
}
