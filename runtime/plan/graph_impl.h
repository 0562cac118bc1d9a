/* What the parts of graph.c share: a list being written, and the pieces that calls are made of. */
#ifndef KOI_GRAPH_IMPL_H
#define KOI_GRAPH_IMPL_H
#include "graph.h"
#include "kernels/layout.h"

typedef struct emit {
  const koi_graph *g;
  const koi_config *c;
  const koi_caches *caches;
  const koi_feed *feed;
  koi_calls *out;
  int32_t layer, t, exact;
  uint16_t when;               /* of the calls to come */
  int32_t mixed;               /* parts of the next mixes that lie in S(mix) already */
  bool made;                   /* S(xn), S(post) and S(comb) are the next block's already */
  bool failed;                 /* out of memory: the list is short */
  const koi_laid *w;           /* the layer's weights, by role */
  const koi_layer *m;
  const koi_layer_cache *at;
} emit;

/* An activation that several products read: packed into panels at the first product that wants them. */
typedef struct input { koi_ref x, panels; int32_t ld; bool packed; } input;
typedef struct entries { int32_t n, x_div; koi_ref ids; } entries; /* rows of a matvec and, for grouped weights, their units */
typedef struct panels { koi_ref x; int32_t n, nt, n_rows; koi_ref units, rows; } panels; /* units and rows NOTHING: dense */

typedef struct beside { const koi_laid *w; koi_ref y; } beside; /* one of several products of the same rows */

#define NOTHING (koi_ref){KOI_AT_NONE, 0, 0}
#define SCRATCH(id) (koi_ref){KOI_AT_SCRATCH, (id), 0}
#define S(name) SCRATCH(KOI_S_##name)
#define FEED(field) (koi_ref){KOI_AT_FEED, 0, e->feed->field}
#define TABLES (koi_ref){KOI_AT_TABLES, 0, 0}
#define HOST(which, offset) (koi_ref){KOI_AT_HOST, KOI_HOST_##which, (offset)}
#define GROUP_IDS_REF (koi_ref){KOI_AT_FIXED, 0, 0} /* entry t*o_groups + g belongs to group g */
#define ARRIVALS (koi_ref){KOI_AT_FIXED, 1, 0} /* an int that is 0 between calls */
#define W(role) (&e->w[KOI_W_##role])
#define CALL(name, ...) koi_graph_put(e, &(koi_call){.op = &koi_op_##name, __VA_ARGS__})

#define RATIO(which) koi_sym_ratio((size_t)e->at->ratio_at, KOI_SYM_##which)
#define FEED_RATIO(field) FEED(ratios[e->at->ratio_at].field)

static inline int32_t smaller(int32_t a, int32_t b) { return a < b ? a : b; }

void koi_graph_put(emit *e, const koi_call *call);
/* Scratch to host memory, and back. */
void koi_graph_give(emit *e, koi_ref from, koi_ref host, uint64_t bytes);
void koi_graph_take(emit *e, koi_ref host, koi_ref to, uint64_t bytes);
/* The slabs of a kind's pool as the call's buffers from `first` on. */
void koi_graph_pool(koi_call *c, size_t first, int32_t kind);
koi_ref koi_graph_codes(const koi_laid *w, uint32_t part), koi_graph_scales(const koi_laid *w, uint32_t part, int32_t wt);
koi_ref koi_graph_vector(const koi_laid *w);
/* With part i of a weight, for matvec and the ops that take what it takes. */
koi_call koi_graph_product_call(const emit *e, const koi_op *op, const koi_laid *w, uint32_t i, koi_ref x, int32_t ldx, entries n, koi_ref y, int32_t ldy);
void koi_graph_matvec(emit *e, const koi_laid *w, koi_ref x, int32_t ldx, entries n, koi_ref y, int32_t ldy);
/* act[i] = the gated activation of the two matrices of each entry's unit, where the parts of w have both whole. weights: of entries, or NOTHING. */
bool koi_graph_glu_fits(const emit *e, const koi_laid *w);
void koi_graph_glu(emit *e, const koi_laid *w, koi_ref x, entries n, koi_ref weights, float limit, koi_ref act);
void koi_graph_matmul(emit *e, const koi_laid *w, const panels *g, koi_ref y, int32_t ldy);
void koi_graph_pack(emit *e, const panels *g, koi_ref x, int32_t k, int32_t ldx, int32_t x_div);
bool koi_graph_every_form(const emit *e);
/* y[t] = w in[t] for n rows. */
void koi_graph_dense(emit *e, const koi_laid *w, input *in, int32_t n, koi_ref y, int32_t ldy);

/* Up to MATVECS_MOST products of one input: one call where there is one token and they fit, else one after the other. */
bool koi_graph_beside_fits(const emit *e, const beside *v, int32_t n);
void koi_graph_beside(emit *e, const beside *v, int32_t n, input *in);
/* ---- graph_hc.c ---- */
typedef struct mixing { const koi_laid *fn, *base, *scale, *norm; } mixing; /* of the streams, for a block's input */
mixing koi_graph_attn_mixing(const koi_laid *w), koi_graph_ffn_mixing(const koi_laid *w); /* w: a layer's weights, by role */
/* A block's last product of one token and hc_post in one call, where both fit it; it makes the mixes of `next` (NULL: none), and the input that comes of
 * them where the device lets it. o: NOTHING, or what is added first. */
bool koi_graph_post_fits(const emit *e, const koi_laid *w);
void koi_graph_post(emit *e, const koi_laid *w, koi_ref x, entries n, koi_ref o, const mixing *next);
void koi_graph_hc_post(emit *e, koi_ref parts, int32_t n_parts);
/* The block's input, in S(xn); the head's for n rows. */
void koi_graph_hc_pre(emit *e, const mixing *m);
void koi_graph_hc_head(emit *e, const mixing *m, int32_t n);

/* n rows in place, normalised as `kind` says; rope: NOTHING, or a table row for every rows_per_pos of them. */
enum { KOI_NO_NORM, KOI_RMS, KOI_RMS_WEIGHT };
koi_call koi_graph_norm_rope(emit *e, int32_t kind, const koi_laid *norm, koi_ref v, int32_t n, int32_t dim, koi_ref rope, int32_t rows_per_pos);
/* Into the pool of a kind; how many rows, and a ring, are still to be said. */
koi_call koi_graph_kv_store(emit *e, koi_ref x, koi_ref rows, int32_t kind, int32_t at);
/* Whether what follows the first products of one token is one call. */
static inline bool koi_graph_joined(const emit *e) { return e->t == 1 && W(q_norm)->wt == W(kv_norm)->wt; }

typedef struct compressor { const koi_laid *kv_gate, *ape, *norm; koi_ref kv, pooled; int32_t dim, state_at; } compressor; /* kv: a token's values, then its scores */
void koi_graph_compress(emit *e, const compressor *p, int32_t n, input *xn); /* graph_pool.c; n: the second is the indexer's */

void koi_graph_attention(emit *e, input *xn); /* graph_attn.c */
void koi_graph_moe(emit *e, input *xn, const mixing *next); /* graph_moe.c; next: what mixes the streams for the next block */
void koi_graph_experts(emit *e);              /* of a layer, where they are alone */
#endif
