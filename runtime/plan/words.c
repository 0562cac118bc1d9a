/* See words.h. Owns nothing. Invariant: what is put is read back, whatever the text was. */
#include "words.h"
#include <math.h>
#include <string.h>

bool koi_word_next(const char **at, koi_word *out)
{
  bool quoted = false;
  const char *s = *at;
  while (*s == ' ' || *s == '\t' || *s == '\r') s++;
  out->s = s;
  for (; *s && *s != '\n' && (quoted || (*s != ' ' && *s != '\t' && *s != '\r')); s++) quoted ^= *s == '"';
  out->n = (size_t)(s - out->s), *at = s;
  return out->n > 0;
}

bool koi_word_is(const koi_word *w, const char *text) { return w->n == strlen(text) && !memcmp(w->s, text, w->n); }

const char *koi_word_value(const koi_word *w, const char *key, size_t *n)
{
  size_t k = strlen(key);
  if (w->n < k || memcmp(w->s, key, k)) return NULL;
  const char *v = w->s + k;
  *n = w->n - k;
  if (*n >= 2 && v[0] == '"' && v[*n - 1] == '"') v++, *n -= 2;
  return v;
}

bool koi_word_text(const koi_word *w, const char *key, char *to, size_t room)
{
  size_t n;
  const char *v = koi_word_value(w, key, &n);
  if (!v) return true;
  if (n >= room) return false;
  memcpy(to, v, n);
  to[n] = 0;
  return true;
}

bool koi_word_number(const koi_word *w, const char *key, double *to)
{
  char text[40], *end;
  size_t n;
  if (!koi_word_value(w, key, &n)) return true;
  if (!koi_word_text(w, key, text, sizeof text) || !(koi_is_digit(text[0]) || text[0] == '.')) return false;
  double v = koi_number(text, &end);
  if (*end || !isfinite(v)) return false;
  *to = v;
  return true;
}

bool koi_word_count(const koi_word *w, const char *key, uint64_t *to)
{
  size_t n;
  uint64_t x = 0;
  const char *v = koi_word_value(w, key, &n);
  if (!v) return true;
  if (!n) return false;
  for (size_t i = 0; i < n; i++)
    if (!koi_is_digit(v[i]) || __builtin_mul_overflow(x, 10, &x) || __builtin_add_overflow(x, (uint64_t)(v[i] - '0'), &x)) return false;
  *to = x;
  return true;
}

bool koi_word_bytes(const char *text, uint64_t *to)
{
  static const char units[] = "KMGT";
  uint64_t x = 0;
  if (!koi_is_digit(*text)) return false;
  for (; koi_is_digit(*text); text++)
    if (__builtin_mul_overflow(x, 10, &x) || __builtin_add_overflow(x, (uint64_t)(*text - '0'), &x)) return false;
  const char *unit = *text ? strchr(units, *text) : NULL;
  int shift = unit ? 10 * (int)(unit - units + 1) : 0;
  if ((unit ? text[1] : *text) || x > UINT64_MAX >> shift) return false;
  *to = x << shift;
  return true;
}

void koi_word_put(koi_text *t, const char *key, const char *value)
{
  koi_text_add(t, " %s=\"", key);
  for (; *value; value++)
    if ((unsigned char)*value >= ' ' && *value != '"' && *value != 0x7f) koi_text_bytes(t, value, 1);
  koi_text_add(t, "\"");
}
