/* Likely rates of devices that nobody measured. Owns nothing. Invariant: an estimate never puts a device before one of the same memory that was
 * measured, or that stands before it in the machine's order. */
#include <math.h>
#include <string.h>
#include "site.h"

/* A card reads all its own memory so many times a second: 20 to 45 from old cards to accelerators. What shares the host's memory reads what its
 * processors reach together. */
static const double readings_per_s = 30, flops_per_byte = 30, host_bytes_per_s = 5e10;
static const double unit_bytes_per_s = 6e9, unit_flops_per_s = 2e10, card_launch_s = 1e-5, cpu_launch_s = 2e-5, plain_c = 0.05;

bool koi_site_on_host(const koi_site *s, size_t device)
{
  const koi_site_card *c = &s->cards[s->devices[device].card];
  return c->shares_host_memory || c->type == KOINE_DEVICE_HOST;
}

static koi_rates likely(const koi_site *s, size_t i)
{
  const koi_site_device *d = &s->devices[i];
  const koi_site_card *c = &s->cards[d->card];
  double units = d->n_units ? d->n_units : 1, bytes = readings_per_s * (double)c->memory_bytes;
  if (!koi_site_on_host(s, i)) return bytes > 0 ? (koi_rates){bytes, bytes * flops_per_byte, card_launch_s} : (koi_rates){NAN, NAN, NAN};
  if (c->type != KOINE_DEVICE_HOST && c->type != KOINE_DEVICE_CPU) return (koi_rates){host_bytes_per_s, host_bytes_per_s * flops_per_byte, card_launch_s};
  double less = d->reference ? plain_c : 1, all = units * unit_bytes_per_s;
  return (koi_rates){less * (all < host_bytes_per_s ? all : host_bytes_per_s), less * units * unit_flops_per_s, cpu_launch_s};
}

static bool measured(const koi_site_device *d) { return d->rates.bytes_per_s > 0; }

static void at_most(koi_rates *r, const koi_rates *other)
{
  static const double less = 0.95;
  if (r->bytes_per_s > less * other->bytes_per_s) r->bytes_per_s = less * other->bytes_per_s;
  if (r->flops_per_s > less * other->flops_per_s) r->flops_per_s = less * other->flops_per_s;
  if (r->launch_s < other->launch_s / less) r->launch_s = other->launch_s / less;
}

koine_status koi_site_estimate(const koi_site *s, koi_site *out)
{
  koi_site_device *v = koi_alloc(s->n_devices + 1, sizeof *v);
  if (!v) return KOINE_ERR_MEMORY;
  *out = *s, out->devices = v;
  memcpy(v, s->devices, s->n_devices * sizeof *v);
  for (size_t i = 0; i < s->n_devices; i++) {
    if (measured(&s->devices[i])) continue;
    v[i].rates = likely(s, i), v[i].estimated = true;
    for (size_t j = 0; j < s->n_devices; j++)
      if (v[j].usable && (koi_site_on_host(s, i) ? koi_site_on_host(s, j) : v[i].card == v[j].card) && (measured(&s->devices[j]) || j < i)) at_most(&v[i].rates, &v[j].rates);
  }
  return KOINE_OK;
}
