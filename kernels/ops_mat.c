/* Descriptors of the ops on weight matrices: embedding, packing, matrix times vectors, matrix times panels, widening.
 * Owns: their parameters, launch rules and costs. Not the kernels (kernels/cl) nor their meaning (ops.h).
 * Invariant: parameters that choose gives are legal; a group never has more work-items than the target allows. */
#include "mat.h"
#include "layout.h"
#include "ops.h"
#include "ops_refs.h"

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
  *out = (koi_range){{local, INT(0), 1}, {local, 1, 1}};
}

static double embed_flops(const koi_args *a, const int32_t *c) { return (void)a, (void)c, 0; }
static double embed_bytes(const koi_args *a, const int32_t *c)
{
  return (double)a->i[0] * a->i[1] * (4.0 * c[1] + (c[0] == KOI_WT_F32 ? 4 : 2));
}

const koi_op koi_op_embed = {
  .name = "embed", .source = "embed",
  .bufs = {{"table", "[row1-row0][D]", KOI_IN}, {"token", "i32[T]", KOI_IN}, {"X", "[T][HC][D]", KOI_OUT}},
  .ints = {"T", "D", "row0", "row1"}, .consts = {"WT", "HC"},
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
  size_t local = (size_t)p[PACK_GROUP], groups = ceil_div(INT(1), local * (size_t)p[PACK_COLS]);
  *out = (koi_range){{groups * local, INT(0), 1}, {local, 1, 1}};
}

static double pack_bytes(const koi_args *a, const int32_t *c) { return 8.0 * a->i[0] * a->i[1] * c[0]; }

const koi_op koi_op_pack = {
  .name = "pack", .source = "pack",
  .bufs = {{"X", "[*][ldx]", KOI_IN}, {"rows", "i32[n_panels*NT]", KOI_IN}, {"XP", "[n_panels][K][NT]", KOI_OUT}},
  .ints = {"n_panels", "K", "ldx", "x_div", "has_rows", "n_rows"}, .consts = {"NT"},
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
  size_t local = (size_t)mv_items(p), groups = ceil_div(INT(7) - INT(6), (size_t)p[MV_TG]);
  *out = (koi_range){{local * INT(0), groups, 1}, {local, 1, 1}};
}

static double mv_flops(const koi_args *a, const int32_t *c)
{
  (void)c;
  return 2.0 * KOI_TILE * a->i[0] * a->i[1] * (a->i[7] - a->i[6]);
}

static double mv_bytes(const koi_args *a, const int32_t *c)
{
  double entries = a->i[8] ? a->i[0] : 1;
  return entries * weight_bytes(c[0], a->i[7] - a->i[6], a->i[1]) + 4.0 * a->i[0] * ((double)a->i[1] / a->i[9] + KOI_TILE * (a->i[7] - a->i[6]));
}

const koi_op koi_op_matvec = {
  .name = "matvec", .source = "matvec",
  .bufs = {{"W", "tiles", KOI_IN}, {"S", "tiles", KOI_IN}, {"X", "[*][ldx]", KOI_IN}, {"ids", "i32[E]", KOI_IN}, {"Y", "[E][ldy]", KOI_INOUT}},
  .ints = {"E", "K", "n_sub", "sub_rows", "unit0", "unit1", "tile0", "tile1", "has_ids", "x_div", "ldx", "ldy", "y0"}, .consts = {"WT", "CARE"},
  .params = {{"VW", 16, 1, VALUES(1, 2, 4, 8, 16)}, {"DECODE", 1, 0, VALUES(0, 1)}, {"TG", 1, 1, VALUES(1, 2, 4, 8, 16)},
             {"KS", 1, 16, VALUES(1, 2, 4, 8, 16)}, {"KI", 4, 1, VALUES(1, 2, 4, 8)}},
  .legal = mv_legal, .choose = mv_choose, .launch = mv_launch, .flops = mv_flops, .bytes = mv_bytes, .ref = koi_ref_matvec};

/* ---- matmul ---- */
enum { MM_VW, MM_DECODE, MM_RT, MM_TG, MM_SK, MM_PG, MM_XL };
enum { MM_WT, MM_CARE, MM_NT };

static int64_t mm_items(const int32_t *p) { return (int64_t)KOI_TILE / p[MM_VW] * p[MM_TG]; }

static int mm_legal(const koi_target *t, const int32_t *c, const int32_t *p)
{
  int64_t local_bytes = (int64_t)p[MM_XL] * c[MM_NT] * 4;
  if (c[MM_CARE] && p[MM_SK] > 32) return 0; /* a scale of its own for every step */
  if (p[MM_XL] && (p[MM_PG] > 1 || p[MM_XL] % p[MM_SK])) return 0;
  return fits(t, mm_items(p)) && local_bytes <= (int64_t)t->local_bytes;
}

static void mm_choose(const koi_target *t, const int32_t *c, int32_t *p)
{
  if (scalar_cpu(t)) p[MM_VW] = 1, p[MM_TG] = 2, p[MM_SK] = 32, p[MM_PG] = 1;
  if (c[MM_CARE] && p[MM_SK] > 32) p[MM_SK] = 32;
  while (!mm_legal(t, c, p) && p[MM_XL] > p[MM_SK]) p[MM_XL] /= 2;
  if (!mm_legal(t, c, p)) p[MM_XL] = 0;
  while (!mm_legal(t, c, p) && p[MM_TG] > 1) p[MM_TG] /= 2;
  while (!mm_legal(t, c, p) && p[MM_VW] < KOI_TILE) p[MM_VW] *= 2;
}

static void mm_launch(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  (void)c;
  size_t local = (size_t)mm_items(p), groups = ceil_div(INT(7) - INT(6), (size_t)p[MM_TG] * (size_t)p[MM_RT]);
  *out = (koi_range){{local * groups, ceil_div(INT(0), (size_t)p[MM_PG]), 1}, {local, 1, 1}};
}

static double mm_flops(const koi_args *a, const int32_t *c) { return 2.0 * KOI_TILE * c[MM_NT] * a->i[0] * a->i[1] * (a->i[7] - a->i[6]); }
static double mm_bytes(const koi_args *a, const int32_t *c)
{
  double tiles = a->i[7] - a->i[6], units = a->i[8] ? a->i[5] - a->i[4] : 1;
  return weight_bytes(c[MM_WT], tiles * units, a->i[1]) + 4.0 * c[MM_NT] * a->i[0] * (a->i[1] + KOI_TILE * tiles);
}

const koi_op koi_op_matmul = {
  .name = "matmul", .source = "matmul",
  .bufs = {{"W", "tiles", KOI_IN}, {"S", "tiles", KOI_IN}, {"XP", "[n_panels][K][NT]", KOI_IN}, {"unit", "i32[n_panels]", KOI_IN},
           {"rows", "i32[n_panels*NT]", KOI_IN}, {"Y", "[n_rows][ldy]", KOI_INOUT}},
  .ints = {"n_panels", "K", "n_sub", "sub_rows", "unit0", "unit1", "tile0", "tile1", "has_rows", "n_rows", "ldy", "y0"},
  .consts = {"WT", "CARE", "NT"},
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
  size_t local = (size_t)widen_items(p), groups = ceil_div(INT(0), (size_t)p[WIDEN_COLS] * (size_t)p[WIDEN_GROUP]);
  *out = (koi_range){{local * groups, ceil_div(INT(4) - INT(3), KOI_TILE), 1}, {local, 1, 1}};
}

static double widen_bytes(const koi_args *a, const int32_t *c)
{
  double rows = a->i[4] - a->i[3];
  return weight_bytes(c[0], rows / KOI_TILE, a->i[0]) + 4.0 * rows * a->i[0];
}

const koi_op koi_op_widen = {
  .name = "widen", .source = "widen",
  .bufs = {{"W", "tiles", KOI_IN}, {"S", "tiles", KOI_IN}, {"Y", "[row1-row0][K]", KOI_OUT}},
  .ints = {"K", "rows", "tile0", "row0", "row1"}, .consts = {"WT", "CARE"},
  .params = {{"VW", 16, 1, VALUES(1, 2, 4, 8, 16)}, {"DECODE", 1, 0, VALUES(0, 1)}, {"COLS", 128, 8, VALUES(8, 32, 128, 512)},
             {"GS", 1, 8, VALUES(1, 2, 4, 8, 16)}},
  .legal = widen_legal, .choose = widen_choose, .launch = widen_launch, .flops = embed_flops, .bytes = widen_bytes, .ref = koi_ref_widen};
