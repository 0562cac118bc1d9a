/* The string constants of a Python text. Does not run Python: only constants made of string literals, other constants, + and
 * { "key": text } tables are understood; every other line is passed over.
 * Owns nothing but the reader. Invariant: a constant that was found has the value that Python gives it. */
#include "chat_constants.h"
#include <string.h>
#include "base/utf8.h"

#define MAX_NESTING 32

typedef struct reader {
  const char *s;
  size_t n, i;
  bool strange;     /* the expression is none that is understood */
  bool memory;      /* ran out of it */
  koi_chat_constants *to;
} reader;

const koi_chat_constant *koi_chat_constants_find(const koi_chat_constants *l, const char *name, size_t n, const char *key)
{
  for (size_t i = l->n; i-- > 0;) {
    const koi_chat_constant *c = &l->v[i];
    if (c->n_name == n && !memcmp(c->name, name, n) && (key ? c->key && !strcmp(c->key, key) : !c->key)) return c;
  }
  return NULL;
}

void koi_chat_constants_free(koi_chat_constants *l)
{
  for (size_t i = 0; l && i < l->n; i++) {
    koi_free(l->v[i].key);
    koi_free(l->v[i].value);
  }
  koi_free(l);
}

/* ---- literals and expressions ---- */
static int peek(const reader *r, size_t ahead) { return r->i + ahead < r->n ? (unsigned char)r->s[r->i + ahead] : -1; }
static bool in_name(int c) { return c == '_' || koi_is_letter(c) || koi_is_digit(c); }

static void blanks(reader *r, bool lines)
{
  for (int c; (c = peek(r, 0)) >= 0;) {
    if (c == '#') while (peek(r, 0) >= 0 && peek(r, 0) != '\n') r->i++;
    else if (c == '\\' && (peek(r, 1) == '\n' || peek(r, 1) == '\r')) r->i += 2;
    else if (c == ' ' || c == '\t' || c == '\r' || c == '\f' || (lines && c == '\n')) r->i++;
    else return;
  }
}

static void put_utf8(koi_text *out, uint32_t c)
{
  char b[4];
  koi_text_bytes(out, b, koi_utf8_put(c, b));
}

/* n digits of a base at r->i. */
static uint32_t number(reader *r, size_t least, size_t most, uint32_t base)
{
  uint32_t v = 0;
  size_t n = 0;
  for (int c; n < most && (koi_is_digit(c = peek(r, 0)) || (koi_is_letter(c) && (c | 32) <= 'f')); n++, r->i++) {
    uint32_t d = koi_is_digit(c) ? (uint32_t)(c - '0') : (uint32_t)((c | 32) - 'a' + 10);
    if (d >= base) break;
    v = v * base + d;
  }
  if (n < least || v == 0 || v > 0x10FFFF || (v >= 0xD800 && v < 0xE000)) r->strange = true;
  return v;
}

static void escape(reader *r, koi_text *out)
{
  static const char letters[] = "abfnrtv\\'\"", values[] = "\a\b\f\n\r\t\v\\'\"";
  int c = peek(r, 0);
  const char *known = c > 0 ? strchr(letters, c) : NULL;
  r->i++;
  if (known) koi_text_bytes(out, &values[known - letters], 1);
  else if (c == '\n') return;
  else if (c == 'x') put_utf8(out, number(r, 2, 2, 16));
  else if (c == 'u') put_utf8(out, number(r, 4, 4, 16));
  else if (c == 'U') put_utf8(out, number(r, 8, 8, 16));
  else if (c >= '0' && c <= '7') r->i--, put_utf8(out, number(r, 1, 3, 8));
  else if (c == 'N' || c < 0) r->strange = true;
  else koi_text_bytes(out, "\\", 1), r->i--; /* Python keeps the backslash */
}

/* A literal whose quote is at r->i. out NULL: pass over it. */
static void literal(reader *r, bool raw, koi_text *out)
{
  char quote = (char)peek(r, 0);
  size_t n_quotes = peek(r, 1) == quote && peek(r, 2) == quote ? 3 : 1;
  r->i += n_quotes;
  koi_text unused = {0}, *to = out ? out : &unused;
  for (int c; (c = peek(r, 0)) >= 0;) {
    if (c == quote && (n_quotes == 1 || (peek(r, 1) == quote && peek(r, 2) == quote))) {
      r->i += n_quotes;
      koi_free(unused.s);
      return;
    }
    if (c == '\n' && n_quotes == 1) break;
    if (c == '\\' && raw) koi_text_bytes(to, r->s + r->i, peek(r, 1) >= 0 ? 2 : 1), r->i += 2;
    else if (c == '\\') r->i++, escape(r, to);
    else if (c == '\r' && peek(r, 1) == '\n') r->i++;
    else koi_text_bytes(to, r->s + r->i, 1), r->i++;
  }
  r->strange = true;
  koi_free(unused.s);
}

/* Length of a literal's prefix when a literal begins here, else -1. */
static int prefix(const reader *r)
{
  int n = 0;
  while (n < 3 && peek(r, (size_t)n) > 0 && strchr("rRbBuUfF", peek(r, (size_t)n))) n++;
  return peek(r, (size_t)n) == '"' || peek(r, (size_t)n) == '\'' ? n : -1;
}

static void expression(reader *r, koi_text *out, bool lines, int depth);

/* Literals side by side, a constant's name, or an expression in parentheses. */
static void term(reader *r, koi_text *out, bool lines, int depth)
{
  size_t n = 0;
  int p;
  for (; !r->strange && (p = prefix(r)) >= 0; n++) {
    bool raw = false;
    for (; p > 0; p--, r->i++) {
      if (strchr("bBfF", peek(r, 0))) r->strange = true;
      if (strchr("rR", peek(r, 0))) raw = true;
    }
    literal(r, raw, out);
    blanks(r, lines);
  }
  if (n) return;
  if (peek(r, 0) == '(' && depth < MAX_NESTING) {
    r->i++;
    expression(r, out, true, depth + 1);
    if (peek(r, 0) != ')') r->strange = true;
    r->i++;
    blanks(r, lines);
    return;
  }
  size_t from = r->i;
  while (in_name(peek(r, 0))) r->i++;
  const koi_chat_constant *c = koi_chat_constants_find(r->to, r->s + from, r->i - from, NULL);
  if (c) koi_text_add(out, "%s", c->value);
  else if (r->i - from != 4 || memcmp(r->s + from, "None", 4)) r->strange = true;
  blanks(r, lines);
}

static void expression(reader *r, koi_text *out, bool lines, int depth)
{
  blanks(r, lines);
  term(r, out, lines, depth);
  while (!r->strange && peek(r, 0) == '+') {
    r->i++;
    blanks(r, lines);
    term(r, out, lines, depth);
  }
}

/* ---- constants ---- */
static void keep(reader *r, const char *name, size_t n_name, char *key, koi_text *value)
{
  char *text = NULL;
  koi_text_bytes(value, "", 0);
  if (r->strange || r->to->n == KOI_CHAT_CONSTANTS || value->failed || koi_text_take(value, &text) != KOINE_OK) {
    r->memory |= value->failed;
    koi_free(key);
    koi_free(value->s);
    *value = (koi_text){0};
    return;
  }
  r->to->v[r->to->n++] = (koi_chat_constant){name, n_name, key, text};
}

/* { "key": text, ... } */
static void table(reader *r, const char *name, size_t n_name)
{
  r->i++;
  for (blanks(r, true); !r->strange && peek(r, 0) != '}'; blanks(r, true)) {
    koi_text key = {0}, value = {0};
    char *key_text = NULL;
    expression(r, &key, true, 0);
    if (peek(r, 0) != ':') r->strange = true;
    r->i++;
    if (!r->strange) expression(r, &value, true, 0);
    if (!r->strange && koi_text_take(&key, &key_text) != KOINE_OK) r->memory = true;
    koi_free(key.s);
    if (peek(r, 0) == ',') r->i++;
    else if (peek(r, 0) != '}') r->strange = true;
    if (key_text) keep(r, name, n_name, key_text, &value);
    else koi_free(value.s);
  }
}

/* To the first character of the next logical line. */
static void next_line(reader *r)
{
  for (int c, depth = 0; (c = peek(r, 0)) >= 0;) {
    if (c == '"' || c == '\'') literal(r, r->i > 0 && (r->s[r->i - 1] | 32) == 'r', NULL);
    else if (c == '#') while (peek(r, 0) >= 0 && peek(r, 0) != '\n') r->i++;
    else if (c == '\\') r->i += 2;
    else r->i++, depth += (strchr("([{", c) != NULL) - (strchr(")]}", c) != NULL);
    if (c == '\n' && depth <= 0) return;
  }
}

/* NAME = text, NAME: type = text, NAME = { ... } */
static void assignment(reader *r)
{
  size_t from = r->i, begin;
  while (in_name(peek(r, 0))) r->i++;
  size_t n_name = r->i - from;
  blanks(r, false);
  if (peek(r, 0) == ':')
    while (peek(r, 0) >= 0 && peek(r, 0) != '=' && peek(r, 0) != '\n') r->i++;
  if (!n_name || peek(r, 0) != '=' || peek(r, 1) == '=') return;
  r->i++;
  blanks(r, false);
  begin = r->i;
  r->strange = false;
  if (peek(r, 0) == '{') {
    table(r, r->s + from, n_name);
  } else {
    koi_text value = {0};
    expression(r, &value, false, 0);
    if (peek(r, 0) != '\n' && peek(r, 0) >= 0) r->strange = true;
    keep(r, r->s + from, n_name, NULL, &value);
  }
  r->i = begin; /* next_line walks over the value, understood or not */
}

koine_status koi_chat_constants_read(const char *path, const char *text, size_t n, koi_chat_constants **out)
{
  reader r = {.s = text, .n = n, .to = koi_alloc(1, sizeof *r.to)};
  if (!r.to) return KOINE_ERR_MEMORY;
  while (r.i < r.n) {
    if (in_name(peek(&r, 0))) assignment(&r);
    r.strange = false;
    next_line(&r);
  }
  if (!r.memory) *out = r.to;
  else koi_chat_constants_free(r.to);
  return r.memory ? koi_error(KOINE_ERR_MEMORY, "%s: out of host memory", path) : KOINE_OK;
}
