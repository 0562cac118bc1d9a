/* Layers to calls: what a step of a shape does on a stage, as a list. Plain data in, plain data out; no device.
 * A stage that does not begin with tokens takes the streams from host memory, and one without the head gives them there. Where a stage's routed
 * experts are computed elsewhere, each of its layers gives the tokens with their experts, and takes what these made of them. */
#ifndef KOI_GRAPH_H
#define KOI_GRAPH_H
#include "call.h"
#include "caches.h"
#include "feed.h"
#include "lay.h"
#include "scratch.h"

typedef struct koi_graph { /* what a list depends on beside the chunk's shape; owns nothing */
  const koine_model *model;
  const koi_laid_model *laid;
  const koi_tunables *tunables;
  uint32_t layer0, layer1;   /* the stage's */
  bool embed, head;          /* whether it begins with tokens, ends with logits */
  uint32_t chunk;            /* most tokens */
  koi_of of;
  bool every_form;           /* several tokens' dense products in each form that may be taken, one after the other: for placing scratch memory, not for running */
} koi_graph;

/* Bytes of host memory, by KOI_HOST_*, that a chunk of n tokens takes. */
void koi_graph_host_bytes(const koi_config *c, uint32_t n_tokens, uint64_t bytes[KOI_N_HOST]);
/* What lies where in KOI_HOST_EXPERTS: rows that a router saw, experts' numbers and weights, n_used for each of n tokens, and what each made of its row;
 * bytes of one of each, of all rows or entries. */
typedef struct koi_desk { uint64_t xn, ids, weights, parts, entries, rows, all; } koi_desk;
koi_desk koi_graph_desk(const koi_config *c, uint64_t n_tokens);
/* What the stage keeps of conversations: nothing where it has experts alone. */
koine_status koi_graph_caches(const koi_graph *g, bool exact, koi_caches **out);
/* Appends the calls for a chunk laid out by `feed`. KOINE_ERR_MEMORY. */
koine_status koi_graph_calls(const koi_graph *g, const koi_caches *caches, const koi_feed *feed, koi_calls *out);
/* Whether a library's product may take the place of our panels. */
bool koi_graph_library_fits(const koi_laid *w);
/* One dense product by itself: `n` rows of scratch `in` (packed in `panels`) times a weight to scratch `out`, for measuring. */
koine_status koi_graph_product(const koi_graph *g, const koi_laid *w, uint32_t n, uint32_t in, uint32_t panels, uint32_t out, koi_calls *calls);
/* Rows that a round of the indexer scores, for chunks of n tokens; and the rounds that a context may take. */
int32_t koi_graph_round_rows(const koi_graph *g, uint32_t n_tokens);
uint32_t koi_graph_rounds(const koi_graph *g, uint32_t n_tokens, uint64_t context);
#endif
