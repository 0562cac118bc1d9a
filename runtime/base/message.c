/* The calling thread's last error, and the process's log. Invariant: what is said is one line without control characters, for much of
 * it comes from files. */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include "base.h"
#include "utf8.h"

static _Thread_local char message[1024];
static koine_log_fn *log_fn;
static void *log_user;
static _Thread_local koine_log_area log_area;

/* Bytes of the character at s, 0 when it is none: not UTF-8. */
static size_t character(const char *s)
{
  uint32_t code;
  return koi_utf8_char(s, 4, &code); /* a zero byte belongs to no longer one */
}

/* Bytes at s that must not reach a terminal, 0 for none: control characters, of which C1 have two in UTF-8 and one elsewhere, and what is no
 * UTF-8. */
static size_t control(const char *s)
{
  const unsigned char *p = (const unsigned char *)s;
  if (p[0] && !character(s)) return 1;
  return p[0] == 0xc2 && p[1] < 0xa0 ? 2 : (p[0] && p[0] < 0x20) || p[0] == 0x7f;
}

/* Writes s to `to` with control characters spelled; what does not fit is left out. */
static void clean(char *to, size_t size, const char *s)
{
  size_t n = 0;
  while (*s) {
    size_t bad = control(s), k = bad ? bad : character(s);
    if (n + (bad ? 4 * bad : k) + 1 > size) break;
    for (; k > 0; k--, s++)
      if (bad) n += (size_t)koi_print(to + n, size - n, "\\x%02x", (unsigned char)*s);
      else to[n++] = *s;
  }
  to[n] = 0;
}

koine_status koi_error(koine_status s, const char *fmt, ...)
{
  char text[sizeof message];
  va_list ap;
  va_start(ap, fmt);
  koi_vprint(text, sizeof text, fmt, ap);
  va_end(ap);
  clean(message, sizeof message, text);
  return s;
}

koine_status koi_error_prefix(koine_status s, const char *fmt, ...)
{
  char old[sizeof message], head[256];
  memcpy(old, message, sizeof old);
  va_list ap;
  va_start(ap, fmt);
  koi_vprint(head, sizeof head, fmt, ap);
  va_end(ap);
  return koi_error(s, "%s: %.*s", head, (int)(sizeof message - sizeof head - 4), old);
}

koine_status koi_missing(const char *what) { return koi_error(KOINE_ERR_ARG, "%s: NULL, expected an object", what); }

koi_size koi_size_text(uint64_t bytes)
{
  koi_size s;
  double v = koi_gib(bytes);
  snprintf(s.text, sizeof s.text, v > 0 && v < 1 ? "%.3f" : "%.1f", v);
  return s;
}

koine_status koi_flags(const char *what, unsigned flags, unsigned known)
{
  return flags & ~known ? koi_error(KOINE_ERR_ARG, "%s: expected flags among 0x%x, found 0x%x", what, known, flags) : KOINE_OK;
}

const char *koi_error_text(void) { return message; }

/* ---- log ---- */
static const char *const areas[] = {"base", "file", "text", "model", "device", "check", "plan", "engine", "api"};
enum { N_AREAS = KOI_COUNT(areas) };
static atomic_int least[N_AREAS]; /* levels; KOINE_LOG_NOTE is 0 */

/* The folder of a source file: .../runtime/AREA/name.c; the kernels' belong to the engine. */
static size_t area_of(const char *file)
{
  const char *folder = NULL;
  for (const char *p = file; (p = strstr(p, "runtime/")); p += 8) folder = p + 8;
  for (size_t i = 0; folder && i < N_AREAS; i++)
    if (!strncmp(folder, areas[i], strlen(areas[i])) && folder[strlen(areas[i])] == '/') return i;
  return N_AREAS - 2;
}

void koi_log_set(koine_log_fn *fn, void *user) { log_fn = fn, log_user = user; }

void koi_log_level(unsigned wanted, koine_log_level level)
{
  for (size_t i = 0; i < N_AREAS; i++)
    if (wanted & 1u << i) atomic_store(&least[i], level);
}

koine_log_area koi_log_area(void) { return log_area; }

void koi_log_from(const char *file, koine_log_level level, const char *fmt, ...)
{
  size_t area = area_of(file);
  if (!log_fn || (int)level < atomic_load(&least[area])) return;
  char text[1024], line[1024];
  va_list ap;
  va_start(ap, fmt);
  koi_vprint(text, sizeof text, fmt, ap);
  va_end(ap);
  clean(line, sizeof line, text);
  log_area = (koine_log_area)(1u << area);
  log_fn(log_user, level, line);
}
