/* See placement.h. Owns a placement's stages only. Invariant: what is printed is read back as the same record. */
#include "placement.h"
#include <stdlib.h>
#include <string.h>
#include "words.h"

koi_placed *koi_placement_add(koi_placement *p)
{
  koi_placed *v = koi_realloc(p->stages, p->n_stages + 1, sizeof *v);
  if (!v) return NULL;
  p->stages = v;
  v = &v[p->n_stages++];
  memset(v, 0, sizeof *v);
  return v;
}

void koi_placement_free(koi_placement *p)
{
  koi_free(p->stages);
  *p = (koi_placement){0};
}

koine_status koi_placement_copy(const koi_placement *from, koi_placement *to)
{
  koi_placement p = *from;
  p.stages = koi_alloc(p.n_stages ? p.n_stages : 1, sizeof *p.stages);
  if (!p.stages) return KOINE_ERR_MEMORY;
  if (p.n_stages) memcpy(p.stages, from->stages, p.n_stages * sizeof *p.stages);
  *to = p;
  return KOINE_OK;
}

/* ---- ranges ------------------------------------------------------------------------------------------------------------ */
/* Digits at *s, which moves behind them; false: none, or no uint32. */
static bool number(const char **s, uint32_t *out)
{
  uint64_t v = 0;
  const char *at = *s;
  for (; koi_is_digit(*at) && v <= UINT32_MAX; at++) v = 10 * v + (uint64_t)(*at - '0');
  if (at == *s || v > UINT32_MAX) return false;
  *out = (uint32_t)v, *s = at;
  return true;
}

/* "A-B", "A", "A-" (up to `end`, where that is not 0); *s moves behind it. */
static bool range(const char **s, uint32_t end, koi_placed *out)
{
  uint32_t a, b;
  if (!number(s, &a)) return false;
  b = a;
  if (**s == '-') {
    ++*s;
    if (!number(s, &b)) {
      if (!end) return false;
      b = a < end ? end - 1 : a; /* a is no layer then, which the caller says */
    }
  }
  if (b < a || b == UINT32_MAX) return false;
  out->layer0 = a, out->layer1 = b + 1;
  return true;
}

koine_status koi_placement_range(const char *text, uint32_t n_layers, koi_placed *out)
{
  koi_placed st = {0};
  const char *eq = strrchr(text, '='), *at = eq ? eq + 1 : text;
  size_t n = eq ? (size_t)(eq - text) : 0;
  if (!n || n >= sizeof st.device || !range(&at, n_layers, &st) || *at)
    return koi_error(KOINE_ERR_ARG, "layers %.80s: expected DEVICE=FIRST-LAST, such as cl0=0-%u", text, n_layers ? n_layers - 1 : 0);
  if (st.layer1 > n_layers)
    return koi_error(KOINE_ERR_ARG, "layers %.80s: the model has layers 0 to %u", text, n_layers ? n_layers - 1 : 0);
  memcpy(st.device, text, n);
  *out = st;
  return KOINE_OK;
}

/* ---- order and completeness -------------------------------------------------------------------------------------------- */
/* An empty stage that embeds comes first, one that has the head last. */
static int earlier(const void *a, const void *b)
{
  const koi_placed *x = a, *y = b;
  if (x->layer0 != y->layer0) return x->layer0 < y->layer0 ? -1 : 1;
  if (x->layer1 != y->layer1) return x->layer1 < y->layer1 ? -1 : 1;
  return (int)y->embed - (int)x->embed;
}

void koi_placement_order(koi_placement *p)
{
  bool embed = false, head = false;
  if (!p->n_stages) return;
  qsort(p->stages, p->n_stages, sizeof *p->stages, earlier);
  for (size_t i = 0; i < p->n_stages; i++) embed |= p->stages[i].embed, head |= p->stages[i].head;
  p->stages[0].embed |= !embed;
  p->stages[p->n_stages - 1].head |= !head;
}

static const char *who_computes(const koi_placed *s) { return s->experts[0] ? s->experts : s->device; }

koine_status koi_placement_cache(koi_placement *p, const char *device, uint64_t bytes)
{
  uint64_t n_layers = 0;
  for (size_t i = 0; i < p->n_stages; i++) {
    const koi_placed *s = &p->stages[i];
    if (strcmp(who_computes(s), device)) continue;
    if (s->expert_bytes) return koi_error(KOINE_ERR_ARG, "device %s has one already", device);
    n_layers += s->layer1 - s->layer0;
  }
  if (!n_layers) return koi_error(KOINE_ERR_ARG, "device %s computes no routed experts in this placement", device);
  for (size_t i = 0; i < p->n_stages; i++) {
    koi_placed *s = &p->stages[i];
    uint64_t own = bytes / n_layers * (s->layer1 - s->layer0);
    if (!strcmp(who_computes(s), device) && s->layer0 < s->layer1) s->expert_bytes = own ? own : 1; /* with 0 a stage has room for all */
  }
  return KOINE_OK;
}

koine_status koi_placement_check(const koi_placement *p, uint32_t n_layers)
{
  uint32_t at = 0;
  for (size_t i = 0; i < p->n_stages; i++) {
    const koi_placed *s = &p->stages[i];
    if (s->layer0 > at) return koi_error(KOINE_ERR_ARG, "layers %u-%u lie on no device; give them one with --layers DEVICE=%u-%u", at, s->layer0 - 1, at, s->layer0 - 1);
    if (s->layer0 < at) return koi_error(KOINE_ERR_ARG, "layer %u lies on %s and on %s; give it one device", s->layer0, p->stages[i - 1].device, s->device);
    if (s->layer1 == at && !s->embed && !s->head) return koi_error(KOINE_ERR_ARG, "device %s has no layers, no embedding and no head", s->device);
    if (s->embed != !i || s->head != (i + 1 == p->n_stages))
      return koi_error(KOINE_ERR_ARG, "the embedding must lie in the first of %zu stages and the head in the last; stage %zu on %s is neither right", p->n_stages, i, s->device);
    at = s->layer1;
  }
  if (at < n_layers) return koi_error(KOINE_ERR_ARG, "layers %u-%u lie on no device; give them one with --layers DEVICE=%u-", at, n_layers - 1, at);
  if (at > n_layers) return koi_error(KOINE_ERR_ARG, "layer %u was placed, but the model has layers 0 to %u", at - 1, n_layers - 1);
  return KOINE_OK;
}

/* ---- text -------------------------------------------------------------------------------------------------------------- */
void koi_placement_stage_text(const koi_placed *s, koi_text *t)
{
  if (s->layer1 > s->layer0) koi_text_add(t, "layers %u-%u device=%s", s->layer0, s->layer1 - 1, s->device);
  else koi_text_add(t, "layers none device=%s", s->device);
  if (s->experts[0]) koi_text_add(t, " experts=%s", s->experts);
  if (s->expert_bytes) koi_text_add(t, " expert_cache=%llu", (unsigned long long)s->expert_bytes);
  if (s->misses[0]) koi_text_add(t, " misses=%s", s->misses);
  koi_text_add(t, "%s%s", s->embed ? " embed" : "", s->head ? " head" : "");
}

static bool parse_stage(const char *at, koi_placed *out)
{
  koi_word w;
  if (!koi_word_next(&at, &w)) return false;
  const char *s = w.s;
  if (!koi_word_is(&w, "none") && (!range(&s, 0, out) || s != w.s + w.n)) return false;
  while (koi_word_next(&at, &w)) {
    if (!koi_word_text(&w, "device=", out->device, sizeof out->device) || !koi_word_text(&w, "experts=", out->experts, sizeof out->experts) ||
        !koi_word_text(&w, "misses=", out->misses, sizeof out->misses) || !koi_word_count(&w, "expert_cache=", &out->expert_bytes))
      return false;
    out->embed |= koi_word_is(&w, "embed"), out->head |= koi_word_is(&w, "head");
  }
  /* the end of the model */
  if (out->layer0 == out->layer1 && out->head && !out->embed) out->layer0 = out->layer1 = UINT32_MAX;
  return out->device[0] != 0;
}

static koine_status parse_line(const char *line, koi_placement *p)
{
  koi_word w;
  uint64_t groups = 0;
  const char *at = line;
  size_t n = strcspn(line, "\n");
  if (!koi_word_next(&at, &w)) return KOINE_OK;
  for (bool first = koi_word_is(&w, "place"); first && koi_word_next(&at, &w);) {
    if (!koi_word_count(&w, "split_groups=", &groups) || groups > INT32_MAX)
      return koi_error(KOINE_ERR_ARG, "placement: %.*s is no number of groups", (int)w.n, w.s);
    if (groups) p->split_groups = (uint32_t)groups;
  }
  if (!koi_word_is(&w, "layers")) return KOINE_OK;
  koi_placed *s = koi_placement_add(p);
  if (!s) return KOINE_ERR_MEMORY;
  if (parse_stage(at, s)) return KOINE_OK;
  return koi_error(KOINE_ERR_ARG, "placement: expected a line such as \"layers 0-21 device=cl0 embed\", found \"%.*s\"", (int)(n < 100 ? n : 100), line);
}

/* A head alone stands behind the last layer. */
static void place_head(koi_placement *p)
{
  uint32_t end = 0;
  for (size_t i = 0; i < p->n_stages; i++)
    if (p->stages[i].layer1 != UINT32_MAX && p->stages[i].layer1 > end) end = p->stages[i].layer1;
  for (size_t i = 0; i < p->n_stages; i++)
    if (p->stages[i].layer1 == UINT32_MAX) p->stages[i].layer0 = p->stages[i].layer1 = end;
}

koine_status koi_placement_parse(const char *text, koi_placement *out)
{
  koi_placement p = {0};
  koine_status s = KOINE_OK;
  for (const char *line = text; *line && !s;) {
    s = parse_line(line, &p);
    line += strcspn(line, "\n");
    line += *line == '\n';
  }
  place_head(&p);
  koi_placement_order(&p);
  if (!s && !p.n_stages) s = koi_error(KOINE_ERR_ARG, "placement: there is no line such as \"layers 0-21 device=cl0 embed\"");
  if (s) koi_placement_free(&p);
  else *out = p;
  return s;
}
