/* The one thread that evaluates: requests wait in a queue, a few are worked on at once, a step each in turn. */
#ifndef SERVE_ENGINE_H
#define SERVE_ENGINE_H
#include "metrics.h"
#include "work.h"

typedef struct serve_engine serve_engine;
typedef struct serve_engine_options {
  serve_model model;
  uint32_t n_parallel;   /* answers that are made at once */
  uint32_t n_queue;      /* answers that wait, at most */
  uint64_t cache_bytes;  /* of conversations that are kept */
  const char *cache_dir; /* where they are kept on disk, too; NULL: nowhere */
  uint64_t disk_bytes;   /* of them there */
  void (*note)(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
  serve_metrics *metrics;
} serve_engine_options;

koine_status serve_engine_open(const serve_engine_options *options, serve_engine **out);
/* Ends what is left with an error, and the thread. */
void serve_engine_close(serve_engine *e);
/* Queues the work's answers. False: the queue is full, or nothing is taken any more. */
bool serve_engine_submit(serve_engine *e, serve_work *w, serve_error *error);
/* From now on nothing is taken; `now`: what is left ends with an error. True once nothing is left. */
bool serve_engine_drain(serve_engine *e, bool now);
/* The connection has no more use for the work: what is left of it is not made. Frees it when the engine has let it go. */
void serve_engine_leave(serve_engine *e, serve_work *w);
/* The device failed: nothing more can be made. */
bool serve_engine_is_lost(const serve_engine *e);
#endif
