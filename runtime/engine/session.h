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
  bool evaluating;
  struct koine_batch *batch; /* that has work of it under way; NULL: none */
  atomic_bool cancelled;
  koine_session_stats stats;
};

koine_status koi_session_open(koine_plan *plan, const koine_session_options *o, koine_session **out);
void koi_session_close(koine_session *s);
/* As koine_session_eval, but a cancel that came before the call counts. */
koine_status koi_session_eval(koine_session *s, const int32_t *tokens, size_t n_tokens, const koine_eval_options *o, float *logits);
/* What is to be evaluated: tokens [first, n) of a conversation, logits of the last n_logits. */
typedef struct koi_work { const int32_t *tokens; /* [n - first] */ size_t first, n, n_logits; float *logits; const koine_eval_options *o; } koi_work;
/* An evaluation in parts, as koi_session_eval goes through them. What needs no evaluation: first is n then, and the logits are there. */
koine_status koi_session_begin(koine_session *s, const int32_t *tokens, size_t n_tokens, const koine_eval_options *o, float *logits, koi_work *out);
/* The next chunk, of at most `most` tokens; its tokens are held from now on as far as there is memory. */
koine_status koi_session_next(koine_session *s, const koi_work *w, size_t most, koi_chunk *out);
/* It was finished in ns, or has failed. */
void koi_session_finished(koine_session *s, const koi_chunk *c, uint64_t ns);
void koi_session_failed(koine_session *s);
/* Whether all is done. */
bool koi_session_done(const koine_session *s, const koi_work *w);
/* KOINE_ERR_CANCELLED when the caller, or progress, has said so. */
koine_status koi_session_goes_on(koine_session *s, const koi_work *w);
/* As their public namesakes. */
koine_status koi_session_truncate(koine_session *s, size_t n_tokens);
koine_status koi_session_fork(koine_session *s, koine_session **out);
/* An empty session holds these tokens; its line is to be brought there. */
koine_status koi_session_hold(koine_session *s, const int32_t *tokens, size_t n_tokens);
/* KOINE_ERR_STATE for `what` while a batch has work of the session under way. */
koine_status koi_session_alone(const koine_session *s, const char *what);
/* KOINE_ERR_NUMERIC when a logit of n_rows is no number: the op that made the first one is named. */
koine_status koi_session_check_logits(koine_session *s, const float *logits, size_t n_rows);
/* Nothing is held any more, no mark either: the next evaluation begins with the first token. */
void koi_session_clear(koine_session *s);
/* Pretends that n tokens were evaluated: the caches hold made-up rows (for benchmarks). */
koine_status koi_session_fill(koine_session *s, size_t n_tokens);
/* Evaluates the held tokens once more, looking for the first op that writes a NaN; KOINE_ERR_NUMERIC names it. Never KOINE_OK. */
koine_status koi_session_explain_nan(koine_session *s);
void koi_session_get_stats(const koine_session *s, koine_session_stats *out);
#endif
