/* Weights from a file's rows to tiles of 16 rows (kernels/layout.h), and made-up weights for models without files.
 * Owns nothing. Does not allocate, so it cannot fail.
 * Invariant: every byte of the tiles asked for is written; what lies past the rows or past k is zero.
 *
 * The words of the layout are little-endian pieces of a row as it lies in the file (two E4M3, eight E2M1, one float), so that repacking is
 * a transposition of 1-, 2- or 4-byte words, whatever the type. */
#include "repack.h"
#include <string.h>
#include "kernels/layout.h"
#include "kernels/ops.h"

enum { FP8_BLOCK = 128, FP4_BLOCK = 32, STRETCH = 64, SCALE_LOW = 16, SCALE_HIGH = 240 }; /* SCALE_*: of the fast decoders */

typedef struct form { int wt; size_t word, columns; } form; /* bytes of a word, columns in it */

static form form_of(koi_dtype d)
{
  static const form forms[KOI_N_DTYPES] = {[KOI_F32] = {KOI_WT_F32, 4, 1}, [KOI_F16] = {KOI_WT_F16, 2, 1}, [KOI_BF16] = {KOI_WT_BF16, 2, 1},
                                           [KOI_F8_E4M3] = {KOI_WT_FP8, 2, 2}, [KOI_I8] = {KOI_WT_FP4, 4, 8}, [KOI_U8] = {KOI_WT_FP4, 4, 8}};
  return forms[d];
}

/* ---- transposition: out[i][r] = rows[r][i] for n words of 16 rows, NULL rows being zero ---- */
#define TRANSPOSE(name, type) \
  static void name(const uint8_t *const *rows, size_t n, type *out) \
  { \
    for (size_t i = 0; i < n; i += STRETCH / sizeof(type)) { /* a cache line of each row at a time */ \
      size_t end = n - i < STRETCH / sizeof(type) ? n - i : STRETCH / sizeof(type); \
      for (size_t r = 0; r < KOI_TILE; r++) { \
        type line[STRETCH / sizeof(type)] = {0}; \
        if (rows[r]) memcpy(line, rows[r] + i * sizeof(type), end * sizeof(type)); \
        for (size_t j = 0; j < end; j++) out[(i + j) * KOI_TILE + r] = line[j]; \
      } \
    } \
  }
TRANSPOSE(transpose1, uint8_t)
TRANSPOSE(transpose2, uint16_t)
TRANSPOSE(transpose4, uint32_t)

/* `bytes` of each row, which need not fill the last word. */
static void transpose(const uint8_t *const *rows, size_t bytes, size_t word, uint8_t *out)
{
  size_t n = bytes / word, rest = bytes % word;
  if (word == 4) transpose4(rows, n, (uint32_t *)(void *)out);
  else if (word == 2) transpose2(rows, n, (uint16_t *)(void *)out);
  else transpose1(rows, n, out);
  if (!rest) return;
  memset(out + n * word * KOI_TILE, 0, word * KOI_TILE);
  for (size_t r = 0; r < KOI_TILE; r++)
    if (rows[r]) memcpy(out + (n * KOI_TILE + r) * word, rows[r] + n * word, rest);
}

/* ---- one tile ---- */
static size_t row_bytes(const koi_matrix *m, const form *f) { return f->wt == KOI_WT_FP4 ? (m->k + 1) / 2 : m->k * (f->word / f->columns); }

static void tile_codes(const koi_matrix *m, const form *f, uint64_t row, size_t n, uint8_t *out)
{
  const uint8_t *rows[KOI_TILE] = {0};
  size_t bytes = row_bytes(m, f);
  for (size_t r = 0; r < n; r++) rows[r] = m->weight->data + (row + r) * bytes;
  transpose(rows, bytes, f->word, out);
}

static void tile_scales(const koi_matrix *m, const form *f, uint64_t row, size_t n, uint8_t *out)
{
  const uint8_t *rows[KOI_TILE] = {0};
  uint64_t per = f->wt == KOI_WT_FP8 ? FP8_BLOCK : 1, columns = koi_ceil_div(m->k, f->wt == KOI_WT_FP8 ? FP8_BLOCK : FP4_BLOCK);
  for (size_t r = 0; r < n; r++) rows[r] = m->scale->data + (row + r) / per * columns;
  transpose(rows, columns, 1, out);
}

/* ---- made-up weights ---- */
static uint64_t mix(uint64_t *state)
{
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

/* Exponent e so that k weights of about 2^e give sums of order one: -log2(k) / 2. */
static int level(uint64_t k)
{
  int e = 0;
  for (; k > 3; k /= 4) e--;
  return e;
}

/* Random bits become words of a type by an and and an or: signs and low bits stay random; floats lie between 2^e and 2^(e+1) in size, E4M3
 * codes below 2, E2M1 codes anywhere. */
typedef struct shape { uint64_t keep, set; } shape;

static shape shape_of(int wt, uint64_t k)
{
  uint64_t e = (uint64_t)(level(k) + 127), half = (uint64_t)(level(k) < -14 ? 1 : level(k) + 15);
  const shape shapes[] = {
    [KOI_WT_F32] = {0x807fffff807fffffu, e << 23 | e << 55},
    [KOI_WT_F16] = {0x83ff83ff83ff83ffu, half * 0x0400040004000400u},
    [KOI_WT_BF16] = {0x807f807f807f807fu, e * 0x0080008000800080u},
    [KOI_WT_FP8] = {0xbfbfbfbfbfbfbfbfu, 0}, /* exponent up to 7: never a NaN */
    [KOI_WT_FP4] = {UINT64_MAX, 0}};
  return shapes[wt];
}

static void make_bytes(shape s, uint64_t state, size_t bytes, uint8_t *out)
{
  size_t at = 0;
  for (; at + 8 <= bytes; at += 8) {
    uint64_t word = (mix(&state) & s.keep) | s.set;
    memcpy(out + at, &word, 8);
  }
  uint64_t word = (mix(&state) & s.keep) | s.set;
  memcpy(out + at, &word, bytes - at);
}

static void make_codes(const koi_matrix *m, const form *f, uint64_t row, size_t n, size_t bytes, uint8_t *out)
{
  make_bytes(shape_of(f->wt, m->k), m->rows * 0x100000001b3u ^ m->k << 40 ^ row << 8 ^ (uint64_t)f->wt, bytes, out);
  size_t rest = m->k % f->columns;
  if (rest) { /* past k: zero */
    uint32_t keep = (uint32_t)((UINT64_C(1) << (8 * f->word / f->columns * rest)) - 1);
    uint8_t *last = out + bytes - f->word * KOI_TILE;
    for (size_t i = 0; i < f->word * KOI_TILE; i++) last[i] &= (uint8_t)(keep >> i % f->word * 8);
  }
  if (n == KOI_TILE) return;
  for (size_t i = 0; i < bytes; i += f->word * KOI_TILE) memset(out + i + n * f->word, 0, (KOI_TILE - n) * f->word);
}

static void make_scales(const koi_matrix *m, const form *f, size_t n, size_t bytes, uint8_t *out)
{
  int e = level(m->k) - (f->wt == KOI_WT_FP4 ? 1 : 0); /* E2M1's mean square is near 2^3, E4M3's below 2 near 2^-1 */
  for (size_t i = 0; i < bytes; i++) out[i] = i % KOI_TILE < n ? (uint8_t)(127 + e) : 0;
}

/* ---- what callers use ---- */
void koi_repack_rows(const koi_matrix *m, uint64_t row0, uint64_t rows, uint64_t tile0, uint64_t tile1, void *codes, void *scales)
{
  form f = form_of(m->dtype);
  size_t code_bytes = koi_layout_code_bytes(f.wt, m->k), scale_bytes = koi_layout_scale_bytes(f.wt, m->k);
  uint8_t *code = codes, *scale = scales;
  for (uint64_t t = tile0; t < tile1; t++, code += code_bytes) {
    uint64_t row = t * KOI_TILE, left = rows > row ? rows - row : 0;
    size_t n = left < KOI_TILE ? left : KOI_TILE;
    if (m->weight) tile_codes(m, &f, row0 + row, n, code);
    else make_codes(m, &f, row0 + row, n, code_bytes, code);
    if (!scale_bytes) continue;
    if (m->scale) tile_scales(m, &f, row0 + row, n, scale);
    else make_scales(m, &f, n, scale_bytes, scale);
    scale += scale_bytes;
  }
}

static bool scales_need_care(const koi_tensor *t)
{
  uint8_t low = 255, high = 0;
  for (size_t i = 0; i < t->bytes; i++) {
    low = t->data[i] < low ? t->data[i] : low;
    high = t->data[i] > high ? t->data[i] : high;
  }
  return t->bytes && (low < SCALE_LOW || high > SCALE_HIGH);
}

/* Whether an E4M3 code is a NaN: 0x7f or 0xff. */
static bool codes_need_care(const koi_tensor *t)
{
  uint64_t found = 0;
  size_t i = 0;
  for (; i + 8 <= t->bytes; i += 8) {
    uint64_t eight;
    memcpy(&eight, t->data + i, 8);
    found |= (eight & 0x7f7f7f7f7f7f7f7fu) + 0x0101010101010101u;
  }
  for (; i < t->bytes; i++) found |= (t->data[i] & 0x7fu) + 1u;
  return found & 0x8080808080808080u;
}

bool koi_repack_care(const koi_matrix *m)
{
  if (!m->weight || !m->scale) return false;
  return scales_need_care(m->scale) || (m->dtype == KOI_F8_E4M3 && codes_need_care(m->weight));
}

void koi_repack_random_rows(const koi_matrix *m, uint64_t row0, uint64_t n, void *out)
{
  form f = form_of(m->dtype);
  size_t bytes = m->k * f.word;
  for (uint64_t r = 0; r < n; r++) make_bytes(shape_of(f.wt, 1), (row0 + r) << 20 ^ m->k, bytes, (uint8_t *)out + r * bytes);
}
