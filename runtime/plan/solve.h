/* The exact search behind a placement: contiguous ranges of items (the embedding, layers, the head) on an ordered subset of devices. Pure numbers
 * in, numbers out; deterministic. */
#ifndef KOI_SOLVE_H
#define KOI_SOLVE_H
#include "base/base.h"

enum { KOI_SOLVE_DEVICES = 12, KOI_SOLVE_ITEMS = 512 };

typedef struct koi_solve_device {
  uint64_t own_bytes;    /* taken once when it is used: scratch, programs */
  uint64_t limit_bytes;  /* UINT64_MAX: none */
  uint32_t group;        /* of devices of one group at most one is used: they share processors */
  bool no_stage;         /* only others' experts may lie here */
} koi_solve_device;

/* By device and item, [n_devices][n_items]. INFINITY: it cannot be there; never NaN, never negative. */
typedef struct koi_solve {
  uint32_t n_devices, n_items;
  const koi_solve_device *devices;
  const double *seconds;         /* the whole item */
  const uint64_t *bytes;
  const double *expert_seconds;  /* of it, the routed experts; NULL: they stay where the item is */
  const uint64_t *expert_bytes;
  const double *hop;             /* [n_devices][n_devices] seconds to hand a step from one to another, or to itself */
  const double *round_trip;      /* [n_devices][n_devices] seconds to hand an item's activations to its experts and back */
  const double *in, *out;        /* [n_devices] to hand tokens to the first and logits from the last; NULL: none */
  double n_streams;              /* 1: least seconds of one stream; n: of n streams that take turns, max(sum, n * longest stage); INFINITY: least longest stage */
} koi_solve;

enum { KOI_SOLVE_NOWHERE = UINT32_MAX };
typedef struct koi_solved_stage {
  uint32_t device, item0, item1;
  uint32_t experts, n_apart;     /* the experts of the first n_apart items lie on device `experts`; KOI_SOLVE_NOWHERE, 0: none do. Where not all
                                    do, these are two stages of the device */
  double seconds;
} koi_solved_stage;

typedef struct koi_solved {
  koi_solved_stage stages[KOI_SOLVE_DEVICES];
  uint32_t n_stages;
  double seconds;                /* of one stream: stages and hops */
  double longest;                /* of a stage or a hop */
  double cost;                   /* what was minimised */
} koi_solved;

/* The best there is; of equals the one with the least seconds, then that on the devices that come first. KOINE_ERR_MEMORY with n_stages 0 when nothing fits, without a
 * message; KOINE_ERR_ARG for more devices or items than the limits. Experts lie apart on one device of a plan; for one stream it may serve several
 * stages when it has room for everything, else it serves one stage and has none itself. */
koine_status koi_solve_best(const koi_solve *p, koi_solved *out);
#endif
