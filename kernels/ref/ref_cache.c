/* The references of kv_store, pool, pool_keep, latents, index_round, index_store, closing and heads. Owns nothing: pure functions of their arguments. Invariant:
 * cache rows are rounded as docs/model.md, 4, says. */
#include "ref_cache.h"

static size_t min_size(size_t a, size_t b) { return a < b ? a : b; }

/* ---- cache rows ---- */
static void store_kv(const koi_ref_kv_row *to, const float *x, size_t dh, size_t rd, int exact)
{
  size_t plain = dh - rd;
  if (exact) {
    memcpy(to->exact, x, dh * sizeof *x);
    return;
  }
  for (size_t d0 = 0, g = 0; d0 < plain; d0 += KOI_REF_FP8_GROUP, g++) {
    size_t d1 = min_size(d0 + KOI_REF_FP8_GROUP, plain);
    to->scales[g] = koi_ref_fp8_scale(x + d0, d1 - d0);
    for (size_t d = d0; d < d1; d++) to->codes[d] = koi_ref_to_e4m3(koi_ref_unscale(x[d], to->scales[g]));
  }
  for (size_t d = 0; d < rd; d++) to->rope[d] = koi_ref_to_bf16(x[plain + d]);
}

void koi_ref_kv_store(const koi_ref_args *a)
{
  size_t n = (size_t)a->i[KV_STORE_N], ldx = (size_t)a->i[KV_STORE_LDX], page = (size_t)a->c[KV_STORE_PAGE], ring = (size_t)a->i[KV_STORE_RING];
  size_t dh = (size_t)a->c[KV_STORE_DH], rd = (size_t)a->c[KV_STORE_RD];
  const int32_t *rows = a->buf[KV_STORE_ROWS], *tables = a->buf[KV_STORE_TABLES];
  for (size_t i = 0; i < n; i++) {
    size_t row = (size_t)rows[2 * i], nth = ring ? row / page % ring : row / page;
    int32_t entry = tables[(size_t)(rows[2 * i + 1] + a->i[KV_STORE_TABLE]) + nth];
    void *part = koi_ref_part(a->buf + KV_STORE_S0, entry, a->i[KV_STORE_PAGE_BYTES], a->i[KV_STORE_AT]);
    koi_ref_kv_row to = koi_ref_kv_at(part, row % page, dh, rd, page);
    store_kv(&to, (const float *)a->buf[KV_STORE_X] + i * ldx, dh, rd, a->c[KV_STORE_EXACT]);
  }
}

/* ---- compressor ---- */
typedef struct pooling { /* one window: where its positions lie */
  const float *kv, *score, *kv_state, *score_state;
  const void *ape;
  int32_t type, win, p0, r, coff;
  size_t dim, ld;
} pooling;

static float pool_column(const pooling *p, size_t d)
{
  size_t wide = (size_t)p->coff * p->dim;
  double max = -INFINITY, sum = 0, row = 0; /* a softmax that rescales when it meets a larger score */
  for (int32_t q = p->win > 0 ? (p->win - p->coff + 1) * p->r : 0; q < (p->win + 1) * p->r; q++) {
    size_t col = d + (q >= p->win * p->r ? wide - p->dim : 0);
    size_t at = q >= p->p0 ? (size_t)(q - p->p0) * p->ld + col : (size_t)(q % (p->coff * p->r)) * wide + col;
    const float *kv = q >= p->p0 ? p->kv : p->kv_state, *score = q >= p->p0 ? p->score : p->score_state;
    double s = (double)score[at] + koi_ref_load(p->ape, p->type, (size_t)(q % p->r) * wide + col);
    if (s == -INFINITY) continue;
    double new_max = fmax(max, s), keep = exp(max - new_max), e = exp(s - new_max);
    sum = sum * keep + e, row = row * keep + e * kv[at], max = new_max;
  }
  return (float)(row / sum);
}

void koi_ref_pool(const koi_ref_args *a)
{
  int32_t r = a->i[POOL_R], coff = a->i[POOL_COFF];
  size_t dim = (size_t)a->i[POOL_DIM], ld = (size_t)a->i[POOL_LD];
  for (size_t i = 0; i < (size_t)a->i[POOL_N_WIN]; i++) {
    const int32_t *win = (const int32_t *)a->buf[POOL_WINS] + i * POOL_WIN;
    const float *kv = (const float *)a->buf[POOL_KV] + (size_t)win[WIN_ROW] * ld;
    pooling p = {.kv = kv, .score = kv + (size_t)coff * dim, .ape = a->buf[POOL_APE],
                 .type = a->c[POOL_C_AT], .win = win[WIN_INDEX], .p0 = win[WIN_P0], .r = r, .coff = coff, .dim = dim, .ld = ld};
    p.kv_state = koi_ref_part(a->buf + POOL_S0, win[WIN_SLOT], a->i[POOL_SLOT_BYTES], a->i[POOL_AT]);
    p.score_state = p.kv_state + (size_t)(coff * r) * (size_t)coff * dim;
    for (size_t d = 0; d < dim; d++) ((float *)a->buf[POOL_Y])[i * dim + d] = pool_column(&p, d);
  }
}

void koi_ref_pool_keep(const koi_ref_args *a)
{
  int32_t held = a->i[POOL_KEEP_COFF] * a->i[POOL_KEEP_R];
  size_t ld = (size_t)a->i[POOL_KEEP_LD], wide = (size_t)a->i[POOL_KEEP_COFF] * (size_t)a->i[POOL_KEEP_DIM], half = (size_t)held * wide;
  for (size_t i = 0; i < (size_t)a->i[POOL_KEEP_N]; i++) {
    const int32_t *keep = (const int32_t *)a->buf[POOL_KEEP_KEEPS] + i * POOL_KEEP_RECORD;
    int32_t p0 = keep[KEEP_P0], end = p0 + keep[KEEP_N];
    const float *from = koi_ref_part(a->buf + POOL_KEEP_S0, keep[KEEP_FROM], a->i[POOL_KEEP_SLOT_BYTES], a->i[POOL_KEEP_AT]);
    float *to = koi_ref_part(a->buf + POOL_KEEP_S0, keep[KEEP_TO], a->i[POOL_KEEP_SLOT_BYTES], a->i[POOL_KEEP_AT]);
    for (int32_t q = end > held ? end - held : 0; q < end; q++) {
      size_t at = (size_t)(q % held) * wide, fresh = ((size_t)keep[KEEP_ROW] + (size_t)(q - p0)) * ld;
      if (q < p0 && from == to) continue;
      memcpy(to + at, q >= p0 ? (const float *)a->buf[POOL_KEEP_KV] + fresh : from + at, wide * sizeof *to);
      memcpy(to + half + at, q >= p0 ? (const float *)a->buf[POOL_KEEP_KV] + fresh + wide : from + half + at, wide * sizeof *to);
    }
  }
}

/* ---- what follows the first products ---- */
/* Rows in place; rope NULL: without. */
static void norm_rows(const koi_ref_args *a, int rows, int weight, int32_t dim, void *rope)
{
  int32_t rd = rope ? a->c[LATENTS_RD] : 0;
  const int32_t i[] = {[NORM_ROPE_N] = a->i[LATENTS_N], [NORM_ROPE_DIM] = dim, [NORM_ROPE_RD] = rd, [NORM_ROPE_ROWS_PER_POS] = 1, [NORM_ROPE_LDX] = dim, [NORM_ROPE_LDY] = dim};
  const int32_t c[] = {[NORM_ROPE_C_NORM] = 2, [NORM_ROPE_NORM_WT] = a->c[LATENTS_NORM_WT]};
  koi_ref_norm_rope(&(koi_ref_args){.buf = {[NORM_ROPE_X] = a->buf[rows], [NORM_ROPE_NORM] = a->buf[weight], [NORM_ROPE_ROPE] = rope, [NORM_ROPE_Y] = a->buf[rows]},
                                    .i = i, .f = &a->f[LATENTS_EPS], .c = c});
}

static void keep_latents(const koi_ref_args *a, int kv, int32_t dim, int32_t at)
{
  const int32_t coff = a->i[LATENTS_COFF], i[] = {[POOL_KEEP_N] = a->i[LATENTS_N], [POOL_KEEP_MOST] = 1, [POOL_KEEP_R] = a->i[LATENTS_R], [POOL_KEEP_DIM] = dim,
                                                   [POOL_KEEP_LD] = 2 * coff * dim, [POOL_KEEP_COFF] = coff, [POOL_KEEP_SLOT_BYTES] = a->i[LATENTS_SLOT_BYTES], [POOL_KEEP_AT] = at};
  koi_ref_args k = {.buf = {[POOL_KEEP_KV] = a->buf[kv], [POOL_KEEP_KEEPS] = a->buf[LATENTS_KEEPS]}, .i = i};
  memcpy(k.buf + POOL_KEEP_S0, a->buf + LATENTS_S0, KOI_SLABS * sizeof *k.buf);
  koi_ref_pool_keep(&k);
}

void koi_ref_latents(const koi_ref_args *a)
{
  const int32_t dh = a->c[LATENTS_DH], i[] = {[KV_STORE_N] = a->i[LATENTS_N], [KV_STORE_LDX] = dh, [KV_STORE_TABLE] = a->i[LATENTS_TABLE], [KV_STORE_RING] = a->i[LATENTS_RING],
                                              [KV_STORE_PAGE_BYTES] = a->i[LATENTS_PAGE_BYTES], [KV_STORE_AT] = a->i[LATENTS_AT]};
  koi_ref_args store = {.buf = {[KV_STORE_X] = a->buf[LATENTS_KV], [KV_STORE_ROWS] = a->buf[LATENTS_ROWS], [KV_STORE_TABLES] = a->buf[LATENTS_TABLES]}, .i = i,
                        .c = a->c}; /* kv_store's constants come first */
  memcpy(store.buf + KV_STORE_S0, a->buf + LATENTS_W0, KOI_SLABS * sizeof *store.buf);
  norm_rows(a, LATENTS_Q, LATENTS_Q_NORM, a->i[LATENTS_Q_DIM], NULL);
  norm_rows(a, LATENTS_KV, LATENTS_KV_NORM, dh, a->buf[LATENTS_ROPE]);
  koi_ref_kv_store(&store);
  if (a->i[LATENTS_N_KEPT] > 0) keep_latents(a, LATENTS_A, a->i[LATENTS_A_DIM], a->i[LATENTS_A_AT]);
  if (a->i[LATENTS_N_KEPT] > 1) keep_latents(a, LATENTS_B, a->i[LATENTS_B_DIM], a->i[LATENTS_B_AT]);
}

/* ---- indexer ---- */
void koi_ref_index_round(const koi_ref_args *a)
{
  size_t n = (size_t)a->i[INDEX_ROUND_N], ih = (size_t)a->c[INDEX_ROUND_IH];
  for (size_t i = 0; i < n; i++) {
    float *x = (float *)a->buf[INDEX_ROUND_X] + i * ih;
    koi_ref_hadamard(x, ih);
    for (size_t d0 = 0; d0 < ih; d0 += KOI_REF_FP4_GROUP) {
      size_t d1 = min_size(d0 + KOI_REF_FP4_GROUP, ih);
      uint8_t scale = koi_ref_fp4_scale(x + d0, d1 - d0);
      for (size_t d = d0; d < d1; d++) x[d] = koi_e2m1(koi_ref_to_e2m1(koi_ref_unscale(x[d], scale))) * koi_e8m0(scale);
    }
  }
}

static void store_key(const koi_ref_key *to, float *x, size_t ih, int exact)
{
  if (exact) {
    for (size_t d = 0; d < ih; d++) to->exact[d * KOI_STRIP] = x[d];
    return;
  }
  koi_ref_hadamard(x, ih);
  for (size_t d0 = 0, g = 0; d0 < ih; d0 += KOI_REF_FP4_GROUP, g++)
    to->scales[g * KOI_STRIP] = koi_ref_fp4_scale(x + d0, min_size(KOI_REF_FP4_GROUP, ih - d0));
  for (size_t word = 0; word * 8 < ih; word++) {
    uint32_t eight = 0;
    for (size_t d = word * 8; d < min_size(word * 8 + 8, ih); d++)
      eight |= (uint32_t)koi_ref_to_e2m1(koi_ref_unscale(x[d], to->scales[d / KOI_REF_FP4_GROUP * KOI_STRIP])) << d % 8 * 4;
    to->codes[word * KOI_STRIP] = eight;
  }
}

void koi_ref_index_store(const koi_ref_args *a)
{
  size_t n = (size_t)a->i[INDEX_STORE_N], ih = (size_t)a->c[INDEX_STORE_IH], page = (size_t)a->c[INDEX_STORE_PAGE];
  const int32_t *rows = a->buf[INDEX_STORE_ROWS], *tables = a->buf[INDEX_STORE_TABLES];
  float x[ih];
  for (size_t i = 0; i < n; i++) {
    size_t row = (size_t)rows[2 * i];
    int32_t entry = tables[(size_t)(rows[2 * i + 1] + a->i[INDEX_STORE_TABLE]) + row / page];
    void *part = koi_ref_part(a->buf + INDEX_STORE_S0, entry, a->i[INDEX_STORE_PAGE_BYTES], a->i[INDEX_STORE_AT]);
    koi_ref_key to = koi_ref_key_at(part, row % page, ih, page);
    memcpy(x, (const float *)a->buf[INDEX_STORE_X] + i * ih, sizeof x);
    store_key(&to, x, ih, a->c[INDEX_STORE_EXACT]);
  }
}

/* ---- windows that close ---- */
/* Compressor `of`: pool and norm_rope, into of[3]. */
static void close_windows(const koi_ref_args *a, void *const *of, int32_t dim, int32_t at)
{
  const int32_t n = a->i[CLOSING_N_WIN], coff = a->c[CLOSING_COFF], c[] = {[NORM_ROPE_C_NORM] = 2, [NORM_ROPE_NORM_WT] = a->c[CLOSING_NORM_WT]}, type = KOI_WT_F32;
  const int32_t pool[] = {[POOL_N_WIN] = n, [POOL_R] = a->c[CLOSING_R], [POOL_DIM] = dim, [POOL_LD] = 2 * coff * dim, [POOL_COFF] = coff,
                          [POOL_SLOT_BYTES] = a->i[CLOSING_SLOT_BYTES], [POOL_AT] = at};
  const int32_t norm[] = {[NORM_ROPE_N] = n, [NORM_ROPE_DIM] = dim, [NORM_ROPE_RD] = a->c[CLOSING_RD], [NORM_ROPE_ROWS_PER_POS] = 1, [NORM_ROPE_LDX] = dim, [NORM_ROPE_LDY] = dim};
  koi_ref_args p = {.buf = {[POOL_KV] = of[0], [POOL_APE] = of[1], [POOL_WINS] = a->buf[CLOSING_WINS], [POOL_Y] = of[3]}, .i = pool, .c = &type};
  memcpy(p.buf + POOL_S0, a->buf + CLOSING_S0, KOI_SLABS * sizeof *p.buf);
  koi_ref_pool(&p);
  koi_ref_norm_rope(&(koi_ref_args){.buf = {[NORM_ROPE_X] = of[3], [NORM_ROPE_NORM] = of[2], [NORM_ROPE_ROPE] = a->buf[CLOSING_ROPE], [NORM_ROPE_Y] = of[3]},
                                    .i = norm, .f = &a->f[CLOSING_EPS], .c = c});
}

void koi_ref_closing(const koi_ref_args *a)
{
  const int32_t n = a->i[CLOSING_N_WIN], dh = a->c[CLOSING_DH], ih = a->c[CLOSING_IH];
  const int32_t kv[] = {[KV_STORE_N] = n, [KV_STORE_LDX] = dh, [KV_STORE_TABLE] = a->i[CLOSING_C_TABLE], [KV_STORE_RING] = 0,
                        [KV_STORE_PAGE_BYTES] = a->i[CLOSING_C_PAGE_BYTES], [KV_STORE_AT] = a->i[CLOSING_C_AT]};
  const int32_t key[] = {[INDEX_STORE_N] = n, [INDEX_STORE_TABLE] = a->i[CLOSING_I_TABLE], [INDEX_STORE_PAGE_BYTES] = a->i[CLOSING_I_PAGE_BYTES], [INDEX_STORE_AT] = a->i[CLOSING_I_AT]};
  const int32_t c[] = {[INDEX_STORE_EXACT] = a->c[CLOSING_EXACT], [INDEX_STORE_IH] = ih, [INDEX_STORE_PAGE] = a->c[CLOSING_PAGE]};
  koi_ref_args row = {.buf = {[KV_STORE_X] = a->buf[CLOSING_A_Y], [KV_STORE_ROWS] = a->buf[CLOSING_ROWS], [KV_STORE_TABLES] = a->buf[CLOSING_TABLES]}, .i = kv,
                      .c = a->c}; /* kv_store's constants come first */
  memcpy(row.buf + KV_STORE_S0, a->buf + CLOSING_C0, KOI_SLABS * sizeof *row.buf);
  close_windows(a, a->buf + CLOSING_A, dh, a->i[CLOSING_A_AT]);
  koi_ref_kv_store(&row);
  if (!ih) return;
  koi_ref_args k = {.buf = {[INDEX_STORE_X] = a->buf[CLOSING_B_Y], [INDEX_STORE_ROWS] = a->buf[CLOSING_ROWS], [INDEX_STORE_TABLES] = a->buf[CLOSING_TABLES]}, .i = key, .c = c};
  memcpy(k.buf + INDEX_STORE_S0, a->buf + CLOSING_I0, KOI_SLABS * sizeof *k.buf);
  close_windows(a, a->buf + CLOSING_B, ih, a->i[CLOSING_B_AT]);
  koi_ref_index_store(&k);
}

/* ---- both queries ---- */
void koi_ref_heads(const koi_ref_args *a)
{
  const int32_t n = a->i[HEADS_N], rd = a->i[HEADS_RD], ih = a->c[HEADS_IH];
  const struct { int buf, norm; int32_t heads, dim; } rows[] = {{HEADS_Q, 1, a->i[HEADS_Q_HEADS], a->i[HEADS_DIM]}, {HEADS_IQ, 0, a->i[HEADS_I_HEADS], ih}};
  for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
    int32_t dim = rows[k].dim;
    const int32_t i[] = {[NORM_ROPE_N] = n * rows[k].heads, [NORM_ROPE_DIM] = dim, [NORM_ROPE_RD] = rd, [NORM_ROPE_ROWS_PER_POS] = rows[k].heads, [NORM_ROPE_LDX] = dim, [NORM_ROPE_LDY] = dim};
    const int32_t c[] = {[NORM_ROPE_C_NORM] = rows[k].norm, [NORM_ROPE_NORM_WT] = KOI_WT_F32};
    koi_ref_norm_rope(&(koi_ref_args){.buf = {[NORM_ROPE_X] = a->buf[rows[k].buf], [NORM_ROPE_ROPE] = a->buf[HEADS_ROPE], [NORM_ROPE_Y] = a->buf[rows[k].buf]},
                                      .i = i, .f = &a->f[HEADS_EPS], .c = c});
  }
  const int32_t i[] = {[INDEX_ROUND_N] = n * a->i[HEADS_I_HEADS]}, c[] = {[INDEX_ROUND_IH] = ih};
  if (!a->c[HEADS_EXACT]) koi_ref_index_round(&(koi_ref_args){.buf = {[INDEX_ROUND_X] = a->buf[HEADS_IQ]}, .i = i, .c = c});
}
