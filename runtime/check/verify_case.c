/* Inputs and bounds of the cases that the verifier runs: a fixed random generator, slots, allowed errors. Owns what the slots of a job point
 * to until verify.c frees it. Invariant: the same case has the same bytes on every machine. */
#include "verify_case.h"

uint64_t koi_verify_bits(koi_verify_job *j) /* xorshift64* */
{
  j->seed ^= j->seed >> 12, j->seed ^= j->seed << 25, j->seed ^= j->seed >> 27;
  return j->seed * 0x2545f4914f6cdd1du;
}

int32_t koi_verify_below(koi_verify_job *j, int32_t n) { return (int32_t)((koi_verify_bits(j) >> 33) % (uint64_t)n); }

float koi_verify_real(koi_verify_job *j, float low, float high)
{
  return low + (high - low) * (float)(koi_verify_bits(j) >> 40) * 0x1p-24f;
}

void *koi_verify_bytes(koi_verify_job *j, int slot, size_t bytes, koi_verify_kind kind)
{
  koi_verify_slot *s = &j->slot[slot];
  size_t whole = (bytes + 3) / 4 * 4;
  *s = (koi_verify_slot){.bytes = bytes, .kind = kind, .same_as = -1, .in = koi_alloc(whole, 1), .want = koi_alloc(whole, 1), .got = koi_alloc(whole, 1)};
  if (!s->in || !s->want || !s->got) j->failed = true;
  return j->failed ? NULL : s->in;
}

float *koi_verify_floats(koi_verify_job *j, int slot, size_t n, float size)
{
  float *x = koi_verify_bytes(j, slot, n * sizeof *x, KOI_VERIFY_F32);
  for (size_t i = 0; x && i < n; i++) x[i] = koi_verify_real(j, -size, size);
  return x;
}

/* Truncated, subnormals as 0: only an input. */
static uint16_t to_f16(float x)
{
  uint32_t u;
  memcpy(&u, &x, 4);
  int e = (int)(u >> 23 & 255) - 112;
  return (uint16_t)((u >> 16 & 0x8000) | (e > 0 ? (uint32_t)e << 10 | (u >> 13 & 0x3ff) : 0));
}

void koi_verify_typed(koi_verify_job *j, int slot, int type, size_t n, float middle, float size)
{
  size_t each = type == KOI_WT_F32 ? 4 : 2;
  void *p = koi_verify_bytes(j, slot, n * each, each == 4 ? KOI_VERIFY_F32 : KOI_VERIFY_RAW);
  for (size_t i = 0; p && i < n; i++) {
    float x = koi_verify_real(j, middle - size, middle + size);
    if (type == KOI_WT_F32) ((float *)p)[i] = x;
    else if (type == KOI_WT_BF16) ((uint16_t *)p)[i] = koi_ref_to_bf16(x);
    else ((uint16_t *)p)[i] = koi_verify_below(j, 32) ? to_f16(x) : (uint16_t)(koi_verify_bits(j) & 0x83ff);
  }
}

void *koi_verify_out(koi_verify_job *j, int slot, size_t bytes, koi_verify_kind kind)
{
  static const uint32_t poison = KOI_VERIFY_POISON;
  uint8_t *p = koi_verify_bytes(j, slot, bytes, kind);
  for (size_t i = 0; p && i < bytes; i++) p[i] = ((const uint8_t *)&poison)[i % 4];
  return p;
}

/* ---- bounds ---- */
static float *bounds(koi_verify_job *j, int slot)
{
  koi_verify_slot *s = &j->slot[slot];
  if (!s->bound) s->bound = koi_alloc(s->bytes / 4 + 1, sizeof *s->bound);
  if (!s->bound) j->failed = true;
  return s->bound;
}

static float *magnitudes(const uint8_t *in, size_t bytes)
{
  float *out = koi_alloc(bytes / 4 + 1, sizeof *out);
  if (out) memcpy(out, in, bytes);
  for (size_t i = 0; out && i < bytes / 4; i++) out[i] = fabsf(out[i]);
  return out;
}

/* A weight's tiles as F32 tiles of its values' magnitudes. */
static float *weight_magnitudes(koi_verify_job *j, int wt, size_t k, uint32_t tile)
{
  const koi_weight_format *f = &koi_formats[wt];
  uint8_t *stream[KOI_MAX_STREAMS] = {NULL};
  size_t n = k * KOI_STRIP, n_strips = j->slot[MATVEC_W].bytes / koi_format_tile_bytes(wt, 0, k, KOI_STRIP);
  float *out = koi_alloc(n_strips * n, sizeof *out);
  double(*one)[KOI_STRIP] = koi_alloc(k, sizeof *one);
  koi_values v;
  koi_values_fill(&v);
  for (int s = 0; s < KOI_MAX_STREAMS && f->streams[s].name; s++) stream[s] = j->slot[MATVEC_W + s].in;
  for (size_t at = 0; at < n_strips && out && one; at++) {
    koi_strip from = koi_format_strip(wt, k, tile, stream, at), to = koi_format_strip(KOI_WT_F32, k, tile, (uint8_t *[KOI_MAX_STREAMS]){(uint8_t *)out}, at);
    f->decode(f, &v, &from, 0, k, one);
    for (size_t i = 0; i < n; i++) ((float *)(void *)to.at[0])[i / KOI_STRIP * to.step + i % KOI_STRIP] = fabsf((float)one[i / KOI_STRIP][i % KOI_STRIP]);
  }
  koi_free(one);
  return one ? out : (koi_free(out), NULL);
}

void koi_verify_bound_linear(koi_verify_job *j, int wt, size_t k, int32_t tile)
{
  void *copy[KOI_MAX_BUFS] = {0};
  int32_t c[KOI_MAX_CONSTS];
  koi_ref_args a = {.i = j->v->i, .f = j->v->f, .c = c};
  size_t n = koi_op_n_bufs(j->op);
  memcpy(c, j->v->c, sizeof c);
  for (size_t b = 0; b < n && !j->failed; b++) {
    koi_verify_slot *s = &j->slot[b];
    bool weight = wt != KOI_FORMAT_NONE && b == MATVEC_W;
    if (!s->in || (s->kind == KOI_VERIFY_RAW && !weight)) continue;
    if (weight) copy[b] = weight_magnitudes(j, wt, k, (uint32_t)tile), c[MATVEC_WT] = KOI_WT_F32;
    else if (s->kind == KOI_VERIFY_F32) copy[b] = magnitudes(s->in, s->bytes);
    else if ((copy[b] = koi_alloc(s->bytes + 1, 1))) memcpy(copy[b], s->in, s->bytes);
    if (!copy[b]) j->failed = true;
    a.buf[b] = copy[b], a.bytes[b] = s->bytes;
  }
  if (!j->failed) j->op->ref(&a);
  for (size_t b = 0; b < n && !j->failed; b++) {
    if (!copy[b] || !(j->op->bufs[b].access & KOI_OUT) || !bounds(j, (int)b)) continue;
    for (size_t e = 0; e < j->slot[b].bytes / 4; e++)
      j->slot[b].bound[e] = KOI_VERIFY_TOLERANCE * ((const float *)copy[b])[e] + (j->denormals ? 0x1p-149f : 0x1p-126f);
  }
  for (size_t b = 0; b < n; b++) koi_free(copy[b]);
}

void koi_verify_bound_rows(koi_verify_job *j, int slot, size_t n, float relative)
{
  const float *want = (const float *)j->slot[slot].want;
  float *bound = bounds(j, slot);
  for (size_t i = 0; bound && i < j->slot[slot].bytes / 4; i += n) {
    float most = 0;
    for (size_t k = 0; k < n; k++)
      if (fabsf(want[i + k]) > most) most = fabsf(want[i + k]); /* what was not written is NaN and does not count */
    for (size_t k = 0; k < n; k++) bound[i + k] = relative * most;
  }
}

void koi_verify_bound_each(koi_verify_job *j, int slot, float relative, float least)
{
  const float *want = (const float *)j->slot[slot].want;
  float *bound = bounds(j, slot);
  for (size_t i = 0; bound && i < j->slot[slot].bytes / 4; i++) bound[i] = relative * fabsf(want[i]) > least ? relative * fabsf(want[i]) : least;
}
