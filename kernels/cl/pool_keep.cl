/* pool_keep: the chunk's last positions into the compressor's state. The contract is in kernels/ops.h. A work-group is a position. */

KERNEL void pool_keep(GLOBAL const float *kv, GLOBAL const float *score, GLOBAL float *kv_state, GLOBAL float *score_state, int T, int p0, int R,
                      int dim, int ld)
{
  int coff = R == 4 ? 2 : 1, n = T < coff * R ? T : coff * R, t = T - n + (int)GROUP_ID(0), wide = coff * dim;
  size_t from = (size_t)t * ld, to = (size_t)((p0 + t) % (coff * R)) * wide;
  for (int d = LOCAL_ID(0); d < wide; d += L) {
    kv_state[to + d] = kv[from + d];
    score_state[to + d] = score[from + d];
  }
}
