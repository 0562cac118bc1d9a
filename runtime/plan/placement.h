/* A placement: which device computes which layers, and where embedding, head and routed experts lie. Plain data, with devices by their ids; what
 * it will hold there is plan.h's. A planner, a user's options or a text make one. */
#ifndef KOI_PLACEMENT_H
#define KOI_PLACEMENT_H
#include "base/base.h"

enum { KOI_PLACEMENT_ID = 64 };
#define KOI_EXPERTS_REST UINT64_MAX

typedef struct koi_placed {
  char device[KOI_PLACEMENT_ID];  /* an endpoint's id */
  uint32_t layer0, layer1;    /* [layer0, layer1); empty for one that only embeds, or only has the head */
  bool embed, head;           /* tokens begin here; logits are made here */
  char experts[KOI_PLACEMENT_ID]; /* the endpoint that computes the stage's routed experts; "": its own device */
  uint64_t expert_bytes;          /* that its routed experts have there, by turns; 0: room for all; KOI_EXPERTS_REST: what the plan leaves free */
  char misses[KOI_PLACEMENT_ID];  /* by turns: the endpoint that has all of them, where those without a place may be computed; "": they are loaded */
} koi_placed;

/* Stages in the order of the layers. A device may have several. */
typedef struct koi_placement {
  koi_placed *stages; size_t n_stages;
  uint32_t split_groups;      /* koi_tunables.split_groups of every stage, so that results do not depend on who computes; 0: each device's own */
} koi_placement;

/* Appends an empty stage; NULL without memory. */
koi_placed *koi_placement_add(koi_placement *p);
void koi_placement_free(koi_placement *p);
koine_status koi_placement_copy(const koi_placement *from, koi_placement *to);
/* "DEVICE=FIRST-LAST", inclusive; "DEVICE=3" is one layer, "DEVICE=3-" goes to the end, of n_layers. KOINE_ERR_ARG with the text. */
koine_status koi_placement_range(const char *text, uint32_t n_layers, koi_placed *out);
/* Orders stages by layer, and lets the first embed and the last have the head where no stage does. */
void koi_placement_order(koi_placement *p);
/* Of the routed experts that a device computes so many bytes are there at once: each of its stages has as much of them as it has layers. KOINE_ERR_ARG where
 * it computes none, or they come by turns already. */
koine_status koi_placement_cache(koi_placement *p, const char *device, uint64_t bytes);
/* Whether every layer of n_layers lies in exactly one stage, in order, and embedding and head do, at the ends. KOINE_ERR_ARG names the gap. */
koine_status koi_placement_check(const koi_placement *p, uint32_t n_layers);
/* As in a plan's text, without the line's end: "layers 0-21 device=cl0 embed", "layers 22-42 device=cl1 experts=cl2 head", "layers none device=cl2 head",
 * with " expert_cache=BYTES" where routed experts have their place by turns, and " misses=cl2" where others may be computed. */
void koi_placement_stage_text(const koi_placed *s, koi_text *t);
/* Reads such lines, and "place split_groups=N" before them: other lines and other words in these are passed over. The result is ordered
 * but not checked. KOINE_ERR_ARG names the line. */
koine_status koi_placement_parse(const char *text, koi_placement *out);
#endif
