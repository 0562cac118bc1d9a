/* See lay.h. Owns the laid model and its parts. Invariant: the parts of a weight cover it exactly, in order, and none exceeds the limit. */
#include "lay.h"

typedef struct layer_out { /* where a weight is laid */
  koi_laid_model *l;
  uint64_t limit;
  uint32_t cap_parts;
} layer_out;

/* Of a row of a vector or table. */
static uint64_t row_bytes(const koi_role *role, const koi_laid *w)
{
  return role->use == KOI_IDS ? (uint64_t)w->k * sizeof(int32_t) : koi_format_row_bytes(w->wt, (uint64_t)w->k);
}

uint64_t koi_lay_part_bytes(const koi_role *role, const koi_laid *w, const koi_part *p, int stream)
{
  uint64_t tiles = (uint64_t)(p->unit1 - p->unit0) * (uint64_t)(p->tile1 - p->tile0);
  if (koi_role_is_product(role)) return tiles * koi_format_tile_bytes(w->wt, stream, (uint64_t)w->k);
  return stream ? 0 : tiles * row_bytes(role, w);
}

static koine_status add_part(layer_out *o, const koi_role *role, koi_laid *w, koi_part part)
{
  koi_laid_model *l = o->l;
  if (l->n_parts == o->cap_parts) {
    uint32_t cap = o->cap_parts ? 2 * o->cap_parts : 256;
    koi_part *p = koi_realloc(l->parts, cap, sizeof *p);
    if (!p) return KOINE_ERR_MEMORY;
    l->parts = p, o->cap_parts = cap;
  }
  l->parts[l->n_parts++] = part;
  w->n_parts++;
  for (int s = 0; s < KOI_MAX_STREAMS; s++) w->bytes += koi_lay_part_bytes(role, w, &part, s);
  return KOINE_OK;
}

/* Every unit, some of its `n` tiles or rows at a time. */
static koine_status cut_items(layer_out *o, const koi_role *role, koi_laid *w, uint64_t n, uint64_t each)
{
  koine_status s = KOINE_OK;
  for (int32_t u = 0; u < w->n_units; u++)
    for (uint64_t at = 0; at < n && !s; at += each)
      s = add_part(o, role, w, (koi_part){u, u + 1, (int32_t)at, (int32_t)(n - at < each ? n : at + each)});
  return s;
}

/* Whole units where one fits a buffer; else pieces of units. */
static koine_status cut(layer_out *o, const koi_role *role, koi_laid *w, const char *name)
{
  bool product = koi_role_is_product(role), whole = role->use < KOI_TABLE; /* no op takes a vector in pieces */
  uint64_t n = product ? (uint64_t)w->n_sub * koi_tiles((uint64_t)w->sub_rows) : (uint64_t)w->sub_rows, item = product ? 0 : row_bytes(role, w);
  for (int s = 0; s < KOI_MAX_STREAMS && product; s++) {
    uint64_t tile = koi_format_tile_bytes(w->wt, s, (uint64_t)w->k);
    if (tile > item) item = tile;
  }
  uint64_t least = whole ? n * item : item, units = o->limit / (n * item), all = (uint64_t)w->n_units;
  if (o->limit < least)
    return koi_error(KOINE_ERR_MEMORY, "%s: %llu bytes must lie in one buffer, but the device allows %llu", name, (unsigned long long)least,
                     (unsigned long long)o->limit);
  if (!units) return cut_items(o, role, w, n, o->limit / item);
  koine_status s = KOINE_OK;
  for (uint64_t u = 0; u < all && !s; u += units)
    s = add_part(o, role, w, (koi_part){(int32_t)u, (int32_t)(all - u < units ? all : u + units), 0, (int32_t)n});
  return s;
}

static koine_status lay(layer_out *o, const koi_role *role, int layer, const koi_weight *from, koi_laid *to)
{
  char name[KOI_ROLE_NAME];
  koi_laid_model *l = o->l;
  if (!from->rows) return KOINE_OK;
  *to = (koi_laid){.wt = role->use == KOI_IDS ? 0 : from->format, .k = (int32_t)from->k, .sub_rows = (int32_t)from->rows, .n_sub = (int32_t)from->n_sub,
                   .n_units = (int32_t)from->n_units, .first = l->n_parts};
  koine_status s = cut(o, role, to, koi_role_name(role, layer, name));
  if (role->units == KOI_EXPERTS) to->bytes_per_token = to->bytes / from->n_units * l->model->config.n_used;
  else to->bytes_per_token = role->use == KOI_TABLE || role->use == KOI_IDS ? row_bytes(role, to) : to->bytes;
  l->bytes += to->bytes, l->bytes_per_token += to->bytes_per_token;
  return s;
}

static bool has_role(const koi_share *share, const koi_role *role)
{
  return share->of == KOI_OF_ALL || (share->of == KOI_OF_EXPERTS) == (role->units == KOI_EXPERTS);
}

koine_status koi_lay_share(const koine_model *m, uint64_t max_buffer_bytes, const koi_share *share, koi_laid_model **out)
{
  koi_laid_model *l = koi_alloc(1, sizeof *l);
  if (!l) return KOINE_ERR_MEMORY;
  layer_out o = {l, max_buffer_bytes ? max_buffer_bytes : UINT64_MAX, 0};
  l->model = m;
  l->layers = koi_alloc(m->config.n_layers, sizeof *l->layers);
  koine_status s = l->layers ? KOINE_OK : KOINE_ERR_MEMORY;
  for (uint32_t r = 0; r < KOI_N_TOP_ROLES && !s; r++)
    if (r == KOI_TOP_embed ? share->embed : share->head) s = lay(&o, &koi_top_roles[r], -1, &m->top[r], &l->top[r]);
  for (uint32_t n = share->layer0; n < share->layer1; n++)
    for (uint32_t r = 0; r < KOI_N_LAYER_ROLES && !s; r++)
      if (has_role(share, &koi_layer_roles[r])) s = lay(&o, &koi_layer_roles[r], (int)n, &m->layers[n].w[r], &l->layers[n][r]);
  if (s) koi_lay_free(l);
  else *out = l;
  return s;
}

koine_status koi_lay(const koine_model *m, uint64_t max_buffer_bytes, uint32_t layer0, uint32_t layer1, koi_laid_model **out)
{
  return koi_lay_share(m, max_buffer_bytes, &(koi_share){layer0, layer1, !layer0, layer1 == m->config.n_layers, KOI_OF_ALL}, out);
}

void koi_lay_free(koi_laid_model *l)
{
  if (!l) return;
  koi_free(l->layers);
  koi_free(l->parts);
  koi_free(l);
}
