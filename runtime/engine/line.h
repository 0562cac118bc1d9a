/* One conversation on every stage of an awake plan: its histories, which stand at the same position between calls, and the host memory through
 * which streams go from stage to stage. Locking: each function takes the stages' locks itself, one at a time. */
#ifndef KOI_LINE_H
#define KOI_LINE_H
#include "history.h"

enum { KOI_LINE_SLOTS = 2 /* of a gap between stages: one is filled while the other is read */, KOI_LINE_WHY = 1024 /* bytes of a message */ };

typedef struct koi_line {
  koine_plan *plan;
  koi_history *h;     /* [n_stages] */
  size_t n_stages;
  float *hidden;      /* [n_stages - 1][KOI_LINE_SLOTS][hidden_tokens][streams] */
  uint32_t hidden_tokens;
} koi_line;

/* Also what has failed must be closed. */
koine_status koi_line_open(koine_plan *plan, bool exact, uint64_t context, koi_line *out);
void koi_line_close(koi_line *l);
/* Positions that the caches of all stages stand for. */
static inline uint64_t koi_line_n(const koi_line *l) { return l->h[l->n_stages - 1].n; }
/* As koi_history_rewind, to a position that every stage has kept. */
void koi_line_rewind(koi_line *l, uint64_t n);
void koi_line_clear(koi_line *l);
koine_status koi_line_fork(koi_line *from, koi_line *out);
koine_status koi_line_fill(koi_line *l, uint64_t n);
uint64_t koi_line_bytes(const koi_line *l);
/* What a chunk wants of a line's own on all stages. A failure leaves all as it was. */
koine_status koi_line_prepare(koi_line *l, const koi_chunk *c);
typedef struct koi_member { koi_line *line; const koi_chunk *chunk; } koi_member; /* a line's chunk in a step */
/* One step through all stages, of n lines of one plan and mode that were prepared, at most KOI_MAX_SEQS. A failure before any stage began leaves all as it
 * was; after another they stand where the last mark lets them. */
koine_status koi_line_run(const koi_member *v, size_t n, const koi_watch *watch);
/* A step of one line, prepared and run. */
koine_status koi_line_step(koi_line *l, const koi_chunk *c, const koi_watch *watch);
/* Where the streams of n tokens between stage i and the next are kept, of chunk c, behind the last stage nowhere; room for chunks of n tokens comes first. Who takes
 * them settles the slot (gap.h). */
koine_status koi_line_make_room(koi_line *l, uint32_t n_tokens);
koi_between koi_line_between(const koi_line *l, size_t i, size_t c, uint32_t n_tokens);

/* ---- line_saved.c: a line in pieces; a stage is held for one piece at a time ---- */
/* Positions of marks that all stages have, ascending; how many, at most `most`, the last ones. */
size_t koi_line_marks(const koi_line *l, uint64_t *out, size_t most);
/* What stands for the marks on each stage: [n_stages]; free it with the plan's number of them. */
koine_status koi_line_pieces(const koine_plan *plan, bool exact, const uint64_t *marks, size_t n_marks, koi_pieces **out);
void koi_line_free_pieces(const koine_plan *plan, koi_pieces *v);
/* Takes or gives a piece's n bytes, in their order. */
typedef koine_status koi_piece_fn(void *user, void *bytes, size_t n);
koine_status koi_line_save(koi_line *l, const uint64_t *marks, const koi_pieces *v, koi_piece_fn *put, void *user);
/* Into an empty line: of the pieces of marks, those of the n_kept from `first` on. A failure leaves it empty. */
koine_status koi_line_load(koi_line *l, const uint64_t *marks, const koi_pieces *v, size_t first, size_t n_kept, koi_piece_fn *get, void *user);

/* ---- flow.c ---- */
/* Called on the calling thread when chunk c is finished; false: no more are begun. */
typedef bool koi_flow_fn(void *user, size_t c);
/* Chunks one behind the other, each stage at one of its own at the same time. KOINE_OK also when it was told to stop. */
koine_status koi_flow_run(koi_line *l, const koi_chunk *v, size_t n, koi_flow_fn *finished, void *user);
#endif
