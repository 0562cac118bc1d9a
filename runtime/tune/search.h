/* What to try next: ask and tell, from a descriptor's values alone. Knows no device and no clock, so that recorded costs can be replayed. */
#ifndef KOI_SEARCH_H
#define KOI_SEARCH_H
#include "kernels/choose.h"

typedef struct koi_tried { int32_t p[KOI_MAX_PARAMS]; double cost; } koi_tried; /* INFINITY: of no use */

typedef enum koi_search_mode {
  KOI_SEARCH_LOCAL,      /* steps in one parameter from the best so far, and places that chance picks; all the rest when chance finds nothing */
  KOI_SEARCH_RANDOM,     /* chance alone, then all the rest */
  KOI_SEARCH_EXHAUSTIVE, /* one after the other */
  KOI_SEARCH_N_MODES
} koi_search_mode;

typedef struct koi_search {
  const koi_target *t;
  const koi_op *op;
  const int32_t *c;
  koi_tried *tried;      /* [n] the first is the default */
  size_t n, cap;
  size_t centre;         /* whose neighbours are looked at, into tried */
  size_t step;           /* neighbours of the centre that were looked at */
  bool jumped;           /* what is asked for is no neighbour of the centre */
  size_t swept;          /* combinations of values that were looked at one after the other */
  koi_search_mode mode;  /* the caller's, after opening; 0: local */
  bool near;             /* the same: no places that chance picks while the best so far has neighbours; for little time, since one may take long */
  uint64_t seed;         /* the same: of the op's name, if it is left alone; not 0 */
} koi_search;

/* The default `first`, with what it costs; the searched space is what koi_legal allows. t, op and c must outlive it. */
koine_status koi_search_open(koi_search *s, const koi_target *t, const koi_op *op, const int32_t *c, const int32_t *first, double cost);
void koi_search_close(koi_search *s);
/* Parameters that were not tried, as the mode has it; false: none are left. */
bool koi_search_next(koi_search *s, int32_t *p);
/* Whether p is legal and was not tried: for suggestions from elsewhere, which are told like what was asked for. */
bool koi_search_is_new(const koi_search *s, const int32_t *p);
koine_status koi_search_tell(koi_search *s, const int32_t *p, double cost);
const koi_tried *koi_search_best(const koi_search *s);
/* What turned out to cost something else after all; INFINITY: wrong. */
void koi_search_correct(koi_search *s, const int32_t *p, double cost);
#endif
