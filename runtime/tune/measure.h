/* A machine's speeds measured: links, rates, and layers of every kind in their real sizes; and kept for the next time. */
#ifndef KOI_MEASURE_H
#define KOI_MEASURE_H
#include "plan/site.h"

/* What the runtime has, with what is kept of earlier measurements of the same devices and drivers. */
koine_status koi_measure_known(koine_runtime *rt, koi_site *out);
/* Puts a site into the cache folder, if there is one. */
koine_status koi_measure_keep(koine_runtime *rt, const koi_site *s);
/* What is measured, and how. */
typedef struct koi_measure_wish {
  const bool *left_out;         /* [n_devices] these are not; NULL: none */
  bool all;                     /* layers, where their costs are known too */
  uint32_t seconds;             /* about, for layers in all; 0: 60 */
  koine_progress_fn *progress; void *user;
} koi_measure_wish;
/* Links and rates of every usable device; kept. */
koine_status koi_measure_links(koine_runtime *rt, koi_site *s, const koi_measure_wish *w);
/* Costs of the model's kinds of layers on devices that have none yet; kept. Links first, where they are not known. */
koine_status koi_measure_layers(koine_runtime *rt, koi_site *s, const koine_model *m, const koi_measure_wish *w);
/* How fast a checkpoint's experts come from where they lie, into the site; not if it has no files, or they cannot be read. */
void koi_measure_disk(const koine_model *m, uint32_t n_threads, koi_site *site);
/* Whether a device is worth measuring: usable, not left out (NULL: none is), and no plain C beside others. */
bool koi_measure_wanted(const koi_site *s, const bool *left_out, size_t device);
#endif
