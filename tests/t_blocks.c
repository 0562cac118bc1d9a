/* Blocks of GGUF files against recorded values of PyPI's gguf, which are ggml's, bit by bit, each in every row of a tile.
 * usage: t_blocks; or t_blocks decode NAME: blocks on standard input, floats on standard output (for check_gguf.py) */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "file/weights.h"
#include "kernels/format.h"

static int n_bad;

static uint8_t *bytes_of(size_t n)
{
  uint8_t *p = calloc(n ? n : 1, 1);
  if (!p) abort();
  return p;
}

/* The values of n blocks in a row of a matrix, which is row `row` of its tile of `rows` rows, as floats. */
static void decode_row(const koi_weight_format *f, const uint8_t *blocks, size_t n, uint32_t rows, size_t row, float *out)
{
  uint64_t k = n * f->block_columns;
  uint8_t *tile[KOI_MAX_STREAMS] = {NULL}, *matrix = bytes_of((row + 1) * n * f->block_bytes);
  double(*all)[KOI_STRIP] = (double(*)[KOI_STRIP])(void *)bytes_of(k * sizeof *all);
  koi_values values;
  koi_values_fill(&values);
  for (int s = 0; s < KOI_MAX_STREAMS; s++) tile[s] = bytes_of(koi_format_tile_bytes(f->wt, s, k, rows));
  memcpy(matrix + row * n * f->block_bytes, blocks, n * f->block_bytes);
  koi_format_tiles(f->wt, rows, &(koi_stored){matrix, NULL, row + 1, k}, 0, row + 1, 0, 1, tile);
  koi_strip strip = koi_format_strip(f->wt, k, rows, tile, row / KOI_STRIP);
  f->decode(f, &values, &strip, 0, k, all);
  for (uint64_t c = 0; c < k; c++) out[c] = (float)all[c][row % KOI_STRIP];
  for (int s = 0; s < KOI_MAX_STREAMS; s++) free(tile[s]);
  free(matrix), free(all);
}

static int same(float a, float b) { return (isnan(a) && isnan(b)) || !memcmp(&a, &b, sizeof a); }

static void recorded(const koi_weight_format *f, const koi_weights *w)
{
  char name[40];
  snprintf(name, sizeof name, "%s.blocks", f->name);
  const koi_tensor *blocks = koi_weights_find(w, name);
  snprintf(name, sizeof name, "%s.values", f->name);
  const koi_tensor *values = koi_weights_find(w, name);
  if (!blocks || !values || blocks->shape[1] != f->block_bytes || values->shape[1] != f->block_columns) {
    printf("t_blocks: %s: not recorded, or in other sizes\n", f->name);
    n_bad++;
    return;
  }
  size_t n = blocks->shape[0], all = n * f->block_columns;
  float *want = (float *)(void *)bytes_of(all * 4), *got = (float *)(void *)bytes_of(all * 4);
  memcpy(want, values->data, all * 4);
  for (size_t at = 0; at < KOI_STRIP + KOI_MOST_TILE; at++) { /* of tiles of 16 rows, and of the largest */
    size_t row = at < KOI_STRIP ? at : at - KOI_STRIP;
    decode_row(f, blocks->data, n, at < KOI_STRIP ? KOI_STRIP : KOI_MOST_TILE, row, got);
    for (size_t i = 0; i < all; i++) {
      if (same(got[i], want[i])) continue;
      printf("t_blocks: %s: block %zu, value %zu, row %zu: expected %.9g, found %.9g\n", f->name, i / f->block_columns, i % f->block_columns, row, (double)want[i],
             (double)got[i]);
      n_bad++;
      break;
    }
  }
  free(want), free(got);
}

static int decode(const char *name)
{
  float values[256];
  uint8_t block[256];
  for (int wt = 0; wt < KOI_N_FORMATS; wt++) {
    const koi_weight_format *f = &koi_formats[wt];
    if (strcmp(f->name, name)) continue;
    while (fread(block, f->block_bytes, 1, stdin) == 1) {
      decode_row(f, block, 1, KOI_STRIP, 0, values);
      fwrite(values, sizeof *values, f->block_columns, stdout);
    }
    return 0;
  }
  return 1;
}

int main(int argc, char **argv)
{
  if (argc == 3 && !strcmp(argv[1], "decode")) return decode(argv[2]);
  const char *src = getenv("srcdir");
  char path[512];
  koi_weights *w;
  snprintf(path, sizeof path, "%s/tests/data/blocks.safetensors", src ? src : ".");
  if (koi_safetensors_open_file(path, &w)) return printf("t_blocks: %s\n", koine_last_error()), 1;
  for (int wt = 0; wt < KOI_N_FORMATS; wt++)
    if (koi_formats[wt].block_columns > 2) recorded(&koi_formats[wt], w);
  koi_weights_close(w);
  printf(n_bad ? "t_blocks: %d failed\n" : "t_blocks: ok\n", n_bad);
  return n_bad != 0;
}
