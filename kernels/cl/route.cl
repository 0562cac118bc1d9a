/* route: each token's experts and their weights. The contract is in kernels/ops.h. A work-group is a token. */
#include "route.clh"

KERNEL void route(GLOBAL const float *logits, GLOBAL const E *bias, GLOBAL const int *tokens, GLOBAL const int *tid2eid, GLOBAL int *ids,
                  GLOBAL float *w, int T, int n_experts, int n_used, int ld, float route_scale)
{
  LOCAL route_room room;
  size_t t = GROUP_ID(0);
  route_token(logits + t * ld, bias, tokens + t, tid2eid, ids + t * n_used, w + t * n_used, n_experts, n_used, route_scale, &room, LOCAL_ID(0));
}
