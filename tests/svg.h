/* Whether a picture is well-formed; fails as cmocka does. */
#ifndef SVG_H
#define SVG_H
#include <string.h>

/* Tags are closed in their order, nothing stands outside, & and < are spelled. */
static void check_svg(const char *s)
{
  char open[8][16];
  int depth = 0;
  for (const char *at = strchr(s, '<'); at; at = strchr(at, '<')) {
    const char *end = strchr(at, '>');
    assert_non_null(end);
    if (at[1] == '/') {
      depth--;
      assert_true(depth >= 0 && !strncmp(at + 2, open[depth], strlen(open[depth])) && at[2 + strlen(open[depth])] == '>');
    } else if (end[-1] != '/') {
      size_t n = strcspn(at + 1, " >");
      assert_true(depth < 8 && n < 16);
      memcpy(open[depth], at + 1, n), open[depth++][n] = 0;
    }
    at = end;
  }
  assert_int_equal(depth, 0);
  for (const char *at = strchr(s, '&'); at; at = strchr(at + 1, '&')) assert_true(!strncmp(at, "&amp;", 5) || !strncmp(at, "&lt;", 4) || !strncmp(at, "&gt;", 4));
}
#endif
