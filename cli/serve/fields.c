/* Owns: the fields of bodies: their types and ranges, what is refused by name. Does not: know protocols, but for what several of them share. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "ask.h"

/* ---- values ---- */
static bool wrong(serve_error *e, const char *key, const char *expected, json_object *v)
{
  const char *found = json_object_is_type(v, json_type_object) || json_object_is_type(v, json_type_array) || json_object_is_type(v, json_type_string)
                        ? json_type_to_name(json_object_get_type(v)) : json_object_to_json_string(v);
  return serve_error_set(e, 400, key, "%s: expected %s, found %s", key, expected, found);
}

static bool number(const serve_field *f, json_object *v, double *out, serve_error *e)
{
  bool whole = f->kind != SERVE_FLOAT, is_int = json_object_is_type(v, json_type_int);
  if (!is_int && !json_object_is_type(v, json_type_double)) return wrong(e, f->key, whole ? "a whole number" : "a number", v);
  *out = json_object_get_double(v);
  if (whole && !is_int && *out != floor(*out)) return wrong(e, f->key, "a whole number", v);
  if (*out >= f->low && *out <= f->high) return true;
  return serve_error_set(e, 400, f->key, "%s: expected %.10g to %.10g, found %s", f->key, f->low, f->high, json_object_to_json_string(v));
}

/* What asks for nothing. */
static bool neutral(json_object *v)
{
  switch (json_object_get_type(v)) {
  case json_type_string: return json_object_get_string_len(v) == 0;
  case json_type_array: return json_object_array_length(v) == 0;
  case json_type_object: return json_object_object_length(v) == 0;
  case json_type_boolean: return !json_object_get_boolean(v);
  default: return json_object_get_double(v) == 0;
  }
}

static bool read_one(serve_ask *a, const serve_field *f, json_object *v, serve_error *e)
{
  char *at = (char *)a + f->offset;
  double x;
  if (f->kind == SERVE_BY) return f->read(a, f->key, v, e);
  if (f->kind == SERVE_REFUSED) return neutral(v) || serve_error_set(e, 400, f->key, "%s: not supported by this server; leave it out", f->key);
  if (f->kind == SERVE_BOOL) {
    if (!json_object_is_type(v, json_type_boolean)) return wrong(e, f->key, "true or false", v);
    *(bool *)at = json_object_get_boolean(v);
    return true;
  }
  if (!number(f, v, &x, e)) return false;
  if (f->kind == SERVE_FLOAT) *(float *)at = (float)x;
  else if (f->kind == SERVE_UINT) *(uint64_t *)at = (uint64_t)x;
  else *(int32_t *)at = (int32_t)x;
  return true;
}

bool serve_fields_read(serve_ask *a, json_object *body, const serve_field *fields, size_t n, serve_error *e)
{
  for (size_t i = 0; i < n; i++) {
    json_object *v = NULL;
    if (!json_object_object_get_ex(body, fields[i].key, &v) || !v) continue;
    if (!read_one(a, &fields[i], v, e)) return false;
  }
  return true;
}

/* ---- readers ---- */
static bool read_model(serve_ask *a, const char *key, json_object *v, serve_error *e)
{
  if (!json_object_is_type(v, json_type_string)) return wrong(e, key, "a text", v);
  a->model = json_object_get_string(v);
  return true;
}

bool serve_read_seed(serve_ask *a, const char *key, json_object *v, serve_error *e)
{
  if (!json_object_is_type(v, json_type_int)) return wrong(e, key, "a whole number", v);
  a->sampling.seed = (uint64_t)json_object_get_int64(v);
  a->seeded = json_object_get_int64(v) != -1; /* llama.cpp's word for another each time */
  return true;
}

/* 0 of tokens is the prompt alone, where it is allowed. */
static bool read_most(serve_ask *a, const char *key, json_object *v, serve_error *e)
{
  const serve_field f = {key, SERVE_UINT, 0, 2147483647, 0, NULL};
  double x;
  if (!number(&f, v, &x, e)) return false;
  a->n_predict = (uint64_t)x;
  a->nothing = x == 0;
  return true;
}

bool serve_read_parallel(serve_ask *a, const char *key, json_object *v, serve_error *e)
{
  if (!json_object_is_type(v, json_type_boolean)) return serve_error_expected(e, key, "true or false");
  a->one_call = !json_object_get_boolean(v);
  return true;
}

bool serve_read_stop(serve_ask *a, const char *key, json_object *v, serve_error *e)
{
  bool one = json_object_is_type(v, json_type_string);
  if (!one && !json_object_is_type(v, json_type_array)) return wrong(e, key, "a text or an array of texts", v);
  size_t n = one ? 1 : json_object_array_length(v);
  if (n > SERVE_STOPS) return serve_error_set(e, 400, key, "%s: expected at most %d texts, found %zu", key, SERVE_STOPS, n);
  for (size_t i = 0; i < n; i++) {
    json_object *t = one ? v : json_object_array_get_idx(v, i);
    if (!json_object_is_type(t, json_type_string)) return wrong(e, key, "texts", t);
    const char *s = json_object_get_string(t);
    if (!*s || strlen(s) != (size_t)json_object_get_string_len(t)) return serve_error_set(e, 400, key, "%s: expected texts that are not empty and without U+0000", key);
    if (strlen(s) > 1000) return serve_error_set(e, 400, key, "%s: expected at most 1000 bytes, found %zu", key, strlen(s));
    a->stops[i] = s;
  }
  a->n_stops = n;
  return true;
}

static bool read_choices(serve_ask *a, const char *key, json_object *v, serve_error *e)
{
  const serve_field f = {key, SERVE_INT, 1, SERVE_CHOICES, 0, NULL};
  double x;
  if (!number(&f, v, &x, e)) return false;
  a->n_choices = (uint32_t)x;
  return true;
}

static bool read_bias(serve_ask *a, const char *key, json_object *v, serve_error *e)
{
  if (!json_object_is_type(v, json_type_object)) return wrong(e, key, "an object of token ids", v);
  size_t n = (size_t)json_object_object_length(v);
  if (n > SERVE_BIASES) return serve_error_set(e, 400, key, "%s: expected at most %d tokens, found %zu", key, SERVE_BIASES, n);
  free(a->bias);
  a->n_biases = 0;
  a->bias = calloc(n + 1, sizeof *a->bias);
  if (!a->bias) return serve_error_set(e, 503, key, "out of memory");
  json_object_object_foreach(v, id, by)
  {
    char *end;
    const serve_field f = {key, SERVE_FLOAT, -100, 100, 0, NULL};
    double x;
    long k = strtol(id, &end, 10);
    if (*end || end == id || k < 0 || k > INT32_MAX) return serve_error_set(e, 400, key, "%s: expected token ids, found %.40s", key, id);
    if (!number(&f, by, &x, e)) return false;
    a->bias[a->n_biases++] = (serve_bias){(int32_t)k, (float)x};
  }
  return true;
}

/* vLLM and llama.cpp spell "off" as -1. */
static bool read_top_k(serve_ask *a, const char *key, json_object *v, serve_error *e)
{
  const serve_field f = {key, SERVE_INT, -1, 2147483647, 0, NULL};
  double x;
  if (!number(&f, v, &x, e)) return false;
  a->sampling.top_k = x < 0 ? 0 : (int32_t)x;
  return true;
}

static bool read_stream_options(serve_ask *a, const char *key, json_object *v, serve_error *e)
{
  static const serve_field fields[] = {{"include_usage", SERVE_BOOL, 0, 0, offsetof(serve_ask, stream_usage), NULL}};
  if (!json_object_is_type(v, json_type_object)) return wrong(e, key, "an object", v);
  return serve_fields_read(a, v, fields, 1, e);
}

/* ---- thinking ---- */
bool serve_effort(serve_ask *a, const char *word, const char *key, serve_error *e)
{
  static const struct { const char *word; koine_thinking thinking; } words[] = {
    {"none", KOINE_THINK_OFF}, {"minimal", KOINE_THINK_HIGH}, {"low", KOINE_THINK_HIGH}, {"medium", KOINE_THINK_HIGH}, {"high", KOINE_THINK_HIGH},
    {"xhigh", KOINE_THINK_HIGH}, {"max", KOINE_THINK_MAX}, {"ultra", KOINE_THINK_MAX},
  };
  for (size_t i = 0; word && i < sizeof words / sizeof *words; i++)
    if (!strcmp(word, words[i].word)) return a->thinking = words[i].thinking, true;
  return serve_error_set(e, 400, key, "%s: expected none, minimal, low, medium, high, xhigh, max or ultra, found %.40s", key, word ? word : "no text");
}

bool serve_read_effort(serve_ask *a, const char *key, json_object *v, serve_error *e)
{
  const char *word = json_object_is_type(v, json_type_object) ? serve_json_string(v, "effort") : json_object_is_type(v, json_type_string) ? json_object_get_string(v) : NULL;
  json_object *on = serve_json_get(v, "enabled", json_type_boolean);
  if (on && !json_object_get_boolean(on)) return a->thinking = KOINE_THINK_OFF, a->no_thinking = true;
  if (json_object_is_type(v, json_type_object) && !word) return true;
  return a->no_thinking || serve_effort(a, word, key, e);
}

/* true, false, or {"type": "enabled" | "adaptive" | "disabled"}; budgets say nothing to this model. */
bool serve_read_thinking(serve_ask *a, const char *key, json_object *v, serve_error *e)
{
  const char *type = serve_json_string(v, "type");
  bool on = type ? !strcmp(type, "enabled") || !strcmp(type, "adaptive") : json_object_get_boolean(v);
  if (!type && !json_object_is_type(v, json_type_boolean)) return wrong(e, key, "true, false or an object with a type", v);
  if (type && !on && strcmp(type, "disabled")) return serve_error_set(e, 400, key, "%s: expected the type enabled, adaptive or disabled, found %.40s", key, type);
  a->no_thinking = !on;
  if (!on) a->thinking = KOINE_THINK_OFF;
  else if (a->thinking == KOINE_THINK_OFF) a->thinking = KOINE_THINK_HIGH;
  return true;
}

static bool read_template(serve_ask *a, const char *key, json_object *v, serve_error *e)
{
  static const serve_field fields[] = {
    {"thinking", SERVE_BY, 0, 0, 0, serve_read_thinking}, {"enable_thinking", SERVE_BY, 0, 0, 0, serve_read_thinking},
    {"reasoning_effort", SERVE_BY, 0, 0, 0, serve_read_effort}, {"drop_thinking", SERVE_BOOL, 0, 0, offsetof(serve_ask, drop_reasoning), NULL},
  };
  if (!json_object_is_type(v, json_type_object)) return wrong(e, key, "an object", v);
  return serve_fields_read(a, v, fields, sizeof fields / sizeof *fields, e);
}

#define NUMBER(key, kind, low, high, member) {key, kind, low, high, offsetof(serve_ask, member), NULL}
#define BY(key, fn) {key, SERVE_BY, 0, 0, 0, fn}
#define REFUSED(key) {key, SERVE_REFUSED, 0, 0, 0, NULL}
const serve_field serve_fields_sampling[] = {
  BY("model", read_model), NUMBER("stream", SERVE_BOOL, 0, 0, stream), BY("stream_options", read_stream_options),
  BY("max_tokens", read_most), BY("max_completion_tokens", read_most), BY("max_output_tokens", read_most),
  NUMBER("temperature", SERVE_FLOAT, 0, 2, sampling.temperature), NUMBER("top_p", SERVE_FLOAT, 0, 1, sampling.top_p),
  NUMBER("min_p", SERVE_FLOAT, 0, 1, sampling.min_p), BY("top_k", read_top_k),
  NUMBER("repetition_penalty", SERVE_FLOAT, 0.01, 10, sampling.repetition_penalty), NUMBER("repeat_penalty", SERVE_FLOAT, 0.01, 10, sampling.repetition_penalty),
  NUMBER("presence_penalty", SERVE_FLOAT, -2, 2, sampling.presence_penalty), NUMBER("frequency_penalty", SERVE_FLOAT, -2, 2, sampling.frequency_penalty),
  BY("seed", serve_read_seed), BY("stop", serve_read_stop), BY("n", read_choices), BY("logit_bias", read_bias),
  NUMBER("min_tokens", SERVE_UINT, 0, 2147483647, min_tokens), NUMBER("ignore_eos", SERVE_BOOL, 0, 0, ignore_eos),
  BY("reasoning_effort", serve_read_effort), BY("thinking", serve_read_thinking), BY("think", serve_read_thinking), BY("enable_thinking", serve_read_thinking),
  BY("chat_template_kwargs", read_template),
  REFUSED("grammar"), REFUSED("guided_json"), REFUSED("guided_regex"), REFUSED("guided_choice"), REFUSED("guided_grammar"), REFUSED("structured_outputs"),
  REFUSED("json_schema"), REFUSED("stop_token_ids"), REFUSED("mirostat"), REFUSED("typical_p"), REFUSED("xtc_probability"), REFUSED("dry_multiplier"),
  REFUSED("dynatemp_range"), REFUSED("samplers"), REFUSED("n_probs"), REFUSED("prompt_logprobs"), REFUSED("bad_words"), REFUSED("allowed_token_ids"),
  REFUSED("use_beam_search"), REFUSED("chat_template"), REFUSED("documents"), REFUSED("audio"), REFUSED("prediction"), REFUSED("web_search_options"),
  REFUSED("continue_final_message"), REFUSED("n_discard"), REFUSED("truncate_prompt_tokens"), REFUSED("background"), REFUSED("conversation"),
};
const size_t serve_fields_sampling_n = sizeof serve_fields_sampling / sizeof *serve_fields_sampling;
