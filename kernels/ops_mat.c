/* Descriptors of the ops on weight matrices: embedding, packing, matrix times vectors, matrix times panels.
 * Owns: their parameters, launch rules and costs. Not the kernels (kernels/cl) nor their meaning (ops.h).
 * Invariant: where a target has parameters that are legal, repair finds some. */
#include "rules.h"

#define INT(at) ((size_t)a->i[at])

static size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }

static double no_flops(const koi_args *a, const int32_t *c) { return (void)a, (void)c, 0; }

/* ---- embed ---- */
enum { EMBED_GROUP };

static uint64_t embed_items(const int32_t *c, const int32_t *p) { return (void)c, (uint64_t)p[EMBED_GROUP]; }

static void embed_defaults(const koi_target *t, const int32_t *c, int32_t *p)
{
  (void)c;
  if (koi_scalar_cpu(t)) p[EMBED_GROUP] = 32;
}

static int embed_legal(const koi_target *t, const int32_t *c, const int32_t *p) { return (void)t, (void)p, koi_tile_legal(c[EMBED_TILE]); }

static void embed_repair(const koi_target *t, const int32_t *c, int32_t *p) { koi_halve(t, &koi_op_embed, c, p, EMBED_GROUP, 1); }

static int32_t embed_bucket(const int32_t *i, const int32_t *c) { return (void)c, koi_bucket_rows(i[EMBED_T]); }

static void embed_launch(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  (void)c;
  size_t local = (size_t)p[EMBED_GROUP];
  *out = (koi_range){{local, INT(EMBED_T), 1}, {local, 1, 1}};
}

static double embed_bytes(const koi_args *a, const int32_t *c)
{
  return (double)a->i[EMBED_T] * (koi_weight_bytes(c[EMBED_WT], 1, a->i[EMBED_D]) + 4.0 * c[EMBED_HC] * a->i[EMBED_D]);
}

const koi_op koi_op_embed = {
  .name = "embed", .source = "embed",
  .bufs = {[EMBED_W] = {"W", "tiles", KOI_IN}, [EMBED_S] = {"S", "tiles", KOI_IN}, [EMBED_TOKEN] = {"token", "i32[T]", KOI_IN}, [EMBED_X] = {"X", "[T][HC][D]", KOI_PARTS}},
  .ints = {[EMBED_T] = "T", [EMBED_D] = "D", [EMBED_ROW0] = "row0", [EMBED_ROW1] = "row1"},
  .consts = {[EMBED_WT] = "WT", [EMBED_CARE] = "CARE", [EMBED_HC] = "HC", [EMBED_TILE] = "TILE"},
  .usual = {[EMBED_WT] = KOI_WT_BF16, [EMBED_HC] = 4, [EMBED_TILE] = 16},
  .params = {[EMBED_GROUP] = KOI_PARAM("GS", 1, 128, 1, 32, 64, 128, 256)},
  .defaults = embed_defaults, .repair = embed_repair, .legal = embed_legal, .group_items = embed_items, .bucket = embed_bucket,
  .launch = embed_launch, .flops = no_flops, .bytes = embed_bytes, .ref = koi_ref_embed};

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

/* ---- matvec ---- */
enum { MV_VW, MV_DECODE, MV_TG, MV_KS, MV_KI };

static uint64_t mv_items(const int32_t *c, const int32_t *p) { return (uint64_t)(c[MATVEC_TILE] / p[MV_VW]) * (uint64_t)p[MV_TG] * (uint64_t)p[MV_KS]; }

/* At most what the kernel declares: the columns of the vector that are held at once, for a matrix unit in three parts of fp16, and a sum for each
 * part of a row. */
static uint64_t mv_local(const int32_t *c, const int32_t *p)
{
  uint64_t columns = p[MV_KS] > 16 ? 128 * (uint64_t)p[MV_KS] : 2048;
  return p[MV_KS] > 1 ? mv_items(c, p) * (uint64_t)p[MV_VW] * sizeof(float) + columns * (p[MV_DECODE] ? 6 : 4) : 0;
}

static int mv_legal(const koi_target *t, const int32_t *c, const int32_t *p) { return (void)t, koi_tile_legal(c[MATVEC_TILE]) && (p[MV_KS] == 1 || p[MV_KI] == 1); }

static void mv_defaults(const koi_target *t, const int32_t *c, int32_t *p)
{
  if (koi_scalar_cpu(t)) p[MV_VW] = 1, p[MV_TG] = 2, p[MV_KI] = 1;
  /* Products in fp32 have few rows and many columns: one group reads them all. Those of experts have many tiles: four share the vector. */
  if (!t->local_is_global && c[MATVEC_WT] == KOI_WT_F32) p[MV_KS] = 64, p[MV_DECODE] = 0;
  if (!t->local_is_global && (c[MATVEC_WT] == KOI_WT_FP4 || c[MATVEC_WT] == KOI_WT_MXFP4)) p[MV_KS] = 4, p[MV_TG] = 4;
  koi_keep_group(c[MATVEC_TILE], &p[MV_TG], &p[MV_KS]);
}

static void mv_repair_of(const koi_op *op, const koi_target *t, const int32_t *c, int32_t *p)
{
  koi_halve(t, op, c, p, MV_KS, 1);
  koi_double(t, op, c, p, MV_VW, KOI_STRIP);
  koi_halve(t, op, c, p, MV_TG, 1);
}
static void mv_repair(const koi_target *t, const int32_t *c, int32_t *p) { mv_repair_of(&koi_op_matvec, t, c, p); }

static int32_t mv_bucket(const int32_t *i, const int32_t *c) { return (void)c, 4 * koi_bucket_length(i[MATVEC_K]) + koi_bucket_rows(i[MATVEC_E]); }

static void mv_launch(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  size_t local = (size_t)mv_items(c, p), groups = ceil_div(INT(MATVEC_TILE1) - INT(MATVEC_TILE0), (size_t)p[MV_TG]);
  *out = (koi_range){{local * INT(MATVEC_E), groups, 1}, {local, 1, 1}};
}

static double mv_rows(const koi_args *a, const int32_t *c) { return (double)(a->i[MATVEC_TILE1] - a->i[MATVEC_TILE0]) * c[MATVEC_TILE]; }

static double mv_flops(const koi_args *a, const int32_t *c) { return 2.0 * a->i[MATVEC_E] * a->i[MATVEC_K] * mv_rows(a, c); }

static double mv_bytes(const koi_args *a, const int32_t *c)
{
  double entries = a->i[MATVEC_HAS_IDS] ? a->i[MATVEC_E] : 1;
  return entries * koi_weight_bytes(c[MATVEC_WT], mv_rows(a, c), a->i[MATVEC_K]) +
         4.0 * a->i[MATVEC_E] * ((double)a->i[MATVEC_K] / a->i[MATVEC_X_DIV] + mv_rows(a, c));
}

#define MV_INTS_IN                                                                                                                      \
  [MATVEC_E] = "E", [MATVEC_K] = "K", [MATVEC_N_SUB] = "n_sub", [MATVEC_SUB_ROWS] = "sub_rows", [MATVEC_UNIT0] = "unit0",               \
  [MATVEC_UNIT1] = "unit1", [MATVEC_TILE0] = "tile0", [MATVEC_TILE1] = "tile1", [MATVEC_HAS_IDS] = "has_ids", [MATVEC_X_DIV] = "x_div", \
  [MATVEC_LDX] = "ldx"
#define MV_INTS MV_INTS_IN, [MATVEC_LDY] = "ldy", [MATVEC_Y0] = "y0"
#define MV_CONSTS [MATVEC_WT] = "WT", [MATVEC_CARE] = "CARE", [MATVEC_TILE] = "TILE"
#define MV_USUAL [MATVEC_WT] = KOI_WT_FP4, [MATVEC_CARE] = 1, [MATVEC_TILE] = 16
#define MV_PARAMS                                                                                                                                                \
  {[MV_VW] = KOI_PARAM("VW", 16, 1, 1, 2, 4, 8, 16), [MV_DECODE] = KOI_PARAM("DECODE", 1, 1, 0, 1), [MV_TG] = KOI_PARAM("TG", 8, 1, 1, 2, 4, 8, 16),  \
   [MV_KS] = KOI_PARAM("KS", 1, 16, 1, 2, 4, 8, 16, 32, 64), [MV_KI] = KOI_PARAM("KI", 1, 1, 1, 2, 4, 8)}

const koi_op koi_op_matvec = {
  .name = "matvec", .source = "matvec",
  .bufs = {[MATVEC_W] = {"W", "tiles", KOI_IN}, [MATVEC_S] = {"S", "tiles", KOI_IN}, [MATVEC_X] = {"X", "[*][ldx]", KOI_IN},
           [MATVEC_IDS] = {"ids", "i32[E]", KOI_IN}, [MATVEC_Y] = {"Y", "[E][ldy]", KOI_PARTS}},
  .ints = {MV_INTS}, .consts = {MV_CONSTS}, .usual = {MV_USUAL}, .params = MV_PARAMS,
  .defaults = mv_defaults, .repair = mv_repair, .legal = mv_legal, .group_items = mv_items, .local_bytes = mv_local, .bucket = mv_bucket,
  .launch = mv_launch, .flops = mv_flops, .bytes = mv_bytes, .ref = koi_ref_matvec};

/* ---- matvec_glu ---- */
static void glu_repair(const koi_target *t, const int32_t *c, int32_t *p) { mv_repair_of(&koi_op_matvec_glu, t, c, p); }

/* A group has the same tiles of both matrices. */
static void glu_launch(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  size_t local = (size_t)mv_items(c, p);
  *out = (koi_range){{local * INT(MATVEC_E), ceil_div(INT(MATVEC_TILE1) / 2, (size_t)p[MV_TG]), 1}, {local, 1, 1}};
}

static double glu_flops(const koi_args *a, const int32_t *c) { return mv_flops(a, c) + 8.0 * a->i[MATVEC_E] * a->i[MATVEC_SUB_ROWS]; }

const koi_op koi_op_matvec_glu = {
  .name = "matvec_glu", .source = "matvec_glu",
  .bufs = {[MATVEC_W] = {"W", "tiles", KOI_IN}, [MATVEC_S] = {"S", "tiles", KOI_IN}, [MATVEC_X] = {"X", "[*][ldx]", KOI_IN},
           [MATVEC_IDS] = {"ids", "i32[E]", KOI_IN}, [MATVEC_Y] = {"H", "[E][ldy]", KOI_PARTS}, [MATVEC_GLU_W_OF] = {"w", "[E]", KOI_IN}},
  .ints = {MV_INTS, [MATVEC_GLU_HAS_W] = "has_w"}, .floats = {[MATVEC_GLU_LIMIT] = "limit"}, .consts = {MV_CONSTS}, .usual = {MV_USUAL}, .params = MV_PARAMS,
  .defaults = mv_defaults, .repair = glu_repair, .legal = mv_legal, .group_items = mv_items, .local_bytes = mv_local, .bucket = mv_bucket,
  .launch = glu_launch, .flops = glu_flops, .bytes = mv_bytes, .ref = koi_ref_matvec_glu};

/* ---- matvec_post ---- */
static void post_repair(const koi_target *t, const int32_t *c, int32_t *p) { mv_repair_of(&koi_op_matvec_post, t, c, p); }

/* One group has all entries of its rows: few tiles each, so that there are groups enough. */
static void post_defaults(const koi_target *t, const int32_t *c, int32_t *p)
{
  mv_defaults(t, c, p);
  if (!t->local_is_global) p[MV_TG] = 1, p[MV_KS] = 256 / c[MATVEC_TILE];
}

/* Beside matvec's: the streams' new columns, and shares of the mixes. */
static uint64_t post_local(const int32_t *c, const int32_t *p)
{
  uint64_t items = (uint64_t)(c[MATVEC_TILE] / p[MV_VW]) * (uint64_t)p[MV_KS], rows = (uint64_t)c[MATVEC_TILE];
  uint64_t mixes = ceil_div((size_t)c[MATVEC_POST_MIX], rows) * rows, vecs = mixes / (uint64_t)p[MV_VW], shares = vecs && items / vecs ? items / vecs : 1;
  return mv_local(c, p) + (items > 1 ? (uint64_t)p[MV_TG] * ((uint64_t)c[MATVEC_POST_HC] * rows + shares * mixes) * sizeof(float) : 0);
}

static void post_launch(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  size_t local = (size_t)mv_items(c, p), groups = ceil_div(INT(MATVEC_TILE1) - INT(MATVEC_TILE0), (size_t)p[MV_TG]);
  *out = (koi_range){{local, groups, 1}, {local, 1, 1}};
}

static double post_columns(const koi_args *a, const int32_t *c) { return mv_rows(a, c) * c[MATVEC_POST_HC]; }

static double post_flops(const koi_args *a, const int32_t *c)
{
  return mv_flops(a, c) + 2.0 * post_columns(a, c) * (c[MATVEC_POST_HC] + 1.0 + c[MATVEC_POST_MIX]);
}

static double post_bytes(const koi_args *a, const int32_t *c) { return mv_bytes(a, c) + 4.0 * post_columns(a, c) * (2.0 + c[MATVEC_POST_MIX]); }

const koi_op koi_op_matvec_post = {
  .name = "matvec_post", .source = "matvec_post",
  .bufs = {[MATVEC_W] = {"W", "tiles", KOI_IN}, [MATVEC_S] = {"S", "tiles", KOI_IN}, [MATVEC_X] = {"X", "[*][ldx]", KOI_IN},
           [MATVEC_IDS] = {"ids", "i32[E]", KOI_IN}, [MATVEC_POST_STREAMS] = {"streams", "[HC][D]", KOI_INOUT}, [MATVEC_POST_O] = {"O", "[D]", KOI_IN},
           [MATVEC_POST_POST] = {"post", "[HC]", KOI_IN}, [MATVEC_POST_COMB] = {"comb", "[HC][HC]", KOI_IN}, [MATVEC_POST_FN] = {"fn", "tiles", KOI_IN},
           [MATVEC_POST_M] = {"M", "[D/TILE][MIX]", KOI_PARTS}},
  .ints = {MV_INTS_IN, [MATVEC_POST_HAS_O] = "has_o"},
  .consts = {MV_CONSTS, [MATVEC_POST_HC] = "HC", [MATVEC_POST_MIX] = "MIX"},
  .usual = {MV_USUAL, [MATVEC_POST_HC] = 4, [MATVEC_POST_MIX] = 24}, .params = MV_PARAMS,
  .defaults = post_defaults, .repair = post_repair, .legal = mv_legal, .group_items = mv_items, .local_bytes = post_local, .bucket = mv_bucket,
  .launch = post_launch, .flops = post_flops, .bytes = post_bytes, .ref = koi_ref_matvec_post};

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
