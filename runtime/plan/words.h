/* Lines of words, as placements and machines are written: "key=value", values with spaces in quotes. Owns nothing. */
#ifndef KOI_WORDS_H
#define KOI_WORDS_H
#include "base/base.h"

typedef struct koi_word { const char *s; size_t n; } koi_word;

/* The next word of a line, up to a space outside quotes; *at moves behind it. false: the line is at its end. */
bool koi_word_next(const char **at, koi_word *out);
bool koi_word_is(const koi_word *w, const char *text);
/* The value of "key=value" without its quotes; NULL: another word. key ends with '='. */
const char *koi_word_value(const koi_word *w, const char *key, size_t *n);
/* Each true, and nothing done, for a word with another key; false for a value that does not fit. Numbers are finite and not negative. */
bool koi_word_text(const koi_word *w, const char *key, char *to, size_t room);
bool koi_word_number(const koi_word *w, const char *key, double *to);
bool koi_word_count(const koi_word *w, const char *key, uint64_t *to);
/* Digits, and K, M, G or T for 2^10 to 2^40 of them, and nothing behind. */
bool koi_word_bytes(const char *text, uint64_t *to);
/* Writes " key=value" with quotes, which it drops from the value as it does control characters. */
void koi_word_put(koi_text *t, const char *key, const char *value);
#endif
