/* Speed of the attention, indexer and top-k ops on V4-Flash's sizes, each beside a read probe and a multiply-add probe of the same minute.
 * Prints, never judges.
 *   bench_attn [PLATFORM [CASE [PARAM=VALUE ...]]]    parts of names; parameters other than the defaults
 * Wall rates suffer from other work on the machine; "a core" divides by the processor time used, and tells more there. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/choose.h"
#include "kernels/layout.h"
#include "device/kern.h"
#include "tests/bench/probe.h"

enum { REPEATS = 7 };
enum { DH = 512, RD = 64, HEADS = 64, WINDOW = 128, PAGE = 64, IH = 128, INDEX_HEADS = 64, TOP = 512 };

static const koi_backend *be = &koi_backend_cl;
static koi_device *dev;
static koi_target target;

static void check(koine_status s)
{
  if (!s) return;
  fprintf(stderr, "bench_attn: %s\n", koi_error_text());
  exit(1);
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
  double work[2] = {INFINITY, INFINITY}, probe[2] = {INFINITY, INFINITY}, out[2], amount, top = 0;
  int32_t p[KOI_MAX_PARAMS];
  koi_kernel *k;
  parameters(op, c, p, over);
  check(koi_kern_build(dev, op, c, p, &k));
  for (int r = -1; r < REPEATS; r++) { /* the first turn compiles */
    if (before) before(a);
    check(be->finish(dev));
    double w = wall(), b = busy();
    check(koi_kern_launch(dev, k, a));
    check(be->finish(dev));
    w = wall() - w, b = busy() - b;
    if (r >= 0) work[0] = fmin(work[0], w), work[1] = fmin(work[1], b);
    if (by_reading) top = probe_read(op->bytes(a, c), out); /* as much as the op must move, at most all there is */
    else probe_multiply(out), top = probe_flops();
    probe[0] = fmin(probe[0], out[0]), probe[1] = fmin(probe[1], out[1]);
  }
  amount = by_reading ? op->bytes(a, c) : op->flops(a, c);
  printf("%-24s %9.3f ms  %6.1f %s (probe %6.1f)  a core: %9.3f ms %6.1f (probe %6.1f, %3.0f %%)\n", name, work[0] * 1e3, amount / work[0] * 1e-9,
         by_reading ? "GB/s   " : "GFLOP/s", top / probe[0] * 1e-9, work[1] * 1e3, amount / work[1] * 1e-9, top / probe[1] * 1e-9,
         100 * amount / work[1] / top * probe[1]);
  fflush(stdout);
  koi_kern_drop(dev, k);
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

/* Page tables of n kinds, one behind the other: pages backwards, in two slabs by turns. */
static koi_buf *table(const int32_t *n_pages, size_t n)
{
  int32_t v[8192], at = 0;
  for (size_t k = 0; k < n; k++)
    for (int32_t i = n_pages[k] - 1; i >= 0; i--) v[at++] = (i & 1) << KOI_SLAB_SHIFT | i / 2;
  return buffer((size_t)at * sizeof *v, v);
}

static koi_buf *rows_of(int32_t n, int32_t first)
{
  int32_t v[128] = {0};
  for (int32_t i = 0; i < n; i++) v[2 * i] = first + i;
  return buffer((size_t)n * 2 * sizeof *v, v);
}

/* Two slabs of half the pages. */
static void kv_pages(koi_args *a, int at, int exact, int32_t n_pages)
{
  size_t half = (size_t)(n_pages + 1) / 2, plain = (DH - RD) * PAGE, n_scales = (DH - RD) / 64 * PAGE, page = koi_layout_kv_page(exact, DH, RD, PAGE);
  for (int slab = 0; slab < 2; slab++) {
    if (exact) {
      a->buf[at + slab] = random_floats(half * page / 4, 0);
      continue;
    }
    uint8_t *v = malloc(half * page);
    for (size_t i = 0; i < half * page; i++) { /* codes without NaN, scales near one, small bf16 */
      size_t in = i % page;
      v[i] = (uint8_t)(in < plain ? random_bits() & 0xbf : in < plain + n_scales ? (random_bits() & 3) + 120 : random_bits() & 0x3f);
    }
    a->buf[at + slab] = buffer(half * page, v);
    free(v);
  }
}

static void attention(const attn_case *q, char **over)
{
  int32_t c[] = {[ATTN_EXACT] = q->exact, [ATTN_DH] = DH, [ATTN_RD] = RD, [ATTN_NH] = HEADS, [ATTN_SEL] = q->sel, [ATTN_PAGE] = PAGE};
  int32_t comp = (q->p0 + q->t) / q->ratio, bytes = (int32_t)koi_layout_kv_page(q->exact, DH, RD, PAGE);
  int32_t rows = WINDOW + (q->sel == 2 ? TOP : q->sel == 1 ? comp : 0), ring = (WINDOW + 512) / PAGE, pages = comp / PAGE + 1;
  koi_args a = {.i = {[ATTN_T] = q->t, [ATTN_WINDOW] = WINDOW, [ATTN_W_PAGES] = ring, [ATTN_W_PAGE_BYTES] = bytes, [ATTN_RATIO] = q->ratio, [ATTN_C_TABLE] = ring,
                      [ATTN_C_PAGE_BYTES] = bytes, [ATTN_K] = TOP, [ATTN_N_SPLITS] = q->splits, [ATTN_ROWS_PER_SPLIT] = (rows + q->splits - 1) / q->splits},
                .f = {[ATTN_SCALE] = 0.044f}};
  a.buf[ATTN_Q] = random_floats((size_t)q->t * HEADS * DH, 0);
  a.buf[ATTN_ROWS] = rows_of(q->t, q->p0);
  a.buf[ATTN_TABLES] = table((int32_t[]){ring, pages}, 2);
  kv_pages(&a, ATTN_W0, q->exact, ring);
  kv_pages(&a, ATTN_C0, q->exact, pages);
  int32_t *idx = malloc((size_t)q->t * TOP * sizeof *idx);
  for (int32_t i = 0; i < q->t * TOP; i++) idx[i] = (int32_t)((int64_t)(i % TOP) * comp / TOP);
  a.buf[ATTN_IDX] = buffer((size_t)q->t * TOP * sizeof *idx, idx);
  free(idx);
  a.buf[ATTN_PO] = buffer((size_t)q->t * (size_t)q->splits * HEADS * DH * 4, NULL);
  a.buf[ATTN_ML] = buffer((size_t)q->t * (size_t)q->splits * HEADS * 8, NULL);
  measure(q->name, &koi_op_attn, c, &a, over, 0, NULL);
  int32_t mc[] = {[ATTN_MERGE_DH] = DH, [ATTN_MERGE_RD] = RD, [ATTN_MERGE_NH] = HEADS, [ATTN_MERGE_ST] = KOI_WT_F32};
  koi_args m = {.buf = {[ATTN_MERGE_PO] = a.buf[ATTN_PO], [ATTN_MERGE_ML] = a.buf[ATTN_ML], [ATTN_MERGE_SINK] = random_floats(HEADS, 0),
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

/* Two slabs of half the pages. */
static void index_pages(koi_args *a, int exact, int32_t n_pages)
{
  size_t half = (size_t)(n_pages + 1) / 2, page = koi_layout_index_page(exact, IH, PAGE), n_codes = PAGE * IH / 2;
  for (int slab = 0; slab < 2; slab++) {
    if (exact) {
      a->buf[INDEX_SCORE_S0 + slab] = random_floats(half * page / 4, 0);
      continue;
    }
    uint8_t *v = malloc(half * page);
    for (size_t i = 0; i < half * page; i++) v[i] = (uint8_t)(i % page < n_codes ? random_bits() : (random_bits() & 3) + 120);
    a->buf[INDEX_SCORE_S0 + slab] = buffer(half * page, v);
    free(v);
  }
}

static void index_score(const index_case *q, char **over)
{
  int32_t c[] = {[INDEX_SCORE_EXACT] = q->exact, [INDEX_SCORE_IH] = IH, [INDEX_SCORE_NH] = INDEX_HEADS, [INDEX_SCORE_PAGE] = PAGE}, pages = q->rows / PAGE + 1;
  koi_args a = {.i = {[INDEX_SCORE_T] = q->t, [INDEX_SCORE_N_ROWS] = q->rows, [INDEX_SCORE_LDS] = q->rows, [INDEX_SCORE_R] = 4,
                      [INDEX_SCORE_PAGE_BYTES] = (int32_t)koi_layout_index_page(q->exact, IH, PAGE)},
                .f = {[INDEX_SCORE_WSCALE] = 0.011f}};
  a.buf[INDEX_SCORE_Q] = random_floats((size_t)q->t * INDEX_HEADS * IH, 0);
  a.buf[INDEX_SCORE_W] = random_floats((size_t)q->t * INDEX_HEADS, 0);
  a.buf[INDEX_SCORE_ROWS] = rows_of(q->t, q->rows * 4);
  a.buf[INDEX_SCORE_TABLES] = table(&pages, 1);
  index_pages(&a, q->exact, pages);
  a.buf[INDEX_SCORE_S] = buffer((size_t)q->t * (size_t)q->rows * 4, NULL);
  measure(q->name, &koi_op_index_score, c, &a, over, 0, NULL);
  release(&a);
}

static void topk(const index_case *q, char **over)
{
  int32_t c[] = {0};
  koi_args a = {.i = {[TOPK_T] = q->t, [TOPK_N_ROWS] = q->rows, [TOPK_LDS] = q->rows, [TOPK_K] = TOP, [TOPK_R] = 4}};
  a.buf[TOPK_S] = random_floats((size_t)q->t * (size_t)q->rows, q->rising);
  a.buf[TOPK_IDX] = buffer((size_t)q->t * TOP * 4, NULL);
  a.buf[TOPK_VAL] = buffer((size_t)q->t * TOP * 4, NULL);
  a.buf[TOPK_ROWS] = rows_of(q->t, q->rows * 4);
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
  check(koi_device_open(e, NULL, 0, &dev));
  koi_dev_target(e, &target);
  probe_open();
  printf("%s, %s\n", e->platform, e->name);
  all_cases(argc > 2 ? argv[2] : "", argc > 3 ? argv + 3 : NULL);
  koi_device_close(dev);
  for (size_t i = 0; i < found.n_endpoints; i++) be->unprobe(&found.endpoints[i]);
  koi_probe_free(&found);
  probe_close();
  return 0;
}
