/* See kept.h: the folders, files that are stale, and files that are there. Owns nothing. Invariant: nothing is thrown away but files with a name and
 * a head of ours. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include "base/paths.h"
#include "kept_impl.h"

enum { NAME = 64 };

static void name_of(const kept_head *h, char out[NAME]) { snprintf(out, NAME, "%016" PRIx64 "-%02u-%u.laid", h->model, h->tile, h->number); }

uint64_t koi_kept_head_sum(const kept_file *f)
{
  kept_head h = f->head;
  h.sum = 0;
  return koi_kept_sum(f->sums, (size_t)f->head.n_tiles * sizeof *f->sums, koi_kept_sum(&h, sizeof h, 1));
}

static bool read_head(int fd, kept_head *out)
{
  size_t got;
  return fd >= 0 && !koi_file_at(fd, 0, sizeof *out, out, &got) && got == sizeof *out;
}

static int open_file(const char *folder, const char *name, char **path)
{
  *path = koi_format("%s/%s", folder, name);
  int fd = *path ? open(*path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW) : -1;
  struct stat st;
  if (fd < 0 || (!fstat(fd, &st) && S_ISREG(st.st_mode))) return fd;
  close(fd);
  return -1;
}

/* ---- what is stale ---- */
typedef struct stale { size_t n_tiles, n_models; uint64_t bytes; uint32_t tile; } stale;

/* Throws away a file in the folder that is one of ours and that nobody will read. */
static void look_at(const koi_kept *k, const kept_head *want, const char *folder, const char *name, stale *s)
{
  char *path, own[NAME];
  kept_head h;
  int fd = open_file(folder, name, &path);
  bool ours = read_head(fd, &h) && !memcmp(h.magic, want->magic, sizeof h.magic);
  if (ours) name_of(&h, own);
  ours = ours && !strcmp(own, name) && memchr(h.device, 0, sizeof h.device);
  bool model = ours && h.model != want->model && folder == k->beside;
  bool tiles = ours && h.model == want->model && h.tile != want->tile && !strcmp(h.device, want->device);
  if ((model || tiles) && !unlink(path)) s->n_models += model, s->n_tiles += tiles, s->bytes += h.bytes, s->tile = tiles ? h.tile : s->tile;
  if (fd >= 0) close(fd);
  koi_free(path);
}

static void throw_stale(const koi_kept *k, const kept_head *want, const char *folder)
{
  stale s = {0};
  DIR *d = folder ? opendir(folder) : NULL;
  for (struct dirent *e; d && (e = readdir(d));) {
    const char *end = strrchr(e->d_name, '.');
    if (end && !strcmp(end, ".laid")) look_at(k, want, folder, e->d_name, &s);
  }
  if (d) closedir(d);
  if (s.n_tiles)
    koi_log(KOINE_LOG_WARNING, "%s: weights were kept in tiles of %u rows, but %s wants %u now: laid out anew, %.1f MB thrown away", folder, s.tile, k->device, want->tile,
            (double)s.bytes / 1e6);
  else if (s.n_models) koi_log(KOINE_LOG_WARNING, "%s: kept weights are of another checkpoint: laid out anew, %.1f MB thrown away", folder, (double)s.bytes / 1e6);
}

/* ---- what is there ---- */
static const char *wrong(const kept_file *f, const kept_head *h, const struct stat *st)
{
  const kept_head *want = &f->head;
  bool like = !memcmp(h->magic, want->magic, sizeof h->magic) && h->model == want->model && h->tile == want->tile && h->number == want->number;
  if (!like) return "it is no file of this model's laid-out weights";
  if (h->files != want->files) return "the checkpoint was written to since";
  if (h->shape != want->shape || h->n_tiles != want->n_tiles || h->bytes != want->bytes) return "it was made by another version";
  if ((uint64_t)st->st_size != h->bytes) return "it ends too early";
  return NULL;
}

/* Opens the file and reads its sums; false: there is none to read. */
static bool take(koi_kept *k, kept_file *f, const char *folder)
{
  char name[NAME];
  size_t got = 0, n = (size_t)f->head.n_tiles * sizeof *f->sums;
  kept_head h;
  struct stat st;
  name_of(&f->head, name);
  char *path = NULL;
  int fd = folder ? open_file(folder, name, &path) : -1;
  if (fd < 0) return koi_free(path), false;
  const char *why = read_head(fd, &h) && !fstat(fd, &st) ? wrong(f, &h, &st) : "it ends too early";
  if (!why && (koi_file_at(fd, sizeof h, n, f->sums, &got) || got < n)) why = "its head cannot be read";
  const kept_head want = f->head;
  f->head = h;
  if (!why && (h.sum != koi_kept_head_sum(f) || !memchr(h.device, 0, sizeof h.device))) why = "its head is damaged";
  if (why) {
    f->head = want;
    if (!k->n_bad++) koi_log(KOINE_LOG_WARNING, "%s: %s: laid out anew", path, why);
    koi_free(path);
    close(fd);
    return false;
  }
  f->state = KEPT_THERE, f->opened = fd + 1, f->path = path;
  return true;
}

/* ---- where the rest will be ---- */
static bool has_room(const char *folder, uint64_t bytes)
{
  struct statvfs fs;
  if (statvfs(folder, &fs)) return true; /* writing will tell */
  uint64_t free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
  if (free_bytes / 20 * 19 >= bytes) return true;
  koi_error(KOINE_ERR_FILE, "%s: %.1f MB are wanted, and of %.1f MB that are free a twentieth stays so", folder, (double)bytes / 1e6, (double)free_bytes / 1e6);
  return false;
}

static bool can_write(const char *folder, uint64_t bytes)
{
  if (mkdir(folder, 0777) && errno != EEXIST) return koi_error(KOINE_ERR_FILE, "%s: cannot be made: %s", folder, strerror(errno)), false;
  if (access(folder, W_OK | X_OK)) return koi_error(KOINE_ERR_FILE, "%s: cannot be written: %s", folder, strerror(errno)), false;
  return has_room(folder, bytes);
}

static koine_status name_new(koi_kept *k)
{
  uint64_t bytes = 0;
  char name[NAME];
  for (size_t i = 0; i < k->n_files; i++)
    if (k->files[i].sums && k->files[i].state == KEPT_OFF) bytes += k->files[i].head.bytes;
  k->used = k->beside;
  if (bytes && !can_write(k->beside, bytes)) {
    char *why = koi_strdup(koi_error_text());
    bool other = k->cache && !koi_paths_make(k->cache) && can_write(k->cache, bytes);
    if (other) koi_log(KOINE_LOG_WARNING, "%s; laid-out weights are kept in %s", why ? why : k->beside, k->cache);
    else koi_log(KOINE_LOG_WARNING, "%s; laid-out weights are not kept%s%s", why ? why : k->beside, k->cache ? ", nor in the cache folder: " : "", k->cache ? koi_error_text() : "");
    koi_free(why);
    if (!other) return KOINE_OK;
    k->used = k->cache;
  }
  for (size_t i = 0; i < k->n_files && bytes; i++) {
    kept_file *f = &k->files[i];
    if (!f->sums || f->state != KEPT_OFF) continue;
    name_of(&f->head, name);
    if (!(f->path = koi_format("%s/%s", k->used, name))) return KOINE_ERR_MEMORY;
    f->state = KEPT_NEW;
  }
  return KOINE_OK;
}

koine_status koi_kept_find(koi_kept *k)
{
  const kept_file *any = NULL;
  for (size_t i = 0; i < k->n_files && !any; i++)
    if (k->files[i].sums) any = &k->files[i];
  if (!any) return KOINE_OK;
  const kept_head want = any->head;
  throw_stale(k, &want, k->beside);
  throw_stale(k, &want, k->cache);
  for (size_t i = 0; i < k->n_files; i++)
    if (k->files[i].sums && !take(k, &k->files[i], k->beside)) take(k, &k->files[i], k->cache);
  return name_new(k);
}
