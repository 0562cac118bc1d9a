/* See pool.h. Owns slabs and counts. Invariant: every page of every slab is either free or held by at least one. */
#include "pool.h"
#include <string.h>

static uint32_t slab_of(int32_t page) { return (uint32_t)page >> KOI_SLAB_SHIFT; }
static uint32_t place_of(int32_t page) { return (uint32_t)page & ((1u << KOI_SLAB_SHIFT) - 1); }
static uint32_t *users_of(const koi_pool *p, int32_t page) { return &p->users[slab_of(page)][place_of(page)]; }

void koi_pool_open(koi_pool *p, koi_device *dev, uint64_t page_bytes) { *p = (koi_pool){.dev = dev, .page_bytes = page_bytes}; }

void koi_pool_close(koi_pool *p)
{
  for (uint32_t s = 0; s < p->n_slabs; s++) {
    koi_device_free(p->dev, p->slab[s]);
    koi_free(p->users[s]);
  }
  koi_free(p->free);
  *p = (koi_pool){0};
}

/* Records and memory of one more slab; on failure nothing has changed. */
static koine_status add_slab(koi_pool *p, size_t pages)
{
  size_t bytes, all = p->n_pages + pages;
  if (!koi_mul(pages, (size_t)p->page_bytes, &bytes)) return koi_error(KOINE_ERR_MEMORY, "caches of %zu pages are too large to count", pages);
  int32_t *free = koi_realloc(p->free, all, sizeof *free);
  if (!free) return KOINE_ERR_MEMORY;
  p->free = free;
  uint32_t *users = koi_alloc(pages, sizeof *users);
  koi_buf *slab = NULL;
  koine_status s = users ? koi_device_alloc(p->dev, bytes, &slab) : KOINE_ERR_MEMORY;
  if (!s) s = p->dev->backend->fill(p->dev, slab, 0);
  if (s) {
    koi_device_free(p->dev, slab);
    koi_free(users);
    return koi_error_prefix(s, "cache of %zu bytes", bytes);
  }
  uint32_t at = p->n_slabs++;
  p->slab[at] = slab, p->users[at] = users, p->pages[at] = (uint32_t)pages, p->n_pages = all;
  for (size_t i = pages; i-- > 0;) p->free[p->n_free++] = (int32_t)(at << KOI_SLAB_SHIFT | (uint32_t)i);
  return KOINE_OK;
}

koine_status koi_pool_reserve(koi_pool *p, size_t n, size_t usual, bool *grew)
{
  if (p->n_free >= n) return KOINE_OK;
  size_t least = n - p->n_free, most = (size_t)1 << KOI_SLAB_SHIFT, wanted = p->n_pages > usual ? p->n_pages : usual;
  uint64_t limit = p->dev->endpoint->max_buffer_bytes / p->page_bytes;
  if (p->n_slabs == KOI_SLABS) return koi_error(KOINE_ERR_MEMORY, "device %s: the caches have grown %d times and cannot again: close other sessions, or open the longest first", p->dev->endpoint->id, KOI_SLABS);
  if (limit && limit < most) most = (size_t)limit;
  if (least > most) return koi_error(KOINE_ERR_MEMORY, "device %s: caches of %zu pages must lie in one buffer, but it may have %zu", p->dev->endpoint->id, least, most);
  if (wanted < least) wanted = least;
  if (wanted > most) wanted = most;
  koine_status s = add_slab(p, wanted);
  if (s == KOINE_ERR_MEMORY && wanted > least) s = add_slab(p, least);
  if (!s) *grew = true;
  return s;
}

int32_t koi_pool_take(koi_pool *p)
{
  int32_t page = p->free[--p->n_free];
  *users_of(p, page) = 1;
  return page;
}

void koi_pool_hold(koi_pool *p, int32_t page) { ++*users_of(p, page); }

void koi_pool_drop(koi_pool *p, int32_t page)
{
  if (page != KOI_NO_PAGE && !--*users_of(p, page)) p->free[p->n_free++] = page;
}

bool koi_pool_shared(const koi_pool *p, int32_t page) { return *users_of(p, page) > 1; }

koine_status koi_pool_copy(koi_pool *p, int32_t from, int32_t to)
{
  size_t n = (size_t)p->page_bytes;
  return p->dev->backend->copy(p->dev, p->slab[slab_of(to)], place_of(to) * n, p->slab[slab_of(from)], place_of(from) * n, n);
}

koine_status koi_pool_write(koi_pool *p, int32_t page, const void *bytes)
{
  return p->dev->backend->write(p->dev, p->slab[slab_of(page)], place_of(page) * (size_t)p->page_bytes, (size_t)p->page_bytes, bytes);
}
