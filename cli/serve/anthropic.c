/* Owns: /v1/messages as it is read: blocks to messages of chat. */
#include <stdio.h>
#include <string.h>
#include "messages.h"
#include "protocols.h"

#define BILLING "x-anthropic-billing-header:" /* a text that changes with each request and says nothing to a model: it would cost the prefix */

/* ---- fields ---- */
static bool read_tool_choice(serve_ask *a, const char *key, json_object *v, serve_error *e)
{
  static const struct { const char *word; serve_call_choice calls; } words[] = {
    {"none", SERVE_CALLS_NONE}, {"auto", SERVE_CALLS_AUTO}, {"any", SERVE_CALLS_REQUIRED}, {"tool", SERVE_CALLS_NAMED},
  };
  const char *type = serve_json_string(v, "type");
  json_object *alone = serve_json_get(v, "disable_parallel_tool_use", json_type_boolean);
  a->one_call = alone && json_object_get_boolean(alone);
  a->call_name = serve_json_string(v, "name");
  for (size_t i = 0; type && i < sizeof words / sizeof *words; i++)
    if (!strcmp(type, words[i].word) && (words[i].calls != SERVE_CALLS_NAMED || a->call_name)) return a->calls = words[i].calls, true;
  return serve_error_expected(e, key, "the type auto, any, none, or tool with a name");
}

/* Its effort is of a thinking that was asked for. */
static bool read_output_config(serve_ask *a, const char *key, json_object *v, serve_error *e)
{
  koine_thinking before = a->thinking;
  bool ok = serve_read_effort(a, key, v, e);
  if (before == KOINE_THINK_OFF) a->thinking = before;
  return ok;
}

static const serve_field fields[] = {
  {"stop_sequences", SERVE_BY, 0, 0, 0, serve_read_stop}, {"tool_choice", SERVE_BY, 0, 0, 0, read_tool_choice}, {"output_config", SERVE_BY, 0, 0, 0, read_output_config},
  {"mcp_servers", SERVE_REFUSED, 0, 0, 0, NULL}, {"container", SERVE_REFUSED, 0, 0, 0, NULL}, {"output_format", SERVE_REFUSED, 0, 0, 0, NULL},
};

/* ---- blocks ---- */
typedef struct blocks {
  json_object *messages, *message; /* message: the one of this role that texts and calls join; NULL: none yet */
  const char *role, *where;
} blocks;

static json_object *current(blocks *b)
{
  if (b->message) return b->message;
  b->message = serve_json_object("ss", "role", b->role, "content", "");
  json_object_array_add(b->messages, b->message);
  return b->message;
}

static void append(json_object *m, const char *key, const char *between, json_object *text)
{
  json_object *had = serve_json_get(m, key, json_type_string);
  serve_text t = {0};
  if (had && json_object_get_string_len(had)) serve_text_add(&t, json_object_get_string(had), (size_t)json_object_get_string_len(had)), serve_text_add(&t, between, strlen(between));
  serve_text_add(&t, json_object_get_string(text), (size_t)json_object_get_string_len(text));
  json_object_object_add(m, key, serve_json_text(t.s, t.n));
  serve_text_free(&t);
}

static bool block_text(blocks *b, json_object *block, serve_error *e)
{
  json_object *text = serve_json_get(block, "text", json_type_string);
  if (!text) return serve_error_set(e, 400, b->where, "%s: a block of type text: expected a text", b->where);
  append(current(b), "content", "\n\n", text);
  return true;
}

static bool block_thinking(blocks *b, json_object *block, serve_error *e)
{
  json_object *text = serve_json_get(block, "thinking", json_type_string);
  (void)e;
  if (text) append(current(b), "reasoning_content", "", text);
  return true;
}

static bool block_nothing(blocks *b, json_object *block, serve_error *e) { return (void)b, (void)block, (void)e, true; }

static bool block_use(blocks *b, json_object *block, serve_error *e)
{
  const char *id = serve_json_string(block, "id"), *name = serve_json_string(block, "name");
  json_object *input = serve_json_get(block, "input", json_type_object);
  if (!id || !name) return serve_error_set(e, 400, b->where, "%s: a block of type tool_use: expected id, name and input", b->where);
  json_object *m = current(b), *calls = serve_json_get(m, "tool_calls", json_type_array);
  if (!calls) json_object_object_add(m, "tool_calls", calls = json_object_new_array());
  const char *arguments = input ? json_object_to_json_string_ext(input, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE) : "{}";
  json_object *f = serve_json_object("ss", "name", name, "arguments", arguments);
  return !json_object_array_add(calls, serve_json_object("sso", "id", id, "type", "function", "function", f));
}

static bool block_result(blocks *b, json_object *block, serve_error *e)
{
  const char *id = serve_json_string(block, "tool_use_id");
  json_object *content = NULL, *text = NULL;
  if (!id) return serve_error_set(e, 400, b->where, "%s: a block of type tool_result: expected tool_use_id", b->where);
  json_object_object_get_ex(block, "content", &content);
  if (!serve_content(content, b->where, &text, e)) return false;
  b->message = NULL;
  return !json_object_array_add(b->messages, serve_json_object("sso", "role", "tool", "tool_call_id", id, "content", text ? text : json_object_new_string("")));
}

static const struct { const char *type, *role; bool (*take)(blocks *b, json_object *block, serve_error *e); } kinds[] = {
  {"text", NULL, block_text}, {"thinking", "assistant", block_thinking}, {"redacted_thinking", "assistant", block_nothing}, {"tool_use", "assistant", block_use},
  {"tool_result", "user", block_result},
};

static bool take_block(blocks *b, json_object *block, serve_error *e)
{
  const char *type = serve_json_string(block, "type");
  for (size_t i = 0; type && i < sizeof kinds / sizeof *kinds; i++)
    if (!strcmp(type, kinds[i].type) && (!kinds[i].role || !strcmp(kinds[i].role, b->role))) return kinds[i].take(b, block, e);
  return serve_error_set(e, 400, b->where, "%s: expected blocks of text, thinking, tool_use or tool_result, which are all that this model reads, found the type %.40s", b->where, type ? type : "none");
}

/* ---- messages ---- */
static bool take_message(json_object *messages, json_object *given, size_t i, serve_error *e)
{
  char where[32];
  json_object *content = NULL;
  snprintf(where, sizeof where, "messages[%zu]", i);
  blocks b = {.messages = messages, .role = serve_json_string(given, "role"), .where = where};
  if (!b.role || (strcmp(b.role, "user") && strcmp(b.role, "assistant") && strcmp(b.role, "system")))
    return serve_error_set(e, 400, where, "%s: expected the role user or assistant", where);
  json_object_object_get_ex(given, "content", &content);
  if (json_object_is_type(content, json_type_string)) return append(current(&b), "content", "", content), true;
  if (!json_object_is_type(content, json_type_array)) return serve_error_set(e, 400, where, "%s: content: expected a text or an array of blocks", where);
  for (size_t k = 0; k < json_object_array_length(content); k++)
    if (!take_block(&b, json_object_array_get_idx(content, k), e)) return false;
  return b.message || json_object_array_length(content) || current(&b);
}

static bool take_system(json_object *messages, json_object *system, serve_error *e)
{
  json_object *kept = json_object_new_array(), *text = NULL;
  bool one = json_object_is_type(system, json_type_string);
  for (size_t i = 0; !one && json_object_is_type(system, json_type_array) && i < json_object_array_length(system); i++) {
    json_object *block = json_object_array_get_idx(system, i);
    const char *s = serve_json_string(block, "text");
    if (!s || strncmp(s, BILLING, strlen(BILLING))) json_object_array_add(kept, json_object_get(block));
  }
  bool ok = one || json_object_is_type(system, json_type_array) || serve_error_expected(e, "system", "a text or an array of blocks of text");
  ok = ok && serve_content(one ? system : kept, "system", &text, e);
  json_object_put(kept);
  if (!ok) return false;
  if (json_object_get_string_len(text)) json_object_array_add(messages, serve_json_object("so", "role", "system", "content", text));
  else json_object_put(text);
  return true;
}

static bool read_messages(json_object *body, json_object **out, serve_error *e)
{
  json_object *made = json_object_new_array(), *system = NULL, *given = serve_json_get(body, "messages", json_type_array);
  size_t n = given ? json_object_array_length(given) : 0;
  bool ok = (n && n <= SERVE_MESSAGES) || serve_error_expected(e, "messages", "an array of 1 to 20000 messages");
  if (ok && json_object_object_get_ex(body, "system", &system) && system) ok = take_system(made, system, e);
  for (size_t i = 0; i < n && ok; i++) ok = take_message(made, json_object_array_get_idx(given, i), i, e);
  if (ok) ok = serve_messages(made, out, e);
  json_object_put(made);
  return ok;
}

/* Tools with a schema; those that run at Anthropic's have none, and are left out. */
static json_object *tools(json_object *given)
{
  json_object *out = json_object_new_array();
  for (size_t i = 0; given && i < json_object_array_length(given); i++) {
    json_object *t = json_object_array_get_idx(given, i), *schema = serve_json_get(t, "input_schema", json_type_object);
    const char *name = serve_json_string(t, "name");
    if (schema) json_object_array_add(out, serve_tool(name ? name : "", serve_json_string(t, "description"), schema));
  }
  return out;
}

bool serve_messages_read(serve_ask *a, json_object *body, serve_error *e)
{
  json_object *messages = NULL;
  a->thinking = KOINE_THINK_OFF; /* unless the request asks for it */
  if (!serve_fields_read(a, body, serve_fields_sampling, serve_fields_sampling_n, e)) return false;
  if (!serve_fields_read(a, body, fields, sizeof fields / sizeof *fields, e)) return false;
  if (a->nothing) return serve_error_expected(e, "max_tokens", "at least 1");
  if (a->n_choices != 1) return serve_error_expected(e, "n", "1");
  if (!read_messages(body, &messages, e)) return false;
  a->chat = serve_json_object("o", "messages", messages);
  return serve_tools_take(a, tools(serve_json_get(body, "tools", json_type_array)), e);
}
