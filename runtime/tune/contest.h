/* One call, many parameters: builds, checks and times candidates on one device, and says which parameters hold from now on. Every candidate
 * goes to the log (device/tuned.h), before it is built and afterwards; one that cannot be built or started, or that answers wrongly, costs
 * itself only. What the log has about this device, driver and kernel text already is not measured again: a process that was killed, by
 * whomever, goes on where it was. What it was trying then is tried once more, and when that ends likewise, or `lost` is set, given up. */
#ifndef KOI_CONTEST_H
#define KOI_CONTEST_H
#include "device/kern.h"
#include "device/tuned.h"

/* What became of a process before this one, which goes on where that was. */
typedef enum koi_lost { KOI_LOST_NOTHING, KOI_LOST_CRASHED, KOI_LOST_HUNG } koi_lost;

typedef struct koi_contest {
  koi_device *d;          /* its lock is held */
  const koi_op *op;
  const int32_t *c;
  int32_t bucket;
  const koi_args *args;   /* [n_args] the call, with weights that change from launch to launch */
  size_t n_args;
  uint64_t (*now)(void *user); /* NULL: koi_now_ns */
  /* After each candidate; false ends the contest in KOINE_ERR_CANCELLED. NULL: nobody asks. */
  bool (*told)(void *user, const struct koi_contest *k, double default_us, double best_us);
  void *user;
  uint64_t deadline_ns;   /* by that clock: no new candidate from then on */
  size_t max_candidates;  /* 0: any number */
  koi_lost lost;          /* what it decided holds, too */
} koi_contest;

typedef struct koi_contest_result {
  int32_t p[KOI_MAX_PARAMS];     /* of the winner, or the default's */
  double default_us, best_us;    /* of the last duel; equal when the default stays */
  double spread_us;
  size_t n_tried, n_refused, n_wrong;
  size_t n_known, n_lost;        /* measured before; given up now */
  bool won;
  bool gone;                     /* with KOINE_ERR_DEVICE: the default ran, and no longer does */
} koi_contest_result;

/* KOINE_ERR_DEVICE: the default itself cannot be built or started, or no longer. */
/* The default and p in turns, both right already: medians. KOINE_ERR_DEVICE: one of them is not started here. */
koine_status koi_contest_pair(const koi_contest *k, const int32_t *p, double *default_us, double *us);
koine_status koi_contest_run(const koi_contest *k, koi_contest_result *out);
#endif
