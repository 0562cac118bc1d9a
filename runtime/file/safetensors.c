/* Opens safetensors: finds a folder's shards, maps them, has their headers fill the table of tensors.
 * Owns: what is mapped, until koi_weights_close. Invariant: a folder that opened has every file and tensor that its index names, or none. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/kind.h"
#include "safetensors_impl.h"

#define MAX_INDEX_BYTES ((size_t)256 << 20) /* a million tensors */

static koine_status map_shard(koi_shard *shard)
{
  koine_status s = koi_kind_check(shard->path);
  if (s) return s;
  int fd = open(shard->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return koi_error(KOINE_ERR_FILE, "%s: cannot open: %s", shard->path, strerror(errno));
  struct stat st;
  if (fstat(fd, &st) || !S_ISREG(st.st_mode)) s = koi_error(KOINE_ERR_FILE, "%s: expected a regular file", shard->path);
  else if (st.st_size < 8) s = koi_error(KOINE_ERR_FILE, "%s: expected at least 8 bytes, found %jd", shard->path, (intmax_t)st.st_size);
  else {
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED) s = koi_error(KOINE_ERR_MEMORY, "%s: cannot map %jd bytes: %s", shard->path, (intmax_t)st.st_size, strerror(errno));
    else shard->mapped = p, shard->data = p, shard->bytes = (size_t)st.st_size;
  }
  close(fd);
  return s;
}

/* ---- a folder ---- */
/* Adds a shard for `path` (taken over); NULL when memory is out. */
static koi_shard *add_shard(koi_weights *w, char *path)
{
  koi_shard *p = path ? koi_realloc(w->shards, w->n_shards + 1, sizeof *p) : NULL;
  if (!p) return koi_free(path), NULL;
  w->shards = p;
  p += w->n_shards++;
  *p = (koi_shard){.path = path};
  return p;
}

static koine_status open_files(koi_weights *w, const char *folder, const char *const *files, size_t n)
{
  for (size_t i = 0; i < n; i++) {
    koi_shard *shard = add_shard(w, koi_format("%s/%s", folder, files[i]));
    koine_status s = shard ? map_shard(shard) : KOINE_ERR_MEMORY;
    if (!s) s = koi_safetensors_header(w, shard);
    if (s) return s;
  }
  return koi_weights_seal(w);
}

/* How many of the files are there; *absent gets the path of the first that is not. */
static koine_status count_present(const char *folder, const char *const *files, size_t n, size_t *present, char **absent)
{
  *present = 0;
  for (size_t i = 0; i < n; i++) {
    char *path = koi_format("%s/%s", folder, files[i]);
    struct stat st;
    if (!path) return KOINE_ERR_MEMORY;
    koine_status s = koi_kind_check(path); /* what is no shard is said before what is missing */
    if (s) return koi_free(path), s;
    if (!stat(path, &st)) ++*present;
    else if (!*absent) {
      *absent = path;
      continue;
    }
    koi_free(path);
  }
  return KOINE_OK;
}

static bool ends_with(const char *text, const char *end)
{
  size_t n = strlen(text), m = strlen(end);
  return n > m && !strcmp(text + n - m, end);
}

/* "ANY-12-of-345.safetensors", whatever the number of digits. */
static bool like_shard(const char *name)
{
  const char *of = strstr(name, "-of-");
  return of && of > name && of[-1] >= '0' && of[-1] <= '9' && of[4] >= '0' && of[4] <= '9' && ends_with(name, ".safetensors");
}

/* Weights of other forms beside a config: the folder can be described, and it is said what was passed over. */
static void tell_others(const char *folder, const char *name)
{
  static const char *const ends[] = {".safetensors", ".gguf", ".bin", ".pt", ".pth", ".ckpt", ".safetensors.part", ".incomplete"};
  for (size_t i = 0; i < KOI_COUNT(ends); i++)
    if (ends_with(name, ends[i]))
      koi_log(KOINE_LOG_WARNING, "%s: %s is not read: expected model.safetensors, or shards with model.safetensors.index.json", folder, name);
}

/* Without an index, files named like shards mean that the index is what is missing. */
static koine_status check_no_shards(const char *folder)
{
  koine_status s = KOINE_OK;
  DIR *d = opendir(folder);
  for (struct dirent *e; d && !s && (e = readdir(d));) {
    if (!like_shard(e->d_name)) {
      tell_others(folder, e->d_name);
      continue;
    }
    char *path = koi_format("%s/%s", folder, e->d_name);
    s = path ? koi_kind_check(path) : KOINE_ERR_MEMORY; /* a pointer in place of the shard: the index is not all that is missing */
    koi_free(path);
    if (!s) s = koi_error(KOINE_ERR_FILE, "%s: expected model.safetensors.index.json or model.safetensors beside %s, found neither", folder, e->d_name);
  }
  if (d) closedir(d);
  return s;
}

static koine_status open_some(koi_weights *w, const char *folder, const char *const *files, size_t n)
{
  size_t present;
  koine_status s = count_present(folder, files, n, &present, &w->absent);
  if (s || !present) return s;
  if (w->absent) return koi_error(KOINE_ERR_FILE, "%s: expected this shard as the index names it, found no such file", w->absent);
  return open_files(w, folder, files, n);
}

static koine_status open_indexed(koi_weights *w, const char *folder, const char *index)
{
  koi_safetensors_map m = {0};
  char *text = NULL;
  size_t n;
  koine_status s = koi_file_read(index, MAX_INDEX_BYTES, &text, &n);
  if (!s) s = koi_safetensors_index(w, index, text, n, &m);
  koi_free(text);
  if (!s) s = open_some(w, folder, m.files, m.n_files);
  if (!s && !w->absent) s = koi_safetensors_check_map(w, &m, index);
  koi_safetensors_map_free(&m);
  return s;
}

static koine_status finish(koi_weights *w, koine_status s, koi_weights **out)
{
  if (s) koi_weights_close(w);
  else *out = w;
  return s;
}

koine_status koi_safetensors_open(const char *path, koi_weights **out)
{
  static const char *const single[] = {"model.safetensors"};
  struct stat st;
  char *index = koi_format("%s/model.safetensors.index.json", path);
  koi_weights *w = index ? koi_alloc(1, sizeof *w) : NULL;
  koine_status s = w ? KOINE_OK : KOINE_ERR_MEMORY;
  if (!s && !stat(index, &st)) s = S_ISREG(st.st_mode) ? open_indexed(w, path, index) : koi_error(KOINE_ERR_FILE, "%s: expected a regular file", index);
  else if (!s) {
    s = open_some(w, path, single, 1);
    if (!s && w->absent) s = check_no_shards(path);
  }
  koi_free(index);
  return finish(w, s, out);
}

koine_status koi_safetensors_open_file(const char *file, koi_weights **out)
{
  koi_weights *w = koi_alloc(1, sizeof *w);
  koi_shard *shard = w ? add_shard(w, koi_strdup(file)) : NULL;
  koine_status s = shard ? map_shard(shard) : KOINE_ERR_MEMORY;
  if (!s) s = koi_safetensors_header(w, shard);
  if (!s) s = koi_weights_seal(w);
  return finish(w, s, out);
}

koine_status koi_safetensors_open_memory(const void *data, size_t bytes, const char *name, koi_weights **out)
{
  koi_weights *w = koi_alloc(1, sizeof *w);
  koi_shard *shard = w ? add_shard(w, koi_strdup(name)) : NULL;
  koine_status s = shard ? KOINE_OK : KOINE_ERR_MEMORY;
  if (!s) shard->data = data, shard->bytes = bytes, s = koi_safetensors_header(w, shard);
  if (!s) s = koi_weights_seal(w);
  return finish(w, s, out);
}
