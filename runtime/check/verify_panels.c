/* Cases of matmul for the verifier. Tables of calls, and how their inputs are made. */
#include <stdbool.h>
#include "verify_weights.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* Sums may differ by rounding; single weights not, but where the device has no subnormals. Weights lie where matvec has them. */
static void panels_bound(koi_verify_job *j)
{
  if (j->v->how & ONE_HOT) koi_verify_bound_each(j, MATMUL_Y, 0, j->denormals ? 0 : 0x1p-126f);
  else koi_verify_bound_linear(j, j->v->c[MATMUL_WT], (size_t)j->v->i[MATMUL_K], j->v->c[MATMUL_TILE]);
}

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

/* Whole products of matrix units (kernels/cl/unit.clh). */
#define MATMUL_UNIT_CASES(wt, care, nt)                                                                                                 \
  {"experts, some elsewhere, ragged", {wt, care, nt}, {7, 160, 2, 45, 2, 5, 0, 6, 1, 5 * nt, 91, 1}, {0}, 0},                           \
  {"unit vectors, many rows", {wt, care, nt}, {(96 + nt - 1) / nt, 96, 1, 270, 0, 1, 0, 17, 0, 96, 270, 0}, {0}, ONE_HOT}

#define MATMUL_BLOCK_CASES(wt, nt, how)                                                                                                 \
  {"unit vectors", {wt, 0, nt}, {(96 + nt - 1) / nt, 256, 1, 40, 0, 1, 0, 3, 0, 96, 40, 0}, {0}, ONE_HOT | (how)},                      \
  {"experts, some elsewhere, empty panels", {wt, 0, nt}, {9, 512, 2, 19, 2, 5, 0, 4, 1, 6 * nt, 41, 1}, {0}, how}
#define MATMUL_ASKED(wt, nt) MATMUL_BLOCK_CASES(wt, nt, KOI_VERIFY_ASKED)

/* A kernel takes seconds to compile: every type once, in the panel widths that are in use. */
static const koi_verify_case matmul_cases[] = {
  MATMUL_CASES(F32, 0, 12),  MATMUL_ODD_CASES(F32, 0, 12),  MATMUL_CASES(F16, 0, 8),  MATMUL_ODD_CASES(F16, 0, 8),  MATMUL_CASES(BF16, 0, 16),
  MATMUL_ODD_CASES(BF16, 0, 16), MATMUL_CASES(FP8, 0, 16), MATMUL_ODD_CASES(FP8, 0, 16), MATMUL_CASES(FP8, 1, 12), MATMUL_ODD_CASES(FP8, 1, 12),
  MATMUL_CASES(FP8, 0, 2), MATMUL_CASES(FP4, 0, 16),  MATMUL_CASES(FP4, 1, 12), MATMUL_CASES(MXFP4, 1, 12), MATMUL_CASES(Q8_0, 0, 16),
  MATMUL_UNIT_CASES(FP4, 1, 16), MATMUL_UNIT_CASES(MXFP4, 1, 16), MATMUL_UNIT_CASES(FP8, 1, 16), MATMUL_UNIT_CASES(F16, 0, 16),
  {"unit vectors, rows of unlike range", {F16, 0, 16}, {1, 2, 1, 70, 0, 1, 0, 5, 0, 16, 70, 0}, {0}, ONE_HOT},
  {"unit vectors, rows of unlike range", {BF16, 0, 16}, {1, 2, 1, 70, 0, 1, 0, 5, 0, 16, 70, 0}, {0}, ONE_HOT},
  {"odd columns, with care", {FP8, 1, 16}, {2, 133, 1, 20, 0, 1, 0, 2, 0, 21, 20, 0}, {0}, 0},
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

const koi_verify_op koi_verify_panels[] = {
  {&koi_op_matmul, matmul_cases, COUNT(matmul_cases), make_matmul, panels_bound, NULL, MATMUL_CARE},
  {NULL, NULL, 0, NULL, NULL, NULL, 0}};
