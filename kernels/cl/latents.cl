/* latents: what follows the first products of attention. The contract is in kernels/ops.h.
 * Group (i, job): token i; the query's latent, the row of keys and values, and then what each compressor keeps. */
#define ET NORM_WT
#define NORM 2
#include "norm.clh"
#include "kv_row.clh"

FN void keep(GLOBAL const float *row, GLOBAL uchar *state, int position, int held, int wide, int lane)
{
  GLOBAL float *to = (GLOBAL float *)state + (size_t)(position % held) * wide;
  for (int d = lane; d < wide; d += L) {
    to[d] = row[d];
    to[(size_t)held * wide + d] = row[wide + d];
  }
}

KERNEL void latents(GLOBAL float *Q, GLOBAL const E *q_norm, GLOBAL float *KV, GLOBAL const E *kv_norm, GLOBAL const float *rope, GLOBAL const int *rows,
                    GLOBAL const int *tables, GLOBAL const float *A, GLOBAL const float *B, GLOBAL const int *keeps, SLABS(GLOBAL uchar *, W, COMMA),
                    SLABS(GLOBAL uchar *, S, COMMA), int n, int n_kept, int q_dim, int table, int ring, int page_bytes, int at, int R, int coff,
                    int slot_bytes, int a_dim, int a_at, int b_dim, int b_at, float eps)
{
#if L > 1
  LOCAL float tmp[L], most[KV_ROOM];
#else
  LOCAL_PTR float *tmp = 0;
#endif
  int lane = LOCAL_ID(0), job = (int)GROUP_ID(1);
  size_t i = GROUP_ID(0);
  int number = rows[2 * i], start = rows[2 * i + 1] + table;
  if (job < 2) {
    GLOBAL float *x = job ? KV + i * DH : Q + i * q_dim;
    norm_row(x, job ? kv_norm : q_norm, rope + i * RD, x, job ? DH : q_dim, job ? RD : 0, eps, 1, tmp, lane);
#if L > 1
    BARRIER();
#endif
    if (!job) return;
    GLOBAL uchar *part = KV_PART(W, tables, number, start, ring, page_bytes, at);
#if L > 1
    store_row_together(x, part, IN_PAGE(number), most, lane);
#else
    for (int group = 0; group <= GROUPS; group++) store_row(x, part, IN_PAGE(number), group);
#endif
  } else {
    int wide = coff * (job == 2 ? a_dim : b_dim), slot = keeps[i * 5 + 4];
    keep((job == 2 ? A : B) + i * 2 * wide, PART(S, slot, slot_bytes, job == 2 ? a_at : b_at), number, coff * R, wide, lane);
  }
}
