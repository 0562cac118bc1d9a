/* Which device is meant by a name, or is best, and what is said of it: why it was taken, and why no other. Owns nothing.
 * Invariant: words are compared in any case, whatever the process's locale is; plain C is never taken in silence in place of a device. */
#include <stdlib.h>
#include <string.h>
#include "machine.h"
#include "backend.h"

enum { CLASS_3D = 0x0302 }; /* of PCI: computes without a display */

/* ---- words in any case, whatever the locale ---------------------------------------------------------------------------- */
static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c; }

static bool begins(const char *text, const char *part)
{
  while (*part && lower(*text) == lower(*part)) text++, part++;
  return !*part;
}

static bool same(const char *a, const char *b) { return strlen(a) == strlen(b) && begins(a, b); }

bool koi_runtime_wants(const char *name)
{
  const char *list = getenv("KOINE_BACKENDS");
  if (!list || !list[0]) return true;
  for (size_t n = strlen(name); list; list = strchr(list, ',')) {
    list += *list == ',';
    if (begins(list, name) && (!list[n] || list[n] == ',')) return true;
    if (!*list) break;
  }
  return false;
}

/* ---- choosing ---------------------------------------------------------------------------------------------------------- */
const char *koi_runtime_type_name(koine_device_type type)
{
  static const char *const names[] = {[KOINE_DEVICE_HOST] = "host", [KOINE_DEVICE_CPU] = "CPU", [KOINE_DEVICE_GPU] = "GPU",
                                      [KOINE_DEVICE_ACCELERATOR] = "accelerator"};
  return names[type];
}

static bool has_part(const char *text, const char *part)
{
  for (; *text; text++)
    if (begins(text, part)) return true;
  return false;
}

static bool matches(const koi_endpoint *e, const char *part)
{
  const char *const texts[] = {e->id, e->name, e->arch, e->vendor, e->platform, e->version, koi_runtime_type_name(e->type)};
  for (size_t i = 0; i < KOI_COUNT(texts); i++)
    if (has_part(texts[i], part)) return true;
  return false;
}

/* What keeps better devices from being used: "what: why; ...". */
static void add_reasons(const koine_runtime *rt, koi_text *t)
{
  for (size_t i = 0; i < rt->n_endpoints; i++)
    if (!rt->endpoints[i].usable) koi_text_add(t, "%s%s (%s): %s", t->len ? "; " : "", rt->endpoints[i].id, rt->endpoints[i].name, rt->endpoints[i].why);
  for (size_t i = 0; i < rt->n_skipped; i++) koi_text_add(t, "%s%s: %s", t->len ? "; " : "", rt->skipped[i].what, rt->skipped[i].why);
}

/* A card that computes and that no driver reached: its render node or its class says so; a server's console display has neither. */
static bool is_idle(const koi_card *card)
{
  const koi_topo_card *c = card->place;
  if (card->n_endpoints || !c) return false;
  bool computes = c->accelerator || c->class_id == CLASS_3D;
  for (size_t i = 0; i < c->n_osdevs; i++) computes |= !strncmp(c->osdevs[i].name, "renderD", 7);
  return computes;
}

static size_t add_idle(const koine_runtime *rt, koi_text *t)
{
  size_t n = 0;
  for (size_t i = 0; i < rt->n_cards; i++)
    if (is_idle(&rt->cards[i])) koi_text_add(t, "%s%s: no driver reached it", t->len ? "; " : "", rt->cards[i].name), n++;
  return n;
}

static koine_status none_found(const koine_runtime *rt, const char *text)
{
  if (rt->topo->recorded) return koi_error(KOINE_ERR_NO_DEVICE, "device %s: this is a recorded machine, it can only be looked at", text);
  koi_text list = {0}, reasons = {0};
  for (size_t i = 0; i < rt->n_endpoints; i++) koi_text_add(&list, "%s%s (%s)", i ? ", " : "", rt->endpoints[i].id, rt->endpoints[i].name);
  add_reasons(rt, &reasons);
  koine_status s = koi_error(KOINE_ERR_NO_DEVICE, "no device is called %.100s; there are: %.300s%s%.450s", text, list.len ? list.s : "none",
                             reasons.len ? "; skipped: " : "", reasons.len ? reasons.s : "");
  koi_free(list.s);
  koi_free(reasons.s);
  return s;
}

/* One line: which device is taken when none was named, and why no other. Plain C in place of a device is never taken in silence, unless
 * nothing else was to be asked. */
void koi_runtime_tell(const koine_runtime *rt, size_t chosen)
{
  const koi_endpoint *e = &rt->endpoints[chosen];
  koi_text t = {0};
  bool asked = false;
  for (size_t i = 0; koi_backends[i]; i++) asked |= strcmp(koi_backends[i]->name, e->backend->name) && koi_runtime_wants(koi_backends[i]->name);
  bool fallen = e->type == KOINE_DEVICE_HOST && asked;
  bool lost = asked && add_idle(rt, &t) && (e->type == KOINE_DEVICE_CPU || e->type == KOINE_DEVICE_HOST);
  add_reasons(rt, &t);
  const char *why = t.len ? t.s : fallen ? "no driver has another" : "";
  if (lost && !fallen) koi_log(KOINE_LOG_WARNING, "device %s (%s) is used, a processor, though there is a card: %.800s", e->id, e->name, why);
  else if (fallen) koi_log(KOINE_LOG_WARNING, "device %s (%s) is used, plain C, which is slow, as there is no other: %.800s", e->id, e->name, why);
  else koi_log(KOINE_LOG_NOTE, "device %s (%s) is used, the best of %zu%s%.800s", e->id, e->name, rt->n_endpoints, *why ? "; skipped: " : "", why);
  koi_free(t.s);
}

/* The best that can run kernels; n_endpoints: there is none. */
static size_t best(const koine_runtime *rt)
{
  size_t i = 0;
  while (i < rt->n_endpoints && !rt->endpoints[i].usable) i++;
  if (i < rt->n_endpoints) koi_runtime_tell(rt, i);
  return i;
}

koine_status koi_runtime_find(const koine_runtime *rt, const char *text, size_t *out)
{
  size_t found = rt->n_endpoints, n_found = 0;
  if (!text) text = "";
  for (size_t i = 0; i < rt->n_endpoints; i++)
    if (same(rt->endpoints[i].id, text)) {
      *out = i;
      return KOINE_OK;
    }
  for (size_t i = rt->n_endpoints; i-- > 0 && text[0];)
    if (matches(&rt->endpoints[i], text)) found = i, n_found++;
  if (!text[0]) found = best(rt);
  if (found == rt->n_endpoints) return none_found(rt, text[0] ? text : "any");
  if (n_found > 1)
    koi_log(KOINE_LOG_WARNING, "%zu devices match %s: %s (%s) is taken", n_found, text, rt->endpoints[found].id, rt->endpoints[found].name);
  *out = found;
  return KOINE_OK;
}
