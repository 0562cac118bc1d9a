/* The references of index_score, topk, attn and attn_merge. Owns nothing: pure functions of their arguments. Invariant: cache rows are read
 * back as they are stored. */
#include <stdbool.h>
#include "ref_cache.h"

static size_t min_size(size_t a, size_t b) { return a < b ? a : b; }

/* ---- indexer ---- */
static void load_key(const koi_ref_key *from, size_t ih, int exact, float *out)
{
  for (size_t d = 0; d < ih; d++)
    out[d] = exact ? from->exact[d * KOI_STRIP]
                   : koi_e2m1(from->codes[d / 8 * KOI_STRIP] >> d % 8 * 4 & 15) * koi_e8m0(from->scales[d / KOI_REF_FP4_GROUP * KOI_STRIP]);
}

static float score_key(const koi_ref_args *a, size_t t, const float *key)
{
  size_t ih = (size_t)a->c[INDEX_SCORE_IH], nh = (size_t)a->c[INDEX_SCORE_NH];
  const float *q = (const float *)a->buf[INDEX_SCORE_Q] + t * nh * ih, *w = (const float *)a->buf[INDEX_SCORE_W] + t * nh;
  double sum = 0;
  for (size_t h = 0; h < nh; h++) {
    double s = koi_ref_dot(q + h * ih, key, ih);
    sum += (double)w[h] * a->f[INDEX_SCORE_WSCALE] * (s < 0 ? 0 : s);
  }
  return (float)sum;
}

void koi_ref_index_score(const koi_ref_args *a)
{
  size_t row0 = (size_t)a->i[INDEX_SCORE_ROW0], n_rows = (size_t)a->i[INDEX_SCORE_N_ROWS], lds = (size_t)a->i[INDEX_SCORE_LDS];
  size_t ih = (size_t)a->c[INDEX_SCORE_IH], page = (size_t)a->c[INDEX_SCORE_PAGE];
  const int32_t *rows = a->buf[INDEX_SCORE_ROWS], *tables = a->buf[INDEX_SCORE_TABLES];
  float key[ih];
  for (size_t t = 0; t < (size_t)a->i[INDEX_SCORE_T]; t++) {
    size_t end = min_size(row0 + n_rows, (size_t)((rows[2 * t] + 1) / a->i[INDEX_SCORE_R]));
    const int32_t *table = tables + rows[2 * t + 1] + a->i[INDEX_SCORE_TABLE];
    for (size_t row = row0; row < end; row++) {
      void *part = koi_ref_part(a->buf + INDEX_SCORE_S0, table[row / page], a->i[INDEX_SCORE_PAGE_BYTES], a->i[INDEX_SCORE_AT]);
      koi_ref_key from = koi_ref_key_at(part, row % page, ih, page);
      load_key(&from, ih, a->c[INDEX_SCORE_EXACT], key);
      ((float *)a->buf[INDEX_SCORE_S])[t * lds + row - row0] = score_key(a, t, key);
    }
  }
}

/* ---- top-k ---- */
/* The place of the worst of n choices in ascending order of rows: the lowest score, and of equal ones the last; NaN is lowest. */
static size_t worst_of(const float *val, size_t n)
{
  size_t worst = 0;
  for (size_t i = 1; i < n; i++)
    if (val[i] != val[i] || val[i] <= val[worst]) worst = i;
  return worst;
}

/* Rows come in ascending order, so a new one only ever displaces a strictly worse one and goes to the end. */
static void choose(const float *s, size_t row0, size_t row1, size_t n, size_t k, int32_t *idx, float *val)
{
  bool nan = n && idx[0] < 0;
  if (nan) idx[0] &= INT32_MAX;
  size_t worst = n == k ? worst_of(val, n) : 0;
  for (size_t row = row0; row < row1; row++) {
    float v = s[row - row0];
    nan |= v != v;
    if (n == k) {
      if (!(v > val[worst] || (val[worst] != val[worst] && v == v))) continue;
      memmove(idx + worst, idx + worst + 1, (k - worst - 1) * sizeof *idx);
      memmove(val + worst, val + worst + 1, (k - worst - 1) * sizeof *val);
      n--;
    }
    idx[n] = (int32_t)row, val[n++] = v;
    if (n == k) worst = worst_of(val, n);
  }
  if (nan && n) idx[0] |= INT32_MIN;
}

void koi_ref_topk(const koi_ref_args *a)
{
  size_t n_tokens = (size_t)a->i[TOPK_T], row0 = (size_t)a->i[TOPK_ROW0], n_rows = (size_t)a->i[TOPK_N_ROWS], lds = (size_t)a->i[TOPK_LDS];
  size_t k = (size_t)a->i[TOPK_K];
  const int32_t *rows = a->buf[TOPK_ROWS];
  for (size_t t = 0; t < n_tokens && k; t++) {
    size_t visible = (size_t)((rows[2 * t] + 1) / a->i[TOPK_R]), held = min_size(min_size(k, row0), visible);
    choose((const float *)a->buf[TOPK_S] + t * lds, row0, min_size(row0 + n_rows, visible), held, k, (int32_t *)a->buf[TOPK_IDX] + t * k,
           (float *)a->buf[TOPK_VAL] + t * k);
  }
}

/* ---- attention ---- */
enum { HEADS = 4 }; /* heads that share one decoding of a row */

typedef struct pages { void *const *slabs; const int32_t *table; int32_t bytes, at; } pages; /* of one sequence and kind */

typedef struct view { /* what one token sees */
  pages window, comp;
  float e4m3[256];
  const int32_t *idx; /* of this token; NULL: compressed rows in order */
  size_t first, n_window, n, ring; /* first: position of the first window row */
  size_t dh, rd, page;
  int exact;
} view;

static void load_row(const view *v, const pages *p, size_t nth, size_t r, float *out)
{
  koi_ref_kv_row row = koi_ref_kv_at(koi_ref_part(p->slabs, p->table[nth], p->bytes, p->at), r, v->dh, v->rd, v->page);
  if (v->exact) {
    memcpy(out, row.exact, v->dh * sizeof *out);
    return;
  }
  size_t plain = v->dh - v->rd;
  for (size_t g = 0; g * KOI_REF_FP8_GROUP < plain; g++) {
    float scale = koi_e8m0(row.scales[g]);
    size_t d1 = min_size((g + 1) * KOI_REF_FP8_GROUP, plain);
    for (size_t d = g * KOI_REF_FP8_GROUP; d < d1; d++) out[d] = v->e4m3[row.codes[d]] * scale;
  }
  for (size_t d = 0; d < v->rd; d++) out[plain + d] = koi_bf16(row.rope[d]);
}

static void load_visible(const view *v, size_t i, float *out)
{
  size_t q = v->first + i;
  if (i < v->n_window) {
    load_row(v, &v->window, q / v->page % v->ring, q % v->page, out);
    return;
  }
  size_t row = v->idx ? (size_t)(v->idx[i - v->n_window] & INT32_MAX) : i - v->n_window;
  load_row(v, &v->comp, row / v->page, row % v->page, out);
}

static view view_of(const koi_ref_args *a, size_t t)
{
  const int32_t *row = (const int32_t *)a->buf[ATTN_ROWS] + 2 * t, *i = a->i, *tables = (const int32_t *)a->buf[ATTN_TABLES] + row[1];
  size_t p = (size_t)row[0], window = (size_t)i[ATTN_WINDOW], k = (size_t)i[ATTN_K];
  int sel = a->c[ATTN_SEL];
  view v = {.window = {a->buf + ATTN_W0, tables + i[ATTN_W_TABLE], i[ATTN_W_PAGE_BYTES], i[ATTN_W_AT]},
            .comp = {a->buf + ATTN_C0, tables + i[ATTN_C_TABLE], i[ATTN_C_PAGE_BYTES], i[ATTN_C_AT]},
            .dh = (size_t)a->c[ATTN_DH], .rd = (size_t)a->c[ATTN_RD], .page = (size_t)a->c[ATTN_PAGE], .exact = a->c[ATTN_EXACT]};
  for (int code = 0; code < 256; code++) v.e4m3[code] = koi_e4m3((uint8_t)code);
  v.n_window = min_size(p + 1, window), v.first = p + 1 - v.n_window, v.ring = (size_t)i[ATTN_W_PAGES];
  v.idx = sel == 2 ? (const int32_t *)a->buf[ATTN_IDX] + t * k : NULL;
  size_t complete = sel ? (p + 1) / (size_t)i[ATTN_RATIO] : 0;
  v.n = v.n_window + (sel == 2 ? min_size(k, complete) : complete);
  return v;
}

/* Rows [i0, i1) for n_heads heads: a softmax that rescales when it meets a larger score. */
static void attend(const view *v, size_t i0, size_t i1, const float *q, size_t n_heads, double scale, float *po, float *ml)
{
  size_t dh = v->dh;
  float k[dh];
  double acc[HEADS][dh], max[HEADS], sum[HEADS];
  memset(acc, 0, sizeof acc);
  for (size_t h = 0; h < n_heads; h++) max[h] = -INFINITY, sum[h] = 0;
  for (size_t i = i0; i < i1; i++) {
    load_visible(v, i, k);
    for (size_t h = 0; h < n_heads; h++) {
      double s = koi_ref_dot(q + h * dh, k, dh) * scale;
      if (s > max[h]) {
        double keep = exp(max[h] - s);
        for (size_t d = 0; d < dh; d++) acc[h][d] *= keep;
        sum[h] *= keep, max[h] = s;
      }
      double e = exp(s - max[h]);
      sum[h] += e;
      for (size_t d = 0; d < dh; d++) acc[h][d] += e * k[d];
    }
  }
  for (size_t h = 0; h < n_heads; h++) {
    ml[2 * h] = (float)max[h], ml[2 * h + 1] = (float)sum[h];
    for (size_t d = 0; d < dh; d++) po[h * dh + d] = (float)acc[h][d];
  }
}

void koi_ref_attn_merge(const koi_ref_args *a)
{
  size_t n_tokens = (size_t)a->i[ATTN_MERGE_T], n_splits = (size_t)a->i[ATTN_MERGE_N_SPLITS], dh = (size_t)a->c[ATTN_MERGE_DH], rd = (size_t)a->c[ATTN_MERGE_RD], n_heads = (size_t)a->c[ATTN_MERGE_NH];
  double weight[n_splits];
  for (size_t at = 0; at < n_tokens * n_heads; at++) {
    size_t t = at / n_heads, h = at % n_heads;
    float *o = (float *)a->buf[ATTN_MERGE_O] + at * dh;
    const float *ml = (const float *)a->buf[ATTN_MERGE_ML] + (t * n_splits * n_heads + h) * 2, *po = (const float *)a->buf[ATTN_MERGE_PO] + (t * n_splits * n_heads + h) * dh;
    double sink = koi_ref_load(a->buf[ATTN_MERGE_SINK], a->c[ATTN_MERGE_ST], h), max = sink;
    for (size_t s = 0; s < n_splits; s++) max = fmax(max, ml[s * n_heads * 2]);
    double sum = exp(sink - max);
    for (size_t s = 0; s < n_splits; s++) {
      weight[s] = exp(ml[s * n_heads * 2] - max);
      sum += weight[s] * ml[s * n_heads * 2 + 1];
    }
    for (size_t d = 0; d < dh; d++) {
      double v = 0;
      for (size_t s = 0; s < n_splits; s++) v += weight[s] * po[s * n_heads * dh + d];
      o[d] = (float)(v / sum);
    }
    const float *cs = (const float *)a->buf[ATTN_MERGE_ROPE] + t * rd;
    for (size_t d = 0; d < rd; d += 2) {
      double re = o[dh - rd + d], im = o[dh - rd + d + 1], c = cs[d], sn = cs[d + 1];
      o[dh - rd + d] = (float)(re * c + im * sn);
      o[dh - rd + d + 1] = (float)(im * c - re * sn);
    }
  }
}

void koi_ref_attn(const koi_ref_args *a)
{
  size_t n_splits = (size_t)a->i[ATTN_N_SPLITS], per = (size_t)a->i[ATTN_ROWS_PER_SPLIT], dh = (size_t)a->c[ATTN_DH], n_heads = (size_t)a->c[ATTN_NH];
  const float *q = a->buf[ATTN_Q];
  float *po = a->buf[ATTN_PO], *ml = a->buf[ATTN_ML];
  for (size_t t = 0; t < (size_t)a->i[ATTN_T]; t++) {
    view v = view_of(a, t);
    for (size_t s = 0; s < n_splits; s++)
      for (size_t h = 0; h < n_heads; h += HEADS) {
        size_t at = (t * n_splits + s) * n_heads + h;
        size_t some = min_size(HEADS, n_heads - h);
        attend(&v, min_size(s * per, v.n), min_size((s + 1) * per, v.n), q + (t * n_heads + h) * dh, some, a->f[ATTN_SCALE], po + at * dh, ml + at * 2);
        for (size_t i = 0; i < some && v.idx && v.n > v.n_window && v.idx[0] < 0; i++) ml[(at + i) * 2 + 1] = NAN;
      }
  }
  if (!a->c[ATTN_MERGED]) return;
  const int32_t ints[] = {[ATTN_MERGE_T] = a->i[ATTN_T], [ATTN_MERGE_N_SPLITS] = a->i[ATTN_N_SPLITS]};
  const int32_t c[] = {[ATTN_MERGE_DH] = a->c[ATTN_DH], [ATTN_MERGE_RD] = a->c[ATTN_RD], [ATTN_MERGE_NH] = a->c[ATTN_NH], [ATTN_MERGE_ST] = a->c[ATTN_ST]};
  koi_ref_attn_merge(&(koi_ref_args){.buf = {[ATTN_MERGE_PO] = po, [ATTN_MERGE_ML] = ml, [ATTN_MERGE_SINK] = a->buf[ATTN_SINK], [ATTN_MERGE_ROPE] = a->buf[ATTN_ROPE],
                                             [ATTN_MERGE_O] = a->buf[ATTN_O]}, .i = ints, .c = c});
}
