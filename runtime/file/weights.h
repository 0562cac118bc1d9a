/* One view of a checkpoint's tensors: name, dtype, shape, byte range of a mapped file: nothing about devices. */
#ifndef KOI_WEIGHTS_H
#define KOI_WEIGHTS_H
#include "base/base.h"

typedef enum koi_dtype {
  KOI_F32, KOI_F16, KOI_BF16, KOI_F8_E4M3, KOI_F8_E8M0, KOI_I8, KOI_U8, KOI_I32, KOI_I64,
  /* of GGUF: blocks of values with their scales */
  KOI_Q4_0, KOI_Q4_1, KOI_Q5_0, KOI_Q5_1, KOI_Q8_0, KOI_Q2_K, KOI_Q3_K, KOI_Q4_K, KOI_Q5_K, KOI_Q6_K, KOI_IQ2_XXS, KOI_IQ2_XS, KOI_IQ2_S,
  KOI_IQ3_XXS, KOI_IQ3_S, KOI_IQ1_S, KOI_IQ1_M, KOI_IQ4_NL, KOI_IQ4_XS, KOI_MXFP4, KOI_NVFP4, KOI_TQ1_0, KOI_TQ2_0, KOI_Q1_0, KOI_Q2_0,
  KOI_DTYPE_OTHER, KOI_N_DTYPES
} koi_dtype;

#define KOI_MAX_DIMS 8
/* Nothing promises that data is aligned to its elements: read it through memcpy or as bytes. */
typedef struct koi_tensor {
  const char *name;
  const char *stored;   /* its name in the file where that is another; else NULL */
  const char *file;     /* path of the shard that holds it */
  koi_dtype dtype;
  uint32_t n_dims;
  uint64_t shape[KOI_MAX_DIMS];
  const uint8_t *data;  /* mapped: touching it ends the process where the file cannot be read or became shorter; koi_tensor_read does not */
  size_t bytes;
  uint64_t offset;      /* in the file */
  int opened;           /* the file's descriptor and one; 0: the bytes are memory of the caller's */
} koi_tensor;

/* What people find it by. */
static inline const char *koi_tensor_name(const koi_tensor *t) { return t->stored ? t->stored : t->name; }

/* n bytes of a tensor from byte `at` on. KOINE_ERR_FILE names file and tensor when they cannot be read or the file ends before them. Any thread. */
koine_status koi_tensor_read(const koi_tensor *t, uint64_t at, size_t n, void *to);
/* Bytes that were read and will not be again soon: they need no place in the page cache, where other programs' files lie. */
void koi_tensor_pass(const koi_tensor *t, uint64_t at, size_t n);

typedef struct koi_weights koi_weights;

/* Maps every shard of the folder `path` (index or single file) and checks every header. KOINE_ERR_FILE names file and tensor.
 * A folder that holds none of the files opens too, with no tensors: koi_weights_absent then says what is not there. */
koine_status koi_safetensors_open(const char *path, koi_weights **out);
/* One file, whatever its tensors are called. */
koine_status koi_safetensors_open_file(const char *file, koi_weights **out);
/* The same on a file's bytes in memory, which must outlive *out. `name` stands for the file in messages. */
koine_status koi_safetensors_open_memory(const void *data, size_t bytes, const char *name, koi_weights **out);
void koi_weights_close(koi_weights *w);
/* KOINE_ERR_FILE names a file that was written to since it was opened, so that what was read of it may be of two files. */
koine_status koi_weights_check(const koi_weights *w);
/* Tells apart files that were written at different times, or are called otherwise. */
uint64_t koi_weights_stamp(const koi_weights *w);
size_t koi_weights_count(const koi_weights *w);
const koi_tensor *koi_weights_at(const koi_weights *w, size_t i);
/* NULL when absent. A leading "model." in the file's names has been dropped. */
const koi_tensor *koi_weights_find(const koi_weights *w, const char *name);
/* A tensor's new name; empty: it keeps its own. n not 0: it is a stack of n, cut along its first dimension, of which each is called name, its
 * number, and behind. */
typedef struct koi_weights_name {
  char name[96];
  const char *behind;
  uint64_t n;
} koi_weights_name;
typedef koine_status koi_weights_name_fn(void *user, const koi_tensor *t, koi_weights_name *out);
/* Renames what fn says; what tensors were called before stays as `stored`. Every pointer to a tensor of w becomes invalid. */
koine_status koi_weights_rename(koi_weights *w, koi_weights_name_fn *fn, void *user);
/* NULL when the tensors are there; else the path of the first file that is missing (then all are). */
const char *koi_weights_absent(const koi_weights *w);
/* What the index says, whether or not the shards are there; zeros without an index. */
typedef struct koi_weights_index {
  size_t n_tensors, n_mtp, n_files;
  uint64_t total_bytes; /* metadata.total_size, 0 unknown */
} koi_weights_index;
koi_weights_index koi_weights_get_index(const koi_weights *w);
/* Bytes of one element, or of one block, in the file; 0 for KOI_DTYPE_OTHER. */
size_t koi_dtype_bytes(koi_dtype d);
/* Values of a block, along the last dimension of a shape, which counts values; 0: elements, not blocks. */
size_t koi_dtype_values(koi_dtype d);
const char *koi_dtype_name(koi_dtype d); /* as safetensors or GGUF spells it; "another dtype" for KOI_DTYPE_OTHER */
#endif
