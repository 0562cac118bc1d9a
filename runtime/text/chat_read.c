/* Owns: the values of a request: texts, contents, tools and calls from JSON into the request's pool.
 * Does not: know what a message or a request is made of (chat_request.c).
 * Invariant: a string is compared with its length, for U+0000 is data. */
#include <stdlib.h>
#include <string.h>
#include "chat_impl.h"

bool koi_chat_read_fail(koi_chat_reader *r, const char *wrong)
{
  if (!r->j.wrong) r->j.wrong = wrong;
  return false;
}

/* Room for one more element. */
bool koi_chat_read_room(koi_chat_reader *r, void **array, size_t n, size_t *cap, size_t size)
{
  if (n < *cap) return true;
  size_t more = *cap * 2 + 16;
  void *v = koi_realloc(*array, more, size);
  if (!v) return r->j.memory = true, koi_chat_read_fail(r, "out of host memory");
  *array = v, *cap = more;
  return true;
}

/* What would change the prompt and is not done is refused. */
bool koi_chat_read_refuse(koi_chat_reader *r, const char *wrong)
{
  if (!r->j.wrong) r->j.status = KOINE_ERR_UNSUPPORTED;
  return koi_chat_read_fail(r, wrong);
}

/* ---- values ---- */
bool koi_chat_read_string(koi_chat_reader *r) { return koi_jscan_string(&r->j, r->buffer, r->n_buffer, &r->n); }
bool koi_chat_read_key(koi_chat_reader *r) { return koi_jscan_key(&r->j, r->buffer, r->n_buffer, &r->n); }
/* Whether the string that was read last is `word`, to its last byte. */
bool koi_chat_read_is(const koi_chat_reader *r, const char *word) { return r->n == strlen(word) && !memcmp(r->buffer, word, r->n); }

static koi_chat_span since(const koi_chat_reader *r, size_t at) { return (koi_chat_span){at, r->r->pool.len - at}; }

koi_chat_span koi_chat_read_put(koi_chat_reader *r, const char *s, size_t n)
{
  size_t at = r->r->pool.len;
  koi_text_bytes(&r->r->pool, s, n);
  return since(r, at);
}

bool koi_chat_read_null(koi_chat_reader *r) { return koi_jscan_peek(&r->j) == 'n' && koi_jscan_skip(&r->j); }

bool koi_chat_read_text(koi_chat_reader *r, koi_chat_span *out)
{
  if (!koi_chat_read_string(r)) return false;
  *out = koi_chat_read_put(r, r->buffer, r->n);
  return true;
}

bool koi_chat_read_optional_text(koi_chat_reader *r, koi_chat_span *out) { return koi_chat_read_null(r) || (!r->j.wrong && koi_chat_read_text(r, out)); }

bool koi_chat_read_boolean(koi_chat_reader *r, bool *out)
{
  char c = koi_jscan_peek(&r->j);
  if (c != 't' && c != 'f' && c != 'n') return koi_chat_read_fail(r, "expected true or false");
  *out = c == 't';
  return koi_jscan_skip(&r->j);
}

/* The next value as JSON text. */
bool koi_chat_read_json(koi_chat_reader *r, koi_chat_span *out)
{
  size_t at = r->r->pool.len;
  bool ok = koi_chat_json_value(&r->j, &r->r->pool, r->buffer, r->n_buffer);
  *out = since(r, at);
  return ok;
}

/* One part of a content array: its text, or [Unsupported TYPE]. */
static bool content_part(koi_chat_reader *r, bool first)
{
  char type[64] = "None";
  size_t n_type = 4, from = r->r->pool.len;
  koi_chat_span said = {0};
  koi_text *pool = &r->r->pool;
  bool has_text = false;
  if (!first) koi_text_add(pool, "\n\n");
  if (!koi_jscan_open(&r->j, '{')) return false;
  for (size_t i = 0; koi_jscan_more(&r->j, '}', &i);) {
    if (!koi_chat_read_key(r)) return false;
    if (koi_chat_read_is(r, "text") && koi_jscan_peek(&r->j) == '"' && !has_text) has_text = koi_chat_read_text(r, &said);
    else if (koi_chat_read_is(r, "type") && koi_jscan_peek(&r->j) == '"') {
      if (!koi_chat_read_string(r)) return false;
      if (r->n > sizeof type) return koi_chat_read_fail(r, "the type of a content part is too long");
      memcpy(type, r->buffer, n_type = r->n);
    } else koi_jscan_skip(&r->j);
  }
  if (r->j.wrong) return false;
  if (n_type == 4 && !memcmp(type, "text", 4) && !pool->failed) return true; /* the text, if any, was put behind the blank line */
  pool->len = from;
  koi_text_add(pool, "%s[Unsupported ", first ? "" : "\n\n");
  koi_text_bytes(pool, type, n_type);
  koi_text_add(pool, "]");
  return true;
}

bool koi_chat_read_content(koi_chat_reader *r, koi_chat_span *out)
{
  char c = koi_jscan_peek(&r->j);
  if (c == '"' || c == 'n') return koi_chat_read_optional_text(r, out);
  if (c != '[') return koi_chat_read_fail(r, "content: expected a string, null or an array of parts");
  size_t at = r->r->pool.len;
  koi_jscan_open(&r->j, '[');
  for (size_t i = 0; koi_jscan_more(&r->j, ']', &i);)
    if (!content_part(r, i == 1)) return false;
  *out = since(r, at);
  return !r->j.wrong;
}

/* ---- tools and calls ---- */
/* The function of one tool, as JSON; a bare function stands for itself. */
static bool tool(koi_chat_reader *r)
{
  koi_jscan start = r->j;
  koi_chat_span unused;
  bool has_name = false;
  if (!koi_jscan_open(&r->j, '{')) return false;
  for (size_t i = 0; koi_jscan_more(&r->j, '}', &i);) {
    if (!koi_chat_read_key(r)) return false;
    if (koi_chat_read_is(r, "function")) {
      if (koi_jscan_peek(&r->j) != '{' || !koi_chat_read_json(r, &unused)) return koi_chat_read_fail(r, "tools: function: expected an object");
      while (koi_jscan_more(&r->j, '}', &i))
        if (!koi_jscan_key(&r->j, NULL, 0, NULL) || !koi_jscan_skip(&r->j)) return false;
      return !r->j.wrong;
    }
    has_name |= koi_chat_read_is(r, "name");
    if (!koi_jscan_skip(&r->j)) return false;
  }
  if (r->j.wrong || !has_name) return koi_chat_read_fail(r, "tools: expected an object with a function");
  r->j = start;
  return koi_chat_read_json(r, &unused);
}

bool koi_chat_read_tools(koi_chat_reader *r, koi_chat_span *out)
{
  if (koi_chat_read_null(r)) return true;
  if (!koi_jscan_open(&r->j, '[')) return false;
  size_t at = r->r->pool.len;
  for (size_t i = 0; koi_jscan_more(&r->j, ']', &i);) {
    if (i > 1) koi_text_add(&r->r->pool, "\n");
    if (!tool(r)) return false;
  }
  *out = since(r, at);
  return !r->j.wrong;
}

/* Arguments are JSON in a string; an object is taken for its text, nothing for an empty one or a null, in a string too. */
static bool arguments(koi_chat_reader *r, koi_chat_span *out)
{
  if (koi_chat_read_null(r)) return true;
  if (koi_jscan_peek(&r->j) == '"') {
    if (!koi_chat_read_string(r)) return false;
    size_t from = strspn(r->buffer, " \t\r\n"), end = r->n;
    while (end > from && strchr(" \t\r\n", r->buffer[end - 1]) && r->buffer[end - 1]) end--;
    bool nothing = end == from || (end - from == 4 && !memcmp(r->buffer + from, "null", 4));
    if (!nothing) *out = koi_chat_read_put(r, r->buffer, r->n);
    return true;
  }
  if (koi_jscan_peek(&r->j) != '{') return koi_chat_read_fail(r, "arguments: expected a string, an object or null");
  size_t from = r->j.at;
  if (!koi_jscan_skip(&r->j)) return false;
  *out = koi_chat_read_put(r, r->j.s + from, r->j.at - from);
  return true;
}

bool koi_chat_read_function(koi_chat_reader *r, koi_chat_made *call, bool *named)
{
  if (!koi_jscan_open(&r->j, '{')) return false;
  for (size_t i = 0; koi_jscan_more(&r->j, '}', &i);) {
    if (!koi_chat_read_key(r)) return false;
    bool ok;
    if (koi_chat_read_is(r, "name")) ok = *named = koi_chat_read_text(r, &call->name);
    else if (koi_chat_read_is(r, "arguments")) ok = arguments(r, &call->arguments);
    else if (koi_chat_read_is(r, "id") && !call->id.n) ok = koi_chat_read_optional_text(r, &call->id);
    else ok = koi_jscan_skip(&r->j);
    if (!ok) return false;
  }
  return !r->j.wrong;
}

bool koi_chat_read_add_call(koi_chat_reader *r, koi_chat_made made)
{
  koi_chat_request *q = r->r;
  if (!made.arguments.n) made.arguments = koi_chat_read_put(r, "{}", 2);
  if (!koi_chat_read_room(r, (void **)&q->call, q->n_calls, &q->cap_calls, sizeof *q->call)) return false;
  q->call[q->n_calls++] = made;
  return true;
}

static bool call(koi_chat_reader *r)
{
  koi_chat_made made = {0};
  koi_chat_span id = {0};
  bool named = false;
  if (!koi_jscan_open(&r->j, '{')) return false;
  for (size_t i = 0; koi_jscan_more(&r->j, '}', &i);) {
    if (!koi_chat_read_key(r)) return false;
    if (!(koi_chat_read_is(r, "id") ? koi_chat_read_optional_text(r, &id) : koi_chat_read_is(r, "function") ? koi_chat_read_function(r, &made, &named) : koi_jscan_skip(&r->j))) return false;
  }
  if (r->j.wrong) return false;
  if (!named) return koi_chat_read_fail(r, "tool_calls: expected a function with a name before this");
  if (id.n) made.id = id;
  return koi_chat_read_add_call(r, made);
}

bool koi_chat_read_calls(koi_chat_reader *r, koi_chat_range *out)
{
  if (koi_chat_read_null(r)) return true;
  if (!koi_jscan_open(&r->j, '[')) return false;
  out->at = r->r->n_calls;
  for (size_t i = 0; koi_jscan_more(&r->j, ']', &i);)
    if (!call(r)) return false;
  out->n = r->r->n_calls - out->at;
  return !r->j.wrong;
}
