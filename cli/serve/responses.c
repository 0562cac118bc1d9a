/* Owns: /v1/responses as it is read: items to messages of chat. */
#include <stdio.h>
#include <string.h>
#include "messages.h"
#include "protocols.h"

#define SEALED "koine:" /* how reasoning begins that was handed out as encrypted_content: it is the text itself */

/* ---- fields ---- */
static bool read_text(serve_ask *a, const char *key, json_object *v, serve_error *e)
{
  (void)a; /* its format is read when the calls are known */
  return json_object_is_type(v, json_type_object) || serve_error_expected(e, key, "an object");
}

static bool read_include(serve_ask *a, const char *key, json_object *v, serve_error *e)
{
  if (!json_object_is_type(v, json_type_array)) return serve_error_expected(e, key, "an array");
  for (size_t i = 0; i < json_object_array_length(v); i++) {
    json_object *part = json_object_array_get_idx(v, i);
    if (!json_object_is_type(part, json_type_string)) return serve_error_expected(e, key, "texts");
    a->encrypted_reasoning |= serve_json_is(part, "reasoning.encrypted_content");
  }
  return true;
}

static bool read_tool_choice(serve_ask *a, const char *key, json_object *v, serve_error *e)
{
  const char *word = json_object_is_type(v, json_type_string) ? json_object_get_string(v) : NULL, *name = serve_json_string(v, "name");
  if (word && !strcmp(word, "none")) return a->calls = SERVE_CALLS_NONE, true;
  if (word && !strcmp(word, "auto")) return true;
  if (word && !strcmp(word, "required")) return a->calls = SERVE_CALLS_REQUIRED, true;
  if (!name) return serve_error_expected(e, key, "none, auto, required or a function's name");
  a->calls = SERVE_CALLS_NAMED, a->call_name = name;
  return true;
}

static bool read_truncation(serve_ask *a, const char *key, json_object *v, serve_error *e)
{
  (void)a;
  return serve_json_is(v, "disabled") || serve_error_expected(e, key, "disabled: nothing is left out here");
}

static const serve_field fields[] = {
  {"reasoning", SERVE_BY, 0, 0, 0, serve_read_effort}, {"text", SERVE_BY, 0, 0, 0, read_text}, {"include", SERVE_BY, 0, 0, 0, read_include},
  {"tool_choice", SERVE_BY, 0, 0, 0, read_tool_choice}, {"parallel_tool_calls", SERVE_BY, 0, 0, 0, serve_read_parallel}, {"truncation", SERVE_BY, 0, 0, 0, read_truncation},
  {"previous_response_id", SERVE_REFUSED, 0, 0, 0, NULL}, {"prompt", SERVE_REFUSED, 0, 0, 0, NULL}, {"top_logprobs", SERVE_REFUSED, 0, 0, 0, NULL},
  {"max_tool_calls", SERVE_REFUSED, 0, 0, 0, NULL}, {"messages", SERVE_REFUSED, 0, 0, 0, NULL}, {"response_format", SERVE_REFUSED, 0, 0, 0, NULL},
};

/* ---- items ---- */
typedef struct items {
  json_object *messages;
  json_object *assistant; /* the message that items of the same turn join; NULL: the next one begins one */
} items;

static json_object *assistant(items *t)
{
  if (t->assistant) return t->assistant;
  t->assistant = serve_json_object("ss", "role", "assistant", "content", "");
  json_object_array_add(t->messages, t->assistant);
  return t->assistant;
}

static bool item_message(items *t, json_object *item, const char *where, serve_error *e)
{
  const char *role = serve_json_string(item, "role");
  json_object *content = NULL, *text = NULL;
  if (!role) return serve_error_set(e, 400, where, "%s: expected a role", where);
  json_object_object_get_ex(item, "content", &content);
  if (!serve_content(content, where, &text, e)) return false;
  if (!text) text = json_object_new_string("");
  if (strcmp(role, "assistant")) {
    t->assistant = NULL;
    return !json_object_array_add(t->messages, serve_json_object("so", "role", role, "content", text));
  }
  json_object *m = assistant(t), *had = serve_json_get(m, "content", json_type_string);
  if (json_object_get_string_len(had) || serve_json_get(m, "tool_calls", json_type_array)) t->assistant = NULL, m = assistant(t);
  json_object_object_add(m, "content", text);
  return true;
}

static bool item_call(items *t, json_object *item, const char *where, serve_error *e)
{
  const char *id = serve_json_string(item, "call_id"), *name = serve_json_string(item, "name"), *arguments = serve_json_string(item, "arguments");
  if (!id || !name) return serve_error_set(e, 400, where, "%s: expected call_id, name and arguments", where);
  json_object *m = assistant(t), *calls = serve_json_get(m, "tool_calls", json_type_array);
  if (!calls) json_object_object_add(m, "tool_calls", calls = json_object_new_array());
  json_object *f = serve_json_object("ss", "name", name, "arguments", arguments ? arguments : "{}");
  return !json_object_array_add(calls, serve_json_object("sso", "id", id, "type", "function", "function", f));
}

static bool item_output(items *t, json_object *item, const char *where, serve_error *e)
{
  const char *id = serve_json_string(item, "call_id");
  json_object *output = NULL, *text = NULL;
  if (!id) return serve_error_set(e, 400, where, "%s: expected call_id", where);
  json_object_object_get_ex(item, "output", &output);
  if (!serve_content(output, where, &text, e)) return false;
  t->assistant = NULL;
  return !json_object_array_add(t->messages, serve_json_object("sso", "role", "tool", "tool_call_id", id, "content", text ? text : json_object_new_string("")));
}

/* Its text as it was handed out, open or sealed; a summary stands for it where nothing else does. */
static bool item_reasoning(items *t, json_object *item, const char *where, serve_error *e)
{
  const char *sealed = serve_json_string(item, "encrypted_content");
  json_object *parts = serve_json_get(item, "content", json_type_array);
  serve_text text = {0};
  (void)where, (void)e;
  if (!parts || !json_object_array_length(parts)) parts = serve_json_get(item, "summary", json_type_array);
  bool is_ours = sealed && !strncmp(sealed, SEALED, strlen(SEALED));
  if (is_ours) serve_text_add(&text, sealed + strlen(SEALED), strlen(sealed + strlen(SEALED)));
  for (size_t i = 0; !is_ours && parts && i < json_object_array_length(parts); i++) {
    const char *s = serve_json_string(json_object_array_get_idx(parts, i), "text");
    if (s) serve_text_add(&text, s, strlen(s));
  }
  t->assistant = NULL;
  json_object_object_add(assistant(t), "reasoning_content", serve_json_text(text.s, text.n));
  serve_text_free(&text);
  return true;
}

static const struct { const char *type; bool (*take)(items *t, json_object *item, const char *where, serve_error *e); } kinds[] = {
  {"message", item_message}, {"function_call", item_call}, {"function_call_output", item_output}, {"reasoning", item_reasoning},
};

static bool take_item(items *t, json_object *item, size_t i, serve_error *e)
{
  char where[32];
  const char *type = serve_json_string(item, "type");
  snprintf(where, sizeof where, "input[%zu]", i);
  if (!type && serve_json_string(item, "role")) type = "message";
  for (size_t k = 0; type && k < sizeof kinds / sizeof *kinds; k++)
    if (!strcmp(type, kinds[k].type)) return kinds[k].take(t, item, where, e);
  return serve_error_set(e, 400, where, "%s: expected a message, reasoning, function_call or function_call_output, found the type %.40s", where, type ? type : "none");
}

static bool read_input(json_object *body, json_object **out, serve_error *e)
{
  items t = {.messages = json_object_new_array()};
  const char *instructions = serve_json_string(body, "instructions");
  json_object *input = NULL;
  json_object_object_get_ex(body, "input", &input);
  if (instructions && *instructions) json_object_array_add(t.messages, serve_json_object("ss", "role", "system", "content", instructions));
  bool ok = json_object_is_type(input, json_type_string) || json_object_is_type(input, json_type_array) || serve_error_expected(e, "input", "a text or an array of items");
  if (ok && json_object_is_type(input, json_type_string))
    json_object_array_add(t.messages, serve_json_object("so", "role", "user", "content", json_object_get(input)));
  size_t n = ok && json_object_is_type(input, json_type_array) ? json_object_array_length(input) : 0;
  if (n > SERVE_MESSAGES) ok = serve_error_set(e, 400, "input", "input: expected at most %d items, found %zu", SERVE_MESSAGES, n);
  for (size_t i = 0; i < n && ok; i++) ok = take_item(&t, json_object_array_get_idx(input, i), i, e);
  if (ok && !json_object_array_length(t.messages)) json_object_array_add(t.messages, serve_json_object("ss", "role", "user", "content", "")); /* a probe */
  if (ok) ok = serve_messages(t.messages, out, e);
  json_object_put(t.messages);
  return ok;
}

/* Functions; tools of other types run elsewhere, and are left out. */
static json_object *functions(json_object *tools)
{
  json_object *out = json_object_new_array();
  for (size_t i = 0; tools && i < json_object_array_length(tools); i++) {
    json_object *t = json_object_array_get_idx(tools, i);
    const char *type = serve_json_string(t, "type");
    if (!type || strcmp(type, "function")) continue;
    const char *name = serve_json_string(t, "name");
    json_object_array_add(out, serve_tool(name ? name : "", serve_json_string(t, "description"), serve_json_get(t, "parameters", json_type_object)));
  }
  return out;
}

bool serve_responses_read(serve_ask *a, json_object *body, serve_error *e)
{
  json_object *messages = NULL, *format = serve_json_get(serve_json_get(body, "text", json_type_object), "format", json_type_object);
  if (!serve_fields_read(a, body, serve_fields_sampling, serve_fields_sampling_n, e)) return false;
  if (!serve_fields_read(a, body, fields, sizeof fields / sizeof *fields, e)) return false;
  if (a->nothing) return serve_error_expected(e, "max_output_tokens", "at least 1");
  if (a->n_choices != 1) return serve_error_expected(e, "n", "1");
  if (!read_input(body, &messages, e)) return false;
  a->chat = serve_json_object("o", "messages", messages);
  if (!serve_tools_take(a, functions(serve_json_get(body, "tools", json_type_array)), e)) return false;
  return !format || serve_format_take(a, format, "text.format", e);
}
