/* Descriptors of the row ops: mHC before and after a block, norm with RoPE, routing, grouping, the experts' activation.
 * Owns: their parameters, launch rules and costs. Not the kernels (kernels/cl) nor their meaning (ops.h).
 * Invariant: L is the work-group size; where it is 1 a kernel has no local memory and no barrier. */
#include "ops.h"
#include "ops_refs.h"

enum { L, VW, STRETCH }; /* the order of the params below */

static const int32_t groups[] = {1, 32, 64, 128, 256}, widths[] = {1, 2, 4, 8, 16}, stretches[] = {1, 2, 4, 8, 16, 32, 64};
#define VALUES(a) a, sizeof(a) / sizeof((a)[0])
#define PARAM_L(gpu) {"L", 1, gpu, VALUES(groups)}
#define PARAM_VW {"VW", 16, 1, VALUES(widths)}
#define PARAM_STRETCH(cpu) {"STRETCH", cpu, 1, VALUES(stretches)}

static int legal(const koi_target *t, const int32_t *c, const int32_t *p)
{
  (void)c;
  return p[L] >= 1 && (!t->max_group || (uint32_t)p[L] <= t->max_group);
}

static void choose(const koi_target *t, const int32_t *c, int32_t *p)
{
  (void)c;
  if (t->max_group && (uint32_t)p[L] > t->max_group) p[L] = (int32_t)t->max_group;
}

static void set(koi_range *out, size_t groups_x, size_t groups_y, const int32_t *p)
{
  *out = (koi_range){{groups_x * (size_t)p[L], groups_y, 1}, {(size_t)p[L], 1, 1}};
}

/* The first int counts the groups. */
static void launch_rows(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  (void)c;
  set(out, (size_t)a->i[0], 1, p);
}

/* The first int counts rows, the second their columns, which are cut into stretches. */
static void launch_stretches(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  (void)c;
  size_t stretch = (size_t)p[STRETCH] * (size_t)p[L] * (size_t)p[VW];
  set(out, ((size_t)a->i[1] + stretch - 1) / stretch, (size_t)a->i[0], p);
}

static void launch_one(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  (void)a, (void)c;
  set(out, 1, 1, p);
}

static double hc_pre_flops(const koi_args *a, const int32_t *c) { return (double)a->i[0] * a->i[1] * (4.0 * c[0] + 4.0); }
static double hc_pre_bytes(const koi_args *a, const int32_t *c) { return 4.0 * a->i[0] * a->i[1] * (c[0] + 1.0); }

const koi_op koi_op_hc_pre = {
  .name = "hc_pre",
  .source = "hc_pre",
  .bufs = {{"M", "[T][HEAD ? HC : (2+HC)*HC]", KOI_IN},
           {"X", "[T][HC][D]", KOI_IN},
           {"scale", "[HEAD ? 1 : 3]", KOI_IN},
           {"base", "[HEAD ? HC : (2+HC)*HC]", KOI_IN},
           {"norm", "[D]", KOI_IN},
           {"Y", "[T][D]", KOI_OUT},
           {"post", "[T][HC]", KOI_OUT},
           {"comb", "[T][HC][HC]", KOI_OUT}},
  .ints = {"T", "D"},
  .floats = {"rms_eps", "hc_eps"},
  .consts = {"HC", "ITERS", "HEAD", "NT_"},
  .params = {PARAM_L(256), PARAM_VW},
  .legal = legal,
  .choose = choose,
  .launch = launch_rows,
  .flops = hc_pre_flops,
  .bytes = hc_pre_bytes,
  .ref = koi_ref_hc_pre,
};

static double hc_post_flops(const koi_args *a, const int32_t *c) { return (double)a->i[0] * a->i[1] * (a->i[2] + 2.0 * c[0] * (c[0] + 1.0)); }
static double hc_post_bytes(const koi_args *a, const int32_t *c) { return 4.0 * a->i[0] * a->i[1] * (2.0 * c[0] + 1.0 + a->i[2]); }

const koi_op koi_op_hc_post = {
  .name = "hc_post",
  .source = "hc_post",
  .bufs = {{"X", "[T][HC][D]", KOI_INOUT},
           {"O", "[T][D]", KOI_IN},
           {"post", "[T][HC]", KOI_IN},
           {"comb", "[T][HC][HC]", KOI_IN},
           {"parts", "[T*n_parts][D]", KOI_IN}},
  .ints = {"T", "D", "n_parts"},
  .consts = {"HC"},
  .params = {PARAM_L(64), PARAM_VW, PARAM_STRETCH(32)},
  .legal = legal,
  .choose = choose,
  .launch = launch_stretches,
  .flops = hc_post_flops,
  .bytes = hc_post_bytes,
  .ref = koi_ref_hc_post,
};

static double norm_rope_flops(const koi_args *a, const int32_t *c)
{
  return (double)a->i[0] * ((c[0] ? 3.0 + (c[0] == 2) : 0.0) * a->i[1] + 3.0 * a->i[2]);
}
static double norm_rope_bytes(const koi_args *a, const int32_t *c)
{
  (void)c;
  return 8.0 * a->i[0] * a->i[1];
}

const koi_op koi_op_norm_rope = {
  .name = "norm_rope",
  .source = "norm_rope",
  .bufs = {{"X", "[n][ldx]", KOI_IN}, {"norm", "[dim]", KOI_IN}, {"rope", "[*][rd/2][2]", KOI_IN}, {"Y", "[n][ldy]", KOI_OUT}},
  .ints = {"n", "dim", "rd", "rows_per_pos", "ldx", "ldy"},
  .floats = {"eps"},
  .consts = {"NORM", "NT_"},
  .params = {PARAM_L(64), PARAM_VW},
  .legal = legal,
  .choose = choose,
  .launch = launch_rows,
  .flops = norm_rope_flops,
  .bytes = norm_rope_bytes,
  .ref = koi_ref_norm_rope,
};

static double route_flops(const koi_args *a, const int32_t *c)
{
  (void)c;
  return (double)a->i[0] * a->i[1] * (4.0 + a->i[2]);
}
static double route_bytes(const koi_args *a, const int32_t *c)
{
  (void)c;
  return 4.0 * a->i[0] * (a->i[1] + 2.0 * a->i[2]);
}

const koi_op koi_op_route = {
  .name = "route",
  .source = "route",
  .bufs = {{"logits", "[T][ld]", KOI_IN},
           {"bias", "[n_experts]", KOI_IN},
           {"tokens", "i32[T]", KOI_IN},
           {"tid2eid", "i32[n_vocab][n_used]", KOI_IN},
           {"ids", "i32[T][n_used]", KOI_OUT},
           {"w", "[T][n_used]", KOI_OUT}},
  .ints = {"T", "n_experts", "n_used", "ld"},
  .floats = {"route_scale"},
  .consts = {"SCORE", "HASH", "BT"},
  .params = {PARAM_L(64), PARAM_VW},
  .legal = legal,
  .choose = choose,
  .launch = launch_rows,
  .flops = route_flops,
  .bytes = route_bytes,
  .ref = koi_ref_route,
};

static double group_flops(const koi_args *a, const int32_t *c)
{
  (void)a, (void)c;
  return 0.0;
}
static double group_bytes(const koi_args *a, const int32_t *c) { return 4.0 * (a->i[0] + (double)a->i[2] * (c[0] + 1.0)); }

const koi_op koi_op_group = {
  .name = "group",
  .source = "group",
  .bufs = {{"ids", "i32[E]", KOI_IN}, {"rows", "i32[n_panels*NT]", KOI_OUT}, {"unit", "i32[n_panels]", KOI_OUT}},
  .ints = {"E", "n_units", "n_panels"},
  .consts = {"NT"},
  .params = {PARAM_L(256)},
  .legal = legal,
  .choose = choose,
  .launch = launch_one,
  .flops = group_flops,
  .bytes = group_bytes,
  .ref = koi_ref_group,
};

static double swiglu_flops(const koi_args *a, const int32_t *c)
{
  (void)c;
  return 8.0 * a->i[0] * a->i[1];
}
static double swiglu_bytes(const koi_args *a, const int32_t *c)
{
  (void)c;
  return 12.0 * a->i[0] * a->i[1];
}

const koi_op koi_op_swiglu = {
  .name = "swiglu",
  .source = "swiglu",
  .bufs = {{"GU", "[E][ldg]", KOI_IN}, {"w", "[E]", KOI_IN}, {"H", "[E][ldh]", KOI_OUT}},
  .ints = {"E", "inter", "ldg", "ldh", "has_w"},
  .floats = {"limit"},
  .params = {PARAM_L(64), PARAM_VW, PARAM_STRETCH(16)},
  .legal = legal,
  .choose = choose,
  .launch = launch_stretches,
  .flops = swiglu_flops,
  .bytes = swiglu_bytes,
  .ref = koi_ref_swiglu,
};
