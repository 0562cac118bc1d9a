/* Owns: how responses are answered: items, and the events of their stream in their order. */
#include <stdio.h>
#include <string.h>
#include "protocols.h"
#include "reply.h"

/* ---- items ---- */
static const struct { const char *type, *prefix; } items[] = {[SERVE_REASONING] = {"reasoning", "rs_"}, [SERVE_CONTENT] = {"message", "msg_"}, [SERVE_CALL] = {"function_call", "fc_"}};

static const char *item_id(const serve_reply *r, int kind, char *id, size_t n)
{
  snprintf(id, n, "%s%s%u", items[kind].prefix, r->id, r->n_blocks);
  return id;
}

static json_object *text_part(const char *type, const serve_text *t)
{
  json_object *o = serve_json_object("so", "type", type, "text", serve_json_text(t->s, t->n));
  if (!strcmp(type, "output_text")) json_object_object_add(o, "annotations", json_object_new_array());
  return o;
}

static json_object *reasoning_item(const serve_reply *r, const serve_text *text, const char *status)
{
  char id[64];
  json_object *parts = serve_json_array(text ? text_part("reasoning_text", text) : NULL);
  json_object *o = serve_json_object("ssoos", "id", item_id(r, SERVE_REASONING, id, sizeof id), "type", "reasoning", "summary", json_object_new_array(), "content", parts, "status", status);
  if (!text || !r->ask->encrypted_reasoning) return o;
  serve_text sealed = {0};
  serve_text_print(&sealed, "koine:");
  serve_text_add(&sealed, text->s, text->n);
  json_object_object_add(o, "encrypted_content", serve_json_text(sealed.s, sealed.n));
  serve_text_free(&sealed);
  return o;
}

static json_object *message_item(const serve_reply *r, const serve_text *text, const char *status)
{
  char id[64];
  json_object *parts = serve_json_array(text ? text_part("output_text", text) : NULL);
  return serve_json_object("sssso", "id", item_id(r, SERVE_CONTENT, id, sizeof id), "type", "message", "status", status, "role", "assistant", "content", parts);
}

static json_object *call_item(const serve_reply *r, json_object *call, bool whole)
{
  char id[64];
  json_object *f = serve_json_get(call, "function", json_type_object);
  return serve_json_object("ssssss", "id", item_id(r, SERVE_CALL, id, sizeof id), "type", "function_call", "status", whole ? "completed" : "in_progress",
                           "call_id", serve_json_string(call, "id"), "name", serve_json_string(f, "name"), "arguments", whole ? serve_json_string(f, "arguments") : "");
}

static const char *outcome(const serve_reply *r) { return strcmp(serve_reply_finish(&r->choice[0]), "length") ? "completed" : "incomplete"; }

/* Of the last item what the limit ended is not whole. */
static json_object *item(const serve_reply *r, int kind, bool whole)
{
  serve_choice *c = &r->choice[0];
  bool is_last = !json_object_array_length(c->calls) && (kind == SERVE_CONTENT || !c->content.n);
  const char *status = !whole ? "in_progress" : is_last ? outcome(r) : "completed";
  if (kind == SERVE_REASONING) return reasoning_item(r, whole ? &c->reasoning : NULL, status);
  if (kind == SERVE_CONTENT) return message_item(r, whole ? &c->content : NULL, status);
  return call_item(r, json_object_array_get_idx(c->calls, json_object_array_length(c->calls) - 1), whole);
}

/* ---- the response ---- */
static json_object *usage(const serve_reply *r)
{
  const serve_usage *u = &r->usage;
  json_object *in = serve_json_object("i", "cached_tokens", (int64_t)u->n_cached), *out = serve_json_object("i", "reasoning_tokens", (int64_t)u->n_reasoning);
  return serve_json_object("ioioi", "input_tokens", (int64_t)u->n_prompt, "input_tokens_details", in, "output_tokens", (int64_t)u->n_new, "output_tokens_details", out,
                           "total_tokens", (int64_t)(u->n_prompt + u->n_new));
}

static json_object *response(const serve_reply *r, const char *status)
{
  char id[64];
  const serve_ask *a = r->ask;
  bool ended = !strcmp(status, "completed") || !strcmp(status, "incomplete");
  snprintf(id, sizeof id, "resp_%s", r->id);
  json_object *o = serve_json_object("ssisso", "id", id, "object", "response", "created_at", r->created, "status", status, "model", r->model, "output", json_object_get(r->items));
  json_object_object_add(o, "usage", ended ? usage(r) : NULL);
  json_object_object_add(o, "error", NULL);
  json_object_object_add(o, "incomplete_details", strcmp(status, "incomplete") ? NULL : serve_json_object("s", "reason", "max_output_tokens"));
  json_object_object_add(o, "temperature", json_object_new_double((double)a->sampling.temperature));
  json_object_object_add(o, "top_p", json_object_new_double((double)a->sampling.top_p));
  json_object_object_add(o, "parallel_tool_calls", json_object_new_boolean(!a->one_call));
  static const char *const same[] = {"tools", "tool_choice", "instructions", "metadata", "text", "max_output_tokens", "reasoning"};
  for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
    json_object *v = NULL;
    json_object_object_get_ex(a->body, same[i], &v);
    json_object_object_add(o, same[i], json_object_get(v));
  }
  if (!serve_json_get(o, "tools", json_type_array)) json_object_object_add(o, "tools", json_object_new_array());
  if (!serve_json_get(a->body, "tool_choice", json_type_string) && !serve_json_get(a->body, "tool_choice", json_type_object)) json_object_object_add(o, "tool_choice", json_object_new_string("auto"));
  return o;
}

/* ---- the stream ---- */
static void event(serve_reply *r, const char *type, json_object *data)
{
  json_object_object_add(data, "type", json_object_new_string(type));
  json_object_object_add(data, "sequence_number", json_object_new_int64((int64_t)r->sequence++));
  serve_reply_event(r, type, data);
}

static void begin(serve_reply *r)
{
  event(r, "response.created", serve_json_object("o", "response", response(r, "in_progress")));
  event(r, "response.in_progress", serve_json_object("o", "response", response(r, "in_progress")));
}

/* A comment does not reset every client's timer: an event does. */
static void ping(serve_reply *r) { event(r, "response.in_progress", serve_json_object("o", "response", response(r, "in_progress"))); }

static json_object *place(const serve_reply *r, int kind)
{
  char id[64];
  return serve_json_object("si", "item_id", item_id(r, kind, id, sizeof id), "output_index", (int64_t)r->n_blocks);
}

static json_object *with(json_object *o, const char *key, json_object *value) { return json_object_object_add(o, key, value), o; }
static json_object *part_place(const serve_reply *r, int kind) { return with(place(r, kind), "content_index", json_object_new_int(0)); }

static void close_block(serve_reply *r)
{
  serve_choice *c = &r->choice[0];
  if (r->open < 0) return;
  if (r->open == SERVE_CONTENT) {
    event(r, "response.output_text.done", with(part_place(r, r->open), "text", serve_json_text(c->content.s, c->content.n)));
    event(r, "response.content_part.done", with(part_place(r, r->open), "part", text_part("output_text", &c->content)));
  } else if (r->open == SERVE_REASONING) {
    event(r, "response.reasoning_text.done", with(part_place(r, r->open), "text", serve_json_text(c->reasoning.s, c->reasoning.n)));
  }
  json_object *whole = item(r, r->open, true);
  json_object_array_add(r->items, json_object_get(whole));
  event(r, "response.output_item.done", serve_json_object("io", "output_index", (int64_t)r->n_blocks, "item", whole));
  r->n_blocks++;
  r->open = -1;
}

static void open_block(serve_reply *r, int kind)
{
  static const serve_text nothing = {0};
  if (r->open == kind && kind != SERVE_CALL) return;
  close_block(r);
  r->open = kind;
  event(r, "response.output_item.added", serve_json_object("io", "output_index", (int64_t)r->n_blocks, "item", item(r, kind, false)));
  if (kind == SERVE_CONTENT) event(r, "response.content_part.added", with(part_place(r, kind), "part", text_part("output_text", &nothing)));
}

static void call_events(serve_reply *r)
{
  json_object *calls = r->choice[0].calls;
  json_object *call = json_object_array_get_idx(calls, json_object_array_length(calls) - 1);
  const char *arguments = serve_json_string(serve_json_get(call, "function", json_type_object), "arguments");
  event(r, "response.function_call_arguments.delta", with(place(r, SERVE_CALL), "delta", json_object_new_string(arguments ? arguments : "")));
  event(r, "response.function_call_arguments.done", with(place(r, SERVE_CALL), "arguments", json_object_new_string(arguments ? arguments : "")));
  close_block(r);
}

static void part(serve_reply *r, const serve_event *e)
{
  if (e->kind > SERVE_CALL) return;
  open_block(r, (int)e->kind);
  if (e->kind == SERVE_REASONING) event(r, "response.reasoning_text.delta", with(part_place(r, r->open), "delta", serve_json_text(e->text, e->n)));
  else if (e->kind == SERVE_CONTENT) event(r, "response.output_text.delta", with(part_place(r, r->open), "delta", serve_json_text(e->text, e->n)));
  else call_events(r);
}

/* The event is `completed` also for an answer that the limit ended: its status says so, and clients wait for this event alone. */
static void end(serve_reply *r)
{
  close_block(r);
  event(r, "response.completed", serve_json_object("o", "response", response(r, outcome(r))));
}

static void fail(serve_reply *r, const serve_error *e)
{
  json_object *o = response(r, "failed");
  json_object_object_add(o, "error", serve_json_object("ss", "code", e->code ? e->code : "server_error", "message", e->text));
  event(r, "response.failed", serve_json_object("o", "response", o));
}

static json_object *whole(serve_reply *r)
{
  serve_choice *c = &r->choice[0];
  json_object *calls = c->calls;
  if (c->reasoning.n) json_object_array_add(r->items, item(r, SERVE_REASONING, true)), r->n_blocks++;
  if (c->content.n || !json_object_array_length(calls)) json_object_array_add(r->items, item(r, SERVE_CONTENT, true)), r->n_blocks++;
  for (size_t i = 0; i < json_object_array_length(calls); i++, r->n_blocks++) json_object_array_add(r->items, call_item(r, json_object_array_get_idx(calls, i), true));
  return response(r, outcome(r));
}

const serve_protocol serve_responses = {"resp_", serve_responses_read, begin, part, end, ping, fail, whole, serve_openai_error};
