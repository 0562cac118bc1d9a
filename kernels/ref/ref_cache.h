/* Where rows of the paged caches lie, for the references and those who test against them. Inline only, no state. What a page holds: ops.h. */
#ifndef KOI_REF_CACHE_H
#define KOI_REF_CACHE_H
#include "ref.h"

/* A layer's part of the page or slot `entry`, of `bytes` bytes each, in the slabs of a pool. */
static inline void *koi_ref_part(void *const *slabs, int32_t entry, int32_t bytes, int32_t at)
{
  size_t which = (size_t)entry & (((size_t)1 << KOI_SLAB_SHIFT) - 1);
  return (uint8_t *)slabs[entry >> KOI_SLAB_SHIFT] + which * (size_t)bytes + (size_t)at;
}

/* The parts of a KV row: row `r` of the page's part. EXACT: exact alone. */
typedef struct koi_ref_kv_row { float *exact; uint8_t *codes, *scales; uint16_t *rope; } koi_ref_kv_row;
static inline koi_ref_kv_row koi_ref_kv_at(void *part, size_t r, size_t dh, size_t rd, size_t page)
{
  size_t plain = dh - rd, n_groups = koi_ceil_div(plain, KOI_REF_FP8_GROUP);
  uint8_t *codes = part, *scales = codes + page * plain, *rope = scales + page * n_groups;
  return (koi_ref_kv_row){(float *)part + r * dh, codes + r * plain, scales + r * n_groups, (uint16_t *)(void *)rope + r * rd};
}

/* The parts of an index row: column d of exact keys is exact[d * 16], word i of the codes codes[i * 16], scale g scales[g * 16]. */
typedef struct koi_ref_key { float *exact; uint32_t *codes; uint8_t *scales; } koi_ref_key;
static inline koi_ref_key koi_ref_key_at(void *part, size_t r, size_t ih, size_t page)
{
  size_t words = koi_ceil_div(ih, 8), n_groups = koi_ceil_div(ih, KOI_REF_FP4_GROUP), tile = r / KOI_STRIP, lane = r % KOI_STRIP;
  uint8_t *scales = (uint8_t *)part + page * words * sizeof(uint32_t);
  return (koi_ref_key){(float *)part + tile * ih * KOI_STRIP + lane, (uint32_t *)part + tile * words * KOI_STRIP + lane,
                       scales + tile * n_groups * KOI_STRIP + lane};
}
#endif
