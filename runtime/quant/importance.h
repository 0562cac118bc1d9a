/* Importance: of each matrix of a product the sums of squares of what its columns met while a text was read, experts apart. By names of GGUF. */
#ifndef KOI_IMPORTANCE_H
#define KOI_IMPORTANCE_H
#include "engine/session.h"

typedef struct koi_importance_entry {
  char *name;      /* of the tensor */
  uint64_t k, n;   /* columns; matrices: experts, else 1 */
  float *sum;      /* [n][k] */
  float *count;    /* [n] rows that were met */
} koi_importance_entry;

struct koine_importance {
  koi_importance_entry *v; /* [n_entries] */
  size_t n_entries;
  uint64_t n_tokens, segment; /* that were read, in pieces of so many */
};

void koi_importance_free(koine_importance *m);
/* NULL: nothing is known of it. */
const koi_importance_entry *koi_importance_find(const koine_importance *m, const char *name);
/* llama.cpp's GGUF form. KOINE_ERR_FILE. */
koine_status koi_importance_load(const char *path, koine_importance **out);
koine_status koi_importance_save(const koine_importance *m, const char *path);

/* ---- importance_collect.c ---- */
/* Makes the entries for what a model's products may be stored in, all zeros. */
koine_status koi_importance_make(const koine_model *model, koine_importance **out);
/* What evaluations of the session meet is added up, as long as it is watched; each chunk is slower then. */
typedef struct koi_importance_watch {
  koine_importance *m;
  size_t n_layers;
  int32_t *at;     /* [n_layers][KOI_N_LAYER_ROLES][2] entry, -1: none */
  uint32_t wide;   /* the part of weights that a library's product is about to read */
  uint8_t *room;   /* of what is read back */
  size_t bytes;
} koi_importance_watch;
koine_status koi_importance_begin(koine_importance *m, const koine_model *model, koi_importance_watch *w, koi_watch *out);
void koi_importance_end(koi_importance_watch *w);
#endif
