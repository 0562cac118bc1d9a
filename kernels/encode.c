/* See encode.h: the table of encoders, the fits that they share, and the formats whose blocks have 32 columns or none. Owns nothing.
 * Invariant: a block's scales are fitted to what F16 makes of them, not to what was meant. */
#include "encode_impl.h"
#include <math.h>
#include <string.h>

enum { MAX_COLUMNS = 256, COLUMNS = 32 };

/* ---- halves and bytes ---- */
uint16_t koi_encode_half(float v)
{
  uint32_t bits, sign, size;
  memcpy(&bits, &v, sizeof bits);
  sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
  if (size >= 0x477ff000) return (uint16_t)(sign | 0x7bff); /* 65520 */
  if (size < 0x38800000) return (uint16_t)(sign | (uint32_t)rintf(fabsf(v) * 0x1p24f)); /* 2^-14 */
  size += 0xfff + (size >> 13 & 1);
  return (uint16_t)(sign | (size - 0x38000000) >> 13);
}

float koi_encode_stored(float v) { return koi_f16(koi_encode_half(v)); }

void koi_encode_put(uint8_t *out, uint64_t v, size_t bytes)
{
  for (size_t i = 0; i < bytes; i++) out[i] = (uint8_t)(v >> 8 * i);
}

/* ---- codes ---- */
static const int8_t uneven[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}; /* IQ4 */
const koi_codes koi_codes_iq4 = {0, 15, uneven};

int koi_encode_nearest(const koi_codes *c, float v, float *value)
{
  int q = 0;
  if (!c->values) {
    float r = rintf(v);
    *value = r < (float)c->low ? (float)c->low : r > (float)c->high ? (float)c->high : r;
    return (int)*value - c->low;
  }
  for (int i = 0; i < c->high; i++) q += 2 * v > (float)(c->values[i] + c->values[i + 1]);
  *value = c->values[q];
  return q;
}

/* The best scale for the codes that x times `inverse` is nearest to, and what it takes off the sum of squares. */
static float gain(const koi_codes *c, const float *x, const float *w, size_t n, float inverse, float *scale)
{
  float xq = 0, qq = 0, q;
  for (size_t i = 0; i < n; i++) {
    koi_encode_nearest(c, x[i] * inverse, &q);
    xq += w[i] * x[i] * q, qq += w[i] * q * q;
  }
  *scale = qq > 0 ? xq / qq : 0;
  return qq > 0 ? xq * xq / qq : 0;
}

float koi_encode_scale(const koi_codes *c, const float *x, const float *w, size_t n)
{
  enum { STEPS = 4 };
  float extreme = 0, best = 0, most = 0, scale, got;
  int ends[2] = {c->values ? c->values[0] : c->low, c->values ? c->values[c->high] : c->high};
  float step = c->values ? 5.0f : 0.2f;
  for (size_t i = 0; i < n; i++)
    if (fabsf(x[i]) > fabsf(extreme) && w[i] > 0) extreme = x[i];
  if (fabsf(extreme) < 1e-30f) return 0;
  for (int e = 0; e < 2; e++) /* the largest value becomes about the first code or the last */
    for (int i = -STEPS; i <= STEPS; i++) {
      got = gain(c, x, w, n, ((float)ends[e] + step * (float)i) / extreme, &scale);
      if (got > most) most = got, best = scale;
    }
  for (int i = 0; i < 2 && best != 0; i++) { /* its own codes may fit better yet */
    got = gain(c, x, w, n, 1 / best, &scale);
    if (got <= most) break;
    most = got, best = scale;
  }
  return best;
}

/* Sums that a line is fitted by. */
typedef struct sums { double w, x, q, xq, qq; } sums;

static koi_line solve(const sums *s, bool below, double *gained)
{
  double d = s->w * s->qq - s->q * s->q, scale = 0, min = s->x / s->w;
  if (d > 1e-12 * s->w * s->qq) scale = (s->w * s->xq - s->x * s->q) / d, min = (s->qq * s->x - s->q * s->xq) / d;
  if (below && min > 0) min = 0, scale = s->qq > 0 ? s->xq / s->qq : 0;
  *gained = 2 * (scale * s->xq + min * s->x - scale * min * s->q) - scale * scale * s->qq - min * min * s->w;
  return (koi_line){(float)scale, (float)min};
}

koi_line koi_encode_line(int high, bool below, const float *x, const float *w, size_t n)
{
  enum { STEPS = 6 };
  float low = x[0], top = x[0];
  double most = 0, gained;
  for (size_t i = 1; i < n; i++) low = x[i] < low ? x[i] : low, top = x[i] > top ? x[i] : top;
  if (below && low > 0) low = 0;
  koi_line best = {0, below && low > 0 ? 0 : low};
  if (!(top - low > 1e-30f)) return best;
  for (int i = -STEPS; i <= STEPS; i++) {
    float inverse = ((float)high + (float)i * (high < 8 ? 0.12f : 0.17f)) / (top - low);
    sums s = {0};
    for (size_t j = 0; j < n; j++) {
      float q = rintf((x[j] - low) * inverse);
      q = q < 0 ? 0 : q > (float)high ? (float)high : q;
      s.w += (double)w[j], s.x += (double)(w[j] * x[j]), s.q += (double)(w[j] * q), s.xq += (double)(w[j] * x[j] * q), s.qq += (double)(w[j] * q * q);
    }
    koi_line line = solve(&s, below, &gained);
    if (line.scale > 0 && gained > most) most = gained, best = line;
  }
  return best;
}

/* ---- floats ---- */
static void encode_f32(const float *x, const float *w, uint8_t *out)
{
  (void)w;
  memcpy(out, x, sizeof *x);
}

static void encode_f16(const float *x, const float *w, uint8_t *out)
{
  (void)w;
  koi_encode_put(out, koi_encode_half(*x), 2);
}

static void encode_bf16(const float *x, const float *w, uint8_t *out)
{
  uint32_t bits;
  (void)w;
  memcpy(&bits, x, sizeof bits);
  koi_encode_put(out, (bits + 0x7fff + (bits >> 16 & 1)) >> 16, 2);
}

/* ---- 32 columns and a scale ---- */
static void encode_q8_0(const float *x, const float *w, uint8_t *out)
{
  float most = 0;
  (void)w; /* its rounding alone is nothing that a search would better */
  for (int i = 0; i < COLUMNS; i++) most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
  uint16_t half = koi_encode_half(most / 127);
  float d = koi_f16(half);
  koi_encode_put(out, half, 2);
  for (int i = 0; i < COLUMNS; i++) {
    float q = d > 0 ? rintf(x[i] / d) : 0;
    out[2 + i] = (uint8_t)(int8_t)(q < -127 ? -127 : q > 127 ? 127 : q);
  }
}

/* Codes into low nibbles, the second 16 into high ones, and fifth bits into a word of their own. */
static void put_nibbles(const int *q, uint8_t *nibbles, uint8_t *fifth)
{
  uint32_t bits = 0;
  for (int i = 0; i < COLUMNS; i++) bits |= (uint32_t)(q[i] >> 4 & 1) << i;
  for (int i = 0; i < COLUMNS / 2; i++) nibbles[i] = (uint8_t)((q[i] & 15) | (q[i + COLUMNS / 2] & 15) << 4);
  if (fifth) koi_encode_put(fifth, bits, 4);
}

/* A scale that is not 0 for values that are not 0 is needed for codes; returns what is stored. */
static void scaled(const koi_codes *c, const float *x, const float *w, uint8_t *out, int *q)
{
  float value;
  uint16_t half = koi_encode_half(koi_encode_scale(c, x, w, COLUMNS));
  float d = koi_f16(half);
  koi_encode_put(out, half, 2);
  for (int i = 0; i < COLUMNS; i++) q[i] = koi_encode_nearest(c, d != 0 ? x[i] / d : 0, &value);
}

static void encode_q4_0(const float *x, const float *w, uint8_t *out)
{
  int q[COLUMNS];
  scaled(&(koi_codes){-8, 7, NULL}, x, w, out, q);
  put_nibbles(q, out + 2, NULL);
}

static void encode_q5_0(const float *x, const float *w, uint8_t *out)
{
  int q[COLUMNS];
  scaled(&(koi_codes){-16, 15, NULL}, x, w, out, q);
  put_nibbles(q, out + 6, out + 2);
}

static void encode_iq4_nl(const float *x, const float *w, uint8_t *out)
{
  int q[COLUMNS];
  scaled(&koi_codes_iq4, x, w, out, q);
  put_nibbles(q, out + 2, NULL);
}

/* ---- 32 columns, a scale and a minimum ---- */
static void lined(int high, const float *x, const float *w, uint8_t *out, int *q)
{
  koi_line line = koi_encode_line(high, false, x, w, COLUMNS);
  uint16_t scale = koi_encode_half(line.scale), min = koi_encode_half(line.min);
  float d = koi_f16(scale), m = koi_f16(min);
  koi_encode_put(out, scale, 2);
  koi_encode_put(out + 2, min, 2);
  for (int i = 0; i < COLUMNS; i++) {
    float v = d > 0 ? rintf((x[i] - m) / d) : 0;
    q[i] = (int)(v < 0 ? 0 : v > (float)high ? (float)high : v);
  }
}

static void encode_q4_1(const float *x, const float *w, uint8_t *out)
{
  int q[COLUMNS];
  lined(15, x, w, out, q);
  put_nibbles(q, out + 4, NULL);
}

static void encode_q5_1(const float *x, const float *w, uint8_t *out)
{
  int q[COLUMNS];
  lined(31, x, w, out, q);
  put_nibbles(q, out + 8, out + 4);
}

/* ---- MXFP4: a power of two; codes of E2M1 without -0 ---- */
static int e2m1(float v)
{
  static const float between[] = {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5}; /* of 0, .5, 1, 1.5, 2, 3, 4, 6 */
  int q = 0;
  for (int i = 0; i < 7; i++) q += fabsf(v) > between[i];
  return q && v < 0 ? q | 8 : q;
}

static void encode_mxfp4(const float *x, const float *w, uint8_t *out)
{
  float most = 0;
  int exponent, at = 0, q[COLUMNS] = {0};
  double least = INFINITY;
  for (int i = 0; i < COLUMNS; i++) most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
  frexpf(most, &exponent); /* most < 2^exponent: the codes' largest, 6, is between 2^2 and 2^3, their least 2^-1 */
  for (int e = exponent - 4; e <= exponent + 1 && most > 0; e++) {
    double error = 0;
    if (e < -126 || e > 127) continue;
    for (int i = 0; i < COLUMNS; i++) {
      double d = (double)x[i] - ldexp((double)koi_e2m1((uint8_t)e2m1(ldexpf(x[i], -e))), e);
      error += (double)w[i] * d * d;
    }
    if (error < least) least = error, at = e;
  }
  out[0] = (uint8_t)(most > 0 ? at + 127 : 0);
  for (int i = 0; i < COLUMNS && most > 0; i++) q[i] = e2m1(ldexpf(x[i], -at));
  put_nibbles(q, out + 1, NULL);
}

/* ---- the table ---- */
static koi_encode_block *const encoders[KOI_N_FORMATS] = {
  [KOI_WT_F32] = encode_f32, [KOI_WT_F16] = encode_f16, [KOI_WT_BF16] = encode_bf16, [KOI_WT_MXFP4] = encode_mxfp4, [KOI_WT_Q8_0] = encode_q8_0,
  [KOI_WT_Q4_0] = encode_q4_0, [KOI_WT_Q4_1] = encode_q4_1, [KOI_WT_Q5_0] = encode_q5_0, [KOI_WT_Q5_1] = encode_q5_1,
  [KOI_WT_Q2_K] = koi_encode_q2_k, [KOI_WT_Q3_K] = koi_encode_q3_k, [KOI_WT_Q4_K] = koi_encode_q4_k, [KOI_WT_Q5_K] = koi_encode_q5_k,
  [KOI_WT_Q6_K] = koi_encode_q6_k, [KOI_WT_IQ2_XXS] = koi_encode_iq2_xxs, [KOI_WT_IQ2_XS] = koi_encode_iq2_xs, [KOI_WT_IQ2_S] = koi_encode_iq2_s,
  [KOI_WT_IQ3_XXS] = koi_encode_iq3_xxs, [KOI_WT_IQ3_S] = koi_encode_iq3_s, [KOI_WT_IQ4_NL] = encode_iq4_nl, [KOI_WT_IQ4_XS] = koi_encode_iq4_xs,
};

bool koi_encode_can(int wt) { return wt >= 0 && wt < KOI_N_FORMATS && encoders[wt]; }

/* What each value of a block counts: all the same without w, and never nothing, as a column may have that no text ever used. */
static void weigh(const float *w, size_t n, float *out)
{
  float sum = 0;
  for (size_t i = 0; i < n && w; i++) sum += w[i];
  for (size_t i = 0; i < n; i++) out[i] = sum > 0 ? w[i] + sum / (float)n * 1e-5f : 1;
}

void koi_encode_row(int wt, const float *x, const float *w, size_t n, uint8_t *out)
{
  const koi_weight_format *f = &koi_formats[wt];
  float weights[MAX_COLUMNS];
  for (size_t at = 0; at < n; at += f->block_columns, out += f->block_bytes) {
    if (!at || w) weigh(w ? w + at : NULL, f->block_columns, weights);
    encoders[wt](x + at, weights, out);
  }
}
