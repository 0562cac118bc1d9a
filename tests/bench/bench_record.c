/* What recording the calls of a decode step gives: tokens by turns with and without, in one process. Prints, never judges.
 * usage: bench_record [DEVICE [CHECKPOINT]]     default: the best device, models/austen. KOINE_RECORD is of no matter. */
#include <stdio.h>
#include <stdlib.h>
#include "engine/session.h"

enum { ROUNDS = 60, WARM = 8, TOKENS = 24, PROMPT = 128 /* a mark stands there: going back costs nothing */, CONTEXT = PROMPT + WARM + TOKENS };

static void need(koine_status s)
{
  if (!s) return;
  fprintf(stderr, "bench_record: %s\n", koine_last_error());
  exit(1);
}

static int ascending(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double at(double *v, double share)
{
  qsort(v, ROUNDS, sizeof *v, ascending);
  return v[(size_t)(share * (ROUNDS - 1))];
}

/* Microseconds a token, with lists that were bound and recorded before the clock starts. */
static double round_of(koine_session *s, koi_stage *st, bool records, float *logits)
{
  static int32_t tokens[CONTEXT];
  for (int i = 0; i < CONTEXT; i++) tokens[i] = i * 37 % 1000 + 1;
  st->dev->records = records;
  koi_stage_lock(st);
  need(koi_run_forget(st));
  koi_stage_unlock(st);
  need(koine_session_eval(s, tokens, PROMPT, NULL, logits));
  for (size_t i = 1; i <= WARM; i++) need(koine_session_eval(s, tokens, PROMPT + i, NULL, logits));
  uint64_t start = koi_now_ns();
  for (size_t i = 1; i <= TOKENS; i++) need(koine_session_eval(s, tokens, PROMPT + WARM + i, NULL, logits));
  return (double)(koi_now_ns() - start) / TOKENS / 1e3;
}

int main(int argc, char **argv)
{
  static double plain[ROUNDS], recorded[ROUNDS], ratio[ROUNDS];
  koine_runtime *rt;
  koine_model *m;
  koine_plan *p;
  koine_session *s;
  koine_plan_options o = {.size = sizeof o, .device = argc > 1 ? argv[1] : NULL};
  koine_session_options so = {.size = sizeof so, .context = CONTEXT};
  need(koine_runtime_open(NULL, &rt));
  need(koine_model_open(argc > 2 ? argv[2] : "models/austen", &m));
  need(koine_plan_make(rt, m, &o, &p));
  need(koine_plan_wake(p, NULL, NULL));
  need(koine_session_open(p, &so, &s));
  koi_stage *st = koi_engine_stage(p, 0);
  if (!st->dev->can_record) return printf("%s (%s) cannot record\n", st->dev->endpoint->id, st->dev->endpoint->platform), 77;
  float *logits = malloc(m->config.n_vocab * sizeof *logits);
  for (size_t i = 0; i < ROUNDS; i++) {
    plain[i] = round_of(s, st, false, logits), recorded[i] = round_of(s, st, true, logits);
    ratio[i] = plain[i] / recorded[i];
  }
  printf("us a token: started singly %.0f (best %.0f), recorded %.0f (best %.0f); %d rounds in turns, as fast %.3f times (a quarter of them below %.3f, one above %.3f)\n",
         at(plain, 0.5), at(plain, 0), at(recorded, 0.5), at(recorded, 0), ROUNDS, at(ratio, 0.5), at(ratio, 0.25), at(ratio, 0.75));
  free(logits);
  koine_session_close(s);
  koine_plan_free(p);
  koine_model_close(m);
  koine_runtime_close(rt);
}
