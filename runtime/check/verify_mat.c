/* Cases of embed, pack, matvec, matmul and widen for the verifier. Tables of calls, and how their inputs are made. */
#include <stdbool.h>
#include "verify_weights.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
/* ONE_HOT: inputs are unit vectors, so that each output is one weight and must be exact, over every code that is a number. */
enum { ONE_HOT = 1 };
enum { F32 = KOI_WT_F32, F16 = KOI_WT_F16, BF16 = KOI_WT_BF16, FP8 = KOI_WT_FP8, FP4 = KOI_WT_FP4, MXFP4 = KOI_WT_MXFP4, Q8_0 = KOI_WT_Q8_0, Q4_0 = KOI_WT_Q4_0,
       Q4_1 = KOI_WT_Q4_1, Q5_0 = KOI_WT_Q5_0, Q5_1 = KOI_WT_Q5_1, Q2_K = KOI_WT_Q2_K, Q3_K = KOI_WT_Q3_K, Q4_K = KOI_WT_Q4_K, Q5_K = KOI_WT_Q5_K, Q6_K = KOI_WT_Q6_K,
       IQ2_XXS = KOI_WT_IQ2_XXS, IQ2_XS = KOI_WT_IQ2_XS, IQ2_S = KOI_WT_IQ2_S, IQ3_XXS = KOI_WT_IQ3_XXS, IQ3_S = KOI_WT_IQ3_S, IQ4_NL = KOI_WT_IQ4_NL, IQ4_XS = KOI_WT_IQ4_XS };

/* Sums may differ by rounding; single weights not, but where the device has no subnormals. */
static void product_bound(koi_verify_job *j)
{
  int y = j->op == &koi_op_matvec ? MATVEC_Y : MATMUL_Y, tile = j->op == &koi_op_matvec ? MATVEC_TILE : MATMUL_TILE;
  if (j->v->how & ONE_HOT) koi_verify_bound_each(j, y, 0, j->denormals ? 0 : 0x1p-126f);
  else koi_verify_bound_linear(j, j->v->c[MATVEC_WT], (size_t)j->v->i[MATVEC_K], j->v->c[tile]); /* matmul has them in the same places */
}

/* ---- embed ---- */
static const koi_verify_case embed_cases[] = {
  /* WT, CARE, HC | T, D, row0, row1 */
  {"all rows", {F32, 0, 4}, {5, 64, 0, 7}, {0}, 0},
  {"all rows", {F16, 0, 4}, {9, 48, 0, 30}, {0}, 0},
  {"part of the table, odd width", {F16, 0, 4}, {13, 37, 16, 27}, {0}, 0},
  {"one token", {BF16, 0, 4}, {1, 128, 0, 3}, {0}, 0},
  {"part of the table, odd width", {BF16, 0, 4}, {33, 19, 96, 117}, {0}, 0},
  {"two streams", {BF16, 0, 2}, {3, 130, 0, 4}, {0}, 0},
  {"one stream, one column", {F32, 0, 1}, {4, 1, 16, 22}, {0}, 0},
  {"scales with care", {MXFP4, 1, 4}, {9, 96, 0, 20}, {0}, 0},
  {"blocks", {Q8_0, 0, 4}, {9, 96, 0, 20}, {0}, 0},
  {"blocks with minima", {Q4_K, 0, 4}, {9, 512, 32, 70}, {0}, 0},
  {"blocks with short scales", {Q6_K, 0, 2}, {9, 512, 0, 21}, {0}, 0},
};

static void make_embed(koi_verify_job *j)
{
  const int32_t *i = j->v->i, *c = j->v->c;
  koi_verify_weight w = {c[EMBED_WT], c[EMBED_CARE], 1, (size_t)i[EMBED_D], (size_t)i[EMBED_ROW1], 1, (size_t)(i[EMBED_ROW0] / c[EMBED_TILE]),
                         koi_tiles((uint64_t)i[EMBED_ROW1], (uint32_t)c[EMBED_TILE]), (size_t)c[EMBED_TILE]};
  koi_verify_weights(j, &w);
  int32_t *token = koi_verify_bytes(j, EMBED_TOKEN, (size_t)i[EMBED_T] * 4, KOI_VERIFY_I32);
  for (int32_t t = 0; token && t < i[EMBED_T]; t++) token[t] = koi_verify_below(j, i[EMBED_ROW1] + 3);
  if (token) token[0] = i[EMBED_ROW1] - 1;
  koi_verify_out(j, EMBED_X, (size_t)(i[EMBED_T] * i[EMBED_D] * c[EMBED_HC]) * 4, KOI_VERIFY_F32);
}

/* Single weights are exact, but where the device has no subnormals. */
static void embed_bound(koi_verify_job *j) { koi_verify_bound_each(j, EMBED_X, 0, j->denormals ? 0 : 0x1p-126f); }

/* ---- pack ---- */
static const koi_verify_case pack_cases[] = {
  /* NT | n_panels, K, ldx, x_div, has_rows, n_rows */
  {"in order", {16}, {2, 40, 40, 1, 0, 32}, {0}, 0},
  {"in order, last panel short", {16}, {3, 33, 50, 1, 0, 37}, {0}, 0},
  {"by rows", {16}, {4, 65, 65, 1, 1, 50}, {0}, 0},
  {"by rows, two entries a token", {16}, {5, 7, 9, 2, 1, 60}, {0}, 0},
  {"one entry", {12}, {1, 130, 130, 1, 0, 1}, {0}, 0},
  {"by rows, six entries a token", {12}, {7, 300, 301, 6, 1, 77}, {0}, 0},
  {"one column", {12}, {2, 1, 3, 1, 1, 20}, {0}, 0},
  {"narrow panels", {5}, {3, 19, 19, 1, 1, 11}, {0}, 0},
  {"long rows", {8}, {3, 2500, 2500, 1, 0, 20}, {0}, KOI_VERIFY_BIG},
};

/* Entries in random order spread over the panels' places, the other places -1. */
static void spread(koi_verify_job *j, int32_t *rows, int32_t n_places, int32_t n)
{
  for (int32_t i = 0; i < n_places; i++) rows[i] = i < n ? i : -1;
  for (int32_t i = n_places - 1; i > 0; i--) {
    int32_t k = koi_verify_below(j, i + 1), t = rows[i];
    rows[i] = rows[k], rows[k] = t;
  }
}

static void make_pack(koi_verify_job *j)
{
  const int32_t *i = j->v->i, nt = j->v->c[PACK_NT];
  koi_verify_floats(j, PACK_X, (size_t)((i[PACK_N_ROWS] + i[PACK_X_DIV] - 1) / i[PACK_X_DIV] * i[PACK_LDX]), 1);
  int32_t *rows = i[PACK_HAS_ROWS] ? koi_verify_bytes(j, PACK_ROWS, (size_t)(i[PACK_N_PANELS] * nt) * 4, KOI_VERIFY_I32) : NULL;
  if (rows) spread(j, rows, i[PACK_N_PANELS] * nt, i[PACK_N_ROWS]);
  koi_verify_out(j, PACK_XP, (size_t)(i[PACK_N_PANELS] * i[PACK_K] * nt) * 4, KOI_VERIFY_F32);
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

#define MATMUL_BLOCK_CASES(wt, nt)                                                                                                      \
  {"unit vectors", {wt, 0, nt}, {(96 + nt - 1) / nt, 256, 1, 40, 0, 1, 0, 3, 0, 96, 40, 0}, {0}, ONE_HOT},                              \
  {"experts, some elsewhere, empty panels", {wt, 0, nt}, {9, 512, 2, 19, 2, 5, 0, 4, 1, 6 * nt, 41, 1}, {0}, 0}

/* A kernel takes seconds to compile: every type once, in the panel widths that are in use. */
static const koi_verify_case matmul_cases[] = {
  MATMUL_CASES(F32, 0, 12),  MATMUL_ODD_CASES(F32, 0, 12),  MATMUL_CASES(F16, 0, 8),  MATMUL_ODD_CASES(F16, 0, 8),  MATMUL_CASES(BF16, 0, 16),
  MATMUL_ODD_CASES(BF16, 0, 16), MATMUL_CASES(FP8, 0, 16), MATMUL_ODD_CASES(FP8, 0, 16), MATMUL_CASES(FP8, 1, 12), MATMUL_ODD_CASES(FP8, 1, 12),
  MATMUL_CASES(FP4, 0, 16),  MATMUL_CASES(FP4, 1, 12), MATMUL_CASES(MXFP4, 1, 12), MATMUL_CASES(Q8_0, 0, 16),
  MATMUL_BLOCK_CASES(Q4_K, 16), MATMUL_BLOCK_CASES(Q6_K, 12), MATMUL_BLOCK_CASES(IQ2_XXS, 16), /* the others' decoders: widen */
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
    spread(j, rows, n_panels * nt, i[MATMUL_N_ROWS]);
    for (int32_t p = 0; p < n_panels; p++) unit[p] = koi_verify_below(j, i[MATMUL_UNIT1] + 3) - 1;
    unit[n_panels - 1] = -1, unit[0] = i[MATMUL_UNIT0];
    for (int32_t at = 0; at < n_panels * nt; at++)
      if (unit[at / nt] < 0) rows[at] = -1;
  }
  panel_columns(j, xp, rows);
}

/* ---- widen ---- */
#define WIDEN_CASES(wt, care)                                              \
  /* WT, CARE | K, rows, tile0, row0, row1 */                              \
  {"all rows", {wt, care}, {96, 48, 0, 0, 48}, {0}, ONE_HOT},              \
  {"ragged rows", {wt, care}, {160, 83, 0, 32, 83}, {0}, ONE_HOT},         \
  {"a part that begins later", {wt, care}, {32, 200, 3, 64, 128}, {0}, ONE_HOT}, \
  {"one row", {wt, care}, {544, 1, 0, 0, 1}, {0}, ONE_HOT}
#define WIDEN_ODD_CASES(wt, care) \
  {"odd columns", {wt, care}, {133, 20, 0, 0, 20}, {0}, ONE_HOT}, {"one column", {wt, care}, {1, 33, 1, 16, 33}, {0}, ONE_HOT}

/* All values of a block, in every format: no kernel is smaller. */
#define WIDEN_BLOCK_CASES(wt) {"all columns, ragged rows", {wt, 0}, {768, 83, 0, 32, 83}, {0}, ONE_HOT}

static const koi_verify_case widen_cases[] = {
  WIDEN_CASES(F32, 0), WIDEN_ODD_CASES(F32, 0), WIDEN_CASES(F16, 0), WIDEN_ODD_CASES(F16, 0), WIDEN_CASES(BF16, 0), WIDEN_ODD_CASES(BF16, 0),
  WIDEN_CASES(FP8, 0), WIDEN_ODD_CASES(FP8, 0), WIDEN_CASES(FP8, 1), WIDEN_ODD_CASES(FP8, 1), WIDEN_CASES(FP4, 0),  WIDEN_CASES(FP4, 1),
  WIDEN_CASES(MXFP4, 1), WIDEN_CASES(Q8_0, 0), WIDEN_CASES(Q4_0, 0), WIDEN_BLOCK_CASES(Q4_1), WIDEN_BLOCK_CASES(Q5_0), WIDEN_BLOCK_CASES(Q5_1),
  WIDEN_BLOCK_CASES(Q2_K), WIDEN_BLOCK_CASES(Q3_K), WIDEN_BLOCK_CASES(Q4_K), WIDEN_BLOCK_CASES(Q5_K), WIDEN_BLOCK_CASES(Q6_K), WIDEN_BLOCK_CASES(IQ2_XXS),
  WIDEN_BLOCK_CASES(IQ2_XS), WIDEN_BLOCK_CASES(IQ2_S), WIDEN_BLOCK_CASES(IQ3_XXS), WIDEN_BLOCK_CASES(IQ3_S), WIDEN_BLOCK_CASES(IQ4_NL), WIDEN_BLOCK_CASES(IQ4_XS),
};

static void make_widen(koi_verify_job *j)
{
  const int32_t *i = j->v->i, *c = j->v->c;
  koi_verify_weight w = {c[WIDEN_WT], c[WIDEN_CARE], 1, (size_t)i[WIDEN_K], (size_t)i[WIDEN_ROWS], 1, (size_t)i[WIDEN_TILE0],
              koi_tiles((uint64_t)i[WIDEN_ROW1], (uint32_t)c[WIDEN_TILE]), (size_t)c[WIDEN_TILE]};
  koi_verify_weights(j, &w);
  koi_verify_out(j, WIDEN_Y, (size_t)((i[WIDEN_ROW1] - i[WIDEN_ROW0]) * i[WIDEN_K]) * 4, KOI_VERIFY_F32);
}

static void widen_bound(koi_verify_job *j) { koi_verify_bound_each(j, WIDEN_Y, 0, j->denormals ? 0 : 0x1p-126f); }

const koi_verify_op koi_verify_mat[] = {
  {&koi_op_embed, embed_cases, COUNT(embed_cases), make_embed, embed_bound, NULL, 0},
  {&koi_op_pack, pack_cases, COUNT(pack_cases), make_pack, NULL, NULL, 0},
  {&koi_op_matvec, matvec_cases, COUNT(matvec_cases), make_matvec, product_bound, NULL, 0},
  {&koi_op_matmul, matmul_cases, COUNT(matmul_cases), make_matmul, product_bound, NULL, MATMUL_CARE},
  {&koi_op_widen, widen_cases, COUNT(widen_cases), make_widen, widen_bound, NULL, 0},
  {NULL, NULL, 0, NULL, NULL, NULL, 0}};
