/* Owns: the grammar of JSON itself. Invariant: every text of it is JSON and UTF-8, without half a surrogate pair, and no number is
 * beyond a double. */
#include <string.h>
#include "schema_impl.h"

uint32_t koi_schema_one(koi_schema *c, const char *bytes, uint32_t next)
{
  koi_byte_set set = {0};
  for (; *bytes; bytes++) koi_byte_set_add(&set, (unsigned char)*bytes, (unsigned char)*bytes);
  return koi_grammar_bytes(c->g, &set, next);
}

uint32_t koi_schema_word(koi_schema *c, const char *text, uint32_t next) { return koi_grammar_text(c->g, text, strlen(text), next); }

uint32_t koi_schema_space(koi_schema *c, uint32_t next)
{
  enum { INDENT = 24 };
  uint32_t line = koi_schema_one(c, "\n", koi_grammar_repeat(c->g, c->basic[KOI_JSON_SPACE], 0, INDENT, next));
  return koi_grammar_either(c->g, next, koi_grammar_either(c->g, koi_schema_one(c, " ", next), line));
}

static uint32_t range(koi_schema *c, unsigned from, unsigned to, uint32_t next)
{
  koi_byte_set set = {0};
  koi_byte_set_add(&set, from, to);
  return koi_grammar_bytes(c->g, &set, next);
}

/* The well-formed sequences of the Unicode standard, table 3-7. */
static uint32_t beyond_ascii(koi_schema *c)
{
  static const struct { unsigned char first, last, low, high, more; } rows[] = {
    {0xc2, 0xdf, 0x80, 0xbf, 0}, {0xe0, 0xe0, 0xa0, 0xbf, 1}, {0xe1, 0xec, 0x80, 0xbf, 1}, {0xed, 0xed, 0x80, 0x9f, 1},
    {0xee, 0xef, 0x80, 0xbf, 1}, {0xf0, 0xf0, 0x90, 0xbf, 2}, {0xf1, 0xf3, 0x80, 0xbf, 2}, {0xf4, 0xf4, 0x80, 0x8f, 2},
  };
  uint32_t all = KOI_GRAMMAR_NEVER;
  for (size_t i = 0; i < KOI_COUNT(rows); i++) {
    uint32_t next = KOI_GRAMMAR_END;
    for (int k = 0; k < rows[i].more; k++) next = range(c, 0x80, 0xbf, next);
    all = koi_grammar_either(c->g, range(c, rows[i].first, rows[i].last, range(c, rows[i].low, rows[i].high, next)), all);
  }
  return all;
}

static uint32_t hex(koi_schema *c, int n, uint32_t next)
{
  while (n--) next = koi_schema_one(c, "0123456789abcdefABCDEF", next);
  return next;
}

static uint32_t character(koi_schema *c)
{
  koi_byte_set plain = {0};
  koi_byte_set_add(&plain, 0x20, 0x21);
  koi_byte_set_add(&plain, 0x23, 0x5b);
  koi_byte_set_add(&plain, 0x5d, 0x7f);
  uint32_t whole = koi_schema_one(c, "0123456789abcefABCEF", hex(c, 3, KOI_GRAMMAR_END)), below = koi_schema_one(c, "dD", koi_schema_one(c, "01234567", hex(c, 2, KOI_GRAMMAR_END)));
  uint32_t code = koi_schema_one(c, "u", koi_grammar_either(c->g, whole, below));
  uint32_t escape = koi_schema_one(c, "\\", koi_grammar_either(c->g, koi_schema_one(c, "\"\\/bfnrt", KOI_GRAMMAR_END), code));
  uint32_t other = koi_grammar_call(c->g, c->basic[KOI_JSON_OTHER], KOI_GRAMMAR_END);
  return koi_grammar_either(c->g, koi_grammar_bytes(c->g, &plain, KOI_GRAMMAR_END), koi_grammar_either(c->g, escape, other));
}

static uint32_t digits(koi_schema *c, uint32_t least, uint32_t most, uint32_t next) { return koi_grammar_repeat(c->g, c->basic[KOI_JSON_DIGIT], least, most, next); }

static uint32_t whole_number(koi_schema *c, uint32_t next)
{
  uint32_t some = koi_schema_one(c, "123456789", digits(c, 0, 14, next)), positive = koi_grammar_either(c->g, koi_schema_one(c, "0", next), some);
  return koi_grammar_either(c->g, positive, koi_schema_one(c, "-", positive));
}

static uint32_t number(koi_schema *c)
{
  uint32_t power = digits(c, 1, 2, KOI_GRAMMAR_END), sign = koi_grammar_either(c->g, power, koi_schema_one(c, "+-", power));
  uint32_t exponent = koi_grammar_either(c->g, KOI_GRAMMAR_END, koi_schema_one(c, "eE", sign));
  return whole_number(c, koi_grammar_either(c->g, exponent, koi_schema_one(c, ".", digits(c, 1, 16, exponent))));
}

/* An object or array of anything: members are `first`, and more of them after commas. */
static uint32_t list(koi_schema *c, const char *brackets, uint32_t member)
{
  const char close[2] = {brackets[1], 0};
  uint32_t more = koi_grammar_rule(c->g), end = koi_schema_word(c, close, KOI_GRAMMAR_END);
  koi_grammar_set(c->g, more, koi_schema_word(c, ",", koi_schema_space(c, koi_grammar_call(c->g, member, KOI_GRAMMAR_END))));
  uint32_t some = koi_grammar_call(c->g, member, koi_grammar_repeat(c->g, more, 0, KOI_GRAMMAR_ENDLESS, koi_schema_space(c, end)));
  const char open[2] = {brackets[0], 0};
  return koi_schema_word(c, open, koi_schema_space(c, koi_grammar_either(c->g, end, some)));
}

void koi_schema_basics(koi_schema *c)
{
  koi_grammar *g = c->g;
  for (size_t i = 0; i < KOI_JSON_N; i++) c->basic[i] = koi_grammar_rule(g);
  const uint32_t *b = c->basic;
  koi_grammar_set(g, b[KOI_JSON_SPACE], koi_schema_one(c, " ", KOI_GRAMMAR_END));
  koi_grammar_set(g, b[KOI_JSON_DIGIT], koi_schema_one(c, "0123456789", KOI_GRAMMAR_END));
  koi_grammar_set(g, b[KOI_JSON_OTHER], beyond_ascii(c));
  koi_grammar_set(g, b[KOI_JSON_CHAR], character(c));
  c->character = b[KOI_JSON_CHAR];
  uint32_t quote = koi_schema_word(c, "\"", KOI_GRAMMAR_END);
  koi_grammar_set(g, b[KOI_JSON_STRING], koi_schema_word(c, "\"", koi_grammar_repeat(g, b[KOI_JSON_CHAR], 0, KOI_GRAMMAR_ENDLESS, quote)));
  koi_grammar_set(g, b[KOI_JSON_INTEGER], whole_number(c, KOI_GRAMMAR_END));
  koi_grammar_set(g, b[KOI_JSON_NUMBER], number(c));
  uint32_t member = koi_grammar_rule(g), value = koi_grammar_call(g, b[KOI_JSON_VALUE], KOI_GRAMMAR_END);
  koi_grammar_set(g, member, koi_grammar_call(g, b[KOI_JSON_STRING], koi_schema_word(c, ":", koi_schema_space(c, value))));
  koi_grammar_set(g, b[KOI_JSON_OBJECT], list(c, "{}", member));
  koi_grammar_set(g, b[KOI_JSON_ARRAY], list(c, "[]", b[KOI_JSON_VALUE]));
  static const char *const words[] = {"true", "false", "null"};
  uint32_t any = KOI_GRAMMAR_NEVER;
  for (size_t i = 0; i < KOI_COUNT(words); i++) any = koi_grammar_either(g, koi_schema_word(c, words[i], KOI_GRAMMAR_END), any);
  for (int i = KOI_JSON_OBJECT; i <= KOI_JSON_NUMBER; i++) any = koi_grammar_either(g, koi_grammar_call(g, b[i], KOI_GRAMMAR_END), any);
  koi_grammar_set(g, b[KOI_JSON_VALUE], any);
}
