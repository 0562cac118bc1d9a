/* embed (ops.h): a group a token copies its row of the table to every stream, widened to float. */
#include "weights.clh"

KERNEL void embed(GLOBAL const WORD *table, GLOBAL const int *token, GLOBAL float *X, int T, int D, int row0, int row1)
{
  int t = (int)GROUP_ID(1), row = token[t];
  if (row < row0 || row >= row1) return;
  GLOBAL const WORD *from = table + (ulong)(row - row0) * (ulong)D;
  GLOBAL float *to = X + (ulong)t * (ulong)D * HC;
  for (int d = (int)LOCAL_ID(0) * VW; d < D; d += GS * VW) {
    if (d + VW <= D) {
      F v = plain(VLOAD(from + d));
      for (int s = 0; s < HC; s++) VSTORE(v, to + (ulong)s * (ulong)D + d);
    } else {
      WORD some[VW]; /* never reads beyond the row: it may be the table's last */
      for (int i = 0; i < VW; i++) some[i] = d + i < D ? from[d + i] : (WORD)0;
      F v = plain(VLOAD(some));
      for (int s = 0; s < HC; s++) put_rows(to + (ulong)s * (ulong)D + d, v, D - d);
    }
  }
}
