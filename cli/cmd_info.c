/* koine info: a checkpoint described. */
#include <stdio.h>
#include "cli.h"

int cmd_info(const cli_args *a)
{
  const cli_value *contexts = &a->v[OPT_CONTEXTS];
  if (!a->n_operands == !a->v[OPT_MODEL].given) return cli_usage_error(CMD_INFO, "expected one MODEL, as an operand or with -m, found %s", a->n_operands ? "both" : "none");
  koine_model *model;
  koine_status s = koine_model_open(a->n_operands ? a->operands[0] : a->v[OPT_MODEL].text, &model);
  if (s) return cli_fail(s);
  char *text = NULL;
  s = koine_model_describe(model, (const uint64_t *)contexts->list, contexts->n, a->v[OPT_JSON].i, &text);
  if (!s) fputs(text, stdout);
  koine_text_free(text);
  koine_model_close(model);
  return s ? cli_fail(s) : EXIT_DONE;
}
