/* matvec (ops.h): a weight's tiles times one vector an entry. A work-group has TG tiles, each with 16/VW work-items by rows and KS by columns:
 * the KS parts take turns at 32 columns and are added in local memory, always in the same order. KS 1: no local memory, no barrier.
 * KI: stretches of the columns that one work-item reads side by side (KS 1 only): several streams keep more of a CPU's memory requests
 * in flight than one. */
#include "weights.clh"

#define STEP 32

#if MINS
/* The sum of RUN inputs. */
FN F sum_of(GLOBAL const float *x)
{
  F some = VLOAD(x);
  UNROLL for (int i = VW; i < RUN; i += VW) some += VLOAD(x + i);
  float one[VW];
  VSTORE(some, one);
  UNROLL for (int n = VW / 2; n > 0; n /= 2) {
    UNROLL for (int i = 0; i < n; i++) one[i] += one[i + n];
  }
  return SPLAT(one[0]);
}
#endif

/* 32 columns from k on (whole: k + 32 <= K), onto acc. */
FN F step(GLOBAL const WORD *w, GLOBAL const BLOCK *s, GLOBAL const float *x, int k, F acc)
{
  UNROLL for (int r = 0; r < STEP; r += RUN) {
#if SCALED
    F even = SPLAT(0.0f), odd = SPLAT(0.0f);
#else
    F even = acc, odd = SPLAT(0.0f);
#endif
    UNROLL for (int i = r; i < r + RUN; i += 8) {
      F q[8];
      decode8(w, s, k + i, q);
      UNROLL for (int j = 0; j < 8; j += 2) {
        even = FMA(q[j], SPLAT(x[k + i + j]), even);
        odd = FMA(q[j + 1], SPLAT(x[k + i + j + 1]), odd);
      }
    }
#if SCALED
    acc = scaled(w, s, k + r, even + odd, acc);
#else
    acc = even + odd;
#endif
#if MINS
    acc = FMA(factor_of(w, s, k + r).least, sum_of(x + k + r), acc);
#endif
  }
  return acc;
}

#if !WHOLE
/* The columns from k on that do not fill a step. */
FN F tail(GLOBAL const WORD *w, GLOBAL const BLOCK *s, GLOBAL const float *x, int k, int K, F acc)
{
  F sum = SPLAT(0.0f);
  int from = k;
  for (; k < K; k++) sum = FMA(decode1(w, s, k), SPLAT(x[k]), sum);
#if SCALED
  return from < K ? scaled(w, s, from, sum, acc) : acc;
#else
  return acc + sum;
#endif
}
#endif

/* The share `part` of KS of a row's product. */
FN F product(GLOBAL const WORD *w, GLOBAL const BLOCK *s, GLOBAL const float *x, int K, int part)
{
  F acc[KI];
  int n = K / STEP, each = KS > 1 ? 0 : n / KI;
  UNROLL for (int i = 0; i < KI; i++) acc[i] = SPLAT(0.0f);
  for (int b = 0; b < each; b++) {
    UNROLL for (int i = 0; i < KI; i++) acc[i] = step(w, s, x, (i * each + b) * STEP, acc[i]);
  }
  for (int b = each * KI + part; b < n; b += KS) acc[0] = step(w, s, x, b * STEP, acc[0]);
#if !WHOLE
  if (n % KS == part) acc[0] = tail(w, s, x, n * STEP, K, acc[0]);
#endif
  UNROLL for (int i = 1; i < KI; i++) acc[0] += acc[i];
  return acc[0];
}

KERNEL void matvec(GLOBAL const WORD *W, GLOBAL const BLOCK *S, GLOBAL const float *X, GLOBAL const int *ids, GLOBAL float *Y, int E, int K,
                   int n_sub, int sub_rows, int unit0, int unit1, int tile0, int tile1, int has_ids, int x_div, int ldx, int ldy, int y0)
{
  int e = (int)GROUP_ID(0), item = (int)LOCAL_ID(0);
  int lane = item % LANES, part = item / LANES % KS, slot = item / (LANES * KS);
  int tile = tile0 + (int)GROUP_ID(1) * TG + slot, per_sub = (sub_rows + ROWS - 1) / ROWS;
  int unit = has_ids ? ids[e] : 0;
  int mine = unit >= unit0 && unit < unit1 && tile < tile1;
  F sum = SPLAT(0.0f);
  if (mine) {
    ulong at = (ulong)(unit - unit0) * (ulong)(tile1 - tile0) + (ulong)(tile - tile0);
    sum = product(W + at * (ulong)WORDS_OF(K) * ROWS + lane * VW, S + at * (ulong)BLOCKS_OF(K) * ROWS + lane * VW,
                  X + (ulong)(e / x_div) * (ulong)ldx, K, part);
  }
#if KS > 1
  LOCAL F parts[TG * KS * LANES];
  parts[item] = sum;
  BARRIER();
  for (int i = 1; i < KS && part == 0; i++) sum += parts[item + i * LANES];
  mine = mine && part == 0;
#endif
  if (mine) {
    int sub = tile / per_sub, row = tile % per_sub * ROWS + lane * VW;
    put_rows(Y + (ulong)e * (ulong)ldy + y0 + sub * sub_rows + row, sum, sub_rows - row);
  }
}
