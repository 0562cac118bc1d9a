/* See costs.h. Owns its tables. Invariant: a cost that was measured is the expectation times a ratio, so that at the point of measurement it is
 * exactly what was measured; a device without rates has NaN everywhere. */
#include "costs.h"
#include <math.h>
#include <string.h>
#include "plan.h"

enum { USUAL_UNITS = 16, PROGRAM_BYTES = 16 << 20 };
/* Of what is not measured: kernels reach a part of what a device's data sheet says. Typical, good and poor. */
static const double UNMEASURED = 1.6, UNMEASURED_LOW = 1.15, UNMEASURED_HIGH = 2.6;
static const double ESTIMATED = 2; /* times more or less where the rates are an estimate */

/* ---- expectation ------------------------------------------------------------------------------------------------------- */
typedef struct listed { koi_laid_model *laid; koi_caches *caches; koi_feed feed; koi_calls calls; koi_tunables tunables; int32_t *syms; } listed;

static koine_status list_calls(const koine_model *m, const koi_step_at *at, bool exact, listed *l)
{
  koi_target target = {.n_units = USUAL_UNITS, .vector_width = 1};
  uint32_t n = m->config.n_layers;
  koi_shape shape = {.n_tokens = at->n_tokens, .n_logits = 1, .n_rounds = 1, .n_seqs = 1, .exact = exact};
  koi_step_tunables(&target, &l->tunables);
  koine_status s = koi_lay(m, 0, (uint32_t)l->tunables.tile, 0, n, &l->laid);
  if (!s) s = koi_caches_make(m, exact, 0, n, &l->caches);
  if (!s) s = koi_feed_make(l->caches, &shape, 128, &l->feed);
  koi_graph g = {.model = m, .laid = l->laid, .tunables = &l->tunables, .layer1 = n, .embed = true, .head = true, .chunk = at->n_tokens};
  if (!s) s = koi_graph_calls(&g, l->caches, &l->feed, &l->calls);
  if (!s && !(l->syms = koi_alloc(l->feed.n_syms, sizeof *l->syms))) s = KOINE_ERR_MEMORY;
  koi_splits splits = {koi_step_splits(&l->tunables, (int32_t)at->n_tokens), l->tunables.min_split_rows};
  if (!s) koi_feed_syms(&l->feed, &(koi_place){.p0 = at->position, .n_tokens = at->n_tokens}, 1, &splits, koi_graph_round_rows(&g, at->n_tokens), l->syms);
  return s;
}

static void unlist(listed *l)
{
  koi_calls_free(&l->calls);
  koi_feed_free(&l->feed);
  koi_caches_free(l->caches);
  koi_lay_free(l->laid);
  koi_free(l->syms);
}

static bool reads_part_of(const koi_call *c, const koi_laid *w)
{
  for (size_t i = 0; i < KOI_MAX_BUFS; i++)
    if ((c->buf[i].space == KOI_AT_CODES || c->buf[i].space == KOI_AT_SCALES) && c->buf[i].id - w->first < w->n_parts) return true;
  return false;
}

koi_part_of koi_costs_part(const koi_laid_model *laid, const koi_call *c, uint32_t *item)
{
  *item = c->layer < 0 ? 0 : (uint32_t)c->layer + 1;
  if (c->layer < 0) return KOI_PART_EMBED;
  if ((uint32_t)c->layer >= laid->model->config.n_layers) return KOI_PART_HEAD;
  const koi_laid *w = laid->layers[c->layer];
  return reads_part_of(c, &w[KOI_W_expert_up]) || reads_part_of(c, &w[KOI_W_expert_down]) ? KOI_PART_EXPERTS : KOI_PART_REST;
}

static void add_call(const koi_call *c, const int32_t *syms, const koi_rates *rates, size_t n_rates, double *out, size_t stride)
{
  double flops = 0, bytes = (double)c->bytes;
  if (c->kind == KOI_CALL_OP) {
    koi_args a;
    koi_call_args(c, syms, &a);
    flops = c->op->flops ? c->op->flops(&a, c->c) : 0, bytes = c->op->bytes ? c->op->bytes(&a, c->c) : 0;
  }
  for (size_t r = 0; r < n_rates; r++) {
    double moving = bytes / rates[r].bytes_per_s, computing = flops / rates[r].flops_per_s;
    out[r * stride] += rates[r].launch_s + (moving > computing || moving != moving ? moving : computing);
  }
}

koine_status koi_costs_expect(const koine_model *m, const koi_step_at *at, bool exact, const koi_rates *rates, size_t n_rates, double *out)
{
  listed l = {0};
  uint32_t item;
  size_t stride = (size_t)koi_costs_items(m) * KOI_N_PARTS;
  koine_status s = list_calls(m, at, exact, &l);
  for (size_t i = 0; i < n_rates * stride; i++) out[i] = 0;
  for (size_t i = 0; i < l.calls.n && !s; i++) {
    const koi_call *c = &l.calls.v[i];
    if (c->when && !l.syms[c->when]) continue;
    koi_part_of part = koi_costs_part(l.laid, c, &item);
    add_call(c, l.syms, rates, n_rates, &out[item * KOI_N_PARTS + part], stride);
  }
  unlist(&l);
  return s;
}

/* ---- with what was measured -------------------------------------------------------------------------------------------- */
typedef struct ratio { double middle, low, high; } ratio; /* of the truth to the expectation */

static double octaves(double a, double b) { return fabs(log2(a / b)); }

/* How far a measurement is from what is asked: first of another kind of layer, then of another model's width, then of another number of tokens, then of another length. */
static double distance(const koi_site_cost *c, const koi_site_cost *want)
{
  bool ends = want->part >= KOI_PART_EMBED;
  double d = ends || c->kind == want->kind ? 0 : 100;
  if (!ends && c->hash != want->hash) d += 30;
  if (c->width && want->width) d += 6 * octaves(c->width, want->width);
  return d + 4 * octaves(c->n_tokens, want->n_tokens) + octaves((double)c->position + 64, (double)want->position + 64);
}

static ratio ratio_of(const koi_site *s, const koi_site_cost *want)
{
  const koi_site_cost *best = NULL;
  for (int any = 0; any < 2 && !best; any++) /* a part that was never measured is as the device's others */
    for (size_t i = 0; i < s->n_costs; i++) {
      const koi_site_cost *c = &s->costs[i];
      if (c->device != want->device || (c->part != want->part && !any)) continue;
      if (!best || distance(c, want) < distance(best, want)) best = c;
    }
  double unsure = s->devices[want->device].estimated ? ESTIMATED : 1;
  if (!best) return (ratio){UNMEASURED, UNMEASURED_LOW / unsure, UNMEASURED_HIGH * unsure};
  double wide = 0.05 + 0.02 * (best->part == want->part ? distance(best, want) : 100); /* what is far away says less */
  if (wide > 0.5) wide = 0.5;
  double low = best->low == best->low ? best->low : best->seconds, high = best->high == best->high ? best->high : best->seconds;
  return (ratio){best->seconds / best->expected, low / best->expected * (1 - wide), high / best->expected * (1 + wide)};
}

static void put_item(koi_costs *c, const koi_step_at *at, uint32_t d, uint32_t item, const double *expected)
{
  size_t i = (size_t)d * c->n_items + item;
  bool layer = item && item + 1 < c->n_items;
  koi_site_cost want = {.device = d, .width = c->model->config.hidden, .n_tokens = at->n_tokens, .position = at->position};
  if (layer) want.kind = c->model->layers[item - 1].kind, want.hash = c->model->layers[item - 1].hash;
  for (int p = 0; p < KOI_N_PARTS; p++) {
    if (expected[p] == 0) continue;
    want.part = (koi_part_of)p;
    ratio r = ratio_of(c->site, &want);
    c->seconds[i] += expected[p] * r.middle, c->low[i] += expected[p] * r.low, c->high[i] += expected[p] * r.high;
    if (p == KOI_PART_EXPERTS) c->expert_seconds[i] = expected[p] * r.middle;
  }
}

static koine_status fill(koi_costs *c, const koi_step_at *at, bool exact)
{
  size_t stride = (size_t)c->n_items * KOI_N_PARTS;
  double *expected = koi_alloc(c->n_devices * stride, sizeof *expected);
  koi_rates *rates = koi_alloc(c->n_devices, sizeof *rates);
  koine_status s = expected && rates ? KOINE_OK : KOINE_ERR_MEMORY;
  for (uint32_t d = 0; d < c->n_devices && !s; d++) rates[d] = c->site->devices[d].rates;
  if (!s) s = koi_costs_expect(c->model, at, exact, rates, c->n_devices, expected);
  for (uint32_t d = 0; d < c->n_devices && !s; d++)
    for (uint32_t i = 0; i < c->n_items; i++) put_item(c, at, d, i, &expected[d * stride + i * KOI_N_PARTS]);
  koi_free(expected);
  koi_free(rates);
  return s;
}

koine_status koi_costs_make(const koi_site *site, const koine_model *m, const koi_step_at *at, bool exact, koi_costs *out)
{
  koi_costs c = {.site = site, .model = m, .n_devices = (uint32_t)site->n_devices, .n_items = koi_costs_items(m)};
  size_t n = (size_t)c.n_devices * c.n_items;
  double **const tables[] = {&c.seconds, &c.low, &c.high, &c.expert_seconds};
  koine_status s = KOINE_OK;
  for (size_t i = 0; i < KOI_COUNT(tables) && !s; i++)
    if (!(*tables[i] = koi_alloc(n + 1, sizeof(double)))) s = KOINE_ERR_MEMORY;
  if (!s) s = fill(&c, at, exact);
  if (s) koi_costs_free(&c);
  else *out = c;
  return s;
}

void koi_costs_free(koi_costs *c)
{
  koi_free(c->seconds);
  koi_free(c->low);
  koi_free(c->high);
  koi_free(c->expert_seconds);
  *c = (koi_costs){0};
}

/* ---- bytes ------------------------------------------------------------------------------------------------------------- */
static koine_status hold_layer(const koine_model *m, const koi_laid_model *laid, uint32_t l, uint64_t context, uint32_t chunk, bool exact, koi_item_bytes *out)
{
  koi_caches *c = NULL;
  koi_laid_model *least = NULL;
  koine_status s = koi_lay_share(m, 0, laid->tile, &(koi_share){.layer0 = l, .layer1 = l + 1, .of = KOI_OF_EXPERTS, .n_slots = 1}, &least);
  if (!s) out->least = least->bytes, s = koi_caches_make(m, exact, l, l + 1, &c);
  koi_lay_free(least);
  if (s) return s;
  for (size_t r = 0; r < KOI_N_LAYER_ROLES; r++) out->weights += laid->layers[l][r].bytes;
  out->experts = laid->layers[l][KOI_W_expert_up].bytes + laid->layers[l][KOI_W_expert_down].bytes;
  out->caches = koi_caches_bytes(c, context, chunk), out->mark = koi_caches_mark_bytes(c);
  koi_caches_free(c);
  return KOINE_OK;
}

koine_status koi_costs_hold(const koine_model *m, uint64_t context, uint32_t chunk, bool exact, koi_holding *out)
{
  uint32_t n = m->config.n_layers;
  uint64_t mark = 0, values = 0, stored = koi_model_weight_bytes(m);
  koi_laid_model *laid = NULL;
  koi_holding h = {.items = koi_alloc(n + 2, sizeof *h.items)};
  koine_status s = h.items ? koi_lay(m, 0, KOI_STRIP, 0, n, &laid) /* other layouts pad a little more */ : KOINE_ERR_MEMORY;
  for (uint32_t l = 0; l < n && !s; l++) {
    s = hold_layer(m, laid, l, context, chunk, exact, &h.items[l + 1]);
    mark += h.items[l + 1].mark;
    for (size_t r = 0; r < KOI_N_LAYER_ROLES; r++) values += koi_weight_values(&m->layers[l].w[r]);
  }
  for (size_t r = 0; r < KOI_N_TOP_ROLES && !s; r++) {
    h.items[r == KOI_TOP_embed ? 0 : n + 1].weights += laid->top[r].bytes;
    values += koi_weight_values(&m->top[r]);
  }
  uint64_t marks = (context / KOI_MARK + 1) * mark;
  if (marks > KOI_DEFAULT_MARK_BYTES) marks = KOI_DEFAULT_MARK_BYTES;
  h.own_bytes = koi_plan_usual_scratch(m, chunk) + marks + PROGRAM_BYTES;
  h.weight_bits = values ? 8.0 * (double)stored / (double)values : 0;
  koi_lay_free(laid);
  if (s) koi_costs_unhold(&h);
  else *out = h;
  return s;
}

void koi_costs_unhold(koi_holding *h)
{
  koi_free(h->items);
  *h = (koi_holding){0};
}

double koi_costs_link(const koi_link *l, double bytes)
{
  static const koi_link usual = {2e-5, 8e9}; /* a driver's call, and a slot of the older kind */
  double latency = l->latency_s == l->latency_s ? l->latency_s : usual.latency_s, rate = l->bytes_per_s == l->bytes_per_s ? l->bytes_per_s : usual.bytes_per_s;
  return latency + bytes / rate;
}
