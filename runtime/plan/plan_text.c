/* A plan as text. Owns nothing. */
#include "plan.h"

static void cost_line(koi_text *t, const koine_plan *p, const koi_plan_stage *s, uint32_t n_tokens)
{
  uint64_t at = p->context > n_tokens ? p->context - n_tokens : 0;
  koi_cost c = koi_plan_cost(p, s, n_tokens, at);
  koi_text_add(t, "step tokens=%u position=%llu launches=%zu flops=%.4g bytes=%.4g\n", n_tokens, (unsigned long long)at, c.launches, c.flops, c.bytes);
}

static void place_of(const koi_plan_stage *s, koi_placed *out)
{
  *out = (koi_placed){.layer0 = s->layer0, .layer1 = s->layer1, .embed = s->embed, .head = s->head};
  koi_print(out->device, sizeof out->device, "%s", s->endpoint->id);
  if (s->experts) koi_print(out->experts, sizeof out->experts, "%s", s->experts->endpoint->id), out->expert_bytes = s->experts->expert_bytes;
  if (s->experts && s->experts->experts) koi_print(out->misses, sizeof out->misses, "%s", s->experts->experts->endpoint->id);
}

static void bytes_words(koi_text *t, const koi_plan_stage *s)
{
  const koi_stage_bytes *b = &s->bytes;
  koi_text_add(t, " name=\"%s\" weight_bytes=%llu scratch_bytes=%llu cache_bytes=%llu mark_bytes=%llu program_bytes=%llu", s->endpoint->name,
               (unsigned long long)b->weights, (unsigned long long)b->scratch, (unsigned long long)b->caches, (unsigned long long)b->marks,
               (unsigned long long)b->programs);
  if (b->gates) koi_text_add(t, " gate_bytes=%llu", (unsigned long long)b->gates);
  koi_text_add(t, "\n");
}

koine_status koi_plan_text(const koine_plan *p, char **out)
{
  koi_text t = {0};
  koi_text_add(&t, "plan chunk=%u context=%llu\n", p->chunk, (unsigned long long)p->context);
  if (p->split_groups) koi_text_add(&t, "place split_groups=%d\n", (int)p->split_groups);
  for (size_t i = 0; i < p->n_stages; i++) {
    const koi_plan_stage *s = &p->stages[i];
    koi_placed place;
    place_of(s, &place);
    koi_placement_stage_text(&place, &t);
    bytes_words(&t, s);
    for (const koi_plan_stage *x = s->experts; x; x = x->experts) {
      koi_text_add(&t, "experts %u-%u device=%s", x->layer0, x->layer1 - 1, x->endpoint->id);
      if (x->n_slots) koi_text_add(&t, " slots=%u", x->n_slots);
      bytes_words(&t, x);
    }
    cost_line(&t, p, s, 1);
    if (p->chunk > 1) cost_line(&t, p, s, p->chunk);
  }
  return koi_text_take(&t, out);
}

koine_status koi_plan_line(const koine_plan *p, char **out)
{
  koi_text t = {0};
  for (size_t i = 0; i < p->n_stages; i++) {
    const koi_plan_stage *s = &p->stages[i];
    koi_text_add(&t, "%s", i ? ", " : "");
    if (p->n_stages == 1) koi_text_add(&t, "all layers");
    else if (s->layer0 == s->layer1) koi_text_add(&t, s->head ? "head" : "embedding");
    else koi_text_add(&t, "layers %u-%u", s->layer0, s->layer1 - 1);
    koi_text_add(&t, " on %s (%s)", s->endpoint->id, s->endpoint->name);
    if (s->experts && s->experts->endpoint != s->endpoint) koi_text_add(&t, " with routed experts on %s (%s)", s->experts->endpoint->id, s->experts->endpoint->name);
    if (s->experts && s->experts->n_slots) koi_text_add(&t, ", %u of a layer's %u experts there at once", s->experts->n_slots, p->model->config.n_experts);
    if (s->experts && s->experts->experts) koi_text_add(&t, ", all on %s (%s), which computes what is quicker computed than loaded", s->experts->experts->endpoint->id, s->experts->experts->endpoint->name);
  }
  if (p->basis) koi_text_add(&t, ": %s", p->basis);
  return koi_text_take(&t, out);
}
