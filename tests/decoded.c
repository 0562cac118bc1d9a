/* See decoded.h. */
#include "decoded.h"
#include <string.h>
#include "near.h"

koine_status decoded_by(koine_plan *plan, const koine_session_options *how, const decoded *d, float *logits)
{
  koine_eval_options all = {.size = sizeof all, .n_logits = d->n_prompt};
  koine_session *session;
  koine_status s = koine_session_open(plan, how, &session);
  if (s) return s;
  memset(logits, 0xff, d->n_tokens * d->n_vocab * sizeof *logits);
  s = koine_session_eval(session, d->tokens, d->n_prompt, &all, logits);
  for (size_t n = d->n_prompt; n < d->n_tokens && !s; n++) s = koine_session_eval(session, d->tokens, n + 1, NULL, logits + n * d->n_vocab);
  koine_session_close(session);
  return s;
}

bool decoded_alike(const decoded *d, const float *want, const float *got)
{
  size_t n = d->n_tokens * d->n_vocab;
  return near_add(false, got, want, n, near_range(want, n)) <= 1e-5;
}
