/* koine tune where nothing is measured: the log of measurements listed, explained, exported, imported, and the report on it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cli.h"
#include "out.h"

static const cli_option_id quiet[] = {OPT_LIST, OPT_WHY, OPT_EXPORT, OPT_IMPORT};

static size_t n_quiet(const cli_args *a)
{
  size_t n = 0;
  for (size_t i = 0; i < sizeof quiet / sizeof *quiet; i++) n += a->v[quiet[i]].given;
  return n;
}

bool cmd_tuned_wanted(const cli_args *a) { return n_quiet(a) || (a->v[OPT_REPORT].given && !a->v[OPT_MODEL].given && !a->v[OPT_SHAPE].given); }

static int show(koine_status s, char *text)
{
  if (s) return cli_fail(s);
  fputs(text, stdout);
  koine_text_free(text);
  return EXIT_DONE;
}

static int export(koine_runtime *rt, const cli_args *a)
{
  char *text;
  size_t n;
  koine_status s = koine_tuned_export(rt, a->v[OPT_DEVICE].text, &text, &n);
  if (s) return cli_fail(s);
  int status = cli_write_file(a->v[OPT_EXPORT].text, text, n);
  koine_text_free(text);
  return status;
}

static int import(koine_runtime *rt, const cli_args *a)
{
  char *text, *report = NULL;
  size_t n;
  const char *path = a->v[OPT_IMPORT].text;
  int status = cli_read_file(path, &text, &n);
  if (status) return status;
  koine_status s = koine_tuned_import(rt, path, text, n, &report);
  free(text);
  return show(s, report);
}

static int report(koine_runtime *rt, const cli_args *a)
{
  char *html;
  koine_status s = koine_tuned_report(rt, a->v[OPT_DEVICE].text, &html);
  if (s) return cli_fail(s);
  int status = cli_write_file(a->v[OPT_REPORT].text, html, strlen(html));
  koine_text_free(html);
  return status;
}

int cmd_tuned_report(const cli_args *a)
{
  koine_runtime *rt;
  if (!a->v[OPT_REPORT].given) return EXIT_DONE;
  koine_status s = cli_runtime_open(a, &rt);
  if (s) return cli_fail(s);
  int status = report(rt, a);
  koine_runtime_close(rt);
  return status;
}

int cmd_tuned(const cli_args *a)
{
  const cli_value *v = a->v;
  koine_runtime *rt;
  char *text = NULL;
  if (n_quiet(a) + v[OPT_REPORT].given > 1) return cli_usage_error(CMD_TUNE, "expected one of --list, --why, --export, --import and --report, found several");
  if (v[OPT_MODEL].given || v[OPT_SHAPE].given) return cli_usage_error(CMD_TUNE, "--list, --why, --export and --import measure nothing: expected no model, found one");
  if (v[OPT_REPORT].given) return cmd_tuned_report(a);
  koine_status s = cli_runtime_open(a, &rt);
  if (s) return cli_fail(s);
  int status;
  if (v[OPT_EXPORT].given) status = export(rt, a);
  else if (v[OPT_IMPORT].given) status = import(rt, a);
  else {
    s = v[OPT_WHY].given ? koine_tuned_why(rt, v[OPT_DEVICE].text, v[OPT_WHY].text, v[OPT_JSON].i, &text) : koine_tuned_list(rt, v[OPT_DEVICE].text, v[OPT_JSON].i, &text);
    status = show(s, text);
  }
  koine_runtime_close(rt);
  return status;
}
