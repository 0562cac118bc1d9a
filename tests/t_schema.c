/* Schemas as grammars: texts that fit and texts that do not, what is refused and how, and answers drawn at random token by token. */
#include "base/jscan.h"
#include "text/mask.h"
#include "text/schema.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { MOST = 8 };
static const struct { const char *schema, *fit[MOST], *not[MOST]; } cases[] = {
  {"{}", {"1", "null", "[]", "{\"a\": [1,\n  2.5e3]}", "\"\\u00e9\xc3\xa9\\n\"", "-0.5"}, {"", "01", "1.", "[1,]", "{\"a\" 1}", "\"\\ud800\"", "\"\x80\"", "tru"}},
  {"true", {"{}", "\"x\""}, {"x"}},
  {"{\"type\":\"object\"}", {"{}", "{\"\":0,\"b\":{}}"}, {"[]", "{a:1}", "{\"a\":1,}", "{\"a\":1} "}},
  {"{\"type\":[\"null\",\"boolean\"]}", {"null", "true", "false"}, {"0", "nul", "truefalse"}},
  {"{\"type\":\"integer\"}", {"0", "-7", "123456789012345"}, {"1.0", "-", "00", "1e3", "1234567890123456"}},
  {"{\"type\":\"integer\",\"minimum\":-3,\"maximum\":120}", {"-3", "0", "9", "99", "100", "120"}, {"-4", "121", "-0", "200", "1000", "007"}},
  {"{\"type\":\"integer\",\"exclusiveMinimum\":9,\"exclusiveMaximum\":12}", {"10", "11"}, {"9", "12", "1", "110"}},
  {"{\"type\":\"integer\",\"minimum\":2.5}", {"3", "30", "999999999999999"}, {"2", "0", "-3"}},
  {"{\"type\":\"number\",\"minimum\":0,\"maximum\":1}", {"0", "1", "0.25", "1.0", "0.0"}, {"1.1", "-0.5", "2", "1.00001", "-0"}},
  {"{\"type\":\"number\",\"exclusiveMinimum\":0}", {"0.1", "0.001", "7", "12.5"}, {"0", "0.0", "-1", "0.000"}},
  {"{\"type\":\"number\",\"minimum\":-2,\"exclusiveMaximum\":1}", {"-2", "-2.0", "-1.99", "-0.5", "0.99", "0"}, {"-2.01", "1", "1.0", "-3"}},
  {"{\"enum\":[\"a\",\"b\\\"\\n\",1,null,{\"x\":[1]}]}", {"\"a\"", "\"b\\\"\\n\"", "1", "null", "{\"x\":[1]}"}, {"\"c\"", "2", "\"b\""}},
  {"{\"type\":\"string\",\"enum\":[\"a\",1]}", {"\"a\""}, {"1"}},
  {"{\"const\":\"v1\"}", {"\"v1\""}, {"\"v2\""}},
  {"{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}", {"\"ab\"", "\"\xc3\xa9\xe2\x82\xac\\n\"", "\"\\u00e9bc\""}, {"\"a\"", "\"abcd\"", "\"\\n\""}},
  {"{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":1,\"maxItems\":3}", {"[1]", "[1,2]", "[ 1, 2, 3 ]"}, {"[]", "[1,2,3,4]", "[\"a\"]", "[1 2]"}},
  {"{\"type\":\"array\",\"maxItems\":0}", {"[]"}, {"[1]"}},
  {"{\"type\":\"array\",\"prefixItems\":[{\"type\":\"string\"},{\"type\":\"integer\"}],\"items\":false,\"minItems\":1}", {"[\"a\"]", "[\"a\",1]"}, {"[]", "[1]", "[\"a\",1,2]"}},
  {"{\"type\":\"array\",\"prefixItems\":[{\"type\":\"string\"}],\"items\":{\"type\":\"null\"},\"minItems\":2,\"maxItems\":3}", {"[\"a\",null]", "[\"a\",null,null]"}, {"[\"a\"]", "[\"a\",1]", "[\"a\",null,null,null]"}},
  {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":\"string\"},\"c\":{}},\"required\":[\"b\"]}",
   {"{\"b\":\"\"}", "{\"a\":1,\"b\":\"x\"}", "{\n  \"a\": 1,\n  \"b\": \"x\",\n  \"c\": [null]\n}", "{\"b\":\"x\",\"c\":1}"}, {"{}", "{\"a\":1}", "{\"b\":\"x\",\"d\":1}", "{\"b\":1}", "{\"b\":\"x\",}", "{,\"b\":\"x\"}", "{\"b\":\"x\",\"b\":\"y\"}"}},
  {"{\"properties\":{\"a\":{\"type\":\"null\"}}}", {"{}", "{\"a\":null}"}, {"{\"a\":1}", "1"}},
  {"{\"type\":\"object\",\"properties\":{\"ab\":{\"type\":\"null\"},\"a\xc3\xa9\":true},\"additionalProperties\":{\"type\":\"integer\"}}",
   {"{\"ab\":null}", "{\"a\":1}", "{\"abc\":1,\"b\":2}", "{\"ab\":null,\"ax\":3}", "{\"\":1}"}, {"{\"ab\":1}", "{\"ab\":null,\"ab\":1}", "{\"x\":null}", "{\"a\\u0062\":1}"}},
  {"{\"type\":\"object\",\"required\":[\"k\"]}", {"{\"k\":1}", "{\"k\":[],\"l\":2}"}, {"{}", "{\"l\":2}"}},
  {"{\"type\":\"object\",\"required\":[\"k\"],\"additionalProperties\":{\"type\":\"null\"}}", {"{\"k\":null}", "{\"k\":null,\"z\":null}"}, {"{\"k\":1}", "{}"}},
  {"{\"anyOf\":[{\"type\":\"integer\"},{\"type\":\"object\",\"properties\":{\"t\":{\"const\":1}},\"required\":[\"t\"]}]}", {"5", "{\"t\":1}"}, {"{}", "\"5\""}},
  {"{\"oneOf\":[{\"type\":\"object\",\"properties\":{\"t\":{\"const\":\"a\"}},\"required\":[\"t\"]},{\"$ref\":\"#/$defs/b\"}],\"$defs\":{\"b\":{\"type\":\"object\",\"properties\":{\"t\":{\"const\":\"b\"},\"n\":{\"type\":\"null\"}},\"required\":[\"t\",\"n\"]}}}",
   {"{\"t\":\"a\"}", "{\"t\":\"b\",\"n\":null}"}, {"{\"t\":\"b\"}", "{\"t\":\"c\"}"}},
  {"{\"$ref\":\"#/definitions/a~1b\",\"definitions\":{\"a/b\":{\"type\":\"null\"}}}", {"null"}, {"1"}},
  {"{\"$defs\":{\"tree\":{\"type\":\"object\",\"properties\":{\"v\":{\"type\":\"integer\"},\"sub\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/tree\"}}},\"required\":[\"v\"]}},\"$ref\":\"#/$defs/tree\"}",
   {"{\"v\":1}", "{\"v\":1,\"sub\":[{\"v\":2,\"sub\":[]},{\"v\":3}]}"}, {"{\"sub\":[]}", "{\"v\":1,\"sub\":[1]}"}},
  {"{\"allOf\":[{\"type\":\"null\"}],\"description\":\"x\"}", {"null"}, {"1"}},
  {"{\"type\":\"string\",\"pattern\":\"^[a-c]{2,3}(x|\\\\.)?$\"}", {"\"ab\"", "\"abcx\"", "\"cc.\""}, {"\"a\"", "\"abcd\"", "\"abxx\"", "\"zab\""}},
  {"{\"type\":\"string\",\"pattern\":\"\\\\d\"}", {"\"1\"", "\"a1b\"", "\"\xc3\xa9" "7\""}, {"\"\"", "\"abc\""}},
  {"{\"type\":\"string\",\"pattern\":\"^[^a\\\\\\\\]\\\"\\\\n?$\"}", {"\"b\\\"\"", "\"\\\"\\\"\\n\"", "\"\xc3\xa9\\\"\""}, {"\"a\\\"\"", "\"\\\\\\\"\""}},
  {"{\"type\":\"string\",\"pattern\":\"^(a?){0,3}b*?$\"}", {"\"\"", "\"aaab\"", "\"bbb\""}, {"\"aaaa\"", "\"ba\""}},
  {"{\"type\":\"string\",\"format\":\"date\"}", {"\"2024-02-28\"", "\"1999-12-31\""}, {"\"2024-02-30\"", "\"2024-13-01\"", "\"24-01-01\""}},
  {"{\"type\":\"string\",\"format\":\"date-time\"}", {"\"2024-01-01T00:00:00Z\"", "\"2024-04-30T23:59:59.5+01:00\""}, {"\"2024-04-31T00:00:00Z\"", "\"2024-01-01\""}},
  {"{\"format\":\"ipv4\"}", {"\"0.0.0.0\"", "\"255.19.1.100\""}, {"\"256.1.1.1\"", "\"1.1.1\"", "\"01.1.1.1\""}},
  {"{\"type\":\"array\",\"items\":{\"type\":\"null\"},\"uniqueItems\":false}", {"[null,null]"}, {"[1]"}},
};

static koi_grammar *compiled(const char *schema)
{
  koi_grammar *g = NULL;
  if (koi_schema_grammar(schema, strlen(schema), &g)) fail_msg("%s: %s", schema, koi_error_text());
  return g;
}

static bool fits(koi_grammar *g, const char *text)
{
  int32_t at;
  assert_int_equal(koi_grammar_start(g, &at), KOINE_OK);
  for (; *text && at >= 0; text++) at = koi_grammar_step(g, at, (unsigned char)*text);
  assert_true(at >= KOI_GRAMMAR_DEAD);
  return koi_grammar_accepts(g, at);
}

static void test_texts(void **state)
{
  (void)state;
  for (size_t i = 0; i < KOI_COUNT(cases); i++) {
    koi_grammar *g = compiled(cases[i].schema);
    for (size_t k = 0; k < MOST; k++) {
      if (cases[i].fit[k] && !fits(g, cases[i].fit[k])) fail_msg("%s should allow %s", cases[i].schema, cases[i].fit[k]);
      if (cases[i].not[k] && fits(g, cases[i].not[k])) fail_msg("%s should not allow %s", cases[i].schema, cases[i].not[k]);
    }
    koi_grammar_free(g);
  }
}

/* What is not supported is told, with its place. */
static const struct { const char *schema, *says; } bad[] = {
  {"", "schema"}, {"{", "schema"}, {"{\"type\":\"object\",\"type\":\"array\"}", "twice"}, {"3", "schema #: expected a schema"}, {"[]", "schema #: expected a schema"}, {"null", "schema"},
  {"{\"multipleOf\":2}", "schema #: \"multipleOf\" is not supported"},
  {"{\"properties\":{\"a\":{\"not\":{}}}}", "schema #/properties/a: \"not\""}, {"{\"type\":\"array\",\"uniqueItems\":true}", "uniqueItems"},
  {"{\"type\":\"strin\"}", "\"type\": expected"}, {"{\"type\":[\"null\",\"x\"]}", "\"type\": expected"}, {"{\"type\":[]}", "\"type\""},
  {"{\"$ref\":\"#/$defs/x\"}", "\"$ref\" #/$defs/x"}, {"{\"$ref\":\"http://x/y\"}", "http://x/y"}, {"{\"$ref\":\"#\"}", "schema #"},
  {"{\"anyOf\":[{\"$ref\":\"#\"},{\"type\":\"null\"}]}", "refers to itself"}, {"{\"anyOf\":[]}", "anyOf"}, {"{\"anyOf\":[{}],\"type\":\"object\"}", "beside"},
  {"{\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"number\"}]}", "oneOf"}, {"{\"allOf\":[{},{}]}", "allOf"},
  {"{\"oneOf\":[{\"properties\":{\"t\":{\"const\":1}},\"type\":\"object\"},{\"properties\":{\"t\":{\"const\":2}},\"type\":\"object\"}]}", "oneOf"},
  {"{\"type\":\"object\",\"properties\":{\"a\":{\"$ref\":\"#\"}},\"required\":[\"a\"]}", "no text fits"}, {"false", "no text fits"},
  {"{\"enum\":[]}", "no value is left"}, {"{\"enum\":[\"a\"],\"minLength\":1}", "beside enum"}, {"{\"type\":\"integer\",\"enum\":[\"a\"]}", "no value is left"},
  {"{\"type\":\"integer\",\"minimum\":3,\"maximum\":2}", "no number"}, {"{\"type\":\"number\",\"minimum\":0.5}", "whole numbers"}, {"{\"minimum\":\"a\"}", "expected a number"},
  {"{\"type\":\"string\",\"minLength\":3,\"maxLength\":2}", "at least 3"}, {"{\"minLength\":-1}", "minLength"}, {"{\"maxLength\":1.5e300}", "maxLength"},
  {"{\"maxItems\":-1e300}", "maxItems"}, {"{\"maxItems\":1.5}", "whole number"},
  {"{\"minItems\":2,\"maxItems\":1}", "at least 2"}, {"{\"items\":[{}]}", "\"items\": expected"}, {"{\"required\":\"a\"}", "\"required\""},
  {"{\"required\":[\"b\"],\"properties\":{},\"additionalProperties\":false}", "\"b\" is required"}, {"{\"additionalProperties\":3}", "additionalProperties"},
  {"{\"pattern\":\"a(\"}", "expected )"}, {"{\"pattern\":\"(?=a)\"}", "groups"}, {"{\"pattern\":\"\\\\bx\"}", "escape"}, {"{\"pattern\":\"^a|b$\"}", "need a group"},
  {"{\"pattern\":\"[b-a]\"}", "range"}, {"{\"pattern\":\"[\"}", "pattern"}, {"{\"pattern\":\"a{2000}\"}", "1000"}, {"{\"pattern\":\"*\"}", "repeat"}, {"{\"pattern\":\"a)\"}", ")"},
  {"{\"pattern\":\"a\",\"maxLength\":3}", "length beside"}, {"{\"format\":\"iri\"}", "supported are date"},
};

static void test_refused(void **state)
{
  (void)state;
  for (size_t i = 0; i < KOI_COUNT(bad); i++) {
    koi_grammar *g = NULL;
    koine_status s = koi_schema_grammar(bad[i].schema, strlen(bad[i].schema), &g);
    if (s != KOINE_ERR_ARG || g || !strstr(koi_error_text(), bad[i].says)) fail_msg("%s: status %d, says %s, expected %s", bad[i].schema, s, koi_error_text(), bad[i].says);
    assert_null(strchr(koi_error_text(), '\n'));
  }
}

/* ---- calls: what stands between the tags of the one tool f ---- */
#define P(name, kind, text) "<\xffparameter name=\"" name "\" string=\"" kind "\">" text "</\xffparameter>\n"
static const struct { const char *parameters, *fit[4], *not[4]; } call_cases[] = {
  {"{}", {""}, {P("a", "true", "x")}},
  {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\",\"format\":\"uri\"}}}", {"", P("a", "true", "http://x/?q=\"1\"\n")}, {P("b", "true", "x"), P("a", "false", "\"x\"")}},
  {"{\"properties\":{\"a\":{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}},\"required\":[\"a\"]}", {P("a", "true", "a\""), P("a", "true", "\xc3\xa9\n\\")}, {"", P("a", "true", "a"), P("a", "true", "abcd")}},
  {"{\"properties\":{\"a\":{\"type\":\"string\",\"pattern\":\"^[^a]\\\\\\\\?$\"}}}", {P("a", "true", "\""), P("a", "true", "\n\\")}, {P("a", "true", "a"), P("a", "true", "\\\""), P("a", "true", "\\n")}},
  {"{\"properties\":{\"a\":{\"type\":\"string\",\"pattern\":\"b\"},\"c\":{\"type\":\"string\"}}}", {P("a", "true", "\"b\"") P("c", "true", ""), ""}, {P("a", "true", "\"\"")}},
  {"{\"properties\":{\"a\":{\"type\":\"null\"}},\"required\":[\"b\"]}", {P("b", "false", "[1]"), P("a", "false", "null") P("b", "false", "\"\"")}, {"", P("a", "false", "null"), P("b", "false", "1") P("a", "false", "null")}},
  {"{\"required\":[\"b\"],\"additionalProperties\":{\"type\":\"null\"}}", {P("b", "false", "null")}, {"", P("b", "false", "1")}},
  {"{\"$ref\":\"#/$defs/d\",\"$defs\":{\"d\":{\"properties\":{\"a\":{\"type\":\"null\"}},\"required\":[\"a\"]}}}", {P("a", "false", "null")}, {"", P("a", "false", "1")}},
};
static const struct { const char *parameters, *says; } bad_calls[] = {
  {"{\"not\":{}}", "tools[0]: \"not\" is not supported"}, {"{\"properties\":{},\"minProperties\":1}", "minProperties"}, {"{\"anyOf\":[{\"type\":\"object\"}]}", "tools[0]: \"anyOf\""},
  {"{\"properties\":{},\"allOf\":[{}]}", "allOf"}, {"{\"enum\":[{}]}", "\"enum\" is not"}, {"{\"type\":\"string\"}", "expected object"}, {"[]", "expected a schema of an object"},
  {"{\"$ref\":\"#\"}", "refers to itself"}, {"{\"properties\":{\"a\":{\"type\":\"string\",\"not\":{}}}}", "tools[0]/properties/a: \"not\""},
  {"{\"properties\":{\"a\":{\"type\":\"string\",\"pattern\":\"(?=a)\"}}}", "tools[0]/properties/a: \"pattern\""}, {"{\"properties\":{\"a\":{\"type\":\"string\",\"pattern\":5}}}", "expected a regular"},
  {"{\"properties\":{\"a\":{\"type\":\"string\",\"pattern\":\"a\",\"maxLength\":2}}}", "length beside"}, {"{\"required\":[\"b\"],\"additionalProperties\":false}", "\"b\" is required"},
};

static koine_status calls_of(const char *parameters, koi_grammar **out)
{
  char tools[1024];
  int n = snprintf(tools, sizeof tools, "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":%s}}]", parameters);
  return koi_schema_calls(tools, (size_t)n, NULL, true, true, out);
}

static bool call_fits(koi_grammar *g, const char *arguments)
{
  char text[1024];
  snprintf(text, sizeof text, "tool_calls>\n<\xffinvoke name=\"f\">\n%s</\xffinvoke>\n</\xfftool_calls>", arguments);
  return fits(g, text);
}

static void test_calls(void **state)
{
  (void)state;
  for (size_t i = 0; i < KOI_COUNT(call_cases); i++) {
    koi_grammar *g = NULL;
    if (calls_of(call_cases[i].parameters, &g)) fail_msg("%s: %s", call_cases[i].parameters, koi_error_text());
    for (size_t k = 0; k < 4; k++) {
      if (call_cases[i].fit[k] && !call_fits(g, call_cases[i].fit[k])) fail_msg("%s should allow %s", call_cases[i].parameters, call_cases[i].fit[k]);
      if (call_cases[i].not[k] && call_fits(g, call_cases[i].not[k])) fail_msg("%s should not allow %s", call_cases[i].parameters, call_cases[i].not[k]);
    }
    koi_grammar_free(g);
  }
  for (size_t i = 0; i < KOI_COUNT(bad_calls); i++) {
    koi_grammar *g = NULL;
    koine_status s = calls_of(bad_calls[i].parameters, &g);
    if (s != KOINE_ERR_ARG || g || !strstr(koi_error_text(), bad_calls[i].says)) fail_msg("%s: status %d, says %s, expected %s", bad_calls[i].parameters, s, koi_error_text(), bad_calls[i].says);
  }
}

static uint32_t draw(uint64_t *seed) { return (uint32_t)((*seed = *seed * 6364136223846793005u + 1442695040888963407u) >> 33); }

/* Answers of random logits, in as many tokens as their shortest text has bytes, and in more: each ends, and fits. */
static void answers(const koi_tok *tok, const char *schema, uint64_t room, uint64_t seed)
{
  size_t n = koi_tok_n_vocab(tok), bytes;
  koi_mask *m = NULL;
  koi_text text = {0};
  float *logits = malloc(n * sizeof *logits);
  const char *piece;
  assert_non_null(logits);
  if (koi_mask_open(tok, compiled(schema), -1, &m)) fail_msg("%s", koi_error_text());
  for (uint64_t left = room; !koi_mask_ended(m); left--) {
    size_t best = 0;
    if (!left) break; /* a number, say, that may end here and go on */
    for (size_t i = 0; i < n; i++) logits[i] = (float)draw(&seed);
    if (koi_mask_apply(m, logits, n, left)) fail_msg("%s", koi_error_text());
    for (size_t i = 1; i < n; i++)
      if (logits[i] > logits[best]) best = i;
    assert_true(isfinite(logits[best]));
    if (koi_mask_take(m, (int32_t)best)) fail_msg("%s", koi_error_text());
    if (koi_tok_is_eos(tok, (int32_t)best)) break;
    koi_tok_piece(tok, (int32_t)best, &piece, &bytes);
    koi_text_bytes(&text, piece, bytes);
  }
  koi_text_bytes(&text, "", 1);
  koi_grammar *g = compiled(schema);
  if (!fits(g, text.s)) fail_msg("%s: not allowed, but made: %s", schema, text.s);
  koi_grammar_free(g);
  koi_mask_close(m);
  koi_free(text.s);
  free(logits);
}

static void test_answers(void **state)
{
  (void)state;
  char path[512];
  koi_tok *tok = NULL;
  snprintf(path, sizeof path, "%s/models/austen", getenv("srcdir") ? getenv("srcdir") : ".");
  if (koi_tok_load(path, &tok)) fail_msg("%s", koi_error_text());
  for (size_t i = 0; i < KOI_COUNT(cases); i++) {
    koi_grammar *g = compiled(cases[i].schema);
    int32_t start;
    assert_int_equal(koi_grammar_start(g, &start), KOINE_OK);
    uint32_t least = koi_grammar_least(g, start);
    koi_grammar_free(g);
    answers(tok, cases[i].schema, least, i);
    for (uint64_t seed = 0; seed < 4; seed++) answers(tok, cases[i].schema, least + 40, seed);
  }
  koi_tok_free(tok);
}

/* Many states, forgotten between tokens: a long string of counted characters, and deep lists. */
static void test_trim(void **state)
{
  (void)state;
  koi_grammar *g = compiled("{\"type\":\"array\",\"items\":{\"type\":\"string\",\"maxLength\":20000}}");
  int32_t at;
  size_t most = 0;
  assert_int_equal(koi_grammar_start(g, &at), KOINE_OK);
  at = koi_grammar_step(g, koi_grammar_step(g, at, '['), '"');
  for (int i = 0; i < 20000; i++) {
    at = koi_grammar_step(g, at, 'x');
    assert_int_equal(koi_grammar_trim(g, 100, &at), KOINE_OK);
    if (koi_grammar_n_states(g) > most) most = koi_grammar_n_states(g);
  }
  assert_true(most <= 101);
  assert_int_equal(koi_grammar_step(g, at, 'x'), KOI_GRAMMAR_DEAD);
  assert_int_equal(koi_grammar_least(g, at), 2);
  at = koi_grammar_step(g, koi_grammar_step(g, at, '"'), ']');
  assert_true(koi_grammar_accepts(g, at) && !koi_grammar_goes_on(g, at));
  koi_grammar_free(g);
}

static void test_memory(void **state)
{
  (void)state;
  const char *schema = cases[21].schema;
  for (long n = 1; n < 400; n++) {
    koi_grammar *g = NULL;
    koi_alloc_fail_at(n);
    koine_status s = koi_schema_grammar(schema, strlen(schema), &g);
    koi_alloc_fail_at(0);
    assert_true(s == KOINE_OK || s == KOINE_ERR_MEMORY);
    assert_true(!s == !!g);
    koi_grammar_free(g);
    if (!s) return;
  }
  fail_msg("no end of allocations");
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_texts), cmocka_unit_test(test_refused), cmocka_unit_test(test_calls), cmocka_unit_test(test_answers), cmocka_unit_test(test_trim), cmocka_unit_test(test_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
