/* Layers to op calls: one chunk of tokens through the model. */
#ifndef KOI_GRAPH_H
#define KOI_GRAPH_H
#include "exec.h"
#include "kernels/layout.h"

/* ---- a session's caches on the device, one record a layer ---- */
typedef struct koi_rows { /* cache rows as kv_store writes them; packed: three buffers, exact: one */
  koi_buf *codes, *scales, *rope;
  uint32_t cap;
} koi_rows;

typedef struct koi_index_rows {
  koi_buf *codes, *scales;
  uint32_t cap; /* a multiple of 16 */
} koi_index_rows;

typedef struct koi_layer_cache {
  koi_rows window;             /* ring: row position % cap */
  koi_rows comp;
  koi_buf *kv_state, *score_state;
  koi_index_rows index;
  koi_buf *ikv_state, *iscore_state;
} koi_layer_cache;

typedef struct koi_step {
  const int32_t *tokens; /* [n] */
  uint32_t n, n_logits;  /* the last n_logits of them are wanted */
  uint64_t p0;           /* position of the first */
  bool exact;
  koi_layer_cache *cache; /* [n_layers] */
  float *logits;         /* [n_logits][n_vocab] */
} koi_step;

/* Runs one chunk; returns when the logits are there (or, without any, when the work is queued). */
koine_status koi_graph_step(koi_exec *x, const koi_step *s);
/* One dense product by itself, for measuring: y[i] = m in[i] for n rows, `panels` the same packed. */
koine_status koi_graph_product(koi_exec *x, const koi_mat *m, koi_buf *in, koi_buf *panels, int32_t n, koi_buf *y);
/* Builds every kernel a session will use. */
koine_status koi_graph_build(koi_exec *x, koine_progress_fn *progress, void *user);

/* Panels that always suffice for n entries over n_units units. */
static inline uint64_t koi_graph_panels(uint64_t n, uint64_t n_units, uint64_t nt)
{
  uint64_t p = koi_ceil_div(n, nt) + n_units;
  return p < n ? p : n;
}
/* Floats of the indexer's score buffer: bounded, whatever the context. */
static inline uint64_t koi_graph_score_floats(const koi_tunables *u, uint64_t chunk, uint64_t context)
{
  uint64_t all = chunk * koi_ceil_div(context / 4 + 1, 16) * 16, bound = u->score_floats, least = chunk * 256;
  if (bound < least) bound = least;
  return all < bound ? all : bound;
}
/* Whether a buffer is float scratch (as opposed to ids, caches, codes). */
bool koi_graph_is_activation(const koi_exec *x, const koi_buf *b);
#endif
