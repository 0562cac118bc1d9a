/* See assign.h. Owns the question and what it was made of. Invariant: the same machine, model and wishes have the same answer. */
#include "assign_impl.h"
#include <math.h>
#include <string.h>
#include "plan.h"

/* ---- the question ------------------------------------------------------------------------------------------------------ */
bool koi_question_is_cpu(const koi_question *q, uint32_t device)
{
  koine_device_type t = q->site->cards[q->site->devices[device].card].type;
  return t == KOINE_DEVICE_HOST || t == KOINE_DEVICE_CPU;
}

static bool listed(const char *const *list, size_t n, const char *id)
{
  for (size_t i = 0; i < n; i++)
    if (!strcmp(list[i], id)) return true;
  return false;
}

static bool pinned(const koi_assign_wish *w, const char *id)
{
  for (size_t i = 0; i < w->n_pins; i++)
    if (!strcmp(w->pins[i].device, id)) return true;
  return false;
}

static bool cached(const koi_assign_wish *w, const char *id)
{
  for (size_t i = 0; i < w->n_caches; i++)
    if (!strcmp(w->caches[i].device, id)) return true;
  return false;
}

static bool known(const koi_question *q, uint32_t d)
{
  for (uint32_t i = 0; i < q->n_items; i++)
    if (!isfinite(q->token.seconds[d * q->n_items + i])) return false;
  return true;
}

static bool named(const koi_question *q, uint32_t d)
{
  const char *id = q->site->devices[d].id;
  return pinned(&q->w, id) || listed(q->w.include, q->w.n_include, id) || cached(&q->w, id);
}

/* Whether only those that are named have layers. Where nothing says who has any, a budget for experts does. */
static bool by_name(const koi_assign_wish *w)
{
  return w->n_include || (w->n_caches && !w->n_pins && !w->n_exclude && !w->n_shares && w->on_cards < 0 && w->experts_on_cpu < 0);
}

static double token_on(const koi_question *q, uint32_t d)
{
  double sum = 0;
  for (uint32_t i = 0; i < q->n_items; i++) sum += q->token.seconds[d * q->n_items + i];
  return sum;
}

/* Whether d can be done without rather than e: another driver of its card is faster, or it is slower. */
static bool spared(const koi_question *q, uint32_t d, uint32_t e)
{
  bool kin[2] = {false, false};
  for (uint32_t i = 0; i < q->n; i++)
    for (int k = 0; k < 2; k++) {
      uint32_t x = k ? e : d;
      kin[k] |= q->at[i] != x && q->site->devices[q->at[i]].card == q->site->devices[x].card && token_on(q, q->at[i]) < token_on(q, x);
    }
  return kin[0] != kin[1] ? kin[0] : token_on(q, d) > token_on(q, e);
}

/* One more than are searched over: of those that nobody named, the one that can best be done without gets nothing. */
static koine_status add_device(koi_question *q, uint32_t d)
{
  uint32_t out = KOI_SOLVE_DEVICES;
  if (q->n < KOI_SOLVE_DEVICES) {
    q->at[q->n++] = d;
    return KOINE_OK;
  }
  for (uint32_t i = 0; i < q->n; i++)
    if (!named(q, q->at[i]) && (out == KOI_SOLVE_DEVICES || spared(q, q->at[i], q->at[out]))) out = i;
  bool other = out < KOI_SOLVE_DEVICES && (named(q, d) || spared(q, q->at[out], d));
  if (!other && named(q, d)) return koi_error(KOINE_ERR_ARG, "more than %d devices are named: name fewer", KOI_SOLVE_DEVICES);
  koi_log(KOINE_LOG_WARNING, "device %s gets no layers: plans are made for the best %d devices", q->site->devices[other ? q->at[out] : d].id, KOI_SOLVE_DEVICES);
  if (!other) return KOINE_OK;
  memmove(&q->at[out], &q->at[out + 1], (q->n - out - 1) * sizeof *q->at);
  q->at[q->n - 1] = d;
  return KOINE_OK;
}

/* The first of the processors, plain C last; and where there is nothing else, what was wanted for cards is none. */
static void find_cpu(koi_question *q)
{
  bool cards = false;
  q->cpu = q->n;
  for (uint32_t i = q->n; i-- > 0;) {
    if (!koi_question_is_cpu(q, q->at[i])) cards = true;
    else if (q->cpu == q->n || !q->site->devices[q->at[i]].reference) q->cpu = i;
  }
  if (q->w.on_cards <= 0 || cards) return;
  koi_log(KOINE_LOG_WARNING, "%d layers were wanted on cards, but there is none: they stay with the processors", q->w.on_cards);
  q->w.on_cards = -1;
}

/* Plain C takes part when it is named, or when nothing else can. */
static koine_status choose_devices(koi_question *q)
{
  const koi_assign_wish *w = &q->w;
  koine_status s = KOINE_OK;
  for (int plain = 0; plain < 2 && !q->n; plain++)
    for (uint32_t d = 0; d < q->site->n_devices && !s; d++) {
      const koi_site_device *x = &q->site->devices[d];
      bool wanted = named(q, d);
      if (!x->usable || listed(w->exclude, w->n_exclude, x->id) || (by_name(w) && !wanted) || (x->reference && !wanted && !plain)) continue;
      q->n_unknown += x->estimated && (!x->reference || plain);
      if (known(q, d)) s = add_device(q, d);
    }
  if (s) return s;
  if (!q->n)
    return koi_error(KOINE_ERR_NO_DEVICE, "%s", q->n_unknown ? "how fast the devices are is not known; koine plan --measure finds out" : "no device is left to plan with");
  find_cpu(q);
  return KOINE_OK;
}

static koine_status check_names(const koi_site *s, const koi_assign_wish *w, uint32_t n_layers)
{
  if (w->misses_on && koi_site_find(s, w->misses_on) == s->n_devices) return koi_site_missing(s, w->misses_on);
  for (size_t i = 0; i < w->n_caches; i++) {
    if (koi_site_find(s, w->caches[i].device) == s->n_devices) return koi_site_missing(s, w->caches[i].device);
    if (listed(w->exclude, w->n_exclude, w->caches[i].device)) return koi_error(KOINE_ERR_ARG, "device %s is to have routed experts by turns and to have none", w->caches[i].device);
  }
  for (size_t i = 0; i < w->n_exclude + w->n_include + w->n_memory + w->n_pins; i++) {
    size_t k = i;
    const char *id = k < w->n_exclude ? w->exclude[k] : (k -= w->n_exclude) < w->n_include ? w->include[k] : (k -= w->n_include) < w->n_memory ? w->memory[k].device : w->pins[k - w->n_memory].device;
    if (koi_site_find(s, id) == s->n_devices) return koi_site_missing(s, id);
    if (i >= w->n_exclude + w->n_include + w->n_memory && listed(w->exclude, w->n_exclude, id)) return koi_error(KOINE_ERR_ARG, "device %s is to have layers and to have none", id);
  }
  for (size_t i = 0; i < w->n_pins; i++)
    if (w->pins[i].layer1 > n_layers) return koi_error(KOINE_ERR_ARG, "layer %u was placed, but the model has layers 0 to %u", w->pins[i].layer1 - 1, n_layers - 1);
  return KOINE_OK;
}

koine_status koi_question_open(const koi_site *site, const koine_model *m, const koi_assign_wish *w, koi_question *out)
{
  koi_question q = {.model = m, .w = *w, .n_items = koi_costs_items(m)};
  uint64_t most = m->config.max_context;
  if (!q.w.context) q.w.context = most < KOI_DEFAULT_CONTEXT ? most : KOI_DEFAULT_CONTEXT;
  if (!q.w.chunk) q.w.chunk = KOI_DEFAULT_CHUNK;
  if (q.w.chunk > q.w.context) q.w.chunk = (uint32_t)q.w.context;
  if (!q.w.n_streams) q.w.n_streams = 1;
  koine_status s = check_names(site, w, m->config.n_layers);
  if (!s && w->context > KOI_MAX_CONTEXT) s = koi_error(KOINE_ERR_ARG, "context of %llu tokens, expected at most %d", (unsigned long long)w->context, KOI_MAX_CONTEXT);
  if (!s) s = koi_site_estimate(site, &q.estimated);
  *out = q, out->site = &out->estimated;
  if (!s) s = koi_costs_make(out->site, m, &(koi_step_at){1, q.w.context / 2}, q.w.exact, &out->token);
  if (!s) s = koi_costs_make(out->site, m, &(koi_step_at){q.w.chunk, (q.w.context - q.w.chunk) / 2}, q.w.exact, &out->prompt);
  if (!s) s = koi_costs_hold(m, q.w.context, q.w.chunk, q.w.exact, &out->hold);
  if (!s) s = choose_devices(out);
  if (s) koi_question_close(out);
  return s;
}

void koi_question_close(koi_question *q)
{
  koi_costs_free(&q->token);
  koi_costs_free(&q->prompt);
  koi_costs_unhold(&q->hold);
  koi_free(q->estimated.devices);
}

/* ---- answers ----------------------------------------------------------------------------------------------------------- */
static koine_status add_stage(koi_placement *p, const char *device, const char *experts, uint32_t layer0, uint32_t layer1, bool embed, bool head)
{
  koi_placed *s = koi_placement_add(p);
  if (!s) return KOINE_ERR_MEMORY;
  koi_print(s->device, sizeof s->device, "%s", device);
  koi_print(s->experts, sizeof s->experts, "%s", experts);
  s->layer0 = layer0, s->layer1 = layer1, s->embed = embed, s->head = head;
  return KOINE_OK;
}

/* Item numbers to layers; a stage of which only the first experts lie apart becomes two. */
static koine_status place_stage(const koi_question *q, const koi_solved_stage *x, koi_placement *p)
{
  uint32_t n = q->n_items - 2, layer0 = x->item0 ? x->item0 - 1 : 0, layer1 = x->item1 > n + 1 ? n : x->item1 - 1;
  bool embed = !x->item0, head = x->item1 == q->n_items;
  uint32_t apart = x->item0 + x->n_apart;             /* the first item whose experts are at home */
  apart = !x->n_apart || apart < 1 ? layer0 : apart > n + 1 ? n : apart - 1;
  const char *device = q->site->devices[q->at[x->device]].id, *experts = x->experts < q->n ? q->site->devices[q->at[x->experts]].id : "";
  if (apart <= layer0) return add_stage(p, device, "", layer0, layer1, embed, head);
  if (apart >= layer1) return add_stage(p, device, experts, layer0, layer1, embed, head);
  koine_status s = add_stage(p, device, experts, layer0, apart, embed, false);
  return s ? s : add_stage(p, device, "", apart, layer1, false, head);
}

/* Layers in proportion to the user's shares, on the devices in their order. */
static koine_status by_shares(const koi_question *q, koi_placement *p)
{
  double sum = 0, so_far = 0;
  uint32_t n = q->model->config.n_layers, from = 0;
  koine_status s = KOINE_OK;
  if (q->w.n_shares > q->n) return koi_error(KOINE_ERR_ARG, "%zu shares, but there %s %u device%s to share among", q->w.n_shares, q->n == 1 ? "is" : "are", q->n, q->n == 1 ? "" : "s");
  for (size_t i = 0; i < q->w.n_shares; i++) sum += q->w.shares[i];
  if (!(sum > 0)) return koi_error(KOINE_ERR_ARG, "shares of the layers add up to %g, expected more than 0", sum);
  for (size_t i = 0; i < q->w.n_shares && !s; i++) {
    so_far += q->w.shares[i];
    uint32_t to = (uint32_t)lround(n * so_far / sum);
    if (to > from) s = add_stage(p, q->site->devices[q->at[i]].id, "", from, to, false, false);
    from = to;
  }
  koi_placement_order(p);
  return s;
}

static koine_status by_pins(const koi_question *q, koi_placement *p)
{
  koine_status s = koi_placement_copy(&(koi_placement){(koi_placed *)(uintptr_t)q->w.pins, q->w.n_pins, 0}, p); /* only read */
  if (!s) koi_placement_order(p);
  return s;
}

static bool pins_cover(const koi_question *q)
{
  uint64_t n = 0;
  for (size_t i = 0; i < q->w.n_pins; i++) n += q->w.pins[i].layer1 - q->w.pins[i].layer0;
  return n >= q->model->config.n_layers;
}

static koine_status by_search(const koi_question *q, koi_placement *p)
{
  koi_solved best;
  koine_status s = koi_question_solve(q, &(koi_change){.weights = 1}, &best);
  if (s == KOINE_ERR_MEMORY && !best.n_stages) return koi_question_refuse(q);
  for (uint32_t i = 0; i < best.n_stages && !s; i++) s = place_stage(q, &best.stages[i], p);
  return s;
}

static koine_status answer(const koi_question *q, koi_assigned *a)
{
  koine_status s = (q->w.n_shares ? by_shares : pins_cover(q) ? by_pins : by_search)(q, &a->placement);
  if (!s) s = koi_placement_check(&a->placement, q->model->config.n_layers);
  if (!s) s = koi_question_caches(q, &a->placement);
  return s ? s : koi_question_figures(q, a);
}

static koine_status finish(koine_status s, koi_question *q, koi_assigned *a, koi_assigned *out)
{
  koi_question_close(q);
  if (s) koi_assigned_free(a);
  else *out = *a;
  return s;
}

koine_status koi_assign(const koi_site *site, const koine_model *m, const koi_assign_wish *w, koi_assigned *out)
{
  koi_question q;
  koi_assigned a = {0};
  koine_status s = koi_question_open(site, m, w, &q);
  return s ? s : finish(answer(&q, &a), &q, &a, out);
}

koine_status koi_assign_given(const koi_site *site, const koine_model *m, const koi_assign_wish *w, const koi_placement *p, koi_assigned *out)
{
  koi_question q;
  koi_assigned a = {0};
  koine_status s = koi_placement_check(p, m->config.n_layers);
  if (!s) s = koi_question_open(site, m, w, &q);
  if (s) return s;
  s = koi_placement_copy(p, &a.placement);
  if (!s) s = koi_question_caches(&q, &a.placement);
  if (!s) s = koi_question_figures(&q, &a);
  return finish(s, &q, &a, out);
}

void koi_assigned_free(koi_assigned *a)
{
  koi_placement_free(&a->placement);
  koi_free(a->stages);
  *a = (koi_assigned){0};
}
