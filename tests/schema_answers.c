/* usage: schema_answers MODEL SCHEMA N: N answers at temperature 1 through the public header, each a JSON text before a zero byte, for a validator
 * that none of us wrote (tests/check_schemas.py). Status 1: an answer that did not end by itself. */
#include <koine.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_TOKENS = 200 };

static char *read_all(const char *path, size_t *n)
{
  FILE *f = fopen(path, "rb");
  char *text = malloc(1 << 20);
  *n = f && text ? fread(text, 1, 1 << 20, f) : 0;
  if (f) fclose(f);
  return text;
}

static bool put(void *user, const char *text, size_t n)
{
  (void)user;
  return fwrite(text, 1, n, stdout) == n;
}

typedef struct parts {
  koine_runtime *runtime;
  koine_model *model;
  koine_plan *plan;
  koine_tokenizer *tokenizer;
  koine_session *session;
  koine_schema *schema;
} parts;

static koine_status open_parts(parts *p, const char *model, const char *json, size_t n)
{
  koine_session_options o = {.size = sizeof o, .context = 512};
  koine_status s = koine_runtime_open(NULL, &p->runtime);
  if (!s) s = koine_model_open(model, &p->model);
  if (!s) s = koine_tokenizer_open(model, &p->tokenizer);
  if (!s) s = koine_schema_open(p->tokenizer, json, n, &p->schema);
  if (!s) s = koine_plan_make(p->runtime, p->model, NULL, &p->plan);
  if (!s) s = koine_plan_wake(p->plan, NULL, NULL);
  return s ? s : koine_session_open(p->plan, &o, &p->session);
}

static koine_status answer(const parts *p, uint64_t seed, bool *whole)
{
  koine_generate_options o = KOINE_GENERATE_OPTIONS_INIT;
  int32_t bos = koine_tokenizer_bos(p->tokenizer), *ids = NULL;
  size_t n = 0;
  koine_stop stop = KOINE_STOP_CALLER;
  o.sampling.temperature = 1, o.sampling.seed = seed, o.n_predict = MOST_TOKENS, o.text = put, o.schema = p->schema;
  koine_status s = koine_generate(p->session, p->tokenizer, &bos, 1, &o, &ids, &n, &stop);
  koine_ids_free(ids);
  *whole &= stop == KOINE_STOP_EOS || n == MOST_TOKENS; /* a number may be cut where it may end */
  return s;
}

int main(int argc, char **argv)
{
  parts p = {0};
  size_t n = 0;
  bool whole = true;
  char *json = argc == 4 ? read_all(argv[2], &n) : NULL;
  koine_status s = json ? open_parts(&p, argv[1], json, n) : KOINE_ERR_ARG;
  for (long i = 0; !s && i < atol(argv[3]); i++) {
    s = answer(&p, (uint64_t)i, &whole);
    putchar(0);
  }
  if (s) fprintf(stderr, "%s\n", koine_last_error());
  koine_session_close(p.session);
  koine_plan_free(p.plan);
  koine_schema_close(p.schema);
  koine_tokenizer_close(p.tokenizer);
  koine_model_close(p.model);
  koine_runtime_close(p.runtime);
  free(json);
  return s || !whole;
}
