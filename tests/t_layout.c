/* The tile layout: sizes, scalar decoders, repacking of every code and of ragged shapes, the scan for codes that need care. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/format.h"
#include "kernels/sources.h"

static int n_bad;
#define CHECK(x) do { if (!(x)) { printf("t_layout:%d: %s\n", __LINE__, #x); n_bad++; } } while (0)

static uint8_t *bytes_of(size_t n)
{
  uint8_t *p = malloc(n ? n : 1);
  if (!p) abort();
  return p;
}

static void decoders(void)
{
  static const float e2m1[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  for (int i = 0; i < 16; i++) CHECK(koi_e2m1((uint8_t)i) == (i & 8 ? -e2m1[i & 7] : e2m1[i & 7]) && !signbit(koi_e2m1((uint8_t)i)) == !(i & 8));
  for (int i = 0; i < 256; i++) {
    int e = i >> 3 & 15, m = i & 7;
    float v = (e ? 1 + (float)m / 8 : (float)m / 8) * ldexpf(1, (e ? e : 1) - 7), got = koi_e4m3((uint8_t)i);
    CHECK((i & 127) == 127 ? isnan(got) : got == (i & 128 ? -v : v) && !signbit(got) == !(i & 128));
    CHECK(i == 255 ? isnan(koi_e8m0((uint8_t)i)) : koi_e8m0((uint8_t)i) == ldexpf(1, i - 127));
  }
  CHECK(koi_e4m3(0x7e) == 448 && koi_e4m3(1) == 0x1p-9f && koi_e8m0(0) == 0x1p-127f);
  CHECK(koi_bf16(0x3f80) == 1 && koi_bf16(0xc040) == -3 && koi_bf16(1) == 0x1p-133f);
  CHECK(koi_f16(0x3c00) == 1 && koi_f16(0x8001) == -0x1p-24f && koi_f16(0x7bff) == 65504 && koi_f16(0xfc00) == -INFINITY && isnan(koi_f16(0x7e00)));
}

static void sizes(void)
{
  CHECK(koi_format_tile_bytes(KOI_WT_F32, 0, 5, 16) == 320 && koi_format_tile_bytes(KOI_WT_BF16, 0, 5, 16) == 160 && koi_format_tile_bytes(KOI_WT_FP8, 0, 5, 16) == 96);
  CHECK(koi_format_tile_bytes(KOI_WT_FP4, 0, 8, 16) == 64 && koi_format_tile_bytes(KOI_WT_FP4, 0, 9, 16) == 128);
  CHECK(koi_layout_kv_page(0, 512, 64, 64) == 64 * 583 && koi_layout_kv_page(1, 512, 64, 64) == 64 * 2048 && koi_layout_kv_page(0, 77, 6, 16) == 1408);
  CHECK(koi_layout_index_page(0, 128, 64) == 64 * 68 && koi_layout_index_page(1, 128, 64) == 64 * 512 && koi_layout_index_page(0, 16, 16) == 192);
  CHECK(koi_layout_state(8, 1024) == 2 * 8 * 1024 * 4 && koi_layout_state(1, 3) == 64);
  CHECK(koi_format_tile_bytes(KOI_WT_FP4, 1, 33, 16) == 32 && koi_format_tile_bytes(KOI_WT_FP8, 1, 129, 16) == 32 && koi_format_tile_bytes(KOI_WT_F16, 1, 64, 16) == 0);
  CHECK(koi_format_tile_bytes(KOI_WT_FP4, 0, 9, 64) == 512 && koi_format_tile_bytes(KOI_WT_FP8, 1, 129, 32) == 64 && koi_tiles(33, 32) == 2 && koi_tiles(64, 64) == 1);
}

/* To GGUF, E8M0's NaN is the number that follows the others. */
static double scale_value(int wt, uint8_t code) { return wt == KOI_WT_MXFP4 && code == 255 ? 0x1p128 : koi_e8m0(code); }

/* A block's column from its words, as the format has it; t_blocks holds that to ggml's values. */
static double in_words(int wt, const uint32_t *codes, const uint16_t *scales, uint64_t column)
{
  const koi_weight_format *f = &koi_formats[wt];
  double run[KOI_RUN];
  f->run(codes + column / KOI_RUN * f->streams[0].words, scales, (uint32_t)(column / KOI_RUN), run);
  return run[column % KOI_RUN];
}

static double in_tile(int wt, uint8_t *const tile[KOI_MAX_STREAMS], uint64_t k, uint64_t r, uint64_t rows)
{
  const koi_weight_format *f = &koi_formats[wt];
  uint32_t codes[64], n_codes = f->block_columns / KOI_RUN * f->streams[0].words, n_scales = f->streams[1].words;
  uint16_t scales[16];
  uint64_t block = k / f->block_columns;
  for (uint32_t w = 0; w < n_codes; w++) codes[w] = ((const uint32_t *)(const void *)tile[0])[(block * n_codes + w) * rows + r];
  for (uint32_t w = 0; w < n_scales; w++) scales[w] = ((const uint16_t *)(const void *)tile[1])[(block * n_scales + w) * rows + r];
  return in_words(wt, codes, scales, k % f->block_columns);
}

static double in_block(int wt, const uint8_t *row, uint64_t k)
{
  const koi_weight_format *f = &koi_formats[wt];
  uint32_t codes[64];
  uint16_t scales[16];
  f->split(row + k / f->block_columns * f->block_bytes, codes, scales);
  return in_words(wt, codes, scales, k % f->block_columns);
}

/* The value of column k, row r of a tile of so many rows, read as layout.h says. */
static double value(int wt, uint8_t *const tile[KOI_MAX_STREAMS], uint64_t k, uint64_t r, uint64_t rows)
{
  const uint16_t *h = (const uint16_t *)(const void *)tile[0];
  if (koi_formats[wt].split) return in_tile(wt, tile, k, r, rows);
  if (wt == KOI_WT_FP4 || wt == KOI_WT_MXFP4) {
    const uint32_t *u = (const uint32_t *)(const void *)tile[0];
    return (double)koi_e2m1((uint8_t)(u[k / 8 * rows + r] >> k % 8 * 4)) * scale_value(wt, tile[1][k / 32 * rows + r]);
  }
  if (wt == KOI_WT_FP8) return (double)koi_e4m3((uint8_t)(h[k / 2 * rows + r] >> k % 2 * 8)) * koi_e8m0(tile[1][k / 128 * rows + r]);
  if (wt == KOI_WT_F16) return koi_f16(h[k * rows + r]);
  if (wt == KOI_WT_BF16) return koi_bf16(h[k * rows + r]);
  return ((const float *)(const void *)tile[0])[k * rows + r];
}

/* The value of row r, column k as the file has it. */
static double in_file(int wt, const koi_stored *m, uint64_t r, uint64_t k)
{
  const uint8_t *d = m->weight;
  uint64_t at = r * m->k + k;
  uint16_t h;
  float f;
  if (koi_formats[wt].split) return in_block(wt, d + r * koi_format_row_bytes(wt, m->k), k);
  if (wt == KOI_WT_MXFP4) {
    const uint8_t *b = d + (r * (m->k / 32) + k / 32) * 17;
    uint8_t code = b[1 + k % 16] >> k % 32 / 16 * 4 & 15;
    return (double)koi_e2m1(code == 8 ? 0 : code) * scale_value(wt, b[0]);
  }
  if (wt == KOI_WT_FP4) return (double)koi_e2m1(d[r * ((m->k + 1) / 2) + k / 2] >> k % 2 * 4) * koi_e8m0(m->scale[r * koi_ceil_div(m->k, 32) + k / 32]);
  if (wt == KOI_WT_FP8) return (double)koi_e4m3(d[at]) * koi_e8m0(m->scale[r / 128 * koi_ceil_div(m->k, 128) + k / 128]);
  memcpy(&h, d + at * 2, 2);
  if (wt == KOI_WT_F16) return koi_f16(h);
  if (wt == KOI_WT_BF16) return koi_bf16(h);
  memcpy(&f, d + at * 4, 4);
  return f;
}

static int same(double a, double b) { return (isnan(a) && isnan(b)) || (a == b && !signbit(a) == !signbit(b)); }

/* The streams of n tiles, eight bytes longer each, filled with 0xa5. */
enum { BEYOND = 8 };
typedef struct tiles { uint8_t *stream[KOI_MAX_STREAMS]; size_t tile[KOI_MAX_STREAMS], n; uint32_t rows; } tiles;

static tiles make_tiles(int wt, uint64_t k, size_t n, uint32_t rows)
{
  tiles t = {.n = n, .rows = rows};
  for (int s = 0; s < KOI_MAX_STREAMS; s++) {
    t.tile[s] = koi_format_tile_bytes(wt, s, k, rows);
    t.stream[s] = bytes_of(n * t.tile[s] + BEYOND);
    memset(t.stream[s], 0xa5, n * t.tile[s] + BEYOND);
  }
  return t;
}

static void free_tiles(tiles *t)
{
  for (int s = 0; s < KOI_MAX_STREAMS; s++) {
    for (size_t i = 0; i < BEYOND; i++) CHECK(t->stream[s][t->n * t->tile[s] + i] == 0xa5);
    free(t->stream[s]);
  }
}

/* Column c, row r of tile t: as layout.h has it, which is what the format's own decoder must say. */
static double look(int wt, uint64_t k, const koi_values *values, const tiles *w, size_t t, uint64_t c, uint32_t r)
{
  uint8_t *tile[KOI_MAX_STREAMS];
  double column[1][KOI_STRIP], v;
  for (int s = 0; s < KOI_MAX_STREAMS; s++) tile[s] = w->stream[s] + t * w->tile[s];
  koi_strip strip = koi_format_strip(wt, k, w->rows, w->stream, (t * w->rows + r) / KOI_STRIP);
  koi_formats[wt].decode(&koi_formats[wt], values, &strip, c, 1, column);
  v = value(wt, tile, c, r, w->rows);
  CHECK(same(v, column[0][r % KOI_STRIP]));
  return v;
}

/* Rows [row0, row0 + rows) of a matrix whose bytes count through all codes, from tile0 on to the last, in tiles of `tile` rows. */
static void repack(int wt, uint32_t tile, uint64_t k, uint64_t all_rows, uint64_t row0, uint64_t rows, uint64_t tile0)
{
  if (koi_formats[wt].block_columns > 2) k = koi_ceil_div(k, koi_formats[wt].multiple) * koi_formats[wt].multiple; /* of blocks only whole ones */
  size_t row_bytes = koi_format_row_bytes(wt, k), weight_bytes = all_rows * row_bytes, scale_bytes = all_rows * (koi_ceil_div(k, 32) + 1);
  uint8_t *weight = bytes_of(weight_bytes + 1), *scale = bytes_of(scale_bytes);
  koi_values values;
  koi_values_fill(&values);
  for (size_t i = 0; i < weight_bytes; i++) weight[i + 1] = (uint8_t)(i * 37 + i / 256);
  for (size_t i = 0; i < scale_bytes; i++) scale[i] = (uint8_t)(i * 11 + i / 256);
  if (k % 2 && wt == KOI_WT_FP4)
    for (uint64_t r = 0; r < all_rows; r++) weight[1 + r * row_bytes + k / 2] &= 15;
  koi_stored m = {weight + 1, koi_formats[wt].scale_rows ? scale : NULL, all_rows, k};
  uint64_t tile1 = koi_tiles(rows, tile);
  tiles w = make_tiles(wt, k, tile1 - tile0, tile);
  koi_format_tiles(wt, tile, &m, row0, rows, tile0, tile1, w.stream);
  for (uint64_t t = tile0; t < tile1; t++)
    for (uint32_t r = 0; r < tile; r++)
      for (uint64_t c = 0; c < k; c++) {
        uint64_t row = t * tile + r;
        double got = look(wt, k, &values, &w, t - tile0, c, r);
        if (row < rows ? !same(got, in_file(wt, &m, row0 + row, c)) : got != 0) {
          printf("t_layout: format %s, tiles of %u rows, k %d row %d column %d: %g\n", koi_formats[wt].name, (unsigned)tile, (int)k, (int)row, (int)c, got);
          n_bad++;
          c = k, r = tile;
        }
      }
  if (wt == KOI_WT_FP8 && k % 2)
    for (uint32_t r = 0; r < tile; r++) CHECK(((uint16_t *)(void *)w.stream[0])[k / 2 * tile + r] < 256);
  free_tiles(&w);
  free(weight), free(scale);
}

/* Care of the one row of a matrix, asked alone and while it is repacked. */
static bool cared(int wt, const koi_stored *m)
{
  tiles w = make_tiles(wt, m->k, 1, KOI_STRIP);
  bool care = koi_formats[wt].care(m, 0, 1);
  CHECK(koi_format_tiles(wt, KOI_STRIP, m, 0, 1, 0, 1, w.stream) == care);
  free_tiles(&w);
  return care;
}

static void care(void)
{
  uint8_t codes[37], scales[5] = {16, 100, 127, 200, 240};
  memset(codes, 0x7e, sizeof codes);
  koi_stored fp8 = {codes, scales, 1, 37}, fp4 = {codes, scales, 1, 74};
  CHECK(!cared(KOI_WT_FP8, &fp8) && !cared(KOI_WT_FP4, &fp4));
  for (size_t i = 0; i < sizeof codes; i++) {
    codes[i] = i % 2 ? 0xff : 0x7f;
    CHECK(cared(KOI_WT_FP8, &fp8) && !cared(KOI_WT_FP4, &fp4));
    codes[i] = 0;
  }
  for (int v = 0; v < 256; v++) {
    scales[1] = (uint8_t)v;
    CHECK(cared(KOI_WT_FP4, &fp4) == (v < 16 || v > 240));
  }
}

/* Of several rows, the one asked for decides; FP8's scales are for 128 rows. */
static void care_of_rows(void)
{
  static uint8_t codes[300], scales[3] = {127, 127, 255};
  koi_stored m = {codes, scales, 300, 1};
  for (uint64_t row = 0; row + 16 <= 300; row++) CHECK(koi_formats[KOI_WT_FP8].care(&m, row, 16) == (row + 16 > 256));
  scales[2] = 127, codes[77] = 0x7f;
  for (uint64_t row = 0; row + 16 <= 300; row++) CHECK(koi_formats[KOI_WT_FP8].care(&m, row, 16) == (row <= 77 && row + 16 > 77));
  for (int wt = 0; wt <= KOI_WT_BF16; wt++) CHECK(!koi_formats[wt].care);
  for (int scale = 0; scale < 256; scale++) {
    uint8_t block[17] = {(uint8_t)scale};
    CHECK(koi_formats[KOI_WT_MXFP4].care(&(koi_stored){block, NULL, 1, 32}, 0, 1) == (scale < 16 || scale > 240));
  }
}

/* Made-up weights: no NaN, nothing past the end, a row's sum of squares is of order one, and they are the same in every layout. */
static void made_up(int wt, uint32_t tile)
{
  enum { ROWS = 21 };
  const uint64_t K = koi_formats[wt].block_columns > 2 ? 512 : 1001;
  koi_stored m = {NULL, NULL, ROWS, K};
  koi_values values;
  koi_values_fill(&values);
  tiles w = make_tiles(wt, K, 2, tile), usual = make_tiles(wt, K, 2, KOI_STRIP);
  CHECK(!koi_format_tiles(wt, tile, &m, 0, ROWS, 0, 2, w.stream) && !koi_format_tiles(wt, KOI_STRIP, &m, 0, ROWS, 0, 2, usual.stream));
  for (uint64_t row = 0; row < 2 * tile; row++) {
    double sum = 0;
    for (uint64_t c = 0; c < K; c += row < ROWS ? 1 : 37) {
      double v = look(wt, K, &values, &w, row / tile, c, (uint32_t)(row % tile));
      if (row < ROWS) CHECK(same(v, look(wt, K, &values, &usual, row / KOI_STRIP, c, (uint32_t)(row % KOI_STRIP))));
      sum += v * v;
    }
    if (row < ROWS ? sum > 0.05 && sum < 20 : sum == 0) continue;
    printf("t_layout: made up %s: the squares of row %d add up to %g\n", koi_formats[wt].name, (int)row, sum);
    n_bad++;
  }
  free_tiles(&w), free_tiles(&usual);
}

/* The table: every format whole, its number that of its place and of the macro that the kernels know it by. */
static void table(void)
{
  const char *text = koi_source_text("matvec");
  for (int wt = 0; wt < KOI_N_FORMATS; wt++) {
    const koi_weight_format *f = &koi_formats[wt];
    char macro[40];
    snprintf(macro, sizeof macro, "#define WT_%s %d\n", f->title, wt);
    CHECK(f->wt == wt && text && strstr(text, macro));
    CHECK(f->block_columns && f->block_bytes && f->multiple && f->streams[0].name && f->repack && f->random && f->decode);
    CHECK(!f->scale_rows == !f->scale_columns && !f->split == !f->run && !f->split == !f->halves);
    for (int s = 0; s < KOI_MAX_STREAMS && f->streams[s].name; s++) CHECK(f->streams[s].columns && f->streams[s].bytes && f->streams[s].words);
  }
  CHECK(koi_format_stored_bytes(KOI_WT_FP8, 129, 257) == 129 * 257 + 2 * 3 && koi_format_stored_bytes(KOI_WT_FP4, 3, 64) == 3 * (32 + 2));
  CHECK(koi_format_stored_bytes(KOI_WT_F32, 3, 5) == 60 && koi_format_stored_bytes(KOI_WT_BF16, 3, 5) == 30);
}

int main(void)
{
  decoders();
  sizes();
  table();
  care();
  care_of_rows();
  for (int wt = 0; wt < KOI_N_FORMATS; wt++)
    for (uint32_t tile = KOI_STRIP; tile <= KOI_MOST_TILE; tile *= 2) {
      if (tile == KOI_STRIP) repack(wt, tile, koi_formats[wt].split ? 1024 : 4096, 16, 0, 16, 0); /* every byte in every row; FP4: every pair of codes */
      repack(wt, tile, 130, tile == KOI_STRIP ? 300 : 70, 0, tile == KOI_STRIP ? 300 : 70, 0);
      repack(wt, tile, 33, 261, 130, 131, 1);
      repack(wt, tile, 1, 3, 0, 3, 0);
      repack(wt, tile, 257, 40, 7, 33, 0);
      made_up(wt, tile);
    }
  printf(n_bad ? "t_layout: %d failed\n" : "t_layout: ok\n", n_bad);
  return n_bad != 0;
}
