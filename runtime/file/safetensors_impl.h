/* What the files of the safetensors reader share. */
#ifndef KOI_SAFETENSORS_IMPL_H
#define KOI_SAFETENSORS_IMPL_H
#include "base/jscan.h"
#include "weights_impl.h"

typedef struct koi_safetensors_scan { /* one header or index being read */
  const char *file, *part;
  koi_jscan j;
  char *names; /* room for every name of the header */
  size_t used;
  const uint8_t *data; /* behind the header */
  size_t data_bytes;
  uint64_t start; /* of the data in the file */
  int opened;     /* as the shard's */
} koi_safetensors_scan;

typedef struct koi_safetensors_place { const char *name, *file; } koi_safetensors_place; /* one entry of weight_map */

typedef struct koi_safetensors_map { /* an index */
  char *text; /* names and files of the links */
  size_t used, size;
  koi_safetensors_place *links; /* [n] of cap */
  size_t n, cap;
  const char **files; /* [n_files], sorted, each once */
  size_t n_files;
} koi_safetensors_map;

/* ---- safetensors_header.c ---- */
/* Reads the header of `shard`, whose path, data and bytes are set, into the table. */
koine_status koi_safetensors_header(koi_weights *w, koi_shard *shard);
/* What is wrong with the JSON, in `name` of the part; what the scan stopped at is set. */
koine_status koi_safetensors_wrong(const koi_safetensors_scan *h, const char *name);
/* A name that can stand in a one-line message. */
bool koi_safetensors_printable(const char *s);
/* Where a tensor's name begins in the table: without a leading "model.". */
const char *koi_safetensors_bare(const char *name);

/* ---- safetensors_index.c ---- */
/* Reads an index's text into *m, which is zeros, and what it counts into w->index. *m is to be freed whatever comes back. */
koine_status koi_safetensors_index(koi_weights *w, const char *file, const char *text, size_t n, koi_safetensors_map *m);
/* Every tensor lies where the index says. */
koine_status koi_safetensors_check_map(const koi_weights *w, const koi_safetensors_map *m, const char *index);
void koi_safetensors_map_free(koi_safetensors_map *m);
#endif
