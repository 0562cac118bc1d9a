/* See utf8.h. Owns nothing. */
#include <string.h>
#include "utf8.h"

size_t koi_utf8_char(const char *s, size_t n, uint32_t *code)
{
  const unsigned char *p = (const unsigned char *)s;
  if (n == 0) return 0;
  if (p[0] < 0x80) return *code = p[0], 1;
  size_t len = p[0] >= 0xF0 ? 4 : p[0] >= 0xE0 ? 3 : 2;
  if (p[0] < 0xC2 || p[0] > 0xF4 || n < len) return 0;
  uint32_t c = p[0] & (0x7Fu >> len);
  for (size_t i = 1; i < len; i++) {
    if ((p[i] & 0xC0) != 0x80) return 0;
    c = c << 6 | (p[i] & 0x3Fu);
  }
  static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
  if (c < least[len] || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) return 0;
  return *code = c, len;
}

size_t koi_utf8_put(uint32_t c, char to[4])
{
  static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
  size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
  for (size_t i = n; i-- > 1; c >>= 6) to[i] = (char)(0x80 | (c & 0x3f));
  to[0] = (char)(n == 1 ? c : lead[n] | c);
  return n;
}

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
