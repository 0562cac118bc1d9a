/* Cases of the ops that read the caches, for the verifier: the indexer's scores, top-k, attention. Tables of calls, and how their inputs are
 * made. */
#include <stdbool.h>
#include "verify_pages.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
enum { F32 = KOI_WT_F32, F16 = KOI_WT_F16, BF16 = KOI_WT_BF16 };

static size_t min_size(size_t a, size_t b) { return a < b ? a : b; }

/* Position of token t. */
static size_t position(const koi_verify_job *j, int rows, size_t t)
{
  int32_t p;
  memcpy(&p, j->slot[rows].in + 8 * t, sizeof p);
  return (size_t)p;
}

/* Positions that sequence s has, those of this call too. */
static size_t seq_end(const koi_verify_job *j, size_t s) { return (size_t)koi_verify_seq(j->v)[2 * s] + (size_t)koi_verify_seq(j->v)[2 * s + 1]; }

/* ---- index_score ---- */
#define INDEX(exact, ih, page) KOI_VERIFY_LAYERS(KOI_VERIFY_INDEX_PART(exact, ih, page))
static const koi_verify_case index_score_cases[] = {
  /* EXACT, IH, NH, PAGE | T, row0, n_rows, lds, R, table, page_bytes, at, then the positions of the sequences | wscale */
  {"no row yet", {0, 128, 64, 64}, {2, 0, 16, 16, 4, 0, INDEX(0, 128, 64), SEQS 0, 2}, {0.011f}, 0},
  {"one token", {0, 128, 64, 64}, {1, 0, 51, 51, 4, 0, INDEX(0, 128, 64), SEQS 203, 1}, {0.011f}, 0},
  {"rows become visible within the chunk", {0, 128, 64, 64}, {9, 16, 40, 45, 4, 2, INDEX(0, 128, 64), SEQS 130, 9}, {0.011f}, 0},
  {"a part that ends before the last row", {0, 128, 64, 64}, {3, 48, 32, 32, 4, 0, INDEX(0, 128, 64), SEQS 1000, 3}, {0.011f}, 0},
  {"four sequences", {0, 128, 64, 64}, {12, 0, 100, 100, 4, 1, INDEX(0, 128, 64), SEQS 390, 5, 0, 2, 130, 4, 2, 1}, {0.011f}, 0},
  {"three sequences in turns", {0, 128, 64, 64}, {11, 64, 80, 80, 4, 0, INDEX(0, 128, 64), SEQS 570, 5, 300, 4, 70, 2}, {0.011f}, KOI_VERIFY_MIXED},
  {"many", {0, 128, 64, 64}, {16, 0, 604, 640, 4, 0, INDEX(0, 128, 64), SEQS 2400, 16}, {0.011f}, KOI_VERIFY_BIG},
  {"few heads", {0, 64, 4, 16}, {5, 0, 16, 20, 4, 0, INDEX(0, 64, 16), SEQS 61, 5}, {0.06f}, 0},
  {"few heads, pages of 16", {0, 64, 4, 16}, {37, 16, 60, 60, 4, 3, INDEX(0, 64, 16), SEQS 230, 20, 100, 17}, {0.06f}, 0},
  {"odd count of heads", {0, 64, 5, 48}, {7, 32, 50, 50, 4, 0, INDEX(0, 64, 48), SEQS 300, 7}, {0.06f}, 0},
  {"32, windows of 8", {0, 32, 2, 32}, {3, 0, 32, 32, 8, 0, INDEX(0, 32, 32), SEQS 199, 3}, {0.1f}, 0},
  {"one head of 16", {0, 16, 1, 16}, {4, 16, 16, 16, 4, 0, INDEX(0, 16, 16), SEQS 77, 4}, {0.25f}, 0},
  {"exact", {1, 128, 64, 64}, {3, 0, 51, 51, 4, 0, INDEX(1, 128, 64), SEQS 201, 3}, {0.011f}, 0},
  {"exact, few heads", {1, 64, 4, 16}, {9, 16, 20, 29, 4, 1, INDEX(1, 64, 16), SEQS 130, 6, 80, 3}, {0.06f}, 0},
};

/* Key `row` of a page's part. */
static void make_key(koi_verify_job *j, void *part, size_t row)
{
  const int32_t *c = j->v->c;
  size_t ih = (size_t)c[INDEX_SCORE_IH];
  koi_ref_key to = koi_ref_key_at(part, row % (size_t)c[INDEX_SCORE_PAGE], ih, (size_t)c[INDEX_SCORE_PAGE]);
  if (c[INDEX_SCORE_EXACT]) {
    for (size_t d = 0; d < ih; d++) to.exact[d * KOI_TILE] = koi_verify_real(j, -1, 1);
    return;
  }
  for (size_t k = 0; k * 8 < ih; k++) to.codes[k * KOI_TILE] = (uint32_t)koi_verify_bits(j);
  for (size_t k = 0; k * KOI_REF_FP4_GROUP < ih; k++)
    to.scales[k * KOI_TILE] = koi_verify_below(j, 20) ? (uint8_t)(122 + koi_verify_below(j, 6)) : 1; /* 1: the scale of a group of zeros */
}

static koi_verify_pool index_pool(const koi_verify_job *j)
{
  const int32_t *i = j->v->i, *c = j->v->c;
  koi_verify_pool p = {.slab0 = INDEX_SCORE_S0, .bytes = i[INDEX_SCORE_PAGE_BYTES], .at = i[INDEX_SCORE_AT], .table = i[INDEX_SCORE_TABLE],
                       .page = c[INDEX_SCORE_PAGE], .kind = c[INDEX_SCORE_EXACT] ? KOI_VERIFY_F32 : KOI_VERIFY_RAW};
  for (size_t s = 0; s < koi_verify_n_seqs(j->v); s++) p.end[s] = seq_end(j, s) / (size_t)i[INDEX_SCORE_R];
  return p;
}

static void make_index_score(koi_verify_job *j)
{
  const int32_t *i = j->v->i, *c = j->v->c;
  size_t n_tokens = (size_t)i[INDEX_SCORE_T], ih = (size_t)c[INDEX_SCORE_IH], nh = (size_t)c[INDEX_SCORE_NH];
  koi_verify_pool p = index_pool(j);
  koi_verify_floats(j, INDEX_SCORE_Q, n_tokens * nh * ih, 1);
  koi_verify_floats(j, INDEX_SCORE_W, n_tokens * nh, 2);
  koi_verify_tables(j, INDEX_SCORE_ROWS, INDEX_SCORE_TABLES, &p, 1);
  koi_verify_out(j, INDEX_SCORE_S, n_tokens * (size_t)i[INDEX_SCORE_LDS] * 4, KOI_VERIFY_F32);
  for (size_t s = 0; s < koi_verify_n_seqs(j->v); s++)
    for (size_t row = 0; row < p.end[s] && !j->failed; row++) make_key(j, koi_verify_row_part(j, INDEX_SCORE_TABLES, &p, s, row), row);
}

/* Tolerance x the sum of magnitudes: at most |w| |q| |key| for each head, with the keys' largest value: exact 1, else 6 * 2^(127-127). */
static void index_score_bound(koi_verify_job *j)
{
  const int32_t *i = j->v->i, *c = j->v->c;
  size_t ih = (size_t)c[INDEX_SCORE_IH], nh = (size_t)c[INDEX_SCORE_NH], lds = (size_t)i[INDEX_SCORE_LDS];
  koi_verify_bound_each(j, INDEX_SCORE_S, 0, 0);
  for (size_t t = 0; t < (size_t)i[INDEX_SCORE_T] && !j->failed; t++) {
    const float *q = (const float *)j->slot[INDEX_SCORE_Q].in + t * nh * ih, *w = (const float *)j->slot[INDEX_SCORE_W].in + t * nh;
    double sum = 0;
    for (size_t h = 0; h < nh; h++) sum += fabs(w[h]) * sqrt(koi_ref_dot(q + h * ih, q + h * ih, ih));
    double most = sum * j->v->f[INDEX_SCORE_WSCALE] * sqrt((double)ih) * (c[INDEX_SCORE_EXACT] ? 0.6 : 2);
    for (size_t k = 0; k < lds; k++) j->slot[INDEX_SCORE_S].bound[t * lds + k] = (float)(KOI_VERIFY_TOLERANCE * most);
  }
}

/* ---- topk ---- */
enum { TIES = 1, NANS = 2, RISING = 4, FALLING = 8, ALL_EQUAL = 16 };

static const koi_verify_case topk_cases[] = {
  /* | T, row0, n_rows, lds, K, R, then the positions of the sequences */
  {"fewer rows than K", {0}, {5, 0, 8, 8, 16, 4, SEQS 30, 5}, {0}, 0},
  {"no row yet", {0}, {3, 0, 4, 4, 4, 4, SEQS 0, 3}, {0}, 0},
  {"first round", {0}, {3, 0, 80, 80, 16, 4, SEQS 400, 3}, {0}, 0},
  {"later round", {0}, {4, 64, 64, 70, 16, 4, SEQS 700, 4}, {0}, 0},
  {"a round that fills up", {0}, {4, 16, 48, 48, 30, 4, SEQS 700, 4}, {0}, 0},
  {"rows become visible within the round", {0}, {40, 48, 32, 32, 13, 4, SEQS 250, 40}, {0}, 0},
  {"four sequences in turns", {0}, {13, 32, 64, 70, 20, 4, SEQS 700, 3, 0, 2, 130, 4, 250, 4}, {0}, KOI_VERIFY_MIXED},
  {"windows of 8", {0}, {5, 16, 40, 40, 20, 8, SEQS 250, 5}, {0}, 0},
  {"ties", {0}, {6, 0, 200, 200, 32, 4, SEQS 900, 6}, {0}, TIES},
  {"ties with earlier rounds", {0}, {6, 100, 100, 100, 32, 4, SEQS 900, 6}, {0}, TIES},
  {"all equal", {0}, {3, 64, 100, 100, 50, 4, SEQS 900, 3}, {0}, ALL_EQUAL},
  {"NaN and infinity", {0}, {9, 0, 100, 100, 40, 4, SEQS 900, 9}, {0}, NANS},
  {"NaN and infinity, later", {0}, {9, 80, 60, 60, 60, 4, SEQS 900, 9}, {0}, NANS | TIES},
  {"rising", {0}, {2, 32, 400, 400, 64, 4, SEQS 2000, 2}, {0}, RISING},
  {"falling", {0}, {2, 32, 400, 400, 64, 4, SEQS 2000, 2}, {0}, FALLING},
  {"one", {0}, {3, 16, 100, 100, 1, 4, SEQS 500, 3}, {0}, 0},
  {"rows beyond a work-group", {0}, {2, 0, 2060, 2060, 512, 4, SEQS 8300, 2}, {0}, KOI_VERIFY_BIG},
  {"rows beyond a work-group, ties, later", {0}, {2, 1040, 1200, 1200, 1024, 4, SEQS 9000, 2}, {0}, TIES | KOI_VERIFY_BIG},
  {"many rows, rising", {0}, {1, 512, 8192, 8192, 512, 4, SEQS 40000, 1}, {0}, RISING | KOI_VERIFY_BIG},
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
  size_t n_tokens = (size_t)i[TOPK_T], row0 = (size_t)i[TOPK_ROW0], n_rows = (size_t)i[TOPK_N_ROWS], lds = (size_t)i[TOPK_LDS], k = (size_t)i[TOPK_K];
  float *s = koi_verify_floats(j, TOPK_S, n_tokens * lds, 1);
  int32_t *idx = koi_verify_out(j, TOPK_IDX, n_tokens * k * 4, KOI_VERIFY_I32);
  float *val = koi_verify_out(j, TOPK_VAL, n_tokens * k * 4, KOI_VERIFY_F32);
  koi_verify_rows_only(j, TOPK_ROWS);
  if (j->failed) return;
  for (size_t t = 0; t < n_tokens; t++) {
    size_t visible = (position(j, TOPK_ROWS, t) + 1) / (size_t)i[TOPK_R], held = min_size(min_size(k, row0), visible), left = held;
    for (size_t r = 0; r < n_rows; r++) s[t * lds + r] = row0 + r < visible ? a_score(j, row0 + r) : INFINITY; /* not visible: tempting */
    for (size_t r = 0, n = min_size(row0, visible); r < n && left; r++) { /* `left` of the n - r rows that are still to come */
      if ((size_t)koi_verify_below(j, (int32_t)(n - r)) >= left) continue;
      idx[t * k + held - left] = (int32_t)r, val[t * k + held - left] = a_score(j, r);
      left--;
    }
  }
}

/* ---- attn ---- */
#define KV(exact, dh, rd, page) KOI_VERIFY_LAYERS(KOI_VERIFY_KV_PART(exact, dh, rd, page))
static const koi_verify_case attn_cases[] = {
  /* EXACT, DH, RD, NH, SEL, PAGE | T, window, w_table, w_pages, w_page_bytes, w_at, ratio, c_table, c_page_bytes, c_at, K, n_splits, rows_per_split,
   * then the positions of the sequences | scale */
  {"first tokens", {0, 96, 32, 4, 0, 16}, {5, 16, 0, 2, KV(0, 96, 32, 16), 1, 2, KV(0, 96, 32, 16), 0, 1, 16, SEQS 0, 5}, {0.1f}, 0},
  {"window past its end", {0, 96, 32, 4, 0, 16}, {7, 16, 0, 2, KV(0, 96, 32, 16), 1, 2, KV(0, 96, 32, 16), 0, 2, 8, SEQS 45, 7}, {0.1f}, 0},
  {"one token, empty splits", {0, 96, 32, 4, 0, 16}, {1, 128, 0, 10, KV(0, 96, 32, 16), 1, 10, KV(0, 96, 32, 16), 0, 4, 16, SEQS 9, 1}, {0.1f}, 0},
  {"four sequences, rings that wrapped", {0, 96, 32, 4, 0, 16}, {9, 20, 3, 2, KV(0, 96, 32, 16), 1, 5, KV(0, 96, 32, 16), 0, 2, 10, SEQS 1000, 3, 31, 1, 0, 2, 77, 3}, {0.1f}, 0},
  {"window and all rows", {0, 96, 32, 4, 1, 16}, {3, 16, 2, 2, KV(0, 96, 32, 16), 8, 5, KV(0, 96, 32, 16), 0, 3, 20, SEQS 300, 3}, {0.1f}, 0},
  {"rows appear within the chunk", {0, 96, 32, 4, 1, 16}, {20, 24, 0, 3, KV(0, 96, 32, 16), 16, 3, KV(0, 96, 32, 16), 0, 2, 24, SEQS 250, 20}, {0.1f}, 0},
  {"all rows of four sequences", {0, 96, 32, 4, 1, 16}, {12, 16, 1, 2, KV(0, 96, 32, 16), 4, 5, KV(0, 96, 32, 16), 0, 5, 30, SEQS 500, 4, 0, 3, 100, 1, 63, 4}, {0.1f}, 0},
  {"all rows of three sequences in turns", {0, 96, 32, 4, 1, 16}, {9, 16, 0, 2, KV(0, 96, 32, 16), 4, 3, KV(0, 96, 32, 16), 0, 5, 30, SEQS 500, 3, 3, 3, 100, 3}, {0.1f}, KOI_VERIFY_MIXED},
  {"no row yet", {0, 96, 32, 4, 1, 16}, {4, 16, 0, 2, KV(0, 96, 32, 16), 128, 2, KV(0, 96, 32, 16), 0, 2, 10, SEQS 100, 4}, {0.1f}, 0},
  {"window and chosen rows", {0, 96, 32, 4, 2, 16}, {5, 16, 0, 2, KV(0, 96, 32, 16), 4, 2, KV(0, 96, 32, 16), 16, 2, 16, SEQS 300, 5}, {0.1f}, 0},
  {"fewer rows than chosen", {0, 96, 32, 4, 2, 16}, {6, 16, 0, 2, KV(0, 96, 32, 16), 4, 2, KV(0, 96, 32, 16), 16, 3, 9, SEQS 20, 6}, {0.1f}, 0},
  {"odd splits of chosen rows", {0, 96, 32, 4, 2, 16}, {3, 13, 0, 1, KV(0, 96, 32, 16), 4, 1, KV(0, 96, 32, 16), 50, 9, 7, SEQS 777, 3}, {0.1f}, 0},
  {"chosen rows of three sequences, windows of 8", {0, 96, 32, 4, 2, 16}, {8, 16, 1, 2, KV(0, 96, 32, 16), 8, 4, KV(0, 96, 32, 16), 20, 2, 18, SEQS 900, 4, 70, 3, 2, 1}, {0.1f}, KOI_VERIFY_MIXED},
  {"full width", {0, 512, 64, 8, 2, 64}, {2, 128, 0, 3, KV(0, 512, 64, 64), 4, 3, KV(0, 512, 64, 64), 64, 2, 100, SEQS 1030, 2}, {0.044f}, 0},
  {"full width, many rows", {0, 512, 64, 8, 2, 64}, {1, 128, 0, 2, KV(0, 512, 64, 64), 4, 2, KV(0, 512, 64, 64), 512, 5, 128, SEQS 4700, 1}, {0.044f}, KOI_VERIFY_BIG},
  {"short group, odd heads", {0, 130, 32, 3, 1, 48}, {4, 10, 0, 1, KV(0, 130, 32, 48), 4, 1, KV(0, 130, 32, 48), 0, 3, 12, SEQS 99, 4}, {0.09f}, 0},
  {"rope of the whole head", {0, 64, 64, 2, 0, 16}, {3, 8, 0, 1, KV(0, 64, 64, 16), 1, 1, KV(0, 64, 64, 16), 0, 1, 8, SEQS 30, 3}, {0.1f}, 0},
  {"exact", {1, 96, 32, 4, 2, 16}, {5, 16, 0, 2, KV(1, 96, 32, 16), 4, 2, KV(1, 96, 32, 16), 16, 2, 16, SEQS 300, 5}, {0.1f}, 0},
  {"exact, all rows", {1, 96, 32, 4, 1, 16}, {8, 16, 0, 2, KV(1, 96, 32, 16), 8, 2, KV(1, 96, 32, 16), 0, 4, 14, SEQS 300, 5, 90, 3}, {0.1f}, 0},
  {"exact, odd width", {1, 77, 6, 5, 1, 16}, {3, 7, 0, 1, KV(1, 77, 6, 16), 5, 1, KV(1, 77, 6, 16), 0, 2, 20, SEQS 120, 3}, {0.1f}, 0},
};

/* Cache row `row` of a page's part. */
static void make_row(koi_verify_job *j, void *part, size_t row)
{
  const int32_t *c = j->v->c;
  size_t dh = (size_t)c[ATTN_DH], rd = (size_t)c[ATTN_RD], plain = dh - rd, page = (size_t)c[ATTN_PAGE];
  koi_ref_kv_row to = koi_ref_kv_at(part, row % page, dh, rd, page);
  if (c[ATTN_EXACT]) {
    for (size_t d = 0; d < dh; d++) to.exact[d] = koi_verify_real(j, -1.5f, 1.5f);
    return;
  }
  for (size_t d = 0; d < plain; d++) {
    to.codes[d] = (uint8_t)koi_verify_bits(j);
    if ((to.codes[d] & 127) == 127) to.codes[d] ^= 1;
  }
  for (size_t g = 0; g * KOI_REF_FP8_GROUP < plain; g++) to.scales[g] = (uint8_t)(115 + koi_verify_below(j, 5));
  for (size_t d = 0; d < rd; d++) to.rope[d] = koi_ref_to_bf16(koi_verify_real(j, -1.5f, 1.5f));
}

/* The pools of the window and of the compressed rows: [first, end) are the rows that are held. */
static void attn_pools(const koi_verify_job *j, koi_verify_pool *p)
{
  const int32_t *i = j->v->i, *c = j->v->c;
  koi_verify_kind kind = c[ATTN_EXACT] ? KOI_VERIFY_F32 : KOI_VERIFY_RAW;
  size_t window = (size_t)i[ATTN_WINDOW];
  p[0] = (koi_verify_pool){.slab0 = ATTN_W0, .bytes = i[ATTN_W_PAGE_BYTES], .at = i[ATTN_W_AT], .table = i[ATTN_W_TABLE], .ring = i[ATTN_W_PAGES],
                           .page = c[ATTN_PAGE], .kind = kind};
  p[1] = (koi_verify_pool){.slab0 = ATTN_C0, .bytes = i[ATTN_C_PAGE_BYTES], .at = i[ATTN_C_AT], .table = i[ATTN_C_TABLE], .page = c[ATTN_PAGE], .kind = kind};
  for (size_t s = 0; s < koi_verify_n_seqs(j->v); s++) {
    size_t seen = (size_t)koi_verify_seq(j->v)[2 * s] + 1;
    p[0].first[s] = seen > window ? seen - window : 0, p[0].end[s] = seq_end(j, s);
    p[1].end[s] = seq_end(j, s) / (size_t)i[ATTN_RATIO];
  }
}

static void make_chosen(koi_verify_job *j)
{
  const int32_t *i = j->v->i;
  size_t n_tokens = (size_t)i[ATTN_T], k = (size_t)i[ATTN_K];
  int32_t *idx = koi_verify_bytes(j, ATTN_IDX, n_tokens * k * 4, KOI_VERIFY_I32);
  for (size_t t = 0; idx && t < n_tokens; t++) {
    size_t visible = (position(j, ATTN_ROWS, t) + 1) / (size_t)i[ATTN_RATIO], n = min_size(k, visible), left = n;
    for (size_t m = n; m < k; m++) idx[t * k + m] = 0x7fffffff; /* must not be followed */
    for (size_t r = 0; r < visible && left; r++)
      if ((size_t)koi_verify_below(j, (int32_t)(visible - r)) < left) idx[t * k + n - left--] = (int32_t)r;
  }
}

static void make_attn(koi_verify_job *j)
{
  const int32_t *i = j->v->i, *c = j->v->c;
  size_t n_tokens = (size_t)i[ATTN_T], n_splits = (size_t)i[ATTN_N_SPLITS], dh = (size_t)c[ATTN_DH], n_heads = (size_t)c[ATTN_NH];
  koi_verify_pool p[2];
  attn_pools(j, p);
  koi_verify_floats(j, ATTN_Q, n_tokens * n_heads * dh, 2);
  koi_verify_tables(j, ATTN_ROWS, ATTN_TABLES, p, c[ATTN_SEL] ? 2 : 1);
  koi_verify_out(j, ATTN_PO, n_tokens * n_splits * n_heads * dh * 4, KOI_VERIFY_F32);
  koi_verify_out(j, ATTN_ML, n_tokens * n_splits * n_heads * 2 * 4, KOI_VERIFY_F32);
  for (size_t k = 0; k < (c[ATTN_SEL] ? 2 : 1); k++)
    for (size_t s = 0; s < koi_verify_n_seqs(j->v); s++)
      for (size_t row = p[k].first[s]; row < p[k].end[s] && !j->failed; row++) make_row(j, koi_verify_row_part(j, ATTN_TABLES, &p[k], s, row), row);
  if (c[ATTN_SEL] == 2) make_chosen(j);
}

/* Largest magnitude of any cache row's value, from the way make_row draws them: 448 * 2^(119-127), and 1.5. */
static const double row_most = 1.75;

static double score_error(const koi_verify_job *j, const float *q)
{
  size_t dh = (size_t)j->v->c[ATTN_DH];
  return KOI_VERIFY_TOLERANCE * sqrt(koi_ref_dot(q, q, dh) * (double)dh) * row_most * j->v->f[ATTN_SCALE] / 2 + 1e-6;
}

static void attn_bound(koi_verify_job *j)
{
  size_t dh = (size_t)j->v->c[ATTN_DH], n_heads = (size_t)j->v->c[ATTN_NH], n_splits = (size_t)j->v->i[ATTN_N_SPLITS], n = (size_t)j->v->i[ATTN_T] * n_splits * n_heads;
  koi_verify_bound_each(j, ATTN_PO, 0, 0);
  koi_verify_bound_each(j, ATTN_ML, 0, 0);
  if (j->failed) return;
  for (size_t at = 0; at < n; at++) {
    size_t t = at / n_heads / n_splits, h = at % n_heads;
    double error = score_error(j, (const float *)j->slot[ATTN_Q].in + (t * n_heads + h) * dh), sum = ((const float *)j->slot[ATTN_ML].want)[2 * at + 1];
    if (sum == 0) continue; /* an empty split is exact */
    j->slot[ATTN_ML].bound[2 * at] = (float)error;
    j->slot[ATTN_ML].bound[2 * at + 1] = (float)(sum * (2 * error + 1e-5));
    for (size_t d = 0; d < dh; d++) j->slot[ATTN_PO].bound[at * dh + d] = (float)(sum * row_most * (2 * error + 1e-5));
  }
}

/* Sums are relative to the maximum that the device found, which may differ in its last bits: rescaled to the reference's. */
static void attn_settle(koi_verify_job *j)
{
  size_t dh = (size_t)j->v->c[ATTN_DH], n = j->slot[ATTN_ML].bytes / 8;
  float *po = (float *)j->slot[ATTN_PO].got, *ml = (float *)j->slot[ATTN_ML].got;
  const float *want = (const float *)j->slot[ATTN_ML].want;
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
  size_t n_tokens = (size_t)j->v->i[ATTN_MERGE_T], n_splits = (size_t)j->v->i[ATTN_MERGE_N_SPLITS];
  size_t dh = (size_t)c[ATTN_MERGE_DH], rd = (size_t)c[ATTN_MERGE_RD], n_heads = (size_t)c[ATTN_MERGE_NH];
  float *po = koi_verify_floats(j, ATTN_MERGE_PO, n_tokens * n_splits * n_heads * dh, 1), *ml = koi_verify_floats(j, ATTN_MERGE_ML, n_tokens * n_splits * n_heads * 2, 6);
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
  {&koi_op_index_score, index_score_cases, COUNT(index_score_cases), make_index_score, index_score_bound, NULL},
  {&koi_op_topk, topk_cases, COUNT(topk_cases), make_topk, NULL, NULL},
  {&koi_op_attn, attn_cases, COUNT(attn_cases), make_attn, attn_bound, attn_settle},
  {&koi_op_attn_merge, attn_merge_cases, COUNT(attn_merge_cases), make_attn_merge, attn_merge_bound, NULL},
  {NULL, NULL, 0, NULL, NULL, NULL}};
