/* What the tests of koine serve share. */
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
#include <unistd.h>
#include "serve_asks.h"

http_server server;
char folder[4096];

const char *asks_device(void)
{
  const char *device = getenv("KOINE_TEST_DEVICE");
  return device ? device : "portable";
}

void asks_start(const char *const *options)
{
  const char *top = getenv("srcdir"), *args[48] = {"-m", folder, "--device", asks_device(), "-ub", "64"};
  size_t n = 6;
  snprintf(folder, sizeof folder, "%s/models/austen", top ? top : ".");
  while (*options && n < 47) args[n++] = *options++;
  signal(SIGPIPE, SIG_IGN);
  http_start(&server, args);
}

/* ---- reading answers ---- */
json_object *parse(const char *text)
{
  json_object *o = json_tokener_parse(text);
  if (!o) fail_msg("expected JSON, found: %s", text);
  return o;
}

/* A value by its path, "choices/0/message/content"; NULL where nothing is. */
json_object *at(json_object *o, const char *path)
{
  char word[64];
  for (size_t n; o && *path; path += n + (path[n] == '/')) {
    n = strcspn(path, "/");
    snprintf(word, sizeof word, "%.*s", (int)n, path);
    if (json_object_is_type(o, json_type_array)) o = json_object_array_get_idx(o, (size_t)atoi(word));
    else if (!json_object_object_get_ex(o, word, &o)) o = NULL;
  }
  return o;
}

const char *text_at(json_object *o, const char *path)
{
  json_object *v = at(o, path);
  return v ? json_object_get_string(v) : "(none)";
}

int64_t number_at(json_object *o, const char *path) { return json_object_get_int64(at(o, path)); }

/* A request that must succeed. */
json_object *ask(const char *path, const char *body)
{
  char *answer;
  int status = http_do(&server, path, NULL, body, &answer);
  if (status != 200) fail_msg("%s %s: expected 200, found %d: %s", path, body, status, answer);
  json_object *o = parse(answer);
  free(answer);
  return o;
}

/* ---- streams ---- */
void stream_ask(stream *s, const char *path, const char *body)
{
  int status = http_do(&server, path, NULL, body, &s->text);
  if (status != 200) fail_msg("%s: expected 200, found %d: %s", body, status, s->text);
  s->next = s->text;
}

/* The next event's data as JSON; NULL at the end, or at [DONE]. Comments are passed over. */
json_object *stream_next(stream *s)
{
  char *data = strstr(s->next, "data: ");
  if (!data) return NULL;
  char *end = strstr(data, "\n\n");
  assert_non_null(end);
  *end = 0;
  s->next = end + 2;
  return strcmp(data + 6, "[DONE]") ? parse(data + 6) : NULL;
}

void add(char *to, const char *text) { strncat(to, text, 8191 - strlen(to)); }

void gather_chat(const char *body, gathered *g)
{
  stream s;
  json_object *o;
  bool first = true;
  *g = (gathered){0};
  stream_ask(&s, CHAT, body);
  while ((o = stream_next(&s))) {
    assert_true(json_object_is_type(at(o, "choices"), json_type_array));
    if (first) assert_string_equal(json_object_to_json_string_ext(at(o, "choices/0/delta"), JSON_C_TO_STRING_PLAIN), "{\"role\":\"assistant\"}");
    first = false;
    if (at(o, "choices/0/delta/reasoning_content")) add(g->reasoning, text_at(o, "choices/0/delta/reasoning_content"));
    if (at(o, "choices/0/delta/content")) add(g->content, text_at(o, "choices/0/delta/content"));
    if (at(o, "choices/0/delta/tool_calls/0/function/name")) {
      assert_int_equal(number_at(o, "choices/0/delta/tool_calls/0/index"), 0);
      add(g->name, text_at(o, "choices/0/delta/tool_calls/0/function/name")), add(g->id, text_at(o, "choices/0/delta/tool_calls/0/id"));
    }
    if (at(o, "choices/0/delta/tool_calls/0/function/arguments")) add(g->arguments, text_at(o, "choices/0/delta/tool_calls/0/function/arguments"));
    if (at(o, "choices/0/finish_reason")) add(g->finish, text_at(o, "choices/0/finish_reason"));
    if (at(o, "usage")) g->n_prompt = number_at(o, "usage/prompt_tokens"), g->n_new = number_at(o, "usage/completion_tokens");
    json_object_put(o);
  }
  assert_memory_equal(s.next - strlen("[DONE]\n\n"), "[DONE]", 6);
  free(s.text);
}

/* ---- metrics ---- */
double metric(const char *name)
{
  char *text, pattern[128];
  assert_int_equal(http_do(&server, "/metrics", NULL, NULL, &text), 200);
  snprintf(pattern, sizeof pattern, "\n%s{", name);
  const char *line = strstr(text, pattern);
  assert_non_null(line);
  double v = atof(strchr(line, '}') + 1);
  free(text);
  return v;
}

/* Until it is: a second or two, unless something is wrong. */
void wait_metric(const char *name, double want)
{
  for (int i = 0; i < 600; i++) {
    if (metric(name) == want) return;
    usleep(100000);
  }
  fail_msg("%s: expected %g, found %g", name, want, metric(name));
}
