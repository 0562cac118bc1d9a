/* Owns: how bodies are read and answers are made as JSON. Does not: know what they mean. */
#include "json.h"
#include "utf8.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- reading ---- */
/* json-c takes NaN and Infinity, which JSON does not have. */
static bool finite_all(json_object *o)
{
  if (json_object_is_type(o, json_type_double)) return isfinite(json_object_get_double(o));
  if (json_object_is_type(o, json_type_array)) {
    for (size_t i = 0; i < json_object_array_length(o); i++)
      if (!finite_all(json_object_array_get_idx(o, i))) return false;
    return true;
  }
  if (!json_object_is_type(o, json_type_object)) return true;
  json_object_object_foreach(o, key, value)
  {
    (void)key;
    if (!finite_all(value)) return false;
  }
  return true;
}

static size_t skip_mark(const char *body, size_t n) { return n >= 3 && !memcmp(body, "\xef\xbb\xbf", 3) ? 3 : 0; }

/* The first byte that begins no character; n: all do. json-c lets surrogates and overlong ones through. */
static size_t odd_byte(const char *s, size_t n)
{
  size_t i = 0;
  for (size_t k; i < n && (k = serve_utf8(s + i, n - i)); i += k) continue;
  return i;
}

json_object *serve_json_parse(const char *body, size_t n, char *why, size_t n_why)
{
  size_t from = skip_mark(body, n), odd = odd_byte(body, n);
  struct json_tokener *t = json_tokener_new_ex(SERVE_DEPTH);
  snprintf(why, n_why, "out of memory");
  if (!t || n - from > INT32_MAX) {
    if (t) json_tokener_free(t);
    return NULL;
  }
  json_tokener_set_flags(t, JSON_TOKENER_STRICT);
  json_object *o = json_tokener_parse_ex(t, body + from, (int)(n - from));
  enum json_tokener_error error = json_tokener_get_error(t);
  size_t end = json_tokener_get_parse_end(t);
  json_tokener_free(t);
  if (memchr(body, 0, n)) snprintf(why, n_why, "the body is no JSON: byte %zu is zero", (size_t)((const char *)memchr(body, 0, n) - body));
  else if (odd < n) snprintf(why, n_why, "the body is no JSON: byte %zu is no UTF-8", odd);
  else if (error != json_tokener_success) snprintf(why, n_why, "the body is no JSON: byte %zu: %s", end + from, error == json_tokener_continue ? "it ends too early" : json_tokener_error_desc(error));
  else if (!json_object_is_type(o, json_type_object)) snprintf(why, n_why, "the body: expected a JSON object, found %s", json_type_to_name(json_object_get_type(o)));
  else if (!finite_all(o)) snprintf(why, n_why, "the body is no JSON: a number is not finite");
  else return o;
  json_object_put(o);
  return NULL;
}

json_object *serve_json_get(json_object *o, const char *key, json_type type)
{
  json_object *v = NULL;
  return json_object_is_type(o, json_type_object) && json_object_object_get_ex(o, key, &v) && json_object_is_type(v, type) ? v : NULL;
}

const char *serve_json_string(json_object *o, const char *key)
{
  json_object *v = serve_json_get(o, key, json_type_string);
  return v ? json_object_get_string(v) : NULL;
}

bool serve_json_is(json_object *o, const char *text) { return json_object_is_type(o, json_type_string) && !strcmp(json_object_get_string(o), text); }

/* ---- making ---- */
json_object *serve_json_text(const char *s, size_t n) { return json_object_new_string_len(s ? s : "", n > INT32_MAX ? INT32_MAX : (int)n); }

json_object *serve_json_object(const char *letters, ...)
{
  json_object *o = json_object_new_object();
  va_list args;
  va_start(args, letters);
  for (const char *l = letters; o && *l; l++) {
    const char *key = va_arg(args, const char *), *s = NULL;
    json_object *v = NULL;
    if (*l == 's') s = va_arg(args, const char *), v = s ? json_object_new_string(s) : NULL;
    else if (*l == 'i') v = json_object_new_int64(va_arg(args, int64_t));
    else if (*l == 'd') v = json_object_new_double(va_arg(args, double));
    else if (*l == 'b') v = json_object_new_boolean(va_arg(args, int));
    else v = va_arg(args, json_object *);
    json_object_object_add(o, key, v);
  }
  va_end(args);
  return o;
}

json_object *serve_json_array(json_object *only)
{
  json_object *a = json_object_new_array();
  if (a && only) json_object_array_add(a, only);
  return a;
}

/* ---- texts ---- */
static bool room(serve_text *t, size_t more)
{
  if (t->failed || more > SIZE_MAX / 2 - t->n - 1) return t->failed = true, false;
  if (t->n + more < t->cap) return true;
  size_t cap = (t->n + more + 1) * 2;
  char *s = realloc(t->s, cap);
  if (!s) return t->failed = true, false;
  t->s = s, t->cap = cap;
  return true;
}

void serve_text_add(serve_text *t, const char *s, size_t n)
{
  if (!room(t, n)) return;
  if (n) memcpy(t->s + t->n, s, n);
  t->s[t->n += n] = 0;
}

void serve_text_add_utf8(serve_text *t, const char *s, size_t n)
{
  for (size_t i = 0, k; i < n; i += k ? k : 1) {
    k = serve_utf8(s + i, n - i);
    serve_text_add(t, k ? s + i : "\xef\xbf\xbd", k ? k : 3);
  }
}

void serve_text_print(serve_text *t, const char *fmt, ...)
{
  va_list args, again;
  va_start(args, fmt);
  va_copy(again, args);
  int n = vsnprintf(NULL, 0, fmt, args);
  if (n >= 0 && room(t, (size_t)n)) vsnprintf(t->s + t->n, (size_t)n + 1, fmt, again), t->n += (size_t)n;
  va_end(again);
  va_end(args);
}

void serve_text_json(serve_text *t, json_object *o)
{
  size_t n;
  const char *s = o ? json_object_to_json_string_length(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &n) : NULL;
  if (s) serve_text_add(t, s, n);
  else t->failed = true;
  json_object_put(o);
}

void serve_text_drop(serve_text *t, size_t n)
{
  if (!t->s) return;
  memmove(t->s, t->s + n, t->n - n + 1);
  t->n -= n;
}

void serve_text_free(serve_text *t)
{
  free(t->s);
  *t = (serve_text){0};
}
