/* Cases of attn and attn_merge for the verifier. Tables of calls, and how their inputs are made. */
#include <stdbool.h>
#include <string.h>
#include "verify_pages.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
enum { F32 = KOI_WT_F32, F16 = KOI_WT_F16, BF16 = KOI_WT_BF16 };

static size_t min_size(size_t a, size_t b) { return a < b ? a : b; }

/* ---- attn ---- */
#define KV(exact, dh, rd, page) KOI_VERIFY_LAYERS(KOI_VERIFY_KV_PART(exact, dh, rd, page))
static const koi_verify_case attn_cases[] = {
  /* EXACT, DH, RD, NH, SEL, PAGE, MERGE, ST | T, window, w_table, w_pages, w_page_bytes, w_at, ratio, c_table, c_page_bytes, c_at, K, n_splits, rows_per_split,
   * then the positions of the sequences | scale */
  {"first tokens", {0, 96, 32, 4, 0, 16}, {5, 16, 0, 2, KV(0, 96, 32, 16), 1, 2, KV(0, 96, 32, 16), 0, 1, 16, SEQS 0, 5}, {0.1f}, 0},
  {"window past its end", {0, 96, 32, 4, 0, 16}, {7, 16, 0, 2, KV(0, 96, 32, 16), 1, 2, KV(0, 96, 32, 16), 0, 2, 8, SEQS 45, 7}, {0.1f}, 0},
  {"one token, empty splits", {0, 96, 32, 4, 0, 16}, {1, 128, 0, 10, KV(0, 96, 32, 16), 1, 10, KV(0, 96, 32, 16), 0, 4, 16, SEQS 9, 1}, {0.1f}, 0},
  {"four sequences, rings that wrapped", {0, 96, 32, 4, 0, 16}, {9, 20, 3, 2, KV(0, 96, 32, 16), 1, 5, KV(0, 96, 32, 16), 0, 2, 10, SEQS 1000, 3, 31, 1, 0, 2, 77, 3}, {0.1f}, 0},
  {"window and all rows", {0, 96, 32, 4, 1, 16}, {3, 16, 2, 2, KV(0, 96, 32, 16), 8, 5, KV(0, 96, 32, 16), 0, 3, 20, SEQS 300, 3}, {0.1f}, 0},
  {"rows appear within the chunk", {0, 96, 32, 4, 1, 16}, {20, 24, 0, 3, KV(0, 96, 32, 16), 16, 3, KV(0, 96, 32, 16), 0, 2, 24, SEQS 250, 20}, {0.1f}, 0},
  {"all rows of four sequences", {0, 96, 32, 4, 1, 16}, {12, 16, 1, 2, KV(0, 96, 32, 16), 4, 5, KV(0, 96, 32, 16), 0, 5, 30, SEQS 500, 4, 0, 3, 100, 1, 63, 4}, {0.1f}, 0},
  {"all rows of three sequences in turns", {0, 96, 32, 4, 1, 16}, {9, 16, 0, 2, KV(0, 96, 32, 16), 4, 3, KV(0, 96, 32, 16), 0, 5, 30, SEQS 500, 3, 3, 3, 100, 3}, {0.1f}, KOI_VERIFY_MIXED},
  {"all rows of four sequences, one token each", {0, 96, 32, 4, 1, 16}, {4, 16, 1, 2, KV(0, 96, 32, 16), 4, 5, KV(0, 96, 32, 16), 0, 5, 30, SEQS 500, 1, 0, 1, 131, 1, 15, 1}, {0.1f}, 0},
  {"no row yet", {0, 96, 32, 4, 1, 16}, {4, 16, 0, 2, KV(0, 96, 32, 16), 128, 2, KV(0, 96, 32, 16), 0, 2, 10, SEQS 100, 4}, {0.1f}, 0},
  {"window and chosen rows", {0, 96, 32, 4, 2, 16}, {5, 16, 0, 2, KV(0, 96, 32, 16), 4, 2, KV(0, 96, 32, 16), 16, 2, 16, SEQS 300, 5}, {0.1f}, 0},
  {"fewer rows than chosen", {0, 96, 32, 4, 2, 16}, {6, 16, 0, 2, KV(0, 96, 32, 16), 4, 2, KV(0, 96, 32, 16), 16, 3, 9, SEQS 20, 6}, {0.1f}, 0},
  {"odd splits of chosen rows", {0, 96, 32, 4, 2, 16}, {3, 13, 0, 1, KV(0, 96, 32, 16), 4, 1, KV(0, 96, 32, 16), 50, 9, 7, SEQS 777, 3}, {0.1f}, 0},
  {"chosen rows of three sequences, windows of 8", {0, 96, 32, 4, 2, 16}, {8, 16, 1, 2, KV(0, 96, 32, 16), 8, 4, KV(0, 96, 32, 16), 20, 2, 18, SEQS 900, 4, 70, 3, 2, 1}, {0.1f}, KOI_VERIFY_MIXED},
  {"chosen rows of four sequences, one token each", {0, 96, 32, 4, 2, 16}, {4, 16, 0, 2, KV(0, 96, 32, 16), 4, 3, KV(0, 96, 32, 16), 20, 2, 18, SEQS 900, 1, 3, 1, 79, 1, 0, 1}, {0.1f}, 0},
  {"full width", {0, 512, 64, 8, 2, 64}, {2, 128, 0, 3, KV(0, 512, 64, 64), 4, 3, KV(0, 512, 64, 64), 64, 2, 100, SEQS 1030, 2}, {0.044f}, 0},
  {"full width, many rows", {0, 512, 64, 8, 2, 64}, {1, 128, 0, 2, KV(0, 512, 64, 64), 4, 2, KV(0, 512, 64, 64), 512, 5, 128, SEQS 4700, 1}, {0.044f}, KOI_VERIFY_BIG},
  {"short group, odd heads", {0, 130, 32, 3, 1, 48}, {4, 10, 0, 1, KV(0, 130, 32, 48), 4, 1, KV(0, 130, 32, 48), 0, 3, 12, SEQS 99, 4}, {0.09f}, 0},
  {"rope of the whole head", {0, 64, 64, 2, 0, 16}, {3, 8, 0, 1, KV(0, 64, 64, 16), 1, 1, KV(0, 64, 64, 16), 0, 1, 8, SEQS 30, 3}, {0.1f}, 0},
  {"exact", {1, 96, 32, 4, 2, 16}, {5, 16, 0, 2, KV(1, 96, 32, 16), 4, 2, KV(1, 96, 32, 16), 16, 2, 16, SEQS 300, 5}, {0.1f}, 0},
  {"exact, all rows", {1, 96, 32, 4, 1, 16}, {8, 16, 0, 2, KV(1, 96, 32, 16), 8, 2, KV(1, 96, 32, 16), 0, 4, 14, SEQS 300, 5, 90, 3}, {0.1f}, 0},
  {"window, heads as published", {0, 512, 64, 64, 0, 64}, {2, 128, 0, 3, KV(0, 512, 64, 64), 1, 3, KV(0, 512, 64, 64), 0, 2, 70, SEQS 700, 2}, {0.044f}, KOI_VERIFY_ASKED},
  {"all rows, heads as published", {0, 512, 64, 64, 1, 64}, {2, 128, 0, 3, KV(0, 512, 64, 64), 16, 3, KV(0, 512, 64, 64), 0, 3, 61, SEQS 750, 2}, {0.044f}, KOI_VERIFY_ASKED},
  {"chosen rows, heads as published", {0, 512, 64, 64, 2, 64}, {2, 128, 0, 3, KV(0, 512, 64, 64), 4, 3, KV(0, 512, 64, 64), 64, 2, 100, SEQS 1030, 2}, {0.044f}, KOI_VERIFY_ASKED},
  {"merged, window past its end", {0, 96, 32, 4, 0, 16, 1, F32}, {7, 16, 0, 2, KV(0, 96, 32, 16), 1, 2, KV(0, 96, 32, 16), 0, 2, 8, SEQS 45, 7}, {0.1f}, 0},
  {"merged, one token, empty splits", {0, 96, 32, 4, 0, 16, 1, BF16}, {1, 128, 0, 10, KV(0, 96, 32, 16), 1, 10, KV(0, 96, 32, 16), 0, 4, 16, SEQS 9, 1}, {0.1f}, 0},
  {"merged, all rows, many splits", {0, 96, 32, 4, 1, 16, 1, F16}, {3, 16, 2, 2, KV(0, 96, 32, 16), 8, 5, KV(0, 96, 32, 16), 0, 21, 3, SEQS 300, 3}, {0.1f}, 0},
  {"merged, odd splits of chosen rows", {0, 96, 32, 4, 2, 16, 1, F32}, {3, 13, 0, 1, KV(0, 96, 32, 16), 4, 1, KV(0, 96, 32, 16), 50, 9, 7, SEQS 777, 3}, {0.1f}, 0},
  {"merged, full width", {0, 512, 64, 8, 2, 64, 1, F32}, {2, 128, 0, 3, KV(0, 512, 64, 64), 4, 3, KV(0, 512, 64, 64), 64, 2, 100, SEQS 1030, 2}, {0.044f}, 0},
  {"merged, exact, odd width", {1, 77, 6, 5, 1, 16, 1, F32}, {3, 7, 0, 1, KV(1, 77, 6, 16), 5, 1, KV(1, 77, 6, 16), 0, 2, 20, SEQS 120, 3}, {0.1f}, 0},
  {"merged, heads as published", {0, 512, 64, 64, 2, 64, 1, F32}, {1, 128, 0, 3, KV(0, 512, 64, 64), 4, 3, KV(0, 512, 64, 64), 64, 2, 100, SEQS 1030, 1}, {0.044f}, KOI_VERIFY_ASKED},
  {"exact, odd width", {1, 77, 6, 5, 1, 16}, {3, 7, 0, 1, KV(1, 77, 6, 16), 5, 1, KV(1, 77, 6, 16), 0, 2, 20, SEQS 120, 3}, {0.1f}, 0},
};

static void make_angles(koi_verify_job *j, int slot, size_t n)
{
  float *cs = koi_verify_floats(j, slot, n, 1);
  for (size_t k = 0; cs && k < n; k += 2) {
    float angle = koi_verify_real(j, -3, 3);
    cs[k] = cosf(angle), cs[k + 1] = sinf(angle);
  }
}

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

enum { WINDOW, COMPRESSED, N_POOLS };

/* Of each pool, [first, end) are the rows that are held. */
static void attn_pools(const koi_verify_job *j, koi_verify_pool pools[N_POOLS])
{
  const int32_t *i = j->v->i, *c = j->v->c;
  koi_verify_kind kind = c[ATTN_EXACT] ? KOI_VERIFY_F32 : KOI_VERIFY_RAW;
  size_t window = (size_t)i[ATTN_WINDOW];
  pools[WINDOW] = (koi_verify_pool){.slab0 = ATTN_W0, .bytes = i[ATTN_W_PAGE_BYTES], .at = i[ATTN_W_AT], .table = i[ATTN_W_TABLE], .ring = i[ATTN_W_PAGES],
                           .page = c[ATTN_PAGE], .kind = kind};
  pools[COMPRESSED] = (koi_verify_pool){.slab0 = ATTN_C0, .bytes = i[ATTN_C_PAGE_BYTES], .at = i[ATTN_C_AT], .table = i[ATTN_C_TABLE], .page = c[ATTN_PAGE], .kind = kind};
  for (size_t s = 0; s < koi_verify_n_seqs(j->v); s++) {
    size_t seen = (size_t)koi_verify_seq(j->v)[2 * s] + 1;
    pools[WINDOW].first[s] = seen > window ? seen - window : 0, pools[WINDOW].end[s] = koi_verify_seq_end(j->v, s);
    pools[COMPRESSED].end[s] = koi_verify_seq_end(j->v, s) / (size_t)i[ATTN_RATIO];
  }
}

static void make_chosen(koi_verify_job *j)
{
  const int32_t *i = j->v->i;
  size_t n_tokens = (size_t)i[ATTN_T], k = (size_t)i[ATTN_K];
  int32_t *idx = koi_verify_bytes(j, ATTN_IDX, n_tokens * k * 4, KOI_VERIFY_I32);
  for (size_t t = 0; idx && t < n_tokens; t++) {
    size_t visible = (koi_verify_position(j, ATTN_ROWS, t) + 1) / (size_t)i[ATTN_RATIO], n = min_size(k, visible), left = n;
    for (size_t m = n; m < k; m++) idx[t * k + m] = 0x7fffffff; /* must not be followed */
    for (size_t r = 0; r < visible && left; r++)
      if ((size_t)koi_verify_below(j, (int32_t)(visible - r)) < left) idx[t * k + n - left--] = (int32_t)r;
    if (n && koi_verify_below(j, 8) == 0) idx[t * k] |= INT32_MIN; /* a choice among scores with a NaN */
  }
}

static void make_attn(koi_verify_job *j)
{
  const int32_t *i = j->v->i, *c = j->v->c;
  size_t n_tokens = (size_t)i[ATTN_T], n_splits = (size_t)i[ATTN_N_SPLITS], dh = (size_t)c[ATTN_DH], n_heads = (size_t)c[ATTN_NH];
  koi_verify_pool pools[N_POOLS];
  attn_pools(j, pools);
  koi_verify_floats(j, ATTN_Q, n_tokens * n_heads * dh, 2);
  koi_verify_tables(j, ATTN_ROWS, ATTN_TABLES, pools, c[ATTN_SEL] ? N_POOLS : 1);
  koi_verify_out(j, ATTN_PO, n_tokens * n_splits * n_heads * dh * 4, KOI_VERIFY_F32);
  koi_verify_out(j, ATTN_ML, n_tokens * n_splits * n_heads * 2 * 4, KOI_VERIFY_F32);
  for (size_t k = 0; k < (c[ATTN_SEL] ? N_POOLS : 1); k++)
    for (size_t s = 0; s < koi_verify_n_seqs(j->v); s++)
      for (size_t row = pools[k].first[s]; row < pools[k].end[s] && !j->failed; row++) make_row(j, koi_verify_row_part(j, ATTN_TABLES, &pools[k], s, row), row);
  if (c[ATTN_SEL] == 2) make_chosen(j);
  if (!c[ATTN_MERGED]) return;
  koi_verify_typed(j, ATTN_SINK, c[ATTN_ST], n_heads, 0, 4);
  make_angles(j, ATTN_ROPE, n_tokens * (size_t)c[ATTN_RD]);
  koi_verify_out(j, ATTN_O, n_tokens * n_heads * dh * 4, KOI_VERIFY_F32);
  int32_t *arrivals = koi_verify_bytes(j, ATTN_ARRIVALS, n_tokens * n_heads * sizeof *arrivals, KOI_VERIFY_I32);
  if (arrivals) memset(arrivals, 0, n_tokens * n_heads * sizeof *arrivals);
}

/* Largest magnitude of any cache row's value, from the way make_row draws them: 448 * 2^(119-127), and 1.5. */
static const double row_most = 1.75;

static double score_error(const koi_verify_job *j, const float *q)
{
  size_t dh = (size_t)j->v->c[ATTN_DH];
  return KOI_VERIFY_TOLERANCE * sqrt(koi_ref_dot(q, q, dh) * (double)dh) * row_most * j->v->f[ATTN_SCALE] / 2 + 1e-6;
}

/* Weights of a mean are twice as wrong as scores, and so is their sum; two columns are rotated into one. */
static void merged_bound(koi_verify_job *j)
{
  size_t dh = (size_t)j->v->c[ATTN_DH], n = (size_t)j->v->i[ATTN_T] * (size_t)j->v->c[ATTN_NH];
  koi_verify_bound_each(j, ATTN_O, 0, 0);
  for (size_t at = 0; at < n && !j->failed; at++)
    for (size_t d = 0; d < dh; d++) j->slot[ATTN_O].bound[at * dh + d] = (float)(row_most * 1.5 * (4 * score_error(j, (const float *)j->slot[ATTN_Q].in + at * dh) + 2e-5));
}

static void attn_bound(koi_verify_job *j)
{
  size_t dh = (size_t)j->v->c[ATTN_DH], n_heads = (size_t)j->v->c[ATTN_NH], n_splits = (size_t)j->v->i[ATTN_N_SPLITS], n = (size_t)j->v->i[ATTN_T] * n_splits * n_heads;
  koi_verify_bound_each(j, ATTN_PO, 0, 0);
  koi_verify_bound_each(j, ATTN_ML, 0, 0);
  if (j->v->c[ATTN_MERGED]) merged_bound(j);
  if (j->failed) return;
  for (size_t at = 0; at < n; at++) {
    size_t t = at / n_heads / n_splits, h = at % n_heads;
    double error = score_error(j, (const float *)j->slot[ATTN_Q].in + (t * n_heads + h) * dh), sum = ((const float *)j->slot[ATTN_ML].want)[2 * at + 1];
    if (sum == 0) continue; /* an empty split is exact */
    if (sum != sum) sum = j->v->i[ATTN_ROWS_PER_SPLIT]; /* a choice among NaN: the sums beside it are as ever, each weight at most 1 */
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
  {"heads as published", {512, 64, 64, F32}, {2, 3}, {0}, KOI_VERIFY_ASKED},
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
  make_angles(j, ATTN_MERGE_ROPE, n_tokens * rd);
  koi_verify_out(j, ATTN_MERGE_O, n_tokens * n_heads * dh * 4, KOI_VERIFY_F32);
  if (j->failed) return;
  for (size_t at = 0; at < n_tokens * n_splits * n_heads; at++) {
    bool empty = at / n_heads % n_splits > 0 && koi_verify_below(j, 3) == 0;
    float sum = empty ? 0 : koi_verify_real(j, 1, 40);
    ml[2 * at] = empty ? -INFINITY : ml[2 * at], ml[2 * at + 1] = sum;
    for (size_t d = 0; d < dh; d++) po[at * dh + d] *= sum;
  }
}

static void attn_merge_bound(koi_verify_job *j) { koi_verify_bound_each(j, ATTN_MERGE_O, 0, 1e-5f); } /* of means of values within +-1 */

const koi_verify_op koi_verify_attn[] = {
  {&koi_op_attn, attn_cases, COUNT(attn_cases), make_attn, attn_bound, attn_settle, 0},
  {&koi_op_attn_merge, attn_merge_cases, COUNT(attn_merge_cases), make_attn_merge, attn_merge_bound, NULL, 0},
  {NULL, NULL, 0, NULL, NULL, NULL, 0}};
