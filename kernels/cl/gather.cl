/* gather: rows by their numbers. The contract is in kernels/ops.h. Group (b, i): row i of the result, columns b * STRETCH * L * VW and on. */

KERNEL void gather(GLOBAL const float *X, GLOBAL const int *rows, GLOBAL float *Y, int n, int D)
{
  int lane = LOCAL_ID(0), first = (int)GROUP_ID(0) * (STRETCH * L * VW);
  size_t i = GROUP_ID(1);
  GLOBAL const float *x = X + (size_t)rows[i] * D;
  GLOBAL float *y = Y + i * D;
  for (int k = 0; k < STRETCH; k++) {
    int d = first + (k * L + lane) * VW;
    if (d + VW <= D) VSTORE(VLOAD(x + d), y + d);
    else
      for (int e = d; e < D; e++) y[e] = x[e];
  }
}
