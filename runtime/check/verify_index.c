/* Cases of index_score and topk for the verifier. Tables of calls, and how their inputs are made. */
#include "verify_pages.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static size_t min_size(size_t a, size_t b) { return a < b ? a : b; }

/* ---- index_score ---- */
#define INDEX(exact, ih, page) KOI_VERIFY_LAYERS(KOI_VERIFY_INDEX_PART(exact, ih, page))
static const koi_verify_case index_score_cases[] = {
  /* EXACT, IH, NH, PAGE | T, row0, n_rows, lds, R, table, page_bytes, at, then the positions of the sequences | wscale */
  {"no row yet", {0, 128, 64, 64}, {2, 0, 16, 16, 4, 0, INDEX(0, 128, 64), SEQS 0, 2}, {0.011f}, 0},
  {"one token", {0, 128, 64, 64}, {1, 0, 51, 51, 4, 0, INDEX(0, 128, 64), SEQS 203, 1}, {0.011f}, 0},
  {"rows become visible within the chunk", {0, 128, 64, 64}, {9, 16, 40, 45, 4, 2, INDEX(0, 128, 64), SEQS 130, 9}, {0.011f}, 0},
  {"a part that ends before the last row", {0, 128, 64, 64}, {3, 48, 32, 32, 4, 0, INDEX(0, 128, 64), SEQS 1000, 3}, {0.011f}, 0},
  {"four sequences", {0, 128, 64, 64}, {12, 0, 100, 100, 4, 1, INDEX(0, 128, 64), SEQS 390, 5, 0, 2, 130, 4, 2, 1}, {0.011f}, 0},
  {"one token each of four sequences", {0, 128, 64, 64}, {4, 0, 140, 144, 4, 1, INDEX(0, 128, 64), SEQS 559, 1, 2, 1, 255, 1, 63, 1}, {0.011f}, 0},
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
    for (size_t d = 0; d < ih; d++) to.exact[d * KOI_STRIP] = koi_verify_real(j, -1, 1);
    return;
  }
  for (size_t k = 0; k * 8 < ih; k++) to.codes[k * KOI_STRIP] = (uint32_t)koi_verify_bits(j);
  for (size_t k = 0; k * KOI_REF_FP4_GROUP < ih; k++)
    to.scales[k * KOI_STRIP] = koi_verify_below(j, 20) ? (uint8_t)(122 + koi_verify_below(j, 6)) : 1; /* 1: the scale of a group of zeros */
}

static koi_verify_pool index_pool(const koi_verify_job *j)
{
  const int32_t *i = j->v->i, *c = j->v->c;
  koi_verify_pool p = {.slab0 = INDEX_SCORE_S0, .bytes = i[INDEX_SCORE_PAGE_BYTES], .at = i[INDEX_SCORE_AT], .table = i[INDEX_SCORE_TABLE],
                       .page = c[INDEX_SCORE_PAGE], .kind = c[INDEX_SCORE_EXACT] ? KOI_VERIFY_F32 : KOI_VERIFY_RAW};
  for (size_t s = 0; s < koi_verify_n_seqs(j->v); s++) p.end[s] = koi_verify_seq_end(j->v, s) / (size_t)i[INDEX_SCORE_R];
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
  {"ties, few chosen", {0}, {5, 0, 150, 150, 4, 4, SEQS 700, 5}, {0}, TIES},
  {"all equal, first round", {0}, {3, 0, 130, 130, 50, 4, SEQS 900, 3}, {0}, ALL_EQUAL},
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
    size_t visible = (koi_verify_position(j, TOPK_ROWS, t) + 1) / (size_t)i[TOPK_R], held = min_size(min_size(k, row0), visible), left = held;
    for (size_t r = 0; r < n_rows; r++) s[t * lds + r] = row0 + r < visible ? a_score(j, row0 + r) : INFINITY; /* not visible: tempting */
    for (size_t r = 0, n = min_size(row0, visible); r < n && left; r++) { /* `left` of the n - r rows that are still to come */
      if ((size_t)koi_verify_below(j, (int32_t)(n - r)) >= left) continue;
      idx[t * k + held - left] = (int32_t)r, val[t * k + held - left] = a_score(j, r);
      left--;
    }
    if (held && (j->v->how & NANS) && koi_verify_below(j, 3) == 0) idx[t * k] |= INT32_MIN; /* one was met before */
  }
}

const koi_verify_op koi_verify_index[] = {
  {&koi_op_index_score, index_score_cases, COUNT(index_score_cases), make_index_score, index_score_bound, NULL, 0},
  {&koi_op_topk, topk_cases, COUNT(topk_cases), make_topk, NULL, NULL, 0},
  {NULL, NULL, 0, NULL, NULL, NULL, 0}};
