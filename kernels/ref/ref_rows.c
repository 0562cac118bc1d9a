/* The references of gather, hc_pre, hc_post, norm_rope, route, group and swiglu. Owns nothing: pure functions of their arguments.
 * Invariant: sums and transcendental functions run in double; results are rounded to float once. */
#include <stdbool.h>
#include "ref.h"

void koi_ref_gather(const koi_ref_args *a)
{
  size_t n = (size_t)a->i[GATHER_N], d = (size_t)a->i[GATHER_D];
  const int32_t *rows = a->buf[GATHER_ROWS];
  for (size_t i = 0; i < n; i++) memcpy((float *)a->buf[GATHER_Y] + i * d, (const float *)a->buf[GATHER_X] + (size_t)rows[i] * d, d * sizeof(float));
}

static double sigmoid(double z) { return 1 / (1 + exp(-z)); }

/* 1 / root mean square */
static double rms_factor(const float *x, size_t n, double eps) { return 1 / sqrt(koi_ref_dot(x, x, n) / (double)n + eps); }

/* Every line of n values (`step` apart, lines `line` apart) divided by (its sum + eps). */
static void divide(double *c, size_t n, size_t line, size_t step, double eps)
{
  for (size_t i = 0; i < n; i++) {
    double sum = eps;
    for (size_t j = 0; j < n; j++) sum += c[i * line + j * step];
    for (size_t j = 0; j < n; j++) c[i * line + j * step] /= sum;
  }
}

/* c holds the scaled mixes [n][n]; becomes the softmax of its rows, made doubly stochastic by `iters` rounds. */
static void sinkhorn(double *c, size_t n, int iters, double eps)
{
  for (size_t i = 0; i < n; i++) {
    double *row = c + i * n, max = row[0], sum = 0;
    for (size_t j = 1; j < n; j++) max = fmax(max, row[j]);
    for (size_t j = 0; j < n; j++) sum += row[j] = exp(row[j] - max);
    for (size_t j = 0; j < n; j++) row[j] = row[j] / sum + eps;
  }
  divide(c, n, 1, n, eps);
  for (int it = 1; it < iters; it++) divide(c, n, n, 1, eps), divide(c, n, 1, n, eps);
}

void koi_ref_hc_pre(const koi_ref_args *a)
{
  size_t n_tokens = (size_t)a->i[HC_PRE_T], dim = (size_t)a->i[HC_PRE_D], hc = (size_t)a->c[HC_PRE_HC], n_mix = a->c[HC_PRE_HEAD] ? hc : (2 + hc) * hc;
  int iters = a->c[HC_PRE_ITERS], head = a->c[HC_PRE_HEAD];
  double rms_eps = a->f[HC_PRE_RMS_EPS], hc_eps = a->f[HC_PRE_HC_EPS];
  const float *scale = a->buf[HC_PRE_SCALE], *base = a->buf[HC_PRE_BASE];
  size_t n_parts = (size_t)a->i[HC_PRE_N_PARTS];
  double pre[hc], comb[hc * hc], m[n_mix];
  for (size_t t = 0; t < n_tokens; t++) {
    const float *part = (const float *)a->buf[HC_PRE_M] + t * n_parts * n_mix, *x = (const float *)a->buf[HC_PRE_X] + t * hc * dim;
    memset(m, 0, sizeof m);
    for (size_t i = 0; i < n_parts * n_mix; i++) m[i % n_mix] += part[i];
    float *y = (float *)a->buf[HC_PRE_Y] + t * dim;
    double r = rms_factor(x, hc * dim, rms_eps);
    for (size_t i = 0; i < hc; i++) pre[i] = sigmoid(m[i] * r * scale[0] + base[i]) + hc_eps;
    if (!head) {
      float *post = (float *)a->buf[HC_PRE_POST] + t * hc, *out = (float *)a->buf[HC_PRE_COMB] + t * hc * hc;
      for (size_t i = 0; i < hc; i++) post[i] = (float)(2 * sigmoid(m[hc + i] * r * scale[1] + base[hc + i]));
      for (size_t i = 0; i < hc * hc; i++) comb[i] = m[2 * hc + i] * r * scale[2] + base[2 * hc + i];
      sinkhorn(comb, hc, iters, hc_eps);
      for (size_t i = 0; i < hc * hc; i++) out[i] = (float)comb[i];
    }
    for (size_t d = 0; d < dim; d++) {
      double sum = 0;
      for (size_t i = 0; i < hc; i++) sum += pre[i] * x[i * dim + d];
      y[d] = (float)sum;
    }
    r = rms_factor(y, dim, rms_eps);
    for (size_t d = 0; d < dim; d++) y[d] = (float)(y[d] * r * koi_ref_load(a->buf[HC_PRE_NORM], a->c[HC_PRE_NORM_WT], d));
  }
}

void koi_ref_hc_post(const koi_ref_args *a)
{
  size_t n_tokens = (size_t)a->i[HC_POST_T], dim = (size_t)a->i[HC_POST_D], n_parts = (size_t)a->i[HC_POST_N_PARTS], hc = (size_t)a->c[HC_POST_HC];
  double old[hc];
  for (size_t t = 0; t < n_tokens; t++) {
    float *x = (float *)a->buf[HC_POST_X] + t * hc * dim;
    const float *post = (const float *)a->buf[HC_POST_POST] + t * hc, *comb = (const float *)a->buf[HC_POST_COMB] + t * hc * hc;
    for (size_t d = 0; d < dim; d++) {
      double o = ((const float *)a->buf[HC_POST_O])[t * dim + d];
      for (size_t i = 0; i < n_parts; i++) o += ((const float *)a->buf[HC_POST_PARTS])[(t * n_parts + i) * dim + d];
      for (size_t i = 0; i < hc; i++) old[i] = x[i * dim + d];
      for (size_t j = 0; j < hc; j++) {
        double sum = post[j] * o;
        for (size_t i = 0; i < hc; i++) sum += comb[i * hc + j] * old[i];
        x[j * dim + d] = (float)sum;
      }
    }
  }
}

void koi_ref_norm_rope(const koi_ref_args *a)
{
  size_t n = (size_t)a->i[NORM_ROPE_N], dim = (size_t)a->i[NORM_ROPE_DIM], rd = (size_t)a->i[NORM_ROPE_RD], per_pos = (size_t)a->i[NORM_ROPE_ROWS_PER_POS];
  size_t ldx = (size_t)a->i[NORM_ROPE_LDX], ldy = (size_t)a->i[NORM_ROPE_LDY];
  int norm = a->c[NORM_ROPE_C_NORM];
  for (size_t i = 0; i < n; i++) {
    const float *x = (const float *)a->buf[NORM_ROPE_X] + i * ldx;
    float *y = (float *)a->buf[NORM_ROPE_Y] + i * ldy;
    double r = norm ? rms_factor(x, dim, a->f[NORM_ROPE_EPS]) : 1;
    for (size_t d = 0; d < dim; d++) y[d] = (float)(x[d] * r * (norm == 2 ? koi_ref_load(a->buf[NORM_ROPE_NORM], a->c[NORM_ROPE_NORM_WT], d) : 1));
    if (!rd) continue;
    const float *cs = (const float *)a->buf[NORM_ROPE_ROPE] + i / per_pos * rd;
    for (size_t d = 0; d < rd; d += 2) {
      double re = y[dim - rd + d], im = y[dim - rd + d + 1], c = cs[d], s = cs[d + 1];
      y[dim - rd + d] = (float)(re * c - im * s);
      y[dim - rd + d + 1] = (float)(re * s + im * c);
    }
  }
}

/* ---- experts ---- */
enum { SQRTSOFTPLUS, SOFTMAX, SIGMOID };

/* What the softmax of one token needs to know of all its logits. */
typedef struct softmax { double max, sum; } softmax;

static softmax softmax_of(const float *z, size_t n)
{
  softmax s = {z[0], 0};
  for (size_t i = 1; i < n; i++) s.max = fmax(s.max, z[i]);
  for (size_t i = 0; i < n; i++) s.sum += exp(z[i] - s.max);
  return s;
}

static double score_of(int kind, double z, softmax s)
{
  if (kind == SOFTMAX) return exp(z - s.max) / s.sum;
  if (kind == SIGMOID) return sigmoid(z);
  return sqrt(fmax(z, 0) + log1p(exp(-fabs(z)))); /* log(1 + exp(z)) overflows above 88 and is 0 below -17 in float */
}

/* (score descending, index ascending), NaN below everything */
static bool before(float a, int32_t ia, float b, int32_t ib)
{
  if (a != a || b != b) return a != a && b != b ? ia < ib : b != b;
  return a > b || (a == b && ia < ib);
}

void koi_ref_route(const koi_ref_args *a)
{
  size_t n_tokens = (size_t)a->i[ROUTE_T], n_used = (size_t)a->i[ROUTE_N_USED], ld = (size_t)a->i[ROUTE_LD];
  int32_t n_experts = a->i[ROUTE_N_EXPERTS];
  int kind = a->c[ROUTE_SCORE], hash = a->c[ROUTE_HASH];
  const int32_t *tokens = a->buf[ROUTE_TOKENS], *table = a->buf[ROUTE_TID2EID];
  for (size_t t = 0; t < n_tokens; t++) {
    const float *z = (const float *)a->buf[ROUTE_LOGITS] + t * ld;
    int32_t *ids = (int32_t *)a->buf[ROUTE_IDS] + t * n_used;
    float *w = (float *)a->buf[ROUTE_W] + t * n_used;
    softmax s = softmax_of(z, (size_t)n_experts);
    bool bad = false;
    for (int32_t e = 0; e < n_experts && !hash; e++) bad |= !isfinite(z[e]) || !isfinite(score_of(kind, z[e], s) + koi_ref_load(a->buf[ROUTE_BIAS], a->c[ROUTE_BT], (size_t)e));
    float last = 0; /* the choice before, so that the next one is the best of those behind it */
    for (size_t k = 0; k < n_used; k++) {
      int32_t best = -1;
      float best_rank = 0;
      for (int32_t e = 0; e < n_experts && !hash; e++) {
        float rank = (float)score_of(kind, z[e], s) + koi_ref_load(a->buf[ROUTE_BIAS], a->c[ROUTE_BT], (size_t)e);
        if (k && !before(last, ids[k - 1], rank, e)) continue;
        if (best < 0 || before(rank, e, best_rank, best)) best = e, best_rank = rank;
      }
      ids[k] = hash ? table[(size_t)tokens[t] * n_used + k] : best;
      last = best_rank;
    }
    double sum = 0;
    for (size_t k = 0; k < n_used; k++) sum += score_of(kind, z[ids[k]], s);
    for (size_t k = 0; k < n_used && bad; k++) w[k] = NAN; /* what a choice swallows must be seen */
    for (size_t k = 0; k < n_used && !bad; k++) w[k] = (float)(score_of(kind, z[ids[k]], s) / (kind == SOFTMAX ? 1 : sum) * a->f[ROUTE_ROUTE_SCALE]);
  }
}

void koi_ref_group(const koi_ref_args *a)
{
  int32_t n_entries = a->i[GROUP_E], n_units = a->i[GROUP_N_UNITS], n_panels = a->i[GROUP_N_PANELS], nt = a->c[GROUP_NT], panel = 0;
  const int32_t *ids = a->buf[GROUP_IDS];
  int32_t *rows = a->buf[GROUP_ROWS], *unit = a->buf[GROUP_UNIT];
  for (int32_t i = 0; i < n_panels * nt; i++) rows[i] = -1;
  for (int32_t i = 0; i < n_panels; i++) unit[i] = -1;
  for (int32_t u = 0; u < n_units; u++) {
    int32_t n = 0;
    for (int32_t e = 0; e < n_entries; e++) {
      if (ids[e] != u) continue;
      unit[panel + n / nt] = u;
      rows[panel * nt + n++] = e;
    }
    panel += (n + nt - 1) / nt;
  }
}

void koi_ref_swiglu(const koi_ref_args *a)
{
  size_t n = (size_t)a->i[SWIGLU_E], inter = (size_t)a->i[SWIGLU_INTER], ldg = (size_t)a->i[SWIGLU_LDG], ldh = (size_t)a->i[SWIGLU_LDH];
  int has_w = a->i[SWIGLU_HAS_W];
  double limit = a->f[SWIGLU_LIMIT];
  for (size_t e = 0; e < n; e++) {
    const float *gu = (const float *)a->buf[SWIGLU_GU] + e * ldg;
    float *h = (float *)a->buf[SWIGLU_H] + e * ldh;
    double w = has_w ? ((const float *)a->buf[SWIGLU_W])[e] : 1;
    for (size_t i = 0; i < inter; i++) {
      double g = gu[i], u = gu[inter + i];
      /* comparisons, and not fmin and fmax, which would turn a NaN into the limit */
      if (limit > 0) g = g > limit ? limit : g, u = u > limit ? limit : u < -limit ? -limit : u;
      h[i] = (float)(g * sigmoid(g) * u * w);
    }
  }
}
