/* The formats of weights: one record each, read by the checkpoint's binding, the layout, the upload, the references and the verifier.
 * A new format is a row of the table in format.c with its decoder there, and a decoder in cl/weights.clh or cl/blocks.clh (HACKING.md, "Add a weight format").
 *
 * A matrix lies in a file by rows, each a sequence of blocks, perhaps with a tensor of scales beside it; on a device it lies in tiles
 * (layout.h), cut into streams: codes, scales and what else the format has (minima, say). A stream is an array of words
 * [ceil(k / columns)][words][rows of the tile], each word `bytes` long, so many of them good for `columns` columns of their row. Every stream has a buffer of
 * its own. */
#ifndef KOI_FORMAT_H
#define KOI_FORMAT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "layout.h"

/* The number that the kernels know as WT. */
enum { KOI_WT_F32, KOI_WT_F16, KOI_WT_BF16, KOI_WT_FP8, KOI_WT_FP4, KOI_WT_MXFP4, KOI_WT_Q8_0, KOI_WT_Q4_0, KOI_WT_Q4_1, KOI_WT_Q5_0, KOI_WT_Q5_1,
       KOI_WT_Q2_K, KOI_WT_Q3_K, KOI_WT_Q4_K, KOI_WT_Q5_K, KOI_WT_Q6_K, KOI_WT_IQ2_XXS, KOI_WT_IQ2_XS, KOI_WT_IQ2_S, KOI_WT_IQ3_XXS, KOI_WT_IQ3_S,
       KOI_WT_IQ4_NL, KOI_WT_IQ4_XS, KOI_N_FORMATS };
enum { KOI_FORMAT_NONE = -1, KOI_MAX_STREAMS = 4, KOI_RUN = 32 /* columns of a block that are decoded at once */ };

/* A matrix as a file has it. weight NULL: there is no file, and it is made up. scale: NULL where the format has no such tensor. */
typedef struct koi_stored {
  const uint8_t *weight, *scale;
  uint64_t rows, k;
} koi_stored;

/* What single codes are worth, so that a reference need not compute it for every weight. */
typedef struct koi_values { float e4m3[256], e2m1[16], e8m0[256]; } koi_values;
void koi_values_fill(koi_values *v);

typedef struct koi_stream {
  const char *name;
  uint32_t columns, bytes; /* of its words together, and of a word */
  uint32_t words;
} koi_stream;

/* 16 rows of a tile: where the first row's first words lie in each stream, and how many words on its next ones do, which are the rows of the tile. */
typedef struct koi_strip { uint8_t *at[KOI_MAX_STREAMS]; size_t step; } koi_strip;

typedef struct koi_weight_format koi_weight_format;
enum { KOI_MAX_BLOCK = 256 };
/* A block of a file as the block_columns values that it stands for, at most KOI_MAX_BLOCK, of a format that has `split`. */
void koi_format_block_values(const koi_weight_format *f, const uint8_t *block, double *out);

struct koi_weight_format {
  const char *name, *title; /* in files of ours, and for people */
  int wt;                   /* its number */
  /* in a file */
  uint32_t block_columns, block_bytes; /* of a row */
  uint32_t scale_rows, scale_columns;  /* that a byte of the tensor of scales is for; 0: there is none */
  uint32_t multiple;                   /* of columns that a row has */
  /* on a device */
  koi_stream streams[KOI_MAX_STREAMS]; /* codes first; ends at name NULL unless full */
  /* Rows [row, row + n), n at most 16, into a strip of each stream, every byte of it: the rest of the rows are zeros. */
  void (*repack)(const koi_weight_format *f, const koi_stored *m, uint64_t row, size_t n, const koi_strip *out);
  /* `bytes` of a stream of a matrix that is made up, words for 16 rows each from number `word` on: k weights that meet inputs of order one give
   * outputs of order one. */
  void (*random)(const koi_weight_format *f, int stream, uint64_t k, size_t word, uint64_t seed, size_t bytes, uint8_t *out);
  /* Whether rows [row, row + n) have codes or scales outside the fast decoders' range (CARE). NULL: they never do. */
  bool (*care)(const koi_stored *m, uint64_t row, uint64_t n);
  /* Columns [k0, k0 + n) of a strip, exact: what the references compute with. */
  void (*decode)(const koi_weight_format *f, const koi_values *v, const koi_strip *from, size_t k0, size_t n, double (*out)[KOI_STRIP]);
  /* Formats of blocks that are cut into words of codes (32 bits) and of scales (16 bits), whose first are F16, a scale and perhaps a minimum;
   * else NULL. A weight is about 2^level times its block's scale. */
  uint32_t halves;
  int level;
  /* A block of a file: the words of all its runs, and of its scales. */
  void (*split)(const uint8_t *block, uint32_t *codes, uint16_t *scales);
  /* One run of a block from its words and those of the block's scales: exact but for a minimum, where the sum is rounded to double. */
  void (*run)(const uint32_t *codes, const uint16_t *scales, uint32_t run, double out[KOI_RUN]);
};
extern const koi_weight_format koi_formats[KOI_N_FORMATS]; /* by KOI_WT_* */

/* Bytes of a matrix in a file, its scales included; of one row's codes; and of one tile of a stream (0: the format has no such stream). */
uint64_t koi_format_stored_bytes(int wt, uint64_t rows, uint64_t k);
uint64_t koi_format_row_bytes(int wt, uint64_t k);
uint64_t koi_format_tile_bytes(int wt, int stream, uint64_t k, uint32_t tile);
/* Strip number `at` of the streams of a matrix of k columns in tiles of `tile` rows. */
koi_strip koi_format_strip(int wt, uint64_t k, uint32_t tile, uint8_t *const stream[KOI_MAX_STREAMS], uint64_t at);

/* Tiles [tile0, tile1) of rows [row0, row0 + rows) of m (tile t is rows row0 + tile * t ..; rows past row0 + rows are zero codes and zero-byte
 * scales) into the streams of out, which begin at tile0. True: some of the rows need care. */
bool koi_format_tiles(int wt, uint32_t tile, const koi_stored *m, uint64_t row0, uint64_t rows, uint64_t tile0, uint64_t tile1,
                      uint8_t *const out[KOI_MAX_STREAMS]);
#endif
