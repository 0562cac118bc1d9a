/* Public functions of sampling, of schemas and of generation, which is a loop over a reply (api_reply.h). */
#include <string.h>
#include "api_reply.h"
#include "base/record.h"
#include "text/schema.h"

/* ---- sampling ---- */
struct koine_sampler {
  koi_sampler *sampler;
  koi_tok_ids seen; /* the history that the counts stand for */
};

koine_status koi_api_sampler(const koine_sampling *s, const koi_tok *tok, size_t n_vocab, koi_sampler **out)
{
  const koi_sample_params p = {s->temperature, s->top_k, s->top_p, s->min_p, s->repetition_penalty, s->presence_penalty, s->frequency_penalty, s->seed};
  koine_status st = koi_sample_open(&p, n_vocab, out);
  for (int32_t id = 0; !st && !tok && id < 2; id++) koi_sample_exempt(*out, id); /* the beginning and the end, as every published config says */
  for (size_t id = 0; !st && tok && id < koi_tok_n_vocab(tok); id++)
    if (koi_tok_is_added(tok, (int32_t)id)) koi_sample_exempt(*out, (int32_t)id);
  return st;
}

koine_status koine_sampler_open(const koine_sampling *sampling, size_t n_vocab, koine_sampler **out)
{
  if (!sampling || !out) return koi_missing("koine_sampler_open");
  koine_sampling own;
  koine_sampler *k = koi_alloc(1, sizeof *k);
  koine_status s = k ? KOI_TAKE(koine_sampling, sampling, &own) : KOINE_ERR_MEMORY;
  if (!s) s = koi_api_sampler(&own, own.tokenizer ? own.tokenizer->tok : NULL, n_vocab, &k->sampler);
  if (s) {
    koi_free(k);
    return s;
  }
  *out = k;
  return KOINE_OK;
}

void koine_sampler_close(koine_sampler *sampler)
{
  if (!sampler) return;
  koi_sample_close(sampler->sampler);
  koi_free(sampler->seen.v);
  koi_free(sampler);
}

void koine_sampler_reset(koine_sampler *sampler)
{
  if (!sampler) return;
  koi_sample_reset(sampler->sampler);
  sampler->seen.n = 0;
}

/* What was counted stays where the history goes on; another history is counted anew. */
static koine_status follow(koine_sampler *k, const int32_t *tokens, size_t n)
{
  koine_status s = KOINE_OK;
  if (k->seen.n > n || (k->seen.n && memcmp(k->seen.v, tokens, k->seen.n * sizeof *tokens))) koi_sample_forget(k->sampler), k->seen.n = 0;
  while (k->seen.n < n && !s) {
    int32_t id = tokens[k->seen.n];
    s = koi_tok_push(&k->seen, id);
    if (!s) koi_sample_see(k->sampler, id);
  }
  return s;
}

koine_status koine_sample(koine_sampler *sampler, const float *logits, const int32_t *tokens, size_t n_tokens, int32_t *out)
{
  if (!sampler || !logits || (n_tokens && !tokens) || !out) return koi_missing("koine_sample");
  koine_status s = follow(sampler, tokens, n_tokens);
  return s ? s : koi_sample_next(sampler->sampler, logits, "head", out);
}

/* ---- the form of answers ---- */
koine_status koine_schema_open(const koine_tokenizer *tokenizer, const char *json, size_t n_bytes, koine_schema **out)
{
  if (!tokenizer || !json || !out) return koi_missing("koine_schema_open");
  koi_grammar *grammar;
  koine_schema *schema = koi_alloc(1, sizeof *schema);
  koine_status s = schema ? koi_schema_grammar(json, n_bytes, &grammar) : KOINE_ERR_MEMORY;
  if (!s) s = koi_mask_open(tokenizer->tok, grammar, -1, &schema->mask);
  if (s) koi_free(schema);
  else *out = schema;
  return s;
}

koine_status koine_schema_open_calls(const koine_tokenizer *tokenizer, const char *tools, size_t n_bytes, const char *name, unsigned flags, koine_schema **out)
{
  if (!tokenizer || !tools || !out) return koi_missing("koine_schema_open_calls");
  koi_grammar *grammar;
  int32_t id = koi_tok_id(tokenizer->tok, KOINE_CALLS_MARK);
  koine_status s = koi_flags("koine_schema_open_calls", flags, KOINE_CALLS_ONE | KOINE_CALLS_BEGUN);
  if (s) return s;
  if (id < 0) return koi_error(KOINE_ERR_UNSUPPORTED, "calls cannot be asked for: the tokenizer has no token %s", KOINE_CALLS_MARK);
  koine_schema *schema = koi_alloc(1, sizeof *schema);
  s = schema ? koi_schema_calls(tools, n_bytes, name, flags & KOINE_CALLS_ONE, flags & KOINE_CALLS_BEGUN, &grammar) : KOINE_ERR_MEMORY;
  if (!s) s = koi_mask_open(tokenizer->tok, grammar, id, &schema->mask);
  if (s) koi_free(schema);
  else *out = schema;
  return s;
}

void koine_schema_close(koine_schema *schema)
{
  if (!schema) return;
  koi_mask_close(schema->mask);
  koi_free(schema);
}

/* ---- generation ---- */
/* What the gate holds back is handed out also when it was cancelled. */
static koine_status generate(koi_reply *t)
{
  koine_status s;
  do {
    size_t n;
    const int32_t *tokens = koine_answer_tokens(t->answer, &n);
    koine_eval_options e = koi_reply_eval(t);
    s = koi_session_eval(t->session, tokens, n, &e, t->logits);
    if (!s) s = koi_reply_next(t);
  } while (!s && !koine_answer_is_ended(t->answer));
  return koi_reply_end(t, s);
}

/* What was generated goes to the caller, also when it was cancelled. */
static koine_status hand_over(const koi_reply *t, int32_t **out, size_t *n_out)
{
  size_t n;
  const int32_t *made = koi_reply_ids(t, &n);
  int32_t *ids = koi_alloc(n + 1, sizeof *ids);
  if (!ids) return KOINE_ERR_MEMORY;
  if (n) memcpy(ids, made, n * sizeof *ids);
  *out = ids, *n_out = n;
  return KOINE_OK;
}

koine_status koine_generate(koine_session *session, const koine_tokenizer *tokenizer, const int32_t *prompt, size_t n_prompt,
                            const koine_generate_options *options, int32_t **out, size_t *n_out, koine_stop *stop)
{
  if (!session || !tokenizer || !prompt || !options || !out || !n_out) return koi_missing("koine_generate");
  koi_reply t;
  koine_status s = koi_session_alone(session, "koine_generate");
  if (!s) s = koi_reply_open(session, tokenizer, prompt, n_prompt, options, &t);
  if (s) return s;
  atomic_store(&session->cancelled, false);
  s = generate(&t);
  koine_status handed = !s || s == KOINE_ERR_CANCELLED ? hand_over(&t, out, n_out) : KOINE_OK;
  if (stop && !s) *stop = t.stop;
  koi_reply_close(&t);
  return handed ? handed : s;
}
