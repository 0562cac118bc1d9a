/* See space.h. A file: a line of names and numbers, then for each point in the descriptor's order its time in nanoseconds, 0 for none. */
#include "space.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 20000 };

/* Set number n, of all combinations of values; false: there are no more. */
static bool combination(const koi_op *op, size_t n, int32_t *p)
{
  for (size_t i = 0; i < koi_op_n_params(op); i++) {
    const koi_param *q = &op->params[i];
    p[i] = q->values[n % q->n_values];
    n /= q->n_values;
  }
  return n == 0;
}

bool space_list(space *s)
{
  int32_t p[KOI_MAX_PARAMS] = {0};
  s->v = calloc(MOST, sizeof *s->v);
  s->n = 0;
  for (size_t n = 0; s->v && s->n < MOST && combination(s->op, n, p); n++)
    if (koi_legal(&s->t, s->op, s->c, p)) memcpy(s->v[s->n++].p, p, sizeof p);
  return s->v && s->n < MOST;
}

space_point *space_find(const space *s, const int32_t *p)
{
  for (size_t i = 0; i < s->n; i++)
    if (!memcmp(s->v[i].p, p, koi_op_n_params(s->op) * sizeof *p)) return &s->v[i];
  return NULL;
}

double space_best(const space *s)
{
  double best = INFINITY;
  for (size_t i = 0; i < s->n; i++) best = fmin(best, s->v[i].us);
  return best;
}

void space_free(space *s)
{
  free(s->v);
  *s = (space){0};
}

bool space_write(const char *path, const space *s)
{
  FILE *f = fopen(path, "w");
  if (!f) return false;
  const koi_target *t = &s->t;
  fprintf(f, "%s bucket %d target %u %u %u %" PRIu64 " %u %d %d consts", s->op->name, (int)s->bucket, t->vector_width, t->lanes, t->max_group, t->local_bytes, t->n_units,
          t->local_is_global, t->denormals);
  for (size_t i = 0; i < koi_op_n_consts(s->op); i++) fprintf(f, " %d", (int)s->c[i]);
  fprintf(f, " device %s\n", s->device);
  for (size_t i = 0; i < s->n; i++) fprintf(f, "%.0f%c", s->v[i].us < INFINITY ? 1e3 * s->v[i].us : 0, i % 16 == 15 || i + 1 == s->n ? '\n' : ' ');
  return fclose(f) == 0;
}

static bool read_head(FILE *f, space *s)
{
  char name[64];
  koi_target *t = &s->t;
  const koi_op *const *op = koi_ops;
  if (fscanf(f, "%63s bucket %d target %u %u %u %" SCNu64 " %u %d %d consts", name, &s->bucket, &t->vector_width, &t->lanes, &t->max_group, &t->local_bytes, &t->n_units,
             &t->local_is_global, &t->denormals) != 9)
    return false;
  while (*op && strcmp((*op)->name, name)) op++;
  if (!*op) return false;
  s->op = *op;
  for (size_t i = 0; i < koi_op_n_consts(s->op); i++)
    if (fscanf(f, "%d", &s->c[i]) != 1) return false;
  return fscanf(f, " device %399[^\n]", s->device) == 1;
}

bool space_read(const char *path, space *out)
{
  FILE *f = fopen(path, "r");
  *out = (space){0};
  bool ok = f && read_head(f, out) && space_list(out);
  for (size_t i = 0; ok && i < out->n; i++) {
    long ns;
    ok = fscanf(f, "%ld", &ns) == 1;
    out->v[i].us = ns > 0 ? (double)ns * 1e-3 : INFINITY;
  }
  long more;
  ok = ok && fscanf(f, "%ld", &more) == EOF; /* as many as are legal: else the op has other parameters by now */
  if (f) fclose(f);
  return ok;
}
