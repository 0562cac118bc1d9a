/* model.safetensors.index.json: which shard holds which tensor. Owns the map until koi_safetensors_map_free.
 * Invariant: a map that was read names every tensor once and only files of its folder. */
#include "safetensors_impl.h"
#include <stdlib.h>
#include <string.h>

void koi_safetensors_map_free(koi_safetensors_map *m)
{
  koi_free(m->text);
  koi_free(m->links);
  koi_free(m->files);
}

static koine_status add_link(koi_safetensors_map *m, koi_safetensors_place l)
{
  koi_safetensors_place *p = koi_grow(m->links, m->n, &m->cap, sizeof *p);
  if (!p) return KOINE_ERR_MEMORY;
  m->links = p;
  m->links[m->n++] = l;
  return KOINE_OK;
}

static koine_status read_links(koi_safetensors_scan *h, koi_safetensors_map *m)
{
  if (!koi_jscan_open(&h->j, '{')) return koi_safetensors_wrong(h, "weight_map");
  for (size_t n = 0; koi_jscan_more(&h->j, '}', &n);) {
    size_t len;
    char *name = m->text + m->used, *file;
    if (!koi_jscan_key(&h->j, name, m->size - m->used, &len)) break;
    file = name + len + 1, m->used += len + 1;
    if (!koi_jscan_string(&h->j, file, m->size - m->used, &len)) break;
    m->used += len + 1;
    if (!koi_safetensors_printable(name) || !koi_safetensors_printable(file)) return koi_error(KOINE_ERR_FILE, "%s: byte %zu: a name has a control character", h->file, h->j.at);
    if (!*file || strchr(file, '/') || !strcmp(file, ".") || !strcmp(file, ".."))
      return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected the name of a file in this folder, found \"%.200s\"", h->file, name, file);
    koine_status s = add_link(m, (koi_safetensors_place){koi_safetensors_bare(name), file});
    if (s) return s;
  }
  return h->j.wrong ? koi_safetensors_wrong(h, "weight_map") : KOINE_OK;
}

/* total_size is a hint: one that is no integer counts as absent. */
static koine_status read_total(koi_safetensors_scan *h, uint64_t *total)
{
  if (koi_jscan_peek(&h->j) != '{') return koi_jscan_skip(&h->j) ? KOINE_OK : koi_safetensors_wrong(h, "metadata");
  h->j.at++;
  for (size_t n = 0; koi_jscan_more(&h->j, '}', &n);) {
    char key[64];
    if (!koi_jscan_key(&h->j, key, sizeof key, NULL)) break;
    koi_jscan probe = h->j;
    if (!strcmp(key, "total_size")) koi_jscan_u64(&probe, total);
    if (!koi_jscan_skip(&h->j)) break;
  }
  return h->j.wrong ? koi_safetensors_wrong(h, "metadata") : KOINE_OK;
}

static int by_link(const void *a, const void *b) { return strcmp(((const koi_safetensors_place *)a)->name, ((const koi_safetensors_place *)b)->name); }
static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* Sorts the links, refuses doubles, lists the files. */
static koine_status order(const koi_safetensors_scan *h, koi_safetensors_map *m)
{
  if (!m->n) return koi_error(KOINE_ERR_FILE, "%s: expected a weight_map with tensors, found none", h->file);
  qsort(m->links, m->n, sizeof *m->links, by_link);
  for (size_t i = 1; i < m->n; i++)
    if (!strcmp(m->links[i - 1].name, m->links[i].name))
      return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected every tensor once, found it twice (perhaps with and without \"model.\")", h->file,
                       m->links[i].name);
  if (!(m->files = koi_alloc(m->n, sizeof *m->files))) return KOINE_ERR_MEMORY;
  for (size_t i = 0; i < m->n; i++) m->files[i] = m->links[i].file;
  qsort(m->files, m->n, sizeof *m->files, by_text);
  for (size_t i = 0; i < m->n; i++)
    if (!m->n_files || strcmp(m->files[m->n_files - 1], m->files[i])) m->files[m->n_files++] = m->files[i];
  return KOINE_OK;
}

koine_status koi_safetensors_index(koi_weights *w, const char *file, const char *text, size_t n, koi_safetensors_map *m)
{
  koi_safetensors_scan h = {.file = file, .part = "index", .j = {.s = text, .n = n}};
  bool seen = false;
  koine_status s = KOINE_OK;
  m->size = n + 1;
  if (!(m->text = koi_alloc(m->size, 1))) return KOINE_ERR_MEMORY;
  if (!koi_jscan_open(&h.j, '{')) return koi_safetensors_wrong(&h, NULL);
  for (size_t i = 0; !s && koi_jscan_more(&h.j, '}', &i);) {
    char key[64];
    if (!koi_jscan_key(&h.j, key, sizeof key, NULL)) break;
    if (!strcmp(key, "metadata")) s = read_total(&h, &w->index.total_bytes);
    else if (strcmp(key, "weight_map")) s = koi_jscan_skip(&h.j) ? KOINE_OK : koi_safetensors_wrong(&h, NULL);
    else if (seen) s = koi_error(KOINE_ERR_FILE, "%s: expected one weight_map, found two", file);
    else s = read_links(&h, m), seen = true;
  }
  if (!s && !koi_jscan_end(&h.j)) s = koi_safetensors_wrong(&h, NULL);
  if (!s) s = order(&h, m);
  if (s) return s;
  w->index.n_tensors = m->n, w->index.n_files = m->n_files;
  for (size_t i = 0; i < m->n; i++) w->index.n_mtp += !strncmp(m->links[i].name, "mtp.", 4);
  return KOINE_OK;
}

koine_status koi_safetensors_check_map(const koi_weights *w, const koi_safetensors_map *m, const char *index)
{
  for (size_t i = 0; i < m->n; i++) {
    const koi_tensor *t = koi_weights_find(w, m->links[i].name);
    if (!t) return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected in %s, found in no shard", index, m->links[i].name, m->links[i].file);
    const char *slash = strrchr(t->file, '/'), *name = slash ? slash + 1 : t->file;
    if (strcmp(name, m->links[i].file))
      return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected in %s by the index, found here", t->file, t->name, m->links[i].file);
  }
  if (w->n > m->n) koi_log(KOINE_LOG_WARNING, "%s: %zu tensors are in the shards but not in this index", index, w->n - m->n);
  return KOINE_OK;
}
