/* Answers of a chat model: read whole and in pieces, by text and by ids, with their defects; and back into a prompt. */
#include "chat_cases.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

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
   "c", "f{};", "break off"},
  {KOINE_THINK_OFF, "c\n\n<" DSML "tool_calls>\n" CALL("f", ""), "", "c", "f{};", "break off"},
  {KOINE_THINK_OFF, "c\n\n<" DSML "tool_calls", "", "c", "", "break off"},
  {KOINE_THINK_OFF, "c\n\n<" DSML "tool_calls" EOS, "", "c\n\n<" DSML "tool_calls", "", "break off"}, /* the model's own end: what it wrote */
  /* cut off in a call, wherever that is: nothing of it is text */
  {KOINE_THINK_OFF, "c\n\n<", "", "c\n\n<", "", NULL},
  {KOINE_THINK_OFF, "c\n\n<" DSML, "", "c", "", "break off"},
  {KOINE_THINK_OFF, "c\n\n<" DSML "tool_ca", "", "c", "", "break off"},
  {KOINE_THINK_OFF, "<" DSML "tool_calls>\n", "", "", "", "break off"},
  {KOINE_THINK_OFF, "c\n\n<" DSML "tool_calls>\n<" DSML "inv", "", "c", "", "break off"},
  {KOINE_THINK_OFF, "c\n\n<" DSML "tool_calls>\n<" DSML "invoke name=\"g\">\n<" DSML "parameter name=\"a\" string=\"true\">hal", "", "c", "", "break off"},
  {KOINE_THINK_OFF, "c\n\n<" DSML "tool_calls>\n<" DSML "invoke name=\"g\">\n<" DSML "parameter name=\"a\" string=\"true\">hal" EOS, "",
   "c\n\n<" DSML "tool_calls>\n<" DSML "invoke name=\"g\">\n<" DSML "parameter name=\"a\" string=\"true\">hal", "", "breaks off"},
  {KOINE_THINK_OFF, "c\n\n<" DSML "tool_calls>\n" CALL("f", "") "\n<" DSML "invoke", "", "c", "f{};", "break off"},
  {KOINE_THINK_OFF, "c\n\n<" DSML "tool_calls>\n" CALL("f", "") "\n</" DSML "tool", "", "c", "f{};", "break off"},
  {KOINE_THINK_HIGH, "r\n\n<" DSML "tool_calls>\n<" DSML "invoke", "r", "", "", "break off"},
  {KOINE_THINK_HIGH, "r" END "c\n\n<" DSML "tool_calls>\n<" DSML "invoke name=\"g\">\n", "r", "c", "", "break off"},
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
  assert_int_equal(koi_tok_load(chat_data("deepseek"), &tok), KOINE_OK);
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
  assert_int_equal(koi_tok_load(chat_data("deepseek"), &tok), KOINE_OK);
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
  koi_chat *chat = chat_load(NULL);
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
  const char *json = LONG_REQUEST, *text = answers[10].text;
  static const char python[] = "TOOLS_TEMPLATE = 'a' + '{tool_schemas}'\nREASONING_EFFORT_T = {'max': 'm'}\n";
  const char *folder = chat_write_encoding(python);
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
  chat_remove_encoding();
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_answers), cmocka_unit_test(test_stream), cmocka_unit_test(test_answer_ids), cmocka_unit_test(test_round_trip), cmocka_unit_test(test_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
