/* matvec_route: matvec of a vector with the gate, and route of what it gives, by the work-group that arrives last. The contract is in kernels/joined.h; how work
 * is cut: matvec.cl. Where a work-item has vectors, one alone chooses. */
#define TILE_PRODUCT_ALONE
#include "matvec.cl"
#include "arrive.clh"
#if VW > 1
#define L 1
#else
#define L GROUP
#endif
#define BT 0
#include "route.clh"

KERNEL_OF(GROUP) void matvec_route(GLOBAL const WORD *W, GLOBAL const BLOCK *S, GLOBAL const float *X, GLOBAL float *Y, GLOBAL const float *bias,
                   GLOBAL const int *token, GLOBAL const int *tid2eid, GLOBAL int *ids, GLOBAL float *weights, GLOBAL int *arrivals, int n_experts, int K, int n_used,
                   float route_scale)
{
  ROOM;
  LOCAL route_room room;
  SHARED_ROOM int last;
  int item = (int)LOCAL_ID(0), lane = item % LANES, part = item / LANES % KS, slot = item / (LANES * KS);
  int tiles = (n_experts + ROWS - 1) / ROWS, tile = (int)GROUP_ID(0) * TG + slot, mine = tile < tiles, row = tile * ROWS + lane * VW;
  ulong at = mine ? (ulong)tile : 0;
  F sum = tile_product(W + at * (ulong)WORDS_OF(K) * ROWS, S + at * (ulong)BLOCKS_OF(K) * ROWS, X, K, mine, item ROOM_GIVEN);
  if (mine && part == 0) put_rows(Y + row, sum, n_experts - row);
  if (!arrived_last(arrivals, (tiles + TG - 1) / TG, &last, item) || item >= L) return;
  route_token(Y, bias, token, tid2eid, ids, weights, n_experts, n_used, route_scale, &room, item);
}
