/* Between the readers of a format and weights.c: what a koi_weights is made of. */
#ifndef KOI_WEIGHTS_IMPL_H
#define KOI_WEIGHTS_IMPL_H
#include "weights.h"

typedef struct koi_shard {
  char *path;
  void *mapped;        /* NULL: the bytes are the caller's */
  const uint8_t *data; /* [bytes] */
  size_t bytes;
  size_t held;         /* bytes at its beginning that were read and are memory, not the file's pages */
  int opened;          /* descriptor and one; 0: none */
  int64_t changed[2];  /* when it was written last, as it was opened: seconds, ns */
  char *names;         /* the tensors' names point into it */
} koi_shard;

enum { KOI_WEIGHTS_NAME = 128 };
struct koi_weights {
  koi_shard *shards; /* [n_shards] */
  koi_tensor *tensors; /* [n] of cap */
  size_t n_shards, n, cap;
  koi_weights_index index;
  char (*renamed)[KOI_WEIGHTS_NAME]; /* [n] names that koi_weights_rename gave; NULL: none */
  char *absent; /* see koi_weights_absent */
  bool may_end; /* a file may end before its tensors do, which is then `absent` */
};

/* Adds a shard for `path` (taken over); NULL when memory is out. */
koi_shard *koi_shard_add(koi_weights *w, char *path);
/* Maps the regular file shard->path. */
koine_status koi_shard_map(koi_shard *shard);
/* The first `bytes` may be touched from now on, whatever happens to the file: what headers are read from. */
koine_status koi_shard_hold(koi_shard *shard, size_t bytes);
koine_status koi_weights_add(koi_weights *w, const koi_tensor *t);
/* Sorts; refuses a name that occurs twice. */
koine_status koi_weights_seal(koi_weights *w);
#endif
