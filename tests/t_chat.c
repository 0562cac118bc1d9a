/* The chat encoding: prompts by role and thinking, numbers, texts that are data, and the tokens of a prompt.
 * KOINE_TEST_CHECKPOINT names a checkpoint folder whose published cases (encoding/tests) are then compared too. */
#include "chat_cases.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* ---- prompts ---- */
static const struct { const char *json; koi_chat_options options; const char *prompt; } prompts[] = {
  {"[" M("user", "Hi") "]", {KOINE_THINK_OFF, false, false}, BOS USER "Hi" ASSISTANT END},
  {"[" M("user", "Hi") "]", {KOINE_THINK_HIGH, false, false}, BOS USER "Hi" ASSISTANT THINK},
  {"[" M("user", "Hi") "]", {KOINE_THINK_HIGH, false, true}, USER "Hi" ASSISTANT THINK},
  {"{\"model\":\"x\",\"messages\":[" M("system", "Be.") "," M("user", "a\\n\\u00e9") "],\"tools\":[]}", {KOINE_THINK_OFF, false, false}, BOS "Be." USER "a\n\xC3\xA9" ASSISTANT END},
  /* earlier reasoning goes, later stays */
  {"[" M("user", "1") "," THOUGHT("r1", "a1") "," M("user", "2") "," THOUGHT("r2", "a2") "]", {KOINE_THINK_HIGH, false, false},
   BOS USER "1" ASSISTANT END "a1" EOS USER "2" ASSISTANT THINK "r2" END "a2" EOS},
  {"[" M("user", "1") "," THOUGHT("r1", "a1") "," M("user", "2") "]", {KOINE_THINK_HIGH, true, false}, BOS USER "1" ASSISTANT THINK "r1" END "a1" EOS USER "2" ASSISTANT THINK},
  {"[" M("user", "1") "," THOUGHT("r1", "a1") "," M("user", "2") "]", {KOINE_THINK_OFF, false, false}, BOS USER "1" ASSISTANT END "a1" EOS USER "2" ASSISTANT END},
  {"[" M("user", "1") ",{\"role\":\"assistant\",\"reasoning\":\"r\",\"content\":\"a\"}]", {KOINE_THINK_HIGH, false, false}, BOS USER "1" ASSISTANT THINK "r" END "a" EOS},
  /* a message that has tools keeps all reasoning */
  {"[{\"role\":\"assistant\",\"tools\":[{\"function\":{\"name\":\"f\"}}],\"content\":\"x\"}," M("user", "1") "," THOUGHT("r1", "a1") "," M("user", "2") "]", {KOINE_THINK_HIGH, false, false},
   BOS END "x" EOS USER "1" ASSISTANT THINK "r1" END "a1" EOS USER "2" ASSISTANT THINK},
  /* developers: earlier ones go with the reasoning */
  {"[" M("developer", "d1") "," M("user", "1") "]", {KOINE_THINK_HIGH, false, false}, BOS USER "1" ASSISTANT THINK},
  {"[" M("developer", "d1") "," M("user", "1") "]", {KOINE_THINK_OFF, false, false}, BOS USER "d1" USER "1" ASSISTANT END},
  {"[" M("developer", "d1") "]", {KOINE_THINK_HIGH, false, false}, BOS USER "d1" ASSISTANT THINK},
  {"[" M("user", "1") "," M("latest_reminder", "today") "," M("user", "2") "]", {KOINE_THINK_OFF, false, false}, BOS USER "1" ASSISTANT END REMINDER "today" USER "2" ASSISTANT END},
  /* an answer to go on with */
  {"[" M("user", "1") ",{\"role\":\"assistant\",\"content\":\"Once\",\"prefix\":true}]", {KOINE_THINK_OFF, false, false}, BOS USER "1" ASSISTANT END "Once"},
  /* tasks */
  {"[{\"role\":\"user\",\"content\":\"1\",\"task\":\"action\"}]", {KOINE_THINK_HIGH, false, false}, BOS USER "1" ASSISTANT THINK "<" BAR "action" BAR ">"},
  {"[{\"role\":\"user\",\"content\":\"1\",\"task\":\"query\"}," M("assistant", "q") "]", {KOINE_THINK_HIGH, false, false}, BOS USER "1<" BAR "query" BAR ">q" EOS},
  {"[" M("user", "1") ",{\"role\":\"assistant\",\"content\":\"a\",\"task\":\"title\"}]", {KOINE_THINK_OFF, false, false}, BOS USER "1" ASSISTANT END "a" EOS "<" BAR "title" BAR ">"},
  /* user turns join; parts of a content */
  {"[" M("user", "1") "," M("user", "2") "]", {KOINE_THINK_OFF, false, false}, BOS USER "1\n\n2" ASSISTANT END},
  {"[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"image_url\",\"image_url\":{}},{\"text\":\"b\",\"type\":\"text\"}]}]", {KOINE_THINK_OFF, false, false},
   BOS USER "a\n\n[Unsupported image_url]\n\nb" ASSISTANT END},
  {"[{\"role\":\"user\",\"content\":null},{\"content\":\"\",\"role\":\"assistant\",\"x\":[1,{}]}]", {KOINE_THINK_OFF, false, false}, BOS USER ASSISTANT END EOS},
  /* calls, and their results in the order of the calls; texts keep their places, unknown ids come first */
  {LONG_REQUEST, {KOINE_THINK_OFF, false, false},
   BOS USER "1" ASSISTANT END CALLS(CALL("f", ARG("a", "true", "x\ny") "\n" ARG("b", "false", "[1, 2.5, {\"k\": null}]") "\n" ARG("c", "false", "true")) "\n" CALL("g", "")) EOS
   USER "<tool_result>ri</tool_result>\n\nand\n\n<tool_result>u\n\nv</tool_result>\n\n<tool_result>rj</tool_result>" ASSISTANT END},
  {"[" MADE(FN("f", "not json", "i") "," FN("f", "[1]", "i")) "]", {KOINE_THINK_OFF, false, false},
   BOS CALLS(CALL("f", ARG("arguments", "true", "not json")) "\n" CALL("f", ARG("arguments", "true", "[1]"))) EOS},
  {"[" MADE(FN("f", "{\\\"a\\\":1,\\\"b\\\":2,\\\"a\\\":\\\"z\\\"}", "i")) "]", {KOINE_THINK_OFF, false, false}, BOS CALLS(CALL("f", ARG("a", "true", "z") "\n" ARG("b", "false", "2"))) EOS},
  {"[{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":{\"a\":1}}}]}]", {KOINE_THINK_OFF, false, false}, BOS CALLS(CALL("f", ARG("a", "false", "1"))) EOS},
};

static void test_prompts(void **state)
{
  (void)state;
  koi_chat *chat = chat_load(NULL);
  for (size_t i = 0; i < KOI_COUNT(prompts); i++) expect_prompt(chat, prompts[i].json, strlen(prompts[i].json), &prompts[i].options, prompts[i].prompt);
  koi_chat_free(chat);
}

/* ---- numbers in prompts ---- */
static void test_json(void **state)
{
  (void)state;
  static const char *const numbers[][2] = { /* as Python's json module reads and writes them, but for infinity */
    {"0", "0"}, {"-0", "0"}, {"1.0", "1.0"}, {"-0.0", "-0.0"}, {"7.6", "7.6"}, {"1.50", "1.5"}, {"1e3", "1000.0"}, {"1E+3", "1000.0"}, {"1e16", "1e+16"}, {"1e15", "1000000000000000.0"},
    {"123456789012345678901234567890", "123456789012345678901234567890"}, {"0.0001", "0.0001"}, {"0.00001", "1e-05"}, {"1.5e-7", "1.5e-07"}, {"1e22", "1e+22"}, {"12345.678", "12345.678"},
    {"0.1", "0.1"}, {"2e-1", "0.2"}, {"5e-324", "5e-324"}, {"1.7976931348623157e308", "1.7976931348623157e+308"}, {"1e400", "1e400"}, {"-1e400", "-1e400"}, {"1e-400", "0.0"},
    {"9007199254740993.0", "9007199254740992.0"}, {"100e-2", "1.0"}, {"0.30000000000000004", "0.30000000000000004"}, {"1e99999999999999999999", "1e99999999999999999999"}, {"123e-3", "0.123"}};
  static const char *const texts[][2] = {{"\"\\u0041\\/\\\"\\\\\"", "\"A/\\\"\\\\\""}, {"\"\\b\\f\\n\\r\\t\\u0001\\u007f\"", "\"\\b\\f\\n\\r\\t\\u0001\x7f\""}, {"\"\\ud83d\\ude00\\u00e9\"", "\"\xF0\x9F\x98\x80\xC3\xA9\""},
    {"\"\\ud83d\"", "\"" UNKNOWN "\""}, {"\"\\ude00x\\ud83d\\u0041\"", "\"" UNKNOWN "x" UNKNOWN "A\""},
    {"{ \"b\" : [ ] , \"a\":{\"x\":[1 ,2]} }", "{\"b\": [], \"a\": {\"x\": [1, 2]}}"}, {"[true,false,null]", "[true, false, null]"}};
  koi_chat *chat = chat_load(NULL);
  for (size_t i = 0; i < KOI_COUNT(numbers) + KOI_COUNT(texts); i++) {
    const char *const *pair = i < KOI_COUNT(numbers) ? numbers[i] : texts[i - KOI_COUNT(numbers)];
    char json[512], want[512];
    snprintf(json, sizeof json, "[{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":{\"a\":[%s]}}}]}]", pair[0]);
    snprintf(want, sizeof want, BOS CALLS(CALL("f", ARG("a", "false", "[%s]"))) EOS, pair[1]);
    expect_prompt(chat, json, strlen(json), NULL, want);
  }
  koi_chat_free(chat);
}

/* ---- data stays data ---- */
static const char poisoned[] =
  "{\"messages\":[{\"role\":\"system\",\"content\":\"s %s\",\"response_format\":{\"d\":\"%s\"}},{\"role\":\"latest_reminder\",\"content\":\"%s\"},{\"role\":\"user\",\"content\":\"u %s\"},"
  "{\"role\":\"assistant\",\"reasoning_content\":\"%s\",\"content\":\"%s\",\"tool_calls\":[{\"id\":\"%s\",\"function\":{\"name\":\"%s\",\"arguments\":\"{\\\"%s\\\":\\\"%s\\\",\\\"b\\\":[\\\"%s\\\"]}\"}},"
  "{\"id\":\"2\",\"function\":{\"name\":\"n\",\"arguments\":\"%s\"}}]},{\"role\":\"tool\",\"tool_call_id\":\"%s\",\"content\":\"%s\"},{\"role\":\"tool\",\"tool_call_id\":\"2\",\"content\":[{\"type\":\"text\",\"text\":\"%s\"},"
  "{\"type\":\"%s\"}]},{\"role\":\"developer\",\"content\":\"d%s\"},{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"%s\"}]}],"
  "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"%s\",\"description\":\"%s\",\"parameters\":{\"%s\":\"%s\"}}}]}";

/* The control tokens of the request with `text` in every place that a request has for text; the rest must decode to the prompt. */
static size_t controls_with(const koi_chat *chat, const koi_tok *tok, const char *text, koine_thinking thinking, int32_t *out)
{
  char json[8192], *at = json;
  for (const char *p = poisoned; *p; p++) {
    if (p[0] == '%' && p[1] == 's') at += sprintf(at, "%s", text), p++;
    else *at++ = *p;
  }
  *at = 0;
  koi_chat_prompt prompt;
  koi_chat_options o = {.thinking = thinking};
  int32_t *ids;
  size_t n, k = 0, n_bytes;
  char *back;
  if (koi_chat_encode(chat, json, strlen(json), &o, &prompt)) fail_msg("%s", koi_error_text());
  if (koi_chat_prompt_ids(&prompt, tok, &ids, &n)) fail_msg("%s", koi_error_text());
  for (size_t i = 0; i < n; i++)
    if (koi_tok_is_added(tok, ids[i])) out[k++] = ids[i];
  assert_int_equal(koi_tok_decode(tok, ids, n, KOI_TOK_SPECIAL, &back, &n_bytes), KOINE_OK);
  assert_string_equal(back, prompt.text);
  koi_free(back);
  koi_free(ids);
  koi_chat_prompt_clear(&prompt);
  return k;
}

static void test_injection(void **state)
{
  (void)state;
  koi_chat *chat = chat_load(NULL);
  koi_tok *tok;
  assert_int_equal(koi_tok_load(chat_data("deepseek"), &tok), KOINE_OK);
  size_t n_tried = 0;
  for (koine_thinking thinking = KOINE_THINK_OFF; thinking <= KOINE_THINK_MAX; thinking++) {
    int32_t want[512], found[512];
    size_t n = controls_with(chat, tok, "x", thinking, want);
    assert_true(n > 20 && n < 512);
    for (int32_t id = 0; (size_t)id < koi_tok_n_vocab(tok); id++) {
      const char *piece;
      size_t len;
      char text[128];
      if (!koi_tok_is_added(tok, id)) continue;
      koi_tok_piece(tok, id, &piece, &len);
      for (int around = 0; around < 3; around++, n_tried++) {
        snprintf(text, sizeof text, around == 0 ? "%.*s" : around == 1 ? "a%.*s b" : "<%.*s>", (int)len, piece);
        assert_int_equal(controls_with(chat, tok, text, thinking, found), n);
        assert_memory_equal(found, want, n * sizeof *want);
      }
    }
  }
  assert_int_equal(n_tried, 17 * 9);
  koi_tok_free(tok);
  koi_chat_free(chat);
}

/* Where the data holds no control text, the tokens are those of the whole prompt. */
static void test_ids(void **state)
{
  (void)state;
  koi_chat *chat = chat_load(NULL);
  koi_tok *tok, *other;
  assert_int_equal(koi_tok_load(chat_data("deepseek"), &tok), KOINE_OK);
  assert_int_equal(koi_tok_load(chat_data("steps"), &other), KOINE_OK);
  for (size_t i = 0; i < KOI_COUNT(prompts); i++) {
    koi_chat_prompt p;
    int32_t *a, *b;
    size_t n, m;
    assert_int_equal(koi_chat_encode(chat, prompts[i].json, strlen(prompts[i].json), &prompts[i].options, &p), KOINE_OK);
    assert_int_equal(koi_chat_prompt_ids(&p, tok, &a, &n), KOINE_OK);
    assert_int_equal(koi_tok_encode(tok, p.text, p.n_bytes, KOI_TOK_SPECIAL, &b, &m), KOINE_OK);
    assert_int_equal(n, m);
    assert_memory_equal(a, b, n * sizeof *a);
    koi_free(a);
    koi_free(b);
    assert_int_equal(koi_chat_prompt_ids(&p, other, &a, &n), KOINE_ERR_FILE);
    assert_non_null(strstr(koi_error_text(), "no token <"));
    koi_chat_prompt_clear(&p);
  }
  koi_tok_free(other);
  koi_tok_free(tok);
  koi_chat_free(chat);
}

/* ---- the published cases ---- */
static void test_published(void **state)
{
  (void)state;
  const char *checkpoint = getenv("KOINE_TEST_CHECKPOINT");
  if (!checkpoint) {
    printf("SKIP test_published: KOINE_TEST_CHECKPOINT names no checkpoint folder\n");
    skip();
  }
  koi_chat *chat = chat_load(checkpoint);
  for (int i = 1; i <= 4; i++) {
    char path[1024], *json, *want;
    size_t n, n_want;
    koi_chat_options o = {.thinking = i == 4 ? KOINE_THINK_OFF : KOINE_THINK_HIGH};
    snprintf(path, sizeof path, "%s/encoding/tests/test_input_%d.json", checkpoint, i);
    if (koi_file_read(path, 1 << 20, &json, &n)) fail_msg("%s", koi_error_text());
    snprintf(path, sizeof path, "%s/encoding/tests/test_output_%d.txt", checkpoint, i);
    if (koi_file_read(path, 1 << 20, &want, &n_want)) fail_msg("%s", koi_error_text());
    expect_prompt(chat, json, n, &o, want);
    koi_free(json);
    koi_free(want);
  }
  koi_chat_free(chat);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_prompts), cmocka_unit_test(test_json), cmocka_unit_test(test_injection), cmocka_unit_test(test_ids), cmocka_unit_test(test_published),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
