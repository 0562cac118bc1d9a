/* How weight matrices lie on a device: in tiles of T rows side by side, T one of 16, 32 and 64, the same for all weights of a device (its choice: step.h).
 * A CPU reads 16 rows as one vector, a GPU T rows as neighbouring lanes. 16 rows of a tile that stand together are a strip, the unit of repacking
 * and of the references.
 *
 * A weight holds n_units units (experts; 1 for a dense matrix), each a stack of n_sub matrices (w1 and w3 of an expert; else 1) of sub_rows rows
 * and k columns. Each matrix is padded to whole tiles with zero codes and zero-byte scales. Tile order: unit, sub, tile in
 * the matrix; `tile` counts through a unit's stack. Within a tile:
 *
 *   type  codes                                                                   scales
 *   F32   float  [k][T]
 *   F16   ushort [k][T]
 *   BF16  ushort [k][T]
 *   FP8   ushort [ceil(k/2)][T]: E4M3 of column 2i in the low byte, 2i+1 in the high  uchar [ceil(k/128)][T] E8M0, one a row and 128 columns
 *   MXFP4 as FP4; the scale 255 is 2^128
 *   FP4   uint   [ceil(k/8)][T]: E2M1 of column 8i in the lowest nibble, and so on up  uchar [ceil(k/32)][T] E8M0
 *
 * Blocks of GGUF files have words of 32 columns, uint [k/32][words][T], and words of scales, ushort [k/block][words][T], of which the first are F16: a
 * scale d and, where the format has minima, their d. What the bits are, lowest first (n x m: n fields of m bits, of the columns or of the
 * stretches of a block in order):
 *
 *   Q8_0     32 x 8                                   d
 *   Q4_0     32 x 4                                   d                     IQ4_NL the same
 *   Q4_1     32 x 4                                   d, minimum
 *   Q5_0     32 x 4, 32 x 1                           d
 *   Q5_1     32 x 4, 32 x 1                           d, minimum
 *   Q2_K     32 x 2                                   d, min d, 16 times a scale of 4 and a minimum of 4
 *   Q3_K     32 x 2, 32 x 1                           d, 16 x 4, 16 x 2 of scales
 *   Q4_K     32 x 4                                   d, min d, 8 x 4 of scales, 8 x 4 of minima, 8 x 2, 8 x 2
 *   Q5_K     32 x 4, 32 x 1                           as Q4_K
 *   Q6_K     32 x 4, 32 x 2                           d, 16 x 8
 *   IQ2_XXS  4 x 8 of grid, 4 x 7 signs, scale of 4   d
 *   IQ2_XS   4 times 9 of grid and 7 signs            d, 16 x 4
 *   IQ2_S    4 x 8 of grid, 32 x 1 signs              d, 8 times 2 x 4 of scales and 4 x 2 of grid
 *   IQ3_XXS  8 x 8 of grid, 4 x 7 signs, scale of 4   d
 *   IQ3_S    8 x 8 of grid, 32 x 1 signs              d, 64 x 1 of grid, 8 x 4 of scales
 *   IQ4_XS   32 x 4                                   d, 8 x 2 and 8 x 4 of scales
 *
 * A buffer may hold only the units [unit0, unit1) or, of a dense matrix, only the tiles [tile0, tile1): offsets count from there. */
#ifndef KOI_LAYOUT_H
#define KOI_LAYOUT_H
#include <stddef.h>
#include <stdint.h>

enum { KOI_STRIP = 16, KOI_MOST_TILE = 64 /* rows */ };

static inline uint64_t koi_ceil_div(uint64_t a, uint64_t b) { return (a + b - 1) / b; }
/* Tiles that `rows` rows fill. */
static inline uint64_t koi_tiles(uint64_t rows, uint32_t tile) { return koi_ceil_div(rows, tile); }
/* Bytes of a layer's part of a page of `page` cache rows (a multiple of 16) and of a compressor's state slot, padded to 64. What lies in them: ops.h. */
uint64_t koi_layout_kv_page(int exact, uint32_t dh, uint32_t rd, uint32_t page);
uint64_t koi_layout_index_page(int exact, uint32_t ih, uint32_t page);
uint64_t koi_layout_state(uint32_t rows, uint32_t width);
/* What the decoders compute, for tests and the reference. */
float koi_e4m3(uint8_t code);
float koi_e2m1(uint8_t code);
float koi_e8m0(uint8_t code);
float koi_bf16(uint16_t bits);
float koi_f16(uint16_t bits);
#endif
