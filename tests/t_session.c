/* Sessions through the public API on a small model: prefix reuse, restart, cancel, bad arguments, two sessions on two threads.
 * usage: t_session CHECKPOINT      KOINE_TEST_DEVICE: the device (default host) */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "placed.h"

enum { N = 40 };
static const char *folder;
static koine_runtime *rt;
static koine_model *model;
static koine_plan *plan;
static koine_model_info info;
static int32_t tokens[N];

static int setup(void **state)
{
  (void)state;
  const char *device = getenv("KOINE_TEST_DEVICE");
  koine_plan_options o = {.size = sizeof o, .device = device ? device : "host", .chunk = 16};
  placed_options(&o);
  for (int i = 0; i < N; i++) tokens[i] = (i * 37 + 5) % 100;
  return koine_runtime_open(NULL, &rt) || koine_model_open(folder, &model) || koine_model_get_info(model, &info) || koine_plan_make(rt, model, &o, &plan) ||
         koine_plan_wake(plan, NULL, NULL);
}

static int teardown(void **state)
{
  (void)state;
  koine_plan_free(plan);
  koine_model_close(model);
  koine_runtime_close(rt);
  return 0;
}

static koine_session *open_session(uint64_t context, uint32_t chunk)
{
  koine_session_options o = {.size = sizeof o, .cache = KOINE_CACHE_EXACT, .context = context, .chunk = chunk};
  koine_session *s = NULL;
  assert_int_equal(koine_session_open(plan, &o, &s), KOINE_OK);
  return s;
}

static float *room(size_t n)
{
  float *p = malloc(n * info.n_vocab * sizeof *p);
  memset(p, 0xff, n * info.n_vocab * sizeof *p);
  return p;
}

static uint64_t evaluated(const koine_session *s)
{
  koine_session_stats st;
  assert_int_equal(koine_session_get_stats(s, &st), KOINE_OK);
  return st.n_evaluated;
}

static void test_prefix(void **state)
{
  (void)state;
  koine_session *a = open_session(64, 0), *b = open_session(64, 0);
  float *x = room(1), *y = room(1);
  for (int n = 1; n <= N; n++) assert_int_equal(koine_session_eval(a, tokens, (size_t)n, NULL, x), KOINE_OK);
  assert_int_equal(evaluated(a), N); /* each token once */
  assert_int_equal(koine_session_n_held(a), N);
  assert_int_equal(koine_session_eval(b, tokens, N, NULL, y), KOINE_OK);
  for (uint32_t v = 0; v < info.n_vocab; v++) assert_float_equal(x[v], y[v], 1e-3);
  memset(y, 0xff, sizeof *y);
  assert_int_equal(koine_session_eval(a, tokens, N, NULL, y), KOINE_OK); /* held already, logits remembered */
  assert_int_equal(evaluated(a), N);
  assert_memory_equal(x, y, info.n_vocab * sizeof *x);
  int32_t other[N];
  memcpy(other, tokens, sizeof tokens);
  other[3]++;
  assert_int_equal(koine_session_eval(a, other, 10, NULL, x), KOINE_OK); /* differs: anew */
  assert_int_equal(evaluated(a), N + 10);
  koine_session_close(b);
  b = open_session(64, 0);
  assert_int_equal(koine_session_eval(b, other, 10, NULL, y), KOINE_OK); /* a restarted session is as good as a new one */
  assert_memory_equal(x, y, info.n_vocab * sizeof *x);
  koine_session_close(a);
  koine_session_close(b);
  free(x), free(y);
}

static void test_all_positions(void **state)
{
  (void)state;
  koine_session *s = open_session(64, 7);
  float *all = room(N), *some = room(5);
  koine_eval_options o = {.size = sizeof o, .n_logits = N};
  assert_int_equal(koine_session_eval(s, tokens, N, &o, all), KOINE_OK);
  for (size_t i = 0; i < (size_t)N * info.n_vocab; i++) assert_true(all[i] == all[i]);
  o.n_logits = 5; /* of positions that are held: the session starts anew */
  assert_int_equal(koine_session_eval(s, tokens, N, &o, some), KOINE_OK);
  assert_memory_equal(some, all + (size_t)(N - 5) * info.n_vocab, 5 * info.n_vocab * sizeof *all);
  o.n_logits = 0;
  assert_int_equal(koine_session_eval(s, tokens, 3, &o, NULL), KOINE_OK);
  assert_int_equal(koine_session_n_held(s), 3);
  koine_session_close(s);
  free(all), free(some);
}

static bool stop_at_second(void *user, const char *what, uint64_t done, uint64_t total)
{
  (void)what, (void)total;
  koine_session *s = *(koine_session **)user, *fork = NULL;
  assert_int_equal(koine_session_truncate(s, 0), KOINE_ERR_STATE); /* it is at work */
  assert_int_equal(koine_session_fork(s, &fork), KOINE_ERR_STATE);
  assert_int_equal(koine_session_eval(s, tokens, 1, NULL, NULL), KOINE_ERR_STATE);
  if (done) koine_session_cancel(s); /* takes effect at the next chunk */
  return true;
}

static void test_cancel(void **state)
{
  (void)state;
  koine_session *s = open_session(64, 4); /* over several stages chunks are under way when the first is finished, and these are finished too */
  float *x = room(1), *y = room(1);
  koine_eval_options o = {.size = sizeof o, .n_logits = 1, .progress = stop_at_second, .user = &s};
  assert_int_equal(koine_session_eval(s, tokens, N, &o, x), KOINE_ERR_CANCELLED);
  size_t held = koine_session_n_held(s);
  assert_true(held > 0 && held < N);
  assert_int_equal(koine_session_eval(s, tokens, N, NULL, x), KOINE_OK); /* goes on */
  assert_int_equal(evaluated(s), N);
  koine_session *t = open_session(64, 4);
  assert_int_equal(koine_session_eval(t, tokens, N, NULL, y), KOINE_OK);
  for (uint32_t v = 0; v < info.n_vocab; v++) assert_float_equal(x[v], y[v], 1e-3);
  koine_session_close(s);
  koine_session_close(t);
  free(x), free(y);
}

static void test_bad_arguments(void **state)
{
  (void)state;
  koine_session *s = open_session(8, 0);
  float *x = room(1);
  int32_t bad[] = {1, (int32_t)info.n_vocab};
  assert_int_equal(koine_session_eval(s, tokens, 0, NULL, x), KOINE_ERR_ARG);
  assert_int_equal(koine_session_eval(s, tokens, 9, NULL, x), KOINE_ERR_ARG);
  assert_int_equal(koine_session_eval(s, bad, 2, NULL, x), KOINE_ERR_ARG);
  assert_non_null(strstr(koine_last_error(), "vocabulary"));
  bad[1] = -1;
  assert_int_equal(koine_session_eval(s, bad, 2, NULL, x), KOINE_ERR_ARG);
  assert_int_equal(koine_session_eval(s, tokens, 2, NULL, NULL), KOINE_ERR_ARG);
  assert_int_equal(koine_session_eval(NULL, tokens, 2, NULL, x), KOINE_ERR_ARG);
  koine_session_options o = {.size = sizeof o, .chunk = 17};
  koine_session *none = NULL;
  assert_int_equal(koine_session_open(plan, &o, &none), KOINE_ERR_ARG);
  o.chunk = 0, o.size = 3;
  assert_int_equal(koine_session_open(plan, &o, &none), KOINE_ERR_ARG);
  assert_null(none);
  assert_int_equal(koine_session_eval(s, tokens, 8, NULL, x), KOINE_OK);
  koine_session_close(s);
  free(x);
}

static void *worker(void *arg)
{
  koine_session *s = arg;
  float *x = room(1);
  for (size_t n = 1; n <= N; n += 3)
    if (koine_session_eval(s, tokens, n, NULL, x)) return free(x), NULL;
  return x;
}

static void test_threads(void **state)
{
  (void)state;
  koine_session *s[2] = {open_session(64, 4), open_session(64, 4)};
  pthread_t t[2];
  float *x[2];
  for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&t[i], NULL, worker, s[i]), 0);
  for (int i = 0; i < 2; i++) assert_int_equal(pthread_join(t[i], (void **)&x[i]), 0);
  assert_non_null(x[0]);
  assert_non_null(x[1]);
  assert_memory_equal(x[0], x[1], info.n_vocab * sizeof *x[0]); /* the same work, whatever the other does */
  for (int i = 0; i < 2; i++) koine_session_close(s[i]), free(x[i]);
}

static void test_sleep(void **state)
{
  (void)state;
  koine_session *s = open_session(64, 4);
  koine_plan_usage u = KOINE_PLAN_USAGE_INIT;
  assert_int_equal(koine_plan_sleep(plan), KOINE_ERR_STATE); /* a session is open */
  assert_non_null(strstr(koine_last_error(), "1 open session"));
  assert_int_equal(koine_session_eval(s, tokens, 8, &(koine_eval_options){.size = sizeof(koine_eval_options)}, NULL), KOINE_OK);
  koine_session_close(s);
  s = NULL;
  assert_int_equal(koine_plan_get_usage(plan, &u), KOINE_OK);
  assert_true(u.weight_bytes > 0 && u.weight_bytes_per_token > 0 && u.weight_bytes_per_token <= u.weight_bytes);
  assert_true(u.cache_bytes > 0 && u.scratch_bytes > 0);
  assert_int_equal(koine_plan_sleep(plan), KOINE_OK);
  assert_int_equal(koine_session_open(plan, NULL, &s), KOINE_ERR_STATE);
  assert_int_equal(koine_plan_wake(plan, NULL, NULL), KOINE_OK);
  assert_int_equal(koine_session_open(plan, NULL, &s), KOINE_OK);
  koine_session_close(s);
}

/* Another continuation after a cut, and in a fork, gives what a fresh session gives. */
static void test_truncate(void **state)
{
  (void)state;
  koine_session *s = open_session(64, 4), *fork = NULL, *fresh = open_session(64, 4);
  int32_t other[N];
  float *x = room(1), *y = room(1);
  memcpy(other, tokens, sizeof other);
  other[30] ^= 1;
  assert_int_equal(koine_session_eval(s, tokens, N, NULL, x), KOINE_OK);
  assert_int_equal(koine_session_truncate(s, N + 1), KOINE_ERR_ARG);
  assert_int_equal(koine_session_truncate(s, N), KOINE_OK);
  assert_int_equal(koine_session_n_held(s), N);
  assert_int_equal(koine_session_fork(s, &fork), KOINE_OK);
  assert_int_equal(koine_session_truncate(s, 30), KOINE_OK);
  assert_true(koine_session_n_held(s) <= 30);
  assert_int_equal(koine_session_eval(fresh, other, N, NULL, y), KOINE_OK);
  assert_int_equal(koine_session_eval(s, other, N, NULL, x), KOINE_OK);
  assert_memory_equal(x, y, info.n_vocab * sizeof *x);
  assert_int_equal(koine_session_eval(fork, other, N, NULL, x), KOINE_OK);
  assert_memory_equal(x, y, info.n_vocab * sizeof *x);
  assert_int_equal(koine_session_truncate(NULL, 0), KOINE_ERR_ARG);
  assert_int_equal(koine_session_fork(s, NULL), KOINE_ERR_ARG);
  koine_session_close(s), koine_session_close(fork), koine_session_close(fresh);
  free(x), free(y);
}

int main(int argc, char **argv)
{
  folder = argc > 1 ? argv[1] : "tests/data/tiny-quant";
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_prefix), cmocka_unit_test(test_all_positions), cmocka_unit_test(test_cancel), cmocka_unit_test(test_bad_arguments),
    cmocka_unit_test(test_threads), cmocka_unit_test(test_truncate), cmocka_unit_test(test_sleep)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
