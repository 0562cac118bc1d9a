/* The terminal's charset: what is typed becomes UTF-8, and text goes out in the terminal's own. Owns the process's LC_CTYPE, which nothing of the
 * library depends on, and the two converters. Invariant: no byte is dropped: what cannot be converted is refused, or shown as '?'. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <iconv.h>
#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include "term.h"

static iconv_t in = (iconv_t)-1, out = (iconv_t)-1;

int cli_term_open(void)
{
  setlocale(LC_CTYPE, "");
  const char *set = nl_langinfo(CODESET);
  if (!strcmp(set, "UTF-8")) return EXIT_DONE;
  if (!strcmp(set, "ANSI_X3.4-1968") || !*set) { /* nothing was chosen: terminals are UTF-8 then, and the editor would take characters apart */
    setlocale(LC_CTYPE, "C.UTF-8");
    return EXIT_DONE;
  }
  char to[128];
  snprintf(to, sizeof to, "%.100s//TRANSLIT", set);
  in = iconv_open("UTF-8", set);
  out = iconv_open(to, "UTF-8");
  if (in != (iconv_t)-1 && out != (iconv_t)-1) return EXIT_DONE;
  return cli_fail_with(EXIT_USAGE, "the terminal's charset %s cannot be converted: choose a locale in UTF-8 (LC_ALL)", set);
}

/* All of text through a converter; what it does not take is replaced by `unknown`, or ends it when that is NULL. NULL: that, or no memory. */
static char *convert(iconv_t how, const char *text, size_t n_bytes, const char *unknown, size_t *n_out)
{
  size_t room = 4 * n_bytes + 64, left = n_bytes, free_bytes = room - 32;
  char *to = malloc(room), *at = to, *from = (char *)(uintptr_t)text; /* iconv only reads it */
  if (to) iconv(how, NULL, NULL, NULL, NULL);
  while (to && left) {
    if (iconv(how, &from, &left, &at, &free_bytes) != (size_t)-1) break;
    if (!unknown || errno == E2BIG) {
      free(to);
      return NULL;
    }
    size_t n = strlen(unknown);
    if (n > free_bytes) break;
    memcpy(at, unknown, n);
    at += n, free_bytes -= n;
    do from++, left--;
    while (left && (*from & 0xc0) == 0x80); /* the rest of a character */
  }
  if (to) iconv(how, NULL, NULL, &at, &free_bytes);
  if (to) *n_out = (size_t)(at - to);
  return to;
}

bool cli_term_in(const char *text, size_t n_bytes, char **utf8, size_t *n_utf8)
{
  *utf8 = NULL;
  if (in == (iconv_t)-1) return true;
  *utf8 = convert(in, text, n_bytes, NULL, n_utf8);
  return *utf8 != NULL;
}

char *cli_term_out(const char *utf8, size_t n_bytes, size_t *n_text)
{
  return out == (iconv_t)-1 ? NULL : convert(out, utf8, n_bytes, "?", n_text);
}
