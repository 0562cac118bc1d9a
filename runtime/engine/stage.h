/* A stage awake: layers of a model on one device, their weights, scratch memory, pools of cache pages, and the lists that it has bound.
 * Locking: a session holds the stage's lock for one chunk at a time, and below it the device's, which several stages and plans may share and
 * which serialises all that touches the device. Nobody holds two stages, or two devices. */
#ifndef KOI_STAGE_H
#define KOI_STAGE_H
#include <stdatomic.h>
#include "device/kern.h"
#include "kept.h"
#include "kernels/choose.h"
#include "plan/plan.h"
#include "pool.h"
#include "upload.h"

typedef struct koi_op_time { const koi_op *op; uint64_t ns, calls; double flops, bytes; } koi_op_time;
enum { KOI_MAX_TIMES = 64, KOI_MAX_LISTS = 12 };

struct koi_list;
struct koi_history;

typedef struct koi_stage {
  pthread_mutex_t lock;        /* of all that is below, but what the device's lock covers */
  const koine_plan *plan;
  const koine_model *model;
  koi_plan_stage at;           /* a copy of the plan's, with care known and the tunables in use; at.laid is the stage's own */
  koi_device *dev;
  koi_put *put;                /* [at.laid->n_parts] the weights */
  koi_kept *kept;              /* their files as laid out; NULL: none are kept */
  koi_scratch scratch;
  koi_buf *arena, *s[KOI_N_SCRATCH]; /* views of the arena; wide: of its own, NULL until a library's product is wanted */
  koi_buf *feed, *tables, *group_ids, *arrivals;
  float *freq_main, *freq_comp;
  uint8_t *tables_used;        /* by stretches of entries, alike for every kind */
  koi_caches *caches[2];       /* packed, exact */
  koi_pool *pools[2];          /* [n_kinds] each */
  struct koi_history *histories[2]; /* open ones of either cache mode, linked */
  struct koi_list *lists[KOI_MAX_LISTS]; /* most recently used first */
  uint64_t scratch_bytes;
  struct koi_stage *experts;   /* its routed experts on another device, or by turns: a stage without caches, under this one's lock; of such a stage by turns: those that
                                  have no place; NULL: they are here */
  uint8_t *desk;               /* host memory between the two */
  struct koi_beside *beside;   /* who works there while this stage, by turns, loads others; NULL: all are loaded */
  struct koi_slots *slots;     /* of a stage of routed experts that have their places by turns; NULL: all are there */
  struct koi_gap *gap;         /* before it, from the stage before; NULL: streams come through host memory */
  uint64_t mark_bytes[2];      /* of a mark, over all stages of the plan, so that each keeps the same ones */
} koi_stage;

/* false: somebody else has it, or its device. */
static inline bool koi_stage_try_lock(koi_stage *st)
{
  if (pthread_mutex_trylock(&st->lock)) return false;
  if (!pthread_mutex_trylock(&st->dev->lock)) return true;
  pthread_mutex_unlock(&st->lock);
  return false;
}

static inline void koi_stage_lock(koi_stage *st)
{
  pthread_mutex_lock(&st->lock);
  pthread_mutex_lock(&st->dev->lock);
}

static inline void koi_stage_unlock(koi_stage *st)
{
  pthread_mutex_unlock(&st->dev->lock);
  pthread_mutex_unlock(&st->lock);
}

uint64_t koi_stage_align(const koi_stage *st);
/* A stretch of every kind's page tables, n entries; its first in the first kind's. KOINE_ERR_MEMORY when they are used up. */
koine_status koi_stage_take_tables(koi_stage *st, size_t n, int32_t *first);
void koi_stage_drop_tables(koi_stage *st, int32_t first, size_t n);
/* One call by itself, with buffers of the caller's. */
koine_status koi_stage_call(koi_stage *st, const koi_op *op, const int32_t *c, const koi_args *a);
/* Room for widened rows; 0 bytes where nothing takes a library's product. */
koine_status koi_stage_need_wide(koi_stage *st);
/* Zeroes all scratch memory (so that what is stale cannot be mistaken for a result). */
koine_status koi_stage_clear(koi_stage *st);
/* Pools, scratch memory and tables of a stage whose device and layout are set; koi_stage_free frees them, also after a failure. */
/* The calling thread, which works for the stage from now on, goes near its card. */
void koi_stage_go_near(const koi_stage *st);
koine_status koi_stage_make(koi_stage *st);
void koi_stage_free(koi_stage *st);
/* Other choices of a step from now on: scratch memory is made anew for them. Between steps, with no list bound; what cannot be made leaves all as
 * it was. */
koine_status koi_stage_retune(koi_stage *st, const koi_tunables *u);

/* ---- engine.c ---- */
typedef struct koi_engine { koi_stage *stages; size_t n_stages; atomic_uint n_sessions; _Atomic uint64_t model; /* its fingerprint; 0: not asked for yet */ } koi_engine; /* a plan awake */

/* Opens devices, uploads, builds every kernel that a session can need and launches each once. */
koine_status koi_engine_wake(koine_plan *p, koine_progress_fn *progress, void *user);
void koi_engine_sleep(koine_plan *p);
/* KOINE_ERR_STATE for a plan that sleeps. */
koine_status koi_engine_need(const koine_plan *p);
/* Weights and scratch memory of an awake plan, on all devices. */
void koi_engine_bytes(const koine_plan *p, uint64_t *weights, uint64_t *scratch);
/* Of experts that have their places by turns, since the plan woke: those that a layer of a step wanted and that were there, or were loaded; bytes
 * loaded, and the time that took; of those guessed how many there were, how many were wanted then, and how many of these were read ahead since they were
 * not there; processor time that guessing took; bytes of its copies of gates; of those that were not there how many stayed where they lie, and the time that
 * computing them took there. */
typedef struct koi_expert_figures { uint64_t n_there, n_loaded, bytes, ns, guesses, right, used, guess_ns, guess_bytes, n_stayed, stayed_ns; } koi_expert_figures;
koi_expert_figures koi_engine_experts(const koine_plan *p);
static inline koi_stage *koi_engine_stage(const koine_plan *p, size_t i) { return &p->awake->stages[i]; }
#endif
