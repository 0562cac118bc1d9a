/* matvecs: one vector times several matrices of one format. The contract is in kernels/joined.h; how work is cut: matvec.cl. A group has tiles of one matrix. */
#define TILE_PRODUCT_ALONE
#include "matvec.cl"

KERNEL_OF(GROUP) void matvecs(GLOBAL const WORD *W0, GLOBAL const BLOCK *S0, GLOBAL const float *X, GLOBAL float *Y0, GLOBAL const WORD *W1,
                   GLOBAL const BLOCK *S1, GLOBAL float *Y1, GLOBAL const WORD *W2, GLOBAL const BLOCK *S2, GLOBAL float *Y2, int K, int rows0, int subs0,
                   int rows1, int subs1, int rows2, int subs2)
{
  ROOM;
  int item = (int)LOCAL_ID(0), lane = item % LANES, part = item / LANES % KS, slot = item / (LANES * KS), group = (int)GROUP_ID(0);
  int tiles0 = subs0 * ((rows0 + ROWS - 1) / ROWS), tiles1 = subs1 * ((rows1 + ROWS - 1) / ROWS), tiles2 = subs2 * ((rows2 + ROWS - 1) / ROWS);
  int end0 = (tiles0 + TG - 1) / TG, end1 = end0 + (tiles1 + TG - 1) / TG, which = group < end0 ? 0 : group < end1 ? 1 : 2;
  int rows = which == 0 ? rows0 : which == 1 ? rows1 : rows2, per_sub = (rows + ROWS - 1) / ROWS;
  int tile = (group - (which == 0 ? 0 : which == 1 ? end0 : end1)) * TG + slot, mine = tile < (which == 0 ? tiles0 : which == 1 ? tiles1 : tiles2);
  ulong at = mine ? (ulong)tile : 0;
  GLOBAL const WORD *w = (which == 0 ? W0 : which == 1 ? W1 : W2) + at * (ulong)WORDS_OF(K) * ROWS;
  GLOBAL const BLOCK *s = (which == 0 ? S0 : which == 1 ? S1 : S2) + at * (ulong)BLOCKS_OF(K) * ROWS;
  F sum = tile_product(w, s, X, K, mine, item ROOM_GIVEN);
  if (mine && part == 0) {
    int row = tile % per_sub * ROWS + lane * VW;
    put_rows((which == 0 ? Y0 : which == 1 ? Y1 : Y2) + tile / per_sub * rows + row, sum, rows - row);
  }
}
