/* What a token costs the host: decodes the whole of V4-Flash (43 layers, no weights) on a device that does nothing.
 * Prints, never judges.
 *   bench_calls [CONTEXT...]     tokens that are held before (default: 1000 and 100000)
 * A line each for the launches of a token (kernels, copies, fills and writes, the mean over STEPS tokens) and the time in koi_session_eval (the
 * median); then what is not a step: waking, and binding the list of a step. That a list gives the right logits is t_golden's matter: chunks of one
 * token run the same list. */
#include <stdio.h>
#include <stdlib.h>
#include "engine/session.h"
#include "tests/null.h"

enum { WARM = 8, STEPS = 512 };

static void check(koine_status s)
{
  if (!s) return;
  fprintf(stderr, "bench_calls: %s\n", koi_error_text());
  exit(1);
}

static void *need(void *p)
{
  if (!p) check(KOINE_ERR_MEMORY);
  return p;
}

static int ascending(const void *a, const void *b)
{
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

/* Tokens that differ from step to step; those held at first are zeros, as koi_session_fill has them. */
static uint64_t step(koine_session *s, int32_t *tokens, size_t n, float *logits)
{
  tokens[n] = (int32_t)(n * 37 % 1000 + 1);
  uint64_t start = koi_now_ns();
  check(koi_session_eval(s, tokens, n + 1, NULL, logits));
  return koi_now_ns() - start;
}

static void bench(koine_plan *p, size_t context)
{
  static uint64_t ns[STEPS];
  koine_session_options o = {.size = sizeof o, .context = context + WARM + STEPS};
  koine_session *s;
  int32_t *tokens = need(koi_alloc(context + WARM + STEPS, sizeof *tokens));
  float *logits = need(koi_alloc(p->model->config.n_vocab, sizeof *logits));
  check(koi_session_open(p, &o, &s));
  check(koi_session_fill(s, context));
  uint64_t first = step(s, tokens, context, logits);
  for (size_t i = 1; i < WARM; i++) step(s, tokens, context + i, logits);
  null_reset();
  for (size_t i = 0; i < STEPS; i++) ns[i] = step(s, tokens, context + WARM + i, logits);
  null_counts c = null_count();
  qsort(ns, STEPS, sizeof *ns, ascending);
  printf("context %zu\nlaunches_per_token %.0f\nhost_us_per_token %.1f\n", context, (double)(c.launches + c.copies + c.fills + c.writes) / STEPS,
         (double)ns[STEPS / 2] / 1e3);
  printf("  kernels %.1f copies %.1f fills %.1f writes %.1f reads %.1f patched arguments %.1f; 90 %% of the steps within %.1f us, the first took %.1f\n",
         (double)c.launches / STEPS, (double)c.copies / STEPS, (double)c.fills / STEPS, (double)c.writes / STEPS, (double)c.reads / STEPS,
         (double)c.patches / STEPS, (double)ns[STEPS * 9 / 10] / 1e3, (double)first / 1e3);
  if (c.replays)
    printf("  of the kernels %.1f in %.1f recordings, and %.1f recorded anew, which leaves %.1f requests for kernels\n", (double)c.replayed / STEPS, (double)c.replays / STEPS,
           (double)c.recorded / STEPS, (double)(c.launches - c.replayed + c.replays) / STEPS);
  koi_session_close(s);
  koi_free(tokens);
  koi_free(logits);
}

int main(int argc, char **argv)
{
  static const char *usual[] = {"", "1000", "100000"};
  koine_shape shape = {.size = sizeof shape, .name = "v4-flash"};
  koi_plan_wish wish = {0};
  koine_model *m;
  koine_plan *p;
  check(koi_model_synthetic(&shape, &m));
  check(koi_plan_make(NULL, m, &null_endpoint, 0, &wish, &p));
  p->bare = true;
  check(koi_engine_wake(p, NULL, NULL));
  for (int i = 1; i < (argc > 1 ? argc : (int)KOI_COUNT(usual)); i++) bench(p, strtoul((argc > 1 ? (const char **)argv : usual)[i], NULL, 10));
  printf("wake_ms %.1f\n", (double)p->wake_ns / 1e6);
  koi_engine_sleep(p);
  koi_plan_free(p);
  koi_model_close(m);
}
