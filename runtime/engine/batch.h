/* Evaluations of several sessions that go forward in common steps. Who is in a step, and with how many tokens, is decided here; what a session holds
 * is its own matter (session.h), and how lines share a step line.h's. */
#ifndef KOI_BATCH_H
#define KOI_BATCH_H
#include "session.h"

typedef struct koi_job { /* an evaluation under way, or one that has ended */
  koine_session *session;
  koi_work work;
  koine_eval_options options;
  int32_t *tokens;           /* its own copy of work.tokens */
  koi_chunk chunk;           /* of the step at hand */
  bool ended;
  koine_status status;       /* how it has ended, and why */
  char why[KOI_LINE_WHY];
  void *user;                /* the caller's */
  struct koi_job *next;      /* in a list of the caller's */
} koi_job;

typedef struct koi_batch {
  koine_plan *plan;
  uint32_t tokens, prompt_tokens; /* as koine_batch_options has them */
  koi_job **jobs;            /* [n_jobs] who was served longest ago comes first */
  size_t n_jobs, cap_jobs;
  koi_job **served;          /* [cap_jobs] of the step at hand */
} koi_batch;

koine_status koi_batch_open(koine_plan *plan, uint32_t tokens, uint32_t prompt_tokens, koi_batch *out);
/* No job is in it any more. */
void koi_batch_close(koi_batch *b);
/* Begins an evaluation as koi_session_eval's; the job stays until it is taken out. options NULL: logits of the last token. */
koine_status koi_batch_add(koi_batch *b, koine_session *s, const int32_t *tokens, size_t n_tokens, const koine_eval_options *o, float *logits, koi_job **out);
/* The next evaluation of the same session in the place of one that has ended well. A failure ends it. */
koine_status koi_batch_again(koi_job *j, const int32_t *tokens, size_t n_tokens, const koine_eval_options *o, float *logits);
/* The job is the caller's to free. */
void koi_batch_take(koi_batch *b, koi_job *j);
void koi_job_free(koi_job *j);
/* One step of those that have not ended. KOINE_ERR_MEMORY: nothing has changed. */
koine_status koi_batch_step(koi_batch *b);
/* An evaluation's end that the step did not bring; what koi_error_text says is kept with it. */
void koi_job_end(koi_job *j, koine_status s);
#endif
