/* attn_merge: joins the splits of a token and head with the sink, then rotates the last RD columns back. The contract is in kernels/ops.h.
 * A work-group is a token and head. */
#include "merge.clh"

KERNEL void attn_merge(GLOBAL const float *PO, GLOBAL const float *ML, GLOBAL const E *sink, GLOBAL const float *rope, GLOBAL float *O, int T,
                       int n_splits)
{
#if L > 1
  LOCAL float w[SB];
#else
  float w[SB];
#endif
  merge_head(PO, ML, sink, rope, O, GROUP_ID(1), GROUP_ID(0), n_splits, w, LOCAL_ID(0));
}
