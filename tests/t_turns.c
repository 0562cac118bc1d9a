/* Who has a place when not all experts can: everybody who is wanted gets a turn, nobody twice in a step, and the hit rate on skewed and drifting
 * routes, and on recorded ones, is no worse than that of dropping whoever was wanted least recently. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include "engine/turns.h"

enum { N_EXPERTS = 256, N_USED = 6, N_TOKENS = 6000 };
static uint64_t state;

static double uniform(void)
{
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (double)(state >> 11) * 0x1p-53;
}

/* ---- turns ---- */
static void check_step(koi_turns *t, const int32_t *ids, size_t n, uint32_t n_tokens)
{
  koi_arrival *arrivals = calloc(t->n_slots, sizeof *arrivals);
  int *had = calloc(n, sizeof *had), *came = calloc(t->n_experts, sizeof *came);
  size_t n_arrivals, n_had = 0;
  koi_turns_begin(t, ids, n, n_tokens);
  while (koi_turns_next(t, arrivals, &n_arrivals)) {
    assert_true(n_arrivals + t->n_now <= t->n_slots);
    for (size_t i = 0; i < n_arrivals; i++) {
      assert_int_equal(t->expert[arrivals[i].slot], arrivals[i].expert);
      assert_int_equal(came[arrivals[i].expert]++, 0);
    }
    size_t before = n_had;
    for (size_t i = 0; i < n; i++) {
      int32_t s = koi_turns_place(t, ids[i]);
      if (s == KOI_NOBODY) continue;
      assert_int_equal(t->expert[s], ids[i]);
      assert_int_equal(had[i]++, 0);
      n_had++;
    }
    assert_true(n_had > before || n_arrivals); /* somebody has the turn, or comes for the next */
    assert_int_equal(n_had > before, t->n_now > 0);
  }
  assert_int_equal(n_had, n);
  for (uint32_t s = 0; s < t->n_slots; s++)
    if (t->expert[s] != KOI_NOBODY) assert_int_equal(t->slot[t->expert[s]], s);
  free(arrivals), free(had), free(came);
}

static void test_turns(void **unused)
{
  (void)unused;
  static const uint32_t n_slots[] = {1, 2, 5, 6, 31, 64};
  for (size_t k = 0; k < KOI_COUNT(n_slots); k++) {
    koi_turns t;
    assert_int_equal(koi_turns_make(n_slots[k], 64, NULL, &t), KOINE_OK);
    state = 7;
    for (int step = 0; step < 300; step++) {
      int32_t ids[40 * N_USED];
      uint32_t n_tokens = step % 7 ? 1 : 40;
      for (size_t i = 0; i < (size_t)n_tokens * N_USED; i++) ids[i] = (int32_t)(uniform() * 64);
      check_step(&t, ids, (size_t)n_tokens * N_USED, n_tokens);
    }
    koi_turns_free(&t);
  }
}

/* Who could not come is not there, and comes when it is wanted again. */
static void test_miss(void **unused)
{
  (void)unused;
  koi_turns t;
  koi_arrival arrivals[2];
  size_t n;
  const int32_t ids[] = {3, 5};
  assert_int_equal(koi_turns_make(2, 8, NULL, &t), KOINE_OK);
  koi_turns_begin(&t, ids, 2, 1);
  assert_true(koi_turns_next(&t, arrivals, &n));
  assert_int_equal(n, 2);
  assert_int_equal(koi_turns_place(&t, 3), KOI_NOBODY);
  koi_turns_miss(&t, arrivals[1].slot);
  assert_true(koi_turns_next(&t, arrivals + 1, &n));
  assert_int_equal(n, 0);
  assert_int_equal(t.n_now, 1);
  assert_int_equal(koi_turns_place(&t, 5), KOI_NOBODY);
  assert_int_not_equal(koi_turns_place(&t, arrivals[0].expert), KOI_NOBODY);
  koi_turns_begin(&t, ids, 2, 1);
  assert_true(koi_turns_next(&t, arrivals, &n));
  assert_int_equal(n, 1);
  assert_int_equal(arrivals[0].expert, 5);
  koi_turns_free(&t);
}

/* ---- hit rates ---- */
/* n_used experts of a token: by a power law, or near those of the token before, or the favourites change with time. */
typedef struct route { const char *name; double power, stay; int drift; } route;

static void make_route(const route *r, int32_t (*ids)[N_USED])
{
  double sum[N_EXPERTS], all = 0;
  for (int e = 0; e < N_EXPERTS; e++) sum[e] = all += pow(e + 1, -r->power);
  for (int n = 0; n < N_TOKENS; n++)
    for (int i = 0; i < N_USED; i++) {
      bool again;
      do {
        int e = 0;
        double at = uniform() * all;
        while (sum[e] < at) e++;
        ids[n][i] = n && uniform() < r->stay ? ids[n - 1][(int)(uniform() * N_USED)] : (e * 37 + (r->drift ? n / r->drift * 11 : 0)) % N_EXPERTS;
        again = false;
        for (int j = 0; j < i; j++) again |= ids[n][j] == ids[n][i];
      } while (again);
    }
}

typedef struct trace { const int32_t *ids; /* [n_tokens][n_used] */ int n_tokens, n_used, n_experts; } trace;

static double our_rate(const trace *r, uint32_t n_slots)
{
  koi_turns t;
  koi_arrival *arrivals = calloc(n_slots, sizeof *arrivals);
  size_t n, loaded = 0;
  assert_int_equal(koi_turns_make(n_slots, (uint32_t)r->n_experts, NULL, &t), KOINE_OK);
  for (int k = 0; k < r->n_tokens; k++) {
    koi_turns_begin(&t, r->ids + k * r->n_used, (size_t)r->n_used, 1);
    while (koi_turns_next(&t, arrivals, &n)) loaded += n;
  }
  koi_turns_free(&t);
  free(arrivals);
  return 1 - (double)loaded / (r->n_tokens * r->n_used);
}

static double least_recent_rate(const trace *r, int n_slots)
{
  int when[N_EXPERTS], n_there = 0, loaded = 0;
  for (int e = 0; e < r->n_experts; e++) when[e] = -1;
  for (int k = 0; k < r->n_tokens * r->n_used; k++) {
    int e = r->ids[k], oldest = -1;
    if (when[e] < 0) {
      loaded++;
      for (int o = 0; o < r->n_experts && n_there == n_slots; o++)
        if (when[o] >= 0 && (oldest < 0 || when[o] < when[oldest])) oldest = o;
      if (oldest >= 0) when[oldest] = -1;
      else n_there++;
    }
    when[e] = k;
  }
  return 1 - (double)loaded / (r->n_tokens * r->n_used);
}

static const int percent[] = {10, 25, 50};

static void test_rates(void **unused)
{
  (void)unused;
  static const route routes[] = {{"even", 0, 0, 0}, {"skewed", 0.7, 0, 0}, {"skewed more", 1.1, 0, 0}, {"skewed, near the last token's", 0.7, 0.4, 0}, {"skewed, drifting", 0.9, 0.2, 600}};
  static int32_t ids[N_TOKENS][N_USED];
  for (size_t r = 0; r < KOI_COUNT(routes); r++) {
    state = 11 + r;
    make_route(&routes[r], ids);
    for (size_t p = 0; p < KOI_COUNT(percent); p++) {
      int n_slots = N_EXPERTS * percent[p] / 100;
      const trace all = {ids[0], N_TOKENS, N_USED, N_EXPERTS};
      double ours = our_rate(&all, (uint32_t)n_slots), other = least_recent_rate(&all, n_slots);
      printf("%-30s %2d %% there: %.3f found, %.3f by least recently wanted\n", routes[r].name, percent[p], ours, other);
      if (ours < other - 0.005) fail_msg("%s, %d %%: %.3f of the experts were there, but %.3f if the least recently wanted goes", routes[r].name, percent[p], ours, other);
    }
  }
}

/* A text as a model routed it (tests/bench/record_routes): the mean over the layers. */
static void test_recorded(void **unused)
{
  (void)unused;
  char path[4096];
  unsigned n_layers, n_experts, n_used, n_tokens, id;
  snprintf(path, sizeof path, "%s/tests/data/routes/austen.txt", getenv("srcdir") ? getenv("srcdir") : ".");
  FILE *f = fopen(path, "r");
  if (!f) fail_msg("%s: cannot be read", path);
  assert_int_equal(fscanf(f, "%u %u %u %u", &n_layers, &n_experts, &n_used, &n_tokens), 4);
  assert_true(n_experts && n_experts <= N_EXPERTS && n_layers && n_used && n_tokens > 1000);
  size_t each = (size_t)n_tokens * n_used;
  int32_t *ids = calloc(n_layers * each, sizeof *ids);
  for (size_t t = 0; t < n_tokens; t++)
    for (size_t i = 0; i < (size_t)n_layers * n_used; i++) {
      assert_true(fscanf(f, "%2x", &id) == 1 && id < n_experts);
      ids[i / n_used * each + t * n_used + i % n_used] = (int32_t)id;
    }
  fclose(f);
  for (size_t p = 0; p < KOI_COUNT(percent); p++) {
    double ours = 0, other = 0;
    int n_slots = (int)n_experts * percent[p] / 100;
    for (unsigned l = 0; l < n_layers; l++) {
      const trace one = {ids + l * each, (int)n_tokens, (int)n_used, (int)n_experts};
      ours += our_rate(&one, (uint32_t)n_slots) / n_layers, other += least_recent_rate(&one, n_slots) / n_layers;
    }
    printf("%-30s %2d %% there: %.3f found, %.3f by least recently wanted\n", "recorded from models/austen", percent[p], ours, other);
    if (ours < other) fail_msg("recorded, %d %%: %.3f of the experts were there, but %.3f if the least recently wanted goes", percent[p], ours, other);
  }
  free(ids);
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_turns), cmocka_unit_test(test_miss), cmocka_unit_test(test_rates), cmocka_unit_test(test_recorded)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
