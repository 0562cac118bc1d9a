/* What the parts of assign.c share: the question as numbers. */
#ifndef KOI_ASSIGN_IMPL_H
#define KOI_ASSIGN_IMPL_H
#include "assign.h"
#include "solve.h"

typedef struct koi_question {
  const koi_site *site;        /* `estimated` */
  koi_site estimated;          /* the caller's, with likely rates where none were measured */
  const koine_model *model;
  koi_assign_wish w;           /* with defaults in place */
  koi_costs token, prompt;     /* of one token in the middle of the context; of a chunk there */
  koi_holding hold;
  uint32_t n_items;
  uint32_t at[KOI_SOLVE_DEVICES], n; /* the devices that take part, by their number in the site */
  uint32_t n_unknown;
  uint32_t cpu;                /* of those, the processors; n: none */
} koi_question;

koine_status koi_question_open(const koi_site *site, const koine_model *m, const koi_assign_wish *w, koi_question *out);
void koi_question_close(koi_question *q);
/* Seconds to hand `bytes` from one of the site's devices to another, through the host's memory. */
double koi_question_hop(const koi_question *q, uint32_t from, uint32_t to, double bytes);
/* Bytes that a device may hold. UINT64_MAX: no limit is known. */
uint64_t koi_question_limit(const koi_question *q, uint32_t device);
bool koi_question_is_cpu(const koi_question *q, uint32_t device);
/* Bytes of streams that go on from a stage, and of activations that go to experts, for n tokens. */
static inline double koi_question_stream(const koi_question *q, double n) { return 4.0 * n * q->model->config.hidden * q->model->config.n_streams; }
static inline double koi_question_row(const koi_question *q, double n) { return 4.0 * n * q->model->config.hidden; }

/* What is changed to see what would fit. */
typedef struct koi_change { uint64_t context /* 0: as wished */; double weights /* times as many bytes */; uint64_t more_bytes /* on the largest device */; } koi_change;
koine_status koi_question_solve(const koi_question *q, const koi_change *c, koi_solved *out);
/* Never KOINE_OK: says what is needed, what is there, and what would fit. */
koine_status koi_question_refuse(const koi_question *q);
/* Puts the wish's budgets for experts by turns into a placement, and who computes those that are not there. */
koine_status koi_question_caches(const koi_question *q, koi_placement *p);
/* What a device's budget takes of its memory: no more than all routed experts. 0: it has none. */
uint64_t koi_question_cache(const koi_question *q, uint32_t device);
/* Adds what stages wait for experts that are not there; chunk_s: to the likely seconds of a chunk, the least and the most. */
void koi_question_turns(const koi_question *q, koi_assigned *a, double chunk_s[3]);
/* Figures of a placement that covers the model. */
koine_status koi_question_figures(const koi_question *q, koi_assigned *a);
#endif
