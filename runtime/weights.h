/* One view of a checkpoint's tensors: name, dtype, shape, byte range of a mapped file. Level 1: nothing about devices. */
#ifndef KOI_WEIGHTS_H
#define KOI_WEIGHTS_H
#include "base.h"

typedef enum koi_dtype {
  KOI_F32, KOI_F16, KOI_BF16, KOI_F8_E4M3, KOI_F8_E8M0, KOI_I8, KOI_U8, KOI_I32, KOI_I64, KOI_DTYPE_OTHER, KOI_N_DTYPES
} koi_dtype;

#define KOI_MAX_DIMS 8
typedef struct koi_tensor {
  const char *name;
  const char *file;     /* path of the shard that holds it */
  koi_dtype dtype;
  uint32_t n_dims;
  uint64_t shape[KOI_MAX_DIMS];
  const uint8_t *data;  /* mapped */
  size_t bytes;
} koi_tensor;

typedef struct koi_weights koi_weights;

/* Maps every shard of the folder `path` (index or single file) and checks every header. KOINE_ERR_FILE names file and tensor. */
koine_status koi_safetensors_open(const char *path, koi_weights **out);
void koi_weights_close(koi_weights *w);
size_t koi_weights_count(const koi_weights *w);
const koi_tensor *koi_weights_at(const koi_weights *w, size_t i);
/* NULL when absent. A leading "model." in the file's names has been dropped. */
const koi_tensor *koi_weights_find(const koi_weights *w, const char *name);
/* Bytes of one element in the file; 0 for KOI_DTYPE_OTHER. */
size_t koi_dtype_bytes(koi_dtype d);
const char *koi_dtype_name(koi_dtype d); /* as safetensors spells it */
#endif
