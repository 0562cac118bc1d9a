/* The table as a page to read: docs/portability.md, and the same as HTML. Owns the choice of what is shown. */
#include <stdlib.h>
#include <string.h>
#include "compile.h"

typedef struct page { FILE *f; bool html; } page;

static void heading(const page *p, int level, const char *text)
{
  if (p->html) fprintf(p->f, "<h%d>%s</h%d>\n", level, text, level);
  else fprintf(p->f, "%.*s %s\n\n", level, "##", text);
}

static void paragraph(const page *p, const char *text) { fprintf(p->f, p->html ? "<p>%s</p>\n" : "%s\n\n", text); }
static void cell(const page *p, const char *text) { fprintf(p->f, p->html ? "<td>%s" : "| %s ", text); }
static void row_end(const page *p) { fputs(p->html ? "\n" : "|\n", p->f); }
static void row_begin(const page *p) { fputs(p->html ? "<tr>" : "", p->f); }
static void table_end(const page *p) { fputs(p->html ? "</table>\n" : "\n", p->f); }

/* names: between bars. */
static void table_begin(const page *p, const char *names)
{
  size_t n = 0;
  char all[2000], *save;
  snprintf(all, sizeof all, "%s", names);
  fputs(p->html ? "<table><tr>" : "", p->f);
  for (char *w = strtok_r(all, "|", &save); w; w = strtok_r(NULL, "|", &save), n++) fprintf(p->f, p->html ? "<th>%s" : "| %s ", w);
  row_end(p);
  for (size_t i = 0; i < n && !p->html; i++) fputs("|---", p->f);
  if (!p->html) row_end(p);
}

static void number(const page *p, const char *format, double v)
{
  char text[64];
  snprintf(text, sizeof text, format, v);
  cell(p, v < 0 ? "" : text);
}

/* ---- a target in one line ---- */
static bool of(const table *t, size_t i, const target *on) { return !strcmp(t->rows[i].target, on->name); }

static void summary(const page *p, const table *t, const target *on, size_t at)
{
  long n = 0, registers = 0, waves = 1000, local = 0, matrix = 0, spilled = 0;
  for (size_t i = 0; i < t->n; i++) {
    const usage *u = &t->rows[i].u;
    if (!of(t, i, on)) continue;
    n++, spilled += u->spilled > 0, matrix += u->matrix > 0;
    if (u->registers > registers) registers = u->registers;
    if (u->waves >= 0 && u->waves < waves) waves = u->waves;
    if (u->local > local) local = u->local;
  }
  row_begin(p);
  cell(p, on->name);
  cell(p, on->by->name);
  cell(p, t->versions[at][0] ? t->versions[at] : "not recorded");
  number(p, "%.0f", (double)n), number(p, "%.0f", (double)spilled), number(p, "%.0f", n ? (double)registers : -1), number(p, "%.0f", waves < 1000 ? (double)waves : -1);
  number(p, "%.0f", n ? (double)local : -1), number(p, "%.0f", n ? (double)matrix : -1);
  row_end(p);
}

/* ---- decode: instructions a weight, and what a card could read at most ---- */
static const struct { int wt; const char *name; double bytes; } formats[] = {
  {KOI_WT_FP4, "FP4", 0.5 + 1.0 / 32}, {KOI_WT_MXFP4, "MXFP4", 0.5 + 1.0 / 32}, {KOI_WT_FP8, "FP8", 1 + 1.0 / 128}, {KOI_WT_BF16, "BF16", 2}, {KOI_WT_F16, "F16", 2},
  {KOI_WT_F32, "F32", 4}};

/* Percent of the card's bandwidth at which its lanes are busy all the time. */
static double share(const target *on, double per_weight, double bytes)
{
  double gb_s = on->lanes_ghz / per_weight * bytes;
  return gb_s < on->gb_s ? 100 * gb_s / on->gb_s : 100;
}

static void decode_row(const page *p, const target *on, const row *r)
{
  int wt = -1;
  size_t k = 0;
  if (sscanf(r->consts, "WT=%d", &wt) != 1) return;
  while (k < KOI_COUNT(formats) && formats[k].wt != wt) k++;
  if (k == KOI_COUNT(formats)) return;
  row_begin(p);
  cell(p, on->name), cell(p, formats[k].name), cell(p, r->consts), cell(p, r->params);
  number(p, "%.1f", r->u.per_weight), number(p, "%.1f", r->u.cycles);
  cell(p, on->card ? on->card : "");
  number(p, "%.0f %%", on->card ? share(on, r->u.per_weight, formats[k].bytes) : -1);
  row_end(p);
}

static void decode(const page *p, const table *t, const target *on)
{
  for (size_t i = 0; i < t->n; i++)
    if (of(t, i, on) && !strcmp(t->rows[i].op, "matvec") && t->rows[i].u.per_weight > 0) decode_row(p, on, &t->rows[i]);
}

/* ---- every kernel ---- */
static bool first_of(const table *t, size_t i)
{
  for (size_t j = 0; j < i; j++)
    if (!strcmp(t->rows[j].op, t->rows[i].op) && !strcmp(t->rows[j].consts, t->rows[i].consts)) return false;
  return true;
}

static void kernel(const page *p, const table *t, const row *like)
{
  row_begin(p);
  cell(p, like->op), cell(p, like->consts);
  for (size_t k = 0; k < n_targets; k++) {
    const row *r = table_find(t, targets[k].name, like->op, like->consts);
    char text[64] = "";
    if (r && r->u.waves >= 0) snprintf(text, sizeof text, "%ld/%ld", r->u.registers, r->u.waves);
    else if (r) snprintf(text, sizeof text, "%ld B", r->u.code);
    cell(p, text);
  }
  row_end(p);
}

static void kernels(const page *p, const table *t)
{
  char names[2000] = "kernel|constants";
  for (size_t k = 0; k < n_targets; k++) snprintf(names + strlen(names), sizeof names - strlen(names), "|%s", targets[k].name);
  table_begin(p, names);
  for (size_t i = 0; i < t->n; i++)
    if (first_of(t, i)) kernel(p, t, &t->rows[i]);
  table_end(p);
}

bool page_write(const table *t, const char *path, bool html)
{
  const page p = {fopen(path, "wb"), html};
  if (!p.f) return false;
  if (html) fputs("<!doctype html><meta charset=utf-8><title>Koine: what compilers make of the kernels</title>\n"
                  "<style>body{font:14px sans-serif}td,th{padding:1px 6px;text-align:left}tr:nth-child(odd){background:#8881}</style>\n", p.f);
  heading(&p, 1, "What compilers make of the kernels");
  paragraph(&p, "Written by `make portability`; `tests/t_compile` holds it to the kernels. Every kernel at its default parameters of each target, compiled to machine code. "
                "Nothing of this was run on a card: it says that a kernel compiles, spills nothing, and what it would need.");
  table_begin(&p, "target|compiler|release|kernels|that spill|most registers|fewest waves|most local bytes|with matrix units");
  for (size_t i = 0; i < n_targets; i++) summary(&p, t, &targets[i], i);
  table_end(&p);
  heading(&p, 2, "Decode: products with a vector");
  paragraph(&p, "In the innermost loop of `matvec` that reads weights: vector instructions of a lane for each weight that it loads (of NVIDIA's chips in PTX, without loads, moves "
                "and jumps); cycles of a wave for each weight of a lane, if it never waited, as `llvm-mca` estimates them; the share of the card's published bandwidth at which its lanes have no cycle left, at one "
                "instruction a cycle and the published clock.");
  table_begin(&p, "target|weights|constants|parameters|instructions|cycles|card|of its bandwidth");
  for (size_t i = 0; i < n_targets; i++) decode(&p, t, &targets[i]);
  table_end(&p);
  heading(&p, 2, "Every kernel");
  paragraph(&p, "Vector registers / waves side by side (on a SIMD unit of AMD's, on a multiprocessor of NVIDIA's); bytes of code for Intel's, whose compiler says neither.");
  kernels(&p, t);
  return !fclose(p.f);
}
