/* See near.h. */
#include "near.h"
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

typedef struct bound { double at, most; } bound;
static const bound bounds[2][3] = {{{0.5, 5e-4}, {0.9, 3e-3}, {0.97, 2e-2}}, {{0.5, 1e-6}, {0.9, 3e-6}, {1, 1e-5}}};
enum { MAX_FAR = 1 << 16 };
static double far[2][MAX_FAR];
static size_t n_far[2];
static pthread_mutex_t far_lock = PTHREAD_MUTEX_INITIALIZER;

double near_range(const float *x, size_t n)
{
  float low = INFINITY, high = -INFINITY;
  for (size_t i = 0; i < n; i++) low = fminf(low, x[i]), high = fmaxf(high, x[i]);
  return (double)high - low;
}

double near_add(bool exact, const float *got, const float *want, size_t n, double range)
{
  double most = 0;
  for (size_t v = 0; v < n; v++) {
    double d = fabs((double)got[v] - want[v]) / range;
    if (!(d <= most)) most = isnan(d) ? INFINITY : d;
  }
  pthread_mutex_lock(&far_lock);
  if (n_far[exact] < MAX_FAR) far[exact][n_far[exact]++] = most;
  pthread_mutex_unlock(&far_lock);
  return most;
}

static int ascending(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

void near_assert(const char *what)
{
  for (int exact = 0; exact < 2; exact++) {
    double *d = far[exact];
    size_t n = n_far[exact];
    if (!n) continue;
    qsort(d, n, sizeof *d, ascending);
    print_message("%s, %s: %zu comparisons, off by 50%% %.1e 90%% %.1e 97%% %.1e 100%% %.1e\n", what, exact ? "exact" : "packed", n, d[(n - 1) / 2],
                  d[(size_t)((double)(n - 1) * 0.9)], d[(size_t)((double)(n - 1) * 0.97)], d[n - 1]);
    for (size_t i = 0; i < 3; i++) assert_true(d[(size_t)((double)(n - 1) * bounds[exact][i].at)] <= bounds[exact][i].most);
    n_far[exact] = 0;
  }
}
