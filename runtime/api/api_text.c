/* Public functions of text: tokenizer, chat, sampling, generation, perplexity. Thin, but for the two loops at the end. */
#include <math.h>
#include <string.h>
#include "text/chat.h"
#include "text/sample.h"
#include "engine/session.h"
#include "text/tok.h"

struct koine_tokenizer { koi_tok *tok; };

static koine_status missing(const char *what) { return koi_error(KOINE_ERR_ARG, "%s: NULL, expected an object", what); }

/* ---- tokenizer ---- */
koine_status koine_tokenizer_open(const char *path, koine_tokenizer **out)
{
  if (!path || !out) return missing("koine_tokenizer_open");
  koine_tokenizer *t = koi_alloc(1, sizeof *t);
  if (!t) return KOINE_ERR_MEMORY;
  koine_status s = koi_tok_load(path, &t->tok);
  if (s) koi_free(t);
  else *out = t;
  return s;
}

void koine_tokenizer_close(koine_tokenizer *tokenizer)
{
  if (!tokenizer) return;
  koi_tok_free(tokenizer->tok);
  koi_free(tokenizer);
}

size_t koine_tokenizer_n_vocab(const koine_tokenizer *tokenizer) { return tokenizer ? koi_tok_n_vocab(tokenizer->tok) : 0; }
int32_t koine_tokenizer_bos(const koine_tokenizer *tokenizer) { return tokenizer ? koi_tok_bos(tokenizer->tok) : -1; }
int32_t koine_tokenizer_eos(const koine_tokenizer *tokenizer) { return tokenizer ? koi_tok_eos(tokenizer->tok) : -1; }

koine_status koine_tokenize(const koine_tokenizer *tokenizer, const char *text, size_t n_bytes, unsigned flags, int32_t **out, size_t *n_ids)
{
  if (!tokenizer || (n_bytes && !text) || !out || !n_ids) return missing("koine_tokenize");
  unsigned f = (flags & KOINE_TOKENIZE_SPECIAL ? KOI_TOK_SPECIAL : 0u) | (flags & KOINE_TOKENIZE_BOS ? KOI_TOK_BOS : 0u);
  return koi_tok_encode(tokenizer->tok, text, n_bytes, f, out, n_ids);
}

koine_status koine_detokenize(const koine_tokenizer *tokenizer, const int32_t *ids, size_t n_ids, bool special, char **out, size_t *n_bytes)
{
  if (!tokenizer || (n_ids && !ids) || !out || !n_bytes) return missing("koine_detokenize");
  return koi_tok_decode(tokenizer->tok, ids, n_ids, special ? KOI_TOK_SPECIAL : 0, out, n_bytes);
}

/* ---- chat ---- */
koine_status koine_chat_encode(const koine_tokenizer *tokenizer, const char *path, const char *json, size_t n_bytes, koine_thinking thinking,
                               char **prompt, int32_t **ids, size_t *n_ids)
{
  if (!json || (ids && (!tokenizer || !n_ids))) return missing("koine_chat_encode");
  koi_chat *chat = NULL;
  koi_chat_prompt p = {0};
  koi_chat_options o = {.thinking = thinking};
  koine_status s = koi_chat_load(path, &chat);
  if (!s) s = koi_chat_encode(chat, json, n_bytes, &o, &p);
  if (!s && ids) s = koi_chat_prompt_ids(&p, tokenizer->tok, ids, n_ids);
  if (!s && prompt) *prompt = p.text, p.text = NULL;
  koi_chat_prompt_clear(&p);
  koi_chat_free(chat);
  return s;
}

koine_status koine_chat_parse(const char *answer, size_t n_bytes, koine_thinking thinking, char **json)
{
  if (!answer || !json) return missing("koine_chat_parse");
  koi_chat_answer a = {0};
  koine_status s = koi_chat_parse(answer, n_bytes, thinking, &a);
  if (!s) s = koi_chat_answer_json(&a, json);
  koi_chat_answer_clear(&a);
  return s;
}

/* ---- sampling ---- */
struct koine_sampler {
  koi_sampler *sampler;
  size_t n_vocab, n_seen;
};

static koine_status params_of(const koine_sampling *s, koi_sample_params *out)
{
  if (s->size != sizeof *s) return koi_error(KOINE_ERR_ARG, "koine_sampling: size %zu, expected %zu (set .size to sizeof the struct)", s->size, sizeof *s);
  *out = (koi_sample_params){s->temperature, s->top_k, s->top_p, s->min_p, s->repetition_penalty, s->presence_penalty, s->frequency_penalty, s->seed};
  return KOINE_OK;
}

koine_status koine_sampler_open(const koine_sampling *sampling, size_t n_vocab, koine_sampler **out)
{
  if (!sampling || !out) return missing("koine_sampler_open");
  koi_sample_params p;
  koine_sampler *k = koi_alloc(1, sizeof *k);
  koine_status s = k ? params_of(sampling, &p) : KOINE_ERR_MEMORY;
  if (!s) s = koi_sample_open(&p, n_vocab, &k->sampler);
  if (s) {
    koi_free(k);
    return s;
  }
  k->n_vocab = n_vocab;
  *out = k;
  return KOINE_OK;
}

void koine_sampler_close(koine_sampler *sampler)
{
  if (!sampler) return;
  koi_sample_close(sampler->sampler);
  koi_free(sampler);
}

koine_status koine_sample(koine_sampler *sampler, const float *logits, const int32_t *tokens, size_t n_tokens, int32_t *out)
{
  if (!sampler || !logits || (n_tokens && !tokens) || !out) return missing("koine_sample");
  for (; sampler->n_seen < n_tokens; sampler->n_seen++) koi_sample_see(sampler->sampler, tokens[sampler->n_seen]);
  return koi_sample_next(sampler->sampler, logits, "head", out);
}

/* ---- generation ---- */
typedef struct generation {
  koine_session *session;
  const koi_tok *tok;
  const koine_generate_options *o;
  koi_sampler *sampler;
  koi_sample_gate *gate;
  float *logits;       /* [n_vocab] */
  koi_tok_ids tokens;  /* prompt and answer */
  size_t n_prompt;
  koine_stop stop;
} generation;

static bool give(const generation *g, const char *text, size_t n) { return !n || !g->o->text || g->o->text(g->o->user, text, n); }

static koine_status choose(generation *g, int32_t *id)
{
  koine_status s = koi_sample_next(g->sampler, g->logits, "head", id);
  if (s != KOINE_ERR_NUMERIC) return s;
  for (size_t i = 0; i < g->session->plan->model->config.n_vocab; i++)
    if (g->logits[i] != g->logits[i]) return koi_session_explain_nan(g->session);
  return s; /* infinite, not NaN: the sampler's message stands */
}

/* Takes one token up: text out, and whether it ends the answer. */
static koine_status take(generation *g, int32_t id, bool *done)
{
  const char *bytes, *text;
  size_t n, n_text;
  bool stopped = false;
  koi_sample_see(g->sampler, id);
  koine_status s = koi_tok_push(&g->tokens, id);
  if (s) return s;
  if (koi_tok_is_eos(g->tok, id)) g->stop = KOINE_STOP_EOS, *done = true;
  if (koi_tok_is_special(g->tok, id) && !g->o->special) return KOINE_OK;
  koi_tok_piece(g->tok, id, &bytes, &n);
  if ((s = koi_sample_gate_feed(g->gate, bytes, n, &text, &n_text, &stopped))) return s;
  if (stopped) g->stop = KOINE_STOP_TEXT, *done = true;
  if (!give(g, text, n_text)) g->stop = KOINE_STOP_CALLER, *done = true;
  return KOINE_OK;
}

static koine_status generate(generation *g)
{
  koine_session *session = g->session;
  uint64_t room = session->context - g->n_prompt, most = g->o->n_predict && g->o->n_predict < room ? g->o->n_predict : room;
  koine_eval_options e = {.size = sizeof e, .n_logits = 1, .progress = g->o->progress, .user = g->o->user};
  bool done = most == 0;
  koine_status s = koi_session_eval(session, g->tokens.v, g->tokens.n, &e, g->logits);
  e.progress = NULL;
  g->stop = KOINE_STOP_LENGTH;
  for (uint64_t n = 0; !s && !done;) {
    int32_t id;
    s = choose(g, &id);
    if (!s) s = take(g, id, &done);
    if (s || done || ++n == most) break;
    s = koi_session_eval(session, g->tokens.v, g->tokens.n, &e, g->logits);
  }
  const char *text;
  size_t n_text;
  if (g->stop != KOINE_STOP_CALLER && (!s || s == KOINE_ERR_CANCELLED) && !koi_sample_gate_end(g->gate, &text, &n_text)) give(g, text, n_text);
  return s;
}

/* What was generated goes to the caller, also when it was cancelled. */
static koine_status hand_over(const generation *g, int32_t **out, size_t *n_out)
{
  size_t n = g->tokens.n > g->n_prompt ? g->tokens.n - g->n_prompt : 0;
  int32_t *ids = koi_alloc(n + 1, sizeof *ids);
  if (!ids) return KOINE_ERR_MEMORY;
  if (n) memcpy(ids, g->tokens.v + g->n_prompt, n * sizeof *ids);
  *out = ids, *n_out = n;
  return KOINE_OK;
}

koine_status koine_generate(koine_session *session, const koine_tokenizer *tokenizer, const int32_t *prompt, size_t n_prompt,
                            const koine_generate_options *options, int32_t **out, size_t *n_out, koine_stop *stop)
{
  if (!session || !tokenizer || !prompt || !options || !out || !n_out) return missing("koine_generate");
  if (options->size != sizeof *options) return koi_error(KOINE_ERR_ARG, "koine_generate_options: size %zu, expected %zu", options->size, sizeof *options);
  if (n_prompt > session->context)
    return koi_error(KOINE_ERR_ARG, "the prompt has %zu tokens, but the session's context is %llu", n_prompt, (unsigned long long)session->context);
  size_t n_vocab = session->plan->model->config.n_vocab;
  generation g = {.session = session, .tok = tokenizer->tok, .o = options, .n_prompt = n_prompt};
  koi_sample_params p;
  atomic_store(&session->cancelled, false);
  koine_status s = params_of(&options->sampling, &p);
  if (!s) s = koi_sample_open(&p, n_vocab, &g.sampler);
  if (!s) s = koi_sample_gate_open(options->stops, options->n_stops, &g.gate);
  if (!s && !(g.logits = koi_alloc(n_vocab, sizeof(float)))) s = KOINE_ERR_MEMORY;
  for (size_t i = 0; i < n_prompt && !s; i++) s = koi_tok_push(&g.tokens, prompt[i]);
  if (!s) koi_sample_see_prompt(g.sampler, prompt, n_prompt);
  if (!s) s = generate(&g);
  koine_status handed = !s || s == KOINE_ERR_CANCELLED ? hand_over(&g, out, n_out) : KOINE_OK;
  if (stop && !s) *stop = g.stop;
  koi_sample_close(g.sampler);
  koi_sample_gate_close(g.gate);
  koi_free(g.logits);
  koi_free(g.tokens.v);
  return handed ? handed : s;
}

/* ---- perplexity ---- */
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
  if (!isfinite(nats)) return koi_error(KOINE_ERR_NUMERIC, "a logit is infinite (op head): the text has no finite measure");
  *out = (koine_perplexity_result){nats / log(2) / (double)n_bytes, nats / (double)n, n, n_bytes};
  return KOINE_OK;
}
