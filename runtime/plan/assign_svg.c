/* A plan as a picture: a row for each device with its layers and memory, and below a token's way through them in time. Owns nothing.
 * Invariant: the result is well-formed whatever the names are. */
#include <string.h>
#include "assign.h"
#include "solve.h"

enum { WIDTH = 1000, LEFT = 220, ROW = 56, TOP = 70, BAR = 18, BYTES = 130, ROOM = WIDTH - LEFT - BYTES, GANTT = 30, TIME_ROW = 24 };
static const char *const colours[] = {"#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#b07aa1", "#76b7b2", "#edc948", "#9c755f"};

static const char *colour(uint32_t d) { return colours[d % KOI_COUNT(colours)]; }

static void escaped(koi_text *t, const char *s)
{
  for (; *s; s++)
    if (*s == '&') koi_text_add(t, "&amp;");
    else if (*s == '<') koi_text_add(t, "&lt;");
    else if (*s == '>') koi_text_add(t, "&gt;");
    else if ((unsigned char)*s >= ' ' && *s != 0x7f) koi_text_bytes(t, s, 1);
}

static void label(koi_text *t, double x, double y, const char *class, const char *anchor, const char *s)
{
  koi_text_add(t, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\" text-anchor=\"%s\">", x, y, class, anchor);
  escaped(t, s);
  koi_text_add(t, "</text>\n");
}

static void box(koi_text *t, double x, double y, double w, const char *fill, const char *tip)
{
  koi_text_add(t, "<rect x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" height=\"%d\" fill=\"%s\"><title>", x, y, w > 0.5 ? w : 0.5, BAR, fill);
  escaped(t, tip);
  koi_text_add(t, "</title></rect>\n");
}

typedef struct held { uint64_t weights, caches, own; } held;

static held held_on(const koi_assigned *a, uint32_t d)
{
  held h = {0, 0, 0};
  for (size_t i = 0; i < a->placement.n_stages; i++) {
    const koi_assigned_stage *x = &a->stages[i];
    if (x->device == d) h.weights += x->weights, h.caches += x->caches, h.own += x->own;
    if (x->experts == d) h.weights += x->expert_weights;
    if (x->misses == d) h.weights += x->turns.all;
  }
  return h;
}

static bool is_used(const koi_assigned *a, uint32_t d)
{
  for (size_t i = 0; i < a->placement.n_stages; i++)
    if (a->stages[i].device == d || a->stages[i].experts == d || a->stages[i].misses == d) return true;
  return false;
}

/* Memory: weights, caches, the device's own, against what the card has. */
static void memory_bar(koi_text *t, const koi_assigned *a, const koi_site *site, uint32_t d, double y)
{
  char tip[96];
  held h = held_on(a, d);
  uint64_t all = h.weights + h.caches + h.own, has = site->cards[site->devices[d].card].memory_bytes;
  double scale = ROOM / (double)(has > all ? has : all ? all : 1), x = LEFT;
  const struct { const char *what, *fill; uint64_t bytes; } parts[] = {{"weights", colour(d), h.weights}, {"caches", "#bab0ac", h.caches}, {"scratch, marks, programs", "#79706e", h.own}};
  koi_text_add(t, "<rect x=\"%d\" y=\"%.1f\" width=\"%d\" height=\"%d\" class=\"room\"/>\n", LEFT, y, ROOM, BAR);
  for (size_t i = 0; i < KOI_COUNT(parts); i++) {
    if (!parts[i].bytes) continue;
    koi_print(tip, sizeof tip, "%s %.2f GiB", parts[i].what, koi_gib(parts[i].bytes));
    box(t, x, y, (double)parts[i].bytes * scale, parts[i].fill, tip);
    x += (double)parts[i].bytes * scale;
  }
  koi_print(tip, sizeof tip, has ? "%.1f of %.1f GiB" : "%.1f GiB", koi_gib(all), koi_gib(has));
  label(t, LEFT + ROOM + 8, y + 13, "in", "start", tip);
}

static void layers_of(const koi_assigned *a, uint32_t d, koi_text *t)
{
  for (size_t i = 0; i < a->placement.n_stages; i++) {
    const koi_placed *p = &a->placement.stages[i];
    const char *gap = t->len ? "; " : "";
    if (a->stages[i].device == d) {
      koi_text_add(t, "%s%s", gap, p->embed ? "embedding, " : "");
      if (p->layer1 > p->layer0) koi_text_add(t, "layers %u-%u%s%s", p->layer0, p->layer1 - 1, a->stages[i].experts != KOI_SOLVE_NOWHERE ? " without experts" : "", p->head ? ", " : "");
      koi_text_add(t, "%s", p->head ? "head" : "");
    } else if (a->stages[i].experts == d) koi_text_add(t, "%sexperts of layers %u-%u", gap, p->layer0, p->layer1 - 1);
    else if (a->stages[i].misses == d) koi_text_add(t, "%smissing experts of layers %u-%u", gap, p->layer0, p->layer1 - 1);
  }
}

static void device_row(koi_text *t, const koi_assigned *a, const koi_site *site, uint32_t d, double y)
{
  char name[64];
  koi_text layers = {0};
  const koi_site_device *x = &site->devices[d];
  layers_of(a, d, &layers);
  koi_print(name, sizeof name, "%.20s", x->id);
  label(t, LEFT - 12, y + 13, "id", "end", name);
  koi_print(name, sizeof name, "%.30s", x->name);
  label(t, LEFT - 12, y + 28, "small", "end", name);
  label(t, LEFT, y + 33, "small", "start", layers.s ? layers.s : "nothing");
  memory_bar(t, a, site, d, y);
  koi_free(layers.s);
}

/* What a device does for one token: whole stages, what it has of others' experts paler, and in grey what it waits for from the stage before. */
static void time_row(koi_text *t, const koi_assigned *a, const koi_site *site, uint32_t d, double y)
{
  double scale = ROOM / (a->token_s > 0 ? a->token_s : 1), x = LEFT;
  char tip[160];
  label(t, LEFT - 12, y + 13, "small", "end", site->devices[d].id);
  koi_text_add(t, "<rect x=\"%d\" y=\"%.1f\" width=\"%d\" height=\"%d\" class=\"room\"/>\n", LEFT, y, ROOM, BAR);
  for (size_t i = 0; i < a->placement.n_stages; i++) {
    const koi_assigned_stage *s = &a->stages[i];
    bool helps = s->experts == d;
    if (s->hop > 0 && s->device == d) {
      koi_print(tip, sizeof tip, "hop %.3f ms", 1e3 * s->hop);
      box(t, x, y, s->hop * scale, "#555555", tip);
    }
    x += s->hop * scale;
    if (s->device == d || helps) {
      if (helps) koi_print(tip, sizeof tip, "experts for %s", site->devices[s->device].id);
      else koi_print(tip, sizeof tip, "%.3f ms", 1e3 * s->seconds);
      koi_text_add(t, "<g opacity=\"%s\">\n", helps ? "0.5" : "1");
      box(t, x, y, s->seconds * scale, colour(d), tip);
      koi_text_add(t, "</g>\n");
      if (s->seconds * scale > 6.5 * (double)strlen(tip)) label(t, x + 4, y + 13, helps ? "in" : "on", "start", tip);
    }
    x += s->seconds * scale;
  }
}

/* One token from left to right: a row for each device, stages in their turn. */
static void gantt(koi_text *t, const koi_assigned *a, const koi_site *site, double y)
{
  char text[32];
  label(t, LEFT - 12, y + 2, "id", "end", "a token's time");
  label(t, LEFT, y + 2, "small", "start", "0");
  koi_print(text, sizeof text, "%.2f ms", 1e3 * a->token_s);
  label(t, LEFT + ROOM, y + 2, "small", "end", text);
  for (uint32_t d = 0; d < site->n_devices; d++) {
    if (!is_used(a, d)) continue;
    time_row(t, a, site, d, y += TIME_ROW);
  }
}

koine_status koi_assigned_svg(const koi_assigned *a, const koi_site *site, char **out)
{
  koi_text t = {0};
  char line[200];
  int rows = 0, height;
  for (uint32_t d = 0; d < site->n_devices; d++) rows += is_used(a, d);
  height = TOP + rows * (ROW + TIME_ROW) + GANTT + 20;
  koi_text_add(&t, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\">\n", WIDTH, height, WIDTH, height);
  koi_text_add(&t, "<style>.title{font-size:18px}.id{font-size:14px}.small{font-size:11px;fill:#444}.in{font-size:11px}.on{font-size:11px;fill:#fff}.room{fill:#eee;stroke:#999}</style>\n");
  koi_text_add(&t, "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n", WIDTH, height);
  label(&t, 20, 28, "title", "start", site->name[0] ? site->name : "this machine");
  koi_print(line, sizeof line, "%.3g tokens/s (%.3g to %.3g), prefill %.3g tokens/s, context of %llu tokens", 1 / a->token_s, 1 / a->high_s, 1 / a->low_s, a->prompt_per_s,
            (unsigned long long)a->context);
  label(&t, 20, 48, "small", "start", line);
  double y = TOP;
  for (uint32_t d = 0; d < site->n_devices; d++) {
    if (!is_used(a, d)) continue;
    device_row(&t, a, site, d, y);
    y += ROW;
  }
  gantt(&t, a, site, y + 10);
  koi_text_add(&t, "</svg>\n");
  return koi_text_take(&t, out);
}
