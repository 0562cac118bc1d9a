/* pool: compressor rows, a softmax over a window's positions for each dimension by itself. The contract is in kernels/ops.h.
 * A work-item is VW dimensions of a window. Two passes over the scores: the largest, then the sums. */
#define ET AT
#include "elem.clh"
#include "cache.clh"
#include "pages.clh"

/* n values from p on; where a row ends within the vector, its last is repeated. */
FN F take(GLOBAL const float *p, int n)
{
  if (n == VW) return VLOAD(p);
  float a[VW];
  for (int k = 0; k < VW; k++) a[k] = p[k < n ? k : n - 1];
  return VLOAD(a);
}

FN F take_elems(GLOBAL const E *p, int n)
{
  if (n == VW) return elems(p, 0);
  float a[VW];
  for (int k = 0; k < VW; k++) a[k] = elem(p, k < n ? k : n - 1);
  return VLOAD(a);
}

/* Where position q lies: a fresh row from p0 on, the state's before. */
#define PLACE(fresh, state) (q >= p0 ? fresh + (size_t)(q - p0) * ld + col : state + (size_t)(q % (coff * R)) * wide + col)
#define COLUMN (q >= begin ? d + wide - dim : d) /* a row's second half serves its own window when windows overlap */

KERNEL void pool(GLOBAL const float *kv, GLOBAL const E *ape, GLOBAL const int *wins, GLOBAL float *Y,
                 SLABS(GLOBAL const uchar *, S, COMMA), int n_win, int R, int dim, int ld, int coff, int slot_bytes, int at)
{
  size_t item = (size_t)GROUP_ID(0) * L + LOCAL_ID(0);
  int vecs = CEIL_DIV(dim, VW), i = (int)(item / vecs), d = (int)(item - (size_t)i * vecs) * VW, n = dim - d < VW ? dim - d : VW;
  if (i >= n_win) return;
  GLOBAL const int *win = wins + (size_t)i * 5;
  int wide = coff * dim, begin = win[0] * R, q0 = win[0] > 0 ? begin - (coff - 1) * R : 0, p0 = win[2];
  GLOBAL const float *kv_state = (GLOBAL const float *)PART(S, win[3], slot_bytes, at), *score_state = kv_state + (size_t)(coff * R) * wide;
  kv += (size_t)win[1] * ld;
  GLOBAL const float *score = kv + wide;
  F top = (F)(MINUS_INF), sum = (F)(0.0f), row = (F)(0.0f);
  for (int q = q0; q < begin + R; q++) {
    int col = COLUMN;
    F s = take(PLACE(score, score_state), n) + take_elems(ape + (size_t)(q % R) * wide + col, n);
    top = s > top ? s : top;
  }
  for (int q = q0; q < begin + R; q++) {
    int col = COLUMN;
    F e = exp_low(take(PLACE(score, score_state), n) + take_elems(ape + (size_t)(q % R) * wide + col, n) - top);
    sum += e;
    row = FMA(e, take(PLACE(kv, kv_state), n), row);
  }
  row = row / sum;
  GLOBAL float *y = Y + (size_t)i * dim + d;
  if (n == VW) VSTORE(row, y);
  else {
    float a[VW];
    VSTORE(row, a);
    for (int k = 0; k < n; k++) y[k] = a[k];
  }
}
