/* The floating-point environment that everything here counts on: IEEE 754 arithmetic, rounding to nearest, denormal numbers kept.
 * Whatever the compiler is told to take for granted is refused here, because it changes results in silence: with -ffast-math a test for NaN is
 * compiled away. What a process does at run time is looked at where results are judged. */
#ifndef KOI_FP_H
#define KOI_FP_H
#include <stdbool.h>

#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__) || defined(__ASSOCIATIVE_MATH__) || \
  defined(__NO_SIGNED_ZEROS__) || defined(__RECIPROCAL_MATH__)
#error "koine needs IEEE arithmetic: build without -ffast-math, -Ofast, -ffinite-math-only, -funsafe-math-optimizations and their parts"
#endif

/* What this thread's arithmetic does otherwise, as "denormal numbers become zero (...)"; NULL: nothing. Tests the arithmetic itself. */
const char *koi_fp_fault(void);
#endif
