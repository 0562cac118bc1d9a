/* One request while it is worked on: its answers, each a job, and the events that come of them. The connection's thread opens and leaves it; the
 * engine's thread makes the events. */
#ifndef SERVE_WORK_H
#define SERVE_WORK_H
#include <pthread.h>
#include <stdatomic.h>
#include "event.h"
#include "store.h"

typedef struct serve_model {
  koine_plan *plan;
  const koine_tokenizer *tokenizer;
  const koine_chat *chat;
  size_t n_vocab;
  uint64_t context; /* most tokens of a conversation */
  koine_cache cache;
  uint32_t chunk;   /* most tokens of a step */
} serve_model;

typedef struct serve_job {
  struct serve_work *work;
  struct serve_job *next;    /* in the queue */
  uint32_t choice;
  const int32_t *prompt;     /* [n_prompt] of the work */
  size_t n_prompt;
  koine_schema *schema;
  bool calls_begun;          /* it holds behind the first markup of a call */
  /* the engine's: */
  bool queued;
  koine_answer *answer;
  koine_chat_stream *stream; /* NULL where the prompt was plain text */
  serve_held *held;
  float *logits;             /* [n_vocab] as evaluated */
  size_t n_noted;            /* of the answer's tokens, those that `held` knows */
  uint64_t n_before;         /* tokens that its session had evaluated before */
  bool reasons;              /* it is in its reasoning */
  struct serve_bench *bench;
  uint64_t n_defects;
  serve_usage usage;
  uint64_t queued_ns, begun_ns, answered_ns, last_ns; /* when: queued, begun, the first token, the last one */
} serve_job;

typedef struct serve_work {
  const serve_ask *ask;
  const serve_model *model;
  int32_t *prompt;        /* of a chat */
  size_t n_prompt;
  int32_t think_end;      /* the token; -1: none */
  serve_job *job;         /* [n_jobs] */
  uint32_t n_jobs;
  _Atomic bool gone;      /* nobody wants the answers any more */
  pthread_mutex_t lock;   /* of what follows */
  pthread_cond_t changed; /* on CLOCK_MONOTONIC */
  serve_event *first, *last;
  size_t n_bytes;         /* of events that nobody took yet */
  uint32_t n_left;        /* jobs that the engine still has */
} serve_work;

enum { SERVE_PENDING_BYTES = 8 << 20 }; /* of events: a client that reads so slowly loses its answer */

/* Prompts as tokens, schemas compiled; what is wrong with them is said. The ask and the model outlive it. */
bool serve_work_open(const serve_model *model, const serve_ask *ask, serve_work **out, serve_error *e);
void serve_work_free(serve_work *w);
/* Tokens of a chat's prompt alone. */
bool serve_work_count(const serve_model *model, const serve_ask *ask, size_t *n, serve_error *e);
/* The next event, free it; NULL after ms without one. */
serve_event *serve_work_next(serve_work *w, unsigned ms);
/* From the engine. text [n] may be NULL; false without memory, or when too much is pending. */
bool serve_work_tell(serve_work *w, serve_event event, const char *text, size_t n);
uint64_t serve_now_ns(void);
#endif
