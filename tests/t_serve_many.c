/* koine serve with many clients at once: texts that depend on who is beside, who waits for whom. KOINE: the command; KOINE_TEST_DEVICE: a device. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "serve_asks.h"

/* How far the best token must be before the second so that sums in another order cannot change which it is. */
static const double MARGIN = 0.1;
enum { CLIENTS = 8, TOKENS = 24 };

static const char *const begins[CLIENTS] = {
  "It is a truth universally acknowledged", "My dear Mr. Bennet, said his lady", "She was not much pleased with", "Emma Woodhouse, handsome, clever, and rich",
  "The family of Dashwood had long been settled", "No one who had ever seen Catherine", "About thirty years ago Miss Maria Ward", "Sir Walter Elliot, of Kellynch Hall",
};

/* Prompts of unlike lengths, so that some decode while others are read. */
static void body_of(int i, int n_tokens, const char *more, char *out /* [4096] */)
{
  char *p = out + sprintf(out, "{\"prompt\":\"");
  for (int n = 0; n < i * i * 6; n++) p += sprintf(p, n % 9 ? " the" : " and so,");
  sprintf(p, "%s\",\"temperature\":0,\"max_tokens\":%d,\"logprobs\":2%s}", begins[i], n_tokens, more);
}

static json_object *read_answer(int fd)
{
  char *answer;
  int status = http_read(fd, NULL, &answer);
  if (status != 200) fail_msg("expected 200, found %d: %s", status, answer);
  json_object *o = parse(answer);
  free(answer);
  return o;
}

static int begin(const char *body)
{
  int fd = http_connect(&server);
  http_ask(fd, "/v1/completions", NULL, body);
  return fd;
}

/* By how much the i-th token was likelier than the next. */
static double margin(json_object *o, size_t i)
{
  double best[2] = {-1e30, -1e30};
  json_object *top = json_object_array_get_idx(at(o, "choices/0/logprobs/top_logprobs"), i);
  json_object_object_foreach(top, token, v)
  {
    double x = json_object_get_double(v);
    (void)token;
    if (x > best[0]) best[1] = best[0], best[0] = x;
    else if (x > best[1]) best[1] = x;
  }
  return best[0] - best[1];
}

/* The same text, up to where the model itself does not know; how many tokens that are. */
static size_t same_text(json_object *want, json_object *got)
{
  json_object *a = at(want, "choices/0/logprobs/tokens"), *b = at(got, "choices/0/logprobs/tokens");
  size_t n = 0;
  for (; n < json_object_array_length(a); n++) {
    const char *x = json_object_get_string(json_object_array_get_idx(a, n)), *y = json_object_get_string(json_object_array_get_idx(b, n));
    if (y && !strcmp(x, y)) continue;
    if (margin(want, n) > MARGIN) fail_msg("token %zu: \"%s\" alone, by %g, and \"%s\" beside others", n, x, margin(want, n), y ? y : "");
    break;
  }
  return n;
}

static void test_together(void **state)
{
  (void)state;
  json_object *alone[CLIENTS];
  int fd[CLIENTS];
  char body[4096];
  size_t n_same = 0;
  for (int i = 0; i < CLIENTS; i++) body_of(i, TOKENS, "", body), alone[i] = ask("/v1/completions", body);
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < CLIENTS; i++) body_of(i, TOKENS, "", body), fd[i] = begin(body);
    for (int i = 0; i < CLIENTS; i++) {
      json_object *o = read_answer(fd[i]);
      assert_int_equal(number_at(o, "usage/prompt_tokens"), number_at(alone[i], "usage/prompt_tokens"));
      assert_int_equal(number_at(o, "usage/prompt_tokens_details/cached_tokens"), 0);
      n_same += same_text(alone[i], o);
      json_object_put(o);
    }
  }
  assert_true(n_same > 3 * CLIENTS * TOKENS / 2);
  for (int i = 0; i < CLIENTS; i++) json_object_put(alone[i]);
}

/* ---- who waits for whom ---- */
static int begin_long_prompt(const char *more)
{
  enum { WORDS = 3000 };
  char *body = malloc(5 * WORDS + 256), *p = body + sprintf(body, "{\"prompt\":\"");
  for (int i = 0; i < WORDS; i++) p += sprintf(p, " the");
  sprintf(p, "\",\"temperature\":0,\"max_tokens\":1%s}", more);
  int fd = begin(body);
  free(body);
  return fd;
}

static bool has_data(int fd)
{
  struct pollfd p = {.fd = fd, .events = POLLIN};
  return poll(&p, 1, 0) > 0;
}

/* An answer is made to its end while another's prompt, which came first, is being read. */
static void test_fair(void **state)
{
  (void)state;
  char body[4096];
  int prompt = begin_long_prompt("");
  wait_metric("koine_answers_running", 1);
  body_of(0, TOKENS, "", body);
  json_object *o = read_answer(begin(body));
  assert_false(has_data(prompt));
  json_object_put(o);
  assert_int_equal(metric("koine_answers_running"), 1);
  o = read_answer(prompt);
  assert_int_equal(number_at(o, "usage/completion_tokens"), 1);
  json_object_put(o);
}

/* One whose client goes while its prompt is being read takes nobody along, and gives no token any more. */
static void test_gone_beside(void **state)
{
  (void)state;
  char body[4096];
  body_of(1, 200, "", body);
  json_object *alone = ask("/v1/completions", body), *o;
  double aborted = metric("koine_answers_aborted_total"), begun = metric("koine_time_to_first_token_seconds_count");
  for (int i = 0; i < 4; i++) {
    int fd = begin_long_prompt(i % 2 ? ",\"stream\":true" : "");
    wait_metric("koine_answers_running", 1);
    int other = begin(body);
    http_reset(fd);
    wait_metric("koine_answers_aborted_total", ++aborted);
    o = read_answer(other);
    assert_true(same_text(alone, o) > 2);
    json_object_put(o);
  }
  assert_int_equal(metric("koine_time_to_first_token_seconds_count"), begun + 4);
  json_object_put(alone);
}

/* ---- answers to one prompt share it ---- */
static void test_choices(void **state)
{
  (void)state;
  char body[4096];
  double cached = metric("koine_prompt_cached_tokens_total");
  body_of(5, 4, ",\"n\":8", body);
  json_object *o = ask("/v1/completions", body);
  const char *first = text_at(o, "choices/0/text");
  assert_int_equal(json_object_array_length(at(o, "choices")), 8);
  for (size_t i = 1; i < 8; i++) assert_string_equal(json_object_get_string(at(json_object_array_get_idx(at(o, "choices"), i), "text")), first);
  assert_int_equal(metric("koine_prompt_cached_tokens_total"), cached + 7 * (double)number_at(o, "usage/prompt_tokens"));
  json_object_put(o);
}

static int setup(void **state)
{
  static const char *const options[] = {"-c", "4096", "-np", "8", "--think", "off", "--cache-ram", "0", NULL};
  (void)state;
  asks_start(options);
  return 0;
}

static int teardown(void **state)
{
  (void)state;
  return http_stop(&server, SIGTERM);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_together), cmocka_unit_test(test_fair), cmocka_unit_test(test_gone_beside), cmocka_unit_test(test_choices),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
