/* See mixed.h. */
#include "mixed.h"
#include <stdbool.h>

/* The next piece of one that has ended one, or begins; false: it has none left. */
static bool next(koine_batch *b, size_t n_vocab, mixed *m, size_t turn, koine_status *s)
{
  size_t n_pieces = 0, n = m->n - m->done;
  while (n_pieces < MIXED_PIECES && m->pieces[n_pieces]) n_pieces++;
  uint32_t piece = n_pieces ? m->pieces[turn % n_pieces] : 0;
  if (piece && piece < n) n = piece;
  if (!n) return false;
  koine_eval_options o = {.size = sizeof o, .n_logits = n};
  *s = koine_batch_eval(b, m->session, m->tokens, m->done + n, &o, m->logits + m->done * n_vocab);
  m->done += n;
  return !*s;
}

static koine_status steps(koine_batch *b, size_t n_vocab, mixed *v, size_t n)
{
  size_t n_ended, turns[n];
  koine_status s = KOINE_OK;
  for (size_t i = 0; i < n && !s; i++) turns[i] = 1, next(b, n_vocab, &v[i], 0, &s);
  while (!s && koine_batch_n_sessions(b)) {
    s = koine_batch_step(b, &n_ended);
    for (size_t k = 0; k < n_ended && !s; k++) {
      koine_batch_result r = KOINE_BATCH_RESULT_INIT;
      if (!(s = koine_batch_ended(b, k, &r))) s = r.status;
      for (size_t i = 0; i < n && !s; i++)
        if (v[i].session == r.session) next(b, n_vocab, &v[i], turns[i]++, &s);
    }
  }
  return s;
}

koine_status mixed_run(koine_plan *plan, koine_cache mode, const koine_batch_options *o, size_t n_vocab, mixed *v, size_t n)
{
  koine_batch *b = NULL;
  koine_status s = koine_batch_open(plan, o, &b);
  for (size_t i = 0; i < n && !s; i++) {
    koine_session_options so = {.size = sizeof so, .cache = mode, .context = v[i].n + 64 * i}; /* page tables of different lengths */
    v[i].done = 0;
    s = koine_session_open(plan, &so, &v[i].session);
  }
  if (!s) s = steps(b, n_vocab, v, n);
  koine_batch_close(b);
  for (size_t i = 0; i < n; i++) {
    koine_session_close(v[i].session);
    v[i].session = NULL;
  }
  return s;
}
