/* See prog.h. Owns d->progs: a shelf of the user's, in the cache folder, and one that came with Koine, which is only read. A file: head, key text, binary. Invariants: a file appears under its name only whole; every file whose key, sizes
 * and sum are not as expected counts as absent; nothing here ends a build. */
#include "prog.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/paths.h"

enum { HASH_DIGITS = 16, NAME_BYTES = 2 * HASH_DIGITS + 1, MAX_FILE_BYTES = 256 << 20, FRESH_S = 24 * 3600, STALE_S = 3600 };

typedef struct head { char magic[16]; uint64_t order, key_bytes, binary_bytes, sum; } head;
static const head blank = {.magic = "koine program 1", .order = 0x0123456789abcdef}; /* order: of bytes in a number */

#ifndef KOINE_PROGRAMS_DIR
#define KOINE_PROGRAMS_DIR "" /* Makefile.am says where programs that were compiled beforehand are installed; other builds have none */
#endif

typedef struct shelf { char *dir, *identity; } shelf; /* dir NULL: there is none */
typedef struct koi_progs {
  shelf of[KOI_N_SHELVES];
  pthread_mutex_t lock;  /* of what follows */
  bool said;
  bool counted;          /* bytes_there is known */
  uint64_t bytes_there;
} koi_progs;

static _Atomic uint64_t limit_bytes;
void koi_prog_limit(uint64_t bytes) { atomic_store(&limit_bytes, bytes); }

static uint64_t limit(void)
{
  uint64_t bytes = atomic_load(&limit_bytes);
  return bytes ? bytes : (uint64_t)512 << 20;
}

/* Whatever the disk does costs time only, so that one note is enough. */
static void say(koi_progs *g, const char *what, int e)
{
  pthread_mutex_lock(&g->lock);
  bool first = !g->said;
  g->said = true;
  pthread_mutex_unlock(&g->lock);
  if (first) koi_log(KOINE_LOG_NOTE, "compiled programs are not kept in %s: %s%s%s; every start compiles them again", g->of[KOI_SHELF_OWN].dir, what, e ? ": " : "", e ? strerror(e) : "");
}

/* ---- keys -------------------------------------------------------------------------------------------------------------- */
/* Drivers compile for the very processor, and two processors may share a name: what it can do, as the system lists it. */
static void add_processor(koi_text *t)
{
  FILE *f = fopen("/proc/cpuinfo", "r");
  char *line = NULL;
  size_t room = 0;
  bool found = false;
  while (f && !found && getline(&line, &room, f) > 0)
    if ((found = !strncmp(line, "flags", 5) || !strncmp(line, "Features", 8) || !strncmp(line, "isa", 3))) koi_text_add(t, "%s", line);
  free(line);
  if (f) fclose(f);
}

static koine_status make_identity(koi_device *d, char **out)
{
  koi_text t = {0};
  char *own;
  koine_status s = d->backend->identity(d, &own);
  if (s) return s;
  koi_text_add(&t, "%s\n%s\n", d->backend->name, own);
  koi_free(own);
  if (d->endpoint->type == KOINE_DEVICE_CPU) add_processor(&t);
  return koi_text_take(&t, out);
}

static const char *shipped_dir(void)
{
  const char *told = getenv("KOINE_PROGRAMS");
  return told ? told : KOINE_PROGRAMS_DIR;
}

bool koi_prog_shipped(const char *folder)
{
  char *path = *shipped_dir() ? koi_format("%s/%s", shipped_dir(), folder) : NULL;
  bool there = path && !access(path, R_OK | X_OK);
  koi_free(path);
  return there;
}

static koine_status open_own(koi_device *d, shelf *own)
{
  if (!d->cache_dir || !d->backend->identity || d->endpoint->keeps_programs) return KOINE_OK;
  own->dir = koi_format("%s/programs", d->cache_dir);
  return own->dir ? make_identity(d, &own->identity) : KOINE_ERR_MEMORY;
}

static koine_status open_shipped(koi_device *d, shelf *shipped)
{
  char *chip, *own;
  if (!d->backend->portable || !*shipped_dir()) return KOINE_OK;
  koine_status s = d->backend->portable(d->endpoint, &chip, &own);
  if (s) return s;
  shipped->identity = koi_format("%s\n%s\n", d->backend->name, own);
  shipped->dir = koi_format("%s/%s/%s/programs", shipped_dir(), d->backend->name, chip);
  koi_free(chip);
  koi_free(own);
  return shipped->identity && shipped->dir ? KOINE_OK : KOINE_ERR_MEMORY;
}

koine_status koi_prog_open(koi_device *d)
{
  koi_progs *g = koi_alloc(1, sizeof *g);
  if (!g) return KOINE_ERR_MEMORY;
  pthread_mutex_init(&g->lock, NULL);
  d->progs = g;
  koine_status s = open_own(d, &g->of[KOI_SHELF_OWN]);
  return s ? s : open_shipped(d, &g->of[KOI_SHELF_SHIPPED]);
}

void koi_prog_close(koi_device *d)
{
  koi_progs *g = d->progs;
  if (!g) return;
  for (int i = 0; i < KOI_N_SHELVES; i++) koi_free(g->of[i].dir), koi_free(g->of[i].identity);
  pthread_mutex_destroy(&g->lock);
  koi_free(g);
  d->progs = NULL;
}

bool koi_prog_keeps(const koi_device *d) { return d->progs->of[KOI_SHELF_OWN].dir != NULL; }

static koine_status make_key(const shelf *on, const koi_build *b, koi_text *key, char name[NAME_BYTES])
{
  koi_text_add(key, "%s\n%s\n%s\n%zu\n", on->identity, b->name, b->defs, b->group_items);
  koi_text_bytes(key, b->text, strlen(b->text));
  if (key->failed) {
    koi_free(key->s);
    return koi_error(KOINE_ERR_MEMORY, "out of host memory");
  }
  snprintf(name, NAME_BYTES, "%016llx%016llx", (unsigned long long)koi_hash(key->s, key->len, 0),
           (unsigned long long)koi_hash(key->s, key->len, 0x9e3779b97f4a7c15u));
  return KOINE_OK;
}

static head make_head(const koi_text *key, const void *binary, size_t bytes)
{
  head h = blank;
  h.key_bytes = key->len, h.binary_bytes = bytes, h.sum = koi_hash(binary, bytes, key->len);
  return h;
}

/* ---- reading ----------------------------------------------------------------------------------------------------------- */
/* The old ones of a full folder go first, so that one in use is made young; not at every start. */
static void touch(const char *path)
{
  struct stat st;
  if (!stat(path, &st) && time(NULL) - st.st_mtime > FRESH_S) utimensat(AT_FDCWD, path, NULL, 0);
}

/* Where the binary lies in a file of this key, or NULL. */
static const char *check(const char *file, size_t bytes, const koi_text *key, size_t *n)
{
  head h;
  if (bytes < sizeof h) return NULL;
  memcpy(&h, file, sizeof h);
  size_t left = bytes - sizeof h;
  if (memcmp(h.magic, blank.magic, sizeof h.magic) || h.order != blank.order || h.key_bytes != key->len || key->len > left || h.binary_bytes != left - key->len)
    return NULL;
  const char *binary = file + sizeof h + key->len;
  if (memcmp(file + sizeof h, key->s, key->len) || h.sum != koi_hash(binary, h.binary_bytes, key->len)) return NULL;
  *n = h.binary_bytes;
  return binary;
}

koine_status koi_prog_get(koi_device *d, koi_shelf which, const koi_build *b, void **binary, size_t *bytes)
{
  const shelf *on = &d->progs->of[which];
  if (!on->dir) return KOINE_OK;
  koi_text key = {0};
  char name[NAME_BYTES], *file = NULL;
  size_t n_file, n = 0;
  struct stat st;
  koine_status s = make_key(on, b, &key, name);
  if (s) return s;
  char *path = koi_format("%s/%s", on->dir, name);
  s = path ? KOINE_OK : KOINE_ERR_MEMORY;
  if (!s && !stat(path, &st)) s = koi_file_read(path, MAX_FILE_BYTES, &file, &n_file);
  if (s == KOINE_ERR_FILE) s = KOINE_OK;
  const char *found = file ? check(file, n_file, &key, &n) : NULL;
  if (file && !found) koi_log(KOINE_LOG_NOTE, "%s: damaged, or of another program; built again", path);
  if (found) {
    if (which == KOI_SHELF_OWN) touch(path);
    memmove(file, found, n);
    *binary = file, *bytes = n;
  } else
    koi_free(file);
  koi_free(path);
  koi_free(key.s);
  return s;
}

/* ---- keeping the folder small ------------------------------------------------------------------------------------------ */
typedef struct found { char name[NAME_BYTES]; uint64_t bytes; time_t when; } found;
typedef struct folder { found *list; size_t n; uint64_t bytes; } folder;

static int older(const void *pa, const void *pb)
{
  const found *a = pa, *b = pb;
  return (a->when > b->when) - (a->when < b->when);
}

/* Nothing else in the folder is ours to remove. */
static bool is_program(const char *name) { return strspn(name, "0123456789abcdef") == 2 * HASH_DIGITS && !name[2 * HASH_DIGITS]; }
static bool is_temporary(const char *name) { return *name == '.' && strspn(name + 1, "0123456789abcdef") == HASH_DIGITS && name[1 + HASH_DIGITS] == '.'; }

/* Every program; what a process that died left half written is removed. */
static void scan(const char *dir, folder *f)
{
  DIR *d = opendir(dir);
  struct dirent *e;
  while (d && (e = readdir(d))) {
    struct stat st;
    bool temporary = is_temporary(e->d_name);
    if ((!temporary && !is_program(e->d_name)) || fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode)) continue;
    if (temporary && time(NULL) - st.st_mtime > STALE_S) unlinkat(dirfd(d), e->d_name, 0);
    if (temporary) continue;
    if (!(f->n & (f->n - 1))) {
      found *list = koi_realloc(f->list, f->n ? 2 * f->n : 1, sizeof *list);
      if (!list) break;
      f->list = list;
    }
    found *to = &f->list[f->n++];
    memcpy(to->name, e->d_name, sizeof to->name);
    to->bytes = (uint64_t)st.st_size, to->when = st.st_mtime;
    f->bytes += to->bytes;
  }
  if (d) closedir(d);
}

/* Above the limit the oldest go, until a quarter of it is free. */
static void trim(koi_progs *g)
{
  folder f = {0};
  scan(g->of[KOI_SHELF_OWN].dir, &f);
  if (f.bytes > limit()) {
    qsort(f.list, f.n, sizeof *f.list, older);
    for (size_t i = 0; i < f.n && f.bytes > limit() / 4 * 3; i++) {
      char path[4096];
      snprintf(path, sizeof path, "%s/%s", g->of[KOI_SHELF_OWN].dir, f.list[i].name);
      if (!unlink(path)) f.bytes -= f.list[i].bytes;
    }
  }
  g->bytes_there = f.bytes, g->counted = true;
  koi_free(f.list);
}

static void grew(koi_progs *g, uint64_t bytes)
{
  pthread_mutex_lock(&g->lock);
  g->bytes_there += bytes;
  if (!g->counted || g->bytes_there > limit()) trim(g);
  pthread_mutex_unlock(&g->lock);
}

/* ---- writing ----------------------------------------------------------------------------------------------------------- */
static bool write_all(int fd, const void *data, size_t bytes)
{
  const char *at = data;
  while (bytes) {
    ssize_t n = write(fd, at, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return errno = n ? errno : ENOSPC, false;
    at += n, bytes -= (size_t)n;
  }
  return true;
}

/* Beside its place, then renamed. 0, or errno. Not synced: a file that a crash cut short fails its sum. */
static int write_file(const char *temp, const char *path, const koi_text *key, const void *binary, size_t bytes)
{
  head h = make_head(key, binary, bytes);
  int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return errno;
  int e = write_all(fd, &h, sizeof h) && write_all(fd, key->s, key->len) && write_all(fd, binary, bytes) ? 0 : errno;
  if (close(fd) && !e) e = errno;
  if (!e && rename(temp, path)) e = errno;
  if (e) unlink(temp);
  return e;
}

void koi_prog_put(koi_device *d, const koi_build *b, const void *binary, size_t bytes)
{
  static atomic_ulong n_written; /* of this process, so that no two threads share a temporary file */
  koi_progs *g = d->progs;
  const shelf *own = &g->of[KOI_SHELF_OWN];
  koi_text key = {0};
  char name[NAME_BYTES];
  if (make_key(own, b, &key, name)) return;
  char *path = koi_format("%s/%s", own->dir, name);
  char *temp = koi_format("%s/.%.16s.%ld.%lu", own->dir, name, (long)getpid(), atomic_fetch_add(&n_written, 1));
  if (koi_paths_make(own->dir)) say(g, koi_error_text(), 0);
  else if (path && temp) {
    int e = write_file(temp, path, &key, binary, bytes);
    if (e) say(g, "writing failed", e);
    else grew(g, sizeof(head) + key.len + bytes);
  }
  koi_free(path);
  koi_free(temp);
  koi_free(key.s);
}
