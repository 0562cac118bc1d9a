/* Experts by turns in numbers: how many are there when they are wanted, what the others take, what more memory would save; and the placement for a model
 * that does not fit whole. Owns nothing.
 *
 * What is there: of n experts that are wanted with probability ~ 1 / rank^skew the s hottest, which is what turns.h comes to. How skewed a model's
 * routes are is known only from running it (skew.h), give or take a tenth; until then 0 is the least, 1 much, and 0.5 is taken between. What is missing comes from the host's page cache, as far as
 * that holds it, else from the disk, and over the device's link; and is read while who is there computes. */
#include <math.h>
#include <string.h>
#include "assign_impl.h"
#include "plan.h"

static const double usual_cached_per_s = 2e9, usual_disk_per_s = 1.5e9; /* bytes read and laid out, by several threads, where nobody has measured it */
static const uint64_t gib = UINT64_C(1) << 30;

/* ---- budgets that were given ------------------------------------------------------------------------------------------- */
uint64_t koi_question_cache(const koi_question *q, uint32_t device)
{
  uint64_t all = 0, bytes = 0;
  for (uint32_t i = 0; i < q->n_items; i++) all += q->hold.items[i].experts;
  for (size_t i = 0; i < q->w.n_caches; i++)
    if (!strcmp(q->w.caches[i].device, q->site->devices[device].id)) bytes = q->w.caches[i].bytes;
  return bytes < all ? bytes : all;
}

koine_status koi_question_caches(const koi_question *q, koi_placement *p)
{
  for (size_t i = 0; i < q->w.n_caches; i++) {
    koine_status s = koi_placement_cache(p, q->w.caches[i].device, q->w.caches[i].bytes);
    if (s) return koi_error_prefix(s, "expert cache of %llu bytes", (unsigned long long)q->w.caches[i].bytes);
  }
  for (size_t i = 0; i < p->n_stages && q->w.n_caches && q->w.misses_on; i++)
    if (p->stages[i].expert_bytes) koi_print(p->stages[i].misses, sizeof p->stages[i].misses, "%s", q->w.misses_on);
  return KOINE_OK;
}

/* ---- what turns take --------------------------------------------------------------------------------------------------- */
/* The host's memory beside what lies there. */
static uint64_t page_cache(const koi_question *q, const koi_assigned *a)
{
  uint64_t host = 0, held = 0;
  for (uint32_t d = 0; d < q->site->n_devices; d++) {
    const koi_site_card *c = &q->site->cards[q->site->devices[d].card];
    if (koi_site_on_host(q->site, d) && c->memory_bytes > host) host = c->memory_bytes;
    for (size_t i = 0; i < a->placement.n_stages && koi_site_on_host(q->site, d); i++) {
      if (a->stages[i].device == d) held += a->stages[i].weights + a->stages[i].caches + a->stages[i].own;
      if (a->stages[i].experts == d) held += a->stages[i].expert_weights;
      if (a->stages[i].misses == d) held += a->stages[i].turns.all;
    }
  }
  host -= host / KOI_SPARE_PART;
  return host > held ? host - held : 0;
}

static double seconds_per_byte(const koi_question *q, uint32_t device, double cached, double missing)
{
  double in_memory = missing > 0 && cached < missing ? cached / missing : 1, disk = q->site->disk_per_s > 0 ? q->site->disk_per_s : usual_disk_per_s;
  double cache = q->site->cached_per_s > 0 ? q->site->cached_per_s : usual_cached_per_s, read = in_memory / cache + (1 - in_memory) / disk;
  double link = koi_site_on_host(q->site, device) ? 0 : (koi_costs_link(&q->site->devices[device].from_host, 1e9) - koi_costs_link(&q->site->devices[device].from_host, 0)) / 1e9;
  return read > link ? read : link;
}

/* Seconds that a token takes more than if all experts were there. Where another device computes some of those that are not, it is done when the rest has
 * come. */
static double wait_of(const koi_question *q, const koi_by_turns *t, uint32_t device, double room, double cached, double skew)
{
  const koi_config *c = &q->model->config;
  double slots = room / ((double)t->all / c->n_experts), there = slots < c->n_experts ? koi_skew_share(slots, c->n_experts, skew) : 1;
  double bytes = (1 - there) * c->n_used / c->n_experts * (double)t->all, load = bytes * seconds_per_byte(q, device, cached, (double)t->all - room);
  double misses = (1 - there) * t->misses_s;
  if (misses > 0 && load > 0) load = load * misses / (load + misses);
  return load > there * t->compute_s ? load - there * t->compute_s : 0;
}

static double wait_for_chunk(const koi_question *q, const koi_by_turns *t, uint32_t device, double cached)
{
  const koi_config *c = &q->model->config;
  double wanted = 1 - pow(1 - (double)c->n_used / c->n_experts, q->w.chunk), missing = wanted * (1 - (double)t->n_slots / c->n_experts);
  return missing * (double)t->all * seconds_per_byte(q, device, cached, (double)(t->all - t->room));
}

void koi_question_turns(const koi_question *q, koi_assigned *a, double chunk_s[3])
{
  uint32_t n = q->model->config.n_experts;
  double cached = (double)page_cache(q, a), whole = 0;
  const double give = 0.1;
  bool is_known = q->w.skew.wanted > 0;
  for (size_t i = 0; i < a->placement.n_stages; i++) whole += a->stages[i].turns.room ? (double)(a->stages[i].turns.all - a->stages[i].turns.room) : 0;
  for (size_t i = 0; i < a->placement.n_stages; i++) {
    koi_assigned_stage *x = &a->stages[i];
    koi_by_turns *t = &x->turns;
    if (!t->room || t->n_slots >= n) continue;
    uint32_t d = x->experts == KOI_SOLVE_NOWHERE ? x->device : x->experts;
    double part = whole > 0 ? (double)(t->all - t->room) / whole : 1, room = (double)t->room, own = cached * part, chunk = wait_for_chunk(q, t, d, own);
    const double known = q->w.skew.skew, skew[3] = {is_known ? known : 0.5, is_known ? known + give : 1, is_known && known > give ? known - give : 0};
    double wait[3];
    for (int k = 0; k < 3; k++) wait[k] = wait_of(q, t, d, room, own, skew[k]), chunk_s[k] += chunk;
    t->there = koi_skew_share(t->n_slots, n, skew[0]), t->least = koi_skew_share(t->n_slots, n, skew[2]), t->most = koi_skew_share(t->n_slots, n, skew[1]);
    t->bytes = (1 - t->there) * q->model->config.n_used / n * (double)t->all, t->per_s = 1 / seconds_per_byte(q, d, own, (double)(t->all - t->room));
    t->more_device_s = wait[0] - wait_of(q, t, d, room + (double)gib, koi_site_on_host(q->site, d) && own > (double)gib ? own - (double)gib : own, skew[0]);
    t->more_host_s = wait[0] - wait_of(q, t, d, room, own + (double)gib * part, skew[0]);
    x->seconds += wait[0], x->low += wait[1], x->high += wait[2];
    a->by_turns = true, a->skew = q->w.skew;
  }
}

/* ---- what does not fit ------------------------------------------------------------------------------------------------- */
/* All of the model on this device, its experts in what is left. false: not one expert of each layer has room. */
static bool place_on(const koi_question *q, uint32_t d, koi_placed *out)
{
  uint64_t rest = q->hold.own_bytes, experts = 0, least = 0, limit = koi_question_limit(q, d), spare = limit / KOI_SPARE_PART, n = q->model->config.n_experts;
  for (uint32_t i = 0; i < q->n_items; i++) {
    const koi_item_bytes *b = &q->hold.items[i];
    rest += b->weights - b->experts + b->caches, experts += b->experts, least += b->least;
  }
  if (!experts || limit < spare + rest || limit - spare - rest < least) return false;
  uint64_t slots = (limit - spare - rest) / (experts / n), most = (slots < n ? slots : n) * (experts / n);
  *out = (koi_placed){.layer1 = q->model->config.n_layers, .embed = true, .head = true, .expert_bytes = most > least ? most : least};
  if (q->w.misses_on) koi_print(out->misses, sizeof out->misses, "%s", q->w.misses_on);
  koi_print(out->device, sizeof out->device, "%s", q->site->devices[d].id);
  return true;
}

koine_status koi_assign_turns(const koi_site *site, const koine_model *m, const koi_assign_wish *w, koi_assigned *out)
{
  koi_question q;
  koi_assigned best = {0};
  koine_status s = koi_question_open(site, m, w, &q);
  if (s) return s;
  for (uint32_t i = 0; i < q.n && !s; i++) {
    koi_assigned a = {0};
    koi_placed one;
    if (!place_on(&q, q.at[i], &one) || !strcmp(one.device, one.misses)) continue;
    koi_placed *p = koi_placement_add(&a.placement);
    s = p ? KOINE_OK : KOINE_ERR_MEMORY;
    if (p) *p = one, s = koi_question_figures(&q, &a);
    bool better = !s && (!best.stages || a.token_s < best.token_s);
    koi_assigned_free(better ? &best : &a);
    if (better) best = a;
    if (s == KOINE_ERR_MEMORY && p) s = KOINE_OK; /* not there, then */
  }
  koi_question_close(&q);
  if (!s && !best.stages)
    s = koi_error(KOINE_ERR_MEMORY, "no device holds the model without its routed experts and one of them for each layer%s%s%s", w->misses_on ? ", while " : "",
                  w->misses_on ? w->misses_on : "", w->misses_on ? " holds all of them" : "");
  if (s) koi_assigned_free(&best);
  else *out = best;
  return s;
}
