/* See library.h. Owns nothing. Invariant: the first product is in the log as begun before the library sees it, and as ended afterwards. */
#include "library.h"
#include "engine/gemm.h"
#include "tried.h"

typedef struct telling { bool (*told)(void *user, const char *what); void *user; } telling;

static bool tell(void *user, const char *what, uint64_t done, uint64_t total)
{
  const telling *t = user;
  return (void)what, (void)done, (void)total, t->told(t->user, koi_step_library.name);
}

/* The choice of the first format that the layers have, on the library's side. */
static koi_tuned_line begun(const koi_stage *st)
{
  koi_gemm_figure used[KOI_N_FORMATS] = {{0}};
  int32_t wt = 0;
  koi_gemm_types(st, used);
  while (wt < KOI_N_FORMATS - 1 && !used[wt].used) wt++;
  return (koi_tuned_line){.op = &koi_step_library, .c = {[LIBRARY_WT] = wt, [LIBRARY_TILE] = (int32_t)st->at.laid->tile}, .p = {[LIBRARY_FROM] = KOI_GEMM_MIN_TOKENS},
                          .outcome = KOI_OUTCOME_TRYING};
}

static void put(const koi_stage *st, const koi_gemm_figure *f, koi_step_choice *out)
{
  for (int32_t wt = 0; wt < KOI_N_FORMATS; wt++)
    if (f[wt].own_ms)
      out[wt] = (koi_step_choice){.op = &koi_step_library, .c = {[LIBRARY_WT] = wt, [LIBRARY_TILE] = (int32_t)st->at.laid->tile}, .p = {[LIBRARY_FROM] = (int32_t)st->at.tunables.gemm_from[wt]},
                                  .default_s = 1e-3 * f[wt].own_ms, .best_s = 1e-3 * f[wt].library_ms, .n_tried = 1, .won = f[wt].library_ms < f[wt].own_ms};
}

koine_status koi_library_tune(koi_stage *st, uint64_t deadline_ns, koi_lost lost, bool (*told)(void *user, const char *what), void *user, koi_step_choice *out)
{
  koi_gemm_figure f[KOI_N_FORMATS] = {{0}};
  telling t = {told, user};
  if (!st->dev->backend->gemm || st->plan->chunk < KOI_GEMM_MIN_TOKENS || koi_now_ns() >= deadline_ns) return KOINE_OK;
  koi_stage_lock(st);
  koi_tuned_line l = begun(st);
  koine_status s = KOINE_OK;
  if (!koi_tried_given_up(st->dev, &l, lost)) {
    koi_tried_note(st->dev, &l);
    s = koi_gemm_measure(st, deadline_ns, tell, &t, f);
    l.outcome = s && s != KOINE_ERR_CANCELLED ? KOI_OUTCOME_REFUSED : KOI_OUTCOME_MEASURED;
    koi_tried_note(st->dev, &l);
  }
  koi_stage_unlock(st);
  if (s == KOINE_ERR_DEVICE || s == KOINE_ERR_MEMORY) {
    koi_log(KOINE_LOG_WARNING, "the library for dense products is not tried: %s", koi_error_text());
    s = KOINE_OK;
  }
  put(st, f, out);
  return s;
}
