/* koine serve and its surroundings: signals in every phase, a log that cannot be written, clocks that jump, clients that do not read, too many
 * connections. KOINE: the command; KOINE_TEST_DEVICE: a device. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "serve_asks.h"

static void start(const char *grace)
{
  const char *options[] = {"-c", "8192", "-np", "2", "--queue", "8", "--think", "off", "--grace", grace, "--max-connections", "40", NULL};
  asks_start(options);
}

static int begin(const char *body)
{
  int fd = http_connect(&server);
  http_ask(fd, "/v1/completions", NULL, body);
  return fd;
}

/* n tokens; 8000 take so long that nobody waits for their end. */
static int begin_stream(int n)
{
  char body[256];
  snprintf(body, sizeof body, "{\"prompt\":\"It is\",\"max_tokens\":%d,\"ignore_eos\":true,\"stream\":true}", n);
  return begin(body);
}

static int begin_prompt(int n_words)
{
  char *body = malloc((size_t)n_words * 5 + 128), *p = body + sprintf(body, "{\"prompt\":\"");
  for (int i = 0; i < n_words; i++) p += sprintf(p, " the");
  sprintf(p, "\",\"max_tokens\":2}");
  int fd = begin(body);
  free(body);
  return fd;
}

static void expect_in(char *text, const char *what)
{
  if (!strstr(text, what)) fail_msg("expected %s, found: %s", what, text);
  free(text);
}

/* ---- SIGTERM ---- */
/* While a prompt is read, while one waits, while one decodes: all come to their end, and nothing new is taken. */
static void test_term_drains(void **state)
{
  (void)state;
  start("600");
  int scrape = http_connect(&server), prompt = begin_prompt(6000), decode = begin_stream(300), queued[2];
  for (int i = 0; i < 2; i++) queued[i] = begin_stream(20);
  http_wait_for(decode, "data: ");
  kill(server.pid, SIGTERM);
  http_send(scrape, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"); /* a connection that was there before */
  http_wait_for(scrape, "koine_answers_running");
  http_send(scrape, "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  free(http_rest(scrape));
  expect_in(http_rest(prompt), "\"finish_reason\":\"length\"");
  expect_in(http_rest(decode), "[DONE]");
  for (int i = 0; i < 2; i++) expect_in(http_rest(queued[i]), "[DONE]");
  assert_int_equal(http_stop(&server, 0), 0);
}

/* When the time is over, what is left ends with an error in its stream. */
static void test_term_cuts(void **state)
{
  (void)state;
  start("0");
  int fd[2] = {begin_stream(8000), begin_stream(8000)};
  for (int i = 0; i < 2; i++) http_wait_for(fd[i], "data: ");
  int queued = begin_stream(20);
  wait_metric("koine_answers_waiting", 1);
  assert_int_equal(http_stop(&server, SIGTERM), 0);
  for (int i = 0; i < 2; i++) expect_in(http_rest(fd[i]), "shutting down");
  expect_in(http_rest(queued), "shutting down");
}

static void test_term_twice(void **state)
{
  (void)state;
  start("600");
  int fd = begin_stream(8000);
  http_wait_for(fd, "data: ");
  kill(server.pid, SIGTERM);
  usleep(300000); /* the first must have come before the second is sent */
  assert_int_equal(http_stop(&server, SIGTERM), 128 + SIGTERM);
  free(http_rest(fd));
}

/* Before it serves it ends at once, after that in order; while it idles and at any moment in between. */
static void test_term_early(void **state)
{
  (void)state;
  const char *args[] = {"-m", folder, "--device", asks_device(), "-ub", "64", NULL};
  for (int i = 0; i < 12; i++) {
    http_server s;
    http_spawn(&s, args);
    usleep((useconds_t)i * 150000);
    int status = http_stop(&s, SIGTERM);
    if (status != 0 && status != 128 + SIGTERM) fail_msg("after %d ms: exit status %d", i * 150, status);
  }
  start("30");
  assert_int_equal(http_stop(&server, SIGTERM), 0);
  start("30");
  assert_int_equal(http_stop(&server, SIGINT), 0);
}

/* A port that another has is told before a model is loaded, or looked for. */
static void test_port_taken(void **state)
{
  (void)state;
  char port[8], said[512] = "";
  start("30");
  snprintf(port, sizeof port, "%d", server.port);
  const char *args[] = {"-m", "/no/such/model", "--port", port, NULL};
  http_server s;
  http_spawn(&s, args);
  for (size_t n = 0, got = 1; got && n + 1 < sizeof said; n += got) {
    ssize_t r = read(s.err, said + n, sizeof said - 1 - n);
    got = r > 0 ? (size_t)r : 0;
  }
  assert_int_equal(http_stop(&s, 0), 4);
  assert_non_null(strstr(said, "cannot be had: Address already in use"));
  assert_int_equal(http_stop(&server, SIGTERM), 0);
}

/* While conversations are written: they are there, whole. */
static void test_term_saving(void **state)
{
  (void)state;
  char dir[] = "/tmp/t_serve_end.XXXXXX", command[128];
  assert_non_null(mkdtemp(dir));
  const char *options[] = {"-c", "8192", "-np", "4", "--think", "off", "--cache-dir", dir, NULL};
  asks_start(options);
  int fd[4];
  for (int i = 0; i < 4; i++) fd[i] = begin_prompt(1000 + 400 * i);
  for (int i = 0; i < 4; i++) expect_in(http_rest(fd[i]), "\"finish_reason\"");
  assert_int_equal(http_stop(&server, SIGTERM), 0);
  asks_start(options);
  assert_true(metric("koine_disk_conversations") >= 1);
  assert_int_equal(metric("koine_disk_foreign_total"), 0);
  expect_in(http_rest(begin_prompt(2200)), "\"cached_tokens\":2176");
  assert_int_equal(http_stop(&server, SIGTERM), 0);
  snprintf(command, sizeof command, "rm -r %s", dir);
  assert_int_equal(system(command), 0);
}

/* ---- the log ---- */
static void test_log(void **state)
{
  (void)state;
  const char *options[] = {"-c", "8192", "--think", "off", "--cache-dir", "/dev/null/nowhere", NULL};
  asks_start(options);
  close(server.err); /* nobody reads it any more */
  free(http_rest(begin_prompt(300))); /* which it would say that it cannot keep */
  wait_metric("koine_disk_failed_total", 1);
  expect_in(http_rest(begin_prompt(10)), "\"finish_reason\"");
  server.err = dup(0);
  assert_int_equal(http_stop(&server, SIGTERM), 0);
}

/* ---- clocks ---- */
static void set_clock(const char *path, long long seconds)
{
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  fprintf(f, "%lld\n", seconds);
  fclose(f);
}

/* A wall clock that jumps by years ends no connection and no answer, and lets none wait. */
static void test_clock(void **state)
{
  (void)state;
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
  skip(); /* a sanitizer's runtime wants to be the first library */
#endif
  char path[] = "/tmp/t_serve_clock.XXXXXX", library[4096];
  close(mkstemp(path));
  snprintf(library, sizeof library, "%s/tests/.libs/libclockjump.so", getenv("abs_builddir") ? getenv("abs_builddir") : realpath(".", NULL));
  assert_int_equal(access(library, R_OK), 0);
  set_clock(path, 0);
  setenv("LD_PRELOAD", library, 1), setenv("KOINE_TEST_CLOCK", path, 1);
  start("600");
  unsetenv("LD_PRELOAD"), unsetenv("KOINE_TEST_CLOCK");
  json_object *o = ask("/v1/completions", "{\"prompt\":\"It is\",\"max_tokens\":1}");
  int64_t then = number_at(o, "created");
  json_object_put(o);
  for (int i = 0; i < 2; i++) {
    int stream = begin_stream(400), half = http_connect(&server);
    http_wait_for(stream, "data: ");
    http_send(half, "POST /tokenize HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 15\r\n\r\n{\"cont");
    set_clock(path, i ? -300000000 : 300000000);
    o = ask("/v1/completions", "{\"prompt\":\"It is\",\"max_tokens\":1}");
    int64_t now = number_at(o, "created");
    if (i ? now > then - 200000000 : now < then + 200000000) fail_msg("the clock did not jump: %lld, then %lld", (long long)then, (long long)now);
    json_object_put(o);
    usleep(500000); /* time for what looks at deadlines */
    http_send(half, "ent\":\"a\"}");
    expect_in(http_rest(half), "\"tokens\"");
    expect_in(http_rest(stream), "[DONE]");
  }
  assert_int_equal(http_stop(&server, SIGTERM), 0);
  unlink(path);
}

/* ---- clients that do not read, or are too many ---- */
/* Its answer ends when too much of it waits; others are not kept waiting by it. */
static void test_stalled(void **state)
{
  (void)state;
  start("30");
  double made = metric("koine_answers_total") + metric("koine_answers_aborted_total");
  int stalled = begin("{\"prompt\":\"It is\",\"max_tokens\":8000,\"ignore_eos\":true,\"stream\":true,\"logprobs\":20}");
  wait_metric("koine_answers_running", 1);
  expect_in(http_rest(begin_stream(50)), "[DONE]");
  wait_metric("koine_answers_running", 0);
  assert_int_equal(metric("koine_answers_total") + metric("koine_answers_aborted_total"), made + 2);
  expect_in(http_rest(begin_stream(50)), "[DONE]");
  http_reset(stalled);
  wait_metric("koine_requests_open", 1);
  assert_int_equal(http_stop(&server, SIGTERM), 0);
}

/* Processor time of the server in seconds. */
static double used(void)
{
  char path[64], text[1024] = "";
  unsigned long user = 0, system_time = 0;
  snprintf(path, sizeof path, "/proc/%d/stat", (int)server.pid);
  FILE *f = fopen(path, "r");
  assert_non_null(f);
  assert_true(fread(text, 1, sizeof text - 1, f) > 0);
  fclose(f);
  assert_int_equal(sscanf(strrchr(text, ')') + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system_time), 2);
  return (double)(user + system_time) / (double)sysconf(_SC_CLK_TCK);
}

/* Those that are gone are gone for it when it has seen that; until then it takes no more. */
static void wait_room(void)
{
  for (int i = 0;; i++) {
    int fd = http_connect(&server);
    http_ask(fd, "/health", NULL, NULL);
    char *text = http_rest(fd);
    bool answered = *text;
    free(text);
    if (answered) return;
    if (i == 1200) fail_msg("a minute after the others are gone there is no room for a connection");
    usleep(50000);
  }
}

/* More connections than it takes, then with fewer descriptors than it would take: it does not spin, and goes on when they go. */
static void test_connections(void **state)
{
  (void)state;
  enum { MANY = 120 };
  int fd[MANY];
  for (int round = 0; round < 2; round++) {
    http_descriptors = round ? 80 : 0;
    start("30");
    http_descriptors = 0;
    for (int i = 0; i < MANY; i++) fd[i] = http_connect(&server);
    usleep(200000);
    double before = used();
    usleep(1000000);
    double spent = used() - before;
    if (spent > 0.5) fail_msg("round %d: it spins: %g s of a second", round, spent);
    for (int i = 0; i < MANY; i++) i % 2 ? http_reset(fd[i]) : (void)close(fd[i]);
    wait_room();
    wait_metric("koine_connections", 1);
    expect_in(http_rest(begin_stream(5)), "[DONE]");
    assert_int_equal(http_stop(&server, SIGTERM), 0);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_term_drains), cmocka_unit_test(test_term_cuts), cmocka_unit_test(test_term_twice), cmocka_unit_test(test_term_early),  cmocka_unit_test(test_term_saving), cmocka_unit_test(test_port_taken),
    cmocka_unit_test(test_log),         cmocka_unit_test(test_clock),     cmocka_unit_test(test_stalled),    cmocka_unit_test(test_connections),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
