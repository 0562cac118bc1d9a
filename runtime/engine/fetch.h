/* Weights as a device holds them (kernels/layout.h), piece by piece, in memory of the caller: read from the checkpoint and repacked, or
 * from what an earlier start kept. Nothing here knows
 * a device, and no mapping is touched: a file that cannot be read, or became shorter, is KOINE_ERR_FILE with its name and the tensor's.
 *
 * A whole unit of a routed expert's part, for a cache of experts say: for each stream s room for koi_fetch_bytes(f, &span, s) bytes, then
 *
 *   koi_fetch_open(stage->at.laid, stage->kept, false, &f);        // one a thread
 *   koi_fetch_tiles(f, &span, out, &care)   with span = koi_fetch_unit(f, layer, KOI_W_expert_up, part, unit) */
#ifndef KOI_FETCH_H
#define KOI_FETCH_H
#include "model/rows.h"
#include "span.h"

struct koi_kept;

/* What one thread needs for it. Two threads have one each; the laid model must outlive both. */
typedef struct koi_fetch {
  const koi_laid_model *l;
  struct koi_kept *kept; /* what is in its files is not read from the checkpoint (kept.h); NULL: there are none */
  koi_rows rows;
  bool stored;           /* something came from the checkpoint since this was last put out */
} koi_fetch;

/* pass: the files' pages are not wanted again soon, and leave the page cache. Has all the memory that koi_fetch_tiles needs. */
koine_status koi_fetch_open(const koi_laid_model *l, struct koi_kept *kept, bool pass, koi_fetch **out);
void koi_fetch_close(koi_fetch *f); /* NULL is allowed */
/* All that the part has of a unit. */
koi_span koi_fetch_unit(const koi_fetch *f, int layer, uint32_t role, uint32_t part, uint32_t unit);
/* Bytes of a span in a stream; 0: the format has no such stream. */
uint64_t koi_fetch_bytes(const koi_fetch *f, const koi_span *s, int stream);
/* A span into out [KOI_MAX_STREAMS], NULL where the format has no stream. *care becomes true where some of its codes or scales need it, else it stays
 * (koi_part.care: the part's kernel must be one that can, if any of what it reads does). Does not allocate. */
koine_status koi_fetch_tiles(koi_fetch *f, const koi_span *s, uint8_t *const out[KOI_MAX_STREAMS], bool *care);
#endif
