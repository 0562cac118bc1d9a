/* See disk_index.h. Owns the list. Invariant: each name is in it once. */
#include "disk_index.h"
#include <stdlib.h>
#include <string.h>

uint64_t *serve_index_hashes(const int32_t *tokens, size_t n)
{
  uint64_t *v = malloc((n / SERVE_BLOCK + 1) * sizeof *v), h = 0xcbf29ce484222325u;
  for (size_t i = 0; v && i < n / SERVE_BLOCK * SERVE_BLOCK; i++) {
    h = (h ^ (uint32_t)tokens[i]) * 0x9e3779b97f4a7c15u;
    h ^= h >> 32;
    v[i / SERVE_BLOCK] = h;
  }
  return v;
}

static size_t common(const serve_file *f, const uint64_t *hashes, size_t n_tokens)
{
  for (size_t i = f->n_marks; i-- > 0;)
    if (f->mark[i].at <= n_tokens && f->mark[i].hash == hashes[f->mark[i].at / SERVE_BLOCK - 1]) return f->mark[i].at;
  return 0;
}

static bool is_later(const serve_file *a, const serve_file *b)
{
  return a->used.tv_sec != b->used.tv_sec ? a->used.tv_sec > b->used.tv_sec : a->used.tv_nsec > b->used.tv_nsec;
}

serve_file *serve_index_find(const serve_index *x, const uint64_t *hashes, size_t n_tokens, size_t *at)
{
  serve_file *best = NULL;
  *at = 0;
  for (size_t i = 0; i < x->n; i++) {
    serve_file *f = &x->file[i];
    size_t n = common(f, hashes, n_tokens);
    if (n > *at || (best && n == *at && is_later(f, best))) best = f, *at = n;
  }
  return best;
}

serve_file *serve_index_named(const serve_index *x, const char *name)
{
  for (size_t i = 0; i < x->n; i++)
    if (!strcmp(x->file[i].name, name)) return &x->file[i];
  return NULL;
}

bool serve_index_add(serve_index *x, const serve_file *f)
{
  if (x->n == x->cap) {
    size_t cap = 2 * x->cap + 16;
    serve_file *more = realloc(x->file, cap * sizeof *more);
    if (!more) return false;
    x->file = more, x->cap = cap;
  }
  x->file[x->n++] = *f;
  return true;
}

void serve_index_remove(serve_index *x, serve_file *f) { *f = x->file[--x->n]; }

serve_file *serve_index_oldest(const serve_index *x)
{
  serve_file *oldest = NULL;
  for (size_t i = 0; i < x->n; i++)
    if (!oldest || is_later(oldest, &x->file[i])) oldest = &x->file[i];
  return oldest;
}

uint64_t serve_index_bytes(const serve_index *x)
{
  uint64_t n = 0;
  for (size_t i = 0; i < x->n; i++) n += x->file[i].bytes;
  return n;
}
