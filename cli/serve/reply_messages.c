/* Owns: how messages are answered in Anthropic's protocol: blocks, the events of their stream, its errors. */
#include <stdio.h>
#include <string.h>
#include "protocols.h"
#include "reply.h"

/* ---- errors ---- */
static json_object *error(const serve_error *e, const char *id)
{
  static const struct { int status; const char *type; } types[] = {
    {401, "authentication_error"}, {403, "permission_error"}, {404, "not_found_error"}, {413, "request_too_large"}, {429, "rate_limit_error"},
    {500, "api_error"}, {503, "overloaded_error"},
  };
  const char *type = "invalid_request_error";
  for (size_t i = 0; i < sizeof types / sizeof *types; i++)
    if (types[i].status == e->status) type = types[i].type;
  return serve_json_object("sos", "type", "error", "error", serve_json_object("ss", "type", type, "message", e->text), "request_id", id);
}

static void event(serve_reply *r, const char *type, json_object *data)
{
  json_object_object_add(data, "type", json_object_new_string(type));
  serve_reply_event(r, type, data);
}

static void fail(serve_reply *r, const serve_error *e) { serve_reply_event(r, "error", error(e, r->id)); }
static void ping(serve_reply *r) { event(r, "ping", serve_json_object("")); }

/* ---- blocks ---- */
static json_object *call_block(json_object *call, bool whole)
{
  json_object *f = serve_json_get(call, "function", json_type_object);
  const char *arguments = serve_json_string(f, "arguments");
  json_object *input = whole && arguments ? json_tokener_parse(arguments) : NULL;
  if (!json_object_is_type(input, json_type_object)) json_object_put(input), input = json_object_new_object();
  return serve_json_object("ssso", "type", "tool_use", "id", serve_json_string(call, "id"), "name", serve_json_string(f, "name"), "input", input);
}

static json_object *text_block(const serve_text *t) { return serve_json_object("so", "type", "text", "text", serve_json_text(t ? t->s : "", t ? t->n : 0)); }
/* The signature says nothing: reasoning is taken back as it is. */
static json_object *thinking_block(const serve_reply *r, const serve_text *t)
{
  return serve_json_object("sos", "type", "thinking", "thinking", serve_json_text(t ? t->s : "", t ? t->n : 0), "signature", t ? r->id : "");
}

static json_object *last_call(const serve_reply *r)
{
  json_object *calls = r->choice[0].calls;
  return json_object_array_get_idx(calls, json_object_array_length(calls) - 1);
}

static json_object *usage(const serve_reply *r)
{
  const serve_usage *u = &r->usage, start = {.n_prompt = r->n_prompt};
  if (!r->n_ended) u = &start;
  return serve_json_object("iiii", "input_tokens", (int64_t)(u->n_prompt - u->n_cached), "cache_read_input_tokens", (int64_t)u->n_cached,
                           "cache_creation_input_tokens", (int64_t)0, "output_tokens", (int64_t)u->n_new);
}

static const char *stop_reason(const serve_choice *c)
{
  const char *finish = serve_reply_finish(c);
  return !strcmp(finish, "tool_calls") ? "tool_use" : !strcmp(finish, "length") ? "max_tokens" : c->stop == KOINE_STOP_TEXT ? "stop_sequence" : "end_turn";
}

static const char *stop_sequence(const serve_reply *r)
{
  const serve_choice *c = &r->choice[0];
  return c->stop == KOINE_STOP_TEXT && c->stop_text >= 0 ? r->ask->stops[c->stop_text] : NULL;
}

static json_object *message(const serve_reply *r, json_object *content, const char *reason)
{
  char id[64];
  snprintf(id, sizeof id, "msg_%s", r->id);
  return serve_json_object("ssssosso", "id", id, "type", "message", "role", "assistant", "model", r->model, "content", content, "stop_reason", reason,
                           "stop_sequence", reason ? stop_sequence(r) : NULL, "usage", usage(r));
}

/* ---- the stream ---- */
static void begin(serve_reply *r) { event(r, "message_start", serve_json_object("o", "message", message(r, json_object_new_array(), NULL))); }

static void delta(serve_reply *r, json_object *o) { event(r, "content_block_delta", serve_json_object("io", "index", (int64_t)r->n_blocks, "delta", o)); }

static void close_block(serve_reply *r)
{
  if (r->open < 0) return;
  if (r->open == SERVE_REASONING) delta(r, serve_json_object("ss", "type", "signature_delta", "signature", r->id));
  event(r, "content_block_stop", serve_json_object("i", "index", (int64_t)r->n_blocks));
  r->n_blocks++;
  r->open = -1;
}

static void open_block(serve_reply *r, int kind)
{
  if (r->open == kind && kind != SERVE_CALL) return;
  close_block(r);
  r->open = kind;
  json_object *block = kind == SERVE_REASONING ? thinking_block(r, NULL) : kind == SERVE_CONTENT ? text_block(NULL) : call_block(last_call(r), false);
  event(r, "content_block_start", serve_json_object("io", "index", (int64_t)r->n_blocks, "content_block", block));
}

static void part(serve_reply *r, const serve_event *e)
{
  if (e->kind > SERVE_CALL) return;
  open_block(r, (int)e->kind);
  if (e->kind == SERVE_REASONING) delta(r, serve_json_object("so", "type", "thinking_delta", "thinking", serve_json_text(e->text, e->n)));
  else if (e->kind == SERVE_CONTENT) delta(r, serve_json_object("so", "type", "text_delta", "text", serve_json_text(e->text, e->n)));
  else {
    const char *arguments = serve_json_string(serve_json_get(last_call(r), "function", json_type_object), "arguments");
    delta(r, serve_json_object("ss", "type", "input_json_delta", "partial_json", arguments ? arguments : "{}"));
    close_block(r);
  }
}

static void end(serve_reply *r)
{
  close_block(r);
  json_object *d = serve_json_object("ss", "stop_reason", stop_reason(&r->choice[0]), "stop_sequence", stop_sequence(r));
  event(r, "message_delta", serve_json_object("oo", "delta", d, "usage", usage(r)));
  event(r, "message_stop", serve_json_object(""));
}

static json_object *whole(serve_reply *r)
{
  serve_choice *c = &r->choice[0];
  json_object *content = json_object_new_array();
  if (c->reasoning.n) json_object_array_add(content, thinking_block(r, &c->reasoning));
  if (c->content.n) json_object_array_add(content, text_block(&c->content));
  for (size_t i = 0; i < json_object_array_length(c->calls); i++) json_object_array_add(content, call_block(json_object_array_get_idx(c->calls, i), true));
  return message(r, content, stop_reason(c));
}

const serve_protocol serve_messages_protocol = {"msg_", serve_messages_read, begin, part, end, ping, fail, whole, error};
