/* A small checkpoint in memory that tests bend before they write it out again. */
#ifndef REMAKE_H
#define REMAKE_H
#include "model/model.h"

typedef struct item {
  char name[160], dtype[16];
  uint64_t shape[KOI_MAX_DIMS];
  uint32_t n_dims;
  uint8_t *data; /* [bytes], owned */
  size_t bytes;
} item;

typedef struct remake {
  item *items; /* [n] */
  size_t n;
} remake;

/* Every tensor of folder/model.safetensors. Aborts the test program on failure: the folder is the tests' own. */
remake remake_load(const char *folder);
void remake_free(remake *r);
item *remake_find(remake *r, const char *name); /* must be there */
void remake_drop(remake *r, const char *name);
item *remake_add(remake *r, const char *name, const char *dtype, const uint64_t *shape, uint32_t n_dims, size_t bytes); /* zeros */
/* Changes a float tensor's precision: "F32" from BF16, or "F16" from BF16 or F32 (values must be ordinary). */
void remake_widen(item *t, const char *dtype);
/* Items [from, to) as a safetensors file. */
void remake_write(const remake *r, size_t from, size_t to, const char *path);
/* model.safetensors in `folder`. */
void remake_write_all(const remake *r, const char *folder);

/* A folder under the system's temporary folder; the path is the caller's. remake_rmdir deletes it and the files in it. */
char *remake_mkdir(void);
void remake_rmdir(char *folder);
void remake_put(const char *folder, const char *file, const void *data, size_t bytes);
/* "tests/data/NAME" wherever the tests run. */
const char *remake_data(const char *name);
/* The config.json of tests/data/NAME into `folder`. */
void remake_config(const char *folder, const char *name);
/* Writes the checkpoint beside tiny-quant's config and opens it. */
koine_status remake_open(const remake *r, koine_model **m);
/* Fails the test unless s is KOINE_ERR_FILE and the message one line that has `fragment`; `what` was tried. */
void remake_refused(koine_status s, const char *fragment, const char *what);
#endif
