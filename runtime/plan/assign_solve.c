/* A question as the search's numbers, and what is said when there is no answer. Owns the tables of one search. */
#include <math.h>
#include <string.h>
#include "assign_impl.h"

/* Processors that share memory with others' cards compute on the same bytes; whom the user names together is taken at their word. */
static uint32_t group_of(const koi_question *q, uint32_t i)
{
  const koi_site *s = q->site;
  const koi_site_device *d = &s->devices[q->at[i]];
  for (size_t k = 0; k < q->w.n_pins; k++)
    if (!strcmp(q->w.pins[k].device, d->id)) return (uint32_t)s->n_cards + 1 + i;
  return koi_site_on_host(s, q->at[i]) ? (uint32_t)s->n_cards : d->card;
}

uint64_t koi_question_limit(const koi_question *q, uint32_t device)
{
  const koi_site_device *d = &q->site->devices[device];
  uint64_t bytes = q->site->cards[d->card].memory_bytes;
  if (!bytes) bytes = UINT64_MAX;
  if (d->memory_bytes && d->memory_bytes < bytes) bytes = d->memory_bytes;
  for (size_t i = 0; i < q->w.n_memory; i++)
    if (!strcmp(q->w.memory[i].device, q->site->devices[device].id) && q->w.memory[i].bytes < bytes) bytes = q->w.memory[i].bytes;
  return bytes;
}

double koi_question_hop(const koi_question *q, uint32_t from, uint32_t to, double bytes)
{
  const koi_site_device *a = &q->site->devices[from], *b = &q->site->devices[to];
  bool busy = q->w.n_streams > 1;
  const koi_link *up = busy && isfinite(a->to_host_busy.latency_s) ? &a->to_host_busy : &a->to_host;
  const koi_link *down = busy && isfinite(b->from_host_busy.latency_s) ? &b->from_host_busy : &b->from_host;
  return koi_costs_link(up, bytes) + koi_costs_link(down, bytes);
}

/* ---- tables ------------------------------------------------------------------------------------------------------------ */
typedef struct tables {
  koi_solve_device devices[KOI_SOLVE_DEVICES];
  double hop[KOI_SOLVE_DEVICES * KOI_SOLVE_DEVICES], trip[KOI_SOLVE_DEVICES * KOI_SOLVE_DEVICES], out[KOI_SOLVE_DEVICES];
  double *seconds, *expert_seconds;
  uint64_t *bytes, *expert_bytes;
} tables;

static void put_links(const koi_question *q, tables *t)
{
  double logits = 4.0 * q->model->config.n_vocab, stream = koi_question_stream(q, 1), row = koi_question_row(q, 1);
  for (uint32_t i = 0; i < q->n; i++) {
    t->out[i] = koi_costs_link(&q->site->devices[q->at[i]].to_host, logits);
    for (uint32_t j = 0; j < q->n; j++) {
      t->hop[i * q->n + j] = koi_question_hop(q, q->at[i], q->at[j], stream);
      t->trip[i * q->n + j] = koi_question_hop(q, q->at[i], q->at[j], row) + koi_question_hop(q, q->at[j], q->at[i], row);
    }
  }
}

/* Experts by turns take their budget of a device, however many layers it has, and no more: counted with the device. What is waited for them is not
 * searched over: who gives a device a budget wants it used. */
static void put_items(const koi_question *q, const koi_holding *h, double weights, tables *t)
{
  for (uint32_t i = 0; i < q->n; i++) {
    bool by_turns = koi_question_cache(q, q->at[i]) != 0;
    for (uint32_t k = 0; k < q->n_items; k++) {
      size_t to = (size_t)i * q->n_items + k, from = (size_t)q->at[i] * q->n_items + k;
      t->seconds[to] = q->token.seconds[from], t->expert_seconds[to] = q->token.expert_seconds[from];
      t->expert_bytes[to] = by_turns ? h->items[k].experts != 0 : (uint64_t)(weights * (double)h->items[k].experts); /* not 0: there is a way to them */
      t->bytes[to] = t->expert_bytes[to] + (uint64_t)(weights * (double)(h->items[k].weights - h->items[k].experts)) + h->items[k].caches;
    }
  }
}

/* Only device `to` may have the item, or (not) it must not. */
static void only(const koi_question *q, tables *t, uint32_t item, uint32_t to, bool not)
{
  for (uint32_t i = 0; i < q->n; i++)
    if ((i == to) == not) t->seconds[(size_t)i * q->n_items + item] = INFINITY;
}

static void put_pins(const koi_question *q, tables *t)
{
  for (size_t k = 0; k < q->w.n_pins; k++) {
    const koi_placed *p = &q->w.pins[k];
    uint32_t i = 0;
    while (i < q->n && strcmp(q->site->devices[q->at[i]].id, p->device)) i++;
    for (uint32_t l = p->layer0; l < p->layer1; l++) only(q, t, l + 1, i, false);
    if (p->embed) only(q, t, 0, i, false);
    if (p->head) only(q, t, q->n_items - 1, i, false);
  }
}

/* As llama.cpp counts them: the head is one more layer, and the embedding stays with the processors while they have any. */
static void put_on_cards(const koi_question *q, tables *t)
{
  int64_t n_cpu = (int64_t)q->n_items - 1 - q->w.on_cards;
  if (q->w.on_cards < 0 || q->cpu == q->n) return;
  for (int64_t i = 0; i < q->n_items; i++)
    if (i <= n_cpu && n_cpu > 0) only(q, t, (uint32_t)i, q->cpu, false);
    else if (i) only(q, t, (uint32_t)i, q->cpu, true);
}

/* Experts of the first layers lie on the processors, whoever has the rest. */
static koine_status put_experts_on_cpu(const koi_question *q, tables *t)
{
  int32_t most = q->w.experts_on_cpu;
  uint64_t held = 0;
  if (most < 0) return KOINE_OK;
  if (q->cpu == q->n) return koi_error(KOINE_ERR_NO_DEVICE, "experts are to lie on the processors, but no device computes on them");
  for (uint32_t k = 1; k + 1 < q->n_items && k <= (uint32_t)most; k++) {
    size_t cpu = (size_t)q->cpu * q->n_items + k;
    held += t->expert_bytes[cpu];
    for (uint32_t i = 0; i < q->n; i++) {
      size_t at = (size_t)i * q->n_items + k;
      if (i == q->cpu) continue;
      t->seconds[at] += t->expert_seconds[cpu] - t->expert_seconds[at] + t->trip[i * q->n + q->cpu];
      t->bytes[at] -= t->expert_bytes[at];
    }
    t->bytes[cpu] -= t->expert_bytes[cpu]; /* counted below, once */
  }
  uint64_t *limit = &t->devices[q->cpu].limit_bytes;
  held += t->devices[q->cpu].own_bytes;
  if (*limit != UINT64_MAX) *limit = held < *limit ? *limit - held : 0;
  return KOINE_OK;
}

static void put_devices(const koi_question *q, const koi_holding *h, const koi_change *c, tables *t)
{
  uint32_t largest = 0;
  for (uint32_t i = 0; i < q->n; i++) {
    uint64_t limit = koi_question_limit(q, q->at[i]), budget = koi_question_cache(q, q->at[i]);
    if (limit != UINT64_MAX) limit -= budget < limit ? budget : limit;
    t->devices[i] = (koi_solve_device){h->own_bytes, limit, group_of(q, i), false};
    if (t->devices[i].limit_bytes > t->devices[largest].limit_bytes) largest = i;
  }
  if (t->devices[largest].limit_bytes < UINT64_MAX - c->more_bytes) t->devices[largest].limit_bytes += c->more_bytes;
}

static void mark_apart(const koi_question *q, koi_solved *s)
{
  for (uint32_t i = 0; i < s->n_stages && q->w.experts_on_cpu > 0; i++) {
    koi_solved_stage *x = &s->stages[i];
    uint32_t end = 1 + (uint32_t)q->w.experts_on_cpu;
    if (x->device == q->cpu || x->item0 >= end) continue;
    x->experts = q->cpu, x->n_apart = (end < x->item1 ? end : x->item1) - x->item0;
  }
}

static koine_status ask(const koi_question *q, const koi_holding *h, const koi_change *c, tables *t, koi_solved *out)
{
  put_links(q, t);
  put_items(q, h, c->weights, t);
  put_devices(q, h, c, t);
  koine_status s = put_experts_on_cpu(q, t);
  put_pins(q, t);
  put_on_cards(q, t);
  bool apart = !q->w.together && q->w.experts_on_cpu < 0 && q->w.on_cards < 0; /* -ngl means whole layers */
  koi_solve p = {.n_devices = q->n, .n_items = q->n_items, .devices = t->devices, .seconds = t->seconds, .bytes = t->bytes, .hop = t->hop, .out = t->out,
                 .expert_seconds = apart ? t->expert_seconds : NULL, .expert_bytes = t->expert_bytes, .round_trip = t->trip, .n_streams = q->w.n_streams};
  if (!s) s = koi_solve_best(&p, out);
  if (!s) mark_apart(q, out);
  return s;
}

koine_status koi_question_solve(const koi_question *q, const koi_change *c, koi_solved *out)
{
  tables *t = koi_alloc(1, sizeof *t);
  koi_holding other = {0};
  size_t n = (size_t)q->n * q->n_items;
  koine_status s = t ? KOINE_OK : KOINE_ERR_MEMORY;
  out->n_stages = 1; /* not a lack of memory on the devices */
  if (!s) t->seconds = koi_alloc(n, sizeof(double)), t->expert_seconds = koi_alloc(n, sizeof(double)), t->bytes = koi_alloc(n, sizeof(uint64_t)), t->expert_bytes = koi_alloc(n, sizeof(uint64_t));
  if (!s && !(t->seconds && t->expert_seconds && t->bytes && t->expert_bytes)) s = KOINE_ERR_MEMORY;
  if (!s && c->context) s = koi_costs_hold(q->model, c->context, q->w.chunk < c->context ? q->w.chunk : (uint32_t)c->context, q->w.exact, &other);
  if (!s) s = ask(q, c->context ? &other : &q->hold, c, t, out);
  koi_costs_unhold(&other);
  if (t) koi_free(t->seconds), koi_free(t->expert_seconds), koi_free(t->bytes), koi_free(t->expert_bytes);
  koi_free(t);
  return s;
}

/* ---- refusal ----------------------------------------------------------------------------------------------------------- */
static bool fits(const koi_question *q, const koi_change *c)
{
  koi_solved s;
  return !koi_question_solve(q, c, &s);
}

/* The longest context of which the caches fit, to a sixteenth; 0: none does. */
static uint64_t fitting_context(const koi_question *q)
{
  uint64_t step = q->w.context, best = 0;
  while (step > 256 && !fits(q, &(koi_change){.context = step, .weights = 1})) step /= 2;
  if (step <= 256) return 0;
  for (best = step, step /= 2; step >= best / 16 && step >= 128; step /= 2)
    if (best + step < q->w.context && fits(q, &(koi_change){.context = best + step, .weights = 1})) best += step;
  return best;
}

static double fitting_weights(const koi_question *q)
{
  double low = 0, high = 1;
  for (int i = 0; i < 10; i++) {
    double mid = (low + high) / 2;
    if (fits(q, &(koi_change){.weights = mid})) low = mid;
    else high = mid;
  }
  return low;
}

static uint64_t fitting_memory(const koi_question *q)
{
  uint64_t unit = UINT64_C(1) << 28;
  while (unit > UINT64_C(1) << 20 && fits(q, &(koi_change){.weights = 1, .more_bytes = unit})) unit /= 2;
  uint64_t more = unit;
  for (int i = 0; i < 16 && !fits(q, &(koi_change){.weights = 1, .more_bytes = more}); i++) more *= 2;
  for (uint64_t step = more / 4; step >= unit; step /= 2)
    if (fits(q, &(koi_change){.weights = 1, .more_bytes = more - step})) more -= step;
  return more;
}

/* Of a value of weights that run here; "0.3 bits a value would fit" helps nobody. */
enum { LEAST_BITS = 2 };

static void what_fits(const koi_question *q, koi_text *t)
{
  uint64_t context = fitting_context(q), more = fitting_memory(q);
  double weights = fitting_weights(q);
  if (context) koi_text_add(t, "a context of %llu tokens; or ", (unsigned long long)context);
  if (weights * q->hold.weight_bits >= LEAST_BITS) koi_text_add(t, "weights of %.1f bits a value in place of %.1f; or ", weights * q->hold.weight_bits, q->hold.weight_bits);
  koi_text_add(t, "%s GiB more memory on the largest device, or other cards that have it", koi_size_text(more).text);
}

koine_status koi_question_refuse(const koi_question *q)
{
  koi_text have = {0}, would = {0};
  uint64_t weights = 0, caches = 0;
  for (uint32_t i = 0; i < q->n_items; i++) weights += q->hold.items[i].weights, caches += q->hold.items[i].caches;
  koi_question plain = *q;
  plain.w.n_pins = 0, plain.w.on_cards = -1, plain.w.experts_on_cpu = -1;
  if ((q->w.n_pins || q->w.on_cards >= 0 || q->w.experts_on_cpu >= 0) && fits(&plain, &(koi_change){.weights = 1}))
    return koi_error(KOINE_ERR_MEMORY, "the model fits, but not with the layers and experts where they were asked for, each device with one range of layers; ask for fewer of them");
  for (uint32_t i = 0; i < q->n; i++) koi_text_add(&have, "%s%s %s", i ? ", " : "", q->site->devices[q->at[i]].id, koi_size_text(koi_question_limit(q, q->at[i])).text);
  what_fits(q, &would);
  koine_status s = koi_error(KOINE_ERR_MEMORY,
                             "the model does not fit: weights %s GiB, caches for %llu tokens %s, and %s on every device used for scratch, marks and programs; devices have: %.200s; what would fit: %.300s",
                             koi_size_text(weights).text, (unsigned long long)q->w.context, koi_size_text(caches).text, koi_size_text(q->hold.own_bytes).text, have.s ? have.s : "", would.s ? would.s : "");
  koi_free(have.s);
  koi_free(would.s);
  return s;
}
