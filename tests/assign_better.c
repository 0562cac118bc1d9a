/* See assign_better.h. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include "assign_better.h"
#include "plan/solve.h"

static uint64_t seed;
static double draw(void)
{
  seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return (double)(seed >> 11) / 9007199254740992.0;
}

enum { CLUSTERS = 200, MOST = 6 };
typedef struct cluster { uint32_t n; double speed[MOST]; uint64_t memory[MOST]; } cluster;

/* Times within 4x, memory within 4x, together 1.5 times what the model needs. */
static cluster draw_cluster(uint64_t need)
{
  cluster c = {.n = 2 + (uint32_t)(draw() * 5)};
  double sum = 0, part[MOST];
  for (uint32_t d = 0; d < c.n; d++) c.speed[d] = pow(4, draw()), sum += part[d] = pow(4, draw());
  for (uint32_t d = 0; d < c.n; d++) c.memory[d] = (uint64_t)(1.5 * (double)need * part[d] / sum);
  return c;
}

/* As many items each as `share` says, but no more than fit; what is left goes to those that come after, then to those before. */
static double by_rule(const cluster *c, const double *share, const double *seconds, const uint64_t *bytes, uint32_t n, double hop)
{
  uint32_t want[MOST], item = 0;
  double sum = 0, so_far = 0, total = 0;
  for (uint32_t d = 0; d < c->n; d++) sum += share[d];
  for (uint32_t d = 0, at = 0; d < c->n; d++) {
    so_far += share[d];
    uint32_t to = (uint32_t)lround(n * so_far / sum);
    want[d] = to - at, at = to;
  }
  for (int again = 0; again < 64; again++) { /* devices that are full hand one on to the emptiest */
    uint32_t spare = MOST, full = MOST;
    item = 0;
    double room = 0;
    for (uint32_t d = 0; d < c->n; d++) {
      uint64_t held = 0;
      for (uint32_t k = 0; k < want[d]; k++) held += bytes[item++];
      if (held > c->memory[d]) full = d;
      else if ((double)(c->memory[d] - held) > room) room = (double)(c->memory[d] - held), spare = d;
    }
    if (full == MOST) break;
    if (spare == MOST) return NAN;
    want[full]--, want[spare]++;
  }
  item = 0;
  for (uint32_t d = 0; d < c->n; d++) {
    if (want[d] && item) total += hop;
    for (uint32_t k = 0; k < want[d]; k++) total += seconds[item++] * c->speed[d];
  }
  return total;
}

static int ascending(const void *a, const void *b) { return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b); }

void assign_better(const koi_site *s, const koine_model *m)
{
  koi_costs costs;
  koi_holding hold;
  uint32_t n = koi_costs_items(m), n_even = 0, n_memory = 0;
  double even[CLUSTERS], memory[CLUSTERS], hops[MOST * MOST];
  assert_int_equal(koi_costs_make(s, m, &(koi_step_at){1, 2048}, false, &costs), KOINE_OK);
  assert_int_equal(koi_costs_hold(m, 4096, 512, false, &hold), KOINE_OK);
  uint64_t *bytes = calloc(MOST * n, sizeof *bytes), need = 0;
  double *seconds = calloc(MOST * n, sizeof *seconds), hop = 5e-5;
  for (uint32_t i = 0; i < n; i++) need += hold.items[i].weights + hold.items[i].caches;
  for (uint32_t i = 0; i < MOST * MOST; i++) hops[i] = hop;
  for (int k = 0; k < CLUSTERS; k++) {
    koi_solve_device devices[MOST];
    double same[MOST], by_memory[MOST];
    koi_solved best;
    seed = (uint64_t)k + 1;
    cluster c = draw_cluster(need);
    for (uint32_t d = 0; d < c.n; d++) {
      devices[d] = (koi_solve_device){0, c.memory[d], d, false}, same[d] = 1, by_memory[d] = (double)c.memory[d];
      for (uint32_t i = 0; i < n; i++) seconds[d * n + i] = costs.seconds[i] * c.speed[d], bytes[d * n + i] = hold.items[i].weights + hold.items[i].caches;
    }
    koi_solve p = {.n_devices = c.n, .n_items = n, .devices = devices, .seconds = seconds, .bytes = bytes, .hop = hops, .n_streams = 1};
    if (koi_solve_best(&p, &best)) continue;
    double e = by_rule(&c, same, costs.seconds, bytes, n, hop) / best.seconds, b = by_rule(&c, by_memory, costs.seconds, bytes, n, hop) / best.seconds;
    assert_false(e < 1 - 1e-9 || b < 1 - 1e-9);
    if (e == e) even[n_even++] = e;
    if (b == b) memory[n_memory++] = b;
  }
  assert_true(n_even > CLUSTERS * 3 / 4 && n_memory > CLUSTERS * 3 / 4);
  qsort(even, n_even, sizeof *even, ascending), qsort(memory, n_memory, sizeof *memory, ascending);
  printf("an even split takes %.2f times as long in the median of %u clusters, a split by memory %.2f of %u\n", even[n_even / 2], n_even, memory[n_memory / 2], n_memory);
  assert_true(even[n_even / 2] > 1.05 && memory[n_memory / 2] > 1.05);
  free(bytes), free(seconds);
  koi_costs_free(&costs), koi_costs_unhold(&hold);
}
