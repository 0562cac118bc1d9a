/* A plan awake: opens the stages' devices, fills and builds them, and lets all of it go. Owns the stages, their weights, and the devices they
 * have on loan from the machine. Invariant: a plan is awake whole or not at all. */
#include "device/machine.h"
#include "gemm.h"
#include "run.h"

static koine_status upload(koi_stage *st, koine_progress_fn *progress, void *user)
{
  st->put = koi_alloc(st->at.laid->n_parts, sizeof *st->put);
  if (!st->put) return KOINE_ERR_MEMORY;
  return st->plan->bare ? koi_upload_room(st->dev, st->at.laid, st->put) : koi_upload(st->dev, st->at.laid, st->put, progress, user);
}

/* Under the device's lock. */
static koine_status fill_stage(koi_stage *st, koine_progress_fn *progress, void *user)
{
  koi_target t;
  st->at.laid = NULL;
  koi_backend_target(st->dev, &t);
  koi_step_tunables(&t, &st->at.tunables);
  koine_status s = koi_lay(st->model, st->at.endpoint->max_buffer_bytes, st->at.layer0, st->at.layer1, &st->at.laid);
  if (!s) s = koi_stage_make(st);
  if (!s) s = koi_gemm_wake(st);
  if (!s) s = upload(st, progress, user);
  return s ? s : koi_run_build(st, progress, user);
}

static koine_status wake_stage(koine_plan *p, size_t i, koine_progress_fn *progress, void *user)
{
  koi_stage *st = &p->awake->stages[i];
  *st = (koi_stage){.plan = p, .model = p->model, .at = p->stages[i]};
  st->at.laid = NULL;
  koine_status s = p->machine ? koi_machine_device(p->machine, st->at.endpoint_at, &st->dev) : koi_device_open(st->at.endpoint, NULL, 0, &st->dev);
  if (s) return s;
  pthread_mutex_lock(&st->dev->lock);
  s = fill_stage(st, progress, user);
  pthread_mutex_unlock(&st->dev->lock);
  return s;
}

static void free_stage(koi_stage *st)
{
  if (!st->dev) return;
  pthread_mutex_lock(&st->dev->lock);
  koi_run_forget(st); /* queued work may still use what is freed below */
  if (st->put) koi_upload_free(st->dev, st->put, st->at.laid->n_parts);
  koi_stage_free(st);
  pthread_mutex_unlock(&st->dev->lock);
  koi_lay_free(st->at.laid);
  koi_free(st->put);
}

koine_status koi_engine_wake(koine_plan *p, koine_progress_fn *progress, void *user)
{
  uint64_t start = koi_now_ns();
  p->awake = koi_alloc(1, sizeof *p->awake);
  if (p->awake) p->awake->stages = koi_alloc(p->n_stages, sizeof *p->awake->stages);
  koine_status s = p->awake && p->awake->stages ? KOINE_OK : KOINE_ERR_MEMORY;
  for (size_t i = 0; i < p->n_stages && !s; i++) {
    p->awake->n_stages = i + 1;
    s = wake_stage(p, i, progress, user);
  }
  if (s) koi_engine_sleep(p);
  p->wake_ns = koi_now_ns() - start;
  return s;
}

void koi_engine_sleep(koine_plan *p)
{
  koi_engine *e = p->awake;
  if (!e) return;
  for (size_t i = 0; i < e->n_stages; i++) {
    free_stage(&e->stages[i]);
    if (e->stages[i].dev && p->machine) koi_machine_device_drop(p->machine, e->stages[i].dev);
    else if (e->stages[i].dev) koi_device_close(e->stages[i].dev);
  }
  koi_free(e->stages);
  koi_free(e);
  p->awake = NULL;
}
