/* Cases of the ops that join others, for the verifier. Tables of calls, and how their inputs are made. */
#include <stdbool.h>
#include "verify_pages.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
enum { F32 = KOI_WT_F32, F16 = KOI_WT_F16, BF16 = KOI_WT_BF16 };
#define KV(exact, dh, rd, page) KOI_VERIFY_LAYERS(KOI_VERIFY_KV_PART(exact, dh, rd, page))

/* ---- latents ---- */
static const koi_verify_case latents_cases[] = {
  /* EXACT, DH, RD, PAGE, NORM_WT | n, n_kept, q_dim, table, ring, page_bytes, at, R, coff, slot_bytes, a_dim, a_at, b_dim, b_at | eps */
  {"no compressor", {0, 96, 32, 16, BF16}, {1, 0, 128, 0, 2, KV(0, 96, 32, 16), 4, 2, 64, 8, 0, 8, 0, SEQS 45, 1}, {1e-6f}, 0},
  {"exact, no compressor", {1, 96, 32, 16, F16}, {3, 0, 75, 1, 2, KV(1, 96, 32, 16), 4, 2, 64, 8, 0, 8, 0, SEQS 45, 1, 0, 1, 700, 1}, {0.25f}, 0},
  {"one compressor", {1, 77, 6, 48, F32}, {2, 1, 60, 0, 3, KV(1, 77, 6, 48), 128, 1, 3 * 128 * 8 * 40, 40, 128 * 8 * 40, 8, 0, SEQS 127, 1, 4600, 1}, {1e-6f}, 0},
  {"two compressors", {0, 130, 32, 16, F32}, {4, 2, 33, 2, 2, KV(0, 130, 32, 16), 4, 2, 8 * 8 * 2 * 100, 33, 64, 48, 8 * 8 * 2 * 48, SEQS 6, 1, 0, 1, 31, 1, 4603, 1}, {1e-6f}, 0},
  {"full width", {0, 512, 64, 64, BF16}, {1, 2, 1024, 0, 3, KV(0, 512, 64, 64), 4, 2, 8 * 8 * 2 * 640, 512, 0, 128, 8 * 8 * 2 * 512, SEQS 190, 1}, {1e-6f}, KOI_VERIFY_BIG},
};

/* A row whose values are all of one size, and weights that E4M3 has and whose largest is no edge of a scale: whatever the last bits of the norm
 * are, the codes are the same. Turns of a quarter keep it so. */
static void make_turns(koi_verify_job *j, float *rope, size_t n)
{
  for (size_t k = 0; k < n; k += 2) {
    int turn = koi_verify_below(j, 4);
    rope[k] = turn % 2 ? 0 : (float)(1 - turn), rope[k + 1] = turn % 2 ? (float)(2 - turn) : 0;
  }
}

static void make_sure_of_codes(koi_verify_job *j, float *kv, float *rope)
{
  const int32_t *c = j->v->c;
  size_t dh = (size_t)c[LATENTS_DH], rd = (size_t)c[LATENTS_RD], n = (size_t)j->v->i[LATENTS_N];
  koi_verify_slot *norm = &j->slot[LATENTS_KV_NORM];
  for (size_t k = 0; k < n * dh; k++) kv[k] = ldexpf(koi_verify_below(j, 2) ? 1 : -1, (int)(k / dh));
  make_turns(j, rope, n * rd);
  for (size_t d = 0; d < dh; d++) {
    float w = ldexpf(1 + (float)koi_verify_below(j, 6) / 8, koi_verify_below(j, 4)) * (koi_verify_below(j, 2) ? 1 : -1);
    if (c[LATENTS_NORM_WT] == F32) ((float *)norm->in)[d] = w;
    else ((uint16_t *)norm->in)[d] = koi_ref_to_bf16(w);
  }
}

static void make_kept(koi_verify_job *j)
{
  const int32_t *i = j->v->i, *seq = koi_verify_seq(j->v);
  size_t n = (size_t)i[LATENTS_N];
  int32_t slot[KOI_VERIFY_SEQS], *keep = koi_verify_bytes(j, LATENTS_KEEPS, n * POOL_KEEP_RECORD * 4, KOI_VERIFY_I32);
  koi_verify_pool p = {.slab0 = LATENTS_S0, .bytes = i[LATENTS_SLOT_BYTES], .kind = KOI_VERIFY_F32, .out = true};
  koi_verify_places(j, &p, slot, n);
  for (size_t s = 0; s < n && !j->failed; s++, keep += POOL_KEEP_RECORD)
    keep[KEEP_ROW] = (int32_t)s, keep[KEEP_N] = 1, keep[KEEP_P0] = seq[2 * s], keep[KEEP_FROM] = keep[KEEP_TO] = slot[s];
  koi_verify_chunk(j, LATENTS_A, n, (size_t)(2 * i[LATENTS_COFF] * i[LATENTS_A_DIM]), (size_t)(i[LATENTS_COFF] * i[LATENTS_A_DIM]));
  koi_verify_chunk(j, LATENTS_B, n, (size_t)(2 * i[LATENTS_COFF] * i[LATENTS_B_DIM]), (size_t)(i[LATENTS_COFF] * i[LATENTS_B_DIM]));
}

static void make_latents(koi_verify_job *j)
{
  const int32_t *i = j->v->i, *c = j->v->c, *seq = koi_verify_seq(j->v);
  size_t n = (size_t)i[LATENTS_N], dh = (size_t)c[LATENTS_DH], rd = (size_t)c[LATENTS_RD];
  koi_verify_pool p = {.slab0 = LATENTS_W0, .bytes = i[LATENTS_PAGE_BYTES], .at = i[LATENTS_AT], .table = i[LATENTS_TABLE], .ring = i[LATENTS_RING],
                       .page = c[LATENTS_PAGE], .kind = c[LATENTS_EXACT] ? KOI_VERIFY_F32 : KOI_VERIFY_RAW, .out = true};
  for (size_t s = 0; s < KOI_VERIFY_SEQS; s++) p.first[s] = (size_t)seq[2 * s], p.end[s] = p.first[s] + (size_t)seq[2 * s + 1];
  koi_verify_floats(j, LATENTS_Q, n * (size_t)i[LATENTS_Q_DIM], 3);
  koi_verify_typed(j, LATENTS_Q_NORM, c[LATENTS_NORM_WT], (size_t)i[LATENTS_Q_DIM], 1, 0.5f);
  koi_verify_typed(j, LATENTS_KV_NORM, c[LATENTS_NORM_WT], dh, 1, 0.5f);
  float *kv = koi_verify_floats(j, LATENTS_KV, n * dh, 3), *rope = koi_verify_floats(j, LATENTS_ROPE, n * rd, 1);
  koi_verify_tables(j, LATENTS_ROWS, LATENTS_TABLES, &p, 1);
  make_kept(j);
  if (!j->failed && !c[LATENTS_EXACT]) make_sure_of_codes(j, kv, rope);
}

static void latents_bound(koi_verify_job *j)
{
  koi_verify_bound_rows(j, LATENTS_Q, (size_t)j->v->i[LATENTS_Q_DIM], 4e-6f);
  koi_verify_bound_rows(j, LATENTS_KV, (size_t)j->v->c[LATENTS_DH], 4e-6f);
  for (int s = LATENTS_W0; s < LATENTS_W0 + KOI_SLABS && j->v->c[LATENTS_EXACT]; s++)
    if (j->slot[s].in) koi_verify_bound_each(j, s, 0, 2e-5f);
}

/* ---- closing ---- */
#define SLOT(r, coff, a, b) 3 * 8 * (coff) * (r) * (coff) * ((a) + (b)) + 128, 64, 64 + 8 * (coff) * (r) * (coff) * (a) /* both compressors' states, of one layer */
#define INDEX(exact, ih, page) KOI_VERIFY_LAYERS(KOI_VERIFY_INDEX_PART(exact, ih, page))
static const koi_verify_case closing_cases[] = {
  /* EXACT, DH, RD, PAGE, NORM_WT, IH, R, COFF | n_win, slot_bytes, a_at, b_at, c_table, c_page_bytes, c_at, i_table, i_page_bytes, i_at, then of each
   * sequence: first window, windows that close | eps */
  {"no indexer", {0, 96, 32, 16, BF16, 0, 8, 1}, {1, SLOT(8, 1, 96, 0), 0, KV(0, 96, 32, 16), 0, 64, 0, SEQS 5, 1}, {0.25f}, 0},
  {"exact, no indexer", {1, 77, 6, 48, F32, 0, 16, 1}, {4, SLOT(16, 1, 80, 0), 1, KV(1, 77, 6, 48), 0, 64, 0, SEQS 0, 1, 47, 3}, {1e-6f}, 0},
  {"one window of each", {0, 96, 32, 16, BF16, 64, 4, 2}, {1, SLOT(4, 2, 96, 64), 0, KV(0, 96, 32, 16), 4, INDEX(0, 64, 16), SEQS 20, 1}, {0.25f}, 0},
  {"first windows, three sequences", {0, 130, 16, 32, F32, 32, 4, 2}, {4, SLOT(4, 2, 136, 32), 3, KV(0, 130, 16, 32), 0, INDEX(0, 32, 32), SEQS 0, 1, 31, 2, 0, 1}, {0.25f}, 0},
  {"exact", {1, 64, 16, 16, F16, 64, 4, 2}, {3, SLOT(4, 2, 64, 64), 0, KV(1, 64, 16, 16), 5, INDEX(1, 64, 16), SEQS 14, 3}, {1e-6f}, 0},
  {"full width", {0, 512, 64, 64, BF16, 128, 4, 2}, {1, SLOT(4, 2, 512, 128), 0, KV(0, 512, 64, 64), 9, INDEX(0, 128, 64), SEQS 63, 1}, {0.25f}, KOI_VERIFY_BIG},
};

/* The state's and the chunk's rows of one compressor: n chunk rows. Where rows are rounded each column has one value in all of a sequence, 1 or -1, so that
 * weights, whatever their last bits, give it again. */
static void make_compressor(koi_verify_job *j, int first, int32_t dim, int32_t at, const int32_t *slot, size_t n_tokens)
{
  const int32_t *i = j->v->i, *c = j->v->c, *seq = koi_verify_seq(j->v);
  int32_t r = c[CLOSING_R];
  size_t coff = (size_t)c[CLOSING_COFF], wide = coff * (size_t)dim, held = coff * (size_t)r, row = 0;
  koi_verify_pool p = {.slab0 = CLOSING_S0, .bytes = i[CLOSING_SLOT_BYTES], .at = at};
  koi_verify_floats(j, first + CLOSING_A_APE, (size_t)r * wide, 2);
  koi_verify_typed(j, first + CLOSING_A_NORM, c[CLOSING_NORM_WT], (size_t)dim, 1, c[CLOSING_EXACT] ? 0.5f : 0);
  koi_verify_out(j, first + CLOSING_A_Y, (size_t)(i[CLOSING_N_WIN] * dim) * sizeof(float), KOI_VERIFY_F32);
  koi_verify_chunk(j, first + CLOSING_A, n_tokens, 2 * wide, wide);
  for (size_t s = 0; s < koi_verify_n_seqs(j->v) && !j->failed; s++) {
    size_t n = (size_t)((seq[2 * s + 1] - 1) * r + 1);
    float *state = koi_verify_part(j, &p, slot[s]), *chunk = (float *)(void *)j->slot[first + CLOSING_A].in + row * 2 * wide;
    for (size_t k = 0; k < 2 * held * wide; k++) state[k] = koi_verify_real(j, -1, 1) * (k < held * wide ? 2 : 6);
    for (size_t d = 0; d < (size_t)dim && !c[CLOSING_EXACT]; d++) {
      float value = koi_verify_below(j, 2) ? 1 : -1;
      for (size_t k = d; k < held * wide; k += (size_t)dim) state[k] = value;
      for (size_t k = d; k < n * 2 * wide; k += (size_t)dim)
        if (k % (2 * wide) < wide) chunk[k] = value;
    }
    row += n;
  }
}

/* Of each sequence: the token that ends its first window, and those up to the end of its last. */
static void make_closing(koi_verify_job *j)
{
  const int32_t *i = j->v->i, *c = j->v->c, *seq = koi_verify_seq(j->v);
  size_t n = (size_t)i[CLOSING_N_WIN], rd = (size_t)c[CLOSING_RD];
  int32_t n_tokens = 0, slot[KOI_VERIFY_SEQS], r = c[CLOSING_R], *win = koi_verify_bytes(j, CLOSING_WINS, n * POOL_WIN * 4, KOI_VERIFY_I32);
  koi_verify_pool state = {.slab0 = CLOSING_S0, .bytes = i[CLOSING_SLOT_BYTES], .kind = KOI_VERIFY_F32};
  koi_verify_pool rows[] = {{.slab0 = CLOSING_C0, .bytes = i[CLOSING_C_PAGE_BYTES], .at = i[CLOSING_C_AT], .table = i[CLOSING_C_TABLE]},
                            {.slab0 = CLOSING_I0, .bytes = i[CLOSING_I_PAGE_BYTES], .at = i[CLOSING_I_AT], .table = i[CLOSING_I_TABLE]}};
  for (size_t k = 0; k < COUNT(rows); k++) {
    rows[k].page = c[CLOSING_PAGE], rows[k].kind = c[CLOSING_EXACT] ? KOI_VERIFY_F32 : KOI_VERIFY_RAW, rows[k].out = true;
    for (size_t s = 0; s < KOI_VERIFY_SEQS; s++) rows[k].first[s] = (size_t)seq[2 * s], rows[k].end[s] = (size_t)(seq[2 * s] + seq[2 * s + 1]);
  }
  koi_verify_tables(j, CLOSING_ROWS, CLOSING_TABLES, rows, c[CLOSING_IH] ? 2 : 1);
  koi_verify_places(j, &state, slot, koi_verify_n_seqs(j->v));
  float *rope = koi_verify_floats(j, CLOSING_ROPE, n * rd, 1);
  for (size_t s = 0; s < koi_verify_n_seqs(j->v) && !j->failed; s++) {
    for (int32_t w = 0; w < seq[2 * s + 1]; w++, win += POOL_WIN)
      win[WIN_INDEX] = seq[2 * s] + w, win[WIN_ROW] = n_tokens, win[WIN_P0] = (seq[2 * s] + 1) * r - 1, win[WIN_SLOT] = slot[s], win[WIN_ZERO] = 0;
    n_tokens += (seq[2 * s + 1] - 1) * r + 1;
  }
  make_compressor(j, CLOSING_A, c[CLOSING_DH], i[CLOSING_A_AT], slot, (size_t)n_tokens);
  if (c[CLOSING_IH]) make_compressor(j, CLOSING_B, c[CLOSING_IH], i[CLOSING_B_AT], slot, (size_t)n_tokens);
  if (!j->failed && !c[CLOSING_EXACT]) make_turns(j, rope, n * rd);
}

static void closing_bound(koi_verify_job *j)
{
  koi_verify_bound_rows(j, CLOSING_A_Y, (size_t)j->v->c[CLOSING_DH], 2e-5f);
  if (j->v->c[CLOSING_IH]) koi_verify_bound_rows(j, CLOSING_B_Y, (size_t)j->v->c[CLOSING_IH], 2e-5f);
  for (int s = CLOSING_C0; s < CLOSING_I0 + KOI_SLABS && j->v->c[CLOSING_EXACT]; s++)
    if (j->slot[s].in) koi_verify_bound_each(j, s, 0, 8e-5f);
}

static void closing_settle(koi_verify_job *j)
{
  const int32_t *c = j->v->c, *i = j->v->i;
  if (c[CLOSING_IH] && !c[CLOSING_EXACT]) koi_verify_without_minus_zero(j, CLOSING_I0, i[CLOSING_I_PAGE_BYTES], i[CLOSING_I_AT], c[CLOSING_PAGE], c[CLOSING_IH]);
}

/* ---- heads ---- */
static const koi_verify_case heads_cases[] = {
  /* EXACT, IH | n, q_heads, dim, rd, i_heads | eps */
  {"one token", {0, 64}, {1, 4, 96, 32, 2}, {1e-6f}, 0},
  {"tokens, odd width", {0, 32}, {3, 5, 77, 6, 3}, {0.25f}, 0},
  {"exact", {1, 64}, {2, 8, 128, 64, 3}, {1e-6f}, 0},
  {"the whole row turns", {0, 16}, {2, 1, 16, 16, 1}, {1e-6f}, 0},
  {"full width", {0, 128}, {1, 64, 512, 64, 64}, {1e-6f}, KOI_VERIFY_BIG},
};

static void make_heads(koi_verify_job *j)
{
  const int32_t *i = j->v->i, *c = j->v->c;
  size_t n = (size_t)i[HEADS_N], n_index = n * (size_t)i[HEADS_I_HEADS], ih = (size_t)c[HEADS_IH], rd = (size_t)i[HEADS_RD];
  koi_verify_floats(j, HEADS_Q, n * (size_t)(i[HEADS_Q_HEADS] * i[HEADS_DIM]), 3);
  float *q = koi_verify_floats(j, HEADS_IQ, n_index * ih, 3), *rope = koi_verify_floats(j, HEADS_ROPE, n * rd, 1);
  if (j->failed || c[HEADS_EXACT]) return;
  koi_verify_whole(j, q, n_index, ih);
  make_turns(j, rope, n * rd);
}

static void heads_bound(koi_verify_job *j)
{
  koi_verify_bound_rows(j, HEADS_Q, (size_t)j->v->i[HEADS_DIM], 4e-6f);
  if (j->v->c[HEADS_EXACT]) koi_verify_bound_rows(j, HEADS_IQ, (size_t)j->v->c[HEADS_IH], 4e-6f);
}

const koi_verify_op koi_verify_joined[] = {
  {&koi_op_latents, latents_cases, COUNT(latents_cases), make_latents, latents_bound, NULL, 0},
  {&koi_op_closing, closing_cases, COUNT(closing_cases), make_closing, closing_bound, closing_settle, 0},
  {&koi_op_heads, heads_cases, COUNT(heads_cases), make_heads, heads_bound, NULL, 0},
  {NULL, NULL, 0, NULL, NULL, NULL, 0}};
