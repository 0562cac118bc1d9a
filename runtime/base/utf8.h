/* Bytes to UTF-8, one at a time: what is none becomes U+FFFD. However the bytes are cut, the text in all is the same. */
#ifndef KOI_UTF8_H
#define KOI_UTF8_H
#include <stdbool.h>
#include <stddef.h>

/* Start with {0}. */
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
