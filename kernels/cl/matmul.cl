/* matmul (ops.h): a weight's tiles times packed panels of NT columns. A work-item has RT tiles (TILE/VW work-items share their rows) and up to PG
 * panels: it decodes SK columns of its tiles and multiplies them with those columns of every panel of the same unit, so that a weight is
 * decoded once for PG * NT entries. SK 8 and PG 1: weights and sums stay in registers (GPUs). Else the weights decoded ahead lie in
 * private memory, which a CPU keeps in its nearest cache, and the sums are fetched for SK columns at a time.
 * XL: columns of the panel that the group (TG sets of tiles) holds in local memory; 0: none.
 * DECODE 1 where there is a matrix unit (unit.clh), XL holds whole steps, NT whole products and the group whole units: a unit has STRIPS strips of 16 rows,
 * and panels are staged in UNIT_FEW parts of fp16. */
#define PANELS 1
#include "unit.clh"

#define BY_UNIT (KOI_UNIT && PG == 1 && XL > 0 && XL % 32 == 0 && NT % UNIT_VECTORS == 0 && TG * ROWS % UNIT_LANES == 0)
#if !BY_UNIT

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

#if VW * RT * NT > 16
FEW_LANES
#endif
KERNEL_OF(TG * LANES) void matmul(GLOBAL const WORD *W, GLOBAL const BLOCK *S, GLOBAL const float *XP, GLOBAL const int *unit, GLOBAL const int *rows,
                   GLOBAL float *Y, int n_panels, int K, int n_sub, int sub_rows, int unit0, int unit1, int tile0, int tile1, int has_rows,
                   int n_rows, int ldy, int y0)
{
  int item = (int)LOCAL_ID(0), lane = item % LANES, per_sub = (sub_rows + ROWS - 1) / ROWS;
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
      UNROLL for (int r = 0; r < RT; r++) {
        int tile = first_tile + r < tile1 ? first_tile + r : tile1 - 1; /* beyond the last: computed again, not stored */
        ulong at = (ulong)(u - unit0) * (ulong)(tile1 - tile0) + (ulong)(tile - tile0);
        set.w[r] = W + at * (ulong)WORDS_OF(K) * ROWS + lane * VW;
        set.s[r] = S + at * (ulong)BLOCKS_OF(K) * ROWS + lane * VW;
        UNROLL for (int p = 0; p < PG; p++) UNROLL for (int t = 0; t < NT; t++) acc[p][r][t] = SPLAT(0.0f);
      }
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
          UNROLL for (int r = 0; r < RT; r++) {
            int tile = first_tile + r, in_sub = tile % per_sub * ROWS + lane * VW;
            if (row >= 0 && row < n_rows && tile < tile1)
              put_rows(Y + (ulong)row * (ulong)ldy + y0 + tile / per_sub * sub_rows + in_sub, acc[p][r][t], sub_rows - in_sub);
          }
        }
      }
    }
    if (PG == 1) break; /* said once more for compilers that do not see it */
    panel += n;
  }
}
#else
#define STEP 32
#define SETS (NT / UNIT_VECTORS)
#if UNIT_OF_GROUPS
#define STRIPS (UNIT_LANES / UNIT_STRIP) /* of a unit; registers last for one tile, so that the RT are taken in turns */
#define EVERY_TURN ROLLED for (int turn = 0; turn < RT; turn++, first += GROUP / UNIT_LANES * STRIPS)
#else
#define STRIPS (UNIT_LANES / UNIT_STRIP * RT)
#define EVERY_TURN
#endif
#define PER_TILE (ROWS / UNIT_STRIP)
#define GROUP (TG * LANES)
#define PART (4 * UNIT_VECTORS) /* shares of a step's activations */

/* Columns [k, k + XL) of a panel as the unit takes them: stage[step][UNIT_VECTORS entries][part], each entry's 32 columns times a power of two, which
 * `back` [step][NT] undoes together with the decoder's gain. Columns from K on are 0. */
FN void stage_panel(GLOBAL const float *x, int k, int K, LOCAL_PTR unit_four *stage, LOCAL_PTR float *back, int item)
{
  for (int at = item; at < XL / 8 * NT; at += GROUP) { /* t is at % 4: the four that share an entry's step are neighbours */
    int t = at % 4, entry = at / 4 % NT, step = at / (4 * NT), from = k + step * STEP;
    float v[8], most = 0.0f;
    UNROLL for (int i = 0; i < 8; i++) {
      int col = from + unit_col(t, i);
      v[i] = x[(ulong)(col < K ? col : K - 1) * NT + entry]; /* no branch: all eight go out together */
      if (col >= K) v[i] = 0.0f;
      most = FMAX(most, FABS(v[i]));
    }
    most = FMAX(most, unit_across(most, 1));
    most = FMAX(most, unit_across(most, 2));
    float undo, by = unit_scale(most, &undo);
    if (t == 0) back[step * NT + entry] = undo * UNIT_GAIN;
    UNROLL for (int i = 0; i < 8; i++) v[i] *= by;
    UNROLL for (int p = 0; p < UNIT_FEW; p++)
      unit_put(stage + ((step * SETS + entry / UNIT_VECTORS) * UNIT_FEW + p) * PART, entry % UNIT_VECTORS, t, unit_part(v));
  }
}

typedef struct strip_set {
  GLOBAL const WORD *w[STRIPS]; /* at the lane's first row */
  GLOBAL const BLOCK *s[STRIPS];
} strip_set;

#if UNIT_OF_GROUPS /* registers are left for one part of some vectors at a time */
#define LATE 1
#else
#define LATE 0
#endif

/* What the unit takes of a strip's codes in one turn, times the activations staged at x and back; b, by: these where they were fetched before. */
FN void multiply_strip(const unit_raw *r, float acc[SETS][UNIT_ROWS * UNIT_EACH], LOCAL_PTR const unit_four *x, LOCAL_PTR const float *back, int lane,
                       uint b[SETS][UNIT_FEW][2 * UNIT_B], float by[SETS][UNIT_EACH])
{
  uint a[2][UNIT_A];
  unit_decode(r, a);
  UNROLL for (int n = 0; n < SETS; n++) {
    float c[UNIT_ROWS * UNIT_EACH];
    UNROLL for (int j = 0; j < UNIT_ROWS * UNIT_EACH; j++) c[j] = 0.0f;
    UNROLL for (int p = UNIT_FEW - 1; p >= 0; p--) {
#if LATE
      uint now[2 * UNIT_B];
      unit_take(x + (n * UNIT_FEW + p) * PART, lane, now);
#else
      const uint *now = b[n][p];
#endif
      unit_multiply(c, a[0], now);
      unit_multiply(c, a[1], now + UNIT_B);
    }
#if LATE
    float now[UNIT_EACH];
    UNROLL for (int i = 0; i < UNIT_EACH; i++) now[i] = back[n * UNIT_VECTORS + unit_vector(lane, i)];
#else
    const float *now = by[n];
#endif
    unit_onto(r, c, now, acc[n]);
  }
}

/* One step of every strip of the unit; its activations are staged at x and back. */
FN void multiply(const unit_raw *r, float acc[STRIPS][SETS][UNIT_ROWS * UNIT_EACH], LOCAL_PTR const unit_four *x, LOCAL_PTR const float *back, int lane)
{
  uint b[SETS][UNIT_FEW][2 * UNIT_B];
  float by[SETS][UNIT_EACH];
#if !LATE
  UNROLL for (int n = 0; n < SETS; n++) {
    UNROLL for (int p = 0; p < UNIT_FEW; p++) unit_take(x + (n * UNIT_FEW + p) * PART, lane, b[n][p]);
    UNROLL for (int i = 0; i < UNIT_EACH; i++) by[n][i] = back[n * UNIT_VECTORS + unit_vector(lane, i)];
  }
#endif
  UNROLL for (int i = 0; i < STRIPS; i++) {
#ifdef UNIT_FITS
    unit_way way = unit_way_of(&r[i]);
    ROLLED for (int turn = 0; turn < way.turns; turn++) {
      unit_raw taken = unit_taken(&r[i], &way, turn);
      multiply_strip(&taken, acc[i], x, back, lane, b, by);
    }
#else
    multiply_strip(&r[i], acc[i], x, back, lane, b, by);
#endif
  }
}

UNIT_KERNEL
KERNEL_OF(TG * LANES) void matmul(GLOBAL const WORD *W, GLOBAL const BLOCK *S, GLOBAL const float *XP, GLOBAL const int *unit, GLOBAL const int *rows,
                   GLOBAL float *Y, int n_panels, int K, int n_sub, int sub_rows, int unit0, int unit1, int tile0, int tile1, int has_rows,
                   int n_rows, int ldy, int y0)
{
  LOCAL unit_four stage[XL / STEP * SETS * UNIT_FEW * PART];
  LOCAL float back[XL / STEP * NT];
  int item = UNIT_ITEM, lane = item % UNIT_LANES, per_sub = (sub_rows + ROWS - 1) / ROWS;
  int first = (tile0 + (int)GROUP_ID(0) * TG * RT) * PER_TILE + item / UNIT_LANES * STRIPS, panel = (int)GROUP_ID(1);
  int u = has_rows ? unit[panel] : 0;
  if (u < unit0 || u >= unit1) return; /* the whole group alike */
  GLOBAL const float *x = XP + (ulong)panel * (ulong)K * NT;
  EVERY_TURN {
    strip_set set;
    float acc[STRIPS][SETS][UNIT_ROWS * UNIT_EACH];
    UNROLL for (int r = 0; r < STRIPS; r++) {
      int tile = (first + r) / PER_TILE < tile1 ? (first + r) / PER_TILE : tile1 - 1; /* beyond the last: computed again, not stored */
      int in_tile = (first + r) % PER_TILE * UNIT_STRIP + unit_row(lane);
      ulong at = (ulong)(u - unit0) * (ulong)(tile1 - tile0) + (ulong)(tile - tile0);
      set.w[r] = W + at * (ulong)WORDS_OF(K) * ROWS + in_tile;
      set.s[r] = S + at * (ulong)BLOCKS_OF(K) * ROWS + in_tile;
      UNROLL for (int n = 0; n < SETS; n++) UNROLL for (int i = 0; i < UNIT_ROWS * UNIT_EACH; i++) acc[r][n][i] = 0.0f;
    }
    unit_raw now[STRIPS], next[STRIPS];
    UNROLL for (int r = 0; r < STRIPS; r++) now[r] = unit_fetch(set.w[r], set.s[r], 0, unit_share(lane), WORDS_OF(K) - 1);
    for (int k = 0; k < K; k += XL) {
      BARRIER();
      stage_panel(x, k, K, stage, back, item);
      BARRIER();
      UNIT_STEPS for (int j = 0; j < XL / STEP && k + j * STEP < K; j++) {
        int then = k + (j + 1) * STEP < K ? k + (j + 1) * STEP : k + j * STEP; /* the last once more */
        UNROLL for (int r = 0; r < STRIPS; r++) next[r] = unit_fetch(set.w[r], set.s[r], then, unit_share(lane), WORDS_OF(K) - 1);
        UNIT_FENCE();
        multiply(now, acc, stage + j * SETS * UNIT_FEW * PART, back + j * NT, lane);
        UNROLL for (int r = 0; r < STRIPS; r++) now[r] = next[r];
      }
    }
    UNROLL for (int i = 0; i < SETS * UNIT_EACH; i++) {
      int at = panel * NT + i / UNIT_EACH * UNIT_VECTORS + unit_vector(lane, i % UNIT_EACH), row = has_rows ? rows[at] : at;
      if (row < 0 || row >= n_rows) continue;
      UNROLL for (int r = 0; r < STRIPS; r++) {
        int tile = (first + r) / PER_TILE, in_sub = tile % per_sub * ROWS + (first + r) % PER_TILE * UNIT_STRIP + unit_row(lane);
        GLOBAL float *y = Y + (ulong)row * (ulong)ldy + y0 + tile / per_sub * sub_rows + in_sub;
        UNROLL for (int h = 0; h < UNIT_ROWS; h++) {
          if (tile < tile1 && in_sub + h < sub_rows) y[h] = acc[r][i / UNIT_EACH][h * UNIT_EACH + i % UNIT_EACH];
        }
      }
    }
  }
}
#endif
