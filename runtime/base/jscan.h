/* JSON read in one pass, without a tree: for headers of many megabytes, and for what a tree hides (a key given twice).
 * Strict: RFC 8259 and UTF-8, no NaN, no comments, nesting up to KOI_JSCAN_DEPTH. */
#ifndef KOI_JSCAN_H
#define KOI_JSCAN_H
#include "base.h"

#define KOI_JSCAN_DEPTH 64

/* `s` need not end in a zero byte. Once `wrong` is set every call returns false. */
typedef struct koi_jscan {
  const char *s;
  size_t n, at;      /* bytes in s, the next one to read */
  const char *wrong; /* what is wrong at `at`; NULL while all is well */
  bool memory;       /* wrong because memory is short */
  bool zeros;        /* \u0000 in a string is data; otherwise it is wrong, so that texts end at their zero byte */
  bool halves;       /* half of a surrogate pair, as a text that was cut has it, is U+FFFD; otherwise it is wrong */
  koine_status status; /* of koi_jscan_error; 0: KOINE_ERR_FILE */
} koi_jscan;

/* The first character of the next value, or 0 at the end. */
char koi_jscan_peek(koi_jscan *j);
/* Takes an opening '{' or '['. */
bool koi_jscan_open(koi_jscan *j, char bracket);
/* Before each member of an object or array: false when `close` was taken or something is wrong. *n counts members, 0 before the first. */
bool koi_jscan_more(koi_jscan *j, char close, size_t *n);
/* A string, decoded and zero-terminated, into to[cap]; NULL: not wanted. A decoded string is never longer than its JSON text. */
bool koi_jscan_string(koi_jscan *j, char *to, size_t cap, size_t *len);
/* A key and its colon. */
bool koi_jscan_key(koi_jscan *j, char *to, size_t cap, size_t *len);
/* A number without sign, fraction or exponent. */
bool koi_jscan_u64(koi_jscan *j, uint64_t *out);
/* Any value. */
bool koi_jscan_skip(koi_jscan *j);
/* Nothing but white space may follow. */
bool koi_jscan_end(koi_jscan *j);
/* The error for what is wrong, KOINE_ERR_FILE or j->status (KOINE_ERR_MEMORY when memory was short): "where: byte 12: expected ',', found 'x'". */
koine_status koi_jscan_error(const koi_jscan *j, const char *where);
/* Whether the whole text is one JSON value in which no object has a key twice. KOINE_ERR_FILE names `where`, offset and key. */
koine_status koi_jscan_check(const char *s, size_t n, const char *where);
#endif
