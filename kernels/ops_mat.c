/* Descriptors of the ops on weight matrices: embedding, and matrix times vectors: alone, and joined with others.
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

/* ---- matvec ---- */
enum { MV_VW, MV_DECODE, MV_TG, MV_KS, MV_KI, MV_PF };

static uint64_t mv_items(const int32_t *c, const int32_t *p) { return (uint64_t)(c[MATVEC_TILE] / p[MV_VW]) * (uint64_t)p[MV_TG] * (uint64_t)p[MV_KS]; }

/* At most what the kernel declares: the columns of the vector that are held at once, for a matrix unit in three parts of fp16, and a sum for each
 * part of a row; by halves there are two sums, and the columns as they are. */
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
   [MV_KS] = KOI_PARAM("KS", 1, 16, 1, 2, 4, 8, 16, 32, 64), [MV_KI] = KOI_PARAM("KI", 1, 1, 1, 2, 4, 8), [MV_PF] = KOI_PARAM("PF", 16, 0, 0, 4, 8, 16, 32)}

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

/* Beside matvec's: the streams' new columns, shares of the mixes, and what the last group adds up. */
static uint64_t post_local(const int32_t *c, const int32_t *p)
{
  uint64_t items = (uint64_t)(c[MATVEC_TILE] / p[MV_VW]) * (uint64_t)p[MV_KS], rows = (uint64_t)c[MATVEC_TILE];
  uint64_t mixes = ceil_div((size_t)c[MATVEC_POST_MIX], rows) * rows, units = mixes / (uint64_t)p[MV_VW] * (rows / KOI_STRIP), shares = units && items / units ? items / units : 1;
  uint64_t pre = c[MATVEC_POST_PRE] && mv_items(c, p) > 1 ? (1 + (p[MV_VW] > 1 ? 0 : 256 + 16 * (uint64_t)c[MATVEC_POST_MIX])) * sizeof(float) : 0; /* PRE_SUMS, PRE_SHARES */
  return mv_local(c, p) + pre + (items > 1 ? (uint64_t)p[MV_TG] * ((uint64_t)c[MATVEC_POST_HC] * rows + shares * units * (uint64_t)p[MV_VW]) * sizeof(float) : 0);
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

static double post_bytes(const koi_args *a, const int32_t *c) { return (a->i[MATVEC_E] ? mv_bytes(a, c) : 0) + 4.0 * post_columns(a, c) * (2.0 + c[MATVEC_POST_MIX]); }

const koi_op koi_op_matvec_post = {
  .name = "matvec_post", .source = "matvec_post",
  .bufs = {[MATVEC_W] = {"W", "tiles", KOI_IN}, [MATVEC_S] = {"S", "tiles", KOI_IN}, [MATVEC_X] = {"X", "[*][ldx]", KOI_IN},
           [MATVEC_IDS] = {"ids", "i32[E]", KOI_IN}, [MATVEC_POST_STREAMS] = {"streams", "[HC][D]", KOI_INOUT}, [MATVEC_POST_O] = {"O", "[D]", KOI_IN},
           [MATVEC_POST_POST] = {"post", "[HC]", KOI_INOUT}, [MATVEC_POST_COMB] = {"comb", "[HC][HC]", KOI_INOUT}, [MATVEC_POST_FN] = {"fn", "tiles", KOI_IN},
           [MATVEC_POST_M] = {"M", "[D/16][MIX]", KOI_PARTS}, [MATVEC_POST_SCALE] = {"scale", "[3]", KOI_IN}, [MATVEC_POST_BASE] = {"base", "[MIX]", KOI_IN},
           [MATVEC_POST_NORM] = {"norm", "[D]", KOI_IN}, [MATVEC_POST_Y] = {"Y", "[D]", KOI_OUT}, [MATVEC_POST_ARRIVALS] = {"arrivals", "[1]", KOI_INOUT}},
  .ints = {MV_INTS_IN, [MATVEC_POST_HAS_O] = "has_o"}, .floats = {[MATVEC_POST_RMS_EPS] = "rms_eps", [MATVEC_POST_HC_EPS] = "hc_eps"},
  .consts = {MV_CONSTS, [MATVEC_POST_HC] = "HC", [MATVEC_POST_MIX] = "MIX", [MATVEC_POST_PRE] = "PRE", [MATVEC_POST_ITERS] = "ITERS", [MATVEC_POST_NORM_WT] = "NORM_WT"},
  .usual = {MV_USUAL, [MATVEC_POST_HC] = 4, [MATVEC_POST_MIX] = 24}, .params = MV_PARAMS, .counts = MATVEC_POST_PRE,
  .defaults = post_defaults, .repair = post_repair, .legal = mv_legal, .group_items = mv_items, .local_bytes = post_local, .bucket = mv_bucket,
  .launch = post_launch, .flops = post_flops, .bytes = post_bytes, .ref = koi_ref_matvec_post};

/* ---- matvec_route ---- */
static void mv_route_repair(const koi_target *t, const int32_t *c, int32_t *p) { mv_repair_of(&koi_op_matvec_route, t, c, p); }

static uint64_t mv_route_local(const int32_t *c, const int32_t *p)
{
  uint64_t items = mv_items(c, p);
  return mv_local(c, p) + (items > 1 ? sizeof(int32_t) : 0) + koi_route_local(c[MATVEC_ROUTE_HASH], p[MV_VW] > 1 ? 1 : items);
}

static int32_t mv_route_bucket(const int32_t *i, const int32_t *c) { return (void)c, 4 * koi_bucket_length(i[MATVEC_ROUTE_K]); }

static size_t gate_tiles(const koi_args *a, const int32_t *c) { return ceil_div(INT(MATVEC_ROUTE_N_EXPERTS), (size_t)c[MATVEC_TILE]); }

static void mv_route_launch(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  size_t local = (size_t)mv_items(c, p);
  *out = (koi_range){{local * ceil_div(gate_tiles(a, c), (size_t)p[MV_TG]), 1, 1}, {local, 1, 1}};
}

static double mv_route_flops(const koi_args *a, const int32_t *c) { return (void)c, (double)a->i[MATVEC_ROUTE_N_EXPERTS] * (2.0 * a->i[MATVEC_ROUTE_K] + a->i[MATVEC_ROUTE_N_USED]); }
static double mv_route_bytes(const koi_args *a, const int32_t *c)
{
  return koi_weight_bytes(c[MATVEC_WT], (double)gate_tiles(a, c) * c[MATVEC_TILE], a->i[MATVEC_ROUTE_K]) + 4.0 * (a->i[MATVEC_ROUTE_K] + a->i[MATVEC_ROUTE_N_EXPERTS]);
}

const koi_op koi_op_matvec_route = {
  .name = "matvec_route", .source = "matvec_route",
  .bufs = {[MATVEC_W] = {"W", "tiles", KOI_IN}, [MATVEC_S] = {"S", "tiles", KOI_IN}, [MATVEC_X] = {"X", "[K]", KOI_IN}, [MATVEC_ROUTE_LOGITS] = {"logits", "[n_experts]", KOI_OUT},
           [MATVEC_ROUTE_BIAS] = {"bias", "[n_experts]", KOI_IN}, [MATVEC_ROUTE_TOKEN] = {"token", "i32[1]", KOI_IN}, [MATVEC_ROUTE_TID2EID] = {"tid2eid", "i32[n_vocab][n_used]", KOI_IN},
           [MATVEC_ROUTE_IDS] = {"ids", "i32[n_used]", KOI_OUT}, [MATVEC_ROUTE_W_OF] = {"w", "[n_used]", KOI_OUT}, [MATVEC_ROUTE_ARRIVALS] = {"arrivals", "i32[1]", KOI_INOUT}},
  .ints = {[MATVEC_ROUTE_N_EXPERTS] = "n_experts", [MATVEC_ROUTE_K] = "K", [MATVEC_ROUTE_N_USED] = "n_used"}, .floats = {[MATVEC_ROUTE_SCALE] = "route_scale"},
  .consts = {MV_CONSTS, [MATVEC_ROUTE_SCORE] = "SCORE", [MATVEC_ROUTE_HASH] = "HASH"},
  .usual = {[MATVEC_WT] = KOI_WT_BF16, [MATVEC_TILE] = 16}, .params = MV_PARAMS, .counts = KOI_ALWAYS_COUNTS,
  .defaults = mv_defaults, .repair = mv_route_repair, .legal = mv_legal, .group_items = mv_items, .local_bytes = mv_route_local, .bucket = mv_route_bucket,
  .launch = mv_route_launch, .flops = mv_route_flops, .bytes = mv_route_bytes, .ref = koi_ref_matvec_route};

/* ---- matvecs ---- */
static void mvs_repair(const koi_target *t, const int32_t *c, int32_t *p) { mv_repair_of(&koi_op_matvecs, t, c, p); }
static int32_t mvs_bucket(const int32_t *i, const int32_t *c) { return (void)c, koi_bucket_length(i[MATVECS_K]); }

static size_t mvs_tiles(const koi_args *a, const int32_t *c, int which)
{
  static const int rows[MATVECS_MOST] = {MATVECS_ROWS, MATVECS_ROWS1, MATVECS_ROWS2}, subs[MATVECS_MOST] = {MATVECS_SUBS, MATVECS_SUBS1, MATVECS_SUBS2};
  return INT(subs[which]) * ceil_div(INT(rows[which]), (size_t)c[MATVEC_TILE]);
}

static void mvs_launch(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  size_t local = (size_t)mv_items(c, p), groups = 0;
  for (int i = 0; i < MATVECS_MOST; i++) groups += ceil_div(mvs_tiles(a, c, i), (size_t)p[MV_TG]);
  *out = (koi_range){{local * groups, 1, 1}, {local, 1, 1}};
}

static double mvs_rows(const koi_args *a, const int32_t *c)
{
  double tiles = 0;
  for (int i = 0; i < MATVECS_MOST; i++) tiles += (double)mvs_tiles(a, c, i);
  return tiles * c[MATVEC_TILE];
}

static double mvs_flops(const koi_args *a, const int32_t *c) { return 2.0 * a->i[MATVECS_K] * mvs_rows(a, c); }
static double mvs_bytes(const koi_args *a, const int32_t *c) { return koi_weight_bytes(c[MATVEC_WT], mvs_rows(a, c), a->i[MATVECS_K]) + 4.0 * (a->i[MATVECS_K] + mvs_rows(a, c)); }

const koi_op koi_op_matvecs = {
  .name = "matvecs", .source = "matvecs",
  .bufs = {[MATVECS_W] = {"W0", "tiles", KOI_IN}, [MATVECS_S] = {"S0", "tiles", KOI_IN}, [MATVECS_X] = {"X", "[K]", KOI_IN}, [MATVECS_Y] = {"Y0", "[rows]", KOI_OUT},
           [MATVECS_W1] = {"W1", "tiles", KOI_IN}, [MATVECS_S1] = {"S1", "tiles", KOI_IN}, [MATVECS_Y1] = {"Y1", "[rows]", KOI_OUT},
           [MATVECS_W2] = {"W2", "tiles", KOI_IN}, [MATVECS_S2] = {"S2", "tiles", KOI_IN}, [MATVECS_Y2] = {"Y2", "[rows]", KOI_OUT}},
  .ints = {[MATVECS_K] = "K", [MATVECS_ROWS] = "rows0", [MATVECS_SUBS] = "subs0", [MATVECS_ROWS1] = "rows1", [MATVECS_SUBS1] = "subs1",
           [MATVECS_ROWS2] = "rows2", [MATVECS_SUBS2] = "subs2"},
  .consts = {MV_CONSTS}, .usual = {[MATVEC_WT] = KOI_WT_FP8, [MATVEC_CARE] = 1, [MATVEC_TILE] = 16}, .params = MV_PARAMS,
  .defaults = mv_defaults, .repair = mvs_repair, .legal = mv_legal, .group_items = mv_items, .local_bytes = mv_local, .bucket = mvs_bucket,
  .launch = mvs_launch, .flops = mvs_flops, .bytes = mvs_bytes, .ref = koi_ref_matvecs};
