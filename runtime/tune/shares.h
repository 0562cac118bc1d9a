/* What a step's time goes to: every call timed by itself, and the calls that share parameters together. */
#ifndef KOI_SHARES_H
#define KOI_SHARES_H
#include "contest.h"
#include "drive.h"
#include "engine/run.h"

typedef struct koi_timed { const koi_call *call; koi_args a; int32_t bucket; uint64_t ns; } koi_timed;

typedef struct koi_key { /* parameters to be chosen */
  const koi_op *op;
  int32_t c[KOI_MAX_CONSTS], bucket;
  const koi_call *call;    /* one of those with the shape that takes longest: it is what candidates are timed on */
  uint64_t ns, shape_ns;   /* of a step: all calls; those of this shape */
  bool done;
  koi_contest_result r;
  double before, after;    /* of the shapes that were looked at: nanoseconds of a step by default, and with the winner (shapes.h) */
} koi_key;

typedef struct koi_shares {
  koi_timed *v; size_t n, cap;
  koi_key *keys; size_t n_keys;
  uint64_t ns, start;      /* of the step; of the call at hand */
  koi_drive *drive;        /* whose beat goes on; NULL: none */
} koi_shares;

/* Fills v as the step goes; only calls that have parameters, and a kernel of ours. */
koi_watch koi_shares_watch(koi_shares *s);
/* v to keys, the longest first. */
koine_status koi_shares_sum(koi_shares *s);
bool koi_shares_same_shape(const koi_timed *a, const koi_timed *b);
/* The call among those that were timed. */
const koi_timed *koi_shares_timed(const koi_shares *s, const koi_call *call);
void koi_shares_free(koi_shares *s);
/* The call at hand with the weights of every call of its shape in turn, at most `most`; returns how many. */
size_t koi_shares_ring(const koi_shares *s, const koi_bound_call *b, koi_args *out, size_t most);
#endif
