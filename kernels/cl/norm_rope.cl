/* norm_rope: rms norm of rows, then RoPE on their last rd dims. The contract is in kernels/ops.h; Y may be X. A work-group is a row. */
#define ET NORM_WT
#include "norm.clh"

KERNEL void norm_rope(GLOBAL const float *X, GLOBAL const E *norm, GLOBAL const float *rope, GLOBAL float *Y, int n, int dim, int rd,
                      int rows_per_pos, int ldx, int ldy, float eps)
{
#if L > 1
  LOCAL float tmp[L];
#else
  LOCAL_PTR float *tmp = 0;
#endif
  size_t row = GROUP_ID(0);
  norm_row(X + row * ldx, norm, rope + row / rows_per_pos * rd, Y + row * ldy, dim, rd, eps, 1, tmp, LOCAL_ID(0));
}
