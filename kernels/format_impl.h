/* What the repack and random hooks of formats are made of. */
#ifndef KOI_FORMAT_IMPL_H
#define KOI_FORMAT_IMPL_H
#include "format.h"

/* The repack hook of every format whose words are pieces of a row as it lies in the file (little-endian), and whose scales are a tensor
 * of bytes: stream 0 from the codes, stream 1 from the scales. */
void koi_format_repack_words(const koi_weight_format *f, const koi_stored *m, uint64_t row, size_t n, const koi_strip *out);
/* One strip of a matrix that is made up, by the format's random hook, the same in every layout: zeros past its n rows and past k. */
void koi_format_random_strip(const koi_weight_format *f, const koi_stored *m, uint64_t row, size_t n, const koi_strip *out);
/* Random bits, (bits & keep) | set for every eight bytes. */
void koi_format_random_bits(uint64_t keep, uint64_t set, uint64_t seed, size_t bytes, uint8_t *out);
/* ---- format_blocks.c: hooks of the formats of GGUF files ---- */
enum { KOI_SCALE_LOW = 16, KOI_SCALE_HIGH = 240 }; /* E8M0 scales of the fast decoders in cl/weights.clh */
void koi_format_repack_blocks(const koi_weight_format *f, const koi_stored *m, uint64_t row, size_t n, const koi_strip *out);
void koi_format_decode_blocks(const koi_weight_format *f, const koi_values *v, const koi_strip *from, size_t k0, size_t n, double (*out)[KOI_STRIP]);
void koi_format_repack_mxfp4(const koi_weight_format *f, const koi_stored *m, uint64_t row, size_t n, const koi_strip *out);
void koi_format_decode_mxfp4(const koi_weight_format *f, const koi_values *v, const koi_strip *from, size_t k0, size_t n, double (*out)[KOI_STRIP]);
bool koi_format_care_mxfp4(const koi_stored *m, uint64_t row, uint64_t n);
/* 16 and 32 bits of a file. */
uint16_t koi_block_half(const uint8_t *p);
uint32_t koi_block_word(const uint8_t *p);
/* A column's code of 1, 2 or 4 bits into words; the columns come in order. */
void koi_block_bits(uint32_t *words, uint32_t column, uint32_t bits, uint32_t value);
/* The split and run hooks of each; IQ4_NL lies in files as Q4_0 does. */
#define KOI_BLOCKS(X) \
  X(q8_0) X(q4_0) X(q4_1) X(q5_0) X(q5_1) X(q2_k) X(q3_k) X(q4_k) X(q5_k) X(q6_k) X(iq2_xxs) X(iq2_xs) X(iq2_s) X(iq3_xxs) X(iq3_s) X(iq4_xs)
#define X(name) \
  void koi_block_split_##name(const uint8_t *block, uint32_t *codes, uint16_t *scales); \
  void koi_block_run_##name(const uint32_t *codes, const uint16_t *scales, uint32_t run, double out[KOI_RUN]);
KOI_BLOCKS(X)
#undef X
void koi_block_run_iq4_nl(const uint32_t *codes, const uint16_t *scales, uint32_t run, double out[KOI_RUN]);
#endif
