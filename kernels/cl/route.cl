/* route: each token's experts and their weights. The contract is in kernels/ops.h.
 * A work-group is a token. The ranking keys (score + bias) of the first MAXE experts lie in local memory, later ones are worked out
 * again for each choice; a chosen key becomes -INFINITY. A NaN ranks like the lowest finite key, so that every choice finds an expert
 * whatever the logits are; it shows in all of the token's weights, also when none of the chosen has it, and so does an infinity. */
#define ET BT
#include "elem.clh"
#include "lanes.clh"

#ifndef MAXE
#define MAXE 1024 /* a multiple of VW */
#endif
#define LOWEST (-3.402823466e38f)

/* top, inv: largest logit and 1 / sum of exp(logit - top), for the softmax. */
FN F score(F z, float top, float inv)
{
#if SCORE == 1
  return VEXP(z - SPLAT(top)) * SPLAT(inv);
#else
  F one = SPLAT(1.0f), e = VEXP(-VMAX(z, -z)), sum = one + e;
#if SCORE == 2
  return (z < SPLAT(0.0f) ? e : one) / sum;
#else
  /* log(1 + e) without losing a small e: the error of 1 + e cancels in the quotient. */
  F kept = sum - one, log1p_e = kept == SPLAT(0.0f) ? e : VLOG(sum) * (e / kept);
  return VSQRT(VMAX(z, SPLAT(0.0f)) + log1p_e);
#endif
#endif
}

FN float score_one(float z, float top, float inv)
{
  float a[VW];
  VSTORE(score(SPLAT(z), top, inv), a);
  return a[0];
}

/* What a chosen expert weighs before scaling, times exp(-shift) or its root: with shift the largest of min(z, 0) the weights' sum cannot
 * underflow, however small all the scores are. The softmax needs no sum and takes the score as it is. */
FN float weight_of(float z, float shift, float top, float inv)
{
#if SCORE == 1
  return EXP(z - top) * inv;
#else
  float e = EXP(-FABS(z)), sum = 1.0f + e, small = EXP(z - shift);
#if SCORE == 2
  return (z < 0.0f ? small : 1.0f) / sum;
#else
  float kept = sum - 1.0f, slope = kept == 0.0f ? 1.0f : LOG(sum) / kept; /* log(1 + e) / e */
  return SQRT(z < 0.0f ? small * slope : z + e * slope);
#endif
#endif
}

/* A table that lies must not become an address. */
FN float logit_of(GLOBAL const float *z, int e, int n_experts) { return z[e < 0 || e >= n_experts ? 0 : e]; }

/* VW logits from i on; beyond n: fill. */
FN F logits_at(GLOBAL const float *z, int i, int n, float fill)
{
  if (i + VW <= n) return VLOAD(z + i);
  float a[VW];
  UNROLL for (int k = 0; k < VW; k++) a[k] = i + k < n ? z[i + k] : fill;
  return VLOAD(a);
}

#if !HASH
FN F bias_at(GLOBAL const E *bias, int i, int n)
{
  if (i + VW <= n) return elems(bias, i);
  float a[VW];
  UNROLL for (int k = 0; k < VW; k++) a[k] = i + k < n ? elem(bias, i + k) : 0.0f;
  return VLOAD(a);
}

/* The best key of this work-item's stripes and its lowest index. */
FN void best_of_stripes(LOCAL_PTR const float *key, int n, int lane, float *best, int *index)
{
  F top = SPLAT(-INFINITY);
  for (int i = lane * VW; i < n; i += L * VW) top = VMAX(top, VLOAD(key + i));
  float a[VW], b;
  VSTORE(top, a);
  b = a[0];
  UNROLL for (int k = 1; k < VW; k++) b = FMAX(b, a[k]);
  *best = b;
  *index = -1;
  for (int i = lane * VW; i < n && *index < 0; i += L * VW) {
    UNROLL for (int k = VW - 1; k >= 0; k--) *index = i + k < n && key[i + k] == b ? i + k : *index;
  }
}

/* 1 where one of the first n keys is no finite number, else what was found before. */
FN float spoiled(F key, int n, float before)
{
  float a[VW];
  VSTORE(key, a);
  UNROLL for (int k = 0; k < VW; k++) before = k < n && a[k] - a[k] != 0.0f ? 1.0f : before;
  return before;
}

FN int better(float a, int i, float b, int j) { return a > b || (a == b && (uint)i < (uint)j); }
#endif

KERNEL void route(GLOBAL const float *logits, GLOBAL const E *bias, GLOBAL const int *tokens, GLOBAL const int *tid2eid, GLOBAL int *ids,
                  GLOBAL float *w, int T, int n_experts, int n_used, int ld, float route_scale)
{
#if L > 1
  LOCAL float tmp[L];
#else
  LOCAL_PTR float *tmp = 0;
#endif
  int lane = LOCAL_ID(0);
  size_t t = GROUP_ID(0);
  GLOBAL const float *z = logits + t * ld;
  float top = 0.0f, inv = 1.0f, bad = 0.0f;
  ids += t * n_used;
  w += t * n_used;

#if SCORE == 1
  F most = SPLAT(-INFINITY), sum = SPLAT(0.0f);
  float a[VW];
  for (int i = lane * VW; i < n_experts; i += L * VW) most = VMAX(most, logits_at(z, i, n_experts, -INFINITY));
  VSTORE(most, a);
  top = a[0];
  UNROLL for (int k = 1; k < VW; k++) top = FMAX(top, a[k]);
  top = group_max(top, tmp, lane);
  for (int i = lane * VW; i < n_experts; i += L * VW) sum += VEXP(logits_at(z, i, n_experts, -INFINITY) - SPLAT(top));
  inv = 1.0f / group_sum(lanes_sum(sum), tmp, lane);
#endif

#if HASH
  GLOBAL const int *row = tid2eid + (size_t)tokens[t] * n_used;
  for (int i = lane; i < n_used; i += L) ids[i] = row[i];
#else
  LOCAL float key[MAXE];
#if L > 1
  LOCAL int at[L];
#endif
  int kept = n_experts < MAXE ? n_experts : MAXE, last = -1;
  float last_key = INFINITY;
  for (int i = lane * VW; i < kept; i += L * VW) {
    F v = logits_at(z, i, n_experts, 0.0f), k = score(v, top, inv) + bias_at(bias, i, n_experts);
    bad = spoiled(k + (v - v), kept - i, bad);
    VSTORE(VMAX(k, SPLAT(LOWEST)), key + i);
    for (int j = kept - i; j < VW; j++) key[i + j] = -INFINITY;
  }
  for (int chosen = 0; chosen < n_used; chosen++) {
    float best;
    int index;
    best_of_stripes(key, kept, lane, &best, &index);
    for (int e = MAXE + lane; e < n_experts; e += L) {
      float k = score_one(z[e], top, inv) + elem(bias, e);
      bad = k - k != 0.0f || z[e] - z[e] != 0.0f ? 1.0f : bad;
      k = FMAX(k, LOWEST);
      int open = k < last_key || (k == last_key && e > last);
      if (open && better(k, e, best, index)) {
        best = k;
        index = e;
      }
    }
#if L > 1
    tmp[lane] = best;
    at[lane] = index;
    BARRIER();
    for (int n = L; n > 1;) {
      int h = (n + 1) / 2;
      if (lane < n - h && better(tmp[lane + h], at[lane + h], tmp[lane], at[lane])) {
        tmp[lane] = tmp[lane + h];
        at[lane] = at[lane + h];
      }
      n = h;
      BARRIER();
    }
    best = tmp[0];
    index = at[0];
    BARRIER();
#endif
    last_key = best;
    last = index < 0 ? 0 : index; /* fewer experts than choices: a caller's mistake must not become an index */
    if (last < kept && last / VW % L == lane) key[last] = -INFINITY;
    if (lane == 0) ids[chosen] = last;
  }
  bad = group_max(bad, tmp, lane);
#endif

#if L > 1
  BARRIER();
#endif
  float shift = -INFINITY;
  for (int i = 0; i < n_used; i++) shift = FMAX(shift, FMIN(logit_of(z, ids[i], n_experts), 0.0f));
  for (int i = lane; i < n_used; i += L) w[i] = weight_of(logit_of(z, ids[i], n_experts), shift, top, inv);
#if L > 1
  BARRIER();
#endif
  if (lane) return;
  float total = 0.0f;
  for (int i = 0; i < n_used; i++) total += w[i];
#if SCORE == 1
  total = 1.0f;
#endif
  for (int i = 0; i < n_used; i++) w[i] = bad > 0.0f ? INFINITY - INFINITY : w[i] / total * route_scale;
}
