/* The table of what compilers made of the kernels, as tests/data/portability.txt keeps it: a line a compiler's release, a line a kernel on a chip.
 * Owns rows. Invariant: one row for a target, op and constants, in the order in which they were put. */
#include <stdlib.h>
#include <string.h>
#include "compile.h"

static const char version_mark[] = "compiler";
/* The columns of a row behind its texts, in this order. */
#define COLUMNS(X) X(registers) X(scalars) X(spilled) X(stack) X(calls) X(local) X(waves) X(code) X(matrix)

static size_t target_index(const char *name)
{
  size_t i = 0;
  while (i < n_targets && strcmp(targets[i].name, name)) i++;
  return i;
}

/* The next word of a line whose words stand between tabs. */
static const char *word(char **at)
{
  char *w = *at ? *at : "";
  if (*at && (*at = strchr(w, '\t'))) *(*at)++ = 0;
  return w;
}

static void read_row(table *t, char *line)
{
  row r;
  memset(&r, 0, sizeof r);
  char *at = line;
  snprintf(r.target, sizeof r.target, "%s", word(&at));
  if (!strcmp(r.target, version_mark)) {
    size_t i = target_index(word(&at));
    if (i < n_targets) snprintf(t->versions[i], sizeof *t->versions, "%s", word(&at));
    return;
  }
  snprintf(r.op, sizeof r.op, "%s", word(&at));
  snprintf(r.consts, sizeof r.consts, "%s", word(&at));
  snprintf(r.params, sizeof r.params, "%s", word(&at));
#define READ(column) r.u.column = strtol(word(&at), NULL, 10);
  COLUMNS(READ)
  r.u.per_weight = strtod(word(&at), NULL), r.u.cycles = strtod(word(&at), NULL);
  table_put(t, &r);
}

bool table_read(table *t, const char *path)
{
  char *text = NULL, *save;
  size_t n;
  *t = (table){.versions = koi_alloc(n_targets, sizeof *t->versions)};
  if (koi_file_read(path, 64 << 20, &text, &n)) return false;
  for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
    if (*line != '#') read_row(t, line);
  koi_free(text);
  return true;
}

bool table_write(const table *t, const char *path)
{
  FILE *f = fopen(path, "wb");
  if (!f) return false;
  fprintf(f, "# Made by `make portability`: what compilers make of every kernel. Columns: target, op, constants, parameters");
#define NAME(column) fprintf(f, ", " #column);
  COLUMNS(NAME)
  fprintf(f, ", per_weight, cycles; -1: not said.\n");
  for (size_t i = 0; i < n_targets; i++)
    if (t->versions[i][0]) fprintf(f, "%s\t%s\t%s\n", version_mark, targets[i].name, t->versions[i]);
  for (size_t k = 0; k < n_targets; k++)
    for (size_t i = 0; i < t->n; i++) {
      const row *r = &t->rows[i];
      if (strcmp(r->target, targets[k].name)) continue;
      fprintf(f, "%s\t%s\t%s\t%s", r->target, r->op, r->consts, r->params);
#define WRITE(column) fprintf(f, "\t%ld", r->u.column);
      COLUMNS(WRITE)
      fprintf(f, "\t%.2f\t%.2f\n", r->u.per_weight, r->u.cycles);
    }
  return !fclose(f);
}

const row *table_find(const table *t, const char *target, const char *op, const char *consts)
{
  for (size_t i = 0; i < t->n; i++)
    if (!strcmp(t->rows[i].op, op) && !strcmp(t->rows[i].target, target) && !strcmp(t->rows[i].consts, consts)) return &t->rows[i];
  return NULL;
}

void table_put(table *t, const row *r)
{
  row *there = (row *)table_find(t, r->target, r->op, r->consts);
  if (!there) {
    if (!(t->n & (t->n - 1))) t->rows = koi_realloc(t->rows, t->n ? 2 * t->n : 1, sizeof *t->rows);
    there = &t->rows[t->n++];
  }
  *there = *r;
}

void table_free(table *t)
{
  koi_free(t->rows);
  koi_free(t->versions);
}

/* ---- comparing --------------------------------------------------------------------------------------------------------- */
/* Scheduling moves a few registers and instructions about; more is another kernel. */
static bool far(double was, double is, double room)
{
  double most = was * 0.1 > room ? was * 0.1 : room;
  return is > was + most || is < was - most;
}

void table_compare(const row *was, const row *is, char *out)
{
  const struct { const char *what; double was, is, room; } all[] = {
    {"registers", (double)was->u.registers, (double)is->u.registers, 8}, {"bytes of local memory", (double)was->u.local, (double)is->u.local, 0},
    {"waves", (double)was->u.waves, (double)is->u.waves, 2}, {"bytes of code", (double)was->u.code, (double)is->u.code, 256},
    {"matrix instructions", (double)was->u.matrix, (double)is->u.matrix, 0}, {"instructions a weight", was->u.per_weight, is->u.per_weight, 0.3},
    {"cycles a weight", was->u.cycles, is->u.cycles, 1}};
  size_t n = 0;
  out[0] = 0;
  if (strcmp(was->params, is->params)) n += (size_t)snprintf(out, COMPILE_TEXT, "parameters %.80s, recorded %.80s", is->params, was->params);
  for (size_t i = 0; i < KOI_COUNT(all); i++)
    if (far(all[i].was, all[i].is, all[i].room) && n < COMPILE_TEXT)
      n += (size_t)snprintf(out + n, COMPILE_TEXT - n, "%s%.4g %s, recorded %.4g", n ? "; " : "", all[i].is, all[i].what, all[i].was);
}
