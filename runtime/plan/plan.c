/* See plan.h. Owns the stages' records. */
#include "plan.h"

enum { PROGRAM_BYTES = 16 << 20, USUAL_UNITS = 8 };

koi_graph koi_plan_graph(const koine_plan *p, const koi_plan_stage *s)
{
  return (koi_graph){.model = p->model, .laid = s->laid, .tunables = &s->tunables, .layer0 = s->layer0, .layer1 = s->layer1, .embed = s->embed, .head = s->head,
                     .chunk = p->chunk};
}

/* ---- scratch ---- */
/* A chunk's calls with what they hang on; released by unlist whatever it returns. */
typedef struct listed { koi_caches *caches; koi_feed feed; koi_calls calls; } listed;

static koine_status list_for(const koi_graph *g, bool exact, uint32_t n_tokens, uint64_t align, listed *out)
{
  koi_shape shape = {.n_tokens = n_tokens, .n_logits = n_tokens < KOI_HEAD_ROWS ? n_tokens : KOI_HEAD_ROWS, .n_rounds = 1, .exact = exact};
  *out = (listed){0};
  koine_status s = koi_caches_make(g->model, exact, g->layer0, g->layer1, &out->caches);
  if (!s) s = koi_feed_make(out->caches, &shape, align, &out->feed);
  return s ? s : koi_graph_calls(g, out->caches, &out->feed, &out->calls);
}

static void unlist(listed *l)
{
  koi_calls_free(&l->calls);
  koi_feed_free(&l->feed);
  koi_caches_free(l->caches);
}

koine_status koi_plan_scratch(const koi_graph *g, uint64_t align, koi_scratch *out)
{
  listed l[4] = {{0}};
  koi_calls lists[KOI_COUNT(l)] = {{0}};
  koine_status s = KOINE_OK;
  koi_scratch_sizes(g->model, g->layer0, g->layer1, g->tunables, g->chunk, out);
  for (size_t i = 0; i < KOI_COUNT(l) && !s; i++) {
    s = list_for(g, i & 1, i & 2 ? g->chunk : 1, align, &l[i]);
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
    koi_feed_syms(&l.feed, p0, &splits, koi_graph_round_rows(&g, n_tokens), syms);
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
  koine_status s = koi_caches_make(g->model, true, g->layer0, g->layer1, &caches);
  if (!s) s = koi_plan_scratch(g, align, &scratch);
  if (!s) s = koi_feed_bytes(caches, g->chunk, align, &feed);
  if (!s) *out = scratch.arena_bytes + feed + KOI_TABLE_INTS * sizeof(int32_t) + (uint64_t)g->chunk * g->model->config.o_groups * sizeof(int32_t);
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
  if (koi_lay(m, 0, 0, m->config.n_layers, &laid)) return 0;
  koi_graph g = {m, laid, &t, 0, m->config.n_layers, true, true, chunk};
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
static double gib(uint64_t bytes) { return (double)bytes / (1 << 30); }

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

static koine_status count_caches(const koine_plan *p, koi_plan_stage *st)
{
  koi_caches *c = NULL;
  koine_status s = koi_caches_make(p->model, p->cache == KOINE_CACHE_EXACT, st->layer0, st->layer1, &c);
  if (s) return s;
  st->bytes.caches = koi_caches_bytes(c, p->context, p->chunk);
  uint64_t all = (p->context / KOI_MARK + 1) * koi_caches_mark_bytes(c); /* a conversation cannot have more marks than that, with one to come */
  st->bytes.marks = all < p->mark_bytes ? all : p->mark_bytes;
  koi_caches_free(c);
  return KOINE_OK;
}

static koine_status refuse(const koine_plan *p, const koi_plan_stage *st, uint64_t memory)
{
  const koi_stage_bytes *b = &st->bytes;
  return koi_error(KOINE_ERR_MEMORY,
                   "device %s (%s) has %.2f GiB of memory, but %.2f GiB are needed: weights %.2f, scratch for chunks of %u tokens %.2f, caches for %llu tokens %.2f, "
                   "marks to rewind to %.2f, programs %.2f; take a device with more memory, a smaller context or chunk, or a smaller model",
                   st->endpoint->id, st->endpoint->name, gib(memory), gib(b->total), gib(b->weights), p->chunk, gib(b->scratch), (unsigned long long)p->context,
                   gib(b->caches), gib(b->marks), gib(b->programs));
}

static koine_status make_stage(koine_plan *p, koi_plan_stage *st, uint64_t memory_limit)
{
  const koi_endpoint *e = st->endpoint;
  koi_target t;
  koi_dev_target(e, &t);
  koi_step_tunables(&t, &st->tunables);
  koine_status s = koi_lay(p->model, e->max_buffer_bytes, st->layer0, st->layer1, &st->laid);
  if (!s) s = fit_chunk(p, st, koi_dev_align(e));
  if (!s) s = count_caches(p, st);
  if (s) return s;
  koi_stage_bytes *b = &st->bytes;
  b->weights = st->laid->bytes, b->programs = PROGRAM_BYTES;
  b->total = add(add(add(b->weights, b->scratch), add(b->caches, b->marks)), b->programs);
  uint64_t memory = memory_limit && (!e->memory_bytes || memory_limit < e->memory_bytes) ? memory_limit : e->memory_bytes;
  st->memory_bytes = memory;
  return memory && b->total > memory ? refuse(p, st, memory) : KOINE_OK;
}

static koine_status check(const koine_model *m, const koi_endpoint *e, const koi_plan_wish *w)
{
  if (m->cannot) return koi_error(KOINE_ERR_UNSUPPORTED, "%s: %s", m->path, m->cannot);
  if (!m->runnable)
    return koi_error(KOINE_ERR_FILE, "%s: not there, so the model can be described but not run; %s", m->missing ? m->missing : m->path,
                     m->gguf ? "is the file whole?" : "put its safetensors files beside the config");
  if (!e->usable) return koi_error(KOINE_ERR_NO_DEVICE, "device %s (%s) cannot run kernels: %s", e->id, e->name, e->why);
  if (w->chunk > KOI_MAX_CHUNK) return koi_error(KOINE_ERR_ARG, "chunk of %u tokens, expected 1 to %d", w->chunk, KOI_MAX_CHUNK);
  if (w->cache != KOINE_CACHE_PACKED && w->cache != KOINE_CACHE_EXACT) return koi_error(KOINE_ERR_ARG, "unknown cache mode %d", (int)w->cache);
  return KOINE_OK;
}

koine_status koi_plan_make(struct koine_runtime *machine, const koine_model *m, const koi_endpoint *e, size_t endpoint_at, const koi_plan_wish *wish, koine_plan **out)
{
  koine_status s = check(m, e, wish);
  koine_plan *p = s ? NULL : koi_alloc(1, sizeof *p);
  if (!p) return s ? s : KOINE_ERR_MEMORY;
  uint64_t usual = m->config.max_context < KOI_DEFAULT_CONTEXT ? m->config.max_context : KOI_DEFAULT_CONTEXT;
  *p = (koine_plan){.machine = machine, .model = m, .chunk = wish->chunk ? wish->chunk : KOI_DEFAULT_CHUNK, .cache = wish->cache,
                    .context = wish->context ? wish->context : usual, .mark_bytes = wish->mark_bytes ? wish->mark_bytes : KOI_DEFAULT_MARK_BYTES};
  p->stages = koi_alloc(1, sizeof *p->stages);
  if (!p->stages) s = KOINE_ERR_MEMORY;
  if (!s) {
    p->n_stages = 1;
    p->stages[0] = (koi_plan_stage){.endpoint = e, .endpoint_at = endpoint_at, .layer1 = m->config.n_layers, .embed = true, .head = true};
    s = make_stage(p, &p->stages[0], wish->memory_bytes);
  }
  if (s) koi_plan_free(p);
  else *out = p;
  return s;
}

void koi_plan_free(koine_plan *p)
{
  if (!p) return;
  for (size_t i = 0; i < p->n_stages; i++) koi_lay_free(p->stages[i].laid);
  koi_free(p->stages);
  koi_free(p);
}

static void cost_line(koi_text *t, const koine_plan *p, const koi_plan_stage *s, uint32_t n_tokens)
{
  uint64_t at = p->context > n_tokens ? p->context - n_tokens : 0;
  koi_cost c = koi_plan_cost(p, s, n_tokens, at);
  koi_text_add(t, "step tokens=%u position=%llu launches=%zu flops=%.4g bytes=%.4g\n", n_tokens, (unsigned long long)at, c.launches, c.flops, c.bytes);
}

koine_status koi_plan_text(const koine_plan *p, char **out)
{
  koi_text t = {0};
  koi_text_add(&t, "plan chunk=%u context=%llu\n", p->chunk, (unsigned long long)p->context);
  for (size_t i = 0; i < p->n_stages; i++) {
    const koi_plan_stage *s = &p->stages[i];
    const koi_stage_bytes *b = &s->bytes;
    koi_text_add(&t, "layers %u-%u device=%s name=\"%s\" weight_bytes=%llu scratch_bytes=%llu cache_bytes=%llu mark_bytes=%llu program_bytes=%llu\n", s->layer0,
                 s->layer1 - 1, s->endpoint->id, s->endpoint->name, (unsigned long long)b->weights, (unsigned long long)b->scratch,
                 (unsigned long long)b->caches, (unsigned long long)b->marks, (unsigned long long)b->programs);
    cost_line(&t, p, s, 1);
    if (p->chunk > 1) cost_line(&t, p, s, p->chunk);
  }
  return koi_text_take(&t, out);
}
