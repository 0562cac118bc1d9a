/* The planner's search against every assignment tried one by one: sums and longest stages, with and without memory limits, devices that share
 * processors, experts apart. All numbers are small integers, so that sums are exact and equality is meant. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "plan/solve.h"

enum { D = 5, N = 12 };

static uint64_t seed = 1;
static uint32_t draw(uint32_t n)
{
  seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return (uint32_t)(seed >> 33) % n;
}

typedef struct world {
  koi_solve p;
  koi_solve_device devices[D];
  double seconds[D * N], expert_seconds[D * N], hop[D * D], trip[D * D], in[D], out[D];
  uint64_t bytes[D * N], expert_bytes[D * N];
} world;

static void make(world *w, uint32_t most_devices, uint32_t most_items, bool limits, bool experts)
{
  memset(w, 0, sizeof *w);
  uint32_t nd = 1 + draw(most_devices), n = 1 + draw(most_items);
  uint64_t all = 0;
  for (uint32_t i = 0; i < n; i++) {
    uint64_t size = 10 + draw(40), part = draw(4) ? size / 2 : 0;
    uint32_t work = 8 + draw(40);
    for (uint32_t d = 0; d < nd; d++) {
      w->bytes[d * n + i] = size, w->expert_bytes[d * n + i] = part;
      w->seconds[d * n + i] = work * (1 + d) + draw(30);
      w->expert_seconds[d * n + i] = part ? draw((uint32_t)w->seconds[d * n + i] + 1) : 0;
    }
    all += size;
  }
  for (uint32_t d = 0; d < nd; d++) {
    w->devices[d] = (koi_solve_device){draw(10), limits ? all * (1 + draw(12)) / (4 + nd) : UINT64_MAX, draw(6) ? d : 0, draw(9) == 0};
    w->in[d] = draw(5), w->out[d] = draw(5);
    for (uint32_t e = 0; e < nd; e++) w->hop[d * nd + e] = draw(20), w->trip[d * nd + e] = draw(6);
  }
  if (nd > 1 && !draw(3)) { /* twins */
    memcpy(&w->seconds[n], w->seconds, n * sizeof(double)), memcpy(&w->expert_seconds[n], w->expert_seconds, n * sizeof(double));
    w->devices[1] = w->devices[0], w->devices[1].group = 1, w->in[1] = w->in[0], w->out[1] = w->out[0], w->hop[1] = w->hop[nd], w->trip[1] = w->trip[nd], w->hop[nd + 1] = w->hop[0];
    for (uint32_t e = 2; e < nd; e++)
      w->hop[nd + e] = w->hop[e], w->hop[e * nd + 1] = w->hop[e * nd], w->trip[nd + e] = w->trip[e], w->trip[e * nd + 1] = w->trip[e * nd];
  }
  w->p = (koi_solve){.n_devices = nd, .n_items = n, .devices = w->devices, .seconds = w->seconds, .bytes = w->bytes, .hop = w->hop, .in = w->in, .out = w->out,
                     .expert_seconds = experts ? w->expert_seconds : NULL, .expert_bytes = w->expert_bytes, .round_trip = w->trip, .n_streams = 1};
}

/* ---- by trying everything: an own account of what an assignment costs ---- */
typedef struct tried { uint32_t device, a, b, apart; } tried;
typedef struct brute { const koi_solve *p; tried t[D]; double best; uint32_t e; } brute;

/* Whether stages, `served` of which have experts apart, may take the devices that they are on; those of experts are added to `held`. */
static bool may_take(const brute *x, uint32_t n, uint32_t served, const bool *used, uint64_t *held)
{
  const koi_solve *p = x->p;
  uint64_t all_on_e = 0;
  if (served) {
    for (uint32_t i = 0; i < p->n_items; i++) all_on_e += p->bytes[x->e * p->n_items + i];
    bool ample = p->n_streams == 1 && all_on_e + p->devices[x->e].own_bytes <= p->devices[x->e].limit_bytes;
    if (!ample && (served > 1 || used[x->e])) return false;
    if (!used[x->e]) held[x->e] += p->devices[x->e].own_bytes;
    for (uint32_t k = 0; k < n; k++)
      if (x->t[k].apart && p->devices[x->t[k].device].group == p->devices[x->e].group) return false;
    for (uint32_t d = 0; d < p->n_devices; d++)
      if (used[d] && d != x->e && p->devices[d].group == p->devices[x->e].group) return false;
  }
  for (uint32_t d = 0; d < p->n_devices; d++) {
    if (held[d] > p->devices[d].limit_bytes) return false;
    for (uint32_t o = 0; o < d; o++)
      if (used[d] && used[o] && p->devices[d].group == p->devices[o].group) return false;
  }
  return true;
}

/* Every rule of solve.h, for a whole assignment. */
static double cost_of(const brute *x, uint32_t n)
{
  const koi_solve *p = x->p;
  double sum = 0, longest = 0;
  uint64_t held[D] = {0};
  uint32_t served = 0;
  bool used[D] = {false};
  for (uint32_t k = 0; k < n; k++) {
    const tried *t = &x->t[k];
    double hop = k ? p->hop[x->t[k - 1].device * p->n_devices + t->device] : p->in[t->device], stage = 0;
    if (p->devices[t->device].no_stage) return INFINITY;
    used[t->device] = true, held[t->device] += p->devices[t->device].own_bytes, served += t->apart > 0;
    for (uint32_t i = t->a; i < t->b; i++) {
      uint32_t here = t->device * p->n_items + i, there = x->e * p->n_items + i;
      stage += p->seconds[here], held[t->device] += p->bytes[here];
      if (i - t->a >= t->apart) continue;
      stage += p->expert_seconds[there] - p->expert_seconds[here] + (p->expert_bytes[there] ? p->round_trip[t->device * p->n_devices + x->e] : 0);
      held[t->device] -= p->expert_bytes[here], held[x->e] += p->expert_bytes[there];
    }
    if (t->apart && t->apart < t->b - t->a) stage += p->hop[t->device * p->n_devices + t->device], held[t->device] += p->devices[t->device].own_bytes;
    sum += hop + stage;
    if (hop > longest) longest = hop;
    if (stage > longest) longest = stage;
  }
  uint32_t last = x->t[n - 1].device;
  sum += p->out[last];
  if (p->out[last] > longest) longest = p->out[last];
  if (!may_take(x, n, served, used, held)) return INFINITY;
  return p->n_streams == INFINITY ? longest : p->n_streams * longest > sum ? p->n_streams * longest : sum;
}

static void try_from(brute *x, uint32_t n, uint32_t a)
{
  const koi_solve *p = x->p;
  if (a == p->n_items) {
    double c = cost_of(x, n);
    if (c < x->best) x->best = c;
    return;
  }
  for (uint32_t d = 0; d < p->n_devices; d++) {
    bool taken = false;
    for (uint32_t k = 0; k < n; k++) taken |= x->t[k].device == d;
    for (uint32_t b = a + 1; b <= p->n_items && !taken; b++)
      for (uint32_t apart = 0; apart <= (x->e < p->n_devices && x->e != d ? b - a : 0); apart++) {
        x->t[n] = (tried){d, a, b, apart};
        try_from(x, n + 1, b);
      }
  }
}

static double by_trying(const koi_solve *p)
{
  brute x = {.p = p, .best = INFINITY, .e = UINT32_MAX};
  try_from(&x, 0, 0);
  for (x.e = 0; x.e < p->n_devices && p->expert_seconds; x.e++) try_from(&x, 0, 0);
  return x.best;
}

/* The answer is what it says it is. */
static void check_answer(const koi_solve *p, const koi_solved *s)
{
  brute x = {.p = p, .e = 0};
  uint32_t a = 0;
  for (uint32_t k = 0; k < s->n_stages; k++) {
    const koi_solved_stage *t = &s->stages[k];
    assert_int_equal(t->item0, a);
    assert_true(t->item1 > a && t->n_apart <= t->item1 - a && (t->n_apart > 0) == (t->experts != KOI_SOLVE_NOWHERE));
    if (t->n_apart) x.e = t->experts;
    x.t[k] = (tried){t->device, a, t->item1, t->n_apart};
    a = t->item1;
  }
  assert_int_equal(a, p->n_items);
  if (cost_of(&x, s->n_stages) != s->cost) {
    for (uint32_t k = 0; k < s->n_stages; k++) printf("dev %u items %u-%u experts %d n %u sec %g\n", s->stages[k].device, s->stages[k].item0, s->stages[k].item1, (int)s->stages[k].experts, s->stages[k].n_apart, s->stages[k].seconds);
    fail_msg("streams %g: %g is said to be %g", p->n_streams, cost_of(&x, s->n_stages), s->cost);
  }
}

static void compare(const world *w)
{
  koi_solved s;
  koine_status status = koi_solve_best(&w->p, &s);
  double best = by_trying(&w->p);
  assert_int_equal(status, best == INFINITY ? KOINE_ERR_MEMORY : KOINE_OK);
  if (status) return;
  check_answer(&w->p, &s);
  if (s.cost != best) fail_msg("%u devices, %u items, streams %g: found %g, the best is %g", w->p.n_devices, w->p.n_items, w->p.n_streams, s.cost, best);
}

static void test_layers(void **state)
{
  (void)state;
  world w;
  for (int i = 0; i < 1000; i++)
    for (int limits = 0; limits < 2; limits++) {
      seed = (uint64_t)i * 2 + 1;
      make(&w, D, N, limits, false);
      compare(&w);
      w.p.n_streams = INFINITY;
      compare(&w);
    }
}

static void test_mix(void **state)
{
  (void)state;
  world w;
  for (int i = 0; i < 200; i++) {
    seed = (uint64_t)i + 5000;
    make(&w, 4, 9, i & 1, false);
    w.p.n_streams = 2 + draw(5);
    compare(&w);
  }
}

static void test_experts(void **state)
{
  (void)state;
  world w;
  size_t n_apart = 0;
  for (int i = 0; i < 1000; i++) {
    seed = (uint64_t)i + 9000;
    make(&w, 4, 5, i & 1, true);
    w.p.n_streams = i % 3 == 0 ? 1 : i % 3 == 1 ? INFINITY : 3;
    compare(&w);
    koi_solved s;
    if (koi_solve_best(&w.p, &s)) continue;
    for (uint32_t k = 0; k < s.n_stages; k++) n_apart += s.stages[k].n_apart > 0;
  }
  assert_true(n_apart > 50); /* otherwise nothing was tested */
}

/* A device that only slows things down is left out; a faster order is found; pins are INFINITY elsewhere. */
static void test_plain_cases(void **state)
{
  (void)state;
  world w;
  koi_solved s;
  seed = 3;
  make(&w, 1, 1, false, false);
  w.p.n_devices = 3, w.p.n_items = 4;
  for (uint32_t d = 0; d < 3; d++) {
    w.devices[d] = (koi_solve_device){.limit_bytes = 100, .group = d};
    for (uint32_t i = 0; i < 4; i++) w.seconds[d * 4 + i] = (double[]){8, 2, 4}[d], w.bytes[d * 4 + i] = 40;
  }
  memset(w.hop, 0, sizeof w.hop), memset(w.in, 0, sizeof w.in), memset(w.out, 0, sizeof w.out);
  assert_int_equal(koi_solve_best(&w.p, &s), KOINE_OK);
  assert_true(s.n_stages == 2 && s.seconds == 12); /* devices 1 and 2 with two layers each; 0 is slow */
  w.seconds[0 * 4 + 3] = 1, w.seconds[1 * 4 + 3] = w.seconds[2 * 4 + 3] = INFINITY; /* pinned */
  assert_int_equal(koi_solve_best(&w.p, &s), KOINE_OK);
  assert_true(s.stages[s.n_stages - 1].device == 0 && s.seconds == 2 + 2 + 4 + 1);
  for (uint32_t d = 0; d < 3; d++) w.devices[d].limit_bytes = 39;
  assert_int_equal(koi_solve_best(&w.p, &s), KOINE_ERR_MEMORY);
  w.p.n_devices = KOI_SOLVE_DEVICES + 1;
  assert_int_equal(koi_solve_best(&w.p, &s), KOINE_ERR_ARG);
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_plain_cases), cmocka_unit_test(test_experts), cmocka_unit_test(test_mix), cmocka_unit_test(test_layers)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
