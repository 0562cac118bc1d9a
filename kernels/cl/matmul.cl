/* matmul (ops.h): a weight's tiles times packed panels of NT columns. A work-item has RT tiles (TILE/VW work-items share their rows) and up to PG
 * panels: it decodes SK columns of its tiles and multiplies them with those columns of every panel of the same unit, so that a weight is
 * decoded once for PG * NT entries. SK 8 and PG 1: weights and sums stay in registers (GPUs). Else the weights decoded ahead lie in
 * private memory, which a CPU keeps in its nearest cache, and the sums are fetched for SK columns at a time.
 * XL: columns of the panel that the group (TG sets of tiles) holds in local memory; 0: none.
 * DECODE 1 where there is a matrix unit (unit.clh), XL holds whole steps, NT whole products and the group whole units: matmul_unit.clh. */
#define PANELS 1
#include "unit.clh"

#define BY_UNIT (KOI_UNIT && PG == 1 && XL > 0 && XL % 32 == 0 && NT % UNIT_VECTORS == 0 && TG * ROWS % UNIT_LANES == 0)
#if BY_UNIT
#include "matmul_unit.clh"
#else

#if XL
typedef LOCAL_PTR const float *X_PTR;
#else
typedef GLOBAL const float *X_PTR;
#endif

typedef struct tile_set {
  GLOBAL const WORD *w[RT];
  GLOBAL const BLOCK *s[RT];
} tile_set;

/* SK columns from k on of every tile, with their scale where it is one factor. */
FN void decode_ahead(const tile_set *set, int k, F q[RT][SK])
{
#if WHOLE && SK % 32 == 0 && XL == 0
  k &= -32; /* so that compilers know where in a block its columns lie */
#endif
  for (int r = 0; r < RT; r++) {
#if SK == 8
    decode8(set->w[r], set->s[r], k, q[r]);
#if FACTORS
    factor f = factor_of(set->w[r], set->s[r], k);
    UNROLL for (int j = 0; j < 8; j++) q[r][j] = weight(q[r][j], f);
#endif
#else
    for (int j = 0; j < SK; j += RUN) {
#if FACTORS
      factor f = factor_of(set->w[r], set->s[r], k + j);
#endif
      UNROLL for (int i = j; i < j + RUN; i += 8) {
        F eight[8];
        decode8(set->w[r], set->s[r], k + i, eight);
#if FACTORS
        UNROLL for (int l = 0; l < 8; l++) q[r][i + l] = weight(eight[l], f);
#else
        UNROLL for (int l = 0; l < 8; l++) q[r][i + l] = eight[l];
#endif
      }
    }
#endif
  }
}

#if PG > 1
/* Calls the part p of n of the codes that follow column k + SK into the cache: decoding takes them in bursts, between which nothing else
 * would fetch. */
FN void fetch_ahead(const tile_set *set, int k, int p, int n)
{
  const int bytes = SK * WORDS / WORD_COLS * ROWS * (int)sizeof(WORD);
  for (int r = 0; r < RT; r++) {
    GLOBAL const uchar *next = (GLOBAL const uchar *)(set->w[r] + (k + SK) / WORD_COLS * WORDS * ROWS);
    for (int i = bytes * p / n / 64 * 64; i < bytes * (p + 1) / n; i += 64) PREFETCH(next + i);
  }
}
#endif

/* One column of the panel, NT values, times one column of every tile. */
FN void rank_one(F a[RT][NT], const F *q, int stride, X_PTR x)
{
  UNROLL for (int t = 0; t < NT; t++) {
    F v = SPLAT(x[t]);
    UNROLL for (int r = 0; r < RT; r++) a[r][t] = FMA(q[r * stride], v, a[r][t]);
  }
}

/* n columns: n is SK, or 1 with stride 1. k: the first column's number. */
FN void accumulate(const tile_set *set, F acc[RT][NT], const F *q, int n, int stride, X_PTR x, int k)
{
  F a[RT][NT];
#if SCALED && !FACTORS
  UNROLL for (int r = 0; r < RT; r++) UNROLL for (int t = 0; t < NT; t++) a[r][t] = SPLAT(0.0f);
#else
  UNROLL for (int r = 0; r < RT; r++) UNROLL for (int t = 0; t < NT; t++) a[r][t] = acc[r][t];
#endif
#if SK == 8
  UNROLL
#endif
  for (int j = 0; j < n; j++) rank_one(a, q + j, stride, x + j * NT);
#if SCALED && !FACTORS
  UNROLL for (int r = 0; r < RT; r++) UNROLL for (int t = 0; t < NT; t++) acc[r][t] = scaled(set->w[r], set->s[r], k, a[r][t], acc[r][t]);
#else
  UNROLL for (int r = 0; r < RT; r++) UNROLL for (int t = 0; t < NT; t++) acc[r][t] = a[r][t];
#endif
}

/* Columns [from, to) of n panels, ldp floats apart, of which x has column `from` first. */
FN void multiply(const tile_set *set, F acc[PG][RT][NT], X_PTR x, ulong ldp, int n, int from, int to)
{
  int k = from;
  for (; k + SK <= to; k += SK) {
    F q[RT][SK];
    decode_ahead(set, k, q);
#if PG == 1
    accumulate(set, acc[0], &q[0][0], SK, SK, x + (k - from) * NT, k);
#else
    for (int p = 0; p < n; p++) {
      fetch_ahead(set, k, p, n);
      accumulate(set, acc[p], &q[0][0], SK, SK, x + p * ldp + (k - from) * NT, k);
    }
#endif
  }
#if WHOLE && SK > 8
  for (; k < to; k += 8) {
    F q[RT][8];
    UNROLL for (int r = 0; r < RT; r++) {
#if FACTORS
      weights8(set->w[r], set->s[r], k, q[r]);
#else
      decode8(set->w[r], set->s[r], k, q[r]);
#endif
    }
    for (int p = 0; p < (PG == 1 ? 1 : n); p++) accumulate(set, acc[p], &q[0][0], 8, 8, x + p * ldp + (k - from) * NT, k);
  }
#elif !WHOLE
  for (; k < to; k++) {
    F q[RT];
    UNROLL for (int r = 0; r < RT; r++) {
#if FACTORS
      q[r] = weight1(set->w[r], set->s[r], k);
#else
      q[r] = decode1(set->w[r], set->s[r], k);
#endif
    }
    for (int p = 0; p < (PG == 1 ? 1 : n); p++) accumulate(set, acc[p], q, 1, 1, x + p * ldp + (k - from) * NT, k);
  }
#endif
}

#if PG > 1
#define AHEAD 512 /* columns */
#define FEW (NT > 8 ? 1 : NT > 5 ? 2 : 3) /* panels whose sums are held at once */
#define CHAINS (RT * NT >= 4 ? 1 : 4 / (RT * NT)) /* sums side by side: a multiply-add waits for the one before it */

/* The same for a unit's m panels, FEW or less, and whole stretches of 32 columns: what is decoded is used a few times and stays in registers. m: known to
 * the compiler. */
FN __attribute__((always_inline)) void multiply_few(const tile_set *set, F acc[PG][RT][NT], X_PTR x, ulong ldp, int m, int K)
{
  const int chains = m > 1 ? 1 : CHAINS;
  F a[FEW][RT][NT];
  UNROLL for (int p = 0; p < m; p++) UNROLL for (int r = 0; r < RT; r++) UNROLL for (int t = 0; t < NT; t++) a[p][r][t] = acc[p][r][t];
  for (int k = 0; k + 32 <= K; k += 32) {
    const int bytes = 32 * WORDS / WORD_COLS * ROWS * (int)sizeof(WORD);
    UNROLL for (int r = 0; r < RT; r++) {
      GLOBAL const uchar *then = (GLOBAL const uchar *)(set->w[r] + (k + AHEAD) / WORD_COLS * WORDS * ROWS);
      UNROLL for (int i = 0; i < bytes; i += 64) PREFETCH(then + i);
    }
    UNROLL for (int i = 0; i < 32; i += RUN) {
      F sum[CHAINS][FEW][RT][NT];
      UNROLL for (int p = 0; p < m; p++) UNROLL for (int r = 0; r < RT; r++) UNROLL for (int t = 0; t < NT; t++) {
        UNROLL for (int c = 0; c < chains; c++) sum[c][p][r][t] = SPLAT(0.0f);
#if !SCALED || FACTORS
        sum[0][p][r][t] = a[p][r][t];
#endif
      }
      UNROLL for (int j = i; j < i + RUN; j += 8) {
        F q[RT][8];
        UNROLL for (int r = 0; r < RT; r++) {
#if FACTORS
          weights8(set->w[r], set->s[r], k + j, q[r]);
#else
          decode8(set->w[r], set->s[r], k + j, q[r]);
#endif
        }
        UNROLL for (int l = 0; l < 8; l++) UNROLL for (int p = 0; p < m; p++) rank_one(sum[l % chains][p], &q[0][l], 8, x + p * ldp + (k + j + l) * NT);
      }
      UNROLL for (int p = 0; p < m; p++) UNROLL for (int r = 0; r < RT; r++) UNROLL for (int t = 0; t < NT; t++) {
        F all = sum[0][p][r][t];
        UNROLL for (int c = 1; c < chains; c++) all += sum[c][p][r][t];
#if SCALED && !FACTORS
        a[p][r][t] = scaled(set->w[r], set->s[r], k + i, all, a[p][r][t]);
#else
        a[p][r][t] = all;
#endif
      }
    }
  }
  UNROLL for (int p = 0; p < m; p++) UNROLL for (int r = 0; r < RT; r++) UNROLL for (int t = 0; t < NT; t++) acc[p][r][t] = a[p][r][t];
}

/* n panels, of which x has column 0 first. */
FN void multiply_all(const tile_set *set, F acc[PG][RT][NT], X_PTR x, ulong ldp, int n, int K)
{
  int from = n > FEW ? 0 : K & -32;
  if (n == 1) multiply_few(set, acc, x, ldp, 1, K);
#if FEW > 1
  else if (n == 2) multiply_few(set, acc, x, ldp, 2, K);
#endif
#if FEW > 2
  else if (n == 3) multiply_few(set, acc, x, ldp, 3, K);
#endif
  if (from < K) multiply(set, acc, x + from * NT, ldp, n, from, K);
}
#endif

/* The tiles from `first` on of the unit that begins at tile `at` of those in W and S; beyond the last: it once more, which is computed again and not stored. */
FN void take_tiles(tile_set *set, GLOBAL const WORD *W, GLOBAL const BLOCK *S, ulong at, int first, int tile0, int tile1, int K, int lane)
{
  UNROLL for (int r = 0; r < RT; r++) {
    int tile = first + r < tile1 ? first + r : tile1 - 1;
    ulong here = at + (ulong)(tile - tile0);
    set->w[r] = W + here * (ulong)WORDS_OF(K) * ROWS + lane * VW;
    set->s[r] = S + here * (ulong)BLOCKS_OF(K) * ROWS + lane * VW;
  }
}

/* Entry t of a panel: its sums into its row of Y, where it has one. */
FN void put_entry(F acc[RT][NT], int t, GLOBAL float *Y, int row, int n_rows, int ldy, int first, int tile1, int sub_rows, int lane)
{
  int per_sub = (sub_rows + ROWS - 1) / ROWS;
  UNROLL for (int r = 0; r < RT; r++) {
    int tile = first + r, in_sub = tile % per_sub * ROWS + lane * VW;
    if (row >= 0 && row < n_rows && tile < tile1)
      put_rows(Y + (ulong)row * (ulong)ldy + tile / per_sub * sub_rows + in_sub, acc[r][t], sub_rows - in_sub);
  }
}

#if VW * RT * NT > 16
FEW_LANES
#endif
KERNEL_OF(TG * LANES) void matmul(GLOBAL const WORD *W, GLOBAL const BLOCK *S, GLOBAL const float *XP, GLOBAL const int *unit, GLOBAL const int *rows,
                   GLOBAL float *Y, int n_panels, int K, int n_sub, int sub_rows, int unit0, int unit1, int tile0, int tile1, int has_rows,
                   int n_rows, int ldy, int y0)
{
  int item = (int)LOCAL_ID(0), lane = item % LANES;
  int first_tile = tile0 + ((int)GROUP_ID(0) * TG + item / LANES) * RT;
  int panel = (int)GROUP_ID(1) * PG, end = panel + PG < n_panels ? panel + PG : n_panels;
  ulong ldp = (ulong)K * NT;
#if XL
  LOCAL float stage[XL * NT] __attribute__((aligned(16)));
#endif
  while (panel < end) {
    int u = has_rows ? unit[panel] : 0, n = 1;
    while (panel + n < end && (has_rows ? unit[panel + n] : 0) == u) n++;
    if (u >= unit0 && u < unit1) { /* the whole group alike */
      tile_set set;
      F acc[PG][RT][NT];
      take_tiles(&set, W, S, (ulong)(u - unit0) * (ulong)(tile1 - tile0), first_tile, tile0, tile1, K, lane);
      UNROLL for (int p = 0; p < PG; p++) UNROLL for (int r = 0; r < RT; r++) UNROLL for (int t = 0; t < NT; t++) acc[p][r][t] = SPLAT(0.0f);
      GLOBAL const float *x = XP + (ulong)panel * ldp;
#if XL
      for (int k = 0; k < K; k += XL) {
        int to = k + XL < K ? k + XL : K;
        BARRIER();
        for (int i = item; i < (to - k) * NT; i += TG * LANES) stage[i] = x[(ulong)k * NT + i];
        BARRIER();
        multiply(&set, acc, stage, ldp, n, k, to);
      }
#elif PG > 1
      multiply_all(&set, acc, x, ldp, n, K);
#else
      multiply(&set, acc, x, ldp, n, 0, K);
#endif
      UNROLL for (int p = 0; p < PG; p++) {
        UNROLL for (int t = 0; t < NT; t++) {
          int at = (panel + p) * NT + t, row = p < n ? (has_rows ? rows[at] : at) : -1;
          put_entry(acc[p], t, Y + y0, row, n_rows, ldy, first_tile, tile1, sub_rows, lane);
        }
      }
    }
    if (PG == 1) break; /* said once more for compilers that do not see it */
    panel += n;
  }
}
#endif
