/* See stage.h. Owns a stage's memory on its device, but the weights. Invariant: what make got, free gives back, however far make came. */
#include "stage.h"
#include <string.h>
#include "device/machine.h"
#include "model/rope.h"

enum { TABLE_UNIT = 64 }; /* entries that are taken together */

void koi_stage_go_near(const koi_stage *st)
{
  const koine_runtime *machine = st->plan->machine;
  if (machine) koi_topo_run_near(machine->topo, koi_runtime_card(machine, st->at.endpoint_at)->node);
}

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

/* Who has come last of a call's work-groups leaves it as it was. */
static koine_status make_arrivals(koi_stage *st)
{
  koine_status s = koi_device_alloc(st->dev, KOI_ARRIVALS * sizeof(int32_t), &st->arrivals);
  return s ? s : st->dev->backend->fill(st->dev, st->arrivals, 0);
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
  koine_status s = koi_device_alloc(st->dev, st->caches[1]->n_table_ints * sizeof(int32_t), &st->tables);
  if (!s) s = st->dev->backend->fill(st->dev, st->tables, 0);
  if (!s) s = make_arrivals(st);
  return s ? s : make_group_ids(st);
}

static koine_status make_desk(koi_stage *st)
{
  uint64_t bytes[KOI_N_HOST];
  if (!st->at.experts) return KOINE_OK;
  koi_graph_host_bytes(&st->model->config, st->plan->chunk, bytes);
  st->desk = koi_alloc(bytes[KOI_HOST_EXPERTS], 1);
  return st->desk ? KOINE_OK : KOINE_ERR_MEMORY;
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
  st->scratch_bytes = st->scratch.arena_bytes + feed + st->caches[1]->n_table_ints * sizeof(int32_t) + ((uint64_t)st->plan->chunk * st->model->config.o_groups + KOI_ARRIVALS) * sizeof(int32_t);
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
  koi_graph g = koi_plan_graph(st->plan, &st->at);
  koine_status s = KOINE_OK;
  for (int exact = 0; exact < 2 && !s; exact++) {
    s = koi_graph_caches(&g, exact, &st->caches[exact]);
    if (s) return s;
    const koi_caches *c = st->caches[exact];
    st->pools[exact] = koi_alloc(c->n_kinds, sizeof **st->pools);
    if (!st->pools[exact]) return KOINE_ERR_MEMORY;
    for (size_t k = 0; k < c->n_kinds; k++) koi_pool_open(&st->pools[exact][k], st->dev, st->at.memory_bytes, c->kinds[k].page_bytes);
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

/* ---- all of it ---- */
koine_status koi_stage_make(koi_stage *st)
{
  koine_status s = make_pools(st);
  if (!s) s = make_scratch(st);
  if (!s) s = make_desk(st);
  return s ? s : make_tables(st);
}

static void free_scratch(koi_stage *st)
{
  for (uint32_t i = 0; i < KOI_N_SCRATCH; i++)
    if (i != KOI_S_wide) koi_device_free(st->dev, st->s[i]);
  koi_device_free(st->dev, st->arena);
  koi_device_free(st->dev, st->feed);
}

koine_status koi_stage_retune(koi_stage *st, const koi_tunables *u)
{
  koi_stage old = *st;
  for (uint32_t i = 0; i < KOI_N_SCRATCH; i++)
    if (i != KOI_S_wide) st->s[i] = NULL;
  st->arena = st->feed = NULL, st->at.tunables = *u;
  koine_status s = make_scratch(st);
  if (!s && st->s[KOI_S_wide]) st->scratch_bytes += KOI_WIDE_BYTES;
  free_scratch(s ? st : &old);
  if (s) *st = old;
  return s;
}

void koi_stage_free(koi_stage *st)
{
  for (int exact = 0; exact < 2; exact++) {
    for (size_t k = 0; st->pools[exact] && k < st->caches[exact]->n_kinds; k++) koi_pool_close(&st->pools[exact][k]);
    koi_free(st->pools[exact]);
    koi_caches_free(st->caches[exact]);
  }
  free_scratch(st);
  koi_buf *const all[] = {st->s[KOI_S_wide], st->tables, st->group_ids, st->arrivals};
  for (size_t i = 0; i < KOI_COUNT(all); i++) koi_device_free(st->dev, all[i]);
  koi_free(st->freq_main);
  koi_free(st->freq_comp);
  koi_free(st->tables_used);
  koi_free(st->desk);
}
