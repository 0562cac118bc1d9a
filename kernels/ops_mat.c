/* Descriptors of the ops on weight matrices: embedding, packing, matrix times vectors, matrix times panels, widening.
 * Owns: their parameters, launch rules and costs. Not the kernels (kernels/cl) nor their meaning (ops.h).
 * Invariant: parameters that choose gives are legal; a group never has more work-items than the target allows. */
#include "mat.h"
#include "layout.h"
#include "ops.h"

#define VALUES(...) (const int32_t[]){__VA_ARGS__}, sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t)
#define INT(at) ((size_t)a->i[at])

static size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }
/* A CPU whose driver fills its vectors with neighbouring work-items and so prefers scalars: vectors of ours only make its compiler slow. */
static int scalar_cpu(const koi_target *t) { return t->local_is_global && t->vector_width <= 1; }

static int fits(const koi_target *t, int64_t items) { return items >= 1 && (!t->max_group || items <= (int64_t)t->max_group); }

static double weight_bytes(int wt, double tiles, int32_t k)
{
  uint64_t tile = 0;
  for (int s = 0; s < KOI_MAX_STREAMS; s++) tile += koi_format_tile_bytes(wt, s, (uint64_t)k);
  return tiles * (double)tile;
}

/* ---- embed ---- */
enum { EMBED_VW, EMBED_GROUP };

static int embed_legal(const koi_target *t, const int32_t *c, const int32_t *p)
{
  (void)c;
  return fits(t, p[EMBED_GROUP]);
}

static void embed_choose(const koi_target *t, const int32_t *c, int32_t *p)
{
  if (scalar_cpu(t)) p[EMBED_VW] = 1, p[EMBED_GROUP] = 32;
  while (!embed_legal(t, c, p)) p[EMBED_GROUP] /= 2;
}

static void embed_launch(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  (void)c;
  size_t local = (size_t)p[EMBED_GROUP];
  *out = (koi_range){{local, INT(EMBED_T), 1}, {local, 1, 1}};
}

static double embed_flops(const koi_args *a, const int32_t *c) { return (void)a, (void)c, 0; }
static double embed_bytes(const koi_args *a, const int32_t *c)
{
  return (double)a->i[EMBED_T] * a->i[EMBED_D] * (4.0 * c[EMBED_HC] + (c[EMBED_WT] == KOI_WT_F32 ? 4 : 2));
}

const koi_op koi_op_embed = {
  .name = "embed", .source = "embed",
  .bufs = {[EMBED_TABLE] = {"table", "[row1-row0][D]", KOI_IN},
           [EMBED_TOKEN] = {"token", "i32[T]", KOI_IN},
           [EMBED_X] = {"X", "[T][HC][D]", KOI_OUT}},
  .ints = {[EMBED_T] = "T", [EMBED_D] = "D", [EMBED_ROW0] = "row0", [EMBED_ROW1] = "row1"}, .consts = {[EMBED_WT] = "WT", [EMBED_HC] = "HC"},
  .params = {{"VW", 16, 1, VALUES(1, 2, 4, 8, 16)}, {"GS", 1, 128, VALUES(1, 32, 64, 128, 256)}},
  .legal = embed_legal, .choose = embed_choose, .launch = embed_launch, .flops = embed_flops, .bytes = embed_bytes, .ref = koi_ref_embed};

/* ---- pack ---- */
enum { PACK_COLS, PACK_GROUP };

static int pack_legal(const koi_target *t, const int32_t *c, const int32_t *p)
{
  (void)c;
  return fits(t, p[PACK_GROUP]);
}

static void pack_choose(const koi_target *t, const int32_t *c, int32_t *p)
{
  if (scalar_cpu(t)) p[PACK_COLS] = 4, p[PACK_GROUP] = 32;
  while (!pack_legal(t, c, p)) p[PACK_GROUP] /= 2;
}

static void pack_launch(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  (void)c;
  size_t local = (size_t)p[PACK_GROUP], groups = ceil_div(INT(PACK_K), local * (size_t)p[PACK_COLS]);
  *out = (koi_range){{groups * local, INT(PACK_N_PANELS), 1}, {local, 1, 1}};
}

static double pack_bytes(const koi_args *a, const int32_t *c) { return 8.0 * a->i[PACK_N_PANELS] * a->i[PACK_K] * c[PACK_NT]; }

const koi_op koi_op_pack = {
  .name = "pack", .source = "pack",
  .bufs = {[PACK_X] = {"X", "[*][ldx]", KOI_IN},
           [PACK_ROWS] = {"rows", "i32[n_panels*NT]", KOI_IN},
           [PACK_XP] = {"XP", "[n_panels][K][NT]", KOI_OUT}},
  .ints = {[PACK_N_PANELS] = "n_panels", [PACK_K] = "K", [PACK_LDX] = "ldx", [PACK_X_DIV] = "x_div", [PACK_HAS_ROWS] = "has_rows",
           [PACK_N_ROWS] = "n_rows"}, .consts = {[PACK_NT] = "NT"},
  .params = {{"COLS", 256, 1, VALUES(1, 4, 16, 64, 256, 1024)}, {"GS", 1, 64, VALUES(1, 32, 64, 128, 256)}},
  .legal = pack_legal, .choose = pack_choose, .launch = pack_launch, .flops = embed_flops, .bytes = pack_bytes, .ref = koi_ref_pack};

/* ---- matvec ---- */
enum { MV_VW, MV_DECODE, MV_TG, MV_KS, MV_KI };

static int64_t mv_items(const int32_t *p) { return (int64_t)KOI_TILE / p[MV_VW] * p[MV_TG] * p[MV_KS]; }

static int mv_legal(const koi_target *t, const int32_t *c, const int32_t *p)
{
  (void)c;
  int64_t local_bytes = p[MV_KS] > 1 ? mv_items(p) * p[MV_VW] * 4 : 0;
  return fits(t, mv_items(p)) && (p[MV_KS] == 1 || p[MV_KI] == 1) && local_bytes <= (int64_t)t->local_bytes;
}

static void mv_choose(const koi_target *t, const int32_t *c, int32_t *p)
{
  if (scalar_cpu(t)) p[MV_VW] = 1, p[MV_TG] = 2, p[MV_KI] = 1;
  while (!mv_legal(t, c, p) && p[MV_KS] > 1) p[MV_KS] /= 2;
  while (!mv_legal(t, c, p) && p[MV_VW] < KOI_TILE) p[MV_VW] *= 2;
}

static void mv_launch(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  (void)c;
  size_t local = (size_t)mv_items(p), groups = ceil_div(INT(MATVEC_TILE1) - INT(MATVEC_TILE0), (size_t)p[MV_TG]);
  *out = (koi_range){{local * INT(MATVEC_E), groups, 1}, {local, 1, 1}};
}

static double mv_flops(const koi_args *a, const int32_t *c)
{
  (void)c;
  return 2.0 * KOI_TILE * a->i[MATVEC_E] * a->i[MATVEC_K] * (a->i[MATVEC_TILE1] - a->i[MATVEC_TILE0]);
}

static double mv_bytes(const koi_args *a, const int32_t *c)
{
  double entries = a->i[MATVEC_HAS_IDS] ? a->i[MATVEC_E] : 1;
  return entries * weight_bytes(c[MATVEC_WT], a->i[MATVEC_TILE1] - a->i[MATVEC_TILE0], a->i[MATVEC_K]) +
      4.0 * a->i[MATVEC_E] * ((double)a->i[MATVEC_K] / a->i[MATVEC_X_DIV] + KOI_TILE * (a->i[MATVEC_TILE1] - a->i[MATVEC_TILE0]));
}

const koi_op koi_op_matvec = {
  .name = "matvec", .source = "matvec",
  .bufs = {[MATVEC_W] = {"W", "tiles", KOI_IN},
           [MATVEC_S] = {"S", "tiles", KOI_IN},
           [MATVEC_X] = {"X", "[*][ldx]", KOI_IN},
           [MATVEC_IDS] = {"ids", "i32[E]", KOI_IN},
           [MATVEC_Y] = {"Y", "[E][ldy]", KOI_INOUT}},
  .ints = {[MATVEC_E] = "E", [MATVEC_K] = "K", [MATVEC_N_SUB] = "n_sub", [MATVEC_SUB_ROWS] = "sub_rows", [MATVEC_UNIT0] = "unit0", [MATVEC_UNIT1] = "unit1",
           [MATVEC_TILE0] = "tile0", [MATVEC_TILE1] = "tile1", [MATVEC_HAS_IDS] = "has_ids", [MATVEC_X_DIV] = "x_div", [MATVEC_LDX] = "ldx",
                   [MATVEC_LDY] = "ldy", [MATVEC_Y0] = "y0"}, .consts = {[MATVEC_WT] = "WT", [MATVEC_CARE] = "CARE"},
  .params = {{"VW", 16, 1, VALUES(1, 2, 4, 8, 16)}, {"DECODE", 1, 0, VALUES(0, 1)}, {"TG", 1, 1, VALUES(1, 2, 4, 8, 16)},
             {"KS", 1, 16, VALUES(1, 2, 4, 8, 16)}, {"KI", 4, 1, VALUES(1, 2, 4, 8)}},
  .legal = mv_legal, .choose = mv_choose, .launch = mv_launch, .flops = mv_flops, .bytes = mv_bytes, .ref = koi_ref_matvec};

/* ---- matmul ---- */
enum { MM_VW, MM_DECODE, MM_RT, MM_TG, MM_SK, MM_PG, MM_XL };

static int64_t mm_items(const int32_t *p) { return (int64_t)KOI_TILE / p[MM_VW] * p[MM_TG]; }

static int mm_legal(const koi_target *t, const int32_t *c, const int32_t *p)
{
  int64_t local_bytes = (int64_t)p[MM_XL] * c[MATMUL_NT] * 4;
  if (c[MATMUL_CARE] && p[MM_SK] > 32) return 0; /* a scale of its own for every step */
  if (p[MM_XL] && (p[MM_PG] > 1 || p[MM_XL] % p[MM_SK])) return 0;
  return fits(t, mm_items(p)) && local_bytes <= (int64_t)t->local_bytes;
}

static void mm_choose(const koi_target *t, const int32_t *c, int32_t *p)
{
  if (scalar_cpu(t)) p[MM_VW] = 1, p[MM_TG] = 2, p[MM_SK] = 32, p[MM_PG] = 1;
  if (c[MATMUL_CARE] && p[MM_SK] > 32) p[MM_SK] = 32;
  while (!mm_legal(t, c, p) && p[MM_XL] > p[MM_SK]) p[MM_XL] /= 2;
  if (!mm_legal(t, c, p)) p[MM_XL] = 0;
  while (!mm_legal(t, c, p) && p[MM_TG] > 1) p[MM_TG] /= 2;
  while (!mm_legal(t, c, p) && p[MM_VW] < KOI_TILE) p[MM_VW] *= 2;
}

static void mm_launch(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  (void)c;
  size_t local = (size_t)mm_items(p), groups = ceil_div(INT(MATMUL_TILE1) - INT(MATMUL_TILE0), (size_t)p[MM_TG] * (size_t)p[MM_RT]);
  *out = (koi_range){{local * groups, ceil_div(INT(MATMUL_N_PANELS), (size_t)p[MM_PG]), 1}, {local, 1, 1}};
}

static double mm_flops(const koi_args *a,
                       const int32_t *c) { return 2.0 * KOI_TILE * c[MATMUL_NT] * a->i[MATMUL_N_PANELS] * a->i[MATMUL_K] *
                                          (a->i[MATMUL_TILE1] - a->i[MATMUL_TILE0]); }
static double mm_bytes(const koi_args *a, const int32_t *c)
{
  double tiles = a->i[MATMUL_TILE1] - a->i[MATMUL_TILE0], units = a->i[MATMUL_HAS_ROWS] ? a->i[MATMUL_UNIT1] - a->i[MATMUL_UNIT0] : 1;
  return weight_bytes(c[MATMUL_WT], tiles * units, a->i[MATMUL_K]) + 4.0 * c[MATMUL_NT] * a->i[MATMUL_N_PANELS] * (a->i[MATMUL_K] + KOI_TILE * tiles);
}

const koi_op koi_op_matmul = {
  .name = "matmul", .source = "matmul",
  .bufs = {[MATMUL_W] = {"W", "tiles", KOI_IN},
           [MATMUL_S] = {"S", "tiles", KOI_IN},
           [MATMUL_XP] = {"XP", "[n_panels][K][NT]", KOI_IN},
           [MATMUL_UNIT] = {"unit", "i32[n_panels]", KOI_IN},
           [MATMUL_ROWS] = {"rows", "i32[n_panels*NT]", KOI_IN},
           [MATMUL_Y] = {"Y", "[n_rows][ldy]", KOI_INOUT}},
  .ints = {[MATMUL_N_PANELS] = "n_panels", [MATMUL_K] = "K", [MATMUL_N_SUB] = "n_sub", [MATMUL_SUB_ROWS] = "sub_rows", [MATMUL_UNIT0] = "unit0",
           [MATMUL_UNIT1] = "unit1", [MATMUL_TILE0] = "tile0", [MATMUL_TILE1] = "tile1", [MATMUL_HAS_ROWS] = "has_rows", [MATMUL_N_ROWS] = "n_rows",
                   [MATMUL_LDY] = "ldy", [MATMUL_Y0] = "y0"},
  .consts = {[MATMUL_WT] = "WT", [MATMUL_CARE] = "CARE", [MATMUL_NT] = "NT"},
  .params = {{"VW", 16, 1, VALUES(1, 2, 4, 8, 16)}, {"DECODE", 1, 0, VALUES(0, 1)}, {"RT", 1, 2, VALUES(1, 2, 3, 4)}, {"TG", 1, 8, VALUES(1, 2, 4, 8, 16)},
             {"SK", 128, 8, VALUES(8, 32, 64, 128)}, {"PG", 4, 1, VALUES(1, 2, 4, 8)}, {"XL", 0, 32, VALUES(0, 8, 16, 32, 64)}},
  .legal = mm_legal, .choose = mm_choose, .launch = mm_launch, .flops = mm_flops, .bytes = mm_bytes, .ref = koi_ref_matmul};

int koi_mat_nt(const koi_target *t, int wt, int grouped)
{
  (void)t, (void)wt, (void)grouped;
  return 16;
}

/* ---- widen ---- */
enum { WIDEN_VW, WIDEN_DECODE, WIDEN_COLS, WIDEN_GROUP };

static int64_t widen_items(const int32_t *p) { return (int64_t)KOI_TILE / p[WIDEN_VW] * p[WIDEN_GROUP]; }

static int widen_legal(const koi_target *t, const int32_t *c, const int32_t *p)
{
  (void)c;
  return fits(t, widen_items(p));
}

static void widen_choose(const koi_target *t, const int32_t *c, int32_t *p)
{
  if (scalar_cpu(t)) p[WIDEN_VW] = 1, p[WIDEN_COLS] = 8, p[WIDEN_GROUP] = 2;
  while (!widen_legal(t, c, p) && p[WIDEN_GROUP] > 1) p[WIDEN_GROUP] /= 2;
  while (!widen_legal(t, c, p) && p[WIDEN_VW] < KOI_TILE) p[WIDEN_VW] *= 2;
}

static void widen_launch(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  (void)c;
  size_t local = (size_t)widen_items(p), groups = ceil_div(INT(WIDEN_K), (size_t)p[WIDEN_COLS] * (size_t)p[WIDEN_GROUP]);
  *out = (koi_range){{local * groups, ceil_div(INT(WIDEN_ROW1) - INT(WIDEN_ROW0), KOI_TILE), 1}, {local, 1, 1}};
}

static double widen_bytes(const koi_args *a, const int32_t *c)
{
  double rows = a->i[WIDEN_ROW1] - a->i[WIDEN_ROW0];
  return weight_bytes(c[WIDEN_WT], rows / KOI_TILE, a->i[WIDEN_K]) + 4.0 * rows * a->i[WIDEN_K];
}

const koi_op koi_op_widen = {
  .name = "widen", .source = "widen",
  .bufs = {[WIDEN_W] = {"W", "tiles", KOI_IN},
           [WIDEN_S] = {"S", "tiles", KOI_IN},
           [WIDEN_Y] = {"Y", "[row1-row0][K]", KOI_OUT}},
  .ints = {[WIDEN_K] = "K", [WIDEN_ROWS] = "rows", [WIDEN_TILE0] = "tile0", [WIDEN_ROW0] = "row0", [WIDEN_ROW1] = "row1"},
          .consts = {[WIDEN_WT] = "WT", [WIDEN_CARE] = "CARE"},
  .params = {{"VW", 16, 1, VALUES(1, 2, 4, 8, 16)}, {"DECODE", 1, 0, VALUES(0, 1)}, {"COLS", 128, 8, VALUES(8, 32, 128, 512)},
             {"GS", 1, 8, VALUES(1, 2, 4, 8, 16)}},
  .legal = widen_legal, .choose = widen_choose, .launch = widen_launch, .flops = embed_flops, .bytes = widen_bytes, .ref = koi_ref_widen};
