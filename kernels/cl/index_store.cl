/* index_store: indexer keys into the cache's tiles of 16 rows. The contract is in kernels/ops.h. A work-group is a row. */
#include "cache.clh"
#define WORDS CEIL_DIV(IH, 8)
#define GROUPS CEIL_DIV(IH, FP4_GROUP)

#if EXACT
KERNEL void index_store(GLOBAL const float *X, GLOBAL float *keys, GLOBAL const uchar *unused, int n, int first)
{
  size_t row = (size_t)first + GROUP_ID(0);
  GLOBAL const float *x = X + (size_t)GROUP_ID(0) * IH;
  GLOBAL float *key = keys + row / 16 * (IH * 16) + row % 16;
  for (int i = LOCAL_ID(0); i < IH; i += L) key[i * 16] = x[i];
}
#else
KERNEL void index_store(GLOBAL const float *X, GLOBAL uint *codes, GLOBAL uchar *scales, int n, int first)
{
  ROW_ARRAY F x[ROW_VECS];
  ROW_ARRAY U c[ROW_VECS];
  int lane = LOCAL_ID(0);
  size_t row = (size_t)first + GROUP_ID(0);
  hadamard(X + (size_t)GROUP_ID(0) * IH, x, lane);
  for (int i = lane; i < ROW_VECS; i += L) {
    uint scale = fp4_group_scale(x, i / GROUP_VECS);
    c[i] = to_e2m1(x[i] * (F)(scale_inverse(scale)));
    if (i % GROUP_VECS == 0) scales[(row / 16 * GROUPS + i / GROUP_VECS) * 16 + row % 16] = (uchar)scale;
  }
  ROW_BARRIER();
  ROW const uint *code = (ROW const uint *)c;
  for (int word = lane; word < WORDS; word += L) {
    uint eight = 0;
    for (int k = 0; k < 8 && word * 8 + k < IH; k++) eight |= code[word * 8 + k] << (4 * k);
    codes[(row / 16 * WORDS + word) * 16 + row % 16] = eight;
  }
}
#endif
