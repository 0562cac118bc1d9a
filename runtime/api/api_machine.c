/* The public functions for machines and placements: check arguments, take options over, call. Owns a machine's record and a placement's. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/record.h"
#include "placing.h"
#include "plan/assign.h"
#include "plan/words.h"
#include "tune/measure.h"

struct koine_machine { koine_runtime *runtime; koi_site site; };
struct koine_placement { koi_site site; koi_assigned assigned; };

/* ---- machines ---------------------------------------------------------------------------------------------------------- */
koine_status koine_machine_open(koine_runtime *runtime, koine_machine **out)
{
  if (!runtime || !out) return koi_missing("koine_machine_open");
  koine_machine *m = koi_alloc(1, sizeof *m);
  if (!m) return KOINE_ERR_MEMORY;
  m->runtime = runtime;
  koine_status s = koi_measure_known(runtime, &m->site);
  if (s) koine_machine_close(m);
  else *out = m;
  return s;
}

koine_status koine_machine_parse(const char *text, const char *where, koine_machine **out)
{
  if (!text || !out) return koi_missing("koine_machine_parse");
  koine_machine *m = koi_alloc(1, sizeof *m);
  koine_status s = m ? koi_site_parse(text, where ? where : "machine", &m->site) : KOINE_ERR_MEMORY;
  if (s) koine_machine_close(m);
  else *out = m;
  return s;
}

void koine_machine_close(koine_machine *m)
{
  if (!m) return;
  koi_site_free(&m->site);
  koi_free(m);
}

static koine_status only_here(const koine_machine *m)
{
  return m->runtime ? KOINE_OK : koi_error(KOINE_ERR_STATE, "%s is a machine that was read from a text: it can be planned for, not measured", m->site.name);
}

koine_status koine_machine_probe(koine_machine *machine, koine_progress_fn *progress, void *user)
{
  if (!machine) return koi_missing("koine_machine_probe");
  koine_status s = only_here(machine);
  return s ? s : koi_measure_links(machine->runtime, &machine->site, &(koi_measure_wish){.progress = progress, .user = user});
}

koine_status koine_machine_text(const koine_machine *machine, char **out)
{
  if (!machine || !out) return koi_missing("koine_machine_text");
  koi_site with = machine->site;
  koine_status s = KOINE_OK;
  if (machine->runtime && !machine->runtime->topo->recorded) s = koi_topo_xml(&with.topology);
  if (!s) s = koi_site_text(&with, out);
  if (with.topology != machine->site.topology) koi_free(with.topology);
  return s;
}

koine_status koine_machine_links(const koine_machine *machine, char **out) { return machine && out ? koi_site_links(&machine->site, out) : koi_missing("koine_machine_links"); }

/* ---- options to wishes ------------------------------------------------------------------------------------------------- */
typedef char device_id[KOI_SITE_ID];
typedef struct wishes {
  koi_assign_wish w;
  koi_placed *pins; koi_bound_memory *memory /* limits, then caches */; koi_placement given;
  const char **names;          /* [n_devices + n_exclude + 1], into ids; the last: misses_on */
  device_id *ids;
} wishes;

/* On a machine that is here a part of a name will do. */
static koine_status find(const koine_machine *m, const char *option, const char *text, device_id id)
{
  return m->runtime && koi_site_find(&m->site, id) == m->site.n_devices ? koi_placing_id(m->runtime, option, text, id) : KOINE_OK;
}

static koine_status take_names(const koine_machine *m, const koine_place_options *o, wishes *w)
{
  size_t n = o->n_devices + o->n_exclude;
  koine_status s = KOINE_OK;
  w->names = koi_alloc(n + 1, sizeof *w->names), w->ids = koi_alloc(n + 1, sizeof *w->ids);
  if (!w->names || !w->ids) return KOINE_ERR_MEMORY;
  for (size_t i = 0; i < n + (o->misses_on != NULL) && !s; i++) {
    const char *text = i < o->n_devices ? o->devices[i] : i < n ? o->exclude[i - o->n_devices] : o->misses_on;
    koi_print(w->ids[i], sizeof w->ids[i], "%s", text);
    w->names[i] = w->ids[i];
    s = find(m, i < o->n_devices ? "device" : i < n ? "exclude" : "misses on", text, w->ids[i]);
  }
  w->w.include = w->names, w->w.n_include = o->n_devices, w->w.exclude = w->names + o->n_devices, w->w.n_exclude = o->n_exclude, w->w.misses_on = w->names[n];
  return s;
}

static koine_status take_lists(const koine_machine *m, const koine_place_options *o, uint32_t n_layers, wishes *w)
{
  koine_status s = take_names(m, o, w);
  w->pins = koi_alloc(o->n_layers + 1, sizeof *w->pins);
  w->memory = koi_alloc(o->n_memory + o->n_expert_caches + 1, sizeof *w->memory);
  if (!s && (!w->pins || !w->memory)) return KOINE_ERR_MEMORY;
  for (size_t i = 0; i < o->n_layers && !s; i++) {
    s = koi_placement_range(o->layers[i], n_layers, &w->pins[i]);
    if (!s) s = find(m, "layers", o->layers[i], w->pins[i].device);
  }
  for (size_t i = 0; i < o->n_memory + o->n_expert_caches && !s; i++) {
    bool cache = i >= o->n_memory;
    const char *text = cache ? o->expert_caches[i - o->n_memory] : o->memory[i], *option = cache ? "expert cache" : "memory";
    bool fine = koi_placing_bytes(text, w->memory[i].device, &w->memory[i].bytes) && (w->memory[i].bytes || !cache);
    if (!fine) s = koi_error(KOINE_ERR_ARG, "%s %.80s: expected DEVICE=BYTES, such as cl0=8589934592 or cl0=8G", option, text);
    if (!s) s = find(m, option, text, w->memory[i].device);
  }
  for (size_t i = 0; i < o->n_shares && !s; i++)
    if (!(o->shares[i] >= 0 && isfinite(o->shares[i]))) s = koi_error(KOINE_ERR_ARG, "share %zu of the layers is %g, expected 0 or more", i, o->shares[i]);
  if (!s && o->given) s = koi_placement_parse(o->given, &w->given);
  return s;
}

static koine_status take(const koine_machine *m, const koine_place_options *o, uint32_t n_layers, wishes *w)
{
  if (o->set & ~(unsigned)(KOINE_PLACE_ON_CARDS | KOINE_PLACE_EXPERTS_ON_CPU | KOINE_PLACE_TOGETHER) || o->reserved)
    return koi_error(KOINE_ERR_UNSUPPORTED, "koine_place_options: set is %#x and reserved %u, which this release does not know", o->set, o->reserved);
  if (!(o->n_streams >= 0)) return koi_error(KOINE_ERR_ARG, "%g streams, expected 0 or more", o->n_streams);
  if (o->chunk > KOI_ASSIGN_CHUNK) return koi_error(KOINE_ERR_ARG, "chunk of %u tokens, expected 1 to %d", o->chunk, KOI_ASSIGN_CHUNK);
  koine_status s = take_lists(m, o, n_layers, w);
  if (s) return s;
  w->w = (koi_assign_wish){.context = o->context, .chunk = o->chunk, .exact = o->cache == KOINE_CACHE_EXACT, .n_streams = o->n_streams, .together = o->set & KOINE_PLACE_TOGETHER,
                           .exclude = w->w.exclude, .n_exclude = w->w.n_exclude, .include = w->w.include, .n_include = w->w.n_include, .pins = w->pins, .n_pins = o->n_layers,
                           .memory = w->memory, .n_memory = o->n_memory, .shares = o->shares, .n_shares = o->n_shares, .on_cards = -1, .experts_on_cpu = -1, .misses_on = w->w.misses_on,
                           .caches = w->memory + o->n_memory, .n_caches = o->n_expert_caches};
  if (o->set & KOINE_PLACE_ON_CARDS) w->w.on_cards = o->n_on_cards < INT32_MAX ? (int32_t)o->n_on_cards : INT32_MAX;
  if (o->set & KOINE_PLACE_EXPERTS_ON_CPU) w->w.experts_on_cpu = o->n_experts_on_cpu < INT32_MAX ? (int32_t)o->n_experts_on_cpu : INT32_MAX;
  return KOINE_OK;
}

static void free_wishes(wishes *w)
{
  koi_free(w->pins);
  koi_free(w->memory);
  koi_free(w->names);
  koi_free(w->ids);
  koi_placement_free(&w->given);
}

/* ---- measuring --------------------------------------------------------------------------------------------------------- */
/* Whoever a placement by these options would not ask. */
static koine_status leave_out(const koine_machine *m, const koine_place_options *o, bool *out)
{
  wishes w = {0};
  koine_status s = take_names(m, o, &w);
  for (size_t d = 0; d < m->site.n_devices && !s; d++) {
    bool in = !o->n_devices;
    for (size_t i = 0; i < o->n_devices; i++) in |= !strcmp(w.w.include[i], m->site.devices[d].id);
    for (size_t i = 0; i < o->n_exclude; i++) in &= strcmp(w.w.exclude[i], m->site.devices[d].id) != 0;
    out[d] = !in;
  }
  free_wishes(&w);
  return s;
}

koine_status koine_machine_measure(koine_machine *machine, const koine_model *model, const koine_place_options *options, bool all, uint32_t seconds,
                                   koine_progress_fn *progress, void *user)
{
  if (!machine || !model) return koi_missing("koine_machine_measure");
  koine_place_options own;
  koine_status s = only_here(machine);
  bool *left_out = koi_alloc(machine->site.n_devices + 1, sizeof *left_out);
  if (!s) s = left_out ? KOI_TAKE(koine_place_options, options, &own) : KOINE_ERR_MEMORY;
  if (!s) s = leave_out(machine, &own, left_out);
  koi_measure_wish w = {.left_out = left_out, .all = all, .seconds = seconds, .progress = progress, .user = user};
  if (!s) s = koi_measure_layers(machine->runtime, &machine->site, model, &w);
  koi_free(left_out);
  return s;
}

/* ---- placements -------------------------------------------------------------------------------------------------------- */
static koine_status copy_site(const koi_site *from, koi_site *to)
{
  koi_site s = *from;
  s.topology = NULL, s.costs = NULL, s.n_costs = 0;
  s.cards = koi_alloc(s.n_cards + 1, sizeof *s.cards);
  s.devices = koi_alloc(s.n_devices + 1, sizeof *s.devices);
  if (!s.cards || !s.devices) {
    koi_free(s.cards), koi_free(s.devices);
    return KOINE_ERR_MEMORY;
  }
  memcpy(s.cards, from->cards, s.n_cards * sizeof *s.cards);
  memcpy(s.devices, from->devices, s.n_devices * sizeof *s.devices);
  *to = s;
  return KOINE_OK;
}

/* Experts by turns come from the disk. */
static void know_disk(const koine_machine *machine, const koine_model *m, koi_site *with, koine_placement *p)
{
  if (machine->runtime) koi_measure_disk(m, (uint32_t)sysconf(_SC_NPROCESSORS_ONLN), with);
  p->site.disk_per_s = with->disk_per_s, p->site.cached_per_s = with->cached_per_s;
}

/* What does not fit whole may fit with routed experts that take turns; if not, the reason why it does not fit whole is the one to tell. */
static koine_status by_turns(const koine_machine *machine, const koine_model *m, const koi_assign_wish *w, koine_placement *p)
{
  enum { LONG = 1024 };
  char why[LONG];
  koi_print(why, sizeof why, "%s", koi_error_text());
  koi_site with = machine->site;
  know_disk(machine, m, &with, p);
  koine_status s = koi_assign_turns(&with, m, w, &p->assigned);
  if (s) return w->misses_on ? s : koi_error(KOINE_ERR_MEMORY, "%s", why); /* else it may be that device */
  koi_log(KOINE_LOG_WARNING, "%s; so routed experts take turns in the memory that is left, which is slower", why);
  return s;
}

/* Where the user left it to us. */
static bool free_choice(const koi_assign_wish *w) { return !w->n_caches && !w->n_pins && !w->n_shares && w->on_cards < 0 && w->experts_on_cpu < 0; }

koine_status koine_place(const koine_machine *machine, const koine_model *model, const koine_place_options *options, koine_placement **out)
{
  if (!machine || !model || !out) return koi_missing("koine_place");
  koine_place_options own;
  wishes w = {0};
  koine_status s = KOI_TAKE(koine_place_options, options, &own);
  koine_placement *p = s ? NULL : koi_alloc(1, sizeof *p);
  if (!s) s = p ? take(machine, &own, model->config.n_layers, &w) : KOINE_ERR_MEMORY;
  if (!s && machine->runtime) koi_skew_known(machine->runtime->cache_dir, model, &w.w.skew);
  if (!s) s = copy_site(&machine->site, &p->site);
  koi_site with = machine->site;
  if (!s && own.n_expert_caches) know_disk(machine, model, &with, p);
  if (!s) s = own.given ? koi_assign_given(&with, model, &w.w, &w.given, &p->assigned) : koi_assign(&with, model, &w.w, &p->assigned);
  if (s == KOINE_ERR_MEMORY && p && !own.given && free_choice(&w.w)) s = by_turns(machine, model, &w.w, p);
  free_wishes(&w);
  if (s) koine_placement_free(p);
  else *out = p;
  return s;
}

void koine_placement_free(koine_placement *p)
{
  if (!p) return;
  koi_assigned_free(&p->assigned);
  koi_site_free(&p->site);
  koi_free(p);
}

koine_status koine_placement_text(const koine_placement *p, char **out) { return p && out ? koi_assigned_text(&p->assigned, &p->site, out) : koi_missing("koine_placement_text"); }

koine_status koine_placement_svg(const koine_placement *p, char **out) { return p && out ? koi_assigned_svg(&p->assigned, &p->site, out) : koi_missing("koine_placement_svg"); }

koine_status koine_placement_estimate(const koine_placement *p, koine_estimate *out)
{
  if (!p || !out) return koi_missing("koine_placement_estimate");
  const koi_assigned *a = &p->assigned;
  koine_estimate own = {.token_s = a->token_s, .token_s_low = a->low_s, .token_s_high = a->high_s, .most_per_s = 1 / a->longest_s, .prompt_per_s = a->prompt_per_s,
                        .prompt_per_s_low = a->prompt_low, .prompt_per_s_high = a->prompt_high, .n_stages = a->placement.n_stages, .measured = a->measured};
  KOI_GIVE(koine_estimate, &own, out);
  return KOINE_OK;
}
