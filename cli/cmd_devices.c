/* koine devices: the machine described, measured, written down. */
#include <stdio.h>
#include <string.h>
#include "cli.h"
#include "out.h"

/* What needs more than a look: measuring, and the file for plans elsewhere. */
static int measure_and_save(const cli_args *a, koine_runtime *runtime)
{
  koine_machine *machine = NULL;
  char *links = NULL, *file = NULL;
  int status = EXIT_DONE;
  cli_catch_interrupt();
  koine_status s = koine_machine_open(runtime, &machine);
  if (!s && a->v[OPT_PROBE].i) s = koine_machine_probe(machine, cli_progress, NULL);
  cli_progress_end();
  if (!s && a->v[OPT_PROBE].i) s = koine_machine_links(machine, &links);
  if (!s && a->v[OPT_SAVE].given) s = koine_machine_text(machine, &file);
  if (links) fputs(links, stdout);
  if (file) status = cli_write_file(a->v[OPT_SAVE].text, file, strlen(file));
  koine_text_free(links);
  koine_text_free(file);
  koine_machine_close(machine);
  return s ? cli_fail(s) : status;
}

int cmd_devices(const cli_args *a)
{
  koine_runtime *runtime;
  char *text = NULL;
  if (a->v[OPT_TOPOLOGY].given && a->v[OPT_PROBE].i) return cli_usage_error(a->command, "--probe: expected without --topology, which is another machine");
  koine_status s = cli_runtime_open(a, &runtime);
  if (s) return cli_fail(s);
  s = koine_runtime_describe(runtime, a->v[OPT_JSON].i, &text);
  if (!s) fputs(text, stdout);
  koine_text_free(text);
  int status = s ? cli_fail(s) : a->v[OPT_PROBE].i || a->v[OPT_SAVE].given ? measure_and_save(a, runtime) : EXIT_DONE;
  koine_runtime_close(runtime);
  return status;
}
