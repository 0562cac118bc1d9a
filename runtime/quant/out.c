/* See out.h. Owns the unfinished file. Invariant: under its name a file is whole; an unfinished one has no name, so that nothing is left however
 * the process ends (where the file system cannot do that, a name beside it, which an error removes). */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* O_TMPFILE */
#endif
#include "out.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "kernels/format.h"

enum { ALIGNMENT = 32, GGUF_VERSION = 3 };

/* ---- the header ---- */
void koi_out_bytes(koi_text *t, const void *data, size_t n) { koi_text_bytes(t, data, n); }

void koi_out_word(koi_text *t, uint64_t v, size_t bytes)
{
  char s[8];
  for (size_t i = 0; i < bytes; i++) s[i] = (char)(v >> 8 * i & 255);
  koi_text_bytes(t, s, bytes);
}

void koi_out_string(koi_text *t, const char *s, size_t n)
{
  koi_out_word(t, n, 8);
  koi_text_bytes(t, s, n);
}

static void key(koi_out_header *h, const char *name, koi_gguf_type type)
{
  h->n_keys++;
  koi_out_string(&h->keys, name, strlen(name));
  koi_out_word(&h->keys, type, 4);
}

void koi_out_u32(koi_out_header *h, const char *name, uint32_t v)
{
  key(h, name, KOI_GGUF_U32);
  koi_out_word(&h->keys, v, 4);
}

void koi_out_f32(koi_out_header *h, const char *name, float v)
{
  key(h, name, KOI_GGUF_F32);
  koi_out_bytes(&h->keys, &v, 4);
}

void koi_out_bool(koi_out_header *h, const char *name, bool v)
{
  key(h, name, KOI_GGUF_BOOL);
  koi_out_word(&h->keys, v, 1);
}

void koi_out_text(koi_out_header *h, const char *name, const char *s)
{
  key(h, name, KOI_GGUF_STRING);
  koi_out_string(&h->keys, s, strlen(s));
}

void koi_out_array(koi_out_header *h, const char *name, koi_gguf_type type, uint64_t n)
{
  key(h, name, KOI_GGUF_ARRAY);
  koi_out_word(&h->keys, type, 4);
  koi_out_word(&h->keys, n, 8);
}

void koi_out_value(koi_out_header *h, const koi_gguf_value *v)
{
  if (v->array) koi_out_array(h, v->key, v->type, v->n);
  else key(h, v->key, v->type);
  koi_out_bytes(&h->keys, v->data, v->bytes);
}

uint64_t koi_out_tensor(koi_out_header *h, const char *name, const uint64_t *dims, uint32_t n_dims, uint32_t type, uint64_t bytes)
{
  uint64_t at = h->at;
  h->n_tensors++;
  koi_out_string(&h->tensors, name, strlen(name));
  koi_out_word(&h->tensors, n_dims, 4);
  for (uint32_t d = 0; d < n_dims; d++) koi_out_word(&h->tensors, dims[d], 8);
  koi_out_word(&h->tensors, type, 4);
  koi_out_word(&h->tensors, at, 8);
  h->at += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  return at;
}

void koi_out_header_free(koi_out_header *h)
{
  koi_free(h->keys.s);
  koi_free(h->tensors.s);
  *h = (koi_out_header){0};
}

uint32_t koi_out_type(int wt)
{
  static const uint32_t types[KOI_N_FORMATS] = {
    [KOI_WT_F32] = 0, [KOI_WT_F16] = 1, [KOI_WT_Q4_0] = 2, [KOI_WT_Q4_1] = 3, [KOI_WT_Q5_0] = 6, [KOI_WT_Q5_1] = 7, [KOI_WT_Q8_0] = 8,
    [KOI_WT_Q2_K] = 10, [KOI_WT_Q3_K] = 11, [KOI_WT_Q4_K] = 12, [KOI_WT_Q5_K] = 13, [KOI_WT_Q6_K] = 14, [KOI_WT_IQ2_XXS] = 16, [KOI_WT_IQ2_XS] = 17,
    [KOI_WT_IQ3_XXS] = 18, [KOI_WT_IQ4_NL] = 20, [KOI_WT_IQ3_S] = 21, [KOI_WT_IQ2_S] = 22, [KOI_WT_IQ4_XS] = 23, [KOI_WT_BF16] = 30, [KOI_WT_MXFP4] = 39};
  return types[wt];
}

/* ---- the file ---- */
struct koi_out {
  char *path, *temp; /* temp: its name until then; NULL: none */
  int fd;
  uint64_t data; /* where it begins */
};

static koine_status failed(const koi_out *f, const char *what, int e) { return koi_error(KOINE_ERR_FILE, "%s: cannot %s: %s", f->path, what, strerror(e)); }

static koine_status make(koi_out *f)
{
  char *slash = strrchr(f->path, '/'), *folder = slash ? koi_format("%.*s", (int)(slash == f->path ? 1 : slash - f->path), f->path) : koi_strdup(".");
  if (!folder) return KOINE_ERR_MEMORY;
  struct stat st;
  if (!stat(f->path, &st) && !S_ISREG(st.st_mode)) {
    koi_free(folder);
    return koi_error(KOINE_ERR_FILE, "%s: expected a file's name to write to, found a folder or device", f->path);
  }
  f->fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
  koi_free(folder);
  if (f->fd >= 0) return KOINE_OK;
  if (errno == ENOENT || errno == EACCES || errno == EROFS || errno == ENOSPC) return failed(f, "be made", errno);
  f->temp = koi_format("%s.%ld.new", f->path, (long)getpid());
  if (!f->temp) return KOINE_ERR_MEMORY;
  f->fd = open(f->temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  return f->fd >= 0 ? KOINE_OK : failed(f, "be made", errno);
}

static koine_status put(koi_out *f, uint64_t at, const void *data, size_t n)
{
  for (size_t done = 0; done < n;) {
    ssize_t got = pwrite(f->fd, (const char *)data + done, n - done, (off_t)(at + done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return failed(f, "be written", errno);
    done += (size_t)got;
  }
  return KOINE_OK;
}

static koine_status put_header(koi_out *f, koi_out_header *h)
{
  koi_text t = {0};
  char *s;
  koi_text_bytes(&t, "GGUF", 4);
  koi_out_word(&t, GGUF_VERSION, 4);
  koi_out_word(&t, h->n_tensors, 8);
  koi_out_word(&t, h->n_keys, 8);
  koi_text_bytes(&t, h->keys.s, h->keys.len);
  koi_text_bytes(&t, h->tensors.s, h->tensors.len);
  while (t.len % ALIGNMENT && !t.failed) koi_out_word(&t, 0, 1);
  t.failed |= h->keys.failed || h->tensors.failed;
  size_t n = t.len;
  koine_status st = koi_text_take(&t, &s);
  if (st) return st;
  f->data = n;
  int e = h->at ? posix_fallocate(f->fd, 0, (off_t)(n + h->at)) : 0; /* a full disk is better known now */
  if (e == ENOSPC || e == EFBIG)
    st = koi_error(KOINE_ERR_FILE, "%s: expected room for %ju bytes, found: %s", f->path, (uintmax_t)(n + h->at), strerror(e));
  else if (ftruncate(f->fd, (off_t)(n + h->at))) st = failed(f, "be written", errno);
  if (!st) st = put(f, 0, s, n);
  koi_free(s);
  return st;
}

koine_status koi_out_open(const char *path, koi_out_header *h, koi_out **out)
{
  koi_out *f = koi_alloc(1, sizeof *f);
  if (!f) return KOINE_ERR_MEMORY;
  f->fd = -1, f->path = koi_strdup(path);
  koine_status s = f->path ? make(f) : KOINE_ERR_MEMORY;
  if (!s) s = put_header(f, h);
  if (s) koi_out_drop(f);
  else *out = f;
  return s;
}

koine_status koi_out_write(koi_out *f, uint64_t at, const void *data, size_t n) { return put(f, f->data + at, data, n); }

/* A file without a name gets one beside the final one, which it then replaces. */
static koine_status name(koi_out *f)
{
  char from[64];
  if (f->temp) return KOINE_OK;
  f->temp = koi_format("%s.%ld.new", f->path, (long)getpid());
  if (!f->temp) return KOINE_ERR_MEMORY;
  snprintf(from, sizeof from, "/proc/self/fd/%d", f->fd);
  unlink(f->temp);
  if (!linkat(AT_FDCWD, from, AT_FDCWD, f->temp, AT_SYMLINK_FOLLOW)) return KOINE_OK;
  int e = errno;
  koi_free(f->temp);
  f->temp = NULL;
  return failed(f, "be named", e);
}

koine_status koi_out_finish(koi_out *f)
{
  koine_status s = fsync(f->fd) ? failed(f, "be written", errno) : name(f);
  if (!s && rename(f->temp, f->path)) s = failed(f, "be named", errno);
  if (!s) {
    koi_free(f->temp);
    f->temp = NULL;
  }
  koi_out_drop(f);
  return s;
}

void koi_out_drop(koi_out *f)
{
  if (!f) return;
  if (f->fd >= 0) close(f->fd);
  if (f->temp) unlink(f->temp);
  koi_free(f->temp);
  koi_free(f->path);
  koi_free(f);
}
