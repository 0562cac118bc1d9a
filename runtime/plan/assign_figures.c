/* What a placement takes: seconds with their uncertainty, bytes by device. Owns the stages' figures. Invariant: every card's memory is counted
 * once, whoever lies on it. */
#include <math.h>
#include <string.h>
#include "assign_impl.h"

static koine_status find(const koi_question *q, const char *id, uint32_t *out)
{
  size_t d = koi_site_find(q->site, id);
  if (d == q->site->n_devices) return koi_site_missing(q->site, id);
  *out = (uint32_t)d;
  return KOINE_OK;
}

typedef struct seconds { double middle, low, high; } seconds;

static void add_item(const koi_costs *c, uint32_t d, uint32_t e, uint32_t item, double trip, seconds *s)
{
  size_t here = (size_t)d * c->n_items + item, there = (size_t)e * c->n_items + item;
  s->middle += c->seconds[here], s->low += c->low[here], s->high += c->high[here];
  if (e == KOI_SOLVE_NOWHERE) return;
  /* what is likely of the experts is as wide as of the whole item */
  double own = c->expert_seconds[here], other = c->expert_seconds[there];
  s->middle += other - own + trip;
  s->low += other * c->low[there] / c->seconds[there] - own * c->low[here] / c->seconds[here] + trip;
  s->high += other * c->high[there] / c->seconds[there] - own * c->high[here] / c->seconds[here] + trip;
}

/* Items of a stage: layer l is item l + 1. */
static seconds stage_seconds(const koi_question *q, const koi_costs *c, const koi_placed *p, const koi_assigned_stage *x, double n_tokens)
{
  seconds s = {0, 0, 0};
  double trip = 0, row = koi_question_row(q, n_tokens);
  if (x->experts != KOI_SOLVE_NOWHERE) trip = koi_question_hop(q, x->device, x->experts, row) + koi_question_hop(q, x->experts, x->device, row);
  if (p->embed) add_item(c, x->device, KOI_SOLVE_NOWHERE, 0, 0, &s);
  for (uint32_t l = p->layer0; l < p->layer1; l++) add_item(c, x->device, x->experts, l + 1, trip, &s);
  if (p->head) add_item(c, x->device, KOI_SOLVE_NOWHERE, c->n_items - 1, 0, &s);
  return s;
}

static void count_item(const koi_item_bytes *b, bool apart, koi_assigned_stage *x)
{
  x->weights += b->weights - (apart ? b->experts : 0), x->caches += b->caches;
  if (apart) x->expert_weights += b->experts;
}

static void count_bytes(const koi_question *q, const koi_placed *p, koi_assigned_stage *x)
{
  bool apart = x->experts != KOI_SOLVE_NOWHERE;
  if (p->embed) count_item(&q->hold.items[0], false, x);
  for (uint32_t l = p->layer0; l < p->layer1; l++) count_item(&q->hold.items[l + 1], apart, x);
  if (p->head) count_item(&q->hold.items[q->n_items - 1], false, x);
  x->own = q->hold.own_bytes;
}

/* With p->expert_bytes of the stage's routed experts there at once. */
static koine_status count_turns(const koi_question *q, const koi_placed *p, koi_assigned_stage *x)
{
  koi_by_turns *t = &x->turns;
  uint32_t d = x->experts == KOI_SOLVE_NOWHERE ? x->device : x->experts, n = q->model->config.n_experts;
  uint64_t *held = x->experts == KOI_SOLVE_NOWHERE ? &x->weights : &x->expert_weights;
  if (!p->expert_bytes || p->layer0 == p->layer1 || !n) return KOINE_OK;
  for (uint32_t l = p->layer0; l < p->layer1; l++)
    t->all += q->hold.items[l + 1].experts, t->compute_s += q->token.expert_seconds[(size_t)d * q->token.n_items + l + 1];
  uint64_t slots = p->expert_bytes / (t->all / n + !t->all);
  if (!slots)
    return koi_error(KOINE_ERR_MEMORY, "expert cache of %llu bytes on device %s: one expert of each of its %u layers takes %llu; give it at least as much", (unsigned long long)p->expert_bytes,
                     q->site->devices[d].id, p->layer1 - p->layer0, (unsigned long long)(t->all / n));
  t->n_slots = (uint32_t)(slots < n ? slots : n), t->room = t->all / n * t->n_slots;
  *held -= t->all - t->room;
  for (uint32_t l = p->layer0; l < p->layer1 && x->misses != KOI_SOLVE_NOWHERE; l++) t->misses_s += q->token.expert_seconds[(size_t)x->misses * q->token.n_items + l + 1];
  if (!isfinite(t->misses_s)) t->misses_s = 0;
  return KOINE_OK;
}

static koine_status check_known(const koi_question *q, const koi_assigned_stage *x)
{
  uint32_t d = x->experts != KOI_SOLVE_NOWHERE && isfinite(q->token.seconds[x->device * q->n_items]) ? x->experts : x->device;
  if (isfinite(q->token.seconds[(size_t)d * q->n_items])) return KOINE_OK;
  return koi_error(KOINE_ERR_NO_DEVICE, "how fast device %s is is not known; koine plan --measure finds out", q->site->devices[d].id);
}

static koine_status stage_figures(const koi_question *q, koi_assigned *a, size_t i, double chunk_s[3])
{
  const koi_placed *p = &a->placement.stages[i];
  koi_assigned_stage *x = &a->stages[i];
  x->experts = x->misses = KOI_SOLVE_NOWHERE;
  koine_status s = find(q, p->device, &x->device);
  if (!s && p->experts[0] && strcmp(p->experts, p->device)) s = find(q, p->experts, &x->experts);
  if (!s && p->expert_bytes && p->misses[0]) s = find(q, p->misses, &x->misses);
  if (!s) s = check_known(q, x);
  if (s) return s;
  count_bytes(q, p, x);
  if ((s = count_turns(q, p, x))) return s;
  seconds token = stage_seconds(q, &q->token, p, x, 1), chunk = stage_seconds(q, &q->prompt, p, x, q->w.chunk);
  double hop = i ? koi_question_hop(q, a->stages[i - 1].device, x->device, koi_question_stream(q, q->w.chunk)) : 0;
  x->seconds = token.middle, x->low = token.low, x->high = token.high;
  x->hop = i ? koi_question_hop(q, a->stages[i - 1].device, x->device, koi_question_stream(q, 1)) : 0;
  chunk_s[0] += chunk.middle + hop, chunk_s[1] += chunk.low + hop, chunk_s[2] += chunk.high + hop;
  return KOINE_OK;
}

/* ---- memory ------------------------------------------------------------------------------------------------------------ */
static uint64_t held_on(const koi_assigned *a, uint32_t d)
{
  uint64_t bytes = 0;
  bool experts = false;
  for (size_t i = 0; i < a->placement.n_stages; i++) {
    const koi_assigned_stage *x = &a->stages[i];
    if (x->device == d) bytes += x->weights + x->caches + x->own;
    if (x->experts == d) bytes += x->expert_weights + (experts ? 0 : x->own), experts = true;
    if (x->misses == d) bytes += x->turns.all + (experts ? 0 : x->own), experts = true;
  }
  return bytes;
}

static bool same_memory(const koi_site *s, uint32_t a, uint32_t b) { return s->devices[a].card == s->devices[b].card || (koi_site_on_host(s, a) && koi_site_on_host(s, b)); }

static koine_status check_memory(const koi_question *q, const koi_assigned *a)
{
  for (uint32_t d = 0; d < q->site->n_devices; d++) {
    uint64_t own = held_on(a, d), all = own, limit = koi_question_limit(q, d), pool = limit;
    if (!own) continue;
    for (uint32_t o = 0; o < q->site->n_devices; o++) {
      uint64_t there = o != d && same_memory(q->site, d, o) ? held_on(a, o) : 0;
      all += there;
      if (there && koi_question_limit(q, o) > pool) pool = koi_question_limit(q, o);
    }
    if (own > limit || all > pool)
      return koi_error(KOINE_ERR_MEMORY, "device %s (%s) may use %s GiB of memory%s, but %s GiB are needed; give it fewer layers, or take a smaller context",
                       q->site->devices[d].id, q->site->devices[d].name, koi_size_text(own > limit ? limit : pool).text, own > limit ? "" : " with those that share it",
                       koi_size_text(own > limit ? own : all).text);
  }
  return KOINE_OK;
}

/* ---- the whole --------------------------------------------------------------------------------------------------------- */
/* Of a model as wide as this one. */
static bool has_costs(const koi_question *q, uint32_t d)
{
  const koi_site *s = q->site;
  for (size_t i = 0; i < s->n_costs; i++)
    if (s->costs[i].device == d && (!s->costs[i].width || s->costs[i].width == q->model->config.hidden)) return true;
  return false;
}

/* Sums over the stages. */
static void add_up(const koi_question *q, koi_assigned *a)
{
  double busy = 0;
  for (size_t i = 0; i < a->placement.n_stages; i++) {
    const koi_assigned_stage *x = &a->stages[i];
    a->token_s += x->seconds + x->hop, a->low_s += x->low + x->hop, a->high_s += x->high + x->hop;
    busy = i && a->stages[i - 1].device == x->device ? busy + x->seconds : x->seconds; /* two stages side by side keep their device busy together */
    if (busy > a->longest_s) a->longest_s = busy;
    if (x->hop > a->longest_s) a->longest_s = x->hop;
    a->measured &= has_costs(q, x->device) && (x->experts == KOI_SOLVE_NOWHERE || has_costs(q, x->experts));
    for (uint32_t d = 0; d < q->site->n_devices; d++)
      if (d == x->device || d == x->experts || d == x->misses) a->estimated |= q->site->devices[d].estimated, a->old |= q->site->devices[d].old;
  }
}

koine_status koi_question_figures(const koi_question *q, koi_assigned *a)
{
  size_t n = a->placement.n_stages;
  double chunk_s[3] = {0, 0, 0};
  koine_status s = KOINE_OK;
  a->context = q->w.context, a->chunk = q->w.chunk, a->n_unknown = q->n_unknown, a->measured = true;
  if (!(a->stages = koi_alloc(n, sizeof *a->stages))) return KOINE_ERR_MEMORY;
  for (size_t i = 0; i < n && !s; i++) s = stage_figures(q, a, i, chunk_s);
  if (s) return s;
  koi_question_turns(q, a, chunk_s);
  add_up(q, a);
  double out = koi_costs_link(&q->site->devices[a->stages[n - 1].device].to_host, 4.0 * q->model->config.n_vocab);
  a->token_s += out, a->low_s += out, a->high_s += out;
  a->prompt_per_s = q->w.chunk / chunk_s[0], a->prompt_low = q->w.chunk / chunk_s[2], a->prompt_high = q->w.chunk / chunk_s[1];
  return check_memory(q, a);
}
