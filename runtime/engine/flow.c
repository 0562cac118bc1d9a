/* A long prefill over several stages: a thread for each stage but the last, which the calling thread takes, and every stage at a chunk of its own.
 * Owns the threads and their account of who has finished what. Invariant: stage i works on chunk c only when the stage before has finished it
 * and the stage behind has finished chunk c - KOI_LINE_SLOTS, whose slot it writes to. */
#include <string.h>
#include "line.h"
#include "base/thread.h"

typedef struct flow {
  koi_line *l;
  const koi_chunk *v;
  size_t until;              /* chunks that are to be done */
  size_t begun;              /* by the first stage */
  size_t *done;              /* [n_stages] chunks that each has finished */
  koi_between *between;      /* [1 + n_stages][KOI_LINE_SLOTS] before the first stage nothing, and behind each what it left of its last chunks */
  uint64_t sound;            /* positions beyond it may rest on what was given and lost */
  bool ready;                /* all threads are there */
  koine_status status;       /* the first failure */
  char why[KOI_LINE_WHY];    /* its message, which was another thread's */
  pthread_mutex_t lock;
  pthread_cond_t moved;
} flow;

typedef struct worker { flow *f; size_t stage; pthread_t thread; } worker;

/* ---- whose turn it is ---- */
static bool may_begin(const flow *f, size_t i, size_t c)
{
  size_t last = f->l->n_stages - 1;
  return f->ready && (!i || f->done[i - 1] > c) && (i == last || c < f->done[i + 1] + KOI_LINE_SLOTS);
}

/* Waits for stage i's turn at chunk c; false: there is no such turn any more. */
static bool begin(flow *f, size_t i, size_t c)
{
  pthread_mutex_lock(&f->lock);
  while (!f->status && (!f->ready || c < f->until) && !may_begin(f, i, c)) pthread_cond_wait(&f->moved, &f->lock);
  bool go = !f->status && c < f->until;
  if (go && !i) f->begun = c + 1;
  pthread_mutex_unlock(&f->lock);
  return go;
}

static void end(flow *f, size_t i, koine_status s)
{
  pthread_mutex_lock(&f->lock);
  if (!s) f->done[i]++;
  else if (!f->status) {
    f->status = s;
    koi_print(f->why, sizeof f->why, "%s", koi_error_text());
  }
  pthread_cond_broadcast(&f->moved);
  pthread_mutex_unlock(&f->lock);
}

/* What the first stage has not begun is not begun; what is under way is finished by all, so that they stand at one position. */
static void stop(flow *f)
{
  pthread_mutex_lock(&f->lock);
  f->until = f->begun;
  pthread_cond_broadcast(&f->moved);
  pthread_mutex_unlock(&f->lock);
}

/* ---- the stages ---- */
/* What stage i begins a chunk with: the first with nothing. */
static koi_between *before(const flow *f, size_t i, size_t c) { return &f->between[i * KOI_LINE_SLOTS + c % KOI_LINE_SLOTS]; }

static koine_status settle(flow *f, koi_between *b, uint64_t began)
{
  koine_status s = koi_gap_settle(b->slot);
  b->slot = NULL;
  if (!s) return s;
  pthread_mutex_lock(&f->lock);
  if (began < f->sound) f->sound = began;
  pthread_mutex_unlock(&f->lock);
  return s;
}

static koine_status work_once(flow *f, size_t i, size_t c)
{
  koi_history *h = &f->l->h[i];
  koi_seq one = {h, &f->v[c]};
  koi_between *in = before(f, i, c), *out = before(f, i + 1, c);
  uint64_t began = h->n;
  *out = koi_line_between(f->l, i, c, one.c->n);
  koi_stage_lock(h->st);
  koine_status s = koi_history_prepare(h, one.c);
  if (!s) s = koi_history_run(&one, 1, in, out, NULL);
  koi_stage_unlock(h->st);
  koine_status given = settle(f, in, began);
  return given ? given : s;
}

static void *work(void *user)
{
  const worker *w = user;
  koi_stage_go_near(w->f->l->h[w->stage].st);
  for (size_t c = 0; begin(w->f, w->stage, c); c++) end(w->f, w->stage, work_once(w->f, w->stage, c));
  return NULL;
}

static void work_last(flow *f, koi_flow_fn *finished, void *user)
{
  size_t last = f->l->n_stages - 1;
  for (size_t c = 0; begin(f, last, c); c++) {
    koine_status s = work_once(f, last, c);
    if (!s && !finished(user, c)) stop(f);
    end(f, last, s);
  }
}

/* ---- threads ---- */
/* How many were started. */
static size_t start_workers(flow *f, worker *w)
{
  size_t n = 0;
  for (; n + 1 < f->l->n_stages; n++) {
    w[n] = (worker){.f = f, .stage = n};
    if (!koi_thread_start(&w[n].thread, work, &w[n])) break;
  }
  return n;
}

static koine_status run(flow *f, size_t n, worker *w, koi_flow_fn *finished, void *user)
{
  size_t n_workers = start_workers(f, w);
  bool all = n_workers + 1 == f->l->n_stages;
  pthread_mutex_lock(&f->lock);
  f->ready = true, f->until = all ? n : 0;
  pthread_cond_broadcast(&f->moved);
  pthread_mutex_unlock(&f->lock);
  if (all) work_last(f, finished, user);
  for (size_t i = 0; i < n_workers; i++) pthread_join(w[i].thread, NULL);
  if (!all) return koi_error(KOINE_ERR_MEMORY, "a thread for each of %zu stages cannot be started", f->l->n_stages);
  for (size_t i = 0; i < f->l->n_stages * KOI_LINE_SLOTS; i++) settle(f, &f->between[KOI_LINE_SLOTS + i], 0); /* what nobody came to take */
  if (!f->status) return KOINE_OK;
  koi_line_rewind(f->l, f->sound);
  return koi_error(f->status, "%s", f->why);
}

/* Memory for all of it first: what cannot be had is refused before any stage has begun. */
static koine_status reserve(koi_line *l, const koi_chunk *v, size_t n)
{
  uint64_t tokens = 0;
  uint32_t most = 0;
  for (size_t c = 0; c < n; c++) tokens += v[c].n, most = v[c].n > most ? v[c].n : most;
  koine_status s = koi_line_make_room(l, most);
  for (size_t i = 0; i < l->n_stages && !s; i++) {
    koi_stage_lock(l->h[i].st);
    s = koi_history_reserve_for(&l->h[i], tokens);
    koi_stage_unlock(l->h[i].st);
  }
  return s;
}

koine_status koi_flow_run(koi_line *l, const koi_chunk *v, size_t n, koi_flow_fn *finished, void *user)
{
  koine_status s = reserve(l, v, n);
  if (s) return s;
  flow f = {.l = l, .v = v, .lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER, .sound = UINT64_MAX};
  worker *w = koi_alloc(l->n_stages, sizeof *w);
  f.done = koi_alloc(l->n_stages, sizeof *f.done);
  f.between = koi_alloc((l->n_stages + 1) * KOI_LINE_SLOTS, sizeof *f.between);
  s = w && f.done && f.between ? run(&f, n, w, finished, user) : KOINE_ERR_MEMORY;
  koi_free(w);
  koi_free(f.done);
  koi_free(f.between);
  pthread_mutex_destroy(&f.lock);
  pthread_cond_destroy(&f.moved);
  return s;
}
