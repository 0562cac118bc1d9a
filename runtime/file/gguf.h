/* GGUF files: their tensors as koi_weights, and the metadata before them: typed values by key. Knows no architecture. */
#ifndef KOI_GGUF_H
#define KOI_GGUF_H
#include "weights.h"

typedef enum koi_gguf_type { /* as the file numbers them */
  KOI_GGUF_U8, KOI_GGUF_I8, KOI_GGUF_U16, KOI_GGUF_I16, KOI_GGUF_U32, KOI_GGUF_I32, KOI_GGUF_F32, KOI_GGUF_BOOL, KOI_GGUF_STRING, KOI_GGUF_ARRAY,
  KOI_GGUF_U64, KOI_GGUF_I64, KOI_GGUF_F64, KOI_N_GGUF_TYPES
} koi_gguf_type;

/* A value: n items of a type; a single one unless `array`. Strings are a length (8 bytes) and bytes each, checked to lie within the file. */
typedef struct koi_gguf_value {
  const char *key;
  koi_gguf_type type; /* of the items */
  bool array;
  uint64_t n;
  const uint8_t *data; /* [bytes], mapped */
  size_t bytes;
} koi_gguf_value;

typedef struct koi_gguf koi_gguf;

/* Whether the file begins as GGUF does; false for what cannot be read. */
bool koi_gguf_is(const char *path);
/* Maps a file, of a split model the first: the others are found beside it by their names. Every count, length, type and offset is checked.
 * The shapes of tensors have the slowest dimension first. KOINE_ERR_FILE names file, key or tensor. */
koine_status koi_gguf_open(const char *path, koi_gguf **out);
/* The same of a file that may end anywhere behind its header, as one does that is not all here yet: koi_weights_absent then says so, and no data
 * of its tensors may be read. They lie one behind the other: a file that ends early and has others is refused. */
koine_status koi_gguf_open_header(const char *path, koi_gguf **out);
/* One file's bytes, which must outlive *out; `name` stands for the file in messages. */
koine_status koi_gguf_open_memory(const void *data, size_t bytes, const char *name, koi_gguf **out);
void koi_gguf_close(koi_gguf *g);
const char *koi_gguf_path(const koi_gguf *g);
const koi_weights *koi_gguf_weights(const koi_gguf *g);
/* Gives the tensors away, to be closed by their new owner. The metadata point into them. */
koi_weights *koi_gguf_take(koi_gguf *g);

size_t koi_gguf_count(const koi_gguf *g);
const koi_gguf_value *koi_gguf_at(const koi_gguf *g, size_t i); /* by key */
const koi_gguf_value *koi_gguf_find(const koi_gguf *g, const char *key); /* NULL: there is none */
/* ggml's number of what tensors are stored as: -1 where it has none for it, or what is stored has no size that is known. */
int32_t koi_gguf_dtype_number(koi_dtype d);
const char *koi_gguf_type_name(koi_gguf_type t);
/* Item i of a value whose items have one size, as a number; false: they are strings, or there is no such item. Integers beyond 2^53 lose digits. */
bool koi_gguf_number(const koi_gguf_value *v, uint64_t i, double *out);
/* The same as an integer; false also for floats, and for numbers beyond INT64_MAX. */
bool koi_gguf_int(const koi_gguf_value *v, uint64_t i, int64_t *out);
/* Strings one after the other. Start with {.value = v}; false: no more, or v has no strings. They need not be UTF-8. */
typedef struct koi_gguf_cursor {
  const koi_gguf_value *value;
  uint64_t i; /* of the next */
  size_t at;
} koi_gguf_cursor;
bool koi_gguf_string(koi_gguf_cursor *c, const char **s, size_t *n);
#endif
