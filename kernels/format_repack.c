/* Weights from a file's rows to strips of tiles, and random bits for those that are made up. Owns nothing. Does not allocate, so it cannot fail.
 * Invariant: every byte of the strips asked for is written; what lies past the rows or past k is zero.
 *
 * The words of a tile are little-endian pieces of a row as it lies in the file (two E4M3, eight E2M1, one float), so that repacking is
 * a transposition of 1-, 2- or 4-byte words, whatever the format. */
#include "format_impl.h"
#include <string.h>

enum { STRETCH = 64 };

/* ---- transposition: out[i * step + r] = rows[r][i] for n words of 16 rows, NULL rows being zero ---- */
#define TRANSPOSE(name, type) \
  static void name(const uint8_t *const *rows, size_t n, size_t step, type *out) \
  { \
    for (size_t i = 0; i < n; i += STRETCH / sizeof(type)) { /* a cache line of each row at a time */ \
      size_t end = n - i < STRETCH / sizeof(type) ? n - i : STRETCH / sizeof(type); \
      for (size_t r = 0; r < KOI_STRIP; r++) { \
        type line[STRETCH / sizeof(type)] = {0}; \
        if (rows[r]) memcpy(line, rows[r] + i * sizeof(type), end * sizeof(type)); \
        for (size_t j = 0; j < end; j++) out[(i + j) * step + r] = line[j]; \
      } \
    } \
  }
TRANSPOSE(transpose1, uint8_t)
TRANSPOSE(transpose2, uint16_t)
TRANSPOSE(transpose4, uint32_t)

/* `bytes` of each row, which need not fill the last word. */
static void transpose(const uint8_t *const *rows, size_t bytes, size_t word, size_t step, uint8_t *out)
{
  size_t n = bytes / word, rest = bytes % word;
  if (word == 4) transpose4(rows, n, step, (uint32_t *)(void *)out);
  else if (word == 2) transpose2(rows, n, step, (uint16_t *)(void *)out);
  else transpose1(rows, n, step, out);
  if (!rest) return;
  memset(out + n * word * step, 0, word * KOI_STRIP);
  for (size_t r = 0; r < KOI_STRIP; r++)
    if (rows[r]) memcpy(out + (n * step + r) * word, rows[r] + n * word, rest);
}

void koi_format_repack_words(const koi_weight_format *f, const koi_stored *m, uint64_t row, size_t n, const koi_strip *out)
{
  const uint8_t *rows[KOI_STRIP] = {0};
  size_t bytes = koi_format_row_bytes(f->wt, m->k);
  for (size_t r = 0; r < n; r++) rows[r] = m->weight + (row + r) * bytes;
  transpose(rows, bytes, f->streams[0].bytes, out->step, out->at[0]);
  if (!f->scale_rows) return;
  uint64_t columns = koi_ceil_div(m->k, f->scale_columns);
  for (size_t r = 0; r < n; r++) rows[r] = m->scale + (row + r) / f->scale_rows * columns;
  transpose(rows, columns, 1, out->step, out->at[1]);
}

/* ---- made-up weights ---- */
static const uint64_t weyl = 0x9e3779b97f4a7c15u;

static uint64_t mix(uint64_t *state)
{
  uint64_t z = *state += weyl;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

void koi_format_random_bits(uint64_t keep, uint64_t set, uint64_t seed, size_t bytes, uint8_t *out)
{
  size_t at = 0;
  for (; at + 8 <= bytes; at += 8) {
    uint64_t word = (mix(&seed) & keep) | set;
    memcpy(out + at, &word, 8);
  }
  uint64_t word = (mix(&seed) & keep) | set;
  memcpy(out + at, &word, bytes - at);
}

/* Clears the columns past k of the last words of codes. */
static void end_rows(const koi_stream *s, uint64_t k, uint8_t *last)
{
  uint32_t rest = k % s->columns, keep = rest && s->words == 1 ? (uint32_t)((UINT64_C(1) << (8 * s->bytes / s->columns * rest)) - 1) : UINT32_MAX;
  for (size_t i = 0; i < s->bytes * KOI_STRIP && rest; i++) last[i] &= (uint8_t)(keep >> i % s->bytes * 8);
}

void koi_format_random_strip(const koi_weight_format *f, const koi_stored *m, uint64_t row, size_t n, const koi_strip *out)
{
  uint64_t seed = m->rows * 0x100000001b3u ^ m->k << 40 ^ row << 8 ^ (uint64_t)f->wt;
  for (int i = 0; i < KOI_MAX_STREAMS && f->streams[i].name; i++, seed++) {
    const koi_stream *s = &f->streams[i];
    size_t bytes = s->bytes * KOI_STRIP, apart = s->bytes * out->step, words = koi_ceil_div(m->k, s->columns) * s->words;
    size_t each = out->step == KOI_STRIP ? words : 1; /* that lie one after the other */
    for (size_t w = 0; w < words; w += each) f->random(f, i, m->k, w, seed + w * bytes / 8 * weyl, each * bytes, out->at[i] + w * apart);
    if (!i) end_rows(s, m->k, out->at[i] + (words - 1) * apart);
    for (size_t w = 0; w < words && n < KOI_STRIP; w++) memset(out->at[i] + w * apart + n * s->bytes, 0, (KOI_STRIP - n) * s->bytes);
  }
}
