/* What a history is, in pieces that a file can hold, and a history made of them. See history.h.
 * Invariant: pieces and their order follow from the caches and the marks alone. While pieces come, marks are new ones, so that nobody gives them up. */
#include <string.h>
#include "history_impl.h"

/* ---- which pieces ---- */
static size_t window_pages(const koi_caches *c) { return c->kinds[0].n_layers ? koi_ceil_div(c->config->window, KOI_PAGE) : 0; }

static const koi_ratio *ratio_of(const koi_caches *c, size_t kind)
{
  size_t i = 0;
  while ((size_t)c->ratios[i].state != kind) i++;
  return &c->ratios[i];
}

/* Pieces of a kind at a mark; of rows that only grow, those up to the last mark come with it. */
static size_t pieces_at(const koi_caches *c, size_t kind, const uint64_t *marks, size_t n, size_t mark)
{
  const koi_cache_kind *k = &c->kinds[kind];
  size_t window = window_pages(c);
  if (!k->n_layers) return 0;
  switch (k->type) {
  case KOI_CACHE_WINDOW: return marks[mark] / KOI_PAGE < window ? (size_t)(marks[mark] / KOI_PAGE) : window;
  case KOI_CACHE_STATE: return koi_caches_carries(ratio_of(c, kind), marks[mark]);
  default: return mark + 1 == n ? (size_t)koi_ceil_div(marks[mark] / k->ratio, KOI_PAGE) : 0;
  }
}

koine_status koi_history_pieces(const koi_caches *c, const uint64_t *marks, size_t n_marks, koi_pieces *out)
{
  size_t n = 0;
  for (size_t k = 0; k < c->n_kinds; k++)
    for (size_t m = 0; m < n_marks; m++) n += pieces_at(c, k, marks, n_marks, m);
  koi_piece_at *v = koi_alloc(n + 1, sizeof *v);
  if (!v) return KOINE_ERR_MEMORY;
  *out = (koi_pieces){.v = v};
  for (size_t k = 0; k < c->n_kinds; k++)
    for (size_t m = 0; m < n_marks; m++)
      for (size_t i = 0, own = pieces_at(c, k, marks, n_marks, m); i < own; i++) {
        v[out->n++] = (koi_piece_at){.kind = k, .mark = m, .nth = i};
        out->bytes += c->kinds[k].page_bytes;
        if (c->kinds[k].page_bytes > out->most_bytes) out->most_bytes = c->kinds[k].page_bytes;
      }
  return KOINE_OK;
}

/* Where a history has the page or slot of a piece, of the mark at `at`; NULL: it has no such mark, or no room for such rows. */
static int32_t *page_of(koi_history *h, const koi_piece_at *p, uint64_t at)
{
  size_t i = 0, n = h->n_marks + h->n_new;
  while (i < n && h->marks[i].at != at) i++;
  koi_mark *m = i < n ? &h->marks[i] : NULL;
  switch (h->caches->kinds[p->kind].type) {
  case KOI_CACHE_WINDOW: return m ? &m->window[h->n_window - (at / KOI_PAGE < h->n_window ? (size_t)(at / KOI_PAGE) : h->n_window) + p->nth] : NULL;
  case KOI_CACHE_STATE: return m ? &m->slots[ratio_of(h->caches, p->kind) - h->caches->ratios] : NULL;
  default: return p->nth < koi_history_entries(h, p->kind) ? &h->pages[(size_t)h->table_at[p->kind] + p->nth] : NULL;
  }
}

koine_status koi_history_read(koi_history *h, const koi_piece_at *p, uint64_t at, void *to)
{
  const int32_t *page = page_of(h, p, at);
  if (!page || *page == KOI_NO_PAGE) return koi_error(KOINE_ERR_STATE, "what position %llu needs was given up for other sessions' memory", (unsigned long long)at);
  return koi_pool_read(koi_history_pool(h, p->kind), *page, to);
}

/* ---- a history of them ---- */
static koine_status make_marks(koi_history *h, const uint64_t *marks, size_t n)
{
  size_t n_pages = h->n_window + h->caches->n_ratios;
  for (size_t i = 0; i < n; i++) {
    int32_t *pages = koi_alloc(n_pages + 1, sizeof *pages);
    if (!pages) return KOINE_ERR_MEMORY;
    for (size_t k = 0; k < n_pages; k++) pages[k] = KOI_NO_PAGE;
    h->marks[h->n_new++] = (koi_mark){marks[i], pages, pages + h->n_window};
  }
  return KOINE_OK;
}

size_t koi_history_most_marks(const koi_history *h) { return h->max_marks ? h->max_marks : 1; }

koine_status koi_history_expect(koi_history *h, const uint64_t *marks, size_t n_marks)
{
  koi_pieces all;
  koine_status s = koi_history_pieces(h->caches, marks, n_marks, &all);
  if (s) return s;
  s = make_marks(h, marks, n_marks);
  for (size_t i = 0, n; i < all.n && !s; i += n) {
    size_t kind = all.v[i].kind;
    for (n = 0; i + n < all.n && all.v[i + n].kind == kind; n++) continue;
    s = koi_history_reserve(h, kind, n);
    for (size_t k = i; k < i + n && !s; k++) *page_of(h, &all.v[k], marks[all.v[k].mark]) = koi_pool_take(koi_history_pool(h, kind));
  }
  koi_free(all.v);
  return s;
}

koine_status koi_history_write(koi_history *h, const koi_piece_at *p, uint64_t at, const void *from)
{
  const int32_t *page = page_of(h, p, at);
  return page && *page != KOI_NO_PAGE ? koi_pool_write(koi_history_pool(h, p->kind), *page, from) : KOINE_OK;
}

koine_status koi_history_arrive(koi_history *h, uint64_t at)
{
  koine_status s = KOINE_OK;
  for (size_t k = 0; k < h->caches->n_kinds && !s; k++) s = koi_history_write_pages(h, k, h->pages);
  if (s) return s;
  h->n_marks = h->n_new, h->n_new = 0;
  h->n = at, h->stale = true;
  koi_history_rewind(h, at);
  return h->n == at ? KOINE_OK : koi_error(KOINE_ERR_DEVICE, "device %s: the caches cannot be written", h->st->dev->endpoint->name);
}
