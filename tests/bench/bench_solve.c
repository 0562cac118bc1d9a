/* How long the planner searches: 8 unlike devices, 64 unlike layers, both objectives, with and without experts apart; median of 11. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "plan/solve.h"

enum { D = 8, N = 64, TURNS = 11 };
static double seconds[D * N], experts[D * N], hop[D * D];
static uint64_t bytes[D * N], expert_bytes[D * N];
static koi_solve_device devices[D];

static int ascending(const void *a, const void *b) { return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b); }

static void time_it(const char *what, const koi_solve *p)
{
  double ms[TURNS];
  koi_solved s;
  for (int i = 0; i < TURNS; i++) {
    uint64_t start = koi_now_ns();
    if (koi_solve_best(p, &s)) s.n_stages = 0;
    ms[i] = (double)(koi_now_ns() - start) * 1e-6;
  }
  qsort(ms, TURNS, sizeof *ms, ascending);
  printf("%-32s %7.2f ms (%.2f to %.2f), %u stages\n", what, ms[TURNS / 2], ms[0], ms[TURNS - 1], s.n_stages);
}

int main(void)
{
  uint64_t seed = 7;
  for (int d = 0; d < D; d++) {
    devices[d] = (koi_solve_device){1 << 20, UINT64_C(14) << 20, (uint32_t)d, false};
    for (int i = 0; i < N; i++) {
      seed = seed * UINT64_C(6364136223846793005) + 1;
      seconds[d * N + i] = 1e-4 * (1 + d % 4) + 1e-7 * (double)(seed >> 54), bytes[d * N + i] = 1 << 20;
      experts[d * N + i] = seconds[d * N + i] / 2, expert_bytes[d * N + i] = 3 << 18;
    }
    for (int e = 0; e < D; e++) hop[d * D + e] = d == e ? 0 : 1e-5 * (1 + (d + e) % 3);
  }
  koi_solve p = {.n_devices = D, .n_items = N, .devices = devices, .seconds = seconds, .bytes = bytes, .hop = hop, .round_trip = hop, .expert_bytes = expert_bytes, .n_streams = 1};
  time_it("one stream", &p);
  p.n_streams = INFINITY;
  time_it("throughput", &p);
  p.n_streams = 4;
  time_it("four streams", &p);
  p.n_streams = 1, p.expert_seconds = experts;
  time_it("one stream, experts apart", &p);
  return 0;
}
