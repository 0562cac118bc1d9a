/* Weights of the cases that multiply or widen them, tile by tile. Owns nothing: the slots are the job's.
 * Invariant: no product of a code and its scale overflows; only with care are there NaNs, and scales beyond the fast decoders' range. */
#include "verify_weights.h"

/* The scale of one row's block: with care anything at times, but what would overflow; else what the fast decoder promises, mostly near 1. */
static uint8_t scale_code(koi_verify_job *j, const koi_verify_weight *w)
{
  int32_t what = koi_verify_below(j, 16);
  if (!w->care) return (uint8_t)(what ? 112 + koi_verify_below(j, 16) : 16 + koi_verify_below(j, w->one_hot ? 225 : 128));
  if (what == 0) return 0;
  if (what == 1) return (uint8_t)koi_verify_below(j, 20);
  if (what == 2) return w->one_hot ? (uint8_t)(230 + koi_verify_below(j, 25)) : (uint8_t)(140 + koi_verify_below(j, 80));
  return (uint8_t)(112 + koi_verify_below(j, 16));
}

/* A code of FP8 or FP4 that times its scale stays below infinity. */
static uint32_t small_code(koi_verify_job *j, const koi_verify_weight *w, uint8_t scale)
{
  uint32_t code = (uint32_t)koi_verify_bits(j) & (w->wt == FP8 ? 0xff : 0xf), top = w->wt == FP8 ? 0x7f : 7;
  if (scale >= 240) code = (code & (top + 1)) | ((code & top) % (w->wt == FP8 ? 0x39 : 3)); /* at most 1 */
  else if (w->wt == FP8 && (code & top) == top) code ^= 1;                                 /* not NaN */
  return code;
}

/* One row of a tile in FP8 or FP4. With care some rows have a NaN: a code, or a scale. */
static void packed_row(koi_verify_job *j, const koi_verify_weight *w, uint8_t *codes, uint8_t *scales, size_t r)
{
  size_t block = w->wt == FP8 ? 128 : 32;
  uint8_t scale = 0;
  for (size_t k = 0; k < w->k; k++) {
    if (k % block == 0) scales[k / block * w->tile + r] = scale = scale_code(j, w);
    uint32_t code = small_code(j, w, scale);
    if (w->wt == FP8) ((uint16_t *)codes)[k / 2 * w->tile + r] |= (uint16_t)(code << k % 2 * 8);
    else ((uint32_t *)codes)[k / 8 * w->tile + r] |= code << k % 8 * 4;
  }
  if (!w->care || w->wt == MXFP4 || koi_verify_below(j, 4)) return;
  size_t k = (size_t)koi_verify_below(j, (int32_t)w->k);
  if (w->wt == FP8 && koi_verify_below(j, 2)) ((uint16_t *)codes)[k / 2 * w->tile + r] |= (uint16_t)(0x7f << k % 2 * 8);
  else scales[k / block * w->tile + r] = 255;
}

/* One row of blocks: any codes and small scales, and halves that make weights of order one; of single weights any halves that are finite. */
static void block_row(koi_verify_job *j, const koi_verify_weight *w, uint8_t *codes, uint8_t *scales, size_t r)
{
  const koi_weight_format *f = &koi_formats[w->wt];
  size_t n_codes = w->k / KOI_RUN * f->streams[0].words, n_scales = w->k / f->block_columns * f->streams[1].words;
  for (size_t i = 0; i < n_codes; i++) ((uint32_t *)codes)[i * w->tile + r] = (uint32_t)koi_verify_bits(j);
  for (size_t i = 0; i < n_scales; i++) {
    uint16_t bits = (uint16_t)koi_verify_bits(j);
    if (i % f->streams[1].words < f->halves) {
      if (!w->one_hot) bits = (uint16_t)((bits & 0x83ff) | (15 - f->level) << 10);
      else if (!(~bits & 0x7c00)) bits ^= 0x4000;
    }
    ((uint16_t *)scales)[i * w->tile + r] = bits;
  }
}

static void plain_row(koi_verify_job *j, const koi_verify_weight *w, uint8_t *codes, size_t r)
{
  uint16_t top = w->wt == F16 ? 0x7c00 : 0x7f80; /* the exponent bits */
  for (size_t k = 0; k < w->k; k++) {
    size_t at = k * w->tile + r;
    uint64_t bits = koi_verify_bits(j);
    if (w->wt == F32) ((float *)codes)[at] = koi_verify_real(j, -1, 1);
    else if (w->one_hot) ((uint16_t *)codes)[at] = (uint16_t)(~bits & top ? bits : bits ^ 0x4000); /* any that is finite */
    else if (w->wt == BF16) ((uint16_t *)codes)[at] = koi_ref_to_bf16(koi_verify_real(j, -1, 1));
    else ((uint16_t *)codes)[at] = (uint16_t)((bits & 0x83ff) | (bits >> 16 & 15) << 10); /* up to 1, subnormals too */
  }
}

/* ---- layouts ---- */
static int32_t *int_named(const koi_op *op, koi_verify_case *v, const char *name)
{
  for (size_t i = 0; i < koi_op_n_ints(op); i++)
    if (!strcmp(op->ints[i], name)) return &v->i[i];
  return NULL;
}

/* Tile t of 16 rows of a stack: the tile of `tile` rows that it lies in, or (end) the first one that begins where t does, or later. */
static int32_t moved(int32_t t, int32_t sub_rows, int32_t tile, bool end)
{
  int32_t was = (int32_t)koi_tiles((uint64_t)sub_rows, KOI_STRIP), is = (int32_t)koi_tiles((uint64_t)sub_rows, (uint32_t)tile), strips = tile / KOI_STRIP;
  return t / was * is + (t % was + (end ? strips - 1 : 0)) / strips;
}

void koi_verify_lay(const koi_op *op, koi_verify_case *v, int32_t tile)
{
  int32_t *tile0 = int_named(op, v, "tile0"), *tile1 = int_named(op, v, "tile1"), *row0 = int_named(op, v, "row0"), *sub_rows = int_named(op, v, "sub_rows");
  v->c[koi_op_const(op, "TILE")] = tile;
  if (sub_rows) *tile0 = moved(*tile0, *sub_rows, tile, false), *tile1 = moved(*tile1, *sub_rows, tile, true);
  else if (tile0) *tile0 /= tile / KOI_STRIP; /* of one matrix */
  if (row0) *row0 -= *row0 % tile;
}

void koi_verify_weights_at(koi_verify_job *j, int slot, const koi_verify_weight *w)
{
  size_t code_bytes = koi_format_tile_bytes(w->wt, 0, w->k, (uint32_t)w->tile), scale_bytes = koi_format_tile_bytes(w->wt, 1, w->k, (uint32_t)w->tile);
  size_t n_tiles = w->tile1 - w->tile0, per_sub = koi_tiles(w->sub_rows, (uint32_t)w->tile);
  uint8_t *codes = koi_verify_bytes(j, slot, w->n_units * n_tiles * code_bytes, KOI_VERIFY_RAW);
  uint8_t *scales = koi_verify_bytes(j, slot + 1, w->n_units * n_tiles * scale_bytes, KOI_VERIFY_RAW);
  if (j->failed) return;
  for (size_t at = 0; at < w->n_units * n_tiles; at++) {
    size_t row = (w->tile0 + at % n_tiles) % per_sub * w->tile;
    for (size_t r = 0; r < w->tile && row + r < w->sub_rows; r++) {
      if (koi_formats[w->wt].split) block_row(j, w, codes + at * code_bytes, scales + at * scale_bytes, r);
      else if (w->wt == FP8 || w->wt == FP4 || w->wt == MXFP4) packed_row(j, w, codes + at * code_bytes, scales + at * scale_bytes, r);
      else plain_row(j, w, codes + at * code_bytes, r);
    }
  }
}

void koi_verify_weights(koi_verify_job *j, const koi_verify_weight *w) { koi_verify_weights_at(j, MATVEC_W, w); }

void koi_verify_spread(koi_verify_job *j, int32_t *rows, int32_t n_places, int32_t n)
{
  for (int32_t i = 0; i < n_places; i++) rows[i] = i < n ? i : -1;
  for (int32_t i = n_places - 1; i > 0; i--) {
    int32_t k = koi_verify_below(j, i + 1), t = rows[i];
    rows[i] = rows[k], rows[k] = t;
  }
}
