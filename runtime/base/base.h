/* Status with a message, checked arithmetic, allocation, clock, hash, log, atomic file replace.
 * Owns: the calling thread's last error message and the process's log callback. Includes nothing of ours but koine.h. */
#ifndef KOI_BASE_H
#define KOI_BASE_H
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "fp.h"
#include "koine.h"

#define KOI_COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define KOI_PRINTF(f, a) __attribute__((format(printf, f, a)))

/* Sets the calling thread's error message and returns `s`, so that `return koi_error(...)` reads well. Control characters are spelled. */
koine_status koi_error(koine_status s, const char *fmt, ...) KOI_PRINTF(2, 3);
/* Puts "prefix: " before the message of the error `s` already set; returns `s`. */
koine_status koi_error_prefix(koine_status s, const char *fmt, ...) KOI_PRINTF(2, 3);
/* KOINE_ERR_ARG: a pointer given to the public function `what` is NULL and may not be. */
koine_status koi_missing(const char *what);
/* KOINE_ERR_ARG unless flags given to the public function `what` are among those that are known. */
koine_status koi_flags(const char *what, unsigned flags, unsigned known);
const char *koi_error_text(void);

static inline double koi_gib(uint64_t bytes) { return (double)bytes / (1 << 30); }
/* For messages: GiB, below one with the digits that tell it from none. */
typedef struct koi_size { char text[24]; } koi_size;
koi_size koi_size_text(uint64_t bytes);

/* Checked size arithmetic: false (and *out untouched) on overflow. */
bool koi_add(size_t a, size_t b, size_t *out);
bool koi_mul(size_t a, size_t b, size_t *out);

/* Zeroed memory for n elements of `size` bytes; NULL on overflow or exhaustion (error message set). Free with koi_free. */
void *koi_alloc(size_t n, size_t size);
void *koi_realloc(void *p, size_t n, size_t size); /* new bytes are not zeroed; p stays valid on NULL */
/* An array p of *cap elements with room for element n: p itself, or a larger one; NULL as koi_realloc, and then *cap is as it was. */
void *koi_grow(void *p, size_t n, size_t *cap, size_t size);
char *koi_strdup(const char *s);
char *koi_format(const char *fmt, ...) KOI_PRINTF(1, 2); /* allocated text, or NULL */
void koi_free(void *p);
/* Test hook: the n-th allocation from now fails (0: none does). Process-wide. */
void koi_alloc_fail_at(long n);

uint64_t koi_now_ns(void); /* monotonic */
uint64_t koi_busy_ns(void); /* that the calling thread has computed */
uint64_t koi_hash(const void *data, size_t bytes, uint64_t seed); /* FNV-1a, 64 bits */

void koi_log_set(koine_log_fn *fn, void *user);
/* Areas (koine_log_area, or-ed) say nothing below `level`. */
void koi_log_level(unsigned areas, koine_log_level level);
koine_log_area koi_log_area(void); /* of the line that the calling thread is being told */
/* The area of a line is the folder of the file that says it. */
#define koi_log(level, ...) koi_log_from(__FILE__, level, __VA_ARGS__)
void koi_log_from(const char *file, koine_log_level level, const char *fmt, ...) KOI_PRINTF(3, 4);

/* snprintf and strtod as in the C locale, whatever the process has chosen; all texts made here go through them. */
int koi_vprint(char *to, size_t size, const char *fmt, va_list ap) KOI_PRINTF(3, 0);
int koi_print(char *to, size_t size, const char *fmt, ...) KOI_PRINTF(3, 4);
double koi_number(const char *s, char **end);
/* Of ASCII alone, in any locale; other numbers are neither. */
static inline bool koi_is_digit(int c) { return c >= '0' && c <= '9'; }
static inline bool koi_is_letter(int c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/* Growing text; on exhaustion `failed` is set and later calls do nothing. */
typedef struct koi_text {
  char *s;
  size_t len, cap;
  bool failed;
} koi_text;
void koi_text_add(koi_text *t, const char *fmt, ...) KOI_PRINTF(2, 3);
void koi_text_bytes(koi_text *t, const char *s, size_t n);
void koi_text_json(koi_text *t, const char *s); /* a JSON string with quotes; NULL is null */
/* Hands the text over to *out (caller frees with koi_free), or reports exhaustion. */
koine_status koi_text_take(koi_text *t, char **out);

/* Whole file into memory with a terminating zero byte; refuses more than max_bytes. Caller frees. */
koine_status koi_file_read(const char *path, size_t max_bytes, char **out, size_t *n);
/* n bytes from place `at`: 0, or errno. *got is less than n where the file ends. */
int koi_file_at(int fd, uint64_t at, size_t n, void *to, size_t *got);
#endif
