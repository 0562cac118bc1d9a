/* Descriptors of products of many columns: packing them into panels, matrix times panels. Owns: their parameters, launch rules and costs. Not the
 * kernels (kernels/cl) nor their meaning (ops.h). Invariant: where a target has parameters that are legal, repair finds some. */
#include "rules.h"

#define INT(at) ((size_t)a->i[at])

static size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }
static double no_flops(const koi_args *a, const int32_t *c) { return (void)a, (void)c, 0; }

/* ---- pack ---- */
enum { PACK_COLS, PACK_GROUP };

static uint64_t pack_items(const int32_t *c, const int32_t *p) { return (void)c, (uint64_t)p[PACK_GROUP]; }

static void pack_defaults(const koi_target *t, const int32_t *c, int32_t *p)
{
  (void)c;
  if (koi_scalar_cpu(t)) p[PACK_COLS] = 4, p[PACK_GROUP] = 32;
}

static void pack_repair(const koi_target *t, const int32_t *c, int32_t *p) { koi_halve(t, &koi_op_pack, c, p, PACK_GROUP, 1); }

static int32_t pack_bucket(const int32_t *i, const int32_t *c) { return koi_bucket_rows((int64_t)i[PACK_N_PANELS] * c[PACK_NT]); }

static void pack_launch(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  (void)c;
  size_t local = (size_t)p[PACK_GROUP], groups = ceil_div(INT(PACK_K), local * (size_t)p[PACK_COLS]);
  *out = (koi_range){{groups * local, INT(PACK_N_PANELS), 1}, {local, 1, 1}};
}

static double pack_bytes(const koi_args *a, const int32_t *c) { return 8.0 * a->i[PACK_N_PANELS] * a->i[PACK_K] * c[PACK_NT]; }

const koi_op koi_op_pack = {
  .name = "pack", .source = "pack",
  .bufs = {[PACK_X] = {"X", "[*][ldx]", KOI_IN}, [PACK_ROWS] = {"rows", "i32[n_panels*NT]", KOI_IN}, [PACK_XP] = {"XP", "[n_panels][K][NT]", KOI_OUT}},
  .ints = {[PACK_N_PANELS] = "n_panels", [PACK_K] = "K", [PACK_LDX] = "ldx", [PACK_X_DIV] = "x_div", [PACK_HAS_ROWS] = "has_rows", [PACK_N_ROWS] = "n_rows"},
  .consts = {[PACK_NT] = "NT"}, .usual = {[PACK_NT] = 16},
  .params = {[PACK_COLS] = KOI_PARAM("COLS", 256, 1, 1, 4, 16, 64, 256, 1024), [PACK_GROUP] = KOI_PARAM("GS", 1, 64, 1, 32, 64, 128, 256)},
  .defaults = pack_defaults, .repair = pack_repair, .group_items = pack_items, .bucket = pack_bucket,
  .launch = pack_launch, .flops = no_flops, .bytes = pack_bytes, .ref = koi_ref_pack};

/* ---- matmul ---- */
enum { MM_VW, MM_DECODE, MM_RT, MM_TG, MM_SK, MM_PG, MM_XL };

static uint64_t mm_items(const int32_t *c, const int32_t *p) { return (uint64_t)(c[MATMUL_TILE] / p[MM_VW]) * (uint64_t)p[MM_TG]; }

/* A column of a panel in fp32, or at most in three parts of 16 bits and a scale. */
static uint64_t mm_local(const int32_t *c, const int32_t *p) { return (uint64_t)p[MM_XL] * (uint64_t)c[MATMUL_NT] * (p[MM_DECODE] ? 8 : 4); }

static int mm_legal(const koi_target *t, const int32_t *c, const int32_t *p)
{
  (void)t;
  if (!koi_tile_legal(c[MATMUL_TILE])) return 0;
  if (c[MATMUL_CARE] && p[MM_SK] > 32) return 0; /* a scale of its own for every step */
  return !p[MM_XL] || (p[MM_PG] == 1 && !(p[MM_XL] % p[MM_SK]));
}

static void mm_defaults(const koi_target *t, const int32_t *c, int32_t *p)
{
  if (koi_scalar_cpu(t)) p[MM_VW] = 1, p[MM_TG] = 2, p[MM_SK] = 32, p[MM_PG] = 1;
  else if (t->local_is_global && c[MATMUL_NT] <= 8) p[MM_PG] = 8; /* so many entries to a decoded weight as with wider panels */
  koi_keep_group(c[MATMUL_TILE], &p[MM_TG], &p[MM_TG]);
  if (c[MATMUL_CARE] && p[MM_SK] > 32) p[MM_SK] = 32;
}

static void mm_repair(const koi_target *t, const int32_t *c, int32_t *p)
{
  if (c[MATMUL_CARE] && p[MM_SK] > 32) p[MM_SK] = 32;
  koi_halve(t, &koi_op_matmul, c, p, MM_XL, p[MM_SK]);
  if (!koi_legal(t, &koi_op_matmul, c, p)) p[MM_XL] = 0;
  koi_halve(t, &koi_op_matmul, c, p, MM_TG, 1);
  koi_double(t, &koi_op_matmul, c, p, MM_VW, KOI_STRIP);
}

static int32_t mm_bucket(const int32_t *i, const int32_t *c)
{
  return 4 * koi_bucket_length(i[MATMUL_K]) + koi_bucket_rows((int64_t)i[MATMUL_N_PANELS] * c[MATMUL_NT]);
}

static void mm_launch(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  size_t local = (size_t)mm_items(c, p), groups = ceil_div(INT(MATMUL_TILE1) - INT(MATMUL_TILE0), (size_t)p[MM_TG] * (size_t)p[MM_RT]);
  *out = (koi_range){{local * groups, ceil_div(INT(MATMUL_N_PANELS), (size_t)p[MM_PG]), 1}, {local, 1, 1}};
}

static double mm_rows(const koi_args *a, const int32_t *c) { return (double)(a->i[MATMUL_TILE1] - a->i[MATMUL_TILE0]) * c[MATMUL_TILE]; }

static double mm_flops(const koi_args *a, const int32_t *c)
{
  return 2.0 * c[MATMUL_NT] * a->i[MATMUL_N_PANELS] * a->i[MATMUL_K] * mm_rows(a, c);
}

static double mm_bytes(const koi_args *a, const int32_t *c)
{
  double units = a->i[MATMUL_HAS_ROWS] ? a->i[MATMUL_UNIT1] - a->i[MATMUL_UNIT0] : 1;
  return koi_weight_bytes(c[MATMUL_WT], mm_rows(a, c) * units, a->i[MATMUL_K]) +
         4.0 * c[MATMUL_NT] * a->i[MATMUL_N_PANELS] * (a->i[MATMUL_K] + mm_rows(a, c));
}

const koi_op koi_op_matmul = {
  .name = "matmul", .source = "matmul",
  .bufs = {[MATMUL_W] = {"W", "tiles", KOI_IN}, [MATMUL_S] = {"S", "tiles", KOI_IN}, [MATMUL_XP] = {"XP", "[n_panels][K][NT]", KOI_IN},
           [MATMUL_UNIT] = {"unit", "i32[n_panels]", KOI_IN}, [MATMUL_ROWS] = {"rows", "i32[n_panels*NT]", KOI_IN},
           [MATMUL_Y] = {"Y", "[n_rows][ldy]", KOI_PARTS}},
  .ints = {[MATMUL_N_PANELS] = "n_panels", [MATMUL_K] = "K", [MATMUL_N_SUB] = "n_sub", [MATMUL_SUB_ROWS] = "sub_rows", [MATMUL_UNIT0] = "unit0",
           [MATMUL_UNIT1] = "unit1", [MATMUL_TILE0] = "tile0", [MATMUL_TILE1] = "tile1", [MATMUL_HAS_ROWS] = "has_rows", [MATMUL_N_ROWS] = "n_rows",
           [MATMUL_LDY] = "ldy", [MATMUL_Y0] = "y0"},
  .consts = {[MATMUL_WT] = "WT", [MATMUL_CARE] = "CARE", [MATMUL_NT] = "NT", [MATMUL_TILE] = "TILE"},
  .usual = {[MATMUL_WT] = KOI_WT_FP4, [MATMUL_CARE] = 1, [MATMUL_NT] = 16, [MATMUL_TILE] = 16},
  .params = {[MM_VW] = KOI_PARAM("VW", 16, 1, 1, 2, 4, 8, 16), [MM_DECODE] = KOI_PARAM("DECODE", 1, 1, 0, 1), [MM_RT] = KOI_PARAM("RT", 1, 2, 1, 2, 3, 4),
             [MM_TG] = KOI_PARAM("TG", 1, 8, 1, 2, 4, 8, 16), [MM_SK] = KOI_PARAM("SK", 128, 8, 8, 32, 64, 128), [MM_PG] = KOI_PARAM("PG", 4, 1, 1, 2, 4, 8),
             [MM_XL] = KOI_PARAM("XL", 0, 64, 0, 8, 16, 32, 64)},
  .defaults = mm_defaults, .repair = mm_repair, .legal = mm_legal, .group_items = mm_items, .local_bytes = mm_local, .bucket = mm_bucket,
  .launch = mm_launch, .flops = mm_flops, .bytes = mm_bytes, .ref = koi_ref_matmul};
