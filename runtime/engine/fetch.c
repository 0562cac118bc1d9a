/* See fetch.h. Owns the memory that rows are read into. Invariant: what a call gives is what the layout says, byte for byte, or an error. */
#include "fetch.h"
#include <string.h>
#include "kept.h"

koi_span koi_fetch_unit(const koi_fetch *f, int layer, uint32_t role, uint32_t part, uint32_t unit)
{
  const koi_part *p = &f->l->parts[part];
  return (koi_span){layer, role, part, unit, (uint64_t)p->tile0, (uint64_t)p->tile1};
}

uint64_t koi_fetch_bytes(const koi_fetch *f, const koi_span *s, int stream) { return koi_span_bytes(f->l, s, stream); }

/* ---- matrices ---- */
static koine_status fetch_matrix(koi_fetch *f, const koi_spanned *w, const koi_span *s, uint8_t *const out[KOI_MAX_STREAMS], bool *care)
{
  uint32_t tile = f->l->tile;
  uint64_t per_sub = koi_tiles(w->from->rows, tile), first = s->tile0 % per_sub, row = first * tile;
  uint64_t n = (s->tile1 - s->tile0) * tile, left = w->from->rows - row;
  const koi_piece *p = koi_weight_piece(w->from, s->unit, (uint32_t)(s->tile0 / per_sub));
  if (n > left) n = left;
  koine_status st = koi_rows_read(&f->rows, w->from, p, (w->from->one_matrix ? (uint64_t)s->unit * w->from->rows : 0) + row, n);
  if (!st) *care |= koi_format_tiles(w->part->wt, tile, &f->rows.m, f->rows.first, n, 0, s->tile1 - s->tile0, out);
  return st;
}

/* ---- vectors and tables of ids ---- */
static koine_status put_ids(koi_fetch *f, const koi_spanned *w, uint64_t at, uint64_t n, int32_t *out)
{
  const koi_tensor *t = w->from->piece[0].weight;
  size_t size = t ? koi_dtype_bytes(t->dtype) : 0;
  koine_status s = KOINE_OK;
  const uint8_t *from = t ? koi_rows_bytes(&f->rows, t, at * size, (size_t)n * size, &s) : NULL;
  for (uint64_t i = 0; i < n && !s; i++) {
    int32_t narrow = (int32_t)(((at + i) * 7 + (at + i) / 64) % f->l->model->config.n_experts); /* made up */
    int64_t id = narrow;
    if (t && size == 8) memcpy(&id, from + i * 8, 8);
    else if (t) memcpy(&narrow, from + i * 4, 4), id = narrow;
    if (id < 0 || id >= f->l->model->config.n_experts)
      s = koi_error(KOINE_ERR_FILE, "%s: %.200s: expected expert ids from 0 to %u, found %jd", t->file, koi_tensor_name(t), f->l->model->config.n_experts - 1, (intmax_t)id);
    out[i] = (int32_t)id;
  }
  return s;
}

/* Rows of a model without files: ones where a weight multiplies, zeros where it is added. */
static void make_up(const koi_spanned *w, uint64_t n, uint8_t *out)
{
  static const uint32_t one[] = {[KOI_WT_F32] = 0x3f800000, [KOI_WT_F16] = 0x3c00, [KOI_WT_BF16] = 0x3f80};
  size_t size = koi_format_row_bytes(w->to->wt, 1);
  if (w->role->use == KOI_TERM) memset(out, 0, n * size);
  else
    for (size_t i = 0; i < n; i++) memcpy(out + i * size, &one[w->to->wt], size);
}

/* A table in blocks, as floats. */
static void decode_rows(const koi_weight_format *f, const uint8_t *block, uint64_t n, float *out)
{
  double values[KOI_MAX_BLOCK];
  for (uint64_t at = 0; at < n; block += f->block_bytes) {
    koi_format_block_values(f, block, values);
    for (uint32_t i = 0; i < f->block_columns; i++) out[at++] = (float)values[i];
  }
}

static koine_status fetch_rows(koi_fetch *f, const koi_spanned *w, const koi_span *s, uint8_t *out)
{
  const koi_piece *p = &w->from->piece[0];
  uint64_t n = s->tile1 - s->tile0, k = w->from->k;
  koine_status st = KOINE_OK;
  if (w->role->use == KOI_IDS) return put_ids(f, w, s->tile0 * k, n * k, (int32_t *)(void *)out);
  if (!p->weight) return make_up(w, n * k, out), st;
  size_t row = koi_format_row_bytes(p->format, k);
  const uint8_t *from = koi_rows_bytes(&f->rows, p->weight, s->tile0 * row, n * row, &st);
  if (st) return st;
  if (p->format != w->from->format) decode_rows(&koi_formats[p->format], from, n * k, (float *)(void *)out);
  else memcpy(out, from, n * row);
  return st;
}

/* From the checkpoint, and to the file that is to keep it, if there is one. */
static koine_status fetch_stored(koi_fetch *f, const koi_spanned *w, const koi_span *s, uint8_t *const out[KOI_MAX_STREAMS], bool *care)
{
  bool some = false;
  f->stored = true;
  koine_status st = koi_role_is_matrix(w->role) ? fetch_matrix(f, w, s, out, &some) : fetch_rows(f, w, s, out[0]);
  *care |= some;
  if (!st && f->kept) koi_kept_write(f->kept, s, out, some);
  return st;
}

koine_status koi_fetch_tiles(koi_fetch *f, const koi_span *s, uint8_t *const out[KOI_MAX_STREAMS], bool *care)
{
  koi_spanned w = koi_span_weight(f->l, s);
  koi_span one = *s;
  uint8_t *to[KOI_MAX_STREAMS];
  koine_status st = KOINE_OK;
  memcpy(to, out, sizeof to);
  for (; one.tile0 < s->tile1 && !st; one.tile0 = one.tile1, one.tile1 = s->tile1) {
    one.tile1 = koi_span_next(f->l, &one);
    if (!f->kept || !koi_kept_read(f->kept, &one, to, care)) st = fetch_stored(f, &w, &one, to, care);
    for (int i = 0; i < KOI_MAX_STREAMS; i++)
      if (to[i]) to[i] += koi_span_bytes(f->l, &one, i);
  }
  return st;
}

/* ---- memory ---- */
static koine_status make_room(koi_fetch *f, const koi_span *any)
{
  koi_spanned w = koi_span_weight(f->l, any);
  uint64_t each = koi_span_at_once(f->l, any);
  koine_status s = KOINE_OK;
  if (koi_role_is_matrix(w.role)) {
    uint64_t rows = each * f->l->tile < w.from->rows ? each * f->l->tile : w.from->rows;
    const koi_piece p = {.format = w.part->wt};
    return w.from->piece[0].weight || w.from->experts ? koi_rows_room(&f->rows, w.from, &p, rows) : s;
  }
  const koi_tensor *t = w.from->piece[0].weight;
  if (each > w.from->rows) each = w.from->rows;
  if (t) s = koi_rows_bytes_room(&f->rows, each * (t->bytes / w.from->rows));
  return s;
}

static koine_status make_rooms(koi_fetch *f, int layer, uint32_t n_roles, const koi_laid *laid)
{
  koine_status s = KOINE_OK;
  for (uint32_t r = 0; r < n_roles; r++)
    for (uint32_t p = laid[r].first; p < laid[r].first + laid[r].n_parts && !s; p++) s = make_room(f, &(koi_span){.layer = layer, .role = r, .part = p});
  return s;
}

koine_status koi_fetch_open(const koi_laid_model *l, struct koi_kept *kept, bool pass, koi_fetch **out)
{
  koi_fetch *f = koi_alloc(1, sizeof *f);
  if (!f) return KOINE_ERR_MEMORY;
  f->l = l, f->kept = kept, f->rows.pass = pass;
  koine_status s = make_rooms(f, -1, KOI_N_TOP_ROLES, l->top);
  for (uint32_t n = 0; n < l->model->config.n_layers && !s; n++) s = make_rooms(f, (int)n, KOI_N_LAYER_ROLES, l->layers[n]);
  if (s) koi_fetch_close(f);
  else *out = f;
  return s;
}

void koi_fetch_close(koi_fetch *f)
{
  if (!f) return;
  koi_rows_free(&f->rows);
  koi_free(f);
}
