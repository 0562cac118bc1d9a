/* Weights as they will lie on a device with an allocation limit: which role is cut into which buffers, and how many bytes that is.
 * Plain data; nothing here needs a device. What uploads it (engine/upload.h) allocates exactly these bytes. */
#ifndef KOI_LAY_H
#define KOI_LAY_H
#include "kernels/format.h"
#include "lots.h"

/* What of a model a stage has. */
typedef enum koi_of { KOI_OF_ALL, KOI_OF_TRUNK /* all but the routed experts */, KOI_OF_EXPERTS /* these alone */ } koi_of;
typedef struct koi_share {
  uint32_t layer0, layer1;
  bool embed, head;
  koi_of of;
  uint32_t n_slots; /* places for routed experts in each layer (lots.h), which they have by turns; 0: each has its own */
} koi_share;

/* What one buffer (of each stream) holds: units [unit0, unit1) and of each the tiles [tile0, tile1) of its stack, all in one format; of a vector or a
 * table of ids, rows [tile0, tile1). care: some of its codes or scales need it, which is known after the upload. */
typedef struct koi_part { int32_t unit0, unit1, tile0, tile1, wt, care; } koi_part;

typedef struct koi_laid {
  int32_t wt;                            /* KOI_FORMAT_NONE: its parts differ. ids: 0, and their bytes are int32 */
  int32_t k, sub_rows, n_sub, n_units;
  uint32_t first, n_parts;               /* parts [first, first + n_parts) of the model's. 0: the layer has no such weight */
  uint64_t bytes, bytes_per_token;       /* on the device; of them, what a step of one token reads */
} koi_laid;

typedef struct koi_laid_model {
  const koine_model *model;
  koi_laid (*layers)[KOI_N_LAYER_ROLES]; /* [n_layers] of the model; those not asked for are empty */
  koi_lots *lots;                        /* [n_layers] whose experts have which places by turns, of the layers asked for; NULL: they do not */
  koi_laid top[KOI_N_TOP_ROLES];         /* the embedding lies where tokens begin, the rest where logits are made */
  koi_part *parts;                       /* [n_parts] */
  uint32_t n_parts, tile;                /* tile: rows of a tile */
  uint64_t bytes, bytes_per_token;
} koi_laid_model;

/* max_buffer_bytes: of one buffer; 0: any. tile: rows of a tile (layout.h). KOINE_ERR_MEMORY when a single tile, row or vector exceeds the buffer. */
koine_status koi_lay_share(const koine_model *m, uint64_t max_buffer_bytes, uint32_t tile, const koi_share *share, koi_laid_model **out);
/* All of layers [layer0, layer1), the embedding with the first of the model and the head with the last. */
koine_status koi_lay(const koine_model *m, uint64_t max_buffer_bytes, uint32_t tile, uint32_t layer0, uint32_t layer1, koi_laid_model **out);
void koi_lay_free(koi_laid_model *l);
/* Bytes of a part's buffer for a stream (0: it has none). */
uint64_t koi_lay_part_bytes(const koi_laid_model *l, const koi_role *role, const koi_laid *w, const koi_part *p, int stream);
#endif
