/* What the repack and random hooks of formats are made of. */
#ifndef KOI_FORMAT_IMPL_H
#define KOI_FORMAT_IMPL_H
#include "format.h"

/* The repack hook of every format whose words are pieces of a row as it lies in the file (little-endian), and whose scales are a tensor
 * of bytes: stream 0 from the codes, stream 1 from the scales. */
void koi_format_repack_words(const koi_weight_format *f, const koi_stored *m, uint64_t row, size_t n, uint8_t *const tile[KOI_MAX_STREAMS]);
/* One tile of a matrix that is made up, by the format's random hook: zeros past its n rows and past k. */
void koi_format_random_tile(const koi_weight_format *f, const koi_stored *m, uint64_t row, size_t n, uint8_t *const tile[KOI_MAX_STREAMS]);
/* Random bits, (bits & keep) | set for every eight bytes. */
void koi_format_random_bits(uint64_t keep, uint64_t set, uint64_t seed, size_t bytes, uint8_t *out);
#endif
