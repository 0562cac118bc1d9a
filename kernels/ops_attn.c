/* Descriptors of the cache, indexer and attention ops. Owns the records and their rules; the contracts are in ops.h, the kernels in
 * kernels/cl. Invariant: what choose leaves is legal for every set of constants. */
#include "layout.h"
#include "ops.h"

#define VALUES(name, ...) static const int32_t name[] = {__VA_ARGS__}
#define PARAM(name, cpu, gpu, list) {name, cpu, gpu, list, sizeof(list) / sizeof *(list)}

enum { VW, L }; /* the params of index_round and attn_merge */
VALUES(widths, 1, 2, 4, 8, 16);
VALUES(groups, 1, 32, 64, 128, 256);
VALUES(ones, 1, 2, 4, 8, 16);

static size_t at_least_0(int32_t n) { return n > 0 ? (size_t)n : 0; }
static size_t ceil_to(size_t n, size_t unit) { return (n + unit - 1) / unit; }
static int32_t smaller(int32_t a, int32_t b) { return a < b ? a : b; }

static int32_t halved_until_divides(int32_t v, int32_t a, int32_t b)
{
  while (v > 1 && (a % v || b % v)) v /= 2;
  return v;
}

static int32_t cpu_width(const koi_target *t, int32_t want)
{
  int32_t w = t->vector_width > 0 ? (int32_t)t->vector_width : 4, v = 1;
  while (v * 2 <= w && v < 16) v *= 2;
  return t->local_is_global ? v : want;
}

/* One work-item an item, `lanes` of them a group. */
static void by_item(koi_range *r, size_t n, int32_t lanes)
{
  size_t l = (size_t)lanes;
  *r = (koi_range){{ceil_to(n, l) * l, 1, 1}, {l, 1, 1}};
}

static void by_group(koi_range *r, size_t x, size_t y, size_t z, int32_t lanes)
{
  *r = (koi_range){{x * (size_t)lanes, y, z}, {(size_t)lanes, 1, 1}};
}

/* ---- kv_store: c EXACT, DH, RD; i n, first, cap, ldx; p L ---- */
static double row_bytes(int exact, int32_t dh, int32_t rd)
{
  return exact ? 4.0 * dh : dh - rd + (double)koi_ceil_div((uint64_t)(dh - rd), 64) + 2.0 * rd;
}

static void launch_kv_store(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  by_item(out, at_least_0(a->i[0]) * (koi_ceil_div((uint64_t)(c[1] - c[2]), 64) + 1), p[0]);
}
static double flops_kv_store(const koi_args *a, const int32_t *c) { return c[0] ? 0 : 2.0 * a->i[0] * c[1]; }
static double bytes_kv_store(const koi_args *a, const int32_t *c) { return a->i[0] * (4.0 * c[1] + row_bytes(c[0], c[1], c[2])); }

const koi_op koi_op_kv_store = {
  .name = "kv_store", .source = "kv_store", .usual = {0, 512, 64},
  .bufs = {{"X", "[n][ldx]", KOI_IN}, {"codes", "[cap][dh-rd]", KOI_OUT}, {"scales", "[cap][(dh-rd)/64]", KOI_OUT}, {"rope", "[cap][rd]", KOI_OUT}},
  .ints = {"n", "first", "cap", "ldx"}, .consts = {"EXACT", "DH", "RD"}, .params = {PARAM("L", 1, 64, groups)},
  .launch = launch_kv_store, .flops = flops_kv_store, .bytes = bytes_kv_store, .ref = koi_ref_kv_store};

/* ---- pool: c AT; i p0, R, dim, win0, n_win, ld; p VW, L ---- */
static double pool_entries(const koi_args *a) { return (double)a->i[4] * a->i[2] * a->i[1] * (a->i[1] == 4 ? 2 : 1); }
static void choose_pool(const koi_target *t, const int32_t *c, int32_t *p)
{
  (void)c;
  p[0] = cpu_width(t, p[0]);
}
static void launch_pool(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  (void)c;
  by_item(out, at_least_0(a->i[4]) * ceil_to(at_least_0(a->i[2]), (size_t)p[0]), p[1]);
}
static double flops_pool(const koi_args *a, const int32_t *c) { return (void)c, 6.0 * pool_entries(a); }
static double bytes_pool(const koi_args *a, const int32_t *c) { return (void)c, 8.0 * pool_entries(a) + 4.0 * a->i[4] * a->i[2]; }

const koi_op koi_op_pool = {
  .name = "pool", .source = "pool", .usual = {KOI_WT_F32},
  .bufs = {{"kv", "[T][ld]", KOI_IN}, {"score", "[T][ld]", KOI_IN}, {"kv_state", "[coff*R][coff*dim]", KOI_IN},
           {"score_state", "[coff*R][coff*dim]", KOI_IN}, {"ape", "[R][coff*dim]", KOI_IN}, {"Y", "[n_win][dim]", KOI_OUT}},
  .ints = {"p0", "R", "dim", "win0", "n_win", "ld"}, .consts = {"AT"}, .params = {PARAM("VW", 16, 1, widths), PARAM("L", 1, 64, groups)},
  .choose = choose_pool, .launch = launch_pool, .flops = flops_pool, .bytes = bytes_pool, .ref = koi_ref_pool};

/* ---- pool_keep: i T, p0, R, dim, ld; p L ---- */
static size_t kept_positions(const koi_args *a) { return at_least_0(smaller(a->i[0], a->i[2] == 4 ? 8 : a->i[2])); }
static void launch_pool_keep(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  (void)c;
  by_group(out, kept_positions(a), 1, 1, p[0]);
}
static double flops_none(const koi_args *a, const int32_t *c) { return (void)a, (void)c, 0; }
static double bytes_pool_keep(const koi_args *a, const int32_t *c)
{
  return (void)c, 16.0 * (double)kept_positions(a) * a->i[3] * (a->i[2] == 4 ? 2 : 1);
}

const koi_op koi_op_pool_keep = {
  .name = "pool_keep", .source = "pool_keep",
  .bufs = {{"kv", "[T][ld]", KOI_IN}, {"score", "[T][ld]", KOI_IN}, {"kv_state", "[coff*R][coff*dim]", KOI_INOUT},
           {"score_state", "[coff*R][coff*dim]", KOI_INOUT}},
  .ints = {"T", "p0", "R", "dim", "ld"}, .params = {PARAM("L", 1, 64, groups)},
  .launch = launch_pool_keep, .flops = flops_none, .bytes = bytes_pool_keep, .ref = koi_ref_pool_keep};

/* ---- index_round; index_store: c EXACT, IH; i n, first. p VW, L ---- */
static double log2_of(int32_t n)
{
  double k = 0;
  for (; n > 1; n /= 2) k++;
  return k;
}
static int32_t hadamard_width(const koi_target *t, int32_t want, int32_t ih) { return halved_until_divides(cpu_width(t, want), ih, ih < 32 ? ih : 32); }
static int legal_round(const koi_target *t, const int32_t *c, const int32_t *p) { return (void)t, p[VW] <= c[INDEX_ROUND_IH]; }
static int legal_store(const koi_target *t, const int32_t *c, const int32_t *p) { return (void)t, p[0] <= c[1]; }
static void choose_round(const koi_target *t, const int32_t *c, int32_t *p) { p[VW] = hadamard_width(t, p[VW], c[INDEX_ROUND_IH]); }
static void choose_store(const koi_target *t, const int32_t *c, int32_t *p) { p[0] = hadamard_width(t, p[0], c[1]); }
static void launch_rows(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  (void)c;
  by_group(out, at_least_0(a->i[0]), 1, 1, p[1]);
}
static double flops_round(const koi_args *a, const int32_t *c)
{
  return (double)a->i[INDEX_ROUND_N] * c[INDEX_ROUND_IH] * (log2_of(c[INDEX_ROUND_IH]) + 4);
}
static double bytes_round(const koi_args *a, const int32_t *c) { return 8.0 * a->i[INDEX_ROUND_N] * c[INDEX_ROUND_IH]; }
static double flops_store(const koi_args *a, const int32_t *c) { return c[0] ? 0 : (double)a->i[0] * c[1] * (log2_of(c[1]) + 4); }
static double bytes_store(const koi_args *a, const int32_t *c) { return a->i[0] * (4.0 * c[1] + (c[0] ? 4.0 * c[1] : c[1] * 17.0 / 32)); }

const koi_op koi_op_index_round = {
  .name = "index_round", .source = "index_round", .usual = {[INDEX_ROUND_IH] = 128},
  .bufs = {[INDEX_ROUND_X] = {"X", "[n][ih]", KOI_INOUT}},
  .ints = {[INDEX_ROUND_N] = "n"}, .consts = {[INDEX_ROUND_IH] = "IH"}, .params = {PARAM("VW", 16, 1, widths), PARAM("L", 1, 64, groups)},
  .legal = legal_round, .choose = choose_round, .launch = launch_rows, .flops = flops_round, .bytes = bytes_round, .ref = koi_ref_index_round};

const koi_op koi_op_index_store = {
  .name = "index_store", .source = "index_store", .usual = {0, 128},
  .bufs = {{"X", "[n][ih]", KOI_IN}, {"codes", "[tile][ih/8][16]", KOI_OUT}, {"scales", "[tile][ih/32][16]", KOI_OUT}},
  .ints = {"n", "first"}, .consts = {"EXACT", "IH"}, .params = {PARAM("VW", 16, 1, widths), PARAM("L", 1, 64, groups)},
  .legal = legal_store, .choose = choose_store, .launch = launch_rows, .flops = flops_store, .bytes = bytes_store, .ref = koi_ref_index_store};

/* ---- index_score: c EXACT, IH, NH; i T, p0, row0, n_rows, lds; p VW, L, RT, HT, TB, UNPACK ---- */
static int legal_score(const koi_target *t, const int32_t *c, const int32_t *p)
{
  return !(c[2] % p[3]) && p[2] * p[3] <= 32 && (p[1] == 1 || (uint64_t)p[3] * (uint64_t)c[1] * 4 <= t->local_bytes);
}
static void choose_score(const koi_target *t, const int32_t *c, int32_t *p)
{
  p[0] = cpu_width(t, p[0]);
  while (p[3] > 1 && !legal_score(t, c, p)) p[3] /= 2;
  p[1] = t->max_group ? smaller(p[1], (int32_t)t->max_group) : p[1];
}
static void launch_score(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  (void)c;
  size_t rows = (size_t)p[0] * (size_t)p[1] * (size_t)p[2];
  by_group(out, ceil_to(at_least_0(a->i[3]), rows), ceil_to(at_least_0(a->i[0]), (size_t)p[4]), 1, p[1]);
}
/* Pairs of token and visible row. */
static double scored_pairs(const koi_args *a)
{
  double n = 0;
  for (int32_t t = 0; t < a->i[0]; t++) n += (double)at_least_0(smaller(a->i[2] + a->i[3], (a->i[1] + t + 1) / 4) - a->i[2]);
  return n;
}
static double flops_score(const koi_args *a, const int32_t *c) { return scored_pairs(a) * c[2] * (2.0 * c[1] + 3); }
static double bytes_score(const koi_args *a, const int32_t *c)
{
  return a->i[3] * (c[0] ? 4.0 * c[1] : c[1] * 17.0 / 32) + 4.0 * a->i[0] * c[2] * (c[1] + 1) + 4 * scored_pairs(a);
}

VALUES(row_tiles, 1, 2, 3, 4);
VALUES(head_tiles, 1, 2, 4, 8, 16);
VALUES(token_blocks, 1, 4, 8, 16, 32);
VALUES(yes_no, 0, 1);

const koi_op koi_op_index_score = {
  .name = "index_score", .source = "index_score", .usual = {0, 128, 64},
  .bufs = {{"Q", "[T][nh][ih]", KOI_IN}, {"w", "[T][nh]", KOI_IN}, {"codes", "[tile][ih/8][16]", KOI_IN}, {"scales", "[tile][ih/32][16]", KOI_IN},
           {"S", "[T][lds]", KOI_OUT}},
  .ints = {"T", "p0", "row0", "n_rows", "lds"}, .floats = {"wscale"}, .consts = {"EXACT", "IH", "NH"},
  .params = {PARAM("VW", 16, 1, widths), PARAM("L", 1, 64, groups), PARAM("RT", 2, 1, row_tiles), PARAM("HT", 8, 16, head_tiles),
             PARAM("TB", 16, 8, token_blocks), PARAM("UNPACK", 1, 0, yes_no)},
  .legal = legal_score, .choose = choose_score, .launch = launch_score, .flops = flops_score, .bytes = bytes_score, .ref = koi_ref_index_score};

/* ---- topk: i T, p0, row0, n_rows, lds, K; p VW, L, BUF ---- */
static int legal_topk(const koi_target *t, const int32_t *c, const int32_t *p)
{
  (void)c;
  return p[0] * p[1] <= p[2] && (p[1] == 1 || (uint64_t)p[2] * 8 + (uint64_t)p[1] * 4 <= t->local_bytes);
}
static void choose_topk(const koi_target *t, const int32_t *c, int32_t *p)
{
  p[0] = cpu_width(t, p[0]);
  p[1] = t->max_group ? smaller(p[1], (int32_t)t->max_group) : p[1];
  while (p[2] > 64 && !legal_topk(t, c, p)) p[2] /= 2;
}
static void launch_topk(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  (void)c;
  by_group(out, at_least_0(a->i[0]), 1, 1, p[1]);
}
static double bytes_topk(const koi_args *a, const int32_t *c) { return (void)c, 4 * scored_pairs(a); }

VALUES(buffers, 1024, 2048, 4096);

const koi_op koi_op_topk = {
  .name = "topk", .source = "topk",
  .bufs = {{"S", "[T][lds]", KOI_IN}, {"idx", "[T][K]", KOI_INOUT}, {"val", "[T][K]", KOI_INOUT}},
  .ints = {"T", "p0", "row0", "n_rows", "lds", "K"}, .params = {PARAM("VW", 16, 4, widths), PARAM("L", 1, 256, groups), PARAM("BUF", 2048, 2048, buffers)},
  .legal = legal_topk, .choose = choose_topk, .launch = launch_topk, .flops = flops_none, .bytes = bytes_topk, .ref = koi_ref_topk};

/* ---- attn: c EXACT, DH, RD, NH, SEL; i T, p0, window, cap, ratio, K, n_splits, rows_per_split; p VW, L, HB, RB, RT, HT, HV, DT ---- */
enum { A_VW, A_L, A_HB, A_RB, A_RT, A_HT, A_HV, A_DT };

static uint64_t attn_local_bytes(const int32_t *c, const int32_t *p)
{
  int32_t tiles = p[A_HB] / p[A_HT] * (p[A_RB] / p[A_RT]), parts = p[A_L] / tiles > 0 ? p[A_L] / tiles : 1;
  return 4 * ((uint64_t)(p[A_HB] + p[A_RB]) * (uint64_t)c[1] + (uint64_t)p[A_HB] * (uint64_t)p[A_RB] * (uint64_t)(parts + 1) +
              3 * (uint64_t)p[A_HB] + 2 * (uint64_t)p[A_RB]);
}
/* Beside what must divide: what is held in registers and unrolled stays within what compilers bear. */
static int legal_attn(const koi_target *t, const int32_t *c, const int32_t *p)
{
  int32_t plain = c[1] - c[2], vecs = c[1] / p[A_VW], hb = p[A_HB], own = (vecs + p[A_L] - 1) / p[A_L];
  if (plain % p[A_VW] || c[2] % p[A_VW] || 64 % p[A_VW]) return 0;
  if (p[A_L] == 1)
    return !(hb % p[A_VW]) && !(hb / p[A_VW] % p[A_HV]) && !(c[3] % p[A_HT]) && !(hb % p[A_HT]) && !(vecs % p[A_DT]) && p[A_RT] * p[A_HV] <= 32 &&
           p[A_HT] * p[A_DT] <= 32;
  return !(hb % p[A_HT]) && !(p[A_RB] % p[A_RT]) && p[A_HT] * p[A_RT] <= 16 && own * hb * p[A_RB] <= 256 && own * hb * p[A_VW] <= 256 &&
         attn_local_bytes(c, p) <= t->local_bytes;
}
static void choose_attn(const koi_target *t, const int32_t *c, int32_t *p)
{
  p[A_VW] = halved_until_divides(cpu_width(t, p[A_VW]), c[1] - c[2], c[2]);
  if (t->vector_width <= 1 && p[A_L] == 1) { /* a driver that wants scalars: the cut of a GPU, which also keeps the loops of one work-item short */
    static const int32_t scalar[] = {1, 16, 4, 4, 2, 2, 1, 1};
    for (int i = 0; i <= A_DT; i++) p[i] = scalar[i];
  }
  p[A_L] = t->max_group ? smaller(p[A_L], (int32_t)t->max_group) : p[A_L];
  if (p[A_L] == 1) { /* all heads share a decoded row */
    while (p[A_VW] / 2 >= c[3]) p[A_VW] /= 2;
    while (p[A_HB] / 2 >= c[3] && p[A_HB] > p[A_VW]) p[A_HB] /= 2;
    while (p[A_HV] > 1 && p[A_HB] / p[A_VW] % p[A_HV]) p[A_HV] /= 2;
    while (p[A_HT] > 1 && c[3] % p[A_HT]) p[A_HT] /= 2;
    while (p[A_DT] > 1 && c[1] / p[A_VW] % p[A_DT]) p[A_DT] /= 2;
    return;
  }
  while (p[A_HB] / 2 >= c[3] && p[A_HB] > p[A_HT]) p[A_HB] /= 2;
  while (p[A_RB] > 1 && !legal_attn(t, c, p)) p[A_RB] /= 2, p[A_RT] = smaller(p[A_RT], p[A_RB]);
  while (p[A_HB] > 1 && !legal_attn(t, c, p)) p[A_HB] /= 2, p[A_HT] = smaller(p[A_HT], p[A_HB]);
}
static void launch_attn(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  by_group(out, ceil_to((size_t)c[3], (size_t)p[A_HB]), at_least_0(a->i[6]), at_least_0(a->i[0]), p[A_L]);
}
static double rows_seen(const koi_args *a, const int32_t *c)
{
  double n = 0;
  for (int32_t t = 0; t < a->i[0]; t++) {
    int32_t seen = a->i[1] + t + 1;
    n += smaller(seen, a->i[2]) + (c[4] == 1 ? seen / a->i[4] : c[4] == 2 ? smaller(seen / 4, a->i[5]) : 0);
  }
  return n;
}
static double flops_attn(const koi_args *a, const int32_t *c) { return 4.0 * rows_seen(a, c) * c[3] * c[1]; }
static double bytes_attn(const koi_args *a, const int32_t *c)
{
  return rows_seen(a, c) * row_bytes(c[0], c[1], c[2]) + 4.0 * a->i[0] * c[3] * c[1] * (1 + a->i[6]);
}

VALUES(head_blocks, 4, 8, 16, 32, 64, 128);
VALUES(row_blocks, 2, 4, 8, 16, 32, 64);
VALUES(row_cuts, 1, 2, 4, 6, 8);

const koi_op koi_op_attn = {
  .name = "attn", .source = "attn", .usual = {0, 512, 64, 64, 2},
  .bufs = {{"Q", "[T][H][dh]", KOI_IN}, {"w_codes", "[cap][dh-rd]", KOI_IN}, {"w_scales", "[cap][(dh-rd)/64]", KOI_IN}, {"w_rope", "[cap][rd]", KOI_IN},
           {"c_codes", "[rows][dh-rd]", KOI_IN}, {"c_scales", "[rows][(dh-rd)/64]", KOI_IN}, {"c_rope", "[rows][rd]", KOI_IN},
           {"idx", "[T][K]", KOI_IN}, {"PO", "[T][S][H][dh]", KOI_OUT}, {"ML", "[T][S][H][2]", KOI_OUT}},
  .ints = {"T", "p0", "window", "cap", "ratio", "K", "n_splits", "rows_per_split"}, .floats = {"scale"}, .consts = {"EXACT", "DH", "RD", "NH", "SEL"},
  .params = {PARAM("VW", 16, 4, widths), PARAM("L", 1, 128, groups), PARAM("HB", 64, 8, head_blocks), PARAM("RB", 32, 4, row_blocks),
             PARAM("RT", 4, 2, row_cuts), PARAM("HT", 8, 2, head_tiles), PARAM("HV", 4, 1, ones), PARAM("DT", 2, 1, row_cuts)},
  .legal = legal_attn, .choose = choose_attn, .launch = launch_attn, .flops = flops_attn, .bytes = bytes_attn, .ref = koi_ref_attn};

/* ---- attn_merge ---- */
static void choose_merge(const koi_target *t, const int32_t *c, int32_t *p)
{
  (void)c;
  p[VW] = cpu_width(t, p[VW]);
}
static void launch_merge(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  by_group(out, (size_t)c[ATTN_MERGE_NH], at_least_0(a->i[ATTN_MERGE_T]), 1, p[L]);
}
static double flops_merge(const koi_args *a, const int32_t *c) 
{
  return 2.0 * a->i[ATTN_MERGE_T] * a->i[ATTN_MERGE_N_SPLITS] * c[ATTN_MERGE_NH] * c[ATTN_MERGE_DH];
}
static double bytes_merge(const koi_args *a, const int32_t *c)
{
  return 4.0 * a->i[ATTN_MERGE_T] * c[ATTN_MERGE_NH] * c[ATTN_MERGE_DH] * (a->i[ATTN_MERGE_N_SPLITS] + 1);
}

const koi_op koi_op_attn_merge = {
  .name = "attn_merge", .source = "attn_merge", .usual = {[ATTN_MERGE_DH] = 512, [ATTN_MERGE_RD] = 64, [ATTN_MERGE_NH] = 64, [ATTN_MERGE_ST] = KOI_WT_F32},
  .bufs = {[ATTN_MERGE_PO] = {"PO", "[T][S][H][dh]", KOI_IN},
           [ATTN_MERGE_ML] = {"ML", "[T][S][H][2]", KOI_IN},
           [ATTN_MERGE_SINK] = {"sink", "[H]", KOI_IN},
           [ATTN_MERGE_ROPE] = {"rope", "[T][rd/2][2]", KOI_IN},
           [ATTN_MERGE_O] = {"O", "[T][H][dh]", KOI_OUT}},
  .ints = {[ATTN_MERGE_T] = "T", [ATTN_MERGE_N_SPLITS] = "n_splits"}, .consts = {[ATTN_MERGE_DH] = "DH", [ATTN_MERGE_RD] = "RD", [ATTN_MERGE_NH] = "NH",
      [ATTN_MERGE_ST] = "ST"}, .params = {PARAM("VW", 16, 4, widths), PARAM("L", 1, 64, groups)},
  .choose = choose_merge, .launch = launch_merge, .flops = flops_merge, .bytes = bytes_merge, .ref = koi_ref_attn_merge};
