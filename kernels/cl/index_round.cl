/* index_round: Hadamard and FP4 rounding of rows in place, kept as values. The contract is in kernels/ops.h. A work-group is a row. */
#include "round.clh"

KERNEL void index_round(GLOBAL float *X, int n)
{
  ROW_ARRAY F x[ROW_VECS];
  round_row(X + (size_t)GROUP_ID(0) * IH, x, LOCAL_ID(0));
}
