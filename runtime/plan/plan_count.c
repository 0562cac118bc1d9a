/* What a plan's stages hold and compute: scratch memory, caches, costs, and whether that fits. Owns nothing. */
#include "device/machine.h"
#include "plan_impl.h"

enum { PROGRAM_BYTES = 16 << 20, USUAL_UNITS = 8 };

/* ---- scratch ---- */
/* A chunk's calls with what they hang on; released by unlist whatever it returns. */
typedef struct listed { koi_caches *caches; koi_feed feed; koi_calls calls; } listed;

static koine_status list_for(const koi_graph *g, bool exact, uint32_t n_tokens, uint64_t align, listed *out)
{
  koi_shape shape = {.n_tokens = n_tokens, .n_logits = n_tokens < KOI_HEAD_ROWS ? n_tokens : KOI_HEAD_ROWS, .n_rounds = 1, .n_seqs = 1, .exact = exact};
  *out = (listed){0};
  koine_status s = koi_graph_caches(g, exact, &out->caches);
  if (!s) s = koi_feed_make(out->caches, &shape, align, &out->feed);
  return s ? s : koi_graph_calls(g, out->caches, &out->feed, &out->calls);
}

static void unlist(listed *l)
{
  koi_calls_free(&l->calls);
  koi_feed_free(&l->feed);
  koi_caches_free(l->caches);
}

/* Steps of one token join calls; several take their products in forms that are chosen, and may be chosen anew, after this: every form has its place,
 * with experts one by one and grouped. */
koine_status koi_plan_scratch(const koi_graph *g, uint64_t align, koi_scratch *out)
{
  koi_tunables one_by_one = *g->tunables, grouped = *g->tunables;
  one_by_one.group_tokens = INT32_MAX, grouped.group_tokens = 2;
  koi_graph apart = *g, together = *g;
  apart.every_form = together.every_form = true, apart.tunables = &one_by_one, together.tunables = &grouped;
  const struct { const koi_graph *g; uint32_t n_tokens; } steps[] = {{g, 1}, {&apart, g->chunk}, {&together, g->chunk}};
  listed l[2 * KOI_COUNT(steps)] = {{0}};
  koi_calls lists[KOI_COUNT(l)] = {{0}};
  koine_status s = KOINE_OK;
  koi_scratch_sizes(g->model, g->layer0, g->layer1, g->tunables, g->chunk, out);
  for (size_t i = 0; i < KOI_COUNT(l) && !s; i++) {
    s = list_for(steps[i / 2].g, i & 1, steps[i / 2].n_tokens, align, &l[i]);
    lists[i] = l[i].calls;
  }
  if (!s) s = koi_scratch_place(lists, KOI_COUNT(l), align, out);
  for (size_t i = 0; i < KOI_COUNT(l); i++) unlist(&l[i]);
  return s;
}

koi_cost koi_plan_cost(const koine_plan *p, const koi_plan_stage *s, uint32_t n_tokens, uint64_t p0)
{
  koi_graph g = koi_plan_graph(p, s);
  koi_cost cost = {0};
  listed l;
  int32_t *syms = NULL;
  koi_splits splits = {koi_step_splits(&s->tunables, (int32_t)n_tokens), s->tunables.min_split_rows};
  if (!list_for(&g, p->cache == KOINE_CACHE_EXACT, n_tokens, 128, &l) && (syms = koi_alloc(l.feed.n_syms, sizeof *syms))) {
    koi_feed_syms(&l.feed, &(koi_place){.p0 = p0, .n_tokens = n_tokens}, 1, &splits, koi_graph_round_rows(&g, n_tokens), syms);
    cost = koi_calls_cost(&l.calls, syms);
  }
  unlist(&l);
  koi_free(syms);
  return cost;
}

static koine_status scratch_bytes(const koi_graph *g, uint64_t align, uint64_t *out)
{
  koi_scratch scratch;
  koi_caches *caches = NULL;
  uint64_t feed = 0;
  koine_status s = koi_graph_caches(g, true, &caches);
  if (!s) s = koi_plan_scratch(g, align, &scratch);
  if (!s) s = koi_feed_bytes(caches, g->chunk, align, &feed);
  if (!s) *out = scratch.arena_bytes + feed + caches->n_table_ints * sizeof(int32_t) + ((uint64_t)g->chunk * g->model->config.o_groups + KOI_ARRIVALS) * sizeof(int32_t);
  koi_caches_free(caches);
  return s;
}

uint64_t koi_plan_usual_scratch(const koine_model *m, uint32_t chunk)
{
  koi_tunables t;
  koi_target target = {.n_units = USUAL_UNITS, .vector_width = 1};
  koi_laid_model *laid = NULL;
  uint64_t bytes = 0;
  koi_step_tunables(&target, &t);
  if (m->cannot || koi_lay(m, 0, (uint32_t)t.tile, 0, m->config.n_layers, &laid)) return 0; /* what is stored in no format that runs has no layout */
  koi_graph g = {.model = m, .laid = laid, .tunables = &t, .layer1 = m->config.n_layers, .embed = true, .head = true, .chunk = chunk};
  if (scratch_bytes(&g, 256, &bytes)) bytes = 0;
  koi_lay_free(laid);
  return bytes;
}

uint64_t koi_plan_cache_bytes(const koine_model *m, uint64_t context, koine_cache mode)
{
  koi_caches *c = NULL;
  if (koi_caches_make(m, mode == KOINE_CACHE_EXACT, 0, m->config.n_layers, &c)) return UINT64_MAX;
  uint64_t bytes = koi_caches_bytes(c, context, KOI_DEFAULT_CHUNK);
  koi_caches_free(c);
  return bytes;
}

/* ---- stages ---- */

static uint64_t add(uint64_t a, uint64_t b) { return a > UINT64_MAX - b ? UINT64_MAX : a + b; }

/* The largest power-of-two fraction of the wanted chunk whose scratch is one buffer that the endpoint allows. */
static koine_status fit_chunk(koine_plan *p, koi_plan_stage *st, uint64_t align)
{
  uint64_t most = st->endpoint->max_buffer_bytes;
  for (;; p->chunk /= 2) {
    koi_graph g = koi_plan_graph(p, st);
    koine_status s = scratch_bytes(&g, align, &st->bytes.scratch);
    if (s || p->chunk <= 1 || !most || st->bytes.scratch <= most - most / 8) return s;
  }
}

koine_status koi_plan_mark_bytes(const koine_model *m, bool exact, uint64_t *out)
{
  koi_caches *c = NULL;
  koine_status s = koi_caches_make(m, exact, 0, m->config.n_layers, &c);
  if (!s) *out = koi_caches_mark_bytes(c);
  koi_caches_free(c);
  return s;
}

static koine_status count_caches(const koine_plan *p, koi_plan_stage *st)
{
  koi_graph g = koi_plan_graph(p, st);
  koi_caches *c = NULL;
  uint64_t all;
  koine_status s = koi_plan_mark_bytes(p->model, p->cache == KOINE_CACHE_EXACT, &all);
  if (!s) s = koi_graph_caches(&g, p->cache == KOINE_CACHE_EXACT, &c);
  if (s) return s;
  uint64_t passed = p->context / KOI_MARK + 1, own = koi_caches_mark_bytes(c); /* a conversation cannot have more marks than that, with one to come */
  bool any = c->kinds[0].n_layers > 0, few = !all || passed < p->mark_bytes / all;
  st->bytes.caches = any ? koi_caches_bytes(c, p->context, p->chunk) : 0;
  st->bytes.marks = few ? passed * own : p->mark_bytes / all * own + p->mark_bytes % all * own / all;
  koi_caches_free(c);
  return KOINE_OK;
}

static koine_status refuse(const koine_plan *p, const koi_plan_stage *st, const koi_stage_bytes *b, uint64_t memory)
{
  char gates[64] = "";
  if (b->gates) koi_print(gates, sizeof gates, ", gates to guess experts by %s", koi_size_text(b->gates).text);
  return koi_error(KOINE_ERR_MEMORY,
                   "device %s (%s) may use %s GiB of memory, but %s GiB are needed: weights %s, scratch for chunks of %u tokens %s, caches for %llu tokens %s, "
                   "marks to rewind to %s, programs %s%s; take a device with more memory, a smaller context or chunk, or a smaller model",
                   st->endpoint->id, st->endpoint->name, koi_size_text(memory).text, koi_size_text(b->total).text, koi_size_text(b->weights).text, p->chunk,
                   koi_size_text(b->scratch).text, (unsigned long long)p->context, koi_size_text(b->caches).text, koi_size_text(b->marks).text, koi_size_text(b->programs).text, gates);
}

bool koi_plan_guesses(const koi_plan_stage *s, const koine_model *m) { return s->n_slots && s->n_slots < m->config.n_experts && s->layer1 - s->layer0 > 1; }

uint64_t koi_plan_gate_bytes(const koine_plan *p, const koi_plan_stage *s)
{
  const koi_config *c = &p->model->config;
  uint64_t n = 0;
  if (!p->guess || p->bare || !koi_plan_guesses(s, p->model)) return 0;
  for (uint32_t l = s->layer0 + 1; l < s->layer1; l++) n += !p->model->layers[l].hash;
  return n * c->n_experts * ((uint64_t)c->hidden + 2 * sizeof(float));
}

koine_status koi_plan_count_stage(koine_plan *p, koi_plan_stage *st)
{
  koi_stage_bytes *b = &st->bytes;
  koine_status s = count_caches(p, st);
  b->weights = st->laid->bytes, b->programs = PROGRAM_BYTES;
  b->gates = st->endpoint->host_unified ? koi_plan_gate_bytes(p, st) : 0;
  b->total = add(add(add(b->weights, b->scratch), add(b->caches, b->marks)), add(b->programs, b->gates));
  return s;
}

/* All stages have chunks of one size, which is what the tightest allows. */
koine_status koi_plan_fit_chunks(koine_plan *p)
{
  koine_status s = KOINE_OK;
  for (uint32_t before = 0; before != p->chunk && !s;) {
    before = p->chunk;
    for (size_t i = 0; i < p->n_all && !s; i++) s = fit_chunk(p, &p->stages[i], koi_dev_align(p->stages[i].endpoint));
  }
  return s;
}

static void add_bytes(koi_stage_bytes *sum, const koi_stage_bytes *b)
{
  sum->weights = add(sum->weights, b->weights), sum->scratch = add(sum->scratch, b->scratch), sum->caches = add(sum->caches, b->caches);
  sum->marks = add(sum->marks, b->marks), sum->programs = add(sum->programs, b->programs), sum->gates = add(sum->gates, b->gates), sum->total = add(sum->total, b->total);
}

/* Endpoints of one card share its memory. */
static bool share_memory(const koine_plan *p, const koi_plan_stage *a, const koi_plan_stage *b)
{
  if (!p->machine || a->endpoint == b->endpoint) return a->endpoint == b->endpoint;
  return koi_runtime_card(p->machine, a->endpoint_at) == koi_runtime_card(p->machine, b->endpoint_at);
}

koine_status koi_plan_check_memory(const koine_plan *p)
{
  for (size_t i = 0; i < p->n_all; i++) {
    const koi_plan_stage *st = &p->stages[i];
    koi_stage_bytes own = {0}, all = {0};
    uint64_t most = st->memory_bytes; /* what drivers let a process use of one memory differs */
    for (size_t j = 0; j < p->n_all; j++) {
      const koi_plan_stage *x = &p->stages[j];
      if (x->endpoint == st->endpoint) add_bytes(&own, &x->bytes);
      if (!share_memory(p, st, x)) continue;
      add_bytes(&all, &x->bytes);
      if (!x->memory_bytes || x->memory_bytes > most) most = x->memory_bytes ? x->memory_bytes : UINT64_MAX;
    }
    if (st->memory_bytes && own.total > st->memory_bytes) return refuse(p, st, &own, st->memory_bytes);
    if (st->memory_bytes && all.total > most) return refuse(p, st, &all, most);
  }
  return KOINE_OK;
}

uint64_t koi_plan_spare(const koine_plan *p, const koi_plan_stage *st)
{
  uint64_t used = 0;
  for (size_t i = 0; i < p->n_all; i++)
    if (share_memory(p, st, &p->stages[i])) used = add(used, p->stages[i].bytes.total);
  return !st->memory_bytes ? UINT64_MAX : used < st->memory_bytes ? st->memory_bytes - used : 0;
}

koi_stage_bytes koi_plan_bytes(const koine_plan *p)
{
  koi_stage_bytes sum = {0};
  for (size_t i = 0; i < p->n_all; i++) add_bytes(&sum, &p->stages[i].bytes);
  return sum;
}

uint64_t koi_plan_bytes_per_token(const koine_plan *p)
{
  uint64_t sum = 0;
  for (size_t i = 0; i < p->n_stages; i++) sum += p->stages[i].laid->bytes_per_token + (p->stages[i].experts ? p->stages[i].experts->laid->bytes_per_token : 0);
  return sum;
}

uint64_t koi_plan_limit(const koine_plan *p)
{
  uint64_t sum = 0;
  for (size_t i = 0; i < p->n_all; i++) {
    bool counted = false;
    if (!p->stages[i].memory_bytes) return 0;
    for (size_t j = 0; j < i; j++) counted |= share_memory(p, &p->stages[i], &p->stages[j]);
    sum = counted ? sum : add(sum, p->stages[i].memory_bytes);
  }
  return sum;
}
