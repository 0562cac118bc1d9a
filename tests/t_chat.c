/* The chat encoding: prompts by role and thinking, prose from the checkpoint, texts that are data, answers whole and in pieces.
 * KOINE_TEST_CHECKPOINT names a checkpoint folder whose published cases (encoding/tests) are then compared too. */
#include "text/chat.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#define BAR "\xEF\xBD\x9C"
#define BOS "<" BAR "begin\xE2\x96\x81of\xE2\x96\x81sentence" BAR ">"
#define EOS "<" BAR "end\xE2\x96\x81of\xE2\x96\x81sentence" BAR ">"
#define USER "<" BAR "User" BAR ">"
#define ASSISTANT "<" BAR "Assistant" BAR ">"
#define REMINDER "<" BAR "latest_reminder" BAR ">"
#define THINK "<think>"
#define END "</think>"
#define DSML BAR "DSML" BAR
#define UNKNOWN "\xEF\xBF\xBD"
#define ARG(key, is_text, value) "<" DSML "parameter name=\"" key "\" string=\"" is_text "\">" value "</" DSML "parameter>"
#define CALL(name, args) "<" DSML "invoke name=\"" name "\">\n" args "\n</" DSML "invoke>"
#define CALLS(calls) "\n\n<" DSML "tool_calls>\n" calls "\n</" DSML "tool_calls>"

static const char *data_path(const char *name)
{
  static char path[1024];
  const char *dir = getenv("srcdir");
  snprintf(path, sizeof path, "%s/tests/data/tok/%s", dir ? dir : ".", name);
  return path;
}

static koi_chat *load(const char *folder)
{
  koi_chat *chat = NULL;
  if (koi_chat_load(folder, &chat)) fail_msg("%s", koi_error_text());
  return chat;
}

/* ---- prompts ---- */
#define M(role, content) "{\"role\":\"" role "\",\"content\":\"" content "\"}"
#define THOUGHT(reasoning, content) "{\"role\":\"assistant\",\"reasoning_content\":\"" reasoning "\",\"content\":\"" content "\"}"
#define FN(name, arguments, id) "{\"id\":\"" id "\",\"type\":\"function\",\"function\":{\"name\":\"" name "\",\"arguments\":\"" arguments "\"}}"
#define MADE(calls) "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[" calls "]}"
#define RESULT(id, content) "{\"role\":\"tool\",\"tool_call_id\":\"" id "\",\"content\":" content "}"

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
  {"[" M("user", "1") "," MADE(FN("f", "{\\\"a\\\": \\\"x\\\\ny\\\", \\\"b\\\":[1,2.50,{\\\"k\\\":null}], \\\"c\\\":true}", "i") "," FN("g", "{}", "j")) "," RESULT("j", "\"rj\"") "," M("user", "and") "," RESULT("i", "\"ri\"") ","
   RESULT("?", "[{\"type\":\"text\",\"text\":\"u\"},{\"type\":\"text\",\"text\":\"v\"}]") "]", {KOINE_THINK_OFF, false, false},
   BOS USER "1" ASSISTANT END CALLS(CALL("f", ARG("a", "true", "x\ny") "\n" ARG("b", "false", "[1, 2.5, {\"k\": null}]") "\n" ARG("c", "false", "true")) "\n" CALL("g", "")) EOS
   USER "<tool_result>ri</tool_result>\n\nand\n\n<tool_result>u\n\nv</tool_result>\n\n<tool_result>rj</tool_result>" ASSISTANT END},
  {"[" MADE(FN("f", "not json", "i") "," FN("f", "[1]", "i")) "]", {KOINE_THINK_OFF, false, false},
   BOS CALLS(CALL("f", ARG("arguments", "true", "not json")) "\n" CALL("f", ARG("arguments", "true", "[1]"))) EOS},
  {"[" MADE(FN("f", "{\\\"a\\\":1,\\\"b\\\":2,\\\"a\\\":\\\"z\\\"}", "i")) "]", {KOINE_THINK_OFF, false, false}, BOS CALLS(CALL("f", ARG("a", "true", "z") "\n" ARG("b", "false", "2"))) EOS},
  {"[{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":{\"a\":1}}}]}]", {KOINE_THINK_OFF, false, false}, BOS CALLS(CALL("f", ARG("a", "false", "1"))) EOS},
};

static void expect_prompt(const koi_chat *chat, const char *json, size_t n, const koi_chat_options *options, const char *want)
{
  koi_chat_prompt p;
  if (koi_chat_encode(chat, json, n, options, &p)) fail_msg("%s: %s", json, koi_error_text());
  if (strcmp(p.text, want)) fail_msg("%s:\nfound    %s\nexpected %s", json, p.text, want);
  for (size_t i = 0; i < p.n_segments; i++) {
    assert_true(p.segment[i].end > (i ? p.segment[i - 1].end : 0));
    assert_false(i && !p.segment[i].control && !p.segment[i - 1].control);
  }
  assert_int_equal(p.n_bytes, strlen(p.text));
  assert_int_equal(p.n_segments ? p.segment[p.n_segments - 1].end : 0, p.n_bytes);
  koi_chat_prompt_clear(&p);
}

static void test_prompts(void **state)
{
  (void)state;
  koi_chat *chat = load(NULL);
  assert_true(koi_chat_has_own_wording(chat));
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
  koi_chat *chat = load(NULL);
  for (size_t i = 0; i < KOI_COUNT(numbers) + KOI_COUNT(texts); i++) {
    const char *const *pair = i < KOI_COUNT(numbers) ? numbers[i] : texts[i - KOI_COUNT(numbers)];
    char json[512], want[512];
    snprintf(json, sizeof json, "[{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":{\"a\":[%s]}}}]}]", pair[0]);
    snprintf(want, sizeof want, BOS CALLS(CALL("f", ARG("a", "false", "[%s]"))) EOS, pair[1]);
    expect_prompt(chat, json, strlen(json), NULL, want);
  }
  koi_chat_free(chat);
}

/* ---- prose of a checkpoint ---- */
static char folder[512];

static const char *write_encoding(const char *python)
{
  const char *base = getenv("TMPDIR");
  char path[600];
  snprintf(folder, sizeof folder, "%s/koine_t_chat_%ld", base ? base : "/tmp", (long)getpid());
  mkdir(folder, 0700);
  snprintf(path, sizeof path, "%s/encoding", folder);
  mkdir(path, 0700);
  snprintf(path, sizeof path, "%s/encoding/encoding_dsv4.py", folder);
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  fputs(python, f);
  fclose(f);
  return folder;
}

static void remove_encoding(void)
{
  char path[600];
  snprintf(path, sizeof path, "%s/encoding/encoding_dsv4.py", folder);
  unlink(path);
  snprintf(path, sizeof path, "%s/encoding", folder);
  rmdir(path);
  rmdir(folder);
}

static const char prose[] =
  "\"\"\"Doc.\n\nTOOLS_TEMPLATE = 'not this'\n\"\"\"\nimport re  # TOOLS_TEMPLATE = 'nor this'\n"
  "dsml_token: str = \"" DSML "\"\n"
  "x = (1,\nTOOLS_TEMPLATE == 'nor that')\n"
  "head = 'H\\x21' \\\n  r'\\n'\n"
  "TOOLS_TEMPLATE = (head + \"\"\"[\n{{<{dsml_token}>}} {thinking_start_token}{thinking_end_token} \"q\" </think>\n\"\"\"\n    '{tool_schemas}' # the tools\n    ']\\u00e9')\n"
  "response_format_template: str = (\n    \"F:{schema}\"\n)\n"
  "def f(a='''\nTOOLS_TEMPLATE = 'no'\n'''):\n    TOOLS_TEMPLATE = 'no'\n    return f\"{a}\"\n";
static const char request[] = "[{\"role\":\"system\",\"content\":\"S\",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"n\":1}},{\"name\":\"g\"}],\"response_format\":{\"t\":[]}}," M("user", "u") "]";
#define RENDERED "S\n\nH!\\n[\n{<" DSML ">} " THINK END " \"q\" " END "\n{\"name\": \"f\", \"n\": 1}\n{\"name\": \"g\"}]\xC3\xA9\n\nF:{\"t\": []}" USER "u" ASSISTANT

static void expect_effort(const char *more, koine_thinking thinking, const char *effort)
{
  char python[4096], want[4096];
  koi_chat_options o = {.thinking = thinking};
  snprintf(python, sizeof python, "%s%s", prose, more);
  koi_chat *chat = load(write_encoding(python));
  assert_false(koi_chat_has_own_wording(chat));
  snprintf(want, sizeof want, BOS "%s" RENDERED "%s", effort, thinking ? THINK : END);
  expect_prompt(chat, request, strlen(request), &o, want);
  koi_chat_free(chat);
}

static void test_prose(void **state)
{
  (void)state;
  static const char one[] = "REASONING_EFFORT_MAX = (\n  'Max.\\n'\n  'More.\\n'\n)\n", table[] = "REASONING_EFFORT_PROMPTS = {\n  \"low\": '',\n  'high': ('Hi' +\n 'gh.'),\n 'max': 'Max.', # most\n}\nDEFAULT = 'low'\n";
  expect_effort("", KOINE_THINK_OFF, "");
  expect_effort(one, KOINE_THINK_OFF, "");
  expect_effort(one, KOINE_THINK_HIGH, "");
  expect_effort(one, KOINE_THINK_MAX, "Max.\nMore.\n");
  expect_effort(table, KOINE_THINK_HIGH, "High.");
  expect_effort(table, KOINE_THINK_MAX, "Max.");
  static const struct { const char *python, *says; } bad[] = {
    {"dsml_token = '|DSML|'\n", "another encoding"}, {"bos_token = '<s>'\n", "bos_token"}, {"TOOLS_TEMPLATE = 'no placeholder'\n", "{tool_schemas}"},
    {"TOOLS_TEMPLATE = '{tool_schemas}{other}'\n", "{other}"}, {"tool_output_template = '<r>{content}</r>'\n", "tool_output_template"}};
  koi_chat *chat;
  for (size_t i = 0; i < KOI_COUNT(bad); i++) {
    assert_int_equal(koi_chat_load(write_encoding(bad[i].python), &chat), KOINE_ERR_FILE);
    if (!strstr(koi_error_text(), bad[i].says)) fail_msg("%s: %s", bad[i].python, koi_error_text());
  }
  static const char *const strange[] = {"", "TOOLS_TEMPLATE = 'open\n", "TOOLS_TEMPLATE = \"\"\"open", "TOOLS_TEMPLATE = (((((('x'", "A = {'k'", "A = {'k': {", "TOOLS_TEMPLATE = f'{tool_schemas}'\n",
    "TOOLS_TEMPLATE = '{tool_schemas}'.strip()\n", "TOOLS_TEMPLATE = '\\N{BULLET}{tool_schemas}'\n", "TOOLS_TEMPLATE =", "\\", "TOOLS_TEMPLATE = unknown + '{tool_schemas}'\n"};
  for (size_t i = 0; i < KOI_COUNT(strange); i++) { /* not understood: our own wording then */
    chat = load(write_encoding(strange[i]));
    koi_chat_prompt p;
    assert_int_equal(koi_chat_encode(chat, request, strlen(request), NULL, &p), KOINE_OK);
    assert_non_null(strstr(p.text, "# Functions"));
    koi_chat_prompt_clear(&p);
    koi_chat_free(chat);
  }
  remove_encoding();
  chat = load(folder); /* no such file: our own too */
  assert_true(koi_chat_has_own_wording(chat));
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
  koi_chat *chat = load(NULL);
  koi_tok *tok;
  assert_int_equal(koi_tok_load(data_path("deepseek"), &tok), KOINE_OK);
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
  koi_chat *chat = load(NULL);
  koi_tok *tok, *other;
  assert_int_equal(koi_tok_load(data_path("deepseek"), &tok), KOINE_OK);
  assert_int_equal(koi_tok_load(data_path("steps"), &other), KOINE_OK);
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

/* ---- requests that are none ---- */
static void test_requests(void **state)
{
  (void)state;
  static const struct { const char *json, *says; } bad[] = {
    {"", "request"}, {"[]", "no message"}, {"{}", "messages"}, {"[" M("user", "x") "] x", "follows"}, {"[" M("robot", "x") "]", "message 0"}, {"[" M("user", "x") "," M("User", "x") "]", "message 1"},
    {"[{\"content\":\"x\"}]", "role"}, {"[{\"role\":\"user\",\"content\":7}]", "content"}, {"[{\"role\":\"user\",\"content\":[7]}]", "message 0"}, {"[" M("developer", "") "]", "developer"},
    {"[{\"role\":\"user\",\"content\":\"x\",\"task\":\"nap\"}]", "task"}, {"[{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"arguments\":\"{}\"}}]}]", "name"},
    {"[{\"role\":\"assistant\",\"tool_calls\":7}]", "array"}, {"[{\"role\":\"system\",\"tools\":[{\"type\":\"web_search\"}]}]", "function"}, {"[{\"ro\\u0000le\":\"user\"}]", "role"}, {"[" M("user\\u0000", "x") "]", "unknown role"},
    {"[" M("user", "\xFF") "]", "UTF-8"}, {"{\"messages\":[" M("user", "x") "],\"messages\":[" M("user", "y") "]}", "twice"}, {"[" M("user", "\n") "]", "control character"}, {"{\"messages\":7}", "messages"},
    {"[{\"role\":\"assistant\",\"wo_eos\":1}]", "true or false"}, {"[{\"role\":\"system\",\"tools\":[{\"function\":7}]}]", "function"}, {"{\"messages\":[" M("user", "x") "],\"tools\":{}}", "request"}};
  koi_chat *chat = load(NULL);
  koi_chat_prompt p;
  for (size_t i = 0; i < KOI_COUNT(bad); i++) {
    koine_status s = koi_chat_encode(chat, bad[i].json, strlen(bad[i].json), NULL, &p);
    if (s != KOINE_ERR_ARG || !strstr(koi_error_text(), bad[i].says)) fail_msg("%s: expected an error with \"%s\", found %d \"%s\"", bad[i].json, bad[i].says, s, s ? koi_error_text() : "");
  }
  char deep[400] = "[{\"role\":\"system\",\"response_format\":";
  for (int i = 0; i < 150; i++) strcat(deep, "[");
  assert_int_equal(koi_chat_encode(chat, deep, strlen(deep), NULL, &p), KOINE_ERR_ARG);
  assert_non_null(strstr(koi_error_text(), "nested"));
  for (size_t n = 0; n < strlen(prompts[20].json); n++) { /* every beginning of a request, exactly as long as it is */
    char *part = malloc(n ? n : 1);
    memcpy(part, prompts[20].json, n);
    assert_int_equal(koi_chat_encode(chat, part, n, NULL, &p), KOINE_ERR_ARG);
    free(part);
  }
  koi_chat_free(chat);
}

/* ---- members that change the prompt are used, or refused by name ---- */
#define SCHEMA "\n\nAnswer with JSON that fits this schema, and with nothing else:\n"
#define ASK(members) "{\"messages\":[" M("user", "u") "]" members "}"
#define F "{\"name\":\"f\",\"parameters\":{}}"
#define CALLED(member) "[{\"role\":\"assistant\",\"content\":null," member "}]"
static const struct { const char *json, *prompt; } used[] = {
  {ASK(",\"response_format\":{\"type\":\"json_object\"}"), BOS SCHEMA "{\"type\": \"object\"}" USER "u" ASSISTANT END},
  {ASK(",\"response_format\":{\"type\":\"text\"}"), BOS USER "u" ASSISTANT END},
  {ASK(",\"response_format\":null"), BOS USER "u" ASSISTANT END},
  {ASK(",\"response_format\":{}"), BOS USER "u" ASSISTANT END},
  {ASK(",\"response_format\":{\"json_schema\":{\"name\":\"n\",\"schema\":{\"x\":[1]}},\"type\":\"json_schema\"}"), BOS SCHEMA "{\"x\": [1]}" USER "u" ASSISTANT END},
  {ASK(",\"response_format\":{\"properties\":{\"a\":{}}}"), BOS SCHEMA "{\"properties\": {\"a\": {}}}" USER "u" ASSISTANT END},
  {"{\"response_format\":{\"type\":\"json_object\"},\"messages\":[" M("system", "S") "," M("user", "u") "]}", BOS "S" SCHEMA "{\"type\": \"object\"}" USER "u" ASSISTANT END},
  {ASK(",\"tools\":[{\"type\":\"function\",\"function\":" F "}],\"tool_choice\":\"none\""), BOS USER "u" ASSISTANT END},
  {ASK(",\"functions\":[" F "],\"function_call\":\"none\""), BOS USER "u" ASSISTANT END},
  {ASK(",\"tool_choice\":\"auto\",\"temperature\":1,\"unknown\":{\"x\":[]},\"reasoning_effort\":null"), BOS USER "u" ASSISTANT END},
  {CALLED("\"function_call\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}"), BOS CALLS(CALL("f", ARG("a", "false", "1"))) EOS},
  {CALLED("\"tool_calls\":[{\"function\":{\"name\":\"f\"}}]"), BOS CALLS(CALL("f", "")) EOS},
  {CALLED("\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":null}}]"), BOS CALLS(CALL("f", "")) EOS},
  {CALLED("\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":\" \\n\"}}]"), BOS CALLS(CALL("f", "")) EOS},
  {CALLED("\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":\" null\\n\"}}]"), BOS CALLS(CALL("f", "")) EOS},
  {CALLED("\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":\\\"\\\\ud83d\\\"}\"}}]"), BOS CALLS(CALL("f", ARG("a", "true", UNKNOWN))) EOS},
  {"[" M("user", "cut \\ud83d") "]", BOS USER "cut " UNKNOWN ASSISTANT END},
  {CALLED("\"refusal\":\"no\""), BOS "no" EOS},
  {CALLED("\"defects\":[\"x\"],\"name\":\"n\""), BOS EOS},
  {"[" M("user", "u") "," MADE(FN("f", "{}", "i")) ",{\"role\":\"function\",\"name\":\"f\",\"content\":\"r\"}]",
   BOS USER "u" ASSISTANT END CALLS(CALL("f", "")) EOS USER "<tool_result>r</tool_result>" ASSISTANT END},
};
static const struct { const char *json, *says; } refused[] = {
  {ASK(",\"tool_choice\":\"required\""), "tool_choice"}, {ASK(",\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"f\"}}"), "tool_choice"},
  {ASK(",\"function_call\":{\"name\":\"f\"}"), "function_call"}, {ASK(",\"response_format\":{\"type\":\"grammar\"}"), "response_format"},
  {ASK(",\"reasoning_effort\":\"high\""), "reasoning_effort"}, {ASK(",\"chat_template_kwargs\":{}"), "chat_template_kwargs"},
  {"[{\"role\":\"user\",\"content\":\"u\",\"response_format\":{\"a\":1}}]", "response_format of"},
  {"[{\"role\":\"user\",\"content\":\"u\",\"tools\":[" F "]}]", "tools"}, {"[{\"role\":\"user\",\"content\":\"u\",\"images\":[\"x\"]}]", "images"},
  {"[{\"role\":\"user\",\"tool_calls\":[{\"function\":{\"name\":\"f\"}}]}]", "calls are an assistant's"},
};

static void test_members(void **state)
{
  (void)state;
  koi_chat *chat = load(NULL);
  koi_chat_prompt p;
  for (size_t i = 0; i < KOI_COUNT(used); i++) expect_prompt(chat, used[i].json, strlen(used[i].json), NULL, used[i].prompt);
  for (size_t i = 0; i < KOI_COUNT(refused); i++) {
    koine_status s = koi_chat_encode(chat, refused[i].json, strlen(refused[i].json), NULL, &p);
    if (s != KOINE_ERR_UNSUPPORTED || !strstr(koi_error_text(), refused[i].says)) fail_msg("%s: expected a refusal with \"%s\", found %d \"%s\"", refused[i].json, refused[i].says, s, s ? koi_error_text() : "");
  }
  assert_int_equal(koi_chat_encode(chat, ASK(",\"response_format\":{\"type\":\"json_schema\"}"), strlen(ASK(",\"response_format\":{\"type\":\"json_schema\"}")), NULL, &p), KOINE_ERR_ARG);
  /* tools of the request, where nothing hides them */
  assert_int_equal(koi_chat_encode(chat, ASK(",\"functions\":[" F "]"), strlen(ASK(",\"functions\":[" F "]")), NULL, &p), KOINE_OK);
  assert_non_null(strstr(p.text, "\n{\"name\": \"f\", \"parameters\": {}}\n"));
  koi_chat_prompt_clear(&p);
  koi_chat_free(chat);
}

/* U+0000 is a character like others: in texts, results, arguments and names of arguments. */
static void test_zeros(void **state)
{
  (void)state;
  static const char json[] = "[" M("user", "a\\u0000b") "," MADE(FN("f", "{\\\"k\\\\u0000\\\":\\\"v\\\\u0000w\\\",\\\"j\\\":[\\\"\\\\u0000\\\"]}", "i")) "," RESULT("i", "\"ELF\\u0000x\"") "]";
  static const char want[] = BOS USER "a\0b" ASSISTANT END CALLS(CALL("f", ARG("k\0", "true", "v\0w") "\n" ARG("j", "false", "[\"\\u0000\"]"))) EOS
                             USER "<tool_result>ELF\0x</tool_result>" ASSISTANT END;
  static const char answer[] = CALLS(CALL("f\0g", ARG("a\0", "true", "\0"))) EOS;
  koi_chat *chat = load(NULL);
  koi_chat_prompt p;
  koi_chat_answer a;
  char *text;
  if (koi_chat_encode(chat, json, strlen(json), NULL, &p)) fail_msg("%s", koi_error_text());
  assert_int_equal(p.n_bytes, sizeof want - 1);
  assert_memory_equal(p.text, want, sizeof want);
  koi_chat_prompt_clear(&p);
  assert_int_equal(koi_chat_parse(answer, sizeof answer - 1, KOINE_THINK_OFF, &a), KOINE_OK);
  assert_int_equal(koi_chat_answer_json(&a, &text), KOINE_OK);
  assert_non_null(strstr(text, "{\"name\": \"f\\u0000g\", \"arguments\": \"{\\\"a\\\\u0000\\\": \\\"\\\\u0000\\\"}\"}"));
  koi_free(text);
  koi_chat_answer_clear(&a);
  koi_chat_free(chat);
}

/* ---- answers ---- */
static const struct { koine_thinking thinking; const char *text, *reasoning, *content, *calls, *defect; } answers[] = {
  {KOINE_THINK_HIGH, "why" END "because" EOS, "why", "because", "", NULL},
  {KOINE_THINK_HIGH, THINK "why" END "because", "why", "because", "", NULL},
  {KOINE_THINK_OFF, "because" EOS, "", "because", "", NULL},
  {KOINE_THINK_OFF, "", "", "", "", NULL},
  {KOINE_THINK_HIGH, END, "", "", "", NULL},
  {KOINE_THINK_HIGH, "still think", "still think", "", "", "not closed"},
  {KOINE_THINK_HIGH, "still" EOS, "still", "", "", "not closed"},
  {KOINE_THINK_OFF, "a < b </thin \n\n<" BAR " b", "", "a < b </thin \n\n<" BAR " b", "", NULL},
  {KOINE_THINK_OFF, "a" END "b", "", "a" END "b", "", "control token"},
  {KOINE_THINK_HIGH, "r" END "c" CALLS(CALL("f", ARG("a", "true", "x\"y\n") "\n" ARG("b", "false", "[1, 2]"))) EOS, "r", "c", "f{\"a\": \"x\\\"y\\n\", \"b\": [1, 2]};", NULL},
  {KOINE_THINK_OFF, CALLS(CALL("f", "") "\n" CALL("g \"q\"", ARG("k", "false", "1e5"))), "", "", "f{};g \"q\"{\"k\": 1e5};", NULL},
  {KOINE_THINK_OFF, "c\n\n" CALLS(CALL("f", ARG("a", "true", "2>&1"))), "", "c\n\n", "f{\"a\": \"2>&1\"};", NULL},
  {KOINE_THINK_OFF, "c\n<" DSML "tool_calls>" CALL("f", "") "</" DSML "tool_calls>", "", "c\n", "f{};", NULL},
  {KOINE_THINK_HIGH, "r" CALLS(CALL("f", "")) EOS, "r", "", "f{};", "inside the reasoning"},
  {KOINE_THINK_OFF, "c" CALLS(CALL("f", ARG("a", "true", "1")) "\n" CALL("g", ARG("a", "true", "1") "\n" ARG("a", "true", "2"))), "", "c\n\n" CALL("g", ARG("a", "true", "1") "\n" ARG("a", "true", "2")), "f{\"a\": \"1\"};", "given twice"},
  {KOINE_THINK_OFF, "c\n\n<" DSML "tool_calls>\n" CALL("f", "") "\n<" DSML "invoke name=\"g\">\n<" DSML "parameter name=\"a\" string=\"true\">hal", "",
   "c\n\n<" DSML "invoke name=\"g\">\n<" DSML "parameter name=\"a\" string=\"true\">hal", "f{};", "breaks off"},
  {KOINE_THINK_OFF, "c\n\n<" DSML "tool_calls>\n" CALL("f", ""), "", "c", "f{};", "break off"},
  {KOINE_THINK_OFF, "c\n\n<" DSML "tool_calls", "", "c\n\n<" DSML "tool_calls", "", "break off"},
  {KOINE_THINK_OFF, CALLS(CALL("f", ARG("a", "false", "no json"))), "", "", "f{\"a\": \"no json\"};", "no JSON"},
  {KOINE_THINK_OFF, CALLS(CALL("f", "")) "more" EOS, "", "more", "f{};", "after the tool calls"},
  {KOINE_THINK_OFF, "c" CALLS(CALL("f", "")) "\n more\n" EOS, "", "c\n\nmore\n", "f{};", "after the tool calls"},
  {KOINE_THINK_OFF, "c" CALLS(CALL("f", "")) CALLS(CALL("g", "")) EOS, "", "c", "f{};g{};", "more than one block"},
  {KOINE_THINK_OFF, CALLS(CALL("f", "") CALL("f", "x")), "", CALL("f", "x"), "f{};", "without a name"},
  {KOINE_THINK_OFF, CALLS("<" DSML "invoke name=\"f\">\n<" DSML "parameter name=\"a\">1</" DSML "parameter>\n</" DSML "invoke>"), "",
   CALLS("<" DSML "invoke name=\"f\">\n<" DSML "parameter name=\"a\">1</" DSML "parameter>\n</" DSML "invoke>"), "", "without string"},
  {KOINE_THINK_OFF, CALLS(CALL("f", "") "\nand\n" CALL("g", "")), "", "and", "f{};g{};", "between tool calls"},
  /* a bad call keeps its text, and the good one behind it is given */
  {KOINE_THINK_OFF, CALLS(CALL("f", "bad") "\n" CALL("g", ARG("b", "true", "x"))) EOS, "", "\n\n<" DSML "tool_calls>\n" CALL("f", "bad"), "g{\"b\": \"x\"};", "without a name"},
  {KOINE_THINK_OFF, "c" CALLS("<" DSML "invoke name=\"f\">\n" CALL("g", "")) EOS, "", "c\n\n<" DSML "tool_calls>\n<" DSML "invoke name=\"f\">\n", "g{};", "between parameters"},
  {KOINE_THINK_OFF, CALLS(CALL("f", ARG("a", "true", "x</" DSML "parameter>y"))) EOS, "", CALLS(CALL("f", ARG("a", "true", "x</" DSML "parameter>y"))), "", "between parameters"},
  {KOINE_THINK_OFF, "see <" DSML "tool_calls> and more\n" EOS, "", "see <" DSML "tool_calls> and more\n", "", "break off"},
  {KOINE_THINK_OFF, "see <" DSML "tool_calls>." CALLS(CALL("f", "")) EOS, "", "see <" DSML "tool_calls>.\n\n", "f{};", "between tool calls"},
  {KOINE_THINK_OFF, "<" DSML "toolcalls>\n" CALL("f", "") EOS, "", "<" DSML "toolcalls>\n" CALL("f", ""), "", "control token"},
  {KOINE_THINK_OFF, "<" DSML "tool_calls x>" CALL("f", ""), "", "<" DSML "tool_calls x>" CALL("f", ""), "", "without its >"},
  /* reasoning that is cut by calls goes on behind them; markup quoted in it does not swallow the answer */
  {KOINE_THINK_HIGH, "r" CALLS(CALL("f", "")) END "c" EOS, "r", "c", "f{};", "inside the reasoning"},
  {KOINE_THINK_HIGH, "a <" DSML "tool_calls> tag" END "c" EOS, "a <" DSML "tool_calls> tag", "c", "", "tool calls"},
  {KOINE_THINK_OFF, CALLS("<" DSML "invoke name=\"\">\n</" DSML "invoke>"), "", CALLS("<" DSML "invoke name=\"\">\n</" DSML "invoke>"), "", "without a name"},
  {KOINE_THINK_OFF, "a" USER "b" EOS, "", "a" USER "b", "", "control token"},
  /* what is no UTF-8 */
  {KOINE_THINK_HIGH, "\xFFr\xC3" END "\xE2\x82" "c\xF0\x9F" EOS, UNKNOWN "r" UNKNOWN, UNKNOWN "c" UNKNOWN, "", NULL},
  {KOINE_THINK_OFF, CALLS(CALL("f\xFF", ARG("\xC3", "true", "\xFF"))) EOS, "", "", "f" UNKNOWN "{\"" UNKNOWN "\": \"" UNKNOWN "\"};", NULL},
};

static void expect_answer(size_t i, const char *how, const koi_chat_answer *a)
{
  char calls[1024] = "";
  for (size_t k = 0; k < a->n_calls; k++) sprintf(calls + strlen(calls), "%s%s;", a->call[k].name, a->call[k].arguments);
  const char *told = NULL;
  for (size_t k = 0; k < a->n_defects && answers[i].defect; k++)
    if (strstr(a->defect[k], answers[i].defect)) told = a->defect[k];
  bool same = !strcmp(a->reasoning, answers[i].reasoning) && !strcmp(a->content, answers[i].content) && !strcmp(calls, answers[i].calls) && a->n_content == strlen(a->content) &&
              !answers[i].defect == !told && (told || !a->n_defects) && a->ended == (strstr(answers[i].text, EOS) != NULL);
  if (!same) fail_msg("answer %zu (%s): reasoning \"%s\", content \"%s\", calls \"%s\", defect %s", i, how, a->reasoning, a->content, calls, a->n_defects ? a->defect[0] : "none");
}

typedef struct gathered {
  char part[4][512];
  size_t n[4], times[4];
} gathered;

static bool gather(void *user, koine_chat_part part, const char *text, size_t n)
{
  gathered *g = user;
  assert_true(n > 0 && g->n[part] + n < sizeof g->part[part]);
  g->times[part]++;
  memcpy(g->part[part] + g->n[part], text, n);
  g->n[part] += n;
  return true;
}

/* One id after the other, and the same from their text with the places where control tokens begin. */
static void expect_stream_ids(size_t i, const koi_tok *tok, const int32_t *ids, size_t n_ids)
{
  koi_chat_stream *s, *pushed;
  koi_chat_answer a;
  gathered g = {0}, h = {0};
  assert_int_equal(koi_chat_stream_open(tok, answers[i].thinking, gather, &g, &s), KOINE_OK);
  assert_int_equal(koi_chat_stream_open(NULL, answers[i].thinking, gather, &h, &pushed), KOINE_OK);
  for (size_t k = 0; k < n_ids; k++) {
    const char *bytes;
    size_t n;
    koi_tok_piece(tok, ids[k], &bytes, &n);
    char begins[256] = {koi_tok_is_added(tok, ids[k])};
    assert_int_equal(koi_chat_stream_feed_ids(s, &ids[k], 1), KOINE_OK);
    for (size_t b = 0; b < n; b++) assert_int_equal(koi_chat_stream_push(pushed, bytes + b, begins + b, 1), KOINE_OK);
  }
  if (n_ids) assert_int_equal(koi_chat_stream_feed(s, "x", 1), KOINE_ERR_STATE);
  assert_int_equal(koi_chat_stream_end(s, &a), KOINE_OK);
  expect_answer(i, "stream of ids", &a);
  koi_chat_answer_clear(&a);
  assert_int_equal(koi_chat_stream_end(pushed, &a), KOINE_OK);
  expect_answer(i, "stream of marked text", &a);
  assert_memory_equal(&g, &h, sizeof g.part);
  koi_chat_answer_clear(&a);
  koi_chat_stream_close(s);
  koi_chat_stream_close(pushed);
}

static void test_answers(void **state)
{
  (void)state;
  koi_tok *tok;
  assert_int_equal(koi_tok_load(data_path("deepseek"), &tok), KOINE_OK);
  for (size_t i = 0; i < KOI_COUNT(answers); i++) {
    koi_chat_answer a;
    size_t n = strlen(answers[i].text), n_ids;
    int32_t *ids;
    assert_int_equal(koi_chat_parse(answers[i].text, n, answers[i].thinking, &a), KOINE_OK);
    expect_answer(i, "text", &a);
    koi_chat_answer_clear(&a);
    assert_int_equal(koi_tok_encode(tok, answers[i].text, n, KOI_TOK_SPECIAL, &ids, &n_ids), KOINE_OK);
    assert_int_equal(koi_chat_parse_ids(tok, ids, n_ids, answers[i].thinking, &a), KOINE_OK);
    expect_answer(i, "ids", &a);
    koi_chat_answer_clear(&a);
    expect_stream_ids(i, tok, ids, n_ids);
    koi_free(ids);
    for (size_t size = 1; size <= 23; size++) { /* in pieces of any size the same */
      koi_chat_stream *s;
      gathered g = {0};
      assert_int_equal(koi_chat_stream_open(NULL, answers[i].thinking, gather, &g, &s), KOINE_OK);
      for (size_t k = 0; k < n; k += size) assert_int_equal(koi_chat_stream_feed(s, answers[i].text + k, n - k < size ? n - k : size), KOINE_OK);
      assert_int_equal(koi_chat_stream_end(s, &a), KOINE_OK);
      assert_int_equal(koi_chat_stream_feed(s, "x", 1), KOINE_ERR_STATE);
      expect_answer(i, "stream", &a);
      assert_int_equal(g.times[KOINE_CHAT_TOOL_CALL], a.n_calls);
      assert_int_equal(g.times[KOINE_CHAT_DEFECT], a.n_defects);
      assert_string_equal(g.part[KOINE_CHAT_REASONING], a.reasoning);
      assert_string_equal(g.part[KOINE_CHAT_CONTENT], a.content);
      koi_chat_answer_clear(&a);
      koi_chat_stream_close(s);
    }
  }
  koi_tok_free(tok);
}

static bool refuse(void *user, koine_chat_part part, const char *text, size_t n)
{
  (void)user, (void)part, (void)text, (void)n;
  return false;
}

/* What is certain comes at once, and a receiver may stop. */
static void test_stream(void **state)
{
  (void)state;
  static const struct { const char *in; koine_chat_part part; const char *so_far; } steps[] = {
    {"<thi", KOINE_CHAT_REASONING, ""}, {"s is", KOINE_CHAT_REASONING, "<this is"}, {" so\n", KOINE_CHAT_REASONING, "<this is so"}, {"</thi", KOINE_CHAT_REASONING, "<this is so\n"}, {"nk>Yes", KOINE_CHAT_CONTENT, "Yes"},
    {".\n\n", KOINE_CHAT_CONTENT, "Yes."}, {"But", KOINE_CHAT_CONTENT, "Yes.\n\nBut"}, {"\n\n<" BAR, KOINE_CHAT_CONTENT, "Yes.\n\nBut"}, {"DSML" BAR "tool_calls", KOINE_CHAT_CONTENT, "Yes.\n\nBut"}, {">", KOINE_CHAT_CONTENT, "Yes.\n\nBut"}};
  koi_chat_stream *s;
  gathered g = {0};
  assert_int_equal(koi_chat_stream_open(NULL, KOINE_THINK_HIGH, gather, &g, &s), KOINE_OK);
  for (size_t i = 0; i < KOI_COUNT(steps); i++) {
    assert_int_equal(koi_chat_stream_feed(s, steps[i].in, strlen(steps[i].in)), KOINE_OK);
    if (strcmp(g.part[steps[i].part], steps[i].so_far)) fail_msg("step %zu: \"%s\", expected \"%s\"", i, g.part[steps[i].part], steps[i].so_far);
  }
  koi_chat_stream_close(s);
  assert_int_equal(koi_chat_stream_open(NULL, KOINE_THINK_OFF, refuse, NULL, &s), KOINE_OK);
  assert_int_equal(koi_chat_stream_feed(s, "x", 1), KOINE_ERR_CANCELLED);
  koi_chat_stream_close(s);
}

/* From tokens only control tokens count: a model may write about markup. */
static void test_answer_ids(void **state)
{
  (void)state;
  static const char before[] = "the tag " END " and" CALLS(CALL("f", "")), after[] = "done";
  koi_tok *tok;
  koi_tok_ids ids = {0};
  koi_chat_answer a;
  assert_int_equal(koi_tok_load(data_path("deepseek"), &tok), KOINE_OK);
  assert_int_equal(koi_tok_append(tok, before, strlen(before), 0, &ids), KOINE_OK);
  assert_int_equal(koi_tok_push(&ids, koi_tok_id(tok, END)), KOINE_OK);
  assert_int_equal(koi_tok_append(tok, after, strlen(after), 0, &ids), KOINE_OK);
  assert_int_equal(koi_tok_push(&ids, koi_tok_eos(tok)), KOINE_OK);
  assert_int_equal(koi_chat_parse_ids(tok, ids.v, ids.n, KOINE_THINK_HIGH, &a), KOINE_OK);
  assert_string_equal(a.reasoning, before);
  assert_string_equal(a.content, after);
  assert_true(a.ended && !a.n_defects && !a.n_calls);
  koi_chat_answer_clear(&a);
  koi_free(ids.v);
  ids = (koi_tok_ids){0}; /* behind the end token there is no answer; by text it may be quoted */
  assert_int_equal(koi_tok_append(tok, "a" EOS "b", strlen("a" EOS "b"), KOI_TOK_SPECIAL, &ids), KOINE_OK);
  assert_int_equal(koi_chat_parse_ids(tok, ids.v, ids.n, KOINE_THINK_OFF, &a), KOINE_OK);
  assert_string_equal(a.content, "a");
  assert_true(a.ended && a.n_defects == 1 && strstr(a.defect[0], "after the end"));
  koi_chat_answer_clear(&a);
  assert_int_equal(koi_chat_parse("a" EOS "b" EOS "\n", strlen("a" EOS "b" EOS "\n"), KOINE_THINK_OFF, &a), KOINE_OK);
  assert_string_equal(a.content, "a" EOS "b");
  assert_true(a.ended && a.n_defects == 1 && strstr(a.defect[0], "control token"));
  koi_chat_answer_clear(&a);
  koi_free(ids.v);
  koi_tok_free(tok);
}

/* An answer becomes a message, that message a prompt, and the prompt's last turn is the answer. */
static void test_round_trip(void **state)
{
  (void)state;
  koi_chat *chat = load(NULL);
  for (size_t i = 0; i < KOI_COUNT(answers); i++) {
    koi_chat_answer a;
    koi_chat_prompt p;
    koi_chat_options o = {.thinking = answers[i].thinking};
    char *message, json[2048];
    if (answers[i].defect || !strstr(answers[i].text, EOS) || strstr(answers[i].text, "\xFF")) continue;
    assert_int_equal(koi_chat_parse(answers[i].text, strlen(answers[i].text), o.thinking, &a), KOINE_OK);
    assert_int_equal(koi_chat_answer_json(&a, &message), KOINE_OK);
    snprintf(json, sizeof json, "[" M("user", "u") ",%s]", message);
    if (koi_chat_encode(chat, json, strlen(json), &o, &p)) fail_msg("%s: %s", json, koi_error_text());
    assert_true(p.n_bytes > strlen(answers[i].text));
    assert_string_equal(p.text + p.n_bytes - strlen(answers[i].text), answers[i].text);
    koi_chat_prompt_clear(&p);
    koi_free(message);
    koi_chat_answer_clear(&a);
  }
  koi_chat_free(chat);
}

static void test_memory(void **state)
{
  (void)state;
  const char *json = prompts[20].json, *text = answers[10].text;
  static const char python[] = "TOOLS_TEMPLATE = 'a' + '{tool_schemas}'\nREASONING_EFFORT_T = {'max': 'm'}\n";
  write_encoding(python);
  for (long at = 1;; at++) {
    koi_chat *chat = NULL;
    koi_chat_prompt p = {0};
    koi_chat_answer a = {0};
    koi_chat_stream *s = NULL;
    gathered g = {0};
    char *message = NULL;
    koi_alloc_fail_at(at);
    koine_status status = koi_chat_load(folder, &chat);
    if (status == KOINE_OK) status = koi_chat_encode(chat, json, strlen(json), NULL, &p);
    if (status == KOINE_OK) status = koi_chat_stream_open(NULL, KOINE_THINK_HIGH, gather, &g, &s);
    if (status == KOINE_OK) status = koi_chat_stream_feed(s, text, strlen(text));
    if (status == KOINE_OK) status = koi_chat_stream_end(s, &a);
    if (status == KOINE_OK) status = koi_chat_answer_json(&a, &message);
    koi_alloc_fail_at(0);
    koi_free(message);
    koi_chat_answer_clear(&a);
    koi_chat_stream_close(s);
    koi_chat_prompt_clear(&p);
    koi_chat_free(chat);
    if (status == KOINE_OK) break;
    assert_int_equal(status, KOINE_ERR_MEMORY);
    assert_true(at < 2000);
  }
  remove_encoding();
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
  koi_chat *chat = load(checkpoint);
  assert_false(koi_chat_has_own_wording(chat));
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
    cmocka_unit_test(test_prompts), cmocka_unit_test(test_json), cmocka_unit_test(test_prose), cmocka_unit_test(test_injection), cmocka_unit_test(test_ids), cmocka_unit_test(test_requests), cmocka_unit_test(test_members), cmocka_unit_test(test_zeros),
    cmocka_unit_test(test_answers), cmocka_unit_test(test_stream), cmocka_unit_test(test_answer_ids), cmocka_unit_test(test_round_trip), cmocka_unit_test(test_memory), cmocka_unit_test(test_published),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
