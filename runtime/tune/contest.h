/* One call, many parameters: builds, times and checks candidates on one device, and says which parameters hold from now on. Every candidate
 * goes to the log (device/tuned.h); one that cannot be built or started, or that answers wrongly, costs itself only. */
#ifndef KOI_CONTEST_H
#define KOI_CONTEST_H
#include "device/kern.h"
#include "device/tuned.h"

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
} koi_contest;

typedef struct koi_contest_result {
  int32_t p[KOI_MAX_PARAMS];     /* of the winner, or the default's */
  double default_us, best_us;    /* of the last duel; equal when the default stays */
  double spread_us;
  size_t n_tried, n_refused, n_wrong;
  bool won;
} koi_contest_result;

/* KOINE_ERR_DEVICE: the default itself cannot be built or started. */
koine_status koi_contest_run(const koi_contest *k, koi_contest_result *out);
#endif
