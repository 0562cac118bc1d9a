/* See pool.h. Owns slabs and counts. Invariant: every page of every slab is either free or held by at least one. */
#include "pool.h"
#include <string.h>

static uint32_t slab_of(int32_t page) { return (uint32_t)page >> KOI_SLAB_SHIFT; }
static uint32_t place_of(int32_t page) { return (uint32_t)page & ((1u << KOI_SLAB_SHIFT) - 1); }
static uint32_t *users_of(const koi_pool *p, int32_t page) { return &p->users[slab_of(page)][place_of(page)]; }

void koi_pool_open(koi_pool *p, koi_device *dev, uint64_t limit, uint64_t page_bytes) { *p = (koi_pool){.dev = dev, .limit = limit, .page_bytes = page_bytes}; }

void koi_pool_close(koi_pool *p)
{
  for (uint32_t s = 0; s < KOI_SLABS; s++) {
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
  koine_status s = users ? koi_device_room(p->dev, p->limit, bytes) : KOINE_ERR_MEMORY;
  if (!s) s = koi_device_alloc(p->dev, bytes, &slab);
  if (!s) s = p->dev->backend->fill(p->dev, slab, 0);
  if (s) {
    koi_device_free(p->dev, slab);
    koi_free(users);
    return koi_error_prefix(s, "cache of %zu bytes", bytes);
  }
  uint32_t at = 0;
  while (p->slab[at]) at++;
  p->n_slabs++;
  p->slab[at] = slab, p->users[at] = users, p->pages[at] = (uint32_t)pages, p->n_pages = all;
  for (size_t i = pages; i-- > 0;) p->free[p->n_free++] = (int32_t)(at << KOI_SLAB_SHIFT | (uint32_t)i);
  return KOINE_OK;
}

/* Pages of the next slab: as many as there are; of the later half three times as many, so that thousands of conversations have room in few slabs. The
 * last one that there can be has all that is promised. */
static size_t next_slab(const koi_pool *p, size_t least, size_t usual, size_t most)
{
  size_t more = p->n_slabs < KOI_SLABS / 2 ? p->n_pages : 3 * p->n_pages, wanted = more > usual ? more : usual, left = p->promised > p->n_pages ? p->promised - p->n_pages : 0;
  if ((p->n_promises < 2 && wanted > left) || (p->n_slabs + 1 == KOI_SLABS && wanted < left)) wanted = left;
  if (wanted < least) wanted = least;
  return wanted < most ? wanted : most;
}

koine_status koi_pool_reserve(koi_pool *p, size_t n, size_t usual, bool *grew)
{
  if (p->n_free >= n) return KOINE_OK;
  size_t least = n - p->n_free, most = (size_t)1 << KOI_SLAB_SHIFT;
  uint64_t limit = p->dev->endpoint->max_buffer_bytes / p->page_bytes;
  if (p->n_slabs == KOI_SLABS)
    return koi_error(KOINE_ERR_MEMORY, "device %s: the caches have grown %d times and cannot again: close other sessions, or open the longest first", p->dev->endpoint->id, KOI_SLABS);
  if (limit && limit < most) most = (size_t)limit;
  if (least > most) return koi_error(KOINE_ERR_MEMORY, "device %s: caches of %zu pages must lie in one buffer, but it may have %zu", p->dev->endpoint->id, least, most);
  size_t wanted = next_slab(p, least, usual, most);
  koine_status s = add_slab(p, wanted);
  while (s == KOINE_ERR_MEMORY && wanted > least) {
    wanted = wanted / 2 > least ? wanted / 2 : least;
    s = add_slab(p, wanted);
  }
  if (!s) *grew = true;
  return s;
}

/* ---- giving memory back ---- */
static bool unused(const koi_pool *p, uint32_t slab)
{
  if (!p->slab[slab] || p->n_free < p->pages[slab] + p->reserved) return false;
  for (uint32_t i = 0; i < p->pages[slab]; i++)
    if (p->users[slab][i]) return false;
  return true;
}

bool koi_pool_can_trim(const koi_pool *p)
{
  for (uint32_t s = 0; s < KOI_SLABS; s++)
    if (unused(p, s)) return true;
  return false;
}

static void free_slab(koi_pool *p, uint32_t slab)
{
  size_t n = 0;
  for (size_t i = 0; i < p->n_free; i++)
    if (slab_of(p->free[i]) != slab) p->free[n++] = p->free[i];
  p->n_free = n, p->n_pages -= p->pages[slab], p->n_slabs--;
  koi_device_free(p->dev, p->slab[slab]);
  koi_free(p->users[slab]);
  p->slab[slab] = NULL, p->users[slab] = NULL, p->pages[slab] = 0;
}

void koi_pool_trim(koi_pool *p)
{
  for (uint32_t s = 0; s < KOI_SLABS; s++)
    if (unused(p, s)) free_slab(p, s);
}

/* ---- pages ---- */
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

koine_status koi_pool_read(koi_pool *p, int32_t page, void *bytes)
{
  return p->dev->backend->read(p->dev, p->slab[slab_of(page)], place_of(page) * (size_t)p->page_bytes, (size_t)p->page_bytes, bytes);
}

koine_status koi_pool_write(koi_pool *p, int32_t page, const void *bytes)
{
  return p->dev->backend->write(p->dev, p->slab[slab_of(page)], place_of(page) * (size_t)p->page_bytes, (size_t)p->page_bytes, bytes);
}
