/* Cases of matvec, and of the ops that join others with it, for the verifier. Tables of calls, and how their inputs are made. */
#include <stdbool.h>
#include "verify_weights.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* Sums may differ by rounding; single weights not, but where the device has no subnormals. */
static void product_bound(koi_verify_job *j)
{
  if (j->v->how & ONE_HOT) koi_verify_bound_each(j, MATVEC_Y, 0, j->denormals ? 0 : 0x1p-126f);
  else koi_verify_bound_linear(j, j->v->c[MATVEC_WT], (size_t)j->v->i[MATVEC_K], j->v->c[MATVEC_TILE]);
}

/* ---- matvec ---- */
#define MATVEC_CASES(wt, care)                                                                                                          \
  /* WT, CARE | E, K, n_sub, sub_rows, unit0, unit1, tile0, tile1, has_ids, x_div, ldx, ldy, y0 */                                      \
  {"one entry", {wt, care}, {1, 128, 1, 16, 0, 1, 0, 1, 0, 1, 128, 16, 0}, {0}, 0},                                                     \
  {"ragged rows", {wt, care}, {3, 160, 1, 45, 0, 1, 0, 3, 0, 1, 171, 50, 2}, {0}, 0},                                                   \
  {"experts in two stacks, some elsewhere", {wt, care}, {7, 96, 2, 19, 2, 5, 0, 4, 1, 2, 96, 40, 1}, {0}, 0},                           \
  {"a range of tiles", {wt, care}, {2, 64, 1, 100, 0, 1, 3, 6, 0, 1, 64, 103, 3}, {0}, 0},                                              \
  {"a range of tiles across two stacks", {wt, care}, {2, 32, 2, 50, 0, 1, 2, 7, 0, 1, 32, 100, 0}, {0}, 0},                             \
  {"one row", {wt, care}, {2, 2144, 1, 1, 0, 1, 0, 1, 0, 1, 2144, 1, 0}, {0}, 0},                                                       \
  {"groups by entry", {wt, care}, {12, 64, 1, 33, 0, 4, 0, 3, 1, 1, 64, 33, 0}, {0}, 0},                                                \
  {"unit vectors", {wt, care}, {96, 96, 1, 80, 0, 1, 0, 5, 0, 1, 96, 80, 0}, {0}, ONE_HOT | KOI_VERIFY_BIG},                            \
  {"unit vectors, few", {wt, care}, {32, 32, 1, 32, 0, 1, 0, 2, 0, 1, 32, 32, 0}, {0}, ONE_HOT},                                        \
  {"wide", {wt, care}, {2, 2080, 1, 200, 0, 1, 0, 13, 0, 1, 2080, 200, 0}, {0}, KOI_VERIFY_BIG}
#define MATVEC_ODD_CASES(wt, care)                                                                                                      \
  {"odd columns", {wt, care}, {2, 133, 1, 20, 0, 1, 0, 2, 0, 1, 133, 20, 0}, {0}, 0},                                                   \
  {"one column", {wt, care}, {3, 1, 2, 17, 0, 1, 0, 4, 0, 1, 5, 34, 0}, {0}, 0},                                                        \
  {"one column over a block", {wt, care}, {1, 257, 1, 31, 0, 1, 0, 2, 0, 1, 257, 31, 0}, {0}, 0},                                       \
  {"few columns", {wt, care}, {2, 7, 1, 16, 0, 1, 0, 1, 0, 1, 7, 16, 0}, {0}, 0}

#define MATVEC_BLOCK_CASES(wt)                                                                                                          \
  {"unit vectors", {wt, 0}, {32, 256, 1, 40, 0, 1, 0, 3, 0, 1, 256, 40, 0}, {0}, ONE_HOT},                                              \
  {"two stacks, rows not whole", {wt, 0}, {3, 768, 2, 37, 0, 1, 0, 6, 0, 1, 768, 80, 3}, {0}, 0},                                       \
  {"units by entry, a range of them", {wt, 0}, {6, 512, 2, 19, 1, 4, 0, 4, 1, 2, 520, 38, 0}, {0}, 0}

static const koi_verify_case matvec_cases[] = {
  MATVEC_CASES(F32, 0),  MATVEC_ODD_CASES(F32, 0), MATVEC_CASES(F16, 0), MATVEC_ODD_CASES(F16, 0), MATVEC_CASES(BF16, 0), MATVEC_ODD_CASES(BF16, 0),
  MATVEC_CASES(FP8, 0),  MATVEC_ODD_CASES(FP8, 0), MATVEC_CASES(FP8, 1), MATVEC_ODD_CASES(FP8, 1), MATVEC_CASES(FP4, 0),  MATVEC_CASES(FP4, 1),
  MATVEC_CASES(MXFP4, 1), MATVEC_CASES(Q8_0, 0), MATVEC_CASES(Q4_0, 0), MATVEC_BLOCK_CASES(Q4_1), MATVEC_BLOCK_CASES(Q5_0), MATVEC_BLOCK_CASES(Q5_1),
  MATVEC_BLOCK_CASES(Q2_K), MATVEC_BLOCK_CASES(Q3_K), MATVEC_BLOCK_CASES(Q4_K), MATVEC_BLOCK_CASES(Q5_K), MATVEC_BLOCK_CASES(Q6_K),
  MATVEC_BLOCK_CASES(IQ2_XXS), MATVEC_BLOCK_CASES(IQ2_XS), MATVEC_BLOCK_CASES(IQ2_S), MATVEC_BLOCK_CASES(IQ3_XXS), MATVEC_BLOCK_CASES(IQ3_S),
  MATVEC_BLOCK_CASES(IQ4_NL), MATVEC_BLOCK_CASES(IQ4_XS),
};

static void make_matvec(koi_verify_job *j)
{
  const int32_t *i = j->v->i, *c = j->v->c;
  size_t n_entries = (size_t)i[MATVEC_E], k = (size_t)i[MATVEC_K], ldx = (size_t)i[MATVEC_LDX];
  koi_verify_weight w = {c[MATVEC_WT], c[MATVEC_CARE], j->v->how & ONE_HOT, k, (size_t)i[MATVEC_SUB_ROWS], (size_t)(i[MATVEC_UNIT1] - i[MATVEC_UNIT0]),
              (size_t)i[MATVEC_TILE0], (size_t)i[MATVEC_TILE1], (size_t)c[MATVEC_TILE]};
  koi_verify_weights(j, &w);
  float *x = koi_verify_floats(j, MATVEC_X, (n_entries + (size_t)i[MATVEC_X_DIV] - 1) / (size_t)i[MATVEC_X_DIV] * ldx, 1);
  int32_t *ids = i[MATVEC_HAS_IDS] ? koi_verify_bytes(j, MATVEC_IDS, n_entries * 4, KOI_VERIFY_I32) : NULL;
  for (size_t e = 0; ids && e < n_entries; e++) ids[e] = koi_verify_below(j, i[MATVEC_UNIT1] + (i[MATVEC_UNIT0] ? 2 : 0));
  koi_verify_out(j, MATVEC_Y, n_entries * (size_t)i[MATVEC_LDY] * 4, KOI_VERIFY_F32);
  if (j->failed || !(j->v->how & ONE_HOT)) return;
  for (size_t e = 0; e < n_entries; e++)
    for (size_t d = 0; d < k; d++) x[e * ldx + d] = e == d;
}

/* ---- matvec_glu ---- */
#define MATVEC_GLU_CASES(wt, care)                                                                                                      \
  /* WT, CARE | E, K, n_sub, sub_rows, unit0, unit1, tile0, tile1, has_ids, x_div, ldx, ldy, y0, has_w | limit */                       \
  {"one entry", {wt, care}, {1, 256, 2, 32, 0, 1, 0, 4, 0, 1, 256, 32, 0, 0}, {10}, 0},                                                 \
  {"ragged rows", {wt, care}, {3, 512, 2, 45, 0, 1, 0, 6, 0, 1, 520, 50, 2, 1}, {0.5f}, 0},                                             \
  {"experts, some elsewhere", {wt, care}, {7, 256, 2, 19, 2, 5, 0, 4, 1, 2, 256, 21, 1, 1}, {10}, 0},                                   \
  {"wide", {wt, care}, {2, 2048, 2, 200, 0, 2, 0, 26, 1, 1, 2048, 200, 0, 1}, {10}, KOI_VERIFY_BIG}
static const koi_verify_case matvec_glu_cases[] = {
  MATVEC_GLU_CASES(FP4, 0), MATVEC_GLU_CASES(FP4, 1), MATVEC_GLU_CASES(FP8, 0), MATVEC_GLU_CASES(FP8, 1), MATVEC_GLU_CASES(BF16, 0), MATVEC_GLU_CASES(Q4_K, 0),
  MATVEC_GLU_CASES(Q2_K, 0), MATVEC_GLU_CASES(F32, 0),
  {"odd columns, no limit", {F32, 0}, {2, 133, 2, 20, 0, 1, 0, 4, 0, 1, 133, 20, 0, 0}, {0}, 0},
  {"one column, negative limit", {F16, 0}, {3, 1, 2, 17, 0, 1, 0, 4, 0, 1, 5, 17, 0, 1}, {-1}, 0},
};

static void make_matvec_glu(koi_verify_job *j)
{
  make_matvec(j);
  if (j->v->i[MATVEC_GLU_HAS_W]) koi_verify_floats(j, MATVEC_GLU_W_OF, (size_t)j->v->i[MATVEC_E], 2);
}

/* What a product's last bits make of the activation, more where scales differ much; the products themselves are matvec's matter. */
static void glu_bound(koi_verify_job *j) { koi_verify_bound_rows(j, MATVEC_Y, (size_t)j->v->i[MATVEC_LDY], j->v->c[MATVEC_CARE] ? 1e-3f : 1e-4f); }

/* ---- matvec_post ---- */
#define MATVEC_POST_CASES(wt, care)                                                                                                     \
  /* WT, CARE, TILE, HC, MIX, PRE, ITERS, NORM_WT | E, K, n_sub, sub_rows, unit0, unit1, tile0, tile1, has_ids, x_div, ldx, has_o | rms_eps, hc_eps */ \
  {"one product", {wt, care, 16, 4, 24}, {1, 256, 1, 128, 0, 1, 0, 8, 0, 1, 256, 0}, {0}, 0},                                           \
  {"experts", {wt, care, 16, 4, 24}, {3, 512, 1, 64, 0, 5, 0, 4, 1, 1, 520, 1}, {0}, 0},                                                \
  {"a range of tiles, no mixes", {wt, care, 16, 4, 0}, {1, 256, 1, 192, 0, 1, 4, 8, 0, 1, 256, 1}, {0}, 0}
static const koi_verify_case matvec_post_cases[] = {
  MATVEC_POST_CASES(FP4, 0), MATVEC_POST_CASES(FP4, 1), MATVEC_POST_CASES(FP8, 0), MATVEC_POST_CASES(FP8, 1), MATVEC_POST_CASES(BF16, 0),
  MATVEC_POST_CASES(Q4_K, 0), MATVEC_POST_CASES(F32, 0),
  {"mixes of the streams as they are", {FP8, 0, 16, 4, 24}, {0, 256, 1, 128, 0, 1, 0, 8, 0, 1, 256, 0}, {0}, 0},
  {"the next input", {FP8, 0, 16, 4, 24, 1, 20, BF16}, {1, 256, 1, 192, 0, 1, 0, 12, 0, 1, 256, 0}, {1e-6f, 1e-6f}, 0},
  {"the next input, large eps, f16 norm", {BF16, 0, 16, 4, 24, 1, 3, F16}, {2, 128, 1, 320, 0, 4, 0, 20, 1, 1, 128, 1}, {0.3f, 0.01f}, 0},
  {"the next input of the streams as they are", {FP4, 0, 16, 2, 8, 1, 20, F32}, {0, 64, 1, 64, 0, 1, 0, 4, 0, 1, 64, 0}, {1e-6f, 1e-6f}, 0},
  {"the next input, wide", {FP4, 0, 16, 4, 24, 1, 20, BF16}, {2, 256, 1, 4096, 0, 4, 0, 256, 1, 1, 256, 1}, {1e-6f, 1e-6f}, KOI_VERIFY_BIG},
  {"experts, some elsewhere", {FP4, 1, 16, 4, 24}, {7, 256, 1, 64, 2, 5, 0, 4, 1, 1, 256, 0}, {0}, 0},
  {"two streams, odd columns", {F32, 0, 16, 2, 8}, {2, 133, 1, 64, 0, 2, 0, 4, 1, 1, 140, 0}, {0}, 0},
  {"wide", {FP4, 0, 16, 4, 24}, {6, 2048, 1, 512, 0, 6, 0, 32, 1, 1, 2048, 1}, {0}, KOI_VERIFY_BIG},
};

static void make_matvec_post(koi_verify_job *j)
{
  const int32_t *i = j->v->i, *c = j->v->c;
  size_t n = (size_t)i[MATVEC_E], hc = (size_t)c[MATVEC_POST_HC], dim = (size_t)i[MATVEC_SUB_ROWS], tile = (size_t)c[MATVEC_TILE], n_mix = (size_t)c[MATVEC_POST_MIX];
  koi_verify_weight w = {c[MATVEC_WT], c[MATVEC_CARE], 0, (size_t)i[MATVEC_K], dim, (size_t)(i[MATVEC_UNIT1] - i[MATVEC_UNIT0]), (size_t)i[MATVEC_TILE0],
                         (size_t)i[MATVEC_TILE1], tile};
  koi_verify_weights(j, &w);
  koi_verify_floats(j, MATVEC_X, (n + !n) * (size_t)i[MATVEC_LDX], 1);
  int32_t *ids = i[MATVEC_HAS_IDS] ? koi_verify_bytes(j, MATVEC_IDS, n * 4, KOI_VERIFY_I32) : NULL;
  for (size_t e = 0; ids && e < n; e++) ids[e] = koi_verify_below(j, i[MATVEC_UNIT1] + (i[MATVEC_UNIT0] ? 2 : 0));
  koi_verify_floats(j, MATVEC_POST_STREAMS, hc * dim, 3);
  koi_verify_floats(j, MATVEC_POST_O, dim, 1);
  koi_verify_floats(j, MATVEC_POST_POST, hc, 2);
  koi_verify_floats(j, MATVEC_POST_COMB, hc * hc, 1);
  koi_verify_floats(j, MATVEC_POST_FN, koi_tiles(n_mix, (uint32_t)tile) * tile * hc * dim, 1);
  koi_verify_out(j, MATVEC_POST_M, dim / KOI_STRIP * n_mix * 4, KOI_VERIFY_F32);
  if (!c[MATVEC_POST_PRE]) return;
  int32_t *arrivals = koi_verify_bytes(j, MATVEC_POST_ARRIVALS, sizeof *arrivals, KOI_VERIFY_I32);
  if (arrivals) *arrivals = 0;
  koi_verify_floats(j, MATVEC_POST_SCALE, 3, 1.5f / sqrtf((float)(hc * dim))); /* mixes scaled by 1 / rms are sums of so many */
  koi_verify_floats(j, MATVEC_POST_BASE, n_mix, 1);
  koi_verify_typed(j, MATVEC_POST_NORM, c[MATVEC_POST_NORM_WT], dim, 1, 0.5f);
  koi_verify_out(j, MATVEC_POST_Y, dim * 4, KOI_VERIFY_F32);
}

static void post_bound(koi_verify_job *j)
{
  const koi_verify_case *v = j->v;
  koi_verify_case linear = *v;
  linear.c[MATVEC_POST_PRE] = 0;
  j->v = &linear;
  koi_verify_bound_linear(j, v->c[MATVEC_WT], (size_t)v->i[MATVEC_K], v->c[MATVEC_TILE]);
  j->v = v;
  if (!v->c[MATVEC_POST_PRE]) return;
  koi_verify_bound_rows(j, MATVEC_POST_Y, (size_t)j->v->i[MATVEC_SUB_ROWS], 4e-5f);
  koi_verify_bound_each(j, MATVEC_POST_POST, 0, 4e-5f);
  koi_verify_bound_each(j, MATVEC_POST_COMB, 0, 4e-5f);
}

/* ---- matvec_route ---- */
static const koi_verify_case matvec_route_cases[] = {
  /* WT, CARE, TILE, SCORE, HASH | n_experts, K, n_used | route_scale */
  {"four experts", {F32, 0, 16, 0, 0}, {4, 64, 2}, {1.5f}, 0},
  {"256 experts", {BF16, 0, 16, 0, 0}, {256, 512, 6}, {1.5f}, 0},
  {"odd count and columns", {F32, 0, 16, 0, 0}, {37, 133, 5}, {2.5f}, 0},
  {"softmax", {F16, 0, 16, 1, 0}, {48, 256, 4}, {1.5f}, 0},
  {"sigmoid", {FP8, 0, 16, 2, 0}, {100, 256, 3}, {1.5f}, 0},
  {"by token", {BF16, 0, 16, 0, 1}, {60, 256, 6}, {2.5f}, 0},
  {"more than have keys", {BF16, 0, 16, 0, 0}, {1100, 64, 8}, {1.5f}, 0},
  {"as published", {BF16, 0, 16, 0, 0}, {256, 4096, 6}, {1.5f}, KOI_VERIFY_BIG},
};

static void make_matvec_route(koi_verify_job *j)
{
  const int32_t *i = j->v->i, *c = j->v->c;
  size_t n_experts = (size_t)i[MATVEC_ROUTE_N_EXPERTS], k = (size_t)i[MATVEC_ROUTE_K], n_used = (size_t)i[MATVEC_ROUTE_N_USED];
  koi_verify_weights(j, &(koi_verify_weight){c[MATVEC_WT], c[MATVEC_CARE], false, k, n_experts, 1, 0, koi_tiles(n_experts, (uint32_t)c[MATVEC_TILE]), (size_t)c[MATVEC_TILE]});
  koi_verify_floats(j, MATVEC_X, k, 2 / sqrtf((float)k));
  koi_verify_out(j, MATVEC_ROUTE_LOGITS, n_experts * 4, KOI_VERIFY_F32);
  koi_verify_out(j, MATVEC_ROUTE_IDS, n_used * 4, KOI_VERIFY_I32);
  koi_verify_out(j, MATVEC_ROUTE_W_OF, n_used * 4, KOI_VERIFY_F32);
  int32_t *arrivals = koi_verify_bytes(j, MATVEC_ROUTE_ARRIVALS, sizeof *arrivals, KOI_VERIFY_I32);
  if (arrivals) *arrivals = 0;
  if (!c[MATVEC_ROUTE_HASH]) koi_verify_floats(j, MATVEC_ROUTE_BIAS, n_experts, 0.5f);
  else koi_verify_route_tables(j, MATVEC_ROUTE_TOKEN, MATVEC_ROUTE_TID2EID, 1, n_experts, n_used);
}

static void mv_route_bound(koi_verify_job *j)
{
  koi_verify_bound_linear(j, j->v->c[MATVEC_WT], (size_t)j->v->i[MATVEC_ROUTE_K], j->v->c[MATVEC_TILE]);
  koi_verify_bound_rows(j, MATVEC_ROUTE_W_OF, (size_t)j->v->i[MATVEC_ROUTE_N_USED], 1e-5f);
}

/* The choice is one among the device's logits, where a last bit may decide. */
static void mv_route_settle(koi_verify_job *j)
{
  const koi_verify_slot *s = j->slot;
  const int32_t *i = j->v->i, ints[] = {[ROUTE_T] = 1, [ROUTE_N_EXPERTS] = i[MATVEC_ROUTE_N_EXPERTS], [ROUTE_N_USED] = i[MATVEC_ROUTE_N_USED], [ROUTE_LD] = i[MATVEC_ROUTE_N_EXPERTS]};
  const int32_t c[] = {[ROUTE_SCORE] = j->v->c[MATVEC_ROUTE_SCORE], [ROUTE_HASH] = j->v->c[MATVEC_ROUTE_HASH], [ROUTE_BT] = F32};
  koi_ref_route(&(koi_ref_args){.buf = {[ROUTE_LOGITS] = s[MATVEC_ROUTE_LOGITS].got, [ROUTE_BIAS] = s[MATVEC_ROUTE_BIAS].in, [ROUTE_TOKENS] = s[MATVEC_ROUTE_TOKEN].in,
                                        [ROUTE_TID2EID] = s[MATVEC_ROUTE_TID2EID].in, [ROUTE_IDS] = s[MATVEC_ROUTE_IDS].want, [ROUTE_W] = s[MATVEC_ROUTE_W_OF].want},
                                .i = ints, .f = j->v->f, .c = c});
}

/* ---- matvecs ---- */
#define MATVECS_CASES(wt, care)                                                                                                         \
  /* WT, CARE | K, rows0, subs0, rows1, subs1, rows2, subs2 */                                                                          \
  {"two", {wt, care}, {256, 70, 1, 33, 2, 0, 0}, {0}, 0},                                                                               \
  {"three, two of them stacks", {wt, care}, {512, 45, 2, 16, 2, 100, 1}, {0}, 0},                                                       \
  {"wide", {wt, care}, {2048, 300, 1, 17, 1, 128, 2}, {0}, KOI_VERIFY_BIG}
static const koi_verify_case matvecs_cases[] = {
  MATVECS_CASES(FP8, 0), MATVECS_CASES(FP8, 1), MATVECS_CASES(BF16, 0), MATVECS_CASES(FP4, 0), MATVECS_CASES(Q4_K, 0), MATVECS_CASES(F32, 0),
  {"one, odd columns", {F16, 0}, {133, 37, 1, 0, 0, 0, 0}, {0}, 0},
};

static const struct { int w, y, rows, subs; } matvecs_of[MATVECS_MOST] = {
  {MATVECS_W, MATVECS_Y, MATVECS_ROWS, MATVECS_SUBS}, {MATVECS_W1, MATVECS_Y1, MATVECS_ROWS1, MATVECS_SUBS1}, {MATVECS_W2, MATVECS_Y2, MATVECS_ROWS2, MATVECS_SUBS2}};

static void make_matvecs(koi_verify_job *j)
{
  const int32_t *i = j->v->i, *c = j->v->c;
  size_t k = (size_t)i[MATVECS_K], tile = (size_t)c[MATVEC_TILE];
  koi_verify_floats(j, MATVECS_X, k, 1);
  for (size_t n = 0; n < MATVECS_MOST; n++) {
    size_t rows = (size_t)i[matvecs_of[n].rows], subs = (size_t)i[matvecs_of[n].subs];
    if (!subs) continue;
    koi_verify_weight w = {c[MATVEC_WT], c[MATVEC_CARE], 0, k, rows, 1, 0, subs * koi_tiles(rows, (uint32_t)tile), tile};
    koi_verify_weights_at(j, matvecs_of[n].w, &w);
    koi_verify_out(j, matvecs_of[n].y, subs * rows * 4, KOI_VERIFY_F32);
  }
}

/* As glu_bound: of the row's largest. */
static void matvecs_bound(koi_verify_job *j)
{
  for (size_t n = 0; n < MATVECS_MOST; n++)
    if (j->slot[matvecs_of[n].y].in) koi_verify_bound_rows(j, matvecs_of[n].y, j->slot[matvecs_of[n].y].bytes / 4, j->v->c[MATVEC_CARE] ? 1e-4f : 2e-5f);
}

const koi_verify_op koi_verify_products[] = {
  {&koi_op_matvec, matvec_cases, COUNT(matvec_cases), make_matvec, product_bound, NULL, 0},
  {&koi_op_matvec_glu, matvec_glu_cases, COUNT(matvec_glu_cases), make_matvec_glu, glu_bound, NULL, 0},
  {&koi_op_matvec_post, matvec_post_cases, COUNT(matvec_post_cases), make_matvec_post, post_bound, NULL, 0},
  {&koi_op_matvec_route, matvec_route_cases, COUNT(matvec_route_cases), make_matvec_route, mv_route_bound, mv_route_settle, 0},
  {&koi_op_matvecs, matvecs_cases, COUNT(matvecs_cases), make_matvecs, matvecs_bound, NULL, 0},
  {NULL, NULL, 0, NULL, NULL, NULL, 0}};
