/* Files that take their name at the end: whole or not at all, nothing left beside them, with /proc and without. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "base/newfile.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>

static char dir[64], path[128];
static bool no_proc;

/* The library asks whether files without a name can have one. */
int access(const char *name, int how)
{
  if (no_proc && !strcmp(name, "/proc/self/fd")) return errno = ENOENT, -1;
  return faccessat(AT_FDCWD, name, how, 0);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
  if (no_proc && !strncmp(from, "/proc/", 6)) return errno = ENOENT, -1;
  return (int)syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
}

static size_t n_files(void)
{
  size_t n = 0;
  DIR *d = opendir(dir);
  for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
  closedir(d);
  return n;
}

static void expect(const char *want)
{
  char *text;
  size_t n;
  assert_int_equal(koi_file_read(path, 1 << 20, &text, &n), KOINE_OK);
  assert_int_equal(n, strlen(want));
  assert_memory_equal(text, want, n);
  koi_free(text);
}

static void all(void)
{
  struct stat st;
  koi_newfile *f, *g;
  mode_t before = umask(027);
  assert_int_equal(koi_newfile_put(path, "one", 3), KOINE_OK);
  umask(before);
  expect("one");
  assert_int_equal(stat(path, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0640);
  assert_int_equal(koi_newfile_put(path, "other", 5), KOINE_OK); /* in its place */
  expect("other");
  assert_int_equal(koi_newfile_open(path, 0600, &f), KOINE_OK); /* two at once, of which one ends well */
  assert_int_equal(koi_newfile_open(path, 0600, &g), KOINE_OK);
  assert_int_equal(koi_newfile_room(f, 9), KOINE_OK);
  assert_int_equal(koi_newfile_write(f, 3, "six", 3), KOINE_OK);
  assert_int_equal(koi_newfile_write(f, 0, "new", 3), KOINE_OK);
  assert_int_equal(koi_newfile_write(f, 6, "end", 3), KOINE_OK);
  assert_int_equal(koi_newfile_write(g, 0, "nothing", 7), KOINE_OK);
  expect("other");
  assert_int_equal(koi_newfile_finish(f), KOINE_OK);
  koi_newfile_drop(g);
  expect("newsixend");
  assert_int_equal(n_files(), 1);
  assert_int_equal(unlink(path), 0);
}

static void test_with_proc(void **state)
{
  (void)state;
  no_proc = false;
  all();
}

static void test_without_proc(void **state)
{
  (void)state;
  no_proc = true;
  all();
}

/* What a process of the same number left when it was killed is in nobody's way. */
static void test_left(void **state)
{
  (void)state;
  char left[256];
  for (int proc = 0; proc < 2; proc++) {
    no_proc = !proc;
    assert_int_equal(koi_newfile_put(path, "one", 3), KOINE_OK);
    for (int i = 0; i < 64; i++) {
      snprintf(left, sizeof left, "%s.%ld.%d.new", path, (long)getpid(), i);
      FILE *f = fopen(left, "w");
      assert_non_null(f);
      fclose(f);
    }
    assert_int_equal(koi_newfile_put(path, "two", 3), KOINE_OK);
    expect("two");
    for (int i = 0; i < 64; i++) snprintf(left, sizeof left, "%s.%ld.%d.new", path, (long)getpid(), i), unlink(left);
    assert_int_equal(n_files(), 1);
    assert_int_equal(unlink(path), 0);
  }
}

static void test_refused(void **state)
{
  (void)state;
  char nowhere[256];
  snprintf(nowhere, sizeof nowhere, "%s/none/file", dir);
  for (int proc = 0; proc < 2; proc++) {
    no_proc = !proc;
    assert_int_equal(koi_newfile_put(dir, "x", 1), KOINE_ERR_FILE);
    assert_non_null(strstr(koi_error_text(), "found a folder or device"));
    assert_int_equal(koi_newfile_put(nowhere, "x", 1), KOINE_ERR_FILE);
    assert_non_null(strstr(koi_error_text(), "none/file: cannot be made: No such file"));
  }
  assert_int_equal(n_files(), 0);
}

static void test_memory(void **state)
{
  (void)state;
  for (int proc = 0; proc < 2; proc++) {
    no_proc = !proc;
    for (long at = 1;; at++) {
      koi_alloc_fail_at(at);
      koine_status s = koi_newfile_put(path, "x", 1);
      koi_alloc_fail_at(0);
      assert_int_equal(n_files(), !s);
      if (!s) break;
      assert_int_equal(s, KOINE_ERR_MEMORY);
    }
    assert_int_equal(unlink(path), 0);
  }
}

static int setup(void **state)
{
  (void)state;
  strcpy(dir, "/tmp/t_newfile.XXXXXX");
  snprintf(path, sizeof path, "%s/file", mkdtemp(dir) ? dir : "");
  return 0;
}

static int teardown(void **state)
{
  (void)state;
  return rmdir(dir);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_with_proc), cmocka_unit_test(test_without_proc), cmocka_unit_test(test_left), cmocka_unit_test(test_refused), cmocka_unit_test(test_memory),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
