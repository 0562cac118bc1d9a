/* Owns: messages and tools in the form that koine_chat_prompt takes, whatever client sent them.
 * Does not: know what else a protocol's messages have (protocols bring them to chat's form first). */
#include "messages.h"
#include <stdio.h>
#include <string.h>

/* ---- contents ---- */
static const char *const text_types[] = {"text", "input_text", "output_text", "refusal"};

static json_object *part_text(json_object *part)
{
  const char *type = serve_json_string(part, "type");
  if (json_object_is_type(part, json_type_string)) return part;
  for (size_t i = 0; type && i < sizeof text_types / sizeof *text_types; i++)
    if (!strcmp(type, text_types[i])) return serve_json_get(part, strcmp(type, "refusal") ? "text" : "refusal", json_type_string);
  return NULL;
}

bool serve_content(json_object *content, const char *where, json_object **out, serve_error *e)
{
  serve_text t = {0};
  *out = NULL;
  if (!content) return true;
  if (json_object_is_type(content, json_type_string)) return *out = json_object_get(content), true;
  if (!json_object_is_type(content, json_type_array)) return serve_error_set(e, 400, where, "%s: content: expected a text, null or an array of parts", where);
  for (size_t i = 0; i < json_object_array_length(content); i++) {
    json_object *part = json_object_array_get_idx(content, i), *text = part_text(part);
    const char *type = serve_json_string(part, "type");
    if (!text) {
      serve_text_free(&t);
      return serve_error_set(e, 400, where, "%s: content part %zu: expected text, which is all that this model reads, found the type %.40s", where, i, type ? type : "none");
    }
    if (i) serve_text_add(&t, "\n\n", 2);
    serve_text_add(&t, json_object_get_string(text), (size_t)json_object_get_string_len(text));
  }
  *out = serve_json_text(t.s, t.n);
  bool failed = t.failed;
  serve_text_free(&t);
  return !failed || serve_error_set(e, 503, where, "out of memory");
}

/* ---- messages ---- */
typedef struct turn {
  json_object *messages; /* what is made */
  json_object *system;   /* its message, while nothing else came */
} turn;

static void join(json_object *message, json_object *text)
{
  json_object *had = serve_json_get(message, "content", json_type_string);
  serve_text t = {0};
  if (had) serve_text_add(&t, json_object_get_string(had), (size_t)json_object_get_string_len(had)), serve_text_add(&t, "\n\n", 2);
  if (text) serve_text_add(&t, json_object_get_string(text), (size_t)json_object_get_string_len(text));
  json_object_object_add(message, "content", serve_json_text(t.s, t.n));
  serve_text_free(&t);
}

/* Members that go on as they are; content is read apart. */
static json_object *copy(json_object *given, const char *role)
{
  json_object *m = serve_json_object("s", "role", role);
  json_object_object_foreach(given, key, value)
    if (strcmp(key, "role") && strcmp(key, "content")) json_object_object_add(m, key, json_object_get(value));
  return m;
}

static bool add(turn *t, json_object *given, size_t i, serve_error *e)
{
  char where[32];
  json_object *content = NULL, *text = NULL;
  snprintf(where, sizeof where, "messages[%zu]", i);
  const char *role = serve_json_string(given, "role");
  if (!role) return serve_error_set(e, 400, where, "%s: expected an object with a role", where);
  json_object_object_get_ex(given, "content", &content);
  if (!serve_content(content, where, &text, e)) return false;
  bool system = !strcmp(role, "system") || !strcmp(role, "developer");
  if (system && t->system) {
    join(t->system, text);
    json_object_put(text);
    return true;
  }
  bool leads = !json_object_array_length(t->messages);
  json_object *m = copy(given, system ? (leads ? "system" : "user") : role);
  json_object_object_add(m, "content", text ? text : json_object_new_string(""));
  t->system = system && leads ? m : NULL;
  return !json_object_array_add(t->messages, m) || serve_error_set(e, 503, "messages", "out of memory");
}

bool serve_messages(json_object *given, json_object **out, serve_error *e)
{
  if (!json_object_is_type(given, json_type_array)) return serve_error_set(e, 400, "messages", "messages: expected an array of messages");
  size_t n = json_object_array_length(given);
  if (!n || n > SERVE_MESSAGES) return serve_error_set(e, 400, "messages", "messages: expected 1 to %d messages, found %zu", SERVE_MESSAGES, n);
  turn t = {.messages = json_object_new_array()};
  for (size_t i = 0; i < n; i++) {
    if (add(&t, json_object_array_get_idx(given, i), i, e)) continue;
    json_object_put(t.messages);
    return false;
  }
  *out = t.messages;
  return true;
}

/* ---- tools ---- */
static const char *tool_name(json_object *tool) { return serve_json_string(serve_json_get(tool, "function", json_type_object), "name"); }

json_object *serve_tool(const char *name, const char *description, json_object *parameters)
{
  json_object *f = serve_json_object("s", "name", name);
  if (description) json_object_object_add(f, "description", json_object_new_string(description));
  if (parameters) json_object_object_add(f, "parameters", json_object_get(parameters));
  return serve_json_object("so", "type", "function", "function", f);
}

bool serve_tool_is_there(json_object *tools, const char *name)
{
  for (size_t i = 0; tools && name && i < json_object_array_length(tools); i++) {
    const char *has = tool_name(json_object_array_get_idx(tools, i));
    if (has && !strcmp(has, name)) return true;
  }
  return false;
}

bool serve_tool_name_is_good(const char *name)
{
  size_t n = name ? strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.:/") : 0;
  return n && n <= 128 && !name[n];
}

bool serve_tools_take(serve_ask *a, json_object *tools, serve_error *e)
{
  size_t n = tools ? json_object_array_length(tools) : 0;
  if (n > SERVE_TOOLS) serve_error_set(e, 400, "tools", "tools: expected at most %d, found %zu", SERVE_TOOLS, n);
  for (size_t i = 0; i < n && !e->status; i++) {
    const char *name = tool_name(json_object_array_get_idx(tools, i));
    if (!serve_tool_name_is_good(name)) serve_error_set(e, 400, "tools", "tools[%zu]: expected a function whose name is 1 to 128 letters, digits or _-.:/", i);
  }
  if (!e->status && a->calls >= SERVE_CALLS_REQUIRED && !n) serve_error_set(e, 400, "tool_choice", "tool_choice: expected tools to choose from, found none");
  if (!e->status && a->calls == SERVE_CALLS_NAMED && !serve_tool_is_there(tools, a->call_name))
    serve_error_set(e, 400, "tool_choice", "tool_choice: expected the name of one of the tools, found %.60s", a->call_name);
  a->has_tools = n && a->calls != SERVE_CALLS_NONE;
  if (!e->status && a->has_tools) json_object_object_add(a->chat, "tools", tools);
  else json_object_put(tools);
  return !e->status;
}

/* ---- the form of the answer ---- */
bool serve_format_take(serve_ask *a, json_object *format, const char *key, serve_error *e)
{
  const char *type = serve_json_string(format, "type");
  json_object *inner = serve_json_get(format, "json_schema", json_type_object), *schema = serve_json_get(inner, "schema", json_type_object);
  if (!schema) schema = serve_json_get(format, "schema", json_type_object);
  if (!type) return serve_error_set(e, 400, key, "%s: expected an object with a type", key);
  if (!strcmp(type, "text")) return true;
  bool object = !strcmp(type, "json_object");
  if (!object && strcmp(type, "json_schema")) return serve_error_set(e, 400, key, "%s: expected the type text, json_object or json_schema, found %.40s", key, type);
  if (!object && !schema) return serve_error_set(e, 400, key, "%s: expected a schema that is an object, found none", key);
  if (a->calls >= SERVE_CALLS_REQUIRED) return serve_error_set(e, 400, key, "%s: expected no form of the text where tool_choice asks for a call", key);
  a->schema = schema ? json_object_get(schema) : serve_json_object("s", "type", "object");
  json_object *told = serve_json_object("so", "type", "json_schema", "json_schema", serve_json_object("so", "name", "answer", "schema", json_object_get(a->schema)));
  json_object_object_add(a->chat, "response_format", told);
  return true;
}
