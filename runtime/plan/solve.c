/* See solve.h. Owns the tables of one search. Invariant: a state is (devices used, items done, last device); its value is the least seconds, or the
 * least longest stage, with which it is reached, so that no plan of the family is passed over. */
#include "solve_impl.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What rounding may add to a sum that is added up in another order. */
static const double ROUNDED_UP = 1 + 1e-12;

static double hop(const koi_solve *p, uint32_t from, uint32_t to)
{
  if (from == p->n_devices) return p->in ? p->in[to] : 0;
  return p->hop[from * p->n_devices + to];
}

static double leave(const koi_solve *p, uint32_t from) { return p->out ? p->out[from] : 0; }
static size_t state(const search *s, uint32_t bits, uint32_t item, uint32_t last)
{
  return ((size_t)bits * (s->p->n_items + 1) + item) * (s->p->n_devices + 1) + last;
}

/* ---- what ranges cost -------------------------------------------------------------------------------------------------- */
static void whole_ranges(search *s, uint32_t u)
{
  const koi_solve *p = s->p;
  uint32_t d = s->units[u].device;
  for (uint32_t a = 0; a < p->n_items; a++) {
    double seconds = 0;
    uint64_t bytes = p->devices[d].own_bytes;
    for (uint32_t b = a + 1; b <= p->n_items; b++) {
      seconds += p->seconds[at(p, d, b - 1)];
      bool fits = !__builtin_add_overflow(bytes, p->bytes[at(p, d, b - 1)], &bytes) && bytes <= p->devices[d].limit_bytes;
      if (!fits) bytes = UINT64_MAX;
      *range_of(s, u, a, b) = (range){fits ? seconds : INFINITY, 0};
    }
  }
}

parted koi_solve_part(const koi_solve *p, uint32_t d, uint32_t e, uint32_t i)
{
  uint64_t there = p->expert_bytes[at(p, e, i)], less = p->expert_bytes[at(p, d, i)];
  double s = p->seconds[at(p, d, i)] - p->expert_seconds[at(p, d, i)] + p->expert_seconds[at(p, e, i)];
  if (there) s += p->round_trip[d * p->n_devices + e];
  return (parted){s == s ? s : INFINITY, p->bytes[at(p, d, i)] - less, there};
}

/* The best number of items, from the first on, whose experts lie apart. */
static range best_apart(const koi_solve *p, uint32_t d, uint32_t e, uint32_t a, uint32_t b)
{
  range best = {INFINITY, 0};
  uint64_t here = p->devices[d].own_bytes, there = p->devices[e].own_bytes;
  double seconds = 0;
  for (uint32_t i = a; i < b; i++) here += p->bytes[at(p, d, i)], seconds += p->seconds[at(p, d, i)];
  if (!isfinite(seconds)) return best;
  for (uint32_t i = a; i < b; i++) {
    parted x = koi_solve_part(p, d, e, i);
    here -= p->bytes[at(p, d, i)] - x.here, there += x.there, seconds += x.seconds - p->seconds[at(p, d, i)];
    bool cut = i + 1 < b; /* then the device has two stages, each with memory of its own, and a hand-over between them */
    double all = seconds + (cut ? p->hop[d * p->n_devices + d] : 0);
    if (here + (cut ? p->devices[d].own_bytes : 0) <= p->devices[d].limit_bytes && there <= p->devices[e].limit_bytes && all < best.seconds)
      best = (range){all, i + 1 - a};
  }
  return best;
}

static void apart_ranges(search *s, uint32_t u)
{
  for (uint32_t a = 0; a < s->p->n_items; a++)
    for (uint32_t b = a + 1; b <= s->p->n_items; b++) *range_of(s, u, a, b) = best_apart(s->p, s->units[u].device, s->units[u].experts, a, b);
}

/* Whether the device has room for everything, so that its memory never decides. */
static bool ample(const koi_solve *p, uint32_t d)
{
  uint64_t bytes = p->devices[d].own_bytes;
  for (uint32_t i = 0; i < p->n_items; i++)
    if (__builtin_add_overflow(bytes, p->bytes[at(p, d, i)], &bytes)) return false;
  return bytes <= p->devices[d].limit_bytes;
}

/* Ways to run a range when experts may lie on device e (KOI_SOLVE_NOWHERE: none). */
static void make_units(search *s, uint32_t e)
{
  const koi_solve *p = s->p;
  bool shared = e != KOI_SOLVE_NOWHERE && p->n_streams == 1 && ample(p, e);
  s->n_units = 0, s->experts = e, s->shared = shared;
  for (uint32_t d = 0; d < p->n_devices; d++) {
    bool kin = e != KOI_SOLVE_NOWHERE && e != d && p->devices[d].group == p->devices[e].group;
    if (p->devices[d].no_stage || (shared && kin)) continue;
    s->units[s->n_units] = (unit){d, KOI_SOLVE_NOWHERE, 1u << d};
    whole_ranges(s, s->n_units++);
    if (e == KOI_SOLVE_NOWHERE || e == d || kin) continue;
    s->units[s->n_units] = (unit){d, e, 1u << d | (shared ? 0 : 1u << e)};
    apart_ranges(s, s->n_units++);
  }
}

/* ---- the search -------------------------------------------------------------------------------------------------------- */
static bool same_rows(const koi_solve *p, uint32_t a, uint32_t b)
{
  size_t n = p->n_items;
  if (memcmp(&p->devices[a].own_bytes, &p->devices[b].own_bytes, 2 * sizeof(uint64_t)) || p->devices[a].no_stage != p->devices[b].no_stage) return false;
  if (memcmp(&p->seconds[a * n], &p->seconds[b * n], n * sizeof(double)) || memcmp(&p->bytes[a * n], &p->bytes[b * n], n * sizeof(uint64_t))) return false;
  if (p->expert_seconds && (memcmp(&p->expert_seconds[a * n], &p->expert_seconds[b * n], n * sizeof(double)) ||
                            memcmp(&p->expert_bytes[a * n], &p->expert_bytes[b * n], n * sizeof(uint64_t)))) return false;
  if ((p->in && p->in[a] != p->in[b]) || (p->out && p->out[a] != p->out[b])) return false;
  for (uint32_t o = 0; o < p->n_devices; o++) {
    if (o == a || o == b) continue;
    const double *const t[] = {p->hop, p->expert_seconds ? p->round_trip : p->hop};
    for (size_t k = 0; k < KOI_COUNT(t); k++)
      if (t[k][a * p->n_devices + o] != t[k][b * p->n_devices + o] || t[k][o * p->n_devices + a] != t[k][o * p->n_devices + b]) return false;
  }
  return p->hop[a * p->n_devices + b] == p->hop[b * p->n_devices + a] && p->hop[a * p->n_devices + a] == p->hop[b * p->n_devices + b] &&
         (!p->expert_seconds || p->round_trip[a * p->n_devices + b] == p->round_trip[b * p->n_devices + a]);
}

static void find_twins(search *s, uint32_t e)
{
  const koi_solve *p = s->p;
  for (uint32_t d = 0; d < p->n_devices; d++) {
    s->twin[d] = d, s->group_bits[d] = 0;
    for (uint32_t o = 0; o < p->n_devices; o++)
      if (o != d && p->devices[o].group == p->devices[d].group) s->group_bits[d] |= 1u << o;
  }
  for (uint32_t d = 0; d < p->n_devices; d++)
    for (uint32_t o = 0; o < d && !s->group_bits[d] && d != e; o++)
      if (o != e && !s->group_bits[o] && same_rows(p, o, d)) s->twin[d] = o;
}

static bool may_use(const search *s, const unit *u, uint32_t bits)
{
  if (u->bits & bits || s->group_bits[u->device] & bits) return false;
  if (u->experts != KOI_SOLVE_NOWHERE && s->group_bits[u->experts] & bits) return false;
  return s->twin[u->device] == u->device || bits >> s->twin[u->device] & 1;
}

/* The least that all of it can cost. */
static double at_least(const search *s, const rule *r, uint32_t bits, uint32_t item, double cost)
{
  uint32_t free_bits = (1u << s->p->n_devices) - 1 - bits;
  return join(r, cost, s->left[(size_t)free_bits * (s->p->n_items + 1) + s->p->n_items - item]);
}

static void extend(search *s, const rule *r, uint32_t bits, uint32_t a, uint32_t last, uint32_t u)
{
  const koi_solve *p = s->p;
  const unit *v = &s->units[u];
  double over = hop(p, last, v->device);
  if (over > r->cap) return;
  double base = join(r, s->value[state(s, bits, a, last)], over);
  for (uint32_t b = a + 1; b <= p->n_items; b++) {
    double seconds = range_of(s, u, a, b)->seconds, cost = join(r, base, seconds);
    if (seconds > r->cap || cost >= s->best) break; /* longer ranges take no less */
    origin from = {(uint16_t)a, (uint8_t)u, (uint8_t)last};
    if (b < p->n_items) {
      size_t to = state(s, bits | v->bits, b, v->device);
      if (cost < s->value[to] && at_least(s, r, bits | v->bits, b, cost) <= s->best) s->value[to] = cost, s->from[to] = from;
    } else if (leave(p, v->device) <= r->cap && (cost = join(r, cost, leave(p, v->device))) < s->best)
      s->best = cost, s->end = from, s->end_bits = bits | v->bits;
  }
}

static void run_below(search *s, const rule *r, double bound)
{
  const koi_solve *p = s->p;
  uint32_t n = p->n_devices;
  size_t n_states = ((size_t)1 << n) * (p->n_items + 1) * (n + 1);
  for (size_t i = 0; i < n_states; i++) s->value[i] = INFINITY;
  s->best = bound, s->end_bits = 0;
  s->value[state(s, 0, 0, n)] = 0;
  for (uint32_t bits = 0; bits < 1u << n; bits++)
    for (uint32_t a = 0; a < p->n_items; a++)
      for (uint32_t last = 0; last <= n; last++) {
        double v = s->value[state(s, bits, a, last)];
        if (v == INFINITY || at_least(s, r, bits, a, v) > s->best) continue;
        for (uint32_t u = 0; u < s->n_units; u++)
          if (may_use(s, &s->units[u], bits)) extend(s, r, bits, a, last, u);
      }
}

/* Below a bound that is near the least that is possible there is little to search, and what is found there is the best. */
static void run(search *s, const rule *r)
{
  static const double tries[] = {1.02, 1.06, 1.2};
  double least = at_least(s, r, 0, 0, 0);
  for (size_t i = 0; i < KOI_COUNT(tries) && least * tries[i] < r->bound; i++) {
    run_below(s, r, least * tries[i]);
    if (s->end_bits) return;
  }
  run_below(s, r, r->bound);
}

/* ---- the answer -------------------------------------------------------------------------------------------------------- */
static void trace(const search *s, koi_solved *out)
{
  const koi_solve *p = s->p;
  koi_solved_stage back[KOI_SOLVE_DEVICES];
  uint32_t n = 0, bits = s->end_bits, b = p->n_items;
  for (origin o = s->end;; o = s->from[state(s, bits, b, o.last)]) {
    const unit *u = &s->units[o.unit];
    const range *r = range_of(s, o.unit, o.item, b);
    back[n++] = (koi_solved_stage){u->device, o.item, b, r->n_apart ? u->experts : KOI_SOLVE_NOWHERE, r->n_apart, r->seconds};
    bits &= ~u->bits, b = o.item;
    if (!b) break;
  }
  *out = (koi_solved){.n_stages = n, .longest = leave(p, back[0].device)};
  for (uint32_t i = 0; i < n; i++) {
    const koi_solved_stage *x = &back[n - 1 - i];
    double over = hop(p, i ? back[n - i].device : p->n_devices, x->device);
    out->stages[i] = *x;
    out->seconds += over + x->seconds;
    if (over > out->longest) out->longest = over;
    if (x->seconds > out->longest) out->longest = x->seconds;
  }
  out->seconds += leave(p, back[0].device);
}

static bool better(const koi_solved *a, const koi_solved *b)
{
  return !b->n_stages || a->cost < b->cost || (a->cost == b->cost && a->seconds < b->seconds);
}

static void offer(const search *s, koi_solved *out)
{
  if (!s->end_bits) return;
  koi_solved found;
  double n = s->p->n_streams;
  trace(s, &found);
  found.cost = n == INFINITY ? found.longest : n * found.longest > found.seconds ? n * found.longest : found.seconds;
  if (better(&found, out)) *out = found;
}

static int ascending(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Every value that the longest stage or hop can have, sorted. */
static double *steps(const search *s, size_t *n)
{
  const koi_solve *p = s->p;
  size_t nd = p->n_devices, per = (size_t)p->n_items * (p->n_items + 1), m = 0;
  double *v = koi_alloc(s->n_units * per + nd * (nd + 2), sizeof *v);
  if (!v) return NULL;
  for (uint32_t u = 0; u < s->n_units; u++)
    for (uint32_t a = 0; a < p->n_items; a++)
      for (uint32_t b = a + 1; b <= p->n_items; b++)
        if (isfinite(range_of(s, u, a, b)->seconds)) v[m++] = range_of(s, u, a, b)->seconds;
  for (uint32_t i = 0; i <= nd; i++)
    for (uint32_t j = 0; j < nd; j++)
      if (isfinite(hop(p, i, j))) v[m++] = hop(p, i, j);
  for (uint32_t i = 0; i < nd; i++) v[m++] = leave(p, i);
  qsort(v, m, sizeof *v, ascending);
  *n = m;
  return v;
}

/* With a cap on the longest stage the least sum falls as the cap rises, and n times the cap rises: the best is where they cross. Sums and caps that
 * are no better than what is known are passed over. */
static koine_status cross(search *s, koi_solved *out)
{
  size_t n;
  double *caps = steps(s, &n), streams = s->p->n_streams;
  if (!caps) return KOINE_ERR_MEMORY;
  for (size_t lo = 0, hi = n; lo < hi;) {
    size_t mid = lo + (hi - lo) / 2;
    double known = out->n_stages ? out->cost : INFINITY;
    if (streams * caps[mid] > known) {
      hi = mid;
      continue;
    }
    run(s, &(rule){false, caps[mid], known});
    offer(s, out);
    if (s->end_bits && s->best <= streams * caps[mid]) hi = mid;
    else lo = mid + 1;
  }
  koi_free(caps);
  return KOINE_OK;
}

static koine_status longest(search *s, double known, koi_solved *out)
{
  rule r = {true, INFINITY, known};
  koine_status status = koi_solve_left(s, &r);
  if (!status) run(s, &r);
  if (status || !s->end_bits) return status;
  r = (rule){false, s->best, INFINITY}; /* of plans with the same longest stage, the quickest */
  status = koi_solve_left(s, &r);
  if (!status) run(s, &r), offer(s, out);
  return status;
}

static koine_status search_with(search *s, uint32_t e, koi_solved *out)
{
  double known = out->n_stages ? out->cost * ROUNDED_UP : INFINITY; /* equals are compared by their seconds */
  rule sum = {false, INFINITY, known};
  make_units(s, e);
  find_twins(s, e);
  if (s->p->n_streams == INFINITY) return longest(s, known, out);
  koine_status status = koi_solve_left(s, &sum);
  if (status || s->p->n_streams > 1) return status ? status : cross(s, out);
  run(s, &sum);
  offer(s, out);
  return KOINE_OK;
}

koine_status koi_solve_best(const koi_solve *p, koi_solved *out)
{
  uint32_t n = p->n_devices;
  *out = (koi_solved){0};
  if (n > KOI_SOLVE_DEVICES || p->n_items > KOI_SOLVE_ITEMS || !p->n_items)
    return koi_error(KOINE_ERR_ARG, "%u devices and %u layers, expected at most %d and %d: exclude some devices", n, p->n_items, KOI_SOLVE_DEVICES, KOI_SOLVE_ITEMS);
  size_t n_states = ((size_t)1 << n) * (p->n_items + 1) * (n + 1);
  search s = {.p = p};
  s.ranges = koi_alloc((size_t)2 * KOI_SOLVE_DEVICES * p->n_items * (p->n_items + 1), sizeof *s.ranges);
  s.value = koi_alloc(n_states, sizeof *s.value);
  s.from = koi_alloc(n_states, sizeof *s.from);
  s.left = koi_alloc(((size_t)1 << n) * (p->n_items + 1), sizeof *s.left);
  koine_status status = s.ranges && s.value && s.from && s.left ? KOINE_OK : KOINE_ERR_MEMORY;
  if (!status) status = search_with(&s, KOI_SOLVE_NOWHERE, out);
  for (uint32_t e = 0; e < n && p->expert_seconds && !status; e++) status = search_with(&s, e, out);
  koi_free(s.ranges);
  koi_free(s.value);
  koi_free(s.from);
  koi_free(s.left);
  return status ? status : out->n_stages ? KOINE_OK : KOINE_ERR_MEMORY;
}
