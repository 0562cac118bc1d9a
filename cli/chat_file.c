/* Conversations in files. Owns how they are read and written: every number keeps its digits, a file is replaced whole or not at all, and ~ is the
 * user's home. What else is wrong with a conversation the encoder finds, whose reading is stricter. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <json-c/json.h>
#include <json-c/json_visit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "cmd_chat.h"

enum { JSON_DEPTH = 128, SAFE_DIGITS = 18 /* of an integer that json-c keeps as it is */ };

/* An integer that json-c would cut travels through it as a string that begins so and has nothing but the digits behind. */
static const char mark[] = "\x01koine integer ";

char *chat_file_path(const char *path)
{
  const char *home = path[0] == '~' && (!path[1] || path[1] == '/') ? getenv("HOME") : NULL;
  size_t n = strlen(path) + (home ? strlen(home) : 0) + 1;
  char *full = malloc(n);
  if (full) snprintf(full, n, "%s%s", home ? home : "", home ? path + 1 : path);
  return full;
}

/* ---- reading ---- */
static size_t string_end(const char *s, size_t n, size_t i)
{
  for (i++; i < n && s[i] != '"'; i++) i += s[i] == '\\';
  return i < n ? i + 1 : n;
}

/* The end of a number that begins at i; *integer: without a fraction or an exponent. */
static size_t number_end(const char *s, size_t n, size_t i, bool *integer)
{
  *integer = true;
  for (i++; i < n && s[i] && strchr("0123456789+-.eE", s[i]); i++) *integer = *integer && s[i] >= '0' && s[i] <= '9';
  return i;
}

/* The text with long integers as marked strings; NULL: no memory. */
static char *marked(const char *s, size_t n, size_t *n_out)
{
  size_t room = n + 1, k = 0;
  for (size_t i = 0; i < n; i++) room += s[i] >= '0' && s[i] <= '9'; /* a mark is shorter than the numbers that get one */
  char *out = malloc(room + sizeof mark + 2);
  for (size_t i = 0, end; out && i < n; i = end) {
    bool integer = false;
    end = s[i] == '"' ? string_end(s, n, i) : s[i] == '-' || (s[i] >= '0' && s[i] <= '9') ? number_end(s, n, i, &integer) : i + 1;
    bool mark_it = integer && end - i > SAFE_DIGITS;
    if (mark_it) k += (size_t)sprintf(out + k, "\"%s", mark);
    memcpy(out + k, s + i, end - i);
    k += end - i;
    if (mark_it) out[k++] = '"';
  }
  if (out) out[k] = 0, *n_out = k;
  return out;
}

static int write_digits(json_object *o, struct printbuf *to, int level, int flags)
{
  (void)level, (void)flags;
  const char *digits = json_object_get_string(o) + sizeof mark - 1;
  return printbuf_memappend(to, digits, (int)strlen(digits));
}

/* Marked strings print as the integers that they are. */
static int unmark(json_object *o, int flags, json_object *parent, const char *key, size_t *index, void *user)
{
  (void)flags, (void)parent, (void)key, (void)index, (void)user;
  const char *s = json_object_is_type(o, json_type_string) ? json_object_get_string(o) : "";
  if (!strncmp(s, mark, sizeof mark - 1) && !s[sizeof mark - 1 + strspn(s + sizeof mark - 1, "-0123456789")]) json_object_set_serializer(o, write_digits, NULL, NULL);
  return JSON_C_VISIT_RETURN_CONTINUE;
}

static json_object *as_request(json_object *found)
{
  json_object *list = json_object_is_type(found, json_type_object) ? json_object_object_get(found, "messages") : found;
  if (!json_object_is_type(list, json_type_array)) return NULL;
  json_object *request = list != found ? found : json_object_new_object();
  if (request && list == found) json_object_object_add(request, "messages", found);
  return request;
}

json_object *chat_file_parse(const char *path, const char *text, size_t n_bytes)
{
  size_t n = 0;
  char *safe = marked(text, n_bytes, &n);
  json_tokener *t = safe && n < INT32_MAX ? json_tokener_new_ex(JSON_DEPTH) : NULL;
  if (!t) {
    free(safe);
    cli_fail_with(EXIT_DEVICE, "out of memory");
    return NULL;
  }
  json_object *found = json_tokener_parse_ex(t, safe, (int)n + 1); /* with the zero byte, which ends a number too */
  enum json_tokener_error e = json_tokener_get_error(t);
  size_t end = json_tokener_get_parse_end(t);
  json_tokener_free(t);
  free(safe);
  json_object *request = e == json_tokener_success && end >= n ? as_request(found) : NULL;
  if (request) {
    json_c_visit(request, 0, unmark, NULL);
    return request;
  }
  json_object_put(found);
  if (e == json_tokener_success) cli_fail_with(EXIT_FILE, "%s: expected a JSON array of messages, or an object with messages, found other JSON", path);
  else cli_fail_with(EXIT_FILE, "%s: expected JSON messages, found: %s at byte %zu", path, json_tokener_error_desc(e), end);
  return NULL;
}
