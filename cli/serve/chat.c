/* Owns: /v1/chat/completions as it is read. */
#include <string.h>
#include "messages.h"
#include "protocols.h"

/* Chat's own way: a switch, and how many of the likeliest beside. */
static bool read_logprobs(serve_ask *a, const char *key, json_object *v, serve_error *e)
{
  if (!json_object_is_type(v, json_type_boolean)) return serve_error_expected(e, key, "true or false");
  a->n_top = json_object_get_boolean(v) ? 0 : -1;
  return true;
}

static bool read_top_logprobs(serve_ask *a, const char *key, json_object *v, serve_error *e)
{
  int64_t n = json_object_get_int64(v);
  if (!json_object_is_type(v, json_type_int) || n < 0 || n > SERVE_TOP_LOGPROBS) return serve_error_expected(e, key, "a whole number from 0 to 20");
  if (a->n_top < 0) return n == 0 || serve_error_expected(e, key, "logprobs true beside it");
  a->n_top = (int)n;
  return true;
}

/* A text, or {"type": "function", "function": {"name": ...}}. */
static bool read_tool_choice(serve_ask *a, const char *key, json_object *v, serve_error *e)
{
  static const struct { const char *word; serve_call_choice calls; } words[] = {
    {"none", SERVE_CALLS_NONE}, {"auto", SERVE_CALLS_AUTO}, {"required", SERVE_CALLS_REQUIRED}, {"any", SERVE_CALLS_REQUIRED},
  };
  const char *word = json_object_is_type(v, json_type_string) ? json_object_get_string(v) : NULL;
  for (size_t i = 0; word && i < sizeof words / sizeof *words; i++)
    if (!strcmp(word, words[i].word)) return a->calls = words[i].calls, true;
  const char *name = serve_json_string(serve_json_get(v, "function", json_type_object), "name");
  if (!name) return serve_error_expected(e, key, "none, auto, required or a function's name");
  a->calls = SERVE_CALLS_NAMED, a->call_name = name;
  return true;
}

static const serve_field fields[] = {
  {"logprobs", SERVE_BY, 0, 0, 0, read_logprobs}, {"top_logprobs", SERVE_BY, 0, 0, 0, read_top_logprobs}, {"tool_choice", SERVE_BY, 0, 0, 0, read_tool_choice},
  {"parallel_tool_calls", SERVE_BY, 0, 0, 0, serve_read_parallel}, {"reasoning", SERVE_BY, 0, 0, 0, serve_read_effort}, {"functions", SERVE_REFUSED, 0, 0, 0, NULL},
  {"function_call", SERVE_REFUSED, 0, 0, 0, NULL}, {"system", SERVE_REFUSED, 0, 0, 0, NULL}, {"prompt", SERVE_REFUSED, 0, 0, 0, NULL},
  {"input", SERVE_REFUSED, 0, 0, 0, NULL}, {"suffix", SERVE_REFUSED, 0, 0, 0, NULL}, {"echo", SERVE_REFUSED, 0, 0, 0, NULL},
};

static bool text_alone(json_object *modalities)
{
  return !modalities || (json_object_array_length(modalities) == 1 && serve_json_is(json_object_array_get_idx(modalities, 0), "text"));
}

bool serve_chat_read(serve_ask *a, json_object *body, serve_error *e)
{
  json_object *messages = NULL, *given = NULL, *tools = NULL, *format = NULL;
  if (!serve_fields_read(a, body, serve_fields_sampling, serve_fields_sampling_n, e)) return false;
  if (!serve_fields_read(a, body, fields, sizeof fields / sizeof *fields, e)) return false;
  if (a->nothing) return serve_error_expected(e, "max_tokens", "at least 1");
  if (!text_alone(serve_json_get(body, "modalities", json_type_array))) return serve_error_expected(e, "modalities", "text alone");
  json_object_object_get_ex(body, "messages", &given);
  if (!serve_messages(given, &messages, e)) return false;
  a->chat = serve_json_object("o", "messages", messages);
  if (json_object_object_get_ex(body, "tools", &tools) && tools && !json_object_is_type(tools, json_type_array)) return serve_error_expected(e, "tools", "an array");
  if (!serve_tools_take(a, tools ? json_object_get(tools) : NULL, e)) return false;
  return !json_object_object_get_ex(body, "response_format", &format) || !format || serve_format_take(a, format, "response_format", e);
}
