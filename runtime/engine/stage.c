/* See stage.h. Owns everything of an awake plan but its devices, which the machine lends. */
#include "stage.h"
#include <string.h>
#include "device/machine.h"
#include "gemm.h"
#include "model/rope.h"
#include "run.h"

enum { TABLE_UNIT = 64 }; /* entries that are taken together */

uint64_t koi_stage_align(const koi_stage *st) { return koi_dev_align(st->at.endpoint); }

/* ---- memory ---- */
/* The output projection's groups as the units of its entries: entry t*o_groups + g belongs to group g. */
static koine_status make_group_ids(koi_stage *st)
{
  uint32_t groups = st->model->config.o_groups;
  size_t n = (size_t)st->plan->chunk * groups;
  int32_t *ids = koi_alloc(n, sizeof(int32_t));
  if (!ids) return KOINE_ERR_MEMORY;
  for (size_t i = 0; i < n; i++) ids[i] = (int32_t)(i % groups);
  koine_status s = koi_device_alloc(st->dev, n * sizeof(int32_t), &st->group_ids);
  if (!s) s = st->dev->backend->write(st->dev, st->group_ids, 0, n * sizeof(int32_t), ids);
  koi_free(ids);
  return s;
}

static koine_status make_tables(koi_stage *st)
{
  const koi_config *c = &st->model->config;
  st->freq_main = koi_alloc(c->rope_dim / 2 + 1, sizeof(float));
  st->freq_comp = koi_alloc(c->rope_dim / 2 + 1, sizeof(float));
  st->tables_used = koi_alloc(KOI_TABLE_INTS / TABLE_UNIT, 1);
  if (!st->freq_main || !st->freq_comp || !st->tables_used) return KOINE_ERR_MEMORY;
  koi_rope_freqs(c, false, st->freq_main);
  koi_rope_freqs(c, true, st->freq_comp);
  koine_status s = koi_device_alloc(st->dev, KOI_TABLE_INTS * sizeof(int32_t), &st->tables);
  if (!s) s = st->dev->backend->fill(st->dev, st->tables, 0);
  return s ? s : make_group_ids(st);
}

static koine_status make_scratch(koi_stage *st)
{
  koi_graph g = koi_plan_graph(st->plan, &st->at);
  uint64_t align = koi_stage_align(st), feed = 0;
  koine_status s = koi_plan_scratch(&g, align, &st->scratch);
  if (!s) s = koi_feed_bytes(st->caches[1], st->plan->chunk, align, &feed);
  if (!s) s = koi_device_alloc(st->dev, (size_t)st->scratch.arena_bytes, &st->arena);
  for (uint32_t i = 0; i < KOI_N_SCRATCH && !s; i++)
    if (i != KOI_S_wide && st->scratch.at[i] + st->scratch.bytes[i] <= st->scratch.arena_bytes)
      s = st->dev->backend->view(st->dev, st->arena, (size_t)st->scratch.at[i], (size_t)st->scratch.bytes[i], &st->s[i]);
  if (!s) s = koi_device_alloc(st->dev, (size_t)feed, &st->feed);
  st->scratch_bytes = st->scratch.arena_bytes + feed + KOI_TABLE_INTS * sizeof(int32_t) + (uint64_t)st->plan->chunk * st->model->config.o_groups * sizeof(int32_t);
  return s;
}

koine_status koi_stage_need_wide(koi_stage *st)
{
  bool any = false;
  for (size_t i = 0; i < KOI_N_FORMATS; i++) any |= st->at.tunables.gemm_from[i] > 0;
  if (!any || st->s[KOI_S_wide]) return KOINE_OK;
  koine_status s = koi_device_alloc(st->dev, KOI_WIDE_BYTES, &st->s[KOI_S_wide]);
  if (!s) st->scratch_bytes += KOI_WIDE_BYTES;
  return s;
}

koine_status koi_stage_clear(koi_stage *st)
{
  koine_status s = st->dev->backend->fill(st->dev, st->arena, 0);
  return s ? s : st->dev->backend->fill(st->dev, st->feed, 0);
}

static koine_status make_pools(koi_stage *st)
{
  koine_status s = KOINE_OK;
  for (int exact = 0; exact < 2 && !s; exact++) {
    s = koi_caches_make(st->model, exact, st->at.layer0, st->at.layer1, &st->caches[exact]);
    if (s) return s;
    const koi_caches *c = st->caches[exact];
    st->pools[exact] = koi_alloc(c->n_kinds, sizeof **st->pools);
    if (!st->pools[exact]) return KOINE_ERR_MEMORY;
    for (size_t k = 0; k < c->n_kinds; k++) koi_pool_open(&st->pools[exact][k], st->dev, c->kinds[k].page_bytes);
  }
  return s;
}

koine_status koi_stage_take_tables(koi_stage *st, size_t n, int32_t *first)
{
  size_t units = koi_ceil_div(n, TABLE_UNIT), run = 0;
  for (size_t i = 0; i < KOI_TABLE_INTS / TABLE_UNIT; i++) {
    run = st->tables_used[i] ? 0 : run + 1;
    if (run < units) continue;
    memset(st->tables_used + i + 1 - units, 1, units);
    *first = (int32_t)((i + 1 - units) * TABLE_UNIT);
    return KOINE_OK;
  }
  return koi_error(KOINE_ERR_MEMORY, "device %s: there is no room for page tables of %zu entries, of %d in all: close other sessions or take a smaller context",
                   st->dev->endpoint->id, n, KOI_TABLE_INTS);
}

void koi_stage_drop_tables(koi_stage *st, int32_t first, size_t n) { memset(st->tables_used + first / TABLE_UNIT, 0, koi_ceil_div(n, TABLE_UNIT)); }

koine_status koi_stage_call(koi_stage *st, const koi_op *op, const int32_t *c, const koi_args *a)
{
  koi_kernel *k = NULL;
  koine_status s = koi_kern_get(st->dev, op, c, koi_op_bucket(op, a->i, c), &k);
  if (s) return s;
  return k ? koi_kern_launch(st->dev, k, a) : koi_backend_fallback(st->dev, op, c, a);
}

/* ---- wake and sleep ---- */
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
  if (!s) s = make_pools(st);
  if (!s) s = make_scratch(st);
  if (!s) s = make_tables(st);
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
  for (int exact = 0; exact < 2; exact++)
    for (size_t k = 0; st->pools[exact] && k < st->caches[exact]->n_kinds; k++) koi_pool_close(&st->pools[exact][k]);
  for (uint32_t i = 0; i < KOI_N_SCRATCH; i++) koi_device_free(st->dev, st->s[i]);
  koi_buf *const all[] = {st->arena, st->feed, st->tables, st->group_ids};
  for (size_t i = 0; i < KOI_COUNT(all); i++) koi_device_free(st->dev, all[i]);
  pthread_mutex_unlock(&st->dev->lock);
}

static void free_records(koi_stage *st)
{
  for (int exact = 0; exact < 2; exact++) {
    koi_free(st->pools[exact]);
    koi_caches_free(st->caches[exact]);
  }
  koi_lay_free(st->at.laid);
  koi_free(st->put);
  koi_free(st->freq_main);
  koi_free(st->freq_comp);
  koi_free(st->tables_used);
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
    free_records(&e->stages[i]);
    if (e->stages[i].dev && p->machine) koi_machine_device_drop(p->machine, e->stages[i].dev);
    else if (e->stages[i].dev) koi_device_close(e->stages[i].dev);
  }
  koi_free(e->stages);
  koi_free(e);
  p->awake = NULL;
}
