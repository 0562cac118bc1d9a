/* One answer from its prompt to its end, on the engine's thread. */
#ifndef SERVE_JOB_H
#define SERVE_JOB_H
#include "metrics.h"
#include "work.h"

/* What jobs share. */
typedef struct serve_bench {
  serve_store store;
  serve_metrics *metrics;
  koine_batch *batch; /* of the plan */
  float *adjusted; /* [n_vocab] with biases */
} serve_bench;

/* Finds or opens a session, and begins the answer. False: the job has ended, with its event. */
bool serve_job_begin(serve_bench *b, serve_job *j);
/* Puts what it has to evaluate next into the batch, unless it is there. False: the job has ended. */
bool serve_job_enter(serve_bench *b, serve_job *j);
/* Its evaluation has ended with s, and left the batch. False: the job has ended. */
bool serve_job_go_on(serve_bench *b, serve_job *j, koine_status s, const char *why);
/* Ends it where it stands. status: HTTP's, 0 where nobody listens. */
void serve_job_fail(serve_bench *b, serve_job *j, int status, const char *why);
#endif
