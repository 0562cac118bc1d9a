/* Owns: finding pieces of markup in an answer, and reading one tool call.
 * Does not: know what stands around a call (chat_stream.c).
 * Invariant: a call is given only when all of it was there; its arguments are always a JSON object. What is read of a text does not change
 * when more text follows. */
#include <string.h>
#include "chat_impl.h"

#define MAX_PARAMETERS 4096 /* of one call: looking for one given twice is quadratic */

const koi_chat_mark koi_chat_mark_think = {KOI_CHAT_THINK, 0}, koi_chat_mark_think_end = {KOI_CHAT_THINK_END, 0}, koi_chat_mark_eos = {KOI_CHAT_EOS, 0},
                    koi_chat_mark_bos = {KOI_CHAT_BOS, 0}, koi_chat_mark_dsml = {KOI_CHAT_DSML, 0}, koi_chat_mark_block = {"<" KOI_CHAT_DSML "tool_calls", 1},
                    koi_chat_mark_block_end = {"</" KOI_CHAT_DSML "tool_calls>", 2}, koi_chat_mark_invoke = {"<" KOI_CHAT_DSML "invoke", 1},
                    koi_chat_mark_invoke_end = {"</" KOI_CHAT_DSML "invoke", 2};
static const koi_chat_mark parameter = {"<" KOI_CHAT_DSML "parameter", 1}, parameter_end = {"</" KOI_CHAT_DSML "parameter", 2};

/* ---- markup ---- */
bool koi_chat_is_at(const koi_chat_source *t, size_t at, koi_chat_mark m)
{
  size_t n = strlen(m.s);
  return at <= t->n && t->n - at >= n && !memcmp(t->s + at, m.s, n) && (!t->begins || t->begins[at + m.control] & 1);
}

bool koi_chat_may_be(const koi_chat_source *t, size_t at, koi_chat_mark m)
{
  return !t->last && t->n - at < strlen(m.s) && !memcmp(t->s + at, m.s, t->n - at);
}

size_t koi_chat_find(const koi_chat_source *t, size_t from, koi_chat_mark m)
{
  for (const char *p; from < t->n && (p = memchr(t->s + from, m.s[0], t->n - from)); from++) {
    from = (size_t)(p - t->s);
    if (koi_chat_is_at(t, from, m)) return from;
  }
  return t->n;
}

size_t koi_chat_spaces(const koi_chat_source *t, size_t at)
{
  while (at < t->n && t->s[at] && strchr(" \t\r\n", t->s[at])) at++;
  return at;
}

size_t koi_chat_overlap(const char *s, size_t n, const char *of)
{
  size_t most = strlen(of) - 1;
  for (size_t k = n < most ? n : most; k > 0; k--)
    if (!memcmp(s + n - k, of, k)) return k;
  return 0;
}

/* ---- one call ---- */
typedef struct reader {
  const koi_chat_source *t;
  size_t at;
  const char *defect;
  bool open;                /* the text ends before it is known */
  koi_text arguments, keys; /* keys: as JSON, a line each */
  size_t n_keys;
} reader;

static bool wrong(reader *r, const char *defect)
{
  r->defect = defect;
  return false;
}

static bool breaks_off(reader *r)
{
  r->open = !r->t->last;
  return wrong(r, "a tool call breaks off");
}

static bool is_json(const char *s, size_t n)
{
  koi_jscan j = {.s = s, .n = n, .zeros = true};
  return koi_jscan_skip(&j) && koi_jscan_end(&j);
}

/* Whether the last line of `keys` is there before. */
static bool twice(const koi_text *keys, size_t last)
{
  size_t n = keys->len - last;
  for (size_t i = 0; !keys->failed && i + n <= last; i++)
    if ((i == 0 || keys->s[i - 1] == '\n') && !memcmp(keys->s + i, keys->s + last, n)) return true;
  return false;
}

static void put_argument(reader *r, const char *key, size_t n_key, const char *value, size_t n, bool is_text)
{
  koi_text_add(&r->arguments, r->keys.len ? ", " : "");
  koi_chat_json_string(&r->arguments, key, n_key);
  koi_text_add(&r->arguments, ": ");
  if (!is_text && is_json(value, n)) {
    koi_text_bytes(&r->arguments, value, n);
    return;
  }
  if (!is_text) r->defect = "the value of a parameter is no JSON";
  koi_chat_json_string(&r->arguments, value, n);
}

static bool begins(const reader *r, size_t at, size_t end, const char *what)
{
  size_t n = strlen(what);
  return end - at >= n && !memcmp(r->t->s + at, what, n);
}

/* The > of an end tag at r->at, and the white space behind it. */
static bool end_tag(reader *r, const char *without)
{
  if (r->at >= r->t->n) return breaks_off(r);
  if (r->t->s[r->at] != '>') return wrong(r, without);
  r->at = koi_chat_spaces(r->t, r->at + 1);
  return true;
}

/*  name="KEY" string="true">VALUE */
static bool read_parameter(reader *r)
{
  static const char before[] = " name=\"", yes[] = "\" string=\"true\">", no[] = "\" string=\"false\">";
  const koi_chat_source *t = r->t;
  size_t from = r->at + strlen(parameter.s), end = koi_chat_find(t, from, parameter_end), last = r->keys.len;
  if (end == t->n) return breaks_off(r);
  if (!begins(r, from, end, before)) return wrong(r, "a parameter without a name");
  size_t key = from + strlen(before), i = key;
  bool is_text = false, is_value = false;
  for (; i < end && !is_text && !is_value; i++) is_text = begins(r, i, end, yes), is_value = begins(r, i, end, no);
  if (!is_text && !is_value) return wrong(r, "a parameter without string=\"true\" or \"false\"");
  size_t n_key = i - 1 - key, value = i - 1 + strlen(is_text ? yes : no);
  put_argument(r, t->s + key, n_key, t->s + value, end - value, is_text);
  koi_chat_json_string(&r->keys, t->s + key, n_key);
  koi_text_add(&r->keys, "\n");
  if (++r->n_keys > MAX_PARAMETERS) return wrong(r, "too many parameters");
  if (twice(&r->keys, last)) return wrong(r, "a parameter is given twice");
  r->at = end + strlen(parameter_end.s);
  return end_tag(r, "a parameter's end tag without its >");
}

/*  name="NAME"> and parameters, to the end tag. */
static bool read_call(reader *r, size_t *name, size_t *n_name)
{
  static const char before[] = "name=\"";
  const koi_chat_source *t = r->t;
  size_t from = koi_chat_spaces(t, r->at + strlen(koi_chat_mark_invoke.s)), a = koi_chat_find(t, from, parameter), b = koi_chat_find(t, from, koi_chat_mark_invoke_end);
  size_t other = koi_chat_find(t, from, koi_chat_mark_invoke), end = a < b ? a : b;
  if (other < end) end = other;
  if (end == t->n) return breaks_off(r);
  r->at = end;
  while (end > from && strchr(" \t\r\n", t->s[end - 1])) end--;
  if (end - from < strlen(before) + 2 || !begins(r, from, end, before) || memcmp(t->s + end - 2, "\">", 2)) return wrong(r, "a tool call without a name");
  *name = from + strlen(before), *n_name = end - 2 - *name;
  if (!*n_name) return wrong(r, "a tool call without a name");
  koi_text_add(&r->arguments, "{");
  while (koi_chat_is_at(t, r->at, parameter))
    if (!read_parameter(r)) return false;
  if (r->at == t->n || koi_chat_may_be(t, r->at, parameter) || koi_chat_may_be(t, r->at, koi_chat_mark_invoke_end)) return breaks_off(r);
  if (!koi_chat_is_at(t, r->at, koi_chat_mark_invoke_end)) return wrong(r, "text between parameters");
  r->at += strlen(koi_chat_mark_invoke_end.s);
  koi_text_add(&r->arguments, "}");
  return end_tag(r, "a call's end tag without its >");
}

koi_chat_found koi_chat_call_read(const koi_chat_source *t, size_t *at, koi_chat_call *out, const char **defect)
{
  reader r = {.t = t, .at = *at};
  size_t name = 0, n_name = 0;
  koi_chat_call made = {0};
  koi_chat_found found = read_call(&r, &name, &n_name) ? KOI_CHAT_WHOLE : r.open ? KOI_CHAT_OPEN : KOI_CHAT_BAD;
  if (r.keys.failed || r.arguments.failed) found = KOI_CHAT_NO_MEMORY;
  if (found == KOI_CHAT_WHOLE) {
    koi_text text = {0};
    koi_text_bytes(&text, t->s + name, n_name);
    made.n_name = n_name;
    if (koi_text_take(&text, &made.name) || koi_text_take(&r.arguments, &made.arguments)) found = KOI_CHAT_NO_MEMORY;
  }
  if (found == KOI_CHAT_WHOLE) *out = made;
  else koi_free(made.name);
  koi_free(r.arguments.s);
  koi_free(r.keys.s);
  if (found != KOI_CHAT_NO_MEMORY) *at = r.at, *defect = r.defect;
  return found;
}
