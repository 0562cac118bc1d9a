/* Characters in UTF-8. */
#ifndef SERVE_UTF8_H
#define SERVE_UTF8_H
#include <stddef.h>

/* Bytes of the character that s [n], n > 0, begins with; 0 when that is none. */
size_t serve_utf8(const char *s, size_t n);
#endif
