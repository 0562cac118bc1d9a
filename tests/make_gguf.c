/* See make_gguf.h. */
#include "make_gguf.h"
#include <stdlib.h>
#include <string.h>

void make_gguf_free(make_gguf *m)
{
  free(m->s);
  *m = (make_gguf){0};
}

void make_gguf_bytes(make_gguf *m, const void *p, size_t n)
{
  if (m->n + n > m->cap) {
    m->cap = 2 * (m->n + n);
    m->s = realloc(m->s, m->cap);
    if (!m->s) abort();
  }
  if (n) memcpy(m->s + m->n, p, n);
  m->n += n;
}

void make_gguf_word(make_gguf *m, uint64_t v, size_t bytes)
{
  uint8_t b[8];
  for (size_t i = 0; i < 8; i++) b[i] = (uint8_t)(v >> 8 * i);
  make_gguf_bytes(m, b, bytes);
}

void make_gguf_string(make_gguf *m, const char *s)
{
  make_gguf_word(m, strlen(s), 8);
  make_gguf_bytes(m, s, strlen(s));
}

void make_gguf_pad(make_gguf *m, size_t align)
{
  while (m->n % align) make_gguf_word(m, 0, 1);
}

void make_gguf_begin(make_gguf *m, uint32_t version, uint64_t n_tensors, uint64_t n_keys)
{
  make_gguf_bytes(m, "GGUF", 4);
  make_gguf_word(m, version, 4);
  make_gguf_word(m, n_tensors, 8);
  make_gguf_word(m, n_keys, 8);
}

void make_gguf_key(make_gguf *m, const char *key, uint32_t type)
{
  make_gguf_string(m, key);
  make_gguf_word(m, type, 4);
}

void make_gguf_array(make_gguf *m, const char *key, uint32_t type, uint64_t n)
{
  make_gguf_key(m, key, KOI_GGUF_ARRAY);
  make_gguf_word(m, type, 4);
  make_gguf_word(m, n, 8);
}

void make_gguf_u32(make_gguf *m, const char *key, uint32_t v)
{
  make_gguf_key(m, key, KOI_GGUF_U32);
  make_gguf_word(m, v, 4);
}

void make_gguf_f32(make_gguf *m, const char *key, float v)
{
  make_gguf_key(m, key, KOI_GGUF_F32);
  make_gguf_bytes(m, &v, 4);
}

void make_gguf_text(make_gguf *m, const char *key, const char *v)
{
  make_gguf_key(m, key, KOI_GGUF_STRING);
  make_gguf_string(m, v);
}

void make_gguf_tensor(make_gguf *m, const char *name, uint32_t n_dims, const uint64_t *dims, uint32_t type, uint64_t offset)
{
  make_gguf_string(m, name);
  make_gguf_word(m, n_dims, 4);
  for (uint32_t d = 0; d < n_dims; d++) make_gguf_word(m, dims[d], 8);
  make_gguf_word(m, type, 4);
  make_gguf_word(m, offset, 8);
}
