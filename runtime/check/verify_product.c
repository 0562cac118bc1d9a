/* Cases of matvec and matmul for the verifier. Tables of calls, and how their inputs are made. */
#include <stdbool.h>
#include "verify_weights.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* Sums may differ by rounding; single weights not, but where the device has no subnormals. */
static void product_bound(koi_verify_job *j)
{
  int y = j->op == &koi_op_matvec ? MATVEC_Y : MATMUL_Y, tile = j->op == &koi_op_matvec ? MATVEC_TILE : MATMUL_TILE;
  if (j->v->how & ONE_HOT) koi_verify_bound_each(j, y, 0, j->denormals ? 0 : 0x1p-126f);
  else koi_verify_bound_linear(j, j->v->c[MATVEC_WT], (size_t)j->v->i[MATVEC_K], j->v->c[tile]); /* matmul has them in the same places */
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
  /* WT, CARE, TILE, HC, MIX | E, K, n_sub, sub_rows, unit0, unit1, tile0, tile1, has_ids, x_div, ldx, has_o */                         \
  {"one product", {wt, care, 16, 4, 24}, {1, 256, 1, 128, 0, 1, 0, 8, 0, 1, 256, 0}, {0}, 0},                                           \
  {"experts", {wt, care, 16, 4, 24}, {3, 512, 1, 64, 0, 5, 0, 4, 1, 1, 520, 1}, {0}, 0},                                                \
  {"a range of tiles, no mixes", {wt, care, 16, 4, 0}, {1, 256, 1, 192, 0, 1, 4, 8, 0, 1, 256, 1}, {0}, 0}
static const koi_verify_case matvec_post_cases[] = {
  MATVEC_POST_CASES(FP4, 0), MATVEC_POST_CASES(FP4, 1), MATVEC_POST_CASES(FP8, 0), MATVEC_POST_CASES(FP8, 1), MATVEC_POST_CASES(BF16, 0),
  MATVEC_POST_CASES(Q4_K, 0), MATVEC_POST_CASES(F32, 0),
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
  koi_verify_floats(j, MATVEC_X, n * (size_t)i[MATVEC_LDX], 1);
  int32_t *ids = i[MATVEC_HAS_IDS] ? koi_verify_bytes(j, MATVEC_IDS, n * 4, KOI_VERIFY_I32) : NULL;
  for (size_t e = 0; ids && e < n; e++) ids[e] = koi_verify_below(j, i[MATVEC_UNIT1]);
  koi_verify_floats(j, MATVEC_POST_STREAMS, hc * dim, 3);
  koi_verify_floats(j, MATVEC_POST_O, dim, 1);
  koi_verify_floats(j, MATVEC_POST_POST, hc, 2);
  koi_verify_floats(j, MATVEC_POST_COMB, hc * hc, 1);
  koi_verify_floats(j, MATVEC_POST_FN, koi_tiles(n_mix, (uint32_t)tile) * tile * hc * dim, 1);
  koi_verify_out(j, MATVEC_POST_M, dim / tile * n_mix * 4, KOI_VERIFY_F32);
}

static void post_bound(koi_verify_job *j) { koi_verify_bound_linear(j, j->v->c[MATVEC_WT], (size_t)j->v->i[MATVEC_K], j->v->c[MATVEC_TILE]); }

/* ---- matmul ---- */
#define MATMUL_CASES(wt, care, nt)                                                                                                      \
  /* WT, CARE, NT | n_panels, K, n_sub, sub_rows, unit0, unit1, tile0, tile1, has_rows, n_rows, ldy, y0 */                              \
  {"one panel", {wt, care, nt}, {1, 128, 1, 16, 0, 1, 0, 1, 0, nt, 16, 0}, {0}, 0},                                                     \
  {"one token", {wt, care, nt}, {1, 160, 1, 45, 0, 1, 0, 3, 0, 1, 50, 2}, {0}, 0},                                                      \
  {"last panel short", {wt, care, nt}, {11, 96, 1, 70, 0, 1, 0, 5, 0, 10 * nt + 3, 70, 0}, {0}, 0},                                     \
  {"experts, some elsewhere, empty panels", {wt, care, nt}, {9, 64, 2, 19, 2, 5, 0, 4, 1, 6 * nt, 41, 1}, {0}, 0},                      \
  {"a range of tiles", {wt, care, nt}, {2, 32, 1, 200, 0, 1, 3, 9, 0, 2 * nt - 1, 203, 3}, {0}, 0},                                     \
  {"a range of tiles across two stacks", {wt, care, nt}, {2, 32, 2, 50, 0, 1, 2, 7, 0, nt + 1, 100, 0}, {0}, 0},                        \
  {"one row", {wt, care, nt}, {2, 544, 1, 1, 0, 1, 0, 1, 0, nt + 2, 1, 0}, {0}, 0},                                                     \
  {"unit vectors", {wt, care, nt}, {(96 + nt - 1) / nt, 96, 1, 80, 0, 1, 0, 5, 0, 96, 80, 0}, {0}, ONE_HOT},                            \
  {"wide", {wt, care, nt}, {3, 1056, 1, 290, 0, 1, 0, 19, 0, 3 * nt, 290, 0}, {0}, KOI_VERIFY_BIG}
#define MATMUL_ODD_CASES(wt, care, nt)                                                                                                  \
  {"odd columns", {wt, care, nt}, {2, 133, 1, 20, 0, 1, 0, 2, 0, nt + 5, 20, 0}, {0}, 0},                                               \
  {"one column", {wt, care, nt}, {2, 1, 2, 17, 0, 1, 0, 4, 0, 2 * nt, 34, 0}, {0}, 0},                                                  \
  {"one column over a block", {wt, care, nt}, {1, 257, 1, 31, 0, 1, 0, 2, 0, nt - 1, 31, 0}, {0}, 0},                                   \
  {"few columns", {wt, care, nt}, {2, 7, 1, 16, 0, 1, 0, 1, 0, 2 * nt, 16, 0}, {0}, 0}

#define MATMUL_BLOCK_CASES(wt, nt, how)                                                                                                 \
  {"unit vectors", {wt, 0, nt}, {(96 + nt - 1) / nt, 256, 1, 40, 0, 1, 0, 3, 0, 96, 40, 0}, {0}, ONE_HOT | (how)},                      \
  {"experts, some elsewhere, empty panels", {wt, 0, nt}, {9, 512, 2, 19, 2, 5, 0, 4, 1, 6 * nt, 41, 1}, {0}, how}
#define MATMUL_ASKED(wt, nt) MATMUL_BLOCK_CASES(wt, nt, KOI_VERIFY_ASKED)

/* A kernel takes seconds to compile: every type once, in the panel widths that are in use. */
static const koi_verify_case matmul_cases[] = {
  MATMUL_CASES(F32, 0, 12),  MATMUL_ODD_CASES(F32, 0, 12),  MATMUL_CASES(F16, 0, 8),  MATMUL_ODD_CASES(F16, 0, 8),  MATMUL_CASES(BF16, 0, 16),
  MATMUL_ODD_CASES(BF16, 0, 16), MATMUL_CASES(FP8, 0, 16), MATMUL_ODD_CASES(FP8, 0, 16), MATMUL_CASES(FP8, 1, 12), MATMUL_ODD_CASES(FP8, 1, 12),
  MATMUL_CASES(FP4, 0, 16),  MATMUL_CASES(FP4, 1, 12), MATMUL_CASES(MXFP4, 1, 12), MATMUL_CASES(Q8_0, 0, 16),
  MATMUL_BLOCK_CASES(Q4_K, 16, 0), MATMUL_BLOCK_CASES(Q6_K, 12, 0), MATMUL_BLOCK_CASES(IQ2_XXS, 16, 0), /* the others' decoders: widen */
  MATMUL_ASKED(Q4_0, 16), MATMUL_ASKED(Q4_1, 12), MATMUL_ASKED(Q5_0, 16), MATMUL_ASKED(Q5_1, 12), MATMUL_ASKED(Q2_K, 16), MATMUL_ASKED(Q3_K, 12),
  MATMUL_ASKED(Q5_K, 16), MATMUL_ASKED(IQ2_XS, 12), MATMUL_ASKED(IQ2_S, 16), MATMUL_ASKED(IQ3_XXS, 12), MATMUL_ASKED(IQ3_S, 16), MATMUL_ASKED(IQ4_NL, 12),
  MATMUL_ASKED(IQ4_XS, 16),
};

/* Columns that no row stands for hold NaN: they must not reach the others. */
static void panel_columns(koi_verify_job *j, float *xp, const int32_t *rows)
{
  const int32_t *i = j->v->i, nt = j->v->c[MATMUL_NT];
  size_t k = (size_t)i[MATMUL_K];
  for (int32_t at = 0; at < i[MATMUL_N_PANELS] * nt; at++) {
    float *x = xp + (size_t)(at / nt) * k * (size_t)nt + at % nt;
    bool skipped = rows ? rows[at] < 0 : at >= i[MATMUL_N_ROWS];
    for (size_t d = 0; d < k; d++) {
      if (skipped) x[d * (size_t)nt] = NAN;
      else if (j->v->how & ONE_HOT) x[d * (size_t)nt] = (size_t)at == d;
    }
  }
}

static void make_matmul(koi_verify_job *j)
{
  const int32_t *i = j->v->i, *c = j->v->c, nt = c[MATMUL_NT], n_panels = i[MATMUL_N_PANELS];
  koi_verify_weight w = {c[MATMUL_WT], c[MATMUL_CARE], j->v->how & ONE_HOT, (size_t)i[MATMUL_K], (size_t)i[MATMUL_SUB_ROWS],
              (size_t)(i[MATMUL_UNIT1] - i[MATMUL_UNIT0]), (size_t)i[MATMUL_TILE0], (size_t)i[MATMUL_TILE1], (size_t)c[MATMUL_TILE]};
  koi_verify_weights(j, &w);
  float *xp = koi_verify_floats(j, MATMUL_XP, (size_t)(n_panels * i[MATMUL_K] * nt), 1);
  int32_t *unit = i[MATMUL_HAS_ROWS] ? koi_verify_bytes(j, MATMUL_UNIT, (size_t)n_panels * 4, KOI_VERIFY_I32) : NULL;
  int32_t *rows = i[MATMUL_HAS_ROWS] ? koi_verify_bytes(j, MATMUL_ROWS, (size_t)(n_panels * nt) * 4, KOI_VERIFY_I32) : NULL;
  koi_verify_out(j, MATMUL_Y, (size_t)(i[MATMUL_N_ROWS] * i[MATMUL_LDY]) * 4, KOI_VERIFY_F32);
  if (j->failed) return;
  if (i[MATMUL_HAS_ROWS]) {
    koi_verify_spread(j, rows, n_panels * nt, i[MATMUL_N_ROWS]);
    for (int32_t p = 0; p < n_panels; p++) unit[p] = koi_verify_below(j, i[MATMUL_UNIT1] + 3) - 1;
    unit[n_panels - 1] = -1, unit[0] = i[MATMUL_UNIT0];
    for (int32_t at = 0; at < n_panels * nt; at++)
      if (unit[at / nt] < 0) rows[at] = -1;
  }
  panel_columns(j, xp, rows);
}

const koi_verify_op koi_verify_products[] = {
  {&koi_op_matvec, matvec_cases, COUNT(matvec_cases), make_matvec, product_bound, NULL, 0},
  {&koi_op_matvec_glu, matvec_glu_cases, COUNT(matvec_glu_cases), make_matvec_glu, glu_bound, NULL, 0},
  {&koi_op_matvec_post, matvec_post_cases, COUNT(matvec_post_cases), make_matvec_post, post_bound, NULL, 0},
  {&koi_op_matmul, matmul_cases, COUNT(matmul_cases), make_matmul, product_bound, NULL, MATMUL_CARE},
  {NULL, NULL, 0, NULL, NULL, NULL, 0}};
