/* The table of tensors that a checkpoint reader fills: look-up by name, and the release of what was mapped.
 * Owns: shards' mappings and names. Does not know any file format.
 * Invariant: after koi_weights_seal the tensors are sorted by name, no name occurs twice, and every data range lies in its mapping. */
#include "weights_impl.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static const struct { const char *name; size_t bytes; } dtypes[KOI_N_DTYPES] = {
  [KOI_F32] = {"F32", 4}, [KOI_F16] = {"F16", 2}, [KOI_BF16] = {"BF16", 2}, [KOI_F8_E4M3] = {"F8_E4M3", 1},
  [KOI_F8_E8M0] = {"F8_E8M0", 1}, [KOI_I8] = {"I8", 1}, [KOI_U8] = {"U8", 1}, [KOI_I32] = {"I32", 4},
  [KOI_I64] = {"I64", 8}, [KOI_DTYPE_OTHER] = {"another dtype", 0},
};

size_t koi_dtype_bytes(koi_dtype d) { return dtypes[d].bytes; }
const char *koi_dtype_name(koi_dtype d) { return dtypes[d].name; }
size_t koi_weights_count(const koi_weights *w) { return w->n; }
const koi_tensor *koi_weights_at(const koi_weights *w, size_t i) { return &w->tensors[i]; }
const char *koi_weights_absent(const koi_weights *w) { return w->absent; }
koi_weights_index koi_weights_get_index(const koi_weights *w) { return w->index; }

static int by_name(const void *a, const void *b)
{
  const koi_tensor *x = a, *y = b;
  return strcmp(x->name, y->name);
}

const koi_tensor *koi_weights_find(const koi_weights *w, const char *name)
{
  koi_tensor key = {.name = name};
  return w->n ? bsearch(&key, w->tensors, w->n, sizeof key, by_name) : NULL;
}


koine_status koi_weights_add(koi_weights *w, const koi_tensor *t)
{
  if (w->n == w->cap) {
    size_t cap = w->cap ? w->cap * 2 : 256;
    koi_tensor *p = koi_realloc(w->tensors, cap, sizeof *p);
    if (!p) return KOINE_ERR_MEMORY;
    w->tensors = p, w->cap = cap;
  }
  w->tensors[w->n++] = *t;
  return KOINE_OK;
}

koine_status koi_weights_seal(koi_weights *w)
{
  if (w->n) qsort(w->tensors, w->n, sizeof *w->tensors, by_name);
  for (size_t i = 1; i < w->n; i++) {
    const koi_tensor *a = &w->tensors[i - 1], *b = &w->tensors[i];
    if (strcmp(a->name, b->name)) continue;
    bool same = !strcmp(a->file, b->file);
    return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected every tensor once, found it %s%s", a->file, a->name,
                     same ? "twice (perhaps with and without \"model.\")" : "again in ", same ? "" : b->file);
  }
  return KOINE_OK;
}

void koi_weights_close(koi_weights *w)
{
  if (!w) return;
  for (size_t i = 0; i < w->n_shards; i++) {
    if (w->shards[i].mapped) munmap(w->shards[i].mapped, w->shards[i].bytes);
    koi_free(w->shards[i].path);
    koi_free(w->shards[i].names);
  }
  koi_free(w->shards);
  koi_free(w->tensors);
  koi_free(w->absent);
  koi_free(w);
}
