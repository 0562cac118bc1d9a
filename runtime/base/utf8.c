/* See utf8.h. Owns nothing. */
#include <string.h>
#include "utf8.h"

static const char unknown[] = "\xEF\xBF\xBD"; /* U+FFFD */

/* What a lead byte asks for: the length of its character and the range of its second byte. 0: it leads nothing. */
static size_t lead(unsigned char c, unsigned char *least, unsigned char *most)
{
  *least = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80;
  *most = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
  return c < 0x80 ? 1 : c < 0xC2 ? 0 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : c < 0xF5 ? 4 : 0;
}

static bool goes_on(const koi_utf8 *u, unsigned char c)
{
  unsigned char least, most;
  lead((unsigned char)u->part[0], &least, &most);
  return u->n > 1 ? (c & 0xC0) == 0x80 : c >= least && c <= most;
}

size_t koi_utf8_take(koi_utf8 *u, char c, char out[KOI_UTF8_MOST])
{
  unsigned char least, most;
  size_t n = 0;
  if (u->n && !goes_on(u, (unsigned char)c)) n = koi_utf8_end(u, out);
  u->part[u->n++] = c;
  size_t need = lead((unsigned char)u->part[0], &least, &most);
  if (need > u->n) return n;
  const char *text = need ? u->part : unknown;
  size_t more = need ? need : 3;
  memcpy(out + n, text, more);
  u->n = 0;
  return n + more;
}

size_t koi_utf8_end(koi_utf8 *u, char out[KOI_UTF8_MOST])
{
  if (!u->n) return 0;
  u->n = 0;
  memcpy(out, unknown, 3);
  return 3;
}
