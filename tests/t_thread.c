/* Threads that the library starts take no signal of the program, whose own mask stays as it was: started alone, and for quantizing. That nobody starts
 * one in another way is a figure of house.sh. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* RTLD_NEXT */
#endif
#include "base/thread.h"
#include <dlfcn.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "koine.h"

static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGALRM, SIGCHLD, SIGUSR1, SIGUSR2, SIGWINCH, SIGPIPE};
enum { N_SIGNALS = sizeof signals / sizeof *signals };
static size_t n_started, n_open;

/* How many of these signals this thread may get. */
static size_t n_taken(void)
{
  sigset_t mask;
  size_t n = 0;
  pthread_sigmask(SIG_SETMASK, NULL, &mask);
  for (size_t i = 0; i < N_SIGNALS; i++) n += !sigismember(&mask, signals[i]);
  return n;
}

/* A thread has the mask of who makes it. */
int pthread_create(pthread_t *out, const pthread_attr_t *attributes, void *(*work)(void *), void *user)
{
  int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
  *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
  n_started++, n_open += n_taken() != 0;
  return real(out, attributes, work, user);
}

static void *work(void *user)
{
  *(size_t *)user = n_taken();
  return NULL;
}

static void test_start(void **state)
{
  (void)state;
  pthread_t thread;
  size_t taken = 1;
  sigset_t some, before;
  sigemptyset(&some);
  sigaddset(&some, SIGUSR1);
  pthread_sigmask(SIG_SETMASK, &some, &before);
  assert_true(koi_thread_start(&thread, work, &taken));
  assert_int_equal(pthread_join(thread, NULL), 0);
  assert_int_equal(taken, 0);
  assert_int_equal(n_taken(), N_SIGNALS - 1);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void test_quantize(void **state)
{
  (void)state;
  char to[] = "/tmp/t_thread.XXXXXX", file[64], model[4200];
  const char *source = getenv("srcdir");
  koine_model *m;
  koine_quantize_options o = {.size = sizeof o, .type = "Q8_0", .n_threads = 3};
  snprintf(model, sizeof model, "%s/models/austen", source ? source : ".");
  snprintf(file, sizeof file, "%s/q.gguf", mkdtemp(to) ? to : "");
  if (koine_model_open(model, &m)) fail_msg("%s", koine_last_error());
  n_started = n_open = 0;
  if (koine_quantize(m, file, &o)) fail_msg("%s", koine_last_error());
  assert_int_equal(n_started, 2);
  assert_int_equal(n_open, 0);
  koine_model_close(m);
  assert_true(!unlink(file) && !rmdir(to));
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_start), cmocka_unit_test(test_quantize)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
