/* Descriptors of what a library's products need: widening, and the product. Owns: their parameters, launch rules and costs. Not the kernels (kernels/cl)
 * nor their meaning (ops.h). Invariant: where a target has parameters that are legal, repair finds some. */
#include "rules.h"

#define INT(at) ((size_t)a->i[at])

static size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }
static double no_flops(const koi_args *a, const int32_t *c) { return (void)a, (void)c, 0; }

/* ---- widen ---- */
enum { WIDEN_VW, WIDEN_DECODE, WIDEN_COLS, WIDEN_GROUP };

static uint64_t widen_items(const int32_t *c, const int32_t *p) { return (uint64_t)(c[WIDEN_TILE] / p[WIDEN_VW]) * (uint64_t)p[WIDEN_GROUP]; }

static int widen_legal(const koi_target *t, const int32_t *c, const int32_t *p) { return (void)t, (void)p, koi_tile_legal(c[WIDEN_TILE]); }

static void widen_defaults(const koi_target *t, const int32_t *c, int32_t *p)
{
  if (koi_scalar_cpu(t)) p[WIDEN_VW] = 1, p[WIDEN_COLS] = 8, p[WIDEN_GROUP] = 2;
  koi_keep_group(c[WIDEN_TILE], &p[WIDEN_GROUP], &p[WIDEN_GROUP]);
}

static void widen_repair(const koi_target *t, const int32_t *c, int32_t *p)
{
  koi_halve(t, &koi_op_widen, c, p, WIDEN_GROUP, 1);
  koi_double(t, &koi_op_widen, c, p, WIDEN_VW, KOI_STRIP);
}

static void widen_launch(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  size_t local = (size_t)widen_items(c, p), groups = ceil_div(INT(WIDEN_K), (size_t)p[WIDEN_COLS] * (size_t)p[WIDEN_GROUP]);
  *out = (koi_range){{local * groups, ceil_div(INT(WIDEN_ROW1) - INT(WIDEN_ROW0), (size_t)c[WIDEN_TILE]), 1}, {local, 1, 1}};
}

static double widen_bytes(const koi_args *a, const int32_t *c)
{
  double rows = a->i[WIDEN_ROW1] - a->i[WIDEN_ROW0];
  return koi_weight_bytes(c[WIDEN_WT], rows, a->i[WIDEN_K]) + 4.0 * rows * a->i[WIDEN_K];
}

const koi_op koi_op_widen = {
  .name = "widen", .source = "widen",
  .bufs = {[WIDEN_W] = {"W", "tiles", KOI_IN}, [WIDEN_S] = {"S", "tiles", KOI_IN}, [WIDEN_Y] = {"Y", "[row1-row0][K]", KOI_OUT}},
  .ints = {[WIDEN_K] = "K", [WIDEN_ROWS] = "rows", [WIDEN_TILE0] = "tile0", [WIDEN_ROW0] = "row0", [WIDEN_ROW1] = "row1"},
  .consts = {[WIDEN_WT] = "WT", [WIDEN_CARE] = "CARE", [WIDEN_TILE] = "TILE"}, .usual = {[WIDEN_WT] = KOI_WT_FP8, [WIDEN_CARE] = 1, [WIDEN_TILE] = 16},
  .params = {[WIDEN_VW] = KOI_PARAM("VW", 16, 1, 1, 2, 4, 8, 16), [WIDEN_DECODE] = KOI_PARAM("DECODE", 1, 0, 0, 1),
             [WIDEN_COLS] = KOI_PARAM("COLS", 128, 8, 8, 32, 128, 512), [WIDEN_GROUP] = KOI_PARAM("GS", 1, 8, 1, 2, 4, 8, 16)},
  .defaults = widen_defaults, .repair = widen_repair, .legal = widen_legal, .group_items = widen_items,
  .launch = widen_launch, .flops = no_flops, .bytes = widen_bytes, .ref = koi_ref_widen};

/* ---- gemm ---- */
static int32_t gemm_bucket(const int32_t *i, const int32_t *c) { return (void)c, koi_bucket_rows(i[GEMM_N]); }

/* Only whether there is anything to compute: the library cuts it. */
static void gemm_launch(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  (void)c, (void)p;
  *out = (koi_range){{INT(GEMM_N), INT(GEMM_ROWS), 1}, {1, 1, 1}};
}

static double gemm_flops(const koi_args *a, const int32_t *c) { return (void)c, 2.0 * a->i[GEMM_N] * a->i[GEMM_ROWS] * a->i[GEMM_K]; }

static double gemm_bytes(const koi_args *a, const int32_t *c)
{
  double n = a->i[GEMM_N], rows = a->i[GEMM_ROWS], k = a->i[GEMM_K];
  return (void)c, 4.0 * (n * k + rows * k + n * rows);
}

const koi_op koi_op_gemm = {
  .name = "gemm",
  .bufs = {[GEMM_X] = {"X", "[n][ldx]", KOI_IN}, [GEMM_W] = {"W", "[rows][k]", KOI_IN}, [GEMM_Y] = {"Y", "[n][ldy]", KOI_PARTS}},
  .ints = {[GEMM_N] = "n", [GEMM_ROWS] = "rows", [GEMM_K] = "k", [GEMM_LDX] = "ldx", [GEMM_Y_OFFSET] = "y_offset", [GEMM_LDY] = "ldy"},
  .bucket = gemm_bucket, .launch = gemm_launch, .flops = gemm_flops, .bytes = gemm_bytes, .ref = koi_ref_gemm};
