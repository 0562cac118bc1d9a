/* kv_store: key/value rows into the cache. The contract is in kernels/ops.h. A work-item is a group of 64 columns of a row, or its rope
 * columns. */
#include "cache.clh"
#include "pages.clh"
#define PLAIN (DH - RD)
#define GROUPS CEIL_DIV(PLAIN, FP8_GROUP)

FN void store_group(GLOBAL const float *x, GLOBAL uchar *codes, GLOBAL uchar *scale, int dims)
{
  float amax = 0.0f;
  for (int d = 0; d < dims; d++) amax = FMAX(amax, FABS(x[d]));
  uint code = fp8_scale(amax);
  float inverse = scale_inverse(code);
  *scale = (uchar)code;
  for (int d = 0; d < dims; d++) codes[d] = (uchar)to_e4m3(x[d] * inverse);
}

KERNEL void kv_store(GLOBAL const float *X, GLOBAL const int *rows, GLOBAL const int *tables, SLABS(GLOBAL uchar *, S, COMMA), int n, int ldx,
                     int table, int ring, int page_bytes, int at)
{
  size_t item = (size_t)GROUP_ID(0) * L + LOCAL_ID(0), i = item / (GROUPS + 1);
  int group = (int)(item - i * (GROUPS + 1)), d0 = group * FP8_GROUP, d1 = d0 + FP8_GROUP < PLAIN ? d0 + FP8_GROUP : PLAIN;
  if (i >= (size_t)n) return;
  GLOBAL const float *x = X + i * ldx;
  uint r = IN_PAGE(rows[2 * i]), nth = PAGE_OF(rows[2 * i]);
  if (ring) nth %= (uint)ring;
  int entry = tables[rows[2 * i + 1] + table + (int)nth];
  GLOBAL uchar *part = PART(S, entry, page_bytes, at);
#if EXACT
  if (group == GROUPS) d0 = PLAIN, d1 = DH;
  for (int d = d0; d < d1; d++) ((GLOBAL float *)part)[r * DH + d] = x[d];
#else
  GLOBAL ushort *rope = (GLOBAL ushort *)(part + PAGE * (PLAIN + GROUPS)) + r * RD;
  if (group < GROUPS) store_group(x + d0, part + r * PLAIN + d0, part + PAGE * PLAIN + r * GROUPS + group, d1 - d0);
  else
    for (int d = 0; d < RD; d++) rope[d] = (ushort)to_bf16(x[PLAIN + d]);
#endif
}
