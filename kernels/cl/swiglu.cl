/* swiglu: the gated activation of an expert, with its limit and its weight. The contract is in kernels/ops.h.
 * Group (b, e): entry e, columns b * STRETCH * L * VW and on. The clamps are comparisons so that a NaN stays one. */
#include "lanes.clh"
#include "gated.clh"

FN float gated_one(float g, float u, float limit, float w)
{
  g = g > limit ? limit : g;
  u = u > limit ? limit : (u < -limit ? -limit : u);
  return g / (1.0f + EXP(-g)) * u * w;
}

KERNEL void swiglu(GLOBAL const float *GU, GLOBAL const float *w, GLOBAL float *H, int E, int inter, int ldg, int ldh, int has_w, float limit)
{
  int lane = LOCAL_ID(0), first = (int)GROUP_ID(0) * (STRETCH * L * VW);
  size_t e = GROUP_ID(1);
  GLOBAL const float *g = GU + e * ldg, *u = g + inter;
  GLOBAL float *h = H + e * ldh;
  float weight = has_w ? w[e] : 1.0f, top = limit > 0.0f ? limit : INFINITY;
  for (int n = 0; n < STRETCH; n++) {
    int i = first + (n * L + lane) * VW;
#if VW > 1
    if (i + VW <= inter) {
      VSTORE(gated(VLOAD(g + i), VLOAD(u + i), top, weight), h + i);
      continue;
    }
#endif
    for (int k = i; k < i + VW && k < inter; k++) h[k] = gated_one(g[k], u[k], top, weight);
  }
}
