/* See slots.h. Owns the host's memory that experts pass through. Invariant: a slot whose expert is known has all of its parts. */
#include "slots.h"
#include <stdatomic.h>
#include <string.h>
#include "fetch.h"
#include "turns.h"

struct koi_slots {
  koi_stage *st;
  koi_fetch *fetch;
  koi_turns *layers;       /* [at.layer1 - at.layer0] */
  koi_arrival *arrivals;   /* [n_slots] */
  uint8_t *passing[KOI_MAX_STREAMS]; /* one expert's part */
  int32_t *ids;            /* of the layer at hand */
  uint32_t layer;
  size_t n_ids;
  _Atomic uint64_t n_there, n_loaded, bytes, ns;
};

/* ---- loading ---- */
static bool expert_role(const koi_stage *st, uint32_t layer, uint32_t role) { return koi_layer_roles[role].units == KOI_EXPERTS && st->at.laid->layers[layer][role].n_parts; }

static koine_status load_part(koi_slots *s, uint32_t role, uint32_t part, const koi_arrival *a)
{
  const koi_laid_model *l = s->st->at.laid;
  const koi_part *p = &l->parts[part];
  koi_span span = koi_fetch_unit(s->fetch, (int)s->layer, role, part, (uint32_t)a->expert);
  uint8_t *out[KOI_MAX_STREAMS] = {NULL};
  bool care = false;
  for (int i = 0; i < KOI_MAX_STREAMS; i++)
    if (koi_fetch_bytes(s->fetch, &span, i)) out[i] = s->passing[i];
  koine_status st = koi_fetch_tiles(s->fetch, &span, out, &care);
  for (int i = 0; i < KOI_MAX_STREAMS && !st; i++) {
    uint64_t bytes = koi_fetch_bytes(s->fetch, &span, i);
    if (!bytes) continue;
    st = s->st->dev->backend->write(s->st->dev, s->st->put[part].stream[i], (uint64_t)(a->slot - (uint32_t)p->unit0) * bytes, bytes, out[i]);
    s->bytes += bytes;
  }
  return st;
}

static koine_status load(koi_slots *s, const koi_arrival *a)
{
  koine_status st = KOINE_OK;
  char name[KOI_ROLE_NAME];
  if (s->st->plan->bare) return st;
  for (uint32_t r = 0; r < KOI_N_LAYER_ROLES; r++) {
    const koi_laid *w = &s->st->at.laid->layers[s->layer][r];
    for (uint32_t p = w->first; expert_role(s->st, s->layer, r) && p < w->first + w->n_parts && !st; p++) {
      const koi_part *part = &s->st->at.laid->parts[p];
      if ((uint32_t)part->unit0 <= a->slot && a->slot < (uint32_t)part->unit1) st = load_part(s, r, p, a);
      if (st) return koi_error_prefix(st, "loading expert %d of %s", a->expert, koi_role_name(&koi_layer_roles[r], (int)s->layer, name));
    }
  }
  return st;
}

/* ---- turns ---- */
void koi_slots_begin(koi_slots *s, uint32_t layer, const int32_t *ids, uint32_t n_tokens)
{
  s->layer = layer, s->n_ids = (size_t)n_tokens * s->st->model->config.n_used;
  memcpy(s->ids, ids, s->n_ids * sizeof *ids);
  koi_turns *t = &s->layers[layer - s->st->at.layer0];
  koi_turns_begin(t, s->ids, s->n_ids, n_tokens);
  s->n_there += t->n_wait;
}

koine_status koi_slots_turn(koi_slots *s, int32_t *places, bool *any)
{
  koi_turns *t = &s->layers[s->layer - s->st->at.layer0];
  size_t n = 0;
  koine_status st = KOINE_OK;
  uint64_t start = koi_now_ns();
  *any = koi_turns_next(t, s->arrivals, &n);
  for (size_t i = 0; i < n; i++) {
    if (!st) st = load(s, &s->arrivals[i]);
    if (st) koi_turns_miss(t, s->arrivals[i].slot);
  }
  s->n_there -= n;
  s->n_loaded += n;
  if (n) s->ns += koi_now_ns() - start;
  for (size_t i = 0; i < s->n_ids; i++) places[i] = koi_turns_place(t, s->ids[i]);
  return st;
}

/* ---- opening ---- */
static koine_status make_passing(koi_slots *s)
{
  const koi_laid_model *l = s->st->at.laid;
  uint64_t most[KOI_MAX_STREAMS] = {0};
  for (uint32_t n = s->st->at.layer0; n < s->st->at.layer1; n++)
    for (uint32_t r = 0; r < KOI_N_LAYER_ROLES; r++)
      for (uint32_t p = l->layers[n][r].first; expert_role(s->st, n, r) && p < l->layers[n][r].first + l->layers[n][r].n_parts; p++) {
        koi_span one = koi_fetch_unit(s->fetch, (int)n, r, p, 0);
        for (int i = 0; i < KOI_MAX_STREAMS; i++)
          if (koi_fetch_bytes(s->fetch, &one, i) > most[i]) most[i] = koi_fetch_bytes(s->fetch, &one, i);
      }
  for (int i = 0; i < KOI_MAX_STREAMS; i++)
    if (most[i] && !(s->passing[i] = koi_alloc(most[i], 1))) return KOINE_ERR_MEMORY;
  return KOINE_OK;
}

static koine_status make(koi_slots *s)
{
  const koi_plan_stage *at = &s->st->at;
  uint32_t n_layers = at->layer1 - at->layer0;
  koine_status st = koi_fetch_open(at->laid, s->st->kept, false, &s->fetch);
  s->layers = koi_alloc(n_layers, sizeof *s->layers), s->arrivals = koi_alloc(at->n_slots, sizeof *s->arrivals);
  s->ids = koi_alloc((size_t)s->st->plan->chunk * s->st->model->config.n_used, sizeof *s->ids);
  if (!st && (!s->layers || !s->arrivals || !s->ids)) st = KOINE_ERR_MEMORY;
  for (uint32_t n = 0; n < n_layers && !st; n++) st = koi_turns_make(at->n_slots, s->st->model->config.n_experts, &s->layers[n]);
  return st ? st : make_passing(s);
}

koine_status koi_slots_open(koi_stage *st, koi_slots **out)
{
  koi_slots *s = koi_alloc(1, sizeof *s);
  if (!s) return KOINE_ERR_MEMORY;
  s->st = st;
  koine_status status = make(s);
  if (status) koi_slots_close(s);
  else *out = s;
  return status;
}

void koi_slots_close(koi_slots *s)
{
  if (!s) return;
  koi_fetch_close(s->fetch);
  for (uint32_t n = 0; s->layers && n < s->st->at.layer1 - s->st->at.layer0; n++) koi_turns_free(&s->layers[n]);
  for (int i = 0; i < KOI_MAX_STREAMS; i++) koi_free(s->passing[i]);
  koi_free(s->layers);
  koi_free(s->arrivals);
  koi_free(s->ids);
  koi_free(s);
}

koi_expert_figures koi_slots_figures(const koi_slots *s) { return (koi_expert_figures){s->n_there, s->n_loaded, s->bytes, s->ns}; }
