/* koine plan and koine estimate: where layers should lie, and how fast that will be. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cli.h"
#include "out.h"

typedef struct scene { koine_runtime *runtime; koine_machine *machine; koine_model *model; koine_placement *placement; } scene;

static void close_scene(scene *c)
{
  koine_placement_free(c->placement);
  koine_machine_close(c->machine);
  koine_runtime_close(c->runtime);
  koine_model_close(c->model);
}

static int read_machine(const char *path, koine_machine **out)
{
  char *text = NULL;
  size_t n;
  int status = cli_read_file(path, &text, &n);
  if (status) return status;
  koine_status s = koine_machine_parse(text, path, out);
  free(text);
  return s ? cli_fail(s) : EXIT_DONE;
}

/* This machine or another; here, what is not known is measured where that is wanted. */
static int open_scene(const cli_args *a, bool measure, scene *c)
{
  const char *file = a->v[OPT_MACHINE].text;
  if (file && a->v[OPT_MEASURE].i) return cli_usage_error(a->command, "--measure: expected without --machine, which is another machine");
  if (file && a->v[OPT_SUBDEVICES].n) return cli_usage_error(a->command, "--subdevices: expected without --machine, of which no device is parted");
  int status = cli_check_model(a);
  if (status) return status;
  cli_catch_interrupt();
  koine_status s = cli_model_open(a, &c->model);
  if (s) return cli_fail(s);
  if (file) return read_machine(file, &c->machine);
  s = cli_runtime_open(a, &c->runtime);
  if (!s) s = koine_machine_open(c->runtime, &c->machine);
  if (!s && measure) s = cli_measure(a, c->machine, c->model, a->v[OPT_MEASURE].i);
  cli_progress_end();
  return s ? cli_fail(s) : EXIT_DONE;
}

static int place_scene(const cli_args *a, bool measure, scene *c)
{
  char *given = NULL;
  size_t n;
  int status = open_scene(a, measure, c);
  if (!status && a->v[OPT_PLACEMENT].given) status = cli_read_file(a->v[OPT_PLACEMENT].text, &given, &n);
  if (!status) {
    koine_status s = cli_place(a, c->machine, c->model, (uint64_t)a->v[OPT_CTX].i, given, &c->placement);
    if (s) status = cli_fail(s);
  }
  free(given);
  return status;
}

int cmd_plan(const cli_args *a)
{
  scene c = {0};
  char *text = NULL, *svg = NULL;
  int status = place_scene(a, a->v[OPT_MEASURE].i, &c);
  koine_status s = status ? KOINE_OK : koine_placement_text(c.placement, &text);
  if (!status && !s && a->v[OPT_SVG].given) s = koine_placement_svg(c.placement, &svg);
  if (s) status = cli_fail(s);
  if (!status) fputs(text, stdout);
  if (!status && svg) status = cli_write_file(a->v[OPT_SVG].text, svg, strlen(svg));
  koine_text_free(text);
  koine_text_free(svg);
  close_scene(&c);
  return status;
}

/* What a plan says of experts that take turns. */
static koine_status print_experts(const koine_placement *p)
{
  char *text = NULL;
  koine_status s = koine_placement_text(p, &text);
  for (char *line = text, *end; !s && line && (end = strchr(line, '\n')); line = end + 1)
    if (!strncmp(line, "experts", 7)) printf("%.*s\n", (int)(end - line), line);
  koine_text_free(text);
  return s;
}

int cmd_estimate(const cli_args *a)
{
  scene c = {0};
  koine_estimate e = KOINE_ESTIMATE_INIT;
  int status = place_scene(a, true, &c);
  koine_status s = status ? KOINE_OK : koine_placement_estimate(c.placement, &e);
  if (s) status = cli_fail(s);
  if (!status)
    printf("decode: %.3g tokens/s, likely %.3g to %.3g\nprefill: %.3g tokens/s, likely %.3g to %.3g\n%s, on %llu stage%s; koine plan shows them\n", 1 / e.token_s,
           1 / e.token_s_high, 1 / e.token_s_low, e.prompt_per_s, e.prompt_per_s_low, e.prompt_per_s_high, e.measured ? "measured layers" : "not measured: by the rates of the devices",
           (unsigned long long)e.n_stages, e.n_stages == 1 ? "" : "s");
  if (!status && print_experts(c.placement)) status = cli_fail(KOINE_ERR_MEMORY);
  close_scene(&c);
  return status;
}
