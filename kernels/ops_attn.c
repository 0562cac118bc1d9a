/* Descriptors of the ops that read the caches: the indexer's scores, top-k, attention. Owns the records and their rules; the contracts
 * are in ops.h, the kernels in kernels/cl. Invariant: where a target has parameters that are legal, repair finds some. */
#include "ops_cut.h"

/* ---- index_score ---- */
enum { SCORE_VW, SCORE_L, SCORE_RT, SCORE_HT, SCORE_TB, SCORE_UNPACK };
static uint64_t items_score(const int32_t *c, const int32_t *p) { return (void)c, (uint64_t)p[SCORE_L]; }
static uint64_t local_score(const int32_t *c, const int32_t *p)
{
  uint64_t steps = (uint64_t)c[INDEX_SCORE_IH] / 32; /* of a matrix unit, each with a scale */
  return p[SCORE_L] > 1 ? (uint64_t)p[SCORE_HT] * ((uint64_t)c[INDEX_SCORE_IH] + steps) * sizeof(float) : 0;
}
static int legal_score(const koi_target *t, const int32_t *c, const int32_t *p)
{
  return (void)t, !(c[INDEX_SCORE_NH] % p[SCORE_HT]) && p[SCORE_RT] * p[SCORE_HT] <= 32;
}
static void defaults_score(const koi_target *t, const int32_t *c, int32_t *p)
{
  (void)c;
  p[SCORE_VW] = cpu_width(t, p[SCORE_VW]);
}
static void repair_score(const koi_target *t, const int32_t *c, int32_t *p)
{
  while (p[SCORE_HT] > 1 && !legal_score(t, c, p)) p[SCORE_HT] /= 2;
  koi_halve_group(t, &koi_op_index_score, c, p, SCORE_L);
  koi_halve_local(t, &koi_op_index_score, c, p, SCORE_HT, 1);
  koi_halve_local(t, &koi_op_index_score, c, p, SCORE_L, 1);
}
static int32_t bucket_score(const int32_t *i, const int32_t *c) { return (void)c, koi_bucket_rows(i[INDEX_SCORE_T]); }
static void launch_score(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  (void)c;
  size_t rows = (size_t)p[SCORE_VW] * (size_t)p[SCORE_L] * (size_t)p[SCORE_RT];
  by_group(out, ceil_to(at_least_0(a->i[INDEX_SCORE_N_ROWS]), rows), ceil_to(at_least_0(a->i[INDEX_SCORE_T]), (size_t)p[SCORE_TB]), 1, p[SCORE_L]);
}
/* Pairs of token and row, as if every token saw every row: positions are data. */
static double scored_pairs(const koi_args *a) { return (double)at_least_0(a->i[INDEX_SCORE_T]) * (double)at_least_0(a->i[INDEX_SCORE_N_ROWS]); }
static double flops_score(const koi_args *a, const int32_t *c) { return scored_pairs(a) * c[INDEX_SCORE_NH] * (2.0 * c[INDEX_SCORE_IH] + 3); }
static double bytes_score(const koi_args *a, const int32_t *c)
{
  return a->i[INDEX_SCORE_N_ROWS] * index_row_bytes(c[INDEX_SCORE_EXACT], c[INDEX_SCORE_IH]) +
         4.0 * a->i[INDEX_SCORE_T] * c[INDEX_SCORE_NH] * (c[INDEX_SCORE_IH] + 1) + 4 * scored_pairs(a);
}

VALUES(row_tiles, 1, 2, 3, 4);
VALUES(head_tiles, 1, 2, 4, 8, 16);
VALUES(token_blocks, 1, 4, 8, 16, 32);
VALUES(yes_no, 0, 1);

const koi_op koi_op_index_score = {
  .name = "index_score", .source = "index_score",
  .bufs = {[INDEX_SCORE_Q] = {"Q", "[T][nh][ih]", KOI_IN}, [INDEX_SCORE_W] = {"w", "[T][nh]", KOI_IN}, [INDEX_SCORE_ROWS] = {"rows", "[T][2]", KOI_IN},
           [INDEX_SCORE_TABLES] = {"tables", "[entries]", KOI_IN}, [INDEX_SCORE_S] = {"S", "[T][lds]", KOI_OUT}, SLABS(INDEX_SCORE_S0, "S", KOI_IN)},
  .ints = {[INDEX_SCORE_T] = "T", [INDEX_SCORE_ROW0] = "row0", [INDEX_SCORE_N_ROWS] = "n_rows", [INDEX_SCORE_LDS] = "lds", [INDEX_SCORE_R] = "R",
           [INDEX_SCORE_TABLE] = "table", [INDEX_SCORE_PAGE_BYTES] = "page_bytes", [INDEX_SCORE_AT] = "at"},
  .floats = {[INDEX_SCORE_WSCALE] = "wscale"},
  .consts = {[INDEX_SCORE_EXACT] = "EXACT", [INDEX_SCORE_IH] = "IH", [INDEX_SCORE_NH] = "NH", [INDEX_SCORE_PAGE] = "PAGE"},
  .params = {[SCORE_VW] = PARAM("VW", 16, 1, widths), [SCORE_L] = PARAM("L", 1, 64, groups), [SCORE_RT] = PARAM("RT", 2, 1, row_tiles),
             [SCORE_HT] = PARAM("HT", 8, 16, head_tiles), [SCORE_TB] = PARAM("TB", 16, 8, token_blocks), [SCORE_UNPACK] = PARAM("UNPACK", 1, 0, yes_no)},
  .usual = {[INDEX_SCORE_IH] = 128, [INDEX_SCORE_NH] = 64, [INDEX_SCORE_PAGE] = 64},
  .defaults = defaults_score, .repair = repair_score, .legal = legal_score, .group_items = items_score, .local_bytes = local_score,
  .bucket = bucket_score, .launch = launch_score, .flops = flops_score, .bytes = bytes_score, .ref = koi_ref_index_score};

/* ---- topk ---- */
enum { TOPK_VW, TOPK_L, TOPK_BUF };
static uint64_t items_topk(const int32_t *c, const int32_t *p) { return (void)c, (uint64_t)p[TOPK_L]; }
static uint64_t local_topk(const int32_t *c, const int32_t *p)
{
  return (void)c, p[TOPK_L] > 1 ? 8 * (uint64_t)p[TOPK_BUF] + 4 * (uint64_t)p[TOPK_L] : 0;
}
static int legal_topk(const koi_target *t, const int32_t *c, const int32_t *p) { return (void)t, (void)c, p[TOPK_VW] * p[TOPK_L] <= p[TOPK_BUF]; }
static void defaults_topk(const koi_target *t, const int32_t *c, int32_t *p)
{
  (void)c;
  p[TOPK_VW] = cpu_width(t, p[TOPK_VW]);
}
static void repair_topk(const koi_target *t, const int32_t *c, int32_t *p)
{
  koi_halve_group(t, &koi_op_topk, c, p, TOPK_L);
  koi_halve_local(t, &koi_op_topk, c, p, TOPK_BUF, 64);
  koi_halve(t, &koi_op_topk, c, p, TOPK_L, 1);
  koi_halve(t, &koi_op_topk, c, p, TOPK_VW, 1);
}
static int32_t bucket_topk(const int32_t *i, const int32_t *c) { return (void)c, koi_bucket_rows(i[TOPK_T]); }
static void launch_topk(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  (void)c;
  by_group(out, at_least_0(a->i[TOPK_T]), 1, 1, p[TOPK_L]);
}
static double flops_none(const koi_args *a, const int32_t *c) { return (void)a, (void)c, 0; }
static double bytes_topk(const koi_args *a, const int32_t *c) { return (void)c, 4.0 * (double)at_least_0(a->i[TOPK_T]) * (double)at_least_0(a->i[TOPK_N_ROWS]); }

VALUES(buffers, 1024, 2048, 4096);

const koi_op koi_op_topk = {
  .name = "topk", .source = "topk",
  .bufs = {[TOPK_S] = {"S", "[T][lds]", KOI_IN}, [TOPK_IDX] = {"idx", "[T][K]", KOI_INOUT}, [TOPK_VAL] = {"val", "[T][K]", KOI_INOUT},
           [TOPK_ROWS] = {"rows", "[T][2]", KOI_IN}},
  .ints = {[TOPK_T] = "T", [TOPK_ROW0] = "row0", [TOPK_N_ROWS] = "n_rows", [TOPK_LDS] = "lds", [TOPK_K] = "K", [TOPK_R] = "R"},
  .params = {[TOPK_VW] = PARAM("VW", 16, 4, widths), [TOPK_L] = PARAM("L", 1, 256, groups), [TOPK_BUF] = PARAM("BUF", 2048, 2048, buffers)},
  .defaults = defaults_topk, .repair = repair_topk, .legal = legal_topk, .group_items = items_topk, .local_bytes = local_topk, .bucket = bucket_topk,
  .launch = launch_topk, .flops = flops_none, .bytes = bytes_topk, .ref = koi_ref_topk};

/* ---- attn ---- */
enum { A_VW, A_L, A_HB, A_RB, A_RT, A_HT, A_HV, A_DT, A_UNIT };

static uint64_t items_attn(const int32_t *c, const int32_t *p) { return (void)c, (uint64_t)p[A_L]; }
/* What the kernels that merge share for each head: SB is 16. */
static uint64_t merged_floats(uint64_t heads) { return heads * (2 + 16); }
/* By a matrix unit of 32 lanes; of 64 it is less. */
static uint64_t local_by_unit(const int32_t *c, const int32_t *p)
{
  uint64_t sets = ((uint64_t)p[A_HB] + 7) / 8, groups = (uint64_t)(c[ATTN_DH] + 63) / 64, turn = 32;
  return sets * (groups * 2048 + 1024) + 2 * KOI_SLABS * 8 + 4 * turn * 8 + groups * (turn * 4 + 8) + sets * 8 * ((uint64_t)p[A_L] / 32 * turn + 4) * 4;
}
static uint64_t local_attn(const int32_t *c, const int32_t *p)
{
  if (p[A_L] == 1) return 0;
  int32_t tiles = p[A_HB] / p[A_HT] * (p[A_RB] / p[A_RT]), parts = tiles && p[A_L] / tiles > 0 ? p[A_L] / tiles : 1;
  uint64_t bytes = 4 * ((uint64_t)(p[A_HB] + p[A_RB]) * (uint64_t)c[ATTN_DH] + (uint64_t)p[A_HB] * (uint64_t)p[A_RB] * (uint64_t)(parts + 1) +
              3 * (uint64_t)p[A_HB] + 6 * (uint64_t)p[A_RB] + 4 * KOI_SLABS + 1 + (c[ATTN_MERGED] ? merged_floats((uint64_t)p[A_HB]) + 1 : 0));
  uint64_t by_unit = p[A_UNIT] ? local_by_unit(c, p) : 0;
  return bytes > by_unit ? bytes : by_unit;
}
/* Rows as the cache rounds them, whole groups of columns, and sums that registers last for. */
static int unit_suits(const int32_t *c, const int32_t *p)
{
  int32_t sets = (p[A_HB] + 7) / 8;
  return !c[ATTN_EXACT] && !c[ATTN_MERGED] && !((c[ATTN_DH] - c[ATTN_RD]) % 64) && !(c[ATTN_RD] % 8) && p[A_L] > 1 && sets * c[ATTN_DH] <= 8 * p[A_L];
}
/* Beside what must divide: what is held in registers and unrolled stays within what compilers bear. */
static int legal_attn(const koi_target *t, const int32_t *c, const int32_t *p)
{
  (void)t;
  if (p[A_UNIT] && !unit_suits(c, p)) return 0;
  int32_t plain = c[ATTN_DH] - c[ATTN_RD], vecs = c[ATTN_DH] / p[A_VW], hb = p[A_HB], own = (vecs + p[A_L] - 1) / p[A_L];
  if (plain % p[A_VW] || c[ATTN_RD] % p[A_VW] || 64 % p[A_VW]) return 0;
  if (p[A_L] == 1)
    return !(hb % p[A_VW]) && !(hb / p[A_VW] % p[A_HV]) && !(c[ATTN_NH] % p[A_HT]) && !(hb % p[A_HT]) && !(vecs % p[A_DT]) && p[A_RT] * p[A_HV] <= 32 &&
           p[A_HT] * p[A_DT] <= 32;
  return !(hb % p[A_HT]) && !(p[A_RB] % p[A_RT]) && p[A_HT] * p[A_RT] <= 16 && own * hb * p[A_RB] <= 256 && own * hb * p[A_VW] <= 256;
}
static int32_t attn_width(const int32_t *c, int32_t want) { return halved_until_divides(want, c[ATTN_DH] - c[ATTN_RD], c[ATTN_RD]); }
static void defaults_attn(const koi_target *t, const int32_t *c, int32_t *p)
{
  p[A_VW] = attn_width(c, cpu_width(t, p[A_VW]));
  if (t->vector_width <= 1 && p[A_L] == 1) { /* a driver that wants scalars: the cut of a GPU, which also keeps the loops of one work-item short */
    static const int32_t scalar[] = {[A_VW] = 1, [A_L] = 16, [A_HB] = 4, [A_RB] = 4, [A_RT] = 2, [A_HT] = 2, [A_HV] = 1, [A_DT] = 1};
    for (int i = 0; i <= A_DT; i++) p[i] = scalar[i];
  }
  if (c[ATTN_MERGED] && p[A_L] > 1) p[A_HB] = 4; /* one token: more work-groups, and each merges fewer */
  while (p[A_L] == 1 && p[A_VW] / 2 >= c[ATTN_NH]) p[A_VW] /= 2; /* all heads share a decoded row */
  while (p[A_HB] / 2 >= c[ATTN_NH] && p[A_HB] > (p[A_L] == 1 ? p[A_VW] : p[A_HT])) p[A_HB] /= 2;
  p[A_UNIT] = p[A_UNIT] && unit_suits(c, p);
}
static void repair_alone(const int32_t *c, int32_t *p)
{
  while (p[A_VW] > 1 && p[A_HB] % p[A_VW]) p[A_VW] /= 2;
  while (p[A_HV] > 1 && p[A_HB] / p[A_VW] % p[A_HV]) p[A_HV] /= 2;
  while (p[A_HT] > 1 && (c[ATTN_NH] % p[A_HT] || p[A_HB] % p[A_HT])) p[A_HT] /= 2;
  while (p[A_DT] > 1 && (c[ATTN_DH] / p[A_VW] % p[A_DT] || p[A_HT] * p[A_DT] > 32)) p[A_DT] /= 2;
  while (p[A_RT] > 1 && p[A_RT] * p[A_HV] > 32) p[A_RT] /= 2;
}
static void repair_attn(const koi_target *t, const int32_t *c, int32_t *p)
{
  const koi_op *op = &koi_op_attn;
  p[A_VW] = attn_width(c, p[A_VW]);
  koi_halve_group(t, op, c, p, A_L);
  if (!koi_legal(t, op, c, p)) p[A_UNIT] = 0;
  while (p[A_L] > 1 && p[A_RB] > 1 && !koi_legal(t, op, c, p)) p[A_RB] /= 2, p[A_RT] = smaller(p[A_RT], p[A_RB]);
  while (p[A_L] > 1 && p[A_HB] > 1 && !koi_legal(t, op, c, p)) p[A_HB] /= 2, p[A_HT] = smaller(p[A_HT], p[A_HB]);
  if (!koi_legal(t, op, c, p)) p[A_L] = 1; /* nothing that work-items share */
  if (p[A_L] == 1) repair_alone(c, p);
}
static int32_t bucket_attn(const int32_t *i, const int32_t *c) { return (void)c, koi_bucket_rows(i[ATTN_T]); }
static void launch_attn(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  by_group(out, ceil_to((size_t)c[ATTN_NH], (size_t)p[A_HB]), at_least_0(a->i[ATTN_N_SPLITS]), at_least_0(a->i[ATTN_T]), p[A_L]);
}
/* As if every split were full: positions are data. */
static double rows_seen(const koi_args *a)
{
  return (double)at_least_0(a->i[ATTN_T]) * (double)at_least_0(a->i[ATTN_N_SPLITS]) * (double)at_least_0(a->i[ATTN_ROWS_PER_SPLIT]);
}
static double flops_attn(const koi_args *a, const int32_t *c) { return 4.0 * rows_seen(a) * c[ATTN_NH] * c[ATTN_DH]; }
static double bytes_attn(const koi_args *a, const int32_t *c)
{
  return rows_seen(a) * kv_row_bytes(c[ATTN_EXACT], c[ATTN_DH], c[ATTN_RD]) +
         4.0 * a->i[ATTN_T] * c[ATTN_NH] * c[ATTN_DH] * (1 + a->i[ATTN_N_SPLITS]);
}

VALUES(head_blocks, 4, 8, 16, 32, 64, 128);
VALUES(row_blocks, 2, 4, 8, 16, 32, 64);
VALUES(row_cuts, 1, 2, 4, 6, 8);
VALUES(head_vectors, 1, 2, 4, 8, 16);

const koi_op koi_op_attn = {
  .name = "attn", .source = "attn",
  .bufs = {[ATTN_Q] = {"Q", "[T][H][dh]", KOI_IN}, [ATTN_ROWS] = {"rows", "[T][2]", KOI_IN}, [ATTN_TABLES] = {"tables", "[entries]", KOI_IN},
           [ATTN_IDX] = {"idx", "[T][K]", KOI_IN}, [ATTN_PO] = {"PO", "[T][S][H][dh]", KOI_OUT}, [ATTN_ML] = {"ML", "[T][S][H][2]", KOI_OUT},
           SLABS(ATTN_W0, "W", KOI_IN), SLABS(ATTN_C0, "C", KOI_IN), [ATTN_SINK] = {"sink", "[H]", KOI_IN}, [ATTN_ROPE] = {"rope", "[T][rd/2][2]", KOI_IN},
           [ATTN_O] = {"O", "[T][H][dh]", KOI_OUT}, [ATTN_ARRIVALS] = {"arrivals", "[T*H]", KOI_INOUT}},
  .ints = {[ATTN_T] = "T", [ATTN_WINDOW] = "window", [ATTN_W_TABLE] = "w_table", [ATTN_W_PAGES] = "w_pages", [ATTN_W_PAGE_BYTES] = "w_page_bytes",
           [ATTN_W_AT] = "w_at", [ATTN_RATIO] = "ratio", [ATTN_C_TABLE] = "c_table", [ATTN_C_PAGE_BYTES] = "c_page_bytes", [ATTN_C_AT] = "c_at",
           [ATTN_K] = "K", [ATTN_N_SPLITS] = "n_splits", [ATTN_ROWS_PER_SPLIT] = "rows_per_split"},
  .floats = {[ATTN_SCALE] = "scale"},
  .consts = {[ATTN_EXACT] = "EXACT", [ATTN_DH] = "DH", [ATTN_RD] = "RD", [ATTN_NH] = "NH", [ATTN_SEL] = "SEL", [ATTN_PAGE] = "PAGE",
             [ATTN_MERGED] = "MERGE", [ATTN_ST] = "ST"},
  .params = {[A_VW] = PARAM("VW", 16, 4, widths), [A_L] = PARAM("L", 1, 128, groups), [A_HB] = PARAM("HB", 64, 8, head_blocks),
             [A_RB] = PARAM("RB", 32, 4, row_blocks), [A_RT] = PARAM("RT", 4, 2, row_cuts), [A_HT] = PARAM("HT", 8, 2, head_tiles),
             [A_HV] = PARAM("HV", 4, 1, head_vectors), [A_DT] = PARAM("DT", 2, 1, row_cuts), [A_UNIT] = PARAM("UNIT", 0, 1, yes_no)},
  .usual = {[ATTN_DH] = 512, [ATTN_RD] = 64, [ATTN_NH] = 64, [ATTN_SEL] = 2, [ATTN_PAGE] = 64}, .counts = ATTN_MERGED,
  .defaults = defaults_attn, .repair = repair_attn, .legal = legal_attn, .group_items = items_attn, .local_bytes = local_attn, .bucket = bucket_attn,
  .launch = launch_attn, .flops = flops_attn, .bytes = bytes_attn, .ref = koi_ref_attn};

/* ---- attn_merge ---- */
enum { MERGE_VW, MERGE_L };
GROUP_OF(attn_merge, MERGE_L)
static uint64_t local_merge(const int32_t *c, const int32_t *p) { return (void)c, p[MERGE_L] > 1 ? merged_floats(1) * sizeof(float) : 0; }
static int32_t bucket_merge(const int32_t *i, const int32_t *c) { return (void)c, koi_bucket_rows(i[ATTN_MERGE_T]); }
static void defaults_merge(const koi_target *t, const int32_t *c, int32_t *p)
{
  (void)c;
  p[MERGE_VW] = cpu_width(t, p[MERGE_VW]);
}
static void launch_merge(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  by_group(out, (size_t)c[ATTN_MERGE_NH], at_least_0(a->i[ATTN_MERGE_T]), 1, p[MERGE_L]);
}
static double merged_values(const koi_args *a, const int32_t *c) { return (double)a->i[ATTN_MERGE_T] * c[ATTN_MERGE_NH] * c[ATTN_MERGE_DH]; }
static double flops_merge(const koi_args *a, const int32_t *c) { return 2 * merged_values(a, c) * a->i[ATTN_MERGE_N_SPLITS]; }
static double bytes_merge(const koi_args *a, const int32_t *c) { return 4 * merged_values(a, c) * (a->i[ATTN_MERGE_N_SPLITS] + 1); }

const koi_op koi_op_attn_merge = {
  .name = "attn_merge", .source = "attn_merge",
  .bufs = {[ATTN_MERGE_PO] = {"PO", "[T][S][H][dh]", KOI_IN}, [ATTN_MERGE_ML] = {"ML", "[T][S][H][2]", KOI_IN}, [ATTN_MERGE_SINK] = {"sink", "[H]", KOI_IN},
           [ATTN_MERGE_ROPE] = {"rope", "[T][rd/2][2]", KOI_IN}, [ATTN_MERGE_O] = {"O", "[T][H][dh]", KOI_OUT}},
  .ints = {[ATTN_MERGE_T] = "T", [ATTN_MERGE_N_SPLITS] = "n_splits"},
  .consts = {[ATTN_MERGE_DH] = "DH", [ATTN_MERGE_RD] = "RD", [ATTN_MERGE_NH] = "NH", [ATTN_MERGE_ST] = "ST"},
  .params = {[MERGE_VW] = PARAM("VW", 16, 4, widths), [MERGE_L] = PARAM("L", 1, 64, groups)},
  .usual = {[ATTN_MERGE_DH] = 512, [ATTN_MERGE_RD] = 64, [ATTN_MERGE_NH] = 64, [ATTN_MERGE_ST] = KOI_WT_F32},
  .defaults = defaults_merge, .repair = attn_merge_repair, .group_items = attn_merge_items, .local_bytes = local_merge, .bucket = bucket_merge,
  .launch = launch_merge, .flops = flops_merge, .bytes = bytes_merge, .ref = koi_ref_attn_merge};
