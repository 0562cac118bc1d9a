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
#define PART_IN(S, at, entry, bytes, offset) (p.slab[at + ((entry) >> 24)] + PART_OFFSET(entry, bytes, offset))
#define TAKE_BACK() GLOBAL const E *norm = p.norm; rope = p.rope, rows = p.rows, tables = p.tables
#define SYNC() BARRIER()
#else
#define PART_IN(S, at, entry, bytes, offset) PART(S, entry, bytes, offset)
#define TAKE_BACK() GLOBAL const E *norm = of_index ? b_norm : a_norm
#define SYNC()
#endif

/* A window's row to y, by the group. */
FN_IN void pool_window(GLOBAL const float *in, GLOBAL const float *ape, GLOBAL const int *win, GLOBAL const uchar *state, GLOBAL float *y, int dim, int lane)
{
  for (int d = lane * VW; d < dim; d += L * VW) {
    int n = dim - d < VW ? dim - d : VW;
    put_pooled(pooled(in, ape, win, state, R, dim, 2 * COFF * dim, COFF, d, n), y + d, n);
  }
  SYNC();
}

/* The row y into the cache, by the group. most: room for KV_ROOM where there are several work-items. */
FN_IN void keep_row(GLOBAL const float *y, GLOBAL uchar *part, uint r, LOCAL_PTR float *most, int lane)
{
#if L > 1
  store_row_together(y, part, r, most, lane);
#else
  for (int group = 0; group <= GROUPS; group++) store_row(y, part, r, group);
#endif
}

KERNEL void closing(GLOBAL const float *A, GLOBAL const float *a_ape, GLOBAL const E *a_norm, GLOBAL float *YA, GLOBAL const float *B, GLOBAL const float *b_ape,
                    GLOBAL const E *b_norm, GLOBAL float *YB, GLOBAL const int *wins, GLOBAL const float *rope, GLOBAL const int *rows, GLOBAL const int *tables,
                    SLABS(GLOBAL uchar *, S, COMMA), SLABS(GLOBAL uchar *, C, COMMA), SLABS(GLOBAL uchar *, I, COMMA), int n_win,
                    int slot_bytes, int a_at, int b_at, int c_table, int c_page_bytes, int c_at, int i_table, int i_page_bytes, int i_at, float eps)
{
#if L > 1
  LOCAL float tmp[L], most[KV_ROOM];
  LOCAL places p;
#else
  LOCAL_PTR float *tmp = 0, *most = 0;
#endif
#ifdef IH
  KEY_ROOM;
  int of_index = (int)GROUP_ID(1), dim = of_index ? IH : DH;
#else
  const int of_index = 0, dim = DH;
#endif
  int lane = LOCAL_ID(0);
  size_t i = GROUP_ID(0);
#if L > 1
  if (lane == 0) {
    KEEP_SLABS(S, p.slab, 0), KEEP_SLABS(C, p.slab, 8), KEEP_SLABS(I, p.slab, 16);
    p.norm = of_index ? b_norm : a_norm, p.rope = rope, p.rows = rows, p.tables = tables;
  }
  BARRIER();
#endif
  GLOBAL const int *win = wins + i * 5;
  GLOBAL const float *rows_in = of_index ? B : A, *ape = of_index ? b_ape : a_ape;
  GLOBAL const uchar *state = PART_IN(S, 0, win[3], slot_bytes, of_index ? b_at : a_at);
  GLOBAL float *y = (of_index ? YB : YA) + i * dim;
  pool_window(rows_in, ape, win, state, y, dim, lane);
  TAKE_BACK();
  norm_row(y, norm, rope + i * RD, y, dim, RD, eps, 1, tmp, lane);
  SYNC();
  int number = rows[2 * i], entry = tables[rows[2 * i + 1] + (of_index ? i_table : c_table) + (int)PAGE_OF(number)];
#ifdef IH
  if (of_index) {
    store_key(y, PART_IN(I, 16, entry, i_page_bytes, i_at), IN_PAGE(number), x, c, lane);
    return;
  }
#endif
  keep_row(y, PART_IN(C, 8, entry, c_page_bytes, c_at), IN_PAGE(number), most, lane);
}
