/* JSON for the server: bodies read strictly, answers made. Texts grow here, too. json-c's objects are used by one thread at a time. */
#ifndef SERVE_JSON_H
#define SERVE_JSON_H
#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

enum { SERVE_DEPTH = 64 }; /* of nesting in a body */

/* The body as a tree; NULL with what is wrong in why. Strict: RFC 8259 and UTF-8, one value, numbers that are finite. */
json_object *serve_json_parse(const char *body, size_t n, char *why, size_t n_why);

/* An object of members: a letter for each, then for each its name and value: s text (NULL: null), i int64_t, d double, b bool (int), o an object that is
 * taken over (NULL: null). NULL only without memory. */
json_object *serve_json_object(const char *letters, ...);
json_object *serve_json_array(json_object *only); /* of one element, which is taken over; NULL: empty */
json_object *serve_json_text(const char *s, size_t n);
/* As json_object_object_add, by the type of what is read. NULL or the fallback when the member is not there, null, or of another type. */
json_object *serve_json_get(json_object *o, const char *key, json_type type);
const char *serve_json_string(json_object *o, const char *key); /* NULL */
bool serve_json_is(json_object *o, const char *text); /* false: o may be NULL, or no text */

/* ---- texts that grow ---- */
typedef struct serve_text {
  char *s; /* [n], then a zero byte; NULL while nothing was added */
  size_t n, cap;
  bool failed; /* without memory: what was added since is lost */
} serve_text;
void serve_text_add(serve_text *t, const char *s, size_t n);
void serve_text_add_utf8(serve_text *t, const char *s, size_t n); /* any bytes; what is no UTF-8 becomes U+FFFD */
void serve_text_print(serve_text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void serve_text_json(serve_text *t, json_object *o); /* takes it over; on one line */
void serve_text_drop(serve_text *t, size_t n);       /* of the first bytes */
void serve_text_free(serve_text *t);
#endif
