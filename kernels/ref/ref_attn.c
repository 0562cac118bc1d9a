/* The references of kv_store, pool, pool_keep, index_round, index_store, index_score, topk, attn and attn_merge. Owns nothing: pure functions
 * of their arguments. Invariant: cache rows are rounded as section 4 of the model's description says, and read back as stored. */
#include <stdbool.h>
#include "ref.h"

static size_t min_size(size_t a, size_t b) { return a < b ? a : b; }

/* ---- cache rows ---- */
typedef struct rows { const void *codes; const uint8_t *scales; const uint16_t *rope; size_t dh, rd; int exact; } rows; /* as kv_store writes them */

void koi_ref_kv_store(const koi_ref_args *a)
{
  size_t n = (size_t)a->i[0], first = (size_t)a->i[1], cap = (size_t)a->i[2], ldx = (size_t)a->i[3];
  size_t dh = (size_t)a->c[1], rd = (size_t)a->c[2], plain = dh - rd, n_groups = koi_ceil_div(plain, KOI_REF_FP8_GROUP);
  for (size_t i = 0; i < n; i++) {
    const float *x = (const float *)a->buf[0] + i * ldx;
    size_t at = (first + i) % cap;
    if (a->c[0]) {
      memcpy((float *)a->buf[1] + at * dh, x, dh * sizeof *x);
      continue;
    }
    uint8_t *codes = (uint8_t *)a->buf[1] + at * plain, *scales = (uint8_t *)a->buf[2] + at * n_groups;
    uint16_t *rope = (uint16_t *)a->buf[3] + at * rd;
    for (size_t g = 0; g < n_groups; g++) {
      size_t d0 = g * KOI_REF_FP8_GROUP, d1 = min_size(d0 + KOI_REF_FP8_GROUP, plain);
      scales[g] = koi_ref_fp8_scale(x + d0, d1 - d0);
      for (size_t d = d0; d < d1; d++) codes[d] = koi_ref_to_e4m3(koi_ref_unscale(x[d], scales[g]));
    }
    for (size_t d = 0; d < rd; d++) rope[d] = koi_ref_to_bf16(x[plain + d]);
  }
}

static void load_row(const rows *c, const float *e4m3, size_t row, float *out)
{
  if (c->exact) {
    memcpy(out, (const float *)c->codes + row * c->dh, c->dh * sizeof *out);
    return;
  }
  size_t plain = c->dh - c->rd;
  const uint8_t *codes = (const uint8_t *)c->codes + row * plain, *scales = c->scales + row * koi_ceil_div(plain, KOI_REF_FP8_GROUP);
  for (size_t g = 0; g * KOI_REF_FP8_GROUP < plain; g++) {
    float scale = koi_e8m0(scales[g]);
    size_t d1 = min_size((g + 1) * KOI_REF_FP8_GROUP, plain);
    for (size_t d = g * KOI_REF_FP8_GROUP; d < d1; d++) out[d] = e4m3[codes[d]] * scale;
  }
  for (size_t d = 0; d < c->rd; d++) out[plain + d] = koi_bf16(c->rope[row * c->rd + d]);
}

/* ---- compressor ---- */
void koi_ref_pool(const koi_ref_args *a)
{
  int32_t p0 = a->i[0], r = a->i[1], win0 = a->i[3], n_win = a->i[4], coff = r == 4 ? 2 : 1;
  size_t dim = (size_t)a->i[2], ld = (size_t)a->i[5], wide = (size_t)coff * dim;
  for (int32_t win = win0; win < win0 + n_win; win++)
    for (size_t d = 0; d < dim; d++) {
      double max = -INFINITY, sum = 0, row = 0; /* a softmax that rescales when it meets a larger score */
      for (int32_t q = win > 0 ? (win - coff + 1) * r : 0; q < (win + 1) * r; q++) {
        size_t col = d + (coff == 2 && q >= win * r ? dim : 0);
        size_t at = q >= p0 ? (size_t)(q - p0) * ld + col : (size_t)(q % (coff * r)) * wide + col;
        const float *kv = q >= p0 ? a->buf[0] : a->buf[2], *score = q >= p0 ? a->buf[1] : a->buf[3];
        double s = (double)score[at] + koi_ref_load(a->buf[4], a->c[0], (size_t)(q % r) * wide + col);
        if (s == -INFINITY) continue;
        double new_max = fmax(max, s), keep = exp(max - new_max), e = exp(s - new_max);
        sum = sum * keep + e, row = row * keep + e * kv[at], max = new_max;
      }
      ((float *)a->buf[5])[(size_t)(win - win0) * dim + d] = (float)(row / sum);
    }
}

void koi_ref_pool_keep(const koi_ref_args *a)
{
  size_t n_tokens = (size_t)a->i[0], p0 = (size_t)a->i[1], r = (size_t)a->i[2], ld = (size_t)a->i[4];
  size_t coff = r == 4 ? 2 : 1, wide = coff * (size_t)a->i[3], bytes = wide * sizeof(float);
  for (size_t t = n_tokens - min_size(n_tokens, coff * r); t < n_tokens; t++) {
    size_t to = (p0 + t) % (coff * r) * wide;
    memcpy((float *)a->buf[2] + to, (const float *)a->buf[0] + t * ld, bytes);
    memcpy((float *)a->buf[3] + to, (const float *)a->buf[1] + t * ld, bytes);
  }
}

/* ---- indexer ---- */
void koi_ref_index_round(const koi_ref_args *a)
{
  size_t n = (size_t)a->i[INDEX_ROUND_N], ih = (size_t)a->c[INDEX_ROUND_IH];
  for (size_t i = 0; i < n; i++) {
    float *x = (float *)a->buf[INDEX_ROUND_X] + i * ih;
    koi_ref_hadamard(x, ih);
    for (size_t d0 = 0; d0 < ih; d0 += KOI_REF_FP4_GROUP) {
      size_t d1 = min_size(d0 + KOI_REF_FP4_GROUP, ih);
      uint8_t scale = koi_ref_fp4_scale(x + d0, d1 - d0);
      for (size_t d = d0; d < d1; d++) x[d] = koi_e2m1(koi_ref_to_e2m1(koi_ref_unscale(x[d], scale))) * koi_e8m0(scale);
    }
  }
}

void koi_ref_index_store(const koi_ref_args *a)
{
  size_t n = (size_t)a->i[0], first = (size_t)a->i[1], ih = (size_t)a->c[1];
  size_t words = koi_ceil_div(ih, 8), n_groups = koi_ceil_div(ih, KOI_REF_FP4_GROUP);
  float x[ih];
  for (size_t i = 0; i < n; i++) {
    size_t tile = (first + i) / KOI_TILE, lane = (first + i) % KOI_TILE;
    memcpy(x, (const float *)a->buf[0] + i * ih, sizeof x);
    if (a->c[0]) {
      for (size_t d = 0; d < ih; d++) ((float *)a->buf[1])[(tile * ih + d) * KOI_TILE + lane] = x[d];
      continue;
    }
    koi_ref_hadamard(x, ih);
    uint32_t *codes = (uint32_t *)a->buf[1] + tile * words * KOI_TILE + lane;
    uint8_t *scales = (uint8_t *)a->buf[2] + tile * n_groups * KOI_TILE + lane;
    for (size_t g = 0; g < n_groups; g++) {
      size_t d0 = g * KOI_REF_FP4_GROUP;
      scales[g * KOI_TILE] = koi_ref_fp4_scale(x + d0, min_size(KOI_REF_FP4_GROUP, ih - d0));
    }
    for (size_t word = 0; word < words; word++) {
      uint32_t eight = 0;
      for (size_t d = word * 8; d < min_size(word * 8 + 8, ih); d++)
        eight |= (uint32_t)koi_ref_to_e2m1(koi_ref_unscale(x[d], scales[d / KOI_REF_FP4_GROUP * KOI_TILE])) << d % 8 * 4;
      codes[word * KOI_TILE] = eight;
    }
  }
}

static void load_key(const koi_ref_args *a, size_t ih, size_t row, float *out)
{
  size_t tile = row / KOI_TILE, lane = row % KOI_TILE;
  for (size_t d = 0; d < ih; d++) {
    if (a->c[0]) {
      out[d] = ((const float *)a->buf[2])[(tile * ih + d) * KOI_TILE + lane];
      continue;
    }
    uint32_t eight = ((const uint32_t *)a->buf[2])[(tile * koi_ceil_div(ih, 8) + d / 8) * KOI_TILE + lane];
    uint8_t scale = ((const uint8_t *)a->buf[3])[(tile * koi_ceil_div(ih, KOI_REF_FP4_GROUP) + d / KOI_REF_FP4_GROUP) * KOI_TILE + lane];
    out[d] = koi_e2m1(eight >> d % 8 * 4 & 15) * koi_e8m0(scale);
  }
}

void koi_ref_index_score(const koi_ref_args *a)
{
  size_t n_tokens = (size_t)a->i[0], p0 = (size_t)a->i[1], row0 = (size_t)a->i[2], n_rows = (size_t)a->i[3], lds = (size_t)a->i[4];
  size_t ih = (size_t)a->c[1], nh = (size_t)a->c[2];
  float key[ih];
  for (size_t row = row0; row < row0 + n_rows; row++) {
    load_key(a, ih, row, key);
    for (size_t t = 0; t < n_tokens; t++) {
      if (row >= (p0 + t + 1) / 4) continue;
      const float *q = (const float *)a->buf[0] + t * nh * ih, *w = (const float *)a->buf[1] + t * nh;
      double sum = 0;
      for (size_t h = 0; h < nh; h++) {
        double s = koi_ref_dot(q + h * ih, key, ih);
        sum += (double)w[h] * a->f[0] * (s < 0 ? 0 : s);
      }
      ((float *)a->buf[4])[t * lds + row - row0] = (float)sum;
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
  size_t worst = n == k ? worst_of(val, n) : 0;
  for (size_t row = row0; row < row1; row++) {
    float v = s[row - row0];
    if (n == k) {
      if (!(v > val[worst] || (val[worst] != val[worst] && v == v))) continue;
      memmove(idx + worst, idx + worst + 1, (k - worst - 1) * sizeof *idx);
      memmove(val + worst, val + worst + 1, (k - worst - 1) * sizeof *val);
      n--;
    }
    idx[n] = (int32_t)row, val[n++] = v;
    if (n == k) worst = worst_of(val, n);
  }
}

void koi_ref_topk(const koi_ref_args *a)
{
  size_t n_tokens = (size_t)a->i[0], p0 = (size_t)a->i[1], row0 = (size_t)a->i[2], n_rows = (size_t)a->i[3], lds = (size_t)a->i[4];
  size_t k = (size_t)a->i[5];
  for (size_t t = 0; t < n_tokens && k; t++) {
    size_t visible = (p0 + t + 1) / 4, held = min_size(min_size(k, row0), visible);
    choose((const float *)a->buf[0] + t * lds, row0, min_size(row0 + n_rows, visible), held, k, (int32_t *)a->buf[1] + t * k,
           (float *)a->buf[2] + t * k);
  }
}

/* ---- attention ---- */
enum { HEADS = 4 }; /* heads that share one decoding of a row */

typedef struct view { /* what one token sees */
  rows window, comp;
  float e4m3[256];
  const int32_t *idx; /* of this token; NULL: compressed rows in order */
  size_t first, n_window, n, cap; /* first: position of the first window row */
} view;

static void load_visible(const view *v, size_t i, float *out)
{
  if (i < v->n_window) load_row(&v->window, v->e4m3, (v->first + i) % v->cap, out);
  else load_row(&v->comp, v->e4m3, v->idx ? (size_t)v->idx[i - v->n_window] : i - v->n_window, out);
}

static view view_of(const koi_ref_args *a, size_t t)
{
  size_t p = (size_t)a->i[1] + t, window = (size_t)a->i[2], ratio = (size_t)a->i[4], k = (size_t)a->i[5];
  size_t dh = (size_t)a->c[1], rd = (size_t)a->c[2];
  int sel = a->c[4];
  view v = {.window = {a->buf[1], a->buf[2], a->buf[3], dh, rd, a->c[0]}, .comp = {a->buf[4], a->buf[5], a->buf[6], dh, rd, a->c[0]}};
  for (int i = 0; i < 256; i++) v.e4m3[i] = koi_e4m3((uint8_t)i);
  v.n_window = min_size(p + 1, window), v.first = p + 1 - v.n_window, v.cap = (size_t)a->i[3];
  v.idx = sel == 2 ? (const int32_t *)a->buf[7] + t * k : NULL;
  v.n = v.n_window + (sel == 0 ? 0 : sel == 1 ? (p + 1) / ratio : min_size(k, (p + 1) / 4));
  return v;
}

/* Rows [i0, i1) for n_heads heads: a softmax that rescales when it meets a larger score. */
static void attend(const view *v, size_t i0, size_t i1, const float *q, size_t n_heads, double scale, float *po, float *ml)
{
  size_t dh = v->window.dh;
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

void koi_ref_attn(const koi_ref_args *a)
{
  size_t n_tokens = (size_t)a->i[0], n_splits = (size_t)a->i[6], per = (size_t)a->i[7], dh = (size_t)a->c[1], n_heads = (size_t)a->c[3];
  const float *q = a->buf[0];
  float *po = a->buf[8], *ml = a->buf[9];
  for (size_t t = 0; t < n_tokens; t++) {
    view v = view_of(a, t);
    for (size_t s = 0; s < n_splits; s++)
      for (size_t h = 0; h < n_heads; h += HEADS) {
        size_t at = (t * n_splits + s) * n_heads + h;
        attend(&v, min_size(s * per, v.n), min_size((s + 1) * per, v.n), q + (t * n_heads + h) * dh, min_size(HEADS, n_heads - h), a->f[0],
               po + at * dh, ml + at * 2);
      }
  }
}

void koi_ref_attn_merge(const koi_ref_args *a)
{
  size_t n_tokens = (size_t)a->i[ATTN_MERGE_T], n_splits = (size_t)a->i[ATTN_MERGE_N_SPLITS], dh = (size_t)a->c[ATTN_MERGE_DH],
          rd = (size_t)a->c[ATTN_MERGE_RD], n_heads = (size_t)a->c[ATTN_MERGE_NH];
  double weight[n_splits];
  for (size_t at = 0; at < n_tokens * n_heads; at++) {
    size_t t = at / n_heads, h = at % n_heads;
    float *o = (float *)a->buf[ATTN_MERGE_O] + at * dh;
    const float *ml = (const float *)a->buf[ATTN_MERGE_ML] + (t * n_splits * n_heads + h) * 2, *po = (const float *)a->buf[ATTN_MERGE_PO] +
            (t * n_splits * n_heads + h) * dh;
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
