/* See span.h. Owns nothing. */
#include "span.h"

koi_spanned koi_span_weight(const koi_laid_model *l, const koi_span *s)
{
  const koine_model *m = l->model;
  const koi_part *p = &l->parts[s->part];
  if (s->layer < 0) return (koi_spanned){&koi_top_roles[s->role], &m->top[s->role], &l->top[s->role], p};
  return (koi_spanned){&koi_layer_roles[s->role], &m->layers[s->layer].w[s->role], &l->layers[s->layer][s->role], p};
}

uint64_t koi_span_of_sub(const koi_laid_model *l, const koi_spanned *w)
{
  return koi_role_is_matrix(w->role) ? koi_tiles(w->from->rows, l->tile) : w->from->rows;
}

uint64_t koi_span_bytes(const koi_laid_model *l, const koi_span *s, int stream)
{
  koi_spanned w = koi_span_weight(l, s);
  koi_part some = {.unit1 = 1, .tile1 = (int32_t)(s->tile1 - s->tile0), .wt = w.part->wt}; /* care is being found out, by another thread */
  return koi_lay_part_bytes(l, w.role, w.to, &some, stream);
}

uint64_t koi_span_at_once(const koi_laid_model *l, const koi_span *s)
{
  koi_span one = *s;
  uint64_t most = 1;
  one.tile1 = one.tile0 + 1;
  for (int i = 0; i < KOI_MAX_STREAMS; i++)
    if (koi_span_bytes(l, &one, i) > most) most = koi_span_bytes(l, &one, i);
  return KOI_PIECE_BYTES / most ? KOI_PIECE_BYTES / most : 1;
}

uint64_t koi_span_next(const koi_laid_model *l, const koi_span *s)
{
  koi_spanned w = koi_span_weight(l, s);
  uint64_t each = koi_span_at_once(l, s), sub = koi_span_of_sub(l, &w), in = s->tile0 % sub, end = s->tile0 - in + (in / each + 1) * each;
  if (end > s->tile0 - in + sub) end = s->tile0 - in + sub;
  return end < s->tile1 ? end : s->tile1;
}
