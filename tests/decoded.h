/* Logits of every token that a plan gives: a prompt in the session's chunks, and what follows it token by token; and whether two runs gave the same. */
#ifndef DECODED_H
#define DECODED_H
#include <stdbool.h>
#include "koine.h"

typedef struct decoded { const int32_t *tokens; size_t n_prompt, n_tokens, n_vocab; } decoded;

/* logits [n_tokens][n_vocab], of NaN where none were given. */
koine_status decoded_by(koine_plan *plan, const koine_session_options *how, const decoded *d, float *logits);
/* Within 1e-5 of the range everywhere, by more than which a part that is missing, stale or another's differs. */
bool decoded_alike(const decoded *d, const float *want, const float *got);
#endif
