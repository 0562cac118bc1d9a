/* Makes GGUF files in memory, right or wrong, piece by piece. */
#ifndef MAKE_GGUF_H
#define MAKE_GGUF_H
#include "file/gguf.h"

typedef struct make_gguf {
  uint8_t *s; /* [n] of cap; free with make_gguf_free */
  size_t n, cap;
} make_gguf;

void make_gguf_free(make_gguf *m);
void make_gguf_bytes(make_gguf *m, const void *p, size_t n);
void make_gguf_word(make_gguf *m, uint64_t v, size_t bytes);
void make_gguf_string(make_gguf *m, const char *s);
void make_gguf_pad(make_gguf *m, size_t align); /* zeros up to a multiple of it */
void make_gguf_begin(make_gguf *m, uint32_t version, uint64_t n_tensors, uint64_t n_keys);
/* A key with its type: the value follows. */
void make_gguf_key(make_gguf *m, const char *key, uint32_t type);
void make_gguf_array(make_gguf *m, const char *key, uint32_t type, uint64_t n);
void make_gguf_u32(make_gguf *m, const char *key, uint32_t v);
void make_gguf_f32(make_gguf *m, const char *key, float v);
void make_gguf_text(make_gguf *m, const char *key, const char *v);
/* Dimensions as the file has them: the fastest first. */
void make_gguf_tensor(make_gguf *m, const char *name, uint32_t n_dims, const uint64_t *dims, uint32_t type, uint64_t offset);
#endif
