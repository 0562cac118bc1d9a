/* GGUF's K formats: blocks of 256 columns, whose stretches of 16 or 32 have scales, and perhaps minima, of a few bits. Owns nothing.
 * Words of scales: d, where there are minima theirs, then the small ones, packed; which bits, is said at each. */
#include "format_impl.h"

enum { COLUMNS = 256, RUN = KOI_RUN };

/* Bits of a field of a word of scales. */
static uint32_t field(const uint16_t *words, uint32_t i, uint32_t bits)
{
  uint32_t per_word = 16 / bits;
  return words[i / per_word] >> i % per_word * bits & ((1u << bits) - 1);
}

static void put_field(uint16_t *words, uint32_t i, uint32_t bits, uint32_t value)
{
  uint32_t per_word = 16 / bits;
  if (i % per_word == 0) words[i / per_word] = 0;
  words[i / per_word] |= (uint16_t)(value << i % per_word * bits);
}

static double half(uint16_t bits) { return (double)koi_f16(bits); }
static uint32_t code(const uint32_t *words, uint32_t c, uint32_t bits) { return words[c * bits / 32] >> c * bits % 32 & ((1u << bits) - 1); }

/* ---- Q2_K: codes of 2 bits; scales: d, minimum's d, then a byte for 16 columns: a scale below, a minimum above ---- */
void koi_block_split_q2_k(const uint8_t *b, uint32_t *codes, uint16_t *scales)
{
  scales[0] = koi_block_half(b + 80), scales[1] = koi_block_half(b + 82);
  for (uint32_t i = 0; i < 8; i++) scales[2 + i] = koi_block_half(b + 2 * i);
  for (uint32_t c = 0; c < COLUMNS; c++) koi_block_bits(codes, c, 2, b[16 + c / 128 * 32 + c % 32] >> c % 128 / 32 * 2 & 3);
}

void koi_block_run_q2_k(const uint32_t *codes, const uint16_t *scales, uint32_t run, double out[KOI_RUN])
{
  for (uint32_t c = 0; c < RUN; c++) {
    uint32_t both = field(scales + 2, run * 2 + c / 16, 8);
    out[c] = half(scales[0]) * (both & 15) * code(codes, c, 2) - half(scales[1]) * (both >> 4);
  }
}

/* ---- Q3_K: codes of 2 bits, then a third bit of each; scales: d, then of 16 columns the lower four bits of a scale, then its upper two ---- */
void koi_block_split_q3_k(const uint8_t *b, uint32_t *codes, uint16_t *scales)
{
  const uint8_t *high = b, *low = b + 32, *s = b + 96;
  scales[0] = koi_block_half(b + 108);
  for (uint32_t i = 0; i < 16; i++) {
    put_field(scales + 1, i, 4, i < 8 ? s[i] & 15 : s[i - 8] >> 4);
    put_field(scales + 5, i, 2, s[8 + i % 4] >> i / 4 * 2 & 3);
  }
  for (uint32_t c = 0; c < COLUMNS; c++) {
    uint32_t *to = codes + c / RUN * 3;
    koi_block_bits(to, c % RUN, 2, low[c / 128 * 32 + c % 32] >> c % 128 / 32 * 2 & 3);
    koi_block_bits(to + 2, c % RUN, 1, high[c % 32] >> c / 32 & 1);
  }
}

void koi_block_run_q3_k(const uint32_t *codes, const uint16_t *scales, uint32_t run, double out[KOI_RUN])
{
  for (uint32_t c = 0; c < RUN; c++) {
    uint32_t i = run * 2 + c / 16, scale = field(scales + 1, i, 4) | field(scales + 5, i, 2) << 4;
    out[c] = half(scales[0]) * ((double)scale - 32) * ((double)(code(codes, c, 2) | code(codes + 2, c, 1) << 2) - 4);
  }
}

/* ---- Q4_K, Q5_K: nibbles, and the fifth bits behind them. Scales: d, minimum's d, the lower four bits of 32 columns' scales, those of their
 * minima, the upper two bits of the scales, of the minima ---- */
static void split_scales(const uint8_t *b, uint16_t *scales)
{
  const uint8_t *s = b + 4;
  scales[0] = koi_block_half(b), scales[1] = koi_block_half(b + 2);
  for (uint32_t i = 0; i < 8; i++) {
    put_field(scales + 2, i, 4, (i < 4 ? s[i] : s[i + 4]) & 15);
    put_field(scales + 4, i, 4, i < 4 ? s[i + 4] & 15 : s[i + 4] >> 4);
    put_field(scales + 6, i, 2, i < 4 ? s[i] >> 4 & 3 : s[i - 4] >> 6);
    put_field(scales + 7, i, 2, i < 4 ? s[i + 4] >> 4 & 3 : s[i] >> 6);
  }
}

static double scale_of(const uint16_t *scales, uint32_t run) { return half(scales[0]) * (field(scales + 2, run, 4) | field(scales + 6, run, 2) << 4); }
static double minimum_of(const uint16_t *scales, uint32_t run) { return half(scales[1]) * (field(scales + 4, run, 4) | field(scales + 7, run, 2) << 4); }

void koi_block_split_q4_k(const uint8_t *b, uint32_t *codes, uint16_t *scales)
{
  split_scales(b, scales);
  for (uint32_t c = 0; c < COLUMNS; c++) koi_block_bits(codes, c, 4, b[16 + c / 64 * 32 + c % 32] >> c % 64 / 32 * 4 & 15);
}

void koi_block_run_q4_k(const uint32_t *codes, const uint16_t *scales, uint32_t run, double out[KOI_RUN])
{
  for (uint32_t c = 0; c < RUN; c++) out[c] = scale_of(scales, run) * code(codes, c, 4) - minimum_of(scales, run);
}

void koi_block_split_q5_k(const uint8_t *b, uint32_t *codes, uint16_t *scales)
{
  split_scales(b, scales);
  for (uint32_t c = 0; c < COLUMNS; c++) {
    koi_block_bits(codes + c / RUN * 5, c % RUN, 4, b[48 + c / 64 * 32 + c % 32] >> c % 64 / 32 * 4 & 15);
    koi_block_bits(codes + c / RUN * 5 + 4, c % RUN, 1, b[16 + c % 32] >> c / 32 & 1);
  }
}

void koi_block_run_q5_k(const uint32_t *codes, const uint16_t *scales, uint32_t run, double out[KOI_RUN])
{
  for (uint32_t c = 0; c < RUN; c++) out[c] = scale_of(scales, run) * (code(codes, c, 4) | code(codes + 4, c, 1) << 4) - minimum_of(scales, run);
}

/* ---- Q6_K: nibbles, then the upper two bits of each; scales: d, then a signed byte for 16 columns ---- */
void koi_block_split_q6_k(const uint8_t *b, uint32_t *codes, uint16_t *scales)
{
  scales[0] = koi_block_half(b + 208);
  for (uint32_t i = 0; i < 8; i++) scales[1 + i] = koi_block_half(b + 192 + 2 * i);
  for (uint32_t c = 0; c < COLUMNS; c++) {
    uint32_t quarter = c % 128 / 32, n = c / 128;
    koi_block_bits(codes + c / RUN * 6, c % RUN, 4, b[n * 64 + quarter % 2 * 32 + c % 32] >> quarter / 2 * 4 & 15);
    koi_block_bits(codes + c / RUN * 6 + 4, c % RUN, 2, b[128 + n * 32 + c % 32] >> quarter * 2 & 3);
  }
}

void koi_block_run_q6_k(const uint32_t *codes, const uint16_t *scales, uint32_t run, double out[KOI_RUN])
{
  for (uint32_t c = 0; c < RUN; c++)
    out[c] = half(scales[0]) * (int8_t)field(scales + 1, run * 2 + c / 16, 8) * ((double)(code(codes, c, 4) | code(codes + 4, c, 2) << 4) - 32);
}
