/* index_store: indexer keys into the cache's tiles of 16 rows. The contract is in kernels/ops.h. A work-group is a row. */
#include "index_row.clh"

KERNEL void index_store(GLOBAL const float *X, GLOBAL const int *rows, GLOBAL const int *tables, SLABS(GLOBAL uchar *, S, COMMA), int n, int table,
                        int page_bytes, int at)
{
  KEY_ROOM;
  size_t i = GROUP_ID(0);
  int entry = tables[rows[2 * i + 1] + table + (int)PAGE_OF(rows[2 * i])];
  store_key(X + i * IH, PART(S, entry, page_bytes, at), IN_PAGE(rows[2 * i]), x, c, LOCAL_ID(0));
}
