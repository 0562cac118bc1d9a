/* See api_answer.h. Owns the tokens of an answer, the sampler and what holds back stop texts. Invariant: what was handed out is the text of the tokens
 * taken up so far, but for what may yet become a stop text. */
#include "api_answer.h"
#include <stddef.h>
#include <string.h>
#include "base/record.h"

/* The mask that holds now; NULL: any token may come. */
static koi_mask *mask_of(const koi_answer *g) { return g->o.schema && g->mask_after < 0 ? g->o.schema->mask : NULL; }

static void end(koi_answer *g, koine_stop why)
{
  if (!g->done) g->stop = why;
  g->done = true;
}

/* Text that the gate gave, to whom it concerns; what is hidden goes to the stream alone. */
static koine_status give(koi_answer *g, const char *text, size_t n)
{
  const koine_generate_options *o = &g->o;
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

static koine_status choose(koi_answer *g, int32_t *id)
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
static koine_status follow_schema(koi_answer *g, int32_t id)
{
  koi_mask *mask = mask_of(g);
  koine_status s = mask ? koi_mask_take(mask, id) : KOINE_OK;
  if (g->o.schema && id == g->mask_after) g->mask_after = -1;
  return s;
}

/* Takes one token up: text out, and whether it ends the answer. */
static koine_status take(koi_answer *g, int32_t id)
{
  const koine_generate_options *o = &g->o;
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

koine_status koi_answer_next(koi_answer *g)
{
  int32_t id;
  if (g->done) return KOINE_OK;
  koine_status s = choose(g, &id);
  if (!s) s = take(g, id);
  if (!s && !g->done && !--g->room) end(g, g->full);
  return s;
}

koine_status koi_answer_end(koi_answer *g, koine_status s)
{
  const char *text;
  size_t n_text;
  bool heard = !g->done || g->stop != KOINE_STOP_CALLER;
  if (!heard || (s && s != KOINE_ERR_CANCELLED) || koi_sample_gate_end(g->gate, &text, &n_text)) return s;
  koine_status last = give(g, text, n_text);
  return s ? s : last;
}

static koine_status start_schema(koi_answer *g)
{
  const char *after = g->o.schema_after;
  g->mask_after = after ? koi_tok_id(g->tok, after) : -1;
  if (after && g->mask_after < 0) return koi_error(KOINE_ERR_ARG, "schema_after: expected the text of a token, found %s", after);
  return g->o.schema ? koi_mask_start(g->o.schema->mask) : KOINE_OK;
}

static koine_status start(koi_answer *g, const int32_t *prompt)
{
  size_t n_vocab = g->session->plan->model->config.n_vocab;
  uint64_t room = g->session->context - g->n_prompt;
  g->full = g->o.n_predict && g->o.n_predict <= room ? KOINE_STOP_LENGTH : KOINE_STOP_CONTEXT;
  g->room = g->o.n_predict && g->o.n_predict < room ? g->o.n_predict : room;
  if (!g->room) end(g, g->full);
  koine_status s = koi_api_sampler(&g->o.sampling, g->tok, n_vocab, &g->sampler);
  if (!s) s = start_schema(g);
  if (!s) s = koi_sample_gate_open(g->o.stops, g->o.n_stops, &g->gate);
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

koine_status koi_answer_open(koine_session *session, const koine_tokenizer *tokenizer, const int32_t *prompt, size_t n_prompt, const koine_generate_options *given,
                             koi_answer *out)
{
  *out = (koi_answer){.session = session, .tok = tokenizer->tok, .n_prompt = n_prompt};
  koine_status s = take_options(given, &out->o);
  if (!s && n_prompt > session->context)
    s = koi_error(KOINE_ERR_ARG, "the prompt has %zu tokens, but the session's context is %llu", n_prompt, (unsigned long long)session->context);
  if (!s) s = start(out, prompt);
  if (s) koi_answer_close(out);
  return s;
}

void koi_answer_close(koi_answer *g)
{
  koi_sample_close(g->sampler);
  koi_sample_gate_close(g->gate);
  koi_free(g->logits);
  koi_free(g->tokens.v);
  *g = (koi_answer){0};
}

koine_eval_options koi_answer_eval(const koi_answer *g)
{
  return (koine_eval_options){.size = sizeof(koine_eval_options), .n_logits = 1, .progress = g->tokens.n == g->n_prompt ? g->o.progress : NULL, .user = g->o.user};
}
