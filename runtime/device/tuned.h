/* What measurements chose, kept on disk: <cache_dir>/tuned.log, text that is only ever appended to, one line a measurement or an outcome. Which
 * parameters hold is derived when a device is opened. Merging two logs is putting one behind the other; several processes may write at once.
 * A line that is damaged, cut short or of another release is passed over, and the log says which. Environment: KOINE_TUNED=off ignores the file. */
#ifndef KOI_TUNED_H
#define KOI_TUNED_H
#include "backend.h"

typedef enum koi_outcome {
  KOI_OUTCOME_MEASURED, /* ran; median and spread say how fast */
  KOI_OUTCOME_REFUSED,  /* could not be built or started */
  KOI_OUTCOME_WRONG,    /* differs from the C reference */
  KOI_OUTCOME_WON,      /* right, and faster than the default: from now on taken */
  KOI_OUTCOME_KEPT,     /* the default (whose parameters these are) stays */
  KOI_OUTCOME_TRYING,   /* about to be built and run: where no other outcome follows, the process ended there */
  KOI_OUTCOME_LOST,     /* the process ended or hung while it was tried */
  KOI_N_OUTCOMES
} koi_outcome;

typedef struct koi_tuned_line {
  const koi_op *op;
  int32_t c[KOI_MAX_CONSTS], bucket, p[KOI_MAX_PARAMS];
  uint32_t n_samples;
  double median_us, spread_us; /* of a call; spread: median distance from the median */
  koi_outcome outcome;
} koi_tuned_line;

/* Reads the log in cache_dir (NULL: there is none) into d->tuned, in place of what was there. Fails only for lack of memory. */
koine_status koi_tuned_load(koi_device *d, const char *cache_dir);
void koi_tuned_drop(koi_device *d);
/* Every sound line of the log that says anything about this device, in order, with the rung that it stands on. Ends with what `each` returns
 * when that is no KOINE_OK. A log that cannot be read has no lines. */
typedef koine_status koi_tuned_each_fn(void *user, const koi_tuned_line *l, koi_rung rung);
koine_status koi_tuned_each(const koi_device *d, koi_tuned_each_fn *each, void *user);
/* Adds a line for this device and driver, by one write; d->tuned is as it was. Does nothing without a cache folder. KOINE_ERR_FILE. */
koine_status koi_tuned_append(const koi_device *d, const koi_tuned_line *l);
#endif
