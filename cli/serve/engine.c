/* Owns: the queue, who is worked on, and the thread that does it. Does not: know protocols, or what an answer is made of (job.c).
 * Invariant: a job is in the queue, or active, or has ended; the queue's lock is held for its lists alone, never while something is evaluated. */
#include "engine.h"
#include <stdlib.h>
#include <string.h>
#include "job.h"

enum { MOST_ACTIVE = 64, SHARED_PIECE = 128 /* of a prompt, while others wait for tokens */ };

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

/* The one place where something is evaluated: a piece of one job's prompt, or its next token. */
static koine_status evaluate(serve_engine *e, serve_job *j, size_t piece)
{
  size_t n;
  const int32_t *tokens = koine_answer_tokens(j->answer, &n);
  bool last = j->n_done + piece == n;
  koine_eval_options o = {.size = sizeof o, .n_logits = last};
  koine_status s = koine_session_eval(j->held->session, tokens, j->n_done + piece, &o, last ? e->bench.logits : NULL);
  return s ? s : serve_held_note(j->held, tokens, j->n_done, j->n_done + piece);
}

static size_t most_piece(const serve_engine *e)
{
  uint32_t n_decoding = 0;
  for (uint32_t i = 0; i < e->n_active; i++) n_decoding += e->active[i]->answered_ns > 0;
  return n_decoding && e->o.model.chunk > SHARED_PIECE ? SHARED_PIECE : e->o.model.chunk;
}

/* False: the job has ended. */
static bool step(serve_engine *e, serve_job *j, size_t most)
{
  bool gone = atomic_load(&j->work->gone);
  if (gone || e->ending) {
    serve_job_fail(&e->bench, j, gone ? 0 : 503, gone ? "the client is gone" : "the server is shutting down");
    return false;
  }
  size_t piece = serve_job_piece(j, most);
  koine_status s = evaluate(e, j, piece);
  if (!s) return serve_job_go_on(&e->bench, j, piece);
  if (s == KOINE_ERR_DEVICE) {
    e->lost = true;
    serve_count(e->o.metrics, SERVE_M_DEVICE_ERRORS, 1);
  }
  serve_job_fail(&e->bench, j, s == KOINE_ERR_MEMORY ? 503 : 500, koine_last_error());
  return false;
}

static void report(serve_engine *e)
{
  serve_gauge_set(e->o.metrics, SERVE_G_RUNNING, e->n_active);
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
    size_t most = most_piece(e);
    for (uint32_t i = 0; i < e->n_active;) {
      if (step(e, e->active[i], most)) i++;
      else release(e, i);
    }
    report(e);
  }
  return NULL;
}

/* ---- from outside ---- */
koine_status serve_engine_open(const serve_engine_options *options, serve_engine **out)
{
  serve_engine *e = calloc(1, sizeof *e);
  if (!e) return KOINE_ERR_MEMORY;
  const serve_model *m = &options->model;
  e->o = *options;
  if (e->o.n_parallel > MOST_ACTIVE) e->o.n_parallel = MOST_ACTIVE;
  e->bench = (serve_bench){.metrics = options->metrics, .logits = calloc(m->n_vocab, sizeof(float)), .adjusted = calloc(m->n_vocab, sizeof(float))};
  e->bench.store = (serve_store){.plan = m->plan, .budget_bytes = options->cache_bytes,
                                 .options = {.size = sizeof(koine_session_options), .cache = m->cache, .context = m->context}};
  pthread_mutex_init(&e->lock, NULL);
  pthread_cond_init(&e->changed, NULL);
  if (e->bench.logits && e->bench.adjusted && !pthread_create(&e->thread, NULL, run, e)) {
    *out = e;
    return KOINE_OK;
  }
  free(e->bench.logits);
  free(e->bench.adjusted);
  free(e);
  return KOINE_ERR_MEMORY;
}

void serve_engine_close(serve_engine *e)
{
  if (!e) return;
  serve_engine_drain(e, true);
  pthread_join(e->thread, NULL);
  serve_store_close(&e->bench.store);
  pthread_cond_destroy(&e->changed);
  pthread_mutex_destroy(&e->lock);
  free(e->bench.logits);
  free(e->bench.adjusted);
  free(e);
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
