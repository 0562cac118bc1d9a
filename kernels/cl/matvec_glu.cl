/* matvec_glu: matvec of two stacked matrices, and swiglu of what they give. The contract is in kernels/ops.h; how work is cut: matvec.cl. A work-item
 * has the same rows of both. */
#define TILE_PRODUCT_ALONE
#include "matvec.cl"
#include "gated.clh"

KERNEL_OF(GROUP) void matvec_glu(GLOBAL const WORD *W, GLOBAL const BLOCK *S, GLOBAL const float *X, GLOBAL const int *ids, GLOBAL float *H,
                   GLOBAL const float *weights, int E, int K, int n_sub, int sub_rows, int unit0, int unit1, int tile0, int tile1, int has_ids, int x_div,
                   int ldx, int ldh, int y0, int has_w, float limit)
{
  ROOM;
  int e = (int)GROUP_ID(0), item = (int)LOCAL_ID(0);
  int lane = item % LANES, part = item / LANES % KS, slot = item / (LANES * KS);
  int tile = (int)GROUP_ID(1) * TG + slot, per_sub = (sub_rows + ROWS - 1) / ROWS;
  int unit = has_ids ? ids[e] : 0;
  int mine = unit >= unit0 && unit < unit1 && tile < per_sub;
  ulong at = mine ? (ulong)(unit - unit0) * (ulong)(2 * per_sub) + (ulong)tile : 0, second = mine ? (ulong)per_sub : 0;
  GLOBAL const float *x = X + (ulong)(e / x_div) * (ulong)ldx;
#if BY_HALVES
  F g = 0.0f, u = 0.0f;
  ROLLED for (int i = 0; i < 2; i++) { /* one text: two want more registers and cache for code than there are */
    BARRIER();
    g = u, u = tile_product(W + at * (ulong)WORDS_OF(K) * ROWS, S + at * (ulong)BLOCKS_OF(K) * ROWS, x, K, mine, item ROOM_GIVEN);
    at += second;
  }
#else
  F g = tile_product(W + at * (ulong)WORDS_OF(K) * ROWS, S + at * (ulong)BLOCKS_OF(K) * ROWS, x, K, mine, item ROOM_GIVEN);
#if GROUP > 1 /* also so that a CPU reads the group's tiles of one matrix as one stretch */
  BARRIER();
#endif
  at += second;
  F u = tile_product(W + at * (ulong)WORDS_OF(K) * ROWS, S + at * (ulong)BLOCKS_OF(K) * ROWS, x, K, mine, item ROOM_GIVEN);
#endif
  if (mine && part == 0) {
    int row = tile * ROWS + lane * VW;
    put_rows(H + (ulong)e * (ulong)ldh + y0 + row, gated(g, u, limit > 0.0f ? limit : INFINITY, has_w ? weights[e] : 1.0f), sub_rows - row);
  }
}
