/* Which of the experts that a step wants and that have no place stay where they lie, to be computed there, while the others are loaded: by what
 * either took of late. Numbers alone. */
#ifndef KOI_STAY_H
#define KOI_STAY_H
#include "turns.h"

enum { KOI_STAY_TRIES = 4, KOI_STAY_RETRY = 1024 }; /* measurements that a choice rests on; choices until what was not done any more is tried again */

typedef struct koi_pace { double ns; uint32_t n, since; } koi_pace; /* of one; measurements, and choices since the last */
typedef struct koi_stay {
  koi_pace stay, load; /* of an entry that is computed where its expert lies; of an expert that is loaded */
} koi_stay; /* zero at first */

/* Orders absent experts so that those that stay come first; how many. coldest: the heat of whoever a newcomer displaces. */
size_t koi_stay_choose(koi_stay *c, koi_absent *v, size_t n, float coldest);
/* What it took. 0 of them tell nothing. */
void koi_stay_stayed(koi_stay *c, size_t n_entries, uint64_t ns);
void koi_stay_loaded(koi_stay *c, size_t n, uint64_t ns);
#endif
