/* Speed of the attention, indexer and top-k ops on V4-Flash's sizes, each beside a read probe and a multiply-add probe of the same minute.
 * Prints, never judges.
 *   bench_attn [PLATFORM [CASE [PARAM=VALUE ...]]]    parts of names; parameters other than the defaults
 * Wall rates suffer from other work on the machine; "a core" divides by the processor time used, and tells more there. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif
#include "kernels/choose.h"
#include "kernels/layout.h"
#include "device/backend.h"

enum { PROBE_BYTES = 256 << 20, REPEATS = 7, MULTIPLY_STEPS = 1000000, CHAINS = 12 };
enum { DH = 512, RD = 64, HEADS = 64, WINDOW = 128, IH = 128, INDEX_HEADS = 64, TOP = 512 };

static const koi_backend *be = &koi_backend_cl;
static koi_device *dev;
static koi_target target;

static void check(koine_status s)
{
  if (!s) return;
  fprintf(stderr, "bench_attn: %s\n", koi_error_text());
  exit(1);
}

static double wall(void) { return (double)koi_now_ns() * 1e-9; }
static double busy(void)
{
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- probes: two threads ---- */
static uint64_t *memory; /* [PROBE_BYTES / 8] */
static volatile uint64_t sink;
static size_t probe_words; /* that a thread reads, from its half on */

static void *read_part(void *at)
{
  const uint64_t *p = at;
  uint64_t s[16] = {0}, all = 0;
  for (size_t i = 0; i < probe_words; i += 16)
    for (size_t j = 0; j < 16; j++) s[j] |= p[i + j];
  for (size_t j = 0; j < 16; j++) all |= s[j];
  sink = all;
  return NULL;
}

static int fma_lanes;
#if defined(__x86_64__)
#define CHAIN(type, madd, set) \
  type a[CHAINS], x = set(0.999f), y = set(0.1f); \
  for (int i = 0; i < CHAINS; i++) a[i] = set((float)i); \
  for (long n = 0; n < MULTIPLY_STEPS; n++) \
    for (int i = 0; i < CHAINS; i++) a[i] = madd(a[i], x, y); \
  for (int i = 1; i < CHAINS; i++) a[0] += a[i]; \
  return a[0][0]
__attribute__((target("avx512f"), optimize("unroll-loops"))) static float multiply_512(void) { CHAIN(__m512, _mm512_fmadd_ps, _mm512_set1_ps); }
__attribute__((target("avx2,fma"), optimize("unroll-loops"))) static float multiply_256(void) { CHAIN(__m256, _mm256_fmadd_ps, _mm256_set1_ps); }
static float multiply_add(void)
{
  fma_lanes = __builtin_cpu_supports("avx512f") ? 16 : __builtin_cpu_supports("fma") ? 8 : 0;
  return fma_lanes == 16 ? multiply_512() : fma_lanes ? multiply_256() : 0;
}
#else
static float multiply_add(void) { return 0; }
#endif

static void *multiply_part(void *at)
{
  (void)at;
  sink = (uint64_t)multiply_add();
  return NULL;
}

static void both(void *(*f)(void *), double out[2])
{
  pthread_t second;
  double w = wall(), b = busy();
  if (pthread_create(&second, NULL, f, memory + PROBE_BYTES / 16)) exit(1);
  f(memory);
  pthread_join(second, NULL);
  out[0] = wall() - w, out[1] = busy() - b;
}

/* ---- buffers ---- */
static uint32_t state = 1;
static uint32_t random_bits(void)
{
  state = state * 1664525u + 1013904223u;
  return state >> 8;
}

static koi_buf *buffer(size_t bytes, const void *from)
{
  koi_buf *b;
  check(be->alloc(dev, bytes, &b));
  if (from) check(be->write(dev, b, 0, bytes, from));
  return b;
}

static koi_buf *random_floats(size_t n, int up_to_now)
{
  float *v = malloc(n * 4);
  for (size_t i = 0; i < n; i++) v[i] = (float)(random_bits() % 4096) / 2048 - 1 + (up_to_now ? (float)i : 0);
  koi_buf *b = buffer(n * 4, v);
  free(v);
  return b;
}

/* Codes without NaN, scales near one. */
static koi_buf *random_codes(size_t bytes, uint8_t mask, uint8_t base)
{
  uint8_t *v = malloc(bytes);
  for (size_t i = 0; i < bytes; i++) v[i] = (uint8_t)((random_bits() & mask) + base);
  koi_buf *b = buffer(bytes, v);
  free(v);
  return b;
}

static void parameters(const koi_op *op, const int32_t *c, int32_t *p, char **over)
{
  koi_choose(&target, op, c, 0, p, NULL);
  for (; over && *over; over++)
    for (size_t i = 0; i < koi_op_n_params(op); i++) {
      size_t n = strlen(op->params[i].name);
      if (!strncmp(*over, op->params[i].name, n) && (*over)[n] == '=') p[i] = atoi(*over + n + 1);
    }
  if (!koi_legal(&target, op, c, p)) printf("  (not legal here)\n");
}

/* ---- one measurement ---- */
/* The best of several turns of the work and of a probe, in seconds of wall and of processor time; before: NULL, or undoes a turn. */
static void measure(const char *name, const koi_op *op, const int32_t *c, koi_args *a, char **over, int by_reading, void (*before)(koi_args *))
{
  double work[2] = {INFINITY, INFINITY}, probe[2] = {INFINITY, INFINITY}, out[2], amount, top;
  int32_t p[KOI_MAX_PARAMS];
  koi_kernel *k;
  parameters(op, c, p, over);
  check(be->build(dev, op, c, p, &k));
  probe_words = (size_t)op->bytes(a, c) / 16 / 16 * 16; /* as much as the op must move, at most all there is */
  if (probe_words > PROBE_BYTES / 16) probe_words = PROBE_BYTES / 16;
  for (int r = -1; r < REPEATS; r++) { /* the first turn compiles */
    if (before) before(a);
    check(be->finish(dev));
    double w = wall(), b = busy();
    check(be->launch(dev, k, a));
    check(be->finish(dev));
    w = wall() - w, b = busy() - b;
    if (r >= 0) work[0] = fmin(work[0], w), work[1] = fmin(work[1], b);
    both(by_reading ? read_part : multiply_part, out);
    probe[0] = fmin(probe[0], out[0]), probe[1] = fmin(probe[1], out[1]);
  }
  amount = by_reading ? op->bytes(a, c) : op->flops(a, c);
  top = by_reading ? 16.0 * (double)probe_words : 2.0 * MULTIPLY_STEPS * CHAINS * fma_lanes * 2;
  printf("%-24s %9.3f ms  %6.1f %s (probe %6.1f)  a core: %9.3f ms %6.1f (probe %6.1f, %3.0f %%)\n", name, work[0] * 1e3, amount / work[0] * 1e-9,
         by_reading ? "GB/s   " : "GFLOP/s", top / probe[0] * 1e-9, work[1] * 1e3, amount / work[1] * 1e-9, top / probe[1] * 1e-9,
         100 * amount / work[1] / top * probe[1]);
  fflush(stdout);
  be->drop(dev, k);
}

static void release(koi_args *a)
{
  for (size_t i = 0; i < KOI_MAX_BUFS; i++)
    if (a->buf[i]) be->free(dev, a->buf[i]);
}

/* ---- attention ---- */
typedef struct attn_case { const char *name; int exact, sel, t, p0, ratio, splits; } attn_case;
static const attn_case attn_cases[] = {
  {"attn-decode-640", 0, 2, 1, 262143, 4, 8},     {"attn-decode-640-exact", 1, 2, 1, 262143, 4, 8}, {"attn-decode-128", 0, 0, 1, 4095, 128, 8},
  {"attn-decode-2176", 0, 1, 1, 262143, 128, 8},  {"attn-prefill-640", 0, 2, 64, 65536, 4, 1},      {"attn-prefill-160", 0, 1, 64, 4096, 128, 1},
  {"attn-prefill-128", 0, 0, 64, 4096, 128, 1},
};

static void cache_rows(koi_args *a, int at, int exact, size_t rows)
{
  if (exact) a->buf[at] = random_floats(rows * DH, 0);
  else {
    a->buf[at] = random_codes(rows * (DH - RD), 0xbf, 0);
    a->buf[at + 1] = random_codes(rows * ((DH - RD) / 64), 3, 120);
    a->buf[at + 2] = random_codes(rows * RD * 2, 0x3f, 0);
  }
}

static void attention(const attn_case *q, char **over)
{
  int32_t c[] = {q->exact, DH, RD, HEADS, q->sel}, comp = (q->p0 + q->t) / q->ratio;
  int32_t rows = WINDOW + (q->sel == 2 ? TOP : q->sel == 1 ? comp : 0);
  koi_args a = {.i = {q->t, q->p0, WINDOW, WINDOW + 512, q->ratio, TOP, q->splits, (rows + q->splits - 1) / q->splits}, .f = {0.044f}};
  a.buf[0] = random_floats((size_t)q->t * HEADS * DH, 0);
  cache_rows(&a, 1, q->exact, WINDOW + 512);
  cache_rows(&a, 4, q->exact, (size_t)comp + 1);
  int32_t *idx = malloc((size_t)q->t * TOP * sizeof *idx);
  for (int32_t i = 0; i < q->t * TOP; i++) idx[i] = (int32_t)((int64_t)(i % TOP) * comp / TOP);
  a.buf[7] = buffer((size_t)q->t * TOP * sizeof *idx, idx);
  free(idx);
  a.buf[8] = buffer((size_t)q->t * (size_t)q->splits * HEADS * DH * 4, NULL);
  a.buf[9] = buffer((size_t)q->t * (size_t)q->splits * HEADS * 8, NULL);
  measure(q->name, &koi_op_attn, c, &a, over, 0, NULL);
  int32_t mc[KOI_MAX_CONSTS] = {[ATTN_MERGE_DH] = DH, [ATTN_MERGE_RD] = RD, [ATTN_MERGE_NH] = HEADS, [ATTN_MERGE_ST] = KOI_WT_F32};
  koi_args m = {.buf = {[ATTN_MERGE_PO] = a.buf[8], [ATTN_MERGE_ML] = a.buf[9], [ATTN_MERGE_SINK] = random_floats(HEADS, 0),
                        [ATTN_MERGE_ROPE] = random_floats((size_t)q->t * RD, 0), [ATTN_MERGE_O] = buffer((size_t)q->t * HEADS * DH * 4, NULL)},
                .i = {[ATTN_MERGE_T] = q->t, [ATTN_MERGE_N_SPLITS] = q->splits}};
  char name[64];
  snprintf(name, sizeof name, "  merge of %d", q->splits);
  measure(name, &koi_op_attn_merge, mc, &m, NULL, 1, NULL);
  m.buf[ATTN_MERGE_PO] = m.buf[ATTN_MERGE_ML] = NULL;
  release(&m);
  release(&a);
}

/* ---- indexer: rows as many as are visible, in one round ---- */
typedef struct index_case { const char *name; int exact, t, rows, rising; } index_case;
static const index_case index_cases[] = {
  {"index-decode-262144", 0, 1, 262144, 0}, {"index-decode-25000", 0, 1, 25000, 0}, {"index-decode-exact-25000", 1, 1, 25000, 0},
  {"index-prefill-4096", 0, 64, 4096, 0},
};
static const index_case topk_cases[] = {
  {"topk-262144", 0, 1, 262144, 0}, {"topk-25000", 0, 1, 25000, 0}, {"topk-rising-262144", 0, 1, 262144, 1}, {"topk-prefill-4096", 0, 64, 4096, 0},
};

static void index_score(const index_case *q, char **over)
{
  size_t rows = (size_t)q->rows, tiles = koi_tiles(rows);
  int32_t c[] = {q->exact, IH, INDEX_HEADS};
  koi_args a = {.i = {q->t, q->rows * 4, 0, q->rows, q->rows}, .f = {0.011f}};
  a.buf[0] = random_floats((size_t)q->t * INDEX_HEADS * IH, 0);
  a.buf[1] = random_floats((size_t)q->t * INDEX_HEADS, 0);
  a.buf[2] = q->exact ? random_floats(tiles * 16 * IH, 0) : random_codes(tiles * 16 * IH / 2, 0xff, 0);
  if (!q->exact) a.buf[3] = random_codes(tiles * 16 * IH / 32, 3, 120);
  a.buf[4] = buffer((size_t)q->t * rows * 4, NULL);
  measure(q->name, &koi_op_index_score, c, &a, over, 0, NULL);
  release(&a);
}

static void topk(const index_case *q, char **over)
{
  int32_t c[] = {0};
  koi_args a = {.i = {q->t, q->rows * 4, 0, q->rows, q->rows, TOP}};
  a.buf[0] = random_floats((size_t)q->t * (size_t)q->rows, q->rising);
  a.buf[1] = buffer((size_t)q->t * TOP * 4, NULL);
  a.buf[2] = buffer((size_t)q->t * TOP * 4, NULL);
  measure(q->name, &koi_op_topk, c, &a, over, 1, NULL);
  release(&a);
}

static void all_cases(const char *part, char **over)
{
  for (size_t i = 0; i < KOI_COUNT(attn_cases); i++)
    if (strstr(attn_cases[i].name, part)) attention(&attn_cases[i], over);
  for (size_t i = 0; i < KOI_COUNT(index_cases); i++)
    if (strstr(index_cases[i].name, part)) index_score(&index_cases[i], over);
  for (size_t i = 0; i < KOI_COUNT(topk_cases); i++)
    if (strstr(topk_cases[i].name, part)) topk(&topk_cases[i], over);
}

int main(int argc, char **argv)
{
  koi_probe found = {0};
  check(be->probe(&found));
  const koi_endpoint *e = NULL;
  for (size_t i = 0; i < found.n_endpoints && !e; i++)
    if (found.endpoints[i].usable && (argc < 2 || strstr(found.endpoints[i].platform, argv[1]))) e = &found.endpoints[i];
  if (!e) {
    printf("bench_attn: no OpenCL device\n");
    return 0;
  }
  check(be->open(e, &dev));
  target = (koi_target){e->vector_width, e->lanes, e->max_group, e->local_bytes, e->n_units, e->local_is_global, e->denormals};
  memory = malloc(PROBE_BYTES);
  if (!memory) return 1;
  memset(memory, 1, PROBE_BYTES);
  printf("%s, %s\n", e->platform, e->name);
  all_cases(argc > 2 ? argv[2] : "", argc > 3 ? argv + 3 : NULL);
  be->close(dev);
  for (size_t i = 0; i < found.n_endpoints; i++) be->unprobe(&found.endpoints[i]);
  koi_probe_free(&found);
  free(memory);
  return 0;
}
