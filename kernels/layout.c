/* Sizes of cache pages and the stored types' values, one at a time. Owns nothing; no tables, so that it can be the judge of those that have.
 * Invariant: every code of every type has its exact value (E8M0 255 and E4M3 0x7f, 0xff are NaN). */
#include "layout.h"
#include <math.h>
#include <string.h>

enum { PART_ALIGN = 64, KV_GROUP = 64, INDEX_CODES = 8 /* of a word */, INDEX_GROUP = 32 };
static uint64_t padded(uint64_t bytes) { return koi_ceil_div(bytes, PART_ALIGN) * PART_ALIGN; }

uint64_t koi_layout_kv_page(int exact, uint32_t dh, uint32_t rd, uint32_t page)
{
  uint64_t plain = dh - rd;
  return padded(page * (exact ? 4 * (uint64_t)dh : plain + koi_ceil_div(plain, KV_GROUP) + 2 * (uint64_t)rd));
}

uint64_t koi_layout_index_page(int exact, uint32_t ih, uint32_t page)
{
  return padded(page * (exact ? 4 * (uint64_t)ih : 4 * koi_ceil_div(ih, INDEX_CODES) + koi_ceil_div(ih, INDEX_GROUP)));
}

uint64_t koi_layout_state(uint32_t rows, uint32_t width) { return padded(2 * sizeof(float) * (uint64_t)rows * width); }

/* A float format with `exp` exponent and `man` mantissa bits, its sign above them; without infinities. */
static float small(unsigned code, int exp, int man, int bias)
{
  unsigned e = code >> man & ((1u << exp) - 1), m = code & ((1u << man) - 1);
  float v = ldexpf((float)(e ? m | 1u << man : m), (int)(e ? e : 1) - bias - man);
  return code >> (exp + man) & 1 ? -v : v;
}

float koi_e2m1(uint8_t code) { return small(code & 15, 2, 1, 1); }
float koi_e4m3(uint8_t code) { return (code & 0x7f) == 0x7f ? NAN : small(code, 4, 3, 7); }
float koi_e8m0(uint8_t code) { return code == 255 ? NAN : ldexpf(1, code - 127); }

float koi_bf16(uint16_t bits)
{
  uint32_t u = (uint32_t)bits << 16;
  float v;
  memcpy(&v, &u, sizeof v);
  return v;
}

float koi_f16(uint16_t bits)
{
  if ((bits & 0x7c00) != 0x7c00) return small(bits, 5, 10, 15);
  if (bits & 0x3ff) return NAN;
  return bits & 0x8000 ? -INFINITY : INFINITY;
}
