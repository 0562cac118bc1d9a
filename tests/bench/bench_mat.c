/* Speed of the matrix ops on V4-Flash's sizes. On a CPU each beside a read probe and a multiply-add probe of the same minute; on a card, whose own
 * memory no thread of ours can read, beside the rate at which its driver copies in it (bytes read and written). Prints, never judges.
 *   bench_mat [DEVICE [CASE[,CASE...] [PARAM=VALUE ...]]]    parts of a platform's or device's name; parameters other than the defaults (NT and TILE too;
 *   ROWS: of each unit of a grouped product)
 * Wall rates suffer from other work on the machine; "a core" divides by the processor time used, and tells more there. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/choose.h"
#include "kernels/layout.h"
#include "kernels/step.h"
#include "device/kern.h"
#include "tests/bench/probe.h"

enum { REPEATS = 5, COPIES = 16, LAUNCHES = 2000 };
#define TURN_S 0.02 /* a turn on a card lasts at least so long: clocks rise, and waiting for it does not count */

typedef struct bench_case {
  const char *name;
  int wt, k, n_sub, sub_rows, units, entries; /* units in all; entries: rows of a call */
  int used;                                   /* units a row goes to; 0: dense */
  int matmul;
} bench_case;

static const bench_case cases[] = {
  {"fp4-gemv", KOI_WT_FP4, 4096, 2, 2048, 0, 6, 1, 0},
  {"fp4-gemv-down", KOI_WT_FP4, 2048, 1, 4096, 0, 6, 1, 0},
  {"fp8-gemv", KOI_WT_FP8, 4096, 1, 4096, 0, 1, 1, 0},
  {"fp8-gemv-1024", KOI_WT_FP8, 1024, 1, 32768, 0, 1, 1, 0},
  {"bf16-gemv", KOI_WT_BF16, 4096, 1, 4096, 0, 1, 1, 0},
  {"f16-gemv", KOI_WT_F16, 4096, 1, 4096, 0, 1, 1, 0},
  {"f32-gemv", KOI_WT_F32, 4096, 1, 4096, 0, 1, 1, 0},
  {"mxfp4-gemv", KOI_WT_MXFP4, 4096, 2, 2048, 0, 6, 1, 0},
  {"q8_0-gemv", KOI_WT_Q8_0, 4096, 1, 4096, 0, 1, 1, 0},
  {"q4_k-gemv", KOI_WT_Q4_K, 4096, 2, 2048, 0, 6, 1, 0},
  {"q2_k-gemv", KOI_WT_Q2_K, 2048, 1, 4096, 0, 6, 1, 0},
  {"iq2_xxs-gemv", KOI_WT_IQ2_XXS, 4096, 2, 2048, 0, 6, 1, 0},
  {"f32-gemv-24-rows", KOI_WT_F32, 16384, 1, 24, 0, 1, 1, 0},
  {"fp4-experts", KOI_WT_FP4, 4096, 2, 2048, 16, 512, 6, 1},
  {"fp4-experts-down", KOI_WT_FP4, 2048, 1, 4096, 16, 512, 6, 1},
  {"fp4-experts-256", KOI_WT_FP4, 4096, 2, 2048, 256, 512, 6, 1},
  {"fp8-rows", KOI_WT_FP8, 4096, 1, 4096, 16, 128, 1, 1},
  {"fp4-rows", KOI_WT_FP4, 4096, 2, 2048, 32, 64, 1, 1},
  {"fp8-gemm", KOI_WT_FP8, 4096, 1, 4096, 1, 512, 0, 1},
  {"fp8-gemm-wo_b", KOI_WT_FP8, 8192, 1, 4096, 1, 512, 0, 1},
  {"fp8-gemm-1024", KOI_WT_FP8, 1024, 1, 32768, 1, 512, 0, 1},
  {"bf16-gemm", KOI_WT_BF16, 4096, 1, 4096, 1, 512, 0, 1},
  {"q8_0-gemm", KOI_WT_Q8_0, 4096, 1, 4096, 1, 512, 0, 1},
  {"q4_k-experts", KOI_WT_Q4_K, 4096, 2, 2048, 16, 512, 6, 1},
  {"iq2_xxs-experts", KOI_WT_IQ2_XXS, 4096, 2, 2048, 16, 512, 6, 1},
  {"f32-gemm-24-rows", KOI_WT_F32, 16384, 1, 24, 1, 512, 0, 1},
};

static const koi_backend *be = &koi_backend_cl;
static koi_device *dev;
static koi_target target;
static double copy_rate; /* of a card; 0: it is a CPU */

static void check(koine_status s)
{
  if (!s) return;
  fprintf(stderr, "bench_mat: %s\n", koi_error_text());
  exit(1);
}

/* ---- one case ---- */
/* wt: a weight's codes; -1: scales */
static koi_buf *buffer(size_t bytes, int wt)
{
  koi_buf *b;
  check(be->alloc(dev, bytes, &b));
  enum { PIECE = 1 << 20 };
  uint8_t *piece = malloc(PIECE);
  uint32_t state = 1;
  for (size_t i = 0; i < PIECE; i++) {
    state = state * 1664525u + 1013904223u;
    uint8_t random = (uint8_t)(state >> 24);
    piece[i] = wt < 0 ? 120 + random % 3 : wt >= KOI_WT_FP8 ? random & 0xbf : i % 2 ? (random & 0x80) | 0x3e : random & 0x7f; /* floats near one */
  }
  for (size_t at = 0; at < bytes; at += PIECE) check(be->write(dev, b, at, bytes - at < PIECE ? bytes - at : PIECE, piece));
  free(piece);
  return b;
}

static koi_buf *numbers(size_t n, int floats)
{
  float *v = malloc(n * 4);
  for (size_t i = 0; i < n; i++) v[i] = floats ? (float)(i % 31) * 0.1f - 1.5f : 0;
  koi_buf *b;
  check(be->alloc(dev, n * 4, &b));
  check(be->write(dev, b, 0, n * 4, v));
  free(v);
  return b;
}

/* What "NAME=" says among the parameters asked for. */
static int given(char **over, const char *name, int otherwise)
{
  for (; over && *over; over++)
    if (!strncmp(*over, name, strlen(name))) return atoi(*over + strlen(name));
  return otherwise;
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

/* The best of several turns of the work and of both probes, in seconds of wall and of processor time. */
typedef struct best { double work[2], read[2], fma[2]; } best;

static void least(double *at, double wall_s, double busy_s) { at[0] = fmin(at[0], wall_s), at[1] = fmin(at[1], busy_s); }

typedef struct call { koi_kernel *k; koi_args a; koi_buf **ids; int32_t n, turns; } call; /* n launches, with other ids each, so many times */

static void run_calls(call *c)
{
  for (int32_t i = 0; i < c->n * c->turns; i++) {
    if (c->ids) c->a.buf[MATVEC_IDS] = c->ids[i % c->n];
    check(koi_kern_launch(dev, c->k, &c->a));
  }
  check(be->finish(dev));
}

static void measure(call *c, best *b)
{
  double probe[2];
  *b = (best){{INFINITY, INFINITY}, {INFINITY, INFINITY}, {INFINITY, INFINITY}};
  c->turns = 1;
  run_calls(c); /* compiles */
  double first = wall();
  run_calls(c);
  if (copy_rate) c->turns = 1 + (int32_t)(TURN_S / (wall() - first));
  for (int r = 0; r < REPEATS; r++) {
    double w = wall(), p = busy();
    run_calls(c);
    least(b->work, (wall() - w) / c->turns, (busy() - p) / c->turns);
    if (copy_rate) continue;
    probe_read(COLD_BYTES, probe);
    least(b->read, probe[0], probe[1]);
    probe_multiply(probe);
    least(b->fma, probe[0], probe[1]);
  }
}

/* probe_amount 0: nothing of a card to hold it against. */
static void report(const char *name, const char *unit, double amount, const double *work, int n_calls, double probe_amount, const double *probe)
{
  double rate[2], top[2];
  if (copy_rate) {
    printf("%-18s %8.1f %s", name, amount / work[0] * 1e-9, unit);
    if (probe_amount > 0) printf(" (copy %.1f, %.0f %%)", copy_rate * 1e-9, 100 * amount / work[0] / copy_rate);
    printf("  %.1f us a call\n", work[0] * 1e6 / n_calls);
    fflush(stdout);
    return;
  }
  for (int i = 0; i < 2; i++) rate[i] = amount / work[i] * 1e-9, top[i] = probe_amount / probe[i] * 1e-9;
  printf("%-18s %6.1f %s (probe %6.1f, %3.0f %%)  a core %6.1f (probe %6.1f, %3.0f %%)\n", name, rate[0], unit, top[0], 100 * rate[0] / top[0], rate[1],
         top[1], 100 * rate[1] / top[1]);
  fflush(stdout);
}

/* ---- a card by itself ---- */
static void copies(void)
{
  koi_buf *b[2];
  for (int i = 0; i < 2; i++) check(be->alloc(dev, COLD_BYTES, &b[i]));
  for (int i = 0; i < 2; i++) check(be->fill(dev, b[i], 1));
  double least_s = INFINITY;
  for (int r = 0; r <= REPEATS; r++) {
    check(be->finish(dev));
    double start = wall();
    for (int i = 0; i < COPIES; i++) check(be->copy(dev, b[i % 2], 0, b[1 - i % 2], 0, COLD_BYTES));
    check(be->finish(dev));
    if (r) least_s = fmin(least_s, wall() - start);
  }
  copy_rate = 2.0 * COLD_BYTES * COPIES / least_s;
  printf("%-18s %8.1f GB/s read and written\n", "copy", copy_rate * 1e-9);
  for (int i = 0; i < 2; i++) be->free(dev, b[i]);
}

/* What a launch costs: bound once as a step does it, started again and again; and with a wait after each. */
static void launches(void)
{
  int32_t c[KOI_MAX_CONSTS] = {[MATVEC_WT] = KOI_WT_F32, [MATVEC_TILE] = KOI_STRIP}, p[KOI_MAX_PARAMS];
  koi_kernel *k;
  koi_bound *bound;
  koi_range range;
  parameters(&koi_op_matvec, c, p, NULL);
  check(koi_kern_build(dev, &koi_op_matvec, c, p, &k));
  koi_buf *w = numbers(16 * 32, 1), *y = numbers(16, 0);
  koi_args a = {.buf = {[MATVEC_W] = w, [MATVEC_X] = w, [MATVEC_Y] = y},
                .i = {[MATVEC_E] = 1, [MATVEC_K] = 32, [MATVEC_N_SUB] = 1, [MATVEC_SUB_ROWS] = 16, [MATVEC_UNIT1] = 1, [MATVEC_TILE1] = 1,
                      [MATVEC_X_DIV] = 1, [MATVEC_LDX] = 32, [MATVEC_LDY] = 16}};
  check(koi_device_bind(dev, &koi_op_matvec, c, k, &a, &bound));
  koi_kern_range(k, &a, &range);
  for (int wait = 0; wait < 2; wait++) {
    double queued = 0, all = INFINITY;
    for (int r = 0; r <= REPEATS; r++) {
      double start = wall();
      for (int i = 0; i < LAUNCHES; i++) {
        check(koi_device_start(dev, bound, &range));
        if (wait) check(be->finish(dev));
      }
      double between = wall();
      check(be->finish(dev));
      if (r && wall() - start < all) queued = between - start, all = wall() - start;
    }
    printf("%-18s %8.2f us a launch, %.2f until it was queued\n", wait ? "launch and wait" : "launch", all * 1e6 / LAUNCHES, queued * 1e6 / LAUNCHES);
  }
  koi_device_unbind(dev, bound);
  koi_kern_drop(dev, k);
  be->free(dev, w), be->free(dev, y);
}

static void gemv(const bench_case *q, char **over)
{
  uint32_t tile = (uint32_t)given(over, "TILE=", KOI_STRIP);
  uint64_t tiles = (uint64_t)q->n_sub * koi_tiles((uint64_t)q->sub_rows, tile), code = tiles * koi_format_tile_bytes(q->wt, 0, (uint64_t)q->k, tile),
           scale = tiles * koi_format_tile_bytes(q->wt, 1, (uint64_t)q->k, tile);
  int32_t units = (int32_t)(COLD_BYTES / (code + scale)), calls = units / q->entries, c[KOI_MAX_CONSTS] = {[MATVEC_WT] = q->wt, [MATVEC_TILE] = (int32_t)tile}, p[KOI_MAX_PARAMS], ldy = q->n_sub * q->sub_rows;
  koi_buf *w = buffer((size_t)units * code, q->wt), *s = scale ? buffer((size_t)units * scale, -1) : NULL, *x = numbers((size_t)q->k, 1),
          *y = numbers((size_t)ldy * (size_t)q->entries, 0);
  koi_buf **ids = malloc(sizeof *ids * (size_t)calls);
  for (int32_t i = 0; i < calls; i++) {
    int32_t list[64];
    for (int32_t e = 0; e < q->entries; e++) list[e] = i * q->entries + e;
    check(be->alloc(dev, sizeof list, &ids[i]));
    check(be->write(dev, ids[i], 0, sizeof list, list));
  }
  koi_kernel *k;
  parameters(&koi_op_matvec, c, p, over);
  check(koi_kern_build(dev, &koi_op_matvec, c, p, &k));
  koi_args a = {.buf = {[MATVEC_W] = w, [MATVEC_S] = s, [MATVEC_X] = x, [MATVEC_Y] = y},
                .i = {[MATVEC_E] = q->entries, [MATVEC_K] = q->k, [MATVEC_N_SUB] = q->n_sub, [MATVEC_SUB_ROWS] = q->sub_rows, [MATVEC_UNIT1] = units,
                      [MATVEC_TILE1] = (int32_t)tiles, [MATVEC_HAS_IDS] = 1, [MATVEC_X_DIV] = q->entries, [MATVEC_LDX] = q->k, [MATVEC_LDY] = ldy}};
  call all_calls = {k, a, ids, calls, 1};
  best b;
  measure(&all_calls, &b);
  report(q->name, "GB/s", (double)calls * q->entries * (double)(code + scale), b.work, calls, COLD_BYTES, b.read);
  koi_kern_drop(dev, k);
  for (int32_t i = 0; i < calls; i++) be->free(dev, ids[i]);
  koi_buf *all[] = {w, s, x, y};
  for (size_t i = 0; i < KOI_COUNT(all); i++)
    if (all[i]) be->free(dev, all[i]);
  free(ids);
}

/* Entries to units as evenly as routing gets, each unit's in panels of its own; the rest of unit and rows is -1. */
static void fill_panels(int32_t *unit, int32_t *rows, int32_t panels, int32_t nt, int32_t entries, int32_t units)
{
  int32_t at = 0;
  for (int32_t i = 0; i < panels; i++) unit[i] = -1;
  for (int32_t i = 0; i < panels * nt; i++) rows[i] = -1;
  for (int32_t u = 0, e = 0; u < units; u++) {
    int32_t end = (int32_t)((int64_t)entries * (u + 1) / units);
    for (; e < end; at++)
      for (int32_t j = 0; j < nt && e < end; j++, e++) unit[at] = u, rows[at * nt + j] = e;
  }
}

static void gemm(const bench_case *q, char **over)
{
  koi_tunables step;
  uint32_t tile = (uint32_t)given(over, "TILE=", KOI_STRIP);
  koi_step_tunables_for(&target, (int32_t)tile, &step);
  int nt = given(over, "NT=", q->used ? step.nt_group : step.nt);
  uint64_t tiles = (uint64_t)q->n_sub * koi_tiles((uint64_t)q->sub_rows, tile), code = tiles * koi_format_tile_bytes(q->wt, 0, (uint64_t)q->k, tile),
           scale = tiles * koi_format_tile_bytes(q->wt, 1, (uint64_t)q->k, tile);
  int32_t rows_each = given(over, "ROWS=", 0), entries = rows_each ? rows_each * q->units : q->entries * (q->used ? q->used : 1), panels = (entries + nt - 1) / nt + (q->used ? q->units : 0), ldy = q->n_sub * q->sub_rows;
  int32_t *unit = malloc(sizeof *unit * (size_t)panels), *rows = malloc(sizeof *rows * (size_t)panels * (size_t)nt);
  fill_panels(unit, rows, panels, nt, entries, q->units);
  koi_buf *w = buffer((size_t)q->units * code, q->wt), *s = scale ? buffer((size_t)q->units * scale, -1) : NULL,
          *x = numbers((size_t)panels * (size_t)q->k * (size_t)nt, 1), *y = numbers((size_t)ldy * (size_t)entries, 0), *ub, *rb;
  check(be->alloc(dev, sizeof *unit * (size_t)panels, &ub));
  check(be->write(dev, ub, 0, sizeof *unit * (size_t)panels, unit));
  check(be->alloc(dev, sizeof *rows * (size_t)panels * (size_t)nt, &rb));
  check(be->write(dev, rb, 0, sizeof *rows * (size_t)panels * (size_t)nt, rows));
  int32_t c[KOI_MAX_CONSTS] = {[MATMUL_WT] = q->wt, [MATMUL_NT] = nt, [MATMUL_TILE] = (int32_t)tile}, p[KOI_MAX_PARAMS];
  koi_kernel *k;
  parameters(&koi_op_matmul, c, p, over);
  check(koi_kern_build(dev, &koi_op_matmul, c, p, &k));
  koi_args a = {.buf = {[MATMUL_W] = w, [MATMUL_S] = s, [MATMUL_XP] = x, [MATMUL_UNIT] = ub, [MATMUL_ROWS] = rb, [MATMUL_Y] = y},
                .i = {[MATMUL_N_PANELS] = panels, [MATMUL_K] = q->k, [MATMUL_N_SUB] = q->n_sub, [MATMUL_SUB_ROWS] = q->sub_rows, [MATMUL_UNIT1] = q->units,
                      [MATMUL_TILE1] = (int32_t)tiles, [MATMUL_HAS_ROWS] = q->used > 0, [MATMUL_N_ROWS] = entries, [MATMUL_LDY] = ldy}};
  call one = {k, a, NULL, 1, 1};
  best b;
  measure(&one, &b);
  report(q->name, "GFLOP/s", 2.0 * entries * q->k * q->n_sub * q->sub_rows, b.work, 1, copy_rate > 0 ? 0 : probe_flops(), b.fma);
  koi_kern_drop(dev, k);
  koi_buf *all[] = {w, s, x, y, ub, rb};
  for (size_t i = 0; i < KOI_COUNT(all); i++)
    if (all[i]) be->free(dev, all[i]);
  free(unit);
  free(rows);
}

static int names(const koi_endpoint *e, const char *part) { return !strcmp(e->id, part) || strstr(e->platform, part) || strstr(e->name, part); }

/* Whether one of the names in the list is a part of this one. */
static int wanted(const char *list, const char *name)
{
  for (const char *at = list; *at; at += *at == ',') {
    char part[64];
    size_t n = strcspn(at, ",");
    snprintf(part, sizeof part, "%.*s", (int)n, at);
    if (strstr(name, part)) return 1;
    at += n;
  }
  return 0;
}

int main(int argc, char **argv)
{
  koi_probe found = {0};
  check(be->probe(&found));
  const koi_endpoint *e = NULL;
  for (size_t i = 0; i < found.n_endpoints && !e; i++)
    if (found.endpoints[i].usable && (argc < 2 || names(&found.endpoints[i], argv[1]))) e = &found.endpoints[i];
  if (!e) {
    printf("bench_mat: no OpenCL device\n");
    return 0;
  }
  check(koi_device_open(e, NULL, 0, &dev));
  koi_dev_target(e, &target);
  printf("%s, %s\n", e->platform, e->name);
  if (target.local_is_global) {
    probe_open();
  } else {
    copies();
    launches();
  }
  for (size_t i = 0; i < KOI_COUNT(cases); i++) {
    if (argc > 2 && !wanted(argv[2], cases[i].name)) continue;
    (cases[i].matmul ? gemm : gemv)(&cases[i], argc > 3 ? argv + 3 : NULL);
  }
  koi_device_close(dev);
  for (size_t i = 0; i < found.n_endpoints; i++) be->unprobe(&found.endpoints[i]);
  koi_probe_free(&found);
  probe_close();
  return 0;
}
