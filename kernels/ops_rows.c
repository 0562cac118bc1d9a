/* Descriptors of the row ops: rows by number, mHC before and after a block, norm with RoPE, routing, grouping, the experts' activation.
 * Owns: their parameters, launch rules and costs. Not the kernels (kernels/cl) nor their meaning (ops.h).
 * Invariant: L is the work-group size; where it is 1 a kernel has no barrier. */
#include "rules.h"

enum { L, VW, STRETCH }; /* the order of the params below */
enum { FIRST, SECOND };  /* ints of the ops that share a rule */

#define PARAM_L(gpu) [L] = KOI_PARAM("L", 1, gpu, 1, 32, 64, 128, 256)
#define PARAM_VW [VW] = KOI_PARAM("VW", 16, 1, 1, 2, 4, 8, 16)
#define PARAM_STRETCH(cpu) [STRETCH] = KOI_PARAM("STRETCH", cpu, 1, 1, 2, 4, 8, 16, 32, 64)
/* Smaller groups are all that these ops can give way by. */
#define REPAIR(op) \
  static void op##_repair(const koi_target *t, const int32_t *c, int32_t *p) { koi_halve(t, &koi_op_##op, c, p, L, 1); }

static uint64_t group_items(const int32_t *c, const int32_t *p) { return (void)c, (uint64_t)p[L]; }
/* What a sum over the group needs. */
static uint64_t sum_local(const int32_t *c, const int32_t *p) { return (void)c, p[L] > 1 ? (uint64_t)p[L] * sizeof(float) : 0; }

/* The first int counts rows. */
static int32_t rows_bucket(const int32_t *i, const int32_t *c) { return (void)c, koi_bucket_rows(i[FIRST]); }

static void set(koi_range *out, size_t groups_x, size_t groups_y, const int32_t *p)
{
  *out = (koi_range){{groups_x * (size_t)p[L], groups_y, 1}, {(size_t)p[L], 1, 1}};
}

/* The first int counts the groups. */
static void launch_rows(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  (void)c;
  set(out, (size_t)a->i[FIRST], 1, p);
}

/* The first int counts rows, the second their columns, which are cut into stretches. */
static void launch_stretches(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  (void)c;
  size_t stretch = (size_t)p[STRETCH] * (size_t)p[L] * (size_t)p[VW];
  set(out, ((size_t)a->i[SECOND] + stretch - 1) / stretch, (size_t)a->i[FIRST], p);
}

static void launch_one(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  (void)a, (void)c;
  set(out, 1, 1, p);
}

static double gather_flops(const koi_args *a, const int32_t *c) { return (void)a, (void)c, 0; }
static double gather_bytes(const koi_args *a, const int32_t *c) { return (void)c, 8.0 * a->i[GATHER_N] * a->i[GATHER_D]; }

REPAIR(gather)

const koi_op koi_op_gather = {
  .name = "gather",
  .source = "gather",
  .bufs = {[GATHER_X] = {"X", "[*][D]", KOI_IN}, [GATHER_ROWS] = {"rows", "[n]", KOI_IN}, [GATHER_Y] = {"Y", "[n][D]", KOI_OUT}},
  .ints = {[GATHER_N] = "n", [GATHER_D] = "D"},
  .params = {PARAM_L(64), PARAM_VW, PARAM_STRETCH(16)},
  .repair = gather_repair,
  .group_items = group_items,
  .launch = launch_stretches,
  .flops = gather_flops,
  .bytes = gather_bytes,
  .ref = koi_ref_gather,
};

static double hc_pre_flops(const koi_args *a, const int32_t *c) { return (double)a->i[HC_PRE_T] * a->i[HC_PRE_D] * (4.0 * c[HC_PRE_HC] + 4.0); }
static double hc_pre_bytes(const koi_args *a, const int32_t *c) { return 4.0 * a->i[HC_PRE_T] * a->i[HC_PRE_D] * (c[HC_PRE_HC] + 1.0); }

/* A sum over the group, and sums of the mixes' parts. */
static uint64_t hc_pre_local(const int32_t *c, const int32_t *p)
{
  uint64_t mixes = (uint64_t)c[HC_PRE_HC] * (c[HC_PRE_HEAD] ? 1 : 2 + (uint64_t)c[HC_PRE_HC]), l = (uint64_t)p[L];
  return l > 1 ? (l + (l / mixes ? l / mixes : 1) * mixes) * sizeof(float) : 0;
}

REPAIR(hc_pre)

const koi_op koi_op_hc_pre = {
  .name = "hc_pre",
  .source = "hc_pre",
  .bufs = {[HC_PRE_M] = {"M", "[T][n_parts][HEAD ? HC : (2+HC)*HC]", KOI_IN},
           [HC_PRE_X] = {"X", "[T][HC][D]", KOI_IN},
           [HC_PRE_SCALE] = {"scale", "[HEAD ? 1 : 3]", KOI_IN},
           [HC_PRE_BASE] = {"base", "[HEAD ? HC : (2+HC)*HC]", KOI_IN},
           [HC_PRE_NORM] = {"norm", "[D]", KOI_IN},
           [HC_PRE_Y] = {"Y", "[T][D]", KOI_OUT},
           [HC_PRE_POST] = {"post", "[T][HC]", KOI_OUT},
           [HC_PRE_COMB] = {"comb", "[T][HC][HC]", KOI_OUT}},
  .ints = {[HC_PRE_T] = "T", [HC_PRE_D] = "D", [HC_PRE_N_PARTS] = "n_parts"},
  .floats = {[HC_PRE_RMS_EPS] = "rms_eps", [HC_PRE_HC_EPS] = "hc_eps"},
  .consts = {[HC_PRE_HC] = "HC", [HC_PRE_ITERS] = "ITERS", [HC_PRE_HEAD] = "HEAD", [HC_PRE_NORM_WT] = "NORM_WT"},
  .usual = {[HC_PRE_HC] = 4, [HC_PRE_ITERS] = 20, [HC_PRE_NORM_WT] = KOI_WT_BF16},
  .params = {PARAM_L(256), PARAM_VW},
  .repair = hc_pre_repair,
  .group_items = group_items,
  .local_bytes = hc_pre_local,
  .bucket = rows_bucket,
  .launch = launch_rows,
  .flops = hc_pre_flops,
  .bytes = hc_pre_bytes,
  .ref = koi_ref_hc_pre,
};

static double hc_post_flops(const koi_args *a, const int32_t *c)
{
  return (double)a->i[HC_POST_T] * a->i[HC_POST_D] * (a->i[HC_POST_N_PARTS] + 2.0 * c[HC_POST_HC] * (c[HC_POST_HC] + 1.0));
}
static double hc_post_bytes(const koi_args *a, const int32_t *c)
{
  return 4.0 * a->i[HC_POST_T] * a->i[HC_POST_D] * (2.0 * c[HC_POST_HC] + 1.0 + a->i[HC_POST_N_PARTS]);
}

REPAIR(hc_post)

const koi_op koi_op_hc_post = {
  .name = "hc_post",
  .source = "hc_post",
  .bufs = {[HC_POST_X] = {"X", "[T][HC][D]", KOI_INOUT},
           [HC_POST_O] = {"O", "[T][D]", KOI_IN},
           [HC_POST_POST] = {"post", "[T][HC]", KOI_IN},
           [HC_POST_COMB] = {"comb", "[T][HC][HC]", KOI_IN},
           [HC_POST_PARTS] = {"parts", "[T*n_parts][D]", KOI_IN}},
  .ints = {[HC_POST_T] = "T", [HC_POST_D] = "D", [HC_POST_N_PARTS] = "n_parts"},
  .consts = {[HC_POST_HC] = "HC"},
  .usual = {[HC_POST_HC] = 4},
  .params = {PARAM_L(64), PARAM_VW, PARAM_STRETCH(32)},
  .repair = hc_post_repair,
  .group_items = group_items,
  .bucket = rows_bucket,
  .launch = launch_stretches,
  .flops = hc_post_flops,
  .bytes = hc_post_bytes,
  .ref = koi_ref_hc_post,
};

static double norm_rope_flops(const koi_args *a, const int32_t *c)
{
  return (double)a->i[NORM_ROPE_N] * ((c[NORM_ROPE_C_NORM] ? 3.0 + (c[NORM_ROPE_C_NORM] == 2) : 0.0) * a->i[NORM_ROPE_DIM] + 3.0 * a->i[NORM_ROPE_RD]);
}
static double norm_rope_bytes(const koi_args *a, const int32_t *c)
{
  (void)c;
  return 8.0 * a->i[NORM_ROPE_N] * a->i[NORM_ROPE_DIM];
}

REPAIR(norm_rope)

const koi_op koi_op_norm_rope = {
  .name = "norm_rope",
  .source = "norm_rope",
  .bufs = {[NORM_ROPE_X] = {"X", "[n][ldx]", KOI_IN},
           [NORM_ROPE_NORM] = {"norm", "[dim]", KOI_IN},
           [NORM_ROPE_ROPE] = {"rope", "[*][rd/2][2]", KOI_IN},
           [NORM_ROPE_Y] = {"Y", "[n][ldy]", KOI_OUT}},
  .ints = {[NORM_ROPE_N] = "n", [NORM_ROPE_DIM] = "dim", [NORM_ROPE_RD] = "rd", [NORM_ROPE_ROWS_PER_POS] = "rows_per_pos", [NORM_ROPE_LDX] = "ldx",
           [NORM_ROPE_LDY] = "ldy"},
  .floats = {[NORM_ROPE_EPS] = "eps"},
  .consts = {[NORM_ROPE_C_NORM] = "NORM", [NORM_ROPE_NORM_WT] = "NORM_WT"},
  .usual = {[NORM_ROPE_C_NORM] = 2, [NORM_ROPE_NORM_WT] = KOI_WT_BF16},
  .params = {PARAM_L(64), PARAM_VW},
  .repair = norm_rope_repair,
  .group_items = group_items,
  .local_bytes = sum_local,
  .bucket = rows_bucket,
  .launch = launch_rows,
  .flops = norm_rope_flops,
  .bytes = norm_rope_bytes,
  .ref = koi_ref_norm_rope,
};

static uint64_t route_local(const int32_t *c, const int32_t *p) { return koi_route_local(c[ROUTE_HASH], (uint64_t)p[L]); }

static double route_flops(const koi_args *a, const int32_t *c)
{
  (void)c;
  return (double)a->i[ROUTE_T] * a->i[ROUTE_N_EXPERTS] * (4.0 + a->i[ROUTE_N_USED]);
}
static double route_bytes(const koi_args *a, const int32_t *c)
{
  (void)c;
  return 4.0 * a->i[ROUTE_T] * (a->i[ROUTE_N_EXPERTS] + 2.0 * a->i[ROUTE_N_USED]);
}

REPAIR(route)

const koi_op koi_op_route = {
  .name = "route",
  .source = "route",
  .bufs = {[ROUTE_LOGITS] = {"logits", "[T][ld]", KOI_IN},
           [ROUTE_BIAS] = {"bias", "[n_experts]", KOI_IN},
           [ROUTE_TOKENS] = {"tokens", "i32[T]", KOI_IN},
           [ROUTE_TID2EID] = {"tid2eid", "i32[n_vocab][n_used]", KOI_IN},
           [ROUTE_IDS] = {"ids", "i32[T][n_used]", KOI_OUT},
           [ROUTE_W] = {"w", "[T][n_used]", KOI_OUT}},
  .ints = {[ROUTE_T] = "T", [ROUTE_N_EXPERTS] = "n_experts", [ROUTE_N_USED] = "n_used", [ROUTE_LD] = "ld"},
  .floats = {[ROUTE_ROUTE_SCALE] = "route_scale"},
  .consts = {[ROUTE_SCORE] = "SCORE", [ROUTE_HASH] = "HASH", [ROUTE_BT] = "BT"},
  .usual = {[ROUTE_BT] = KOI_WT_F32},
  .params = {PARAM_L(64), PARAM_VW},
  .repair = route_repair,
  .group_items = group_items,
  .local_bytes = route_local,
  .bucket = rows_bucket,
  .launch = launch_rows,
  .flops = route_flops,
  .bytes = route_bytes,
  .ref = koi_ref_route,
};

enum { GROUP_STEP = 8, GROUP_MAX_UNITS = 1024 }; /* STEP and MAXU of the kernel */

static uint64_t group_local(const int32_t *c, const int32_t *p)
{
  (void)c;
  return sizeof(int32_t) * (p[L] > 1 ? (GROUP_STEP + 1) * (uint64_t)p[L] : GROUP_MAX_UNITS);
}

static double group_flops(const koi_args *a, const int32_t *c)
{
  (void)a, (void)c;
  return 0.0;
}
static double group_bytes(const koi_args *a, const int32_t *c) { return 4.0 * (a->i[GROUP_E] + (double)a->i[GROUP_N_PANELS] * (c[GROUP_NT] + 1.0)); }

REPAIR(group)

const koi_op koi_op_group = {
  .name = "group",
  .source = "group",
  .bufs = {[GROUP_IDS] = {"ids", "i32[E]", KOI_IN},
           [GROUP_ROWS] = {"rows", "i32[n_panels*NT]", KOI_OUT},
           [GROUP_UNIT] = {"unit", "i32[n_panels]", KOI_OUT}},
  .ints = {[GROUP_E] = "E", [GROUP_N_UNITS] = "n_units", [GROUP_N_PANELS] = "n_panels"},
  .consts = {[GROUP_NT] = "NT"},
  .usual = {[GROUP_NT] = 16},
  .params = {PARAM_L(256)},
  .repair = group_repair,
  .group_items = group_items,
  .local_bytes = group_local,
  .launch = launch_one,
  .flops = group_flops,
  .bytes = group_bytes,
  .ref = koi_ref_group,
};

static double swiglu_flops(const koi_args *a, const int32_t *c)
{
  (void)c;
  return 8.0 * a->i[SWIGLU_E] * a->i[SWIGLU_INTER];
}
static double swiglu_bytes(const koi_args *a, const int32_t *c)
{
  (void)c;
  return 12.0 * a->i[SWIGLU_E] * a->i[SWIGLU_INTER];
}

REPAIR(swiglu)

const koi_op koi_op_swiglu = {
  .name = "swiglu",
  .source = "swiglu",
  .bufs = {[SWIGLU_GU] = {"GU", "[E][ldg]", KOI_IN},
           [SWIGLU_W] = {"w", "[E]", KOI_IN},
           [SWIGLU_H] = {"H", "[E][ldh]", KOI_OUT}},
  .ints = {[SWIGLU_E] = "E", [SWIGLU_INTER] = "inter", [SWIGLU_LDG] = "ldg", [SWIGLU_LDH] = "ldh", [SWIGLU_HAS_W] = "has_w"},
  .floats = {[SWIGLU_LIMIT] = "limit"},
  .params = {PARAM_L(64), PARAM_VW, PARAM_STRETCH(16)},
  .repair = swiglu_repair,
  .group_items = group_items,
  .bucket = rows_bucket,
  .launch = launch_stretches,
  .flops = swiglu_flops,
  .bytes = swiglu_bytes,
  .ref = koi_ref_swiglu,
};
