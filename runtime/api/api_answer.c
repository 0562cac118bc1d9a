/* Public functions of an answer that is made token by token. Owns its tokens, and what is held back of its text; evaluates nothing. */
#include <stddef.h>
#include <string.h>
#include "api_text.h"
#include "base/record.h"
#include "text/schema.h"

struct koine_answer {
  const koi_tok *tok;
  koine_generate_options o;
  koi_sampler *sampler;
  koi_sample_gate *gate;
  float *masked;       /* [n_vocab] logits of tokens that the schema allows; NULL without one */
  size_t n_vocab;
  koi_tok_ids tokens;  /* prompt and answer */
  size_t n_prompt;
  uint64_t room;       /* tokens that may still come */
  koine_stop full;     /* why, when none may */
  int32_t mask_after;  /* the token behind which the schema holds; -1: it holds */
  int32_t stops_after; /* the same of the stop texts */
  koine_stop stop;
  bool done;
};

const char *koine_stop_text(koine_stop stop)
{
  static const char *const texts[] = {
    [KOINE_STOP_EOS] = "the end token", [KOINE_STOP_LENGTH] = "the number of tokens", [KOINE_STOP_TEXT] = "a stop text",
    [KOINE_STOP_CALLER] = "the caller", [KOINE_STOP_CONTEXT] = "the end of the context",
  };
  return (unsigned)stop < KOI_COUNT(texts) ? texts[stop] : "an unknown reason";
}

/* The mask that holds now; NULL: any token may come. */
static koi_mask *mask_of(const koine_answer *g) { return g->o.schema && g->mask_after < 0 ? g->o.schema->mask : NULL; }

static void end(koine_answer *g, koine_stop why)
{
  if (!g->done) g->stop = why;
  g->done = true;
}

/* Text that the gate gave, to whom it concerns; what is hidden goes to the stream alone. */
static koine_status give(koine_answer *g, const char *text, size_t n)
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

static koine_status choose(koine_answer *g, const float *logits, int32_t *id)
{
  if (!mask_of(g)) return koi_sample_next(g->sampler, logits, "head", id);
  koine_status s = koi_sample_check(logits, g->n_vocab, "head");
  if (s) return s;
  memcpy(g->masked, logits, g->n_vocab * sizeof *logits);
  s = koi_mask_apply(mask_of(g), g->masked, g->n_vocab, g->room);
  return s ? s : koi_sample_next(g->sampler, g->masked, "head", id);
}

/* The schema goes on with the token, or begins behind it, and so do stop texts. */
static koine_status follow(koine_answer *g, int32_t id)
{
  koi_mask *mask = mask_of(g);
  koine_status s = mask ? koi_mask_take(mask, id) : KOINE_OK;
  bool counts = g->stops_after < 0 || g->stops_after == id;
  if (g->o.schema && counts && id == g->mask_after) g->mask_after = -1;
  return s;
}

/* The token's text, through the gate. */
static koine_status show(koine_answer *g, int32_t id)
{
  const koine_generate_options *o = &g->o;
  const char *bytes, *text;
  size_t n, n_text;
  bool stopped = false, hidden = koi_tok_is_special(g->tok, id) && !o->special;
  char mark = (char)((koi_tok_is_added(g->tok, id) ? KOI_GATE_BEGIN : 0) | (hidden ? KOI_GATE_HIDDEN : 0));
  if (o->stream && koi_tok_is_eos(g->tok, id)) koi_chat_stream_ended(o->stream->stream);
  if (hidden && (!o->stream || koi_tok_is_eos(g->tok, id))) return KOINE_OK;
  koi_tok_piece(g->tok, id, &bytes, &n);
  koine_status s = koi_sample_gate_feed(g->gate, bytes, n, mark, &text, &n_text, &stopped);
  if (id == g->stops_after) g->stops_after = -1, koi_sample_gate_rest(g->gate, false);
  if (stopped) end(g, KOINE_STOP_TEXT);
  return s ? s : give(g, text, n_text);
}

koine_status koine_answer_take(koine_answer *answer, const float *logits)
{
  if (!answer || !logits) return koi_missing("koine_answer_take");
  koine_answer *g = answer;
  int32_t id;
  if (g->done) return koi_error(KOINE_ERR_STATE, "koine_answer_take: the answer has ended");
  koine_status s = choose(g, logits, &id);
  if (s) return s;
  koi_sample_see(g->sampler, id);
  s = koi_tok_push(&g->tokens, id);
  if (!s) s = follow(g, id);
  if (s) return s;
  if (koi_tok_is_eos(g->tok, id)) end(g, KOINE_STOP_EOS);
  if (g->o.token && !g->o.token(g->o.user, id)) end(g, KOINE_STOP_CALLER);
  s = show(g, id);
  if (mask_of(g) && koi_mask_ended(mask_of(g))) end(g, KOINE_STOP_EOS);
  if (!--g->room) end(g, g->full);
  return s;
}

const int32_t *koine_answer_tokens(const koine_answer *answer, size_t *n_tokens)
{
  if (n_tokens) *n_tokens = answer ? answer->tokens.n : 0;
  return answer ? answer->tokens.v : NULL;
}

bool koine_answer_is_ended(const koine_answer *answer) { return !answer || answer->done; }

koine_status koine_answer_end(koine_answer *answer, koine_stop *stop, int *stop_text)
{
  if (!answer) return koi_missing("koine_answer_end");
  const char *text;
  size_t n_text;
  bool heard = !answer->done || answer->stop != KOINE_STOP_CALLER;
  end(answer, KOINE_STOP_CALLER);
  koine_status s = heard ? koi_sample_gate_end(answer->gate, &text, &n_text) : KOINE_OK;
  if (heard && !s) s = give(answer, text, n_text);
  if (stop) *stop = answer->stop;
  if (stop_text) *stop_text = answer->stop == KOINE_STOP_TEXT ? koi_sample_gate_stop(answer->gate) : -1;
  return s;
}

/* ---- opening ---- */
static koine_status token_of(const koi_tok *tok, const char *member, const char *text, int32_t *id)
{
  *id = text ? koi_tok_id(tok, text) : -1;
  return text && *id < 0 ? koi_error(KOINE_ERR_ARG, "%s: expected the text of a token, found %s", member, text) : KOINE_OK;
}

static koine_status start(koine_answer *g, const int32_t *prompt)
{
  koine_status s = koi_api_sampler(&g->o.sampling, g->tok, g->n_vocab, &g->sampler);
  if (!s) s = token_of(g->tok, "schema_after", g->o.schema_after, &g->mask_after);
  if (!s) s = token_of(g->tok, "stops_after", g->o.stops_after, &g->stops_after);
  if (!s && g->o.schema) s = koi_mask_start(g->o.schema->mask);
  if (!s && g->o.schema && !(g->masked = koi_alloc(g->n_vocab, sizeof *g->masked))) s = KOINE_ERR_MEMORY;
  if (!s) s = koi_sample_gate_open(g->o.stops, g->o.n_stops, &g->gate);
  if (!s) koi_sample_gate_rest(g->gate, g->stops_after >= 0);
  for (size_t i = 0; i < g->n_prompt && !s; i++) s = koi_tok_push(&g->tokens, prompt[i]);
  if (!s) koi_sample_see_prompt(g->sampler, prompt, g->n_prompt);
  return s;
}

koine_status koi_api_generate_options(const koine_generate_options *given, koine_generate_options *own)
{
  return koi_record_take_with("koine_generate_options", KOI_OLDEST_koine_generate_options, offsetof(koine_generate_options, sampling), "koine_sampling",
                              KOI_OLDEST_koine_sampling, sizeof(koine_sampling), given, own, sizeof *own);
}

koine_status koine_answer_open(const koine_tokenizer *tokenizer, size_t n_vocab, uint64_t context, const int32_t *prompt, size_t n_prompt,
                               const koine_generate_options *options, koine_answer **out)
{
  if (!tokenizer || !prompt || !options || !out) return koi_missing("koine_answer_open");
  koine_generate_options own;
  koine_status s = koi_api_generate_options(options, &own);
  if (s) return s;
  if (n_prompt > context)
    return koi_error(KOINE_ERR_ARG, "the prompt has %zu tokens, but the session's context is %llu", n_prompt, (unsigned long long)context);
  koine_answer *g = koi_alloc(1, sizeof *g);
  if (!g) return KOINE_ERR_MEMORY;
  bool limited = own.n_predict && own.n_predict <= context - n_prompt;
  *g = (koine_answer){.tok = tokenizer->tok, .o = own, .n_vocab = n_vocab, .n_prompt = n_prompt, .room = limited ? own.n_predict : context - n_prompt,
                      .full = limited ? KOINE_STOP_LENGTH : KOINE_STOP_CONTEXT};
  if (!g->room) end(g, g->full);
  s = start(g, prompt);
  if (s) koine_answer_close(g);
  else *out = g;
  return s;
}

void koine_answer_close(koine_answer *answer)
{
  if (!answer) return;
  koi_sample_close(answer->sampler);
  koi_sample_gate_close(answer->gate);
  koi_free(answer->masked);
  koi_free(answer->tokens.v);
  koi_free(answer);
}
