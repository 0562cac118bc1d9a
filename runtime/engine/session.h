/* One conversation on an awake plan: its tokens, the pages that stand for them, and places to rewind to. */
#ifndef KOI_SESSION_H
#define KOI_SESSION_H
#include <stdatomic.h>
#include "line.h"

struct koine_session {
  koine_plan *plan;
  koine_cache mode;
  uint64_t context;
  uint32_t chunk;
  koi_line line;
  int32_t *held;            /* [n_held] the conversation's tokens; the caches stand for the first koi_line_n of them */
  size_t n_held, cap_held;
  size_t redo;              /* after a failure: what was finished is evaluated again up to here, in chunks of its own, so that the rest is cut as before */
  float *last;              /* [n_vocab] logits of the last held token */
  bool has_last;
  const koi_watch *watch;   /* of the steps to come; NULL: nothing */
  atomic_bool cancelled;
  koine_session_stats stats;
};

koine_status koi_session_open(koine_plan *plan, const koine_session_options *o, koine_session **out);
void koi_session_close(koine_session *s);
/* As koine_session_eval, but a cancel that came before the call counts. */
koine_status koi_session_eval(koine_session *s, const int32_t *tokens, size_t n_tokens, const koine_eval_options *o, float *logits);
/* As their public namesakes. */
koine_status koi_session_truncate(koine_session *s, size_t n_tokens);
koine_status koi_session_fork(koine_session *s, koine_session **out);
/* Nothing is held any more, no mark either: the next evaluation begins with the first token. */
void koi_session_clear(koine_session *s);
/* Pretends that n tokens were evaluated: the caches hold made-up rows (for benchmarks). */
koine_status koi_session_fill(koine_session *s, size_t n_tokens);
/* Evaluates the held tokens once more, looking for the first op that writes a NaN; KOINE_ERR_NUMERIC names it. Never KOINE_OK. */
koine_status koi_session_explain_nan(koine_session *s);
void koi_session_get_stats(const koine_session *s, koine_session_stats *out);
#endif
