/* Descriptors of ops that join others (joined.h), but those whose rules are matvec's. Owns the records and their rules. Invariant: where a target has
 * parameters that are legal, repair finds some. */
#include "ops_cut.h"

/* Room that work-items share to store a row of keys and values: 16 shares of each group of 64 columns. */
static uint64_t kv_row_floats(int32_t exact, int32_t dh, int32_t rd) { return exact ? 1 : ((uint64_t)(dh - rd) + 63) / 64 * 16; }

/* ---- latents ---- */
enum { LATENTS_VW, LATENTS_L };
GROUP_OF(latents, LATENTS_L)
static int32_t latents_bucket(const int32_t *i, const int32_t *c) { return (void)c, koi_bucket_rows(i[LATENTS_N]); }
static uint64_t local_latents(const int32_t *c, const int32_t *p)
{
  return p[LATENTS_L] > 1 ? sizeof(float) * ((uint64_t)p[LATENTS_L] + kv_row_floats(c[LATENTS_EXACT], c[LATENTS_DH], c[LATENTS_RD])) : 0;
}
static void defaults_latents(const koi_target *t, const int32_t *c, int32_t *p)
{
  (void)c;
  p[LATENTS_VW] = cpu_width(t, p[LATENTS_VW]);
}
static void launch_latents(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  (void)c;
  by_group(out, at_least_0(a->i[LATENTS_N]), 2 + at_least_0(a->i[LATENTS_N_KEPT]), 1, p[LATENTS_L]);
}
static double kept_floats(const koi_args *a) { return 2.0 * a->i[LATENTS_COFF] * (a->i[LATENTS_A_DIM] + a->i[LATENTS_B_DIM]); }
static double flops_latents(const koi_args *a, const int32_t *c) { return 6.0 * a->i[LATENTS_N] * (a->i[LATENTS_Q_DIM] + c[LATENTS_DH]); }
static double bytes_latents(const koi_args *a, const int32_t *c)
{
  return a->i[LATENTS_N] * (8.0 * (a->i[LATENTS_Q_DIM] + kept_floats(a)) + 4.0 * c[LATENTS_DH] + kv_row_bytes(c[LATENTS_EXACT], c[LATENTS_DH], c[LATENTS_RD]));
}

const koi_op koi_op_latents = {
  .name = "latents", .source = "latents",
  .bufs = {[LATENTS_Q] = {"Q", "[n][q_dim]", KOI_INOUT}, [LATENTS_Q_NORM] = {"q_norm", "[q_dim]", KOI_IN}, [LATENTS_KV] = {"KV", "[n][dh]", KOI_INOUT},
           [LATENTS_KV_NORM] = {"kv_norm", "[dh]", KOI_IN}, [LATENTS_ROPE] = {"rope", "[n][rd/2][2]", KOI_IN}, [LATENTS_ROWS] = {"rows", "[n][2]", KOI_IN},
           [LATENTS_TABLES] = {"tables", "[entries]", KOI_IN}, [LATENTS_A] = {"A", "[n][2*coff*a_dim]", KOI_IN},
           [LATENTS_B] = {"B", "[n][2*coff*b_dim]", KOI_IN}, [LATENTS_KEEPS] = {"keeps", "[n][5]", KOI_IN}, SLABS(LATENTS_W0, "W", KOI_INOUT),
           SLABS(LATENTS_S0, "S", KOI_INOUT)},
  .ints = {[LATENTS_N] = "n", [LATENTS_N_KEPT] = "n_kept", [LATENTS_Q_DIM] = "q_dim", [LATENTS_TABLE] = "table", [LATENTS_RING] = "ring",
           [LATENTS_PAGE_BYTES] = "page_bytes", [LATENTS_AT] = "at", [LATENTS_R] = "R", [LATENTS_COFF] = "coff", [LATENTS_SLOT_BYTES] = "slot_bytes",
           [LATENTS_A_DIM] = "a_dim", [LATENTS_A_AT] = "a_at", [LATENTS_B_DIM] = "b_dim", [LATENTS_B_AT] = "b_at"},
  .floats = {[LATENTS_EPS] = "eps"},
  .consts = {[LATENTS_EXACT] = "EXACT", [LATENTS_DH] = "DH", [LATENTS_RD] = "RD", [LATENTS_PAGE] = "PAGE", [LATENTS_NORM_WT] = "NORM_WT"},
  .usual = {[LATENTS_DH] = 512, [LATENTS_RD] = 64, [LATENTS_PAGE] = 64, [LATENTS_NORM_WT] = KOI_WT_BF16},
  .params = {[LATENTS_VW] = PARAM("VW", 16, 1, widths), [LATENTS_L] = PARAM("L", 1, 128, groups)}, .defaults = defaults_latents,
  .repair = latents_repair, .group_items = latents_items, .local_bytes = local_latents, .bucket = latents_bucket,
  .launch = launch_latents, .flops = flops_latents, .bytes = bytes_latents, .ref = koi_ref_latents};

/* ---- closing ---- */
enum { CLOSING_VW, CLOSING_L };
static uint64_t closing_items(const int32_t *c, const int32_t *p) { return (void)c, (uint64_t)p[CLOSING_L]; }
static int32_t closing_bucket(const int32_t *i, const int32_t *c) { return (void)c, koi_bucket_rows(i[CLOSING_N_WIN]); }
/* A sum over the group, where the slabs and others lie, and a key of the indexer's with its codes. */
static uint64_t local_closing(const int32_t *c, const int32_t *p)
{
  uint64_t floats = (uint64_t)p[CLOSING_L] + kv_row_floats(c[CLOSING_EXACT], c[CLOSING_DH], c[CLOSING_RD]) + (c[CLOSING_EXACT] ? 0 : 2 * (uint64_t)c[CLOSING_IH]);
  return p[CLOSING_L] > 1 ? sizeof(float) * floats + (3 * KOI_SLABS + 4) * sizeof(uint64_t) : 0;
}
static int legal_closing(const koi_target *t, const int32_t *c, const int32_t *p) { return (void)t, !c[CLOSING_IH] || p[CLOSING_VW] <= c[CLOSING_IH]; }
static void defaults_closing(const koi_target *t, const int32_t *c, int32_t *p)
{
  p[CLOSING_VW] = cpu_width(t, p[CLOSING_VW]);
  if (c[CLOSING_IH]) p[CLOSING_VW] = halved_until_divides(p[CLOSING_VW], c[CLOSING_IH], c[CLOSING_IH] < 32 ? c[CLOSING_IH] : 32);
}
static void repair_closing(const koi_target *t, const int32_t *c, int32_t *p)
{
  while (c[CLOSING_IH] && p[CLOSING_VW] > c[CLOSING_IH]) p[CLOSING_VW] /= 2;
  koi_halve(t, &koi_op_closing, c, p, CLOSING_L, 1);
}
static void launch_closing(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  by_group(out, at_least_0(a->i[CLOSING_N_WIN]), c[CLOSING_IH] ? 2 : 1, 1, p[CLOSING_L]);
}
static double pooled_values(const koi_args *a, const int32_t *c) { return (double)a->i[CLOSING_N_WIN] * c[CLOSING_R] * c[CLOSING_COFF] * (c[CLOSING_DH] + c[CLOSING_IH]); }
static double flops_closing(const koi_args *a, const int32_t *c) { return 20 * pooled_values(a, c); }
static double bytes_closing(const koi_args *a, const int32_t *c)
{
  return 8 * pooled_values(a, c) + a->i[CLOSING_N_WIN] * (kv_row_bytes(c[CLOSING_EXACT], c[CLOSING_DH], c[CLOSING_RD]) + index_row_bytes(c[CLOSING_EXACT], c[CLOSING_IH]));
}

const koi_op koi_op_closing = {
  .name = "closing", .source = "closing",
  .bufs = {[CLOSING_A] = {"A", "[T][2*coff*dh]", KOI_IN}, [CLOSING_A_APE] = {"A_ape", "[R][coff*dh]", KOI_IN}, [CLOSING_A_NORM] = {"A_norm", "[dh]", KOI_IN},
           [CLOSING_A_Y] = {"YA", "[n_win][dh]", KOI_OUT}, [CLOSING_B] = {"B", "[T][2*coff*ih]", KOI_IN}, [CLOSING_B_APE] = {"B_ape", "[R][coff*ih]", KOI_IN},
           [CLOSING_B_NORM] = {"B_norm", "[ih]", KOI_IN}, [CLOSING_B_Y] = {"YB", "[n_win][ih]", KOI_OUT}, [CLOSING_WINS] = {"wins", "[n_win][5]", KOI_IN},
           [CLOSING_ROPE] = {"rope", "[n_win][rd/2][2]", KOI_IN}, [CLOSING_ROWS] = {"rows", "[n_win][2]", KOI_IN}, [CLOSING_TABLES] = {"tables", "[entries]", KOI_IN},
           SLABS(CLOSING_S0, "S", KOI_IN), SLABS(CLOSING_C0, "C", KOI_INOUT), SLABS(CLOSING_I0, "I", KOI_INOUT)},
  .ints = {[CLOSING_N_WIN] = "n_win", [CLOSING_SLOT_BYTES] = "slot_bytes", [CLOSING_A_AT] = "a_at",
           [CLOSING_B_AT] = "b_at", [CLOSING_C_TABLE] = "c_table", [CLOSING_C_PAGE_BYTES] = "c_page_bytes", [CLOSING_C_AT] = "c_at",
           [CLOSING_I_TABLE] = "i_table", [CLOSING_I_PAGE_BYTES] = "i_page_bytes", [CLOSING_I_AT] = "i_at"},
  .floats = {[CLOSING_EPS] = "eps"},
  .consts = {[CLOSING_EXACT] = "EXACT", [CLOSING_DH] = "DH", [CLOSING_RD] = "RD", [CLOSING_PAGE] = "PAGE", [CLOSING_NORM_WT] = "NORM_WT", [CLOSING_IH] = "IH",
             [CLOSING_R] = "R", [CLOSING_COFF] = "COFF"},
  .usual = {[CLOSING_DH] = 512, [CLOSING_RD] = 64, [CLOSING_PAGE] = 64, [CLOSING_NORM_WT] = KOI_WT_BF16, [CLOSING_IH] = 128, [CLOSING_R] = 4, [CLOSING_COFF] = 2},
  .params = {[CLOSING_VW] = PARAM("VW", 16, 1, widths), [CLOSING_L] = PARAM("L", 1, 128, groups)}, .defaults = defaults_closing,
  .repair = repair_closing, .legal = legal_closing, .group_items = closing_items, .local_bytes = local_closing, .bucket = closing_bucket,
  .launch = launch_closing, .flops = flops_closing, .bytes = bytes_closing, .ref = koi_ref_closing};

/* ---- heads ---- */
enum { HEADS_VW, HEADS_L };
static uint64_t heads_items(const int32_t *c, const int32_t *p) { return (void)c, (uint64_t)p[HEADS_L]; }
static int32_t heads_bucket(const int32_t *i, const int32_t *c) { return (void)c, koi_bucket_rows(i[HEADS_N]); }
/* A sum over the group, and a row of the indexer's. */
static uint64_t local_heads(const int32_t *c, const int32_t *p)
{
  return p[HEADS_L] > 1 ? sizeof(float) * ((uint64_t)p[HEADS_L] + (c[HEADS_EXACT] ? 0 : (uint64_t)c[HEADS_IH])) : 0;
}
static int legal_heads(const koi_target *t, const int32_t *c, const int32_t *p) { return (void)t, p[HEADS_VW] <= c[HEADS_IH]; }
static void defaults_heads(const koi_target *t, const int32_t *c, int32_t *p)
{
  p[HEADS_VW] = halved_until_divides(cpu_width(t, p[HEADS_VW]), c[HEADS_IH], c[HEADS_IH] < 32 ? c[HEADS_IH] : 32);
}
static void repair_heads(const koi_target *t, const int32_t *c, int32_t *p)
{
  while (p[HEADS_VW] > c[HEADS_IH]) p[HEADS_VW] /= 2;
  koi_halve(t, &koi_op_heads, c, p, HEADS_L, 1);
}
static void launch_heads(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  (void)c;
  by_group(out, at_least_0(a->i[HEADS_N]) * (at_least_0(a->i[HEADS_Q_HEADS]) + at_least_0(a->i[HEADS_I_HEADS])), 1, 1, p[HEADS_L]);
}
static double head_values(const koi_args *a, const int32_t *c)
{
  return (double)a->i[HEADS_N] * ((double)a->i[HEADS_Q_HEADS] * a->i[HEADS_DIM] + (double)a->i[HEADS_I_HEADS] * c[HEADS_IH]);
}
static double flops_heads(const koi_args *a, const int32_t *c) { return 6 * head_values(a, c); }
static double bytes_heads(const koi_args *a, const int32_t *c) { return 8 * head_values(a, c); }

const koi_op koi_op_heads = {
  .name = "heads", .source = "heads",
  .bufs = {[HEADS_Q] = {"Q", "[n][q_heads][dim]", KOI_INOUT}, [HEADS_IQ] = {"IQ", "[n][i_heads][ih]", KOI_INOUT}, [HEADS_ROPE] = {"rope", "[n][rd/2][2]", KOI_IN}},
  .ints = {[HEADS_N] = "n", [HEADS_Q_HEADS] = "q_heads", [HEADS_DIM] = "dim", [HEADS_RD] = "rd", [HEADS_I_HEADS] = "i_heads"}, .floats = {[HEADS_EPS] = "eps"},
  .consts = {[HEADS_EXACT] = "EXACT", [HEADS_IH] = "IH"}, .usual = {[HEADS_IH] = 128},
  .params = {[HEADS_VW] = PARAM("VW", 16, 1, widths), [HEADS_L] = PARAM("L", 1, 64, groups)}, .defaults = defaults_heads, .repair = repair_heads,
  .legal = legal_heads, .group_items = heads_items, .local_bytes = local_heads, .bucket = heads_bucket,
  .launch = launch_heads, .flops = flops_heads, .bytes = bytes_heads, .ref = koi_ref_heads};
