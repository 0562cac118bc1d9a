/* Chat requests: what is none, members that change the prompt, prose that a checkpoint's encoding file brings, zero bytes. */
#include "chat_cases.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

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
  koi_chat *chat = chat_load(NULL);
  koi_chat_prompt p;
  for (size_t i = 0; i < KOI_COUNT(bad); i++) {
    koine_status s = koi_chat_encode(chat, bad[i].json, strlen(bad[i].json), NULL, &p);
    if (s != KOINE_ERR_ARG || !strstr(koi_error_text(), bad[i].says)) fail_msg("%s: expected an error with \"%s\", found %d \"%s\"", bad[i].json, bad[i].says, s, s ? koi_error_text() : "");
  }
  char deep[400] = "[{\"role\":\"system\",\"response_format\":";
  for (int i = 0; i < 150; i++) strcat(deep, "[");
  assert_int_equal(koi_chat_encode(chat, deep, strlen(deep), NULL, &p), KOINE_ERR_ARG);
  assert_non_null(strstr(koi_error_text(), "nested"));
  for (size_t n = 0; n < strlen(LONG_REQUEST); n++) { /* every beginning of a request, exactly as long as it is */
    char *part = malloc(n ? n : 1);
    memcpy(part, LONG_REQUEST, n);
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
  koi_chat *chat = chat_load(NULL);
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
  koi_chat *chat = chat_load(NULL);
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

/* ---- prose of a checkpoint ---- */
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
  koi_chat *chat = chat_load(chat_write_encoding(python));
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
    assert_int_equal(koi_chat_load(chat_write_encoding(bad[i].python), &chat), KOINE_ERR_FILE);
    if (!strstr(koi_error_text(), bad[i].says)) fail_msg("%s: %s", bad[i].python, koi_error_text());
  }
  static const char *const strange[] = {"", "TOOLS_TEMPLATE = 'open\n", "TOOLS_TEMPLATE = \"\"\"open", "TOOLS_TEMPLATE = (((((('x'", "A = {'k'", "A = {'k': {", "TOOLS_TEMPLATE = f'{tool_schemas}'\n",
    "TOOLS_TEMPLATE = '{tool_schemas}'.strip()\n", "TOOLS_TEMPLATE = '\\N{BULLET}{tool_schemas}'\n", "TOOLS_TEMPLATE =", "\\", "TOOLS_TEMPLATE = unknown + '{tool_schemas}'\n"};
  for (size_t i = 0; i <= KOI_COUNT(strange); i++) { /* not understood: our own wording then; the last: no such file, our own too */
    const char *folder = chat_write_encoding(i < KOI_COUNT(strange) ? strange[i] : "");
    if (i == KOI_COUNT(strange)) chat_remove_encoding();
    chat = chat_load(folder);
    koi_chat_prompt p;
    assert_int_equal(koi_chat_encode(chat, request, strlen(request), NULL, &p), KOINE_OK);
    assert_non_null(strstr(p.text, "# Functions"));
    koi_chat_prompt_clear(&p);
    koi_chat_free(chat);
  }
}

/* The same prose in the names that llama.cpp's template gives it. */
#define JINJA(more) \
  "{#- set tools_header = 'no' -#}\n{%- if x == '%}' -%}{{- 'a' ~ b -}}{%- endif -%}\n{%- set dsml_token = '" DSML "' -%}\n{%- set thinking_start_token = '<think>' -%}" \
  "{%- set tools_header = 'H!\\\\n[\n{<' + dsml_token + \">}\" +\n ' ' + thinking_start_token + '</think> \\\"q\\\" </think>\\n' -%}" \
  "{%- set tools_footer = 'end it\\'s' -%}{%- set response_format_template = 'F:' -%}{% set ns.x = namespace(a='') %}" more "{%- for m in messages -%}{{ m }}{%- endfor -%}"
#define JINJA_RENDERED "S\n\nH!\\n[\n{<" DSML ">} " THINK END " \"q\" " END "\n{\"name\": \"f\", \"n\": 1}\n{\"name\": \"g\"}\nend it's\n\nF:{\"t\": []}" USER "u" ASSISTANT

static void test_template(void **state)
{
  (void)state;
  static const struct { const char *text; koine_thinking thinking; const char *want; } cases[] = {
    {JINJA(""), KOINE_THINK_OFF, BOS JINJA_RENDERED END},
    {JINJA(""), KOINE_THINK_MAX, BOS JINJA_RENDERED THINK},
    {JINJA("{%- set reasoning_effort_max = '{Most}\\n' -%}"), KOINE_THINK_MAX, BOS "{Most}\n" JINJA_RENDERED THINK},
    {JINJA("{%- set reasoning_effort_max = 'Most' -%}{%-set reasoning_effort_high='Much'-%}"), KOINE_THINK_HIGH, BOS "Much" JINJA_RENDERED THINK},
    {JINJA("{%- set reasoning_effort_max = 'Most' -%}{% set reasoning_effort_high='Much' %}{% settle = 1 %}"), KOINE_THINK_HIGH, BOS "Much" JINJA_RENDERED THINK},
  };
  koi_chat *chat;
  for (size_t i = 0; i < KOI_COUNT(cases); i++) {
    koi_chat_options o = {.thinking = cases[i].thinking};
    if (koi_chat_load_template("x.gguf", cases[i].text, strlen(cases[i].text), &chat)) fail_msg("%s", koi_error_text());
    expect_prompt(chat, request, strlen(request), &o, cases[i].want);
    koi_chat_free(chat);
  }
  static const char other[] = JINJA("{% set dsml_token = '|X|' %}");
  assert_int_equal(koi_chat_load_template("x.gguf", other, sizeof other - 1, &chat), KOINE_ERR_FILE);
  assert_non_null(strstr(koi_error_text(), "x.gguf: dsml_token is \"|X|\", expected"));
  static const char *const strange[] = {"", "{{ messages }}", "{%", "{% set ", "{% set tools_header = 'x", "{% set tools_header = f(1) %}{% set tools_footer = '' %}"};
  for (size_t i = 0; i < KOI_COUNT(strange); i++) {
    koi_chat_prompt p;
    if (koi_chat_load_template("x.gguf", strange[i], strlen(strange[i]), &chat)) fail_msg("%s", koi_error_text());
    assert_int_equal(koi_chat_encode(chat, request, strlen(request), NULL, &p), KOINE_OK);
    assert_non_null(strstr(p.text, "# Functions"));
    koi_chat_prompt_clear(&p);
    koi_chat_free(chat);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_requests), cmocka_unit_test(test_members), cmocka_unit_test(test_zeros), cmocka_unit_test(test_prose), cmocka_unit_test(test_template),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
