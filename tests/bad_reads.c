/* For LD_PRELOAD: reads of files whose path has KOINE_TEST_READ_FILE in it, from byte KOINE_TEST_READ_FROM on (0 unless said), go wrong as
 * KOINE_TEST_READ says: `eio` fails, `end` finds the file's end, `cut` cuts the file off there, `touch` writes to it, `slow` waits and gives a byte less than
 * was asked for, `log` writes how many bytes were read to standard error. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#pragma GCC visibility push(default)
static ssize_t plain(int fd, void *to, size_t n, off_t at) { return syscall(SYS_pread64, fd, to, n, at); }
static ssize_t eio(int fd, void *to, size_t n, off_t at, const char *path) { return (void)fd, (void)to, (void)n, (void)at, (void)path, errno = EIO, -1; }
static ssize_t end(int fd, void *to, size_t n, off_t at, const char *path) { return (void)fd, (void)to, (void)n, (void)at, (void)path, 0; }

static ssize_t cut(int fd, void *to, size_t n, off_t at, const char *path)
{
  struct stat st;
  if (!fstat(fd, &st) && st.st_size > at && truncate(path, at)) return -1;
  return plain(fd, to, n, at);
}

static ssize_t touch(int fd, void *to, size_t n, off_t at, const char *path)
{
  const struct timespec when[2] = {{1, 0}, {1, 0}};
  return utimensat(AT_FDCWD, path, when, 0) ? -1 : plain(fd, to, n, at);
}

static ssize_t slow(int fd, void *to, size_t n, off_t at, const char *path)
{
  (void)path;
  usleep(1000);
  return plain(fd, to, n > 1 ? n - 1 : n, at);
}

static ssize_t tell(int fd, void *to, size_t n, off_t at, const char *path)
{
  (void)path;
  ssize_t got = plain(fd, to, n, at);
  dprintf(2, "READ %zd\n", got);
  return got;
}

static const struct { const char *name; ssize_t (*read)(int, void *, size_t, off_t, const char *); } ways[] = {
  {"eio", eio}, {"end", end}, {"cut", cut}, {"touch", touch}, {"slow", slow}, {"log", tell}};

ssize_t pread(int fd, void *to, size_t n, off_t at)
{
  const char *file = getenv("KOINE_TEST_READ_FILE"), *way = getenv("KOINE_TEST_READ"), *from = getenv("KOINE_TEST_READ_FROM");
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t len = readlink(link, path, sizeof path - 1);
  path[len > 0 ? len : 0] = 0;
  if (!file || !way || !strstr(path, file) || at < (from ? atoll(from) : 0)) return plain(fd, to, n, at);
  for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
    if (!strcmp(way, ways[i].name)) return ways[i].read(fd, to, n, at, path);
  return plain(fd, to, n, at);
}

ssize_t pread64(int fd, void *to, size_t n, off64_t at) { return pread(fd, to, n, at); }
