/* Streams of tokens over two devices against one stream on one of them: what it brings that several sessions keep all stages busy.
 * usage: bench_streams PARTED A B [TOKENS [CUT]]    such as: bench_streams cl0=1,1 cl0/0 cl0/1; PARTED "": devices are as they are; CUT: B's first layer of 4 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "koine.h"

enum { LAYERS = 4, ROUNDS = 3 };
static koine_runtime *rt;
static koine_model *model;
static koine_model_info info = KOINE_MODEL_INFO_INIT;
static size_t n_tokens = 24;

static void die(koine_status s)
{
  if (!s) return;
  fprintf(stderr, "%s\n", koine_last_error());
  exit(1);
}

static double now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static koine_plan *wake(const char *const *layers, size_t n)
{
  koine_plan_options o = KOINE_PLAN_OPTIONS_INIT;
  koine_plan *p = NULL;
  o.chunk = 16, o.layers = layers, o.n_layers = n;
  die(koine_plan_make(rt, model, &o, &p));
  die(koine_plan_wake(p, NULL, NULL));
  return p;
}

static void *decode(void *user)
{
  koine_session_options o = KOINE_SESSION_OPTIONS_INIT;
  koine_session *s = NULL;
  int32_t *tokens = calloc(n_tokens, sizeof *tokens);
  float *logits = malloc(info.n_vocab * sizeof *logits);
  o.context = n_tokens;
  die(koine_session_open(user, &o, &s));
  for (size_t i = 0; i < n_tokens; i++) tokens[i] = (int32_t)((i * 7919 + 13) % info.n_vocab);
  for (size_t n = 1; n <= n_tokens; n++) die(koine_session_eval(s, tokens, n, NULL, logits));
  koine_session_close(s);
  free(tokens), free(logits);
  return NULL;
}

static double rate(koine_plan *p, size_t n_streams)
{
  pthread_t t[2];
  double start = now();
  for (size_t i = 0; i < n_streams; i++) pthread_create(&t[i], NULL, decode, p);
  for (size_t i = 0; i < n_streams; i++) pthread_join(t[i], NULL);
  return (double)(n_streams * n_tokens) / (now() - start);
}

int main(int argc, char **argv)
{
  if (argc < 4) return fprintf(stderr, "usage: bench_streams PARTED A B [TOKENS [CUT]]\n"), 2;
  const int32_t ratios[LAYERS] = {128, 128, 128, 128};
  koine_shape shape = {.size = sizeof shape, .name = "v4-flash", .ratios = ratios, .n_ratios = LAYERS, .n_experts = 8, .n_vocab = 4096};
  const char *parted = argv[1];
  koine_runtime_options o = KOINE_RUNTIME_OPTIONS_INIT;
  o.subdevices = &parted, o.n_subdevices = parted[0] != 0;
  if (argc > 4) n_tokens = (size_t)atol(argv[4]);
  die(koine_runtime_open(&o, &rt));
  die(koine_model_synthetic(&shape, &model));
  die(koine_model_get_info(model, &info));
  char all[64], first[64], rest[64];
  int cut = argc > 5 ? atoi(argv[5]) : LAYERS / 2;
  if (cut < 1 || cut >= LAYERS) return fprintf(stderr, "CUT: expected 1 to %d\n", LAYERS - 1), 2;
  snprintf(all, sizeof all, "%.40s=0-", argv[2]), snprintf(first, sizeof first, "%.40s=0-%d", argv[2], cut - 1), snprintf(rest, sizeof rest, "%.40s=%d-", argv[3], cut);
  koine_plan *one = wake((const char *[]){all}, 1), *two = wake((const char *[]){first, rest}, 2);
  rate(one, 1), rate(two, 1);
  for (int i = 0; i < ROUNDS; i++) {
    double a = rate(one, 1), b = rate(two, 1), c = rate(two, 2);
    printf("one stream on %s: %.2f tokens/s; over both: %.2f; two streams over both: %.2f, %.2f times the first\n", argv[2], a, b, c, c / a);
    fflush(stdout);
  }
  koine_plan_free(one), koine_plan_free(two);
  koine_model_close(model);
  koine_runtime_close(rt);
  return 0;
}
