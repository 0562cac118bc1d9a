/* Descriptors of the ops that read the caches: the indexer's scores, top-k, attention. Owns the records and their rules; the contracts
 * are in ops.h, the kernels in kernels/cl. Invariant: what choose leaves is legal for every set of constants. */
#include "ops_cut.h"

/* ---- index_score ---- */
enum { SCORE_VW, SCORE_L, SCORE_RT, SCORE_HT, SCORE_TB, SCORE_UNPACK };
static int legal_score(const koi_target *t, const int32_t *c, const int32_t *p)
{
  return !(c[INDEX_SCORE_NH] % p[SCORE_HT]) && p[SCORE_RT] * p[SCORE_HT] <= 32 &&
         (p[SCORE_L] == 1 || (uint64_t)p[SCORE_HT] * (uint64_t)c[INDEX_SCORE_IH] * 4 <= t->local_bytes);
}
static void choose_score(const koi_target *t, const int32_t *c, int32_t *p)
{
  p[SCORE_VW] = cpu_width(t, p[SCORE_VW]);
  while (p[SCORE_HT] > 1 && !legal_score(t, c, p)) p[SCORE_HT] /= 2;
  p[SCORE_L] = t->max_group ? smaller(p[SCORE_L], (int32_t)t->max_group) : p[SCORE_L];
}
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
  .legal = legal_score, .choose = choose_score, .launch = launch_score, .flops = flops_score, .bytes = bytes_score, .ref = koi_ref_index_score};

/* ---- topk ---- */
enum { TOPK_VW, TOPK_L, TOPK_BUF };
static int legal_topk(const koi_target *t, const int32_t *c, const int32_t *p)
{
  (void)c;
  return p[TOPK_VW] * p[TOPK_L] <= p[TOPK_BUF] && (p[TOPK_L] == 1 || (uint64_t)p[TOPK_BUF] * 8 + (uint64_t)p[TOPK_L] * 4 <= t->local_bytes);
}
static void choose_topk(const koi_target *t, const int32_t *c, int32_t *p)
{
  p[TOPK_VW] = cpu_width(t, p[TOPK_VW]);
  p[TOPK_L] = t->max_group ? smaller(p[TOPK_L], (int32_t)t->max_group) : p[TOPK_L];
  while (p[TOPK_BUF] > 64 && !legal_topk(t, c, p)) p[TOPK_BUF] /= 2;
}
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
  .legal = legal_topk, .choose = choose_topk, .launch = launch_topk, .flops = flops_none, .bytes = bytes_topk, .ref = koi_ref_topk};

/* ---- attn ---- */
enum { A_VW, A_L, A_HB, A_RB, A_RT, A_HT, A_HV, A_DT };

static uint64_t attn_local_bytes(const int32_t *c, const int32_t *p)
{
  int32_t tiles = p[A_HB] / p[A_HT] * (p[A_RB] / p[A_RT]), parts = p[A_L] / tiles > 0 ? p[A_L] / tiles : 1;
  return 4 * ((uint64_t)(p[A_HB] + p[A_RB]) * (uint64_t)c[ATTN_DH] + (uint64_t)p[A_HB] * (uint64_t)p[A_RB] * (uint64_t)(parts + 1) +
              3 * (uint64_t)p[A_HB] + 6 * (uint64_t)p[A_RB] + 4 * KOI_SLABS + 1);
}
/* Beside what must divide: what is held in registers and unrolled stays within what compilers bear. */
static int legal_attn(const koi_target *t, const int32_t *c, const int32_t *p)
{
  int32_t plain = c[ATTN_DH] - c[ATTN_RD], vecs = c[ATTN_DH] / p[A_VW], hb = p[A_HB], own = (vecs + p[A_L] - 1) / p[A_L];
  if (plain % p[A_VW] || c[ATTN_RD] % p[A_VW] || 64 % p[A_VW]) return 0;
  if (p[A_L] == 1)
    return !(hb % p[A_VW]) && !(hb / p[A_VW] % p[A_HV]) && !(c[ATTN_NH] % p[A_HT]) && !(hb % p[A_HT]) && !(vecs % p[A_DT]) && p[A_RT] * p[A_HV] <= 32 &&
           p[A_HT] * p[A_DT] <= 32;
  return !(hb % p[A_HT]) && !(p[A_RB] % p[A_RT]) && p[A_HT] * p[A_RT] <= 16 && own * hb * p[A_RB] <= 256 && own * hb * p[A_VW] <= 256 &&
         attn_local_bytes(c, p) <= t->local_bytes;
}
static void choose_attn(const koi_target *t, const int32_t *c, int32_t *p)
{
  p[A_VW] = halved_until_divides(cpu_width(t, p[A_VW]), c[ATTN_DH] - c[ATTN_RD], c[ATTN_RD]);
  if (t->vector_width <= 1 && p[A_L] == 1) { /* a driver that wants scalars: the cut of a GPU, which also keeps the loops of one work-item short */
    static const int32_t scalar[] = {1, 16, 4, 4, 2, 2, 1, 1};
    for (int i = 0; i <= A_DT; i++) p[i] = scalar[i];
  }
  p[A_L] = t->max_group ? smaller(p[A_L], (int32_t)t->max_group) : p[A_L];
  if (p[A_L] == 1) { /* all heads share a decoded row */
    while (p[A_VW] / 2 >= c[ATTN_NH]) p[A_VW] /= 2;
    while (p[A_HB] / 2 >= c[ATTN_NH] && p[A_HB] > p[A_VW]) p[A_HB] /= 2;
    while (p[A_HV] > 1 && p[A_HB] / p[A_VW] % p[A_HV]) p[A_HV] /= 2;
    while (p[A_HT] > 1 && c[ATTN_NH] % p[A_HT]) p[A_HT] /= 2;
    while (p[A_DT] > 1 && c[ATTN_DH] / p[A_VW] % p[A_DT]) p[A_DT] /= 2;
    return;
  }
  while (p[A_HB] / 2 >= c[ATTN_NH] && p[A_HB] > p[A_HT]) p[A_HB] /= 2;
  while (p[A_RB] > 1 && !legal_attn(t, c, p)) p[A_RB] /= 2, p[A_RT] = smaller(p[A_RT], p[A_RB]);
  while (p[A_HB] > 1 && !legal_attn(t, c, p)) p[A_HB] /= 2, p[A_HT] = smaller(p[A_HT], p[A_HB]);
}
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
           SLABS(ATTN_W0, "W", KOI_IN), SLABS(ATTN_C0, "C", KOI_IN)},
  .ints = {[ATTN_T] = "T", [ATTN_WINDOW] = "window", [ATTN_W_TABLE] = "w_table", [ATTN_W_PAGES] = "w_pages", [ATTN_W_PAGE_BYTES] = "w_page_bytes",
           [ATTN_W_AT] = "w_at", [ATTN_RATIO] = "ratio", [ATTN_C_TABLE] = "c_table", [ATTN_C_PAGE_BYTES] = "c_page_bytes", [ATTN_C_AT] = "c_at",
           [ATTN_K] = "K", [ATTN_N_SPLITS] = "n_splits", [ATTN_ROWS_PER_SPLIT] = "rows_per_split"},
  .floats = {[ATTN_SCALE] = "scale"},
  .consts = {[ATTN_EXACT] = "EXACT", [ATTN_DH] = "DH", [ATTN_RD] = "RD", [ATTN_NH] = "NH", [ATTN_SEL] = "SEL", [ATTN_PAGE] = "PAGE"},
  .params = {[A_VW] = PARAM("VW", 16, 4, widths), [A_L] = PARAM("L", 1, 128, groups), [A_HB] = PARAM("HB", 64, 8, head_blocks),
             [A_RB] = PARAM("RB", 32, 4, row_blocks), [A_RT] = PARAM("RT", 4, 2, row_cuts), [A_HT] = PARAM("HT", 8, 2, head_tiles),
             [A_HV] = PARAM("HV", 4, 1, head_vectors), [A_DT] = PARAM("DT", 2, 1, row_cuts)},
  .legal = legal_attn, .choose = choose_attn, .launch = launch_attn, .flops = flops_attn, .bytes = bytes_attn, .ref = koi_ref_attn};

/* ---- attn_merge ---- */
enum { MERGE_VW, MERGE_L };
static void choose_merge(const koi_target *t, const int32_t *c, int32_t *p)
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
  .choose = choose_merge, .launch = launch_merge, .flops = flops_merge, .bytes = bytes_merge, .ref = koi_ref_attn_merge};
