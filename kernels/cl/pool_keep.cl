/* pool_keep: the last positions into the compressors' states. The contract is in kernels/ops.h. A work-group is a position of a record. */
#include "pages.clh"

KERNEL void pool_keep(GLOBAL const float *kv, GLOBAL const int *keeps, SLABS(GLOBAL uchar *, S, COMMA), int n, int most,
                      int R, int dim, int ld, int coff, int slot_bytes, int at)
{
  GLOBAL const int *keep = keeps + GROUP_ID(1) * 5;
  int p0 = keep[2], q = p0 + keep[1] - 1 - (int)GROUP_ID(0), wide = coff * dim, held = coff * R;
  if (q < 0 || (int)GROUP_ID(0) >= held || (q < p0 && keep[3] == keep[4])) return;
  size_t scores = (size_t)held * wide, row = (size_t)(q % held) * wide, fresh = (size_t)(keep[0] + q - p0) * ld;
  GLOBAL const float *state = (GLOBAL const float *)PART(S, keep[3], slot_bytes, at) + row;
  GLOBAL const float *kv_row = q < p0 ? state : kv + fresh, *score_row = q < p0 ? state + scores : kv + fresh + wide;
  GLOBAL float *to = (GLOBAL float *)PART(S, keep[4], slot_bytes, at) + row;
  for (int d = LOCAL_ID(0); d < wide; d += L) {
    to[d] = kv_row[d];
    to[scores + d] = score_row[d];
  }
}
