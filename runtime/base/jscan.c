/* See jscan.h. Owns: nothing. Invariant: never reads at or beyond s[n]; `at` never passes n. */
#include "jscan.h"
#include "utf8.h"
#include <stdlib.h>
#include <string.h>

static bool fail(koi_jscan *j, const char *wrong)
{
  if (!j->wrong) j->wrong = wrong;
  return false;
}

static bool digit(char c) { return c >= '0' && c <= '9'; }

char koi_jscan_peek(koi_jscan *j)
{
  while (j->at < j->n && strchr(" \t\r\n", j->s[j->at]) && j->s[j->at]) j->at++;
  return j->wrong || j->at == j->n ? 0 : j->s[j->at];
}

static bool take(koi_jscan *j, char c, const char *wrong)
{
  if (koi_jscan_peek(j) != c || j->wrong) return fail(j, wrong);
  j->at++;
  return true;
}

bool koi_jscan_open(koi_jscan *j, char bracket) { return take(j, bracket, bracket == '{' ? "expected an object" : "expected an array"); }

bool koi_jscan_more(koi_jscan *j, char close, size_t *n)
{
  char c = koi_jscan_peek(j);
  if (j->wrong) return false;
  if (c == close) return j->at++, false;
  if (*n && !take(j, ',', close == '}' ? "expected ',' or '}'" : "expected ',' or ']'")) return false;
  if (!koi_jscan_peek(j)) return fail(j, "the text ends too early");
  ++*n;
  return true;
}

/* ---- strings ---- */
static bool hex4(koi_jscan *j, uint32_t *out)
{
  uint32_t v = 0;
  if (j->n - j->at < 4) return fail(j, "the text ends inside a string");
  for (int i = 0; i < 4; i++) {
    char c = j->s[j->at];
    uint32_t d = digit(c) ? (uint32_t)(c - '0') : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10) : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10) : 16;
    if (d > 15) return fail(j, "expected four hexadecimal digits");
    v = v << 4 | d;
    j->at++;
  }
  *out = v;
  return true;
}

/* What follows a backslash, as UTF-8 in to[4]. */
static bool escape(koi_jscan *j, char *to, size_t *len)
{
  static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
  if (j->at == j->n) return fail(j, "the text ends inside a string");
  char c = j->s[j->at];
  const char *p = c ? strchr(names, c) : NULL;
  j->at++;
  *len = 1;
  if (p) return to[0] = values[p - names], true;
  uint32_t u, low = 0;
  if (c != 'u') return fail(j, "unknown escape in a string");
  if (!hex4(j, &u)) return false;
  if (u >= 0xd800 && u < 0xe000) {
    size_t behind = j->at;
    bool pair = u < 0xdc00 && j->n - j->at >= 2 && j->s[j->at] == '\\' && j->s[j->at + 1] == 'u';
    if (pair && (j->at += 2, !hex4(j, &low))) return false;
    pair = pair && low >= 0xdc00 && low <= 0xdfff;
    if (!pair && !j->halves) return fail(j, "half of a surrogate pair in a string");
    if (!pair) j->at = behind;
    u = pair ? 0x10000 + ((u - 0xd800) << 10) + (low - 0xdc00) : 0xfffd;
  }
  if (!u && !j->zeros) return fail(j, "a zero character in a string");
  *len = koi_utf8_put(u, to);
  return true;
}

/* One character as it stands. */
static bool plain(koi_jscan *j, char *to, size_t *len)
{
  uint32_t code;
  if ((unsigned char)j->s[j->at] < 0x20) return fail(j, "a control character in a string");
  size_t n = koi_utf8_char(j->s + j->at, j->n - j->at, &code);
  if (!n) return fail(j, "not UTF-8");
  memcpy(to, j->s + j->at, n);
  j->at += n;
  *len = n;
  return true;
}

bool koi_jscan_string(koi_jscan *j, char *to, size_t cap, size_t *len)
{
  size_t got = 0;
  if (!take(j, '"', "expected a string")) return false;
  for (;;) {
    char c[4];
    size_t n;
    if (j->at == j->n) return fail(j, "the text ends inside a string");
    if (j->s[j->at] == '"') break;
    if (j->s[j->at] == '\\' ? (j->at++, !escape(j, c, &n)) : !plain(j, c, &n)) return false;
    if (!to) continue;
    if (cap - got <= n) return fail(j, "the string is too long");
    memcpy(to + got, c, n);
    got += n;
  }
  j->at++;
  if (to) to[got] = 0;
  if (len) *len = got;
  return true;
}

bool koi_jscan_key(koi_jscan *j, char *to, size_t cap, size_t *len)
{
  if (koi_jscan_peek(j) != '"') return fail(j, "expected a key");
  return koi_jscan_string(j, to, cap, len) && take(j, ':', "expected ':'");
}

/* ---- numbers and the rest ---- */
static bool digits(koi_jscan *j)
{
  size_t from = j->at;
  while (j->at < j->n && digit(j->s[j->at])) j->at++;
  return j->at > from || fail(j, "expected a digit");
}

static bool number(koi_jscan *j)
{
  if (j->s[j->at] == '-') j->at++;
  bool zero = j->at < j->n && j->s[j->at] == '0';
  size_t from = j->at;
  if (!digits(j)) return false;
  if (zero && j->at - from > 1) return fail(j, "a number with leading zeros");
  if (j->at < j->n && j->s[j->at] == '.' && (j->at++, !digits(j))) return false;
  if (j->at < j->n && (j->s[j->at] | 32) == 'e') {
    j->at++;
    if (j->at < j->n && (j->s[j->at] == '+' || j->s[j->at] == '-')) j->at++;
    return digits(j);
  }
  return true;
}

bool koi_jscan_u64(koi_jscan *j, uint64_t *out)
{
  static const char wrong[] = "expected an integer from 0 to 2^64-1";
  if (!digit(koi_jscan_peek(j))) return fail(j, wrong);
  size_t from = j->at;
  if (!number(j)) return false;
  uint64_t v = 0;
  for (size_t i = from; i < j->at; i++) {
    uint64_t d = (uint64_t)(j->s[i] - '0');
    if (!digit(j->s[i]) || __builtin_mul_overflow(v, (uint64_t)10, &v) || __builtin_add_overflow(v, d, &v)) return j->at = from, fail(j, wrong);
  }
  *out = v;
  return true;
}

static bool word(koi_jscan *j)
{
  static const char *const words[] = {"true", "false", "null"};
  for (size_t i = 0; i < KOI_COUNT(words); i++) {
    size_t n = strlen(words[i]);
    if (j->n - j->at >= n && !memcmp(j->s + j->at, words[i], n)) return j->at += n, true;
  }
  return fail(j, "expected a value");
}

static bool scalar(koi_jscan *j, char c)
{
  return c == '"' ? koi_jscan_string(j, NULL, 0, NULL) : c == '-' || digit(c) ? number(j) : word(j);
}

static bool skip(koi_jscan *j, int depth)
{
  char c = koi_jscan_peek(j);
  if (!c) return fail(j, "the text ends too early");
  if (c != '{' && c != '[') return scalar(j, c);
  if (depth == KOI_JSCAN_DEPTH) return fail(j, "nested too deeply");
  char close = c == '{' ? '}' : ']';
  j->at++;
  for (size_t n = 0; koi_jscan_more(j, close, &n);)
    if ((c == '{' && !koi_jscan_key(j, NULL, 0, NULL)) || !skip(j, depth + 1)) return false;
  return !j->wrong;
}

bool koi_jscan_skip(koi_jscan *j) { return skip(j, 0); }

bool koi_jscan_end(koi_jscan *j)
{
  koi_jscan_peek(j);
  if (j->wrong) return false;
  return j->at == j->n || fail(j, "something follows the end");
}

koine_status koi_jscan_error(const koi_jscan *j, const char *where)
{
  char found[16] = "the end";
  if (j->memory) return KOINE_ERR_MEMORY; /* the message is set */
  unsigned char c = j->at < j->n ? (unsigned char)j->s[j->at] : 0;
  if (c > 0x20 && c < 0x7f) koi_print(found, sizeof found, "'%c'", c);
  else if (j->at < j->n) koi_print(found, sizeof found, "byte 0x%02x", c);
  return koi_error(j->status ? j->status : KOINE_ERR_FILE, "%s: JSON byte %zu: %s, found %s", where, j->at, j->wrong, found);
}

/* ---- keys given twice ---- */
typedef struct pool {
  char *text;        /* [size] the decoded keys of all open objects, each zero-terminated */
  const char **keys; /* [cap] into text */
  size_t size, used, n_keys, cap;
} pool;

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static bool pool_key(koi_jscan *j, pool *p)
{
  const char **keys = koi_grow(p->keys, p->n_keys, &p->cap, sizeof *keys);
  if (!keys) return j->memory = true, fail(j, "out of host memory");
  p->keys = keys;
  size_t len;
  char *to = p->text + p->used;
  if (!koi_jscan_key(j, to, p->size - p->used, &len)) return false;
  p->keys[p->n_keys++] = to;
  p->used += len + 1;
  return true;
}

static bool check(koi_jscan *j, pool *p, int depth)
{
  char c = koi_jscan_peek(j);
  if (c != '{' && c != '[') return koi_jscan_skip(j);
  if (depth == KOI_JSCAN_DEPTH) return fail(j, "nested too deeply");
  char close = c == '{' ? '}' : ']';
  size_t used = p->used, first = p->n_keys;
  j->at++;
  for (size_t n = 0; koi_jscan_more(j, close, &n);)
    if ((c == '{' && !pool_key(j, p)) || !check(j, p, depth + 1)) return false;
  if (j->wrong) return false;
  if (p->n_keys > first) qsort(p->keys + first, p->n_keys - first, sizeof *p->keys, by_text);
  for (size_t i = first + 1; i < p->n_keys; i++)
    if (!strcmp(p->keys[i - 1], p->keys[i])) return fail(j, "a key is given twice in the object that ends here");
  p->used = used, p->n_keys = first;
  return true;
}

koine_status koi_jscan_check(const char *s, size_t n, const char *where)
{
  koi_jscan j = {.s = s, .n = n};
  pool p = {.size = n + 1};
  if (!(p.text = koi_alloc(p.size, 1))) return KOINE_ERR_MEMORY;
  bool ok = check(&j, &p, 0) && koi_jscan_end(&j);
  koi_free(p.text);
  koi_free(p.keys);
  return ok ? KOINE_OK : koi_jscan_error(&j, where);
}
