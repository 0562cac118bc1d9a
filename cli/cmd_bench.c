/* koine bench: prefill and decode measured. */
#include <stdio.h>
#include <stdlib.h>
#include "cli.h"

/* The list without its zeros, which mean no test. */
static size_t positive(const cli_value *v, uint32_t *out)
{
  size_t n = 0;
  for (size_t i = 0; i < v->n; i++)
    if (v->list[i]) out[n++] = (uint32_t)v->list[i];
  return n;
}

static uint64_t most(const cli_value *v)
{
  uint64_t n = 0;
  for (size_t i = 0; i < v->n; i++) n = (uint64_t)v->list[i] > n ? (uint64_t)v->list[i] : n;
  return n;
}

/* The longest conversation of the tests. */
static uint64_t longest(const cli_value *v)
{
  uint64_t prompt = most(&v[OPT_N_PROMPT]), gen = most(&v[OPT_N_GEN]);
  return most(&v[OPT_DEPTHS]) + (prompt > gen ? prompt : gen);
}

int cmd_bench(const cli_args *a)
{
  const cli_value *v = a->v;
  cli_engine e;
  char *table = NULL, *where = NULL;
  int status = cli_check_model(a);
  if (status) return status;
  uint32_t *n_prompt = calloc(v[OPT_N_PROMPT].n + v[OPT_N_GEN].n, sizeof *n_prompt), *n_gen = n_prompt ? n_prompt + v[OPT_N_PROMPT].n : NULL;
  if (!n_prompt) return cli_fail_with(EXIT_DEVICE, "out of memory");
  koine_bench_options options = {.size = sizeof options, .n_prompt = n_prompt, .n_n_prompt = positive(&v[OPT_N_PROMPT], n_prompt), .n_gen = n_gen,
                                 .n_n_gen = positive(&v[OPT_N_GEN], n_gen), .depths = (const uint64_t *)v[OPT_DEPTHS].list, .n_depths = v[OPT_DEPTHS].n,
                                 .repetitions = (uint32_t)v[OPT_REPETITIONS].i, .fill = v[OPT_FILL].i, .ops = v[OPT_OPS].i, .gemm = v[OPT_GEMM].i,
                                 .format = (koine_format)v[OPT_FORMAT].i, .cache = (koine_cache)v[OPT_CACHE].i};
  status = cli_engine_open(a, longest(v), 0, &e);
  if (!status) {
    koine_status s = koine_bench(e.plan, &options, cli_progress, NULL, &table);
    cli_progress_end();
    if (!s) s = koine_plan_line(e.plan, &where);
    if (s) status = cli_fail(s);
    else fprintf(stderr, "koine: %s\n", where), fputs(table, stdout), fflush(stdout); /* whatever a driver does when it is closed */
  }
  koine_text_free(table);
  koine_text_free(where);
  cli_engine_close(&e);
  free(n_prompt);
  return status;
}
