/* What a stage keeps of conversations, as plain data: kinds of cache, the pages of each, and where a layer lies in them.
 *
 * A page of a kind holds KOI_PAGE rows of every layer that has the kind, a layer's part after the other; a slot of a state kind holds what the
 * compressors of one ratio carry of a conversation. How a part is laid out: kernels/layout.h. */
#ifndef KOI_CACHES_H
#define KOI_CACHES_H
#include "kernels/layout.h"
#include "model/model.h"

enum {
  KOI_PAGE = 64,  /* rows of a page; the ops' const PAGE */
  KOI_MARK = 128, /* positions between two marks; a multiple of KOI_PAGE, so that a mark's window rows end with a page */
  KOI_TABLE_INTS = 1 << 17, /* entries of the page tables of a kind, for all conversations of a stage together */
};

typedef enum koi_cache_type { KOI_CACHE_WINDOW, KOI_CACHE_COMP, KOI_CACHE_INDEX, KOI_CACHE_STATE } koi_cache_type;

typedef struct koi_cache_kind {
  koi_cache_type type;
  uint32_t ratio, coff;  /* 0 for the window */
  uint32_t n_layers;
  uint64_t page_bytes;   /* of a page, or of a state's slot */
  int32_t table;         /* where the kind's page tables begin: a conversation has the same stretch in those of every kind, so that one number finds all */
} koi_cache_kind;

enum { KOI_NO_KIND = -1 };
typedef struct koi_layer_cache { /* kinds of a layer, and its first byte in a page of each */
  int32_t comp, index, state;           /* KOI_NO_KIND: it has none; the window is kind 0 for all */
  int32_t window_at, comp_at, index_at;
  int32_t state_at, index_state_at;     /* of the compressor, of the indexer's */
  int32_t ratio_at;                     /* into koi_caches.ratios, -1: a sliding layer */
} koi_layer_cache;

typedef struct koi_ratio { /* layers that compress by one ratio close their windows together */
  uint32_t ratio, coff;
  bool index;
  int32_t comp, index_kind, state;
} koi_ratio;

typedef struct koi_caches {
  const koi_config *config;
  bool exact;
  uint32_t layer0, layer1;
  koi_cache_kind *kinds; size_t n_kinds;
  size_t n_table_ints;      /* of all kinds together */
  koi_ratio *ratios; size_t n_ratios;
  koi_layer_cache *layers;  /* [layer1 - layer0] */
} koi_caches;

koine_status koi_caches_make(const koine_model *m, bool exact, uint32_t layer0, uint32_t layer1, koi_caches **out);
void koi_caches_free(koi_caches *c);
/* Table entries of the window's ring, for chunks of `chunk` tokens. */
uint32_t koi_caches_ring(const koi_caches *c, uint32_t chunk);
/* Pages (slots, for a state) that a conversation of `context` tokens needs of a kind. */
uint64_t koi_caches_pages(const koi_caches *c, size_t kind, uint64_t context, uint32_t chunk);
/* Bytes of one conversation; UINT64_MAX when they exceed that. */
uint64_t koi_caches_bytes(const koi_caches *c, uint64_t context, uint32_t chunk);
/* Bytes of one mark: the states that are not empty there, and the window's pages. */
uint64_t koi_caches_mark_bytes(const koi_caches *c);
/* Whether a compressor carries anything over position p, a multiple of KOI_MARK. */
bool koi_caches_carries(const koi_ratio *r, uint64_t p);
#endif
