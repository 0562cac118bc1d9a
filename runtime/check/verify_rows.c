/* Cases of gather, hc_pre, hc_post, norm_rope, route, group and swiglu for the verifier. Tables of calls, and how their inputs are made. */
#include <stdbool.h>
#include "verify_case.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
enum { F32 = KOI_WT_F32, F16 = KOI_WT_F16, BF16 = KOI_WT_BF16 };

/* ---- hc_pre ---- */
enum { LARGE = 1 }; /* streams near 1e6, as in the real model */

static const koi_verify_case hc_pre_cases[] = {
  /* HC, ITERS, HEAD, NORM_WT | T, D, n_parts | rms_eps, hc_eps */
  {"one token", {4, 20, 0, BF16}, {1, 128, 1}, {1e-6f, 1e-6f}, 0},
  {"tokens, odd width", {4, 20, 0, BF16}, {5, 100, 1}, {1e-6f, 1e-6f}, 0},
  {"large streams", {4, 20, 0, BF16}, {3, 259, 1}, {1e-6f, 1e-6f}, LARGE},
  {"wide", {4, 20, 0, BF16}, {2, 4096, 1}, {1e-6f, 1e-6f}, KOI_VERIFY_BIG},
  {"parts of the mixes", {4, 20, 0, BF16}, {1, 192, 12}, {1e-6f, 1e-6f}, 0},
  {"many parts, tokens", {2, 20, 0, F32}, {3, 64, 257}, {1e-6f, 1e-6f}, 0},
  {"large eps", {4, 20, 0, F32}, {7, 33, 1}, {0.3f, 0.01f}, 0},
  {"f16 norm", {4, 3, 0, F16}, {4, 64, 1}, {1e-6f, 1e-6f}, 0},
  {"two streams", {2, 20, 0, F32}, {9, 66, 1}, {1e-6f, 1e-6f}, 0},
  {"one round", {2, 1, 0, F32}, {3, 1, 1}, {1e-6f, 1e-6f}, 0},
  {"head", {4, 20, 1, BF16}, {6, 128, 1}, {1e-6f, 1e-6f}, 0},
  {"head, odd width", {4, 20, 1, BF16}, {1, 77, 1}, {1e-6f, 1e-6f}, 0},
  {"head, large eps", {4, 20, 1, BF16}, {3, 64, 1}, {0.3f, 0.01f}, 0},
  {"head of two streams", {2, 20, 1, F32}, {3, 50, 1}, {1e-6f, 1e-6f}, LARGE},
};

static void make_hc_pre(koi_verify_job *j)
{
  const int32_t *i = j->v->i, *c = j->v->c;
  size_t n_tokens = (size_t)i[HC_PRE_T], dim = (size_t)i[HC_PRE_D], hc = (size_t)c[HC_PRE_HC], n_mix = c[HC_PRE_HEAD] ? hc : (2 + hc) * hc;
  float size = j->v->how & LARGE ? 1e6f : 1;
  size_t n_parts = (size_t)i[HC_PRE_N_PARTS];
  koi_verify_floats(j, HC_PRE_M, n_tokens * n_parts * n_mix, 2 * size / sqrtf((float)n_parts)); /* scaled by 1 / rms of streams of this size: within +-4 */
  koi_verify_floats(j, HC_PRE_X, n_tokens * hc * dim, size);
  koi_verify_floats(j, HC_PRE_SCALE, c[HC_PRE_HEAD] ? 1 : 3, 1.5f);
  koi_verify_floats(j, HC_PRE_BASE, n_mix, 1);
  koi_verify_typed(j, HC_PRE_NORM, c[HC_PRE_NORM_WT], dim, 1, 0.5f);
  koi_verify_out(j, HC_PRE_Y, n_tokens * dim * 4, KOI_VERIFY_F32);
  koi_verify_out(j, HC_PRE_POST, n_tokens * hc * 4, KOI_VERIFY_F32);
  koi_verify_out(j, HC_PRE_COMB, n_tokens * hc * hc * 4, KOI_VERIFY_F32);
}

static void hc_pre_bound(koi_verify_job *j)
{
  koi_verify_bound_rows(j, HC_PRE_Y, (size_t)j->v->i[HC_PRE_D], 1e-5f);
  koi_verify_bound_each(j, HC_PRE_POST, 0, 1e-5f);
  koi_verify_bound_each(j, HC_PRE_COMB, 0, 1e-5f);
}

/* ---- hc_post ---- */
static const koi_verify_case hc_post_cases[] = {
  /* HC | T, D, n_parts */
  {"no parts", {4}, {1, 128, 0}, {0}, 0},
  {"no parts, odd width", {4}, {7, 101, 0}, {0}, 0},
  {"two parts", {4}, {3, 64, 2}, {0}, 0},
  {"six parts, odd width", {4}, {5, 333, 6}, {0}, 0},
  {"wide", {4}, {2, 4100, 6}, {0}, KOI_VERIFY_BIG},
  {"two streams", {2}, {9, 50, 1}, {0}, 0},
  {"one column", {2}, {2, 1, 3}, {0}, 0},
  {"one stream", {1}, {4, 40, 2}, {0}, 0},
};

static void make_hc_post(koi_verify_job *j)
{
  const int32_t *i = j->v->i;
  size_t n_tokens = (size_t)i[HC_POST_T], dim = (size_t)i[HC_POST_D], hc = (size_t)j->v->c[HC_POST_HC];
  koi_verify_floats(j, HC_POST_X, n_tokens * hc * dim, 3);
  koi_verify_floats(j, HC_POST_O, n_tokens * dim, 1);
  koi_verify_floats(j, HC_POST_POST, n_tokens * hc, 2);
  koi_verify_floats(j, HC_POST_COMB, n_tokens * hc * hc, 1);
  if (i[HC_POST_N_PARTS]) koi_verify_floats(j, HC_POST_PARTS, n_tokens * (size_t)i[HC_POST_N_PARTS] * dim, 1);
}

static void hc_post_bound(koi_verify_job *j) { koi_verify_bound_linear(j, KOI_FORMAT_NONE, 0, 0); }

/* ---- norm_rope ---- */
enum { IN_PLACE = 1 };

static const koi_verify_case norm_rope_cases[] = {
  /* NORM, NORM_WT | n, dim, rd, rows_per_pos, ldx, ldy | eps */
  {"rope alone", {0, F32}, {6, 64, 32, 2, 64, 64}, {1e-6f}, 0},
  {"rope alone, in place, one pair", {0, F32}, {5, 33, 2, 1, 40, 40}, {1e-6f}, IN_PLACE},
  {"copy", {0, F32}, {3, 20, 0, 1, 21, 25}, {1e-6f}, 0},
  {"heads", {1, F32}, {8, 96, 32, 4, 96, 96}, {1e-6f}, IN_PLACE},
  {"heads, odd count", {1, F32}, {11, 512, 64, 3, 512, 600}, {1e-6f}, 0},
  {"row of its own width", {1, F32}, {1, 16, 16, 1, 16, 16}, {0.25f}, 0},
  {"many rows", {1, F32}, {300, 128, 64, 64, 128, 128}, {1e-6f}, IN_PLACE | KOI_VERIFY_BIG},
  {"norm alone", {2, BF16}, {4, 192, 0, 1, 192, 192}, {1e-6f}, 0},
  {"norm alone, odd width, in place", {2, BF16}, {3, 77, 0, 1, 80, 80}, {1e-6f}, IN_PLACE},
  {"norm alone, large eps", {2, BF16}, {3, 48, 0, 1, 48, 48}, {0.25f}, 0},
  {"norm and rope", {2, BF16}, {7, 96, 32, 1, 100, 96}, {1e-6f}, 0},
  {"wide", {2, BF16}, {2, 7168, 64, 1, 7168, 7168}, {1e-6f}, KOI_VERIFY_BIG},
  {"f32 norm", {2, F32}, {5, 50, 10, 2, 50, 51}, {1e-6f}, 0},
  {"f16 norm", {2, F16}, {2, 130, 64, 1, 130, 130}, {1e-6f}, 0},
};

static void make_norm_rope(koi_verify_job *j)
{
  const int32_t *i = j->v->i;
  size_t n = (size_t)i[NORM_ROPE_N], dim = (size_t)i[NORM_ROPE_DIM], rd = (size_t)i[NORM_ROPE_RD],
          n_pos = (n + (size_t)i[NORM_ROPE_ROWS_PER_POS] - 1) / (size_t)i[NORM_ROPE_ROWS_PER_POS];
  koi_verify_floats(j, NORM_ROPE_X, n * (size_t)i[NORM_ROPE_LDX], 3);
  if (j->v->c[NORM_ROPE_C_NORM] == 2) koi_verify_typed(j, NORM_ROPE_NORM, j->v->c[NORM_ROPE_NORM_WT], dim, 1, 0.5f);
  float *cs = rd ? koi_verify_floats(j, NORM_ROPE_ROPE, n_pos * rd, 1) : NULL;
  for (size_t k = 0; cs && k < n_pos * rd; k += 2) {
    float angle = koi_verify_real(j, -3, 3);
    cs[k] = cosf(angle), cs[k + 1] = sinf(angle);
  }
  if (j->v->how & IN_PLACE) j->slot[NORM_ROPE_Y].same_as = NORM_ROPE_X;
  else koi_verify_out(j, NORM_ROPE_Y, n * (size_t)i[NORM_ROPE_LDY] * 4, KOI_VERIFY_F32);
}

static void norm_rope_bound(koi_verify_job *j)
{
  if (j->v->c[NORM_ROPE_C_NORM] || j->v->i[NORM_ROPE_RD]) koi_verify_bound_rows(j, j->v->how & IN_PLACE ? NORM_ROPE_X : NORM_ROPE_Y,
      (size_t)j->v->i[NORM_ROPE_LDY], 4e-6f);
}

/* ---- route ---- */
enum { TIES = 1, WILD = 2 }; /* WILD: logits up to +-200 */

static const koi_verify_case route_cases[] = {
  /* SCORE, HASH, BT | T, n_experts, n_used, ld | route_scale */
  {"four experts", {0, 0, F32}, {3, 4, 2, 4}, {1.5f}, 0},
  {"256 experts", {0, 0, F32}, {5, 256, 6, 256}, {1.5f}, 0},
  {"odd count", {0, 0, F32}, {17, 37, 5, 40}, {2.5f}, 0},
  {"all experts", {0, 0, F32}, {2, 8, 8, 8}, {1}, 0},
  {"one expert of one", {0, 0, F32}, {2, 1, 1, 3}, {1.5f}, 0},
  {"ties", {0, 0, F32}, {9, 64, 6, 64}, {1.5f}, TIES},
  {"ties of 384", {0, 0, F32}, {4, 384, 6, 384}, {2.5f}, TIES},
  {"ties, bf16 bias", {0, 0, BF16}, {6, 30, 4, 30}, {1.5f}, TIES},
  {"softmax", {1, 0, F32}, {8, 16, 4, 16}, {1.5f}, 0},
  {"softmax, ties", {1, 0, F32}, {8, 48, 5, 50}, {1.5f}, TIES},
  {"sigmoid", {2, 0, F32}, {8, 24, 3, 24}, {1.5f}, 0},
  {"sigmoid, ties", {2, 0, F32}, {3, 100, 6, 100}, {1.5f}, TIES},
  {"by token", {0, 1, F32}, {7, 16, 2, 16}, {1.5f}, 0},
  {"by token, wild logits", {0, 1, F32}, {21, 60, 6, 64}, {2.5f}, WILD},
  {"by token, softmax", {1, 1, F32}, {5, 16, 3, 16}, {1.5f}, WILD},
  {"by token, sigmoid", {2, 1, F32}, {5, 16, 3, 16}, {1.5f}, WILD},
};

static double score(int kind, double z)
{
  if (kind == 1) return exp(z) / 40; /* near enough to tell close ones */
  return kind == 2 ? 1 / (1 + exp(-z)) : sqrt(log1p(exp(z)));
}

/* Draws anew what lies so close to another expert that rounding decides; equal ones stay: there the order does. */
static void part(koi_verify_job *j, float *z, size_t n)
{
  int kind = j->v->c[ROUTE_SCORE];
  const void *bias = j->slot[ROUTE_BIAS].in;
  for (size_t a = 1; a < n; a++)
    for (size_t b = 0; b < a; b++) {
      float bias_a = koi_ref_load(bias, j->v->c[ROUTE_BT], a), bias_b = koi_ref_load(bias, j->v->c[ROUTE_BT], b);
      if (z[a] == z[b] && bias_a == bias_b) continue;
      if (fabs(score(kind, z[a]) + bias_a - score(kind, z[b]) - bias_b) >= 3e-6) continue;
      z[a] = koi_verify_real(j, -4, 4);
      b = (size_t)-1; /* and once more against all */
    }
}

void koi_verify_route_tables(koi_verify_job *j, int tokens_at, int table_at, size_t n_tokens, size_t n_experts, size_t n_used)
{
  enum { VOCAB = 29 };
  int32_t *tokens = koi_verify_bytes(j, tokens_at, n_tokens * 4, KOI_VERIFY_I32),
          *table = koi_verify_bytes(j, table_at, VOCAB * n_used * 4, KOI_VERIFY_I32);
  if (j->failed) return;
  for (size_t t = 0; t < n_tokens; t++) tokens[t] = koi_verify_below(j, VOCAB);
  for (int32_t v = 0; v < VOCAB; v++) /* neighbours from a random one on, so that they differ */
    for (size_t k = 0, first = (size_t)koi_verify_below(j, (int32_t)n_experts); k < n_used; k++) table[(size_t)v * n_used + k] = (int32_t)((first + k) % n_experts);
}

static void make_route(koi_verify_job *j)
{
  const int32_t *i = j->v->i, *c = j->v->c;
  size_t n_tokens = (size_t)i[ROUTE_T], n_experts = (size_t)i[ROUTE_N_EXPERTS], n_used = (size_t)i[ROUTE_N_USED], ld = (size_t)i[ROUTE_LD];
  float *z = koi_verify_floats(j, ROUTE_LOGITS, n_tokens * ld, j->v->how & WILD ? 200 : 4);
  if (!c[ROUTE_HASH]) koi_verify_typed(j, ROUTE_BIAS, c[ROUTE_BT], n_experts, 0, 0.5f);
  else koi_verify_route_tables(j, ROUTE_TOKENS, ROUTE_TID2EID, n_tokens, n_experts, n_used);
  koi_verify_out(j, ROUTE_IDS, n_tokens * n_used * 4, KOI_VERIFY_I32);
  koi_verify_out(j, ROUTE_W, n_tokens * n_used * 4, KOI_VERIFY_F32);
  if (j->failed) return;
  for (size_t t = 0; t < n_tokens; t++) {
    if (j->v->how & TIES)
      for (size_t e = 0; e < n_experts; e++) {
        size_t twin = (size_t)koi_verify_below(j, 5);
        if (c[ROUTE_BT] == F32) ((float *)j->slot[ROUTE_BIAS].in)[e] = 0.125f;
        else ((uint16_t *)j->slot[ROUTE_BIAS].in)[e] = 0x3e00;
        z[t * ld + e] = (float)twin * 0.75f - 1.5f;
      }
    else if ((j->v->how & WILD) && c[ROUTE_SCORE] == 2) /* where all chosen sigmoids vanish there is nothing to compare */
      z[t * ld + (size_t)((const int32_t *)j->slot[ROUTE_TID2EID].in)[(size_t)((const int32_t *)j->slot[ROUTE_TOKENS].in)[t] * n_used]] = 200;
    if (!c[ROUTE_HASH]) part(j, z + t * ld, n_experts);
  }
}

/* Weights below 1e-12 of their sum may vanish. */
static void route_bound(koi_verify_job *j) { koi_verify_bound_each(j, ROUTE_W, 1e-5f, 1e-12f); }

/* ---- group ---- */
enum { SKEWED = 1, NOBODY = 2 };

static const koi_verify_case group_cases[] = {
  /* NT | E, n_units, n_panels */
  {"one entry", {12}, {1, 8, 9}, {0}, 0},
  {"few", {12}, {6, 256, 257}, {0}, 0},
  {"some elsewhere", {12}, {100, 16, 25}, {0}, 0},
  {"one unit", {12}, {50, 1, 6}, {0}, 0},
  {"skewed", {16}, {300, 12, 40}, {0}, SKEWED},
  {"nobody's", {16}, {40, 6, 9}, {0}, NOBODY},
  {"more units than work-items", {16}, {700, 300, 344}, {0}, 0},
  {"a whole chunk", {16}, {3072, 256, 448}, {0}, SKEWED | KOI_VERIFY_BIG},
  {"many units", {8}, {2500, 1300, 1613}, {0}, KOI_VERIFY_BIG},
  {"narrow panels", {1}, {33, 5, 40}, {0}, 0},
};

static void make_group(koi_verify_job *j)
{
  const int32_t *i = j->v->i;
  int32_t *ids = koi_verify_bytes(j, GROUP_IDS, (size_t)i[GROUP_E] * 4, KOI_VERIFY_I32);
  for (int32_t e = 0; ids && e < i[GROUP_E]; e++) {
    ids[e] = koi_verify_below(j, i[GROUP_N_UNITS] + 2) - 1;
    if ((j->v->how & SKEWED) && koi_verify_below(j, 3)) ids[e] = 2;
    if (j->v->how & NOBODY) ids[e] = e & 1 ? -1 : i[GROUP_N_UNITS];
  }
  koi_verify_out(j, GROUP_ROWS, (size_t)(i[GROUP_N_PANELS] * j->v->c[GROUP_NT]) * 4, KOI_VERIFY_I32);
  koi_verify_out(j, GROUP_UNIT, (size_t)i[GROUP_N_PANELS] * 4, KOI_VERIFY_I32);
}

/* ---- swiglu ---- */
static const koi_verify_case swiglu_cases[] = {
  /* | E, inter, ldg, ldh, has_w | limit */
  {"no weight, limit 10", {0}, {3, 64, 128, 64, 0}, {10}, 0},
  {"weight, limit 10", {0}, {12, 96, 192, 96, 1}, {10}, 0},
  {"no limit, odd width", {0}, {5, 37, 80, 41, 1}, {0}, 0},
  {"negative limit", {0}, {2, 50, 100, 50, 0}, {-1}, 0},
  {"small limit", {0}, {7, 19, 38, 19, 1}, {0.5f}, 0},
  {"one value", {0}, {1, 1, 2, 1, 0}, {10}, 0},
  {"wide", {0}, {4, 2048, 4096, 2048, 1}, {10}, KOI_VERIFY_BIG},
};

static void make_swiglu(koi_verify_job *j)
{
  const int32_t *i = j->v->i;
  float *gu = koi_verify_floats(j, SWIGLU_GU, (size_t)(i[SWIGLU_E] * i[SWIGLU_LDG]), 20);
  for (size_t k = 0; gu && k < (size_t)(i[SWIGLU_E] * i[SWIGLU_LDG]); k++)
    if (koi_verify_below(j, 16) == 0) gu[k] *= 8; /* beyond where exp overflows */
  if (i[SWIGLU_HAS_W]) koi_verify_floats(j, SWIGLU_W, (size_t)i[SWIGLU_E], 2);
  koi_verify_out(j, SWIGLU_H, (size_t)(i[SWIGLU_E] * i[SWIGLU_LDH]) * 4, KOI_VERIFY_F32);
}

static void swiglu_bound(koi_verify_job *j) { koi_verify_bound_each(j, SWIGLU_H, 1e-5f, 1e-30f); }

/* ---- gather ---- */
static const koi_verify_case gather_cases[] = {
  /* | n, D */
  {"one row", {0}, {1, 64}, {0}, 0},
  {"some rows", {0}, {7, 96}, {0}, 0},
  {"odd width", {0}, {9, 37}, {0}, 0},
  {"rows of one value", {0}, {5, 1}, {0}, 0},
  {"wide", {0}, {32, 16384}, {0}, KOI_VERIFY_BIG},
};

/* Of twice as many rows, in any order and some more than once. */
static void make_gather(koi_verify_job *j)
{
  int32_t n = j->v->i[GATHER_N], d = j->v->i[GATHER_D], *rows = koi_verify_bytes(j, GATHER_ROWS, (size_t)n * sizeof *rows, KOI_VERIFY_I32);
  koi_verify_floats(j, GATHER_X, (size_t)(2 * n * d), 3);
  for (int32_t i = 0; rows && i < n; i++) rows[i] = koi_verify_below(j, 2 * n);
  koi_verify_out(j, GATHER_Y, (size_t)(n * d) * 4, KOI_VERIFY_F32);
}

const koi_verify_op koi_verify_rows[] = {
  {&koi_op_gather, gather_cases, COUNT(gather_cases), make_gather, NULL, NULL, 0},
  {&koi_op_hc_pre, hc_pre_cases, COUNT(hc_pre_cases), make_hc_pre, hc_pre_bound, NULL, 0},
  {&koi_op_hc_post, hc_post_cases, COUNT(hc_post_cases), make_hc_post, hc_post_bound, NULL, 0},
  {&koi_op_norm_rope, norm_rope_cases, COUNT(norm_rope_cases), make_norm_rope, norm_rope_bound, NULL, 0},
  {&koi_op_route, route_cases, COUNT(route_cases), make_route, route_bound, NULL, 0},
  {&koi_op_group, group_cases, COUNT(group_cases), make_group, NULL, NULL, 0},
  {&koi_op_swiglu, swiglu_cases, COUNT(swiglu_cases), make_swiglu, swiglu_bound, NULL, 0},
  {NULL, NULL, 0, NULL, NULL, NULL, 0}};
