/* Owns: /v1/completions as it is read: prompts as texts or ids. */
#include <stdlib.h>
#include <string.h>
#include "ask.h"
#include "protocols.h"

static bool read_logprobs(serve_ask *a, const char *key, json_object *v, serve_error *e)
{
  if (json_object_is_type(v, json_type_boolean)) return a->n_top = json_object_get_boolean(v) ? 0 : -1, true;
  int64_t n = json_object_get_int64(v);
  if (!json_object_is_type(v, json_type_int) || n < 0 || n > SERVE_TOP_LOGPROBS) return serve_error_expected(e, key, "a whole number from 0 to 20");
  a->n_top = (int)n;
  return true;
}

static bool read_best_of(serve_ask *a, const char *key, json_object *v, serve_error *e)
{
  return (json_object_is_type(v, json_type_int) && json_object_get_int64(v) == (int64_t)a->n_choices) || serve_error_expected(e, key, "the same as n: choosing the best of more is not supported");
}

static const serve_field fields[] = {
  {"logprobs", SERVE_BY, 0, 0, 0, read_logprobs}, {"echo", SERVE_BOOL, 0, 0, offsetof(serve_ask, echo), NULL}, {"best_of", SERVE_BY, 0, 0, 0, read_best_of},
  {"suffix", SERVE_REFUSED, 0, 0, 0, NULL}, {"messages", SERVE_REFUSED, 0, 0, 0, NULL}, {"tools", SERVE_REFUSED, 0, 0, 0, NULL},
  {"response_format", SERVE_REFUSED, 0, 0, 0, NULL},
};

/* ---- prompts ---- */
static bool add_text(serve_ask *a, json_object *text, serve_error *e)
{
  size_t n = (size_t)json_object_get_string_len(text);
  unsigned bos = koine_tokenizer_bos(a->tokenizer) >= 0 ? KOINE_TOKENIZE_BOS : 0;
  char *copy = malloc(n + 1);
  if (!copy) return serve_error_set(e, 503, "prompt", "out of memory");
  memcpy(copy, json_object_get_string(text), n + 1);
  koine_status s = koine_tokenize(a->tokenizer, copy, n, bos, &a->prompt[a->n_prompts], &a->n_prompt[a->n_prompts]);
  if (s) free(copy);
  else a->prompt_text[a->n_prompts++] = copy;
  return !s || serve_error_koine(e, s, "prompt");
}

static bool add_ids(serve_ask *a, json_object *ids, serve_error *e)
{
  size_t n = json_object_array_length(ids), n_vocab = koine_tokenizer_n_vocab(a->tokenizer), n_bytes;
  int32_t *v = malloc((n + 1) * sizeof *v);
  char *text = NULL;
  if (!v) return serve_error_set(e, 503, "prompt", "out of memory");
  for (size_t i = 0; i < n; i++) {
    json_object *id = json_object_array_get_idx(ids, i);
    int64_t k = json_object_is_type(id, json_type_int) ? json_object_get_int64(id) : -1;
    if (k < 0 || (uint64_t)k >= n_vocab) {
      free(v);
      return serve_error_set(e, 400, "prompt", "prompt: expected ids from 0 to %zu, found %.40s", n_vocab - 1, json_object_to_json_string(id));
    }
    v[i] = (int32_t)k;
  }
  koine_status s = koine_detokenize(a->tokenizer, v, n, true, &text, &n_bytes);
  char *copy = s ? NULL : strdup(text);
  koine_text_free(text);
  if (!copy) free(v);
  else a->n_prompt[a->n_prompts] = n, a->prompt_text[a->n_prompts] = copy, a->prompt[a->n_prompts++] = v;
  return copy || serve_error_set(e, 503, "prompt", "out of memory");
}

static bool add(serve_ask *a, json_object *prompt, serve_error *e)
{
  if (a->n_prompts == SERVE_PROMPTS) return serve_error_set(e, 400, "prompt", "prompt: expected at most %d prompts", SERVE_PROMPTS);
  if (json_object_is_type(prompt, json_type_string)) return add_text(a, prompt, e);
  if (json_object_is_type(prompt, json_type_array) && json_object_array_length(prompt)) return add_ids(a, prompt, e);
  return serve_error_expected(e, "prompt", "a text, ids, or an array of either");
}

/* An array is of ids when its first element is a number. */
static bool read_prompt(serve_ask *a, json_object *prompt, serve_error *e)
{
  bool several = json_object_is_type(prompt, json_type_array) && json_object_array_length(prompt) && !json_object_is_type(json_object_array_get_idx(prompt, 0), json_type_int);
  if (!several) return add(a, prompt, e);
  for (size_t i = 0; i < json_object_array_length(prompt); i++)
    if (!add(a, json_object_array_get_idx(prompt, i), e)) return false;
  return true;
}

bool serve_completions_read(serve_ask *a, json_object *body, serve_error *e)
{
  json_object *prompt = NULL;
  a->n_predict = 16; /* OpenAI's, when nothing is said */
  if (!serve_fields_read(a, body, serve_fields_sampling, serve_fields_sampling_n, e)) return false;
  if (!serve_fields_read(a, body, fields, sizeof fields / sizeof *fields, e)) return false;
  a->thinking = KOINE_THINK_OFF;
  json_object_object_get_ex(body, "prompt", &prompt);
  if (!read_prompt(a, prompt, e)) return false;
  for (size_t i = 0; i < a->n_prompts; i++)
    if (!a->n_prompt[i]) return serve_error_expected(e, "prompt", "at least one token");
  if (a->n_prompts * a->n_choices > SERVE_PROMPTS) return serve_error_set(e, 400, "n", "n: expected at most %d answers in all", SERVE_PROMPTS);
  if (a->nothing && !a->echo) return serve_error_expected(e, "max_tokens", "at least 1 without echo");
  return !(a->echo && a->n_top >= 0) || serve_error_expected(e, "echo", "no logprobs beside it: those of a prompt are not computed");
}
