/* heads: queries of attention and of the indexer made ready. The contract is in kernels/joined.h. A work-group is a row of either. */
#define ET 0
#define NORM 1
#include "norm.clh"
#include "round.clh"

KERNEL void heads(GLOBAL float *Q, GLOBAL float *IQ, GLOBAL const float *rope, int n, int q_heads, int dim, int rd, int i_heads, float eps)
{
#if L > 1
  LOCAL float tmp[L];
#else
  LOCAL_PTR float *tmp = 0;
#endif
#if !EXACT
  ROW_ARRAY F x[ROW_VECS];
#endif
  int lane = LOCAL_ID(0), row = (int)GROUP_ID(0), of_index = row >= n * q_heads;
  if (of_index) row -= n * q_heads;
  int wide = of_index ? IH : dim;
  GLOBAL float *q = (of_index ? IQ : Q) + (size_t)row * wide;
  norm_row(q, (GLOBAL const E *)0, rope + (size_t)(row / (of_index ? i_heads : q_heads)) * rd, q, wide, rd, eps, !of_index, tmp, lane);
#if !EXACT
#if L > 1
  BARRIER();
#endif
  if (of_index) round_row(q, x, lane);
#endif
}
