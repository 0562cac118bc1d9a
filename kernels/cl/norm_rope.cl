/* norm_rope: rms norm of rows, then RoPE on their last rd dims. The contract is in kernels/ops.h; Y may be X.
 * A work-group is a row; its L work-items take the columns in turns, VW at a time, and write only what they alone read. */
#define ET NORM_WT
#include "elem.clh"
#include "lanes.clh"

#if NORM == 2
#define SCALED(v, i) ((v) * s * elem(norm, i))
#define SCALEDV(v, i) ((v) * SPLAT(s) * elems(norm, i))
#elif NORM == 1
#define SCALED(v, i) ((v) * s)
#define SCALEDV(v, i) ((v) * SPLAT(s))
#else
#define SCALED(v, i) (v)
#define SCALEDV(v, i) (v)
#endif

FN float rms_factor(GLOBAL const float *x, int dim, float eps, LOCAL_PTR float *tmp, int lane)
{
  int whole = dim / VW * VW;
  F square = SPLAT(0.0f), other = SPLAT(0.0f);
  for (int d = lane * VW; d < whole; d += 2 * L * VW) {
    F v = VLOAD(x + d);
    square += v * v;
    if (d + L * VW < whole) {
      F w = VLOAD(x + d + L * VW);
      other += w * w;
    }
  }
  float sum = lanes_sum(square + other);
  for (int d = whole + lane; d < dim; d += L) sum += x[d] * x[d];
  return 1.0f / SQRT(group_sum(sum, tmp, lane) / (float)dim + eps);
}

/* Pairs of the columns [dim - rd, dim): VW columns are VW / 2 pairs, and so are VW numbers of the table. */
FN void rotate(GLOBAL const float *x, GLOBAL const E *norm, GLOBAL const float *rope, GLOBAL float *y, float s, int dim, int rd, int lane)
{
  int first = dim - rd, done = 0;
#if VW > 1
  done = rd / VW * VW;
  float a[VW], b[VW], out[VW];
  for (int k = lane * VW; k < done; k += L * VW) {
    VSTORE(SCALEDV(VLOAD(x + first + k), first + k), a);
    VSTORE(VLOAD(rope + k), b);
    UNROLL for (int i = 0; i < VW; i += 2) {
      out[i] = a[i] * b[i] - a[i + 1] * b[i + 1];
      out[i + 1] = a[i] * b[i + 1] + a[i + 1] * b[i];
    }
    VSTORE(VLOAD(out), y + first + k);
  }
#endif
  for (int k = done + 2 * lane; k < rd; k += 2 * L) {
    float a = SCALED(x[first + k], first + k), b = SCALED(x[first + k + 1], first + k + 1);
    y[first + k] = a * rope[k] - b * rope[k + 1];
    y[first + k + 1] = a * rope[k + 1] + b * rope[k];
  }
}

KERNEL void norm_rope(GLOBAL const float *X, GLOBAL const E *norm, GLOBAL const float *rope, GLOBAL float *Y, int n, int dim, int rd,
                      int rows_per_pos, int ldx, int ldy, float eps)
{
#if L > 1
  LOCAL float tmp[L];
#else
  LOCAL_PTR float *tmp = 0;
#endif
  int lane = LOCAL_ID(0), plain = dim - rd, whole = plain / VW * VW;
  size_t row = GROUP_ID(0);
  GLOBAL const float *x = X + row * ldx;
  GLOBAL float *y = Y + row * ldy;
  float s = 1.0f;
#if NORM
  s = rms_factor(x, dim, eps, tmp, lane);
#endif
  for (int d = lane * VW; d < whole; d += L * VW) VSTORE(SCALEDV(VLOAD(x + d), d), y + d);
  for (int d = whole + lane; d < plain; d += L) y[d] = SCALED(x[d], d);
  if (rd) rotate(x, norm, rope + row / rows_per_pos * rd, y, s, dim, rd, lane);
}
