/* Lists bound to a stage: kernels found, buffers resolved, arguments set, geometry decided, once; a step feeds its data, patches the numbers that
 * changed, and starts one call after the other. */
#ifndef KOI_RUN_H
#define KOI_RUN_H
#include "stage.h"

typedef struct koi_bound_call {
  const koi_call *call;
  koi_bound *bound;       /* KOI_CALL_OP */
  koi_range range;
  bool empty;             /* there is nothing to compute */
  uint32_t version;       /* of the arguments: another after every patch */
  koi_buf *from, *to;     /* the other kinds */
  size_t at;              /* bytes into `from` */
} koi_bound_call;

typedef struct koi_tape koi_tape;

typedef struct koi_list {
  koi_shape shape;
  koi_calls calls;
  koi_feed feed;
  koi_bound_call *v;      /* [calls.n] */
  size_t n_bound;
  uint32_t *changing;     /* [n_changing] calls that have symbols */
  size_t n_changing;
  int32_t *syms, *fresh;  /* [feed.n_syms] as bound now; of the step at hand */
  uint8_t *image;         /* [feed.bytes] */
  koi_tape *tape;         /* run_tape.c: what the device has recorded of it; NULL: nothing is */
} koi_list;

/* What watches the calls of a step: NULL, or one of the below. */
typedef struct koi_watch {
  /* Around every call that is started. */
  koine_status (*before)(void *user, koi_stage *st, const koi_bound_call *c);
  koine_status (*after)(void *user, koi_stage *st, const koi_bound_call *c);
  void *user;
} koi_watch;

/* The bound list of a shape; made when there is none yet. */
koine_status koi_run_list(koi_stage *st, const koi_shape *shape, koi_list **out);
typedef struct koi_step { /* what a step is run with */
  koi_list *list, *experts;      /* koi_run_list's, koi_run_experts' */
  koi_list *stay;                /* of those that have no place and stay where they lie; NULL: nobody does in this step */
  const koi_place *places;       /* [n_places] of each sequence */
  size_t n_places;
  uint8_t *host[KOI_N_HOST];     /* those of a stage's own are its own */
  struct koi_gap_slot *in, *out; /* not NULL: in the place of KOI_HOST_IN, KOI_HOST_OUT */
  const koi_watch *watch;
} koi_step;
/* The lists of the stage's routed experts elsewhere; NULL where there are none. The stage's device is unlocked meanwhile, and theirs locked. */
koine_status koi_run_experts(koi_stage *st, uint32_t n_tokens, koi_step *out);
/* One step. The stage's device is unlocked while the experts' is locked: no thread ever holds two devices. */
koine_status koi_run_step(koi_stage *st, const koi_step *step);
/* Waits for what runs, and forgets every bound list, whatever it returns: buffers have changed. */
koine_status koi_run_forget(koi_stage *st);
/* A call's arguments on this stage. syms NULL: every symbol is 1. */
void koi_run_args(const koi_stage *st, bool exact, const koi_call *c, const int32_t *syms, koi_args *out);
/* ---- run_beside.c ---- */
typedef struct koi_beside koi_beside;
/* A thread that has experts computed which a stage by turns leaves where they lie: by st->experts, which is awake. */
koine_status koi_run_beside_open(koi_stage *st, koi_beside **out);
void koi_run_beside_close(koi_beside *b); /* NULL is allowed */
/* ---- build.c ---- */
/* Builds the kernels of every list that sessions can ask for, then launches each kernel once. */
koine_status koi_run_build(koi_stage *st, koine_progress_fn *progress, void *user);

/* ---- watch.c ---- */
/* Times every call by itself into times [KOI_MAX_TIMES]. */
typedef struct koi_watch_times { koi_op_time *times; uint64_t start; } koi_watch_times;
koi_watch koi_watch_time(koi_watch_times *t);
/* Looks for the first op that writes a NaN, in a stage that was cleared; KOINE_ERR_NUMERIC names it. */
typedef struct koi_watch_nan { const koi_call *last; } koi_watch_nan;
koi_watch koi_watch_for_nan(koi_watch_nan *w);
#endif
