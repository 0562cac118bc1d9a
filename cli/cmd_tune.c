/* koine tune: faster parameters for a device's kernels. */
#include <stdio.h>
#include "cli.h"

int cmd_tune(const cli_args *a)
{
  cli_engine e;
  char *report = NULL;
  if (cmd_tuned_wanted(a)) return cmd_tuned(a);
  int status = cli_check_model(a);
  if (status) return status;
  status = cli_engine_open(a, 0, &e);
  if (!status) {
    koine_tune_options options = {.size = sizeof options, .seconds = (uint32_t)a->v[OPT_BUDGET].i};
    koine_status s = koine_tune(e.plan, &options, cli_progress, NULL, &report);
    cli_progress_end();
    if (s) status = cli_fail(s);
    else fputs(report, stdout);
  }
  koine_text_free(report);
  cli_engine_close(&e);
  return status ? status : cmd_tuned_report(a);
}
