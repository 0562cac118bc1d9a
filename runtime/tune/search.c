/* See search.h. Owns the list of what was tried. Invariant: nothing is asked for twice, and nothing that is not legal. */
#include "search.h"
#include <math.h>
#include <string.h>

enum { MAX_DRAWS = 400, SCOUTS = 16, SCOUT_EVERY = 3 }; /* of so many first ones every other is picked by chance, later every third */
/* A place that chance picked is worth a look around it when it costs less than this times the best. */
static const double near_best = 1.25;

static uint32_t below(koi_search *s, size_t n) /* xorshift64* */
{
  s->seed ^= s->seed >> 12, s->seed ^= s->seed << 25, s->seed ^= s->seed >> 27;
  return (uint32_t)((s->seed * 0x2545f4914f6cdd1du >> 33) % n);
}

static size_t n_bytes(const koi_search *s) { return koi_op_n_params(s->op) * sizeof(int32_t); }

static koi_tried *find(const koi_search *s, const int32_t *p)
{
  for (size_t i = 0; i < s->n; i++)
    if (!memcmp(s->tried[i].p, p, n_bytes(s))) return &s->tried[i];
  return NULL;
}

koine_status koi_search_open(koi_search *s, const koi_target *t, const koi_op *op, const int32_t *c, const int32_t *first, double cost)
{
  *s = (koi_search){.t = t, .op = op, .c = c, .seed = koi_hash(op->name, strlen(op->name), 1) | 1};
  return koi_search_tell(s, first, cost);
}

void koi_search_close(koi_search *s)
{
  koi_free(s->tried);
  *s = (koi_search){0};
}

bool koi_search_is_new(const koi_search *s, const int32_t *p) { return koi_legal(s->t, s->op, s->c, p) && !find(s, p); }

const koi_tried *koi_search_best(const koi_search *s)
{
  const koi_tried *best = &s->tried[0];
  for (size_t i = 1; i < s->n; i++)
    if (s->tried[i].cost < best->cost) best = &s->tried[i];
  return best;
}

/* Neighbour number `step` of the centre: parameters in turns, each one's values from the nearest on; false when it is none. */
static bool neighbour(const koi_search *s, size_t step, int32_t *p)
{
  size_t n_params = koi_op_n_params(s->op);
  const koi_param *q = &s->op->params[step % n_params];
  size_t turn = step / n_params, at = 0;
  memcpy(p, s->tried[s->centre].p, n_bytes(s));
  while (at < q->n_values && q->values[at] < p[step % n_params]) at++;
  size_t away = turn / 2, down = at - 1 - away, up = at + away; /* down wraps around when there is none */
  if (up < q->n_values && q->values[up] == p[step % n_params]) up++;
  size_t to = turn % 2 ? down : up;
  if (to >= q->n_values) return false;
  p[step % n_params] = q->values[to];
  return true;
}

static size_t n_steps(const koi_search *s)
{
  size_t most = 0, n = koi_op_n_params(s->op);
  for (size_t i = 0; i < n; i++)
    if (s->op->params[i].n_values > most) most = s->op->params[i].n_values;
  return n * 2 * (most + 1);
}

/* Combination number n of all values; false: there are no more. */
static bool combination(const koi_op *op, size_t n, int32_t *p)
{
  for (size_t i = 0; i < koi_op_n_params(op); i++) {
    const koi_param *q = &op->params[i];
    if (!q->n_values) continue;
    p[i] = q->values[n % q->n_values];
    n /= q->n_values;
  }
  return n == 0;
}

static bool sweep(koi_search *s, int32_t *p)
{
  memcpy(p, s->tried[0].p, n_bytes(s));
  s->jumped = true;
  while (combination(s->op, s->swept++, p))
    if (koi_search_is_new(s, p)) return true;
  return false;
}

/* `from` with some parameters, or all, drawn anew; where chance finds nothing, what is left, one after the other. */
static bool draw(koi_search *s, const int32_t *from, bool all, int32_t *p)
{
  size_t n = koi_op_n_params(s->op);
  for (int draw = 0; draw < MAX_DRAWS; draw++) {
    memcpy(p, from, n_bytes(s));
    for (size_t k = all ? n : 2 + below(s, n); k; k--) {
      size_t i = all ? k - 1 : below(s, n);
      if (s->op->params[i].n_values) p[i] = s->op->params[i].values[below(s, s->op->params[i].n_values)];
    }
    if (koi_search_is_new(s, p)) return s->jumped = true;
  }
  return sweep(s, p);
}

static bool random_one(koi_search *s, int32_t *p) { return draw(s, s->tried[0].p, true, p); }

static bool local(koi_search *s, int32_t *p)
{
  bool scout = !s->near && (s->n < SCOUTS ? s->n % 2 : s->n % SCOUT_EVERY == 0); /* a basin that the default does not lie in */
  if (scout) return draw(s, s->tried[0].p, true, p);
  s->jumped = false;
  while (s->step < n_steps(s))
    if (neighbour(s, s->step++, p) && koi_search_is_new(s, p)) return true;
  return draw(s, koi_search_best(s)->p, false, p); /* the best, with at least two parameters drawn anew */
}

bool koi_search_next(koi_search *s, int32_t *p)
{
  static bool (*const modes[KOI_SEARCH_N_MODES])(koi_search *, int32_t *) = {local, random_one, sweep};
  return koi_op_n_params(s->op) && modes[s->mode](s, p);
}

koine_status koi_search_tell(koi_search *s, const int32_t *p, double cost)
{
  if (s->n == s->cap) {
    size_t cap = s->cap ? 2 * s->cap : 32;
    koi_tried *tried = koi_realloc(s->tried, cap, sizeof *tried);
    if (!tried) return KOINE_ERR_MEMORY;
    s->tried = tried, s->cap = cap;
  }
  double best = s->n ? koi_search_best(s)->cost : INFINITY;
  koi_tried *now = &s->tried[s->n];
  *now = (koi_tried){.cost = cost};
  memcpy(now->p, p, n_bytes(s));
  bool better = !s->n || cost < s->tried[s->centre].cost || (s->jumped && cost < near_best * best);
  if (better) s->centre = s->n, s->step = 0;
  s->n++;
  return KOINE_OK;
}

void koi_search_correct(koi_search *s, const int32_t *p, double cost)
{
  koi_tried *t = find(s, p);
  if (t) t->cost = cost;
}
