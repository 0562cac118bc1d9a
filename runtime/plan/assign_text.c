/* What was planned, in words. Owns nothing. */
#include "assign.h"
#include "solve.h"

static void stage_text(const koi_assigned *a, const koi_site *site, size_t i, koi_text *t)
{
  const koi_assigned_stage *x = &a->stages[i];
  koi_placement_stage_text(&a->placement.stages[i], t);
  koi_text_add(t, " name=\"%s\" weights=%.2fGiB caches=%.2fGiB own=%.2fGiB", site->devices[x->device].name, koi_gib(x->weights), koi_gib(x->caches), koi_gib(x->own));
  if (x->experts != KOI_SOLVE_NOWHERE) koi_text_add(t, " expert_weights=%.2fGiB", koi_gib(x->expert_weights));
  koi_text_add(t, " token=%.3fms", 1e3 * x->seconds);
  if (i) koi_text_add(t, " hop=%.3fms", 1e3 * x->hop);
  koi_text_add(t, "\n");
}

static void unused_text(const koi_assigned *a, const koi_site *site, koi_text *t)
{
  size_t n = 0;
  for (size_t d = 0; d < site->n_devices; d++) {
    bool used = !site->devices[d].usable;
    for (size_t i = 0; i < a->placement.n_stages; i++) used |= a->stages[i].device == d || a->stages[i].experts == d || a->stages[i].misses == d;
    if (!used) koi_text_add(t, "%s%s", n++ ? ", " : "unused: ", site->devices[d].id);
  }
  if (n) koi_text_add(t, "%s\n", a->n_unknown ? "; some of the devices were never measured: koine plan --measure does it" : "");
}

static void more_text(const koi_assigned *a, const koi_site *site, koi_text *t)
{
  double host = 0, best = 0;
  uint32_t at = 0;
  for (size_t i = 0; i < a->placement.n_stages; i++) {
    const koi_assigned_stage *x = &a->stages[i];
    host += x->turns.more_host_s;
    if (x->turns.more_device_s > best) best = x->turns.more_device_s, at = x->experts == KOI_SOLVE_NOWHERE ? x->device : x->experts;
  }
  const char *where = best >= host ? site->devices[at].id : "the host's memory, which keeps what was read";
  double more = best >= host ? best : host, other = best >= host ? host : best;
  if (more <= 0) return;
  koi_text_add(t, "experts: a GiB more buys most on %s: %.3g tokens/s", where, 1 / (a->token_s - more));
  if (other > 0) koi_text_add(t, "; %s %.3g", best >= host ? "of the host's memory" : site->devices[at].id, 1 / (a->token_s - other));
  koi_text_add(t, "\n");
}

static void turns_text(const koi_assigned *a, const koi_site *site, koi_text *t)
{
  for (size_t i = 0; i < a->placement.n_stages && a->by_turns; i++) {
    const koi_assigned_stage *x = &a->stages[i];
    if (!x->turns.bytes) continue;
    koi_text_add(t, "experts of layers %u-%u by turns: %u of each layer's there at once, %.2f of %.2f GiB; likely %.0f %% of those wanted are there (%.0f to %.0f), %.1f MB a token come at %.2f GB/s\n",
                 a->placement.stages[i].layer0, a->placement.stages[i].layer1 - 1, x->turns.n_slots, koi_gib(x->turns.room), koi_gib(x->turns.all), 100 * x->turns.there,
                 100 * x->turns.least, 100 * x->turns.most, 1e-6 * x->turns.bytes, 1e-9 * x->turns.per_s);
    if (x->misses == KOI_SOLVE_NOWHERE) continue;
    koi_text_add(t, "experts of layers %u-%u: all of them on %s, %.2f GiB, which computes those that are not there as far as that is quicker", a->placement.stages[i].layer0,
                 a->placement.stages[i].layer1 - 1, site->devices[x->misses].id, koi_gib(x->turns.all));
    if (x->turns.misses_s > 0) koi_text_add(t, "; all that a token wants would take it %.2f ms", 1e3 * x->turns.misses_s);
    koi_text_add(t, "\n");
  }
  if (!a->by_turns) return;
  const koi_skew *k = &a->skew;
  if (k->wanted) koi_text_add(t, "experts: how many are there follows from earlier runs of this model: %.1f %% of %llu were, in the last one with %llu of %llu at once\n",
                              100 * (double)k->there / (double)k->wanted, (unsigned long long)k->wanted, (unsigned long long)k->n_slots, (unsigned long long)k->n_experts);
  else koi_text_add(t, "experts: how many are there is not known from runs of this model: a power law of 0.5 is taken\n");
  if (site->disk_per_s > 0) koi_text_add(t, "experts: %.2f GB/s from the disk, %.2f from the page cache, measured\n", 1e-9 * site->disk_per_s, 1e-9 * site->cached_per_s);
  else koi_text_add(t, "experts: how fast they are read was not measured: 1.5 GB/s from the disk and 2 from the page cache are taken\n");
  more_text(a, site, t);
}

const char *koi_assigned_basis(const koi_assigned *a)
{
  if (a->measured && a->old) return "by measurements that are older than the kernels or their parameters: koine plan --measure makes new ones";
  if (a->measured) return "by measurements of this machine's devices";
  return a->estimated ? "by an estimate, not by measurements: koine plan --measure makes them" : "by the devices' rates, not by measured layers";
}

koine_status koi_assigned_text(const koi_assigned *a, const koi_site *site, char **out)
{
  koi_text t = {0};
  koi_text_add(&t, "machine %s\n", site->name);
  if (a->placement.split_groups) koi_text_add(&t, "place split_groups=%u\n", a->placement.split_groups);
  for (size_t i = 0; i < a->placement.n_stages; i++) stage_text(a, site, i, &t);
  unused_text(a, site, &t);
  koi_text_add(&t, "decode: %.3g tokens/s (likely %.3g to %.3g) for one conversation of %llu tokens, %.2f ms a token; at most %.3g tokens/s for several\n", 1 / a->token_s, 1 / a->high_s,
               1 / a->low_s, (unsigned long long)a->context, 1e3 * a->token_s, 1 / a->longest_s);
  koi_text_add(&t, "prefill: %.3g tokens/s (likely %.3g to %.3g) in chunks of %u\n", a->prompt_per_s, a->prompt_low, a->prompt_high, a->chunk);
  turns_text(a, site, &t);
  koi_text_add(&t, "%s\n", koi_assigned_basis(a));
  return koi_text_take(&t, out);
}
