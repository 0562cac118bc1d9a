/* koine tune: faster parameters for a device's kernels. What touches the device is a child process: a driver that crashes or hangs on one set of
 * parameters costs that set. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include "cli.h"
#include "guard.h"

enum { MOST_LOST = 20 };
static const double least_limit_s = 60, most_limit_s = 120;

static bool progress(void *user, const char *what, uint64_t done, uint64_t total)
{
  cli_guard_beat(*(const bool *)user);
  return cli_progress(NULL, what, done, total);
}

static int tune(void *user, double left_s, unsigned nth, bool hung)
{
  const cli_args *a = user;
  cli_engine e;
  char *report = NULL;
  bool busy = true;
  int status = cli_engine_open(a, 0, 0, &e);
  if (!status) {
    koine_tune_options options = {.size = sizeof options, .seconds = left_s < 1 ? 1 : (uint32_t)left_s, .flags = !nth ? 0 : hung ? KOINE_TUNE_AFTER_HANG : KOINE_TUNE_AFTER_CRASH};
    koine_status s = koine_tune(e.plan, &options, progress, &busy, &report);
    cli_progress_end();
    if (s) status = cli_fail(s);
    else if (fputs(report, stdout) < 0 || fflush(stdout)) status = cli_fail_with(EXIT_FILE, "standard output: writing failed");
    if (s == KOINE_ERR_DEVICE) status = CLI_GUARD_GONE;
  }
  koine_text_free(report);
  cli_engine_close(&e);
  return status ? status : cmd_tuned_report(a);
}

static void lost(void *user, int sig, bool hung, bool again)
{
  (void)user;
  cli_progress_end();
  const char *next = again ? "; what it was trying is given up, and tuning goes on" : "";
  if (!sig) cli_note("koine: the device is gone%s", next);
  else if (hung) cli_note("koine: the driver hangs%s", next);
  else cli_note("koine: the process that tuned was ended: %s%s", strsignal(sig), next);
}

int cmd_tune(const cli_args *a)
{
  double seconds = (double)a->v[OPT_BUDGET].i, limit = seconds;
  if (cmd_tuned_wanted(a)) return cmd_tuned(a);
  int status = cli_check_model(a);
  if (status) return status;
  limit = limit < least_limit_s ? least_limit_s : limit > most_limit_s ? most_limit_s : limit;
  cli_guard g = {.work = tune, .user = (void *)a, .budget_s = seconds, .limit_s = limit, .most = MOST_LOST, .lost = lost};
  return cli_guard_run(&g, EXIT_DEVICE);
}
