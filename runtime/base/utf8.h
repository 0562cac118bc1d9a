/* UTF-8: characters of a text, and bytes that become one. */
#ifndef KOI_UTF8_H
#define KOI_UTF8_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the character at s [n], 0 when there is none: overlong forms, surrogates and what lies beyond U+10FFFF are none. Reads no byte behind the
 * first that does not belong to it. */
size_t koi_utf8_char(const char *s, size_t n, uint32_t *code);
/* Writes a character; its bytes. */
size_t koi_utf8_put(uint32_t code, char to[4]);

/* Bytes to UTF-8, one at a time: what is none becomes U+FFFD. However the bytes are cut, the text in all is the same. Start with {0}. */
typedef struct koi_utf8 {
  char part[4]; /* the beginning of a character */
  size_t n;
} koi_utf8;

enum { KOI_UTF8_MOST = 8 }; /* bytes that one call gives */

/* Takes a byte; the whole characters that it completes go to out, their length is returned. */
size_t koi_utf8_take(koi_utf8 *u, char c, char out[KOI_UTF8_MOST]);
/* No byte follows. */
size_t koi_utf8_end(koi_utf8 *u, char out[KOI_UTF8_MOST]);
#endif
