/* kv_store: key/value rows into the cache. The contract is in kernels/ops.h. A work-item is a group of 64 columns of a row, or its rope
 * columns. */
#include "kv_row.clh"

KERNEL void kv_store(GLOBAL const float *X, GLOBAL const int *rows, GLOBAL const int *tables, SLABS(GLOBAL uchar *, S, COMMA), int n, int ldx,
                     int table, int ring, int page_bytes, int at)
{
  size_t item = (size_t)GROUP_ID(0) * L + LOCAL_ID(0), i = item / (GROUPS + 1);
  if (i >= (size_t)n) return;
  int number = rows[2 * i], start = rows[2 * i + 1] + table;
  GLOBAL uchar *part = KV_PART(S, tables, number, start, ring, page_bytes, at);
  store_row(X + i * ldx, part, IN_PAGE(number), (int)(item - i * (GROUPS + 1)));
}
