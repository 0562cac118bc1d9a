/* See contest_impl.h. Owns no memory but the kernels that it builds for its caller. Invariant: a sample holds launches only, one behind the
 * other, as a step has them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "contest_impl.h"

uint64_t koi_ring_now(const koi_ring *g) { return g->k->now ? g->k->now(g->k->user) : koi_now_ns(); }

static int ascending(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(const double *v, size_t n)
{
  double s[KOI_CONTEST_DUEL];
  memcpy(s, v, n * sizeof *s);
  qsort(s, n, sizeof *s, ascending);
  return n % 2 ? s[n / 2] : (s[n / 2 - 1] + s[n / 2]) / 2;
}

double koi_runner_median(const koi_runner *r) { return median(r->us, r->n); }

double koi_runner_spread(const koi_runner *r)
{
  double away[KOI_CONTEST_DUEL], m = koi_runner_median(r);
  for (size_t i = 0; i < r->n; i++) away[i] = fabs(r->us[i] - m);
  return median(away, r->n);
}

double koi_runner_lowest(const koi_runner *r)
{
  double low = r->us[0];
  for (size_t i = 1; i < r->n; i++) low = fmin(low, r->us[i]);
  return low;
}

/* n launches one behind the other; microseconds of one. */
static koine_status launch(koi_ring *g, const koi_runner *r, size_t n, double *us)
{
  const koi_contest *k = g->k;
  koine_status s = k->d->backend->finish(k->d);
  uint64_t start = koi_ring_now(g);
  for (size_t i = 0; i < n && !s; i++) s = koi_kern_launch(k->d, r->kernel, &k->args[g->turn++ % k->n_args]);
  if (!s) s = k->d->backend->finish(k->d);
  *us = (double)(koi_ring_now(g) - start) * 1e-3 / (double)n;
  return s;
}

koine_status koi_ring_warm(koi_ring *g, const koi_runner *r, double *us) { return launch(g, r, 1, us); }

koine_status koi_ring_sample(koi_ring *g, koi_runner *r)
{
  koine_status s = launch(g, r, g->n_launches, &r->us[r->n]);
  if (!s) r->n++;
  return s;
}

koine_status koi_ring_build(koi_ring *g, koi_runner *r)
{
  koine_status s = koi_kern_build(g->k->d, g->k->op, g->k->c, r->p, &r->kernel);
  if (!s && !koi_kern_fits(r->kernel)) s = koi_error(KOINE_ERR_DEVICE, "op %s: the compiled kernel allows smaller groups", g->k->op->name);
  return s;
}

void koi_ring_drop(koi_ring *g, koi_runner *r)
{
  g->k->d->backend->finish(g->k->d);
  koi_kern_drop(g->k->d, r->kernel);
  r->kernel = NULL;
}

koine_status koi_ring_rounds(koi_ring *g, koi_runner *a, koi_runner *b, size_t n)
{
  koine_status s = KOINE_OK;
  a->n = b->n = 0;
  for (size_t i = 0; i < n && !s; i++) {
    s = koi_ring_sample(g, i % 2 ? b : a);
    if (!s) s = koi_ring_sample(g, i % 2 ? a : b);
  }
  return s;
}

double koi_ring_pair_ns(const koi_ring *g, const koi_runner *r)
{
  double us = koi_runner_median(&g->first) + (r->n ? koi_runner_median(r) : 0);
  return us * 1e3 * (double)g->n_launches;
}
