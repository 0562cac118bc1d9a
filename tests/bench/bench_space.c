/* Every legal set of parameters of an op on a device, timed: recorded for t_space, or 30 of them again.
 *   bench_space OP PLATFORM FILE          records: a minute for ops of 200 sets, half an hour and up to 10 GB for matvec's 2,500, most of it to build them
 *   bench_space OP PLATFORM FILE check    measures 30 seeded points anew: the correlation of ranks, and status 1 below 0.8
 * OP: matvec, hc_post, swiglu. PLATFORM: a part of its name. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "device/kern.h"
#include "tests/space.h"

enum { ROUNDS = 9, SAMPLE_NS = 5000000, MAX_LAUNCHES = 64, FAR = 20, POINTS = 30, RING = 8 };

static koi_device *dev;

static void check(koine_status s)
{
  if (!s) return;
  fprintf(stderr, "bench_space: %s\n", koi_error_text());
  exit(1);
}

/* ---- calls: shapes of V4-Flash, weights that turn ---- */
static koi_buf *buffer(size_t bytes, uint8_t value)
{
  koi_buf *b;
  check(koi_device_alloc(dev, bytes, &b));
  check(dev->backend->fill(dev, b, value));
  return b;
}

static void matvec_call(space *s, koi_args *a) /* an FP4 expert's two stacks, 4 MB each call */
{
  enum { K = 4096, ROWS = 2048 };
  s->c[MATVEC_WT] = KOI_WT_FP4, s->c[MATVEC_CARE] = 0, s->c[MATVEC_TILE] = KOI_STRIP;
  size_t words = (size_t)K * 2 * ROWS / 2, scales = (size_t)K * 2 * ROWS / 32;
  koi_buf *x = buffer(K * 4, 0x3c), *y = buffer(2 * ROWS * 4, 0);
  for (int i = 0; i < RING; i++) {
    a[i] = (koi_args){.buf = {[MATVEC_W] = buffer(words, (uint8_t)(0x31 + i)), [MATVEC_S] = buffer(scales, 120), [MATVEC_X] = x, [MATVEC_Y] = y},
                      .i = {[MATVEC_E] = 1, [MATVEC_K] = K, [MATVEC_N_SUB] = 2, [MATVEC_SUB_ROWS] = ROWS, [MATVEC_UNIT1] = 1, [MATVEC_TILE1] = 2 * ROWS / KOI_STRIP,
                            [MATVEC_X_DIV] = 1, [MATVEC_LDX] = K, [MATVEC_LDY] = 2 * ROWS}};
  }
}

static void hc_post_call(space *s, koi_args *a)
{
  enum { T = 64, D = 4096, HC = 4, PARTS = 6 };
  s->c[HC_POST_HC] = HC;
  koi_buf *o = buffer(T * D * 4, 0), *post = buffer(T * HC * 4, 0), *comb = buffer(T * HC * HC * 4, 0), *parts = buffer((size_t)T * PARTS * D * 4, 0);
  koi_buf *x = buffer((size_t)T * HC * D * 4, 0);
  for (int i = 0; i < RING; i++)
    a[i] = (koi_args){.buf = {[HC_POST_X] = x, [HC_POST_O] = o, [HC_POST_POST] = post, [HC_POST_COMB] = comb, [HC_POST_PARTS] = parts},
                      .i = {[HC_POST_T] = T, [HC_POST_D] = D, [HC_POST_N_PARTS] = PARTS}};
}

static void swiglu_call(space *s, koi_args *a)
{
  enum { E = 384, INTER = 2048 };
  (void)s;
  koi_buf *gu = buffer((size_t)E * 2 * INTER * 4, 0x3c), *w = buffer(E * 4, 0x3c), *h = buffer((size_t)E * INTER * 4, 0);
  for (int i = 0; i < RING; i++)
    a[i] = (koi_args){.buf = {[SWIGLU_GU] = gu, [SWIGLU_W] = w, [SWIGLU_H] = h},
                      .i = {[SWIGLU_E] = E, [SWIGLU_INTER] = INTER, [SWIGLU_LDG] = 2 * INTER, [SWIGLU_LDH] = INTER, [SWIGLU_HAS_W] = 1}, .f = {10}};
}

static const struct { const koi_op *op; void (*call)(space *s, koi_args *a); } cases[] = {
  {&koi_op_matvec, matvec_call}, {&koi_op_hc_post, hc_post_call}, {&koi_op_swiglu, swiglu_call}};

/* ---- timing ---- */
static int ascending(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* On a processor the time of this process on all cores, divided by them: other work on the machine then disturbs least. */
static uint64_t clock_ns(void)
{
  struct timespec t;
  if (dev->endpoint->type != KOINE_DEVICE_CPU) return koi_now_ns();
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return ((uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec) / (dev->endpoint->n_units ? dev->endpoint->n_units : 1);
}

static koine_status launches(koi_kernel *k, const koi_args *a, size_t n, double *us)
{
  koine_status s = dev->backend->finish(dev);
  uint64_t start = clock_ns();
  for (size_t i = 0; i < n && !s; i++) s = koi_kern_launch(dev, k, &a[i % RING]);
  if (!s) s = dev->backend->finish(dev);
  *us = (double)(clock_ns() - start) * 1e-3 / (double)n;
  return s;
}

/* One set of parameters while it is measured. */
typedef struct runner { const int32_t *p; koi_kernel *kernel; double us[ROUNDS]; size_t n, n_launches; } runner;

static void sample(runner *r, const koi_args *a)
{
  if (launches(r->kernel, a, r->n_launches, &r->us[r->n])) r->n = 0, koi_kern_drop(dev, r->kernel), r->kernel = NULL;
  else r->n++;
}

/* Builds it, launches it so often that its driver has compiled it, and takes a first sample. */
static void begin(const space *s, const koi_args *a, runner *r)
{
  double once;
  koine_status st = koi_kern_build(dev, s->op, s->c, r->p, &r->kernel);
  if (!st && !koi_kern_fits(r->kernel)) st = KOINE_ERR_DEVICE;
  for (int warm = 0; warm < 2 && !st; warm++) st = launches(r->kernel, a, 1, &once);
  if (st) {
    koi_kern_drop(dev, r->kernel), r->kernel = NULL;
    return;
  }
  r->n_launches = once < SAMPLE_NS * 1e-3 / MAX_LAUNCHES ? MAX_LAUNCHES : once > SAMPLE_NS * 1e-3 ? 1 : (size_t)(SAMPLE_NS * 1e-3 / once);
  sample(r, a);
}

/* ---- what is asked for ---- */
static uint64_t seed = 0x9e3779b97f4a7c15u;
static size_t below(size_t n)
{
  seed ^= seed >> 12, seed ^= seed << 25, seed ^= seed >> 27;
  return (size_t)((seed * 0x2545f4914f6cdd1du >> 33) % n);
}

static void shuffle(size_t *order, size_t n)
{
  for (size_t i = n; i > 1; i--) {
    size_t j = below(i), t = order[j];
    order[j] = order[i - 1], order[i - 1] = t;
  }
}

/* Of n runners with their parameters: medians of rounds, each over all of them in an order of its own, so that what disturbs one minute does not
 * disturb one set, or one corner. What is FAR times slower than the fastest keeps the one sample that it has. */
static void measure(const space *s, const koi_args *a, runner *r, size_t n, double *us)
{
  double best = INFINITY;
  size_t *order = calloc(n, sizeof *order);
  for (size_t i = 0; i < n; i++) order[i] = i;
  for (int round = 0; round < ROUNDS; round++) {
    shuffle(order, n);
    if (round == 1) fprintf(stderr, "bench_space: %zu sets are built, now they are timed in turns\n", n); /* a machine may be busy until here */
    for (size_t i = 0; i < n; i++) {
      runner *one = &r[order[i]];
      if (!round) begin(s, a, one);
      else if (one->kernel && one->us[0] < FAR * best) sample(one, a);
      if (one->n == 1) best = fmin(best, one->us[0]);
    }
  }
  for (size_t i = 0; i < n; i++) {
    qsort(r[i].us, r[i].n, sizeof *r[i].us, ascending);
    us[i] = r[i].n ? r[i].us[r[i].n / 2] : INFINITY;
    koi_kern_drop(dev, r[i].kernel);
  }
  free(order);
}

static void record(space *s, const koi_args *a)
{
  runner *r = calloc(s->n, sizeof *r);
  double *us = calloc(s->n, sizeof *us);
  for (size_t i = 0; i < s->n; i++) r[i].p = s->v[i].p;
  measure(s, a, r, s->n, us);
  for (size_t i = 0; i < s->n; i++) s->v[i].us = us[i];
  free(us);
  free(r);
}

static double rank(const double *v, size_t n, size_t i)
{
  double r = 0;
  for (size_t k = 0; k < n; k++) r += v[k] < v[i] ? 1 : v[k] == v[i] && k != i ? 0.5 : 0;
  return r;
}

static double correlation(const double *a, const double *b, size_t n)
{
  double sa = 0, sb = 0, sab = 0, mean = (double)(n - 1) / 2;
  for (size_t i = 0; i < n; i++) {
    double x = rank(a, n, i) - mean, y = rank(b, n, i) - mean;
    sa += x * x, sb += y * y, sab += x * y;
  }
  return sab / sqrt(sa * sb);
}

static int again(const space *s, const koi_args *a)
{
  double was[POINTS], is[POINTS];
  runner r[POINTS] = {0};
  for (size_t i = 0; i < POINTS; i++) {
    const space_point *v = &s->v[below(s->n)];
    was[i] = v->us, r[i].p = v->p;
  }
  measure(s, a, r, POINTS, is);
  for (size_t i = 0; i < POINTS; i++) {
    for (size_t k = 0; k < koi_op_n_params(s->op); k++) printf("%s=%d ", s->op->params[k].name, (int)r[i].p[k]);
    printf(": %.1f us, now %.1f us\n", was[i], is[i]);
  }
  double c = correlation(was, is, POINTS);
  printf("%s on %s: rank correlation of %d points: %.3f\n", s->op->name, s->device, (int)POINTS, c);
  return c < 0.8;
}

int main(int argc, char **argv)
{
  koi_probe p = {0};
  koi_args a[RING];
  space s = {0};
  size_t at = 0;
  if (argc < 4) return fprintf(stderr, "usage: bench_space OP PLATFORM FILE [check]\n"), 2;
  while (at < KOI_COUNT(cases) && strcmp(cases[at].op->name, argv[1])) at++;
  if (at == KOI_COUNT(cases)) return fprintf(stderr, "bench_space: no case for op %s\n", argv[1]), 2;
  check(koi_backend_cl.probe(&p));
  for (size_t i = 0; i < p.n_endpoints && !dev; i++)
    if (p.endpoints[i].usable && strcasestr(p.endpoints[i].platform, argv[2])) check(koi_device_open(&p.endpoints[i], NULL, 0, &dev));
  if (!dev) return fprintf(stderr, "bench_space: no platform %s\n", argv[2]), 4;
  if (argc > 4 && !space_read(argv[3], &s)) return fprintf(stderr, "bench_space: %s cannot be read\n", argv[3]), 3;
  koi_target t;
  koi_backend_target(dev, &t);
  t.tuned = NULL, s.t = t, s.op = cases[at].op;
  cases[at].call(&s, a);
  if (argc > 4) return again(&s, a);
  s.bucket = koi_op_bucket(s.op, a[0].i, s.c);
  snprintf(s.device, sizeof s.device, "%s, %s %s", dev->endpoint->name, dev->endpoint->platform, dev->endpoint->driver);
  if (!space_list(&s)) return fprintf(stderr, "bench_space: too many sets\n"), 1;
  record(&s, a);
  printf("%s on %s: %zu sets, the best %.1f us\n", s.op->name, s.device, s.n, space_best(&s));
  return !space_write(argv[3], &s);
}
