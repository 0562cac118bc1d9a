/* matvec_post: matvec, the streams of its rows as hc_post has them, and what those add to the next mixes; with PRE also what hc_pre makes of these. The contract
 * is in kernels/joined.h; how work is cut: matvec.cl. The work-items of a tile share the mixes of its columns. */
#define TILE_PRODUCT_ALONE
#include "matvec.cl"
#if PRE
#include "next_input.clh"
#else
#define NORM_E float
#endif

#define ITEMS (LANES * KS) /* of a tile */
#define MIX_VECS ((MIX + ROWS - 1) / ROWS * LANES)
#define MIX_STRIPS (ROWS / 16) /* of a tile: their sums are apart, so that they do not depend on the tiles */
#define MIX_UNITS (MIX_VECS * MIX_STRIPS)
#define MIX_SHARES (ITEMS / MIX_UNITS > 0 ? ITEMS / MIX_UNITS : 1)
#if ITEMS > 1
#define COLUMN_PTR LOCAL_PTR
#define COLUMN_ROOM LOCAL
#define COLUMN_TILES TG /* in one array */
#else
#define COLUMN_PTR
#define COLUMN_ROOM
#define COLUMN_TILES 1
#endif

#if MIX
/* Rows v * VW and on of the mixes over a share of a strip's columns, unit = strip * MIX_VECS + v; x: [stream][column of the tile], d: the first column. */
FN F mix_of(GLOBAL const float *fn, COLUMN_PTR const float *x, int d, int D, int unit, int share)
{
  F sum = SPLAT(0.0f);
  int v = unit % MIX_VECS, strip = unit / MIX_VECS * 16;
  fn += (size_t)(v / LANES) * (HC * D) * ROWS + v % LANES * VW;
  UNROLL for (int j = 0; j < HC; j++)
    for (int k = strip + share; k < strip + 16; k += MIX_SHARES) sum = FMA(VLOAD(fn + (size_t)(j * D + d + k) * ROWS), SPLAT(x[j * ROWS + k]), sum);
  return sum;
}

/* The mixes of the tile's strips: of every strip's the shares' sum, into its rows of M. shares: the tile's room for them. */
FN __attribute__((always_inline)) void put_mixes(GLOBAL const float *fn, COLUMN_PTR const float *x, GLOBAL float *M, COLUMN_PTR F *shares, int tile, int mine, int D,
                                                 int item)
{
#if ITEMS > 1
  BARRIER();
  for (int n = item; n < MIX_SHARES * MIX_UNITS; n += ITEMS)
    if (mine) shares[n] = mix_of(fn, x, tile * ROWS, D, n % MIX_UNITS, n / MIX_UNITS);
  BARRIER();
#endif
  for (int u = item; u < MIX_UNITS && mine; u += ITEMS) {
#if ITEMS > 1
    F sum = shares[u];
    for (int n = 1; n < MIX_SHARES; n++) sum += shares[n * MIX_UNITS + u];
#else
    F sum = mix_of(fn, x, tile * ROWS, D, u, 0);
#endif
    int v = u % MIX_VECS, first = v / LANES * ROWS + v % LANES * VW;
    if (first < MIX) put_rows(M + (size_t)(tile * MIX_STRIPS + u / MIX_VECS) * MIX + first, sum, MIX - first);
  }
}
#endif

/* VW rows of every stream, which has D: as they are, or mixed by comb and with o, by post, on top where mixed is not 0. x: [stream][row of the tile]. */
FN void put_streams(GLOBAL float *streams, int D, F o, GLOBAL const float *post, GLOBAL const float *comb, int mixed, COLUMN_PTR float *x)
{
  F in[HC];
  UNROLL for (int i = 0; i < HC; i++) in[i] = VLOAD(streams + (size_t)i * D);
  UNROLL for (int j = 0; j < HC; j++) {
    F v = in[j];
    if (mixed) {
      v = SPLAT(post[j]) * o;
      UNROLL for (int i = 0; i < HC; i++) v += SPLAT(comb[i * HC + j]) * in[i];
      VSTORE(v, streams + (size_t)j * D);
    }
    VSTORE(v, x + j * ROWS);
  }
}

KERNEL_OF(GROUP) void matvec_post(GLOBAL const WORD *W, GLOBAL const BLOCK *S, GLOBAL const float *X, GLOBAL const int *ids, GLOBAL float *streams,
                   GLOBAL const float *O, GLOBAL float *post, GLOBAL float *comb, GLOBAL const float *fn, GLOBAL float *M, GLOBAL const float *scale,
                   GLOBAL const float *base, GLOBAL const NORM_E *norm, GLOBAL float *Y, GLOBAL int *arrivals, int E, int K, int n_sub, int sub_rows, int unit0,
                   int unit1, int tile0, int tile1, int has_ids, int x_div, int ldx, int has_o, float rms_eps, float hc_eps)
{
  ROOM;
  COLUMN_ROOM float columns[COLUMN_TILES * HC * ROWS];
#if MIX
  COLUMN_ROOM F shares[COLUMN_TILES * MIX_SHARES * MIX_UNITS];
#endif
  int item = (int)LOCAL_ID(0), lane = item % LANES, part = item / LANES % KS, slot = item / ITEMS, D = sub_rows;
  int tile = tile0 + (int)GROUP_ID(1) * TG + slot, mine = tile < tile1, row = tile * ROWS + lane * VW;
  int place = COLUMN_TILES > 1 ? slot : 0;
  COLUMN_PTR float *x = columns + place * HC * ROWS;
  F o = SPLAT(0.0f);
  if (mine && has_o) o = VLOAD(O + row);
  for (int e = 0; e < E; e++) {
    int unit = has_ids ? ids[e] : 0, here = mine && unit >= unit0 && unit < unit1;
    ulong at = here ? (ulong)(unit - unit0) * (ulong)(tile1 - tile0) + (ulong)(tile - tile0) : 0;
#if GROUP > 1 /* also so that a CPU reads the group's tiles of one unit as one stretch */
    BARRIER();
#endif
    F p = tile_product(W + at * (ulong)WORDS_OF(K) * ROWS, S + at * (ulong)BLOCKS_OF(K) * ROWS, X + (ulong)(e / x_div) * (ulong)ldx, K, here, item ROOM_GIVEN);
    if (here) o += p;
  }
  if (mine && part == 0) put_streams(streams + row, D, o, post, comb, E, x + lane * VW);
#if MIX
  put_mixes(fn, x, M, shares + place * MIX_SHARES * MIX_UNITS, tile, mine, D, item % ITEMS);
#endif
#if PRE
  SHARED_ROOM int last;
  MIXES_ROOM float mixed[PRE_SHARES * MIX], sums[PRE_SUMS];
  if (arrived_last(arrivals, (tile1 - tile0 + TG - 1) / TG, &last, item) && item < PRE_ITEMS)
    next_input(M, streams, scale, base, norm, Y, post, comb, D, rms_eps, hc_eps, mixed, sums, item);
#endif
}
