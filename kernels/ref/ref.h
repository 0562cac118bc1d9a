/* Small pieces that the references of the ops share: rounding to E4M3, E2M1, E8M0 and bf16, typed loads, dot products. Inline only:
 * no state. Sums run in double throughout the references, so that a difference is the kernel's error and not the judge's. */
#ifndef KOI_REF_H
#define KOI_REF_H
#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "kernels/layout.h"
#include "kernels/ops.h"

enum { KOI_REF_FP8_GROUP = 64, KOI_REF_FP4_GROUP = 32 };

/* Element i of an array of type F32, F16 or BF16. */
static inline float koi_ref_load(const void *p, int type, size_t i)
{
  if (type == KOI_WT_F16) return koi_f16(((const uint16_t *)p)[i]);
  if (type == KOI_WT_BF16) return koi_bf16(((const uint16_t *)p)[i]);
  return ((const float *)p)[i];
}

/* Partial sums let the compiler use vectors without reordering anything by itself. */
static inline double koi_ref_dot(const float *a, const float *b, size_t n)
{
  double part[8] = {0}, sum = 0;
  size_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (size_t j = 0; j < 8; j++) part[j] += (double)a[i + j] * b[i + j];
  for (; i < n; i++) sum += (double)a[i] * b[i];
  for (size_t j = 0; j < 8; j++) sum += part[j];
  return sum;
}

static inline uint16_t koi_ref_to_bf16(float x)
{
  uint32_t u;
  memcpy(&u, &x, 4);
  if (x != x) return (uint16_t)(u >> 16 | 0x40); /* stays a NaN even when its payload lies in the lost bits */
  return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

/* Nearest, ties to even; beyond 448 clamped; NaN stays NaN. */
static inline uint8_t koi_ref_to_e4m3(float x)
{
  uint8_t sign = signbit(x) ? 0x80 : 0;
  if (x != x) return sign | 0x7f;
  float a = fminf(fabsf(x), 448);
  if (a < 0x1p-6f) return sign | (uint8_t)nearbyintf(a * 512); /* subnormals: steps of 2^-9; 8 is the first normal number */
  int e = ilogbf(a);
  return sign | (uint8_t)((e + 6) * 8 + (int)nearbyintf(ldexpf(a, 3 - e))); /* 8..16 eighths: 16 carries into the exponent */
}

/* Nearest, ties to even; beyond 6 clamped. There is no NaN: it becomes 0. */
static inline uint8_t koi_ref_to_e2m1(float x)
{
  static const float upto[7] = {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5.0f}; /* half-way points: code c ends at upto[c] */
  uint8_t code = 0;
  float a = fabsf(x);
  while (code < 7 && (a > upto[code] || (a == upto[code] && (code & 1)))) code++;
  return signbit(x) ? code | 8 : code;
}

/* E8M0 code of a group: the smallest power of two s with amax <= top * s, amax floored. NaN does not count, infinity as the largest number. */
static inline uint8_t koi_ref_group_scale(const float *x, size_t n, float top, float floor_amax)
{
  float amax = floor_amax;
  for (size_t i = 0; i < n; i++) amax = fmaxf(amax, fabsf(x[i]));
  int e;
  float f = frexpf(fminf(amax, FLT_MAX) / top, &e); /* amax/top = f * 2^e, 0.5 <= f < 1 */
  return (uint8_t)(e + 127 - (f == 0.5f));
}

static inline uint8_t koi_ref_fp8_scale(const float *x, size_t n) { return koi_ref_group_scale(x, n, 448, 1e-4f); }
/* FP4 has no NaN, so a group with a NaN or infinity has the scale that is no number. */
static inline uint8_t koi_ref_fp4_scale(const float *x, size_t n)
{
  for (size_t i = 0; i < n; i++)
    if (!isfinite(x[i])) return 255;
  return koi_ref_group_scale(x, n, 6, 6 * 0x1p-126f);
}
/* x divided by the scale; exact but for underflow. */
static inline float koi_ref_unscale(float x, uint8_t scale) { return ldexpf(x, 127 - scale); }

/* Walsh-Hadamard transform in Sylvester order, normalised, of n (a power of two) values in place. */
static inline void koi_ref_hadamard(float *x, size_t n)
{
  for (size_t half = 1; half < n; half *= 2)
    for (size_t i = 0; i < n; i++)
      if (!(i & half)) {
        float a = x[i], b = x[i + half];
        x[i] = a + b, x[i + half] = a - b;
      }
  float norm = (float)(1 / sqrt((double)n));
  for (size_t i = 0; i < n; i++) x[i] *= norm;
}
#endif
