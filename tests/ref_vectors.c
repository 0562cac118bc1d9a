/* See ref_vectors.h. */
#include "ref_vectors.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int n_checks, n_failed;
koi_weights *vectors;
char used[MAX_USED][64];
size_t n_used;

void check(int ok, const char *what, size_t i, double got, double want)
{
  n_checks++;
  if (ok || n_failed++ > 20) return;
  printf("FAIL %s[%zu]: got %.9g, expected %.9g\n", what, i, got, want);
}

void *entry(const char *name, size_t *n)
{
  const koi_tensor *t = koi_weights_find(vectors, name);
  if (!t) {
    printf("FAIL no entry %s\n", name);
    exit(1);
  }
  snprintf(used[n_used++ % MAX_USED], sizeof used[0], "%s", name);
  void *p = malloc(t->bytes);
  memcpy(p, t->data, t->bytes);
  if (n) *n = t->bytes / 4;
  return p;
}

float *floats(const char *name, size_t *n) { return entry(name, n); }

int same(float a, float b) { return (a != a && b != b) || a == b; }

void compare(const char *what, const float *got, const float *want, size_t n, double relative)
{
  for (size_t i = 0; i < n; i++) check(same(got[i], want[i]) || fabs(got[i] - want[i]) <= relative * fabs(want[i]), what, i, got[i], want[i]);
}
