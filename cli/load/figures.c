/* Owns: numbers of a level from its results. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "load.h"

double load_now_s(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *pa, const void *pb)
{
  double a = *(const double *)pa, b = *(const double *)pb;
  return (a > b) - (a < b);
}

/* The smallest value that at least the share q is not above. */
static double rank(const double *v, size_t n, double q)
{
  size_t k = (size_t)ceil(q * (double)n);
  return v[k ? k - 1 : 0];
}

load_spread load_spread_of(double *v, size_t n)
{
  if (!n) return (load_spread){NAN, NAN, NAN};
  qsort(v, n, sizeof *v, by_value);
  return (load_spread){rank(v, n, 0.5), rank(v, n, 0.9), rank(v, n, 0.99)};
}

static void count_failure(load_level *l, const load_result *r)
{
  size_t k = 0;
  l->n_failed++;
  while (k < l->n_failures && strcmp(l->failure[k].kind, r->kind)) k++;
  if (k == LOAD_KINDS) k = LOAD_KINDS - 1, snprintf(l->failure[k].kind, LOAD_KIND, "others");
  else if (k == l->n_failures) {
    l->n_failures++;
    memcpy(l->failure[k].kind, r->kind, sizeof r->kind);
    memcpy(l->failure[k].message, r->message, sizeof r->message);
  }
  l->failure[k].n++;
}

/* Rates and times of the good ones: v has room for all of their gaps. */
static void measure(load_level *l, const load_result *results, size_t n, double *v)
{
  size_t k = 0;
  for (size_t i = 0; i < n; i++)
    if (!results[i].kind[0]) v[k++] = results[i].first_s - results[i].begun_s;
  l->first_s = load_spread_of(v, k);
  k = 0;
  for (size_t i = 0; i < n; i++) {
    const load_result *r = &results[i];
    if (!r->kind[0] && r->n_new > 1 && r->last_s > r->first_s) v[k++] = (double)(r->n_new - 1) / (r->last_s - r->first_s);
  }
  l->stream_tokens_s = load_spread_of(v, k).p50;
  k = 0;
  for (size_t i = 0; i < n; i++) {
    const load_result *r = &results[i];
    if (r->kind[0] || !r->n_gaps) continue;
    memcpy(v + k, r->gap_s, r->n_gaps * sizeof *v);
    k += r->n_gaps;
  }
  l->between_s = load_spread_of(v, k);
}

bool load_level_of(load_level *l, const load_result *results, size_t n, double seconds)
{
  size_t room = n + 1;
  for (size_t i = 0; i < n; i++) room += results[i].n_gaps;
  double *v = malloc(room * sizeof *v);
  if (!v) return false;
  l->n_requests = n;
  l->seconds = seconds;
  for (size_t i = 0; i < n; i++) {
    const load_result *r = &results[i];
    if (r->kind[0]) count_failure(l, r);
    else l->n_prompt += r->n_prompt, l->n_cached += r->n_cached, l->n_new += r->n_new;
  }
  l->tokens_s = seconds > 0 && l->n_failed < n ? (double)l->n_new / seconds : NAN;
  measure(l, results, n, v);
  free(v);
  return true;
}
