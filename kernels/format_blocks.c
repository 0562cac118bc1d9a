/* Formats of GGUF files: a row is a sequence of blocks, each of them its scales and its codes. Here what they all share, those of 32 columns,
 * and MXFP4; those of 256 are format_k.c's and format_iq.c's. Owns nothing. Does not allocate, so it cannot fail.
 * Invariant: every byte of the strips asked for is written; what lies past the rows is zero. */
#include "format_impl.h"
#include <string.h>

enum { RUN = KOI_RUN, MAX_BLOCK = 256, MAX_CODE_WORDS = 8 /* of a run */, MAX_SCALE_WORDS = 10 /* of a block */ };

static const uint8_t *block_of(const koi_weight_format *f, const koi_stored *m, uint64_t row, uint64_t block)
{
  return m->weight + row * koi_format_row_bytes(f->wt, m->k) + block * f->block_bytes;
}

static void clear(const koi_weight_format *f, const koi_stored *m, const koi_strip *out)
{
  for (int i = 0; i < KOI_MAX_STREAMS && f->streams[i].name; i++) {
    const koi_stream *s = &f->streams[i];
    for (size_t w = 0; w < koi_ceil_div(m->k, s->columns) * s->words; w++) memset(out->at[i] + w * out->step * s->bytes, 0, KOI_STRIP * s->bytes);
  }
}

/* ---- blocks that are cut into words of codes, 32 bits, and words of scales, 16 bits ---- */
void koi_format_repack_blocks(const koi_weight_format *f, const koi_stored *m, uint64_t row, size_t n, const koi_strip *out)
{
  uint32_t codes[MAX_BLOCK / RUN * MAX_CODE_WORDS], n_codes = f->block_columns / RUN * f->streams[0].words, n_scales = f->streams[1].words;
  uint16_t scales[MAX_SCALE_WORDS];
  if (n < KOI_STRIP) clear(f, m, out);
  for (uint64_t b = 0; b < m->k / f->block_columns; b++)
    for (size_t r = 0; r < n; r++) {
      f->split(block_of(f, m, row + r, b), codes, scales);
      for (uint32_t w = 0; w < n_codes; w++) memcpy(out->at[0] + ((b * n_codes + w) * out->step + r) * 4, &codes[w], 4);
      for (uint32_t w = 0; w < n_scales; w++) memcpy(out->at[1] + ((b * n_scales + w) * out->step + r) * 2, &scales[w], 2);
    }
}

/* The run that column k lies in, of row r of a strip. */
static void decode_run(const koi_weight_format *f, const koi_strip *from, size_t k, size_t r, double out[RUN])
{
  uint32_t codes[MAX_CODE_WORDS], n_codes = f->streams[0].words, n_scales = f->streams[1].words;
  uint16_t scales[MAX_SCALE_WORDS];
  for (uint32_t w = 0; w < n_codes; w++) memcpy(&codes[w], from->at[0] + ((k / RUN * n_codes + w) * from->step + r) * 4, 4);
  for (uint32_t w = 0; w < n_scales; w++) memcpy(&scales[w], from->at[1] + ((k / f->block_columns * n_scales + w) * from->step + r) * 2, 2);
  f->run(codes, scales, (uint32_t)(k % f->block_columns / RUN), out);
}

void koi_format_decode_blocks(const koi_weight_format *f, const koi_values *v, const koi_strip *from, size_t k0, size_t n, double (*out)[KOI_STRIP])
{
  double run[RUN];
  (void)v;
  for (size_t first = k0 / RUN * RUN; first < k0 + n; first += RUN)
    for (size_t r = 0; r < KOI_STRIP; r++) {
      decode_run(f, from, first, r, run);
      for (size_t k = first < k0 ? k0 : first; k < first + RUN && k < k0 + n; k++) out[k - k0][r] = run[k - first];
    }
}

void koi_format_block_values(const koi_weight_format *f, const uint8_t *block, double *out)
{
  uint32_t codes[MAX_BLOCK / RUN * MAX_CODE_WORDS];
  uint16_t scales[MAX_SCALE_WORDS];
  f->split(block, codes, scales);
  for (uint32_t r = 0; r < f->block_columns / RUN; r++) f->run(codes + r * f->streams[0].words, scales, r, out + r * RUN);
}

/* ---- pieces of blocks ---- */
uint16_t koi_block_half(const uint8_t *b) { return (uint16_t)(b[0] | b[1] << 8); }
uint32_t koi_block_word(const uint8_t *p) { return koi_block_half(p) | (uint32_t)koi_block_half(p + 2) << 16; }

void koi_block_bits(uint32_t *words, uint32_t column, uint32_t bits, uint32_t value)
{
  uint32_t per_word = 32 / bits;
  if (column % per_word == 0) words[column / per_word] = 0;
  words[column / per_word] |= value << column % per_word * bits;
}

/* ---- 32 columns: a scale and perhaps a minimum, in F16; perhaps a fifth bit of every code; nibbles: the lower ones are the first half ---- */
static void nibbles(const uint8_t *p, uint32_t *codes)
{
  for (uint32_t c = 0; c < RUN; c++) koi_block_bits(codes, c, 4, p[c % 16] >> c / 16 * 4 & 15);
}

static double nibble(const uint32_t *codes, uint32_t c) { return codes[c / 8] >> c % 8 * 4 & 15; }
static double five_bits(const uint32_t *codes, uint32_t c) { return nibble(codes, c) + (codes[4] >> c & 1) * 16; }

void koi_block_split_q4_0(const uint8_t *b, uint32_t *codes, uint16_t *scales)
{
  scales[0] = koi_block_half(b);
  nibbles(b + 2, codes);
}

void koi_block_split_q4_1(const uint8_t *b, uint32_t *codes, uint16_t *scales)
{
  scales[0] = koi_block_half(b), scales[1] = koi_block_half(b + 2);
  nibbles(b + 4, codes);
}

void koi_block_split_q5_0(const uint8_t *b, uint32_t *codes, uint16_t *scales)
{
  scales[0] = koi_block_half(b);
  nibbles(b + 6, codes);
  codes[4] = koi_block_word(b + 2);
}

void koi_block_split_q5_1(const uint8_t *b, uint32_t *codes, uint16_t *scales)
{
  scales[0] = koi_block_half(b), scales[1] = koi_block_half(b + 2);
  nibbles(b + 8, codes);
  codes[4] = koi_block_word(b + 4);
}

void koi_block_split_q8_0(const uint8_t *b, uint32_t *codes, uint16_t *scales)
{
  scales[0] = koi_block_half(b);
  for (uint32_t w = 0; w < 8; w++) codes[w] = koi_block_word(b + 2 + 4 * w);
}

#define RUN_OF(name, value) \
  void koi_block_run_##name(const uint32_t *codes, const uint16_t *scales, uint32_t run, double out[KOI_RUN]) \
  { \
    double d = (double)koi_f16(scales[0]); \
    (void)run; \
    for (uint32_t c = 0; c < RUN; c++) out[c] = value; \
  }
RUN_OF(q4_0, d *(nibble(codes, c) - 8))
RUN_OF(q4_1, d *nibble(codes, c) + (double)koi_f16(scales[1]))
RUN_OF(q5_0, d *(five_bits(codes, c) - 16))
RUN_OF(q5_1, d *five_bits(codes, c) + (double)koi_f16(scales[1]))
RUN_OF(q8_0, d *(int8_t)(codes[c / 4] >> c % 4 * 8 & 255))

/* ---- MXFP4: a scale in E8M0, then nibbles in the same order ---- */
void koi_format_repack_mxfp4(const koi_weight_format *f, const koi_stored *m, uint64_t row, size_t n, const koi_strip *out)
{
  enum { WORDS = RUN / 8 };
  if (n < KOI_STRIP) clear(f, m, out);
  for (uint64_t b = 0; b < m->k / RUN; b++)
    for (size_t r = 0; r < n; r++) {
      const uint8_t *block = block_of(f, m, row + r, b);
      out->at[1][b * out->step + r] = block[0];
      for (size_t w = 0; w < WORDS; w++) {
        uint32_t word = 0;
        for (size_t i = 0; i < 8; i++) {
          uint32_t code = block[1 + w % 2 * 8 + i] >> w / 2 * 4 & 15;
          word |= (code == 8 ? 0 : code) << 4 * i; /* GGUF has no -0 */
        }
        memcpy(out->at[0] + ((b * WORDS + w) * out->step + r) * 4, &word, 4);
      }
    }
}

/* As FP4, but for the scale 255: to GGUF a number, 2^128, not a NaN. */
void koi_format_decode_mxfp4(const koi_weight_format *f, const koi_values *v, const koi_strip *from, size_t k0, size_t n, double (*out)[KOI_STRIP])
{
  (void)f;
  for (size_t i = 0, k = k0; i < n; i++, k++) {
    const uint32_t *eight = (const uint32_t *)(const void *)from->at[0] + k / 8 * from->step;
    const uint8_t *s = from->at[1] + k / RUN * from->step;
    for (size_t r = 0; r < KOI_STRIP; r++) out[i][r] = (double)v->e2m1[eight[r] >> k % 8 * 4 & 15] * (s[r] == 255 ? 0x1p128 : (double)v->e8m0[s[r]]);
  }
}

bool koi_format_care_mxfp4(const koi_stored *m, uint64_t row, uint64_t n)
{
  const koi_weight_format *f = &koi_formats[KOI_WT_MXFP4];
  for (uint64_t r = row; r < row + n; r++)
    for (uint64_t b = 0; b < m->k / RUN; b++) {
      uint8_t scale = *block_of(f, m, r, b);
      if (scale < KOI_SCALE_LOW || scale > KOI_SCALE_HIGH) return true;
    }
  return false;
}
