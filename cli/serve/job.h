/* One answer from its prompt to its end, on the engine's thread. */
#ifndef SERVE_JOB_H
#define SERVE_JOB_H
#include "metrics.h"
#include "work.h"

/* What jobs share. */
typedef struct serve_bench {
  serve_store store;
  serve_metrics *metrics;
  float *logits;   /* [n_vocab] as evaluated */
  float *adjusted; /* [n_vocab] with biases */
} serve_bench;

/* Finds or opens a session, and begins the answer. False: the job has ended, with its event. */
bool serve_job_begin(serve_bench *b, serve_job *j);
/* Tokens that its next step has: a piece of the prompt of at most `most`, or one. */
size_t serve_job_piece(const serve_job *j, size_t most);
/* What an evaluation of `piece` tokens more gave; b->logits are of the last one. False: the job has ended. */
bool serve_job_go_on(serve_bench *b, serve_job *j, size_t piece);
/* Ends it where it stands. status: HTTP's, 0 where nobody listens. */
void serve_job_fail(serve_bench *b, serve_job *j, int status, const char *why);
#endif
