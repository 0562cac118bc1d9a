/* Cases of the ops that write the caches, for the verifier: rows, compressors and their state, indexer keys. Tables of calls, and how their
 * inputs are made. */
#include <stdbool.h>
#include "verify_pages.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
enum { F32 = KOI_WT_F32, F16 = KOI_WT_F16, BF16 = KOI_WT_BF16 };

/* ---- kv_store ---- */
#define KV(exact, dh, rd, page) KOI_VERIFY_LAYERS(KOI_VERIFY_KV_PART(exact, dh, rd, page))
static const koi_verify_case kv_store_cases[] = {
  /* EXACT, DH, RD, PAGE | n, ldx, table, ring, page_bytes, at, then the rows of the sequences */
  {"one row", {0, 96, 32, 16}, {1, 96, 0, 0, KV(0, 96, 32, 16), SEQS 0, 1}, {0}, 0},
  {"round the end", {0, 96, 32, 16}, {9, 100, 0, 2, KV(0, 96, 32, 16), SEQS 28, 9}, {0}, 0},
  {"far position", {0, 96, 32, 16}, {19, 96, 3, 3, KV(0, 96, 32, 16), SEQS 1048570, 19}, {0}, 0},
  {"across pages", {0, 96, 32, 16}, {40, 96, 2, 0, KV(0, 96, 32, 16), SEQS 11, 40}, {0}, 0},
  {"four sequences", {0, 96, 32, 16}, {18, 96, 1, 0, KV(0, 96, 32, 16), SEQS 60, 7, 0, 1, 15, 2, 700, 8}, {0}, 0},
  {"one row each of four sequences", {0, 96, 32, 16}, {4, 96, 1, 2, KV(0, 96, 32, 16), SEQS 60, 1, 0, 1, 31, 1, 1000, 1}, {0}, 0},
  {"three rings, rows in turns", {0, 96, 32, 16}, {24, 96, 5, 2, KV(0, 96, 32, 16), SEQS 60, 7, 31, 1, 9, 16}, {0}, KOI_VERIFY_MIXED},
  {"full width", {0, 512, 64, 64}, {5, 512, 0, 3, KV(0, 512, 64, 64), SEQS 190, 5}, {0}, 0},
  {"last group short", {0, 130, 32, 16}, {4, 130, 0, 0, KV(0, 130, 32, 16), SEQS 14, 4}, {0}, 0},
  {"odd width", {0, 77, 6, 48}, {6, 80, 1, 2, KV(0, 77, 6, 48), SEQS 47, 3, 95, 3}, {0}, 0},
  {"exact", {1, 96, 32, 16}, {14, 100, 2, 2, KV(1, 96, 32, 16), SEQS 28, 9, 3, 5}, {0}, 0},
  {"exact, odd width", {1, 77, 6, 16}, {30, 80, 0, 0, KV(1, 77, 6, 16), SEQS 2, 30}, {0}, 0},
};

/* In some groups the largest is what a scale just holds, 448 times a power of two. */
static void largest_of_a_scale(koi_verify_job *j, float *x, size_t n)
{
  for (size_t g = 0; g < n; g += KOI_REF_FP8_GROUP) {
    float most = 0;
    for (size_t d = g; d < n && d < g + KOI_REF_FP8_GROUP; d++) most = fmaxf(most, fabsf(x[d]));
    int e;
    frexpf(most, &e);
    if (most > 0x1p-20f && koi_verify_below(j, 3) == 0) x[g] = ldexpf(1.75f, e);
  }
}

static void make_kv_store(koi_verify_job *j)
{
  const int32_t *i = j->v->i, *c = j->v->c, *seq = koi_verify_seq(j->v);
  size_t n = (size_t)i[KV_STORE_N], ldx = (size_t)i[KV_STORE_LDX];
  float *x = koi_verify_floats(j, KV_STORE_X, n * ldx, 1);
  koi_verify_pool p = {.slab0 = KV_STORE_S0, .bytes = i[KV_STORE_PAGE_BYTES], .at = i[KV_STORE_AT], .table = i[KV_STORE_TABLE], .ring = i[KV_STORE_RING],
                       .page = c[KV_STORE_PAGE], .kind = c[KV_STORE_EXACT] ? KOI_VERIFY_F32 : KOI_VERIFY_RAW, .out = true};
  for (size_t s = 0; s < KOI_VERIFY_SEQS; s++) p.first[s] = (size_t)seq[2 * s], p.end[s] = p.first[s] + (size_t)seq[2 * s + 1];
  koi_verify_tables(j, KV_STORE_ROWS, KV_STORE_TABLES, &p, 1);
  float size = 1;
  for (size_t k = 0; !j->failed && k < n * ldx; k++) { /* groups of many sizes, zero and below the floor too; and ties of the rounding */
    if (k % 32 == 0) size = ldexpf(1, koi_verify_below(j, 48) - 24) * (float)(koi_verify_below(j, 8) > 0);
    x[k] = koi_verify_below(j, 4) ? x[k] * size : (float)(koi_verify_below(j, 65) - 32) * size / 64;
  }
  for (size_t r = 0; !j->failed && r < n; r++) largest_of_a_scale(j, x + r * ldx, (size_t)(c[KV_STORE_DH] - c[KV_STORE_RD]));
}

/* ---- pool ---- */
#define STATE(r, dim, coff) KOI_VERIFY_LAYERS(KOI_VERIFY_PAD(8 * (coff) * (r) * (coff) * (dim)))
static const koi_verify_case pool_cases[] = {
  /* AT | n_win, R, dim, ld, coff, slot_bytes, at, then of each sequence: p0, windows that close */
  {"first windows of 4", {F32}, {3, 4, 64, 256, 2, STATE(4, 64, 2), SEQS 0, 3}, {0}, 0},
  {"first window of 4 alone, from the state", {F32}, {1, 4, 40, 160, 2, STATE(4, 40, 2), SEQS 3, 1}, {0}, 0},
  {"windows of 4 across the chunk's start", {F32}, {4, 4, 33, 136, 2, STATE(4, 33, 2), SEQS 6, 4}, {0}, 0},
  {"window of 4, one token a call", {F32}, {1, 4, 96, 384, 2, STATE(4, 96, 2), SEQS 11, 1}, {0}, 0},
  {"windows of 4, far position", {F32}, {2, 4, 128, 512, 2, STATE(4, 128, 2), SEQS 4601, 2}, {0}, 0},
  {"windows of 4, whole chunk", {F32}, {5, 4, 512, 2048, 2, STATE(4, 512, 2), SEQS 8, 5}, {0}, 0},
  {"windows of 4 of four sequences", {F32}, {9, 4, 48, 192, 2, STATE(4, 48, 2), SEQS 7, 1, 0, 3, 4601, 4, 11, 1}, {0}, 0},
  {"windows of 128", {F32}, {2, 128, 48, 96, 1, STATE(128, 48, 1), SEQS 0, 2}, {0}, 0},
  {"window of 128 across the chunk's start", {BF16}, {1, 128, 96, 192, 1, STATE(128, 96, 1), SEQS 200, 1}, {0}, 0},
  {"window of 128, one token a call", {BF16}, {3, 128, 37, 77, 1, STATE(128, 37, 1), SEQS 383, 1, 127, 1, 255, 1}, {0}, 0},
  {"windows of 16", {BF16}, {3, 16, 65, 130, 1, STATE(16, 65, 1), SEQS 7, 3}, {0}, 0},
  {"windows of 16 that overlap", {BF16}, {3, 16, 24, 98, 2, STATE(16, 24, 2), SEQS 37, 2, 9, 1}, {0}, 0},
  {"windows of 4 that do not", {F32}, {4, 4, 32, 65, 1, STATE(4, 32, 1), SEQS 6, 4}, {0}, 0},
  {"windows of 4, f16 ape", {F16}, {3, 4, 64, 256, 2, STATE(4, 64, 2), SEQS 5, 3}, {0}, 0},
  {"windows of 1", {F16}, {3, 1, 20, 40, 1, STATE(1, 20, 1), SEQS 5, 3}, {0}, 0},
};

/* Floats of a state slot's kv, which its scores follow, and their scale. */
static void make_state(koi_verify_job *j, const koi_verify_pool *p, int32_t slot, size_t half)
{
  float *x = koi_verify_part(j, p, slot);
  for (size_t k = 0; k < 2 * half; k++) x[k] = koi_verify_real(j, -1, 1) * (k < half ? 2 : 6);
}

static void make_pool(koi_verify_job *j)
{
  const int32_t *i = j->v->i, *seq = koi_verify_seq(j->v);
  int32_t r = i[POOL_R], n_tokens = 0, slot[KOI_VERIFY_SEQS], *win = koi_verify_bytes(j, POOL_WINS, (size_t)i[POOL_N_WIN] * POOL_WIN * 4, KOI_VERIFY_I32);
  size_t dim = (size_t)i[POOL_DIM], coff = (size_t)i[POOL_COFF], half = coff * (size_t)r * coff * dim;
  koi_verify_pool p = {.slab0 = POOL_S0, .bytes = i[POOL_SLOT_BYTES], .at = i[POOL_AT], .kind = KOI_VERIFY_F32};
  koi_verify_places(j, &p, slot, koi_verify_n_seqs(j->v));
  koi_verify_typed(j, POOL_APE, j->v->c[POOL_C_AT], (size_t)r * coff * dim, 0, 2);
  koi_verify_out(j, POOL_Y, (size_t)i[POOL_N_WIN] * dim * 4, KOI_VERIFY_F32);
  for (size_t s = 0; s < koi_verify_n_seqs(j->v) && !j->failed; s++) {
    int32_t p0 = seq[2 * s], win0 = p0 / r, n = seq[2 * s + 1];
    for (int32_t w = 0; w < n; w++, win += POOL_WIN) win[WIN_INDEX] = win0 + w, win[WIN_ROW] = n_tokens, win[WIN_P0] = p0, win[WIN_SLOT] = slot[s], win[WIN_ZERO] = 0;
    n_tokens += (win0 + n) * r - p0 + (r > 1);
    make_state(j, &p, slot[s], half);
    float *state = koi_verify_part(j, &p, slot[s]);
    for (size_t k = 0; win0 == 0 && k < half; k++) /* what lies before the first window is not there */
      if (k / (dim * coff) >= (size_t)r) state[k] = state[half + k] = NAN;
  }
  koi_verify_chunk(j, POOL_KV, (size_t)n_tokens, (size_t)i[POOL_LD], coff * dim);
}

static void pool_bound(koi_verify_job *j) { koi_verify_bound_each(j, POOL_Y, 0, 2e-5f); } /* of rows within +-2 */

/* ---- pool_keep ---- */
enum { FORK = 1 }; /* every second record comes from a slot of its own */

static const koi_verify_case pool_keep_cases[] = {
  /* | n, most, R, dim, ld, coff, slot_bytes, at, then of each record: p0, tokens */
  {"one token", {0}, {1, 1, 4, 64, 256, 2, STATE(4, 64, 2), SEQS 6, 1}, {0}, 0},
  {"fewer than the state holds", {0}, {1, 5, 4, 33, 136, 2, STATE(4, 33, 2), SEQS 6, 5}, {0}, 0},
  {"more than the state holds", {0}, {1, 8, 4, 48, 192, 2, STATE(4, 48, 2), SEQS 3, 19}, {0}, 0},
  {"four sequences", {0}, {4, 8, 4, 24, 96, 2, STATE(4, 24, 2), SEQS 6, 1, 0, 9, 5, 3, 4601, 1}, {0}, 0},
  {"one token each, room for more", {0}, {4, 7, 4, 24, 96, 2, STATE(4, 24, 2), SEQS 6, 1, 0, 1, 3, 1, 4601, 1}, {0}, 0},
  {"to another slot", {0}, {2, 8, 4, 24, 96, 2, STATE(4, 24, 2), SEQS 6, 1, 0, 3}, {0}, FORK},
  {"one token of 128", {0}, {1, 1, 128, 40, 80, 1, STATE(128, 40, 1), SEQS 127, 1}, {0}, 0},
  {"round the end of 128", {0}, {1, 60, 128, 33, 68, 1, STATE(128, 33, 1), SEQS 100, 60}, {0}, 0},
  {"more than 128", {0}, {1, 128, 128, 16, 32, 1, STATE(128, 16, 1), SEQS 4600, 131}, {0}, 0},
  {"128 to another slot", {0}, {3, 128, 128, 16, 32, 1, STATE(128, 16, 1), SEQS 4600, 13, 50, 3, 300, 150}, {0}, FORK},
  {"windows of 16", {0}, {1, 16, 16, 21, 42, 1, STATE(16, 21, 1), SEQS 5, 17}, {0}, 0},
};

static void make_pool_keep(koi_verify_job *j)
{
  const int32_t *i = j->v->i, *seq = koi_verify_seq(j->v);
  size_t n = (size_t)i[POOL_KEEP_N], wide = (size_t)i[POOL_KEEP_COFF] * (size_t)i[POOL_KEEP_DIM], half = (size_t)(i[POOL_KEEP_COFF] * i[POOL_KEEP_R]) * wide;
  int32_t n_tokens = 0, slot[2 * KOI_VERIFY_SEQS], *keep = koi_verify_bytes(j, POOL_KEEP_KEEPS, n * POOL_KEEP_RECORD * 4, KOI_VERIFY_I32);
  koi_verify_pool p = {.slab0 = POOL_KEEP_S0, .bytes = i[POOL_KEEP_SLOT_BYTES], .at = i[POOL_KEEP_AT], .kind = KOI_VERIFY_F32, .out = true};
  koi_verify_places(j, &p, slot, 2 * n);
  for (size_t s = 0; s < n && !j->failed; s++, keep += POOL_KEEP_RECORD) {
    size_t from = j->v->how & FORK && s % 2 == 0 ? n + s : s;
    keep[KEEP_ROW] = n_tokens, keep[KEEP_N] = seq[2 * s + 1], keep[KEEP_P0] = seq[2 * s], keep[KEEP_FROM] = slot[from], keep[KEEP_TO] = slot[s];
    n_tokens += keep[KEEP_N];
    if (from != s) make_state(j, &p, slot[from], half);
  }
  koi_verify_chunk(j, POOL_KEEP_KV, (size_t)n_tokens, (size_t)i[POOL_KEEP_LD], wide);
}

/* ---- indexer ---- */
static const koi_verify_case index_round_cases[] = {
  /* IH | n */
  {"64", {64}, {7}, {0}, 0},     {"one row of 128", {128}, {1}, {0}, 0}, {"128", {128}, {37}, {0}, 0},
  {"32", {32}, {5}, {0}, 0},     {"16: one short group", {16}, {9}, {0}, 0}, {"256", {256}, {3}, {0}, 0},
};

#define INDEX(exact, ih, page) KOI_VERIFY_LAYERS(KOI_VERIFY_INDEX_PART(exact, ih, page))
static const koi_verify_case index_store_cases[] = {
  /* EXACT, IH, PAGE | n, table, page_bytes, at, then the rows of the sequences */
  {"first rows", {0, 64, 16}, {5, 0, INDEX(0, 64, 16), SEQS 0, 5}, {0}, 0},
  {"across a page", {0, 64, 16}, {20, 2, INDEX(0, 64, 16), SEQS 13, 20}, {0}, 0},
  {"across a tile", {0, 64, 32}, {20, 0, INDEX(0, 64, 32), SEQS 13, 20}, {0}, 0},
  {"one row", {0, 128, 64}, {1, 0, INDEX(0, 128, 64), SEQS 31, 1}, {0}, 0},
  {"many rows", {0, 128, 64}, {150, 1, INDEX(0, 128, 64), SEQS 9, 150}, {0}, 0},
  {"four sequences in turns", {0, 128, 64}, {60, 1, INDEX(0, 128, 64), SEQS 9, 30, 120, 10, 0, 1, 63, 19}, {0}, KOI_VERIFY_MIXED},
  {"one row each of four sequences", {0, 128, 64}, {4, 1, INDEX(0, 128, 64), SEQS 9, 1, 120, 1, 0, 1, 63, 1}, {0}, 0},
  {"32", {0, 32, 16}, {17, 0, INDEX(0, 32, 16), SEQS 16, 17}, {0}, 0},
  {"16: one short group", {0, 16, 16}, {6, 4, INDEX(0, 16, 16), SEQS 3, 6}, {0}, 0},
  {"exact", {1, 64, 16}, {23, 0, INDEX(1, 64, 16), SEQS 13, 20, 500, 3}, {0}, 0},
  {"exact, one row", {1, 128, 64}, {1, 0, INDEX(1, 128, 64), SEQS 5, 1}, {0}, 0},
};

static void make_index_round(koi_verify_job *j)
{
  size_t n = (size_t)j->v->i[INDEX_ROUND_N], ih = (size_t)j->v->c[INDEX_ROUND_IH];
  float *x = koi_verify_floats(j, INDEX_ROUND_X, n * ih, 1);
  if (x) koi_verify_whole(j, x, n, ih);
}

static void make_index_store(koi_verify_job *j)
{
  const int32_t *c = j->v->c, *i = j->v->i, *seq = koi_verify_seq(j->v);
  size_t n = (size_t)i[INDEX_STORE_N], ih = (size_t)c[INDEX_STORE_IH];
  float *x = koi_verify_floats(j, INDEX_STORE_X, n * ih, 1);
  if (x && !c[INDEX_STORE_EXACT]) koi_verify_whole(j, x, n, ih);
  koi_verify_pool p = {.slab0 = INDEX_STORE_S0, .bytes = i[INDEX_STORE_PAGE_BYTES], .at = i[INDEX_STORE_AT], .table = i[INDEX_STORE_TABLE],
                       .page = c[INDEX_STORE_PAGE], .kind = c[INDEX_STORE_EXACT] ? KOI_VERIFY_F32 : KOI_VERIFY_RAW, .out = true};
  for (size_t s = 0; s < KOI_VERIFY_SEQS; s++) p.first[s] = (size_t)seq[2 * s], p.end[s] = p.first[s] + (size_t)seq[2 * s + 1];
  koi_verify_tables(j, INDEX_STORE_ROWS, INDEX_STORE_TABLES, &p, 1);
}

static void index_store_settle(koi_verify_job *j)
{
  const int32_t *c = j->v->c, *i = j->v->i;
  if (!c[INDEX_STORE_EXACT]) koi_verify_without_minus_zero(j, INDEX_STORE_S0, i[INDEX_STORE_PAGE_BYTES], i[INDEX_STORE_AT], c[INDEX_STORE_PAGE], c[INDEX_STORE_IH]);
}

const koi_verify_op koi_verify_cache[] = {
  {&koi_op_kv_store, kv_store_cases, COUNT(kv_store_cases), make_kv_store, NULL, NULL, 0},
  {&koi_op_pool, pool_cases, COUNT(pool_cases), make_pool, pool_bound, NULL, 0},
  {&koi_op_pool_keep, pool_keep_cases, COUNT(pool_keep_cases), make_pool_keep, NULL, NULL, 0},
  {&koi_op_index_round, index_round_cases, COUNT(index_round_cases), make_index_round, NULL, NULL, 0},
  {&koi_op_index_store, index_store_cases, COUNT(index_store_cases), make_index_store, NULL, index_store_settle, 0},
  {NULL, NULL, 0, NULL, NULL, NULL, 0}};
