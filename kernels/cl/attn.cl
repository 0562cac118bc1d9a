/* attn: partial attention of a token over a split of its visible rows, keys and values being the same rows. The contract is in kernels/ops.h.
 * A work-group is a token, HB heads and a split. RB rows at a time are decoded once to floats, multiplied with all queries, weighed by a
 * softmax that rescales as larger scores appear, and added up with their weights.
 * With MERGE the split of a token and its HB heads that comes last makes of all of them what attn_merge does.
 * VW divides DH - RD and RD. Forms of the two products:
 *   UNIT 1 where there is a matrix unit of 16 rows by 16 vectors, L holds whole units and the sums stay in registers: attn_unit.clh. Elsewhere as with UNIT 0:
 *   L 1    queries lie transposed, lanes are heads in the scores (HV vectors x RT rows in registers) and columns in the sums (HT heads x DT
 *          vectors in registers, the sums themselves in PO); HT divides NH, DT a row's vectors
 *   L > 1  local memory holds rows and queries; HT x RT scores a work-item over every LT-th vector, then a sum over the work-items; each
 *          work-item owns the sums of its columns for HB heads. HT divides HB, RT divides RB. */
#include "cache.clh"
#include "pages.clh"
#define PLAIN (DH - RD)
#if MERGE
#define GROUP L
#define MERGE_HEADS HB
#include "merge.clh"
#include "arrive.clh"
#else
#define E float
#endif
#if UNIT
#define UNIT_ALONE
#define WT 3 /* WT_FP8 */
#define CARE 1
#define TILE 16
#define DECODE 1
#define PANELS 1
#include "unit.clh"
#endif
#if UNIT && KOI_UNIT == UNIT_16 && !UNIT_OF_GROUPS && L % UNIT_LANES == 0
#define BY_UNIT 1
#define ATTN_KERNEL KERNEL_OF(L)
#else
#define BY_UNIT 0
#define ATTN_KERNEL KERNEL
#endif
#define GROUPS CEIL_DIV(PLAIN, FP8_GROUP)
#define VECS (DH / VW)
#define PLAIN_VECS (PLAIN / VW)

/* What a token sees. */
typedef struct view {
#if L == 1
  SLABS(GLOBAL const uchar *, w, ;);
  SLABS(GLOBAL const uchar *, c, ;);
#else
  GLOBAL const uchar *LOCAL_PTR *slabs; /* W0 .. W7, C0 .. C7: few work-items want them, and rarely, so they take no registers */
#endif
  GLOBAL const int *w_table, *c_table, *idx;
  int w_bytes, c_bytes, w_at, c_at;
  int first, n_window, ring; /* first: position of the first window row; ring: entries of w_table */
} view;

#if L == 1
#define W_PAGE(a, entry) PART(a->w, entry, a->w_bytes, a->w_at)
#define C_PAGE(a, entry) PART(a->c, entry, a->c_bytes, a->c_at)
#else
#define W_PAGE(a, entry) (a->slabs[(entry) >> 24] + PART_OFFSET(entry, a->w_bytes, a->w_at))
#define C_PAGE(a, entry) (a->slabs[8 + ((entry) >> 24)] + PART_OFFSET(entry, a->c_bytes, a->c_at))
#endif

/* The page's part that visible row v lies in; *r: which of its rows. */
FN_IN GLOBAL const uchar *place(const view *a, int v, int *r)
{
  if (v < a->n_window) {
    int q = a->first + v, entry = a->w_table[PAGE_OF(q) % (uint)a->ring];
    *r = (int)IN_PAGE(q);
    return W_PAGE(a, entry);
  }
#if SEL
  int row = SEL == 2 ? a->idx[v - a->n_window] & 0x7fffffff : v - a->n_window, entry = a->c_table[PAGE_OF(row)];
  *r = (int)IN_PAGE(row);
  return C_PAGE(a, entry);
#else
  return 0; /* there are no others */
#endif
}

/* Vector i of row r of a page's part. */
FN_IN F decode(GLOBAL const uchar *part, int r, int i)
{
#if EXACT
  return VLOAD((GLOBAL const float *)part + r * DH + i * VW);
#else
  if (i < PLAIN_VECS) {
    float scale = e8m0(part[PAGE * PLAIN + r * GROUPS + i * VW / FP8_GROUP]);
    return e4m3s(TO_U(VLOAD(part + r * PLAIN + i * VW))) * (F)(scale);
  }
  return bf16s(TO_U(VLOAD((GLOBAL const ushort *)(part + PAGE * (PLAIN + GROUPS)) + r * RD + (i - PLAIN_VECS) * VW)));
#endif
}

#if L == 1
#define NV (HB / VW)            /* vectors of heads */
#define KV (VECS + 1)           /* a row's vectors in memory: no power of two, so that rows do not fall onto the same cache sets */
#define PADDED (CEIL_DIV(RB, RT) * RT)
#define DB 64                   /* columns of the queries that stay in the first-level cache */

#define ALIGNED __attribute__((aligned(64)))
#define AT(p, v) ((p) + (v) * VW) /* vector v */

/* VW vectors of heads to VW vectors of columns: log2(VW) times halves of distant vectors are zipped. */
FN void transpose(F *a)
{
#if VW > 1
  UNROLL for (int s = VW; s > 1; s /= 2) {
    F b[VW];
    UNROLL for (int i = 0; i < VW / 2; i++) {
      b[2 * i].even = a[i].lo, b[2 * i].odd = a[i + VW / 2].lo;
      b[2 * i + 1].even = a[i].hi, b[2 * i + 1].odd = a[i + VW / 2].hi;
    }
    UNROLL for (int i = 0; i < VW; i++) a[i] = b[i];
  }
#endif
}

/* Queries times scale, [column][head]; heads that are not there are zero. */
FN void turn_queries(GLOBAL const float *q, int n_heads, float scale, float *qt)
{
  for (int hv = 0; hv < NV; hv++)
    for (int dv = 0; dv < VECS; dv++) {
      F a[VW];
      UNROLL for (int i = 0; i < VW; i++) {
        a[i] = (F)(0.0f);
        if (hv * VW + i < n_heads) a[i] = VLOAD(q + (size_t)(hv * VW + i) * DH + dv * VW) * (F)(scale);
      }
      transpose(a);
      UNROLL for (int i = 0; i < VW; i++) VSTORE(a[i], AT(qt, (dv * VW + i) * NV + hv));
    }
}

/* RT rows times HV vectors of heads over the columns [d0, d1), onto s. */
FN void score_tile(const float *qt, const float *k, float *s, int d0, int d1)
{
  F acc[RT][HV];
  UNROLL for (int r = 0; r < RT; r++) UNROLL for (int j = 0; j < HV; j++) acc[r][j] = d0 ? VLOAD(AT(s, r * NV + j)) : (F)(0.0f);
  for (int d = d0; d < d1; d++) {
    F q[HV];
    UNROLL for (int j = 0; j < HV; j++) q[j] = VLOAD(AT(qt, d * NV + j));
    UNROLL for (int r = 0; r < RT; r++) {
      F x = (F)(k[r * KV * VW + d]);
      UNROLL for (int j = 0; j < HV; j++) acc[r][j] = FMA(x, q[j], acc[r][j]);
    }
  }
  UNROLL for (int r = 0; r < RT; r++) UNROLL for (int j = 0; j < HV; j++) VSTORE(acc[r][j], AT(s, r * NV + j));
}

/* The softmax of n new rows of scores: s becomes the weights, keep what the sums so far are worth. */
FN void weigh(float *s, int n, float *top, float *sum, float *keep)
{
  for (int j = 0; j < NV; j++) {
    F m = VLOAD(AT(top, j)), was = m;
    for (int r = 0; r < n; r++) {
      F v = VLOAD(AT(s, r * NV + j));
      m = v > m ? v : m;
    }
    F worth = exp_low(was - m), l = VLOAD(AT(sum, j)) * worth;
    for (int r = 0; r < n; r++) {
      F e = exp_low(VLOAD(AT(s, r * NV + j)) - m);
      VSTORE(e, AT(s, r * NV + j));
      l += e;
    }
    VSTORE(m, AT(top, j));
    VSTORE(l, AT(sum, j));
    VSTORE(worth, AT(keep, j));
  }
}

/* HT heads times DT vectors of columns of the sums, in PO. */
FN void sum_tile(const float *w, const float *keep, const float *k, int n, int start, GLOBAL float *po)
{
  F acc[HT][DT];
  UNROLL for (int h = 0; h < HT; h++) UNROLL for (int j = 0; j < DT; j++) {
    acc[h][j] = (F)(0.0f);
    if (!start) acc[h][j] = VLOAD(AT(po + h * DH, j)) * (F)(keep[h]);
  }
  for (int r = 0; r < n; r++) {
    F x[DT];
    UNROLL for (int j = 0; j < DT; j++) x[j] = VLOAD(AT(k, r * KV + j));
    UNROLL for (int h = 0; h < HT; h++) {
      F p = (F)(w[r * HB + h]);
      UNROLL for (int j = 0; j < DT; j++) acc[h][j] = FMA(p, x[j], acc[h][j]);
    }
  }
  UNROLL for (int h = 0; h < HT; h++) UNROLL for (int j = 0; j < DT; j++) VSTORE(acc[h][j], AT(po + h * DH, j));
}

FN_IN void attend(const view *a, GLOBAL const float *q, int n_heads, int v0, int v1, float scale, GLOBAL float *po, GLOBAL float *ml)
{
  ALIGNED float qt[DH * HB], k[PADDED * KV * VW], s[PADDED * HB], top[HB], sum[HB], keep[HB];
  for (int h = 0; h < HB; h++) top[h] = MINUS_INF, sum[h] = 0.0f;
  if (v0 < v1) turn_queries(q, n_heads, scale, qt);
  for (int v = v0; v < v1; v += RB) {
    int n = v1 - v < RB ? v1 - v : RB;
    for (int r = 0; r < CEIL_DIV(n, RT) * RT; r++) { /* what fills a tile is computed and not used */
      int in_page;
      GLOBAL const uchar *part = place(a, v + (r < n ? r : n - 1), &in_page);
      for (int j = 0; j < VECS; j++) VSTORE(decode(part, in_page, j), AT(k, r * KV + j));
    }
    for (int d = 0; d < DH; d += DB)
      for (int r = 0; r < n; r += RT)
        for (int j = 0; j < NV; j += HV) score_tile(AT(qt, j), AT(k, r * KV), AT(s, r * NV + j), d, d + DB < DH ? d + DB : DH);
    weigh(s, n, top, sum, keep);
    for (int i = 0; i < VECS; i += DT)
      for (int h = 0; h < n_heads; h += HT) sum_tile(s + h, keep + h, AT(k, i), n, v == v0, po + (size_t)h * DH + i * VW);
  }
  if (v0 >= v1)
    for (int i = 0; i < n_heads * DH; i++) po[i] = 0.0f;
  for (int h = 0; h < n_heads; h++) ml[2 * h] = top[h], ml[2 * h + 1] = sum[h];
}
#elif BY_UNIT
#include "attn_unit.clh"
#else
#define TILES ((HB / HT) * (RB / RT))
#define LT (L / TILES > 0 ? L / TILES : 1)
#define OV CEIL_DIV(VECS, L) /* vectors of columns a work-item */

typedef struct pad { /* local memory */
  F q[HB * VECS], k[RB * VECS];
  GLOBAL const uchar *page[2 * RB]; /* of this turn's rows and the next one's: the page's part, and the row in it */
  GLOBAL const uchar *slabs[16];
  int row[2 * RB];
  float part[HB * RB * LT], w[HB * RB], top[HB], sum[HB], keep[HB];
} pad;

FN float lanes_add(F v)
{
#if VW == 1
  return v;
#else
  float a[VW], sum = 0.0f;
  VSTORE(v, a);
  UNROLL for (int i = 0; i < VW; i++) sum += a[i];
  return sum;
#endif
}

FN void stage_queries(GLOBAL const float *q, int n_heads, float scale, LOCAL_PTR pad *p, int lane)
{
  for (int i = lane; i < HB * VECS; i += L) {
    F v = (F)(0.0f);
    if (i / VECS < n_heads) v = VLOAD(q + i * VW) * (F)(scale);
    p->q[i] = v;
  }
  for (int h = lane; h < HB; h += L) p->top[h] = MINUS_INF, p->sum[h] = 0.0f;
}

/* HT x RT scores over every LT-th vector: part[head][row][LT]. */
FN void score_part(LOCAL_PTR pad *p, int lane)
{
  for (int item = lane; item < TILES * LT; item += L) {
    int tile = item / LT, part = item - tile * LT, across = tile / (RB / RT), h = across * HT, r = (tile - across * (RB / RT)) * RT;
    F acc[HT][RT];
    UNROLL for (int i = 0; i < HT; i++) UNROLL for (int j = 0; j < RT; j++) acc[i][j] = (F)(0.0f);
    for (int d = part; d < VECS; d += LT) {
      F x[RT];
      UNROLL for (int j = 0; j < RT; j++) x[j] = p->k[(r + j) * VECS + d];
      UNROLL for (int i = 0; i < HT; i++) {
        F y = p->q[(h + i) * VECS + d];
        UNROLL for (int j = 0; j < RT; j++) acc[i][j] = FMA(y, x[j], acc[i][j]);
      }
    }
    UNROLL for (int i = 0; i < HT; i++) UNROLL for (int j = 0; j < RT; j++) p->part[((h + i) * RB + r + j) * LT + part] = lanes_add(acc[i][j]);
  }
}

/* The parts' sums, in p->w; then the softmax of n new rows of scores: p->w the weights (0 beyond n), p->keep what the sums so far are worth. */
FN_IN void weigh(LOCAL_PTR pad *p, int n, int lane)
{
  for (int i = lane; i < HB * RB; i += L) {
    float s = 0.0f;
    for (int j = 0; j < LT; j++) s += p->part[i * LT + j];
    p->w[i] = s;
  }
  BARRIER();
  for (int h = lane; h < HB; h += L) {
    float m = p->top[h];
    for (int r = 0; r < n; r++) m = p->w[h * RB + r] > m ? p->w[h * RB + r] : m;
    float keep = EXP(p->top[h] - m), l = p->sum[h] * keep;
    for (int r = 0; r < RB; r++) {
      float e = r < n ? EXP(p->w[h * RB + r] - m) : 0.0f;
      p->w[h * RB + r] = e;
      l += e;
    }
    p->top[h] = m, p->sum[h] = l, p->keep[h] = keep;
  }
  BARRIER();
}

FN void sum_rows(LOCAL_PTR const pad *p, F acc[OV][HB], int lane)
{
  UNROLL for (int j = 0; j < OV; j++) {
    int d = lane + j * L;
    if (d < VECS) {
      UNROLL for (int h = 0; h < HB; h++) acc[j][h] = acc[j][h] * (F)(p->keep[h]);
      UNROLL for (int r = 0; r < RB; r++) {
        F x = p->k[r * VECS + d];
        UNROLL for (int h = 0; h < HB; h++) acc[j][h] = FMA((F)(p->w[h * RB + r]), x, acc[j][h]);
      }
    }
  }
}

FN_IN void place_rows(const view *a, int v, int v1, LOCAL_PTR pad *p, int turn, int lane)
{
  for (int r = lane; r < RB; r += L) {
    int in_page;
    p->page[turn + r] = place(a, v + r < v1 ? v + r : v1 - 1, &in_page);
    p->row[turn + r] = in_page;
  }
}

FN_IN void attend(const view *a, GLOBAL const float *q, int n_heads, int v0, int v1, float scale, GLOBAL float *po, GLOBAL float *ml,
                  LOCAL_PTR pad *p, int lane)
{
  F acc[OV][HB];
  UNROLL for (int j = 0; j < OV; j++) UNROLL for (int h = 0; h < HB; h++) acc[j][h] = (F)(0.0f);
  stage_queries(q, n_heads, scale, p, lane);
  if (v0 < v1) place_rows(a, v0, v1, p, 0, lane);
  BARRIER();
  for (int v = v0, turn = 0; v < v1; v += RB, turn ^= RB) {
    for (int i = lane; i < RB * VECS; i += L) {
      int r = i / VECS;
      p->k[i] = decode(p->page[turn + r], p->row[turn + r], i - r * VECS);
    }
    BARRIER();
    score_part(p, lane);
    if (v + RB < v1) place_rows(a, v + RB, v1, p, turn ^ RB, lane);
    BARRIER();
    weigh(p, v1 - v < RB ? v1 - v : RB, lane);
    sum_rows(p, acc, lane);
    BARRIER();
  }
  UNROLL for (int j = 0; j < OV; j++) UNROLL for (int h = 0; h < HB; h++)
    if (lane + j * L < VECS && h < n_heads) VSTORE(acc[j][h], po + (size_t)h * DH + (lane + j * L) * VW);
  for (int h = lane; h < n_heads; h += L) ml[2 * h] = p->top[h], ml[2 * h + 1] = p->sum[h];
}
#endif

/* Rows of compressed positions that a token attends to which sees so many positions. */
FN int compressed_rows(int seen, int ratio, int K)
{
#if SEL == 1
  return seen / ratio;
#elif SEL == 2
  return seen / ratio < K ? seen / ratio : K;
#else
  return 0;
#endif
}

ATTN_KERNEL void attn(GLOBAL const float *Q, GLOBAL const int *rows, GLOBAL const int *tables, GLOBAL const int *idx, GLOBAL float *PO, GLOBAL float *ML,
                 SLABS(GLOBAL const uchar *, W, COMMA), SLABS(GLOBAL const uchar *, C, COMMA), GLOBAL const E *sink,
                 GLOBAL const float *rope, GLOBAL float *O, GLOBAL int *arrivals, int T, int window, int w_table, int w_pages,
                 int w_page_bytes, int w_at, int ratio, int c_table, int c_page_bytes, int c_at, int K, int n_splits, int rows_per_split, float scale)
{
  int h0 = (int)GROUP_ID(0) * HB, split = GROUP_ID(1), n_heads = NH - h0 < HB ? NH - h0 : HB;
  size_t t = GROUP_ID(2), out = (t * n_splits + split) * NH + h0;
  int seen = rows[2 * t] + 1, n = seen < window ? seen : window;
  tables += rows[2 * t + 1];
#if L == 1
#define WHERE W0, W1, W2, W3, W4, W5, W6, W7, C0, C1, C2, C3, C4, C5, C6, C7
#define PAD_GIVEN
#else
  LOCAL pad p;
  if (LOCAL_ID(0) == 0) {
    KEEP_SLABS(W, p.slabs, 0), KEEP_SLABS(C, p.slabs, 8);
  }
  BARRIER();
#define WHERE p.slabs
#define PAD_GIVEN , &p, LOCAL_ID(0)
#endif
  view a = {WHERE, tables + w_table, tables + c_table, idx + t * K, w_page_bytes, c_page_bytes, w_at, c_at, seen - n, n, w_pages};
  n += compressed_rows(seen, ratio, K);
  long v0 = (long)split * rows_per_split, v1 = v0 + rows_per_split;
  if (v0 > n) v0 = n;
  if (v1 > n) v1 = n;
  attend(&a, Q + (t * NH + h0) * DH, n_heads, (int)v0, (int)v1, scale, PO + out * DH, ML + out * 2 PAD_GIVEN);
#if SEL == 2 /* a choice among scores that are no numbers is none */
  if (n > (seen < window ? seen : window) && a.idx[0] < 0)
    for (int h = LOCAL_ID(0); h < n_heads; h += L) ML[(out + h) * 2 + 1] = INFINITY - INFINITY;
#endif
#if MERGE
  SHARED_ROOM int last;
  SPACE_ROOM merging m;
  if (arrived_last(arrivals + t * CEIL_DIV(NH, HB) + GROUP_ID(0), n_splits, &last, LOCAL_ID(0)))
    merge_heads(PO, ML, sink, rope, O, t, h0, n_heads, n_splits, &m, LOCAL_ID(0));
#endif
}
