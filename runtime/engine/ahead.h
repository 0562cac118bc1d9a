/* All pieces of a laid model, one after the other, read by several threads ahead of who takes them. */
#ifndef KOI_AHEAD_H
#define KOI_AHEAD_H
#include "fetch.h"

typedef struct koi_ahead koi_ahead;
typedef struct koi_piece_read {
  koi_span span;
  uint8_t *out[KOI_MAX_STREAMS];
  bool care;
} koi_piece_read;

/* n_threads: that may work at once; a small model, or a process that may have none, is read by the calling thread. */
koine_status koi_ahead_open(const koi_laid_model *l, struct koi_kept *kept, uint32_t n_threads, bool pass, koi_ahead **out);
/* The next piece, until the next call; NULL: there is none, or *s is the error of reading it. */
const koi_piece_read *koi_ahead_next(koi_ahead *a, koine_status *s);
void koi_ahead_close(koi_ahead *a); /* NULL is allowed */
#endif
