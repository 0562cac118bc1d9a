/* See lay.h. Owns the laid model and its parts. Invariant: the parts of a weight cover it exactly, in order, and none exceeds the limit. */
#include "lay.h"

typedef struct layer_out { /* where a weight is laid */
  koi_laid_model *l;
  uint64_t limit;
  uint32_t cap_parts;
} layer_out;

/* Of a row of a vector or a table of ids. */
static uint64_t row_bytes(const koi_role *role, const koi_laid *w)
{
  return role->use == KOI_IDS ? (uint64_t)w->k * sizeof(int32_t) : koi_format_row_bytes(w->wt, (uint64_t)w->k);
}

uint64_t koi_lay_part_bytes(const koi_laid_model *l, const koi_role *role, const koi_laid *w, const koi_part *p, int stream)
{
  uint64_t tiles = (uint64_t)(p->unit1 - p->unit0) * (uint64_t)(p->tile1 - p->tile0);
  if (koi_role_is_matrix(role)) return tiles * koi_format_tile_bytes(p->wt, stream, (uint64_t)w->k, l->tile);
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
  for (int s = 0; s < KOI_MAX_STREAMS; s++) w->bytes += koi_lay_part_bytes(l, role, w, &part, s);
  return KOINE_OK;
}

/* ---- cutting ---- */
typedef struct cutter {
  layer_out *o;
  const koi_role *role;
  koi_laid *w;
  const char *name;
} cutter;

/* Whole units of a stretch of parts `p` where one fits a buffer; else pieces of units. item: bytes of its largest tile or row. */
static koine_status cut_stretch(const cutter *c, koi_part p, uint64_t item, bool whole)
{
  uint64_t n = (uint64_t)(p.tile1 - p.tile0), limit = c->o->limit, least = whole ? n * item : item, units = limit / (n * item), each = limit / item;
  koine_status s = KOINE_OK;
  if (limit < least)
    return koi_error(KOINE_ERR_MEMORY, "%s: %llu bytes must lie in one buffer, but the device allows %llu", c->name, (unsigned long long)least, (unsigned long long)limit);
  for (int32_t u = p.unit0; u < p.unit1 && !s;) {
    koi_part one = p;
    one.unit0 = u, one.unit1 = units && (uint64_t)(p.unit1 - u) > units ? u + (int32_t)units : units ? p.unit1 : u + 1;
    u = one.unit1;
    for (int32_t t = p.tile0; t < p.tile1 && !s; t = one.tile1) {
      one.tile0 = t, one.tile1 = units || (uint64_t)(p.tile1 - t) < each ? p.tile1 : t + (int32_t)each;
      s = add_part(c->o, c->role, c->w, one);
    }
  }
  return s;
}

static uint64_t largest_tile(const koi_laid_model *l, int32_t wt, uint64_t k)
{
  uint64_t item = 0;
  for (int s = 0; s < KOI_MAX_STREAMS; s++) {
    uint64_t tile = koi_format_tile_bytes(wt, s, k, l->tile);
    if (tile > item) item = tile;
  }
  return item;
}

static bool units_alike(const koi_weight *w, uint32_t a, uint32_t b)
{
  for (uint32_t s = 0; s < w->n_sub; s++)
    if (koi_weight_piece(w, a, s)->format != koi_weight_piece(w, b, s)->format) return false;
  return true;
}

/* Stretches of units whose matrices are stored alike, each cut where the format changes within a stack. */
static koine_status cut_matrix(const cutter *c, const koi_weight *from)
{
  int32_t per_sub = (int32_t)koi_tiles(from->rows, c->o->l->tile);
  koine_status s = KOINE_OK;
  for (uint32_t u = 0, end; u < from->n_units && !s; u = end) {
    for (end = u + 1; end < from->n_units && units_alike(from, u, end); end++) {}
    for (uint32_t sub = 0, next; sub < from->n_sub && !s; sub = next) {
      int32_t wt = koi_weight_piece(from, u, sub)->format;
      for (next = sub + 1; next < from->n_sub && koi_weight_piece(from, u, next)->format == wt; next++) {}
      if (wt != c->w->wt) c->w->wt = u || sub ? KOI_FORMAT_NONE : wt;
      s = cut_stretch(c, (koi_part){(int32_t)u, (int32_t)end, (int32_t)sub * per_sub, (int32_t)next * per_sub, wt, 0}, largest_tile(c->o->l, wt, from->k), false);
    }
  }
  return s;
}

static koine_status cut(layer_out *o, const koi_role *role, const koi_weight *from, koi_laid *w, const char *name)
{
  const cutter c = {o, role, w, name};
  if (koi_role_is_matrix(role)) return cut_matrix(&c, from);
  return cut_stretch(&c, (koi_part){0, 1, 0, w->sub_rows, w->wt, 0}, row_bytes(role, w), true); /* no op takes a vector in pieces */
}

static koine_status lay(layer_out *o, const koi_role *role, int layer, const koi_weight *from, koi_laid *to)
{
  char name[KOI_ROLE_NAME];
  koi_laid_model *l = o->l;
  if (!from->rows) return KOINE_OK;
  *to = (koi_laid){.wt = role->use == KOI_IDS ? 0 : from->format, .k = (int32_t)from->k, .sub_rows = (int32_t)from->rows, .n_sub = (int32_t)from->n_sub,
                   .n_units = (int32_t)from->n_units, .first = l->n_parts};
  koine_status s = cut(o, role, from, to, koi_role_name(role, layer, name));
  if (role->units == KOI_EXPERTS) to->bytes_per_token = to->bytes / from->n_units * l->model->config.n_used;
  else to->bytes_per_token = role->use == KOI_TABLE || role->use == KOI_IDS ? koi_ceil_div(to->bytes, koi_tiles(from->rows, l->tile) * l->tile) : to->bytes;
  l->bytes += to->bytes, l->bytes_per_token += to->bytes_per_token;
  return s;
}

/* Places that any of a layer's experts can have: all are stored alike, or one could not stand where another stood. */
static koine_status lay_slots(layer_out *o, const koi_role *role, int layer, const koi_weight *from, uint32_t n_slots, koi_laid *to)
{
  char name[KOI_ROLE_NAME];
  koi_weight some = *from;
  for (uint32_t u = 1; u < from->n_units; u++)
    if (!units_alike(from, 0, u))
      return koi_error(KOINE_ERR_UNSUPPORTED, "%s: experts 0 and %u are stored in different formats, so they cannot take turns in an expert cache; load this model without one",
                       koi_role_name(role, layer, name), u);
  some.n_units = n_slots;
  koine_status s = lay(o, role, layer, &some, to);
  for (uint32_t i = to->first; i < to->first + to->n_parts && !s; i++) o->l->parts[i].care = 1; /* until they come, nobody knows */
  return s;
}

static bool has_role(const koi_share *share, const koi_role *role)
{
  return share->of == KOI_OF_ALL || (share->of == KOI_OF_EXPERTS) == (role->units == KOI_EXPERTS);
}

static koine_status lay_layer(layer_out *o, const koi_share *share, int layer, uint32_t r, koi_laid *to)
{
  const koi_role *role = &koi_layer_roles[r];
  const koi_weight *from = &o->l->model->layers[layer].w[r];
  return share->n_slots && role->units == KOI_EXPERTS && from->rows ? lay_slots(o, role, layer, from, share->n_slots, to) : lay(o, role, layer, from, to);
}

koine_status koi_lay_share(const koine_model *m, uint64_t max_buffer_bytes, uint32_t tile, const koi_share *share, koi_laid_model **out)
{
  koi_laid_model *l = koi_alloc(1, sizeof *l);
  if (!l) return KOINE_ERR_MEMORY;
  layer_out o = {l, max_buffer_bytes ? max_buffer_bytes : UINT64_MAX, 0};
  l->model = m, l->tile = tile;
  l->layers = koi_alloc(m->config.n_layers, sizeof *l->layers);
  koine_status s = l->layers ? KOINE_OK : KOINE_ERR_MEMORY;
  for (uint32_t r = 0; r < KOI_N_TOP_ROLES && !s; r++)
    if (r == KOI_TOP_embed ? share->embed : share->head) s = lay(&o, &koi_top_roles[r], -1, &m->top[r], &l->top[r]);
  for (uint32_t n = share->layer0; n < share->layer1; n++)
    for (uint32_t r = 0; r < KOI_N_LAYER_ROLES && !s; r++)
      if (has_role(share, &koi_layer_roles[r])) s = lay_layer(&o, share, (int)n, r, &l->layers[n][r]);
  if (s) koi_lay_free(l);
  else *out = l;
  return s;
}

koine_status koi_lay(const koine_model *m, uint64_t max_buffer_bytes, uint32_t tile, uint32_t layer0, uint32_t layer1, koi_laid_model **out)
{
  return koi_lay_share(m, max_buffer_bytes, tile, &(koi_share){layer0, layer1, !layer0, layer1 == m->config.n_layers, KOI_OF_ALL, 0}, out);
}

void koi_lay_free(koi_laid_model *l)
{
  if (!l) return;
  koi_free(l->layers);
  koi_free(l->parts);
  koi_free(l);
}
