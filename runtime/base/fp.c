/* See fp.h. Owns nothing. Invariant: the sums below are done at run time, never by the compiler. */
#include "fp.h"
#include <float.h>
#include <stddef.h>

const char *koi_fp_fault(void)
{
  volatile float least = FLT_MIN, half = 0.5f, one = 1, tiny = FLT_EPSILON / 4, denormal = FLT_TRUE_MIN * 4;
  volatile float made = least * half, read = denormal * (1 / FLT_MIN), up = one + tiny, down = -one - tiny, in = one - tiny / 2;
  if (made == 0 || read == 0) return "denormal numbers become zero (code built with -ffast-math or -Ofast sets this for a whole process)";
  if (up != 1 || down != -1 || in != 1) return "results are not rounded to the nearest (fesetround)";
  return NULL;
}
