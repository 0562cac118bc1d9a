/* What the files of the GGUF reader share. */
#ifndef KOI_GGUF_IMPL_H
#define KOI_GGUF_IMPL_H
#include "gguf.h"
#include "weights_impl.h"

typedef struct koi_gguf_table { /* one file's metadata */
  koi_gguf_value *values;       /* [n], by key */
  size_t n;
} koi_gguf_table;

struct koi_gguf {
  char *path;
  koi_weights *weights;
  koi_gguf_table meta; /* of the first file */
};

/* ---- gguf_header.c ---- */
/* Reads the header of `shard`, whose path, data and bytes are set: its tensors into w, its metadata into *t, which is zeros and is to be
 * freed whatever comes back. */
koine_status koi_gguf_header(koi_weights *w, koi_shard *shard, koi_gguf_table *t);

/* ---- gguf_meta.c ---- */
const koi_gguf_value *koi_gguf_look(const koi_gguf_table *t, const char *key);
uint64_t koi_gguf_word(const uint8_t *p, size_t bytes); /* little-endian */
size_t koi_gguf_type_bytes(koi_gguf_type t);            /* 0: strings and arrays */
koine_status koi_gguf_sort(koi_gguf_table *t, const char *file); /* refuses a key that occurs twice */
#endif
