/* See report.h. Owns the series until the page is made. Invariant: every text from a log or a driver is escaped. */
#include "report.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "report_impl.h"

enum { MAX_POINTS = 100000 };

/* ---- collecting -------------------------------------------------------------------------------------------------------- */
static bool same(const koi_tuned_line *a, const koi_tuned_line *b)
{
  return a->op == b->op && a->bucket == b->bucket && !memcmp(a->c, b->c, sizeof a->c);
}

static koi_series *series_of(koi_report *r, const koi_tuned_line *l)
{
  size_t i = 0;
  while (i < r->n && !same(&r->v[i].any, l)) i++;
  if (i < r->n) return &r->v[i];
  if (r->n == KOI_MAX_SERIES) return NULL;
  koi_series *s = &r->v[r->n++];
  koi_text label = {0};
  s->any = *l;
  koi_text_add(&label, "%s ", l->op->name);
  koi_tuned_put_consts(&label, l->op, l->c);
  koi_text_add(&label, ", bucket %" PRId32, l->bucket);
  koi_print(s->label, sizeof s->label, "%s", label.s ? label.s : l->op->name);
  koi_free(label.s);
  return s;
}

static koine_status push(koi_series *s, double ratio)
{
  if (s->n == MAX_POINTS) return KOINE_OK;
  if (s->n == s->cap) {
    size_t cap = s->cap ? 2 * s->cap : 64;
    double *v = koi_realloc(s->ratio, cap, sizeof *v);
    if (!v) return KOINE_ERR_MEMORY;
    s->ratio = v, s->cap = cap;
  }
  s->ratio[s->n++] = ratio;
  return KOINE_OK;
}

double koi_series_default_us(const koi_series *s) { return s->last.default_us > 0 ? s->last.default_us : s->last.median_us; }
double koi_series_us(const koi_series *s) { return s->last.outcome == KOI_OUTCOME_WON ? s->last.median_us : koi_series_default_us(s); }

static koine_status take_candidate(koi_series *s, const koi_tuned_line *l)
{
  double first = l->default_us > 0 ? l->default_us : s->last.default_us;
  s->n_refused += l->outcome == KOI_OUTCOME_REFUSED;
  s->n_wrong += l->outcome == KOI_OUTCOME_WRONG;
  s->n_lost += l->outcome == KOI_OUTCOME_LOST || l->outcome == KOI_OUTCOME_CRASHED || l->outcome == KOI_OUTCOME_HUNG;
  if (l->flops > 0) s->flops = l->flops;
  if (l->bytes > 0) s->bytes = l->bytes;
  if (l->outcome == KOI_OUTCOME_WON || l->outcome == KOI_OUTCOME_KEPT) s->last = *l;
  return l->outcome == KOI_OUTCOME_MEASURED && first > 0 && l->median_us > 0 ? push(s, l->median_us / first) : KOINE_OK;
}

static koine_status take(void *user, const koi_tuned_read *read)
{
  koi_report *r = user;
  const koi_tuned_line *l = &read->l;
  if (koi_tuned_rung(read, r->e) > KOI_RUNG_STALE) return KOINE_OK;
  r->n_lines++;
  if (l->op == &koi_step_decode || l->op == &koi_step_prefill) r->ends[l->op == &koi_step_prefill] = *l;
  else if (l->op == &koi_step_read) r->read_per_s = l->bytes;
  else if (l->op == &koi_step_multiply) r->flops_per_s = l->flops;
  if (!koi_op_n_params(l->op)) return KOINE_OK;
  koi_series *s = series_of(r, l);
  if (!s) return r->n_left_out++, KOINE_OK;
  return take_candidate(s, l);
}

static int by_size(const void *pa, const void *pb)
{
  const koi_series *a = pa, *b = pb;
  if (a->n != b->n) return a->n > b->n ? -1 : 1;
  return strcmp(a->label, b->label);
}

/* ---- the page ---------------------------------------------------------------------------------------------------------- */
void koi_report_text(koi_text *t, const char *s)
{
  for (; *s; s++) {
    const char *name = *s == '&' ? "&amp;" : *s == '<' ? "&lt;" : *s == '>' ? "&gt;" : *s == '"' ? "&quot;" : NULL;
    if (name) koi_text_add(t, "%s", name);
    else koi_text_bytes(t, (unsigned char)*s < ' ' ? " " : s, 1);
  }
}

static const char head[] =
  "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/><meta name=\"viewport\" content=\"width=device-width\"/><title>koine tune</title>\n<style>\n"
  ":root { color-scheme: light dark; --ground: #fff; --ink: #1a1a1a; --dim: #667; --line: #ccd; --a: #0a62b0; --b: #b8480a; --fill: #f4f5f8 }\n"
  "@media (prefers-color-scheme: dark) { :root { --ground: #14161a; --ink: #e6e6e6; --dim: #9aa; --line: #3a3f48; --a: #6cb6ff; --b: #ff9a5c; --fill: #1d2026 } }\n"
  "body { background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }\n"
  "h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2.2rem } p { color: var(--dim); max-width: 46rem }\n"
  "table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .85rem }\n"
  "th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid var(--line) } td.n, th.n { text-align: right; white-space: nowrap }\n"
  ".scroll { overflow-x: auto } svg { width: 100%; height: auto; background: var(--fill); border-radius: 6px } svg text { fill: var(--ink); font: 11px system-ui, sans-serif }\n"
  ".grid { stroke: var(--line) } .dim { fill: var(--dim) } .roof { stroke: var(--ink); stroke-width: 1.5; fill: none } .guess { stroke-dasharray: 5 4 }\n"
  ".before { fill: none; stroke: var(--b); stroke-width: 1.5 } .after { fill: var(--a) } .move { stroke: var(--dim) } .dot { fill: var(--a); fill-opacity: .35 }\n"
  ".curve { fill: none; stroke: var(--a); stroke-opacity: .6 } .mark { stroke: var(--b); stroke-dasharray: 3 3 }\n"
  "</style></head>\n<body>\n";

static void put_ends(koi_text *t, const koi_report *r)
{
  static const char *const names[] = {"decode", "prefill"};
  koi_text_add(t, "<h2>From end to end</h2>\n");
  if (!r->ends[0].op && !r->ends[1].op) {
    koi_text_add(t, "<p>Tokens a second before and after were not measured: nothing was faster, or tuning ended before that.</p>\n");
    return;
  }
  koi_text_add(t, "<div class=\"scroll\"><table><tr><th></th><th class=\"n\">defaults, tokens/s</th><th class=\"n\">tuned, tokens/s</th><th class=\"n\">ratio</th><th class=\"n\">noise</th>"
                  "<th>tokens before</th><th></th></tr>\n");
  for (int k = 0; k < 2; k++) {
    const koi_tuned_line *l = &r->ends[k];
    if (!l->op || !(l->median_us > 0) || !(l->default_us > 0)) continue;
    double noise = 100 * (l->spread_us / l->median_us + l->default_spread_us / l->default_us);
    koi_text_add(t, "<tr><td>%s</td><td class=\"n\">%.4g</td><td class=\"n\">%.4g</td><td class=\"n\">%.3f</td><td class=\"n\">%.1f %%</td><td>%" PRId32 "</td><td>%s</td></tr>\n",
                 names[k], 1e6 / l->default_us, 1e6 / l->median_us, l->default_us / l->median_us, noise, l->c[SPEED_DEPTH],
                 l->outcome == KOI_OUTCOME_KEPT ? "not faster: the defaults stay" : l->median_us * (1 + noise / 100) < l->default_us ? "faster" : "within the noise");
  }
  koi_text_add(t, "</table></div>\n");
}

static void put_table(koi_text *t, const koi_report *r)
{
  koi_text_add(t, "<h2>What holds</h2>\n<div class=\"scroll\"><table><tr><th>op</th><th>parameters</th><th class=\"n\">default us</th><th class=\"n\">tuned us</th>"
                  "<th class=\"n\">ratio</th><th class=\"n\">tried</th><th class=\"n\">refused</th><th class=\"n\">wrong</th><th class=\"n\">crashed or hung</th></tr>\n");
  for (size_t i = 0; i < r->n; i++) {
    const koi_series *s = &r->v[i];
    koi_text_add(t, "<tr><td>");
    koi_report_text(t, s->label);
    koi_text_add(t, "</td><td>");
    if (!s->last.op) koi_text_add(t, "not decided");
    else if (s->last.outcome == KOI_OUTCOME_KEPT) koi_text_add(t, "default");
    else koi_tuned_put_params(t, s->last.op, s->last.p);
    if (s->last.op && koi_series_us(s) > 0)
      koi_text_add(t, "</td><td class=\"n\">%.2f</td><td class=\"n\">%.2f</td><td class=\"n\">%.2f</td>", koi_series_default_us(s), koi_series_us(s),
                   koi_series_default_us(s) / koi_series_us(s));
    else koi_text_add(t, "</td><td></td><td></td><td></td>");
    koi_text_add(t, "<td class=\"n\">%zu</td><td class=\"n\">%zu</td><td class=\"n\">%zu</td><td class=\"n\">%zu</td></tr>\n", s->n, s->n_refused, s->n_wrong, s->n_lost);
  }
  koi_text_add(t, "</table></div>\n");
}

static void put_page(koi_text *t, const koi_report *r)
{
  koi_text_add(t, "%s<h1>", head);
  koi_report_text(t, r->e->name);
  koi_text_add(t, "</h1>\n<p>");
  koi_report_text(t, r->e->platform);
  koi_text_add(t, ", driver ");
  koi_report_text(t, r->e->driver);
  koi_text_add(t, "; %zu lines of the log, %zu sets of parameters to choose.", r->n_lines, r->n);
  if (r->n_left_out) koi_text_add(t, " %zu lines of further sets are left out.", r->n_left_out);
  koi_text_add(t, "</p>\n");
  put_ends(t, r);
  koi_draw_roof(t, r);
  koi_draw_spread(t, r);
  koi_draw_curves(t, r);
  put_table(t, r);
  koi_text_add(t, "</body></html>\n");
}

koine_status koi_report_html(const koine_runtime *rt, size_t i, char **out)
{
  koi_report r = {.e = &rt->endpoints[i]};
  koi_tuned_counts c = {0};
  koi_text t = {0};
  r.v = koi_alloc(KOI_MAX_SERIES, sizeof *r.v);
  koine_status s = r.v ? koi_tuned_scan_log(rt->cache_dir, rt->shipped_dir, &c, take, &r) : KOINE_ERR_MEMORY;
  if (!s && !r.n_lines) s = koi_error(KOINE_ERR_STATE, "device %s (%s) was not measured: run koine tune first", r.e->id, r.e->name);
  if (!s && r.n) qsort(r.v, r.n, sizeof *r.v, by_size);
  if (!s) put_page(&t, &r);
  for (size_t k = 0; k < r.n; k++) koi_free(r.v[k].ratio);
  koi_free(r.v);
  return s ? s : koi_text_take(&t, out);
}
