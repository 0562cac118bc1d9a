/* The report's pictures as SVG (report.h). Owns nothing. Invariant: every number that is drawn is finite and lies within the picture. */
#include <math.h>
#include <stdlib.h>
#include "report_impl.h"

enum { WIDTH = 900, LEFT = 60, RIGHT = 24, TOP = 20, BOTTOM = 40, MAX_ROWS = 24, MAX_DOTS = 400, ROW = 20, NAMES = 330 };

typedef struct axis { double low, high; int from, to; } axis; /* logarithmic; pixels */

static double at(const axis *a, double v)
{
  double x = v <= a->low ? 0 : v >= a->high ? 1 : log(v / a->low) / log(a->high / a->low);
  return a->from + x * (a->to - a->from);
}

static void begin(koi_text *t, const char *title, const char *what, int height)
{
  koi_text_add(t, "<h2>%s</h2>\n<p>%s</p>\n<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">\n", title, what, WIDTH, height, title);
}

/* Lines at powers of ten, or of two. */
static void grid_x(koi_text *t, const axis *a, double base, int top, int bottom, const char *unit)
{
  for (double v = pow(base, ceil(log(a->low) / log(base) - 1e-9)); v <= a->high * 1.0001; v *= base)
    koi_text_add(t, "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/><text class=\"dim\" x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.4g%s</text>\n", at(a, v),
                 at(a, v), top, bottom, at(a, v), bottom + 15, v, unit);
}

static void grid_y(koi_text *t, const axis *a, double base)
{
  for (double v = pow(base, ceil(log(a->low) / log(base) - 1e-9)); v <= a->high * 1.0001; v *= base)
    koi_text_add(t, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/><text class=\"dim\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.4g</text>\n", LEFT, WIDTH - RIGHT,
                 at(a, v), at(a, v), LEFT - 6, at(a, v) + 4, v);
}

/* ---- the roofline ------------------------------------------------------------------------------------------------------ */
static bool has_place(const koi_series *s) { return s->last.op && s->flops > 0 && s->bytes > 0 && koi_series_us(s) > 0; }

typedef struct roof { double bytes_s, flops_s; bool guessed; } roof; /* in G */

/* What was not measured as such is at least what an op reached. */
static roof roof_of(const koi_report *r)
{
  roof f = {1e-9 * r->read_per_s, 1e-9 * r->flops_per_s, !(r->read_per_s > 0) || !(r->flops_per_s > 0)};
  for (size_t i = 0; i < r->n; i++) {
    const koi_series *s = &r->v[i];
    if (!has_place(s)) continue;
    if (!(r->read_per_s > 0)) f.bytes_s = fmax(f.bytes_s, 1e-3 * s->bytes / koi_series_us(s));
    if (!(r->flops_per_s > 0)) f.flops_s = fmax(f.flops_s, 1e-3 * s->flops / koi_series_us(s));
  }
  return f;
}

static void put_op(koi_text *t, const koi_series *s, const axis *x, const axis *y)
{
  double px = at(x, s->flops / s->bytes), before = 1e-3 * s->flops / koi_series_default_us(s), after = 1e-3 * s->flops / koi_series_us(s);
  koi_text_add(t, "<g><title>");
  koi_report_text(t, s->label);
  koi_text_add(t, ": %.4g to %.4g GFLOP/s, %.4g to %.4g GB/s</title>", before, after, before * s->bytes / s->flops, after * s->bytes / s->flops);
  koi_text_add(t, "<line class=\"move\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/><circle class=\"before\" cx=\"%.1f\" cy=\"%.1f\" r=\"5\"/>", px, px, at(y, before), at(y, after),
               px, at(y, before));
  koi_text_add(t, "<circle class=\"after\" cx=\"%.1f\" cy=\"%.1f\" r=\"4\"/></g>\n", px, at(y, after));
}

void koi_draw_roof(koi_text *t, const koi_report *r)
{
  enum { HEIGHT = 420 };
  axis x = {1, 1, LEFT, WIDTH - RIGHT}, y = {1, 1, HEIGHT - BOTTOM, TOP};
  roof f = roof_of(r);
  size_t n = 0;
  for (size_t i = 0; i < r->n; i++) {
    const koi_series *s = &r->v[i];
    if (!has_place(s)) continue;
    double place = s->flops / s->bytes, least = 1e-3 * s->flops / fmax(koi_series_default_us(s), koi_series_us(s));
    x.low = n ? fmin(x.low, place) : place, x.high = n ? fmax(x.high, place) : place, y.low = n ? fmin(y.low, least) : least;
    n++;
  }
  begin(t, "Roofline", "Each op by its work and what it must move: hollow with the default parameters, filled with what holds now. The line is what the device can do.", HEIGHT);
  if (n && f.bytes_s > 0 && f.flops_s > 0) {
    x.low /= 2, x.high = 4 * fmax(x.high, f.flops_s / f.bytes_s), y.low /= 2, y.high = 2 * f.flops_s;
    grid_x(t, &x, 10, TOP, HEIGHT - BOTTOM, "");
    grid_y(t, &y, 10);
    double knee = f.flops_s / f.bytes_s, foot = fmax(x.low, y.low / f.bytes_s); /* where the roof comes in */
    koi_text_add(t, "<polyline class=\"roof%s\" points=\"%.1f,%.1f %.1f,%.1f %.1f,%.1f\"/>\n", f.guessed ? " guess" : "", at(&x, foot), at(&y, foot * f.bytes_s), at(&x, knee),
                 at(&y, f.flops_s), at(&x, x.high), at(&y, f.flops_s));
    for (size_t i = 0; i < r->n; i++)
      if (has_place(&r->v[i])) put_op(t, &r->v[i], &x, &y);
    koi_text_add(t, "<text x=\"%d\" y=\"%d\">GFLOP/s; %.4g GB/s, %.4g GFLOP/s%s</text><text x=\"%d\" y=\"%d\" text-anchor=\"end\">flops a byte</text>\n", LEFT, TOP - 6, f.bytes_s,
                 f.flops_s, f.guessed ? ", at least: the device's own limits were not measured" : "", WIDTH - RIGHT, HEIGHT - 6);
  } else koi_text_add(t, "<text x=\"%d\" y=\"%d\">No op was measured with its work.</text>\n", LEFT, HEIGHT / 2);
  koi_text_add(t, "</svg>\n");
}

/* ---- candidates -------------------------------------------------------------------------------------------------------- */
static void put_row(koi_text *t, const koi_series *s, const axis *x, int y)
{
  koi_text_add(t, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">", NAMES - 10, y + 4);
  koi_report_text(t, s->label);
  koi_text_add(t, "</text><g><title>%zu candidates</title>", s->n);
  size_t step = s->n / MAX_DOTS + 1;
  for (size_t i = 0; i < s->n; i += step) koi_text_add(t, "<circle class=\"dot\" cx=\"%.1f\" cy=\"%d\" r=\"3\"/>", at(x, s->ratio[i]), y);
  if (s->last.op && koi_series_us(s) > 0)
    koi_text_add(t, "<circle class=\"before\" cx=\"%.1f\" cy=\"%d\" r=\"5\"/>", at(x, koi_series_us(s) / koi_series_default_us(s)), y);
  koi_text_add(t, "</g>\n");
}

void koi_draw_spread(koi_text *t, const koi_report *r)
{
  size_t n = 0;
  while (n < r->n && n < MAX_ROWS && r->v[n].n) n++;
  int height = TOP + (int)n * ROW + BOTTOM;
  axis x = {0.125, 16, NAMES, WIDTH - RIGHT};
  begin(t, "Candidates", "Time of each candidate over the default's, which is 1: to the left is faster. The ring is what holds. Beyond the edges they are drawn at the edge.", height);
  grid_x(t, &x, 2, TOP - 10, height - BOTTOM, "");
  koi_text_add(t, "<line class=\"mark\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>\n", at(&x, 1), at(&x, 1), TOP - 10, height - BOTTOM);
  for (size_t i = 0; i < n; i++) put_row(t, &r->v[i], &x, TOP + (int)i * ROW + ROW / 2);
  if (!n) koi_text_add(t, "<text x=\"%d\" y=\"%d\">The log has outcomes only, no candidates.</text>\n", LEFT, TOP + 10);
  koi_text_add(t, "</svg>\n");
}

/* ---- best so far ------------------------------------------------------------------------------------------------------- */
static void put_curve(koi_text *t, const koi_series *s, const axis *y, double step)
{
  double best = 1;
  koi_text_add(t, "<polyline class=\"curve\" points=\"%d,%.1f", LEFT, at(y, 1));
  for (size_t i = 0; i < s->n; i++) {
    double before = best, px = LEFT + step * (double)(i + 1);
    best = fmin(best, s->ratio[i]);
    if (best < before) koi_text_add(t, " %.1f,%.1f %.1f,%.1f", px, at(y, 1 / before), px, at(y, 1 / best));
  }
  koi_text_add(t, " %.1f,%.1f\"><title>", LEFT + step * (double)s->n, at(y, 1 / best));
  koi_report_text(t, s->label);
  koi_text_add(t, ": %.3g times as fast after %zu candidates</title></polyline>\n", 1 / best, s->n);
}

void koi_draw_curves(koi_text *t, const koi_report *r)
{
  enum { HEIGHT = 300 };
  size_t most = 1;
  double top = 2;
  for (size_t i = 0; i < r->n && i < MAX_ROWS; i++) {
    if (r->v[i].n > most) most = r->v[i].n;
    for (size_t k = 0; k < r->v[i].n; k++) top = fmin(fmax(top, 1.1 / r->v[i].ratio[k]), 1024);
  }
  axis y = {1, top, HEIGHT - BOTTOM, TOP};
  double step = (double)(WIDTH - LEFT - RIGHT) / (double)most;
  begin(t, "Best so far", "How many times as fast as the default the best candidate was, by the number of candidates tried; a line for each set of parameters.", HEIGHT);
  grid_y(t, &y, 2);
  for (size_t i = 0; i < r->n && i < MAX_ROWS; i++)
    if (r->v[i].n) put_curve(t, &r->v[i], &y, step);
  koi_text_add(t, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%zu candidates</text></svg>\n", WIDTH - RIGHT, HEIGHT - 10, most);
}
