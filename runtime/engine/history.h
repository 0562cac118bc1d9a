/* The caches of one conversation on a stage: its page tables, its compressors' state, and its marks. Knows positions, not tokens.
 *
 * A mark stands at a multiple of KOI_MARK and holds what a position needs that later ones overwrite: the window's pages before it, and copies of
 * the states. Compressed rows need none: those before the mark stay as they are. Marks are thinned under the plan's budget, old ones first, and
 * given up where memory for pages runs out, whichever conversation has them.
 * Pages are shared with forks and marks; who writes a page that others hold takes a copy first. Locking: the stage, and its device. */
#ifndef KOI_HISTORY_H
#define KOI_HISTORY_H
#include "gap.h"
#include "run.h"

typedef struct koi_mark {
  uint64_t at;
  int32_t *window;   /* [n_window] pages of the rows before it, oldest first; KOI_NO_PAGE before the conversation's begin */
  int32_t *slots;    /* [n_ratios] KOI_NO_PAGE: nothing is carried over there */
} koi_mark;

typedef struct koi_history koi_history;
struct koi_history {
  koi_stage *st;
  koi_caches *caches;
  koi_pool *pools;
  bool exact;
  uint64_t context, n;      /* most positions; those that the caches stand for */
  uint64_t ready;           /* a chunk that ends at or before it wants nothing that is not there */
  bool stale;               /* the states may be of another position: a rewind must come first */
  int32_t tables;           /* first entry on the device, of each kind's tables */
  size_t n_stretch;         /* entries of that stretch: the longest of its tables */
  size_t n_tables;          /* entries of all kinds */
  int32_t *table_at;        /* [n_kinds] where each kind's begin in `pages` */
  int32_t *pages;           /* [n_tables] as on the device; KOI_NO_PAGE: none yet */
  int32_t *slots;           /* [n_ratios] */
  koi_mark *marks;          /* [n_marks] ascending; then n_new that the chunk at hand passes */
  size_t n_marks, n_new, max_marks, n_window;
  koi_feed_mark *feed;      /* [n_ratios][n_new] of the chunk at hand */
  koi_history *next, **link; /* in the stage's list; link NULL: not in it */
};

/* out stays where it is until it is closed. */
koine_status koi_history_open(koi_stage *st, bool exact, uint64_t context, koi_history *out);
void koi_history_close(koi_history *h);
/* The caches stand for at most n positions: those up to the last mark at or before n, or n itself when that is where they stand. */
void koi_history_rewind(koi_history *h, uint64_t n);
/* Nothing is kept, marks neither. */
void koi_history_clear(koi_history *h);
/* A history of its own that stands where `from` does and shares its pages. */
koine_status koi_history_fork(koi_history *from, koi_history *out);
typedef struct koi_chunk { /* tokens of one conversation that are evaluated together */
  const int32_t *tokens;
  uint32_t n, n_logits;
  float *logits;   /* [n_logits][n_vocab] of its last tokens */
} koi_chunk;
/* Memory for `n` positions that will be evaluated, as far as other conversations leave it; nothing else changes. */
koine_status koi_history_reserve_for(koi_history *h, uint64_t n);
/* The pages and marks that a chunk at h->n wants memory for. A failure leaves all as it was, and so does koi_history_unprepare. */
koine_status koi_history_prepare(koi_history *h, const koi_chunk *c);
/* Whether there is nothing to prepare. Without the stage's lock, by the thread that the session is on: one conversation need not wait for another's chunk to learn it. */
static inline bool koi_history_is_ready(const koi_history *h, const koi_chunk *c) { return !h->stale && h->n + c->n <= h->ready; }
void koi_history_unprepare(koi_history *h, const koi_chunk *c);
typedef struct koi_seq { koi_history *h; const koi_chunk *c; } koi_seq; /* a history's chunk in a step */
/* The bound lists that a step wants memory for, of histories of one stage and mode that were prepared; up to KOI_MAX_SEQS. */
koine_status koi_history_lists(const koi_seq *v, size_t n);
/* One step with a chunk of each at its h->n, prepared; streams of all from `in` to `out` where stages come before and behind. After a failure the caches
 * stand for what the last mark holds, or, where nothing was written, for what they did. */
koine_status koi_history_run(const koi_seq *v, size_t n, const koi_between *in, const koi_between *out, const koi_watch *watch);
/* ---- history_saved.c: a history in pieces ---- */
typedef struct koi_piece_at { size_t kind, mark, nth; } koi_piece_at; /* a page or slot of a kind: of a mark, or, with the last one, a page of rows */
typedef struct koi_pieces {
  koi_piece_at *v; /* [n] */
  size_t n;
  uint64_t bytes, most_bytes; /* of all, and of the largest */
} koi_pieces;
/* What stands for marks [n_marks], ascending, and all before the last of them; koi_free pieces.v. */
koine_status koi_history_pieces(const koi_caches *c, const uint64_t *marks, size_t n_marks, koi_pieces *out);
/* A piece's bytes; `at`: its mark. KOINE_ERR_STATE: the mark was given up. */
koine_status koi_history_read(koi_history *h, const koi_piece_at *p, uint64_t at, void *to);
/* Pages for the pieces that an empty history is to be made of, at most koi_history_most_marks; then the pieces, of which those that it has no pages for
 * are passed over; then it stands at the last mark. What has failed must be closed. */
size_t koi_history_most_marks(const koi_history *h);
koine_status koi_history_expect(koi_history *h, const uint64_t *marks, size_t n_marks);
koine_status koi_history_write(koi_history *h, const koi_piece_at *p, uint64_t at, const void *from);
koine_status koi_history_arrive(koi_history *h, uint64_t at);
/* Made-up rows for n positions. */
koine_status koi_history_fill(koi_history *h, uint64_t n);
/* On the device, pages that are shared counted for each. */
uint64_t koi_history_bytes(const koi_history *h);
#endif
