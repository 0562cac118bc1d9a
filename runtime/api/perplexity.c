/* koine_perplexity: a text in pieces that stand alone, each evaluated once. Owns nothing. */
#include <math.h>
#include <string.h>
#include "api_text.h"
#include "base/record.h"
#include "engine/session.h"

static koine_status missing(const char *what) { return koi_error(KOINE_ERR_ARG, "%s: NULL, expected an object", what); }

/* -log of the probability that logits [n] give `id`. */
static double surprise(const float *logits, size_t n, int32_t id)
{
  double top = logits[0], sum = 0;
  for (size_t i = 1; i < n; i++) top = logits[i] > top ? logits[i] : top;
  for (size_t i = 0; i < n; i++) sum += exp(logits[i] - top);
  return top + log(sum) - logits[id];
}

/* ids [n]: the piece, with the beginning-of-text token first. */
static koine_status piece(koine_session *session, const int32_t *ids, size_t n, float *logits, double *nats)
{
  size_t n_vocab = session->plan->model->config.n_vocab;
  koine_eval_options e = {.size = sizeof e, .n_logits = n - 1};
  koi_session_clear(session); /* each piece stands alone */
  koine_status s = koi_session_eval(session, ids, n - 1, &e, logits);
  for (size_t i = 1; i < n && !s; i++) *nats += surprise(logits + (i - 1) * n_vocab, n_vocab, ids[i]);
  return !s && isnan(*nats) ? koi_session_explain_nan(session) : s;
}

koine_status koine_perplexity(koine_session *session, const koine_tokenizer *tokenizer, const char *text, size_t n_bytes, uint32_t segment,
                              koine_progress_fn *progress, void *user, koine_perplexity_result *out)
{
  if (!session || !tokenizer || !text || !out) return missing("koine_perplexity");
  if (!segment) segment = 256;
  if (segment > session->context) return koi_error(KOINE_ERR_ARG, "pieces of %u tokens do not fit a context of %llu", segment, (unsigned long long)session->context);
  int32_t bos = koi_tok_bos(tokenizer->tok), *ids = NULL, *part = NULL;
  if (bos < 0) return koi_error(KOINE_ERR_FILE, "the tokenizer names no beginning-of-text token, which each piece needs");
  size_t n = 0;
  double nats = 0;
  koine_status s = koi_tok_encode(tokenizer->tok, text, n_bytes, 0, &ids, &n);
  float *logits = s ? NULL : koi_alloc((size_t)segment * session->plan->model->config.n_vocab, sizeof *logits);
  if (!s && (!logits || !(part = koi_alloc((size_t)segment + 1, sizeof *part)))) s = KOINE_ERR_MEMORY;
  if (!s && !n) s = koi_error(KOINE_ERR_ARG, "the text is empty");
  for (size_t at = 0; at < n && !s; at += segment) {
    size_t m = n - at < segment ? n - at : segment;
    part[0] = bos;
    memcpy(part + 1, ids + at, m * sizeof *ids);
    if (progress && !progress(user, "perplexity", at, n)) s = koi_error(KOINE_ERR_CANCELLED, "cancelled after %zu of %zu tokens", at, n);
    if (!s) s = piece(session, part, m + 1, logits, &nats);
  }
  koi_free(ids);
  koi_free(part);
  koi_free(logits);
  if (s) return s;
  if (!isfinite(nats)) return koi_error(KOINE_ERR_NUMERIC, "a logit is not a number, or infinite (op head)");
  koine_perplexity_result own = {.bits_per_byte = nats / log(2) / (double)n_bytes, .nats_per_token = nats / (double)n, .n_tokens = n, .n_bytes = n_bytes};
  KOI_GIVE(koine_perplexity_result, &own, out);
  return KOINE_OK;
}
