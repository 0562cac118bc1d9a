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

/* Clears the sign of each element of p. */
static void magnitudes(uint8_t *p, size_t bytes, uint32_t mask)
{
  for (size_t i = 0; i + 4 <= bytes; i += 4) {
    uint32_t u;
    memcpy(&u, p + i, 4);
    u &= mask;
    memcpy(p + i, &u, 4);
  }
}

void koi_verify_bound_linear(koi_verify_job *j, int codes, int wt)
{
  uint8_t *copy[KOI_MAX_BUFS] = {0};
  koi_ref_args a = {.i = j->v->i, .f = j->v->f, .c = j->v->c};
  size_t n = koi_op_n_bufs(j->op);
  for (size_t k = 0; k < n; k++) {
    koi_verify_slot *s = &j->slot[k];
    if (!s->in) continue;
    if (!(copy[k] = koi_alloc(s->bytes + 4, 1))) j->failed = true;
    else memcpy(copy[k], s->in, s->bytes);
    int stream = codes < 0 ? -1 : (int)k - codes;
    bool weight = stream >= 0 && stream < KOI_MAX_STREAMS && koi_formats[wt].streams[stream].name;
    if (copy[k] && weight) magnitudes(copy[k], s->bytes, koi_formats[wt].streams[stream].magnitude);
    else if (copy[k] && s->kind == KOI_VERIFY_F32) magnitudes(copy[k], s->bytes, koi_formats[KOI_WT_F32].streams[0].magnitude);
    a.buf[k] = copy[k], a.bytes[k] = s->bytes;
  }
  if (!j->failed) j->op->ref(&a);
  for (size_t k = 0; k < n && !j->failed; k++) {
    if (!copy[k] || !(j->op->bufs[k].access & KOI_OUT) || !bounds(j, (int)k)) continue;
    for (size_t e = 0; e < j->slot[k].bytes / 4; e++)
      j->slot[k].bound[e] = KOI_VERIFY_TOLERANCE * ((const float *)copy[k])[e] + (j->denormals ? 0x1p-149f : 0x1p-126f);
  }
  for (size_t k = 0; k < n; k++) koi_free(copy[k]);
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
