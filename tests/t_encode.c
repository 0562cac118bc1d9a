/* The encoders: what comes back of random rows, exact cases, weights, and rows that are awkward. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/base.h"
#include "kernels/encode.h"
#include "kernels/encode_impl.h"

enum { N = 256 * 32, ROW = 256 };

static uint64_t state = 88172645463325252u;
static double uniform(void)
{
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  return ((double)(state >> 11) + 0.5) * 0x1p-53;
}
static float gauss(void) { return (float)(sqrt(-2 * log(uniform())) * cos(6.283185307179586 * uniform())); }

/* x through a format and back. */
static void there_and_back(int wt, const float *x, const float *w, size_t n, float *back)
{
  static uint8_t blocks[N * 4], tiles[KOI_MAX_STREAMS][1 << 16];
  static double out[ROW][KOI_STRIP];
  uint8_t *tile[KOI_MAX_STREAMS];
  const koi_weight_format *f = &koi_formats[wt];
  koi_values values;
  koi_values_fill(&values);
  memset(blocks, 0xA5, sizeof blocks);
  koi_encode_row(wt, x, w, n, blocks);
  size_t bytes = n / f->block_columns * f->block_bytes;
  for (size_t i = bytes; i < bytes + 16 && i < sizeof blocks; i++) assert_int_equal(blocks[i], 0xA5);
  for (int s = 0; s < KOI_MAX_STREAMS; s++) tile[s] = tiles[s];
  for (size_t at = 0; at < n; at += ROW) {
    koi_strip strip = koi_format_strip(wt, ROW, KOI_STRIP, tile, 0);
    koi_format_tiles(wt, KOI_STRIP, &(koi_stored){blocks + at / f->block_columns * f->block_bytes, NULL, 1, ROW}, 0, 1, 0, 1, tile);
    f->decode(f, &values, &strip, 0, ROW, out);
    for (size_t i = 0; i < ROW; i++) back[at + i] = (float)out[i][0];
  }
}

static double error_of(const float *x, const float *y, const float *w, size_t n)
{
  double e = 0, xx = 0;
  for (size_t i = 0; i < n; i++) e += (w ? (double)w[i] : 1) * pow((double)x[i] - (double)y[i], 2), xx += (w ? (double)w[i] : 1) * (double)x[i] * (double)x[i];
  return sqrt(e / xx);
}

/* Of normal values: what ggml's own quantizers reach on such rows with all columns alike (llama.cpp of llama-cpp-python 0.3.36), rounded up. */
static const struct { int wt; double most; } peers[] = {
  {KOI_WT_F32, 0}, {KOI_WT_F16, 0.0003}, {KOI_WT_BF16, 0.0018}, {KOI_WT_Q8_0, 0.0055}, {KOI_WT_MXFP4, 0.114}, {KOI_WT_Q4_0, 0.0815}, {KOI_WT_Q4_1, 0.0705},
  {KOI_WT_Q5_0, 0.0404}, {KOI_WT_Q5_1, 0.0340}, {KOI_WT_Q2_K, 0.268}, {KOI_WT_Q3_K, 0.1447}, {KOI_WT_Q4_K, 0.0705}, {KOI_WT_Q5_K, 0.0352}, {KOI_WT_Q6_K, 0.0173},
  {KOI_WT_IQ2_XXS, 0.344}, {KOI_WT_IQ2_XS, 0.299}, {KOI_WT_IQ2_S, 0.249}, {KOI_WT_IQ3_XXS, 0.182}, {KOI_WT_IQ3_S, 0.137}, {KOI_WT_IQ4_NL, 0.0747},
  {KOI_WT_IQ4_XS, 0.0753}};

static void test_normal(void **unused)
{
  static float x[N], y[N];
  (void)unused;
  for (size_t i = 0; i < N; i++) x[i] = 0.02f * gauss();
  size_t n = 0;
  for (int wt = 0; wt < KOI_N_FORMATS; wt++) n += koi_encode_can(wt);
  assert_int_equal(n, KOI_COUNT(peers));
  for (size_t i = 0; i < KOI_COUNT(peers); i++) {
    there_and_back(peers[i].wt, x, NULL, N, y);
    double e = error_of(x, y, NULL, N);
    if (!(e <= peers[i].most)) fail_msg("%s: an error of %.5f, expected at most %.5f", koi_formats[peers[i].wt].title, e, peers[i].most);
  }
}

/* Columns that count: their error is less than when all count the same. */
static void test_weights(void **unused)
{
  static float x[N], y[N], w[N];
  (void)unused;
  for (size_t i = 0; i < N; i++) x[i] = 0.02f * gauss(), w[i] = i % 8 ? 0.01f : 1;
  for (int wt = 0; wt < KOI_N_FORMATS; wt++) {
    if (!koi_encode_can(wt) || wt <= KOI_WT_BF16 || wt == KOI_WT_Q8_0) continue; /* there is nothing to choose */
    there_and_back(wt, x, NULL, N, y);
    double alike = error_of(x, y, w, N);
    there_and_back(wt, x, w, N, y);
    double weighed = error_of(x, y, w, N);
    if (!(weighed < 0.98 * alike)) fail_msg("%s: %.5f with weights, %.5f without", koi_formats[wt].title, weighed, alike);
  }
}

/* Zeros, constants, single values, the largest and the smallest, columns that do not count: finite, and no worse than leaving all out. */
static void test_awkward(void **unused)
{
  static float x[ROW], y[ROW], none[ROW], some[ROW];
  (void)unused;
  for (size_t i = 0; i < ROW; i++) some[i] = i < 128 ? 0 : 1;
  for (int wt = 0; wt < KOI_N_FORMATS; wt++)
    for (int kind = 0; koi_encode_can(wt) && kind < 9; kind++) {
      for (size_t i = 0; i < ROW; i++) {
        const float values[] = {0, 1, -1, i == 77 ? 5 : 0, i == 78 ? -5 : 0.01f * gauss(), 30000 * gauss() / 4, 1e-3f * gauss(), i % 32 < 16 ? 0 : gauss(), -fabsf(gauss())};
        x[i] = values[kind];
      }
      for (int weighed = 0; weighed < 3; weighed++) {
        there_and_back(wt, x, weighed == 0 ? NULL : weighed == 1 ? none : some, ROW, y);
        double e = 0, xx = 0, all = 0;
        for (size_t i = 0; i < ROW; i++) all += (double)x[i] * (double)x[i];
        for (size_t i = 0; i < ROW; i++) {
          if (!isfinite(y[i])) fail_msg("%s, kind %d: %g for %g", koi_formats[wt].title, kind, (double)y[i], (double)x[i]);
          if (weighed == 2 && i < 128) continue;
          e += pow((double)x[i] - (double)y[i], 2), xx += (double)x[i] * (double)x[i];
        }
        if (e > 1.01 * xx + 1e-4 * all) fail_msg("%s, kind %d: an error of %g of %g", koi_formats[wt].title, kind, e, xx);
      }
    }
}

/* What MXFP4 can hold it holds, whatever the scale: so published experts are stored as they are. */
static void test_exact(void **unused)
{
  static float x[ROW], y[ROW];
  (void)unused;
  for (int e = -100; e < 100; e++) {
    for (size_t i = 0; i < ROW; i++) {
      int code = (int)(uniform() * 16), low = e % 3 ? 16 : 4; /* of every third only codes below 2 */
      x[i] = ldexpf(koi_e2m1((uint8_t)(code % low)), e + (int)(i / 32));
    }
    there_and_back(KOI_WT_MXFP4, x, NULL, ROW, y);
    for (size_t i = 0; i < ROW; i++)
      if (x[i] != y[i]) fail_msg("2^%d: %g became %g", e, (double)x[i], (double)y[i]);
  }
}

static void test_halves(void **unused)
{
  (void)unused;
  for (uint32_t h = 0; h < 0x7c00; h++) { /* every half and what lies between it and the next */
    float a = koi_f16((uint16_t)h), b = h < 0x7bff ? koi_f16((uint16_t)(h + 1)) : 65536;
    assert_int_equal(koi_encode_half(a), h);
    assert_int_equal(koi_encode_half(-a), h | 0x8000);
    assert_int_equal(koi_encode_half(nextafterf((a + b) / 2, 0)), h);
    assert_int_equal(koi_encode_half((a + b) / 2), h == 0x7bff ? h : h + (h & 1));
    if (h < 0x7bff) assert_int_equal(koi_encode_half(nextafterf((a + b) / 2, FLT_MAX)), h + 1);
  }
  assert_int_equal(koi_encode_half(FLT_MAX), 0x7bff);
}

int main(void)
{
  const struct CMUnitTest all[] = {cmocka_unit_test(test_normal), cmocka_unit_test(test_weights), cmocka_unit_test(test_awkward), cmocka_unit_test(test_exact),
                                   cmocka_unit_test(test_halves)};
  return cmocka_run_group_tests(all, NULL, NULL);
}
