/* See golden.h. Bounds: those of the golden models' README. d[t] = max |logits - golden| / range of all golden logits. */
#include "golden.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct bound { double at, most; } bound; /* quantile, value */
static const bound exact_bounds[] = {{0.5, 3e-6}, {0.9, 1e-5}, {0.97, 1e-4}}, packed_bounds[] = {{0.5, 5e-4}, {0.9, 3e-3}, {0.97, 2e-2}};
enum { N_BOUNDS = 3 };

static int ascending(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

double golden_range(const float *v, size_t n)
{
  float low = v[0], high = v[0];
  for (size_t i = 0; i < n; i++) low = v[i] < low ? v[i] : low, high = v[i] > high ? v[i] : high;
  return high - low;
}

double *golden_distances(const float *a, const float *b, size_t n, size_t n_vocab, double r)
{
  double *d = calloc(n, sizeof *d);
  for (size_t t = 0; t < n; t++)
    for (size_t v = 0; v < n_vocab; v++) {
      double x = fabs((double)a[t * n_vocab + v] - b[t * n_vocab + v]) / r;
      if (!(x <= d[t])) d[t] = isnan(x) ? INFINITY : x;
    }
  qsort(d, n, sizeof *d, ascending);
  return d;
}

bool golden_within(const float *got, const float *want, size_t n, size_t n_vocab, bool exact, char *line, size_t room)
{
  const bound *b = exact ? exact_bounds : packed_bounds;
  double *d = golden_distances(got, want, n, n_vocab, golden_range(want, n * n_vocab));
  size_t at = 0;
  bool ok = true;
  for (int i = 0; i < N_BOUNDS; i++) {
    double x = d[(size_t)((double)(n - 1) * b[i].at)];
    ok &= x <= b[i].most;
    if (at < room) at += (size_t)snprintf(line + at, room - at, " %g%% %.1e (<= %.0e)", b[i].at * 100, x, b[i].most);
  }
  free(d);
  return ok;
}

/* ---- the file ---- */
static const void *entry(const koi_weights *w, const char *name, size_t *n)
{
  const koi_tensor *t = koi_weights_find(w, name);
  if (t && n) *n = t->shape[0];
  return t ? t->data : NULL;
}

koine_status golden_open(const char *folder, golden *out)
{
  char path[1024];
  snprintf(path, sizeof path, "%s/golden.safetensors", folder);
  *out = (golden){0};
  koine_status s = koi_safetensors_open_file(path, &out->file);
  if (s) return s;
  out->tokens = entry(out->file, "tokens", &out->n);
  out->logits[0] = entry(out->file, "logits_packed", NULL), out->logits[1] = entry(out->file, "logits_exact", NULL);
  return KOINE_OK;
}

void golden_close(golden *g) { koi_weights_close(g->file); }
