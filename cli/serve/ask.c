/* Owns: a request's record from its beginning to its end, and errors in words. */
#include "ask.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool serve_error_set(serve_error *e, int status, const char *param, const char *fmt, ...)
{
  va_list args;
  if (e->status) return false;
  e->status = status;
  snprintf(e->param, sizeof e->param, "%s", param ? param : "");
  va_start(args, fmt);
  vsnprintf(e->text, sizeof e->text, fmt, args);
  va_end(args);
  return false;
}

bool serve_error_expected(serve_error *e, const char *key, const char *expected) { return serve_error_set(e, 400, key, "%s: expected %s", key, expected); }

bool serve_error_koine(serve_error *e, koine_status s, const char *param)
{
  static const struct { koine_status s; int status; } known[] = {
    {KOINE_ERR_ARG, 400}, {KOINE_ERR_UNSUPPORTED, 400}, {KOINE_ERR_MEMORY, 503}, {KOINE_ERR_CANCELLED, 499},
  };
  int status = 500;
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (known[i].s == s) status = known[i].status;
  return serve_error_set(e, status, param, "%s", koine_last_error());
}

void serve_ask_init(serve_ask *a, const koine_tokenizer *tokenizer, koine_thinking thinking)
{
  *a = (serve_ask){.tokenizer = tokenizer, .thinking = thinking, .sampling = KOINE_SAMPLING_INIT, .n_choices = 1, .n_top = -1, .calls = SERVE_CALLS_AUTO, .drop_reasoning = true};
  a->sampling.temperature = 1;
}

void serve_ask_clear(serve_ask *a)
{
  for (size_t i = 0; i < a->n_prompts; i++) {
    koine_ids_free(a->prompt[i]);
    free(a->prompt_text[i]);
  }
  free(a->bias);
  json_object_put(a->chat);
  json_object_put(a->schema);
  json_object_put(a->body);
  *a = (serve_ask){0};
}
