/* koine run: a text continued. Owns nothing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common_text.h"

typedef struct output {
  bool broken;  /* standard output takes no more */
  bool at_line; /* the last character was a newline, or there was none */
} output;

static bool put(void *user, const char *text, size_t n_bytes)
{
  output *o = user;
  cli_progress_end();
  o->broken = !cli_text_put(text, n_bytes);
  o->at_line = n_bytes ? text[n_bytes - 1] == '\n' : o->at_line;
  return !o->broken && !cli_interrupted();
}

/* -n 0: the prompt is evaluated and that is all. */
static koine_status evaluate(cli_text *t, const int32_t *ids, size_t n_ids, cli_turn *turn)
{
  koine_eval_options options = {.size = sizeof options, .progress = cli_progress};
  turn->before = (koine_session_stats)KOINE_SESSION_STATS_INIT, turn->stop = KOINE_STOP_LENGTH;
  koine_status s = koine_session_get_stats(t->session, &turn->before);
  if (!s) s = koine_session_eval(t->session, ids, n_ids, &options, NULL);
  cli_progress_end();
  return s;
}

static int read_schema(const cli_args *a, const cli_text *t, koine_schema **out)
{
  char *json = NULL;
  size_t n;
  if (!a->v[OPT_JSON_SCHEMA].given) return EXIT_DONE;
  int status = cli_read_file(a->v[OPT_JSON_SCHEMA].text, &json, &n);
  koine_status s = status ? KOINE_OK : koine_schema_open(t->tokenizer, json, n, out);
  free(json);
  if (cli_is_request_error(s)) return cli_fail_with(EXIT_FILE, "%s: %s", a->v[OPT_JSON_SCHEMA].text, koine_last_error());
  return s ? cli_fail(s) : status;
}

static int answer(const cli_args *a, cli_text *t, koine_schema *schema, const int32_t *ids, size_t n_ids)
{
  output o = {.at_line = true};
  cli_turn turn = {.seed = cli_text_seed(t, 0), .special = a->v[OPT_SPECIAL].i, .text = put, .user = &o, .schema = schema};
  int status = cli_text_check_prompt(t, n_ids);
  if (status) return status;
  koine_status s = a->v[OPT_N_PREDICT].i ? cli_text_generate(a, t, ids, n_ids, &turn) : evaluate(t, ids, n_ids, &turn);
  if (!o.at_line) cli_text_put("\n", 1);
  koine_ids_free(turn.ids);
  if (s) return cli_fail(s);
  cli_text_report_load(t);
  cli_text_report_turn(a, t, n_ids, &turn);
  return cli_interrupted() ? EXIT_INTERRUPT : EXIT_DONE;
}

int cmd_run(const cli_args *a)
{
  cli_text t = {0};
  char *text = NULL;
  int32_t *ids = NULL;
  koine_schema *schema = NULL;
  size_t n_bytes, n_ids = 0;
  int status = cli_text_input(a, &text, &n_bytes);
  if (!status) status = cli_text_open(a, &t);
  if (!status) status = read_schema(a, &t, &schema);
  if (!status) {
    unsigned flags = a->v[OPT_SPECIAL].i ? KOINE_TOKENIZE_SPECIAL : 0;
    if (koine_tokenizer_bos(t.tokenizer) >= 0) flags |= KOINE_TOKENIZE_BOS;
    koine_status s = koine_tokenize(t.tokenizer, text, n_bytes, flags, &ids, &n_ids);
    if (s) status = cli_fail(s);
    else if (!n_ids) status = cli_fail_with(EXIT_FILE, "expected a prompt: the checkpoint has no beginning-of-text token, found no text");
  }
  if (!status) status = cli_text_wake(a, (uint64_t)a->v[OPT_CTX].i, n_ids, &t);
  if (!status) status = answer(a, &t, schema, ids, n_ids);
  koine_schema_close(schema);
  koine_ids_free(ids);
  cli_text_close(&t);
  free(text);
  return status;
}
