/* Places of a layer's routed experts that come by turns. Experts that are stored alike in every one of their matrices can stand in each other's place, and
 * have a lot of places to themselves; the others have other lots. Plain data. */
#ifndef KOI_LOTS_H
#define KOI_LOTS_H
#include "model/model.h"

typedef struct koi_lots {
  uint32_t n, n_slots, n_experts; /* lots; places of all of them */
  uint32_t *of;                   /* [n_experts] whose lot it is */
  uint32_t *first;                /* [n + 1] lot i has places [first[i], first[i + 1]) */
  uint32_t *like;                 /* [n] an expert of the lot */
} koi_lots;

/* Of n_slots places, of 1 to n_experts, each lot has the share that its experts are of all, rounded up: so each has one at least, and all have n_experts
 * together when that is n_slots. KOINE_ERR_MEMORY. A layer without routed experts has no lot. */
koine_status koi_lots_make(const koi_layer *layer, uint32_t n_slots, koi_lots *out);
void koi_lots_free(koi_lots *l);
/* The first place that an expert may have. */
static inline uint32_t koi_lots_slot(const koi_lots *l, uint32_t expert) { return l->first[l->of[expert]]; }
#endif
