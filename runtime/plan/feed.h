/* What a step feeds to a stage's device: one image, written at once, with tokens, positions, rotary tables and the records of the windows that
 * close; and the values of the symbols. Laid out for a shape of step, filled for places in conversations: a step has tokens of one sequence, or of
 * several, each sequence's side by side. */
#ifndef KOI_FEED_H
#define KOI_FEED_H
#include "caches.h"
#include "scratch.h"

enum { KOI_ROW_INTS = 2 };

/* Steps of one shape have one list. */
typedef struct koi_shape {
  uint32_t n_tokens, n_logits;
  uint32_t n_rounds; /* of the indexer, at most */
  uint32_t n_seqs;   /* sequences, at most; KOI_MAX_SEQS and n_tokens are never exceeded */
  bool exact;
} koi_shape;

typedef struct koi_feed_ratio { uint64_t wins, win_rows, win_rope, keep, marks; } koi_feed_ratio; /* offsets; keep: a record a sequence */

typedef struct koi_feed { /* offsets in bytes; arrays as section "paged caches" of kernels/ops.h has them */
  const koi_caches *caches;
  koi_shape shape;
  uint64_t tokens, rows, rope_main, rope_comp;
  uint64_t *logit_rows;   /* [n_logits / KOI_HEAD_ROWS, rounded up] rows of the step that have logits, as many as the head takes at a time */
  koi_feed_ratio *ratios; /* [caches->n_ratios] */
  uint32_t max_marks;
  uint64_t bytes;
  size_t n_syms;
} koi_feed;

koine_status koi_feed_make(const koi_caches *c, const koi_shape *shape, uint64_t align, koi_feed *out);
void koi_feed_free(koi_feed *f);
/* Bytes that feeds of steps up to `chunk` tokens need at most. */
koine_status koi_feed_bytes(const koi_caches *c, uint32_t chunk, uint64_t align, uint64_t *out);

typedef struct koi_feed_mark { uint32_t n; int32_t to; } koi_feed_mark; /* after n tokens of the place the state is also wanted in slot `to` */

typedef struct koi_place { /* a sequence's tokens of the step, in its conversation */
  uint64_t p0;
  uint32_t n_tokens, n_logits; /* logits: of the last ones */
  const int32_t *tokens;     /* [n_tokens] */
  float *logits;             /* [n_logits][n_vocab] where they go; no matter to a feed */
  int32_t tables;            /* first entry of its tables */
  const int32_t *slots;      /* [n_ratios] its state slots */
  const koi_feed_mark *marks; /* [n_ratios][n_marks] `to` -1: nothing is carried over there */
  size_t n_marks;
} koi_place;

typedef struct koi_freqs { const float *main, *comp; } koi_freqs; /* of the rotary tables */
typedef struct koi_splits { int32_t max_splits, min_rows; } koi_splits; /* of attention, for the shape's tokens */

/* Values of the symbols that follow from p0 and n_tokens of the n places alone, the others 0. syms: [n_syms]; lds: rows that a round of the indexer
 * scores. What is one number for all sequences suits the one that is farthest. */
void koi_feed_syms(const koi_feed *f, const koi_place *p, size_t n, const koi_splits *s, int32_t lds, int32_t *syms);
/* All of them, and the image [bytes]: the shape's tokens and logits are those of the places together, in their order. */
void koi_feed_fill(const koi_feed *f, const koi_place *p, size_t n, const koi_freqs *freqs, const koi_splits *s, int32_t lds, uint8_t *image, int32_t *syms);
/* As if the windows that close had all of their positions in the sequences' states: what launches that are not steps may read. image: [bytes] of zeros. */
void koi_feed_of_states(const koi_feed *f, uint8_t *image);
/* The greatest number that each symbol can have, for what must be known beforehand. context: of conversations. */
void koi_feed_most(const koi_feed *f, const koi_splits *s, int32_t lds, uint64_t context, int32_t *syms);
#endif
