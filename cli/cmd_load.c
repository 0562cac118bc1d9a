/* koine load-test: the options as a test's, its results where they are wanted. Owns nothing. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "cli.h"
#ifdef HAVE_LOAD_TEST
#include "load/load.h"
#include "out.h"

enum { MOST_TARGETS = 8 };

typedef struct inputs {
  char *keys, *lines;                 /* files */
  const char *key[MOST_TARGETS];      /* NULL: none */
  load_target target[MOST_TARGETS];
  size_t n_targets;
  load_prompts prompts;
} inputs;

/* Line n is for URL n, so that no endpoint is told another's. */
static int read_keys(const cli_args *a, inputs *in)
{
  const char *path = a->v[OPT_LOAD_KEYS].text;
  size_t n_bytes, n = 0;
  int status = path ? cli_read_file(path, &in->keys, &n_bytes) : EXIT_DONE;
  if (status || !path) return status;
  for (char *line = in->keys, *end; line && *line; line = end, n++) {
    end = strchr(line, '\n');
    if (end) *end++ = 0;
    line[strcspn(line, "\r")] = 0;
    if (n == a->n_operands) return cli_fail_with(EXIT_FILE, "%s: expected at most a line for each of %zu URLs, found more", path, a->n_operands);
    in->key[n] = *line ? line : NULL;
  }
  return EXIT_DONE;
}

static int read_prompts(const cli_args *a, inputs *in)
{
  const char *path = a->v[OPT_LOAD_PROMPTS].text;
  size_t n_bytes;
  char why[LOAD_TEXT];
  int status = path ? cli_read_file(path, &in->lines, &n_bytes) : EXIT_DONE;
  if (status || load_prompts_read(in->lines, &in->prompts, why, sizeof why)) return status;
  return cli_fail_with(EXIT_FILE, "%s: %s", path, why);
}

static int read_inputs(const cli_args *a, inputs *in)
{
  if (!a->n_operands) return cli_usage_error(a->command, "expected the URL of an endpoint, found none");
  int status = read_keys(a, in);
  if (!status) status = read_prompts(a, in);
  for (size_t i = 0; i < a->n_operands && !status; i++) {
    bool good = load_target_init(&in->target[in->n_targets++], a->operands[i], in->key[i], a->v[OPT_LOAD_MODEL].text);
    if (!good) status = cli_usage_error(a->command, "expected a URL like http://127.0.0.1:8080, found '%s'", a->operands[i]);
  }
  return status;
}

/* ---- results ---- */
static int write_file(const char *path, const load_options *o, const load_levels *l, void (*write)(FILE *, const load_options *, const load_levels *))
{
  cli_out to;
  if (!path) return EXIT_DONE;
  int status = cli_out_open(path, &to);
  if (!status) write(to.f, o, l);
  int closed = cli_out_close(&to, !status);
  return status ? status : closed;
}

static int show(const cli_args *a, const load_options *o, const load_levels *l)
{
  (a->v[OPT_JSON].i ? load_json : load_table)(stdout, o, l);
  int status = write_file(a->v[OPT_LOAD_CSV].text, o, l, load_csv), report = write_file(a->v[OPT_LOAD_REPORT].text, o, l, load_report);
  return status ? status : report;
}

static int status_of(load_end end, const load_levels *l)
{
  if (end == LOAD_INTERRUPTED) return EXIT_INTERRUPT;
  for (size_t i = 0; i < l->n; i++)
    if (l->v[i].n_failed) return EXIT_CHECK;
  return EXIT_DONE;
}

static int run(const cli_args *a, inputs *in)
{
  const cli_value *v = a->v;
  char why[1024];
  load_levels l;
  load_options o = {.targets = in->target, .n_targets = in->n_targets, .prompts = in->prompts.v, .n_prompts = in->prompts.n, .streams = v[OPT_LOAD_STREAMS].list,
                    .n_streams = v[OPT_LOAD_STREAMS].n, .contexts = v[OPT_LOAD_CONTEXTS].list, .n_contexts = v[OPT_LOAD_CONTEXTS].n, .n_requests = v[OPT_LOAD_REQUESTS].i,
                    .max_tokens = v[OPT_LOAD_TOKENS].i, .timeout_s = v[OPT_LOAD_TIMEOUT].i, .temperature = v[OPT_LOAD_TEMP].f, .ignore_eos = v[OPT_LOAD_IGNORE].i,
                    .same_context = v[OPT_LOAD_SAME].i, .progress = cli_progress};
  cli_catch_interrupt();
  load_end end = load_run(&o, &l, why, sizeof why);
  cli_progress_end();
  int status = end == LOAD_FAILED ? cli_fail_with(EXIT_DEVICE, "%s", why) : status_of(end, &l);
  int shown = l.n ? show(a, &o, &l) : EXIT_DONE;
  free(l.v);
  return shown && status != EXIT_INTERRUPT ? shown : status;
}

int cmd_load(const cli_args *a)
{
  inputs in = {0};
  int status = read_inputs(a, &in);
  if (!status) status = run(a, &in);
  for (size_t i = 0; i < in.n_targets; i++) load_target_free(&in.target[i]);
  load_prompts_free(&in.prompts);
  free(in.keys);
  free(in.lines);
  return status;
}
#else
int cmd_load(const cli_args *a)
{
  return cli_fail_with(EXIT_DEVICE, "%s: this build is without it: install libcurl4-openssl-dev and configure again without --without-load-test", cli_commands[a->command].name);
}
#endif
