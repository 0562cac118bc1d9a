/* Pages of one cache kind on one device, shared by all conversations: taken, shared and given back by counting. Memory grows by slabs, and nothing
 * is ever copied for it. Locking: the device's. */
#ifndef KOI_POOL_H
#define KOI_POOL_H
#include "device/backend.h"
#include "kernels/ops.h"
#include "plan/caches.h"

/* A page is named by slab << KOI_SLAB_SHIFT | its place in the slab, as the page tables have it. */
enum { KOI_NO_PAGE = -1 };

typedef struct koi_pool {
  koi_device *dev;
  uint64_t page_bytes, limit;  /* bytes: of a page; of all that may be allocated on the device, 0: any */
  koi_buf *slab[KOI_SLABS];
  uint32_t *users[KOI_SLABS];  /* [pages] how many hold a page */
  uint32_t pages[KOI_SLABS];
  uint32_t n_slabs;            /* of `slab`, those that are not NULL */
  int32_t *free;               /* [n_free] pages that nobody holds */
  size_t n_free, n_pages;
  size_t promised, n_promises; /* pages that those who hold some may want at most, and how many these are */
  size_t reserved;             /* free pages that a trim leaves */
} koi_pool;

void koi_pool_open(koi_pool *p, koi_device *dev, uint64_t limit, uint64_t page_bytes);
void koi_pool_close(koi_pool *p);
/* Makes at least n pages free; a new slab has `usual` pages at least, or as many as there are already, where memory allows it; for one holder
 * alone no more than are promised. *grew: a slab was added. KOINE_ERR_MEMORY leaves the pool as it was. */
koine_status koi_pool_reserve(koi_pool *p, size_t n, size_t usual, bool *grew);
/* Whether a slab is there that nobody holds a page of, beyond the reserved ones; koi_pool_trim frees all such. No bound list may know them. */
bool koi_pool_can_trim(const koi_pool *p);
void koi_pool_trim(koi_pool *p);
/* A free page, held once. One must have been reserved. */
int32_t koi_pool_take(koi_pool *p);
void koi_pool_hold(koi_pool *p, int32_t page);
void koi_pool_drop(koi_pool *p, int32_t page); /* KOI_NO_PAGE is allowed */
bool koi_pool_shared(const koi_pool *p, int32_t page);
/* The whole page, for what is written before it must not be read by others. */
koine_status koi_pool_copy(koi_pool *p, int32_t from, int32_t to);
koine_status koi_pool_read(koi_pool *p, int32_t page, void *bytes);
koine_status koi_pool_write(koi_pool *p, int32_t page, const void *bytes);
#endif
