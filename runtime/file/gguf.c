/* Opens GGUF files: maps a file and, of a split model, those beside it, and has their headers fill the tables.
 * Owns: what is mapped, until koi_gguf_close or whoever took the tensors lets go. Invariant: a model that opened has all its files. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "gguf_impl.h"

enum { MAX_SPLITS = 99999 };

bool koi_gguf_is(const char *path)
{
  struct stat st;
  char head[4];
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  bool is = fd >= 0 && !fstat(fd, &st) && S_ISREG(st.st_mode) && read(fd, head, sizeof head) == sizeof head && !memcmp(head, "GGUF", 4);
  if (fd >= 0) close(fd);
  return is;
}

/* ---- split models ---- */
/* Where "-00001-of-00003.gguf" begins in the path; NULL: it does not end so. */
static const char *split_suffix(const char *path)
{
  static const char like[] = "-ddddd-of-ddddd.gguf";
  size_t n = strlen(path), m = sizeof like - 1;
  if (n < m) return NULL;
  const char *at = path + n - m;
  for (size_t i = 0; i < m; i++)
    if (like[i] == 'd' ? !koi_is_digit((unsigned char)at[i]) : like[i] != at[i]) return NULL;
  return at;
}

/* An integer of split.*; absent when the file has no such key. */
static koine_status split_number(const koi_gguf_table *t, const char *file, const char *key, int64_t max, int64_t absent, int64_t *out)
{
  const koi_gguf_value *v = koi_gguf_look(t, key);
  *out = absent;
  if (!v) return KOINE_OK;
  if (!v->array && koi_gguf_int(v, 0, out) && *out >= 0 && *out <= max) return KOINE_OK;
  return koi_error(KOINE_ERR_FILE, "%s: %s: expected an integer from 0 to %jd", file, key, (intmax_t)max);
}

static koine_status open_split(koi_gguf *g, int64_t i, int64_t count)
{
  const char *suffix = split_suffix(g->path);
  koi_gguf_table t = {0};
  struct stat st;
  int64_t no = 0, n = 0;
  char *path = koi_format("%.*s-%05d-of-%05d.gguf", (int)(suffix - g->path), g->path, (int)i + 1, (int)count);
  koi_shard *shard = path ? koi_shard_add(g->weights, path) : NULL;
  if (!shard) return KOINE_ERR_MEMORY;
  if (stat(path, &st)) return koi_error(KOINE_ERR_FILE, "%s: expected this file as split.count says (%jd), found no such file", path, (intmax_t)count);
  koine_status s = koi_shard_map(shard);
  if (!s) s = koi_gguf_header(g->weights, shard, &t);
  if (!s) s = split_number(&t, path, "split.no", MAX_SPLITS, -1, &no);
  if (!s) s = split_number(&t, path, "split.count", MAX_SPLITS, -1, &n);
  if (!s && (no != i || n != count))
    s = koi_error(KOINE_ERR_FILE, "%s: expected part %jd of %jd by its name, found that its metadata say part %jd of %jd (split.no, which counts from 0, and split.count)", path,
                  (intmax_t)i + 1, (intmax_t)count, (intmax_t)no + 1, (intmax_t)n);
  koi_free(t.values);
  return s;
}

static koine_status open_splits(koi_gguf *g)
{
  int64_t count, no, total;
  koine_status s = split_number(&g->meta, g->path, "split.count", MAX_SPLITS, 1, &count);
  if (!s) s = split_number(&g->meta, g->path, "split.no", MAX_SPLITS, 0, &no);
  if (!s) s = split_number(&g->meta, g->path, "split.tensors.count", INT32_MAX, -1, &total);
  if (s || count < 2) return s;
  if (!split_suffix(g->path)) return koi_error(KOINE_ERR_FILE, "%s: expected a name that ends in -00001-of-%05jd.gguf, as its parts have", g->path, (intmax_t)count);
  if (no) return koi_error(KOINE_ERR_FILE, "%s: expected the first part of a split model, found part %jd: give the one named -00001-of-%05jd.gguf", g->path, (intmax_t)no + 1, (intmax_t)count);
  for (int64_t i = 1; i < count && !s; i++) s = open_split(g, i, count);
  if (!s && total >= 0 && (uint64_t)total != g->weights->n)
    s = koi_error(KOINE_ERR_FILE, "%s: expected %jd tensors as split.tensors.count says, found %zu in %jd files", g->path, (intmax_t)total, g->weights->n, (intmax_t)count);
  return s;
}

/* ---- opening ---- */
static koine_status open_all(koi_gguf *g, const void *data, size_t bytes)
{
  koi_shard *shard = koi_shard_add(g->weights, koi_strdup(g->path));
  if (!shard) return KOINE_ERR_MEMORY;
  if (data) shard->data = data, shard->bytes = bytes;
  koine_status s = data ? KOINE_OK : koi_shard_map(shard);
  if (!s) s = koi_gguf_header(g->weights, shard, &g->meta);
  if (!s && !data) s = open_splits(g);
  return s ? s : koi_weights_seal(g->weights);
}

static koine_status open_as(const void *data, size_t bytes, const char *name, bool may_end, koi_gguf **out)
{
  koi_gguf *g = koi_alloc(1, sizeof *g);
  if (!g) return KOINE_ERR_MEMORY;
  g->path = koi_strdup(name), g->weights = koi_alloc(1, sizeof *g->weights);
  if (g->weights) g->weights->may_end = may_end;
  koine_status s = g->path && g->weights ? open_all(g, data, bytes) : KOINE_ERR_MEMORY;
  if (s) koi_gguf_close(g);
  else *out = g;
  return s;
}

koine_status koi_gguf_open_memory(const void *data, size_t bytes, const char *name, koi_gguf **out) { return open_as(data, bytes, name, false, out); }
koine_status koi_gguf_open(const char *path, koi_gguf **out) { return open_as(NULL, 0, path, false, out); }
koine_status koi_gguf_open_header(const char *path, koi_gguf **out) { return open_as(NULL, 0, path, true, out); }

void koi_gguf_close(koi_gguf *g)
{
  if (!g) return;
  koi_weights_close(g->weights);
  koi_free(g->meta.values);
  koi_free(g->path);
  koi_free(g);
}

koi_weights *koi_gguf_take(koi_gguf *g)
{
  koi_weights *w = g->weights;
  g->weights = NULL;
  return w;
}

const char *koi_gguf_path(const koi_gguf *g) { return g->path; }
const koi_weights *koi_gguf_weights(const koi_gguf *g) { return g->weights; }
size_t koi_gguf_count(const koi_gguf *g) { return g->meta.n; }
const koi_gguf_value *koi_gguf_at(const koi_gguf *g, size_t i) { return &g->meta.values[i]; }
const koi_gguf_value *koi_gguf_find(const koi_gguf *g, const char *key) { return koi_gguf_look(&g->meta, key); }
