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

/* Units [unit0, unit1) that are stored as unit `like` is, cut where the format changes within a stack. */
static koine_status cut_units(const cutter *c, const koi_weight *from, uint32_t like, int32_t unit0, int32_t unit1)
{
  int32_t per_sub = (int32_t)koi_tiles(from->rows, c->o->l->tile);
  koine_status s = KOINE_OK;
  for (uint32_t sub = 0, next; sub < from->n_sub && !s; sub = next) {
    int32_t wt = koi_weight_piece(from, like, sub)->format;
    for (next = sub + 1; next < from->n_sub && koi_weight_piece(from, like, next)->format == wt; next++) {}
    if (wt != c->w->wt) c->w->wt = unit0 || sub ? KOI_FORMAT_NONE : wt;
    s = cut_stretch(c, (koi_part){unit0, unit1, (int32_t)sub * per_sub, (int32_t)next * per_sub, wt, 0}, largest_tile(c->o->l, wt, from->k), false);
  }
  return s;
}

/* Stretches of units whose matrices are stored alike. */
static koine_status cut_matrix(const cutter *c, const koi_weight *from)
{
  koine_status s = KOINE_OK;
  for (uint32_t u = 0, end; u < from->n_units && !s; u = end) {
    for (end = u + 1; end < from->n_units && units_alike(from, u, end); end++) {}
    s = cut_units(c, from, u, (int32_t)u, (int32_t)end);
  }
  return s;
}

/* The same of places: stretches of lots whose experts are stored alike in this role. */
static koine_status cut_places(const cutter *c, const koi_weight *from, const koi_lots *lots)
{
  koine_status s = KOINE_OK;
  for (uint32_t i = 0, end; i < lots->n && !s; i = end) {
    for (end = i + 1; end < lots->n && units_alike(from, lots->like[i], lots->like[end]); end++) {}
    s = cut_units(c, from, lots->like[i], (int32_t)lots->first[i], (int32_t)lots->first[end]);
  }
  return s;
}

/* lots: NULL, or those of the places that its units have by turns. */
static koine_status cut(layer_out *o, const koi_role *role, const koi_weight *from, const koi_lots *lots, koi_laid *w, const char *name)
{
  const cutter c = {o, role, w, name};
  if (lots) return cut_places(&c, from, lots);
  if (koi_role_is_matrix(role)) return cut_matrix(&c, from);
  return cut_stretch(&c, (koi_part){0, 1, 0, w->sub_rows, w->wt, 0}, row_bytes(role, w), true); /* no op takes a vector in pieces */
}

static koine_status lay(layer_out *o, const koi_role *role, int layer, const koi_weight *from, const koi_lots *lots, koi_laid *to)
{
  char name[KOI_ROLE_NAME];
  koi_laid_model *l = o->l;
  if (!from->rows) return KOINE_OK;
  *to = (koi_laid){.wt = role->use == KOI_IDS ? 0 : from->format, .k = (int32_t)from->k, .sub_rows = (int32_t)from->rows, .n_sub = (int32_t)from->n_sub,
                   .n_units = (int32_t)(lots ? lots->n_slots : from->n_units), .first = l->n_parts};
  koine_status s = cut(o, role, from, lots, to, koi_role_name(role, layer, name));
  if (role->units == KOI_EXPERTS) to->bytes_per_token = to->bytes / (uint64_t)to->n_units * l->model->config.n_used;
  else to->bytes_per_token = role->use == KOI_TABLE || role->use == KOI_IDS ? koi_ceil_div(to->bytes, koi_tiles(from->rows, l->tile) * l->tile) : to->bytes;
  l->bytes += to->bytes, l->bytes_per_token += to->bytes_per_token;
  return s;
}

static bool has_role(const koi_share *share, const koi_role *role)
{
  return share->of == KOI_OF_ALL || (share->of == KOI_OF_EXPERTS) == (role->units == KOI_EXPERTS);
}

static koine_status lay_layer(layer_out *o, const koi_share *share, uint32_t n)
{
  koi_laid_model *l = o->l;
  const koi_layer *from = &l->model->layers[n];
  koine_status s = l->lots ? koi_lots_make(from, share->n_slots, &l->lots[n]) : KOINE_OK;
  for (uint32_t r = 0; r < KOI_N_LAYER_ROLES && !s; r++) {
    const koi_role *role = &koi_layer_roles[r];
    const koi_lots *lots = l->lots && role->units == KOI_EXPERTS ? &l->lots[n] : NULL;
    koi_laid *to = &l->layers[n][r];
    if (has_role(share, role)) s = lay(o, role, (int)n, &from->w[r], lots, to);
    for (uint32_t i = to->first; lots && i < to->first + to->n_parts && !s; i++) l->parts[i].care = 1; /* until they come, nobody knows */
  }
  return s;
}

koine_status koi_lay_share(const koine_model *m, uint64_t max_buffer_bytes, uint32_t tile, const koi_share *share, koi_laid_model **out)
{
  koi_laid_model *l = koi_alloc(1, sizeof *l);
  if (!l) return KOINE_ERR_MEMORY;
  layer_out o = {l, max_buffer_bytes ? max_buffer_bytes : UINT64_MAX, 0};
  l->model = m, l->tile = tile;
  l->layers = koi_alloc(m->config.n_layers, sizeof *l->layers);
  if (share->n_slots) l->lots = koi_alloc(m->config.n_layers, sizeof *l->lots);
  koine_status s = l->layers && (l->lots || !share->n_slots) ? KOINE_OK : KOINE_ERR_MEMORY;
  for (uint32_t r = 0; r < KOI_N_TOP_ROLES && !s; r++)
    if (r == KOI_TOP_embed ? share->embed : share->head) s = lay(&o, &koi_top_roles[r], -1, &m->top[r], NULL, &l->top[r]);
  for (uint32_t n = share->layer0; n < share->layer1 && !s; n++) s = lay_layer(&o, share, n);
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
  for (uint32_t n = 0; l->lots && n < l->model->config.n_layers; n++) koi_lots_free(&l->lots[n]);
  koi_free(l->lots);
  koi_free(l->layers);
  koi_free(l->parts);
  koi_free(l);
}
