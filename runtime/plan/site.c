/* See site.h. Owns a site's arrays. Invariant: a device's card exists; what is not known is NaN. */
#include "site.h"
#include <math.h>
#include <string.h>

static void *grow(void **v, size_t *n, size_t size)
{
  void *p = koi_realloc(*v, *n + 1, size);
  if (!p) return NULL;
  *v = p;
  p = (char *)p + size * (*n)++;
  memset(p, 0, size);
  return p;
}

koi_site_card *koi_site_add_card(koi_site *s) { return grow((void **)&s->cards, &s->n_cards, sizeof *s->cards); }

koi_site_device *koi_site_add_device(koi_site *s)
{
  static const koi_link unknown = {NAN, NAN};
  koi_site_device *d = grow((void **)&s->devices, &s->n_devices, sizeof *s->devices);
  if (d) *d = (koi_site_device){.usable = true, .rates = {NAN, NAN, NAN}, .to_host = unknown, .from_host = unknown, .to_host_busy = unknown, .from_host_busy = unknown};
  return d;
}

koi_site_cost *koi_site_add_cost(koi_site *s)
{
  koi_site_cost *c = grow((void **)&s->costs, &s->n_costs, sizeof *s->costs);
  if (c) *c = (koi_site_cost){.seconds = NAN, .low = NAN, .high = NAN, .expected = NAN};
  return c;
}

void koi_site_free(koi_site *s)
{
  koi_free(s->cards);
  koi_free(s->devices);
  koi_free(s->costs);
  koi_free(s->topology);
  *s = (koi_site){0};
}

size_t koi_site_find(const koi_site *s, const char *id)
{
  size_t i = 0;
  while (i < s->n_devices && strcmp(s->devices[i].id, id)) i++;
  return i;
}

koine_status koi_site_missing(const koi_site *s, const char *id)
{
  koi_text there = {0};
  for (size_t i = 0; i < s->n_devices; i++) koi_text_add(&there, "%s%s", i ? ", " : "", s->devices[i].id);
  koine_status e = koi_error(KOINE_ERR_ARG, "the machine has no device %.80s; it has: %.200s", id, there.s ? there.s : "none");
  koi_free(there.s);
  return e;
}

const char *koi_site_kind_name(koi_layer_kind kind)
{
  static const char *const names[] = {[KOI_SLIDING] = "sliding", [KOI_CSA] = "csa", [KOI_HCA] = "hca"};
  return names[kind];
}

/* ---- from a runtime ---------------------------------------------------------------------------------------------------- */
static koine_status add_card(koi_site *s, const koi_card *from, size_t n)
{
  koi_site_card *c = koi_site_add_card(s);
  if (!c) return KOINE_ERR_MEMORY;
  koi_print(c->id, sizeof c->id, "card%zu", n);
  koi_dev_text(c->name, sizeof c->name, from->name);
  c->type = from->type, c->shares_host_memory = from->shares_host_memory, c->memory_bytes = from->memory_bytes;
  return KOINE_OK;
}

static koine_status add_device(koi_site *s, const koi_endpoint *e, uint32_t card)
{
  koi_site_device *d = koi_site_add_device(s);
  if (!d) return KOINE_ERR_MEMORY;
  koi_dev_text(d->id, sizeof d->id, e->id);
  koi_dev_text(d->name, sizeof d->name, e->name);
  koi_print(d->driver, sizeof d->driver, "%.60s %.60s", e->platform, e->driver);
  d->card = card, d->usable = e->usable, d->reference = e->type == KOINE_DEVICE_HOST, d->n_units = e->n_units, d->memory_bytes = e->memory_bytes;
  d->max_buffer_bytes = e->max_buffer_bytes;
  return KOINE_OK;
}

koine_status koi_site_of(const koine_runtime *rt, koi_site *out)
{
  koi_site site = {0};
  koine_status s = KOINE_OK;
  koi_dev_text(site.name, sizeof site.name, rt->topo->machine);
  for (size_t i = 0; i < rt->n_cards && !s; i++) s = add_card(&site, &rt->cards[i], i);
  for (size_t i = 0; i < rt->n_endpoints && !s; i++) s = add_device(&site, &rt->endpoints[i], (uint32_t)(koi_runtime_card(rt, i) - rt->cards));
  if (s) koi_site_free(&site);
  else *out = site;
  return s;
}
