/* attn_merge: joins the splits of a token and head with the sink, then rotates the last RD columns back. The contract is in kernels/ops.h.
 * A work-group is a token and head. */
#define MERGE_HEADS 1
#include "merge.clh"

KERNEL void attn_merge(GLOBAL const float *PO, GLOBAL const float *ML, GLOBAL const E *sink, GLOBAL const float *rope, GLOBAL float *O, int T,
                       int n_splits)
{
  SPACE_ROOM merging m;
  merge_heads(PO, ML, sink, rope, O, GROUP_ID(1), GROUP_ID(0), 1, n_splits, &m, LOCAL_ID(0));
}
