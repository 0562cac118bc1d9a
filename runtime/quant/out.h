/* A GGUF file on its way to disk: a header in memory, then bytes at places that are known beforehand, from any thread, and a name at the end. */
#ifndef KOI_OUT_H
#define KOI_OUT_H
#include "file/gguf.h"

/* ---- the header: keys, then tensors; out of memory shows when it is taken ---- */
typedef struct koi_out_header {
  koi_text keys, tensors;
  uint64_t n_keys, n_tensors, at; /* at: bytes of data so far */
} koi_out_header;
void koi_out_bytes(koi_text *t, const void *data, size_t n);
void koi_out_word(koi_text *t, uint64_t v, size_t bytes);
void koi_out_string(koi_text *t, const char *s, size_t n);
/* Keys; an array's n items are to follow in h->keys. */
void koi_out_u32(koi_out_header *h, const char *key, uint32_t v);
void koi_out_f32(koi_out_header *h, const char *key, float v);
void koi_out_bool(koi_out_header *h, const char *key, bool v);
void koi_out_text(koi_out_header *h, const char *key, const char *s);
void koi_out_array(koi_out_header *h, const char *key, koi_gguf_type type, uint64_t n);
void koi_out_value(koi_out_header *h, const koi_gguf_value *v); /* as another file has it */
/* A tensor of `bytes`, dims with the fastest first; returns where its data begin behind the header. */
uint64_t koi_out_tensor(koi_out_header *h, const char *name, const uint64_t *dims, uint32_t n_dims, uint32_t type, uint64_t bytes);
void koi_out_header_free(koi_out_header *h);
/* The number of KOI_WT_* in GGUF files. */
uint32_t koi_out_type(int wt);

/* ---- the file ---- */
typedef struct koi_out koi_out;
/* Makes a file without a name in the folder of `path` and writes the header; room for all of it is asked for. KOINE_ERR_FILE. */
koine_status koi_out_open(const char *path, koi_out_header *h, koi_out **out);
/* Data at `at` behind the header. From any thread, but the message of a failure is the calling thread's. */
koine_status koi_out_write(koi_out *f, uint64_t at, const void *data, size_t n);
/* Everything is there: the file takes the name, in place of what had it, at once. Closes in any case. */
koine_status koi_out_finish(koi_out *f);
/* Leaves nothing. */
void koi_out_drop(koi_out *f);
#endif
