/* Owns: the prose of a chat template in Jinja, as GGUF files bring one: texts that it gives names to.
 * Does not: run a template. Who says what in which order is the encoder's, as for a checkpoint's encoding file.
 * Invariant: a text that was found has the value that Jinja gives it. */
#include "chat_jinja.h"
#include <string.h>

/* A tag's content as a line of Python: its literals have the same escapes, and line breaks in them are written as such. */
static void put_line(const char *s, size_t n, koi_text *out)
{
  char quote = 0;
  for (size_t i = 0; i < n; i++) {
    if (s[i] == '\n') koi_text_add(out, "%s", quote ? "\\n" : " ");
    else koi_text_bytes(out, &s[i], 1);
    if (quote && s[i] == '\\' && i + 1 < n) koi_text_bytes(out, &s[++i], 1);
    else if (quote ? s[i] == quote : s[i] == '\'' || s[i] == '"') quote = quote ? 0 : s[i];
  }
  koi_text_add(out, "\n");
}

/* Bytes of a tag from s on, up to its end, which may not be in a literal; n when there is none. */
static size_t tag_length(const char *s, size_t n)
{
  char quote = 0;
  for (size_t i = 0; i < n; i++) {
    if (!quote && s[i] == '%' && i + 1 < n && s[i + 1] == '}') return i;
    if (quote && s[i] == '\\') i++;
    else if (quote ? s[i] == quote : s[i] == '\'' || s[i] == '"') quote = quote ? 0 : s[i];
  }
  return n;
}

static bool blank(char c) { return c == '-' || c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

/* {% set NAME = EXPRESSION %} as NAME = EXPRESSION. */
static void put_assignments(const char *s, size_t n, koi_text *out)
{
  static const char word[] = "set ";
  for (size_t i = 0; i + 1 < n; i++) {
    if (s[i] != '{' || s[i + 1] != '%') continue;
    size_t from = i + 2, end = from + tag_length(s + from, n - from);
    i = end;
    while (from < end && blank(s[from])) from++;
    while (end > from && blank(s[end - 1])) end--;
    if (end - from > sizeof word - 1 && !memcmp(s + from, word, sizeof word - 1)) put_line(s + from + sizeof word - 1, end - from - (sizeof word - 1), out);
  }
}

koine_status koi_chat_jinja_read(const char *path, const char *text, size_t n, char **lines, koi_chat_constants **out)
{
  koi_text python = {0};
  koi_text_bytes(&python, "", 0);
  put_assignments(text, n, &python);
  size_t n_lines = python.len;
  koine_status s = koi_text_take(&python, lines);
  if (!s) s = koi_chat_constants_read(path, *lines, n_lines, out);
  return s;
}
