/* Descriptors of the ops that write the caches: rows, compressors and their state, indexer keys. Owns the records and their rules; the
 * contracts are in ops.h, the kernels in kernels/cl. Invariant: where a target has parameters that are legal, repair finds some. */
#include "ops_cut.h"

/* ---- kv_store ---- */
enum { KV_L };
GROUP_OF(kv_store, KV_L)
static int32_t kv_store_bucket(const int32_t *i, const int32_t *c) { return (void)c, koi_bucket_rows(i[KV_STORE_N]); }
static void launch_kv_store(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  by_item(out, at_least_0(a->i[KV_STORE_N]) * (koi_ceil_div((uint64_t)(c[KV_STORE_DH] - c[KV_STORE_RD]), 64) + 1), p[KV_L]);
}
static double flops_kv_store(const koi_args *a, const int32_t *c) { return c[KV_STORE_EXACT] ? 0 : 2.0 * a->i[KV_STORE_N] * c[KV_STORE_DH]; }
static double bytes_kv_store(const koi_args *a, const int32_t *c)
{
  return a->i[KV_STORE_N] * (4.0 * c[KV_STORE_DH] + kv_row_bytes(c[KV_STORE_EXACT], c[KV_STORE_DH], c[KV_STORE_RD]));
}

const koi_op koi_op_kv_store = {
  .name = "kv_store", .source = "kv_store",
  .bufs = {[KV_STORE_X] = {"X", "[n][ldx]", KOI_IN}, [KV_STORE_ROWS] = {"rows", "[n][2]", KOI_IN}, [KV_STORE_TABLES] = {"tables", "[entries]", KOI_IN},
           SLABS(KV_STORE_S0, "S", KOI_INOUT)},
  .ints = {[KV_STORE_N] = "n", [KV_STORE_LDX] = "ldx", [KV_STORE_TABLE] = "table", [KV_STORE_RING] = "ring", [KV_STORE_PAGE_BYTES] = "page_bytes",
           [KV_STORE_AT] = "at"},
  .consts = {[KV_STORE_EXACT] = "EXACT", [KV_STORE_DH] = "DH", [KV_STORE_RD] = "RD", [KV_STORE_PAGE] = "PAGE"},
  .usual = {[KV_STORE_DH] = 512, [KV_STORE_RD] = 64, [KV_STORE_PAGE] = 64},
  .params = {[KV_L] = PARAM("L", 1, 64, groups)}, .repair = kv_store_repair, .group_items = kv_store_items, .bucket = kv_store_bucket,
  .launch = launch_kv_store, .flops = flops_kv_store, .bytes = bytes_kv_store, .ref = koi_ref_kv_store};

/* ---- pool ---- */
enum { POOL_VW, POOL_L };
static double pool_entries(const koi_args *a) { return (double)a->i[POOL_N_WIN] * a->i[POOL_DIM] * a->i[POOL_R] * a->i[POOL_COFF]; }
GROUP_OF(pool, POOL_L)
static void defaults_pool(const koi_target *t, const int32_t *c, int32_t *p)
{
  (void)c;
  p[POOL_VW] = cpu_width(t, p[POOL_VW]);
}
static void launch_pool(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  (void)c;
  by_item(out, at_least_0(a->i[POOL_N_WIN]) * ceil_to(at_least_0(a->i[POOL_DIM]), (size_t)p[POOL_VW]), p[POOL_L]);
}
static double flops_pool(const koi_args *a, const int32_t *c) { return (void)c, 6.0 * pool_entries(a); }
static double bytes_pool(const koi_args *a, const int32_t *c)
{
  return (void)c, 8.0 * pool_entries(a) + 4.0 * a->i[POOL_N_WIN] * a->i[POOL_DIM];
}

const koi_op koi_op_pool = {
  .name = "pool", .source = "pool",
  .bufs = {[POOL_KV] = {"kv", "[T][ld]", KOI_IN}, [POOL_APE] = {"ape", "[R][coff*dim]", KOI_IN},
           [POOL_WINS] = {"wins", "[n_win][5]", KOI_IN}, [POOL_Y] = {"Y", "[n_win][dim]", KOI_OUT}, SLABS(POOL_S0, "S", KOI_IN)},
  .ints = {[POOL_N_WIN] = "n_win", [POOL_R] = "R", [POOL_DIM] = "dim", [POOL_LD] = "ld", [POOL_COFF] = "coff", [POOL_SLOT_BYTES] = "slot_bytes",
           [POOL_AT] = "at"},
  .consts = {[POOL_C_AT] = "AT"}, .params = {[POOL_VW] = PARAM("VW", 16, 1, widths), [POOL_L] = PARAM("L", 1, 64, groups)},
  .defaults = defaults_pool, .repair = pool_repair, .group_items = pool_items, .usual = {[POOL_C_AT] = KOI_WT_F32},
  .launch = launch_pool, .flops = flops_pool, .bytes = bytes_pool, .ref = koi_ref_pool};

/* ---- pool_keep ---- */
enum { KEEP_L };
GROUP_OF(pool_keep, KEEP_L)
static void launch_pool_keep(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  (void)c;
  by_group(out, at_least_0(a->i[POOL_KEEP_MOST]), at_least_0(a->i[POOL_KEEP_N]), 1, p[KEEP_L]);
}
static double flops_none(const koi_args *a, const int32_t *c) { return (void)a, (void)c, 0; }
static double bytes_pool_keep(const koi_args *a, const int32_t *c)
{
  return (void)c, 16.0 * a->i[POOL_KEEP_MOST] * a->i[POOL_KEEP_N] * a->i[POOL_KEEP_DIM] * a->i[POOL_KEEP_COFF];
}

const koi_op koi_op_pool_keep = {
  .name = "pool_keep", .source = "pool_keep",
  .bufs = {[POOL_KEEP_KV] = {"kv", "[T][ld]", KOI_IN}, [POOL_KEEP_KEEPS] = {"keeps", "[n][5]", KOI_IN},
           SLABS(POOL_KEEP_S0, "S", KOI_INOUT)},
  .ints = {[POOL_KEEP_N] = "n", [POOL_KEEP_MOST] = "most", [POOL_KEEP_R] = "R", [POOL_KEEP_DIM] = "dim", [POOL_KEEP_LD] = "ld", [POOL_KEEP_COFF] = "coff",
           [POOL_KEEP_SLOT_BYTES] = "slot_bytes", [POOL_KEEP_AT] = "at"},
  .params = {[KEEP_L] = PARAM("L", 1, 64, groups)}, .repair = pool_keep_repair, .group_items = pool_keep_items,
  .launch = launch_pool_keep, .flops = flops_none, .bytes = bytes_pool_keep, .ref = koi_ref_pool_keep};

/* ---- index_round, index_store ---- */
enum { INDEX_VW, INDEX_L };
static double log2_of(int32_t n)
{
  double k = 0;
  for (; n > 1; n /= 2) k++;
  return k;
}
static int32_t hadamard_width(const koi_target *t, int32_t want, int32_t ih) { return halved_until_divides(cpu_width(t, want), ih, ih < 32 ? ih : 32); }
static int legal_round(const koi_target *t, const int32_t *c, const int32_t *p) { return (void)t, p[INDEX_VW] <= c[INDEX_ROUND_IH]; }
static int legal_store(const koi_target *t, const int32_t *c, const int32_t *p) { return (void)t, p[INDEX_VW] <= c[INDEX_STORE_IH]; }
static void defaults_round(const koi_target *t, const int32_t *c, int32_t *p) { p[INDEX_VW] = hadamard_width(t, p[INDEX_VW], c[INDEX_ROUND_IH]); }
static void defaults_store(const koi_target *t, const int32_t *c, int32_t *p) { p[INDEX_VW] = hadamard_width(t, p[INDEX_VW], c[INDEX_STORE_IH]); }
static void repair_round(const koi_target *t, const int32_t *c, int32_t *p)
{
  while (p[INDEX_VW] > c[INDEX_ROUND_IH]) p[INDEX_VW] /= 2;
  koi_halve(t, &koi_op_index_round, c, p, INDEX_L, 1);
}
static void repair_store(const koi_target *t, const int32_t *c, int32_t *p)
{
  while (p[INDEX_VW] > c[INDEX_STORE_IH]) p[INDEX_VW] /= 2;
  koi_halve(t, &koi_op_index_store, c, p, INDEX_L, 1);
}
static uint64_t index_items(const int32_t *c, const int32_t *p) { return (void)c, (uint64_t)p[INDEX_L]; }
/* The row, and what it becomes. */
static uint64_t local_round(const int32_t *c, const int32_t *p) { return p[INDEX_L] > 1 ? 4 * (uint64_t)c[INDEX_ROUND_IH] : 0; }
static uint64_t local_store(const int32_t *c, const int32_t *p)
{
  return p[INDEX_L] > 1 && !c[INDEX_STORE_EXACT] ? 8 * (uint64_t)c[INDEX_STORE_IH] : 0;
}
static void launch_round(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  (void)c;
  by_group(out, at_least_0(a->i[INDEX_ROUND_N]), 1, 1, p[INDEX_L]);
}
static void launch_store(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  (void)c;
  by_group(out, at_least_0(a->i[INDEX_STORE_N]), 1, 1, p[INDEX_L]);
}
static double transform_flops(double rows, int32_t ih) { return rows * ih * (log2_of(ih) + 4); }
static double flops_round(const koi_args *a, const int32_t *c) { return transform_flops(a->i[INDEX_ROUND_N], c[INDEX_ROUND_IH]); }
static double bytes_round(const koi_args *a, const int32_t *c) { return 8.0 * a->i[INDEX_ROUND_N] * c[INDEX_ROUND_IH]; }
static double flops_store(const koi_args *a, const int32_t *c)
{
  return c[INDEX_STORE_EXACT] ? 0 : transform_flops(a->i[INDEX_STORE_N], c[INDEX_STORE_IH]);
}
static double bytes_store(const koi_args *a, const int32_t *c)
{
  return a->i[INDEX_STORE_N] * (4.0 * c[INDEX_STORE_IH] + index_row_bytes(c[INDEX_STORE_EXACT], c[INDEX_STORE_IH]));
}

const koi_op koi_op_index_round = {
  .name = "index_round", .source = "index_round",
  .bufs = {[INDEX_ROUND_X] = {"X", "[n][ih]", KOI_INOUT}},
  .ints = {[INDEX_ROUND_N] = "n"}, .consts = {[INDEX_ROUND_IH] = "IH"},
  .params = {[INDEX_VW] = PARAM("VW", 16, 1, widths), [INDEX_L] = PARAM("L", 1, 64, groups)},
  .usual = {[INDEX_ROUND_IH] = 128},
  .defaults = defaults_round, .repair = repair_round, .legal = legal_round, .group_items = index_items, .local_bytes = local_round,
  .launch = launch_round, .flops = flops_round, .bytes = bytes_round, .ref = koi_ref_index_round};

const koi_op koi_op_index_store = {
  .name = "index_store", .source = "index_store",
  .bufs = {[INDEX_STORE_X] = {"X", "[n][ih]", KOI_IN}, [INDEX_STORE_ROWS] = {"rows", "[n][2]", KOI_IN}, [INDEX_STORE_TABLES] = {"tables", "[entries]", KOI_IN},
           SLABS(INDEX_STORE_S0, "S", KOI_INOUT)},
  .ints = {[INDEX_STORE_N] = "n", [INDEX_STORE_TABLE] = "table", [INDEX_STORE_PAGE_BYTES] = "page_bytes", [INDEX_STORE_AT] = "at"},
  .consts = {[INDEX_STORE_EXACT] = "EXACT", [INDEX_STORE_IH] = "IH", [INDEX_STORE_PAGE] = "PAGE"},
  .params = {[INDEX_VW] = PARAM("VW", 16, 1, widths), [INDEX_L] = PARAM("L", 1, 64, groups)},
  .usual = {[INDEX_STORE_IH] = 128, [INDEX_STORE_PAGE] = 64},
  .defaults = defaults_store, .repair = repair_store, .legal = legal_store, .group_items = index_items, .local_bytes = local_store,
  .launch = launch_store, .flops = flops_store, .bytes = bytes_store, .ref = koi_ref_index_store};
