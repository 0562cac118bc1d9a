/* What the parts of solve.c share: the tables of one search. */
#ifndef KOI_SOLVE_IMPL_H
#define KOI_SOLVE_IMPL_H
#include "solve.h"

typedef struct unit { uint32_t device, experts, bits; } unit; /* a way to run a range */
typedef struct range { double seconds; uint32_t n_apart; } range;
typedef struct origin { uint16_t item; uint8_t unit, last; } origin;

typedef struct search {
  const koi_solve *p;
  unit units[2 * KOI_SOLVE_DEVICES]; uint32_t n_units;
  uint32_t experts; bool shared; /* the device that may have others' experts, KOI_SOLVE_NOWHERE for none; whether those of several stages */
  range *ranges;             /* [n_units][n_items][n_items + 1] by unit, first item, one behind the last */
  double *value;             /* [2^n_devices][n_items + 1][n_devices + 1] by devices used, items done, last device (n_devices: none) */
  origin *from;              /* the same */
  double *left;              /* [2^n_devices][n_items + 1] by devices that are free and items that are left, the least that these can take there */
  uint32_t twin[KOI_SOLVE_DEVICES]; /* an earlier device that is the same in every number, which is used first */
  uint32_t group_bits[KOI_SOLVE_DEVICES];
  double best;               /* of the run at hand */
  uint32_t end_bits; origin end;
} search;

static inline size_t at(const koi_solve *p, uint32_t device, uint32_t item) { return (size_t)device * p->n_items + item; }
static inline range *range_of(const search *s, uint32_t u, uint32_t a, uint32_t b) { return &s->ranges[((size_t)u * s->p->n_items + a) * (s->p->n_items + 1) + b]; }

/* Minimise the longest stage, or the sum with no stage above cap; only what is below `bound` is of use. */
typedef struct rule { bool longest; double cap, bound; } rule;

static inline double join(const rule *r, double so_far, double more) { return r->longest ? (more > so_far ? more : so_far) : so_far + more; }

/* An item whose experts lie on e: seconds, and the bytes on either side. Items without experts take nothing there. */
typedef struct parted { double seconds; uint64_t here, there; } parted;
parted koi_solve_part(const koi_solve *p, uint32_t d, uint32_t e, uint32_t i);
/* ---- solve_left.c ---- */
/* Fills s->left for the ranges at hand. KOINE_ERR_MEMORY. */
koine_status koi_solve_left(search *s, const rule *r);
#endif
