/* hc_pre: mixes and streams to the block's normalised input, post and comb. The contract is in kernels/ops.h.
 * A work-group is a token; its L work-items take the columns in turns, VW at a time. The little matrix is worked out by every work-item
 * for itself: it fits in registers and saves two barriers a step. */
#define ET NORM_WT
#include "elem.clh"
#include "lanes.clh"

#if HEAD
#define N_MIX HC
#else
#define N_MIX ((2 + HC) * HC)
#endif

#if L > 1
#define SHARES (L / N_MIX > 0 ? L / N_MIX : 1) /* of the parts of a mix */
#define MIXES LOCAL_PTR
#else
#define MIXES
#endif

/* The sum of the mixes' parts into m, in the same order every time. */
FN void add_parts(GLOBAL const float *parts, int n, MIXES float *m, int lane)
{
#if L > 1
  for (int i = lane; i < SHARES * N_MIX; i += L) {
    float sum = 0.0f;
    for (int k = i / N_MIX; k < n; k += SHARES) sum += parts[(size_t)k * N_MIX + i % N_MIX];
    m[i] = sum;
  }
  BARRIER();
  for (int i = lane; i < N_MIX; i += L) {
    for (int k = 1; k < SHARES; k++) m[i] += m[k * N_MIX + i];
  }
  BARRIER();
#else
  UNROLL for (int i = 0; i < N_MIX; i++) m[i] = parts[i];
  for (int k = 1; k < n; k++) {
    UNROLL for (int i = 0; i < N_MIX; i++) m[i] += parts[(size_t)k * N_MIX + i];
  }
#endif
}

#if !HEAD
#include "comb.clh"
#endif

/* 1 / the root mean square of the streams x, by the group. */
FN __attribute__((always_inline)) float inverse_rms(GLOBAL const float *x, int D, float rms_eps, LOCAL_PTR float *tmp, int lane)
{
  int whole = D / VW * VW;
  F squares[HC];
  UNROLL for (int i = 0; i < HC; i++) squares[i] = SPLAT(0.0f);
  for (int d = lane * VW; d < whole; d += L * VW) {
    UNROLL for (int i = 0; i < HC; i++) {
      F v = VLOAD(x + (size_t)i * D + d);
      squares[i] += v * v;
    }
  }
  UNROLL for (int i = 1; i < HC; i++) squares[0] += squares[i];
  float sum = lanes_sum(squares[0]);
  for (int d = whole + lane; d < D; d += L) {
    UNROLL for (int i = 0; i < HC; i++) sum += x[(size_t)i * D + d] * x[(size_t)i * D + d];
  }
  return 1.0f / SQRT(group_sum(sum, tmp, lane) / (float)(HC * D) + rms_eps);
}

KERNEL void hc_pre(GLOBAL const float *M, GLOBAL const float *X, GLOBAL const float *scale, GLOBAL const float *base, GLOBAL const E *norm,
                   GLOBAL float *Y, GLOBAL float *post, GLOBAL float *comb, int T, int D, int n_parts, float rms_eps, float hc_eps)
{
#if L > 1
  LOCAL float tmp[L], m[SHARES * N_MIX];
#else
  LOCAL_PTR float *tmp = 0;
  float m[N_MIX];
#endif
  int lane = LOCAL_ID(0), whole = D / VW * VW;
  size_t t = GROUP_ID(0);
  GLOBAL const float *x = X + t * HC * D;
  GLOBAL float *y = Y + t * D;
  add_parts(M + t * n_parts * N_MIX, n_parts, m, lane);
  float r = inverse_rms(x, D, rms_eps, tmp, lane);
  float pre[HC];
  UNROLL for (int i = 0; i < HC; i++) pre[i] = sigmoid(m[i] * r * scale[0] + base[i]) + hc_eps;
  F square = SPLAT(0.0f);
  for (int d = lane * VW; d < whole; d += L * VW) {
    F v = SPLAT(pre[0]) * VLOAD(x + d);
    UNROLL for (int i = 1; i < HC; i++) v += SPLAT(pre[i]) * VLOAD(x + (size_t)i * D + d);
    square += v * v;
    VSTORE(v, y + d);
  }
  float sum = lanes_sum(square);
  for (int d = whole + lane; d < D; d += L) {
    float v = pre[0] * x[d];
    UNROLL for (int i = 1; i < HC; i++) v += pre[i] * x[(size_t)i * D + d];
    sum += v * v;
    y[d] = v;
  }
  float s = 1.0f / SQRT(group_sum(sum, tmp, lane) / (float)D + rms_eps);
  for (int d = lane * VW; d < whole; d += L * VW) VSTORE(VLOAD(y + d) * SPLAT(s) * elems(norm, d), y + d);
  for (int d = whole + lane; d < D; d += L) y[d] = y[d] * s * elem(norm, d);
#if !HEAD
  mixes(m, r, scale, base, post + t * HC, comb + t * HC * HC, hc_eps, lane);
#endif
}
