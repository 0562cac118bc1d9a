/* See caches.h. Owns its records. Invariant: offsets within a page fit an int32, which is checked when they are made. */
#include "caches.h"

static int32_t find_ratio(const koi_caches *c, uint32_t ratio)
{
  for (size_t i = 0; i < c->n_ratios; i++)
    if (c->ratios[i].ratio == ratio) return (int32_t)i;
  return -1;
}

static int32_t add_kind(koi_caches *c, koi_cache_type type, uint32_t ratio, uint32_t coff)
{
  c->kinds[c->n_kinds] = (koi_cache_kind){.type = type, .ratio = ratio, .coff = coff, .table = (int32_t)c->n_table_ints};
  if (type != KOI_CACHE_STATE) c->n_table_ints += KOI_TABLE_INTS;
  return (int32_t)c->n_kinds++;
}

static void add_ratio(koi_caches *c, const koi_layer *l)
{
  koi_ratio r = {.ratio = l->cache.ratio, .coff = l->cache.coff, .index = l->kind == KOI_CSA, .index_kind = KOI_NO_KIND};
  r.comp = add_kind(c, KOI_CACHE_COMP, r.ratio, r.coff);
  if (r.index) r.index_kind = add_kind(c, KOI_CACHE_INDEX, r.ratio, r.coff);
  r.state = add_kind(c, KOI_CACHE_STATE, r.ratio, r.coff);
  c->ratios[c->n_ratios++] = r;
}

/* Room for one layer's part in a page of the kind; where it begins. */
static int32_t add_part(koi_caches *c, int32_t kind, uint64_t bytes)
{
  koi_cache_kind *k = &c->kinds[kind];
  int32_t at = (int32_t)k->page_bytes;
  k->page_bytes += bytes;
  return at;
}

static void place_layer(koi_caches *c, const koi_layer *l, koi_layer_cache *out)
{
  const koi_config *g = c->config;
  uint64_t kv = koi_layout_kv_page(c->exact, g->head_dim, g->rope_dim, KOI_PAGE);
  *out = (koi_layer_cache){.comp = KOI_NO_KIND, .index = KOI_NO_KIND, .state = KOI_NO_KIND, .ratio_at = -1};
  out->window_at = add_part(c, 0, kv);
  c->kinds[0].n_layers++;
  if (l->kind == KOI_SLIDING) return;
  out->ratio_at = find_ratio(c, l->cache.ratio);
  const koi_ratio *r = &c->ratios[out->ratio_at];
  uint32_t rows = r->coff * r->ratio;
  out->comp = r->comp, out->state = r->state;
  out->comp_at = add_part(c, r->comp, kv);
  out->state_at = add_part(c, r->state, koi_layout_state(rows, r->coff * g->head_dim));
  c->kinds[r->comp].n_layers++, c->kinds[r->state].n_layers++;
  if (!r->index) return;
  out->index = r->index_kind;
  out->index_at = add_part(c, r->index_kind, koi_layout_index_page(c->exact, g->index_dim, KOI_PAGE));
  out->index_state_at = add_part(c, r->state, koi_layout_state(rows, r->coff * g->index_dim));
  c->kinds[r->index_kind].n_layers++;
}

koine_status koi_caches_make(const koine_model *m, bool exact, uint32_t layer0, uint32_t layer1, koi_caches **out)
{
  size_t n = layer1 - layer0;
  koi_caches *c = koi_alloc(1, sizeof *c);
  if (!c) return KOINE_ERR_MEMORY;
  *c = (koi_caches){.config = &m->config, .exact = exact, .layer0 = layer0, .layer1 = layer1};
  c->kinds = koi_alloc(1 + 3 * n, sizeof *c->kinds);
  c->ratios = koi_alloc(n + 1, sizeof *c->ratios);
  c->layers = koi_alloc(n + 1, sizeof *c->layers);
  koine_status s = c->kinds && c->ratios && c->layers ? KOINE_OK : KOINE_ERR_MEMORY;
  if (!s) add_kind(c, KOI_CACHE_WINDOW, 0, 0);
  for (uint32_t l = layer0; l < layer1 && !s; l++)
    if (m->layers[l].kind != KOI_SLIDING && find_ratio(c, m->layers[l].cache.ratio) < 0) add_ratio(c, &m->layers[l]);
  for (uint32_t l = layer0; l < layer1 && !s; l++) {
    place_layer(c, &m->layers[l], &c->layers[l - layer0]);
    for (size_t k = 0; k < c->n_kinds && !s; k++)
      if (c->kinds[k].page_bytes > INT32_MAX)
        s = koi_error(KOINE_ERR_ARG, "cache pages of %llu bytes, expected at most %d: take fewer layers on one device", (unsigned long long)c->kinds[k].page_bytes, INT32_MAX);
  }
  if (s) koi_caches_free(c);
  else *out = c;
  return s;
}

void koi_caches_free(koi_caches *c)
{
  if (!c) return;
  koi_free(c->kinds);
  koi_free(c->ratios);
  koi_free(c->layers);
  koi_free(c);
}

uint32_t koi_caches_ring(const koi_caches *c, uint32_t chunk) { return (uint32_t)koi_ceil_div((uint64_t)c->config->window + chunk, KOI_PAGE) + 1; }

uint64_t koi_caches_pages(const koi_caches *c, size_t kind, uint64_t context, uint32_t chunk)
{
  const koi_cache_kind *k = &c->kinds[kind];
  uint64_t all;
  switch (k->type) {
  case KOI_CACHE_STATE: return 1;
  case KOI_CACHE_WINDOW: all = koi_ceil_div(context, KOI_PAGE); return all < koi_caches_ring(c, chunk) ? all : koi_caches_ring(c, chunk);
  default: return koi_ceil_div(koi_ceil_div(context, k->ratio), KOI_PAGE);
  }
}

uint64_t koi_caches_bytes(const koi_caches *c, uint64_t context, uint32_t chunk)
{
  uint64_t total = 0, bytes;
  if (context > UINT64_MAX / 2) return UINT64_MAX; /* rounding up to pages would wrap */
  for (size_t k = 0; k < c->n_kinds; k++)
    if (__builtin_mul_overflow(koi_caches_pages(c, k, context, chunk), c->kinds[k].page_bytes, &bytes) || __builtin_add_overflow(total, bytes, &total)) return UINT64_MAX;
  return total;
}

bool koi_caches_carries(const koi_ratio *r, uint64_t p) { return r->coff > 1 || p % r->ratio; }

uint64_t koi_caches_mark_bytes(const koi_caches *c)
{
  uint64_t total = koi_ceil_div(c->config->window, KOI_PAGE) * c->kinds[0].page_bytes;
  for (size_t i = 0; i < c->n_ratios; i++)
    if (koi_caches_carries(&c->ratios[i], KOI_MARK)) total += c->kinds[c->ratios[i].state].page_bytes;
  return total;
}
