/* The table of tensors that a checkpoint reader fills: look-up by name, and the release of what was mapped.
 * Owns: shards' mappings, descriptors and names. Does not know any file format.
 * Invariant: after koi_weights_seal the tensors are sorted by name, no name occurs twice, and every data range lies in its mapping. */
#include "weights_impl.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct { const char *name; size_t bytes, values; } dtypes[KOI_N_DTYPES] = {
  [KOI_F32] = {"F32", 4}, [KOI_F16] = {"F16", 2}, [KOI_BF16] = {"BF16", 2}, [KOI_F8_E4M3] = {"F8_E4M3", 1},
  [KOI_F8_E8M0] = {"F8_E8M0", 1}, [KOI_I8] = {"I8", 1}, [KOI_U8] = {"U8", 1}, [KOI_I32] = {"I32", 4},
  [KOI_I64] = {"I64", 8}, [KOI_DTYPE_OTHER] = {"another dtype", 0},
  [KOI_Q4_0] = {"Q4_0", 18, 32}, [KOI_Q4_1] = {"Q4_1", 20, 32}, [KOI_Q5_0] = {"Q5_0", 22, 32}, [KOI_Q5_1] = {"Q5_1", 24, 32},
  [KOI_Q8_0] = {"Q8_0", 34, 32}, [KOI_Q2_K] = {"Q2_K", 84, 256}, [KOI_Q3_K] = {"Q3_K", 110, 256}, [KOI_Q4_K] = {"Q4_K", 144, 256},
  [KOI_Q5_K] = {"Q5_K", 176, 256}, [KOI_Q6_K] = {"Q6_K", 210, 256}, [KOI_IQ2_XXS] = {"IQ2_XXS", 66, 256}, [KOI_IQ2_XS] = {"IQ2_XS", 74, 256},
  [KOI_IQ2_S] = {"IQ2_S", 82, 256}, [KOI_IQ3_XXS] = {"IQ3_XXS", 98, 256}, [KOI_IQ3_S] = {"IQ3_S", 110, 256}, [KOI_IQ1_S] = {"IQ1_S", 50, 256},
  [KOI_IQ1_M] = {"IQ1_M", 56, 256}, [KOI_IQ4_NL] = {"IQ4_NL", 18, 32}, [KOI_IQ4_XS] = {"IQ4_XS", 136, 256}, [KOI_MXFP4] = {"MXFP4", 17, 32},
  [KOI_NVFP4] = {"NVFP4", 36, 64}, [KOI_TQ1_0] = {"TQ1_0", 54, 256}, [KOI_TQ2_0] = {"TQ2_0", 66, 256}, [KOI_Q1_0] = {"Q1_0", 18, 128}, [KOI_Q2_0] = {"Q2_0", 18, 64},
};

size_t koi_dtype_bytes(koi_dtype d) { return dtypes[d].bytes; }
size_t koi_dtype_values(koi_dtype d) { return dtypes[d].values; }
const char *koi_dtype_name(koi_dtype d) { return dtypes[d].name; }
size_t koi_weights_count(const koi_weights *w) { return w->n; }
const koi_tensor *koi_weights_at(const koi_weights *w, size_t i) { return &w->tensors[i]; }
const char *koi_weights_absent(const koi_weights *w) { return w->absent; }
koi_weights_index koi_weights_get_index(const koi_weights *w) { return w->index; }

static int by_name(const void *a, const void *b)
{
  const koi_tensor *x = a, *y = b;
  return strcmp(x->name, y->name);
}

const koi_tensor *koi_weights_find(const koi_weights *w, const char *name)
{
  koi_tensor key = {.name = name};
  return w->n ? bsearch(&key, w->tensors, w->n, sizeof key, by_name) : NULL;
}

/* ---- shards ---- */
koine_status koi_shard_hold(koi_shard *shard, size_t bytes)
{
  size_t page = (size_t)sysconf(_SC_PAGESIZE), got, end = bytes < shard->bytes ? bytes : shard->bytes;
  if (!shard->mapped || end <= shard->held) return KOINE_OK;
  end = end / page * page + page < shard->bytes ? end / page * page + page : shard->bytes;
  size_t n = end - shard->held; /* held is a multiple of pages, or all */
  uint8_t *at = (uint8_t *)shard->mapped + shard->held;
  if (mmap(at, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
    return koi_error(KOINE_ERR_MEMORY, "%s: cannot hold %zu bytes: %s", shard->path, n, strerror(errno));
  int e = koi_file_at(shard->opened - 1, shard->held, n, at, &got);
  if (e) return koi_error(KOINE_ERR_FILE, "%s: cannot read its header: %s", shard->path, strerror(e));
  if (got < n) return koi_error(KOINE_ERR_FILE, "%s: expected %zu bytes, found its end at %zu: it became shorter", shard->path, shard->bytes, shard->held + got);
  shard->held = end;
  return KOINE_OK;
}

koine_status koi_shard_map(koi_shard *shard)
{
  koine_status s = KOINE_OK;
  int fd = open(shard->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return koi_error(KOINE_ERR_FILE, "%s: cannot open: %s", shard->path, strerror(errno));
  struct stat st;
  if (fstat(fd, &st) || !S_ISREG(st.st_mode)) s = koi_error(KOINE_ERR_FILE, "%s: expected a regular file", shard->path);
  else if (!st.st_size) s = koi_error(KOINE_ERR_FILE, "%s: expected at least 8 bytes, found an empty file: download it again", shard->path);
  else if (st.st_size < 8) s = koi_error(KOINE_ERR_FILE, "%s: expected at least 8 bytes, found %jd", shard->path, (intmax_t)st.st_size);
  else {
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED) s = koi_error(KOINE_ERR_MEMORY, "%s: cannot map %jd bytes: %s", shard->path, (intmax_t)st.st_size, strerror(errno));
    else {
      *shard = (koi_shard){.path = shard->path, .mapped = p, .data = p, .bytes = (size_t)st.st_size, .opened = fd + 1,
                           .changed = {st.st_mtim.tv_sec, st.st_mtim.tv_nsec}};
      return koi_shard_hold(shard, 8);
    }
  }
  close(fd);
  return s;
}

koine_status koi_weights_check(const koi_weights *w)
{
  for (size_t i = 0; i < w->n_shards; i++) {
    const koi_shard *f = &w->shards[i];
    struct stat st;
    if (!f->opened) continue;
    if (fstat(f->opened - 1, &st)) return koi_error(KOINE_ERR_FILE, "%s: cannot be looked at: %s", f->path, strerror(errno));
    if ((uint64_t)st.st_size != f->bytes || st.st_mtim.tv_sec != f->changed[0] || st.st_mtim.tv_nsec != f->changed[1])
      return koi_error(KOINE_ERR_FILE, "%s: was written to since it was opened: open the model again", f->path);
  }
  return KOINE_OK;
}

uint64_t koi_weights_stamp(const koi_weights *w)
{
  uint64_t h = koi_hash(&w->n_shards, sizeof w->n_shards, 1);
  for (size_t i = 0; i < w->n_shards; i++) {
    const koi_shard *f = &w->shards[i];
    const char *slash = strrchr(f->path, '/'), *name = slash ? slash + 1 : f->path;
    h = koi_hash(name, strlen(name), h);
    h = koi_hash(&f->bytes, sizeof f->bytes, h);
    h = koi_hash(f->changed, sizeof f->changed, h);
  }
  return h;
}

koi_shard *koi_shard_add(koi_weights *w, char *path)
{
  koi_shard *p = path ? koi_realloc(w->shards, w->n_shards + 1, sizeof *p) : NULL;
  if (!p) return koi_free(path), NULL;
  w->shards = p;
  p += w->n_shards++;
  *p = (koi_shard){.path = path};
  return p;
}

/* ---- tensors ---- */
koine_status koi_tensor_read(const koi_tensor *t, uint64_t at, size_t n, void *to)
{
  size_t got = n;
  if (at > t->bytes || n > t->bytes - at)
    return koi_error(KOINE_ERR_STATE, "%s: %.200s: bytes %ju to %ju asked of %zu", t->file, koi_tensor_name(t), (uintmax_t)at, (uintmax_t)(at + n), t->bytes);
  if (!t->opened) return memcpy(to, t->data + at, n), KOINE_OK;
  int e = koi_file_at(t->opened - 1, t->offset + at, n, to, &got);
  if (e) return koi_error(KOINE_ERR_FILE, "%s: %.200s: cannot read %zu bytes at %ju: %s", t->file, koi_tensor_name(t), n, (uintmax_t)(t->offset + at), strerror(e));
  if (got == n) return KOINE_OK;
  return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected %zu bytes at %ju, found the file's end at %ju: it became shorter", t->file, koi_tensor_name(t), n,
                   (uintmax_t)(t->offset + at), (uintmax_t)(t->offset + at + got));
}

void koi_tensor_pass(const koi_tensor *t, uint64_t at, size_t n)
{
  if (t->opened) posix_fadvise(t->opened - 1, (off_t)(t->offset + at), (off_t)n, POSIX_FADV_DONTNEED);
}

koine_status koi_weights_add(koi_weights *w, const koi_tensor *t)
{
  koi_tensor *p = koi_grow(w->tensors, w->n, &w->cap, sizeof *p);
  if (!p) return KOINE_ERR_MEMORY;
  w->tensors = p;
  w->tensors[w->n++] = *t;
  return KOINE_OK;
}

koine_status koi_weights_seal(koi_weights *w)
{
  if (w->n) qsort(w->tensors, w->n, sizeof *w->tensors, by_name);
  for (size_t i = 1; i < w->n; i++) {
    const koi_tensor *a = &w->tensors[i - 1], *b = &w->tensors[i];
    if (strcmp(a->name, b->name)) continue;
    bool same = !strcmp(a->file, b->file);
    return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected every tensor once, found it %s%s", a->file, a->name,
                     same ? "twice (perhaps with and without \"model.\")" : "again in ", same ? "" : b->file);
  }
  return KOINE_OK;
}

/* ---- other names ---- */
/* t, or the slices of it, behind the tensors that w has; names lie at the number of their tensor. */
static koine_status add_renamed(koi_weights *w, const koi_tensor *t, const koi_weights_name *to)
{
  uint64_t n = to->n ? to->n : 1;
  koine_status s = KOINE_OK;
  for (uint64_t i = 0; i < n && !s; i++) {
    koi_tensor x = *t;
    char *name = w->renamed[w->n];
    if (to->n) {
      snprintf(name, KOI_WEIGHTS_NAME, "%s%ju%s", to->name, (uintmax_t)i, to->behind);
      memmove(x.shape, x.shape + 1, (KOI_MAX_DIMS - 1) * sizeof *x.shape);
      x.n_dims--, x.bytes = t->bytes / n, x.data = t->data + i * x.bytes, x.offset = t->offset + i * x.bytes;
    } else snprintf(name, KOI_WEIGHTS_NAME, "%s", to->name);
    if (*name) x.name = name, x.stored = t->name;
    s = koi_weights_add(w, &x);
  }
  return s;
}

static koine_status rename_all(koi_weights *w, const koi_tensor *from, size_t n, const koi_weights_name *to)
{
  size_t total = 0;
  koine_status s = KOINE_OK;
  for (size_t i = 0; i < n; i++) total += to[i].n ? to[i].n : 1;
  w->renamed = koi_alloc(total + 1, sizeof *w->renamed);
  if (!w->renamed) return KOINE_ERR_MEMORY;
  for (size_t i = 0; i < n && !s; i++) s = add_renamed(w, &from[i], &to[i]);
  return s ? s : koi_weights_seal(w);
}

koine_status koi_weights_rename(koi_weights *w, koi_weights_name_fn *fn, void *user)
{
  koi_tensor *from = w->tensors;
  size_t n = w->n;
  koi_weights_name *to = koi_alloc(n + 1, sizeof *to);
  koine_status s = to ? KOINE_OK : KOINE_ERR_MEMORY;
  for (size_t i = 0; i < n && !s; i++) s = fn(user, &from[i], &to[i]);
  if (!s) {
    w->tensors = NULL, w->n = w->cap = 0;
    s = rename_all(w, from, n, to);
    koi_free(from);
  }
  koi_free(to);
  return s;
}

void koi_weights_close(koi_weights *w)
{
  if (!w) return;
  for (size_t i = 0; i < w->n_shards; i++) {
    if (w->shards[i].mapped) munmap(w->shards[i].mapped, w->shards[i].bytes);
    if (w->shards[i].opened) close(w->shards[i].opened - 1);
    koi_free(w->shards[i].path);
    koi_free(w->shards[i].names);
  }
  koi_free(w->shards);
  koi_free(w->tensors);
  koi_free(w->renamed);
  koi_free(w->absent);
  koi_free(w);
}
