/* What a step feeds to a stage's device: one image, written at once, with tokens, positions, rotary tables and the records of the windows that
 * close; and the values of the symbols. Laid out for a shape of chunk, filled for a place in a conversation. */
#ifndef KOI_FEED_H
#define KOI_FEED_H
#include "call.h"
#include "caches.h"

enum { KOI_WIN_INTS = 5, KOI_KEEP_INTS = 5, KOI_ROW_INTS = 2 };

/* Chunks of one shape have one list. */
typedef struct koi_shape {
  uint32_t n_tokens, n_logits;
  uint32_t n_rounds; /* of the indexer, at most */
  bool exact;
} koi_shape;

typedef struct koi_feed_ratio { uint64_t wins, win_rows, win_rope, keep, marks; } koi_feed_ratio; /* offsets; keep: of the sequence itself, one record */

typedef struct koi_feed { /* offsets in bytes; arrays as section "records" of kernels/ops.h has them */
  const koi_caches *caches;
  koi_shape shape;
  uint64_t tokens, rows, rope_main, rope_comp;
  koi_feed_ratio *ratios; /* [caches->n_ratios] */
  uint32_t max_marks;
  uint64_t bytes;
  size_t n_syms;
} koi_feed;

koine_status koi_feed_make(const koi_caches *c, const koi_shape *shape, uint64_t align, koi_feed *out);
void koi_feed_free(koi_feed *f);
/* Bytes that feeds of chunks up to `chunk` need at most. */
koine_status koi_feed_bytes(const koi_caches *c, uint32_t chunk, uint64_t align, uint64_t *out);

typedef struct koi_feed_mark { uint32_t n; int32_t to; } koi_feed_mark; /* after n tokens of the chunk the state is also wanted in slot `to` */

typedef struct koi_place { /* of a chunk in its conversation */
  const int32_t *tokens;     /* [n_tokens] */
  uint64_t p0;
  int32_t tables;            /* first entry of the sequence's tables */
  const int32_t *table_at;   /* [n_kinds] where each kind's table begins in them */
  const int32_t *slots;      /* [n_ratios] state slots of the sequence */
  const koi_feed_mark *marks; /* [n_ratios][n_marks] `to` -1: nothing is carried over there */
  size_t n_marks;
  const float *freq_main, *freq_comp;
} koi_place;

typedef struct koi_splits { int32_t max_splits, min_rows; } koi_splits; /* of attention, for the shape's tokens */

/* Values of the symbols that follow from a chunk's position alone, the others 0. syms: [n_syms]; lds: rows that a round of the indexer scores. */
void koi_feed_syms(const koi_feed *f, uint64_t p0, const koi_splits *s, int32_t lds, int32_t *syms);
/* All of them, and the image [bytes]. */
void koi_feed_fill(const koi_feed *f, const koi_place *p, const koi_splits *s, int32_t lds, uint8_t *image, int32_t *syms);
/* The greatest number that each symbol can have, for what must be known beforehand; tables begin at 0. context: of conversations. */
void koi_feed_most(const koi_feed *f, const koi_splits *s, int32_t lds, uint64_t context, int32_t *syms);
#endif
