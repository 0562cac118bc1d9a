/* Whether guesses who is wanted next pay: a few tokens with and without them in turns, then many with what was quicker. Numbers alone. */
#ifndef KOI_WORTH_H
#define KOI_WORTH_H
#include "base/base.h"

enum { KOI_WORTH_TRIES = 12, KOI_WORTH_PERIOD = 1024 }; /* tokens of either kind that are compared; tokens until that is done again */

typedef struct koi_worth {
  uint32_t n;                              /* tokens of this period */
  bool no;                                 /* it was quicker without, when they were last compared */
  uint64_t took[2][KOI_WORTH_TRIES];       /* ns: without, with */
  uint64_t usual[2];                       /* their medians then; 0: not compared yet */
} koi_worth; /* zero at first */

/* Whether the next token is to be guessed. */
bool koi_worth_next(const koi_worth *w);
/* What that token took. true: they were compared just now. */
bool koi_worth_took(koi_worth *w, uint64_t ns);
#endif
