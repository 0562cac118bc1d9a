/* What every layer of a model takes on every device of a site, in seconds and bytes: from the list of calls, the devices' rates, and what was measured. */
#ifndef KOI_COSTS_H
#define KOI_COSTS_H
#include "call.h"
#include "lay.h"
#include "site.h"

typedef struct koi_step_at { uint32_t n_tokens; uint64_t position; } koi_step_at; /* a step of so many tokens, the first at `position` */

/* Items of a model: the embedding, the layers, the head. */
static inline uint32_t koi_costs_items(const koine_model *m) { return m->config.n_layers + 2; }
/* Seconds of every part of a step that each of the rates lets expect: out [n_rates][n_items][KOI_N_PARTS]. */
koine_status koi_costs_expect(const koine_model *m, const koi_step_at *at, bool exact, const koi_rates *rates, size_t n_rates, double *out);

/* The item that a call belongs to, and which part of it; the calls are of a list of all layers. */
koi_part_of koi_costs_part(const koi_laid_model *laid, const koi_call *c, uint32_t *item);

/* By device and item, [n_devices][n_items]; NaN where nothing is known of the device. low and high: what is likely. */
typedef struct koi_costs {
  const koi_site *site;
  const koine_model *model;
  uint32_t n_devices, n_items;
  double *seconds, *low, *high;
  double *expert_seconds;        /* of it, the routed experts */
} koi_costs;
koine_status koi_costs_make(const koi_site *site, const koine_model *m, const koi_step_at *at, bool exact, koi_costs *out);
void koi_costs_free(koi_costs *c);

/* Bytes of an item that a device holds. */
typedef struct koi_item_bytes { uint64_t weights, experts /* of the weights, the routed experts */, least /* of these, by turns (lots.h) */, caches, mark; } koi_item_bytes;
typedef struct koi_holding {
  koi_item_bytes *items;         /* [n_items] */
  uint64_t own_bytes;            /* of a device that has any: scratch, marks, programs */
  double weight_bits;            /* of a value, in the mean */
} koi_holding;
koine_status koi_costs_hold(const koine_model *m, uint64_t context, uint32_t chunk, bool exact, koi_holding *out);
void koi_costs_unhold(koi_holding *h);
/* Seconds that a link takes for so many bytes; what is unknown is taken as usual links are. */
double koi_costs_link(const koi_link *l, double bytes);
#endif
