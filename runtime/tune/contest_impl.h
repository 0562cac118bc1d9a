/* What the files of a contest share (contest.h): the state of one, timing (contest_time.c), and what the log knows already (contest_past.c). */
#ifndef KOI_CONTEST_IMPL_H
#define KOI_CONTEST_IMPL_H
#include "contest.h"
#include "search.h"

enum { KOI_CONTEST_ROUNDS = 5, KOI_CONTEST_DUEL = 11 };

typedef struct koi_runner { /* a kernel and what it took */
  int32_t p[KOI_MAX_PARAMS];
  koi_kernel *kernel;
  double us[KOI_CONTEST_DUEL];
  size_t n;
} koi_runner;

typedef struct koi_ring {
  const koi_contest *k;
  koi_contest_result *out;
  koi_target t;            /* without what was tuned */
  koi_search search;
  koi_runner first, best;  /* the default; the fastest so far, kernel NULL: the default */
  size_t n_launches, turn; /* of a sample; the next of args */
  size_t n_rounds;         /* for a candidate: fewer where one takes long */
  uint64_t slot_ns;        /* of the whole contest */
  uint64_t search_ns;      /* when the search began */
  bool decided;            /* the log has what this contest would find */
} koi_ring;

/* ---- contest_time.c ---- */
uint64_t koi_ring_now(const koi_ring *g);
double koi_runner_median(const koi_runner *r);
double koi_runner_spread(const koi_runner *r); /* median distance from the median */
double koi_runner_lowest(const koi_runner *r);
/* Builds and launches once: drivers may compile then, and it does not count. KOINE_ERR_DEVICE: refused. */
koine_status koi_ring_build(koi_ring *g, koi_runner *r);
koine_status koi_ring_warm(koi_ring *g, const koi_runner *r, double *us);
void koi_ring_drop(koi_ring *g, koi_runner *r);
koine_status koi_ring_sample(koi_ring *g, koi_runner *r);
/* Rounds in turns, so that what disturbs one disturbs the other; who begins changes too, for slices of time have a beat. */
koine_status koi_ring_rounds(koi_ring *g, koi_runner *a, koi_runner *b, size_t n);
/* One sample of the default and of a candidate. */
double koi_ring_pair_ns(const koi_ring *g, const koi_runner *r);

/* ---- contest_past.c ---- */
/* A line in the log. cost: as the search has it, 0: the default ran in the same rounds. why: NULL for no note. A disk that is full costs the keeping only. */
void koi_ring_note(const koi_ring *g, const koi_runner *r, koi_outcome outcome, double cost, const char *why);
/* Tells the search what the log knows; gives up what was being tried when a process ended. The search is open. */
koine_status koi_ring_recall(koi_ring *g);
#endif
