/* Cases of embed, pack and widen for the verifier. Tables of calls, and how their inputs are made. */
#include <stdbool.h>
#include "verify_weights.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

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

static void make_pack(koi_verify_job *j)
{
  const int32_t *i = j->v->i, nt = j->v->c[PACK_NT];
  koi_verify_floats(j, PACK_X, (size_t)((i[PACK_N_ROWS] + i[PACK_X_DIV] - 1) / i[PACK_X_DIV] * i[PACK_LDX]), 1);
  int32_t *rows = i[PACK_HAS_ROWS] ? koi_verify_bytes(j, PACK_ROWS, (size_t)(i[PACK_N_PANELS] * nt) * 4, KOI_VERIFY_I32) : NULL;
  if (rows) koi_verify_spread(j, rows, i[PACK_N_PANELS] * nt, i[PACK_N_ROWS]);
  koi_verify_out(j, PACK_XP, (size_t)(i[PACK_N_PANELS] * i[PACK_K] * nt) * 4, KOI_VERIFY_F32);
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
  {&koi_op_widen, widen_cases, COUNT(widen_cases), make_widen, widen_bound, NULL, 0},
  {NULL, NULL, 0, NULL, NULL, NULL, 0}};
