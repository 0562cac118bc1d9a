/* index_score: the indexer's scores of cache rows. The contract is in kernels/ops.h.
 * Lanes are rows, as they lie. A work-item has RT vectors of VW rows and TB tokens; HT heads at a time (HT divides NH) stay in registers.
 *   UNPACK 1   keys are decoded once into the work-item's own array: where that is a cache and many heads and tokens share it
 *   UNPACK 0   keys are decoded as they are used
 *   L > 1      the queries of HT heads lie in local memory, [column][head]
 * Where there is a matrix unit of 16 rows by 16 vectors (unit16.clh), keys are its rows, which lie as weights in FP4 do, and the queries of HT heads, in UNIT_FEW
 * parts of fp16, its vectors. */
#include "cache.clh"
#include "pages.clh"
#if !EXACT && VW == 1 && IH % 32 == 0
#define WT 4 /* WT_FP4 */
#define CARE 1
#define TILE 16
#define DECODE 1
#define PANELS 1
#include "unit.clh"
#define BY_UNIT (KOI_UNIT == UNIT_16 && !UNIT_OF_GROUPS /* whose compiler would spill */ && HT % UNIT_VECTORS == 0 && L % UNIT_LANES == 0 && IH / 8 * HT % UNIT_LANES == 0)
#else
#define BY_UNIT 0
#endif

#if !BY_UNIT
#define CODE_WORDS CEIL_DIV(IH, 8)
#define GROUPS CEIL_DIV(IH, FP4_GROUP)

#if EXACT
#define CODE float
#define COLUMNS IH
#else
#define CODE uint
#define COLUMNS CODE_WORDS
#endif

FN F scale_at(GLOBAL const uchar *scales, int group) { return e8m0s(TO_U(VLOAD(scales + group * 16))); }

#if UNPACK && !EXACT
FN void unpack(GLOBAL const CODE *codes, GLOBAL const uchar *scales, F *key)
{
  for (int group = 0; group < GROUPS; group++) {
    F scale = scale_at(scales, group);
    for (int word = group * 4; word < group * 4 + 4 && word < CODE_WORDS; word++) {
      U eight = VLOAD(codes + word * 16);
      UNROLL for (int i = 0; i < 8; i++)
        if (word * 8 + i < IH) key[(word * 8 + i) * RT] = e2m1s(eight >> (U)(4 * i)) * scale;
    }
  }
}
#endif

#if L > 1
#define QUERY(h, k) q[(k) * HT + (h)]
#define Q_SPACE LOCAL_PTR
#else
#define QUERY(h, k) q[(h) * IH + (k)]
#define Q_SPACE GLOBAL
#endif

#define STEP(k) \
  UNROLL for (int h = 0; h < HT; h++) { \
    F y = (F)(QUERY(h, k)); \
    UNROLL for (int j = 0; j < RT; j++) acc[h][j] = FMA(y, x[j], acc[h][j]); \
  }

/* HT heads times RT vectors of rows: where each vector's codes and scales begin; key: their unpacked keys [column][RT]. */
FN void dots(Q_SPACE const float *q, GLOBAL const CODE **codes, GLOBAL const uchar **scales, const F *key, F acc[HT][RT])
{
  UNROLL for (int h = 0; h < HT; h++) UNROLL for (int j = 0; j < RT; j++) acc[h][j] = (F)(0.0f);
  F x[RT];
#if EXACT
  for (int k = 0; k < IH; k++) {
    UNROLL for (int j = 0; j < RT; j++) x[j] = VLOAD(codes[j] + k * 16);
    STEP(k)
  }
#elif UNPACK
  for (int k = 0; k < IH; k++) {
    UNROLL for (int j = 0; j < RT; j++) x[j] = key[k * RT + j];
    STEP(k)
  }
#else
  ROLLED for (int group = 0; group < GROUPS; group++) { /* unrolled, the decoded keys would be kept for the next heads, in more registers than there are */
    F scale[RT];
    U eight[RT];
    UNROLL for (int j = 0; j < RT; j++) scale[j] = scale_at(scales[j], group);
    ROLLED for (int word = group * 4; word < group * 4 + 4 && word < CODE_WORDS; word++) {
      UNROLL for (int j = 0; j < RT; j++) eight[j] = VLOAD(codes[j] + word * 16);
      UNROLL for (int i = 0; i < (IH < 8 ? IH : 8); i++) {
        UNROLL for (int j = 0; j < RT; j++) x[j] = e2m1s(eight[j] >> (U)(4 * i)) * scale[j];
        STEP(word * 8 + i)
      }
    }
  }
#endif
}

FN void put(F v, int row, int limit, GLOBAL float *s)
{
  if (row + VW <= limit) VSTORE(v, s);
  else {
    float a[VW];
    VSTORE(v, a);
    for (int k = 0; row + k < limit; k++) s[k] = a[k];
  }
}

/* A token's sums over `heads` heads, HT at a time; q: room for their queries where work-items share them. */
FN_IN void sum_heads(GLOBAL const float *queries, GLOBAL const float *w, float wscale, int heads, GLOBAL const CODE **codes, GLOBAL const uchar **scales,
                     const F *key, LOCAL_PTR float *q, int lane, F *sum)
{
  UNROLL for (int j = 0; j < RT; j++) sum[j] = (F)(0.0f);
  for (int h0 = 0; h0 < heads; h0 += HT) {
    F acc[HT][RT];
    GLOBAL const float *qh = queries + h0 * IH;
#if L > 1
    BARRIER();
    for (uint i = (uint)lane; i < HT * IH; i += L) q[i % IH * HT + i / IH] = qh[i];
    BARRIER();
    dots(q, codes, scales, key, acc);
#else
    dots(qh, codes, scales, key, acc);
#endif
    UNROLL for (int h = 0; h < HT; h++) {
      F weight = (F)(w[h0 + h] * wscale);
      UNROLL for (int j = 0; j < RT; j++) sum[j] = FMA(weight, acc[h][j] < (F)(0.0f) ? (F)(0.0f) : acc[h][j], sum[j]);
    }
  }
}

KERNEL void index_score(GLOBAL const float *Q, GLOBAL const float *w, GLOBAL const int *rows, GLOBAL const int *tables, GLOBAL float *S,
                        SLABS(GLOBAL const uchar *, S, COMMA), int T, int row0, int n_rows, int lds, int R, int table, int page_bytes, int at, float wscale)
{
#if L > 1
  LOCAL float q[HT * IH];
#else
  LOCAL_PTR float *q = 0;
#endif
#if UNPACK && !EXACT
  F key[IH * RT];
#else
  const F *key = 0;
#endif
  int lane = LOCAL_ID(0), end = row0 + n_rows, t0 = (int)GROUP_ID(1) * TB, t1 = t0 + TB < T ? t0 + TB : T;
  int first = row0 + (int)GROUP_ID(0) * (L * RT * VW), mine = first / VW + lane * RT; /* the group's first row, the work-item's first vector */
  int start = 0, newest = -1;                                                        /* whose keys are at hand, and the last vector among them */
  GLOBAL const CODE *codes[RT];
  GLOBAL const uchar *scales[RT];
  for (int t = t0; t < t1; t++) {
    int seen = (rows[2 * t] + 1) / R, limit = seen < end ? seen : end, heads = first < limit ? NH : 0; /* a group of no visible row has nothing to do */
    int last = (limit - 1) / VW < first / VW + L * RT - 1 ? (limit - 1) / VW : first / VW + L * RT - 1;
    if (heads && (rows[2 * t + 1] != start || last != newest)) {
      start = rows[2 * t + 1], newest = last;
      UNROLL for (int j = 0; j < RT; j++) { /* vectors beyond the last row repeat it and are not stored */
        uint row = (uint)(mine + j < last ? mine + j : last) * VW, tile = IN_PAGE(row) / 16u, in_tile = row % 16u;
        GLOBAL const uchar *part = PART(S, tables[start + table + (int)PAGE_OF(row)], page_bytes, at);
        codes[j] = (GLOBAL const CODE *)part + tile * (COLUMNS * 16) + in_tile;
        scales[j] = part + PAGE * CODE_WORDS * 4 + tile * (GROUPS * 16) + in_tile;
#if UNPACK && !EXACT
        unpack(codes[j], scales[j], key + j);
#endif
      }
    }
    F sum[RT];
    sum_heads(Q + (size_t)t * NH * IH, w + (size_t)t * NH, wscale, heads, codes, scales, key, q, lane, sum);
    UNROLL for (int j = 0; j < RT; j++)
      if ((mine + j) * VW < limit) put(sum[j], (mine + j) * VW, limit, S + (size_t)t * lds + ((mine + j) * VW - row0));
  }
}
#else
#define STEPS (IH / 32)
#define SETS (HT / UNIT_VECTORS)
#define STRIPS (UNIT_LANES / 16 * RT) /* of a unit */
#define SHARES (4 * UNIT_VECTORS)     /* of a step's queries, in one part */

/* HT heads' queries as the unit takes them: stage[step][UNIT_VECTORS heads][part], 32 columns each times a power of two, which back[step][HT] undoes together with
 * the decoder's gain. */
FN void stage_queries(GLOBAL const float *q, LOCAL_PTR unit_four *stage, LOCAL_PTR float *back, int item)
{
  for (int at = item; at < IH / 8 * HT; at += L) { /* t is at % 4: the four that share a head's step are neighbours */
    int t = at % 4, head = at / 4 % HT, step = at / (4 * HT);
    float v[8], most = 0.0f, undo;
    UNROLL for (int i = 0; i < 8; i++) v[i] = q[head * IH + step * 32 + unit_col(t, i)], most = FMAX(most, FABS(v[i]));
    most = FMAX(most, unit_across(most, 1));
    most = FMAX(most, unit_across(most, 2));
    float by = unit_scale(most, &undo);
    if (t == 0) back[step * HT + head] = undo * UNIT_GAIN;
    UNROLL for (int i = 0; i < 8; i++) v[i] *= by;
    UNROLL for (int p = 0; p < UNIT_FEW; p++)
      unit_put(stage + ((step * SETS + head / UNIT_VECTORS) * UNIT_FEW + p) * SHARES, head % UNIT_VECTORS, t, unit_part(v));
  }
}

/* A strip's keys times the staged queries. */
FN void strip_dots(GLOBAL const WORD *codes, GLOBAL const BLOCK *scales, LOCAL_PTR const unit_four *stage, LOCAL_PTR const float *back, int lane,
                   float acc[SETS][UNIT_EACH])
{
  UNROLL for (int n = 0; n < SETS; n++) UNROLL for (int i = 0; i < UNIT_EACH; i++) acc[n][i] = 0.0f;
  ROLLED for (int step = 0; step < STEPS; step++) {
    unit_raw r = unit_fetch(codes, scales, step * 32, unit_share(lane), IH / 8 - 1);
    uint a[2][UNIT_A];
    unit_decode(&r, a);
    UNROLL for (int n = 0; n < SETS; n++) {
      float c[UNIT_EACH], by[UNIT_EACH];
      UNROLL for (int i = 0; i < UNIT_EACH; i++) c[i] = 0.0f;
      UNROLL for (int p = UNIT_FEW - 1; p >= 0; p--) {
        uint b[2 * UNIT_B];
        unit_take(stage + ((step * SETS + n) * UNIT_FEW + p) * SHARES, lane, b);
        unit_multiply(c, a[0], b);
        unit_multiply(c, a[1], b + UNIT_B);
      }
      UNROLL for (int i = 0; i < UNIT_EACH; i++) by[i] = back[step * HT + n * UNIT_VECTORS + unit_vector(lane, i)];
      unit_onto(&r, c, by, acc[n]);
    }
  }
}

/* What these heads add to the score of a lane's row: those that the lane has. */
FN void weigh(float acc[SETS][UNIT_EACH], GLOBAL const float *w, float wscale, int lane, float *sum)
{
  UNROLL for (int n = 0; n < SETS; n++) UNROLL for (int i = 0; i < UNIT_EACH; i++) {
    float weight = w[n * UNIT_VECTORS + unit_vector(lane, i)] * wscale;
    *sum = FMA(weight, acc[n][i] < 0.0f ? 0.0f : acc[n][i], *sum);
  }
}

KERNEL_OF(L) void index_score(GLOBAL const float *Q, GLOBAL const float *w, GLOBAL const int *rows, GLOBAL const int *tables, GLOBAL float *S,
                        SLABS(GLOBAL const uchar *, S, COMMA), int T, int row0, int n_rows, int lds, int R, int table, int page_bytes, int at, float wscale)
{
  LOCAL unit_four stage[STEPS * SETS * UNIT_FEW * SHARES];
  LOCAL float back[STEPS * HT];
  int item = (int)LOCAL_ID(0), lane = item % UNIT_LANES, end = row0 + n_rows, t0 = (int)GROUP_ID(1) * TB, t1 = t0 + TB < T ? t0 + TB : T;
  int first = row0 + (int)GROUP_ID(0) * (L * RT), mine = first + item / UNIT_LANES * (STRIPS * 16); /* the group's first row, the unit's */
  for (int t = t0; t < t1; t++) {
    int seen = (rows[2 * t] + 1) / R, limit = seen < end ? seen : end;
    if (first >= limit) continue; /* the whole group alike */
    GLOBAL const WORD *codes[STRIPS];
    GLOBAL const BLOCK *scales[STRIPS];
    float sum[STRIPS];
    UNROLL for (int r = 0; r < STRIPS; r++) { /* strips beyond the last row repeat its own and are not stored */
      int row = mine + r * 16 < limit ? mine + r * 16 : (limit - 1) / 16 * 16;
      uint tile = IN_PAGE(row) / 16u, in_tile = (uint)(row % 16 + unit_row(lane));
      GLOBAL const uchar *part = PART(S, tables[rows[2 * t + 1] + table + (int)PAGE_OF(row)], page_bytes, at);
      codes[r] = (GLOBAL const WORD *)part + tile * (IH / 8 * 16) + in_tile;
      scales[r] = part + PAGE * (IH / 8) * 4 + tile * (STEPS * 16) + in_tile;
      sum[r] = 0.0f;
    }
    ROLLED for (int h0 = 0; h0 < NH; h0 += HT) {
      BARRIER();
      stage_queries(Q + ((size_t)t * NH + (size_t)h0) * IH, stage, back, item);
      BARRIER();
      UNROLL for (int r = 0; r < STRIPS; r++) {
        float acc[SETS][UNIT_EACH];
        strip_dots(codes[r], scales[r], stage, back, lane, acc);
        weigh(acc, w + (size_t)t * NH + h0, wscale, lane, &sum[r]);
      }
    }
    UNROLL for (int r = 0; r < STRIPS; r++) {
      int row = mine + r * 16 + unit_row(lane);
      UNROLL for (int mask = 16; mask < UNIT_LANES; mask *= 2) sum[r] += unit_across(sum[r], mask); /* lanes that have the row, too */
      if (row < limit && lane < 16) S[(size_t)t * (size_t)lds + (size_t)(row - row0)] = sum[r];
    }
  }
}
#endif
