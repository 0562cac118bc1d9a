/* See saved.h. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/base.h"
#include "saved.h"

uint8_t *saved_read(const char *path, size_t *n)
{
  char *s = NULL;
  assert_int_equal(koi_file_read(path, 1u << 30, &s, n), KOINE_OK);
  return (uint8_t *)s;
}

void saved_write(const char *path, const void *data, size_t n)
{
  FILE *f = fopen(path, "wb");
  assert_true(f && fwrite(data, 1, n, f) == n && !fclose(f));
}

/* As in the engine's saved.c. */
static uint64_t words(uint64_t h, const uint8_t *p, size_t n)
{
  for (uint64_t w; n >= 8; p += 8, n -= 8) memcpy(&w, p, 8), h = (h ^ w) * 0x9e3779b97f4a7c15u, h ^= h >> 29;
  return h;
}

void saved_repair(uint8_t *f, size_t n)
{
  uint64_t h, n_tokens, zero = 0;
  uint32_t n_marks;
  memcpy(&n_tokens, f + 72, 8), memcpy(&n_marks, f + 68, 4);
  size_t text = (size_t)n_tokens * 4 + n_marks * 8ul;
  if (SAVED_HEAD + text > n) return;
  h = words(1, f + SAVED_HEAD + text, n - SAVED_HEAD - text), memcpy(f + SAVED_SUM_AT - 8, &h, 8);
  memcpy(f + SAVED_SUM_AT, &zero, 8);
  h = words(words(1, f, SAVED_HEAD), f + SAVED_HEAD, text), memcpy(f + SAVED_SUM_AT, &h, 8);
}

bool saved_killed_at(int (*save)(void), int n)
{
  pid_t pid = fork();
  if (!pid) {
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    raise(SIGSTOP);
    _exit(save());
  }
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_true(WIFSTOPPED(status));
  for (int i = 0; i < n; i++) {
    assert_int_equal(ptrace(PTRACE_SYSCALL, pid, NULL, NULL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status)) {
      assert_int_equal(WEXITSTATUS(status), 0);
      return false;
    }
  }
  kill(pid, SIGKILL);
  assert_int_equal(waitpid(pid, &status, 0), pid);
  return true;
}
