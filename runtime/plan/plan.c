/* See plan.h. Owns the stages' records. */
#include <stdlib.h>
#include <string.h>
#include "device/machine.h"
#include "plan_impl.h"

koi_graph koi_plan_graph(const koine_plan *p, const koi_plan_stage *s)
{
  return (koi_graph){.model = p->model, .laid = s->laid, .tunables = &s->tunables, .layer0 = s->layer0, .layer1 = s->layer1, .embed = s->embed, .head = s->head,
                     .chunk = p->chunk, .of = s->of};
}

koi_share koi_plan_share(const koi_plan_stage *s) { return (koi_share){s->layer0, s->layer1, s->embed, s->head, s->of, s->n_slots}; }

void koi_plan_tunables(const koine_plan *p, const koi_target *t, uint32_t tile, koi_tunables *out)
{
  if (tile) koi_step_tunables_for(t, (int32_t)tile, out);
  else koi_step_tunables(t, out);
  if (p->split_groups) out->split_groups = p->split_groups;
}

/* ---- stages ---- */
static koine_status lay_slots(const koine_plan *p, const koi_plan_stage *st, uint32_t n_slots, koi_laid_model **out)
{
  koi_share share = koi_plan_share(st);
  share.n_slots = n_slots;
  return koi_lay_share(p->model, st->endpoint->max_buffer_bytes, (uint32_t)st->tunables.tile, &share, out);
}

static bool has_several_lots(const koi_plan_stage *st, const koi_laid_model *l)
{
  for (uint32_t n = st->layer0; n < st->layer1; n++)
    if (l->lots[n].n > 1) return true;
  return false;
}

/* How many experts of each layer the bytes hold at once, 0 for none: one of each takes what `one` says. n of them never take more than n times that; where
 * a layer has several lots they may take less. */
static koine_status most_slots(const koine_plan *p, const koi_plan_stage *st, const koi_laid_model *one, uint64_t bytes, uint32_t *out)
{
  uint32_t most = p->model->config.n_experts, n = bytes / one->bytes < most ? (uint32_t)(bytes / one->bytes) : most, over = most + 1;
  koine_status s = KOINE_OK;
  while (n && n + 1 < over && !s && has_several_lots(st, one)) {
    koi_laid_model *l = NULL;
    uint32_t middle = n + (over - n) / 2;
    s = lay_slots(p, st, middle, &l);
    if (!s) *(l->bytes <= bytes ? &n : &over) = middle;
    koi_lay_free(l);
  }
  *out = n;
  return s;
}

static koine_status count_slots(const koine_plan *p, koi_plan_stage *st)
{
  koi_laid_model *one = NULL;
  koine_status s = lay_slots(p, st, 1, &one);
  if (s) return s;
  st->n_slots = 1; /* until it is known what is left */
  if (st->expert_bytes != KOI_EXPERTS_REST) s = most_slots(p, st, one, st->expert_bytes, &st->n_slots);
  if (!s && !st->n_slots)
    s = koi_error(KOINE_ERR_MEMORY, "expert cache of %llu bytes on device %s: one expert of each of its %u layers%s takes %llu; give it at least as much",
                  (unsigned long long)st->expert_bytes, st->endpoint->id, st->layer1 - st->layer0, has_several_lots(st, one) ? ", of each format there," : "",
                  (unsigned long long)one->bytes);
  koi_lay_free(one);
  return s;
}

static koine_status lay_stage(koine_plan *p, koi_plan_stage *st, uint64_t memory_limit)
{
  const koi_endpoint *e = st->endpoint;
  koi_target t;
  koi_dev_target(e, &t);
  koi_plan_tunables(p, &t, 0, &st->tunables);
  koine_status s = st->expert_bytes ? count_slots(p, st) : KOINE_OK;
  if (s) return s;
  koi_share share = koi_plan_share(st);
  st->memory_bytes = memory_limit && (!e->memory_bytes || memory_limit < e->memory_bytes) ? memory_limit : e->memory_bytes;
  return koi_lay_share(p->model, e->max_buffer_bytes, (uint32_t)st->tunables.tile, &share, &st->laid);
}

/* ---- what is left for experts ---- */
/* Of the memory of a stage's device, beside all that lies there by now; each stage with experts by turns gets as much of that as it has layers. */
static uint64_t rest_of(const koine_plan *p, const koi_plan_stage *st)
{
  uint64_t used = st->memory_bytes / KOI_SPARE_PART, n_layers = 0;
  for (size_t i = 0; i < p->n_all; i++) {
    const koi_plan_stage *x = &p->stages[i];
    if (x->endpoint != st->endpoint) continue;
    used += x->bytes.total < UINT64_MAX - used ? x->bytes.total : UINT64_MAX - used;
    if (x->n_slots) n_layers += x->layer1 - x->layer0;
  }
  return st->memory_bytes > used && n_layers ? (st->memory_bytes - used) / n_layers * (st->layer1 - st->layer0) : 0;
}

static koine_status take_rest(koine_plan *p, koi_plan_stage *st, uint64_t rest)
{
  koi_laid_model *one = st->laid;
  uint32_t n = p->model->config.n_experts;
  koine_status s = st->memory_bytes ? most_slots(p, st, one, one->bytes + rest, &n) : KOINE_OK;
  if (!s) s = lay_slots(p, st, n, &st->laid);
  if (s) return s;
  st->n_slots = n, st->expert_bytes = st->laid->bytes;
  koi_lay_free(one);
  return koi_plan_count_stage(p, st);
}

static koine_status share_rest(koine_plan *p)
{
  koine_status s = KOINE_OK;
  uint64_t *rest = koi_alloc(p->n_all, sizeof *rest);
  if (!rest) return KOINE_ERR_MEMORY;
  for (size_t i = 0; i < p->n_all; i++) rest[i] = rest_of(p, &p->stages[i]);
  for (size_t i = 0; i < p->n_all && !s; i++)
    if (p->stages[i].expert_bytes == KOI_EXPERTS_REST) s = take_rest(p, &p->stages[i], rest[i]);
  koi_free(rest);
  return s;
}

/* ---- all of them ---- */
static bool is(const char *wanted, const char *what) { return wanted && !strcmp(wanted, what); }

static koi_misses misses_wanted(void)
{
  const char *wanted = getenv("KOINE_MISS");
  return is(wanted, "cpu") ? KOI_MISSES_STAY : is(wanted, "load") ? KOI_MISSES_LOAD : KOI_MISSES_QUICKEST;
}

static koine_status check(const koine_model *m, const koi_plan_wish *w)
{
  if (m->cannot) return koi_error(KOINE_ERR_UNSUPPORTED, "%s: %s", m->path, m->cannot);
  if (!m->runnable)
    return koi_error(KOINE_ERR_FILE, "%s: not there, so the model can be described but not run; %s", m->missing ? m->missing : m->path,
                     m->gguf ? "is the file whole?" : "put its safetensors files beside the config");
  if (w->chunk > KOI_MAX_CHUNK) return koi_error(KOINE_ERR_ARG, "chunk of %u tokens, expected 1 to %d", w->chunk, KOI_MAX_CHUNK);
  if (w->cache != KOINE_CACHE_PACKED && w->cache != KOINE_CACHE_EXACT) return koi_error(KOINE_ERR_ARG, "unknown cache mode %d", (int)w->cache);
  if (w->split_groups > KOI_MAX_SPLIT_GROUPS) return koi_error(KOINE_ERR_ARG, "%u groups of splits, expected at most %d", w->split_groups, KOI_MAX_SPLIT_GROUPS);
  return w->place ? koi_placement_check(w->place, m->config.n_layers) : KOINE_OK;
}

static koine_status usable(const koi_endpoint *e)
{
  return e->usable ? KOINE_OK : koi_error(KOINE_ERR_NO_DEVICE, "device %s (%s) cannot run kernels: %s", e->id, e->name, e->why);
}

static koine_status find_endpoint(const struct koine_runtime *rt, const char *id, koi_plan_stage *st)
{
  size_t i = 0;
  while (i < rt->n_endpoints && strcmp(rt->endpoints[i].id, id)) i++;
  if (i == rt->n_endpoints) return koi_error(KOINE_ERR_NO_DEVICE, "the placement names device %s, which is not here; koine devices lists what there is", id);
  st->endpoint = &rt->endpoints[i], st->endpoint_at = i;
  return usable(st->endpoint);
}

/* All experts of a stage by turns on another device, where those without a place may be computed. */
static koine_status place_misses(koine_plan *p, const koi_placed *from, koi_plan_stage *by_turns)
{
  koi_plan_stage *x = &p->stages[p->n_all++];
  *x = (koi_plan_stage){.layer0 = from->layer0, .layer1 = from->layer1, .of = KOI_OF_EXPERTS};
  by_turns->experts = x;
  koine_status s = find_endpoint(p->machine, from->misses, x);
  if (!s && x->endpoint == by_turns->endpoint)
    s = koi_error(KOINE_ERR_ARG, "experts that have no place on device %s are to be computed on it, but it is there that they have none; name another device", from->misses);
  return s;
}

/* One stage of a placement, and that of its experts where they are elsewhere. */
static koine_status place_stage(koine_plan *p, const koi_placed *from, koi_plan_stage *st)
{
  *st = (koi_plan_stage){.layer0 = from->layer0, .layer1 = from->layer1, .embed = from->embed, .head = from->head};
  koine_status s = find_endpoint(p->machine, from->device, st);
  const char *experts = from->experts[0] ? from->experts : from->device;
  if (s || from->layer0 == from->layer1 || (!from->expert_bytes && !strcmp(experts, from->device))) return s;
  koi_plan_stage *x = &p->stages[p->n_all++];
  *x = (koi_plan_stage){.layer0 = from->layer0, .layer1 = from->layer1, .of = KOI_OF_EXPERTS, .expert_bytes = from->expert_bytes};
  st->of = KOI_OF_TRUNK, st->experts = x;
  s = find_endpoint(p->machine, experts, x);
  return !s && from->expert_bytes && from->misses[0] ? place_misses(p, from, x) : s;
}

static koine_status place_stages(koine_plan *p, const koi_placement *place)
{
  koine_status s = KOINE_OK;
  p->stages = koi_alloc(3 * place->n_stages, sizeof *p->stages);
  if (!p->stages) return KOINE_ERR_MEMORY;
  p->n_stages = p->n_all = place->n_stages;
  for (size_t i = 0; i < place->n_stages && !s; i++) s = place_stage(p, &place->stages[i], &p->stages[i]);
  return s;
}

static koine_status place_one(koine_plan *p, const koi_endpoint *e, size_t endpoint_at)
{
  p->stages = koi_alloc(1, sizeof *p->stages);
  if (!p->stages) return KOINE_ERR_MEMORY;
  p->n_stages = p->n_all = 1;
  p->stages[0] = (koi_plan_stage){.endpoint = e, .endpoint_at = endpoint_at, .layer1 = p->model->config.n_layers, .embed = true, .head = true};
  return usable(e);
}

static void choose_splits(koine_plan *p, const koi_plan_wish *wish)
{
  p->split_groups = (int32_t)(wish->split_groups ? wish->split_groups : wish->place ? wish->place->split_groups : 0);
  for (size_t i = 0; i < p->n_stages && !wish->split_groups && p->n_stages > 1 && !(wish->place && wish->place->split_groups); i++) {
    koi_target t;
    koi_tunables own;
    koi_dev_target(p->stages[i].endpoint, &t);
    koi_step_tunables(&t, &own);
    if (own.split_groups > p->split_groups) p->split_groups = own.split_groups;
  }
}

static koine_status fill(koine_plan *p, const koi_plan_wish *wish)
{
  koine_status s = KOINE_OK;
  choose_splits(p, wish);
  for (size_t i = 0; i < p->n_all && !s; i++) s = lay_stage(p, &p->stages[i], wish->memory_bytes);
  if (!s) s = koi_plan_fit_chunks(p);
  for (size_t i = 0; i < p->n_all && !s; i++) s = koi_plan_count_stage(p, &p->stages[i]);
  if (!s) s = share_rest(p);
  return s ? s : koi_plan_check_memory(p);
}

koine_status koi_plan_make(struct koine_runtime *machine, const koine_model *m, const koi_endpoint *e, size_t endpoint_at, const koi_plan_wish *wish, koine_plan **out)
{
  koine_status s = check(m, wish);
  koine_plan *p = s ? NULL : koi_alloc(1, sizeof *p);
  if (!p) return s ? s : KOINE_ERR_MEMORY;
  uint64_t usual = m->config.max_context < KOI_DEFAULT_CONTEXT ? m->config.max_context : KOI_DEFAULT_CONTEXT;
  *p = (koine_plan){.machine = machine, .model = m, .chunk = wish->chunk ? wish->chunk : KOI_DEFAULT_CHUNK, .cache = wish->cache,
                    .context = wish->context ? wish->context : usual, .mark_bytes = wish->mark_bytes ? wish->mark_bytes : KOI_DEFAULT_MARK_BYTES, .keep_layout = wish->keep_layout,
                    .guess = !is(getenv("KOINE_GUESS"), "off"), .guess_always = is(getenv("KOINE_GUESS"), "always"), .misses = misses_wanted()};
  s = wish->place ? place_stages(p, wish->place) : place_one(p, e, endpoint_at);
  if (!s) s = fill(p, wish);
  if (s) koi_plan_free(p);
  else *out = p;
  return s;
}

void koi_plan_free(koine_plan *p)
{
  if (!p) return;
  for (size_t i = 0; i < p->n_all; i++) koi_lay_free(p->stages[i].laid);
  koi_free(p->stages);
  koi_free(p);
}

