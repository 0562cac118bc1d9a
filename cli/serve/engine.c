/* Owns: the queue, who is worked on, and the thread that does it. Does not: know protocols, or what an answer is made of (job.c).
 * Invariant: a job is in the queue, or active, or has ended; the queue's lock is held for its lists alone, never while something is evaluated. */
#include "engine.h"
#include <stdlib.h>
#include <string.h>
#include "job.h"

enum { MOST_ACTIVE = 64 };

struct serve_engine {
  serve_engine_options o;
  pthread_t thread;
  pthread_mutex_t lock; /* of what follows */
  pthread_cond_t changed;
  serve_job *first, *last; /* the queue */
  uint32_t n_queued;
  bool draining;           /* nothing is taken any more */
  serve_job *active[MOST_ACTIVE]; /* [n_active] written under the lock, by the thread alone */
  uint32_t n_active;
  _Atomic bool ending, lost; /* what is left ends; a device failed */
  serve_bench bench;       /* the thread's */
};

/* ---- the queue ---- */
static void unlink_job(serve_engine *e, serve_job *j)
{
  serve_job **at = &e->first, *before = NULL;
  while (*at && *at != j) before = *at, at = &before->next;
  if (!*at) return;
  *at = j->next;
  if (e->last == j) e->last = before;
  e->n_queued--;
  j->queued = false;
  serve_gauge_set(e->o.metrics, SERVE_G_WAITING, e->n_queued);
}

bool serve_engine_submit(serve_engine *e, serve_work *w, serve_error *error)
{
  pthread_mutex_lock(&e->lock);
  bool full = e->n_queued + w->n_jobs > e->o.n_queue + (e->n_active < e->o.n_parallel ? e->o.n_parallel - e->n_active : 0);
  bool taken = !e->draining && !e->lost && !full;
  for (uint32_t i = 0; taken && i < w->n_jobs; i++) {
    serve_job *j = &w->job[i];
    j->queued = true, j->next = NULL, j->queued_ns = serve_now_ns();
    if (e->last) e->last->next = j;
    else e->first = j;
    e->last = j;
    e->n_queued++;
  }
  if (taken) w->n_left = w->n_jobs;
  serve_gauge_set(e->o.metrics, SERVE_G_WAITING, e->n_queued);
  bool draining = e->draining;
  pthread_cond_signal(&e->changed);
  pthread_mutex_unlock(&e->lock);
  if (taken) return true;
  error->retry_s = 5;
  if (e->lost) return serve_error_set(error, 503, NULL, "the device failed: this server can make no more answers");
  if (draining) return serve_error_set(error, 503, NULL, "the server is shutting down");
  return serve_error_set(error, 429, NULL, "the queue is full: %u answers wait; try again", e->o.n_queue);
}

/* Answers to one prompt wait until the first one has evaluated it, and then share it. */
static bool may_begin(const serve_engine *e, const serve_job *j)
{
  uint32_t per_prompt = j->work->ask->n_choices, leader = j->choice - j->choice % per_prompt;
  const serve_job *l = &j->work->job[leader];
  bool running = false;
  for (uint32_t i = 0; i < e->n_active; i++) running |= e->active[i] == l;
  return l == j || !(l->queued || (running && !l->answered_ns));
}

/* With the lock. */
static serve_job *next_job(serve_engine *e)
{
  for (serve_job *j = e->first; j; j = j->next)
    if (may_begin(e, j)) return unlink_job(e, j), j;
  return NULL;
}

/* ---- the thread ---- */
/* The engine is done with the job: the last of a work lets its connection have it. */
static void release(serve_engine *e, uint32_t at)
{
  pthread_mutex_lock(&e->lock);
  serve_work *w = e->active[at]->work;
  e->active[at] = e->active[--e->n_active];
  pthread_mutex_unlock(&e->lock);
  pthread_mutex_lock(&w->lock);
  w->n_left--;
  pthread_cond_broadcast(&w->changed);
  pthread_mutex_unlock(&w->lock);
}

/* Nobody wants the answer any more, or there is no time for it: then it has ended. */
static bool is_over(serve_engine *e, serve_job *j)
{
  bool gone = atomic_load(&j->work->gone);
  if (!gone && !e->ending) return false;
  serve_job_fail(&e->bench, j, gone ? 0 : 503, gone ? "the client is gone" : "the server is shutting down");
  return true;
}

/* Everybody's next evaluation is in the batch, or the job has ended. */
static void enter_all(serve_engine *e)
{
  for (uint32_t i = 0; i < e->n_active;) {
    serve_job *j = e->active[i];
    if (!is_over(e, j) && serve_job_enter(&e->bench, j)) i++;
    else release(e, i);
  }
}

static uint32_t place_of(const serve_engine *e, const koine_session *session)
{
  uint32_t i = 0;
  while (e->active[i]->held->session != session) i++;
  return i;
}

/* What has ended in the last step: each on its own. */
static void take(serve_engine *e, const koine_batch_result *r)
{
  uint32_t at = place_of(e, r->session);
  if (r->status == KOINE_ERR_DEVICE && !e->lost) {
    e->lost = true;
    serve_count(e->o.metrics, SERVE_M_DEVICE_ERRORS, 1);
  }
  if (!serve_job_go_on(&e->bench, e->active[at], r->status, r->message)) release(e, at);
}

/* The one place where something is evaluated: pieces of prompts and next tokens of all, together. */
static void step(serve_engine *e)
{
  size_t n_ended = 0;
  koine_status s = koine_batch_step(e->bench.batch, &n_ended);
  for (size_t i = 0; !s && i < n_ended; i++) {
    koine_batch_result r = KOINE_BATCH_RESULT_INIT;
    if (!koine_batch_ended(e->bench.batch, i, &r)) take(e, &r);
  }
  if (!s || serve_store_shrink(&e->bench.store)) return;
  while (e->n_active) {
    serve_job_fail(&e->bench, e->active[0], 503, koine_last_error());
    release(e, 0);
  }
}

static void report(serve_engine *e)
{
  serve_gauge_set(e->o.metrics, SERVE_G_HELD, e->bench.store.n_held);
  serve_gauge_set(e->o.metrics, SERVE_G_HELD_BYTES, serve_store_bytes(&e->bench.store));
  atomic_store(&e->o.metrics->counter[SERVE_M_EVICTED], e->bench.store.n_evicted);
}

/* Takes from the queue what there is room for. */
static void admit(serve_engine *e)
{
  while (e->n_active < e->o.n_parallel) {
    pthread_mutex_lock(&e->lock);
    serve_job *j = next_job(e);
    if (j) e->active[e->n_active++] = j;
    pthread_mutex_unlock(&e->lock);
    if (!j) return;
    if (!serve_job_begin(&e->bench, j)) release(e, e->n_active - 1);
  }
}

static void *run(void *user)
{
  serve_engine *e = user;
  for (;;) {
    pthread_mutex_lock(&e->lock);
    while (!e->first && !e->n_active && !e->ending) pthread_cond_wait(&e->changed, &e->lock);
    bool over = e->ending && !e->first && !e->n_active;
    pthread_mutex_unlock(&e->lock);
    if (over) break;
    admit(e);
    enter_all(e);
    step(e);
    report(e);
  }
  return NULL;
}

/* ---- from outside ---- */
static void dispose(serve_engine *e)
{
  koine_batch_close(e->bench.batch);
  serve_store_close(&e->bench.store);
  serve_disk_close(e->bench.store.disk);
  pthread_cond_destroy(&e->changed);
  pthread_mutex_destroy(&e->lock);
  free(e->bench.adjusted);
  free(e);
}

static koine_status open_disk(serve_engine *e)
{
  serve_store *store = &e->bench.store;
  store->disk = serve_disk_open(&(serve_disk_options){.plan = store->plan, .session = store->options, .folder = e->o.cache_dir, .budget_bytes = e->o.disk_bytes,
                                                      .metrics = e->o.metrics, .note = e->o.note});
  return store->disk ? KOINE_OK : KOINE_ERR_MEMORY;
}

koine_status serve_engine_open(const serve_engine_options *options, serve_engine **out)
{
  serve_engine *e = calloc(1, sizeof *e);
  if (!e) return KOINE_ERR_MEMORY;
  const serve_model *m = &options->model;
  e->o = *options;
  if (e->o.n_parallel > MOST_ACTIVE) e->o.n_parallel = MOST_ACTIVE;
  e->bench = (serve_bench){.metrics = options->metrics, .adjusted = calloc(m->n_vocab, sizeof(float))};
  e->bench.store = (serve_store){.plan = m->plan, .budget_bytes = options->cache_bytes,
                                 .options = {.size = sizeof(koine_session_options), .cache = m->cache, .context = m->context}};
  pthread_mutex_init(&e->lock, NULL);
  pthread_cond_init(&e->changed, NULL);
  koine_status s = e->bench.adjusted ? koine_batch_open(m->plan, NULL, &e->bench.batch) : KOINE_ERR_MEMORY;
  if (!s && options->cache_dir) s = open_disk(e);
  if (!s && pthread_create(&e->thread, NULL, run, e)) s = KOINE_ERR_MEMORY;
  if (s) dispose(e);
  else *out = e;
  return s;
}

void serve_engine_close(serve_engine *e)
{
  if (!e) return;
  serve_engine_drain(e, true);
  pthread_join(e->thread, NULL);
  dispose(e);
}

bool serve_engine_drain(serve_engine *e, bool now)
{
  pthread_mutex_lock(&e->lock);
  e->draining = true;
  if (now) e->ending = true;
  bool empty = !e->first && !e->n_active;
  pthread_cond_signal(&e->changed);
  pthread_mutex_unlock(&e->lock);
  return empty;
}

bool serve_engine_is_lost(const serve_engine *e) { return e->lost; }

void serve_engine_leave(serve_engine *e, serve_work *w)
{
  uint32_t n_removed = 0;
  if (!w) return;
  atomic_store(&w->gone, true);
  pthread_mutex_lock(&e->lock);
  for (uint32_t i = 0; i < w->n_jobs; i++) {
    if (!w->job[i].queued) continue;
    unlink_job(e, &w->job[i]);
    n_removed++;
  }
  pthread_mutex_unlock(&e->lock);
  pthread_mutex_lock(&w->lock);
  w->n_left -= n_removed;
  while (w->n_left) pthread_cond_wait(&w->changed, &w->lock);
  pthread_mutex_unlock(&w->lock);
  serve_work_free(w);
}
