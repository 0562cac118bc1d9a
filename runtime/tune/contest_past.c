/* See contest_impl.h. Owns the list of what the log says until it is told. Invariant: what is given up has a line that says so. */
#include <math.h>
#include <string.h>
#include "contest_impl.h"

typedef struct known { int32_t p[KOI_MAX_PARAMS]; double ratio; int open; bool ran; } known; /* ratio: to the default; open: times that it was begun and not ended */

typedef struct past { koi_ring *g; known *v; size_t n, cap; koi_tuned_line last; bool any; } past;

void koi_ring_note(const koi_ring *g, const koi_runner *r, koi_outcome outcome)
{
  koi_tuned_line l = {.op = g->k->op, .bucket = g->k->bucket, .n_samples = (uint32_t)r->n, .outcome = outcome};
  memcpy(l.c, g->k->c, koi_op_n_consts(l.op) * sizeof *l.c);
  memcpy(l.p, r->p, sizeof l.p);
  if (r->n) l.median_us = koi_runner_median(r), l.spread_us = koi_runner_spread(r);
  if (koi_tuned_append(g->k->d, &l)) koi_log(KOINE_LOG_WARNING, "%s", koi_error_text());
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

static koine_status each(void *user, const koi_tuned_line *l, koi_rung rung)
{
  past *a = user;
  const koi_contest *k = a->g->k;
  if (rung != KOI_RUNG_TUNED || l->op != k->op || l->bucket != k->bucket || memcmp(l->c, k->c, koi_op_n_consts(l->op) * sizeof *l->c)) return KOINE_OK;
  bool is_default = !memcmp(l->p, a->g->first.p, koi_op_n_params(l->op) * sizeof *l->p), measured = l->outcome == KOI_OUTCOME_MEASURED;
  a->last = *l, a->any = true;
  if (is_default && measured) a->g->past_us = l->median_us;
  if (is_default || l->outcome == KOI_OUTCOME_WON || l->outcome == KOI_OUTCOME_KEPT) return KOINE_OK;
  known *w = find(a, l->p);
  if (!w) return KOINE_ERR_MEMORY;
  if (l->outcome == KOI_OUTCOME_TRYING) w->open++;
  else w->open = 0;
  if (measured && a->g->past_us > 0 && !(w->ratio == INFINITY)) w->ratio = l->median_us / a->g->past_us;
  if (l->outcome == KOI_OUTCOME_REFUSED || l->outcome == KOI_OUTCOME_WRONG || l->outcome == KOI_OUTCOME_LOST) w->ratio = INFINITY;
  return KOINE_OK;
}

/* Begun and not ended: by a process that was ended, perhaps by the driver. */
static bool give_up(koi_ring *g, const known *w)
{
  koi_runner r = {0};
  if (!w->open || (w->open < 2 && !g->k->lost)) return false;
  memcpy(r.p, w->p, sizeof r.p);
  koi_ring_note(g, &r, KOI_OUTCOME_LOST);
  g->out->n_lost++;
  return true;
}

/* What this contest came to before. */
static void take_decision(koi_ring *g, const past *a)
{
  bool won = a->last.outcome == KOI_OUTCOME_WON;
  if (!g->k->lost || !a->any || (!won && a->last.outcome != KOI_OUTCOME_KEPT)) return;
  g->decided = true, g->out->won = won, g->out->default_us = g->past_us, g->out->best_us = a->last.median_us;
  memcpy(g->out->p, a->last.p, sizeof g->out->p);
}

koine_status koi_ring_recall(koi_ring *g)
{
  past a = {.g = g};
  koine_status s = koi_tuned_each(g->k->d, each, &a);
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
