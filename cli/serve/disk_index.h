/* What is known of a folder of conversations without reading their files: how far each goes, as hashes of the beginnings that it can go on from. */
#ifndef SERVE_DISK_INDEX_H
#define SERVE_DISK_INDEX_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

enum { SERVE_BLOCK = 128 /* positions between two marks */, SERVE_MARKS = 64, SERVE_NAME = 48 };

typedef struct serve_file {
  char name[SERVE_NAME];
  uint64_t bytes;
  struct timespec used;
  size_t n_marks; /* 0: no conversation of this model */
  struct { size_t at; uint64_t hash; } mark[SERVE_MARKS]; /* ascending */
} serve_file;

typedef struct serve_index {
  serve_file *file; /* [n] */
  size_t n, cap;
} serve_index;

/* Hashes of the first 128, 256, ... of n tokens, [n / 128] and one more; NULL without memory. */
uint64_t *serve_index_hashes(const int32_t *tokens, size_t n);
/* The file that goes farthest into these tokens, and how far; NULL: none. Of those that go as far, the one used last. */
serve_file *serve_index_find(const serve_index *x, const uint64_t *hashes, size_t n_tokens, size_t *at);
serve_file *serve_index_named(const serve_index *x, const char *name);
bool serve_index_add(serve_index *x, const serve_file *f);
void serve_index_remove(serve_index *x, serve_file *f);
serve_file *serve_index_oldest(const serve_index *x);
uint64_t serve_index_bytes(const serve_index *x);
#endif
