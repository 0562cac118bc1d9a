/* See stay.h. Owns nothing. */
#include "stay.h"
#include <stdlib.h>

enum { MEAN_OF = 16 /* measurements that a running mean goes back */ };

/* The first tells little: whatever it touched was cold. */
static void take_in(koi_pace *p, size_t n, uint64_t ns)
{
  if (!n) return;
  double one = (double)ns / (double)n;
  p->ns = p->n < 2 ? one : p->ns + (one - p->ns) / (p->n < MEAN_OF ? p->n : MEAN_OF);
  p->since = 0;
  if (p->n < MEAN_OF) p->n++;
}

void koi_stay_stayed(koi_stay *c, size_t n_entries, uint64_t ns) { take_in(&c->stay, n_entries, ns); }
void koi_stay_loaded(koi_stay *c, size_t n, uint64_t ns) { take_in(&c->load, n, ns); }

/* Another choice, whether it is to be tried; what was not measured for long is known no more. */
static bool unknown(koi_pace *p)
{
  if (p->since++ >= KOI_STAY_RETRY) *p = (koi_pace){0};
  return p->n < KOI_STAY_TRIES;
}

/* Whose entries are few, and who is wanted least of late. */
static int before(const void *a, const void *b)
{
  const koi_absent *x = a, *y = b;
  if (x->n_entries != y->n_entries) return x->n_entries < y->n_entries ? -1 : 1;
  if (x->heat != y->heat) return x->heat < y->heat ? -1 : 1;
  return x->expert < y->expert ? -1 : x->expert > y->expert;
}

/* Both go on at once, so that the longer one is what a choice takes; of two that take as long, the one that leaves more experts there. */
static size_t quickest(const koi_stay *c, const koi_absent *v, size_t n)
{
  size_t best = 0;
  double least = c->load.ns * (double)n, stay = 0;
  for (size_t k = 1; k <= n; k++) {
    stay += c->stay.ns * v[k - 1].n_entries;
    double load = c->load.ns * (double)(n - k), longer = stay > load ? stay : load;
    if (longer < least) least = longer, best = k;
  }
  return best;
}

/* Where it is quickest that all stay, nobody would ever come. The hottest does once what it cost of late to compute it elsewhere makes up for a load, if it is
 * hotter than whom it displaces. */
static bool earned(const koi_stay *c, koi_absent *v, size_t n, float coldest)
{
  size_t hottest = 0;
  for (size_t i = 1; i < n; i++)
    if (v[i].heat > v[hottest].heat) hottest = i;
  if (!(v[hottest].heat > coldest) || v[hottest].heat * c->stay.ns < c->load.ns) return false;
  koi_absent one = v[hottest];
  v[hottest] = v[n - 1], v[n - 1] = one;
  return true;
}

size_t koi_stay_choose(koi_stay *c, koi_absent *v, size_t n, float coldest)
{
  if (!n) return 0;
  qsort(v, n, sizeof *v, before);
  bool try_stay = unknown(&c->stay), try_load = unknown(&c->load);
  if (try_stay || try_load) return c->stay.n < c->load.n ? n - n / 2 : n / 2;
  size_t k = quickest(c, v, n);
  return k == n && earned(c, v, n, coldest) ? n - 1 : k;
}
