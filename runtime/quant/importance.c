/* Importance as data: made, found, and in llama.cpp's file: NAME.in_sum2 [n][k] and NAME.counts [n][1], both F32. Owns its entries.
 * Invariant: what was loaded has finite sums, none below zero. */
#include "importance.h"
#include <math.h>
#include <string.h>
#include "out.h"

void koi_importance_free(koine_importance *m)
{
  if (!m) return;
  for (size_t i = 0; i < m->n_entries; i++) {
    koi_free(m->v[i].name);
    koi_free(m->v[i].sum);
    koi_free(m->v[i].count);
  }
  koi_free(m->v);
  koi_free(m);
}

const koi_importance_entry *koi_importance_find(const koine_importance *m, const char *name)
{
  for (size_t i = 0; i < m->n_entries; i++)
    if (!strcmp(m->v[i].name, name)) return &m->v[i];
  return NULL;
}

/* ---- loading ---- */
static bool all_fine(const float *v, uint64_t n)
{
  for (uint64_t i = 0; i < n; i++)
    if (!isfinite(v[i]) || v[i] < 0) return false;
  return true;
}

static koine_status load_one(const koi_gguf *g, const koi_tensor *sums, size_t prefix, koi_importance_entry *e)
{
  char *counts = koi_format("%.*s.counts", (int)prefix, sums->name);
  const koi_tensor *t = counts ? koi_weights_find(koi_gguf_weights(g), counts) : NULL;
  koi_free(counts);
  e->name = koi_format("%.*s", (int)prefix, sums->name);
  e->k = sums->shape[sums->n_dims - 1], e->n = sums->n_dims > 1 ? sums->shape[sums->n_dims - 2] : 1;
  bool right = sums->dtype == KOI_F32 && sums->n_dims <= 3 && sums->bytes == e->k * e->n * 4 && t && t->dtype == KOI_F32 && t->bytes == e->n * 4;
  if (!right) return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected F32 [matrices][columns] and a count for each matrix beside it", koi_gguf_path(g), sums->name);
  e->sum = koi_alloc(e->k * e->n, sizeof *e->sum), e->count = koi_alloc(e->n, sizeof *e->count);
  if (!e->name || !e->sum || !e->count) return KOINE_ERR_MEMORY;
  koine_status s = koi_tensor_read(sums, 0, sums->bytes, e->sum);
  if (!s) s = koi_tensor_read(t, 0, t->bytes, e->count);
  if (s) return s;
  if (all_fine(e->sum, e->k * e->n) && all_fine(e->count, e->n)) return KOINE_OK;
  return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected finite sums of squares, found others", koi_gguf_path(g), sums->name);
}

static koine_status load_all(const koi_gguf *g, koine_importance *m)
{
  static const char end[] = ".in_sum2";
  const koi_weights *w = koi_gguf_weights(g);
  koine_status s = (m->v = koi_alloc(koi_weights_count(w) + 1, sizeof *m->v)) ? KOINE_OK : KOINE_ERR_MEMORY;
  for (size_t i = 0; i < koi_weights_count(w) && !s; i++) {
    const koi_tensor *t = koi_weights_at(w, i);
    size_t n = strlen(t->name), tail = sizeof end - 1;
    if (n > tail && !strcmp(t->name + n - tail, end)) s = load_one(g, t, n - tail, &m->v[m->n_entries++]);
  }
  if (!s && !m->n_entries) s = koi_error(KOINE_ERR_FILE, "%s: expected an importance matrix, tensors named *.in_sum2 and *.counts, found none", koi_gguf_path(g));
  return s;
}

koine_status koi_importance_load(const char *path, koine_importance **out)
{
  koi_gguf *g;
  koine_status s = koi_gguf_open(path, &g);
  if (s) return s;
  koine_importance *m = koi_alloc(1, sizeof *m);
  s = m ? load_all(g, m) : KOINE_ERR_MEMORY;
  koi_gguf_close(g);
  if (s) koi_importance_free(m);
  else *out = m;
  return s;
}

/* ---- saving ---- */
koine_status koi_importance_save(const koine_importance *m, const char *path)
{
  koi_out_header h = {0};
  koi_out *f;
  uint64_t at = 0, segment = m->segment ? m->segment : 256;
  char name[256];
  koi_out_text(&h, "general.type", "imatrix");
  koi_out_array(&h, "imatrix.datasets", KOI_GGUF_STRING, 1);
  koi_out_string(&h.keys, "text", 4);
  koi_out_u32(&h, "imatrix.chunk_count", (uint32_t)((m->n_tokens + segment - 1) / segment));
  koi_out_u32(&h, "imatrix.chunk_size", (uint32_t)segment);
  for (size_t i = 0; i < m->n_entries; i++) {
    const koi_importance_entry *e = &m->v[i];
    koi_print(name, sizeof name, "%.200s.in_sum2", e->name);
    koi_out_tensor(&h, name, (uint64_t[]){e->k, e->n}, 2, koi_out_type(KOI_WT_F32), e->k * e->n * 4);
    koi_print(name, sizeof name, "%.200s.counts", e->name);
    koi_out_tensor(&h, name, (uint64_t[]){1, e->n}, 2, koi_out_type(KOI_WT_F32), e->n * 4);
  }
  koine_status s = koi_out_open(path, &h, &f);
  koi_out_header_free(&h);
  if (s) return s;
  for (size_t i = 0; i < m->n_entries && !s; i++) {
    const koi_importance_entry *e = &m->v[i];
    s = koi_out_write(f, at, e->sum, e->k * e->n * 4);
    at += (e->k * e->n * 4 + 31) / 32 * 32;
    if (!s) s = koi_out_write(f, at, e->count, e->n * 4);
    at += (e->n * 4 + 31) / 32 * 32;
  }
  if (!s) return koi_out_finish(f);
  koi_out_drop(f);
  return s;
}
