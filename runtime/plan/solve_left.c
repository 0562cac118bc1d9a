/* What free devices can take at least for the items that are left, so that most of the search is not needed. Owns nothing. Invariant: no plan takes less. */
#include <math.h>
#include "solve_impl.h"

/* What rounding may take off a sum that is added up in another order. */
static const double ROUNDED_DOWN = 1 - 1e-12;

/* Of a device, whole and with experts apart: the least that an item takes there, and the least that so many neighbours do, wherever they are. */
typedef struct reach { double item[2][KOI_SOLVE_ITEMS], run[2][KOI_SOLVE_ITEMS + 1]; uint32_t most[2]; } reach;

static void reach_of(const search *s, uint32_t d, reach *out)
{
  const koi_solve *p = s->p;
  for (int way = 0; way < 2; way++)
    for (uint32_t i = 0; i < p->n_items; i++) out->item[way][i] = out->run[way][i + 1] = INFINITY;
  out->run[0][0] = 0, out->run[1][0] = INFINITY, out->most[0] = out->most[1] = 0;
  for (uint32_t u = 0; u < s->n_units; u++) {
    const unit *v = &s->units[u];
    bool apart = v->experts != KOI_SOLVE_NOWHERE;
    for (uint32_t a = 0; a < p->n_items && v->device == d; a++) {
      out->item[apart][a] = apart ? koi_solve_part(p, d, v->experts, a).seconds : p->seconds[at(p, d, a)];
      if (apart && p->seconds[at(p, d, a)] < out->item[apart][a]) out->item[apart][a] = p->seconds[at(p, d, a)]; /* only the first have to be apart */
      for (uint32_t n = 1; a + n <= p->n_items; n++)
        if (range_of(s, u, a, a + n)->seconds < out->run[apart][n]) out->run[apart][n] = range_of(s, u, a, a + n)->seconds, out->most[apart] = n > out->most[apart] ? n : out->most[apart];
    }
  }
}

/* The least for m items on these devices, if ranges could overlap. */
static void pack(search *s, const rule *r, const reach *of, uint32_t bits)
{
  size_t row = s->p->n_items + 1;
  uint32_t e_bit = s->experts == KOI_SOLVE_NOWHERE ? 0 : 1u << s->experts, d = (uint32_t)__builtin_ctz(bits & ~e_bit ? bits & ~e_bit : bits), rest = bits & ~(1u << d);
  double *to = &s->left[bits * row];
  const double *const others[] = {&s->left[rest * row], &s->left[(s->shared ? rest : rest & ~e_bit) * row]};
  for (uint32_t m = 0; m < row; m++) {
    to[m] = INFINITY;
    for (int way = 0; way < (rest & e_bit || s->shared ? 2 : 1); way++)
      for (uint32_t n = 0; n <= m && n <= of[d].most[way]; n++) {
        double cost = join(r, others[way][m - n], of[d].run[way][n]);
        if (cost < to[m]) to[m] = cost;
      }
  }
}

/* And if every one of the last m items could lie on the best of them. */
static void spread(search *s, const rule *r, const reach *of, uint32_t bits)
{
  const koi_solve *p = s->p;
  double *to = &s->left[(size_t)bits * (p->n_items + 1)], sum = 0, n = r->longest ? __builtin_popcount(bits) : 1;
  bool apart = s->shared || (s->experts != KOI_SOLVE_NOWHERE && bits >> s->experts & 1);
  for (uint32_t m = 1; m <= p->n_items; m++) {
    double best = INFINITY;
    for (uint32_t d = 0; d < p->n_devices; d++)
      for (int way = 0; way <= apart && bits >> d & 1; way++)
        if (of[d].item[way][p->n_items - m] < best) best = of[d].item[way][p->n_items - m];
    sum += best;
    to[m] = (sum / n > to[m] ? sum / n : to[m]) * ROUNDED_DOWN;
  }
}

koine_status koi_solve_left(search *s, const rule *r)
{
  uint32_t n = s->p->n_devices;
  reach *of = koi_alloc(n, sizeof *of);
  if (!of) return KOINE_ERR_MEMORY;
  for (uint32_t d = 0; d < n; d++) reach_of(s, d, &of[d]);
  for (uint32_t m = 0; m <= s->p->n_items; m++) s->left[m] = m ? INFINITY : 0;
  for (uint32_t bits = 1; bits < 1u << n; bits++) pack(s, r, of, bits);
  for (uint32_t bits = 1; bits < 1u << n; bits++) spread(s, r, of, bits);
  koi_free(of);
  return KOINE_OK;
}
