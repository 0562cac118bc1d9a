/* A plan awake: opens the stages' devices, fills and builds them, and lets all of it go. Owns the stages, their weights, and the devices they
 * have on loan from the machine. Invariant: a plan is awake whole or not at all. */
#include <stdlib.h>
#include "device/limits.h"
#include "device/machine_open.h"
#include "gap.h"
#include "gemm.h"
#include "run.h"
#include "slots.h"

static koine_status make_room(koi_stage *st)
{
  for (size_t i = 0; i < st->at.laid->n_parts && st->plan->careless; i++) st->at.laid->parts[i].care = 0;
  return koi_upload_room(st->dev, st->at.laid, st->put);
}

static koine_status upload(koi_stage *st, koine_progress_fn *progress, void *user)
{
  st->put = koi_alloc(st->at.laid->n_parts, sizeof *st->put);
  if (!st->put) return KOINE_ERR_MEMORY;
  if (st->plan->bare) return make_room(st);
  koine_status s = KOINE_OK;
  bool pass = koi_limits_crowded(koi_model_weight_bytes(st->model));
  if (st->plan->keep_layout) s = koi_kept_open(st->at.laid, st->at.endpoint->name, st->dev->cache_dir, pass, &st->kept);
  if (!s && st->at.n_slots) {
    s = koi_upload_room(st->dev, st->at.laid, st->put);
    if (!s && st->kept) s = koi_upload_keep(st->dev, st->at.laid, st->kept, pass, progress, user);
  } else if (!s) s = koi_upload(st->dev, st->at.laid, st->put, st->kept, pass, progress, user);
  if (st->kept) koi_kept_end(st->kept);
  return s;
}

/* Under the device's lock. */
static koine_status fill_stage(koi_stage *st, koine_progress_fn *progress, void *user)
{
  koi_target t;
  koi_share share = koi_plan_share(&st->at);
  const char *layout = getenv("KOINE_LAYOUT");
  koi_backend_target(st->dev, &t);
  if (layout && !t.tile) koi_log(KOINE_LOG_WARNING, "KOINE_LAYOUT=%s: expected 16, 32 or 64; ignored", layout);
  koi_plan_tunables(st->plan, &t, 0, &st->at.tunables);
  koine_status s = koi_lay_share(st->model, st->at.endpoint->max_buffer_bytes, (uint32_t)st->at.tunables.tile, &share, &st->at.laid);
  if (!s && !st->plan->bare) s = koi_device_room(st->dev, st->at.memory_bytes, st->at.bytes.total);
  if (!s) s = koi_stage_make(st);
  if (!s && st->at.of != KOI_OF_EXPERTS && st->at.layer0 < st->at.layer1) s = koi_gemm_wake(st);
  if (!s) s = upload(st, progress, user);
  if (!s) s = koi_run_build(st, progress, user);
  return s || !st->at.n_slots ? s : koi_slots_open(st, &st->slots);
}

static koine_status wake_stage(koine_plan *p, const koi_plan_stage *at, koi_stage *st, koine_progress_fn *progress, void *user)
{
  *st = (koi_stage){.plan = p, .model = p->model, .at = *at};
  st->at.laid = NULL;
  pthread_mutex_init(&st->lock, NULL);
  koine_status s = p->machine ? koi_machine_device(p->machine, st->at.endpoint_at, &st->dev) : koi_device_open(st->at.endpoint, NULL, 0, &st->dev);
  if (s) return s;
  koi_stage_lock(st);
  s = fill_stage(st, progress, user);
  koi_stage_unlock(st);
  if (s || !at->experts) return s;
  st->experts = koi_alloc(1, sizeof *st->experts);
  s = st->experts ? wake_stage(p, at->experts, st->experts, progress, user) : KOINE_ERR_MEMORY;
  return s || !st->slots ? s : koi_run_beside_open(st, &st->beside);
}

static void free_stage(koine_plan *p, koi_stage *st)
{
  koi_run_beside_close(st->beside);
  if (st->experts) free_stage(p, st->experts);
  koi_free(st->experts);
  if (st->dev) {
    koi_stage_lock(st);
    koi_run_forget(st); /* queued work may still use what is freed below */
    koi_slots_close(st->slots);
    koi_gap_close(st);
    if (st->put) koi_upload_free(st->dev, st->put, st->at.laid->n_parts);
    koi_stage_free(st);
    koi_stage_unlock(st);
    koi_kept_close(st->kept);
    koi_lay_free(st->at.laid);
    koi_free(st->put);
    if (p->machine) koi_machine_device_drop(p->machine, st->dev);
    else koi_device_close(st->dev);
  }
  pthread_mutex_destroy(&st->lock);
}

/* ---- all of them ---- */
static koine_status count_marks(const koine_plan *p)
{
  koine_status s = KOINE_OK;
  for (int exact = 0; exact < 2 && !s; exact++) {
    uint64_t bytes;
    s = koi_plan_mark_bytes(p->model, exact, &bytes);
    for (size_t i = 0; i < p->n_stages && !s; i++) p->awake->stages[i].mark_bytes[exact] = bytes;
  }
  return s;
}

koine_status koi_engine_wake(koine_plan *p, koine_progress_fn *progress, void *user)
{
  uint64_t start = koi_now_ns();
  p->awake = koi_alloc(1, sizeof *p->awake);
  if (p->awake) p->awake->stages = koi_alloc(p->n_stages, sizeof *p->awake->stages);
  koine_status s = p->awake && p->awake->stages ? KOINE_OK : KOINE_ERR_MEMORY;
  for (size_t i = 0; i < p->n_stages && !s; i++) {
    p->awake->n_stages = i + 1;
    s = wake_stage(p, &p->stages[i], &p->awake->stages[i], progress, user);
    if (!s && i) s = koi_gap_open(&p->awake->stages[i - 1], &p->awake->stages[i]);
  }
  if (!s) s = count_marks(p);
  if (s) koi_engine_sleep(p);
  p->wake_ns = koi_now_ns() - start;
  return s;
}

koine_status koi_engine_need(const koine_plan *p)
{
  return p->awake ? KOINE_OK : koi_error(KOINE_ERR_STATE, "the plan is asleep: call koine_plan_wake first");
}

void koi_engine_sleep(koine_plan *p)
{
  koi_engine *e = p->awake;
  if (!e) return;
  for (size_t i = 0; i < e->n_stages; i++) free_stage(p, &e->stages[i]);
  koi_free(e->stages);
  koi_free(e);
  p->awake = NULL;
}

koi_expert_figures koi_engine_experts(const koine_plan *p)
{
  koi_expert_figures sum = {0};
  for (size_t i = 0; i < p->awake->n_stages; i++) {
    const koi_stage *x = p->awake->stages[i].experts;
    if (!x || !x->slots) continue;
    koi_expert_figures one = koi_slots_figures(x->slots);
    sum.n_there += one.n_there, sum.n_loaded += one.n_loaded, sum.bytes += one.bytes, sum.ns += one.ns;
    sum.n_stayed += one.n_stayed, sum.stayed_ns += one.stayed_ns;
    sum.guesses += one.guesses, sum.right += one.right, sum.used += one.used, sum.guess_ns += one.guess_ns, sum.guess_bytes += one.guess_bytes;
  }
  return sum;
}

void koi_engine_bytes(const koine_plan *p, uint64_t *weights, uint64_t *scratch)
{
  *weights = *scratch = 0;
  for (size_t i = 0; i < p->awake->n_stages; i++)
    for (const koi_stage *st = &p->awake->stages[i]; st; st = st->experts) {
      bool counted = false; /* what a library keeps belongs to the device */
      for (size_t j = 0; j < i; j++) counted |= p->awake->stages[j].dev == st->dev;
      *weights += st->at.laid->bytes, *scratch += st->scratch_bytes + koi_gap_bytes(st) + (counted ? 0 : st->dev->gemm_bytes);
    }
}
