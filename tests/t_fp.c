/* A process whose floating-point environment is not what results count on: it is noticed, and verify blames no driver. */
#include <fenv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/base.h"
#ifdef __SSE2__
#include <xmmintrin.h>
#endif

static int n_checks, n_failed, n_warned;
#define CHECK(what) check((what), #what, __LINE__)

static void check(bool ok, const char *what, int line)
{
  n_checks++;
  if (ok) return;
  n_failed++;
  printf("FAIL t_fp.c:%d: %s (%s)\n", line, what, koi_error_text());
}

static void note(void *user, koine_log_level level, const char *line)
{
  n_warned += level == KOINE_LOG_WARNING && strstr(line, user) != NULL;
}

/* What the library says while this thread's arithmetic is changed as it is now. */
static void expect(const char *part)
{
  koine_runtime *rt = NULL;
  char *report = NULL;
  const char *fault = koi_fp_fault();
  CHECK(fault && strstr(fault, part));
  n_warned = 0;
  koine_log_set(note, (void *)(uintptr_t)part);
  CHECK(!koine_runtime_open(NULL, &rt) && n_warned == 1);
  koine_log_set(NULL, NULL);
  CHECK(koine_verify(rt, "host", NULL, NULL, &report) == KOINE_ERR_CHECK && !report);
  CHECK(strstr(koine_last_error(), part) && !strstr(koine_last_error(), "wrong logits"));
  koine_runtime_close(rt);
}

int main(void)
{
  static const int modes[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
  setenv("KOINE_BACKENDS", "host", 1);
  CHECK(!koi_fp_fault());
  for (size_t i = 0; i < KOI_COUNT(modes); i++) {
    CHECK(!fesetround(modes[i]));
    expect("nearest");
    CHECK(!fesetround(FE_TONEAREST) && !koi_fp_fault());
  }
#ifdef __SSE2__
  static const unsigned flags[] = {0x8000, 0x0040}; /* results, operands that are denormal become zero */
  for (size_t i = 0; i < KOI_COUNT(flags); i++) {
    unsigned was = _mm_getcsr();
    _mm_setcsr(was | flags[i]);
    expect("denormal");
    _mm_setcsr(was);
    CHECK(!koi_fp_fault());
  }
#else
  printf("t_fp: flushing of denormals is not set here: no SSE2\n");
#endif
  printf("t_fp: %d checks, %d failed\n", n_checks, n_failed);
  return n_failed != 0;
}
