/* See contest.h. Owns the kernels of a contest until it ends. Invariant: what is recorded as won passed the verifier's cases, and was faster than
 * the default in a duel of interleaved rounds: in its median by more than both spread, in its best sample, and in all rounds but one. A busy machine
 * disturbs both, and not evenly: on the host, where parameters change nothing, medians alone made winners. */
#include "contest.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "check/verify.h"
#include "search.h"

enum { N_ROUNDS = 5, N_DUEL = 11, MAX_LAUNCHES = 32, SAMPLE_NS = 2000000 };
static const double too_slow = 1.5; /* times the best: two samples are enough */
static const double worthwhile = 0.99;

typedef struct runner { /* a kernel and what it took */
  int32_t p[KOI_MAX_PARAMS];
  koi_kernel *kernel;
  double us[N_DUEL];
  size_t n;
} runner;

typedef struct ring {
  const koi_contest *k;
  koi_contest_result *out;
  koi_target t;            /* without what was tuned */
  koi_search search;
  runner first, best;      /* the default; the fastest so far, kernel NULL: the default */
  size_t n_launches, turn; /* of a sample; the next of args */
} ring;

/* ---- timing ------------------------------------------------------------------------------------------------------------ */
static uint64_t now(const koi_contest *k) { return k->now ? k->now(k->user) : koi_now_ns(); }

static int ascending(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(const double *v, size_t n)
{
  double s[N_DUEL];
  memcpy(s, v, n * sizeof *s);
  qsort(s, n, sizeof *s, ascending);
  return n % 2 ? s[n / 2] : (s[n / 2 - 1] + s[n / 2]) / 2;
}

/* Median distance from the median. */
static double spread(const runner *r)
{
  double away[N_DUEL], m = median(r->us, r->n);
  for (size_t i = 0; i < r->n; i++) away[i] = fabs(r->us[i] - m);
  return median(away, r->n);
}

static double lowest(const runner *r)
{
  double low = r->us[0];
  for (size_t i = 1; i < r->n; i++) low = fmin(low, r->us[i]);
  return low;
}

/* n launches one behind the other, as a step has them; microseconds of one. */
static koine_status launch(ring *g, const runner *r, size_t n, double *us)
{
  const koi_contest *k = g->k;
  koine_status s = k->d->backend->finish(k->d);
  uint64_t start = now(k);
  for (size_t i = 0; i < n && !s; i++) s = koi_kern_launch(k->d, r->kernel, &k->args[g->turn++ % k->n_args]);
  if (!s) s = k->d->backend->finish(k->d);
  *us = (double)(now(k) - start) * 1e-3 / (double)n;
  return s;
}

static koine_status sample(ring *g, runner *r)
{
  koine_status s = launch(g, r, g->n_launches, &r->us[r->n]);
  if (!s) r->n++;
  return s;
}

/* Drivers may compile at the first launch: it does not count. */
static koine_status build(ring *g, runner *r)
{
  double ignored;
  koine_status s = koi_kern_build(g->k->d, g->k->op, g->k->c, r->p, &r->kernel);
  if (!s && !koi_kern_fits(r->kernel)) s = koi_error(KOINE_ERR_DEVICE, "op %s: the compiled kernel allows smaller groups", g->k->op->name);
  return s ? s : launch(g, r, 1, &ignored);
}

static void drop(ring *g, runner *r)
{
  g->k->d->backend->finish(g->k->d);
  koi_kern_drop(g->k->d, r->kernel);
  r->kernel = NULL;
}

/* Rounds in turns, so that what disturbs one disturbs the other; who begins changes too, for slices of time have a beat. */
static koine_status rounds(ring *g, runner *a, runner *b, size_t n)
{
  koine_status s = KOINE_OK;
  a->n = b->n = 0;
  for (size_t i = 0; i < n && !s; i++) {
    s = sample(g, i % 2 ? b : a);
    if (!s) s = sample(g, i % 2 ? a : b);
  }
  return s;
}

/* ---- the log ----------------------------------------------------------------------------------------------------------- */
/* A disk that is full costs the keeping only. */
static void note(const ring *g, const runner *r, koi_outcome outcome)
{
  koi_tuned_line l = {.op = g->k->op, .bucket = g->k->bucket, .n_samples = (uint32_t)r->n, .outcome = outcome};
  memcpy(l.c, g->k->c, koi_op_n_consts(l.op) * sizeof *l.c);
  memcpy(l.p, r->p, sizeof l.p);
  if (r->n) l.median_us = median(r->us, r->n), l.spread_us = spread(r);
  if (g->first.n) l.default_us = median(g->first.us, g->first.n), l.default_spread_us = spread(&g->first);
  if (l.op->flops) l.flops = l.op->flops(&g->k->args[0], g->k->c);
  if (l.op->bytes) l.bytes = l.op->bytes(&g->k->args[0], g->k->c);
  if (koi_tuned_append(g->k->d, &l)) koi_log(KOINE_LOG_WARNING, "%s", koi_error_text());
}

/* ---- candidates -------------------------------------------------------------------------------------------------------- */
static runner *leader(ring *g) { return g->best.kernel ? &g->best : &g->first; }

/* A candidate that runs: out after two samples, or in turns with the best so far. */
static koine_status compare(ring *g, runner *r, double *cost)
{
  runner *best = leader(g);
  double best_us = median(best->us, best->n);
  koine_status s = sample(g, r);
  if (!s) s = sample(g, r);
  if (!s && lowest(r) < too_slow * best_us) {
    s = rounds(g, best, r, N_ROUNDS);
    best_us = s ? best_us : median(best->us, best->n);
  }
  if (s) return s;
  *cost = (r->n < N_ROUNDS ? lowest(r) : median(r->us, r->n)) / best_us * koi_search_best(&g->search)->cost; /* costs of other minutes stay comparable */
  note(g, r, KOI_OUTCOME_MEASURED);
  if (r->n < N_ROUNDS || *cost >= koi_search_best(&g->search)->cost) return KOINE_OK;
  drop(g, &g->best);
  g->best = *r;
  r->kernel = NULL;
  return KOINE_OK;
}

static koine_status try(ring *g, const int32_t *p)
{
  runner r = {0};
  double cost = INFINITY;
  memcpy(r.p, p, sizeof r.p);
  koine_status s = build(g, &r);
  if (!s) s = compare(g, &r, &cost);
  if (s == KOINE_ERR_DEVICE) {
    r.n = 0;
    note(g, &r, KOI_OUTCOME_REFUSED);
    g->out->n_refused++;
    s = KOINE_OK;
  }
  drop(g, &r);
  g->out->n_tried++;
  if (!s) s = koi_search_tell(&g->search, p, cost);
  double best = koi_search_best(&g->search)->cost;
  if (!s && g->k->told && !g->k->told(g->k->user, g->k, g->search.tried[0].cost, best)) s = koi_error(KOINE_ERR_CANCELLED, "cancelled while tuning");
  return s;
}

static bool on(const ring *g)
{
  return now(g->k) < g->k->deadline_ns && (!g->k->max_candidates || g->out->n_tried < g->k->max_candidates);
}

/* What other kinds of devices have as default: the rules may be wrong about this one. */
static koine_status try_kinds(ring *g)
{
  static const koi_target kinds[] = {{.vector_width = 16, .local_is_global = 1}, {.vector_width = 4, .local_is_global = 1},
                                     {.vector_width = 1, .local_is_global = 1}, {.vector_width = 1, .lanes = 32}};
  koine_status s = KOINE_OK;
  for (size_t i = 0; i < KOI_COUNT(kinds) && !s && on(g); i++) {
    int32_t p[KOI_MAX_PARAMS] = {0};
    koi_target t = g->t;
    t.vector_width = kinds[i].vector_width, t.local_is_global = kinds[i].local_is_global;
    if (kinds[i].lanes) t.lanes = kinds[i].lanes;
    if (!koi_choose(&t, g->k->op, g->k->c, g->k->bucket, p, NULL) && koi_search_is_new(&g->search, p)) s = try(g, p);
  }
  return s;
}

/* What was best for other constants and buckets is likely good here; then other kinds' defaults, then the search. */
static koine_status search(ring *g)
{
  koine_status s = KOINE_OK;
  int32_t p[KOI_MAX_PARAMS] = {0};
  const koi_tuned_table *known = &g->k->d->tuned;
  for (size_t i = 0; i < known->n && !s && on(g); i++) {
    if (known->v[i].op != g->k->op || known->v[i].kept) continue;
    memcpy(p, known->v[i].p, sizeof p);
    if (koi_settle(&g->t, g->k->op, g->k->c, p) && koi_search_is_new(&g->search, p)) s = try(g, p);
  }
  if (!s) s = try_kinds(g);
  while (!s && on(g) && koi_search_next(&g->search, p)) s = try(g, p);
  return s;
}

/* ---- the winner -------------------------------------------------------------------------------------------------------- */
/* Whether the verifier's cases pass with these parameters; *s: what else went wrong. */
static bool right(ring *g, const runner *r, koine_status *s)
{
  koi_verify_counts n = {0};
  koi_verify_options o = {.op = g->k->op->name, .c = g->k->c, .p = r->p, .counts = &n};
  koi_text report = {0};
  koine_status got = koi_verify_ops(g->k->d, &o, NULL, NULL, &report);
  koi_free(report.s);
  if (got == KOINE_ERR_CHECK) koi_log(KOINE_LOG_NOTE, "%s", koi_error_text());
  else if (got != KOINE_ERR_DEVICE) *s = got;
  return !got && n.n_kernels && !n.n_refused;
}

static bool beats(const runner *r, const runner *first)
{
  double was = median(first->us, first->n), is = median(r->us, r->n);
  size_t n_won = 0;
  for (size_t i = 0; i < r->n; i++) n_won += r->us[i] < first->us[i];
  return is < worthwhile * was && is + spread(r) + spread(first) < was && lowest(r) < worthwhile * lowest(first) && n_won + 1 >= r->n;
}

static koine_status duel(ring *g, runner *r, bool *faster)
{
  koine_status s = rounds(g, &g->first, r, N_DUEL);
  if (s) return s;
  double was = median(g->first.us, g->first.n), is = median(r->us, r->n);
  *faster = beats(r, &g->first);
  g->out->default_us = was, g->out->best_us = *faster ? is : was, g->out->spread_us = spread(r);
  return KOINE_OK;
}

/* The fastest that is right meets the default; a wrong one makes room for the next. */
static koine_status decide(ring *g)
{
  koine_status s = KOINE_OK;
  for (const koi_tried *t; !s && (t = koi_search_best(&g->search)) != g->search.tried;) {
    runner r = {0};
    memcpy(r.p, t->p, sizeof r.p);
    s = build(g, &r);
    bool ok = !s && right(g, &r, &s), faster = false;
    if (ok) s = duel(g, &r, &faster);
    if (s == KOINE_ERR_DEVICE) ok = false, s = KOINE_OK;
    if (!s && !ok) {
      r.n = 0;
      note(g, &r, KOI_OUTCOME_WRONG);
      g->out->n_wrong++;
      koi_search_reject(&g->search, r.p);
    }
    if (!s && faster) {
      note(g, &r, KOI_OUTCOME_WON);
      memcpy(g->out->p, r.p, sizeof r.p);
      g->out->won = true;
    }
    drop(g, &r);
    if (ok) break;
  }
  if (!s && !g->out->won && g->out->n_tried) note(g, &g->first, KOI_OUTCOME_KEPT);
  return s;
}

/* The default: how long it takes, and so how many launches make a sample. */
static koine_status measure_default(ring *g)
{
  koine_status s = koi_choose(&g->t, g->k->op, g->k->c, g->k->bucket, g->first.p, NULL);
  double us = 0;
  if (!s) s = build(g, &g->first);
  if (!s) s = launch(g, &g->first, 1, &us);
  double n = us > 0 ? SAMPLE_NS * 1e-3 / us : 1;
  g->n_launches = n < 1 ? 1 : n > MAX_LAUNCHES ? MAX_LAUNCHES : (size_t)n;
  for (size_t i = 0; i < N_ROUNDS && !s; i++) s = sample(g, &g->first);
  if (s) return s;
  us = median(g->first.us, g->first.n);
  g->out->default_us = g->out->best_us = us, g->out->spread_us = spread(&g->first);
  memcpy(g->out->p, g->first.p, sizeof g->out->p);
  return koi_search_open(&g->search, &g->t, g->k->op, g->k->c, g->first.p, us);
}

koine_status koi_contest_run(const koi_contest *k, koi_contest_result *out)
{
  ring g = {.k = k, .out = out};
  *out = (koi_contest_result){0};
  koi_backend_target(k->d, &g.t);
  g.t.tuned = NULL;
  koine_status s = measure_default(&g);
  if (!s) s = search(&g);
  drop(&g, &g.best);
  if (!s) s = decide(&g);
  drop(&g, &g.first);
  koi_search_close(&g.search);
  return s;
}
