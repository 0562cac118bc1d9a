/* See placing.h. Owns nothing. */
#include "placing.h"
#include <string.h>
#include "device/machine_open.h"
#include "plan/assign.h"
#include "plan/solve.h"
#include "plan/words.h"
#include "tune/measure.h"

static void put_id(const koine_runtime *rt, size_t i, char to[KOI_PLACEMENT_ID]) { koi_print(to, KOI_PLACEMENT_ID, "%s", rt->endpoints[i].id); }

koine_status koi_placing_id(const koine_runtime *rt, const char *option, const char *text, char name[KOI_PLACEMENT_ID])
{
  size_t i;
  koine_status s = koi_runtime_find(rt, name, &i);
  if (s) return koi_error_prefix(s, "%s %.80s", option, text);
  put_id(rt, i, name);
  return KOINE_OK;
}

static koine_status put_layers(const koine_runtime *rt, const koine_model *m, const koine_plan_options *o, koi_placement *out)
{
  koine_status s = KOINE_OK;
  if (o->device && o->device[0])
    return koi_error(KOINE_ERR_ARG, "layers %.80s and device %.80s are both given; expected one of them", o->layers[0], o->device);
  for (size_t i = 0; i < o->n_layers && !s; i++) {
    koi_placed *st = koi_placement_add(out);
    s = st ? koi_placement_range(o->layers[i], m->config.n_layers, st) : KOINE_ERR_MEMORY;
    if (!s) s = koi_placing_id(rt, "layers", o->layers[i], st->device);
  }
  return s;
}

static koine_status put_all(const koine_runtime *rt, const koine_model *m, const char *device, koi_placement *out)
{
  size_t i;
  koine_status s = koi_runtime_find(rt, device, &i);
  if (s) return s;
  koi_placed *st = koi_placement_add(out);
  if (!st) return KOINE_ERR_MEMORY;
  put_id(rt, i, st->device);
  st->layer1 = m->config.n_layers;
  return KOINE_OK;
}

/* Stages end at this layer: the one over it becomes two. */
static koine_status cut_at(koi_placement *p, uint32_t layer)
{
  for (size_t i = 0; i < p->n_stages; i++) {
    if (p->stages[i].layer0 >= layer || p->stages[i].layer1 <= layer) continue;
    koi_placed *end = koi_placement_add(p);
    if (!end) return KOINE_ERR_MEMORY;
    *end = p->stages[i];
    end->layer0 = p->stages[i].layer1 = layer;
    end->embed = p->stages[i].head = false;
    return KOINE_OK;
  }
  return KOINE_OK;
}

static koine_status put_experts(const koine_runtime *rt, const koine_model *m, const char *text, koi_placement *p)
{
  koi_placed x = {.layer1 = m->config.n_layers};
  koine_status s = strchr(text, '=') ? koi_placement_range(text, m->config.n_layers, &x) : KOINE_OK;
  if (!s && !x.device[0] && strlen(text) >= sizeof x.device) s = koi_error(KOINE_ERR_NO_DEVICE, "experts %.80s: no device has such a name", text);
  if (s) return s;
  if (!x.device[0]) koi_print(x.device, sizeof x.device, "%s", text);
  s = koi_placing_id(rt, "experts", text, x.device);
  if (!s) s = cut_at(p, x.layer0);
  if (!s) s = cut_at(p, x.layer1);
  for (size_t i = 0; i < p->n_stages && !s; i++)
    if (p->stages[i].layer0 >= x.layer0 && p->stages[i].layer1 <= x.layer1) memcpy(p->stages[i].experts, x.device, sizeof x.device);
  return s;
}

static koine_status read_text(const koine_plan_options *o, koi_placement *out)
{
  if (o->n_layers || o->n_experts || (o->device && o->device[0]))
    return koi_error(KOINE_ERR_ARG, "a placement is given, and layers, experts or a device too; expected one of them");
  return koi_placement_parse(o->placement, out);
}

/* ---- bytes of a device ------------------------------------------------------------------------------------------------- */
bool koi_placing_bytes(const char *text, char device[KOI_PLACEMENT_ID], uint64_t *bytes)
{
  const char *eq = strrchr(text, '=');
  size_t n = eq ? (size_t)(eq - text) : 0;
  if (!n || n >= KOI_PLACEMENT_ID || !koi_word_bytes(eq + 1, bytes)) return false;
  koi_print(device, KOI_PLACEMENT_ID, "%.*s", (int)n, text);
  return true;
}

/* ---- expert caches ----------------------------------------------------------------------------------------------------- */
static koine_status take_cache(const koine_runtime *rt, const char *text, char device[KOI_PLACEMENT_ID], uint64_t *bytes)
{
  if (!koi_placing_bytes(text, device, bytes) || !*bytes)
    return koi_error(KOINE_ERR_ARG, "expert cache %.80s: expected DEVICE=BYTES, such as cl0=8589934592 or cl0=8G", text);
  return koi_placing_id(rt, "expert cache", text, device);
}

koine_status koi_placing_caches(const koine_runtime *rt, const koine_plan_options *o, koi_placement *p)
{
  koine_status s = KOINE_OK;
  for (size_t i = 0; i < o->n_expert_caches && !s; i++) {
    char device[KOI_PLACEMENT_ID];
    uint64_t bytes;
    s = take_cache(rt, o->expert_caches[i], device, &bytes);
    if (s) return s;
    s = koi_placement_cache(p, device, bytes);
    if (s) koi_error_prefix(s, "expert cache %.80s", o->expert_caches[i]);
  }
  return s;
}

koine_status koi_placing_misses(const koine_runtime *rt, const koine_plan_options *o, koi_placement *p)
{
  char device[KOI_PLACEMENT_ID];
  if (strlen(o->misses_on) >= sizeof device) return koi_error(KOINE_ERR_NO_DEVICE, "misses on %.80s: no device has such a name", o->misses_on);
  koi_print(device, sizeof device, "%s", o->misses_on);
  koine_status s = koi_placing_id(rt, "misses on", o->misses_on, device);
  for (size_t i = 0; i < p->n_stages && !s; i++)
    if (p->stages[i].expert_bytes) memcpy(p->stages[i].misses, device, sizeof device);
  return s;
}

/* ---- all of it ---------------------------------------------------------------------------------------------------------- */
/* Nothing says where layers lie, but who has a cache for experts. */
static koine_status put_cached(const koine_runtime *rt, const koine_model *m, const koine_plan_options *o, koi_placement *p)
{
  char device[KOI_PLACEMENT_ID];
  uint64_t bytes;
  koine_status s = take_cache(rt, o->expert_caches[0], device, &bytes);
  return s ? s : put_all(rt, m, device, p);
}

koine_status koi_placing_turns(const koine_runtime *rt, const koine_model *m, const koine_plan_options *o, koi_placement *p)
{
  koine_status s = p->n_stages ? KOINE_OK : put_all(rt, m, o->device ? o->device : "", p);
  koi_placement_order(p);
  for (size_t i = 0; i < p->n_stages && !s; i++) p->stages[i].expert_bytes = KOI_EXPERTS_REST;
  return s || !o->misses_on ? s : koi_placing_misses(rt, o, p);
}

koine_status koi_placing(const koine_runtime *rt, const koine_model *m, const koine_plan_options *o, koi_placement *out)
{
  if (o->placement) return read_text(o, out);
  koi_placement p = {0};
  koine_status s = o->n_layers ? put_layers(rt, m, o, &p) : o->device || !o->n_expert_caches || o->n_experts ? put_all(rt, m, o->device, &p) : put_cached(rt, m, o, &p);
  for (size_t i = 0; i < o->n_experts && !s; i++) s = put_experts(rt, m, o->experts[i], &p);
  if (s) {
    koi_placement_free(&p);
    return s;
  }
  koi_placement_order(&p);
  *out = p;
  return KOINE_OK;
}

/* ---- the best place ---------------------------------------------------------------------------------------------------- */
static koine_status assign(const koi_site *site, const koine_model *m, const koine_plan_options *o, koi_assigned *out)
{
  koi_assign_wish w = KOI_ASSIGN_WISH;
  koi_bound_memory *limits = koi_alloc(site->n_devices + 1, sizeof *limits);
  if (!limits) return KOINE_ERR_MEMORY;
  for (size_t d = 0; d < site->n_devices; d++) {
    koi_print(limits[d].device, sizeof limits[d].device, "%s", site->devices[d].id);
    limits[d].bytes = o->memory_bytes;
  }
  w.context = o->context, w.chunk = o->chunk, w.exact = o->cache == KOINE_CACHE_EXACT;
  if (o->memory_bytes) w.memory = limits, w.n_memory = site->n_devices;
  koine_status s = koi_assign(site, m, &w, out);
  koi_free(limits);
  return s;
}

static size_t n_wanted(const koi_site *s)
{
  size_t n = 0;
  for (size_t d = 0; d < s->n_devices; d++) n += koi_measure_wanted(s, NULL, d);
  return n;
}

/* Whether there are any. */
static bool leave_failed(koine_runtime *rt, koi_site *s)
{
  bool any = false;
  for (size_t d = 0; d < s->n_devices; d++) {
    if (!s->devices[d].usable || !koi_machine_device_failed(rt, d)) continue;
    koi_log(KOINE_LOG_WARNING, "device %s (%s) failed before and gets no layers; what names it tries it again", s->devices[d].id, s->devices[d].name);
    s->devices[d].usable = false, any = true;
  }
  return any;
}

static void tell(const koine_runtime *rt, const koi_assigned *a)
{
  if (a->placement.n_stages == 1 && a->stages[0].experts == KOI_SOLVE_NOWHERE) koi_runtime_tell(rt, a->stages[0].device);
  koi_log(KOINE_LOG_NOTE, "%zu stage%s: %.1f ms a token are expected, %s", a->placement.n_stages, a->placement.n_stages == 1 ? "" : "s", 1e3 * a->token_s, koi_assigned_basis(a));
}

koine_status koi_placing_best(koine_runtime *rt, const koine_model *m, const koine_plan_options *o, koi_placement *out, const char **basis)
{
  koi_site site;
  koi_assigned a = {0};
  koine_status s = koi_measure_known(rt, &site);
  if (s) return s;
  bool any = leave_failed(rt, &site);
  if ((any || n_wanted(&site) > 1) && o->chunk <= KOI_ASSIGN_CHUNK && !m->cannot) s = assign(&site, m, o, &a);
  koi_site_free(&site);
  if (s || !a.placement.n_stages) return s;
  tell(rt, &a);
  *basis = koi_assigned_basis(&a), *out = a.placement;
  a.placement = (koi_placement){0};
  koi_assigned_free(&a);
  return KOINE_OK;
}
