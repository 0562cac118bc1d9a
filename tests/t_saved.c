/* Sessions in files: what comes back of them, files that are damaged, another's or cut short, full disks, and a process that ends at any call.
 * usage: t_saved CHECKPOINT [FOLDER]   KOINE_TEST_DEVICE: the device (default host); KOINE_TEST_LAYERS: layers over several */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/base.h"
#include "near.h"
#include "placed.h"
#include "saved.h"

enum { CHUNK = 64, N = 700 };
static const char *folder;
static char dir[64], path[128];
static koine_runtime *rt;
static koine_model *model;
static koine_plan *plan;
static size_t n_vocab;
static int32_t tokens[N];
static koine_session *whole[2]; /* of all tokens, packed and exact */
static float *logits[2];        /* [N][n_vocab] */

static koine_plan *make_plan(koine_model *m, bool placed)
{
  const char *device = getenv("KOINE_TEST_DEVICE");
  koine_plan_options o = {.size = sizeof o, .device = device ? device : "host", .chunk = CHUNK};
  koine_plan *p = NULL;
  if (placed) placed_options(&o);
  assert_int_equal(koine_plan_make(rt, m, &o, &p), KOINE_OK);
  assert_int_equal(koine_plan_wake(p, NULL, NULL), KOINE_OK);
  return p;
}

static int setup(void **state)
{
  (void)state;
  koine_model_info info = KOINE_MODEL_INFO_INIT;
  strcpy(dir, "/tmp/t_saved.XXXXXX");
  if (!mkdtemp(dir) || koine_runtime_open(NULL, &rt) || koine_model_open(folder, &model) || koine_model_get_info(model, &info)) return 1;
  snprintf(path, sizeof path, "%s/a.koine", dir);
  plan = make_plan(model, true), n_vocab = info.n_vocab;
  for (int i = 0; i < N; i++) tokens[i] = (int32_t)((unsigned)(i * 7919 + i / 3) % (n_vocab - 2)) + 2;
  for (int mode = 0; mode < 2; mode++) {
    koine_session_options o = {.size = sizeof o, .cache = (koine_cache)mode, .context = 1024};
    koine_eval_options e = {.size = sizeof e, .n_logits = N};
    logits[mode] = malloc(N * n_vocab * sizeof(float));
    if (koine_session_open(plan, &o, &whole[mode]) || koine_session_eval(whole[mode], tokens, N, &e, logits[mode])) return 1;
  }
  return 0;
}

static int teardown(void **state)
{
  (void)state;
  for (int mode = 0; mode < 2; mode++) koine_session_close(whole[mode]), free(logits[mode]);
  koine_plan_free(plan);
  koine_model_close(model);
  koine_runtime_close(rt);
  unlink(path);
  return rmdir(dir); /* nothing else is there */
}

static koine_status load(int mode, size_t n_tokens, uint64_t context, koine_session **out)
{
  koine_session_options o = {.size = sizeof o, .cache = (koine_cache)mode, .context = context};
  return koine_session_load(plan, &o, path, n_tokens, out);
}

static koine_session *loaded(int mode, size_t n_tokens)
{
  koine_session *s = NULL;
  if (load(mode, n_tokens, 1024, &s)) fail_msg("%s", koine_last_error());
  return s;
}

static uint64_t evaluated(const koine_session *s)
{
  koine_session_stats st = KOINE_SESSION_STATS_INIT;
  assert_int_equal(koine_session_get_stats(s, &st), KOINE_OK);
  return st.n_evaluated;
}

/* All n tokens, of which the first `from` are held: logits are those of a session that was never saved. */
static void go_on(koine_session *s, int mode, size_t from, size_t n)
{
  size_t rows = n - from;
  float *x = malloc(rows * n_vocab * sizeof *x);
  double range = near_range(logits[mode], N * n_vocab);
  uint64_t before = evaluated(s);
  koine_eval_options e = {.size = sizeof e, .n_logits = rows};
  if (koine_session_eval(s, tokens, n, &e, x)) fail_msg("%s", koine_last_error());
  assert_int_equal(evaluated(s) - before, rows);
  for (size_t i = 0; i < rows; i++) near_add(mode, x + i * n_vocab, logits[mode] + (from + i) * n_vocab, n_vocab, range);
  free(x);
}

/* ---- back and forth ---- */
static void test_round(void **state)
{
  (void)state;
  for (int mode = 0; mode < 2; mode++) {
    int32_t *held = NULL, *marks = NULL;
    size_t n = 0, n_marks = 0;
    assert_int_equal(koine_session_save(whole[mode], path), KOINE_OK);
    assert_int_equal(koine_session_look(plan, path, &held, &n, &marks, &n_marks), KOINE_OK);
    assert_int_equal(n, 640);
    assert_memory_equal(held, tokens, n * sizeof *tokens);
    assert_int_equal(marks[n_marks - 1], 640);
    assert_true(n_marks >= 3 && marks[n_marks - 2] == 512);
    koine_session *s = loaded(mode, N), *t;
    assert_int_equal(koine_session_n_held(s), 640);
    go_on(s, mode, 640, N);
    for (size_t i = n_marks; i-- > 0;) { /* back to every mark, and on */
      assert_int_equal(koine_session_truncate(s, (size_t)marks[i]), KOINE_OK);
      go_on(s, mode, (size_t)marks[i], (size_t)marks[i] + 30);
    }
    koine_session_close(s);
    s = loaded(mode, 640 - 1), t = loaded(mode, 640); /* a part of it; and one whose fork goes on */
    assert_int_equal(koine_session_n_held(s), 512);
    go_on(s, mode, 512, N);
    koine_session_close(s);
    assert_int_equal(koine_session_fork(t, &s), KOINE_OK);
    koine_session_close(t);
    go_on(s, mode, 640, N);
    koine_session_close(s);
    koine_ids_free(held), koine_ids_free(marks);
  }
  near_assert("loaded");
}

/* Saved, loaded and gone back to the same place: not a bit differs. */
static void test_same_bits(void **state)
{
  (void)state;
  float *x = malloc(n_vocab * sizeof *x), *y = malloc(n_vocab * sizeof *y);
  for (int mode = 0; mode < 2; mode++) {
    koine_session *a = NULL, *b;
    assert_int_equal(koine_session_fork(whole[mode], &a), KOINE_OK);
    assert_int_equal(koine_session_save(a, path), KOINE_OK);
    b = loaded(mode, N);
    assert_int_equal(koine_session_truncate(a, 640), KOINE_OK);
    assert_int_equal(koine_session_eval(a, tokens, N, NULL, x), KOINE_OK);
    assert_int_equal(koine_session_eval(b, tokens, N, NULL, y), KOINE_OK);
    assert_memory_equal(x, y, n_vocab * sizeof *x);
    assert_int_equal(koine_session_save(b, path), KOINE_OK); /* what was loaded can be saved again */
    koine_session_close(b);
    b = loaded(mode, N);
    assert_int_equal(koine_session_eval(b, tokens, N, NULL, y), KOINE_OK);
    assert_memory_equal(x, y, n_vocab * sizeof *x);
    koine_session_close(a), koine_session_close(b);
  }
  free(x), free(y);
}

static void test_refused(void **state)
{
  (void)state;
  koine_session *s = NULL, *b = NULL;
  int32_t *a, *c;
  size_t n, m;
  koine_session_options o = {.size = sizeof o, .context = 1024};
  assert_int_equal(koine_session_open(plan, &o, &s), KOINE_OK);
  assert_int_equal(koine_session_eval(s, tokens, 127, &(koine_eval_options){.size = sizeof(koine_eval_options)}, NULL), KOINE_OK);
  assert_int_equal(koine_session_save(s, path), KOINE_ERR_STATE);
  koine_session_close(s);
  assert_int_equal(koine_session_save(whole[0], "/nowhere/at/all"), KOINE_ERR_FILE);
  assert_int_equal(koine_session_save(whole[0], dir), KOINE_ERR_FILE);
  assert_int_equal(koine_session_save(whole[0], path), KOINE_OK);
  assert_int_equal(load(0, 127, 1024, &b), KOINE_ERR_ARG);
  assert_int_equal(load(0, N, 300, &b), KOINE_OK); /* as far as the context has room */
  assert_true(koine_session_n_held(b) && koine_session_n_held(b) <= 300);
  koine_session_close(b);
  assert_int_equal(load(1, N, 1024, &b), KOINE_ERR_FILE); /* the other cache mode's */
  assert_non_null(strstr(koine_last_error(), "packed"));
  assert_int_equal(koine_session_look(plan, "/nowhere", &a, &n, &c, &m), KOINE_ERR_FILE);
  assert_int_equal(koine_session_look(plan, dir, &a, &n, &c, &m), KOINE_ERR_FILE);
}

/* Another model's, another placement's. */
static void test_foreign(void **state)
{
  (void)state;
  char other[512];
  koine_model *m = NULL;
  int32_t *a, *c;
  size_t n, k;
  const char *tail = strstr(folder, "tiny-quant");
  if (!tail) skip();
  snprintf(other, sizeof other, "%.*stiny-float", (int)(tail - folder), folder);
  assert_int_equal(koine_session_save(whole[0], path), KOINE_OK);
  assert_int_equal(koine_model_open(other, &m), KOINE_OK);
  koine_plan *p = make_plan(m, false);
  assert_int_equal(koine_session_look(p, path, &a, &n, &c, &k), KOINE_ERR_FILE);
  assert_non_null(strstr(koine_last_error(), "of this model"));
  koine_plan_free(p);
  koine_model_close(m);
  if (!getenv("KOINE_TEST_LAYERS")) return;
  p = make_plan(model, false);
  assert_int_equal(koine_session_look(p, path, &a, &n, &c, &k), KOINE_ERR_FILE);
  assert_non_null(strstr(koine_last_error(), "same layers"));
  koine_plan_free(p);
}

/* ---- damage ---- */
static void expect_refused(const char *what, size_t at)
{
  koine_session *s = NULL;
  koine_status st = load(0, N, 1024, &s);
  if (st != KOINE_ERR_FILE) fail_msg("%s at %zu: expected a refusal, found status %d", what, at, (int)st);
}

/* Pages of any bytes, with the right sums: numbers, good or bad, and nothing else. */
static void test_any_pages(void **state)
{
  (void)state;
  size_t n;
  float *x = malloc(n_vocab * sizeof *x);
  assert_int_equal(koine_session_save(whole[0], path), KOINE_OK);
  uint8_t *file = saved_read(path, &n);
  for (int fill = 0; fill < 4; fill++) {
    for (size_t i = SAVED_HEAD + 640 * 4 + 64; i < n; i++) file[i] = fill < 2 ? (uint8_t)(255 * fill) : (uint8_t)(i * 2654435761u >> (8 * fill));
    saved_repair(file, n);
    saved_write(path, file, n);
    koine_session *s = loaded(0, N);
    koine_status st = koine_session_eval(s, tokens, N, NULL, x);
    assert_true(st == KOINE_OK || st == KOINE_ERR_NUMERIC);
    koine_session_close(s);
  }
  free(file), free(x);
}

static void test_damaged(void **state)
{
  (void)state;
  size_t n;
  assert_int_equal(koine_session_save(whole[0], path), KOINE_OK);
  uint8_t *good = saved_read(path, &n), *bad = malloc(n + 1);
  memcpy(bad, good, n);
  saved_repair(bad, n);
  assert_memory_equal(bad, good, n); /* or the repairs below say nothing */
  for (size_t at = 0; at < n; at += at < 400 ? 1 : n / 40) saved_write(path, good, at), expect_refused("cut", at);
  memcpy(bad, good, n), bad[n] = 0;
  saved_write(path, bad, n + 1), expect_refused("longer", n + 1);
  for (size_t at = 0; at < n; at += at < 400 ? 1 : n / 60) {
    memcpy(bad, good, n), bad[at] ^= (uint8_t)(1u << at % 8);
    saved_write(path, bad, n), expect_refused("a bit", at);
  }
  static const struct { size_t at, bytes; uint64_t value; } lies[] = {
    {72, 8, 0}, {72, 8, 1u << 30}, {72, 8, UINT64_MAX}, {72, 8, 512}, {68, 4, 0}, {68, 4, UINT32_MAX}, {68, 4, 2}, {64, 4, 1}, {64, 4, 7}, {80, 8, 0}, {80, 8, UINT64_MAX},
    {12, 4, 2}, {8, 4, 0x04030201}, {SAVED_HEAD, 4, 0xffffffff}, {SAVED_HEAD, 4, 1u << 30}, {SAVED_HEAD + 640 * 4, 8, 127}, {SAVED_HEAD + 640 * 4, 8, 0}, {SAVED_HEAD + 640 * 4 + 8, 8, 1u << 20},
  };
  for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) { /* with the right sum */
    memcpy(bad, good, n), memcpy(bad + lies[i].at, &lies[i].value, lies[i].bytes);
    saved_repair(bad, n);
    saved_write(path, bad, n), expect_refused("a lie", i);
  }
  saved_write(path, good, n);
  koine_session *s = loaded(0, N);
  koine_session_close(s);
  free(good), free(bad);
}

/* ---- what ends a save ---- */
static size_t n_files(void)
{
  DIR *d = opendir(dir);
  size_t n = 0;
  for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
  closedir(d);
  return n;
}

/* A limit on the size of files stands for a disk that is full from there on. The old file stays, and nothing is left. */
static void test_full(void **state)
{
  (void)state;
  size_t n, m;
  struct rlimit old;
  assert_int_equal(koine_session_save(whole[0], path), KOINE_OK);
  uint8_t *good = saved_read(path, &n), *now;
  signal(SIGXFSZ, SIG_IGN);
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
  for (size_t at = 0; at < n; at += at < 1024 ? 61 : n / 50) {
    struct rlimit less = {at, old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &less), 0);
    koine_status st = koine_session_save(whole[1], path);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(st, KOINE_ERR_FILE);
    assert_int_equal(n_files(), 1);
  }
  now = saved_read(path, &m);
  assert_int_equal(m, n);
  assert_memory_equal(now, good, n);
  free(now), free(good);
}

/* Calls that a save makes: they go before the C library's here, and the one that `failing` names says EIO, from its n-th on. */
static const char *failing = "";
static int n_calls, from_call;
static bool fails(const char *name) { return !strcmp(failing, name) && ++n_calls >= from_call && (errno = EIO); }
int fsync(int fd) { return fails("fsync") ? -1 : (int)syscall(SYS_fsync, fd); }
int linkat(int a, const char *from, int b, const char *to, int flags) { return fails("linkat") ? -1 : (int)syscall(SYS_linkat, a, from, b, to, flags); }
int rename(const char *from, const char *to) { return fails("rename") ? -1 : (int)syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to); }
ssize_t pwrite(int fd, const void *data, size_t n, off_t at) { return fails("pwrite") ? -1 : syscall(SYS_pwrite64, fd, data, n, at); }

/* A disk that fails: an error, nothing left, and the old file, or, where it is only not known to last, the new one. */
static void test_disk(void **state)
{
  (void)state;
  static const struct { const char *call; int from; bool is_new; } cases[] = {
    {"fsync", 1, false}, {"fsync", 2, true}, {"linkat", 1, false}, {"linkat", 2, false}, {"rename", 1, false}, {"pwrite", 1, false}, {"pwrite", 3, false}, {"pwrite", 9, false}};
  size_t n[2], m;
  assert_int_equal(koine_session_save(whole[1], path), KOINE_OK);
  uint8_t *new = saved_read(path, &n[1]), *now;
  assert_int_equal(koine_session_save(whole[0], path), KOINE_OK);
  uint8_t *old = saved_read(path, &n[0]);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    failing = cases[i].call, from_call = cases[i].from, n_calls = 0;
    koine_status st = koine_session_save(whole[1], path);
    failing = "";
    if (st != KOINE_ERR_FILE || n_calls < from_call || !strstr(koine_last_error(), "Input/output")) fail_msg("%s %d: status %d, %d calls", cases[i].call, cases[i].from, (int)st, n_calls);
    assert_int_equal(n_files(), 1);
    now = saved_read(path, &m);
    assert_int_equal(m, n[cases[i].is_new]);
    assert_memory_equal(now, cases[i].is_new ? new : old, m);
    free(now);
    assert_int_equal(koine_session_save(whole[0], path), KOINE_OK);
  }
  free(old), free(new);
}

/* Every allocation is refused once. */
static void test_memory(void **state)
{
  (void)state;
  koine_session *s = NULL;
  koine_status st = KOINE_ERR_MEMORY;
  unlink(path);
  for (long at = 1; st; at++) {
    koi_alloc_fail_at(at);
    st = koine_session_save(whole[0], path);
    koi_alloc_fail_at(0);
    if (st) assert_int_equal(st, KOINE_ERR_MEMORY), assert_int_equal(n_files(), 0);
  }
  st = KOINE_ERR_MEMORY;
  for (long at = 1; st; at++) {
    koi_alloc_fail_at(at);
    st = load(0, N, 1024, &s);
    koi_alloc_fail_at(0);
    if (st) assert_int_equal(st, KOINE_ERR_MEMORY);
  }
  go_on(s, 0, koine_session_n_held(s), N);
  koine_session_close(s);
  near_assert("after memory was refused");
}

static int save_whole(void) { return koine_session_save(whole[0], path) ? 1 : 0; }

/* The file is the old one or the new one, and can be read; what else is there has a name that says that it is not finished. */
static void test_killed(void **state)
{
  (void)state;
  const char *device = getenv("KOINE_TEST_DEVICE");
  size_t n[2], m;
  uint8_t *file[2], *now;
  if ((device && strcmp(device, "host")) || getenv("KOINE_TEST_LAYERS")) skip(); /* a fork has no threads of a driver's */
  koine_session *shorter = NULL;
  assert_int_equal(koine_session_fork(whole[0], &shorter), KOINE_OK);
  assert_int_equal(koine_session_truncate(shorter, 400), KOINE_OK);
  assert_int_equal(koine_session_save(whole[0], path), KOINE_OK);
  file[1] = saved_read(path, &n[1]);
  assert_int_equal(koine_session_save(shorter, path), KOINE_OK);
  file[0] = saved_read(path, &n[0]);
  int at = 1, n_new = 0;
  for (; saved_killed_at(save_whole, at); at++) {
    now = saved_read(path, &m);
    int which = m == n[1];
    assert_int_equal(m, n[which]);
    assert_memory_equal(now, file[which], m);
    n_new += which;
    free(now);
    if (which) assert_int_equal(koine_session_save(shorter, path), KOINE_OK);
    DIR *d = opendir(dir);
    for (struct dirent *e; (e = readdir(d));) {
      char left[512];
      snprintf(left, sizeof left, "%s/%s", dir, e->d_name);
      if (e->d_name[0] != '.' && strcmp(left, path)) assert_string_equal(left + strlen(left) - 4, ".new"), unlink(left);
    }
    closedir(d);
  }
  print_message("killed at each of %d system calls, the last %d with the new file\n", at - 1, n_new);
  assert_true(at > 20 && n_new > 0);
  koine_session_close(shorter);
  free(file[0]), free(file[1]);
}

int main(int argc, char **argv)
{
  folder = argc > 1 ? argv[1] : "tests/data/tiny-quant";
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_round),   cmocka_unit_test(test_same_bits), cmocka_unit_test(test_refused), cmocka_unit_test(test_foreign),
                                     cmocka_unit_test(test_damaged), cmocka_unit_test(test_any_pages), cmocka_unit_test(test_full), cmocka_unit_test(test_disk),     cmocka_unit_test(test_memory),  cmocka_unit_test(test_killed)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
