/* Owns: writing JSON as Python's json.dumps(value, ensure_ascii=False) does: that text is part of prompts.
 * Does not: keep a tree; a value is written while it is read.
 * Invariant: members keep their order; integers keep their digits; fractions get the shortest text that reads back as the same number,
 * and those beyond every double, of which Python makes no JSON, stay as they are. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "chat_impl.h"

void koi_chat_json_string(koi_text *out, const char *s, size_t n)
{
  static const char names[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
  koi_text_bytes(out, "\"", 1);
  for (size_t i = 0, from = 0; i <= n; i++) {
    if (i < n && (unsigned char)s[i] >= 0x20 && s[i] != '"' && s[i] != '\\') continue;
    koi_text_bytes(out, s + from, i - from);
    from = i + 1;
    if (i == n) break;
    const char *known = s[i] ? strchr(names, s[i]) : NULL;
    if (known) koi_text_add(out, "\\%c", letters[known - names]);
    else koi_text_add(out, "\\u%04x", (unsigned char)s[i]);
  }
  koi_text_bytes(out, "\"", 1);
}

/* ---- numbers ---- */
#define DIGITS 800 /* no decision about rounding needs more */

/* A number's digits without a point, and its exponent. */
static double number_value(const char *s, size_t n)
{
  char text[DIGITS + 32];
  size_t k = 0;
  long exponent = 0, given = 0;
  bool point = false, negative = false;
  for (size_t i = 0; i < n; i++) {
    if (koi_is_digit(s[i])) {
      if (k < DIGITS) text[k++] = s[i], exponent -= point;
      else exponent += !point;
    } else if (s[i] == '.') {
      point = true;
    } else if (s[i] == '-') {
      negative = true;
    } else { /* e: any exponent beyond this is zero or infinity */
      for (i++; i < n; i++)
        if (koi_is_digit(s[i])) given = given < 100000 ? given * 10 + (s[i] - '0') : given;
      const char *e = memchr(s, 'e', n);
      if (!e) e = memchr(s, 'E', n);
      if (e[1] == '-') given = -given;
    }
  }
  koi_print(text + k, sizeof text - k, "e%ld", exponent + given);
  double v = koi_number(text, NULL);
  return negative ? -v : v;
}

/* Python's repr of a float. */
static void put_fraction(koi_text *out, double v)
{
  char text[40], digits[24];
  int n = 0, exponent = 0;
  for (int precision = 0; precision < 17; precision++) {
    koi_print(text, sizeof text, "%.*e", precision, fabs(v));
    const char *e = strchr(text, 'e');
    n = 0;
    for (const char *p = text; p < e; p++)
      if (koi_is_digit(*p)) digits[n++] = *p;
    exponent = atoi(e + 1);
    digits[n] = 0;
    koi_print(text, sizeof text, "%se%d", digits, exponent - (n - 1));
    if (koi_number(text, NULL) == fabs(v)) break;
  }
  if (signbit(v)) koi_text_add(out, "-");
  if (exponent < -4 || exponent >= 16) koi_text_add(out, "%.1s%s%se%c%02d", digits, n > 1 ? "." : "", digits + 1, exponent < 0 ? '-' : '+', abs(exponent));
  else if (exponent < 0) koi_text_add(out, "0.%.*s%s", -exponent - 1, "000", digits);
  else if (n <= exponent + 1) koi_text_add(out, "%s%.*s.0", digits, exponent + 1 - n, "000000000000000");
  else koi_text_add(out, "%.*s.%s", exponent + 1, digits, digits + exponent + 1);
}

static void put_number(koi_text *out, const char *s, size_t n)
{
  bool fraction = memchr(s, '.', n) || memchr(s, 'e', n) || memchr(s, 'E', n);
  double v = fraction ? number_value(s, n) : 0;
  if (fraction && isfinite(v)) put_fraction(out, v);
  else if (n == 2 && !memcmp(s, "-0", 2)) koi_text_add(out, "0");
  else koi_text_bytes(out, s, n);
}

/* ---- values ---- */
static bool value(koi_jscan *j, koi_text *out, char *buffer, size_t n_buffer, int depth)
{
  char c = koi_jscan_peek(j);
  size_t from = j->at, n;
  if (c == '"') {
    if (!koi_jscan_string(j, buffer, n_buffer, &n)) return false;
    koi_chat_json_string(out, buffer, n);
    return true;
  }
  if ((c != '{' && c != '[') || depth == KOI_JSCAN_DEPTH) { /* too deep: skip says so */
    if (!koi_jscan_skip(j)) return false;
    if (c == '-' || koi_is_digit(c)) put_number(out, j->s + from, j->at - from);
    else koi_text_bytes(out, j->s + from, j->at - from);
    return true;
  }
  char close = c == '{' ? '}' : ']';
  koi_jscan_open(j, c);
  koi_text_bytes(out, &c, 1);
  for (size_t i = 0; koi_jscan_more(j, close, &i);) {
    if (i > 1) koi_text_add(out, ", ");
    if (c == '{') {
      if (!koi_jscan_key(j, buffer, n_buffer, &n)) return false;
      koi_chat_json_string(out, buffer, n);
      koi_text_add(out, ": ");
    }
    if (!value(j, out, buffer, n_buffer, depth + 1)) return false;
  }
  koi_text_bytes(out, &close, 1);
  return !j->wrong;
}

bool koi_chat_json_value(koi_jscan *j, koi_text *out, char *buffer, size_t n_buffer)
{
  /* First as a whole: then nothing half-read is written, and the depth is known to be in bounds. */
  koi_jscan ahead = *j;
  if (!koi_jscan_skip(&ahead)) return *j = ahead, false;
  return value(j, out, buffer, n_buffer, 0);
}
