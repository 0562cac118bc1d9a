/* See out.h. Owns the header's texts until they are written, and the file in the making (base/newfile.h). */
#include "out.h"
#include "base/newfile.h"
#include <string.h>
#include "model/model.h"

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
  int32_t type = -1;
  for (int d = 0; d < KOI_N_DTYPES && type < 0; d++)
    if (koi_model_format((koi_dtype)d) == wt) type = koi_gguf_dtype_number((koi_dtype)d);
  return (uint32_t)type;
}

/* ---- the file ---- */
struct koi_out {
  koi_newfile *f;
  uint64_t data; /* where it begins */
};

static koine_status put_header(koi_out *o, koi_out_header *h)
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
  o->data = n;
  st = koi_newfile_room(o->f, n + h->at);
  if (!st) st = koi_newfile_write(o->f, 0, s, n);
  koi_free(s);
  return st;
}

koine_status koi_out_open(const char *path, koi_out_header *h, koi_out **out)
{
  koi_out *o = koi_alloc(1, sizeof *o);
  if (!o) return KOINE_ERR_MEMORY;
  koine_status s = koi_newfile_open(path, 0666, &o->f);
  if (!s) s = put_header(o, h);
  if (s) koi_out_drop(o);
  else *out = o;
  return s;
}

koine_status koi_out_write(koi_out *o, uint64_t at, const void *data, size_t n) { return koi_newfile_write(o->f, o->data + at, data, n); }

koine_status koi_out_finish(koi_out *o)
{
  koine_status s = koi_newfile_finish(o->f);
  koi_free(o);
  return s;
}

void koi_out_drop(koi_out *o)
{
  if (!o) return;
  koi_newfile_drop(o->f);
  koi_free(o);
}
