/* Owns: patterns: from the file's syntax (Oniguruma's, Ruby flavour) to PCRE2's, compiling, finding matches.
 * Does not: decide what happens to a match.
 * Invariant: a construct is passed on only where both libraries mean the same by it; every other one is refused by name. */
#include <string.h>
#include "tok_impl.h"

#define MATCH_LIMIT 20000000 /* steps of one match; a pattern that needs more is hostile */
#define JIT_STACK_MAX ((size_t)16 << 20)

typedef struct reader {
  const char *what, *s;
  size_t n, i;
  koi_text out;
  koine_status status;
} reader;

static void refuse(reader *r, const char *construct)
{
  if (r->status != KOINE_OK) return;
  r->status = koi_error(KOINE_ERR_FILE, "%s: pattern \"%.*s\": %s at byte %zu is not supported", r->what, (int)(r->n < 200 ? r->n : 200), r->s,
                        construct, r->i);
  r->i = r->n; /* ends the walk */
}

static int peek(const reader *r, size_t ahead) { return r->i + ahead < r->n ? (unsigned char)r->s[r->i + ahead] : -1; }

static bool starts(const reader *r, const char *with)
{
  size_t n = strlen(with);
  return r->n - r->i >= n && memcmp(r->s + r->i, with, n) == 0;
}

static void copy(reader *r, size_t n)
{
  koi_text_bytes(&r->out, r->s + r->i, n);
  r->i += n;
}

static void put(reader *r, const char *with, size_t skip)
{
  koi_text_add(&r->out, "%s", with);
  r->i += skip;
}

/* \p{Name}, \p{^Name}, \P{Name}: general categories and scripts. r->i is at the backslash. */
static void property(reader *r)
{
  static const char categories[] = " C Cc Cf Cn Co Cs L Ll Lm Lo Lt Lu M Mc Me Mn N Nd Nl No P Pc Pd Pe Pf Pi Po Ps S Sc Sk Sm So Z Zl Zp Zs ";
  bool negative = peek(r, 1) == 'P';
  char name[32] = " ";
  size_t n = 1, i = 3;
  if (peek(r, 2) != '{') {
    refuse(r, "a property without braces");
    return;
  }
  if (peek(r, i) == '^') negative = !negative, i++;
  for (int c; (c = peek(r, i)) != '}'; i++) {
    if (n + 2 >= sizeof name || c < 0 || !(koi_is_letter(c) || koi_is_digit(c) || c == '_')) {
      refuse(r, "this property name");
      return;
    }
    name[n++] = (char)c;
  }
  name[n] = ' ';
  bool category = n > 1 && strstr(categories, name);
  name[n] = 0;
  koi_text_add(&r->out, "\\%c{%s%s}", negative ? 'P' : 'p', category ? "" : "sc:", name + 1);
  r->i += i + 1;
}

static void code_point(reader *r)
{
  bool wide = peek(r, 1) == 'u', braces = !wide && peek(r, 2) == '{';
  uint32_t code = 0;
  size_t i = braces ? 3 : 2, most = wide ? 4 : braces ? 8 : 2, n = 0;
  for (int c; n < most && (koi_is_digit(c = peek(r, i)) || (koi_is_letter(c) && (c | 32) <= 'f')); i++, n++) code = code << 4 | (uint32_t)(koi_is_digit(c) ? c - '0' : (c | 32) - 'a' + 10);
  bool closed = !braces || peek(r, i++) == '}';
  if (!closed || n == 0 || (wide && n != 4) || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000) || (!wide && !braces && code > 0x7F)) {
    refuse(r, "this code point");
    return;
  }
  koi_text_add(&r->out, "\\x{%X}", code);
  r->i += i;
}

typedef struct escape {
  char c;
  const char *outside, *inside; /* of a class; NULL: refused */
} escape;

static const escape escapes[] = {
  {'s', "\\s", "\\s"}, {'S', "\\S", "\\S"}, {'d', "\\p{Nd}", "\\p{Nd}"}, {'D', "\\P{Nd}", "\\P{Nd}"},
  {'w', "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}]", "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"},
  {'W', "[^\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}]", NULL},
  {'h', "[0-9A-Fa-f]", "0-9A-Fa-f"}, {'H', "[^0-9A-Fa-f]", NULL},
  {'r', "\\r", "\\r"}, {'n', "\\n", "\\n"}, {'t', "\\t", "\\t"}, {'f', "\\f", "\\f"}, {'v', "\\x0b", "\\x0b"},
  {'a', "\\a", "\\a"}, {'e', "\\e", "\\e"}, {'A', "\\A", NULL}, {'z', "\\z", NULL}, {'Z', "\\Z", NULL},
};

static void escaped(reader *r, bool in_class)
{
  int c = peek(r, 1);
  if (c == 'p' || c == 'P') {
    property(r);
    return;
  }
  if (c == 'x' || c == 'u') {
    code_point(r);
    return;
  }
  for (size_t i = 0; i < KOI_COUNT(escapes); i++)
    if (escapes[i].c == c) {
      const char *with = in_class ? escapes[i].inside : escapes[i].outside;
      if (with) put(r, with, 2);
      else refuse(r, "this escape in a class");
      return;
    }
  if (c < 0 || koi_is_letter(c) || koi_is_digit(c)) refuse(r, "this escape");
  else if (c < 0x80) copy(r, 2);
  else r->i++; /* a backslash before a character beyond ASCII means the character */
}

static void class(reader *r)
{
  copy(r, peek(r, 1) == '^' ? 2 : 1);
  for (bool first = true;; first = false) {
    int c = peek(r, 0);
    if (c < 0) {
      refuse(r, "a class without its end");
      return;
    }
    if (c == ']') {
      if (first) {
        refuse(r, "an empty class");
        return;
      }
      copy(r, 1);
      return;
    }
    if (c == '[') refuse(r, "a class in a class");
    else if (starts(r, "&&")) refuse(r, "the class intersection &&");
    else if (c == '\\') escaped(r, true);
    else copy(r, 1);
    if (r->status != KOINE_OK) return;
  }
}

static void group(reader *r)
{
  static const char *const known[] = {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:", "(?-i:"};
  for (size_t i = 0; i < KOI_COUNT(known); i++)
    if (starts(r, known[i])) {
      copy(r, strlen(known[i]));
      return;
    }
  if (starts(r, "(?i)") && r->i == 0) copy(r, 4);
  else if (starts(r, "(?") || starts(r, "(*")) refuse(r, "this group");
  else copy(r, 1);
}

/* {n}, {n,}, {,m}, {n,m}; any other brace is itself. What may follow differs: {n}? and {n,m}+ mean a repeat of the repeat there. */
static void braces(reader *r)
{
  size_t i = 1, low = 0, high = 0;
  while (koi_is_digit(peek(r, i))) i++, low++;
  bool comma = peek(r, i) == ',';
  if (comma) i++;
  while (comma && koi_is_digit(peek(r, i))) i++, high++;
  if (peek(r, i) != '}' || !(low || high)) {
    put(r, "\\{", 1);
    return;
  }
  int next = peek(r, i + 1);
  if (next == '+' || (next == '?' && !comma)) {
    refuse(r, "a repeat of a repeat");
    return;
  }
  koi_text_add(&r->out, "{%s%.*s", low ? "" : "0", (int)i, r->s + r->i + 1);
  r->i += i + 1;
}

static koine_status translate(const char *what, const char *s, size_t n, koi_text *out)
{
  reader r = {.what = what, .s = s, .n = n};
  while (r.i < r.n) {
    switch (s[r.i]) {
    case '\\': escaped(&r, false); break;
    case '[': class(&r); break;
    case '(': group(&r); break;
    case '{': braces(&r); break;
    default: copy(&r, 1);
    }
  }
  *out = r.out;
  return r.status;
}

static koine_status compile(const char *what, const char *source, size_t n_source, const char *s, size_t n, uint32_t options, pcre2_code **out)
{
  int error;
  PCRE2_SIZE offset;
  pcre2_compile_context *context = pcre2_compile_context_create(NULL);
  if (!context) return koi_error(KOINE_ERR_MEMORY, "%s: out of host memory for a pattern", what);
  pcre2_set_newline(context, PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context, 100);
  pcre2_code *code = pcre2_compile((PCRE2_SPTR)s, n, options | PCRE2_UTF, &error, &offset, context);
  pcre2_compile_context_free(context);
  if (!code) {
    PCRE2_UCHAR text[128] = "";
    pcre2_get_error_message(error, text, sizeof text);
    return koi_error(KOINE_ERR_FILE, "%s: pattern \"%.*s\": %s", what, (int)(n_source < 200 ? n_source : 200), source, (char *)text);
  }
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE); /* without it (no such CPU, no executable memory) pcre2_match interprets */
  *out = code;
  return KOINE_OK;
}

koine_status koi_tok_pattern_compile(const char *what, const char *pattern, size_t n, pcre2_code **out)
{
  koi_text text = {0};
  koine_status s = n ? translate(what, pattern, n, &text) : koi_error(KOINE_ERR_FILE, "%s: an empty pattern", what);
  char *translated = NULL;
  size_t n_translated = text.len;
  if (s == KOINE_OK) s = koi_text_take(&text, &translated);
  else koi_free(text.s);
  if (s == KOINE_OK) s = compile(what, pattern, n, translated, n_translated, PCRE2_MULTILINE | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, out);
  koi_free(translated);
  return s;
}

koine_status koi_tok_pattern_literal(const char *what, const char *text, size_t n, pcre2_code **out)
{
  if (n == 0) return koi_error(KOINE_ERR_FILE, "%s: an empty pattern", what);
  return compile(what, text, n, text, n, PCRE2_LITERAL, out);
}

/* ---- matching ---- */
koine_status koi_tok_matcher_init(koi_tok_matcher *m)
{
  *m = (koi_tok_matcher){.data = pcre2_match_data_create(1, NULL), .context = pcre2_match_context_create(NULL)};
  if (!m->data || !m->context) {
    koi_tok_matcher_clear(m);
    return koi_error(KOINE_ERR_MEMORY, "out of host memory for pattern matching");
  }
  pcre2_set_match_limit(m->context, MATCH_LIMIT);
  return KOINE_OK;
}

void koi_tok_matcher_clear(koi_tok_matcher *m)
{
  if (m->stack) pcre2_jit_stack_free(m->stack);
  if (m->context) pcre2_match_context_free(m->context);
  if (m->data) pcre2_match_data_free(m->data);
  *m = (koi_tok_matcher){0};
}

/* pcre2_match's result. The first match that needs more than the machine's stack gets a stack of its own, for good. */
static int match(koi_tok_matcher *m, const pcre2_code *code, const char *s, size_t n, size_t at)
{
  int rc = pcre2_match(code, (PCRE2_SPTR)s, n, at, PCRE2_NO_UTF_CHECK, m->data, m->context);
  if (rc != PCRE2_ERROR_JIT_STACKLIMIT || m->stack) return rc;
  m->stack = pcre2_jit_stack_create(32 << 10, JIT_STACK_MAX, NULL);
  if (!m->stack) return PCRE2_ERROR_NOMEMORY;
  pcre2_jit_stack_assign(m->context, NULL, m->stack);
  return pcre2_match(code, (PCRE2_SPTR)s, n, at, PCRE2_NO_UTF_CHECK, m->data, m->context);
}

static size_t step(const char *s, size_t n, size_t at)
{
  uint32_t code;
  size_t len = koi_utf8_char(s + at, n - at, &code);
  return len ? len : 1;
}

static koine_status failed(int rc)
{
  PCRE2_UCHAR text[128] = "";
  pcre2_get_error_message(rc, text, sizeof text);
  return koi_error(rc == PCRE2_ERROR_NOMEMORY ? KOINE_ERR_MEMORY : KOINE_ERR_FILE, "a pattern of the tokenizer cannot be matched: %s",
                   (char *)text);
}

koine_status koi_tok_matcher_next(koi_tok_matcher *m, const pcre2_code *code, const char *s, size_t n, koi_tok_cursor *c, bool *found)
{
  *found = false;
  while (c->at <= n) {
    int rc = match(m, code, s, n, c->at);
    if (rc == PCRE2_ERROR_NOMATCH) break;
    if (rc < 0) return failed(rc);
    const PCRE2_SIZE *at = pcre2_get_ovector_pointer(m->data);
    c->begin = at[0], c->end = at[1];
    if (c->begin < c->at || c->end < c->begin) return koi_error(KOINE_ERR_FILE, "a pattern of the tokenizer matches backwards");
    if (c->begin != c->end || c->end != c->last) {
      c->at = c->last = c->end;
      *found = true;
      break;
    }
    c->at = c->end < n ? c->end + step(s, n, c->end) : n + 1;
  }
  return KOINE_OK;
}
