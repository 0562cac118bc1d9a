/* The table of weight formats, and what it needs of each: the exact decoder and the scan for codes that need care. Owns nothing.
 * Invariant: a tile decodes to exactly the values that the file's rows have, whatever the codes. */
#include "format.h"
#include <string.h>
#include "format_impl.h"

void koi_values_fill(koi_values *v)
{
  for (int i = 0; i < 256; i++) v->e4m3[i] = koi_e4m3((uint8_t)i), v->e8m0[i] = koi_e8m0((uint8_t)i);
  for (int i = 0; i < 16; i++) v->e2m1[i] = koi_e2m1((uint8_t)i);
}

/* ---- decoders ---- */
static void decode_f32(const koi_weight_format *f, const koi_values *v, const koi_strip *from, size_t k0, size_t n, double (*out)[KOI_STRIP])
{
  const float *w = (const float *)(const void *)from->at[0] + k0 * from->step;
  (void)f, (void)v;
  for (size_t i = 0; i < n; i++)
    for (size_t r = 0; r < KOI_STRIP; r++) out[i][r] = w[i * from->step + r];
}

static void decode_f16(const koi_weight_format *f, const koi_values *v, const koi_strip *from, size_t k0, size_t n, double (*out)[KOI_STRIP])
{
  const uint16_t *w = (const uint16_t *)(const void *)from->at[0] + k0 * from->step;
  (void)f, (void)v;
  for (size_t i = 0; i < n; i++)
    for (size_t r = 0; r < KOI_STRIP; r++) out[i][r] = koi_f16(w[i * from->step + r]);
}

static void decode_bf16(const koi_weight_format *f, const koi_values *v, const koi_strip *from, size_t k0, size_t n, double (*out)[KOI_STRIP])
{
  const uint16_t *w = (const uint16_t *)(const void *)from->at[0] + k0 * from->step;
  (void)f, (void)v;
  for (size_t i = 0; i < n; i++)
    for (size_t r = 0; r < KOI_STRIP; r++) out[i][r] = koi_bf16(w[i * from->step + r]);
}

static void decode_fp8(const koi_weight_format *f, const koi_values *v, const koi_strip *from, size_t k0, size_t n, double (*out)[KOI_STRIP])
{
  (void)f;
  for (size_t i = 0, k = k0; i < n; i++, k++) {
    const uint16_t *two = (const uint16_t *)(const void *)from->at[0] + k / 2 * from->step;
    const uint8_t *s = from->at[1] + k / 128 * from->step;
    for (size_t r = 0; r < KOI_STRIP; r++) out[i][r] = (double)v->e4m3[two[r] >> k % 2 * 8 & 255] * v->e8m0[s[r]];
  }
}

static void decode_fp4(const koi_weight_format *f, const koi_values *v, const koi_strip *from, size_t k0, size_t n, double (*out)[KOI_STRIP])
{
  (void)f;
  for (size_t i = 0, k = k0; i < n; i++, k++) {
    const uint32_t *eight = (const uint32_t *)(const void *)from->at[0] + k / 8 * from->step;
    const uint8_t *s = from->at[1] + k / 32 * from->step;
    for (size_t r = 0; r < KOI_STRIP; r++) out[i][r] = (double)v->e2m1[eight[r] >> k % 8 * 4 & 15] * v->e8m0[s[r]];
  }
}

/* ---- made-up weights ----
 * Signs and low bits stay random; floats lie between 2^e and 2^(e+1) in size, E4M3 codes below 2, E2M1 codes anywhere. */
/* Exponent e so that k weights of about 2^e give sums of order one: -log2(k) / 2. */
static int level(uint64_t k)
{
  int e = 0;
  for (; k > 3; k /= 4) e--;
  return e;
}

static void random_f32(const koi_weight_format *f, int stream, uint64_t k, size_t word, uint64_t seed, size_t bytes, uint8_t *out)
{
  uint64_t e = (uint64_t)(level(k) + 127);
  (void)f, (void)stream, (void)word;
  koi_format_random_bits(0x807fffff807fffffu, e << 23 | e << 55, seed, bytes, out);
}

static void random_f16(const koi_weight_format *f, int stream, uint64_t k, size_t word, uint64_t seed, size_t bytes, uint8_t *out)
{
  uint64_t e = (uint64_t)(level(k) < -14 ? 1 : level(k) + 15);
  (void)f, (void)stream, (void)word;
  koi_format_random_bits(0x83ff83ff83ff83ffu, e * 0x0400040004000400u, seed, bytes, out);
}

static void random_bf16(const koi_weight_format *f, int stream, uint64_t k, size_t word, uint64_t seed, size_t bytes, uint8_t *out)
{
  (void)f, (void)stream, (void)word;
  koi_format_random_bits(0x807f807f807f807fu, (uint64_t)(level(k) + 127) * 0x0080008000800080u, seed, bytes, out);
}

static void random_fp8(const koi_weight_format *f, int stream, uint64_t k, size_t word, uint64_t seed, size_t bytes, uint8_t *out)
{
  (void)f, (void)word;
  if (stream) memset(out, 127 + level(k), bytes); /* the mean square of the codes is near 2^-1 */
  else koi_format_random_bits(0xbfbfbfbfbfbfbfbfu, 0, seed, bytes, out); /* exponent up to 7: never a NaN */
}

static void random_fp4(const koi_weight_format *f, int stream, uint64_t k, size_t word, uint64_t seed, size_t bytes, uint8_t *out)
{
  (void)f, (void)word;
  if (stream) memset(out, 127 + level(k) - 1, bytes); /* here near 2^3 */
  else koi_format_random_bits(UINT64_MAX, 0, seed, bytes, out);
}

/* Blocks: any codes and small scales; the halves of a word of scales are close to 2^(level(k) - the format's level). */
static void random_blocks(const koi_weight_format *f, int stream, uint64_t k, size_t word, uint64_t seed, size_t bytes, uint8_t *out)
{
  const koi_stream *s = &f->streams[1];
  int e = level(k) - f->level + 15;
  uint16_t half;
  koi_format_random_bits(UINT64_MAX, 0, seed, bytes, out);
  for (size_t i = 0; i < bytes / 2 && stream; i++) {
    if ((word + i / KOI_STRIP) % s->words >= f->halves) continue;
    memcpy(&half, out + 2 * i, 2);
    uint32_t fraction = half & 0x3ff, less = e < 1 ? (fraction | 0x400) >> (1 - e) : fraction | (uint32_t)e << 10; /* a subnormal where it has to be */
    half = (uint16_t)((half & 0x8000) | less);
    memcpy(out + 2 * i, &half, 2);
  }
}

/* ---- care ---- */
static bool scales_need_care(const uint8_t *s, size_t n)
{
  uint8_t low = KOI_SCALE_LOW, high = KOI_SCALE_HIGH;
  for (size_t i = 0; i < n; i++) {
    low = s[i] < low ? s[i] : low;
    high = s[i] > high ? s[i] : high;
  }
  return low < KOI_SCALE_LOW || high > KOI_SCALE_HIGH;
}

/* Whether an E4M3 code is a NaN: 0x7f or 0xff. */
static bool codes_need_care(const uint8_t *c, size_t n)
{
  uint64_t found = 0;
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    uint64_t eight;
    memcpy(&eight, c + i, 8);
    found |= (eight & 0x7f7f7f7f7f7f7f7fu) + 0x0101010101010101u;
  }
  for (; i < n; i++) found |= (c[i] & 0x7fu) + 1u;
  return found & 0x8080808080808080u;
}

static bool care_fp8(const koi_stored *m, uint64_t row, uint64_t n)
{
  uint64_t columns = koi_ceil_div(m->k, 128), first = row / 128, end = koi_ceil_div(row + n, 128);
  return scales_need_care(m->scale + first * columns, (end - first) * columns) || codes_need_care(m->weight + row * m->k, n * m->k);
}

static bool care_fp4(const koi_stored *m, uint64_t row, uint64_t n)
{
  uint64_t columns = koi_ceil_div(m->k, 32);
  return scales_need_care(m->scale + row * columns, n * columns);
}

/* ---- the table ---- */
const koi_weight_format koi_formats[KOI_N_FORMATS] = {
  [KOI_WT_F32] = {"f32", "F32", KOI_WT_F32, 1, 4, 0, 0, 1, {{"codes", 1, 4, 1}}, koi_format_repack_words, random_f32, NULL, decode_f32},
  [KOI_WT_F16] = {"f16", "F16", KOI_WT_F16, 1, 2, 0, 0, 1, {{"codes", 1, 2, 1}}, koi_format_repack_words, random_f16, NULL, decode_f16},
  [KOI_WT_BF16] = {"bf16", "BF16", KOI_WT_BF16, 1, 2, 0, 0, 1, {{"codes", 1, 2, 1}}, koi_format_repack_words, random_bf16, NULL, decode_bf16},
  [KOI_WT_FP8] = {"fp8", "FP8", KOI_WT_FP8, 1, 1, 128, 128, 1, {{"codes", 2, 2, 1}, {"scales", 128, 1, 1}}, koi_format_repack_words,
                  random_fp8, care_fp8, decode_fp8},
  [KOI_WT_FP4] = {"fp4", "FP4", KOI_WT_FP4, 2, 1, 1, 32, 32, {{"codes", 8, 4, 1}, {"scales", 32, 1, 1}}, koi_format_repack_words,
                  random_fp4, care_fp4, decode_fp4},
  [KOI_WT_MXFP4] = {"mxfp4", "MXFP4", KOI_WT_MXFP4, 32, 17, 0, 0, 32, {{"codes", 8, 4, 1}, {"scales", 32, 1, 1}}, koi_format_repack_mxfp4,
                    random_fp4, koi_format_care_mxfp4, koi_format_decode_mxfp4},
#define BLOCKS(NAME, name, columns, bytes, n_codes, n_scales, halves, level, split) \
  [KOI_WT_##NAME] = {#name, #NAME, KOI_WT_##NAME, columns, bytes, 0, 0, columns, {{"codes", KOI_RUN, 4, n_codes}, {"scales", columns, 2, n_scales}}, \
                     koi_format_repack_blocks, random_blocks, NULL, koi_format_decode_blocks, halves, level, koi_block_split_##split, koi_block_run_##name}
  BLOCKS(Q8_0, q8_0, 32, 34, 8, 1, 1, 6, q8_0),
  BLOCKS(Q4_0, q4_0, 32, 18, 4, 1, 1, 2, q4_0),
  BLOCKS(Q4_1, q4_1, 32, 20, 4, 2, 2, 3, q4_1),
  BLOCKS(Q5_0, q5_0, 32, 22, 5, 1, 1, 3, q5_0),
  BLOCKS(Q5_1, q5_1, 32, 24, 5, 2, 2, 4, q5_1),
  BLOCKS(Q2_K, q2_k, 256, 84, 2, 10, 2, 4, q2_k),
  BLOCKS(Q3_K, q3_k, 256, 110, 3, 7, 1, 5, q3_k),
  BLOCKS(Q4_K, q4_k, 256, 144, 4, 8, 2, 8, q4_k),
  BLOCKS(Q5_K, q5_k, 256, 176, 5, 8, 2, 9, q5_k),
  BLOCKS(Q6_K, q6_k, 256, 210, 6, 9, 1, 10, q6_k),
  BLOCKS(IQ2_XXS, iq2_xxs, 256, 66, 2, 1, 1, 6, iq2_xxs),
  BLOCKS(IQ2_XS, iq2_xs, 256, 74, 2, 5, 1, 6, iq2_xs),
  BLOCKS(IQ2_S, iq2_s, 256, 82, 2, 9, 1, 6, iq2_s),
  BLOCKS(IQ3_XXS, iq3_xxs, 256, 98, 3, 1, 1, 7, iq3_xxs),
  BLOCKS(IQ3_S, iq3_s, 256, 110, 3, 7, 1, 7, iq3_s),
  BLOCKS(IQ4_NL, iq4_nl, 32, 18, 4, 1, 1, 6, q4_0),
  BLOCKS(IQ4_XS, iq4_xs, 256, 136, 4, 4, 1, 10, iq4_xs),
#undef BLOCKS
};

/* ---- sizes ---- */
uint64_t koi_format_row_bytes(int wt, uint64_t k) { return koi_ceil_div(k, koi_formats[wt].block_columns) * koi_formats[wt].block_bytes; }

uint64_t koi_format_stored_bytes(int wt, uint64_t rows, uint64_t k)
{
  const koi_weight_format *f = &koi_formats[wt];
  uint64_t scales = f->scale_rows ? koi_ceil_div(rows, f->scale_rows) * koi_ceil_div(k, f->scale_columns) : 0;
  return rows * koi_format_row_bytes(wt, k) + scales;
}

uint64_t koi_format_tile_bytes(int wt, int stream, uint64_t k, uint32_t tile)
{
  const koi_stream *s = &koi_formats[wt].streams[stream];
  return s->name ? koi_ceil_div(k, s->columns) * s->words * s->bytes * tile : 0;
}

/* ---- tiles ---- */
koi_strip koi_format_strip(int wt, uint64_t k, uint32_t tile, uint8_t *const stream[KOI_MAX_STREAMS], uint64_t at)
{
  const koi_weight_format *f = &koi_formats[wt];
  uint32_t per_tile = tile / KOI_STRIP;
  koi_strip out = {.step = tile};
  for (int s = 0; s < KOI_MAX_STREAMS && f->streams[s].name; s++)
    out.at[s] = stream[s] + at / per_tile * koi_format_tile_bytes(wt, s, k, tile) + at % per_tile * KOI_STRIP * f->streams[s].bytes;
  return out;
}

bool koi_format_tiles(int wt, uint32_t tile, const koi_stored *m, uint64_t row0, uint64_t rows, uint64_t tile0, uint64_t tile1,
                      uint8_t *const out[KOI_MAX_STREAMS])
{
  const koi_weight_format *f = &koi_formats[wt];
  bool care = false;
  for (uint64_t i = 0; i < (tile1 - tile0) * (tile / KOI_STRIP); i++) {
    uint64_t row = tile0 * tile + i * KOI_STRIP, left = rows > row ? rows - row : 0;
    size_t n = left < KOI_STRIP ? left : KOI_STRIP;
    koi_strip strip = koi_format_strip(wt, m->k, tile, out, i);
    (m->weight ? f->repack : koi_format_random_strip)(f, m, row0 + row, n, &strip);
    if (m->weight && f->care && n && !care) care = f->care(m, row0 + row, n);
  }
  return care;
}
