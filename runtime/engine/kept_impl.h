/* What the files of kept share. */
#ifndef KOI_KEPT_IMPL_H
#define KOI_KEPT_IMPL_H
#include <pthread.h>
#include "base/newfile.h"
#include "kept.h"

enum { KEPT_DEVICE = 96 };

typedef struct kept_head { /* a file: head, sums of tiles, matrices */
  char magic[8];
  uint64_t model, files;    /* fingerprint; stamp of the checkpoint's files */
  uint64_t shape;           /* of what is in it, and how tiles are read */
  uint64_t bytes, n_tiles;  /* of the file; of tiles and rows */
  char device[KEPT_DEVICE]; /* that it was laid out for first */
  uint32_t tile, number;
  uint64_t sum;             /* of the head with 0 in its place, and of the sums */
} kept_head;

typedef enum kept_state { KEPT_OFF, KEPT_THERE, KEPT_NEW } kept_state;

typedef struct kept_file {
  kept_state state;
  kept_head head;      /* as it has to be */
  uint64_t *sums;      /* [head.n_tiles], bit 0: it needs care */
  char *path;          /* KEPT_THERE: where it was found; KEPT_NEW: where it will be */
  int opened;          /* KEPT_THERE: descriptor and one */
  koi_newfile *f;      /* KEPT_NEW: once it was begun */
  uint64_t left;       /* tiles that were not given yet */
  bool damaged;
} kept_file;

typedef struct kept_place { uint64_t *at; uint64_t tile; } kept_place; /* of a weight in its file: of each matrix [n_units][n_sub]; its first tile */

struct koi_kept {
  const koi_laid_model *l;
  const char *device;
  bool pass;
  char *beside, *cache; /* folders; NULL: there is none */
  const char *used;     /* the one of them that is written to */
  kept_file *files;     /* [n_files]: embedding, rest outside layers, and of each layer all but its routed experts, and those */
  size_t n_files;
  kept_place top[KOI_N_TOP_ROLES], (*layers)[KOI_N_LAYER_ROLES];
  pthread_mutex_t lock; /* of the files' states, and of what is below */
  uint64_t n_kept, kept_bytes, n_bad;
  bool full;            /* something could not be written: nothing more is */
};

/* ---- kept_folder.c ---- */
/* Finds the folders, throws away what is stale, opens the files that are there. */
koine_status koi_kept_find(koi_kept *k);
/* A sum that tells apart bytes that differ. */
uint64_t koi_kept_sum(const void *data, size_t n, uint64_t seed);
uint64_t koi_kept_head_sum(const kept_file *f);
#endif
