/* GGUF's IQ formats: a code stands for four or eight values of a grid, or is one of 16 values that are not evenly spaced. Owns nothing.
 * Codes of grids have their signs beside them: a bit each, or seven for eight values, whose eighth makes them even. */
#include "format_impl.h"

#define CONSTANT static const
#define uint uint32_t
#include "kernels/cl/grids.clh"
#undef uint

enum { RUN = KOI_RUN, RUNS = 8 /* of a block of 256 */ };

static double half(uint16_t bits) { return (double)koi_f16(bits); }
static double quarter_scale(const uint16_t *scales, uint32_t s) { return half(scales[0]) * (0.5 + s) * 0.25; }

/* n values of a point of a grid, of which the first has the lowest bit of `signs`. */
static void two_bits(uint32_t point, uint32_t signs, double scale, double *out)
{
  static const uint8_t values[] = {8, 25, 43};
  for (uint32_t i = 0; i < 8; i++) out[i] = scale * values[point >> 4 * i & 7] * (signs >> i & 1 ? -1 : 1);
}

static void three_bits(uint32_t point, uint32_t signs, double scale, const uint8_t *values, double *out)
{
  for (uint32_t i = 0; i < 4; i++) out[i] = scale * values[point >> 4 * i & 7] * (signs >> i & 1 ? -1 : 1);
}

/* The signs of group g of eight columns, of seven bits each. */
static uint32_t even_signs(uint32_t word, uint32_t g)
{
  uint32_t seven = word >> 7 * g & 127, odd = seven ^ seven >> 4;
  odd ^= odd >> 2, odd ^= odd >> 1;
  return seven | (odd & 1) << 7;
}

/* ---- IQ2_XXS: of 32 columns four codes of 8 bits, then four times seven signs and a scale of 4 bits ---- */
void koi_block_split_iq2_xxs(const uint8_t *b, uint32_t *codes, uint16_t *scales)
{
  scales[0] = koi_block_half(b);
  for (uint32_t w = 0; w < RUNS * 2; w++) codes[w] = koi_block_word(b + 2 + 4 * w);
}

void koi_block_run_iq2_xxs(const uint32_t *codes, const uint16_t *scales, uint32_t run, double out[KOI_RUN])
{
  (void)run;
  for (uint32_t g = 0; g < 4; g++) two_bits(iq2_xxs_grid[codes[0] >> 8 * g & 255], even_signs(codes[1], g), quarter_scale(scales, codes[1] >> 28), out + 8 * g);
}

/* ---- IQ2_XS: of 8 columns a code of 9 bits and seven signs; scales: d, then 4 bits for 16 columns ---- */
void koi_block_split_iq2_xs(const uint8_t *b, uint32_t *codes, uint16_t *scales)
{
  koi_block_split_iq2_xxs(b, codes, scales);
  for (uint32_t i = 0; i < 4; i++) scales[1 + i] = koi_block_half(b + 66 + 2 * i);
}

void koi_block_run_iq2_xs(const uint32_t *codes, const uint16_t *scales, uint32_t run, double out[KOI_RUN])
{
  for (uint32_t g = 0; g < 4; g++) {
    uint32_t code = codes[g / 2] >> g % 2 * 16 & 0xffff, s = scales[1 + run / 2] >> (run % 2 * 8 + g / 2 * 4) & 15;
    two_bits(iq2_xs_grid[code & 511], even_signs(code >> 9, 0), quarter_scale(scales, s), out + 8 * g);
  }
}

/* ---- IQ2_S: of 32 columns four times 8 bits of a code, then 32 signs; scales: d, then for 32 columns two scales of 4 bits, and above them four
 * times the two upper bits of a code ---- */
void koi_block_split_iq2_s(const uint8_t *b, uint32_t *codes, uint16_t *scales)
{
  scales[0] = koi_block_half(b);
  for (uint32_t run = 0; run < RUNS; run++) {
    codes[2 * run] = koi_block_word(b + 2 + 4 * run), codes[2 * run + 1] = koi_block_word(b + 34 + 4 * run);
    scales[1 + run] = (uint16_t)(b[74 + run] | b[66 + run] << 8);
  }
}

void koi_block_run_iq2_s(const uint32_t *codes, const uint16_t *scales, uint32_t run, double out[KOI_RUN])
{
  uint32_t s = scales[1 + run];
  for (uint32_t g = 0; g < 4; g++)
    two_bits(iq2_s_grid[(codes[0] >> 8 * g & 255) | (s >> (8 + 2 * g) & 3) << 8], codes[1] >> 8 * g, quarter_scale(scales, s >> g / 2 * 4 & 15), out + 8 * g);
}

/* ---- IQ3_XXS: of 32 columns eight codes of 8 bits, then four times seven signs and a scale of 4 bits ---- */
void koi_block_split_iq3_xxs(const uint8_t *b, uint32_t *codes, uint16_t *scales)
{
  scales[0] = koi_block_half(b);
  for (uint32_t run = 0; run < RUNS; run++) {
    codes[3 * run] = koi_block_word(b + 2 + 8 * run), codes[3 * run + 1] = koi_block_word(b + 6 + 8 * run);
    codes[3 * run + 2] = koi_block_word(b + 66 + 4 * run);
  }
}

void koi_block_run_iq3_xxs(const uint32_t *codes, const uint16_t *scales, uint32_t run, double out[KOI_RUN])
{
  static const uint8_t values[] = {4, 12, 20, 28, 36, 44, 52, 62};
  double scale = half(scales[0]) * (0.5 + (codes[2] >> 28)) * 0.5;
  (void)run;
  for (uint32_t g = 0; g < 8; g++) three_bits(iq3_xxs_grid[codes[g / 4] >> g % 4 * 8 & 255], even_signs(codes[2], g / 2) >> g % 2 * 4, scale, values, out + 4 * g);
}

/* ---- IQ3_S: of 32 columns eight times 8 bits of a code, then 32 signs; scales: d, then for 32 columns eight times the upper bit of a code,
 * then a scale of 4 bits each ---- */
void koi_block_split_iq3_s(const uint8_t *b, uint32_t *codes, uint16_t *scales)
{
  scales[0] = koi_block_half(b);
  for (uint32_t run = 0; run < RUNS; run++) {
    codes[3 * run] = koi_block_word(b + 2 + 8 * run), codes[3 * run + 1] = koi_block_word(b + 6 + 8 * run);
    codes[3 * run + 2] = koi_block_word(b + 74 + 4 * run);
  }
  for (uint32_t i = 0; i < 4; i++) scales[1 + i] = koi_block_half(b + 66 + 2 * i);
  for (uint32_t i = 0; i < 2; i++) scales[5 + i] = koi_block_half(b + 106 + 2 * i);
}

void koi_block_run_iq3_s(const uint32_t *codes, const uint16_t *scales, uint32_t run, double out[KOI_RUN])
{
  static const uint8_t values[] = {1, 3, 5, 7, 9, 11, 13, 15};
  uint32_t high = scales[1 + run / 2] >> run % 2 * 8, s = scales[5 + run / 4] >> run % 4 * 4 & 15;
  for (uint32_t g = 0; g < 8; g++)
    three_bits(iq3_s_grid[(codes[g / 4] >> g % 4 * 8 & 255) | (high >> g & 1) << 8], codes[2] >> 4 * g, half(scales[0]) * (1 + 2 * s), values, out + 4 * g);
}

/* ---- IQ4_NL, IQ4_XS: nibbles. Scales of IQ4_XS: d, then of 32 columns the two upper bits of a scale, then its lower four ---- */
static double uneven(const uint32_t *codes, uint32_t c)
{
  static const int8_t values[] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
  return values[codes[c / 8] >> c % 8 * 4 & 15];
}

void koi_block_run_iq4_nl(const uint32_t *codes, const uint16_t *scales, uint32_t run, double out[KOI_RUN])
{
  (void)run;
  for (uint32_t c = 0; c < RUN; c++) out[c] = half(scales[0]) * uneven(codes, c);
}

void koi_block_split_iq4_xs(const uint8_t *b, uint32_t *codes, uint16_t *scales)
{
  for (uint32_t i = 0; i < 4; i++) scales[i] = koi_block_half(b + 2 * i);
  for (uint32_t c = 0; c < RUNS * RUN; c++) koi_block_bits(codes, c, 4, b[8 + c / 32 * 16 + c % 16] >> c % 32 / 16 * 4 & 15);
}

void koi_block_run_iq4_xs(const uint32_t *codes, const uint16_t *scales, uint32_t run, double out[KOI_RUN])
{
  uint32_t s = (scales[2 + run / 4] >> run % 4 * 4 & 15) | (scales[1] >> 2 * run & 3) << 4;
  for (uint32_t c = 0; c < RUN; c++) out[c] = half(scales[0]) * ((double)s - 32) * uneven(codes, c);
}
