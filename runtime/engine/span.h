/* Stretches of a laid model's weights: some tiles of one unit's stack that lie in one part; of a vector or a table of ids, some of its rows. */
#ifndef KOI_SPAN_H
#define KOI_SPAN_H
#include "plan/lay.h"

enum { KOI_PIECE_BYTES = 8 << 20 /* about what is read at once */ };

typedef struct koi_span {
  int layer;           /* -1: outside layers */
  uint32_t role, part; /* KOI_W_* or KOI_TOP_*; of koi_laid_model.parts */
  uint32_t unit;
  uint64_t tile0, tile1; /* [tile0, tile1) */
} koi_span;

/* The weight of a span. */
typedef struct koi_spanned { const koi_role *role; const koi_weight *from; const koi_laid *to; const koi_part *part; } koi_spanned;

koi_spanned koi_span_weight(const koi_laid_model *l, const koi_span *s);
/* Tiles of one of the matrices that a unit stacks; of a vector its rows. */
uint64_t koi_span_of_sub(const koi_laid_model *l, const koi_spanned *w);
/* Bytes of a span in a stream; 0: the format has no such stream. */
uint64_t koi_span_bytes(const koi_laid_model *l, const koi_span *s, int stream);
/* Tiles or rows of a span's weight that are read at once, and of those that begin at tile0 the end: pieces lie in one matrix, and begin at multiples
 * of that number in it, wherever a part begins. */
uint64_t koi_span_at_once(const koi_laid_model *l, const koi_span *s);
uint64_t koi_span_next(const koi_laid_model *l, const koi_span *s);
#endif
