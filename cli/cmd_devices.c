/* koine devices: the machine described. */
#include <stdio.h>
#include "cli.h"

int cmd_devices(const cli_args *a)
{
  koine_runtime *runtime;
  char *text = NULL;
  koine_status s = cli_runtime_open(a, &runtime);
  if (s) return cli_fail(s);
  s = koine_runtime_describe(runtime, a->v[OPT_JSON].i, &text);
  if (!s) fputs(text, stdout);
  koine_text_free(text);
  koine_runtime_close(runtime);
  return s ? cli_fail(s) : EXIT_DONE;
}
