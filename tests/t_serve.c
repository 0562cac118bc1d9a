/* koine serve from the outside, on models/austen: the three protocols, whole and as streams; prefixes. KOINE: the command; KOINE_TEST_DEVICE: a device. */
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

/* ---- chat ---- */
static void test_server(void **state)
{
  (void)state;
  json_object *o = ask("/health", NULL);
  assert_string_equal(text_at(o, "status"), "ok");
  json_object_put(o);
  o = ask("/v1/models", NULL);
  assert_string_equal(text_at(o, "data/0/id"), "jane");
  assert_string_equal(text_at(o, "data/1/id"), "austen");
  json_object_put(o);
  o = ask("/v1/models/jane", NULL);
  assert_int_equal(number_at(o, "context_length"), 2048);
  json_object_put(o);
  o = ask("/tokenize", "{\"content\":\"It is a truth\",\"with_pieces\":true}");
  assert_int_equal(number_at(o, "tokens/3/id"), 1928);
  assert_string_equal(text_at(o, "tokens/3/piece"), " truth");
  json_object_put(o);
  o = ask("/detokenize", "{\"tokens\":[1438,372,266,1928]}");
  assert_string_equal(text_at(o, "content"), "It is a truth");
  json_object_put(o);
}

static void test_chat(void **state)
{
  (void)state;
  gathered *g = calloc(1, sizeof *g);
  json_object *o = ask(CHAT, "{" ASK ",\"max_tokens\":12,\"seed\":3,\"logprobs\":true,\"top_logprobs\":3,\"model\":\"jane\"}");
  const char *content = text_at(o, "choices/0/message/content");
  assert_true(strlen(content) > 8);
  assert_string_equal(text_at(o, "choices/0/finish_reason"), "length");
  assert_int_equal(number_at(o, "usage/completion_tokens"), 12);
  assert_int_equal(number_at(o, "usage/prompt_tokens") + 12, number_at(o, "usage/total_tokens"));
  size_t n = json_object_array_length(at(o, "choices/0/logprobs/content"));
  assert_int_equal(n, 12);
  char whole[4096] = "";
  for (size_t i = 0; i < n; i++) {
    json_object *t = json_object_array_get_idx(at(o, "choices/0/logprobs/content"), i);
    strcat(whole, text_at(t, "token"));
    assert_int_equal(json_object_array_length(at(t, "top_logprobs")), 3);
    double first = json_object_get_double(at(t, "top_logprobs/0/logprob")), second = json_object_get_double(at(t, "top_logprobs/1/logprob"));
    assert_true(first >= second && first <= 0 && json_object_get_double(at(t, "logprob")) <= first);
  }
  assert_string_equal(whole, content);
  gather_chat("{" ASK ",\"max_tokens\":12,\"seed\":3,\"stream\":true,\"stream_options\":{\"include_usage\":true}}", g);
  assert_string_equal(g->content, content);
  assert_string_equal(g->finish, "length");
  assert_int_equal(g->n_new, 12);
  assert_int_equal(g->n_prompt, number_at(o, "usage/prompt_tokens"));
  json_object_put(o);
  o = ask(CHAT, "{" ASK ",\"max_tokens\":9,\"seed\":3,\"n\":3}");
  assert_int_equal(json_object_array_length(at(o, "choices")), 3);
  assert_string_not_equal(text_at(o, "choices/0/message/content"), text_at(o, "choices/1/message/content"));
  assert_int_equal(number_at(o, "usage/completion_tokens"), 27);
  json_object_put(o);
  free(g);
}

/* Reasoning comes apart, in every protocol; the model's own never ends. */
static void test_reasoning(void **state)
{
  (void)state;
  json_object *o = ask(CHAT, "{" ASK ",\"max_tokens\":8,\"seed\":3,\"reasoning_effort\":\"high\"}");
  assert_true(strlen(text_at(o, "choices/0/message/reasoning_content")) > 4);
  assert_string_equal(text_at(o, "choices/0/message/content"), "");
  assert_int_equal(number_at(o, "usage/completion_tokens_details/reasoning_tokens"), 8);
  char reasoning[512];
  snprintf(reasoning, sizeof reasoning, "%s", text_at(o, "choices/0/message/reasoning_content"));
  json_object_put(o);
  o = ask("/v1/messages", "{" ASK ",\"max_tokens\":8,\"seed\":3,\"model\":\"claude-sonnet\",\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":1024}}");
  assert_string_equal(text_at(o, "content/0/type"), "thinking");
  assert_string_equal(text_at(o, "content/0/thinking"), reasoning);
  assert_true(strlen(text_at(o, "content/0/signature")) > 8);
  json_object_put(o);
  o = ask("/v1/responses", "{\"input\":\"How is your sister?\",\"max_output_tokens\":8,\"seed\":3,\"reasoning\":{\"effort\":\"high\"},\"include\":[\"reasoning.encrypted_content\"]}");
  assert_string_equal(text_at(o, "output/0/type"), "reasoning");
  assert_string_equal(text_at(o, "output/0/content/0/text"), reasoning);
  assert_non_null(strstr(text_at(o, "output/0/encrypted_content"), reasoning));
  assert_string_equal(text_at(o, "status"), "incomplete");
  assert_string_equal(text_at(o, "output/0/status"), "incomplete");
  json_object_put(o);
  o = ask("/v1/responses", "{\"input\":\"How is your sister?\",\"max_output_tokens\":5,\"reasoning\":{\"effort\":\"none\"}}");
  assert_string_equal(text_at(o, "output/0/type"), "message");
  assert_string_equal(text_at(o, "output/0/status"), "incomplete");
  json_object_put(o);
}

static void test_stop(void **state)
{
  (void)state;
  json_object *o = ask(CHAT, "{" ASK ",\"max_tokens\":12,\"seed\":3}");
  char content[512], stop[4], body[1024];
  snprintf(content, sizeof content, "%s", text_at(o, "choices/0/message/content"));
  json_object_put(o);
  snprintf(stop, sizeof stop, "%.3s", content + 5);
  *strstr(content, stop) = 0;
  snprintf(body, sizeof body, "{" ASK ",\"max_tokens\":12,\"seed\":3,\"stop\":[\"never this\",\"%s\"]}", stop);
  o = ask(CHAT, body);
  assert_string_equal(text_at(o, "choices/0/message/content"), content);
  assert_string_equal(text_at(o, "choices/0/finish_reason"), "stop");
  json_object_put(o);
  snprintf(body, sizeof body, "{\"model\":\"claude-x\"," ASK ",\"max_tokens\":12,\"seed\":3,\"stop_sequences\":[\"%s\"]}", stop);
  o = ask("/v1/messages", body);
  assert_string_equal(text_at(o, "stop_reason"), "stop_sequence");
  assert_string_equal(text_at(o, "stop_sequence"), stop);
  json_object_put(o);
}

/* Biases and forced lengths bend the choice. */
static void test_bias(void **state)
{
  (void)state;
  json_object *o = ask("/v1/completions", "{\"prompt\":\"It is a truth\",\"max_tokens\":5,\"temperature\":0,\"logit_bias\":{\"1928\":100}}");
  assert_string_equal(text_at(o, "choices/0/text"), " truth truth truth truth truth");
  json_object_put(o);
  o = ask("/v1/completions", "{\"prompt\":[[1438,372],\"It is a truth\"],\"max_tokens\":3,\"echo\":true,\"temperature\":0}");
  assert_int_equal(json_object_array_length(at(o, "choices")), 2);
  assert_memory_equal(text_at(o, "choices/0/text"), "It is", 5);
  assert_memory_equal(text_at(o, "choices/1/text"), "It is a truth", 13);
  json_object_put(o);
  o = ask("/v1/completions", "{\"prompt\":\"It is a truth\",\"max_tokens\":0,\"echo\":true}");
  assert_string_equal(text_at(o, "choices/0/text"), "It is a truth");
  json_object_put(o);
}

/* ---- the other protocols' streams ---- */
static void test_responses_stream(void **state)
{
  (void)state;
  stream s;
  json_object *o, *whole = ask("/v1/responses", "{\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"How is your sister?\"}]}],\"max_output_tokens\":9,\"seed\":3}");
  gathered *g = calloc(1, sizeof *g);
  stream_ask(&s, "/v1/responses", "{\"input\":\"How is your sister?\",\"max_output_tokens\":9,\"seed\":3,\"stream\":true,\"tools\":[{\"type\":\"web_search\"},{\"type\":\"custom\",\"name\":\"x\"}]}");
  for (int64_t n = 0; (o = stream_next(&s)); n++) {
    const char *type = text_at(o, "type");
    assert_int_equal(number_at(o, "sequence_number"), n);
    if (!strstr(g->types, type)) add(g->types, type), add(g->types, " ");
    if (!strcmp(type, "response.output_text.delta")) add(g->content, text_at(o, "delta"));
    if (!strcmp(type, "response.output_item.done")) assert_string_equal(text_at(o, "item/content/0/text"), g->content);
    if (!strcmp(type, "response.completed")) {
      assert_string_equal(text_at(o, "response/output/0/content/0/text"), g->content);
      assert_int_equal(number_at(o, "response/usage/output_tokens"), 9);
      g->n_new = 1;
    }
    json_object_put(o);
  }
  assert_string_equal(g->types, "response.created response.in_progress response.output_item.added response.content_part.added response.output_text.delta "
                                "response.output_text.done response.content_part.done response.output_item.done response.completed ");
  assert_string_equal(text_at(whole, "output/0/content/0/text"), g->content);
  json_object_put(whole);
  free(s.text), free(g);
}

static void test_messages_stream(void **state)
{
  (void)state;
  stream s;
  json_object *o, *n = ask("/v1/messages/count_tokens", "{\"model\":\"claude-x\",\"system\":[{\"type\":\"text\",\"text\":\"x-anthropic-billing-header: cch=1;\"},{\"type\":\"text\",\"text\":\"Be kind.\"}]," ASK "}");
  gathered *g = calloc(1, sizeof *g);
  stream_ask(&s, "/v1/messages?beta=true", "{\"model\":\"claude-x\",\"system\":\"Be kind.\"," ASK ",\"max_tokens\":9,\"seed\":3,\"stream\":true}");
  while ((o = stream_next(&s))) {
    const char *type = text_at(o, "type");
    if (!strstr(g->types, type)) add(g->types, type), add(g->types, " ");
    if (!strcmp(type, "message_start")) assert_int_equal(number_at(o, "message/usage/input_tokens"), number_at(n, "input_tokens"));
    if (!strcmp(type, "content_block_delta")) add(g->content, text_at(o, "delta/text"));
    if (!strcmp(type, "message_delta")) assert_string_equal(text_at(o, "delta/stop_reason"), "max_tokens");
    json_object_put(o);
  }
  assert_string_equal(g->types, "message_start content_block_start content_block_delta content_block_stop message_delta message_stop ");
  assert_true(strlen(g->content) > 4);
  json_object_put(n);
  free(s.text), free(g);
}

/* ---- prefixes ---- */
static void test_prefix(void **state)
{
  (void)state;
  static const char *const bodies[] = {
    "{\"messages\":[{\"role\":\"system\",\"content\":\"You are a lady of Hertfordshire, and answer at some length.%s\"},{\"role\":\"user\",\"content\":\"Where do you live?\"}%s],"
    "\"max_tokens\":20,\"seed\":9}",
    ",{\"role\":\"assistant\",\"content\":%s},{\"role\":\"user\",\"content\":\"And your sister?\"}"};
  char body[8192], more[4096], words[1024] = "";
  while (strlen(words) < 4 * 150) strcat(words, " the");
  snprintf(body, sizeof body, bodies[0], words, "");
  json_object *o = ask(CHAT, body), *again = ask(CHAT, body);
  assert_int_equal(number_at(again, "usage/prompt_tokens_details/cached_tokens"), 128); /* the last mark in it */
  assert_string_equal(text_at(again, "choices/0/message/content"), text_at(o, "choices/0/message/content"));
  snprintf(more, sizeof more, bodies[1], json_object_to_json_string(at(o, "choices/0/message/content")));
  snprintf(body, sizeof body, bodies[0], words, more);
  json_object *next = ask(CHAT, body);
  int64_t held = number_at(o, "usage/prompt_tokens") + 19; /* the answer's last token was chosen, not evaluated */
  assert_true(held > 170 && held < 256);
  assert_int_equal(number_at(next, "usage/prompt_tokens_details/cached_tokens"), held);
  json_object_put(o), json_object_put(again), json_object_put(next);
}

static int setup(void **state)
{
  static const char *const options[] = {"-c", "2048", "--think", "off", "-a", "jane", NULL};
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
    cmocka_unit_test(test_server), cmocka_unit_test(test_chat), cmocka_unit_test(test_reasoning), cmocka_unit_test(test_stop), cmocka_unit_test(test_bias),
    cmocka_unit_test(test_responses_stream), cmocka_unit_test(test_messages_stream), cmocka_unit_test(test_prefix),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
