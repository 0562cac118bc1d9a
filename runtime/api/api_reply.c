/* See api_reply.h. Owns the answer and the logits that it is made from. Invariant: the answer's tokens are what the session was asked for last. */
#include "api_reply.h"

koine_status koi_reply_open(koine_session *session, const koine_tokenizer *tokenizer, const int32_t *prompt, size_t n_prompt, const koine_generate_options *given, koi_reply *out)
{
  size_t n_vocab = session->plan->model->config.n_vocab;
  *out = (koi_reply){.session = session, .n_prompt = n_prompt, .stop = KOINE_STOP_CALLER};
  koine_status s = koi_api_generate_options(given, &out->o);
  if (!s) s = koine_answer_open(tokenizer, n_vocab, session->context, prompt, n_prompt, given, &out->answer);
  if (!s && !(out->logits = koi_alloc(n_vocab, sizeof *out->logits))) s = KOINE_ERR_MEMORY;
  if (s) koi_reply_close(out);
  return s;
}

void koi_reply_close(koi_reply *t)
{
  koine_answer_close(t->answer);
  koi_free(t->logits);
  *t = (koi_reply){0};
}

koine_eval_options koi_reply_eval(const koi_reply *t)
{
  size_t n;
  koi_reply_ids(t, &n);
  return (koine_eval_options){.size = sizeof(koine_eval_options), .n_logits = 1, .progress = n ? NULL : t->o.progress, .user = t->o.user};
}

static bool has_nan(const float *logits, size_t n)
{
  for (size_t i = 0; i < n; i++)
    if (logits[i] != logits[i]) return true;
  return false;
}

koine_status koi_reply_next(koi_reply *t)
{
  if (koine_answer_is_ended(t->answer)) return KOINE_OK;
  koine_status s = koine_answer_take(t->answer, t->logits);
  if (s == KOINE_ERR_NUMERIC && has_nan(t->logits, t->session->plan->model->config.n_vocab)) s = koi_session_explain_nan(t->session);
  return s;
}

koine_status koi_reply_end(koi_reply *t, koine_status s)
{
  if (s && s != KOINE_ERR_CANCELLED) return s;
  koine_status last = koine_answer_end(t->answer, &t->stop, NULL);
  return s ? s : last;
}

const int32_t *koi_reply_ids(const koi_reply *t, size_t *n)
{
  const int32_t *tokens = koine_answer_tokens(t->answer, n);
  *n -= t->n_prompt;
  return tokens + t->n_prompt;
}
