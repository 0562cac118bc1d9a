/* Printing and reading numbers as in the C locale, whatever the process has chosen: texts that this library makes are the same everywhere.
 * Owns the one locale object, which lives as long as the process. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* locale_t of stdlib.h */
#endif
#include <locale.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include "base.h"

static locale_t plain;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_plain(void) { plain = newlocale(LC_ALL_MASK, "C", (locale_t)0); }

/* The thread's locale until now; where no locale can be made it stays. */
static locale_t enter(void)
{
  pthread_once(&once, make_plain);
  return plain ? uselocale(plain) : (locale_t)0;
}

static void leave(locale_t before)
{
  if (before) uselocale(before);
}

int koi_vprint(char *to, size_t size, const char *fmt, va_list ap)
{
  locale_t before = enter();
  int n = vsnprintf(to, size, fmt, ap);
  leave(before);
  return n;
}

int koi_print(char *to, size_t size, const char *fmt, ...)
{
  va_list ap;
  va_start(ap, fmt);
  int n = koi_vprint(to, size, fmt, ap);
  va_end(ap);
  return n;
}

double koi_number(const char *s, char **end)
{
  locale_t before = enter();
  double v = strtod(s, end);
  leave(before);
  return v;
}
