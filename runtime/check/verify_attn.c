/* Cases of the cache, compressor, indexer and attention ops for the verifier. Tables of calls, and how their inputs are made. */
#include <stdbool.h>
#include "verify_case.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
enum { F32 = KOI_WT_F32, F16 = KOI_WT_F16, BF16 = KOI_WT_BF16 };

static size_t min_size(size_t a, size_t b) { return a < b ? a : b; }

/* ---- kv_store ---- */
static const koi_verify_case kv_store_cases[] = {
  /* EXACT, DH, RD | n, first, cap, ldx */
  {"one row", {0, 96, 32}, {1, 0, 16, 96}, {0}, 0},
  {"round the end", {0, 96, 32}, {9, 12, 16, 100}, {0}, 0},
  {"far position", {0, 96, 32}, {3, 1048570, 24, 96}, {0}, 0},
  {"more rows than places", {0, 96, 32}, {21, 5, 8, 96}, {0}, 0},
  {"full width", {0, 512, 64}, {5, 126, 128, 512}, {0}, 0},
  {"last group short", {0, 130, 32}, {4, 0, 7, 130}, {0}, 0},
  {"odd width", {0, 77, 6}, {3, 2, 5, 80}, {0}, 0},
  {"exact", {1, 96, 32}, {9, 12, 16, 100}, {0}, 0},
  {"exact, odd width", {1, 77, 6}, {30, 2, 13, 80}, {0}, 0},
};

static void make_kv_store(koi_verify_job *j)
{
  const int32_t *i = j->v->i, *c = j->v->c;
  size_t n = (size_t)i[0], cap = (size_t)i[2], ldx = (size_t)i[3], dh = (size_t)c[1], rd = (size_t)c[2];
  float *x = koi_verify_floats(j, 0, n * ldx, 1);
  if (c[0]) koi_verify_out(j, 1, cap * dh * 4, KOI_VERIFY_F32);
  else {
    koi_verify_out(j, 1, cap * (dh - rd), KOI_VERIFY_RAW);
    koi_verify_out(j, 2, cap * koi_ceil_div(dh - rd, KOI_REF_FP8_GROUP), KOI_VERIFY_RAW);
    koi_verify_out(j, 3, cap * rd * 2, KOI_VERIFY_RAW);
  }
  if (j->failed) return;
  float size = 1;
  for (size_t k = 0; k < n * ldx; k++) { /* groups of many sizes, zero and below the floor too; and ties of the rounding */
    if (k % 32 == 0) size = ldexpf(1, koi_verify_below(j, 48) - 24) * (float)(koi_verify_below(j, 8) > 0);
    x[k] = koi_verify_below(j, 4) ? x[k] * size : (float)(koi_verify_below(j, 65) - 32) * size / 64;
  }
}

/* ---- pool and pool_keep ---- */
static const koi_verify_case pool_cases[] = {
  /* AT | p0, R, dim, win0, n_win, ld */
  {"first windows of 4", {F32}, {0, 4, 64, 0, 3, 128}, {0}, 0},
  {"first window of 4 alone, from the state", {F32}, {3, 4, 40, 0, 1, 80}, {0}, 0},
  {"windows of 4 across the chunk's start", {F32}, {6, 4, 33, 1, 4, 70}, {0}, 0},
  {"window of 4, one token a call", {F32}, {11, 4, 96, 2, 1, 192}, {0}, 0},
  {"windows of 4, far position", {F32}, {4601, 4, 128, 1150, 2, 256}, {0}, 0},
  {"windows of 4, whole chunk", {F32}, {8, 4, 512, 2, 5, 1024}, {0}, 0},
  {"windows of 128", {F32}, {0, 128, 48, 0, 2, 48}, {0}, 0},
  {"window of 128 across the chunk's start", {BF16}, {200, 128, 96, 1, 1, 96}, {0}, 0},
  {"window of 128, one token a call", {BF16}, {383, 128, 37, 2, 1, 40}, {0}, 0},
  {"windows of 16", {BF16}, {7, 16, 65, 0, 3, 65}, {0}, 0},
  {"windows of 4, f16 ape", {F16}, {5, 4, 64, 1, 3, 128}, {0}, 0},
  {"windows of 1", {F16}, {5, 1, 20, 5, 3, 20}, {0}, 0},
};

/* State slots: kv, score, kv_state, score_state from slot 0 on, for T tokens. */
static void make_states(koi_verify_job *j, size_t n_tokens, size_t ld, size_t r, size_t dim, bool out)
{
  size_t coff = r == 4 ? 2 : 1, n_state = coff * r * coff * dim;
  koi_verify_floats(j, 0, n_tokens * ld, 2);
  koi_verify_floats(j, 1, n_tokens * ld, 6);
  for (int slot = 2; slot < 4; slot++) {
    if (out) koi_verify_out(j, slot, n_state * 4, KOI_VERIFY_F32);
    else koi_verify_floats(j, slot, n_state, slot == 2 ? 2 : 6);
  }
}

static void make_pool(koi_verify_job *j)
{
  const int32_t *i = j->v->i;
  size_t r = (size_t)i[1], dim = (size_t)i[2], end = (size_t)(i[3] + i[4]) * r, n_tokens = end - (size_t)i[0] + (r > 1);
  make_states(j, n_tokens, (size_t)i[5], r, dim, false);
  koi_verify_typed(j, 4, j->v->c[0], r * (r == 4 ? 2 : 1) * dim, 0, 2);
  koi_verify_out(j, 5, (size_t)i[4] * dim * 4, KOI_VERIFY_F32);
  float *score = (float *)j->slot[1].in;
  for (size_t k = 0; !j->failed && k < j->slot[1].bytes / 4; k++)
    if (koi_verify_below(j, 40) == 0) score[k] = koi_verify_below(j, 2) ? 60 : -60;
  for (size_t k = 0; !j->failed && i[3] == 0 && k < j->slot[2].bytes / 4; k++) /* what lies before the first window is not there */
    if (k / (dim * (r == 4 ? 2 : 1)) >= r) ((float *)j->slot[2].in)[k] = ((float *)j->slot[3].in)[k] = NAN;
}

static void pool_bound(koi_verify_job *j) { koi_verify_bound_each(j, 5, 0, 2e-5f); } /* of rows within +-2 */

static const koi_verify_case pool_keep_cases[] = {
  /* | T, p0, R, dim, ld */
  {"one token", {0}, {1, 6, 4, 64, 128}, {0}, 0},
  {"fewer than the state holds", {0}, {5, 6, 4, 33, 70}, {0}, 0},
  {"more than the state holds", {0}, {19, 3, 4, 48, 96}, {0}, 0},
  {"one token of 128", {0}, {1, 127, 128, 40, 40}, {0}, 0},
  {"round the end of 128", {0}, {60, 100, 128, 33, 35}, {0}, 0},
  {"more than 128", {0}, {131, 4600, 128, 16, 16}, {0}, 0},
  {"windows of 16", {0}, {17, 5, 16, 21, 21}, {0}, 0},
};

static void make_pool_keep(koi_verify_job *j)
{
  const int32_t *i = j->v->i;
  make_states(j, (size_t)i[0], (size_t)i[4], (size_t)i[2], (size_t)i[3], true);
}

/* ---- indexer ---- */
static const koi_verify_case index_round_cases[] = {
  /* IH | n */
  {"64", {64}, {7}, {0}, 0},     {"one row of 128", {128}, {1}, {0}, 0}, {"128", {128}, {37}, {0}, 0},
  {"32", {32}, {5}, {0}, 0},     {"16: one short group", {16}, {9}, {0}, 0}, {"256", {256}, {3}, {0}, 0},
};

static const koi_verify_case index_store_cases[] = {
  /* EXACT, IH | n, first */
  {"first rows", {0, 64}, {5, 0}, {0}, 0},
  {"across a tile", {0, 64}, {20, 13}, {0}, 0},
  {"one row", {0, 128}, {1, 31}, {0}, 0},
  {"many rows", {0, 128}, {50, 9}, {0}, 0},
  {"32", {0, 32}, {17, 16}, {0}, 0},
  {"16: one short group", {0, 16}, {6, 3}, {0}, 0},
  {"exact", {1, 64}, {20, 13}, {0}, 0},
  {"exact, one row", {1, 128}, {1, 5}, {0}, 0},
};

/* Small whole numbers times a power of two: the transform's sums are exact in any order, and no sum is near a tie of the rounding. */
static void whole_numbers(koi_verify_job *j, float *x, size_t n, size_t ih)
{
  for (size_t r = 0; r < n; r++) {
    float size = r % 5 == 4 ? 0 : ldexpf(1, koi_verify_below(j, 40) - 20);
    for (size_t d = 0; d < ih; d++) x[r * ih + d] = (float)(koi_verify_below(j, 5) - 2) * size + 0.0f;
  }
}

static void make_index_round(koi_verify_job *j)
{
  size_t n = (size_t)j->v->i[INDEX_ROUND_N], ih = (size_t)j->v->c[INDEX_ROUND_IH];
  float *x = koi_verify_floats(j, INDEX_ROUND_X, n * ih, 1);
  if (x) whole_numbers(j, x, n, ih);
}

static size_t key_code_bytes(const int32_t *c) { return (c[0] ? (size_t)c[1] : koi_ceil_div((uint64_t)c[1], 8)) * KOI_TILE * 4; }
static size_t key_scale_bytes(const int32_t *c) { return koi_ceil_div((uint64_t)c[1], KOI_REF_FP4_GROUP) * KOI_TILE; }

static void make_index_store(koi_verify_job *j)
{
  const int32_t *c = j->v->c;
  size_t n = (size_t)j->v->i[0], ih = (size_t)c[1], n_tiles = koi_tiles(n + (size_t)j->v->i[1]);
  float *x = koi_verify_floats(j, 0, n * ih, 1);
  if (x && !c[0]) whole_numbers(j, x, n, ih);
  koi_verify_out(j, 1, n_tiles * key_code_bytes(c), c[0] ? KOI_VERIFY_F32 : KOI_VERIFY_FP4);
  if (!c[0]) koi_verify_out(j, 2, n_tiles * key_scale_bytes(c), KOI_VERIFY_RAW);
}

static const koi_verify_case index_score_cases[] = {
  /* EXACT, IH, NH | T, p0, row0, n_rows, lds | wscale */
  {"no row yet", {0, 128, 64}, {2, 0, 0, 16, 16}, {0.011f}, 0},
  {"one token", {0, 128, 64}, {1, 203, 0, 51, 51}, {0.011f}, 0},
  {"rows become visible within the chunk", {0, 128, 64}, {9, 130, 16, 40, 45}, {0.011f}, 0},
  {"a part that ends before the last row", {0, 128, 64}, {3, 1000, 48, 32, 32}, {0.011f}, 0},
  {"many", {0, 128, 64}, {16, 2400, 0, 604, 640}, {0.011f}, KOI_VERIFY_BIG},
  {"few heads", {0, 64, 4}, {5, 61, 0, 16, 20}, {0.06f}, 0},
  {"odd count of heads", {0, 64, 5}, {7, 300, 32, 50, 50}, {0.06f}, 0},
  {"32", {0, 32, 2}, {3, 99, 0, 32, 32}, {0.1f}, 0},
  {"one head of 16", {0, 16, 1}, {4, 77, 16, 16, 16}, {0.25f}, 0},
  {"exact", {1, 128, 64}, {3, 201, 0, 51, 51}, {0.011f}, 0},
  {"exact, few heads", {1, 64, 4}, {6, 130, 16, 20, 29}, {0.06f}, 0},
};

/* Keys of n_rows rows; what lies behind them in the last tile is NaN, as memory that nothing was written to may be. */
static void make_keys(koi_verify_job *j, int slot, const int32_t *c, size_t n_rows)
{
  size_t n_tiles = koi_tiles(n_rows), n_scales = n_tiles * key_scale_bytes(c);
  uint8_t *codes = koi_verify_bytes(j, slot, n_tiles * key_code_bytes(c), c[0] ? KOI_VERIFY_F32 : KOI_VERIFY_FP4);
  uint8_t *scales = c[0] ? NULL : koi_verify_bytes(j, slot + 1, n_scales, KOI_VERIFY_RAW);
  if (j->failed) return;
  for (size_t k = 0; k < n_tiles * key_code_bytes(c) / 4; k++) {
    size_t row = k / (key_code_bytes(c) / 4) * KOI_TILE + k % KOI_TILE;
    if (c[0]) ((float *)codes)[k] = row < n_rows ? koi_verify_real(j, -1, 1) : NAN;
    else ((uint32_t *)codes)[k] = (uint32_t)koi_verify_bits(j);
  }
  for (size_t k = 0; scales && k < n_scales; k++) {
    size_t row = k / key_scale_bytes(c) * KOI_TILE + k % KOI_TILE;
    scales[k] = row < n_rows ? (uint8_t)(122 + koi_verify_below(j, 6)) : 255;
    if (row < n_rows && koi_verify_below(j, 20) == 0) scales[k] = 1; /* the scale of a group of zeros */
  }
}

static void make_index_score(koi_verify_job *j)
{
  const int32_t *i = j->v->i, *c = j->v->c;
  size_t n_tokens = (size_t)i[0], ih = (size_t)c[1], nh = (size_t)c[2];
  koi_verify_floats(j, 0, n_tokens * nh * ih, 1);
  koi_verify_floats(j, 1, n_tokens * nh, 2);
  make_keys(j, 2, c, (size_t)(i[2] + i[3]));
  koi_verify_out(j, 4, n_tokens * (size_t)i[4] * 4, KOI_VERIFY_F32);
}

static void index_score_bound(koi_verify_job *j) { koi_verify_bound_linear(j, j->v->c[0] ? -1 : 2, KOI_WT_FP4); }

/* ---- topk ---- */
enum { TIES = 1, NANS = 2, RISING = 4, FALLING = 8, ALL_EQUAL = 16 };

static const koi_verify_case topk_cases[] = {
  /* | T, p0, row0, n_rows, lds, K */
  {"fewer rows than K", {0}, {5, 30, 0, 8, 8, 16}, {0}, 0},
  {"no row yet", {0}, {3, 0, 0, 4, 4, 4}, {0}, 0},
  {"first round", {0}, {3, 400, 0, 80, 80, 16}, {0}, 0},
  {"later round", {0}, {4, 700, 64, 64, 70, 16}, {0}, 0},
  {"a round that fills up", {0}, {4, 700, 16, 48, 48, 30}, {0}, 0},
  {"rows become visible within the round", {0}, {40, 250, 48, 32, 32, 13}, {0}, 0},
  {"ties", {0}, {6, 900, 0, 200, 200, 32}, {0}, TIES},
  {"ties with earlier rounds", {0}, {6, 900, 100, 100, 100, 32}, {0}, TIES},
  {"all equal", {0}, {3, 900, 64, 100, 100, 50}, {0}, ALL_EQUAL},
  {"NaN and infinity", {0}, {9, 900, 0, 100, 100, 40}, {0}, NANS},
  {"NaN and infinity, later", {0}, {9, 900, 80, 60, 60, 60}, {0}, NANS | TIES},
  {"rising", {0}, {2, 2000, 32, 400, 400, 64}, {0}, RISING},
  {"falling", {0}, {2, 2000, 32, 400, 400, 64}, {0}, FALLING},
  {"one", {0}, {3, 500, 16, 100, 100, 1}, {0}, 0},
  {"rows beyond a work-group", {0}, {2, 8300, 0, 2060, 2060, 512}, {0}, KOI_VERIFY_BIG},
  {"rows beyond a work-group, ties, later", {0}, {2, 9000, 1040, 1200, 1200, 1024}, {0}, TIES | KOI_VERIFY_BIG},
  {"many rows, rising", {0}, {1, 40000, 512, 8192, 8192, 512}, {0}, RISING | KOI_VERIFY_BIG},
};

static float a_score(koi_verify_job *j, size_t row)
{
  unsigned how = j->v->how;
  float x = how & TIES ? (float)(koi_verify_below(j, 5) - 2) : koi_verify_real(j, -3, 3);
  if ((how & NANS) && koi_verify_below(j, 4) == 0) {
    static const float odd[] = {NAN, INFINITY, -INFINITY, 0, 1e-30f};
    x = odd[koi_verify_below(j, COUNT(odd))];
  }
  if (how & ALL_EQUAL) x = 0.5f;
  return how & RISING ? (float)row : how & FALLING ? -(float)row : x;
}

static void make_topk(koi_verify_job *j)
{
  const int32_t *i = j->v->i;
  size_t n_tokens = (size_t)i[0], row0 = (size_t)i[2], n_rows = (size_t)i[3], lds = (size_t)i[4], k = (size_t)i[5];
  float *s = koi_verify_floats(j, 0, n_tokens * lds, 1);
  int32_t *idx = koi_verify_out(j, 1, n_tokens * k * 4, KOI_VERIFY_I32);
  float *val = koi_verify_out(j, 2, n_tokens * k * 4, KOI_VERIFY_F32);
  if (j->failed) return;
  for (size_t t = 0; t < n_tokens; t++) {
    size_t visible = ((size_t)i[1] + t + 1) / 4, held = min_size(min_size(k, row0), visible), left = held;
    for (size_t r = 0; r < n_rows; r++) s[t * lds + r] = row0 + r < visible ? a_score(j, row0 + r) : INFINITY; /* not visible: tempting */
    for (size_t r = 0, n = min_size(row0, visible); r < n && left; r++) { /* `left` of the n - r rows that are still to come */
      if ((size_t)koi_verify_below(j, (int32_t)(n - r)) >= left) continue;
      idx[t * k + held - left] = (int32_t)r, val[t * k + held - left] = a_score(j, r);
      left--;
    }
  }
}

/* ---- attn ---- */
static const koi_verify_case attn_cases[] = {
  /* EXACT, DH, RD, H, SEL | T, p0, window, cap, ratio, K, n_splits, rows_per_split | scale */
  {"first tokens", {0, 96, 32, 4, 0}, {5, 0, 16, 24, 0, 0, 1, 16}, {0.1f}, 0},
  {"window past its end", {0, 96, 32, 4, 0}, {7, 45, 16, 24, 0, 0, 2, 8}, {0.1f}, 0},
  {"one token, empty splits", {0, 96, 32, 4, 0}, {1, 9, 128, 160, 0, 0, 4, 16}, {0.1f}, 0},
  {"window and all rows", {0, 96, 32, 4, 1}, {3, 300, 16, 20, 8, 0, 3, 20}, {0.1f}, 0},
  {"rows appear within the chunk", {0, 96, 32, 4, 1}, {20, 250, 24, 64, 16, 0, 2, 24}, {0.1f}, 0},
  {"no row yet", {0, 96, 32, 4, 1}, {4, 100, 16, 32, 128, 0, 2, 10}, {0.1f}, 0},
  {"window and chosen rows", {0, 96, 32, 4, 2}, {5, 300, 16, 21, 4, 16, 2, 16}, {0.1f}, 0},
  {"fewer rows than chosen", {0, 96, 32, 4, 2}, {6, 20, 16, 22, 4, 16, 3, 9}, {0.1f}, 0},
  {"odd splits of chosen rows", {0, 96, 32, 4, 2}, {3, 777, 13, 17, 4, 50, 9, 7}, {0.1f}, 0},
  {"full width", {0, 512, 64, 8, 2}, {2, 1030, 128, 130, 4, 64, 2, 100}, {0.044f}, 0},
  {"full width, many rows", {0, 512, 64, 8, 2}, {1, 4700, 128, 128, 4, 512, 5, 128}, {0.044f}, KOI_VERIFY_BIG},
  {"short group, odd heads", {0, 130, 32, 3, 1}, {4, 99, 10, 13, 4, 0, 3, 12}, {0.09f}, 0},
  {"rope of the whole head", {0, 64, 64, 2, 0}, {3, 30, 8, 11, 0, 0, 1, 8}, {0.1f}, 0},
  {"exact", {1, 96, 32, 4, 2}, {5, 300, 16, 21, 4, 16, 2, 16}, {0.1f}, 0},
  {"exact, all rows", {1, 96, 32, 4, 1}, {5, 300, 16, 21, 8, 0, 4, 14}, {0.1f}, 0},
  {"exact, odd width", {1, 77, 6, 5, 1}, {3, 120, 7, 9, 5, 0, 2, 20}, {0.1f}, 0},
};

/* Cache rows from `slot` on. Row r holds something when held(r); the others are NaN, as memory that nothing was written to may be. */
static void make_rows(koi_verify_job *j, int slot, size_t n_rows, size_t n_held)
{
  const int32_t *c = j->v->c;
  size_t dh = (size_t)c[1], rd = (size_t)c[2], plain = dh - rd, n_groups = koi_ceil_div(plain, KOI_REF_FP8_GROUP);
  if (c[0]) {
    float *x = koi_verify_floats(j, slot, n_rows * dh, 1.5f);
    for (size_t k = n_held * dh; x && k < n_rows * dh; k++) x[k] = NAN;
    return;
  }
  uint8_t *codes = koi_verify_bytes(j, slot, n_rows * plain, KOI_VERIFY_RAW), *scales = koi_verify_bytes(j, slot + 1, n_rows * n_groups, KOI_VERIFY_RAW);
  uint16_t *rope = koi_verify_bytes(j, slot + 2, n_rows * rd * 2, KOI_VERIFY_RAW);
  if (j->failed) return;
  for (size_t k = 0; k < n_rows * plain; k++) {
    codes[k] = (uint8_t)koi_verify_bits(j);
    if ((codes[k] & 127) == 127) codes[k] ^= 1;
    if (k / plain >= n_held) codes[k] = 127;
  }
  for (size_t k = 0; k < n_rows * n_groups; k++) scales[k] = k / n_groups < n_held ? (uint8_t)(115 + koi_verify_below(j, 5)) : 255;
  for (size_t k = 0; k < n_rows * rd; k++) rope[k] = k / rd < n_held ? koi_ref_to_bf16(koi_verify_real(j, -1.5f, 1.5f)) : 0x7fc0;
}

static void make_attn(koi_verify_job *j)
{
  const int32_t *i = j->v->i, *c = j->v->c;
  size_t n_tokens = (size_t)i[0], p0 = (size_t)i[1], cap = (size_t)i[3], k = (size_t)i[5], n_splits = (size_t)i[6];
  size_t dh = (size_t)c[1], n_heads = (size_t)c[3], end = p0 + n_tokens, n_comp = c[4] ? end / (size_t)(c[4] == 2 ? 4 : i[4]) : 0;
  koi_verify_floats(j, 0, n_tokens * n_heads * dh, 2);
  make_rows(j, 1, cap, min_size(end, cap));
  if (c[4]) make_rows(j, 4, n_comp + 3, n_comp);
  int32_t *idx = c[4] == 2 ? koi_verify_bytes(j, 7, n_tokens * k * 4, KOI_VERIFY_I32) : NULL;
  koi_verify_out(j, 8, n_tokens * n_splits * n_heads * dh * 4, KOI_VERIFY_F32);
  koi_verify_out(j, 9, n_tokens * n_splits * n_heads * 2 * 4, KOI_VERIFY_F32);
  if (!idx || j->failed) return;
  for (size_t t = 0; t < n_tokens; t++) {
    size_t visible = (p0 + t + 1) / 4, n = min_size(k, visible), left = n;
    for (size_t m = n; m < k; m++) idx[t * k + m] = 0x7fffffff; /* must not be followed */
    for (size_t r = 0; r < visible && left; r++)
      if ((size_t)koi_verify_below(j, (int32_t)(visible - r)) < left) idx[t * k + n - left--] = (int32_t)r;
  }
}

/* Largest magnitude of any cache row's value, from the way make_rows draws them: 448 * 2^(119-127), and 1.5. */
static const double row_most = 1.75;

static double score_error(const koi_verify_job *j, const float *q)
{
  size_t dh = (size_t)j->v->c[1];
  return KOI_VERIFY_TOLERANCE * sqrt(koi_ref_dot(q, q, dh) * (double)dh) * row_most * j->v->f[0] / 2 + 1e-6;
}

static void attn_bound(koi_verify_job *j)
{
  size_t dh = (size_t)j->v->c[1], n_heads = (size_t)j->v->c[3], n_splits = (size_t)j->v->i[6], n = (size_t)j->v->i[0] * n_splits * n_heads;
  koi_verify_bound_each(j, 8, 0, 0);
  koi_verify_bound_each(j, 9, 0, 0);
  if (j->failed) return;
  for (size_t at = 0; at < n; at++) {
    size_t t = at / n_heads / n_splits, h = at % n_heads;
    double error = score_error(j, (const float *)j->slot[0].in + (t * n_heads + h) * dh), sum = ((const float *)j->slot[9].want)[2 * at + 1];
    if (sum == 0) continue; /* an empty split is exact */
    j->slot[9].bound[2 * at] = (float)error;
    j->slot[9].bound[2 * at + 1] = (float)(sum * (2 * error + 1e-5));
    for (size_t d = 0; d < dh; d++) j->slot[8].bound[at * dh + d] = (float)(sum * row_most * (2 * error + 1e-5));
  }
}

/* Sums are relative to the maximum that the device found, which may differ in its last bits: rescaled to the reference's. */
static void attn_settle(koi_verify_job *j)
{
  size_t dh = (size_t)j->v->c[1], n = j->slot[9].bytes / 8;
  float *po = (float *)j->slot[8].got, *ml = (float *)j->slot[9].got;
  const float *want = (const float *)j->slot[9].want;
  for (size_t at = 0; at < n; at++) {
    double off = (double)ml[2 * at] - want[2 * at];
    if (!(fabs(off) < 0.01)) continue; /* empty, or wrong */
    ml[2 * at + 1] = (float)(ml[2 * at + 1] * exp(off));
    for (size_t d = 0; d < dh && off != 0; d++) po[at * dh + d] = (float)(po[at * dh + d] * exp(off));
  }
}

/* ---- attn_merge ---- */
static const koi_verify_case attn_merge_cases[] = {
  /* DH, RD, H, ST | T, n_splits */
  {"one split", {96, 32, 4, F32}, {3, 1}, {0}, 0},
  {"five splits, empty ones", {96, 32, 4, F32}, {4, 5}, {0}, 0},
  {"many splits", {96, 32, 4, F32}, {1, 33}, {0}, 0},
  {"full width", {512, 64, 8, F32}, {2, 3}, {0}, 0},
  {"odd width and heads", {77, 6, 3, F32}, {3, 2}, {0}, 0},
  {"bf16 sink", {64, 64, 2, BF16}, {5, 4}, {0}, 0},
  {"f16 sink", {130, 32, 5, F16}, {2, 7}, {0}, 0},
};

static void make_attn_merge(koi_verify_job *j)
{
  const int32_t *c = j->v->c;
  size_t n_tokens = (size_t)j->v->i[ATTN_MERGE_T], n_splits = (size_t)j->v->i[ATTN_MERGE_N_SPLITS], dh = (size_t)c[ATTN_MERGE_DH],
          rd = (size_t)c[ATTN_MERGE_RD], n_heads = (size_t)c[ATTN_MERGE_NH];
  float *po = koi_verify_floats(j, ATTN_MERGE_PO, n_tokens * n_splits * n_heads * dh, 1),
          *ml = koi_verify_floats(j, ATTN_MERGE_ML, n_tokens * n_splits * n_heads * 2, 6);
  koi_verify_typed(j, ATTN_MERGE_SINK, c[ATTN_MERGE_ST], n_heads, 0, 4);
  float *cs = koi_verify_floats(j, ATTN_MERGE_ROPE, n_tokens * rd, 1);
  koi_verify_out(j, ATTN_MERGE_O, n_tokens * n_heads * dh * 4, KOI_VERIFY_F32);
  if (j->failed) return;
  for (size_t k = 0; k < n_tokens * rd; k += 2) {
    float angle = koi_verify_real(j, -3, 3);
    cs[k] = cosf(angle), cs[k + 1] = sinf(angle);
  }
  for (size_t at = 0; at < n_tokens * n_splits * n_heads; at++) {
    bool empty = at / n_heads % n_splits > 0 && koi_verify_below(j, 3) == 0;
    float sum = empty ? 0 : koi_verify_real(j, 1, 40);
    ml[2 * at] = empty ? -INFINITY : ml[2 * at], ml[2 * at + 1] = sum;
    for (size_t d = 0; d < dh; d++) po[at * dh + d] *= sum;
  }
}

static void attn_merge_bound(koi_verify_job *j) { koi_verify_bound_each(j, ATTN_MERGE_O, 0, 1e-5f); } /* of means of values within +-1 */

const koi_verify_op koi_verify_attn[] = {
  {&koi_op_kv_store, kv_store_cases, COUNT(kv_store_cases), make_kv_store, NULL, NULL},
  {&koi_op_pool, pool_cases, COUNT(pool_cases), make_pool, pool_bound, NULL},
  {&koi_op_pool_keep, pool_keep_cases, COUNT(pool_keep_cases), make_pool_keep, NULL, NULL},
  {&koi_op_index_round, index_round_cases, COUNT(index_round_cases), make_index_round, NULL, NULL},
  {&koi_op_index_store, index_store_cases, COUNT(index_store_cases), make_index_store, NULL, NULL},
  {&koi_op_index_score, index_score_cases, COUNT(index_score_cases), make_index_score, index_score_bound, NULL},
  {&koi_op_topk, topk_cases, COUNT(topk_cases), make_topk, NULL, NULL},
  {&koi_op_attn, attn_cases, COUNT(attn_cases), make_attn, attn_bound, attn_settle},
  {&koi_op_attn_merge, attn_merge_cases, COUNT(attn_merge_cases), make_attn_merge, attn_merge_bound, NULL},
  {NULL, NULL, 0, NULL, NULL, NULL}};
