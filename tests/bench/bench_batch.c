/* Conversations that decode together against one alone: tokens a second of all. Real sizes of V4-Flash, four layers of each kind and made-up weights,
 * or a checkpoint. Prints, never judges.
 * usage: bench_batch [DEVICE [TOKENS [CHECKPOINT]]]    TOKENS: of each conversation and round, 16 unless said */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "koine.h"

enum { PROMPT = 128 /* a mark stands there: going back costs nothing */, ROUNDS = 3, MOST = 8, N_COUNTS = 4, EXPERTS = 16, VOCAB = 4096 };
static const size_t counts[N_COUNTS] = {1, 2, 4, MOST};
static koine_plan *plan;
static koine_model_info info = KOINE_MODEL_INFO_INIT;
static size_t n_tokens = 16;

static void die(koine_status s)
{
  if (!s) return;
  fprintf(stderr, "bench_batch: %s\n", koine_last_error());
  exit(1);
}

static double now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct client { koine_session *s; int32_t tokens[4096]; float *logits; } client;

static void step_all(koine_batch *b, client *c, size_t n, size_t length)
{
  size_t n_ended;
  for (size_t i = 0; i < n; i++) die(koine_batch_eval(b, c[i].s, c[i].tokens, length, NULL, c[i].logits));
  while (koine_batch_n_sessions(b)) {
    die(koine_batch_step(b, &n_ended));
    for (size_t k = 0; k < n_ended; k++) {
      koine_batch_result r = KOINE_BATCH_RESULT_INIT;
      die(koine_batch_ended(b, k, &r));
      if (r.status) fprintf(stderr, "bench_batch: %s\n", r.message), exit(1);
    }
  }
}

/* Tokens a second of n conversations together, each from the end of its own prompt on. */
static double rate(client *c, size_t n)
{
  koine_batch *b = NULL;
  die(koine_batch_open(plan, NULL, &b));
  for (size_t i = 0; i < n; i++) die(koine_session_truncate(c[i].s, PROMPT));
  double start = now();
  for (size_t t = 1; t <= n_tokens; t++) step_all(b, c, n, PROMPT + t);
  double s = now() - start;
  koine_batch_close(b);
  return (double)(n * n_tokens) / s;
}

static int ascending(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void bench(client *c)
{
  double r[N_COUNTS][ROUNDS];
  for (size_t i = 0; i < MOST; i++) die(koine_session_eval(c[i].s, c[i].tokens, PROMPT, NULL, c[i].logits));
  for (size_t k = 0; k < N_COUNTS; k++) rate(c, counts[k]); /* pages, bound lists */
  for (size_t i = 0; i < ROUNDS; i++)
    for (size_t k = 0; k < N_COUNTS; k++) r[k][i] = rate(c, counts[k]);
  for (size_t k = 0; k < N_COUNTS; k++) {
    qsort(r[k], ROUNDS, sizeof **r, ascending);
    printf("conversations %zu: %.2f tokens/s, %.2f times one (%.2f to %.2f)\n", counts[k], r[k][ROUNDS / 2], r[k][ROUNDS / 2] / r[0][ROUNDS / 2], r[k][0], r[k][ROUNDS - 1]);
  }
}

int main(int argc, char **argv)
{
  static const int32_t ratios[] = {0, 4, 128, 4};
  static client c[MOST];
  koine_shape shape = {.size = sizeof shape, .name = "v4-flash", .ratios = ratios, .n_ratios = sizeof ratios / sizeof *ratios, .n_experts = EXPERTS, .n_vocab = VOCAB};
  koine_plan_options o = KOINE_PLAN_OPTIONS_INIT;
  koine_runtime *rt;
  koine_model *model;
  if (argc > 1) o.device = argv[1];
  if (argc > 2) n_tokens = (size_t)atol(argv[2]);
  if (!n_tokens || n_tokens + PROMPT > sizeof c->tokens / sizeof *c->tokens) return fprintf(stderr, "usage: bench_batch [DEVICE [TOKENS [CHECKPOINT]]]\n"), 2;
  die(koine_runtime_open(NULL, &rt));
  die(argc > 3 ? koine_model_open(argv[3], &model) : koine_model_synthetic(&shape, &model));
  die(koine_model_get_info(model, &info));
  die(koine_plan_make(rt, model, &o, &plan));
  die(koine_plan_wake(plan, NULL, NULL));
  for (size_t i = 0; i < MOST; i++) {
    die(koine_session_open(plan, NULL, &c[i].s));
    c[i].logits = malloc(info.n_vocab * sizeof(float));
    for (size_t t = 0; t < PROMPT + n_tokens; t++) c[i].tokens[t] = (int32_t)((t * 7919 + i * 104729 + 13) % info.n_vocab);
  }
  bench(c);
  for (size_t i = 0; i < MOST; i++) koine_session_close(c[i].s), free(c[i].logits);
  koine_plan_free(plan);
  koine_model_close(model);
  koine_runtime_close(rt);
  return 0;
}
