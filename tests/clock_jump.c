/* For LD_PRELOAD: a wall clock that is off by as many seconds as the file says that KOINE_TEST_CLOCK names. The monotonic clock stays as it is. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#pragma GCC visibility push(default)
static long long off(void)
{
  const char *path = getenv("KOINE_TEST_CLOCK");
  long long seconds = 0;
  FILE *f = path ? fopen(path, "r") : NULL;
  if (!f) return 0;
  if (fscanf(f, "%lld", &seconds) != 1) seconds = 0;
  fclose(f);
  return seconds;
}

int clock_gettime(clockid_t id, struct timespec *t)
{
  int r = (int)syscall(SYS_clock_gettime, id, t);
  if (!r && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) t->tv_sec += off();
  return r;
}

time_t time(time_t *out)
{
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  if (out) *out = t.tv_sec;
  return t.tv_sec;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone)
{
  struct timespec t;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &t);
  out->tv_sec = t.tv_sec, out->tv_usec = t.tv_nsec / 1000;
  return 0;
}
