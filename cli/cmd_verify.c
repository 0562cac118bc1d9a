/* koine verify: a device checked against the C reference. */
#include <stdio.h>
#include "cli.h"

int cmd_verify(const cli_args *a)
{
  koine_runtime *runtime;
  char *report = NULL;
  koine_status s = cli_runtime_open(a, &runtime);
  if (s) return cli_fail(s);
  cli_catch_interrupt();
  s = koine_verify(runtime, a->v[OPT_DEVICE].text, cli_progress, NULL, &report);
  cli_progress_end();
  if (report) fputs(report, stdout);
  fflush(stdout);
  koine_text_free(report);
  koine_runtime_close(runtime);
  return s ? cli_fail(s) : EXIT_DONE;
}
