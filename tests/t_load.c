/* koine load-test: its figures from results that are known, and from the outside against an endpoint of our own and against koine serve. t_load [PAGE]: a report to look at.
 * KOINE: the command. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "cli/load/load.h"
#include "endpoint.h"
#include "serve_asks.h"

static char place[] = "/tmp/t_load.XXXXXX", url[64];
static const char *page; /* where a report is left to be looked at; NULL: nowhere */
static endpoint fake = {.model = "x</td><script>&\\u0007"};

/* ---- figures ---- */
static void test_spread(void **state)
{
  (void)state;
  double v[200];
  for (int i = 0; i < 200; i++) v[i] = (double)((i * 73) % 200 + 1); /* 1 to 200, in disorder */
  load_spread s = load_spread_of(v, 200);
  assert_true(s.p50 == 100 && s.p90 == 180 && s.p99 == 198);
  double one[] = {7};
  s = load_spread_of(one, 1);
  assert_true(s.p50 == 7 && s.p90 == 7 && s.p99 == 7);
  s = load_spread_of(NULL, 0);
  assert_true(isnan(s.p50) && isnan(s.p90) && isnan(s.p99));
}

static void test_level(void **state)
{
  (void)state;
  double a[] = {0.5, 1.5}, b[] = {1.0};
  load_result r[] = {
    {.begun_s = 10, .first_s = 11, .last_s = 13, .gap_s = a, .n_gaps = 2, .n_prompt = 100, .n_cached = 25, .n_new = 5},
    {.begun_s = 10, .first_s = 12, .last_s = 13, .gap_s = b, .n_gaps = 1, .n_prompt = 50, .n_new = 3},
    {.begun_s = 10, .kind = "timeout", .message = "first", .first_s = 11, .last_s = 12, .n_new = 1000}, {.begun_s = 10, .kind = "timeout", .message = "second"}, {.begun_s = 10, .kind = "broken off"},
  };
  load_level l = {0};
  assert_true(load_level_of(&l, r, 5, 4));
  assert_int_equal(l.n_requests, 5);
  assert_int_equal(l.n_failed, 3);
  assert_int_equal(l.n_failures, 2);
  assert_string_equal(l.failure[0].message, "first");
  assert_int_equal(l.failure[0].n, 2);
  assert_int_equal(l.n_prompt, 150);
  assert_int_equal(l.n_cached, 25);
  assert_true(l.tokens_s == 2); /* 8 in 4 seconds: what failed does not count */
  assert_true(l.stream_tokens_s == 2); /* of 4 / 2 s and 2 / 1 s */
  assert_true(l.first_s.p50 == 1 && l.first_s.p99 == 2 && l.between_s.p50 == 1 && l.between_s.p99 == 1.5);
  l = (load_level){0};
  assert_true(load_level_of(&l, r + 2, 3, 4));
  assert_true(isnan(l.tokens_s) && isnan(l.first_s.p50) && isnan(l.stream_tokens_s));
  load_result many[2 * LOAD_KINDS] = {0};
  for (size_t i = 0; i < 2 * LOAD_KINDS; i++) snprintf(many[i].kind, LOAD_KIND, "kind %zu", i);
  l = (load_level){0};
  assert_true(load_level_of(&l, many, 2 * LOAD_KINDS, 1));
  assert_int_equal(l.n_failures, LOAD_KINDS);
  assert_string_equal(l.failure[LOAD_KINDS - 1].kind, "others");
  assert_int_equal(l.failure[LOAD_KINDS - 1].n, LOAD_KINDS + 1);
}

static void test_prompts(void **state)
{
  (void)state;
  static const struct { const char *text, *why; } bad[] = {
    {"\n \n", "expected a prompt on a line, found none"}, {"a\n{\"prompt\":", "line 2: expected an object of JSON on one line"}, {"{\"prompt\":1}", "line 1: expected messages"},
    {"{\"messages\":[]}", "line 1: expected messages"}, {"{\"prompt\":\"x\",\"max_tokens\":0}", "line 1: max_tokens: expected"}, {"{\"prompt\":\"x\"} {}", "line 1: expected an object"},
  };
  load_prompts p = {0};
  char why[LOAD_TEXT];
  assert_true(load_prompts_read("one \r\n\n{\"prompt\":\"two\",\"max_tokens\":7}\n{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":null},"
                                "{\"role\":\"user\",\"content\":\"three\"}]}", &p, why, sizeof why));
  assert_int_equal(p.n, 3);
  assert_int_equal(p.v[1].max_tokens, 7);
  assert_string_equal(text_at(p.v[0].messages, "0/content"), "one");
  load_target t = {.model = "m"};
  load_options o = {.same_context = false};
  char *first = load_body(&o, &t, &p.v[2], 50, 9, 0), *second = load_body(&o, &t, &p.v[2], 50, 9, 1), *again = load_body(&o, &t, &p.v[2], 50, 9, 0);
  assert_string_equal(first, again);
  assert_string_not_equal(first, second);
  json_object *b = parse(first);
  assert_string_equal(text_at(b, "messages/0/content"), "s");
  assert_true(strlen(text_at(b, "messages/2/content")) > 200 && !strcmp(strrchr(text_at(b, "messages/2/content"), '\n'), "\nthree"));
  assert_string_equal(text_at(p.v[2].messages, "2/content"), "three"); /* which was only copied */
  json_object_put(b);
  free(first), free(second), free(again);
  load_prompts_free(&p);
  assert_true(load_prompts_read(NULL, &p, why, sizeof why) && p.n == 8);
  load_prompts_free(&p);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    assert_false(load_prompts_read(bad[i].text, &p, why, sizeof why));
    if (strncmp(why, bad[i].why, strlen(bad[i].why))) fail_msg("%s: expected %s, found %s", bad[i].text, bad[i].why, why);
    load_prompts_free(&p);
  }
}

/* ---- the command ---- */
static const char *file(const char *name)
{
  static char path[8][128];
  static unsigned n;
  snprintf(path[n++ % 8], sizeof *path, "%s/%s", place, name);
  return path[(n - 1) % 8];
}

static char *read_all(const char *name)
{
  char *text = calloc(1, 1 << 20);
  FILE *f = fopen(file(name), "r");
  if (!f) fail_msg("%s was not written", name);
  fread(text, 1, (1 << 20) - 1, f);
  fclose(f);
  return text;
}

static void write_all(const char *name, const char *text)
{
  FILE *f = fopen(file(name), "w");
  assert_true(f && fputs(text, f) >= 0 && !fclose(f));
}

/* Its output is then in the files out and err. */
static pid_t start(const char *const *args)
{
  const char *command = getenv("KOINE"), *argv[32] = {command ? command : "./koine", "load-test"};
  size_t n = 2;
  while (*args && n < 31) argv[n++] = *args++;
  pid_t pid = fork();
  if (pid) return pid;
  int out = open(file("out"), O_WRONLY | O_CREAT | O_TRUNC, 0600), err = open(file("err"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  dup2(out, STDOUT_FILENO), dup2(err, STDERR_FILENO);
  execvp(argv[0], (char *const *)(uintptr_t)argv);
  _exit(127);
}

static int end_of(pid_t pid)
{
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
#define RUN(...) end_of(start((const char *const[]){__VA_ARGS__, NULL}))

static json_object *result(void)
{
  char *text = read_all("out");
  json_object *o = parse(text);
  free(text);
  return o;
}

static void expect_error(int status, int want, const char *with)
{
  char *err = read_all("err"), *out = read_all("out");
  if (status != want || !strstr(err, with) || strlen(out)) fail_msg("expected status %d, nothing on standard output and '%s', found %d, '%s' and: %s", want, with, status, out, err);
  free(err);
  free(out);
}

static double real_at(json_object *o, const char *path)
{
  json_object *v = at(o, path);
  return v ? json_object_get_double(v) : NAN;
}

static void expect_order(json_object *level, const char *what)
{
  char key[3][64];
  for (int i = 0; i < 3; i++) snprintf(key[i], sizeof *key, "%s_p%d_s", what, (const int[]){50, 90, 99}[i]);
  double a = real_at(level, key[0]), b = real_at(level, key[1]), c = real_at(level, key[2]);
  if (!(a > 0 && a <= b && b <= c)) fail_msg("%s: expected p50 <= p90 <= p99, found %g %g %g", what, a, b, c);
}

/* As many at once as were asked for, never more; tokens as the endpoint counts them. */
static void test_counts(void **state)
{
  (void)state;
  write_all("prompts", "one two good\nthree good\n");
  for (int streams = 1; streams <= 5; streams += 2) {
    char n[8];
    snprintf(n, sizeof n, "%d", streams);
    fake.n_chats = fake.most_here = 0;
    fake.measured = streams > 1;
    assert_int_equal(RUN(url, "--json", "-f", file("prompts"), "--concurrency", n, "-r", "10", "-n", "6"), 0);
    json_object *o = result(), *l = at(o, "levels/0");
    assert_int_equal(fake.n_chats, 11);
    assert_true(fake.most_here <= streams);
    assert_int_equal(number_at(l, "requests"), 10);
    assert_int_equal(number_at(l, "failed"), 0);
    assert_int_equal(number_at(l, "new_tokens"), 10 * 12);
    assert_int_equal(number_at(l, "prompt_tokens"), 5 * 3 + 5 * 2);
    assert_int_equal(number_at(l, "cached_tokens"), 10);
    assert_true(fake.measured ? real_at(l, "memory_bytes") == 12345 : !at(l, "memory_bytes"));
    assert_true(fabs(real_at(l, "reused") - (fake.measured ? 0.25 : 10.0 / 25)) < 1e-6); /* else as the answers say */
    assert_true(real_at(l, "tokens_per_second") > 0 && real_at(l, "stream_tokens_per_second") > 0);
    expect_order(l, "first");
    expect_order(l, "between");
    json_object_put(o);
  }
  fake.measured = false;
}

/* The endpoint answers nobody until all of a level's streams are there: with fewer at once this would not end. */
static void test_at_once(void **state)
{
  (void)state;
  write_all("prompts", "good\n");
  fake.n_chats = fake.most_here = 0;
  fake.n_hold = 7;
  assert_int_equal(RUN(url, "--json", "-f", file("prompts"), "--concurrency", "7", "-r", "21", "-n", "2"), 0);
  fake.n_hold = 0;
  assert_int_equal(fake.most_here, 7);
  json_object *o = result();
  assert_int_equal(number_at(o, "levels/0/requests"), 21);
  json_object_put(o);
}

static void test_failures(void **state)
{
  (void)state;
  static const struct { const char *kind, *message; } want[] = {
    {"status 429", "the queue is <full>"}, {"status 500", "<b>no</b>"}, {"error in the stream", "the device failed"}, {"broken off", "the stream ended without [DONE]"},
    {"no JSON in the stream", "{\"choices\":"}, {"no token", "the answer is empty"}, {"timeout", ""},
  };
  write_all("prompts", "good\nbusy\nbroken\ninside\ncut\ngarbled\nempty\nsilent\nbare\n");
  assert_int_equal(RUN(url, "--json", "-f", file("prompts"), "--concurrency", "3", "-r", "18", "-n", "4", "--timeout", "1", "--csv", file("csv"), "--report", file("html")), 1);
  json_object *o = result(), *l = at(o, "levels/0"), *failures = at(l, "failures");
  assert_int_equal(number_at(l, "requests"), 18);
  assert_int_equal(number_at(l, "failed"), 14);
  assert_int_equal(number_at(l, "new_tokens"), 2 * 8 + 2 * 3);
  assert_int_equal(json_object_array_length(failures), sizeof want / sizeof *want);
  for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
    json_object *found = NULL;
    for (size_t k = 0; k < json_object_array_length(failures); k++)
      if (!strcmp(text_at(json_object_array_get_idx(failures, k), "kind"), want[i].kind)) found = json_object_array_get_idx(failures, k);
    if (!found) fail_msg("no failure of kind %s", want[i].kind);
    assert_int_equal(number_at(found, "count"), 2);
    if (*want[i].message) assert_string_equal(text_at(found, "message"), want[i].message);
  }
  json_object_put(o);
  char *csv = read_all("csv"), *html = read_all("html");
  assert_true(!strncmp(csv, "url,model,context,streams,requests,failed,", 42) && strstr(csv, ",3,18,14,") && strstr(csv, "status 429: 2"));
  assert_non_null(strstr(html, "the queue is &lt;full&gt;"));
  assert_non_null(strstr(html, "x&lt;/td&gt;&lt;script&gt;&amp;"));
  assert_null(strstr(html, "<script"));
  free(csv);
  free(html);
}

/* Prompts are filled up to a context, by what the endpoint counts; two endpoints get the same. */
static void test_contexts(void **state)
{
  (void)state;
  write_all("prompts", "a short good\n");
  assert_int_equal(RUN(url, url, "--json", "-f", file("prompts"), "--concurrency", "2", "-r", "4", "-n", "2", "-c", "2,300", "--report", file("html")), 0);
  json_object *o = result();
  assert_int_equal(json_object_array_length(at(o, "levels")), 4);
  assert_int_equal(number_at(o, "levels/0/prompt_tokens"), 4 * 3); /* it is longer than 2 already */
  assert_int_equal(number_at(o, "levels/1/prompt_tokens"), 4 * 3);
  assert_int_equal(number_at(o, "levels/2/prompt_tokens"), number_at(o, "levels/3/prompt_tokens"));
  assert_true(llabs(number_at(o, "levels/2/prompt_tokens") - 4 * 300) <= 4 * 3);
  json_object_put(o);
  char *html = read_all("html");
  size_t n = 0;
  for (const char *s = html; (s = strstr(s, "<svg")); s++) n++;
  assert_int_equal(n, 1 + 2 * 4); /* the names, and four pictures for each context */
  if (page) {
    FILE *f = fopen(page, "w");
    assert_true(f && fputs(html, f) >= 0 && !fclose(f));
  }
  for (const char *s = html; (s = strstr(s, "http")); s++)
    if (strncmp(s, url, strlen(url)) && strncmp(s, "http-equiv", 10)) fail_msg("the page names %.40s", s);
  free(html);
}

static void test_keys(void **state)
{
  (void)state;
  fake.key = "sesame";
  write_all("prompts", "good\n");
  write_all("keys", "sesame\n");
  write_all("none", "\n");
  write_all("more", "sesame\nx\n");
  expect_error(RUN(url, "-f", file("prompts")), 4, "wants a key");
  expect_error(RUN(url, "-f", file("prompts"), "--api-key-file", file("none")), 4, "wants a key");
  expect_error(RUN(url, "-f", file("prompts"), "--api-key-file", file("more")), 3, "expected at most a line for each of 1 URLs");
  assert_int_equal(RUN(url, "-f", file("prompts"), "--api-key-file", file("keys"), "--concurrency", "1", "-r", "1"), 0);
  assert_int_equal(RUN(url, "-f", file("prompts"), "--api-key-file", file("keys"), "--concurrency", "1", "-r", "1", "-m", "mine", "--ignore-eos"), 0);
  json_object *b = parse(fake.last_body);
  assert_string_equal(text_at(b, "model"), "mine");
  assert_true(json_object_get_boolean(at(b, "ignore_eos")) && json_object_get_boolean(at(b, "stream_options/include_usage")));
  json_object_put(b);
  fake.key = NULL;
}

static void test_wrong(void **state)
{
  (void)state;
  write_all("bare", "bare\n");
  write_all("busy", "busy\n");
  write_all("bad", "{\n");
  expect_error(RUN(url, "-f", file("bare"), "-c", "100"), 4, "expected usage with prompt_tokens");
  expect_error(RUN(url, "-f", file("busy")), 4, "status 429: the queue is <full>");
  expect_error(RUN(url, "-f", file("bad")), 3, "line 1: expected an object of JSON");
  expect_error(RUN(url, "-f", "/nowhere"), 3, "/nowhere: expected a readable file");
  expect_error(RUN("127.0.0.1:x"), 2, "expected a URL like");
  expect_error(RUN("file:///etc/passwd"), 2, "expected a URL like");
  expect_error(RUN("http://127.0.0.1:1"), 4, "nothing answers there");
  expect_error(RUN("http://127.0.0.1:1", "--concurrency", "0"), 2, "--concurrency: expected integers");
  expect_error(RUN("--json"), 2, "expected the URL of an endpoint");
}

/* Ctrl-C while a request hangs: those that ended are told. */
static void test_interrupt(void **state)
{
  (void)state;
  write_all("prompts", "good\n{\"prompt\":\"silent\"}\n");
  fake.n_chats = 0;
  pid_t pid = start((const char *const[]){url, "-f", file("prompts"), "--concurrency", "1,2", "-r", "2", "-n", "2", "--json", "--csv", file("csv"), NULL});
  while (fake.n_chats < 3) usleep(1000); /* the warm-up, a good one, one that hangs */
  kill(pid, SIGINT);
  assert_int_equal(end_of(pid), 130);
  json_object *o = result();
  assert_int_equal(json_object_array_length(at(o, "levels")), 1);
  assert_int_equal(number_at(o, "levels/0/requests"), 1);
  assert_int_equal(number_at(o, "levels/0/failed"), 0);
  json_object_put(o);
}

#ifdef HAVE_SERVER
static void test_serve(void **state)
{
  (void)state;
  char at_serve[64];
  asks_start((const char *const[]){"--think", "off", "-np", "2", NULL});
  snprintf(at_serve, sizeof at_serve, "http://127.0.0.1:%d/v1", server.port);
  assert_int_equal(RUN(at_serve, "--json", "--concurrency", "1,2", "-r", "4", "-n", "6", "-c", "200", "--ignore-eos", "--same-context"), 0);
  json_object *o = result();
  for (int i = 0; i < 2; i++) {
    json_object *l = json_object_array_get_idx(at(o, "levels"), (size_t)i);
    assert_int_equal(number_at(l, "requests"), 4);
    assert_int_equal(number_at(l, "failed"), 0);
    assert_int_equal(number_at(l, "new_tokens"), 24);
    assert_true(llabs(number_at(l, "prompt_tokens") - 4 * 200) < 4 * 20);
    assert_true(real_at(l, "memory_bytes") > 1 << 20 && real_at(l, "reused") > 0.3 && real_at(l, "reused") <= 1);
    expect_order(l, "first");
    expect_order(l, "between");
  }
  json_object_put(o);
  assert_int_equal(http_stop(&server, SIGTERM), 0);
}
#endif

static int set_up(void **state)
{
  (void)state;
  assert_non_null(mkdtemp(place));
  signal(SIGPIPE, SIG_IGN);
  endpoint_start(&fake);
  snprintf(url, sizeof url, "http://127.0.0.1:%d", fake.port);
  return 0;
}

static int tear_down(void **state)
{
  char command[128];
  (void)state;
  snprintf(command, sizeof command, "rm -rf %s", place);
  return system(command);
}

int main(int argc, char **argv)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_spread), cmocka_unit_test(test_level), cmocka_unit_test(test_prompts), cmocka_unit_test(test_counts), cmocka_unit_test(test_at_once),
    cmocka_unit_test(test_failures), cmocka_unit_test(test_contexts), cmocka_unit_test(test_keys), cmocka_unit_test(test_wrong), cmocka_unit_test(test_interrupt),
#ifdef HAVE_SERVER
    cmocka_unit_test(test_serve),
#endif
  };
  page = argc > 1 ? argv[1] : NULL;
  return cmocka_run_group_tests_name("load", tests, set_up, tear_down);
}
