/* See contest_impl.h. Owns the list of what the log says until it is told. Invariant: what is given up has a line that says so. */
#include <math.h>
#include <string.h>
#include "contest_impl.h"
#include "tried.h"

typedef struct known { int32_t p[KOI_MAX_PARAMS]; double ratio; int open; } known; /* ratio: to the default; open: times that it was begun and not ended */

typedef struct past { koi_ring *g; known *v; size_t n, cap; koi_tuned_line last; bool any; } past;

/* cost: as the search has it. */
void koi_ring_note(const koi_ring *g, const koi_runner *r, koi_outcome outcome, double cost, const char *why)
{
  const koi_contest *k = g->k;
  koi_tuned_line l = {.op = k->op, .bucket = k->bucket, .n_samples = (uint32_t)r->n, .outcome = outcome};
  memcpy(l.c, k->c, koi_op_n_consts(l.op) * sizeof *l.c);
  memcpy(l.p, r->p, sizeof l.p);
  if (l.op->flops) l.flops = l.op->flops(&k->args[0], k->c);
  if (l.op->bytes) l.bytes = l.op->bytes(&k->args[0], k->c);
  if (r->n) l.median_us = koi_runner_median(r), l.spread_us = koi_runner_spread(r);
  if (r->n && g->first.n) l.default_us = cost > 0 && cost < INFINITY ? l.median_us * g->search.tried[0].cost / cost : koi_runner_median(&g->first);
  if (l.default_us > 0) l.default_spread_us = koi_runner_spread(&g->first);
  koi_print(l.note, sizeof l.note, "%s", why ? why : "");
  koi_tried_note(k->d, &l);
}

static known *find(past *a, const int32_t *p)
{
  size_t n_bytes = koi_op_n_params(a->g->k->op) * sizeof *p;
  for (size_t i = 0; i < a->n; i++)
    if (!memcmp(a->v[i].p, p, n_bytes)) return &a->v[i];
  if (a->n == a->cap) {
    size_t cap = a->cap ? 2 * a->cap : 64;
    known *v = koi_realloc(a->v, cap, sizeof *v);
    if (!v) return NULL;
    a->v = v, a->cap = cap;
  }
  a->v[a->n] = (known){.ratio = NAN};
  memcpy(a->v[a->n].p, p, n_bytes);
  return &a->v[a->n++];
}

static bool is_failure(koi_outcome o) { return o == KOI_OUTCOME_REFUSED || o == KOI_OUTCOME_WRONG || o == KOI_OUTCOME_LOST || o == KOI_OUTCOME_CRASHED || o == KOI_OUTCOME_HUNG; }

static koine_status each(void *user, const koi_tuned_read *r)
{
  past *a = user;
  const koi_contest *k = a->g->k;
  const koi_tuned_line *l = &r->l;
  if (koi_tuned_rung(r, k->d->endpoint) != KOI_RUNG_TUNED || l->op != k->op || l->bucket != k->bucket || memcmp(l->c, k->c, koi_op_n_consts(l->op) * sizeof *l->c)) return KOINE_OK;
  a->last = *l, a->any = true;
  if (!memcmp(l->p, a->g->first.p, koi_op_n_params(l->op) * sizeof *l->p) || l->outcome == KOI_OUTCOME_WON || l->outcome == KOI_OUTCOME_KEPT) return KOINE_OK;
  known *w = find(a, l->p);
  if (!w) return KOINE_ERR_MEMORY;
  if (l->outcome == KOI_OUTCOME_TRYING) w->open++;
  else w->open = 0;
  if (l->outcome == KOI_OUTCOME_MEASURED && l->default_us > 0 && !(w->ratio == INFINITY)) w->ratio = l->median_us / l->default_us;
  if (is_failure(l->outcome)) w->ratio = INFINITY;
  return KOINE_OK;
}

/* Begun and not ended: by a process that was ended, perhaps by the driver. */
static bool give_up(koi_ring *g, const known *w)
{
  static const koi_outcome outcomes[] = {[KOI_LOST_NOTHING] = KOI_OUTCOME_LOST, [KOI_LOST_CRASHED] = KOI_OUTCOME_CRASHED, [KOI_LOST_HUNG] = KOI_OUTCOME_HUNG};
  koi_runner r = {0};
  if (!w->open || (w->open < 2 && g->k->lost == KOI_LOST_NOTHING)) return false;
  memcpy(r.p, w->p, sizeof r.p);
  koi_ring_note(g, &r, outcomes[g->k->lost], 0, NULL);
  g->out->n_lost++;
  return true;
}

/* What this contest came to before. */
static void take_decision(koi_ring *g, const past *a)
{
  bool won = a->last.outcome == KOI_OUTCOME_WON;
  if (g->k->lost == KOI_LOST_NOTHING || !a->any || (!won && a->last.outcome != KOI_OUTCOME_KEPT)) return;
  g->decided = true, g->out->won = won, g->out->default_us = a->last.default_us > 0 ? a->last.default_us : a->last.median_us, g->out->best_us = a->last.median_us;
  memcpy(g->out->p, a->last.p, sizeof g->out->p);
}

koine_status koi_ring_recall(koi_ring *g)
{
  past a = {.g = g};
  koi_tuned_counts counts = {.quiet = true};
  char *path;
  size_t at = 0;
  koine_status s = koi_tuned_path(g->k->d->cache_dir, &path);
  if (!s && path) s = koi_tuned_scan(path, KOI_ORIGIN_USER, &at, &counts, each, &a);
  koi_free(path);
  if (s == KOINE_ERR_FILE) s = KOINE_OK; /* what cannot be read is not known */
  double us = g->search.tried[0].cost;
  for (size_t i = 0; i < a.n && !s; i++) {
    known *w = &a.v[i];
    if (give_up(g, w)) w->ratio = INFINITY;
    else if (w->ratio != w->ratio) continue; /* not measured to its end: once more */
    else g->out->n_known++;
    if (koi_search_is_new(&g->search, w->p)) s = koi_search_tell(&g->search, w->p, w->ratio * us);
  }
  if (!s) take_decision(g, &a);
  koi_free(a.v);
  return s;
}
