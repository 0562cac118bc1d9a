/* topk: merges a round of scores into each token's running choice. The contract is in kernels/ops.h. A work-group is a token.
 * Scores that may still be chosen gather in a buffer of BUF, in order; when it is full or the round ends it is merged: the K-th best key
 * of choice and buffer is found bit by bit by counting, then both are compacted in place, so that rows stay ascending and of equal
 * scores the lowest rows stay. From then on only scores above that key are gathered. Nothing depends on K, the rows or L being small.
 * Keys: the scores' bits as uints in the scores' order, NaN 0, -0 as +0. BUF is a multiple of VW and at least L * VW. */
#include "cache.clh"

#if L > 1
#define SPACE LOCAL_PTR
#define ARRAY LOCAL
#define SYNC() BARRIER()
#else
#define SPACE
#define ARRAY
#define SYNC()
#endif

FN uint key_of(float v)
{
  uint bits = AS(uint, v), m = bits & 0x7fffffffu;
  uint key = bits >> 31 ? ~bits : bits | 0x80000000u;
  key = m == 0u ? 0x80000000u : key;
  return m > 0x7f800000u ? 0u : key;
}

FN U keys_of(F v)
{
  U bits = AS_U(v), m = bits & (U)(0x7fffffffu);
  U key = bits > (U)(0x7fffffffu) ? ~bits : bits | (U)(0x80000000u);
  key = m == (U)(0u) ? (U)(0x80000000u) : key;
  return m > (U)(0x7f800000u) ? (U)(0u) : key;
}

/* The sum of v over the work-items before this one; *all: over all. */
FN_IN uint scan(uint v, SPACE uint *tmp, int lane, uint *all)
{
#if L > 1
  tmp[lane] = v;
  BARRIER();
  for (int s = 1; s < L; s *= 2) {
    uint a = lane >= s ? tmp[lane - s] : 0u;
    BARRIER();
    tmp[lane] += a;
    BARRIER();
  }
  *all = tmp[L - 1];
  uint before = tmp[lane] - v;
  BARRIER();
  return before;
#else
  *all = v;
  return 0u;
#endif
}

FN uint lanes_total(U v)
{
#if VW == 1
  return v;
#else
  float a[VW];
  uint sum = 0;
  VSTORE(AS_F(v), a);
  UNROLL for (int i = 0; i < VW; i++) sum += AS(uint, a[i]);
  return sum;
#endif
}

/* How many of the choice and the buffer have a key of at least `least`. Lanes count in threes: Oclgrind makes 255 of a lane's truth when the
 * compiler turns counting by one into a conversion. */
FN_IN uint count(GLOBAL const float *val, int held, SPACE const uint *key, int n, uint least, SPACE uint *tmp, int lane)
{
  U some = (U)(0u);
  uint more = 0, all;
  int i;
  for (i = lane * VW; i + VW <= held; i += L * VW) some += MASK(keys_of(VLOAD(val + i)) >= (U)(least)) & (U)(3u);
  for (i = held / VW * VW + lane; i < held; i += L) more += key_of(val[i]) >= least ? 1u : 0u;
  for (i = lane * VW; i + VW <= n; i += L * VW) some += MASK(VLOAD(key + i) >= (U)(least)) & (U)(3u);
  for (i = n / VW * VW + lane; i < n; i += L) more += key[i] >= least ? 1u : 0u;
  scan(more + lanes_total(some) / 3u, tmp, lane, &all);
  return all;
}

/* What stays of a list: all above `least`, and of those equal to it the first until `room` are gone. *above, *equal: met so far. Every
 * work-item gives one entry; returns its place, or -1. The counts of one turn share a scan, above in the low half. */
FN_IN int stay(uint key, int real, uint least, uint room, uint *above, uint *equal, SPACE uint *tmp, int lane)
{
  uint is_above = real && key > least, is_equal = real && key == least, all;
  uint before = scan(is_above | is_equal << 16, tmp, lane, &all), eq = *equal + (before >> 16);
  int place = (int)(*above + (before & 0xffffu) + (eq < room ? eq : room));
  *above += all & 0xffffu;
  *equal += all >> 16;
  return is_above || (is_equal && eq < room) ? place : -1;
}

/* Merges n buffered rows; s[row] is a row's score. Returns the new count, *least the K-th best key once there are K. The loops' bounds stand
 * for branches: every work-item meets every barrier, and there is no way around one for a compiler to get wrong. */
FN_IN int merge(GLOBAL int *idx, GLOBAL float *val, int held, SPACE const uint *key, SPACE const int *row, int n, GLOBAL const float *s, int row0, int K,
             uint *least, SPACE uint *tmp, int lane)
{
  int total = held + n, fits = total <= K, old = fits ? 0 : held, fresh = fits ? 0 : n; /* old, fresh: to be chosen from */
  for (int i = lane; i < n - fresh; i += L) idx[held + i] = row[i], val[held + i] = s[row[i] - row0];
  SYNC();
  held += n - fresh;
  uint found = 0, above = 0, equal = 0, room = K;
  for (uint bit = total < K ? 0u : 1u << 31; bit; bit >>= 1)
    found |= count(val, held, key, fresh, found | bit, tmp, lane) >= (uint)K ? bit : 0u;
  room -= found == 0xffffffffu ? 0u : count(val, old, key, fresh, found + 1u, tmp, lane);
  for (int i0 = 0; i0 < old; i0 += L) {
    int i = i0 + lane, r = 0;
    float v = 0.0f;
    if (i < old) r = idx[i], v = val[i];
    int place = stay(key_of(v), i < old, found, room, &above, &equal, tmp, lane);
    if (place >= 0) idx[place] = r, val[place] = v;
  }
  for (int i0 = 0; i0 < fresh; i0 += L) {
    int i = i0 + lane;
    int place = stay(i < fresh ? key[i] : 0u, i < fresh, found, room, &above, &equal, tmp, lane);
    if (place >= 0) idx[place] = row[i], val[place] = s[row[i] - row0];
  }
  SYNC();
  *least = found;
  return total < K ? total : K;
}

/* Gathers the rows [i, i + VW) of each work-item as far as they are below end and may be chosen: every key while the choice is not full
 * (open), else keys above `least`. Returns the new count of the buffer; *nan: whether this work-item met one. */
FN_IN int gather(GLOBAL const float *s, int i, int end, int row0, int open, uint least, SPACE uint *key, SPACE int *row, int n, uint *nan, SPACE uint *tmp, int lane)
{
  uint k[VW], mine = 0, all;
  UNROLL for (int j = 0; j < VW; j++) {
    k[j] = i + j < end ? key_of(s[i + j - row0]) : 0u;
    mine += i + j < end && (open || k[j] > least) ? 1u : 0u;
    *nan |= i + j < end && k[j] == 0u ? 1u : 0u;
  }
  int at = n + (int)scan(mine, tmp, lane, &all);
  if (mine)
    for (int j = 0; j < VW; j++)
      if (i + j < end && (open || k[j] > least)) key[at] = k[j], row[at++] = i + j;
  return n + (int)all;
}

KERNEL void topk(GLOBAL const float *S, GLOBAL int *idx, GLOBAL float *val, GLOBAL const int *rows, int T, int row0, int n_rows, int lds, int K, int R)
{
  ARRAY uint key[BUF];
  ARRAY int row[BUF];
#if L > 1
  LOCAL uint tmp[L];
#else
  uint *tmp = 0;
#endif
  int lane = LOCAL_ID(0), t = GROUP_ID(0), seen = (rows[2 * t] + 1) / R, end = row0 + n_rows < seen ? row0 + n_rows : seen;
  int held = row0 < seen ? row0 : seen;
  uint least = 0, nan = 0, met;
  held = held < K ? held : K;
  GLOBAL const float *s = S + (size_t)t * lds;
  idx += (size_t)t * K;
  val += (size_t)t * K;
  end = K > 0 ? end : row0;
  if (held > 0) nan = idx[0] < 0 ? 1u : 0u;
  SYNC();
  if (held > 0 && lane == 0) idx[0] &= 0x7fffffff;
  SYNC();
  int skip = held == K; /* a full choice is first merged with nothing, for its least key */
  for (int next = row0; next < end; skip = 0) {
    int n = 0;
    for (; next < end && !skip && n + L * VW <= BUF; next += L * VW)
      n = gather(s, next + lane * VW, end, row0, held < K, least, key, row, n, &nan, tmp, lane);
    SYNC();
    held = merge(idx, val, held, key, row, n, s, row0, K, &least, tmp, lane);
  }
  scan(nan, tmp, lane, &met);
  if (met && held > 0 && lane == 0) idx[0] |= (int)0x80000000u;
}
