/* The report: one page of HTML with its pictures as SVG, nothing from elsewhere. Owns nothing. Invariant: every number that is drawn is finite and lies within
 * its picture, and every text of an endpoint is escaped. */
#include <math.h>
#include <string.h>
#include "load.h"

enum { WIDTH = 860, HEIGHT = 300, LEFT = 70, RIGHT = 20, TOP = 32, BOTTOM = 44, MOST_COLOURS = 8 };

static void put_text(FILE *f, const char *s)
{
  for (; *s; s++) {
    const char *name = *s == '&' ? "&amp;" : *s == '<' ? "&lt;" : *s == '>' ? "&gt;" : *s == '"' ? "&quot;" : NULL;
    if (name) fputs(name, f);
    else fputc((unsigned char)*s < ' ' ? ' ' : *s, f);
  }
}

static const char head[] =
  "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
  "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/><title>koine load-test</title>\n<style>\n"
  ":root { color-scheme: light dark; --ground: #fff; --ink: #1a1a1a; --dim: #5a6070; --line: #ccd; --fill: #f4f5f8;\n"
  " --c0: #0a5aa6; --c1: #b8480a; --c2: #23733a; --c3: #8a2b8a; --c4: #7a6200; --c5: #00707a; --c6: #a3231b; --c7: #555 }\n"
  "@media (prefers-color-scheme: dark) { :root { --ground: #14161a; --ink: #e6e6e6; --dim: #a0a8b4; --line: #3a3f48; --fill: #1d2026;\n"
  " --c0: #6cb6ff; --c1: #ff9a5c; --c2: #7ad18f; --c3: #e08be0; --c4: #d8bd4a; --c5: #5cd0da; --c6: #ff8a80; --c7: #bbb } }\n"
  "body { background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }\n"
  "h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2.2rem } p { color: var(--dim); max-width: 46rem }\n"
  "table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .85rem }\n"
  "th, td { text-align: right; padding: .25rem .5rem; border-bottom: 1px solid var(--line); white-space: nowrap } th.t, td.t { text-align: left; white-space: normal }\n"
  ".scroll { overflow-x: auto } svg { width: 100%; height: auto; background: var(--fill); border-radius: 6px } svg text { fill: var(--ink); font: 12px system-ui, sans-serif }\n"
  ".grid { stroke: var(--line) } text.dim { fill: var(--dim) } .curve { fill: none; stroke-width: 2 } .whisker { stroke-width: 1.5 }\n"
  ".s0 { stroke: var(--c0); fill: var(--c0) } .s1 { stroke: var(--c1); fill: var(--c1) } .s2 { stroke: var(--c2); fill: var(--c2) } .s3 { stroke: var(--c3); fill: var(--c3) }\n"
  ".s4 { stroke: var(--c4); fill: var(--c4) } .s5 { stroke: var(--c5); fill: var(--c5) } .s6 { stroke: var(--c6); fill: var(--c6) } .s7 { stroke: var(--c7); fill: var(--c7) }\n"
  "svg text.name { stroke: none } polyline.curve { fill: none }\n</style></head>\n<body>\n<h1>koine load-test</h1>\n";

/* ---- pictures ---- */
typedef struct picture {
  const char *title, *what, *unit;
  size_t low, high; /* offsets of doubles in a level: what the line goes through, and the whisker's end; the same: none */
  double scale;
} picture;

static const picture pictures[] = {
  {"Tokens a second, all streams together", "More is better.", "tokens/s", offsetof(load_level, tokens_s), offsetof(load_level, tokens_s), 1},
  {"Tokens a second of a stream", "The median of the requests, from their first token on. More is better.", "tokens/s", offsetof(load_level, stream_tokens_s),
   offsetof(load_level, stream_tokens_s), 1},
  {"Time to the first token", "The median, and up to the 99th percentile. Less is better.", "ms", offsetof(load_level, first_s.p50), offsetof(load_level, first_s.p99), 1e3},
  {"Time between pieces", "The median, and up to the 99th percentile. Less is better.", "ms", offsetof(load_level, between_s.p50), offsetof(load_level, between_s.p99), 1e3},
};

static double value(const load_level *l, size_t offset, double scale) { return scale * *(const double *)((const char *)l + offset); }

/* A round number at or above v: 1, 2 or 5 times a power of ten. */
static double rounded(double v)
{
  double p = pow(10, floor(log10(v)));
  return v <= p ? p : v <= 2 * p ? 2 * p : v <= 5 * p ? 5 * p : 10 * p;
}

typedef struct frame { const load_options *o; const load_levels *l; const picture *p; int64_t context; double top; } frame;

static double y_of(const frame *f, double v) { return HEIGHT - BOTTOM - fmin(v / f->top, 1) * (HEIGHT - BOTTOM - TOP); }

/* Levels stand side by side in their order, each target a little beside the others. */
static double x_of(const frame *f, size_t stream, size_t target)
{
  double step = (double)(WIDTH - LEFT - RIGHT) / (double)f->o->n_streams, beside = fmin(step / (double)(f->o->n_targets + 1), 14);
  return LEFT + step * ((double)stream + 0.5) + beside * ((double)target - 0.5 * (double)(f->o->n_targets - 1));
}

static const load_level *level_at(const frame *f, size_t stream, size_t target)
{
  for (size_t i = 0; i < f->l->n; i++) {
    const load_level *l = &f->l->v[i];
    if (l->target == target && l->context == f->context && l->streams == f->o->streams[stream] && isfinite(value(l, f->p->low, 1))) return l;
  }
  return NULL;
}

static double top_of(const frame *f)
{
  double top = 0;
  for (size_t i = 0; i < f->l->n; i++) {
    double v = value(&f->l->v[i], f->p->high, f->p->scale);
    if (f->l->v[i].context == f->context && isfinite(v)) top = fmax(top, v);
  }
  return top > 0 ? rounded(top) : 1;
}

static void draw_axes(FILE *out, const frame *f)
{
  for (int k = 0; k <= 5; k++) {
    double v = f->top * k / 5, y = y_of(f, v);
    fprintf(out, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/><text class=\"dim\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.4g</text>\n", LEFT, WIDTH - RIGHT, y, y, LEFT - 8,
            y + 4, v);
  }
  for (size_t s = 0; s < f->o->n_streams; s++)
    fprintf(out, "<text class=\"dim\" x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%lld</text>\n", x_of(f, s, 0) + (x_of(f, s, f->o->n_targets - 1) - x_of(f, s, 0)) / 2, HEIGHT - BOTTOM + 18,
            (long long)f->o->streams[s]);
  fprintf(out, "<text class=\"dim\" x=\"%d\" y=\"%d\" text-anchor=\"end\">requests at once</text><text class=\"dim\" x=\"%d\" y=\"%d\">%s</text>\n", WIDTH - RIGHT, HEIGHT - 8, 8, 18,
          f->p->unit);
}

static void draw_target(FILE *out, const frame *f, size_t t)
{
  size_t colour = t % MOST_COLOURS;
  fprintf(out, "<polyline class=\"curve s%zu\" points=\"", colour);
  for (size_t s = 0; s < f->o->n_streams; s++) {
    const load_level *l = level_at(f, s, t);
    if (l) fprintf(out, "%.1f,%.1f ", x_of(f, s, t), y_of(f, value(l, f->p->low, f->p->scale)));
  }
  fprintf(out, "\"/>\n");
  for (size_t s = 0; s < f->o->n_streams; s++) {
    const load_level *l = level_at(f, s, t);
    if (!l) continue;
    double low = value(l, f->p->low, f->p->scale), high = value(l, f->p->high, f->p->scale), x = x_of(f, s, t);
    fprintf(out, "<g class=\"s%zu\"><title>", colour);
    put_text(out, f->o->targets[t].url);
    fprintf(out, ", %lld at once: %.4g", (long long)l->streams, low);
    if (f->p->low != f->p->high) fprintf(out, " to %.4g", high);
    fprintf(out, " %s</title><line class=\"whisker\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/><circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\"/></g>\n", f->p->unit, x, x, y_of(f, low),
            y_of(f, high), x, y_of(f, low));
  }
}

static void draw(FILE *out, const load_options *o, const load_levels *l, const picture *p, int64_t context)
{
  frame f = {o, l, p, context, 1};
  f.top = top_of(&f);
  fprintf(out, "<h2>%s", p->title);
  if (context) fprintf(out, ", prompts of %lld tokens", (long long)context);
  fprintf(out, "</h2>\n<p>%s</p>\n<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">\n", p->what, WIDTH, HEIGHT, p->title);
  draw_axes(out, &f);
  for (size_t t = 0; t < o->n_targets; t++) draw_target(out, &f, t);
  fprintf(out, "</svg>\n");
}

/* ---- tables ---- */
static void put_number(FILE *f, double v, double scale, const char *form)
{
  fprintf(f, "<td>");
  if (isfinite(v)) fprintf(f, form, v * scale);
  fprintf(f, "</td>");
}

static void put_levels(FILE *f, const load_options *o, const load_levels *l)
{
  fprintf(f, "<h2>Figures</h2>\n<div class=\"scroll\"><table><tr><th class=\"t\">endpoint</th><th>context</th><th>at once</th><th>requests</th><th>failed</th><th>tokens/s</th><th>a stream</th>"
             "<th>first token ms, p50</th><th>p90</th><th>p99</th><th>between ms, p50</th><th>p90</th><th>p99</th><th>reused</th><th>memory MiB</th></tr>\n");
  for (size_t i = 0; i < l->n; i++) {
    const load_level *v = &l->v[i];
    fprintf(f, "<tr><td class=\"t\">");
    put_text(f, o->targets[v->target].url);
    fprintf(f, "</td><td>%lld</td><td>%lld</td><td>%llu</td><td>%llu</td>", (long long)v->context, (long long)v->streams, (unsigned long long)v->n_requests, (unsigned long long)v->n_failed);
    const double plain[] = {v->tokens_s, v->stream_tokens_s}, ms[] = {v->first_s.p50, v->first_s.p90, v->first_s.p99, v->between_s.p50, v->between_s.p90, v->between_s.p99};
    for (size_t k = 0; k < 2; k++) put_number(f, plain[k], 1, "%.4g");
    for (size_t k = 0; k < 6; k++) put_number(f, ms[k], 1e3, "%.4g");
    put_number(f, v->reused, 100, "%.0f %%");
    put_number(f, v->memory_bytes, 1.0 / (1 << 20), "%.1f");
    fprintf(f, "</tr>\n");
  }
  fprintf(f, "</table></div>\n");
}

static void put_failures(FILE *f, const load_options *o, const load_levels *l)
{
  size_t n = 0;
  for (size_t i = 0; i < l->n; i++)
    for (size_t k = 0; k < l->v[i].n_failures; k++) {
      const load_failure *e = &l->v[i].failure[k];
      if (!n++) fprintf(f, "<h2>Failures</h2>\n<div class=\"scroll\"><table><tr><th class=\"t\">endpoint</th><th>at once</th><th>failed</th><th class=\"t\">kind</th><th class=\"t\">the first said</th></tr>\n");
      fprintf(f, "<tr><td class=\"t\">");
      put_text(f, o->targets[l->v[i].target].url);
      fprintf(f, "</td><td>%lld</td><td>%llu</td><td class=\"t\">%s</td><td class=\"t\">", (long long)l->v[i].streams, (unsigned long long)e->n, e->kind);
      put_text(f, e->message);
      fprintf(f, "</td></tr>\n");
    }
  if (n) fprintf(f, "</table></div>\n");
}

void load_report(FILE *f, const load_options *o, const load_levels *l)
{
  fputs(head, f);
  fprintf(f, "<p>%zu prompts, answers of at most %lld tokens.</p>\n<svg viewBox=\"0 0 %d %zu\" role=\"img\" aria-label=\"endpoints\">\n", o->n_prompts, (long long)o->max_tokens, WIDTH,
          22 * o->n_targets + 10);
  for (size_t t = 0; t < o->n_targets; t++) {
    fprintf(f, "<circle class=\"s%zu\" cx=\"16\" cy=\"%zu\" r=\"5\"/><text class=\"name\" x=\"30\" y=\"%zu\">", t % MOST_COLOURS, 22 * t + 16, 22 * t + 20);
    put_text(f, o->targets[t].url);
    fputs(", ", f);
    put_text(f, o->targets[t].model);
    fprintf(f, "</text>\n");
  }
  fprintf(f, "</svg>\n");
  for (size_t c = 0; c < (o->n_contexts ? o->n_contexts : 1); c++)
    for (size_t k = 0; k < sizeof pictures / sizeof *pictures; k++) draw(f, o, l, &pictures[k], o->n_contexts ? o->contexts[c] : 0);
  put_levels(f, o, l);
  put_failures(f, o, l);
  fputs("</body></html>\n", f);
}
