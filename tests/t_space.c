/* The search on recorded spaces (tests/data/spaces, made by bench_space): how much of the best there is it has found after 10 and 50 evaluations,
 * with the seeds of other devices and without, medians over 30 beginnings. Needs no device. */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "space.h"
#include "tune/search.h"
#include "tune/seeds.h"

enum { BEGINNINGS = 30, FEW = 10, MANY = 50 };
static int n_checks, n_failed;
#define CHECK(x, s) ((void)(n_checks++, (x) ? 0 : (printf("FAIL %s:%d: %s: %s on %s\n", __FILE__, __LINE__, #x, (s)->op->name, (s)->device), n_failed++)))

static double cost(const space *s, const int32_t *p)
{
  const space_point *v = space_find(s, p);
  return v ? v->us : INFINITY;
}

/* What share of the best possible speed is reached after `few` and `many` evaluations, the default counted. */
static void run(const space *s, koi_search_mode mode, bool seeds, uint64_t beginning, double *few, double *many)
{
  koi_search x;
  int32_t p[KOI_MAX_PARAMS] = {0};
  size_t seed = 0;
  double best = space_best(s);
  if (koi_choose(&s->t, s->op, s->c, s->bucket, p, NULL) || koi_search_open(&x, &s->t, s->op, s->c, p, cost(s, p))) exit(1);
  x.mode = mode, x.seed = 0x9e3779b97f4a7c15u * (beginning + 1) | 1;
  while (x.n < MANY) {
    bool more = seeds && koi_seed(&s->t, s->op, s->c, s->bucket, seed++, p);
    if (more && !koi_search_is_new(&x, p)) continue;
    if (!more && (seeds = false, !koi_search_next(&x, p))) break;
    if (koi_search_tell(&x, p, cost(s, p))) exit(1);
    if (x.n == FEW) *few = best / koi_search_best(&x)->cost;
  }
  *many = best / koi_search_best(&x)->cost;
  koi_search_close(&x);
}

static int ascending(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void medians(const space *s, koi_search_mode mode, bool seeds, double *few, double *many)
{
  double a[BEGINNINGS], b[BEGINNINGS];
  for (int i = 0; i < BEGINNINGS; i++) run(s, mode, seeds, (uint64_t)i, &a[i], &b[i]);
  qsort(a, BEGINNINGS, sizeof *a, ascending);
  qsort(b, BEGINNINGS, sizeof *b, ascending);
  *few = (a[BEGINNINGS / 2 - 1] + a[BEGINNINGS / 2]) / 2, *many = (b[BEGINNINGS / 2 - 1] + b[BEGINNINGS / 2]) / 2;
}

static void test(const space *s)
{
  double few[4], many[4];
  medians(s, KOI_SEARCH_LOCAL, true, &few[0], &many[0]);
  medians(s, KOI_SEARCH_LOCAL, false, &few[1], &many[1]);
  medians(s, KOI_SEARCH_RANDOM, false, &few[2], &many[2]);
  medians(s, KOI_SEARCH_EXHAUSTIVE, false, &few[3], &many[3]);
  printf("%-8s %4zu sets, %-60.60s seeds %.3f %.3f, none %.3f %.3f, random %.3f %.3f, in order %.3f %.3f\n", s->op->name, s->n, s->device, few[0], many[0], few[1], many[1],
         few[2], many[2], few[3], many[3]);
  CHECK(few[0] >= 0.95, s);
  CHECK(many[0] >= 0.98, s);
  CHECK(many[1] >= 0.90, s);
}

/* One after the other, or by chance: every set is met once, and so is the best. */
static void test_all_of_it(const space *s, koi_search_mode mode)
{
  koi_search x;
  int32_t p[KOI_MAX_PARAMS] = {0};
  if (koi_choose(&s->t, s->op, s->c, s->bucket, p, NULL) || koi_search_open(&x, &s->t, s->op, s->c, p, cost(s, p))) exit(1);
  bool listed = space_find(s, p) != NULL;
  x.mode = mode;
  while (koi_search_next(&x, p))
    if (koi_search_tell(&x, p, cost(s, p))) exit(1);
  CHECK(x.n == s->n + !listed, s);
  CHECK(koi_search_best(&x)->cost <= space_best(s), s);
  koi_search_close(&x);
}

int main(void)
{
  const char *top = getenv("srcdir");
  char folder[1024], path[2048];
  size_t n = 0;
  snprintf(folder, sizeof folder, "%s/tests/data/spaces", top ? top : ".");
  DIR *dir = opendir(folder);
  for (struct dirent *e; dir && (e = readdir(dir));) {
    space s;
    if (!strstr(e->d_name, ".txt")) continue;
    snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
    if (!space_read(path, &s)) {
      printf("FAIL %s: not a space of an op as it is now: record it anew (tests/bench/bench_space)\n", path);
      n_failed++;
      continue;
    }
    test(&s);
    for (int mode = 0; mode < KOI_SEARCH_N_MODES; mode++) test_all_of_it(&s, (koi_search_mode)mode);
    space_free(&s);
    n++;
  }
  if (dir) closedir(dir);
  if (!n) printf("FAIL %s: no space is recorded\n", folder), n_failed++;
  printf("t_space: %zu spaces, %d checks, %d failed\n", n, n_checks, n_failed);
  return n_failed != 0;
}
