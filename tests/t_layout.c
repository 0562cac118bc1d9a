/* The tile layout: sizes, scalar decoders, repacking of every code and of ragged shapes, the scan for codes that need care. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/layout.h"
#include "kernels/ops.h"
#include "engine/repack.h"

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
  CHECK(koi_layout_code_bytes(KOI_WT_F32, 5) == 320 && koi_layout_code_bytes(KOI_WT_BF16, 5) == 160 && koi_layout_code_bytes(KOI_WT_FP8, 5) == 96);
  CHECK(koi_layout_code_bytes(KOI_WT_FP4, 8) == 64 && koi_layout_code_bytes(KOI_WT_FP4, 9) == 128);
  CHECK(koi_layout_kv_page(0, 512, 64, 64) == 64 * 583 && koi_layout_kv_page(1, 512, 64, 64) == 64 * 2048 && koi_layout_kv_page(0, 77, 6, 16) == 1408);
  CHECK(koi_layout_index_page(0, 128, 64) == 64 * 68 && koi_layout_index_page(1, 128, 64) == 64 * 512 && koi_layout_index_page(0, 16, 16) == 192);
  CHECK(koi_layout_state(8, 1024) == 2 * 8 * 1024 * 4 && koi_layout_state(1, 3) == 64);
  CHECK(koi_layout_scale_bytes(KOI_WT_FP4, 33) == 32 && koi_layout_scale_bytes(KOI_WT_FP8, 129) == 32 && koi_layout_scale_bytes(KOI_WT_F16, 64) == 0);
}

/* The value of column k, row r of a tile, read as layout.h says. */
static double value(int wt, const uint8_t *codes, const uint8_t *scales, uint64_t k, int r)
{
  const uint16_t *h = (const uint16_t *)(const void *)codes;
  if (wt == KOI_WT_FP4) {
    const uint32_t *u = (const uint32_t *)(const void *)codes;
    return (double)koi_e2m1((uint8_t)(u[k / 8 * 16 + (uint64_t)r] >> k % 8 * 4)) * koi_e8m0(scales[k / 32 * 16 + (uint64_t)r]);
  }
  if (wt == KOI_WT_FP8) return (double)koi_e4m3((uint8_t)(h[k / 2 * 16 + (uint64_t)r] >> k % 2 * 8)) * koi_e8m0(scales[k / 128 * 16 + (uint64_t)r]);
  if (wt == KOI_WT_F16) return koi_f16(h[k * 16 + (uint64_t)r]);
  if (wt == KOI_WT_BF16) return koi_bf16(h[k * 16 + (uint64_t)r]);
  return ((const float *)(const void *)codes)[k * 16 + (uint64_t)r];
}

/* The value of row r, column k as the file has it. */
static double in_file(const koi_matrix *m, uint64_t r, uint64_t k)
{
  const uint8_t *d = m->weight->data;
  uint64_t at = r * m->k + k;
  uint16_t h;
  float f;
  if (m->dtype == KOI_I8) return (double)koi_e2m1(d[r * ((m->k + 1) / 2) + k / 2] >> k % 2 * 4) * koi_e8m0(m->scale->data[r * koi_ceil_div(m->k, 32) + k / 32]);
  if (m->dtype == KOI_F8_E4M3) return (double)koi_e4m3(d[at]) * koi_e8m0(m->scale->data[r / 128 * koi_ceil_div(m->k, 128) + k / 128]);
  memcpy(&h, d + at * 2, 2);
  if (m->dtype == KOI_F16) return koi_f16(h);
  if (m->dtype == KOI_BF16) return koi_bf16(h);
  memcpy(&f, d + at * 4, 4);
  return f;
}

static int same(double a, double b) { return (isnan(a) && isnan(b)) || (a == b && !signbit(a) == !signbit(b)); }

/* Rows [row0, row0 + rows) of a matrix whose bytes count through all codes, tiles [tile0, tile1). */
static void repack(koi_dtype dtype, int wt, uint64_t k, uint64_t all_rows, uint64_t row0, uint64_t rows, uint64_t tile0, uint64_t tile1)
{
  size_t row_bytes = dtype == KOI_I8 ? (k + 1) / 2 : k * koi_layout_code_bytes(wt, 2) / 32;
  size_t weight_bytes = all_rows * row_bytes, scale_bytes = all_rows * (koi_ceil_div(k, 32) + 1);
  uint8_t *weight = bytes_of(weight_bytes + 1), *scale = bytes_of(scale_bytes);
  for (size_t i = 0; i < weight_bytes; i++) weight[i + 1] = (uint8_t)(i * 37 + i / 256);
  for (size_t i = 0; i < scale_bytes; i++) scale[i] = (uint8_t)(i * 11 + i / 256);
  if (k % 2 && dtype == KOI_I8)
    for (uint64_t r = 0; r < all_rows; r++) weight[1 + r * row_bytes + k / 2] &= 15;
  koi_tensor wtensor = {.name = "w", .dtype = dtype, .data = weight + 1, .bytes = weight_bytes}, stensor = {.name = "s", .data = scale, .bytes = scale_bytes};
  koi_matrix m = {&wtensor, wt >= KOI_WT_FP8 ? &stensor : NULL, dtype, all_rows, k};
  size_t code = koi_layout_code_bytes(wt, k), sc = koi_layout_scale_bytes(wt, k), n = tile1 - tile0;
  uint8_t *codes = bytes_of(n * code + 8), *scales = bytes_of(n * sc + 8);
  memset(codes, 0xa5, n * code + 8), memset(scales, 0xa5, n * sc + 8);
  koi_repack_rows(&m, row0, rows, tile0, tile1, codes, scales);
  for (uint64_t t = tile0; t < tile1; t++)
    for (int r = 0; r < 16; r++)
      for (uint64_t c = 0; c < k; c++) {
        uint64_t row = t * 16 + (uint64_t)r;
        double got = value(wt, codes + (t - tile0) * code, scales + (t - tile0) * sc, c, r);
        if (!same(got, row < rows ? in_file(&m, row0 + row, c) : 0)) {
          printf("t_layout: dtype %d k %d row %d column %d: %g\n", (int)dtype, (int)k, (int)row, (int)c, got);
          n_bad++;
          c = k, r = 16;
        }
      }
  for (int i = 0; i < 8; i++) CHECK(codes[n * code + (size_t)i] == 0xa5 && scales[n * sc + (size_t)i] == 0xa5);
  if (wt == KOI_WT_FP8 && k % 2)
    for (int r = 0; r < 16; r++) CHECK(((uint16_t *)(void *)codes)[k / 2 * 16 + (uint64_t)r] < 256);
  free(weight), free(scale), free(codes), free(scales);
}

static void care(void)
{
  uint8_t codes[37], scales[5] = {16, 100, 127, 200, 240};
  memset(codes, 0x7e, sizeof codes);
  koi_tensor w = {.data = codes, .bytes = sizeof codes}, s = {.data = scales, .bytes = sizeof scales};
  koi_matrix fp8 = {&w, &s, KOI_F8_E4M3, 1, 37}, fp4 = {&w, &s, KOI_I8, 1, 74}, none = {NULL, NULL, KOI_F8_E4M3, 1, 37};
  CHECK(!koi_repack_care(&fp8) && !koi_repack_care(&fp4) && !koi_repack_care(&none));
  for (size_t i = 0; i < sizeof codes; i++) {
    codes[i] = i % 2 ? 0xff : 0x7f;
    CHECK(koi_repack_care(&fp8) && !koi_repack_care(&fp4));
    codes[i] = 0;
  }
  for (int v = 0; v < 256; v++) {
    scales[3] = (uint8_t)v;
    CHECK(koi_repack_care(&fp4) == (v < 16 || v > 240));
  }
}

/* Made-up weights: no NaN, nothing past the end, and a row's sum of squares is of order one. */
static void made_up(koi_dtype dtype, int wt)
{
  enum { K = 1001, ROWS = 21 };
  koi_matrix m = {NULL, NULL, dtype, ROWS, K};
  size_t code = koi_layout_code_bytes(wt, K), sc = koi_layout_scale_bytes(wt, K);
  uint8_t *codes = bytes_of(2 * code), *scales = bytes_of(2 * sc);
  koi_repack_rows(&m, 0, ROWS, 0, 2, codes, scales);
  for (uint64_t row = 0; row < 32; row++) {
    double sum = 0;
    for (uint64_t c = 0; c < K; c++) sum += pow(value(wt, codes + row / 16 * code, scales + row / 16 * sc, c, (int)(row % 16)), 2);
    CHECK(row < ROWS ? sum > 0.05 && sum < 20 : sum == 0);
  }
  free(codes), free(scales);
}

int main(void)
{
  static const struct { koi_dtype d; int wt; } types[] = {{KOI_F32, KOI_WT_F32}, {KOI_F16, KOI_WT_F16}, {KOI_BF16, KOI_WT_BF16}, {KOI_F8_E4M3, KOI_WT_FP8}, {KOI_I8, KOI_WT_FP4}};
  decoders();
  sizes();
  care();
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    repack(types[i].d, types[i].wt, 4096, 16, 0, 16, 0, 1); /* every byte in every row; FP4: every pair of codes */
    repack(types[i].d, types[i].wt, 130, 300, 0, 300, 0, 19);
    repack(types[i].d, types[i].wt, 33, 261, 130, 131, 1, 9);
    repack(types[i].d, types[i].wt, 1, 3, 0, 3, 0, 1);
    repack(types[i].d, types[i].wt, 257, 40, 7, 33, 0, 3);
    made_up(types[i].d, types[i].wt);
  }
  printf(n_bad ? "t_layout: %d failed\n" : "t_layout: ok\n", n_bad);
  return n_bad != 0;
}
