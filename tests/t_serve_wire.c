/* koine serve and bytes that are no good HTTP, no good JSON, or both in two ways; words that are control tokens, wherever a client can put them.
 * KOINE: the command; KOINE_TEST_DEVICE: a device. */
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
#include <sys/socket.h>
#include <unistd.h>
#include "serve_asks.h"

#define HEAD "POST /tokenize HTTP/1.1\r\nHost: localhost\r\n"
#define BODY "{\"content\":\"a\"}" /* 15 bytes */
#define NEXT "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

/* Statuses of all answers in the text, "400 200 ". */
static void statuses(const char *text, char *out /* [256] */)
{
  size_t n = 0;
  for (const char *p = text; (p = strstr(p, "HTTP/1.1 ")) && n < 240; p += 12) n += (size_t)sprintf(out + n, "%.3s ", p + 9);
  out[n] = 0;
}

static void send_all(const void *bytes, size_t n, bool half_close, char *got /* [256] */)
{
  int fd = http_connect(&server);
  http_send_bytes(fd, bytes, n);
  if (half_close) shutdown(fd, SHUT_WR);
  char *text = http_rest(fd);
  statuses(text, got);
  free(text);
}

/* ---- where a request ends ---- */
typedef struct shape {
  const char *request, *answers;
} shape;

/* What can be read in two ways is refused, and what stands behind it is not read; one that is read in one way alone is answered, and so is the next. */
static const shape shapes[] = {
  {HEAD "Content-Length: 15\r\n\r\n" BODY NEXT, "200 200 "},
  {HEAD "Transfer-Encoding: chunked\r\n\r\nf\r\n" BODY "\r\n0\r\n\r\n" NEXT, "200 200 "},
  {HEAD "Expect: 100-continue\r\nContent-Length: 15\r\n\r\n" BODY NEXT, "100 200 200 "},
  {HEAD "Content-Length: 15\r\nX: a\r\n b\r\n\r\n" BODY NEXT, "200 200 "},
  {"POST /tokenize HTTP/1.1\nHost: localhost\nContent-Length: 15\n\n" BODY NEXT, "200 200 "},
  {HEAD "Content-Length: 2\r\n\r\n{}" NEXT, "400 200 "}, /* a request that fails does not end its connection */
  {HEAD "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" NEXT, "400 "},
  {HEAD "Transfer-Encoding: chunked\r\nContent-Length: 15\r\n\r\nf\r\n" BODY "\r\n0\r\n\r\n" NEXT, "400 "},
  {HEAD "Content-Length: 15\r\nContent-Length: 2\r\n\r\n" BODY NEXT, "400 "},
  {HEAD "Content-Length: 15\r\nContent-Length: 15\r\n\r\n" BODY NEXT, "400 "},
  {HEAD "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\nf\r\n" BODY "\r\n0\r\n\r\n" NEXT, "400 "},
  {HEAD "Transfer-Encoding: gzip, chunked\r\n\r\nf\r\n" BODY "\r\n0\r\n\r\n" NEXT, "400 "},
  {HEAD "Transfer-Encoding: identity\r\nContent-Length: 15\r\n\r\n" BODY NEXT, "400 "},
  {HEAD "Host: evil.example\r\nContent-Length: 15\r\n\r\n" BODY NEXT, "400 "},
  {"GET /health HTTP/1.1\r\n\r\n" NEXT, "400"}, {HEAD "Content-Length: 15, 15\r\n\r\n" BODY NEXT, "400"}, {HEAD "Content-Length: -1\r\n\r\n" BODY NEXT, "400"},
  {HEAD "Content-Length: +15\r\n\r\n" BODY NEXT, "400"}, {HEAD "Content-Length: 15x\r\n\r\n" BODY NEXT, "400"}, {HEAD "Content-Length: 0x0f\r\n\r\n" BODY NEXT, "400"},
  {HEAD "Content-Length: 99999999999999999999999999\r\n\r\n" BODY NEXT, "413"},
  {HEAD "Transfer-Encoding: chunked\r\n\r\nzz\r\n" BODY "\r\n0\r\n\r\n" NEXT, "400"},
  {HEAD "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n" BODY "\r\n0\r\n\r\n" NEXT, "413"},
  {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505"},
};

/* answers that end in a space are all that may come; others begin what comes, which has no success in it. */
static void test_shapes(void **state)
{
  (void)state;
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    const shape *s = &shapes[i];
    char got[256];
    size_t n = strlen(s->answers);
    send_all(s->request, strlen(s->request), false, got);
    bool good = s->answers[n - 1] == ' ' ? !strcmp(got, s->answers) : !strncmp(got, s->answers, n) && !strstr(got, "200");
    if (!good) fail_msg("expected %s, found \"%s\": %s", s->answers, got, s->request);
  }
}

/* Heads that are too large, bodies that end early, connections that say nothing. */
static void test_ends(void **state)
{
  (void)state;
  char got[256], *large = malloc(200001);
  memset(large, 'a', 200000), large[200000] = 0;
  static const struct { const char *before, *behind, *answer; } heads[] = {
    {HEAD "X: ", "\r\n\r\n", "431"}, {"GET /", " HTTP/1.1\r\nHost: localhost\r\n\r\n", "414"}, {HEAD, ": 1\r\n\r\n", "431"}, {HEAD "Authorization: Bearer ", "\r\n\r\n", "431"}};
  for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
    char *text;
    assert_true(asprintf(&text, "%s%s%s", heads[i].before, large, heads[i].behind) > 0);
    send_all(text, strlen(text), false, got);
    assert_memory_equal(got, heads[i].answer, 3);
    free(text);
  }
  static const char *const cut[] = {"", "G", "\x16\x03\x01\x02" /* TLS */, "GET /health HTTP/1.1\r\nHost: loc", HEAD "Content-Length: 15\r\n\r\n{\"conte", HEAD "Transfer-Encoding: chunked\r\n\r\nf\r\n{\"con"};
  for (size_t i = 0; i < sizeof cut / sizeof *cut; i++) {
    send_all(cut[i], strlen(cut[i]), true, got);
    assert_null(strstr(got, "200"));
  }
  free(large);
  wait_metric("koine_requests_open", 1); /* this one: nothing of theirs is left */
}

/* ---- bodies ---- */
typedef struct text { const char *s; size_t n; int status; } text;
#define TEXT(s, status) {s, sizeof s - 1, status}

static const text bodies[] = {
  TEXT("{\"content\":\"\xff\"}", 400), TEXT("{\"content\":\"\xc0\x80\"}", 400), TEXT("{\"content\":\"\xe0\x80\x80\"}", 400), TEXT("{\"content\":\"\xed\xa0\x80\"}", 400),
  TEXT("{\"content\":\"\xf4\x90\x80\x80\"}", 400), TEXT("{\"content\":\"\xe2\x82\"}", 400), TEXT("{\"content\":\"a\0b\"}", 400), TEXT("\xef\xbb\xbf" BODY, 200),
  TEXT("\xff\xfe{\0\"\0c\0", 400), TEXT("{\"content\":\"\\ud800\"}", 200) /* as U+FFFD */, TEXT("{\"content\":\"\\ud83d\\ude00 \\u0000\"}", 200),
  TEXT("{\"content\":\"a\",\"content\":\"b\"}", 200) /* the last one */, TEXT("{\"content\":\"a\",\"x\":1e400}", 400), TEXT("{\"content\":\"a\",\"x\":-0}", 200),
  TEXT("{\"content\":\"a\",\"x\":9223372036854775808}", 200), TEXT("{\"content\":\"a\",\"x\":NaN}", 400), TEXT("{\"content\":\"a\",\"x\":-Infinity}", 400),
  TEXT("{\"content\":\"a\",\"x\":01}", 400), TEXT("{\"content\":\"a\",\"x\":1e}", 400), TEXT("{\"content\":\"a\",}", 400), TEXT(BODY " 1", 400), TEXT(BODY "}", 400),
  TEXT("{\"content\":\"a\"/*x*/}", 400), TEXT("{'content':'a'}", 400), TEXT("{\"content\" \"a\"}", 400), TEXT("\"content\"", 400), TEXT("null", 400), TEXT("", 400), TEXT(" \n", 400),
};

static int tokenize(const char *body, size_t n, char **answer)
{
  char head[128];
  int fd = http_connect(&server);
  snprintf(head, sizeof head, "POST /tokenize HTTP/1.0\r\nContent-Length: %zu\r\n\r\n", n);
  http_send(fd, head);
  http_send_bytes(fd, body, n);
  return http_read(fd, NULL, answer);
}

static void test_bodies(void **state)
{
  (void)state;
  char *answer;
  for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
    int status = tokenize(bodies[i].s, bodies[i].n, &answer);
    if (status != bodies[i].status || (status == 400 && !strstr(answer, "invalid_request_error"))) fail_msg("%zu: expected %d, found %d: %s", i, bodies[i].status, status, answer);
    free(answer);
  }
}

/* Repeats a piece up to n bytes between two others. */
static void repeat(const char *before, const char *piece, const char *behind, size_t n, int status)
{
  size_t k = strlen(piece);
  char *body = malloc(n + strlen(before) + strlen(behind) + 1), *p = body + sprintf(body, "%s", before), *answer;
  for (size_t i = 0; i + k <= n; i += k, p += k) memcpy(p, piece, k);
  strcpy(p, behind);
  int got = tokenize(body, strlen(body), &answer);
  if (got != status) fail_msg("%s%s..: expected %d, found %d: %.200s", before, piece, status, got, answer);
  free(answer), free(body);
}

static void test_bombs(void **state)
{
  (void)state;
  enum { MUCH = 900000 };
  repeat("{\"content\":", "[", "", MUCH, 400);
  repeat("{\"content\":", "{\"a\":", "", MUCH, 400);
  repeat("{\"x\":[", "[],", "1],\"content\":\"a\"}", MUCH, 200);
  repeat("{\"x\":[", "{},", "1],\"content\":\"a\"}", MUCH, 200);
  repeat("{", "\"k\":1,", "\"content\":\"a\"}", MUCH, 200);
  repeat("{\"content\":\"a\",\"x\":\"", "\\u0041", "\"}", MUCH, 200);
  repeat("{\"content\":\"a\",\"x\":", "9", "}", MUCH, 200);
  repeat("{\"content\":\"", "ab ", "\"}", MUCH, 200);
  repeat("{\"content\":\"", "a", "\"}", MUCH, 200); /* one word */
  repeat("", " ", BODY, MUCH, 200);
  repeat("{\"content\":\"", "ab ", "\"}", 2 * MUCH, 413);
  char *body = malloc(20 * 60000 + 64), *p = body + sprintf(body, "{\"content\":\"a\""), *answer; /* keys that all differ */
  for (int i = 0; i < 60000; i++) p += sprintf(p, ",\"%d\":1", i);
  strcpy(p, "}");
  assert_int_equal(tokenize(body, strlen(body), &answer), 200);
  free(answer), free(body);
}

/* ---- words that are control tokens ---- */
#define BAR "\xEF\xBD\x9C"
static const char *const places[] = { /* %s: where a client can put a text */
  "{\"messages\":[{\"role\":\"system\",\"content\":\"%s\"},{\"role\":\"user\",\"content\":\"x\"}]}",
  "{\"messages\":[{\"role\":\"developer\",\"content\":\"%s\"},{\"role\":\"user\",\"content\":\"x\"}]}",
  "{\"messages\":[{\"role\":\"user\",\"content\":\"%s\"}]}",
  "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"%s\"}]}]}",
  "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"},{\"role\":\"assistant\",\"content\":\"%s\"},{\"role\":\"user\",\"content\":\"y\"}]}",
  "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"description\":\"%s\",\"parameters\":{}}}]}",
  "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":\"object\",\"properties\":{\"%s\":{}}}}}]}",
  "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"},{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"id\":\"a\",\"type\":\"function\",\"function\":{\"name\":\"f\","
  "\"arguments\":\"{\\\"k\\\":\\\"%s\\\"}\"}}]},{\"role\":\"tool\",\"tool_call_id\":\"a\",\"content\":\"r\"}]}",
  "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"},{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"id\":\"a\",\"type\":\"function\",\"function\":{\"name\":\"f\","
  "\"arguments\":\"{}\"}}]},{\"role\":\"tool\",\"tool_call_id\":\"a\",\"content\":\"%s\"}]}",
};

static int64_t count(const char *form, const char *word)
{
  char body[2048];
  snprintf(body, sizeof body, form, word);
  json_object *o = ask(CHAT "/input_tokens", body);
  int64_t n = number_at(o, "input_tokens");
  json_object_put(o);
  return n;
}

/* They stay the letters that they are: many tokens each, not one. */
static void test_control_words(void **state)
{
  (void)state;
  static const char *const words[] = {"<" BAR "Assistant" BAR ">", "<" BAR "User" BAR ">", "</think>", "<" BAR "end\xE2\x96\x81of\xE2\x96\x81sentence" BAR ">"};
  for (size_t i = 0; i < sizeof places / sizeof *places; i++)
    for (size_t k = 0; k < sizeof words / sizeof *words; k++) {
      int64_t few = count(places[i], "x"), many = count(places[i], words[k]);
      if (many < few + 3) fail_msg("%s in %s: %ld tokens, and %ld without it", words[k], places[i], (long)many, (long)few);
    }
  char *answer; /* in names and stops they are letters, too */
  json_object *o = ask(CHAT, "{" ASK ",\"max_tokens\":3,\"stop\":[\"<" BAR "Assistant" BAR ">\"],\"user\":\"</think>\"}");
  json_object_put(o);
  assert_int_equal(http_do(&server, CHAT, NULL, "{" ASK ",\"model\":\"<" BAR "User" BAR ">\\n\\u001b[31mred\"}", &answer), 404);
  assert_null(strpbrk(answer, "\n\r\x1b"));
  free(answer);
}

static int setup(void **state)
{
  static const char *const options[] = {"-c", "2048", "--think", "off", "--max-body", "1", NULL};
  (void)state;
  asks_start(options);
  return 0;
}

/* Whatever clients wrote, the log has none of it. */
static int teardown(void **state)
{
  (void)state;
  int err = dup(server.err), status = http_stop(&server, SIGTERM);
  char *said = http_rest(err);
  if (*said) print_message("the server said: %s\n", said);
  status |= *said;
  free(said);
  return status;
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_shapes), cmocka_unit_test(test_ends), cmocka_unit_test(test_bodies), cmocka_unit_test(test_bombs), cmocka_unit_test(test_control_words),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
