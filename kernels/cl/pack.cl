/* pack (ops.h): panels of NT columns. A work-item moves every GS-th column of its group's stretch of GS * COLS, for all NT entries. */

KERNEL void pack(GLOBAL const float *X, GLOBAL const int *rows, GLOBAL float *XP, int n_panels, int K, int ldx, int x_div, int has_rows, int n_rows)
{
  int panel = (int)GROUP_ID(1), first = (int)GROUP_ID(0) * GS * COLS + (int)LOCAL_ID(0);
  int last = ((int)GROUP_ID(0) + 1) * GS * COLS;
  if (last > K) last = K;
  GLOBAL float *to = XP + (ulong)panel * (ulong)K * NT;
  GLOBAL const float *from[NT];
  UNROLL for (int j = 0; j < NT; j++) {
    int at = panel * NT + j, row = has_rows ? rows[at] : at < n_rows ? at : -1;
    from[j] = row < 0 ? 0 : X + (ulong)(row / x_div) * (ulong)ldx;
  }
  for (int k = first; k < last; k += GS) {
    UNROLL for (int j = 0; j < NT; j++) to[(ulong)k * NT + j] = from[j] ? from[j][k] : 0.0f;
  }
}
