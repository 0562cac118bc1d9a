/* See base.h; messages and the log are in message.c, numbers as text in locale.c, files in file.c. Invariant: a function that returns a status other than
 * KOINE_OK has set the thread's message. */
#include "base.h"
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- arithmetic and memory ---- */
static atomic_long fail_at;

bool koi_add(size_t a, size_t b, size_t *out)
{
  size_t r;
  if (__builtin_add_overflow(a, b, &r)) return false;
  *out = r;
  return true;
}

bool koi_mul(size_t a, size_t b, size_t *out)
{
  size_t r;
  if (__builtin_mul_overflow(a, b, &r)) return false;
  *out = r;
  return true;
}

void koi_alloc_fail_at(long n) { atomic_store(&fail_at, n); }

/* Counts down only while armed, so that normal runs pay one relaxed load. */
static bool refused(void)
{
  if (atomic_load_explicit(&fail_at, memory_order_relaxed) <= 0) return false;
  return atomic_fetch_sub(&fail_at, 1) == 1;
}

static void *checked(void *p, size_t bytes)
{
  if (!p) koi_error(KOINE_ERR_MEMORY, "out of host memory: %zu bytes wanted", bytes);
  return p;
}

void *koi_alloc(size_t n, size_t size)
{
  size_t bytes = SIZE_MAX;
  if (!koi_mul(n, size, &bytes) || refused()) return checked(NULL, bytes);
  return checked(calloc(bytes ? bytes : 1, 1), bytes);
}

void *koi_realloc(void *p, size_t n, size_t size)
{
  size_t bytes = SIZE_MAX;
  if (!koi_mul(n, size, &bytes) || refused()) return checked(NULL, bytes);
  return checked(realloc(p, bytes ? bytes : 1), bytes);
}

void *koi_grow(void *p, size_t n, size_t *cap, size_t size)
{
  if (n < *cap) return p;
  size_t more = n < 32 ? 64 : 2 * n; /* n elements are in memory: no overflow */
  void *q = koi_realloc(p, more, size);
  if (q) *cap = more;
  return q;
}

char *koi_strdup(const char *s)
{
  size_t n = strlen(s) + 1;
  char *r = koi_alloc(n, 1);
  return r ? memcpy(r, s, n) : NULL;
}

char *koi_format(const char *fmt, ...)
{
  va_list ap;
  va_start(ap, fmt);
  int n = koi_vprint(NULL, 0, fmt, ap);
  va_end(ap);
  char *r = n < 0 ? NULL : koi_alloc((size_t)n + 1, 1);
  if (!r) return NULL;
  va_start(ap, fmt);
  koi_vprint(r, (size_t)n + 1, fmt, ap);
  va_end(ap);
  return r;
}

void koi_free(void *p) { free(p); }

/* ---- clock and hash ---- */
static uint64_t ns_of(clockid_t clock)
{
  struct timespec t;
  clock_gettime(clock, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t koi_now_ns(void) { return ns_of(CLOCK_MONOTONIC); }
uint64_t koi_busy_ns(void) { return ns_of(CLOCK_THREAD_CPUTIME_ID); }

uint64_t koi_hash(const void *data, size_t bytes, uint64_t seed)
{
  const unsigned char *p = data;
  uint64_t h = 0xcbf29ce484222325u ^ seed;
  for (size_t i = 0; i < bytes; i++) h = (h ^ p[i]) * 0x100000001b3u;
  return h;
}

/* ---- text ---- */
static bool room(koi_text *t, size_t more)
{
  size_t need;
  if (t->failed || !koi_add(t->len, more, &need) || !koi_add(need, 1, &need)) return t->failed = true, false;
  if (need <= t->cap) return true;
  size_t cap = need < 256 ? 256 : need + need / 2;
  char *s = koi_realloc(t->s, cap, 1);
  if (!s) return t->failed = true, false;
  t->s = s, t->cap = cap;
  return true;
}

void koi_text_bytes(koi_text *t, const char *s, size_t n)
{
  if (!room(t, n)) return;
  memcpy(t->s + t->len, s, n);
  t->s[t->len += n] = 0;
}

void koi_text_add(koi_text *t, const char *fmt, ...)
{
  va_list ap;
  va_start(ap, fmt);
  int n = koi_vprint(NULL, 0, fmt, ap);
  va_end(ap);
  if (n < 0 || !room(t, (size_t)n)) return;
  va_start(ap, fmt);
  koi_vprint(t->s + t->len, (size_t)n + 1, fmt, ap);
  va_end(ap);
  t->len += (size_t)n;
}

void koi_text_json(koi_text *t, const char *s)
{
  if (!s) {
    koi_text_bytes(t, "null", 4);
    return;
  }
  koi_text_bytes(t, "\"", 1);
  for (; *s; s++) {
    unsigned char c = (unsigned char)*s;
    if (c == '"' || c == '\\') koi_text_add(t, "\\%c", c);
    else if (c < 0x20) koi_text_add(t, "\\u%04x", c);
    else koi_text_bytes(t, s, 1);
  }
  koi_text_bytes(t, "\"", 1);
}

koine_status koi_text_take(koi_text *t, char **out)
{
  if (!t->failed) room(t, 0);
  if (t->failed) {
    koi_free(t->s);
    *t = (koi_text){0};
    return koi_error(KOINE_ERR_MEMORY, "out of host memory while building a text");
  }
  t->s[t->len] = 0;
  *out = t->s;
  *t = (koi_text){0};
  return KOINE_OK;
}
