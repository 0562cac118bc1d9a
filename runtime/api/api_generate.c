/* Public functions of sampling and generation, the second a loop over the session. Owns the tokens of an answer while it is made. */
#include <stddef.h>
#include <string.h>
#include "api_text.h"
#include "base/record.h"
#include "engine/session.h"
#include "text/schema.h"

static koine_status missing(const char *what) { return koi_error(KOINE_ERR_ARG, "%s: NULL, expected an object", what); }

const char *koine_stop_text(koine_stop stop)
{
  static const char *const texts[] = {
    [KOINE_STOP_EOS] = "the end token", [KOINE_STOP_LENGTH] = "the number of tokens", [KOINE_STOP_TEXT] = "a stop text",
    [KOINE_STOP_CALLER] = "the caller", [KOINE_STOP_CONTEXT] = "the end of the context",
  };
  return (unsigned)stop < KOI_COUNT(texts) ? texts[stop] : "an unknown reason";
}

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
  if (!sampling || !out) return missing("koine_sampler_open");
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
  if (!sampler || !logits || (n_tokens && !tokens) || !out) return missing("koine_sample");
  koine_status s = follow(sampler, tokens, n_tokens);
  return s ? s : koi_sample_next(sampler->sampler, logits, "head", out);
}

/* ---- the form of answers ---- */
koine_status koine_schema_open(const koine_tokenizer *tokenizer, const char *json, size_t n_bytes, koine_schema **out)
{
  if (!tokenizer || !json || !out) return missing("koine_schema_open");
  koi_grammar *grammar;
  koine_schema *schema = koi_alloc(1, sizeof *schema);
  koine_status s = schema ? koi_schema_grammar(json, n_bytes, &grammar) : KOINE_ERR_MEMORY;
  if (!s) s = koi_mask_open(tokenizer->tok, grammar, &schema->mask);
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
typedef struct generation {
  koine_session *session;
  const koi_tok *tok;
  const koine_generate_options *o;
  koi_sampler *sampler;
  koi_sample_gate *gate;
  float *logits;       /* [n_vocab] */
  koi_tok_ids tokens;  /* prompt and answer */
  size_t n_prompt;
  uint64_t room;       /* tokens that may still come */
  int32_t mask_after;  /* the token behind which the schema holds; -1: it holds */
  koine_stop stop;
  bool done;
} generation;

/* The mask that holds now; NULL: any token may come. */
static koi_mask *mask_of(const generation *g) { return g->o->schema && g->mask_after < 0 ? g->o->schema->mask : NULL; }

static void end(generation *g, koine_stop why)
{
  if (!g->done) g->stop = why;
  g->done = true;
}

/* Text that the gate gave, to whom it concerns; what is hidden goes to the stream alone. */
static koine_status give(generation *g, const char *text, size_t n)
{
  const koine_generate_options *o = g->o;
  const char *marks = koi_sample_gate_marks(g->gate);
  koine_status s = o->stream && n ? koi_chat_stream_push(o->stream->stream, text, marks, n) : KOINE_OK;
  if (s == KOINE_ERR_CANCELLED) end(g, KOINE_STOP_CALLER), s = KOINE_OK;
  for (size_t from = 0, to; o->text && !s && from < n && (!g->done || g->stop != KOINE_STOP_CALLER); from = to) {
    bool hidden = marks[from] & KOI_GATE_HIDDEN;
    for (to = from; to < n && !(marks[to] & KOI_GATE_HIDDEN) == !hidden;) to++;
    if (!hidden && !o->text(o->user, text + from, to - from)) end(g, KOINE_STOP_CALLER);
  }
  return s;
}

static koine_status choose(generation *g, int32_t *id)
{
  size_t n_vocab = g->session->plan->model->config.n_vocab;
  koine_status s = mask_of(g) ? koi_sample_check(g->logits, n_vocab, "head") : KOINE_OK;
  if (!s && mask_of(g)) s = koi_mask_apply(mask_of(g), g->logits, n_vocab, g->room);
  if (!s) s = koi_sample_next(g->sampler, g->logits, "head", id);
  if (s != KOINE_ERR_NUMERIC) return s;
  for (size_t i = 0; i < n_vocab; i++)
    if (g->logits[i] != g->logits[i]) return koi_session_explain_nan(g->session);
  return s; /* infinite, not NaN: the sampler's message stands */
}

/* The schema goes on with the token, or begins behind it. */
static koine_status follow_schema(generation *g, int32_t id)
{
  koi_mask *mask = mask_of(g);
  koine_status s = mask ? koi_mask_take(mask, id) : KOINE_OK;
  if (g->o->schema && id == g->mask_after) g->mask_after = -1;
  return s;
}

/* Takes one token up: text out, and whether it ends the answer. */
static koine_status take(generation *g, int32_t id)
{
  const koine_generate_options *o = g->o;
  const char *bytes, *text;
  size_t n, n_text;
  bool stopped = false, hidden = koi_tok_is_special(g->tok, id) && !o->special;
  char mark = (char)((koi_tok_is_added(g->tok, id) ? KOI_GATE_BEGIN : 0) | (hidden ? KOI_GATE_HIDDEN : 0));
  koi_sample_see(g->sampler, id);
  koine_status s = koi_tok_push(&g->tokens, id);
  if (!s) s = follow_schema(g, id);
  if (s) return s;
  if (koi_tok_is_eos(g->tok, id)) end(g, KOINE_STOP_EOS);
  if (o->token && !o->token(o->user, id)) end(g, KOINE_STOP_CALLER);
  if (o->stream && koi_tok_is_eos(g->tok, id)) koi_chat_stream_ended(o->stream->stream);
  if (hidden && (!o->stream || koi_tok_is_eos(g->tok, id))) return KOINE_OK;
  koi_tok_piece(g->tok, id, &bytes, &n);
  if ((s = koi_sample_gate_feed_marked(g->gate, bytes, n, mark, &text, &n_text, &stopped))) return s;
  if (stopped) end(g, KOINE_STOP_TEXT);
  s = give(g, text, n_text);
  if (mask_of(g) && koi_mask_ended(mask_of(g))) end(g, KOINE_STOP_EOS);
  return s;
}

static koine_status generate(generation *g)
{
  koine_session *session = g->session;
  uint64_t room = session->context - g->n_prompt, most = g->o->n_predict && g->o->n_predict < room ? g->o->n_predict : room;
  koine_eval_options e = {.size = sizeof e, .n_logits = 1, .progress = g->o->progress, .user = g->o->user};
  koine_stop full = g->o->n_predict && g->o->n_predict <= room ? KOINE_STOP_LENGTH : KOINE_STOP_CONTEXT;
  koine_status s = koi_session_eval(session, g->tokens.v, g->tokens.n, &e, g->logits);
  e.progress = NULL;
  if (!s && !most) end(g, full);
  for (uint64_t n = 0; !s && !g->done;) {
    int32_t id;
    g->room = most - n;
    s = choose(g, &id);
    if (!s) s = take(g, id);
    if (!s && !g->done && ++n == most) end(g, full);
    if (!s && !g->done) s = koi_session_eval(session, g->tokens.v, g->tokens.n, &e, g->logits);
  }
  const char *text;
  size_t n_text;
  bool heard = !g->done || g->stop != KOINE_STOP_CALLER;
  if (heard && (!s || s == KOINE_ERR_CANCELLED) && !koi_sample_gate_end(g->gate, &text, &n_text)) {
    koine_status last = give(g, text, n_text);
    if (!s) s = last;
  }
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

static koine_status start_schema(generation *g)
{
  const char *after = g->o->schema_after;
  g->mask_after = after ? koi_tok_id(g->tok, after) : -1;
  if (after && g->mask_after < 0) return koi_error(KOINE_ERR_ARG, "schema_after: expected the text of a token, found %s", after);
  return g->o->schema ? koi_mask_start(g->o->schema->mask) : KOINE_OK;
}

static koine_status start(generation *g, const int32_t *prompt)
{
  size_t n_vocab = g->session->plan->model->config.n_vocab;
  koine_status s = koi_api_sampler(&g->o->sampling, g->tok, n_vocab, &g->sampler);
  if (!s) s = start_schema(g);
  if (!s) s = koi_sample_gate_open(g->o->stops, g->o->n_stops, &g->gate);
  if (!s && !(g->logits = koi_alloc(n_vocab, sizeof(float)))) s = KOINE_ERR_MEMORY;
  for (size_t i = 0; i < g->n_prompt && !s; i++) s = koi_tok_push(&g->tokens, prompt[i]);
  if (!s) koi_sample_see_prompt(g->sampler, prompt, g->n_prompt);
  return s;
}

static koine_status take_options(const koine_generate_options *given, koine_generate_options *own)
{
  return koi_record_take_with("koine_generate_options", KOI_OLDEST_koine_generate_options, offsetof(koine_generate_options, sampling), "koine_sampling",
                              KOI_OLDEST_koine_sampling, sizeof(koine_sampling), given, own, sizeof *own);
}

koine_status koine_generate(koine_session *session, const koine_tokenizer *tokenizer, const int32_t *prompt, size_t n_prompt,
                            const koine_generate_options *options, int32_t **out, size_t *n_out, koine_stop *stop)
{
  if (!session || !tokenizer || !prompt || !options || !out || !n_out) return missing("koine_generate");
  koine_generate_options own;
  koine_status s = take_options(options, &own);
  if (s) return s;
  if (n_prompt > session->context)
    return koi_error(KOINE_ERR_ARG, "the prompt has %zu tokens, but the session's context is %llu", n_prompt, (unsigned long long)session->context);
  generation g = {.session = session, .tok = tokenizer->tok, .o = &own, .n_prompt = n_prompt};
  atomic_store(&session->cancelled, false);
  s = start(&g, prompt);
  if (!s) s = generate(&g);
  koine_status handed = !s || s == KOINE_ERR_CANCELLED ? hand_over(&g, out, n_out) : KOINE_OK;
  if (stop && !s) *stop = g.stop;
  koi_sample_close(g.sampler);
  koi_sample_gate_close(g.gate);
  koi_free(g.logits);
  koi_free(g.tokens.v);
  return handed ? handed : s;
}
