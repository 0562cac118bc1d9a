/* How skewed a model's routes are, which says how many of the experts that are wanted are there when some have room: of n that are wanted with probability
 * ~ 1 / rank^skew the hottest. Runs with experts by turns find it, and keep it in the cache folder for plans; no result depends on it. */
#ifndef KOI_SKEW_H
#define KOI_SKEW_H
#include "model/model.h"

typedef struct koi_skew { double skew; uint64_t wanted, there; /* by tokens, in runs until now */ uint64_t n_slots, n_experts; /* in the last of them */ } koi_skew;

double koi_skew_share(double n_slots, double n_experts, double skew);
/* The skew with which so many are there. */
double koi_skew_of(double there, double n_slots, double n_experts);
/* false: no run is known. A file that cannot be read, and lines that are none, are as if they were not there. cache_dir: "" or NULL: none. */
bool koi_skew_known(const char *cache_dir, const koine_model *m, koi_skew *out);
/* Beside what earlier runs found; found->skew follows from the rest. Too few, or a folder that cannot be written: nothing happens. */
void koi_skew_keep(const char *cache_dir, const koine_model *m, const koi_skew *found);
#endif
