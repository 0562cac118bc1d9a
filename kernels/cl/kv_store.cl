/* kv_store: key/value rows into the cache. The contract is in kernels/ops.h. A work-item is a group of 64 columns of a row, or its rope
 * columns; of rows that meet in one cache row only the last is written. */
#include "cache.clh"
#define PLAIN (DH - RD)
#define GROUPS CEIL_DIV(PLAIN, FP8_GROUP)

#if EXACT
KERNEL void kv_store(GLOBAL const float *X, GLOBAL float *rows, GLOBAL const uchar *unused_scales, GLOBAL const uchar *unused_rope, int n,
                     int first, int cap, int ldx)
#else
FN void store_group(GLOBAL const float *x, GLOBAL uchar *codes, GLOBAL uchar *scale, int dims)
{
  float amax = 0.0f;
  for (int d = 0; d < dims; d++) amax = FMAX(amax, FABS(x[d]));
  uint code = fp8_scale(amax);
  float inverse = scale_inverse(code);
  *scale = (uchar)code;
  for (int d = 0; d < dims; d++) codes[d] = (uchar)to_e4m3(x[d] * inverse);
}

KERNEL void kv_store(GLOBAL const float *X, GLOBAL uchar *codes, GLOBAL uchar *scales, GLOBAL ushort *rope, int n, int first, int cap, int ldx)
#endif
{
  size_t item = (size_t)GROUP_ID(0) * L + LOCAL_ID(0), i = item / (GROUPS + 1);
  int group = (int)(item - i * (GROUPS + 1)), d0 = group * FP8_GROUP, d1 = d0 + FP8_GROUP < PLAIN ? d0 + FP8_GROUP : PLAIN;
  if (i >= (size_t)n || (size_t)n - i > (size_t)cap) return;
  GLOBAL const float *x = X + i * ldx;
  size_t row = ((size_t)first + i) % (size_t)cap;
#if EXACT
  if (group == GROUPS) d0 = PLAIN, d1 = DH;
  for (int d = d0; d < d1; d++) rows[row * DH + d] = x[d];
#else
  if (group < GROUPS) store_group(x + d0, codes + row * PLAIN + d0, scales + row * GROUPS + group, d1 - d0);
  else
    for (int d = 0; d < RD; d++) rope[row * RD + d] = (ushort)to_bf16(x[PLAIN + d]);
#endif
}
