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
/* Row softmax, then columns; then ITERS - 1 times rows and columns. c: logits in, comb out, [source][destination]. */
FN void sinkhorn(float *c, float hc_eps)
{
  UNROLL for (int i = 0; i < HC; i++) {
    float top = c[i * HC], sum = 0.0f;
    UNROLL for (int j = 1; j < HC; j++) top = FMAX(top, c[i * HC + j]);
    UNROLL for (int j = 0; j < HC; j++) sum += c[i * HC + j] = EXP(c[i * HC + j] - top);
    sum = 1.0f / sum;
    UNROLL for (int j = 0; j < HC; j++) c[i * HC + j] = c[i * HC + j] * sum + hc_eps;
  }
  for (int it = 0;; it++) {
    UNROLL for (int j = 0; j < HC; j++) {
      float sum = 0.0f;
      UNROLL for (int i = 0; i < HC; i++) sum += c[i * HC + j];
      sum = 1.0f / (sum + hc_eps);
      UNROLL for (int i = 0; i < HC; i++) c[i * HC + j] *= sum;
    }
    if (it >= ITERS - 1) break;
    UNROLL for (int i = 0; i < HC; i++) {
      float sum = 0.0f;
      UNROLL for (int j = 0; j < HC; j++) sum += c[i * HC + j];
      sum = 1.0f / (sum + hc_eps);
      UNROLL for (int j = 0; j < HC; j++) c[i * HC + j] *= sum;
    }
  }
}

FN void mixes(MIXES const float *m, float r, GLOBAL const float *scale, GLOBAL const float *base, GLOBAL float *post, GLOBAL float *comb,
              float hc_eps, int lane)
{
  float c[HC * HC];
  UNROLL for (int i = 0; i < HC * HC; i++) c[i] = m[2 * HC + i] * r * scale[2] + base[2 * HC + i];
  sinkhorn(c, hc_eps);
  if (lane) return;
  UNROLL for (int i = 0; i < HC; i++) post[i] = 2.0f * sigmoid(m[HC + i] * r * scale[1] + base[HC + i]);
  UNROLL for (int i = 0; i < HC * HC; i++) comb[i] = c[i];
}
#endif

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

  F squares[HC];
  UNROLL for (int i = 0; i < HC; i++) squares[i] = SPLAT(0.0f);
  for (int d = lane * VW; d < whole; d += L * VW) {
    UNROLL for (int i = 0; i < HC; i++) {
      F v = VLOAD(x + (size_t)i * D + d);
      squares[i] += v * v;
    }
  }
  float sum = 0.0f;
  UNROLL for (int i = 1; i < HC; i++) squares[0] += squares[i];
  sum = lanes_sum(squares[0]);
  for (int d = whole + lane; d < D; d += L) {
    UNROLL for (int i = 0; i < HC; i++) sum += x[(size_t)i * D + d] * x[(size_t)i * D + d];
  }
  float r = 1.0f / SQRT(group_sum(sum, tmp, lane) / (float)(HC * D) + rms_eps);

  float pre[HC];
  UNROLL for (int i = 0; i < HC; i++) pre[i] = sigmoid(m[i] * r * scale[0] + base[i]) + hc_eps;
  F square = SPLAT(0.0f);
  for (int d = lane * VW; d < whole; d += L * VW) {
    F v = SPLAT(pre[0]) * VLOAD(x + d);
    UNROLL for (int i = 1; i < HC; i++) v += SPLAT(pre[i]) * VLOAD(x + (size_t)i * D + d);
    square += v * v;
    VSTORE(v, y + d);
  }
  sum = lanes_sum(square);
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
