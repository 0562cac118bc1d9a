/* Building kernels: one from disk or text, or many side by side. Owns nothing beyond a call. Invariant: threads of ours only build; what is
 * built is handed to the device's kernels, logged and reported by the calling thread. */
#include <stdio.h>
#include <string.h>
#include "base/thread.h"
#include "kern.h"
#include "kernels/sources.h"
#include "prog.h"

/* ---- one --------------------------------------------------------------------------------------------------------------- */
static koine_status from_text(koi_device *d, koi_build *b, koi_kernel **out)
{
  void *binary = NULL;
  size_t bytes = 0;
  b->want_binary = koi_prog_keeps(d);
  koine_status s = d->backend->build(d, b, out, &binary, &bytes);
  if (s) return s;
  atomic_fetch_add(&d->built.from_source, 1);
  if (binary) koi_prog_put(d, b, binary, bytes);
  koi_free(binary);
  return KOINE_OK;
}

/* What is kept on a shelf may be nothing, or something that the driver refuses: then *out stays NULL. Memory can run out, though. */
static koine_status from_shelf(koi_device *d, koi_shelf which, const koi_build *b, atomic_ulong *count, koi_kernel **out)
{
  koi_build kept = *b;
  void *binary = NULL;
  koine_status s = koi_prog_get(d, which, b, &binary, &kept.binary_bytes);
  if (s || !binary) return s;
  kept.binary = binary;
  s = d->backend->build(d, &kept, out, NULL, NULL);
  if (!s) atomic_fetch_add(count, 1);
  koi_free(binary);
  return s == KOINE_ERR_MEMORY ? s : KOINE_OK;
}

/* An op without a kernel text is the backend's library's, where it has one. The host compiles nothing and runs the reference. */
static koine_status without_text(koi_device *d, const koi_op *op, koi_build *b, koi_kernel **out)
{
  if (!op->source && d->backend->gemm) {
    *out = koi_alloc(1, sizeof **out);
    if (*out) (*out)->library = true;
    return *out ? KOINE_OK : KOINE_ERR_MEMORY;
  }
  if (d->endpoint->type == KOINE_DEVICE_HOST) return from_text(d, b, out);
  return koi_error(KOINE_ERR_DEVICE, "device %s: op %s: there is no kernel text %s.cl", d->endpoint->id, op->name, op->source ? op->source : op->name);
}

static koine_status with_text(koi_device *d, const koi_op *op, const int32_t *c, const int32_t *p, koi_build *b, koi_kernel **out)
{
  koi_text defs = {0};
  char *all;
  koi_kern_defs(op, c, p, &defs);
  koine_status s = koi_text_take(&defs, &all);
  if (s) return s;
  b->defs = all;
  s = from_shelf(d, KOI_SHELF_OWN, b, &d->built.from_disk, out);
  if (!s && !*out) s = from_shelf(d, KOI_SHELF_SHIPPED, b, &d->built.shipped, out);
  if (!s && !*out) s = from_text(d, b, out);
  koi_free(all);
  return s;
}

koine_status koi_kern_build(koi_device *d, const koi_op *op, const int32_t *c, const int32_t *p, koi_kernel **out)
{
  koi_build b = {.name = op->name, .text = koi_source_text(op->source), .group_items = op->group_items ? (size_t)op->group_items(c, p) : 0,
                 .counts = koi_op_counts(op, c)};
  koi_kernel *k = NULL;
  koine_status s = b.text ? with_text(d, op, c, p, &b, &k) : without_text(d, op, &b, &k);
  if (s) return s;
  k->op = op;
  memcpy(k->c, c, koi_op_n_consts(op) * sizeof *c);
  memcpy(k->p, p, koi_op_n_params(op) * sizeof *p);
  *out = k;
  return KOINE_OK;
}

/* ---- many -------------------------------------------------------------------------------------------------------------- */
typedef struct job { koi_kern_key key; koi_kernel *kernel; koine_status status; char why[512]; bool done; } job;

typedef struct crew {
  koi_device *d;
  job *jobs;
  size_t n, next, n_done;
  bool stop;
  pthread_mutex_t lock; /* of what follows jobs, and of a job's results */
  pthread_cond_t news;
} crew;

/* The next job, built; false when there is none. Called and returns with the lock held. */
static bool do_one(crew *w)
{
  if (w->stop || w->next == w->n) return false;
  job *j = &w->jobs[w->next++];
  koi_kernel *k = NULL;
  pthread_mutex_unlock(&w->lock);
  koine_status s = koi_kern_build(w->d, j->key.op, j->key.c, j->key.p, &k);
  pthread_mutex_lock(&w->lock);
  j->kernel = s ? NULL : k, j->status = s, j->done = true;
  if (s) snprintf(j->why, sizeof j->why, "%s", koi_error_text());
  if (s && s != KOINE_ERR_DEVICE) w->stop = true;
  w->n_done++;
  pthread_cond_signal(&w->news);
  return true;
}

static void *work(void *user)
{
  crew *w = user;
  pthread_mutex_lock(&w->lock);
  while (do_one(w)) {}
  pthread_mutex_unlock(&w->lock);
  return NULL;
}

/* Says how far it is whenever that changes, and works where no thread could be had. Called and returns with the lock held. */
static koine_status wait_for(crew *w, bool alone, koine_progress_fn *progress, void *user)
{
  size_t told = SIZE_MAX;
  koine_status s = KOINE_OK;
  while (w->n_done < w->n && !w->stop) {
    if (progress && told != w->n_done) {
      told = w->n_done;
      pthread_mutex_unlock(&w->lock);
      bool on = progress(user, "compiling kernels", told, w->n);
      pthread_mutex_lock(&w->lock);
      if (!on) w->stop = true, s = koi_error(KOINE_ERR_CANCELLED, "cancelled while compiling kernels");
    } else if (alone)
      do_one(w);
    else
      pthread_cond_wait(&w->news, &w->lock);
  }
  return s;
}

static koine_status run(crew *w, koine_progress_fn *progress, void *user)
{
  pthread_t threads[64];
  size_t n = 0, wanted = w->d->n_threads < w->n ? w->d->n_threads : w->n;
  if (wanted > KOI_COUNT(threads)) wanted = KOI_COUNT(threads);
  while (wanted > 1 && n < wanted && koi_thread_start(&threads[n], work, w)) n++;
  pthread_mutex_lock(&w->lock);
  koine_status s = wait_for(w, !n, progress, user);
  pthread_mutex_unlock(&w->lock);
  for (size_t i = 0; i < n; i++) pthread_join(threads[i], NULL);
  return s;
}

/* Even after a failure what was built is kept: the device drops it when it is closed. */
static koine_status keep(crew *w, koine_status s)
{
  for (size_t i = 0; i < w->n; i++) {
    job *j = &w->jobs[i];
    if (!j->done) continue;
    if (j->status && j->status != KOINE_ERR_DEVICE) {
      if (!s) s = koi_error(j->status, "%s", j->why);
      continue;
    }
    koine_status kept = koi_kern_add(w->d, &j->key, j->kernel, j->why);
    if (!s) s = kept;
  }
  return s;
}

/* What the requests wait for, each once; returns how many. */
static size_t gather(const koi_device *d, const koi_kern_request *r, size_t n, job *jobs)
{
  size_t n_jobs = 0;
  for (size_t i = 0; i < n; i++) {
    koi_kernel *k;
    koi_kern_key key;
    if (koi_kern_find(d, r[i].op, r[i].c, r[i].bucket, &key, &k) || k) continue; /* koi_kern_get says what is wrong */
    size_t j = 0;
    while (j < n_jobs && memcmp(&jobs[j].key, &key, sizeof key)) j++;
    if (j == n_jobs) jobs[n_jobs++] = (job){.key = key};
  }
  return n_jobs;
}

static koine_status build_round(koi_device *d, job *jobs, size_t n, koine_progress_fn *progress, void *user)
{
  crew w = {.d = d, .jobs = jobs, .n = n, .lock = PTHREAD_MUTEX_INITIALIZER, .news = PTHREAD_COND_INITIALIZER};
  koine_status s = keep(&w, run(&w, progress, user));
  pthread_cond_destroy(&w.news);
  pthread_mutex_destroy(&w.lock);
  return s;
}

koine_status koi_kern_build_all(koi_device *d, const koi_kern_request *r, size_t n, koine_progress_fn *progress, void *user)
{
  job *jobs = koi_alloc(n + 1, sizeof *jobs);
  koine_status s = jobs ? KOINE_OK : KOINE_ERR_MEMORY;
  size_t total = 0, n_jobs;
  while (!s && (n_jobs = gather(d, r, n, jobs))) { /* more than once where a compiled kernel allows smaller groups than the device says */
    s = build_round(d, jobs, n_jobs, progress, user);
    total += n_jobs;
  }
  koi_free(jobs);
  for (size_t i = 0; i < n && !s; i++) {
    koi_kernel *k;
    s = koi_kern_get(d, r[i].op, r[i].c, r[i].bucket, &k);
  }
  if (!s && progress) progress(user, "compiling kernels", total, total);
  return s;
}
