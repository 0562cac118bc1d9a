/* widen (ops.h): rows of a weight as floats, row-major. A work-item widens its rows of one tile for a stretch of COLS columns. */
#include "weights.clh"

FN void put_column(GLOBAL float *y, F v, int K, int n)
{
  float one[VW];
  VSTORE(v, one);
  UNROLL for (int i = 0; i < VW; i++) {
    if (i < n) y[(ulong)i * (ulong)K] = one[i];
  }
}

KERNEL void widen(GLOBAL const WORD *W, GLOBAL const BLOCK *S, GLOBAL float *Y, int K, int rows, int tile0, int row0, int row1)
{
  int item = (int)LOCAL_ID(0), lane = item % LANES, tile = row0 / ROWS + (int)GROUP_ID(1);
  int k = ((int)GROUP_ID(0) * GS + item / LANES) * COLS, to = k + COLS < K ? k + COLS : K;
  int row = tile * ROWS + lane * VW;
  ulong at = (ulong)(tile - tile0);
  GLOBAL const WORD *w = W + at * (ulong)WORDS_OF(K) * ROWS + lane * VW;
  GLOBAL const BLOCK *s = S + at * (ulong)BLOCKS_OF(K) * ROWS + lane * VW;
  GLOBAL float *y = Y + (ulong)(row - row0) * (ulong)K;
#if WHOLE
  for (; k < to; k += 8) {
    F v[8];
    weights8(w, s, k, v);
    UNROLL for (int i = 0; i < 8; i++) put_column(y + k + i, v[i], K, row1 - row);
  }
#else
  for (; k < to; k++) put_column(y + k, weight1(w, s, k), K, row1 - row);
#endif
}
