/* The files of the log (tuned.h): lines appended, lines read. Owns nothing that outlives a call. Invariant: what is in a file is never changed, and a line
 * is written by one call, so that those of several processes do not mix. */
#include "tuned.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/paths.h"

enum { MAX_FILE_BYTES = 256 << 20, MAX_FILES = 256, MAX_SAID = 10 };

koine_status koi_tuned_path(const char *cache_dir, char **out)
{
  *out = cache_dir ? koi_format("%s/tuned.log", cache_dir) : NULL;
  return *out || !cache_dir ? KOINE_OK : KOINE_ERR_MEMORY;
}

/* ---- writing ----------------------------------------------------------------------------------------------------------- */
/* What a killed process left without its end must not swallow our line. */
static bool ends_open(int fd)
{
  char last = '\n';
  off_t end = lseek(fd, 0, SEEK_END);
  return end > 0 && pread(fd, &last, 1, end - 1) == 1 && last != '\n';
}

/* The text begins with a line end, which is left out where it is not needed. */
static koine_status write_text(const char *path, const koi_text *t)
{
  int fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return koi_error(KOINE_ERR_FILE, "%s: cannot open: %s", path, strerror(errno));
  size_t gap = ends_open(fd) ? 0 : 1;
  ssize_t n = write(fd, t->s + gap, t->len - gap);
  int e = errno;
  close(fd);
  if (n == (ssize_t)(t->len - gap)) return KOINE_OK;
  return koi_error(KOINE_ERR_FILE, "%s: writing failed: %s", path, n < 0 ? strerror(e) : "no space");
}

koine_status koi_tuned_write(const char *cache_dir, const char *text, size_t n)
{
  char *path;
  koi_text all = {0};
  koine_status s = koi_tuned_path(cache_dir, &path);
  if (s || !path) return s;
  koi_text_bytes(&all, "\n", 1);
  koi_text_bytes(&all, text, n);
  if (all.failed) s = koi_error(KOINE_ERR_MEMORY, "out of host memory");
  if (!s) s = koi_paths_make(cache_dir);
  if (!s) s = write_text(path, &all);
  koi_free(all.s);
  koi_free(path);
  return s;
}

koine_status koi_tuned_append(const koi_device *d, const koi_tuned_line *l)
{
  koi_text line = {0};
  if (!d->cache_dir) return KOINE_OK;
  koi_tuned_put_line(&line, d->endpoint, l);
  koine_status s = line.failed ? koi_error(KOINE_ERR_MEMORY, "out of host memory") : koi_tuned_write(d->cache_dir, line.s, line.len);
  koi_free(line.s);
  return s;
}

/* ---- reading ----------------------------------------------------------------------------------------------------------- */
/* The file from byte `at` on, with a zero byte behind; *n 0: there is nothing new, or no file. */
static koine_status read_from(const char *path, size_t at, char **out, size_t *n)
{
  struct stat st;
  *out = NULL, *n = 0;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0 && errno == ENOENT) return KOINE_OK;
  if (fd < 0) return koi_error(KOINE_ERR_FILE, "%s: cannot open: %s", path, strerror(errno));
  koine_status s = KOINE_OK;
  if (fstat(fd, &st) || !S_ISREG(st.st_mode)) s = koi_error(KOINE_ERR_FILE, "%s: expected a regular file", path);
  else if (st.st_size > MAX_FILE_BYTES)
    s = koi_error(KOINE_ERR_FILE, "%s: %lld bytes, expected at most %d: koine tune --export keeps what holds; then remove the log and import that", path,
                  (long long)st.st_size, MAX_FILE_BYTES);
  else if ((size_t)st.st_size > at && !(*out = koi_alloc((size_t)st.st_size - at + 1, 1))) s = KOINE_ERR_MEMORY;
  ssize_t got = 1;
  while (*out && *n < (size_t)st.st_size - at && got > 0) {
    got = pread(fd, *out + *n, (size_t)st.st_size - at - *n, (off_t)(at + *n));
    if (got > 0) *n += (size_t)got;
    else if (got < 0) s = koi_error(KOINE_ERR_FILE, "%s: reading failed: %s", path, strerror(errno));
  }
  close(fd);
  if (!s) return s;
  koi_free(*out);
  *out = NULL;
  return s;
}

/* A log may be damaged in every line; ten of them are enough to see how. */
static void say(const char *path, size_t n, koi_sound sound, koi_tuned_counts *c)
{
  size_t *count = sound == KOI_DAMAGED ? &c->n_damaged : &c->n_foreign;
  if (++*count > MAX_SAID || c->quiet) return;
  if (sound == KOI_DAMAGED) koi_log(KOINE_LOG_WARNING, "%s: line %zu is damaged and is skipped", path, n);
  else koi_log(KOINE_LOG_NOTE, "%s: line %zu is of another release and is skipped", path, n);
}

/* One line of `len` bytes, its end cut off. A zero byte in it hides what follows, so the line is damaged. */
static koine_status one(const char *path, koi_origin origin, char *text, size_t len, koi_tuned_counts *c, koi_tuned_fn *fn, void *user)
{
  koi_tuned_read r = {.origin = origin, .path = path, .n = ++c->n_lines, .raw = text, .len = len};
  if (!len) return KOINE_OK;
  koi_sound sound = len <= KOI_LINE && strlen(text) == len ? koi_tuned_take_line(text, &r) : KOI_DAMAGED;
  if (sound == KOI_SOUND) return fn(user, &r);
  say(path, r.n, sound, c);
  return KOINE_OK;
}

/* *whole: bytes of lines that have their end. */
static koine_status scan(const char *name, char *text, size_t n, koi_origin origin, size_t *whole, koi_tuned_counts *c, koi_tuned_fn *fn, void *user)
{
  size_t before[] = {c->n_damaged, c->n_foreign};
  koine_status s = KOINE_OK;
  for (size_t i = 0; i < n && !s;) {
    char *end = memchr(text + i, '\n', n - i);
    size_t len = end ? (size_t)(end - (text + i)) : n - i;
    if (end) *end = 0;
    s = one(name, origin, text + i, len, c, fn, user);
    i += len + (end != NULL);
    if (end) *whole = i;
    else c->n_lines--; /* it may still grow, and is looked at again */
  }
  const size_t more[] = {c->n_damaged - before[0], c->n_foreign - before[1]};
  if (more[0] > MAX_SAID && !c->quiet) koi_log(KOINE_LOG_WARNING, "%s: %zu damaged lines in all are skipped", name, more[0]);
  if (more[1] > MAX_SAID && !c->quiet) koi_log(KOINE_LOG_NOTE, "%s: %zu lines of another release in all are skipped", name, more[1]);
  return s;
}

koine_status koi_tuned_scan_text(const char *name, char *text, size_t n, koi_origin origin, koi_tuned_counts *c, koi_tuned_fn *fn, void *user)
{
  size_t whole = 0;
  return scan(name, text, n, origin, &whole, c, fn, user);
}

koine_status koi_tuned_scan(const char *path, koi_origin origin, size_t *at, koi_tuned_counts *c, koi_tuned_fn *fn, void *user)
{
  char *all;
  size_t n, whole = 0;
  koine_status s = read_from(path, *at, &all, &n);
  if (!s && n) s = scan(path, all, n, origin, &whole, c, fn, user);
  *at += whole;
  koi_free(all);
  return s;
}

/* ---- what ships -------------------------------------------------------------------------------------------------------- */
static int is_log(const struct dirent *d)
{
  size_t n = strlen(d->d_name);
  return d->d_name[0] != '.' && n > 4 && !strcmp(d->d_name + n - 4, ".log");
}

static int by_bytes(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

static koine_status each_shipped(const char *folder, koi_tuned_counts *c, koi_tuned_fn *fn, void *user)
{
  struct dirent **names = NULL;
  int n = scandir(folder, &names, is_log, by_bytes);
  koine_status s = KOINE_OK;
  for (int i = 0; i < n; i++) {
    size_t at = 0;
    koi_tuned_counts own = {.quiet = c->quiet};
    char *path = i < MAX_FILES ? koi_format("%s/%s", folder, names[i]->d_name) : NULL;
    if (path && !s) s = koi_tuned_scan(path, KOI_ORIGIN_SHIPPED, &at, &own, fn, user);
    else if (!path && i < MAX_FILES) s = KOINE_ERR_MEMORY;
    c->n_lines += own.n_lines, c->n_damaged += own.n_damaged, c->n_foreign += own.n_foreign;
    koi_free(path);
    free(names[i]);
  }
  free(names);
  return s;
}

koine_status koi_tuned_scan_log(const char *cache_dir, const char *shipped, koi_tuned_counts *c, koi_tuned_fn *fn, void *user)
{
  char *path = NULL;
  size_t at = 0;
  koine_status s = shipped ? each_shipped(shipped, c, fn, user) : KOINE_OK;
  koi_tuned_counts own = {.quiet = c->quiet};
  if (!s) s = koi_tuned_path(cache_dir, &path);
  if (!s && path) s = koi_tuned_scan(path, KOI_ORIGIN_USER, &at, &own, fn, user);
  koi_free(path);
  c->n_lines += own.n_lines, c->n_damaged += own.n_damaged, c->n_foreign += own.n_foreign;
  return s;
}
