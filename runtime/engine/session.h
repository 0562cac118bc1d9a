/* One conversation's caches on an awake plan. */
#ifndef KOI_SESSION_H
#define KOI_SESSION_H
#include <stdatomic.h>
#include "graph.h"

struct koine_session {
  koi_exec *x;
  koine_cache mode;
  uint64_t context;
  uint32_t chunk;
  koi_layer_cache *cache;   /* [n_layers] */
  int32_t *held;            /* [n_held] the tokens that the caches stand for */
  size_t n_held, cap_held;
  uint64_t rows_for;        /* positions that the caches have room for */
  float *last;              /* [n_vocab] logits of the last held token */
  bool has_last;
  atomic_bool cancelled;
  koine_session_stats stats;
};

koine_status koi_session_open(koi_exec *x, const koine_session_options *o, koine_session **out);
void koi_session_close(koine_session *s);
/* As koine_session_eval, but a cancel that came before the call counts. */
koine_status koi_session_eval(koine_session *s, const int32_t *tokens, size_t n_tokens, const koine_eval_options *o, float *logits);
/* Forgets what is held from n_tokens on, and perhaps more; a session that stands for the same tokens, and perhaps holds fewer. */
koine_status koi_session_truncate(koine_session *s, size_t n_tokens);
koine_status koi_session_fork(const koine_session *s, koine_session **out);
/* Pretends that n tokens were evaluated: the caches hold random rows (for benchmarks). */
koine_status koi_session_fill(koine_session *s, size_t n_tokens);
/* Evaluates the held tokens once more, looking for the first op that writes a NaN; KOINE_ERR_NUMERIC names it. Never KOINE_OK. */
koine_status koi_session_explain_nan(koine_session *s);
#endif
