/* embed (ops.h): a group a token copies its row of the table to every stream, as floats. Its work-items (VW 1) take eight columns at a time. */
#include "weights.clh"

FN void put(GLOBAL float *to, int d, int D, float v)
{
  for (int s = 0; s < HC; s++) to[(ulong)s * (ulong)D + d] = v;
}

KERNEL void embed(GLOBAL const WORD *W, GLOBAL const BLOCK *S, GLOBAL const int *token, GLOBAL float *X, int T, int D, int row0, int row1)
{
  int t = (int)GROUP_ID(1), row = token[t];
  if (row < row0 || row >= row1) return;
  ulong at = (ulong)((row - row0) / ROWS);
  GLOBAL const WORD *w = W + at * (ulong)WORDS_OF(D) * ROWS + row % ROWS;
  GLOBAL const BLOCK *s = S + at * (ulong)BLOCKS_OF(D) * ROWS + row % ROWS;
  GLOBAL float *to = X + (ulong)t * (ulong)D * HC;
#if WHOLE
  for (int d = (int)LOCAL_ID(0) * 8; d < D; d += GS * 8) {
    float v[8];
    weights8(w, s, d, v);
    UNROLL for (int i = 0; i < 8; i++) put(to, d + i, D, v[i]);
  }
#else
  for (int d = (int)LOCAL_ID(0); d < D; d += GS) put(to, d, D, weight1(w, s, d));
#endif
}
