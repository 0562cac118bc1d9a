/* matvec (ops.h): a weight's tiles times one vector an entry. A work-group has TG tiles, each with TILE/VW work-items by rows and KS by columns:
 * the KS parts take turns at 32 columns, of a vector that the group holds in local memory, and are added there, always in the same order. KS 1: no
 * local memory, no barrier.
 * KI: stretches of the columns that one work-item reads side by side (KS 1 only): several streams keep more of a CPU's memory requests
 * in flight than one.
 * PF: steps of 32 columns whose codes a CPU is asked to have ready when they are needed; its own guesses end with a page. 0: none.
 * DECODE 1 where there is a matrix unit (unit.clh) and KS is even: two parts of a strip of 16 rows are the lanes of one unit, and the vector, in
 * UNIT_PARTS parts of fp16 each, is the unit's second operand, so that a product keeps fp32's bits. DECODE 1 where multiply-adds take fp16: halves.clh. */
#include "unit.clh"

#define BY_UNIT (KOI_UNIT && KS % 2 == 0)

#define STEP 32
/* Sums side by side: a multiply-add waits for the one before it. Where lanes are vectors, two leave the unit idle half of the time; a card has other
 * waves meanwhile, and wants the registers. */
#if VW > 1
#define EVEN_TOO even_too
#define ODD_TOO odd_too
#else
#define EVEN_TOO even
#define ODD_TOO odd
#endif
#define CHUNK (KS > 16 ? KS * 128 : 2048) /* columns held in local memory at once: four steps or more of every part */
#define GROUP (TG * KS * LANES)
#if KS > 1
typedef LOCAL_PTR const float *X_PTR;
#else
typedef GLOBAL const float *X_PTR;
#endif
#include "halves.clh"

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

#if BY_UNIT
#define SHARES (CHUNK / 8 / GROUP > 0 ? CHUNK / 8 / GROUP : 1) /* of a work-item: 8 columns each */
#define WARPS (GROUP / UNIT_LANES)

/* n columns of x (a multiple of 32, at most CHUNK) as the unit takes them: stage[32 columns][part][t]. What is staged is x times a power of two;
 * returned is what undoes it and the decoder's gain. Barriers before and after. */
FN float stage_x(GLOBAL const float *x, int n, LOCAL_PTR uint4 *stage, LOCAL_PTR float *top, int item)
{
  float v[SHARES][8], most = 0.0f;
  UNROLL for (int j = 0; j < SHARES; j++) {
    int at = item + j * GROUP;
    UNROLL for (int i = 0; i < 8; i++) {
      v[j][i] = at < n / 8 ? x[at / 4 * STEP + unit_col(at % 4, i)] : 0.0f;
      most = FMAX(most, FABS(v[j][i]));
    }
  }
  UNROLL for (int i = 1; i < UNIT_LANES; i *= 2) most = FMAX(most, unit_across(most, i));
  if (item % UNIT_LANES == 0) top[item / UNIT_LANES] = most;
  BARRIER();
  for (int i = 0; i < WARPS; i++) most = FMAX(most, top[i]);
  float back, by = unit_scale(most, &back);
  UNROLL for (int j = 0; j < SHARES; j++) {
    int at = item + j * GROUP;
    if (at >= n / 8) break;
    UNROLL for (int i = 0; i < 8; i++) v[j][i] *= by;
    UNROLL for (int p = 0; p < UNIT_PARTS; p++) stage[(at / 4 * UNIT_PARTS + p) * 4 + at % 4] = unit_part(v[j]);
  }
  BARRIER();
  return back * UNIT_GAIN;
}

/* One step onto acc. x: of the lane's vector; every vector from UNIT_PARTS on is computed and not looked at. */
FN void step(const unit_raw *r, LOCAL_PTR const uint4 *x, float by, float *acc)
{
  uint a[2][4], b[4];
  float c[4] = {0.0f, 0.0f, 0.0f, 0.0f};
  uint4 v = *x;
  b[0] = v.x, b[1] = v.y, b[2] = v.z, b[3] = v.w;
  unit_decode(r, a);
  unit_multiply(c, a[0], b);
  unit_multiply(c, a[1], b + 2);
  unit_scaled(r, c, by, by, acc);
}

#define UNIT_EARLY (CARE || !SCALED || WT == WT_FP8) /* where a sum could leave fp32's range before it is undone: 448 times 2^14 and a scale of 2^113 do */
#define AHEAD 4 /* steps whose loads go out together, before those of the steps before are used */
#define SPLIT (KS / 2)
#define STRIPS (ROWS / 16) /* of a tile, a unit each */

/* Steps b, b + SPLIT, ... of the n of a chunk that begins at column k0; beyond the last, that one again. */
FN void fetch(GLOBAL const WORD *w, GLOBAL const BLOCK *s, int k0, int b, int n, int t, unit_raw *r)
{
  UNROLL for (int i = 0; i < AHEAD; i++) r[i] = unit_fetch(w, s, k0 + (b + i * SPLIT < n ? b + i * SPLIT : n - 1) * STEP, t, 0x7fffffff);
}

/* The share `part` of SPLIT of a strip's product, for rows 2g (sum[0]) and 2g + 1; the whole group comes here. */
FN void product(GLOBAL const WORD *w, GLOBAL const BLOCK *s, GLOBAL const float *x, int K, int part, int mine, int item,
                LOCAL_PTR uint4 *stage, LOCAL_PTR float *top, float *sum)
{
  int lane = item % UNIT_LANES, g = lane / 4, t = lane % 4, vector = g < UNIT_PARTS ? g : UNIT_PARTS - 1;
  w += 2 * g, s += 2 * g;
  sum[0] = 0.0f, sum[1] = 0.0f;
  for (int k0 = 0; k0 + STEP <= K; k0 += CHUNK) {
    int n = (K - k0 < CHUNK ? K - k0 : CHUNK) / STEP;
    unit_raw now[AHEAD], next[AHEAD];
    if (mine) fetch(w, s, k0, part, n, t, now);
    float acc[4] = {0.0f, 0.0f, 0.0f, 0.0f}, back = stage_x(x + k0, n * STEP, stage, top, item);
    LOCAL_PTR const uint4 *staged = stage + (part * UNIT_PARTS + vector) * 4 + t;
    int b = mine ? part : n;
    for (; b + (AHEAD - 1) * SPLIT < n; b += AHEAD * SPLIT) {
      fetch(w, s, k0, b + AHEAD * SPLIT, n, t, next);
      UNIT_FENCE();
      UNROLL for (int i = 0; i < AHEAD; i++) step(&now[i], staged + i * SPLIT * UNIT_PARTS * 4, UNIT_EARLY ? back : 1.0f, acc);
      UNROLL for (int i = 0; i < AHEAD; i++) now[i] = next[i];
      staged += AHEAD * SPLIT * UNIT_PARTS * 4;
    }
    UNROLL for (int i = 0; i < AHEAD; i++) {
      if (b + i * SPLIT < n) step(&now[i], staged + i * SPLIT * UNIT_PARTS * 4, UNIT_EARLY ? back : 1.0f, acc);
    }
    float first = t == 0 ? acc[0] + acc[1] : t == 1 ? acc[0] : 0.0f, second = t == 0 ? acc[2] + acc[3] : t == 1 ? acc[2] : 0.0f;
    sum[0] = FMA(first, UNIT_EARLY ? 1.0f : back, sum[0]), sum[1] = FMA(second, UNIT_EARLY ? 1.0f : back, sum[1]);
  }
  UNROLL for (int i = 0; i < 2; i++) sum[i] += unit_across(sum[i], 1);
}
#elif !BY_HALVES
#if MINS
/* The sum of RUN inputs. */
FN F sum_of(X_PTR x)
{
  F some = VLOAD(x);
  UNROLL for (int i = VW; i < RUN; i += VW) some += VLOAD(x + i);
#if VW == 16
  some += some.s89abcdef01234567, some += some.s45670123cdef89ab, some += some.s23016745ab89efcd;
  return some + some.s1032547698badcfe;
#else
  float one[VW];
  VSTORE(some, one);
  UNROLL for (int n = VW / 2; n > 0; n /= 2) {
    UNROLL for (int i = 0; i < n; i++) one[i] += one[i + n];
  }
  return SPLAT(one[0]);
#endif
}
#endif

#if PF && (defined(__x86_64__) || defined(__aarch64__)) && __has_builtin(__builtin_prefetch)
/* Compiled for the processor itself: SPIR-V has no such instruction, and translators to it end the process.
 * Lines of codes PF steps from column k on: of this tile or of the one behind it; beyond the last they are asked for in vain. */
FN void ask_for(GLOBAL const WORD *w, int k)
{
  const int a_line = ROWS * sizeof(WORD) < 64 ? 64 / (ROWS * sizeof(WORD)) : 1;
  UNROLL for (int i = 0; i < WORDS_OF(STEP); i += a_line) __builtin_prefetch((const void *)(size_t)(w + (WORDS_OF(k + PF * STEP) + i) * ROWS));
}
#else
FN void ask_for(GLOBAL const WORD *w, int k) {}
#endif

/* 32 columns from k on (whole: k + 32 <= K), onto acc; x: of column k. */
FN F step(GLOBAL const WORD *w, GLOBAL const BLOCK *s, X_PTR x, int k, F acc)
{
#if WHOLE
  k &= -STEP; /* so that compilers know where in a block its columns lie */
#endif
  ask_for(w, k);
  UNROLL for (int r = 0; r < STEP; r += RUN) {
#if SCALED
    F even = SPLAT(0.0f), odd = SPLAT(0.0f);
#else
    F even = acc, odd = SPLAT(0.0f);
#endif
#if VW > 1
    F even_too = SPLAT(0.0f), odd_too = SPLAT(0.0f);
#endif
    UNROLL for (int i = r; i < r + RUN; i += 8) {
      F q[8];
      decode8(w, s, k + i, q);
      UNROLL for (int j = 0; j < 8; j += 4) {
        even = FMA(q[j], SPLAT(x[i + j]), even);
        odd = FMA(q[j + 1], SPLAT(x[i + j + 1]), odd);
        EVEN_TOO = FMA(q[j + 2], SPLAT(x[i + j + 2]), EVEN_TOO);
        ODD_TOO = FMA(q[j + 3], SPLAT(x[i + j + 3]), ODD_TOO);
      }
    }
#if VW > 1
    even += even_too, odd += odd_too;
#endif
#if SCALED
    acc = scaled(w, s, k + r, even + odd, acc);
#else
    acc = even + odd;
#endif
#if MINS
    acc = FMA(factor_of(w, s, k + r).least, sum_of(x + r), acc);
#endif
  }
  return acc;
}

#if KS > 1
/* The share `part` of KS of a row's product; the whole group comes here. */
FN F product(GLOBAL const WORD *w, GLOBAL const BLOCK *s, GLOBAL const float *x, int K, int part, int mine, int item, LOCAL_PTR float *stage)
{
  F acc = SPLAT(0.0f);
  int n = K / STEP;
  for (int b0 = 0; b0 < n; b0 += CHUNK / STEP) {
    int many = n - b0 < CHUNK / STEP ? n - b0 : CHUNK / STEP;
    BARRIER();
    for (int i = item; i < many * STEP; i += GROUP) stage[i] = x[b0 * STEP + i];
    BARRIER();
    for (int b = part; b < many && mine; b += KS) acc = step(w, s, stage + b * STEP, (b0 + b) * STEP, acc);
  }
#if !WHOLE
  if (mine && n % KS == part) acc = tail(w, s, x, n * STEP, K, acc);
#endif
  return acc;
}
#else
FN F product(GLOBAL const WORD *w, GLOBAL const BLOCK *s, GLOBAL const float *x, int K)
{
  F acc[KI];
  int n = K / STEP, each = n / KI;
  UNROLL for (int i = 0; i < KI; i++) acc[i] = SPLAT(0.0f);
  for (int b = 0; b < each; b++) {
    UNROLL for (int i = 0; i < KI; i++) acc[i] = step(w, s, x + (i * each + b) * STEP, (i * each + b) * STEP, acc[i]);
  }
  for (int b = each * KI; b < n; b++) acc[0] = step(w, s, x + b * STEP, b * STEP, acc[0]);
#if !WHOLE
  acc[0] = tail(w, s, x, n * STEP, K, acc[0]);
#endif
  UNROLL for (int i = 1; i < KI; i++) acc[0] += acc[i];
  return acc[0];
}
#endif
#endif

/* What a group shares while its sums are joined: declared by the kernel, as arguments, and as they are given. */
#if BY_UNIT
#define ROOM LOCAL float parts[TG * KS / 2 * ROWS]; LOCAL uint4 stage[CHUNK / STEP * UNIT_PARTS * 4]; LOCAL float top[WARPS]
#define ROOM_ARGS , LOCAL_PTR float *parts, LOCAL_PTR uint4 *stage, LOCAL_PTR float *top
#define ROOM_GIVEN , parts, stage, top
#elif BY_HALVES
#define ROOM LOCAL float stage[CHUNK] __attribute__((aligned(16))), parts[GROUP * HALF_ROWS]
#define ROOM_ARGS , LOCAL_PTR float *parts, LOCAL_PTR float *stage
#define ROOM_GIVEN , parts, stage
#elif KS > 1
#define ROOM LOCAL float stage[CHUNK] __attribute__((aligned(16))); LOCAL F parts[TG * KS * LANES]
#define ROOM_ARGS , LOCAL_PTR F *parts, LOCAL_PTR float *stage
#define ROOM_GIVEN , parts, stage
#else
#define ROOM
#define ROOM_ARGS
#define ROOM_GIVEN
#endif

/* The products of a work-item's rows of the tile at w and s, for those items whose part is 0. */
FN __attribute__((always_inline)) F tile_product(GLOBAL const WORD *w, GLOBAL const BLOCK *s, GLOBAL const float *x, int K, int mine, int item ROOM_ARGS)
{
  int lane = item % LANES, part = item / LANES % KS, slot = item / (LANES * KS);
  F sum = SPLAT(0.0f);
#if BY_UNIT
  float two[2];
  int strip = item / UNIT_LANES % STRIPS * 16;
  product(w + strip, s + strip, x, K, item / (UNIT_LANES * STRIPS) % SPLIT, mine, item, stage, top, two);
  for (int i = 0; i < 2 && item % 4 == 0; i++) parts[item / UNIT_LANES * 16 + item % UNIT_LANES / 4 * 2 + i] = two[i];
  BARRIER();
  mine = mine && part == 0;
  for (int i = 0; i < KS / 2 && mine; i++) sum += parts[(slot * (KS / 2) + i) * ROWS + lane];
#if !WHOLE
  if (mine && K % STEP) sum = tail(w + lane, s + lane, x, K / STEP * STEP, K, sum);
#endif
#elif BY_HALVES
  float acc[HALF_ROWS];
  halves_product(w, s, x, K / STEP, part, lane, mine, item, stage, acc);
  UNROLL for (int r = 0; r < HALF_ROWS; r++) parts[item * HALF_ROWS + r] = acc[r];
  BARRIER();
  mine = mine && part == 0;
  for (int i = 0; i < KS * HALF_ROWS && mine; i++) /* of this row, by all work-items of its rows */
    sum += parts[(item + i / HALF_ROWS * LANES - lane % HALF_ROWS + i % HALF_ROWS) * HALF_ROWS + lane % HALF_ROWS];
  int k = K / STEP * STEP;
#if CARE
  if (sum != sum) k = 0, sum = 0.0f;
#endif
  for (; k < K && mine; k += STEP) sum = tail(w + lane, s + lane, x, k, k + STEP < K ? k + STEP : K, sum);
#elif KS == 1
  if (mine) sum = product(w + lane * VW, s + lane * VW, x, K);
#else
  sum = product(w + lane * VW, s + lane * VW, x, K, part, mine, item, stage);
  parts[item] = sum;
  BARRIER();
  for (int i = 1; i < KS && part == 0; i++) sum += parts[item + i * LANES];
#endif
  return sum;
}

#ifndef TILE_PRODUCT_ALONE
KERNEL_OF(GROUP) void matvec(GLOBAL const WORD *W, GLOBAL const BLOCK *S, GLOBAL const float *X, GLOBAL const int *ids, GLOBAL float *Y, int E, int K,
                   int n_sub, int sub_rows, int unit0, int unit1, int tile0, int tile1, int has_ids, int x_div, int ldx, int ldy, int y0)
{
  ROOM;
  int e = (int)GROUP_ID(0), item = (int)LOCAL_ID(0);
  int lane = item % LANES, part = item / LANES % KS, slot = item / (LANES * KS);
  int tile = tile0 + (int)GROUP_ID(1) * TG + slot, per_sub = (sub_rows + ROWS - 1) / ROWS;
  int unit = has_ids ? ids[e] : 0;
  int mine = unit >= unit0 && unit < unit1 && tile < tile1;
  ulong at = mine ? (ulong)(unit - unit0) * (ulong)(tile1 - tile0) + (ulong)(tile - tile0) : 0;
  GLOBAL const WORD *w = W + at * (ulong)WORDS_OF(K) * ROWS;
  GLOBAL const BLOCK *s = S + at * (ulong)BLOCKS_OF(K) * ROWS;
  F sum = tile_product(w, s, X + (ulong)(e / x_div) * (ulong)ldx, K, mine, item ROOM_GIVEN);
  if (mine && part == 0) {
    int sub = tile / per_sub, row = tile % per_sub * ROWS + lane * VW;
    put_rows(Y + (ulong)e * (ulong)ldy + y0 + sub * sub_rows + row, sum, sub_rows - row);
  }
}
#endif
