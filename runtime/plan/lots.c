/* See lots.h. Owns its arrays. Invariant: every expert has a lot, and every lot an expert and a place. */
#include "lots.h"

static bool alike(const koi_layer *layer, uint32_t a, uint32_t b)
{
  for (uint32_t r = 0; r < KOI_N_LAYER_ROLES; r++)
    for (uint32_t s = 0; koi_layer_roles[r].units == KOI_EXPERTS && layer->w[r].rows && s < layer->w[r].n_sub; s++)
      if (koi_weight_piece(&layer->w[r], a, s)->format != koi_weight_piece(&layer->w[r], b, s)->format) return false;
  return true;
}

static uint32_t experts_of(const koi_layer *layer)
{
  for (uint32_t r = 0; r < KOI_N_LAYER_ROLES; r++)
    if (koi_layer_roles[r].units == KOI_EXPERTS && layer->w[r].rows) return layer->w[r].n_units;
  return 0;
}

koine_status koi_lots_make(const koi_layer *layer, uint32_t n_slots, koi_lots *out)
{
  uint32_t n = experts_of(layer);
  koi_lots l = {.n_experts = n};
  if (!n) return *out = l, KOINE_OK;
  l.of = koi_alloc(n, sizeof *l.of), l.first = koi_alloc((size_t)n + 1, sizeof *l.first), l.like = koi_alloc(n, sizeof *l.like);
  if (!l.of || !l.first || !l.like) return koi_lots_free(&l), KOINE_ERR_MEMORY;
  for (uint32_t e = 0; e < n; e++) {
    uint32_t i = 0;
    while (i < l.n && !alike(layer, l.like[i], e)) i++;
    if (i == l.n) l.like[l.n++] = e;
    l.of[e] = i, l.first[i + 1]++;
  }
  for (uint32_t i = 0; i < l.n; i++) l.first[i + 1] = l.first[i] + (uint32_t)koi_ceil_div((uint64_t)l.first[i + 1] * n_slots, n);
  l.n_slots = l.first[l.n];
  return *out = l, KOINE_OK;
}

void koi_lots_free(koi_lots *l)
{
  koi_free(l->of);
  koi_free(l->first);
  koi_free(l->like);
  *l = (koi_lots){0};
}
