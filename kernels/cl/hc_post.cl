/* hc_post: mixes a block's output back into the streams, in place. The contract is in kernels/ops.h.
 * Group (b, t): token t, columns b * STRETCH * L * VW and on. Each work-item reads all streams of its columns before it writes them. */
#include "lanes.clh"

KERNEL void hc_post(GLOBAL float *X, GLOBAL const float *O, GLOBAL const float *post, GLOBAL const float *comb, GLOBAL const float *parts,
                    int T, int D, int n_parts)
{
  int lane = LOCAL_ID(0), first = (int)GROUP_ID(0) * (STRETCH * L * VW);
  size_t t = GROUP_ID(1);
  GLOBAL float *x = X + t * HC * D;
  GLOBAL const float *o = O + t * D, *part = parts + t * n_parts * D;
  float p[HC], c[HC * HC];
  UNROLL for (int j = 0; j < HC; j++) p[j] = post[t * HC + j];
  UNROLL for (int i = 0; i < HC * HC; i++) c[i] = comb[t * HC * HC + i];

  for (int n = 0; n < STRETCH; n++) {
    int d = first + (n * L + lane) * VW;
    if (d + VW <= D) {
      F out = VLOAD(o + d), in[HC];
      for (int k = 0; k < n_parts; k++) out += VLOAD(part + (size_t)k * D + d);
      UNROLL for (int i = 0; i < HC; i++) in[i] = VLOAD(x + (size_t)i * D + d);
      UNROLL for (int j = 0; j < HC; j++) {
        F v = SPLAT(p[j]) * out;
        UNROLL for (int i = 0; i < HC; i++) v += SPLAT(c[i * HC + j]) * in[i];
        VSTORE(v, x + (size_t)j * D + d);
      }
    } else {
      for (int e = d; e < D; e++) {
        float out = o[e], in[HC];
        for (int k = 0; k < n_parts; k++) out += part[(size_t)k * D + e];
        UNROLL for (int i = 0; i < HC; i++) in[i] = x[(size_t)i * D + e];
        UNROLL for (int j = 0; j < HC; j++) {
          float v = p[j] * out;
          UNROLL for (int i = 0; i < HC; i++) v += c[i * HC + j] * in[i];
          x[(size_t)j * D + e] = v;
        }
      }
    }
  }
}
