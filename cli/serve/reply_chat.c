/* Owns: how chat completions and completions are answered, whole and as streams, and OpenAI's errors. */
#include <stdio.h>
#include <string.h>
#include "protocols.h"
#include "reply.h"

/* ---- errors ---- */
json_object *serve_openai_error(const serve_error *e, const char *id)
{
  static const struct { int status; const char *type; } types[] = {
    {401, "authentication_error"}, {403, "permission_error"}, {404, "not_found_error"}, {429, "rate_limit_error"}, {500, "server_error"}, {503, "unavailable_error"},
  };
  const char *type = "invalid_request_error";
  (void)id;
  for (size_t i = 0; i < sizeof types / sizeof *types; i++)
    if (types[i].status == e->status) type = types[i].type;
  json_object *o = serve_json_object("ssss", "message", e->text, "type", type, "param", e->param[0] ? e->param : NULL, "code", e->code);
  if (e->n_context) {
    json_object_object_add(o, "n_prompt_tokens", json_object_new_int64((int64_t)e->n_prompt));
    json_object_object_add(o, "n_ctx", json_object_new_int64((int64_t)e->n_context));
  }
  return serve_json_object("o", "error", o);
}

static void ping(serve_reply *r) { serve_text_print(&r->out, ": waiting\n\n"); }

static void done(serve_reply *r) { serve_text_print(&r->out, "data: [DONE]\n\n"); }

static void fail(serve_reply *r, const serve_error *e)
{
  json_object *o = serve_openai_error(e, NULL);
  json_object_object_add(o, "choices", json_object_new_array()); /* readers that want choices in every chunk still read the error */
  serve_reply_event(r, NULL, o);
  done(r);
}

/* ---- chat ---- */
static json_object *envelope(const serve_reply *r, const char *prefix, const char *object, json_object *choices)
{
  char id[64];
  snprintf(id, sizeof id, "%s%s", prefix, r->id);
  return serve_json_object("ssisso", "id", id, "object", object, "created", r->created, "model", r->model, "system_fingerprint", "koine-" KOINE_VERSION, "choices", choices);
}

/* Tokens whose logprobs were not sent yet; NULL where none are wanted. */
static json_object *take_logprobs(const serve_reply *r, serve_choice *c)
{
  if (r->ask->n_top < 0) return NULL;
  json_object *tokens = c->logprobs;
  c->logprobs = json_object_new_array();
  return tokens;
}

static json_object *chat_logprobs(json_object *tokens) { return tokens ? serve_json_object("o", "content", tokens) : NULL; }

static void chunk(serve_reply *r, uint32_t i, json_object *delta, const char *finish)
{
  json_object *logprobs = chat_logprobs(take_logprobs(r, &r->choice[i]));
  json_object *choice = serve_json_object("ioos", "index", (int64_t)i, "delta", delta, "logprobs", logprobs, "finish_reason", finish);
  serve_reply_event(r, NULL, envelope(r, "chatcmpl-", "chat.completion.chunk", serve_json_array(choice)));
}

static void chat_begin(serve_reply *r)
{
  for (uint32_t i = 0; i < r->n_choices; i++) chunk(r, i, serve_json_object("s", "role", "assistant"), NULL);
}

/* Its name first, then its arguments, as clients expect them to come. */
static void chat_call(serve_reply *r, uint32_t i)
{
  json_object *calls = r->choice[i].calls;
  size_t n = json_object_array_length(calls);
  json_object *call = n ? json_object_array_get_idx(calls, n - 1) : NULL, *f = serve_json_get(call, "function", json_type_object);
  if (!f) return;
  json_object *first = serve_json_object("ss", "name", serve_json_string(f, "name"), "arguments", ""), *rest = serve_json_object("s", "arguments", serve_json_string(f, "arguments"));
  first = serve_json_object("isso", "index", (int64_t)n - 1, "id", serve_json_string(call, "id"), "type", "function", "function", first);
  rest = serve_json_object("io", "index", (int64_t)n - 1, "function", rest);
  chunk(r, i, serve_json_object("o", "tool_calls", serve_json_array(first)), NULL);
  chunk(r, i, serve_json_object("o", "tool_calls", serve_json_array(rest)), NULL);
}

static void chat_part(serve_reply *r, const serve_event *event)
{
  uint32_t i = event->choice;
  json_object *text = event->kind <= SERVE_CONTENT ? serve_json_text(event->text, event->n) : NULL;
  if (event->kind == SERVE_REASONING) chunk(r, i, serve_json_object("o", "reasoning_content", text), NULL);
  else if (event->kind == SERVE_CONTENT) chunk(r, i, serve_json_object("o", "content", text), NULL);
  else if (event->kind == SERVE_CALL) chat_call(r, i);
  else if (event->kind == SERVE_ENDED) chunk(r, i, serve_json_object(""), serve_reply_finish(&r->choice[i]));
}

static void end_stream(serve_reply *r, const char *prefix, const char *object)
{
  if (r->ask->stream_usage) {
    json_object *o = envelope(r, prefix, object, json_object_new_array());
    json_object_object_add(o, "usage", serve_reply_usage(r));
    json_object_object_add(o, "timings", serve_reply_timings(r));
    serve_reply_event(r, NULL, o);
  }
  done(r);
}

static void chat_end(serve_reply *r) { end_stream(r, "chatcmpl-", "chat.completion.chunk"); }

static json_object *chat_message(serve_choice *c)
{
  json_object *m = serve_json_object("s", "role", "assistant");
  bool calls = json_object_array_length(c->calls) > 0;
  json_object_object_add(m, "content", calls && !c->content.n ? NULL : serve_json_text(c->content.s, c->content.n));
  if (c->reasoning.n) json_object_object_add(m, "reasoning_content", serve_json_text(c->reasoning.s, c->reasoning.n));
  if (calls) json_object_object_add(m, "tool_calls", json_object_get(c->calls));
  return m;
}

static json_object *finish_whole(serve_reply *r, json_object *o)
{
  json_object_object_add(o, "usage", serve_reply_usage(r));
  json_object_object_add(o, "timings", serve_reply_timings(r));
  return o;
}

static json_object *chat_whole(serve_reply *r)
{
  json_object *choices = json_object_new_array();
  for (uint32_t i = 0; i < r->n_choices; i++) {
    serve_choice *c = &r->choice[i];
    json_object *logprobs = chat_logprobs(take_logprobs(r, c));
    json_object_array_add(choices, serve_json_object("ioos", "index", (int64_t)i, "message", chat_message(c), "logprobs", logprobs, "finish_reason", serve_reply_finish(c)));
  }
  return finish_whole(r, envelope(r, "chatcmpl-", "chat.completion", choices));
}

const serve_protocol serve_chat = {
  "chatcmpl-", serve_chat_read, chat_begin, chat_part, chat_end, ping, fail, chat_whole, serve_openai_error,
};

/* ---- completions ---- */
/* Chat's tokens in the older shape. */
static json_object *text_logprobs(json_object *tokens)
{
  if (!tokens) return NULL;
  json_object *texts = json_object_new_array(), *values = json_object_new_array(), *tops = json_object_new_array(), *offsets = json_object_new_array();
  int64_t offset = 0;
  for (size_t i = 0; i < json_object_array_length(tokens); i++) {
    json_object *t = json_object_array_get_idx(tokens, i), *top = serve_json_get(t, "top_logprobs", json_type_array), *map = json_object_new_object();
    for (size_t k = 0; k < json_object_array_length(top); k++) {
      json_object *other = json_object_array_get_idx(top, k);
      json_object_object_add(map, serve_json_string(other, "token"), json_object_get(serve_json_get(other, "logprob", json_type_double)));
    }
    json_object_array_add(texts, json_object_get(serve_json_get(t, "token", json_type_string)));
    json_object_array_add(values, json_object_get(serve_json_get(t, "logprob", json_type_double)));
    json_object_array_add(tops, map);
    json_object_array_add(offsets, json_object_new_int64(offset));
    offset += json_object_get_string_len(serve_json_get(t, "token", json_type_string));
  }
  json_object_put(tokens);
  return serve_json_object("oooo", "tokens", texts, "token_logprobs", values, "top_logprobs", tops, "text_offset", offsets);
}

static json_object *text_choice(serve_reply *r, uint32_t i, const char *text, size_t n, const char *finish)
{
  json_object *logprobs = text_logprobs(take_logprobs(r, &r->choice[i]));
  return serve_json_object("oios", "text", serve_json_text(text, n), "index", (int64_t)i, "logprobs", logprobs, "finish_reason", finish);
}

static const char *echo_of(const serve_reply *r, uint32_t i) { return r->ask->echo ? r->ask->prompt_text[i / r->ask->n_choices] : ""; }

static void text_chunk(serve_reply *r, uint32_t i, const char *text, size_t n, const char *finish)
{
  serve_reply_event(r, NULL, envelope(r, "cmpl-", "text_completion", serve_json_array(text_choice(r, i, text, n, finish))));
}

static void text_begin(serve_reply *r)
{
  for (uint32_t i = 0; i < r->n_choices && r->ask->echo; i++) text_chunk(r, i, echo_of(r, i), strlen(echo_of(r, i)), NULL);
}

static void text_part(serve_reply *r, const serve_event *event)
{
  if (event->kind == SERVE_CONTENT) text_chunk(r, event->choice, event->text, event->n, NULL);
  else if (event->kind == SERVE_ENDED) text_chunk(r, event->choice, "", 0, serve_reply_finish(&r->choice[event->choice]));
}

static void text_end(serve_reply *r) { end_stream(r, "cmpl-", "text_completion"); }

static json_object *text_whole(serve_reply *r)
{
  json_object *choices = json_object_new_array();
  for (uint32_t i = 0; i < r->n_choices; i++) {
    serve_text t = {0};
    serve_text_add(&t, echo_of(r, i), strlen(echo_of(r, i)));
    serve_text_add(&t, r->choice[i].content.s, r->choice[i].content.n);
    json_object_array_add(choices, text_choice(r, i, t.s, t.n, serve_reply_finish(&r->choice[i])));
    serve_text_free(&t);
  }
  return finish_whole(r, envelope(r, "cmpl-", "text_completion", choices));
}

const serve_protocol serve_completions = {
  "cmpl-", serve_completions_read, text_begin, text_part, text_end, ping, fail, text_whole, serve_openai_error,
};
