/* index_store: indexer keys into the cache's tiles of 16 rows. The contract is in kernels/ops.h. A work-group is a row. */
#include "cache.clh"
#include "pages.clh"
#define WORDS CEIL_DIV(IH, 8)
#define GROUPS CEIL_DIV(IH, FP4_GROUP)

KERNEL void index_store(GLOBAL const float *X, GLOBAL const int *rows, GLOBAL const int *tables, SLABS(GLOBAL uchar *, S, COMMA), int n, int table,
                        int page_bytes, int at)
{
#if !EXACT
  ROW_ARRAY F x[ROW_VECS];
  ROW_ARRAY U c[ROW_VECS];
#endif
  size_t i0 = GROUP_ID(0);
  GLOBAL const float *src = X + i0 * IH;
  uint r = IN_PAGE(rows[2 * i0]), tile = r / 16u, in_tile = r % 16u;
  int lane = LOCAL_ID(0), entry = tables[rows[2 * i0 + 1] + table + (int)PAGE_OF(rows[2 * i0])];
  GLOBAL uchar *part = PART(S, entry, page_bytes, at);
#if EXACT
  GLOBAL float *key = (GLOBAL float *)part + tile * (IH * 16) + in_tile;
  for (int i = lane; i < IH; i += L) key[i * 16] = src[i];
#else
  GLOBAL uint *codes = (GLOBAL uint *)part + tile * (WORDS * 16) + in_tile;
  GLOBAL uchar *scales = part + PAGE * WORDS * 4 + tile * (GROUPS * 16) + in_tile;
  hadamard(src, x, lane);
  for (int i = lane; i < ROW_VECS; i += L) {
    uint scale = fp4_group_scale(x, i / GROUP_VECS);
    c[i] = to_e2m1(x[i] * (F)(scale_inverse(scale)));
    if (i % GROUP_VECS == 0) scales[i / GROUP_VECS * 16] = (uchar)scale;
  }
  ROW_BARRIER();
  ROW const uint *code = (ROW const uint *)c;
  for (int word = lane; word < WORDS; word += L) {
    uint eight = 0;
    for (int k = 0; k < 8 && word * 8 + k < IH; k++) eight |= code[word * 8 + k] << (4 * k);
    codes[word * 16] = eight;
  }
#endif
}
