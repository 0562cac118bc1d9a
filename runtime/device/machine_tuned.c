/* What the log of measurements says of a machine's devices when it is opened: the parameters that each begins with, and their order. One reading of the
 * files for all. Owns rt->tuned. Invariant: a device that is not measured keeps the place of the static order; those that were measured on the same
 * thing share their places among themselves, the fastest first. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "machine.h"
#include "tuned.h"

enum { MAX_MODELS = 64, N_KEY = SPEED_DEPTH }; /* sizes of a model alone make the key */
static const double prompt_tokens = 4; /* to each that is generated, in a conversation */

typedef struct model_speed { /* a model on the machine's devices */
  int32_t key[N_KEY];
  double *us[2];       /* [n_endpoints] of a token: decode, prefill; 0: not measured */
  size_t latest;       /* line that said so last */
} model_speed;

typedef struct reading {
  koine_runtime *rt;
  bool tables;         /* parameters are wanted too */
  model_speed models[MAX_MODELS]; /* the first n; when there are more, the oldest gives way */
  size_t n, n_lines;
  double *rate;        /* [n_endpoints] bytes a second of weights that products of one token read; 0: not measured */
  double *us;          /* room behind models and rate */
} reading;

/* ---- lines ------------------------------------------------------------------------------------------------------------- */
static model_speed *model_of(reading *g, const int32_t *key)
{
  size_t oldest = 0;
  for (size_t i = 0; i < g->n; i++) {
    if (!memcmp(g->models[i].key, key, sizeof g->models[i].key)) return &g->models[i];
    if (g->models[i].latest < g->models[oldest].latest) oldest = i;
  }
  size_t at = g->n < MAX_MODELS ? g->n++ : oldest, n = g->rt->n_endpoints;
  model_speed *m = &g->models[at];
  for (int k = 0; k < 2; k++) {
    m->us[k] = g->us + (2 * at + (size_t)k) * n;
    memset(m->us[k], 0, n * sizeof *m->us[k]);
  }
  memcpy(m->key, key, sizeof m->key);
  return m;
}

/* What is in use after the contest: the winner's time, or the default's. */
static double us_in_use(const koi_tuned_line *l) { return l->outcome == KOI_OUTCOME_KEPT && l->default_us > 0 ? l->default_us : l->median_us; }

static void note_speed(reading *g, size_t i, const koi_tuned_line *l)
{
  double us = us_in_use(l);
  if (us <= 0) return;
  if (l->op == &koi_step_decode || l->op == &koi_step_prefill) {
    model_speed *m = model_of(g, l->c);
    m->us[l->op == &koi_step_prefill][i] = us;
    m->latest = g->n_lines;
  } else if (l->op == &koi_op_matvec && 1e6 * l->bytes / us > g->rate[i])
    g->rate[i] = 1e6 * l->bytes / us;
}

static koine_status take(void *user, const koi_tuned_read *r)
{
  reading *g = user;
  koine_status s = KOINE_OK;
  if (r->l.outcome != KOI_OUTCOME_WON && r->l.outcome != KOI_OUTCOME_KEPT) return s;
  g->n_lines++;
  for (size_t i = 0; i < g->rt->n_endpoints && !s; i++) {
    koi_rung rung = koi_tuned_rung(r, &g->rt->endpoints[i]);
    if (rung == KOI_RUNG_TUNED || rung == KOI_RUNG_STALE) note_speed(g, i, &r->l);
    if (g->tables && rung != KOI_RUNG_DEFAULT) s = koi_tuned_enter(&g->rt->tuned[i], r, rung);
  }
  return s;
}

/* The user's log last, so that its place for what is appended later is known. */
static koine_status read_logs(reading *g)
{
  koi_tuned_counts c = {0}, own = {0};
  char *path = NULL;
  size_t at = 0;
  koine_status s = koi_tuned_scan_log(NULL, g->rt->shipped_dir, &c, take, g);
  if (!s) s = koi_tuned_path(g->rt->cache_dir, &path);
  if (!s && path) s = koi_tuned_scan(path, KOI_ORIGIN_USER, &at, &own, take, g);
  koi_free(path);
  for (size_t i = 0; i < g->rt->n_endpoints && g->tables; i++) {
    g->rt->tuned[i].read = at, g->rt->tuned[i].n_lines = own.n_lines;
    g->rt->endpoints[i].known = &g->rt->tuned[i];
  }
  if (s == KOINE_ERR_FILE) koi_log(KOINE_LOG_NOTE, "%s; what was measured is not used", koi_error_text()), s = KOINE_OK;
  return s;
}

/* ---- order ------------------------------------------------------------------------------------------------------------- */
/* The model that most devices were measured with, of several the latest; NULL: none has two. */
static const model_speed *common_model(const reading *g)
{
  const model_speed *best = NULL;
  size_t most = 1;
  for (size_t k = 0; k < g->n; k++) {
    size_t n = 0;
    for (size_t i = 0; i < g->rt->n_endpoints; i++) n += g->models[k].us[0][i] > 0;
    if (n > most || (best && n == most && g->models[k].latest > best->latest)) best = &g->models[k], most = n;
  }
  return best;
}

/* cost [n_endpoints]: less is better, 0 is not measured; and what `koine devices` says of it. */
static void costs_by_model(const reading *g, const model_speed *m, double *cost)
{
  bool both = true;
  for (size_t i = 0; i < g->rt->n_endpoints; i++) both &= !(m->us[0][i] > 0) || m->us[1][i] > 0;
  for (size_t i = 0; i < g->rt->n_endpoints; i++) {
    koi_endpoint *e = &g->rt->endpoints[i];
    if (!(m->us[0][i] > 0)) continue;
    cost[i] = m->us[0][i] + (both ? prompt_tokens * m->us[1][i] : 0);
    if (both) koi_print(e->order, sizeof e->order, "measured: %.4g tokens a second, %.4g of a prompt", 1e6 / m->us[0][i], 1e6 / m->us[1][i]);
    else koi_print(e->order, sizeof e->order, "measured: %.4g tokens a second", 1e6 / m->us[0][i]);
  }
}

static void costs_by_rate(const reading *g, double *cost)
{
  size_t n = 0;
  for (size_t i = 0; i < g->rt->n_endpoints; i++) n += g->rate[i] > 0;
  for (size_t i = 0; i < g->rt->n_endpoints && n > 1; i++) {
    if (!(g->rate[i] > 0)) continue;
    cost[i] = 1 / g->rate[i];
    koi_print(g->rt->endpoints[i].order, sizeof g->rt->endpoints[i].order, "measured: %.4g GB/s of weights", 1e-9 * g->rate[i]);
  }
}

/* Of n things those with a cost change places, so that the least comes first; to: [n] which thing stands where. */
static void place(const double *cost, size_t n, size_t *to)
{
  for (size_t i = 0; i < n; i++) to[i] = i;
  for (size_t i = 0; i < n; i++)
    for (size_t j = i + 1; j < n; j++) {
      size_t a = to[i], b = to[j];
      if (cost[a] > 0 && cost[b] > 0 && cost[b] < cost[a]) to[i] = b, to[j] = a;
    }
}

/* Endpoints within their card, then cards. */
static koine_status reorder(koine_runtime *rt, const double *cost)
{
  size_t n_cards = 0;
  while (n_cards < rt->n_cards && rt->cards[n_cards].n_endpoints) n_cards++;
  size_t *to = koi_alloc(rt->n_endpoints + n_cards + 1, sizeof *to), *card_to = to ? to + rt->n_endpoints : NULL;
  double *card_cost = koi_alloc(n_cards + 1, sizeof *card_cost);
  koi_endpoint *endpoints = koi_alloc(rt->n_endpoints + 1, sizeof *endpoints);
  koi_card *cards = koi_alloc(rt->n_cards + rt->topo->n_cards + 1, sizeof *cards);
  bool ok = to && card_cost && endpoints && cards;
  for (size_t c = 0; c < n_cards && ok; c++) {
    size_t first = rt->cards[c].endpoint0;
    for (size_t i = first; i < first + rt->cards[c].n_endpoints; i++)
      if (cost[i] > 0 && !(card_cost[c] > 0 && card_cost[c] < cost[i])) card_cost[c] = cost[i];
    place(cost + first, rt->cards[c].n_endpoints, to + first);
  }
  if (ok) place(card_cost, n_cards, card_to);
  size_t n = 0;
  for (size_t c = 0; c < n_cards && ok; c++) {
    const koi_card *from = &rt->cards[card_to[c]];
    cards[c] = *from;
    cards[c].endpoint0 = n;
    for (size_t i = 0; i < from->n_endpoints; i++) endpoints[n++] = rt->endpoints[from->endpoint0 + to[from->endpoint0 + i]];
  }
  if (ok) {
    memcpy(rt->cards, cards, n_cards * sizeof *cards);
    memcpy(rt->endpoints, endpoints, n * sizeof *endpoints);
  }
  koi_free(to), koi_free(card_cost), koi_free(endpoints), koi_free(cards);
  return ok ? KOINE_OK : KOINE_ERR_MEMORY;
}

static koine_status order(const reading *g)
{
  const model_speed *m = common_model(g);
  double *cost = koi_alloc(g->rt->n_endpoints + 1, sizeof *cost);
  if (!cost) return KOINE_ERR_MEMORY;
  if (m) costs_by_model(g, m, cost);
  else costs_by_rate(g, cost);
  koine_status s = reorder(g->rt, cost);
  koi_free(cost);
  return s;
}

/* ---- both -------------------------------------------------------------------------------------------------------------- */
koine_status koi_runtime_measure(koine_runtime *rt)
{
  const char *wanted = getenv("KOINE_TUNED");
  size_t n = rt->n_endpoints;
  if (!n || (wanted && !strcmp(wanted, "off"))) return KOINE_OK;
  reading *g = koi_alloc(1, sizeof *g);
  rt->tuned = koi_alloc(n, sizeof *rt->tuned);
  double *us = koi_alloc((2 * MAX_MODELS + 1) * n, sizeof *us);
  koine_status s = g && rt->tuned && us ? KOINE_OK : KOINE_ERR_MEMORY;
  if (!s) {
    *g = (reading){.rt = rt, .tables = !(wanted && !strcmp(wanted, "order")), .us = us, .rate = us + 2 * MAX_MODELS * n};
    s = read_logs(g);
  }
  if (!s) s = order(g);
  koi_free(us);
  koi_free(g);
  return s;
}

void koi_runtime_forget(koine_runtime *rt)
{
  for (size_t i = 0; rt->tuned && i < rt->n_endpoints; i++) koi_tuned_clear(&rt->tuned[i]);
  koi_free(rt->tuned);
}

void koi_runtime_order_text(const koine_runtime *rt, size_t i, char *out, size_t room)
{
  const koi_endpoint *e = &rt->endpoints[i];
  const koi_card *card = koi_runtime_card(rt, i);
  if (e->order[0]) koi_print(out, room, "%s", e->order);
  else if (e->type == KOINE_DEVICE_HOST) koi_print(out, room, "plain C, after all others; not measured");
  else
    koi_print(out, room, "%s, %s, %u unit%s x %u MHz; not measured", koi_runtime_type_name(e->type), card->shares_host_memory ? "memory shared with the host" : "memory of its own",
              e->n_units, e->n_units == 1 ? "" : "s", e->clock_mhz);
}
