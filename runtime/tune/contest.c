/* See contest.h. Owns the kernels of a contest until it ends. Invariant: what runs on a step's buffers passed the verifier's cases before, on buffers
 * of its own; what is recorded as won passed all of them, and was faster than the default in a duel of interleaved rounds: in its median by
 * more than both spread, in its best sample, and in all rounds but one. A busy machine disturbs both, and not evenly: on the host, where
 * parameters change nothing, medians alone made winners. */
#include <math.h>
#include <string.h>
#include "check/verify.h"
#include "contest_impl.h"
#include "seeds.h"

enum { AMPLE = 24 /* candidates that must fit into what is left, for long shots */, MAX_LAUNCHES = 32, SAMPLE_NS = 2000000, LEAST_ROUNDS = 2, LEAST_DUEL = 5 };
static const double too_slow = 1.5; /* times the best: two samples are enough */
static const double worthwhile = 0.99;
static const double for_candidate = 0.1, for_duel = 0.3; /* of the contest's time, at most, unless fewest rounds take longer */

/* ---- checking ---------------------------------------------------------------------------------------------------------- */
/* Whether the verifier's cases pass with these parameters, each twice alike: the small ones, or all. KOINE_ERR_CHECK: not;
 * KOINE_ERR_DEVICE: the device does not build or start it. */
static koine_status check(koi_ring *g, const koi_runner *r, bool all)
{
  koi_verify_counts n = {0};
  koi_verify_options o = {.op = g->k->op->name, .c = g->k->c, .p = r->p, .kernel = r->kernel, .counts = &n, .small = !all, .twice = true, .first = true};
  koi_text report = {0};
  koine_status s = koi_verify_ops(g->k->d, &o, NULL, NULL, &report);
  koi_free(report.s);
  if (s == KOINE_ERR_CHECK) koi_log(KOINE_LOG_NOTE, "%s", koi_error_text());
  if (!s && (!n.n_kernels || n.n_refused)) s = koi_error(KOINE_ERR_DEVICE, "op %s: a case of the verifier does not start", g->k->op->name);
  return s;
}

/* ---- candidates -------------------------------------------------------------------------------------------------------- */
static koi_runner *leader(koi_ring *g) { return g->best.kernel ? &g->best : &g->first; }

static void lead(koi_ring *g, koi_runner *r)
{
  koi_ring_drop(g, &g->best);
  g->best = *r;
  r->kernel = NULL;
}

/* A candidate that runs: out after two samples, or in turns with the best so far. */
static koine_status compare(koi_ring *g, koi_runner *r, double *cost)
{
  koi_runner *best = leader(g);
  double best_us = koi_runner_median(best), best_cost = koi_search_best(&g->search)->cost;
  koine_status s = koi_ring_sample(g, r);
  if (!s && koi_runner_lowest(r) < 2 * too_slow * best_us) s = koi_ring_sample(g, r);
  bool near = !s && koi_runner_lowest(r) < too_slow * best_us;
  if (near) {
    s = koi_ring_rounds(g, best, r, g->n_rounds);
    best_us = s ? best_us : koi_runner_median(best);
  }
  if (s) return s;
  *cost = (near ? koi_runner_median(r) : koi_runner_lowest(r)) / best_us * best_cost; /* costs of other minutes stay comparable */
  koi_ring_note(g, r, KOI_OUTCOME_MEASURED, *cost, NULL);
  if (near && *cost < best_cost) lead(g, r);
  return KOINE_OK;
}

/* Built, right on the small cases, launched once on the step's buffers. */
static koine_status enter(koi_ring *g, koi_runner *r)
{
  double ignored;
  koine_status s = koi_ring_build(g, r);
  if (!s) s = check(g, r, false);
  return s ? s : koi_ring_warm(g, r, &ignored);
}

/* What a candidate that fails costs: itself. But where the default fails now, too, the device is gone, and the log's last word is that the
 * candidate was being tried. */
static koine_status fail(koi_ring *g, koi_runner *r, koine_status s)
{
  double ignored;
  char why[KOI_NOTE];
  if (s != KOINE_ERR_DEVICE && s != KOINE_ERR_CHECK) return s;
  koi_print(why, sizeof why, "%s", koi_error_text());
  if (s == KOINE_ERR_DEVICE && koi_ring_warm(g, &g->first, &ignored)) {
    g->out->gone = true;
    return koi_error_prefix(KOINE_ERR_DEVICE, "the device no longer runs the default of op %s", g->k->op->name);
  }
  r->n = 0;
  koi_ring_note(g, r, s == KOINE_ERR_CHECK ? KOI_OUTCOME_WRONG : KOI_OUTCOME_REFUSED, 0, why);
  *(s == KOINE_ERR_CHECK ? &g->out->n_wrong : &g->out->n_refused) += 1;
  return KOINE_OK;
}

static koine_status try(koi_ring *g, const int32_t *p)
{
  koi_runner r = {0};
  double cost = INFINITY;
  memcpy(r.p, p, sizeof r.p);
  koi_ring_note(g, &r, KOI_OUTCOME_TRYING, 0, NULL);
  koine_status s = enter(g, &r);
  if (!s) s = compare(g, &r, &cost);
  s = fail(g, &r, s);
  koi_ring_drop(g, &r);
  g->out->n_tried++;
  if (!s) s = koi_search_tell(&g->search, p, cost);
  double best = koi_search_best(&g->search)->cost;
  if (!s && g->k->told && !g->k->told(g->k->user, g->k, g->search.tried[0].cost, best)) s = koi_error(KOINE_ERR_CANCELLED, "cancelled while tuning");
  return s;
}

/* Whether there is time for another candidate, and for the duel after it. */
static bool on(const koi_ring *g)
{
  const koi_runner *best = g->best.kernel ? &g->best : &g->first;
  uint64_t duel = (uint64_t)(LEAST_DUEL * koi_ring_pair_ns(g, best)), now = koi_ring_now(g);
  return now < g->k->deadline_ns && duel < g->k->deadline_ns - now && (!g->k->max_candidates || g->out->n_tried < g->k->max_candidates);
}

/* The best of what the log knows, timed anew: it leads the search on. */
static koine_status resume(koi_ring *g)
{
  koine_status s = KOINE_OK;
  while (!s && on(g) && !g->best.kernel && koi_search_best(&g->search) != g->search.tried) {
    koi_runner r = {0};
    double us;
    memcpy(r.p, koi_search_best(&g->search)->p, sizeof r.p);
    koi_ring_note(g, &r, KOI_OUTCOME_TRYING, 0, NULL);
    s = koi_ring_build(g, &r);
    if (!s) s = koi_ring_warm(g, &r, &us);
    if (!s) s = koi_ring_rounds(g, &g->first, &r, g->n_rounds);
    double cost = s ? INFINITY : koi_runner_median(&r) / koi_runner_median(&g->first) * g->search.tried[0].cost;
    if (!s) koi_ring_note(g, &r, KOI_OUTCOME_MEASURED, 0, NULL);
    s = fail(g, &r, s);
    koi_search_correct(&g->search, r.p, cost);
    if (!s && koi_search_best(&g->search)->cost == cost && r.kernel && cost < INFINITY) lead(g, &r);
    koi_ring_drop(g, &r);
  }
  return s;
}

/* Whether there is time for long shots: one that its compiler makes heavy weather of may cost a hundred good ones. */
static bool ample(const koi_ring *g)
{
  uint64_t now = koi_ring_now(g), spent = now - g->search_ns;
  return g->out->n_tried && now < g->k->deadline_ns && (g->k->deadline_ns - now) / AMPLE > spent / g->out->n_tried;
}

/* What was best for other constants and buckets is likely good here; then what is good on devices of a kind; then the search. */
static koine_status search(koi_ring *g)
{
  koine_status s = resume(g);
  int32_t p[KOI_MAX_PARAMS] = {0};
  const koi_tuned_table *known = &g->k->d->tuned;
  g->search_ns = koi_ring_now(g);
  for (size_t i = 0; i < known->n && !s && on(g); i++) {
    if (known->v[i].op != g->k->op || known->v[i].kept) continue;
    memcpy(p, known->v[i].p, sizeof p);
    if (koi_settle(&g->t, g->k->op, g->k->c, p) && koi_search_is_new(&g->search, p)) s = try(g, p);
  }
  for (size_t i = 0; !s && on(g) && (!i || ample(g)) && koi_seed(&g->t, g->k->op, g->k->c, g->k->bucket, i, p); i++)
    if (koi_search_is_new(&g->search, p)) s = try(g, p);
  while (!s && on(g)) {
    g->search.near = !ample(g);
    if (!koi_search_next(&g->search, p)) break;
    s = try(g, p);
  }
  return s;
}

/* ---- the winner -------------------------------------------------------------------------------------------------------- */
static bool beats(const koi_runner *r, const koi_runner *first)
{
  double was = koi_runner_median(first), is = koi_runner_median(r);
  size_t n_won = 0;
  for (size_t i = 0; i < r->n; i++) n_won += r->us[i] < first->us[i];
  return is < worthwhile * was && is + koi_runner_spread(r) + koi_runner_spread(first) < was && koi_runner_lowest(r) < worthwhile * koi_runner_lowest(first) &&
         n_won + 1 >= r->n;
}

/* Rounds that fit into `share` of the contest's time. */
static size_t rounds_for(const koi_ring *g, double pair_ns, double share, size_t least, size_t most)
{
  double n = pair_ns > 0 ? share * (double)g->slot_ns / pair_ns : (double)most;
  return n < (double)least ? least : n > (double)most ? most : (size_t)n;
}

static koine_status duel(koi_ring *g, koi_runner *r, bool *faster)
{
  double us;
  koine_status s = koi_ring_warm(g, r, &us);
  double pair_ns = (koi_runner_median(&g->first) + us) * 1e3 * (double)g->n_launches;
  if (!s) s = koi_ring_rounds(g, &g->first, r, rounds_for(g, pair_ns, for_duel, LEAST_DUEL, KOI_CONTEST_DUEL));
  if (s) return s;
  double was = koi_runner_median(&g->first), is = koi_runner_median(r);
  *faster = beats(r, &g->first);
  g->out->default_us = was, g->out->best_us = *faster ? is : was, g->out->spread_us = koi_runner_spread(r);
  return KOINE_OK;
}

/* The fastest that is right meets the default; a wrong one makes room for the next. */
static koine_status decide(koi_ring *g)
{
  koine_status s = KOINE_OK;
  for (const koi_tried *t; !s && (t = koi_search_best(&g->search)) != g->search.tried;) {
    koi_runner r = {0};
    bool faster = false;
    memcpy(r.p, t->p, sizeof r.p);
    s = koi_ring_build(g, &r);
    if (!s) s = check(g, &r, true);
    if (!s) s = duel(g, &r, &faster);
    bool ok = !s;
    s = fail(g, &r, s);
    if (!ok) koi_search_correct(&g->search, r.p, INFINITY);
    if (!s && faster) {
      koi_ring_note(g, &r, KOI_OUTCOME_WON, 0, NULL);
      memcpy(g->out->p, r.p, sizeof g->out->p);
      g->out->won = true;
    }
    koi_ring_drop(g, &r);
    if (ok) break;
  }
  if (!s && !g->out->won && g->out->n_tried) koi_ring_note(g, &g->first, KOI_OUTCOME_KEPT, 0, NULL);
  return s;
}

static void set_launches(koi_ring *g, double us)
{
  double n = us > 0 ? SAMPLE_NS * 1e-3 / us : 1;
  g->n_launches = n < 1 ? 1 : n > MAX_LAUNCHES ? MAX_LAUNCHES : (size_t)n;
}

/* The default: how long it takes, and so how many launches make a sample, and how many samples a candidate gets. */
static koine_status measure_default(koi_ring *g)
{
  double us = 0;
  koine_status s = koi_ring_build(g, &g->first);
  if (!s) s = koi_ring_warm(g, &g->first, &us);
  if (!s) s = koi_ring_warm(g, &g->first, &us);
  set_launches(g, us);
  g->n_rounds = rounds_for(g, 2 * us * 1e3 * (double)g->n_launches, for_candidate, LEAST_ROUNDS, KOI_CONTEST_ROUNDS);
  for (size_t i = 0; i < g->n_rounds && !s; i++) s = koi_ring_sample(g, &g->first);
  if (s) return s;
  us = koi_runner_median(&g->first);
  g->out->default_us = g->out->best_us = us, g->out->spread_us = koi_runner_spread(&g->first);
  memcpy(g->out->p, g->first.p, sizeof g->out->p);
  koi_search_correct(&g->search, g->first.p, us);
  return KOINE_OK;
}

koine_status koi_contest_pair(const koi_contest *k, const int32_t *p, double *default_us, double *us)
{
  koi_contest_result ignored = {0};
  koi_ring g = {.k = k, .out = &ignored};
  koi_runner r = {0};
  koi_backend_target(k->d, &g.t);
  g.t.tuned = NULL;
  memcpy(r.p, p, sizeof r.p);
  koine_status s = koi_choose(&g.t, k->op, k->c, k->bucket, g.first.p, NULL);
  if (!s) s = koi_ring_build(&g, &g.first);
  if (!s) s = koi_ring_build(&g, &r);
  if (!s) s = koi_ring_warm(&g, &g.first, default_us);
  if (!s) s = koi_ring_warm(&g, &r, us);
  if (!s) s = koi_ring_warm(&g, &g.first, default_us);
  if (!s) set_launches(&g, *default_us);
  if (!s) s = koi_ring_rounds(&g, &g.first, &r, LEAST_DUEL);
  if (!s) *default_us = koi_runner_median(&g.first), *us = koi_runner_median(&r);
  koi_ring_drop(&g, &r);
  koi_ring_drop(&g, &g.first);
  return s;
}

koine_status koi_contest_run(const koi_contest *k, koi_contest_result *out)
{
  koi_ring g = {.k = k, .out = out};
  *out = (koi_contest_result){0};
  koi_backend_target(k->d, &g.t);
  g.t.tuned = NULL;
  uint64_t now = koi_ring_now(&g);
  g.slot_ns = k->deadline_ns > now ? k->deadline_ns - now : 0;
  koine_status s = koi_choose(&g.t, k->op, k->c, k->bucket, g.first.p, NULL);
  if (!s) s = koi_search_open(&g.search, &g.t, k->op, k->c, g.first.p, 1);
  if (!s) s = koi_ring_recall(&g); /* costs so far: times the default's */
  if (!s && !g.decided) s = measure_default(&g);
  for (size_t i = 1; i < g.search.n && !g.decided; i++) g.search.tried[i].cost *= out->default_us;
  if (!s && !g.decided && k->deadline_ns > now) koi_ring_note(&g, &g.first, KOI_OUTCOME_MEASURED, 0, NULL);
  if (!s && !g.decided) s = search(&g);
  koi_ring_drop(&g, &g.best);
  if (!s && !g.decided) s = decide(&g);
  koi_ring_drop(&g, &g.first);
  koi_search_close(&g.search);
  return s;
}
