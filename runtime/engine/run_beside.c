/* See run_impl.h. Owns a thread, and the desk's rows while it computes. Invariant: from begin to wait the stage `st->experts` is the thread's; all else of the
 * step is its caller's, who holds the lock of both stages. The thread holds no device but that one's, and who waits for it holds none. */
#include "run_impl.h"
#include "base/thread.h"
#include <string.h>
#include "slots.h"

struct koi_beside {
  koi_stage *st;       /* by turns */
  koi_step step;       /* of the layer at hand */
  uint32_t layer, n_entries; /* 0: nobody stays */
  koine_status status;
  char *why;
  uint64_t ns;
  bool wanted, stop;
  pthread_t thread;
  pthread_mutex_t lock; /* of wanted and stop */
  pthread_cond_t work, done;
};

static void compute(koi_beside *b)
{
  koi_stage *at = b->st->experts;
  pthread_mutex_lock(&at->dev->lock);
  uint64_t start = koi_now_ns();
  b->status = koi_run_layer(at, &b->step, b->step.list, b->layer);
  b->ns = koi_now_ns() - start;
  pthread_mutex_unlock(&at->dev->lock);
  koi_free(b->why); /* of a step that ended elsewhere */
  b->why = b->status ? koi_strdup(koi_error_text()) : NULL;
}

static void *work(void *user)
{
  koi_beside *b = user;
  koi_stage_go_near(b->st->experts);
  pthread_mutex_lock(&b->lock);
  while (!b->stop) {
    if (!b->wanted) {
      pthread_cond_wait(&b->work, &b->lock);
      continue;
    }
    pthread_mutex_unlock(&b->lock);
    compute(b);
    pthread_mutex_lock(&b->lock);
    b->wanted = false;
    pthread_cond_signal(&b->done);
  }
  pthread_mutex_unlock(&b->lock);
  return NULL;
}

/* ---- a layer ---- */
static koi_desk desk_of(const koi_beside *b, const koi_step *x) { return koi_graph_desk(&b->st->model->config, x->experts->shape.n_tokens); }
static int32_t *ids_of(const koi_beside *b, const koi_desk *d) { return (int32_t *)(void *)(b->st->desk + d->ids); }

void koi_run_beside_begin(koi_beside *b, const koi_step *x, uint32_t layer)
{
  koi_desk d = desk_of(b, x);
  b->n_entries = koi_slots_stay(b->st->slots, ids_of(b, &d));
  if (!b->n_entries) return;
  memcpy(b->st->desk + d.xn, x->host[KOI_HOST_EXPERTS] + d.xn, d.rows);
  memcpy(b->st->desk + d.weights, x->host[KOI_HOST_EXPERTS] + d.weights, d.entries);
  b->step = (koi_step){.list = x->stay, .host = {[KOI_HOST_EXPERTS] = b->st->desk}, .watch = x->watch};
  b->layer = layer;
  pthread_mutex_lock(&b->lock);
  b->wanted = true;
  pthread_cond_signal(&b->work);
  pthread_mutex_unlock(&b->lock);
}

void koi_run_beside_wait(koi_beside *b, koi_stage *holder)
{
  if (!b) return;
  pthread_mutex_unlock(&holder->dev->lock);
  pthread_mutex_lock(&b->lock);
  while (b->wanted) pthread_cond_wait(&b->done, &b->lock);
  pthread_mutex_unlock(&b->lock);
  pthread_mutex_lock(&holder->dev->lock);
}

koine_status koi_run_beside_end(koi_beside *b, const koi_step *x)
{
  koi_desk d = desk_of(b, x);
  const int32_t *ids = ids_of(b, &d);
  size_t row = d.rows / x->experts->shape.n_tokens, n = d.entries / sizeof *ids;
  koine_status s = b->n_entries && b->status ? koi_error(b->status, "%s", b->why ? b->why : "an expert that stays where it lies cannot be computed") : KOINE_OK;
  for (size_t i = 0; i < n && b->n_entries && !s; i++)
    if (ids[i] >= 0) memcpy(x->host[KOI_HOST_EXPERTS] + d.parts + i * row, b->st->desk + d.parts + i * row, row);
  if (!s && b->n_entries) koi_slots_stayed(b->st->slots, b->n_entries, b->ns);
  return s;
}

/* ---- making it ---- */
koine_status koi_run_beside_open(koi_stage *st, koi_beside **out)
{
  koi_beside *b = koi_alloc(1, sizeof *b);
  if (!b) return KOINE_ERR_MEMORY;
  b->st = st;
  pthread_mutex_init(&b->lock, NULL);
  pthread_cond_init(&b->work, NULL);
  pthread_cond_init(&b->done, NULL);
  if (koi_thread_start(&b->thread, work, b)) {
    *out = b;
    return KOINE_OK;
  }
  koi_free(b);
  return koi_error(KOINE_ERR_MEMORY, "a thread for experts that stay on %s cannot be started", st->experts->at.endpoint->id);
}

void koi_run_beside_close(koi_beside *b)
{
  if (!b) return;
  pthread_mutex_lock(&b->lock);
  b->stop = true;
  pthread_cond_signal(&b->work);
  pthread_mutex_unlock(&b->lock);
  pthread_join(b->thread, NULL);
  pthread_cond_destroy(&b->done);
  pthread_cond_destroy(&b->work);
  pthread_mutex_destroy(&b->lock);
  koi_free(b->why);
  koi_free(b);
}
