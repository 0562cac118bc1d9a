/* pool: compressor rows. The contract is in kernels/ops.h. A work-item is VW dimensions of a window. */
#define ET AT
#include "elem.clh"
#define APE E
#define ape_one elem
#define ape_some elems
#include "pool.clh"

KERNEL void pool(GLOBAL const float *kv, GLOBAL const E *ape, GLOBAL const int *wins, GLOBAL float *Y,
                 SLABS(GLOBAL const uchar *, S, COMMA), int n_win, int R, int dim, int ld, int coff, int slot_bytes, int at)
{
  size_t item = (size_t)GROUP_ID(0) * L + LOCAL_ID(0);
  int vecs = CEIL_DIV(dim, VW), i = (int)(item / vecs), d = (int)(item - (size_t)i * vecs) * VW, n = dim - d < VW ? dim - d : VW;
  if (i >= n_win) return;
  GLOBAL const int *win = wins + (size_t)i * 5;
  put_pooled(pooled(kv, ape, win, PART(S, win[3], slot_bytes, at), R, dim, ld, coff, d, n), Y + (size_t)i * dim + d, n);
}
