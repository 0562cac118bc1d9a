/* See checks.h. */
#include "checks.h"
#include <stdio.h>
#include "base/base.h"

/* Drivers keep memory to the end of the process. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
  return "leak:libOpenCL\nleak:libpocl\nleak:libLLVM\nleak:libclang\nleak:MesaOpenCL\nleak:RusticlOpenCL\nleak:liboclgrind\nleak:libclblast\nleak:libamdhip64\nleak:libhsa-runtime64\nleak:<unknown module>";
}

int n_checks, n_failed;
const char *checks_on = "", *checks_tried = "";

void check(bool ok, const char *what, const char *file, int line)
{
  n_checks++;
  if (ok) return;
  n_failed++;
  printf("FAIL %s:%d%s%s%s%s: %s (%s)\n", file, line, *checks_on ? " on " : "", checks_on, *checks_tried ? ", " : "", checks_tried, what, koi_error_text());
}

bool all_are(const uint8_t *v, size_t n, uint8_t value)
{
  for (size_t i = 0; i < n; i++)
    if (v[i] != value) return false;
  return true;
}
