/* Asks every backend for endpoints, merges those of one card, and orders them; machine_find.c chooses.
 * Owns the topology, the endpoints with their handles, and the cards; opens no device.
 * Invariants: a card's endpoints are consecutive; a card's memory is counted once; every endpoint belongs to exactly one card. */
#include "machine.h"
#include "backend.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/paths.h"
#include "base/record.h"
#include "limits.h"

#ifndef KOINE_DATA_DIR
#define KOINE_DATA_DIR "" /* Makefile.am says where measurements that ship are installed; other builds have none */
#endif

enum { HOST_GROUP = -1 }; /* the host's endpoints; other groups are numbered from 0 */
enum { USUAL_MHZ = 1000 }; /* of a device that does not say */
enum { OWN_BYTES = 128 << 20 }; /* of a control group's limit, kept for the process itself */

/* ---- asking the backends ----------------------------------------------------------------------------------------------- */
static koine_status probe_all(koi_probe *p)
{
  koine_status s = KOINE_OK;
  for (size_t i = 0; koi_backends[i] && !s; i++)
    s = koi_runtime_wants(koi_backends[i]->name) ? koi_backends[i]->probe(p)
                                                  : koi_probe_skip(p, koi_backends[i]->name, "the environment variable KOINE_BACKENDS leaves it out");
  return s;
}

/* ---- merging and ordering ---------------------------------------------------------------------------------------------- */
/* While merging: which card an endpoint is of, and by what it is ordered. */
typedef struct rank {
  size_t endpoint;     /* in probe order */
  int group;           /* a card, in the order of discovery */
  koine_device_type type; /* of the card: its best endpoint's */
  bool shares_memory;  /* with the host: every endpoint of the card says so */
  uint64_t speed;      /* of the card: units times clock */
  uint64_t card_bytes;
} rank;

static bool on_host(const koi_endpoint *e) { return e->type == KOINE_DEVICE_HOST || (e->type == KOINE_DEVICE_CPU && !e->has_pci); }

static bool same_slot(const koi_endpoint *a, const koi_endpoint *b)
{
  return a->has_pci && b->has_pci && a->pci_domain == b->pci_domain && a->pci_bus == b->pci_bus && a->pci_dev == b->pci_dev &&
         a->pci_func == b->pci_func;
}

static bool is_part(const koi_endpoint *e, const koi_endpoint *of)
{
  size_t n = strlen(of->id);
  return e->part && !strncmp(e->id, of->id, n) && e->id[n] == '/';
}

static int preference(koine_device_type type)
{
  static const int order[] = {[KOINE_DEVICE_GPU] = 0, [KOINE_DEVICE_ACCELERATOR] = 1, [KOINE_DEVICE_CPU] = 2, [KOINE_DEVICE_HOST] = 3};
  return order[type];
}

static uint64_t speed_of(const koi_endpoint *e) { return (uint64_t)e->n_units * (e->clock_mhz ? e->clock_mhz : USUAL_MHZ); }

static void group(const koi_probe *p, rank *r)
{
  for (size_t i = 0; i < p->n_endpoints; i++) {
    const koi_endpoint *e = &p->endpoints[i];
    bool host = on_host(e);
    r[i] = (rank){.endpoint = i, .group = host ? HOST_GROUP : (int)i, .type = e->type, .shares_memory = host || e->host_unified,
                  .speed = speed_of(e), .card_bytes = e->memory_bytes};
    if (e->type == KOINE_DEVICE_CPU && !host) r[i].type = KOINE_DEVICE_ACCELERATOR; /* a CPU on a card of its own */
    for (size_t j = 0; j < i && r[i].group == (int)i; j++)
      if (same_slot(e, &p->endpoints[j]) || is_part(e, &p->endpoints[j])) r[i].group = r[j].group;
  }
  for (size_t i = 0; i < p->n_endpoints; i++) /* a card is as good as its best endpoint */
    for (size_t j = 0; j < p->n_endpoints; j++) {
      if (r[j].group != r[i].group || r[i].group == HOST_GROUP) continue;
      const koi_endpoint *e = &p->endpoints[j];
      if (preference(e->type) < preference(r[i].type)) r[i].type = e->type;
      if (!e->host_unified) r[i].shares_memory = false;
      if (speed_of(e) > r[i].speed) r[i].speed = speed_of(e);
      if (e->memory_bytes > r[i].card_bytes) r[i].card_bytes = e->memory_bytes;
    }
}

/* A card's own memory is several times as fast as the host's, however much there is of that; memory decides only between equals. */
static int compare(const void *pa, const void *pb)
{
  const rank *a = pa, *b = pb;
  if (preference(a->type) != preference(b->type)) return preference(a->type) < preference(b->type) ? -1 : 1;
  if (a->shares_memory != b->shares_memory) return a->shares_memory ? 1 : -1;
  if (a->speed != b->speed) return a->speed > b->speed ? -1 : 1;
  if (a->card_bytes != b->card_bytes) return a->card_bytes > b->card_bytes ? -1 : 1;
  if (a->group != b->group) return a->group < b->group ? -1 : 1;
  return a->endpoint < b->endpoint ? -1 : a->endpoint > b->endpoint;
}

/* The card of hwloc's list at this address. Some drivers do not say the domain: then bus, device and function decide if they are alone. */
static const koi_topo_card *place_of(const koi_topo *t, const koi_endpoint *e)
{
  const koi_topo_card *other = NULL;
  size_t n_others = 0;
  for (size_t i = 0; e->has_pci && i < t->n_cards; i++) {
    const koi_topo_card *c = &t->cards[i];
    if (!c->has_pci || c->pci_bus != e->pci_bus || c->pci_dev != e->pci_dev || c->pci_func != e->pci_func) continue;
    if (c->pci_domain == e->pci_domain) return c;
    other = c;
    n_others++;
  }
  return n_others == 1 && !e->pci_domain ? other : NULL;
}

static uint64_t at_most(uint64_t bytes, uint64_t limit) { return limit && limit < bytes ? limit : bytes; }

/* What a device may hold of a control group's limit: the process and the driver's compiler live under it too, and beyond it the system ends
 * the process without a word. */
static uint64_t for_devices(uint64_t limit)
{
  uint64_t rest = limit / 8 + OWN_BYTES;
  return limit / 2 > rest ? limit - rest : limit / 2;
}

/* Memory on the host is the process's: a container has less of it than the machine. */
static void limit_memory(const koi_topo *t, koi_endpoint *e)
{
  if (!on_host(e)) return;
  e->memory_bytes = at_most(e->memory_bytes, for_devices(t->limit_bytes));
  e->max_buffer_bytes = at_most(e->max_buffer_bytes, for_devices(t->limit_bytes));
}

static void copy_name(char *out, const char *first, const char *second) { koi_dev_text(out, KOI_NAME, first[0] ? first : second); }

static void start_card(const koine_runtime *rt, const koi_endpoint *e, koine_device_type type, koi_card *card)
{
  const koi_topo *t = rt->topo;
  const koi_topo_package *cpu = t->n_packages ? t->packages : NULL;
  bool host = on_host(e);
  *card = (koi_card){.type = host ? KOINE_DEVICE_HOST : type, .place = place_of(t, e), .node = -1};
  copy_name(card->name, host && cpu ? cpu->name : e->name, e->name);
  copy_name(card->vendor, host && cpu ? cpu->vendor : e->vendor, card->place ? card->place->vendor : "");
  card->memory_bytes = host && t->memory_bytes ? at_most(t->memory_bytes, t->limit_bytes) : e->memory_bytes;
  card->shares_host_memory = host || e->host_unified;
  if (card->place) card->node = card->place->node;
}

static void add_to_card(koi_card *card, const koi_endpoint *e)
{
  card->n_endpoints++;
  if (card->type != KOINE_DEVICE_HOST && e->memory_bytes > card->memory_bytes) card->memory_bytes = e->memory_bytes;
}

static void add_unreached(koine_runtime *rt)
{
  for (size_t i = 0; i < rt->topo->n_cards; i++) {
    const koi_topo_card *place = &rt->topo->cards[i];
    bool reached = false;
    for (size_t j = 0; j < rt->n_cards; j++) reached |= rt->cards[j].place == place;
    if (reached) continue;
    koi_card *card = &rt->cards[rt->n_cards++];
    *card = (koi_card){.type = place->accelerator ? KOINE_DEVICE_ACCELERATOR : KOINE_DEVICE_GPU, .place = place, .node = place->node};
    copy_name(card->name, place->name, "");
    copy_name(card->vendor, place->vendor, "");
    for (size_t j = 0; j < place->n_osdevs; j++)
      if (place->osdevs[j].memory_bytes > card->memory_bytes) card->memory_bytes = place->osdevs[j].memory_bytes;
  }
}

static koine_status make_cards(koine_runtime *rt, koi_probe *p)
{
  size_t n = p->n_endpoints;
  rank *r = koi_alloc(n + 1, sizeof *r);
  rt->endpoints = koi_alloc(n + 1, sizeof *rt->endpoints);
  rt->cards = koi_alloc(n + rt->topo->n_cards + 1, sizeof *rt->cards);
  rt->open = koi_alloc(n + 1, sizeof *rt->open);
  if (!r || !rt->endpoints || !rt->cards || !rt->open) {
    koi_free(r);
    return KOINE_ERR_MEMORY;
  }
  group(p, r);
  qsort(r, n, sizeof *r, compare);
  for (size_t i = 0; i < n; i++) {
    rt->endpoints[i] = p->endpoints[r[i].endpoint];
    limit_memory(rt->topo, &rt->endpoints[i]);
    if (!i || r[i].group != r[i - 1].group) {
      koi_card *card = &rt->cards[rt->n_cards++];
      start_card(rt, &rt->endpoints[i], r[i].type, card);
      card->endpoint0 = i;
    }
    add_to_card(&rt->cards[rt->n_cards - 1], &rt->endpoints[i]);
  }
  rt->n_endpoints = n;
  p->n_endpoints = 0; /* the handles have moved */
  koi_free(r);
  add_unreached(rt);
  return KOINE_OK;
}

/* ---- of an endpoint ---------------------------------------------------------------------------------------------------- */
const koi_card *koi_runtime_card(const koine_runtime *rt, size_t i)
{
  size_t c = 0;
  while (i - rt->cards[c].endpoint0 >= rt->cards[c].n_endpoints) c++;
  return &rt->cards[c];
}

void koi_runtime_note_host_op(koine_runtime *rt, size_t i, const char *op)
{
  char *why = rt->endpoints[i].why;
  size_t n = strlen(why), room = sizeof rt->endpoints[i].why;
  for (const char *at = why; (at = strstr(at, op)); at += strlen(op))
    if (at > why && at[-1] == ' ' && (!at[strlen(op)] || at[strlen(op)] == ',')) return;
  snprintf(why + n, room - n, "%s %s", n ? "," : "done on the host:", op);
}

static void note_unfit_ops(koine_runtime *rt)
{
  for (size_t i = 0; i < rt->n_endpoints; i++)
    for (size_t j = 0; koi_ops[j] && rt->endpoints[i].type != KOINE_DEVICE_HOST && rt->endpoints[i].usable; j++)
      if (!koi_backend_fits(&rt->endpoints[i], koi_ops[j])) koi_runtime_note_host_op(rt, i, koi_ops[j]->name);
}

/* ---- what is kept on disk --------------------------------------------------------------------------------------------- */
koine_status koi_runtime_set_cache(koine_runtime *rt, const char *dir)
{
  char *own = NULL;
  koine_status s = dir ? KOINE_OK : koi_paths_cache(&own);
  if (dir && *dir && !(own = koi_strdup(dir))) s = KOINE_ERR_MEMORY;
  if (s) return s;
  koi_free(rt->cache_dir);
  rt->cache_dir = own;
  return KOINE_OK;
}

/* ---- public ------------------------------------------------------------------------------------------------------------ */
koine_status koi_runtime_make(koi_topo *topo, koi_probe *p, koine_runtime **out)
{
  koine_runtime *rt = koi_alloc(1, sizeof *rt);
  koine_status s = KOINE_ERR_MEMORY;
  if (rt) {
    pthread_mutex_init(&rt->lock, NULL);
    rt->topo = topo, rt->skipped = p->skipped, rt->n_skipped = p->n_skipped;
    p->skipped = NULL, p->n_skipped = 0;
    s = make_cards(rt, p);
    if (!s) note_unfit_ops(rt);
  } else
    koi_topo_close(topo);
  for (size_t i = 0; i < p->n_endpoints; i++) p->endpoints[i].backend->unprobe(&p->endpoints[i]);
  koi_probe_free(p);
  if (s) koine_runtime_close(rt);
  else *out = rt;
  return s;
}

static koine_status make(const koine_runtime_options *o, koi_topo *topo, koi_probe *p, koine_runtime **out)
{
  koine_runtime *rt = NULL;
  koine_status s = koi_runtime_make(topo, p, &rt);
  if (!s) s = koi_runtime_set_cache(rt, o->cache_dir);
  const char *shipped = o->shipped_dir ? o->shipped_dir : KOINE_DATA_DIR;
  if (!s && *shipped && !(rt->shipped_dir = koi_strdup(shipped))) s = KOINE_ERR_MEMORY;
  if (!s) s = koi_runtime_measure(rt);
  if (s) {
    koine_runtime_close(rt);
    return s;
  }
  rt->n_threads = o->n_threads;
  *out = rt;
  return KOINE_OK;
}

koine_status koine_runtime_open(const koine_runtime_options *options, koine_runtime **out)
{
  koine_runtime_options o;
  koi_topo *topo = NULL;
  koi_probe p = {0};
  koine_status s = KOI_TAKE(koine_runtime_options, options, &o);
  if (!s && !out) s = koi_error(KOINE_ERR_ARG, "koine_runtime_open: out is NULL");
  if (!s && o.reserved) s = koi_error(KOINE_ERR_UNSUPPORTED, "koine_runtime_options: reserved is %u, expected 0", o.reserved);
  if (!s) s = koi_topo_open(o.topology_xml, &topo);
  if (s) return s;
  const char *fault = koi_fp_fault();
  if (fault && !o.topology_xml) koi_log(KOINE_LOG_WARNING, "results will differ from the checkpoint's: in this process %s", fault);
  if (!o.topology_xml) s = probe_all(&p);
  for (size_t i = 0; i < o.n_subdevices && !s && !o.topology_xml; i++) s = koi_machine_split(&p, o.subdevices[i]);
  if (!s) return make(&o, topo, &p, out);
  for (size_t i = 0; i < p.n_endpoints; i++) p.endpoints[i].backend->unprobe(&p.endpoints[i]);
  koi_probe_free(&p);
  koi_topo_close(topo);
  return s;
}

void koine_runtime_close(koine_runtime *rt)
{
  if (!rt) return;
  for (size_t i = 0; i < rt->n_endpoints; i++) rt->endpoints[i].backend->unprobe(&rt->endpoints[i]);
  koi_topo_close(rt->topo);
  koi_runtime_forget(rt);
  koi_free(rt->shipped_dir);
  koi_free(rt->endpoints);
  koi_free(rt->skipped);
  koi_free(rt->cards);
  koi_free(rt->open);
  koi_free(rt->cache_dir);
  pthread_mutex_destroy(&rt->lock);
  koi_free(rt);
}

size_t koine_runtime_n_devices(const koine_runtime *rt) { return rt ? rt->n_endpoints : 0; }

koine_status koine_runtime_device(const koine_runtime *rt, size_t i, koine_device_info *out)
{
  if (!rt || !out) return koi_error(KOINE_ERR_ARG, "koine_runtime_device: NULL");
  if (i >= rt->n_endpoints) return koi_error(KOINE_ERR_ARG, "koine_runtime_device: device %zu of %zu", i, rt->n_endpoints);
  const koi_endpoint *e = &rt->endpoints[i];
  const koi_card *card = koi_runtime_card(rt, i);
  koine_device_info own = {.id = e->id, .name = e->name, .vendor = e->vendor, .backend = e->backend->name, .platform = e->platform,
                           .driver = e->driver, .type = e->type, .memory_bytes = card->memory_bytes,
                           .max_buffer_bytes = e->max_buffer_bytes, .n_units = e->n_units};
  KOI_GIVE(koine_device_info, &own, out);
  return KOINE_OK;
}

koine_status koine_runtime_describe(koine_runtime *rt, bool json, char **out)
{
  if (!rt || !out) return koi_error(KOINE_ERR_ARG, "koine_runtime_describe: NULL");
  return json ? koi_runtime_json(rt, out) : koi_runtime_text(rt, out);
}
