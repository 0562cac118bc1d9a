/* Formats of GGUF files: a row is a sequence of blocks, each of them its scale and its codes. Owns nothing. Does not allocate, so it cannot fail.
 * Invariant: every byte of the tiles asked for is written; what lies past the rows is zero. */
#include "format_impl.h"
#include <string.h>

enum { COLUMNS = 32 }; /* of a block */

static const uint8_t *block_of(const koi_weight_format *f, const koi_stored *m, uint64_t row, uint64_t block)
{
  return m->weight + row * koi_format_row_bytes(f->wt, m->k) + block * f->block_bytes;
}

static void clear(const koi_weight_format *f, const koi_stored *m, uint8_t *const tile[KOI_MAX_STREAMS])
{
  for (int s = 0; s < KOI_MAX_STREAMS && f->streams[s].name; s++) memset(tile[s], 0, koi_format_tile_bytes(f->wt, s, m->k));
}

/* ---- Q8_0: a scale in F16, then a byte a column ---- */
void koi_format_repack_q8_0(const koi_weight_format *f, const koi_stored *m, uint64_t row, size_t n, uint8_t *const tile[KOI_MAX_STREAMS])
{
  enum { WORDS = COLUMNS / 4 };
  if (n < KOI_TILE) clear(f, m, tile);
  for (uint64_t b = 0; b < m->k / COLUMNS; b++)
    for (size_t r = 0; r < n; r++) {
      const uint8_t *from = block_of(f, m, row + r, b);
      memcpy(tile[1] + (b * KOI_TILE + r) * 2, from, 2);
      for (size_t w = 0; w < WORDS; w++) memcpy(tile[0] + ((b * WORDS + w) * KOI_TILE + r) * 4, from + 2 + 4 * w, 4);
    }
}

void koi_format_decode_q8_0(const koi_values *v, const uint8_t *const tile[KOI_MAX_STREAMS], size_t k0, size_t n, double (*out)[KOI_TILE])
{
  (void)v;
  for (size_t i = 0, k = k0; i < n; i++, k++) {
    const uint32_t *four = (const uint32_t *)(const void *)tile[0] + k / 4 * KOI_TILE;
    const uint16_t *s = (const uint16_t *)(const void *)tile[1] + k / COLUMNS * KOI_TILE;
    for (size_t r = 0; r < KOI_TILE; r++) out[i][r] = (double)(int8_t)(four[r] >> k % 4 * 8 & 255) * (double)koi_f16(s[r]);
  }
}

/* ---- MXFP4: a scale in E8M0, then nibbles: the lower ones are the first half of the columns ---- */
void koi_format_repack_mxfp4(const koi_weight_format *f, const koi_stored *m, uint64_t row, size_t n, uint8_t *const tile[KOI_MAX_STREAMS])
{
  enum { WORDS = COLUMNS / 8 };
  if (n < KOI_TILE) clear(f, m, tile);
  for (uint64_t b = 0; b < m->k / COLUMNS; b++)
    for (size_t r = 0; r < n; r++) {
      const uint8_t *from = block_of(f, m, row + r, b);
      tile[1][b * KOI_TILE + r] = from[0];
      for (size_t w = 0; w < WORDS; w++) {
        uint32_t word = 0;
        for (size_t i = 0; i < 8; i++) {
          uint32_t code = from[1 + w % 2 * 8 + i] >> w / 2 * 4 & 15;
          word |= (code == 8 ? 0 : code) << 4 * i; /* GGUF has no -0 */
        }
        memcpy(tile[0] + ((b * WORDS + w) * KOI_TILE + r) * 4, &word, 4);
      }
    }
}

/* As FP4, but for the scale 255: to GGUF a number, 2^128, not a NaN. */
void koi_format_decode_mxfp4(const koi_values *v, const uint8_t *const tile[KOI_MAX_STREAMS], size_t k0, size_t n, double (*out)[KOI_TILE])
{
  for (size_t i = 0, k = k0; i < n; i++, k++) {
    const uint32_t *eight = (const uint32_t *)(const void *)tile[0] + k / 8 * KOI_TILE;
    const uint8_t *s = tile[1] + k / COLUMNS * KOI_TILE;
    for (size_t r = 0; r < KOI_TILE; r++) out[i][r] = (double)v->e2m1[eight[r] >> k % 8 * 4 & 15] * (s[r] == 255 ? 0x1p128 : (double)v->e8m0[s[r]]);
  }
}

bool koi_format_care_mxfp4(const koi_stored *m, uint64_t row, uint64_t n)
{
  const koi_weight_format *f = &koi_formats[KOI_WT_MXFP4];
  for (uint64_t r = row; r < row + n; r++)
    for (uint64_t b = 0; b < m->k / COLUMNS; b++) {
      uint8_t scale = *block_of(f, m, r, b);
      if (scale < KOI_SCALE_LOW || scale > KOI_SCALE_HIGH) return true;
    }
  return false;
}
