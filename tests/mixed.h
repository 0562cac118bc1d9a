/* Conversations that go forward in common steps of a batch, each in pieces of its own sizes. */
#ifndef MIXED_H
#define MIXED_H
#include "koine.h"

enum { MIXED_PIECES = 6 };
typedef struct mixed {
  const int32_t *tokens; size_t n;
  uint32_t pieces[MIXED_PIECES]; /* tokens of its evaluations, in turns, up to the first 0; the last goes to the end */
  float *logits;                 /* [n][n_vocab] of all tokens */
  size_t done;
  koine_session *session;
} mixed;

/* Evaluates all of them; `o` as koine_batch_open has it. The first failure ends it. */
koine_status mixed_run(koine_plan *plan, koine_cache mode, const koine_batch_options *o, size_t n_vocab, mixed *v, size_t n);
#endif
