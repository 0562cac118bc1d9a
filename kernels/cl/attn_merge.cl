/* attn_merge: joins the splits of a token and head with the sink, then rotates the last RD columns back. The contract is in kernels/ops.h.
 * A work-group is a token and head; its L work-items take the columns in turns, VW at a time. Splits are joined SB at a time. */
#define ET ST
#include "elem.clh"
#include "cache.clh"
#define PLAIN (DH - RD)
#define STEP ((size_t)NH * DH) /* from split to split */
#define SB 16

#if L > 1
#define SPACE LOCAL_PTR
#define SYNC() BARRIER()
#else
#define SPACE
#define SYNC()
#endif

FN F join(GLOBAL const float *po, SPACE const float *w, int n, F o)
{
  for (int s = 0; s < n; s++) o = FMA(VLOAD(po + s * STEP), (F)(w[s]), o);
  return o;
}

FN float join_one(GLOBAL const float *po, SPACE const float *w, int n, float o)
{
  for (int s = 0; s < n; s++) o += po[s * STEP] * w[s];
  return o;
}

/* Adds n splits to the row o (the first ones start it), in the same columns for each work-item every time. */
FN void join_row(GLOBAL const float *po, SPACE const float *w, int n, int start, GLOBAL float *o, int lane)
{
  int whole = DH / VW * VW;
  for (int d = lane * VW; d < whole; d += L * VW) {
    F v = (F)(0.0f);
    if (!start) v = VLOAD(o + d);
    VSTORE(join(po + d, w, n, v), o + d);
  }
  for (int d = whole + lane; d < DH; d += L) o[d] = join_one(po + d, w, n, start ? 0.0f : o[d]);
}

KERNEL void attn_merge(GLOBAL const float *PO, GLOBAL const float *ML, GLOBAL const E *sink, GLOBAL const float *rope, GLOBAL float *O, int T,
                       int n_splits)
{
  int lane = LOCAL_ID(0), h = GROUP_ID(0);
  size_t t = GROUP_ID(1), first = t * n_splits * NH + h;
  GLOBAL const float *ml = ML + first * 2, *po = PO + first * DH;
  GLOBAL float *o = O + (t * NH + h) * DH;
#if L > 1
  LOCAL float w[SB];
#else
  float w[SB];
#endif
  float own = elem(sink, h), top = own;
  for (int s = 0; s < n_splits; s++) top = FMAX(top, ml[(size_t)s * (NH * 2)]);
  float sum = EXP(own - top);
  for (int s = 0; s < n_splits; s++) sum += EXP(ml[(size_t)s * (NH * 2)] - top) * ml[(size_t)s * (NH * 2) + 1];
  for (int s0 = 0; s0 < n_splits; s0 += SB) {
    int n = n_splits - s0 < SB ? n_splits - s0 : SB;
    for (int s = lane; s < n; s += L) w[s] = EXP(ml[(size_t)(s0 + s) * (NH * 2)] - top) / sum;
    SYNC();
    join_row(po + s0 * STEP, w, n, s0 == 0, o, lane);
    SYNC(); /* also since a pair's columns may have been written by two work-items */
  }
  GLOBAL const float *cs = rope + t * RD;
  for (int k = 2 * lane; k < RD; k += 2 * L) {
    float re = o[PLAIN + k], im = o[PLAIN + k + 1];
    o[PLAIN + k] = re * cs[k] + im * cs[k + 1];
    o[PLAIN + k + 1] = im * cs[k] - re * cs[k + 1];
  }
}
