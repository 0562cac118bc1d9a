/* koine serve where the form of an answer is given: schemas, and calls of tools in all three protocols, whole, as streams, and sent back. KOINE: the
 * command; KOINE_TEST_DEVICE: a device. */
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
#include "serve_asks.h"

#define SCHEMA "{\"type\":\"object\",\"properties\":{\"city\":{\"type\":\"string\"},\"days\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":7},\"unit\":{\"type\":\"string\",\"enum\":[\"C\",\"F\"]}}," \
               "\"required\":[\"city\",\"days\",\"unit\"]}"
#define TOOLS "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"weather\",\"description\":\"How it will be\",\"parameters\":" SCHEMA "}}," \
              "{\"type\":\"function\",\"function\":{\"name\":\"idle\",\"parameters\":{\"type\":\"object\",\"properties\":{}}}}]"
#define NAMED "\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"weather\"}},\"parallel_tool_calls\":false,"

/* Arguments as the schema wants them. */
static void check_weather(json_object *o)
{
  assert_true(json_object_is_type(at(o, "city"), json_type_string));
  assert_true(number_at(o, "days") >= 1 && number_at(o, "days") <= 7);
  assert_true(!strcmp(text_at(o, "unit"), "C") || !strcmp(text_at(o, "unit"), "F"));
  assert_int_equal(json_object_object_length(o), 3);
}

static void test_required(void **state)
{
  (void)state;
  char body[2048];
  for (int seed = 1; seed <= 8; seed++) {
    snprintf(body, sizeof body, "{" ASK "," TOOLS ",\"tool_choice\":\"required\",\"max_tokens\":400,\"seed\":%d}", seed);
    json_object *o = ask(CHAT, body), *calls = at(o, "choices/0/message/tool_calls");
    assert_string_equal(text_at(o, "choices/0/finish_reason"), "tool_calls");
    assert_null(at(o, "choices/0/message/content"));
    assert_true(json_object_array_length(calls) >= 1);
    for (size_t i = 0; i < json_object_array_length(calls); i++) {
      json_object *call = json_object_array_get_idx(calls, i), *arguments = parse(text_at(call, "function/arguments"));
      if (!strcmp(text_at(call, "function/name"), "weather")) check_weather(arguments);
      else assert_string_equal(text_at(call, "function/name"), "idle");
      json_object_put(arguments);
    }
    json_object_put(o);
  }
}

/* Requests for calls in each protocol, with nothing, yes or no said of several at once. */
#define IDLE "\"parameters\":{\"type\":\"object\",\"properties\":{}}"
static const struct { const char *path, *form, *list, *type, *word[3]; } protocols[] = {
  {CHAT, "{" ASK ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"idle\"," IDLE "}}],\"tool_choice\":\"required\"%s,\"max_tokens\":300,\"seed\":%d}",
   "choices/0/message/tool_calls", "function", {"", ",\"parallel_tool_calls\":true", ",\"parallel_tool_calls\":false"}},
  {"/v1/responses",
   "{\"input\":\"How is your sister?\",\"reasoning\":{\"effort\":\"none\"},\"tools\":[{\"type\":\"function\",\"name\":\"idle\"," IDLE "}],\"tool_choice\":\"required\"%s,"
   "\"max_output_tokens\":300,\"seed\":%d}",
   "output", "function_call", {"", ",\"parallel_tool_calls\":true", ",\"parallel_tool_calls\":false"}},
  {"/v1/messages",
   "{\"model\":\"claude-x\"," ASK ",\"tools\":[{\"name\":\"idle\",\"input_schema\":{\"type\":\"object\",\"properties\":{}}}],\"tool_choice\":{\"type\":\"any\"%s},"
   "\"max_tokens\":300,\"seed\":%d}",
   "content", "tool_use", {"", ",\"disable_parallel_tool_use\":false", ",\"disable_parallel_tool_use\":true"}},
};

static size_t n_calls(size_t protocol, int word, int seed)
{
  char body[2048];
  snprintf(body, sizeof body, protocols[protocol].form, protocols[protocol].word[word], seed);
  json_object *o = ask(protocols[protocol].path, body), *list = at(o, protocols[protocol].list);
  size_t n = 0;
  for (size_t i = 0; i < json_object_array_length(list); i++) n += !strcmp(text_at(json_object_array_get_idx(list, i), "type"), protocols[protocol].type);
  json_object_put(o);
  return n;
}

/* Several calls come where nothing is said, or yes; one where it is no. */
static void test_parallel(void **state)
{
  (void)state;
  enum { SEEDS = 8 };
  for (size_t p = 0; p < sizeof protocols / sizeof *protocols; p++) {
    size_t n[3] = {0};
    for (int word = 0; word < 3; word++)
      for (int seed = 1; seed <= SEEDS; seed++) {
        size_t calls = n_calls(p, word, seed);
        assert_true(word == 2 ? calls == 1 : calls >= 1);
        n[word] += calls;
      }
    assert_true(n[0] > SEEDS && n[1] == n[0]);
  }
}

/* The same call, whole and as a stream; sent back in another spelling it costs nothing. */
static void test_chat_call(void **state)
{
  (void)state;
  gathered *g = calloc(1, sizeof *g);
  char body[8192];
  json_object *o = ask(CHAT, "{" ASK "," TOOLS "," NAMED "\"max_tokens\":300,\"seed\":4}");
  gather_chat("{" ASK "," TOOLS "," NAMED "\"max_tokens\":300,\"seed\":4,\"stream\":true}", g);
  assert_string_equal(g->name, "weather");
  assert_string_equal(g->arguments, text_at(o, "choices/0/message/tool_calls/0/function/arguments"));
  assert_memory_equal(g->id, "call_", 5);
  assert_string_equal(g->finish, "tool_calls");
  json_object *arguments = parse(g->arguments), *turned = json_object_new_object();
  check_weather(arguments);
  static const char *const order[] = {"unit", "days", "city"};
  for (size_t i = 0; i < 3; i++) json_object_object_add(turned, order[i], json_object_get(at(arguments, order[i])));
  json_object *spelled = json_object_new_string(json_object_to_json_string_ext(turned, JSON_C_TO_STRING_PLAIN));
  snprintf(body, sizeof body,
           "{\"messages\":[{\"role\":\"user\",\"content\":\"How is your sister?\"},{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"%s\",\"type\":\"function\","
           "\"function\":{\"name\":\"weather\",\"arguments\":%s}}]},{\"role\":\"tool\",\"tool_call_id\":\"%s\",\"content\":\"fair\"}]," TOOLS ",\"max_tokens\":3}",
           g->id, json_object_to_json_string(spelled), g->id);
  json_object *next = ask(CHAT, body);
  int64_t held = number_at(o, "usage/prompt_tokens") + number_at(o, "usage/completion_tokens") - 1;
  assert_int_equal(number_at(next, "usage/prompt_tokens_details/cached_tokens"), held);
  json_object_put(o), json_object_put(next), json_object_put(arguments), json_object_put(turned), json_object_put(spelled);
  free(g);
}

static void test_responses_call(void **state)
{
  (void)state;
  stream s;
  json_object *o;
  bool done = false, completed = false;
  stream_ask(&s, "/v1/responses", "{\"input\":\"How is your sister?\",\"tools\":[{\"type\":\"function\",\"name\":\"weather\",\"parameters\":" SCHEMA "}],\"tool_choice\":{\"type\":\"function\","
                                  "\"name\":\"weather\"},\"parallel_tool_calls\":false,\"seed\":4,\"max_output_tokens\":300,\"stream\":true}");
  while ((o = stream_next(&s))) {
    if (!strcmp(text_at(o, "type"), "response.output_item.done")) {
      assert_string_equal(text_at(o, "item/type"), "function_call");
      assert_string_equal(text_at(o, "item/name"), "weather");
      json_object *arguments = parse(text_at(o, "item/arguments"));
      check_weather(arguments);
      json_object_put(arguments);
      done = true;
    }
    if (!strcmp(text_at(o, "type"), "response.completed")) completed = !strcmp(text_at(o, "response/status"), "completed");
    json_object_put(o);
  }
  assert_true(done && completed);
  free(s.text);
  o = ask("/v1/responses", "{\"input\":[{\"role\":\"user\",\"content\":\"How?\"},{\"type\":\"function_call\",\"call_id\":\"c1\",\"name\":\"weather\",\"arguments\":\"{}\"},"
                           "{\"type\":\"function_call_output\",\"call_id\":\"c1\",\"output\":\"fair\"}],\"max_output_tokens\":2,\"reasoning\":{\"effort\":\"none\"}}");
  assert_string_equal(text_at(o, "output/0/type"), "message");
  json_object_put(o);
}

static void test_messages_call(void **state)
{
  (void)state;
  stream s;
  char arguments[4096] = "";
  json_object *o, *whole = ask("/v1/messages", "{\"model\":\"claude-x\"," ASK ",\"tools\":[{\"name\":\"weather\",\"input_schema\":" SCHEMA "},{\"type\":\"web_search_20250305\",\"name\":\"web_search\"}],"
                                               "\"tool_choice\":{\"type\":\"tool\",\"name\":\"weather\",\"disable_parallel_tool_use\":true},\"seed\":4,\"max_tokens\":300}");
  assert_string_equal(text_at(whole, "stop_reason"), "tool_use");
  assert_string_equal(text_at(whole, "content/0/type"), "tool_use");
  check_weather(at(whole, "content/0/input"));
  stream_ask(&s, "/v1/messages", "{\"model\":\"claude-x\"," ASK ",\"tools\":[{\"name\":\"weather\",\"input_schema\":" SCHEMA "}],"
                                 "\"tool_choice\":{\"type\":\"tool\",\"name\":\"weather\",\"disable_parallel_tool_use\":true},\"seed\":4,\"max_tokens\":300,\"stream\":true}");
  while ((o = stream_next(&s))) {
    if (!strcmp(text_at(o, "type"), "content_block_start")) assert_int_equal(json_object_object_length(at(o, "content_block/input")), 0);
    if (!strcmp(text_at(o, "delta/type"), "input_json_delta")) strcat(arguments, text_at(o, "delta/partial_json"));
    if (!strcmp(text_at(o, "type"), "message_delta")) assert_string_equal(text_at(o, "delta/stop_reason"), "tool_use");
    json_object_put(o);
  }
  o = parse(arguments);
  assert_true(json_object_equal(o, at(whole, "content/0/input")));
  json_object_put(o), json_object_put(whole);
  free(s.text);
  o = ask("/v1/messages", "{\"model\":\"claude-x\",\"messages\":[{\"role\":\"user\",\"content\":\"How?\"},{\"role\":\"assistant\",\"content\":[{\"type\":\"thinking\",\"thinking\":\"hm\",\"signature\":\"s\"},"
                          "{\"type\":\"tool_use\",\"id\":\"t1\",\"name\":\"weather\",\"input\":{\"city\":\"Bath\"}},{\"type\":\"tool_use\",\"id\":\"t2\",\"name\":\"weather\",\"input\":{}}]},"
                          "{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"t2\",\"content\":\"two\"},{\"type\":\"tool_result\",\"tool_use_id\":\"t1\","
                          "\"content\":[{\"type\":\"text\",\"text\":\"one\"}]},{\"type\":\"text\",\"text\":\"Go on.\"}]}],\"max_tokens\":2}");
  assert_string_equal(text_at(o, "content/0/type"), "text");
  json_object_put(o);
}

/* ---- calls that are cut off ---- */
/* Requests that end in the middle of a call, by the limit and by a stop text. */
static const struct { const char *path, *form, *limit; } cut[] = {
  {CHAT, "{" ASK "," TOOLS "," NAMED "\"max_tokens\":%d,\"seed\":4%s%s}", "length"},
  {CHAT, "{" ASK "," TOOLS "," NAMED "\"max_tokens\":%d,\"seed\":4,\"stop\":[\"weather\"]%s%s}", "stop"},
  {"/v1/responses", "{\"input\":\"How is your sister?\",\"tools\":[{\"type\":\"function\",\"name\":\"weather\",\"parameters\":" SCHEMA "}],\"tool_choice\":\"required\","
                    "\"max_output_tokens\":%d,\"seed\":4%s%s}", "incomplete"},
  {"/v1/messages", "{\"model\":\"claude-x\"," ASK ",\"tools\":[{\"name\":\"weather\",\"input_schema\":" SCHEMA "}],\"tool_choice\":{\"type\":\"any\"},"
                   "\"max_tokens\":%d,\"seed\":4%s%s}", "max_tokens"},
};

/* Neither markup nor half a call; why it ended is said. */
static void expect_cut(const char *text, const char *why)
{
  static const char *const none[] = {"DSML", "invoke", "function_call\"", "tool_use", "call_", "\"finish_reason\":\"tool_calls"};
  if (!strstr(text, why)) fail_msg("no %s: %s", why, text);
  for (size_t i = 0; i < sizeof none / sizeof *none; i++)
    if (strstr(text, none[i])) fail_msg("%s: %s", none[i], text);
}

static void test_cut(void **state)
{
  (void)state;
  char body[4096], why[64];
  for (size_t i = 0; i < sizeof cut / sizeof *cut; i++)
    for (int n = 1; n <= 24; n += 1 + n / 4) {
      bool by_stop = !strcmp(cut[i].limit, "stop");
      snprintf(why, sizeof why, "\"%s\"", cut[i].limit);
      snprintf(body, sizeof body, cut[i].form, by_stop ? 300 : n, "", "");
      json_object *o = ask(cut[i].path, body), *echo = at(o, "tools");
      if (echo) json_object_object_del(o, "tools"), json_object_object_del(o, "tool_choice");
      expect_cut(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN), why);
      json_object_put(o);
      stream s;
      snprintf(body, sizeof body, cut[i].form, by_stop ? 300 : n, ",\"stream\":", "true");
      stream_ask(&s, cut[i].path, body);
      expect_cut(s.text, why);
      free(s.text);
      if (by_stop) break;
    }
}

/* Once an answer begins to call, it does so well: the bias makes it begin. */
static void test_auto(void **state)
{
  (void)state;
  json_object *o = ask(CHAT, "{" ASK "," TOOLS ",\"max_tokens\":400,\"seed\":5,\"logit_bias\":{\"7\":100}}");
  assert_string_equal(text_at(o, "choices/0/finish_reason"), "stop"); /* a call without its < is text, but ended with it */
  assert_non_null(strstr(text_at(o, "choices/0/message/content"), "DSML"));
  json_object_put(o);
}

static void test_schema(void **state)
{
  (void)state;
  char body[2048];
  static const char *const effort[] = {"none", "high"};
  for (int i = 0; i < 4; i++) {
    snprintf(body, sizeof body, "{" ASK ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"w\",\"schema\":" SCHEMA "}},\"max_tokens\":200,\"seed\":%d,"
                                "\"reasoning_effort\":\"%s\",\"logit_bias\":{\"6\":%d}}", i, effort[i / 2], i / 2 ? 100 : 0);
    json_object *o = ask(CHAT, body), *answer = parse(text_at(o, "choices/0/message/content")); /* the bias ends the reasoning at once */
    check_weather(answer);
    assert_string_equal(text_at(o, "choices/0/finish_reason"), "stop");
    json_object_put(answer), json_object_put(o);
  }
  json_object *o = ask(CHAT, "{" ASK ",\"response_format\":{\"type\":\"json_object\"},\"max_tokens\":100,\"seed\":1}"), *answer = parse(text_at(o, "choices/0/message/content"));
  assert_true(json_object_is_type(answer, json_type_object));
  json_object_put(answer), json_object_put(o);
  o = ask("/v1/responses", "{\"input\":\"How?\",\"text\":{\"format\":{\"type\":\"json_schema\",\"name\":\"w\",\"schema\":" SCHEMA "}},\"max_output_tokens\":200,\"seed\":2}");
  answer = parse(text_at(o, "output/0/content/0/text"));
  check_weather(answer);
  json_object_put(answer), json_object_put(o);
}

static int setup(void **state)
{
  static const char *const options[] = {"-c", "2048", "--think", "off", NULL};
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
    cmocka_unit_test(test_required), cmocka_unit_test(test_parallel), cmocka_unit_test(test_chat_call), cmocka_unit_test(test_responses_call), cmocka_unit_test(test_messages_call),
    cmocka_unit_test(test_cut), cmocka_unit_test(test_auto), cmocka_unit_test(test_schema),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
