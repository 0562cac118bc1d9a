/* index_round: Hadamard and FP4 rounding of rows in place, kept as values. The contract is in kernels/ops.h. A work-group is a row. */
#include "cache.clh"

KERNEL void index_round(GLOBAL float *X, int n)
{
  ROW_ARRAY F x[ROW_VECS];
  int lane = LOCAL_ID(0);
  GLOBAL float *row = X + (size_t)GROUP_ID(0) * IH;
  hadamard(row, x, lane);
  for (int i = lane; i < ROW_VECS; i += L) {
    uint scale = fp4_group_scale(x, i / GROUP_VECS);
    VSTORE(e2m1s(to_e2m1(x[i] * (F)(scale_inverse(scale)))) * (F)(e8m0(scale)), row + i * VW);
  }
}
