/* See verify_sets.h. Owns nothing. Invariant: all sets but the first are legal, and no two are the same. */
#include "verify_sets.h"
#include <string.h>
#include "verify_case.h"

typedef struct list { const koi_target *t; const koi_op *op; const int32_t *c; koi_verify_set *v; size_t n; } list;

static void add(list *l, const koi_verify_set *s)
{
  if (l->n == KOI_VERIFY_SETS || !koi_legal(l->t, l->op, l->c, s->p)) return;
  for (size_t i = 0; i < l->n; i++)
    if (!memcmp(&l->v[i], s, sizeof *s)) return;
  l->v[l->n++] = *s;
}

/* What a device with tuned parameters runs for other buckets than the first: the defaults, and whatever won. */
static void add_tuned(list *l)
{
  const koi_tuned_table none = {0}, *known = l->t->tuned ? l->t->tuned : &none;
  koi_target t = *l->t;
  koi_verify_set usual = {0};
  t.tuned = NULL;
  if (known->n && !koi_choose(&t, l->op, l->c, 0, usual.p, NULL)) add(l, &usual);
  for (size_t i = 0; i < known->n; i++) {
    const koi_tuned *e = &known->v[i];
    koi_verify_set s = {0};
    if (e->op != l->op || e->kept || memcmp(e->c, l->c, koi_op_n_consts(l->op) * sizeof *l->c)) continue;
    memcpy(s.p, e->p, koi_op_n_params(l->op) * sizeof *s.p);
    if (koi_settle(&t, l->op, l->c, s.p)) add(l, &s);
  }
}

/* What the other kind of device has: on a processor groups of many work-items with barriers, on a card wide vectors. */
static void add_other_kind(list *l)
{
  koi_target t = *l->t;
  koi_verify_set s = {0};
  t.tuned = NULL, t.local_is_global = !t.local_is_global, t.vector_width = t.local_is_global ? 16 : 1;
  if (!koi_choose(&t, l->op, l->c, 0, s.p, NULL)) add(l, &s);
}

size_t koi_verify_sets(const koi_target *t, const koi_op *op, const int32_t *c, uint32_t most, size_t group, koi_verify_set *sets)
{
  size_t n_params = koi_op_n_params(op), n_values = 0, max = most < KOI_VERIFY_SETS ? most : KOI_VERIFY_SETS;
  list l = {.t = t, .op = op, .c = c, .v = sets, .n = 1};
  koi_verify_set first = {0};
  koi_choose(t, op, c, 0, first.p, NULL);
  sets[0] = first;
  add_tuned(&l);
  if (l.n < max) add_other_kind(&l);
  for (size_t i = 0; i < n_params; i++) n_values += op->params[i].n_values;
  size_t some = (max * 2 + 2) / 3;
  for (size_t k = 0; k < n_values && l.n < some; k++) { /* one value changed */
    size_t at = (k + group * some) % n_values, param = 0;
    while (at >= op->params[param].n_values) at -= op->params[param++].n_values;
    koi_verify_set s = first;
    s.p[param] = op->params[param].values[at];
    add(&l, &s);
  }
  koi_verify_job random = {.seed = 0x9e3779b97f4a7c15u ^ (group + 1)};
  for (int tries = 0; n_values && tries < 200 && l.n < max; tries++) {
    koi_verify_set s = first;
    for (size_t i = 0; i < n_params; i++)
      if (op->params[i].n_values) s.p[i] = op->params[i].values[koi_verify_below(&random, (int32_t)op->params[i].n_values)];
    add(&l, &s);
  }
  return l.n;
}
