/* A site as text and back. Owns nothing. Invariant: what is written is read back; an unknown number is left out. */
#include <math.h>
#include <string.h>
#include "site.h"
#include "words.h"

static const char *const parts[KOI_N_PARTS] = {"rest", "experts", "embed", "head"};
static const koi_layer_kind kinds[] = {KOI_SLIDING, KOI_CSA, KOI_HCA};

/* ---- writing ----------------------------------------------------------------------------------------------------------- */
static void number(koi_text *t, const char *key, double v)
{
  if (isfinite(v)) koi_text_add(t, " %s=%.9g", key, v);
}

static void put_link(koi_text *t, const char *key, const koi_link *l)
{
  char name[48];
  koi_print(name, sizeof name, "%s_latency_s", key);
  number(t, name, l->latency_s);
  koi_print(name, sizeof name, "%s_bytes_per_s", key);
  number(t, name, l->bytes_per_s);
}

static void put_device(koi_text *t, const koi_site *s, const koi_site_device *d)
{
  koi_text_add(t, "device");
  koi_word_put(t, "id", d->id);
  koi_word_put(t, "card", s->cards[d->card].id);
  koi_word_put(t, "name", d->name);
  if (d->driver[0]) koi_word_put(t, "driver", d->driver);
  koi_text_add(t, "%s%s units=%u max_buffer_bytes=%llu", d->usable ? "" : " unusable", d->reference ? " reference" : "", d->n_units, (unsigned long long)d->max_buffer_bytes);
  if (d->memory_bytes) koi_text_add(t, " memory_bytes=%llu", (unsigned long long)d->memory_bytes);
  if (d->parameters) koi_text_add(t, " parameters=%llu", (unsigned long long)d->parameters);
  number(t, "bytes_per_s", d->rates.bytes_per_s);
  number(t, "flops_per_s", d->rates.flops_per_s);
  number(t, "launch_s", d->rates.launch_s);
  put_link(t, "to_host", &d->to_host);
  put_link(t, "from_host", &d->from_host);
  put_link(t, "to_host_busy", &d->to_host_busy);
  put_link(t, "from_host_busy", &d->from_host_busy);
  koi_text_add(t, "\n");
}

static void put_cost(koi_text *t, const koi_site *s, const koi_site_cost *c)
{
  koi_text_add(t, "cost");
  koi_word_put(t, "device", s->devices[c->device].id);
  koi_text_add(t, " part=%s kind=%s%s width=%u tokens=%u position=%llu", parts[c->part], koi_site_kind_name(c->kind), c->hash ? " hash" : "", c->width, c->n_tokens, (unsigned long long)c->position);
  number(t, "seconds", c->seconds);
  number(t, "low", c->low);
  number(t, "high", c->high);
  number(t, "expected", c->expected);
  koi_text_add(t, "\n");
}

koine_status koi_site_text(const koi_site *s, char **out)
{
  koi_text t = {0};
  koi_text_add(&t, "machine");
  koi_word_put(&t, "name", s->name);
  if (s->disk_per_s > 0) number(&t, "disk_bytes_per_s", s->disk_per_s);
  if (s->cached_per_s > 0) number(&t, "cached_bytes_per_s", s->cached_per_s);
  koi_text_add(&t, "\n");
  for (size_t i = 0; i < s->n_cards; i++) {
    const koi_site_card *c = &s->cards[i];
    koi_text_add(&t, "card");
    koi_word_put(&t, "id", c->id);
    koi_word_put(&t, "name", c->name);
    koi_text_add(&t, " type=%s memory_bytes=%llu%s\n", koi_runtime_type_name(c->type), (unsigned long long)c->memory_bytes, c->shares_host_memory ? " shares_host_memory" : "");
  }
  for (size_t i = 0; i < s->n_devices; i++) put_device(&t, s, &s->devices[i]);
  for (size_t i = 0; i < s->n_costs; i++) put_cost(&t, s, &s->costs[i]);
  if (s->topology) koi_text_add(&t, "topology\n%s", s->topology);
  return koi_text_take(&t, out);
}

/* ---- reading ----------------------------------------------------------------------------------------------------------- */
static bool read_type(const koi_word *w, koine_device_type *out)
{
  char text[16] = "";
  if (!koi_word_text(w, "type=", text, sizeof text)) return false;
  for (int i = KOINE_DEVICE_HOST; text[0] && i <= KOINE_DEVICE_ACCELERATOR; i++)
    if (!strcmp(text, koi_runtime_type_name((koine_device_type)i))) {
      *out = (koine_device_type)i;
      return true;
    }
  return !text[0];
}

static bool read_card(const char *at, koi_site *s)
{
  koi_word w;
  koi_site_card *c = koi_site_add_card(s);
  if (!c) return false;
  while (koi_word_next(&at, &w)) {
    if (!koi_word_text(&w, "id=", c->id, sizeof c->id) || !koi_word_text(&w, "name=", c->name, sizeof c->name) || !read_type(&w, &c->type) ||
        !koi_word_count(&w, "memory_bytes=", &c->memory_bytes))
      return false;
    c->shares_host_memory |= koi_word_is(&w, "shares_host_memory");
  }
  return c->id[0] != 0;
}

static bool read_link(const koi_word *w, const char *key, koi_link *l)
{
  char name[48];
  koi_print(name, sizeof name, "%s_latency_s=", key);
  if (!koi_word_number(w, name, &l->latency_s)) return false;
  koi_print(name, sizeof name, "%s_bytes_per_s=", key);
  return koi_word_number(w, name, &l->bytes_per_s) && l->bytes_per_s != 0;
}

static bool read_rates(const koi_word *w, koi_site_device *d)
{
  koi_rates *r = &d->rates;
  return koi_word_number(w, "bytes_per_s=", &r->bytes_per_s) && koi_word_number(w, "flops_per_s=", &r->flops_per_s) && koi_word_number(w, "launch_s=", &r->launch_s) &&
         r->bytes_per_s != 0 && r->flops_per_s != 0 && read_link(w, "to_host", &d->to_host) && read_link(w, "from_host", &d->from_host) &&
         read_link(w, "to_host_busy", &d->to_host_busy) && read_link(w, "from_host_busy", &d->from_host_busy);
}

static bool read_device(const char *at, koi_site *s)
{
  koi_word w;
  char card[KOI_SITE_ID] = "";
  uint64_t units = 0;
  koi_site_device *d = koi_site_add_device(s);
  if (!d) return false;
  while (koi_word_next(&at, &w)) {
    if (!koi_word_text(&w, "id=", d->id, sizeof d->id) || !koi_word_text(&w, "name=", d->name, sizeof d->name) || !koi_word_text(&w, "card=", card, sizeof card) ||
        !koi_word_text(&w, "driver=", d->driver, sizeof d->driver) ||
        !koi_word_count(&w, "units=", &units) || units > UINT32_MAX || !koi_word_count(&w, "max_buffer_bytes=", &d->max_buffer_bytes) ||
        !koi_word_count(&w, "memory_bytes=", &d->memory_bytes) || !koi_word_count(&w, "parameters=", &d->parameters) || !read_rates(&w, d))
      return false;
    d->usable &= !koi_word_is(&w, "unusable"), d->reference |= koi_word_is(&w, "reference");
  }
  d->n_units = (uint32_t)units;
  for (d->card = 0; d->card < s->n_cards && strcmp(s->cards[d->card].id, card);) d->card++;
  return d->id[0] && d->card < s->n_cards && koi_site_find(s, d->id) + 1 == s->n_devices;
}

static bool read_names(const koi_word *w, koi_site_cost *c)
{
  char part[16] = "", kind[16] = "";
  bool found = true;
  if (!koi_word_text(w, "part=", part, sizeof part) || !koi_word_text(w, "kind=", kind, sizeof kind)) return false;
  for (int i = 0; i < KOI_N_PARTS && part[0]; i++)
    if ((found = !strcmp(part, parts[i]))) {
      c->part = (koi_part_of)i;
      break;
    }
  for (size_t i = 0; i < KOI_COUNT(kinds) && kind[0]; i++)
    if ((found = !strcmp(kind, koi_site_kind_name(kinds[i])))) {
      c->kind = kinds[i];
      break;
    }
  return found;
}

static bool read_cost(const char *at, koi_site *s)
{
  koi_word w;
  char device[KOI_SITE_ID] = "";
  uint64_t tokens = 1, width = 0;
  koi_site_cost *c = koi_site_add_cost(s);
  if (!c) return false;
  while (koi_word_next(&at, &w)) {
    if (!koi_word_text(&w, "device=", device, sizeof device) || !read_names(&w, c) || !koi_word_count(&w, "tokens=", &tokens) || tokens > UINT32_MAX ||
        !koi_word_count(&w, "width=", &width) || width > UINT32_MAX ||
        !koi_word_count(&w, "position=", &c->position) || !koi_word_number(&w, "seconds=", &c->seconds) || !koi_word_number(&w, "low=", &c->low) ||
        !koi_word_number(&w, "high=", &c->high) || !koi_word_number(&w, "expected=", &c->expected))
      return false;
    c->hash |= koi_word_is(&w, "hash");
  }
  size_t d = koi_site_find(s, device);
  c->device = (uint32_t)d, c->n_tokens = (uint32_t)tokens, c->width = (uint32_t)width;
  return d < s->n_devices && tokens && c->seconds > 0 && c->expected > 0;
}

static bool read_name(const char *at, koi_site *s)
{
  koi_word w;
  while (koi_word_next(&at, &w))
    if (!koi_word_text(&w, "name=", s->name, sizeof s->name) || !koi_word_number(&w, "disk_bytes_per_s=", &s->disk_per_s) ||
        !koi_word_number(&w, "cached_bytes_per_s=", &s->cached_per_s))
      return false;
  return true;
}

static const struct { const char *word; bool (*read)(const char *at, koi_site *s); } lines[] = {
  {"machine", read_name}, {"card", read_card}, {"device", read_device}, {"cost", read_cost},
};

static bool read_line(const char *line, koi_site *s)
{
  koi_word w;
  const char *at = line;
  if (!koi_word_next(&at, &w) || w.s[0] == '#') return true;
  for (size_t i = 0; i < KOI_COUNT(lines); i++)
    if (koi_word_is(&w, lines[i].word)) return lines[i].read(at, s);
  return false;
}

koine_status koi_site_parse(const char *text, const char *where, koi_site *out)
{
  koi_site site = {0};
  koine_status s = KOINE_OK;
  size_t n = 1;
  for (const char *line = text; *line && !s && !site.topology; n++) {
    size_t len = strcspn(line, "\n");
    const char *next = line + len + (line[len] == '\n');
    if (len == 8 && !memcmp(line, "topology", 8)) {
      if (!(site.topology = koi_strdup(next))) s = KOINE_ERR_MEMORY;
    } else if (!read_line(line, &site))
      s = koi_error(KOINE_ERR_FILE, "%s:%zu: expected a line of a machine: machine, card, device (after its card) or cost (after its device) with key=value, found \"%.*s\"",
                    where, n, (int)(len < 120 ? len : 120), line);
    line = next;
  }
  if (!s && !site.n_devices) s = koi_error(KOINE_ERR_FILE, "%s: there is no device in it; expected what koine devices --save writes", where);
  if (s) koi_site_free(&site);
  else *out = site;
  return s;
}

/* ---- for people -------------------------------------------------------------------------------------------------------- */
static void one_way(koi_text *t, const koi_link *up, const koi_link *down)
{
  double latency = (up ? up->latency_s : 0) + (down ? down->latency_s : 0), each = (up ? 1 / up->bytes_per_s : 0) + (down ? 1 / down->bytes_per_s : 0);
  if (isfinite(latency) && each > 0) koi_text_add(t, " %7.1f us %6.2f GB/s", 1e6 * latency, 1e-9 / each);
  else koi_text_add(t, " %22s", "unknown");
}

static void matrix(koi_text *t, const koi_site *s, bool busy)
{
  koi_text_add(t, "%-10s", "from \\ to");
  koi_text_add(t, " %22s", "memory");
  for (size_t j = 0; j < s->n_devices; j++) koi_text_add(t, " %22s", s->devices[j].id);
  for (size_t i = 0; i <= s->n_devices; i++) {
    const koi_site_device *a = i ? &s->devices[i - 1] : NULL;
    const koi_link *up = !a ? NULL : busy ? &a->to_host_busy : &a->to_host;
    koi_text_add(t, "\n%-10s", a ? a->id : "memory");
    if (a) one_way(t, up, NULL);
    else koi_text_add(t, " %22s", "");
    for (size_t j = 0; j < s->n_devices; j++)
      if (i == j + 1) koi_text_add(t, " %22s", "");
      else one_way(t, up, busy ? &s->devices[j].from_host_busy : &s->devices[j].from_host);
  }
  koi_text_add(t, "\n");
}

koine_status koi_site_links(const koi_site *s, char **out)
{
  koi_text t = {0};
  koi_text_add(&t, "Links, alone: microseconds of a small transfer, gigabytes a second of a large one; between devices through the host's memory\n");
  matrix(&t, s, false);
  koi_text_add(&t, "Links, while both sides compute\n");
  matrix(&t, s, true);
  koi_text_add(&t, "Devices: reads of memory, arithmetic, a launch\n");
  for (size_t i = 0; i < s->n_devices; i++) {
    const koi_rates *r = &s->devices[i].rates;
    if (isfinite(r->bytes_per_s)) koi_text_add(&t, "%-10s %8.2f GB/s %9.1f GFLOP/s %7.1f us\n", s->devices[i].id, 1e-9 * r->bytes_per_s, 1e-9 * r->flops_per_s, 1e6 * r->launch_s);
    else koi_text_add(&t, "%-10s unknown\n", s->devices[i].id);
  }
  return koi_text_take(&t, out);
}
