/* How fast experts come from their checkpoint and are laid out, by the threads that a run would have: past the page cache, and out of it. Owns nothing. */
#include "engine/ahead.h"
#include "measure.h"

enum { ENOUGH = 96 << 20, THREADS = 6, TILE = 16 };

/* What the first of a layer's experts are stored in leaves the page cache. */
static void let_go(const koine_model *m, uint32_t layer)
{
  const koi_weight *w = &m->layers[layer].w[KOI_W_expert_up];
  uint64_t bytes = 0;
  for (uint32_t u = 0; u < w->n_units && bytes < 2 * ENOUGH; u++)
    for (uint32_t s = 0; s < w->n_sub; s++) {
      const koi_piece *p = koi_weight_piece(w, u, s);
      if (p->weight) koi_tensor_pass(p->weight, 0, (size_t)p->weight->bytes), bytes += p->weight->bytes;
    }
}

static uint64_t bytes_of(const koi_laid_model *l, const koi_span *s)
{
  uint64_t bytes = 0;
  for (int i = 0; i < KOI_MAX_STREAMS; i++) bytes += koi_span_bytes(l, s, i);
  return bytes;
}

/* Bytes a second; 0: they cannot be read. */
static double rate_of(const koi_laid_model *l, uint32_t n_threads)
{
  koi_ahead *a = NULL;
  koine_status s = koi_ahead_open(l, NULL, n_threads, false, &a);
  uint64_t bytes = 0, start = koi_now_ns();
  while (!s && bytes < ENOUGH) {
    const koi_piece_read *p = koi_ahead_next(a, &s);
    if (!p) break;
    bytes += bytes_of(l, &p->span);
  }
  double seconds = 1e-9 * (double)(koi_now_ns() - start);
  koi_ahead_close(a);
  return s || !bytes ? 0 : (double)bytes / seconds;
}

void koi_measure_disk(const koine_model *m, uint32_t n_threads, koi_site *site)
{
  uint32_t layer = m->config.n_layers / 2;
  koi_laid_model *l = NULL;
  if (!m->weights || koi_lay_share(m, 0, TILE, &(koi_share){.layer0 = layer, .layer1 = layer + 1, .of = KOI_OF_EXPERTS}, &l)) return;
  let_go(m, layer);
  double disk = rate_of(l, n_threads < THREADS ? n_threads : THREADS), cached = rate_of(l, n_threads < THREADS ? n_threads : THREADS);
  if (disk > 0 && cached > 0) site->disk_per_s = disk, site->cached_per_s = cached;
  koi_lay_free(l);
}
