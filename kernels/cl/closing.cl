/* closing: windows that close, from pooling to the cache's row. The contract is in kernels/joined.h. Group (i, which): window i, of the compressor or of
 * the indexer's. */
#define ET NORM_WT
#define NORM 2
#if IH == 0
#undef IH
#endif
#include "norm.clh"
#include "kv_row.clh"
#ifdef IH
#include "index_row.clh"
#endif
#define APE float
#define ape_one(p, i) ((p)[i])
#define ape_some(p, i) VLOAD((p) + (i))
#include "pool.clh"

#if L > 1
/* Local memory: what is wanted late, or by few, takes no registers meanwhile. */
typedef struct places { GLOBAL uchar *slab[24]; GLOBAL const E *norm; GLOBAL const float *rope; GLOBAL const int *rows, *tables; } places;
#define KEEP_SLABS(S, at) \
  p.slab[at] = S##0, p.slab[at + 1] = S##1, p.slab[at + 2] = S##2, p.slab[at + 3] = S##3, p.slab[at + 4] = S##4, p.slab[at + 5] = S##5, \
  p.slab[at + 6] = S##6, p.slab[at + 7] = S##7
#define PART_IN(S, at, entry, bytes, offset) (p.slab[at + ((entry) >> 24)] + PART_OFFSET(entry, bytes, offset))
#else
#define PART_IN(S, at, entry, bytes, offset) PART(S, entry, bytes, offset)
#endif

KERNEL void closing(GLOBAL const float *A, GLOBAL const float *a_ape, GLOBAL const E *a_norm, GLOBAL float *YA, GLOBAL const float *B, GLOBAL const float *b_ape,
                    GLOBAL const E *b_norm, GLOBAL float *YB, GLOBAL const int *wins, GLOBAL const float *rope, GLOBAL const int *rows, GLOBAL const int *tables,
                    SLABS(GLOBAL uchar *, S, COMMA), SLABS(GLOBAL uchar *, C, COMMA), SLABS(GLOBAL uchar *, I, COMMA), int n_win,
                    int slot_bytes, int a_at, int b_at, int c_table, int c_page_bytes, int c_at, int i_table, int i_page_bytes, int i_at, float eps)
{
#if L > 1
  LOCAL float tmp[L], most[KV_ROOM];
  LOCAL places p;
#else
  LOCAL_PTR float *tmp = 0;
#endif
#ifdef IH
#if EXACT
  ROW F *x = 0;
  ROW U *c = 0;
#else
  ROW_ARRAY F x[ROW_VECS];
  ROW_ARRAY U c[ROW_VECS];
#endif
  int of_index = (int)GROUP_ID(1), dim = of_index ? IH : DH;
#else
  const int of_index = 0, dim = DH;
#endif
  int lane = LOCAL_ID(0);
  size_t i = GROUP_ID(0);
#if L > 1
  if (lane == 0) {
    KEEP_SLABS(S, 0), KEEP_SLABS(C, 8), KEEP_SLABS(I, 16);
    p.norm = of_index ? b_norm : a_norm, p.rope = rope, p.rows = rows, p.tables = tables;
  }
  BARRIER();
#endif
  GLOBAL const int *win = wins + i * 5;
  GLOBAL const float *rows_in = of_index ? B : A, *ape = of_index ? b_ape : a_ape;
  GLOBAL const uchar *state = PART_IN(S, 0, win[3], slot_bytes, of_index ? b_at : a_at);
  GLOBAL float *y = (of_index ? YB : YA) + i * dim;
  for (int d = lane * VW; d < dim; d += L * VW) {
    int n = dim - d < VW ? dim - d : VW;
    put_pooled(pooled(rows_in, ape, win, state, R, dim, 2 * COFF * dim, COFF, d, n), y + d, n);
  }
#if L > 1
  BARRIER();
#endif
#if L > 1
  rope = p.rope, rows = p.rows, tables = p.tables;
  norm_row(y, p.norm, rope + i * RD, y, dim, RD, eps, 1, tmp, lane);
  BARRIER();
#else
  norm_row(y, of_index ? b_norm : a_norm, rope + i * RD, y, dim, RD, eps, 1, tmp, lane);
#endif
  int number = rows[2 * i], entry = tables[rows[2 * i + 1] + (of_index ? i_table : c_table) + (int)PAGE_OF(number)];
#ifdef IH
  if (of_index) {
    store_key(y, PART_IN(I, 16, entry, i_page_bytes, i_at), IN_PAGE(number), x, c, lane);
    return;
  }
#endif
  GLOBAL uchar *part = PART_IN(C, 8, entry, c_page_bytes, c_at);
#if L > 1
  store_row_together(y, part, IN_PAGE(number), most, lane);
#else
  for (int group = 0; group <= GROUPS; group++) store_row(y, part, IN_PAGE(number), group);
#endif
}
