/* Encoders of the formats whose blocks have 256 columns in parts with scales of their own, which are integers times the block's. Owns nothing.
 * First each part is fitted alone; then the integers are moved by one step, and the block's scales fitted anew, as long as that helps. */
#include "encode_impl.h"
#include <math.h>
#include <string.h>

enum { COLUMNS = 256, MAX_PARTS = 16, ROUNDS = 3 };

/* ---- scale and minimum: x = d * scale * q - dmin * min ---- */
typedef struct shape { int columns, high, top; } shape; /* of a part, of codes, of integer scales */

typedef struct lines {
  float d, dmin; /* as stored */
  int scale[MAX_PARTS], min[MAX_PARTS];
  uint8_t q[COLUMNS];
} lines;

static int whole(float v, int low, int high)
{
  float r = rintf(v);
  return (int)(r < (float)low ? (float)low : r > (float)high ? (float)high : r);
}

/* The error of a part's codes for a scale and a minimum; q may be NULL. */
static float error_of(int high, const float *x, const float *w, int n, float scale, float min, uint8_t *q)
{
  float sum = 0, inverse = scale > 0 ? 1 / scale : 0;
  for (int i = 0; i < n; i++) {
    float c = rintf((x[i] + min) * inverse);
    c = c < 0 ? 0 : c > (float)high ? (float)high : c;
    float d = x[i] + min - scale * c;
    sum += w[i] * d * d;
    if (q) q[i] = (uint8_t)c;
  }
  return sum;
}

/* The best integers of part p near those that it has. */
static float settle_line(const shape *k, const float *x, const float *w, int p, lines *b)
{
  int n = k->columns, at = p * n, scale = b->scale[p], min = b->min[p];
  float least = INFINITY;
  for (int s = scale - 1; s <= scale + 1; s++)
    for (int m = min - 1; m <= min + 1; m++) {
      if (s < 0 || m < 0 || s > k->top || m > k->top) continue;
      float e = error_of(k->high, x + at, w + at, n, b->d * (float)s, b->dmin * (float)m, NULL);
      if (e < least) least = e, b->scale[p] = s, b->min[p] = m;
    }
  return error_of(k->high, x + at, w + at, n, b->d * (float)b->scale[p], b->dmin * (float)b->min[p], b->q + at);
}

/* d and dmin by least squares for the codes and integers that there are. */
static void refit_lines(const shape *k, const float *x, const float *w, lines *b)
{
  double aa = 0, am = 0, mm = 0, xa = 0, xm = 0;
  for (int i = 0; i < COLUMNS; i++) {
    int p = i / k->columns;
    double a = (double)(b->scale[p] * b->q[i]), m = (double)-b->min[p], weight = (double)w[i], v = (double)x[i];
    aa += weight * a * a, am += weight * a * m, mm += weight * m * m, xa += weight * v * a, xm += weight * v * m;
  }
  double det = aa * mm - am * am, d = 0, dmin = 0;
  if (det > 1e-9 * aa * mm) d = (xa * mm - xm * am) / det, dmin = (xm * aa - xa * am) / det;
  else if (aa > 0) d = xa / aa;
  if (d > 0) b->d = koi_encode_stored((float)d);
  if (dmin > 0) b->dmin = koi_encode_stored((float)dmin);
}

static void fit_lines(const shape *k, const float *x, const float *w, lines *best)
{
  int n = COLUMNS / k->columns;
  float scale[MAX_PARTS], min[MAX_PARTS], most = 0, most_min = 0, least = INFINITY;
  lines b = {0};
  for (int p = 0; p < n; p++) {
    koi_line l = koi_encode_line(k->high, true, x + p * k->columns, w + p * k->columns, (size_t)k->columns);
    scale[p] = l.scale, min[p] = -l.min;
    most = scale[p] > most ? scale[p] : most, most_min = min[p] > most_min ? min[p] : most_min;
  }
  b.d = koi_encode_stored(most / (float)k->top), b.dmin = koi_encode_stored(most_min / (float)k->top);
  for (int p = 0; p < n; p++) b.scale[p] = b.d > 0 ? whole(scale[p] / b.d, 0, k->top) : 0, b.min[p] = b.dmin > 0 ? whole(min[p] / b.dmin, 0, k->top) : 0;
  *best = b;
  for (int r = 0; r < ROUNDS; r++) {
    float error = 0;
    for (int p = 0; p < n; p++) error += settle_line(k, x, w, p, &b);
    if (!(error < least)) break;
    least = error, *best = b;
    refit_lines(k, x, w, &b);
  }
}

/* Eight scales and minima of six bits in 12 bytes. */
static void put_sixes(const lines *b, uint8_t *out)
{
  for (int i = 0; i < 4; i++) {
    out[i] = (uint8_t)(b->scale[i] | b->scale[i + 4] >> 4 << 6);
    out[i + 4] = (uint8_t)(b->min[i] | b->min[i + 4] >> 4 << 6);
    out[i + 8] = (uint8_t)((b->scale[i + 4] & 15) | (b->min[i + 4] & 15) << 4);
  }
}

/* Pairs of 32 columns in the nibbles of 32 bytes. */
static void put_halves(const uint8_t *q, uint8_t *out)
{
  for (int i = 0; i < COLUMNS / 2; i++) out[i] = (uint8_t)((q[i / 32 * 64 + i % 32] & 15) | (q[i / 32 * 64 + 32 + i % 32] & 15) << 4);
}

void koi_encode_q4_k(const float *x, const float *w, uint8_t *out)
{
  lines b;
  fit_lines(&(shape){32, 15, 63}, x, w, &b);
  koi_encode_put(out, koi_encode_half(b.d), 2);
  koi_encode_put(out + 2, koi_encode_half(b.dmin), 2);
  put_sixes(&b, out + 4);
  put_halves(b.q, out + 16);
}

void koi_encode_q5_k(const float *x, const float *w, uint8_t *out)
{
  lines b;
  fit_lines(&(shape){32, 31, 63}, x, w, &b);
  koi_encode_put(out, koi_encode_half(b.d), 2);
  koi_encode_put(out + 2, koi_encode_half(b.dmin), 2);
  put_sixes(&b, out + 4);
  memset(out + 16, 0, 32);
  for (int i = 0; i < COLUMNS; i++) out[16 + i % 32] |= (uint8_t)(b.q[i] >> 4 << i / 32);
  put_halves(b.q, out + 48);
}

/* Of 128 columns the first 32 in the lowest bits of 32 bytes, and so on up. */
static void put_quarters(const uint8_t *q, uint8_t *out)
{
  memset(out, 0, COLUMNS / 4);
  for (int i = 0; i < COLUMNS; i++) out[i / 128 * 32 + i % 32] |= (uint8_t)((q[i] & 3) << i % 128 / 32 * 2);
}

void koi_encode_q2_k(const float *x, const float *w, uint8_t *out)
{
  lines b;
  fit_lines(&(shape){16, 3, 15}, x, w, &b);
  for (int p = 0; p < 16; p++) out[p] = (uint8_t)(b.scale[p] | b.min[p] << 4);
  put_quarters(b.q, out + 16);
  koi_encode_put(out + 80, koi_encode_half(b.d), 2);
  koi_encode_put(out + 82, koi_encode_half(b.dmin), 2);
}

/* ---- a scale alone: x = d * scale * code ---- */
typedef struct signed_shape { int columns, low; const koi_codes *codes; } signed_shape; /* low: the least integer scale; the highest is -low - 1 */

typedef struct scales {
  float d;
  int scale[MAX_PARTS];
  uint8_t q[COLUMNS]; /* counted from the lowest code */
} scales;

static float signed_error(const signed_shape *k, const float *x, const float *w, float scale, uint8_t *q)
{
  float sum = 0, value, inverse = scale != 0 ? 1 / scale : 0;
  for (int i = 0; i < k->columns; i++) {
    int c = koi_encode_nearest(k->codes, x[i] * inverse, &value);
    float d = x[i] - scale * value;
    sum += w[i] * d * d;
    if (q) q[i] = (uint8_t)c;
  }
  return sum;
}

static float settle_scale(const signed_shape *k, const float *x, const float *w, int p, scales *b)
{
  int at = p * k->columns, scale = b->scale[p];
  float least = INFINITY;
  for (int s = scale - 1; s <= scale + 1; s++) {
    if (s < k->low || s > -k->low - 1) continue;
    float e = signed_error(k, x + at, w + at, b->d * (float)s, NULL);
    if (e < least) least = e, b->scale[p] = s;
  }
  return signed_error(k, x + at, w + at, b->d * (float)b->scale[p], b->q + at);
}

static void refit_scale(const signed_shape *k, const float *x, const float *w, scales *b)
{
  double aa = 0, xa = 0;
  for (int i = 0; i < COLUMNS; i++) {
    const koi_codes *c = k->codes;
    double a = (double)(b->scale[i / k->columns] * (c->values ? c->values[b->q[i]] : b->q[i] + c->low));
    aa += (double)w[i] * a * a, xa += (double)w[i] * (double)x[i] * a;
  }
  if (aa > 0 && xa != 0) b->d = koi_encode_stored((float)(xa / aa));
}

static void fit_scales(const signed_shape *k, const float *x, const float *w, scales *best)
{
  int n = COLUMNS / k->columns;
  float scale[MAX_PARTS], extreme = 0, least = INFINITY;
  scales b = {0};
  for (int p = 0; p < n; p++) {
    scale[p] = koi_encode_scale(k->codes, x + p * k->columns, w + p * k->columns, (size_t)k->columns);
    if (fabsf(scale[p]) > fabsf(extreme)) extreme = scale[p];
  }
  b.d = koi_encode_stored(extreme / (float)k->low);
  for (int p = 0; p < n; p++) b.scale[p] = b.d != 0 ? whole(scale[p] / b.d, k->low, -k->low - 1) : 0;
  *best = b;
  for (int r = 0; r < ROUNDS; r++) {
    float error = 0;
    for (int p = 0; p < n; p++) error += settle_scale(k, x, w, p, &b);
    if (!(error < least)) break;
    least = error, *best = b;
    refit_scale(k, x, w, &b);
  }
}

void koi_encode_q3_k(const float *x, const float *w, uint8_t *out)
{
  scales b;
  fit_scales(&(signed_shape){16, -32, &(koi_codes){-4, 3, NULL}}, x, w, &b);
  memset(out, 0, 110);
  for (int i = 0; i < COLUMNS; i++) out[i % 32] |= (uint8_t)(b.q[i] >> 2 << i / 32);
  put_quarters(b.q, out + 32);
  for (int p = 0; p < 16; p++) {
    int s = b.scale[p] + 32;
    out[96 + p % 8] |= (uint8_t)((s & 15) << p / 8 * 4);
    out[104 + p % 4] |= (uint8_t)(s >> 4 << p / 4 * 2);
  }
  koi_encode_put(out + 108, koi_encode_half(b.d), 2);
}

void koi_encode_q6_k(const float *x, const float *w, uint8_t *out)
{
  scales b;
  fit_scales(&(signed_shape){16, -128, &(koi_codes){-32, 31, NULL}}, x, w, &b);
  memset(out, 0, 210);
  for (int i = 0; i < COLUMNS; i++) { /* of 128 columns those from 64 on in the high nibbles */
    int half = i / 128, l = i % 128;
    out[half * 64 + l % 64] |= (uint8_t)((b.q[i] & 15) << l / 64 * 4);
    out[128 + half * 32 + l % 32] |= (uint8_t)(b.q[i] >> 4 << l / 32 * 2);
  }
  for (int p = 0; p < 16; p++) out[192 + p] = (uint8_t)(int8_t)b.scale[p];
  koi_encode_put(out + 208, koi_encode_half(b.d), 2);
}

void koi_encode_iq4_xs(const float *x, const float *w, uint8_t *out)
{
  scales b;
  uint32_t high = 0;
  fit_scales(&(signed_shape){32, -32, &koi_codes_iq4}, x, w, &b);
  memset(out, 0, 136);
  koi_encode_put(out, koi_encode_half(b.d), 2);
  for (int p = 0; p < 8; p++) {
    int s = b.scale[p] + 32;
    out[4 + p / 2] |= (uint8_t)((s & 15) << p % 2 * 4);
    high |= (uint32_t)s >> 4 << 2 * p;
    for (int i = 0; i < 16; i++) out[8 + 16 * p + i] = (uint8_t)(b.q[32 * p + i] | b.q[32 * p + 16 + i] << 4);
  }
  koi_encode_put(out + 2, high, 2);
}
