/* See worth.h. Owns nothing. */
#include "worth.h"
#include <stdlib.h>

enum { MARGIN = 50 /* it changes for what is quicker by one part in so many */ };

static bool comparing(const koi_worth *w) { return w->n < 2 * KOI_WORTH_TRIES; }

bool koi_worth_next(const koi_worth *w) { return comparing(w) ? w->n % 2 == 0 : !w->no; }

static int ascending(const void *a, const void *b)
{
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

bool koi_worth_took(koi_worth *w, uint64_t ns)
{
  if (comparing(w)) w->took[koi_worth_next(w)][w->n / 2] = ns;
  bool now = ++w->n == 2 * KOI_WORTH_TRIES;
  for (int with = 0; with < 2 && now; with++) {
    qsort(w->took[with], KOI_WORTH_TRIES, sizeof *w->took[with], ascending);
    w->usual[with] = w->took[with][KOI_WORTH_TRIES / 2];
  }
  if (now) w->no = w->no ? w->usual[1] + w->usual[1] / MARGIN >= w->usual[0] : w->usual[1] > w->usual[0] + w->usual[0] / MARGIN;
  if (w->n >= KOI_WORTH_PERIOD) w->n = 0;
  return now;
}
