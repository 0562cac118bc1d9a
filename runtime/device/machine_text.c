/* The machine as text and as JSON: the same facts twice. Owns nothing. JSON keys are stable: they are only ever added to; an unknown number is
 * null or 0 as the facts' own rule says, an unknown text "". */
#include <stdio.h>
#include <string.h>
#include "machine.h"
#include "backend.h"

static const char *unreached(const koine_runtime *rt)
{
  return rt->topo->recorded ? "the recording shows no OpenCL driver that reached it"
                            : "no driver reached it: is an OpenCL driver for it installed, and may you open its device file (group render or video)?";
}

/* ---- pieces for both ---------------------------------------------------------------------------------------------------- */
static const char *address(const koi_topo_card *c, char *out /* [32] */)
{
  snprintf(out, 32, "%04x:%02x:%02x.%x", c->pci_domain, c->pci_bus, c->pci_dev, c->pci_func);
  return out;
}

static const char *endpoint_address(const koi_endpoint *e, char *out /* [32] */)
{
  snprintf(out, 32, "%04x:%02x:%02x.%x", e->pci_domain, e->pci_bus, e->pci_dev, e->pci_func);
  return out;
}

static void size(koi_text *t, uint64_t bytes)
{
  static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
  double v = (double)bytes;
  size_t u = 0;
  while (v >= 1024 && u + 1 < KOI_COUNT(units)) v /= 1024, u++;
  koi_text_add(t, u ? "%.1f %s" : "%.0f %s", v, units[u]);
}

/* A recording has no live endpoint; what its libraries said stands in. */
static bool is_library(const koi_topo_osdev *o) { return o->kind[0] != 0; }

static bool reached(const koi_card *card)
{
  if (card->n_endpoints) return true;
  for (size_t i = 0; card->place && i < card->place->n_osdevs; i++)
    if (!strcmp(card->place->osdevs[i].kind, "OpenCL")) return true;
  return false;
}

/* ---- text ---------------------------------------------------------------------------------------------------------------- */
static void indent(koi_text *t, int depth) { koi_text_add(t, "%*s", 2 * depth, ""); }

static void endpoint_numbers(koi_text *t, int depth, const koi_endpoint *e)
{
  indent(t, depth);
  koi_text_add(t, "%u unit%s", e->n_units, e->n_units == 1 ? "" : "s");
  if (e->clock_mhz) koi_text_add(t, " at %u MHz", e->clock_mhz);
  koi_text_add(t, ", vectors of %u", e->vector_width);
  if (e->lanes) koi_text_add(t, ", lanes %u", e->lanes);
  koi_text_add(t, ", sub-groups %s", e->subgroups ? "yes" : "no");
  for (size_t i = 0; i < KOI_MAX_WIDTHS && e->subgroup_sizes[i]; i++) koi_text_add(t, "%s%u", i ? ", " : " (sizes ", e->subgroup_sizes[i]);
  koi_text_add(t, "%s, fp16 %s, fp64 %s, denormals %s, dot product %s\n", e->subgroup_sizes[0] ? ")" : "", e->fp16 ? "yes" : "no",
               e->fp64 ? "yes" : "no", e->denormals ? "yes" : "no",
               e->integer_dot_fast ? "fast" : e->integer_dot ? "yes, not said to be fast" : "no");
  indent(t, depth);
  koi_text_add(t, "memory ");
  size(t, e->memory_bytes);
  koi_text_add(t, ", at most ");
  size(t, e->max_buffer_bytes);
  koi_text_add(t, " in one allocation");
  if (e->local_bytes) {
    koi_text_add(t, ", local memory ");
    size(t, e->local_bytes);
    koi_text_add(t, e->local_is_global ? " (ordinary memory)" : "");
  }
  koi_text_add(t, ", work-groups up to %u\n", e->max_group);
}

static void endpoint_text(koi_text *t, int depth, const koine_runtime *rt, size_t i)
{
  const koi_endpoint *e = &rt->endpoints[i];
  indent(t, depth);
  koi_text_add(t, "%s: %s%s%s%s by %s, driver %s", e->id, e->name, e->arch[0] ? " [" : "", e->arch, e->arch[0] ? "]" : "", e->backend->name,
               e->driver[0] ? e->driver : "unknown");
  koi_text_add(t, "%s%s%s%s\n", e->platform[0] ? ", platform " : "", e->platform, e->version[0] ? ", " : "", e->version);
  endpoint_numbers(t, depth + 2, e);
  char order[KOI_NAME];
  koi_runtime_order_text(rt, i, order, sizeof order);
  indent(t, depth + 2);
  koi_text_add(t, "order: %s\n", order);
  if (!e->why[0]) return;
  indent(t, depth + 2);
  koi_text_add(t, "%s\n", e->why);
}

static void osdevs_text(koi_text *t, int depth, const koi_topo_card *c)
{
  for (size_t i = 0; i < c->n_osdevs; i++) {
    const koi_topo_osdev *o = &c->osdevs[i];
    if (!is_library(o)) continue;
    indent(t, depth);
    koi_text_add(t, "%s: %s by %s%s%s", o->name, o->model[0] ? o->model : "unnamed", o->kind, o->platform[0] ? ", platform " : "", o->platform);
    if (o->n_units) koi_text_add(t, ", %u units", o->n_units);
    if (o->memory_bytes) {
      koi_text_add(t, ", memory ");
      size(t, o->memory_bytes);
    }
    koi_text_add(t, "\n");
  }
}

static void system_names(koi_text *t, const koi_topo_card *c)
{
  size_t n = 0;
  for (size_t i = 0; i < c->n_osdevs; i++)
    if (!is_library(&c->osdevs[i])) koi_text_add(t, "%s%s", n++ ? ", " : "; the system calls it ", c->osdevs[i].name);
}

/* Where the card sits. */
static void place_text(koi_text *t, int depth, const koine_runtime *rt, const koi_card *card)
{
  char where[32];
  const koi_topo_card *c = card->place;
  const koi_endpoint *e = card->n_endpoints ? &rt->endpoints[card->endpoint0] : NULL;
  indent(t, depth);
  if (c && c->has_pci) {
    koi_text_add(t, "PCI %s (%04x:%04x), link ", address(c, where), c->vendor_id, c->device_id);
    koi_text_add(t, c->link_bytes_per_s > 0 ? "%.1f GB/s" : "unknown", c->link_bytes_per_s / 1e9);
  } else if (e && e->has_pci)
    koi_text_add(t, "PCI %s, link unknown", endpoint_address(e, where));
  else
    koi_text_add(t, "no PCI address");
  if (card->node >= 0) koi_text_add(t, ", NUMA node %u", rt->topo->nodes[card->node].index);
  if (c) system_names(t, c);
  koi_text_add(t, "\n");
}

static void card_text(koi_text *t, int depth, const koine_runtime *rt, const koi_card *card)
{
  bool host = card->type == KOINE_DEVICE_HOST;
  indent(t, depth);
  koi_text_add(t, "%s: %s%s%s", host ? "Host" : koi_runtime_type_name(card->type), card->vendor, card->vendor[0] ? " " : "",
               card->name[0] ? card->name : "unnamed");
  if (card->memory_bytes) {
    koi_text_add(t, ", memory ");
    size(t, card->memory_bytes);
  }
  koi_text_add(t, "%s\n", host ? "; these endpoints share it:" : card->shares_host_memory ? " shared with the host" : "");
  if (!host) place_text(t, depth + 2, rt, card);
  for (size_t i = 0; i < card->n_endpoints; i++) endpoint_text(t, depth + 1, rt, card->endpoint0 + i);
  if (card->place && !card->n_endpoints) osdevs_text(t, depth + 1, card->place);
  if (reached(card)) return;
  indent(t, depth + 2);
  koi_text_add(t, "%s\n", unreached(rt));
}

static void cards_near(koi_text *t, int depth, const koine_runtime *rt, int32_t node)
{
  for (size_t i = 0; i < rt->n_cards; i++)
    if (rt->cards[i].node == node && rt->cards[i].type != KOINE_DEVICE_HOST) card_text(t, depth, rt, &rt->cards[i]);
}

static void nodes_of(koi_text *t, int depth, const koine_runtime *rt, int32_t package)
{
  for (size_t i = 0; i < rt->topo->n_nodes; i++) {
    const koi_topo_node *n = &rt->topo->nodes[i];
    if (n->package != package) continue;
    indent(t, depth);
    koi_text_add(t, "NUMA node %u: ", n->index);
    size(t, n->memory_bytes);
    koi_text_add(t, ", %u threads\n", n->n_threads);
    cards_near(t, depth + 1, rt, (int32_t)i);
  }
}

koine_status koi_runtime_text(const koine_runtime *rt, char **out)
{
  const koi_topo *m = rt->topo;
  koi_text t = {0};
  koi_text_add(&t, "Machine: %s%s%s%s, ", m->machine[0] ? m->machine : "unnamed", m->os[0] ? ", " : "", m->os, m->recorded ? ", recorded" : "");
  size(&t, m->memory_bytes);
  if (m->limit_bytes && m->limit_bytes < m->memory_bytes) {
    koi_text_add(&t, ", of which this process may have ");
    size(&t, m->limit_bytes);
    koi_text_add(&t, " (its control group's limit)");
  }
  koi_text_add(&t, ", %u threads\n", m->n_threads);
  for (size_t i = 0; i < m->n_packages; i++) {
    const koi_topo_package *p = &m->packages[i];
    koi_text_add(&t, "  Package %u: %s, %u cores, %u threads, last cache ", p->index, p->name[0] ? p->name : "unnamed", p->n_cores, p->n_threads);
    size(&t, p->cache_bytes);
    koi_text_add(&t, "\n");
    nodes_of(&t, 2, rt, (int32_t)i);
  }
  nodes_of(&t, 1, rt, -1);
  cards_near(&t, 1, rt, -1);
  for (size_t i = 0; i < rt->n_cards; i++)
    if (rt->cards[i].type == KOINE_DEVICE_HOST) card_text(&t, 1, rt, &rt->cards[i]);
  if (rt->n_skipped) koi_text_add(&t, "Skipped:\n");
  for (size_t i = 0; i < rt->n_skipped; i++) koi_text_add(&t, "  %s: %s\n", rt->skipped[i].what, rt->skipped[i].why);
  return koi_text_take(&t, out);
}

/* ---- JSON ---------------------------------------------------------------------------------------------------------------- */
static void key_text(koi_text *t, const char *key, const char *value)
{
  koi_text_add(t, "\"%s\": ", key);
  koi_text_json(t, value);
  koi_text_add(t, ", ");
}

static void key_number(koi_text *t, const char *key, uint64_t value) { koi_text_add(t, "\"%s\": %llu, ", key, (unsigned long long)value); }
static void key_flag(koi_text *t, const char *key, bool value) { koi_text_add(t, "\"%s\": %s, ", key, value ? "true" : "false"); }

static void machine_json(koi_text *t, const koi_topo *m)
{
  koi_text_add(t, " \"machine\": {");
  key_text(t, "name", m->machine);
  key_text(t, "os", m->os);
  key_flag(t, "recorded", m->recorded);
  key_number(t, "memory_bytes", m->memory_bytes);
  key_number(t, "memory_limit_bytes", m->limit_bytes);
  key_number(t, "n_threads", m->n_threads);
  koi_text_add(t, "\n  \"packages\": [");
  for (size_t i = 0; i < m->n_packages; i++) {
    const koi_topo_package *p = &m->packages[i];
    koi_text_add(t, "%s\n   {\"index\": %u, ", i ? "," : "", p->index);
    key_text(t, "name", p->name);
    key_text(t, "vendor", p->vendor);
    koi_text_add(t, "\"n_cores\": %u, \"n_threads\": %u, \"cache_bytes\": %llu}", p->n_cores, p->n_threads, (unsigned long long)p->cache_bytes);
  }
  koi_text_add(t, "],\n  \"numa_nodes\": [");
  for (size_t i = 0; i < m->n_nodes; i++) {
    const koi_topo_node *n = &m->nodes[i];
    koi_text_add(t, "%s\n   {\"index\": %u, \"package\": ", i ? "," : "", n->index);
    koi_text_add(t, n->package >= 0 ? "%u" : "null", n->package >= 0 ? m->packages[n->package].index : 0u);
    koi_text_add(t, ", \"n_threads\": %u, \"memory_bytes\": %llu}", n->n_threads, (unsigned long long)n->memory_bytes);
  }
  koi_text_add(t, "]},\n");
}

static void pci_json(koi_text *t, const koine_runtime *rt, const koi_card *card)
{
  char where[32];
  const koi_topo_card *c = card->place;
  const koi_endpoint *e = card->n_endpoints ? &rt->endpoints[card->endpoint0] : NULL;
  if (c && c->has_pci) {
    koi_text_add(t, "\"pci\": {\"address\": \"%s\", \"vendor_id\": %u, \"device_id\": %u, \"class\": %u, ", address(c, where), c->vendor_id,
                 c->device_id, c->class_id);
    koi_text_add(t, c->link_bytes_per_s > 0 ? "\"link_bytes_per_s\": %.0f}, " : "\"link_bytes_per_s\": null}, ", c->link_bytes_per_s);
  } else if (e && e->has_pci)
    koi_text_add(t, "\"pci\": {\"address\": \"%s\", \"vendor_id\": null, \"device_id\": null, \"class\": null, \"link_bytes_per_s\": null}, ",
                 endpoint_address(e, where));
  else
    koi_text_add(t, "\"pci\": null, ");
}

static void endpoint_json(koi_text *t, const koine_runtime *rt, size_t i)
{
  const koi_endpoint *e = &rt->endpoints[i];
  char order[KOI_NAME];
  koi_runtime_order_text(rt, i, order, sizeof order);
  koi_text_add(t, "{");
  key_text(t, "id", e->id);
  key_text(t, "backend", e->backend->name);
  key_text(t, "type", koi_runtime_type_name(e->type));
  key_text(t, "name", e->name);
  key_text(t, "arch", e->arch);
  key_text(t, "vendor", e->vendor);
  key_text(t, "platform", e->platform);
  key_text(t, "driver", e->driver);
  key_text(t, "version", e->version);
  key_text(t, "c_version", e->c_version);
  key_number(t, "memory_bytes", e->memory_bytes);
  key_number(t, "max_buffer_bytes", e->max_buffer_bytes);
  key_number(t, "local_bytes", e->local_bytes);
  key_flag(t, "local_is_global", e->local_is_global);
  key_number(t, "cache_bytes", e->cache_bytes);
  key_number(t, "n_units", e->n_units);
  key_number(t, "clock_mhz", e->clock_mhz);
  key_number(t, "max_group", e->max_group);
  key_number(t, "vector_width", e->vector_width);
  key_number(t, "lanes", e->lanes);
  key_flag(t, "subgroups", e->subgroups);
  koi_text_add(t, "\"subgroup_sizes\": [");
  for (size_t k = 0; k < KOI_MAX_WIDTHS && e->subgroup_sizes[k]; k++) koi_text_add(t, "%s%u", k ? ", " : "", e->subgroup_sizes[k]);
  koi_text_add(t, "], ");
  key_flag(t, "fp16", e->fp16);
  key_flag(t, "fp64", e->fp64);
  key_flag(t, "denormals", e->denormals);
  key_flag(t, "integer_dot", e->integer_dot);
  key_flag(t, "integer_dot_fast", e->integer_dot_fast);
  key_text(t, "order", order);
  koi_text_add(t, "\"why\": ");
  koi_text_json(t, e->why);
  koi_text_add(t, "}");
}

static void osdevs_json(koi_text *t, const koi_topo_card *c)
{
  koi_text_add(t, "\"os_devices\": [");
  for (size_t i = 0; c && i < c->n_osdevs; i++) {
    const koi_topo_osdev *o = &c->osdevs[i];
    koi_text_add(t, "%s{", i ? ", " : "");
    key_text(t, "name", o->name);
    key_text(t, "kind", o->kind);
    key_text(t, "model", o->model);
    key_text(t, "platform", o->platform);
    koi_text_add(t, "\"n_units\": %u, \"memory_bytes\": %llu}", o->n_units, (unsigned long long)o->memory_bytes);
  }
  koi_text_add(t, "]");
}

static void card_json(koi_text *t, const koine_runtime *rt, const koi_card *card)
{
  koi_text_add(t, "  {");
  key_text(t, "name", card->name);
  key_text(t, "vendor", card->vendor);
  key_text(t, "type", koi_runtime_type_name(card->type));
  pci_json(t, rt, card);
  koi_text_add(t, card->node >= 0 ? "\"numa_node\": %u, " : "\"numa_node\": null, ", card->node >= 0 ? rt->topo->nodes[card->node].index : 0u);
  key_number(t, "memory_bytes", card->memory_bytes);
  key_flag(t, "shares_host_memory", card->shares_host_memory);
  key_text(t, "note", reached(card) ? "" : unreached(rt));
  osdevs_json(t, card->place);
  koi_text_add(t, ", \"endpoints\": [");
  for (size_t i = 0; i < card->n_endpoints; i++) {
    koi_text_add(t, i ? ",\n   " : "\n   ");
    endpoint_json(t, rt, card->endpoint0 + i);
  }
  koi_text_add(t, "]}");
}

koine_status koi_runtime_json(const koine_runtime *rt, char **out)
{
  koi_text t = {0};
  koi_text_add(&t, "{\n");
  machine_json(&t, rt->topo);
  koi_text_add(&t, " \"cards\": [");
  for (size_t i = 0; i < rt->n_cards; i++) {
    koi_text_add(&t, i ? ",\n" : "\n");
    card_json(&t, rt, &rt->cards[i]);
  }
  koi_text_add(&t, "],\n \"skipped\": [");
  for (size_t i = 0; i < rt->n_skipped; i++) {
    koi_text_add(&t, "%s\n  {", i ? "," : "");
    key_text(&t, "what", rt->skipped[i].what);
    koi_text_add(&t, "\"why\": ");
    koi_text_json(&t, rt->skipped[i].why);
    koi_text_add(&t, "}");
  }
  koi_text_add(&t, "]\n}\n");
  return koi_text_take(&t, out);
}
