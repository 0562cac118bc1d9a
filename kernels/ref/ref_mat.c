/* The references of embed, pack, matvec, matvec_glu, matvec_post, matvec_route, matvecs, matmul, widen and gemm. Owns nothing: pure functions of their arguments.
 * Invariant: tiles are read exactly as kernels/layout.h lays them out, and padding is never read. */
#include "ref.h"

enum { BLOCK = 128, COLUMNS = 256 }; /* BLOCK: columns of a strip decoded at once, a scale block of FP8 */

typedef struct weight {
  uint8_t *stream[KOI_MAX_STREAMS];
  int wt;
  size_t k, strips; /* of a tile */
  koi_values values;
} weight;

/* embed, matvec, matmul and widen have the same first buffers and constant. tile: rows of a tile. */
static void weight_init(weight *w, const koi_ref_args *a, int32_t tile, size_t k)
{
  *w = (weight){.stream = {a->buf[MATVEC_W], a->buf[MATVEC_S]}, .wt = a->c[MATVEC_WT], .k = k, .strips = (size_t)tile / KOI_STRIP};
  koi_values_fill(&w->values);
}

/* Columns k0 .. k0+n-1 of the strip `at` (counted from the buffer's first). */
static void decode(const weight *w, size_t at, size_t k0, size_t n, double (*out)[KOI_STRIP])
{
  koi_strip strip = koi_format_strip(w->wt, w->k, (uint32_t)w->strips * KOI_STRIP, w->stream, at);
  koi_formats[w->wt].decode(&koi_formats[w->wt], &w->values, &strip, k0, n, out);
}

/* ---- products ---- */
typedef struct column { const float *x; size_t step; float *y; } column; /* x[k * step]; y[row of the stack] */

typedef struct stack { size_t sub_rows, tile0, tile1; } stack;

static void accumulate(double *acc, const double (*w)[KOI_STRIP], const float *x, size_t step, size_t n)
{
  double sum[KOI_STRIP];
  memcpy(sum, acc, sizeof sum);
  for (size_t k = 0; k < n; k++) {
    double v = x[k * step];
    for (size_t r = 0; r < KOI_STRIP; r++) sum[r] += w[k][r] * v;
  }
  memcpy(acc, sum, sizeof sum);
}

/* Every column by every strip of the unit that is number `unit` in the buffer; each weight is decoded once for all columns. */
static void product(const weight *w, const stack *s, size_t unit, const column *col, size_t n)
{
  double block[BLOCK][KOI_STRIP], acc[COLUMNS][KOI_STRIP];
  size_t per_sub = koi_tiles(s->sub_rows, (uint32_t)w->strips * KOI_STRIP) * w->strips, first = s->tile0 * w->strips, end = s->tile1 * w->strips;
  for (size_t strip = first; strip < end && n; strip++) {
    size_t row = strip % per_sub * KOI_STRIP, left = s->sub_rows > row ? s->sub_rows - row : 0;
    if (!left) continue;
    memset(acc, 0, n * sizeof *acc);
    for (size_t k = 0; k < w->k; k += BLOCK) {
      size_t nk = w->k - k < BLOCK ? w->k - k : BLOCK;
      decode(w, unit * (end - first) + strip - first, k, nk, block);
      for (size_t c = 0; c < n; c++) accumulate(acc[c], block, col[c].x + k * col[c].step, col[c].step, nk);
    }
    for (size_t c = 0; c < n; c++)
      for (size_t r = 0; r < KOI_STRIP && r < left; r++) col[c].y[strip / per_sub * s->sub_rows + row + r] = (float)acc[c][r];
  }
}

void koi_ref_matvec(const koi_ref_args *a)
{
  const int32_t *i = a->i, n_entries = i[MATVEC_E], unit0 = i[MATVEC_UNIT0], unit1 = i[MATVEC_UNIT1], has_ids = i[MATVEC_HAS_IDS];
  const int32_t *ids = a->buf[MATVEC_IDS];
  const float *x = a->buf[MATVEC_X];
  float *y = a->buf[MATVEC_Y];
  size_t x_div = (size_t)i[MATVEC_X_DIV], ldx = (size_t)i[MATVEC_LDX], ldy = (size_t)i[MATVEC_LDY];
  stack s = {(size_t)i[MATVEC_SUB_ROWS], (size_t)i[MATVEC_TILE0], (size_t)i[MATVEC_TILE1]};
  weight w;
  weight_init(&w, a, a->c[MATVEC_TILE], (size_t)i[MATVEC_K]);
  column col[COLUMNS];
  for (int32_t u = unit0; u < unit1; u++) {
    size_t n = 0;
    for (int32_t e = 0; e < n_entries; e++) {
      if ((has_ids ? ids[e] : 0) != u) continue;
      col[n++] = (column){x + (size_t)e / x_div * ldx, 1, y + (size_t)e * ldy + i[MATVEC_Y0]};
      if (n == COLUMNS) product(&w, &s, (size_t)(u - unit0), col, n), n = 0;
    }
    product(&w, &s, (size_t)(u - unit0), col, n);
  }
}

/* The entries that these units have, one by one: matvec, then swiglu. */
void koi_ref_matvec_glu(const koi_ref_args *a)
{
  size_t rows = (size_t)a->i[MATVEC_SUB_ROWS];
  const int32_t *ids = a->buf[MATVEC_IDS];
  float both[2 * rows];
  for (int32_t e = 0; e < a->i[MATVEC_E]; e++) {
    int32_t unit = a->i[MATVEC_HAS_IDS] ? ids[e] : 0, i[KOI_MAX_INTS];
    if (unit < a->i[MATVEC_UNIT0] || unit >= a->i[MATVEC_UNIT1]) continue;
    koi_ref_args one = *a;
    memcpy(i, a->i, (MATVEC_GLU_HAS_W + 1) * sizeof *i);
    i[MATVEC_E] = 1, i[MATVEC_Y0] = 0, i[MATVEC_X_DIV] = 1;
    one.i = i, one.buf[MATVEC_IDS] = &unit, one.buf[MATVEC_Y] = both;
    one.buf[MATVEC_X] = (float *)a->buf[MATVEC_X] + (size_t)(e / a->i[MATVEC_X_DIV]) * (size_t)a->i[MATVEC_LDX];
    koi_ref_matvec(&one);
    const int32_t s[] = {[SWIGLU_E] = 1, [SWIGLU_INTER] = (int32_t)rows, [SWIGLU_LDG] = 0, [SWIGLU_LDH] = 0, [SWIGLU_HAS_W] = a->i[MATVEC_GLU_HAS_W]};
    koi_ref_swiglu(&(koi_ref_args){.buf = {[SWIGLU_GU] = both, [SWIGLU_W] = a->i[MATVEC_GLU_HAS_W] ? (float *)a->buf[MATVEC_GLU_W_OF] + e : NULL,
                                           [SWIGLU_H] = (float *)a->buf[MATVEC_Y] + (size_t)e * (size_t)a->i[MATVEC_LDY] + a->i[MATVEC_Y0]}, .i = s, .f = a->f});
  }
}

/* New columns of the streams at row d, of which o goes into each. */
static void mix_back(const koi_ref_args *a, size_t d, double o)
{
  size_t hc = (size_t)a->c[MATVEC_POST_HC], dim = (size_t)a->i[MATVEC_SUB_ROWS];
  const float *post = a->buf[MATVEC_POST_POST], *comb = a->buf[MATVEC_POST_COMB];
  float *x = a->buf[MATVEC_POST_STREAMS];
  double old[hc];
  for (size_t i = 0; i < hc; i++) old[i] = x[i * dim + d];
  for (size_t j = 0; j < hc; j++) {
    double sum = post[j] * o;
    for (size_t i = 0; i < hc; i++) sum += comb[i * hc + j] * old[i];
    x[j * dim + d] = (float)sum;
  }
}

/* What the streams' columns of a strip add to mix m. */
static double mix_part(const koi_ref_args *a, size_t at, size_t m)
{
  size_t hc = (size_t)a->c[MATVEC_POST_HC], dim = (size_t)a->i[MATVEC_SUB_ROWS], tile = (size_t)a->c[MATVEC_TILE];
  const float *x = a->buf[MATVEC_POST_STREAMS], *fn = a->buf[MATVEC_POST_FN];
  double sum = 0;
  for (size_t j = 0; j < hc; j++)
    for (size_t k = j * dim + at * KOI_STRIP; k < j * dim + (at + 1) * KOI_STRIP; k++) sum += (double)x[k] * fn[(m / tile * hc * dim + k) * tile + m % tile];
  return sum;
}

void koi_ref_matvec_post(const koi_ref_args *a)
{
  size_t dim = (size_t)a->i[MATVEC_SUB_ROWS], tile = (size_t)a->c[MATVEC_TILE], n = (size_t)a->i[MATVEC_E], n_mix = (size_t)a->c[MATVEC_POST_MIX];
  float y[(n + 1) * dim];
  memset(y, 0, sizeof y);
  int32_t i[KOI_MAX_INTS] = {0};
  memcpy(i, a->i, (MATVEC_LDX + 1) * sizeof *i);
  i[MATVEC_LDY] = (int32_t)dim;
  koi_ref_args product = *a;
  product.i = i, product.buf[MATVEC_Y] = y;
  koi_ref_matvec(&product);
  for (size_t at = (size_t)a->i[MATVEC_TILE0]; at < (size_t)a->i[MATVEC_TILE1]; at++) {
    for (size_t d = at * tile; n && d < (at + 1) * tile; d++) {
      double o = a->i[MATVEC_POST_HAS_O] ? ((const float *)a->buf[MATVEC_POST_O])[d] : 0;
      for (size_t e = 0; e < n; e++) o += y[e * dim + d];
      mix_back(a, d, o);
    }
  }
  for (size_t at = (size_t)a->i[MATVEC_TILE0] * tile / KOI_STRIP; at < (size_t)a->i[MATVEC_TILE1] * tile / KOI_STRIP; at++)
    for (size_t m = 0; m < n_mix; m++) ((float *)a->buf[MATVEC_POST_M])[at * n_mix + m] = (float)mix_part(a, at, m);
  if (!a->c[MATVEC_POST_PRE]) return;
  const int32_t pre[] = {[HC_PRE_T] = 1, [HC_PRE_D] = (int32_t)dim, [HC_PRE_N_PARTS] = (int32_t)(dim / KOI_STRIP)};
  const int32_t c[] = {[HC_PRE_HC] = a->c[MATVEC_POST_HC], [HC_PRE_ITERS] = a->c[MATVEC_POST_ITERS], [HC_PRE_HEAD] = 0, [HC_PRE_NORM_WT] = a->c[MATVEC_POST_NORM_WT]};
  koi_ref_hc_pre(&(koi_ref_args){.buf = {[HC_PRE_M] = a->buf[MATVEC_POST_M], [HC_PRE_X] = a->buf[MATVEC_POST_STREAMS], [HC_PRE_SCALE] = a->buf[MATVEC_POST_SCALE],
                                         [HC_PRE_BASE] = a->buf[MATVEC_POST_BASE], [HC_PRE_NORM] = a->buf[MATVEC_POST_NORM], [HC_PRE_Y] = a->buf[MATVEC_POST_Y],
                                         [HC_PRE_POST] = a->buf[MATVEC_POST_POST], [HC_PRE_COMB] = a->buf[MATVEC_POST_COMB]},
                                 .i = pre, .f = a->f, .c = c}); /* hc_pre's floats */
}

void koi_ref_matvec_route(const koi_ref_args *a)
{
  int32_t n_experts = a->i[MATVEC_ROUTE_N_EXPERTS], k = a->i[MATVEC_ROUTE_K], tiles = (int32_t)koi_tiles((uint64_t)n_experts, (uint32_t)a->c[MATVEC_TILE]);
  const int32_t product[] = {[MATVEC_E] = 1, [MATVEC_K] = k, [MATVEC_N_SUB] = 1, [MATVEC_SUB_ROWS] = n_experts, [MATVEC_UNIT1] = 1, [MATVEC_TILE1] = tiles,
                             [MATVEC_X_DIV] = 1, [MATVEC_LDX] = k, [MATVEC_LDY] = n_experts, [MATVEC_Y0] = 0};
  koi_ref_matvec(&(koi_ref_args){.buf = {[MATVEC_W] = a->buf[MATVEC_W], [MATVEC_S] = a->buf[MATVEC_S], [MATVEC_X] = a->buf[MATVEC_X], [MATVEC_Y] = a->buf[MATVEC_ROUTE_LOGITS]},
                                 .i = product, .c = a->c});
  const int32_t route[] = {[ROUTE_T] = 1, [ROUTE_N_EXPERTS] = n_experts, [ROUTE_N_USED] = a->i[MATVEC_ROUTE_N_USED], [ROUTE_LD] = n_experts};
  const int32_t c[] = {[ROUTE_SCORE] = a->c[MATVEC_ROUTE_SCORE], [ROUTE_HASH] = a->c[MATVEC_ROUTE_HASH], [ROUTE_BT] = KOI_WT_F32};
  koi_ref_route(&(koi_ref_args){.buf = {[ROUTE_LOGITS] = a->buf[MATVEC_ROUTE_LOGITS], [ROUTE_BIAS] = a->buf[MATVEC_ROUTE_BIAS], [ROUTE_TOKENS] = a->buf[MATVEC_ROUTE_TOKEN],
                                        [ROUTE_TID2EID] = a->buf[MATVEC_ROUTE_TID2EID], [ROUTE_IDS] = a->buf[MATVEC_ROUTE_IDS], [ROUTE_W] = a->buf[MATVEC_ROUTE_W_OF]},
                                .i = route, .f = a->f, .c = c}); /* route's floats */
}

void koi_ref_matvecs(const koi_ref_args *a)
{
  static const int w[] = {MATVECS_W, MATVECS_W1, MATVECS_W2}, y[] = {MATVECS_Y, MATVECS_Y1, MATVECS_Y2}, rows[] = {MATVECS_ROWS, MATVECS_ROWS1, MATVECS_ROWS2};
  for (size_t n = 0; n < MATVECS_MOST; n++) {
    int32_t subs = a->i[rows[n] + 1]; /* stand behind the rows */
    if (!subs) continue;
    int32_t per_sub = (int32_t)koi_tiles((uint64_t)a->i[rows[n]], (uint32_t)a->c[MATVEC_TILE]);
    const int32_t i[KOI_MAX_INTS] = {[MATVEC_E] = 1, [MATVEC_K] = a->i[MATVECS_K], [MATVEC_N_SUB] = subs, [MATVEC_SUB_ROWS] = a->i[rows[n]], [MATVEC_UNIT1] = 1,
                                     [MATVEC_TILE1] = subs * per_sub, [MATVEC_X_DIV] = 1, [MATVEC_LDX] = a->i[MATVECS_K]};
    koi_ref_matvec(&(koi_ref_args){.buf = {[MATVEC_W] = a->buf[w[n]], [MATVEC_S] = a->buf[w[n] + 1], [MATVEC_X] = a->buf[MATVECS_X], [MATVEC_Y] = a->buf[y[n]]}, .i = i, .c = a->c});
  }
}

void koi_ref_matmul(const koi_ref_args *a)
{
  const int32_t *i = a->i, n_panels = i[MATMUL_N_PANELS], unit0 = i[MATMUL_UNIT0], unit1 = i[MATMUL_UNIT1], has_rows = i[MATMUL_HAS_ROWS],
          n_rows = i[MATMUL_N_ROWS], nt = a->c[MATMUL_NT];
  const int32_t *unit = a->buf[MATMUL_UNIT], *rows = a->buf[MATMUL_ROWS];
  const float *xp = a->buf[MATMUL_XP];
  float *y = a->buf[MATMUL_Y];
  size_t k = (size_t)i[MATMUL_K], ldy = (size_t)i[MATMUL_LDY];
  stack s = {(size_t)i[MATMUL_SUB_ROWS], (size_t)i[MATMUL_TILE0], (size_t)i[MATMUL_TILE1]};
  weight w;
  weight_init(&w, a, a->c[MATMUL_TILE], k);
  column col[COLUMNS];
  for (int32_t u = unit0; u < unit1; u++) {
    size_t n = 0;
    for (int32_t p = 0; p < n_panels; p++) {
      if ((has_rows ? unit[p] : 0) != u) continue;
      for (int32_t j = 0; j < nt; j++) {
        int32_t row = has_rows ? rows[p * nt + j] : p * nt + j;
        if (row < 0 || row >= n_rows) continue;
        col[n++] = (column){xp + (size_t)p * k * (size_t)nt + j, (size_t)nt, y + (size_t)row * ldy + i[MATMUL_Y0]};
        if (n == COLUMNS) product(&w, &s, (size_t)(u - unit0), col, n), n = 0;
      }
    }
    product(&w, &s, (size_t)(u - unit0), col, n);
  }
}

void koi_ref_widen(const koi_ref_args *a)
{
  size_t k = (size_t)a->i[WIDEN_K], tile0 = (size_t)a->i[WIDEN_TILE0], row0 = (size_t)a->i[WIDEN_ROW0], row1 = (size_t)a->i[WIDEN_ROW1];
  float *y = a->buf[WIDEN_Y];
  double block[BLOCK][KOI_STRIP];
  weight w;
  weight_init(&w, a, a->c[WIDEN_TILE], k);
  for (size_t row = row0; row < row1; row += KOI_STRIP)
    for (size_t k0 = 0; k0 < k; k0 += BLOCK) {
      size_t nk = k - k0 < BLOCK ? k - k0 : BLOCK;
      decode(&w, row / KOI_STRIP - tile0 * w.strips, k0, nk, block);
      for (size_t r = 0; r < KOI_STRIP && row + r < row1; r++)
        for (size_t j = 0; j < nk; j++) y[(row + r - row0) * k + k0 + j] = (float)block[j][r];
    }
}

void koi_ref_gemm(const koi_ref_args *a)
{
  size_t n = (size_t)a->i[GEMM_N], rows = (size_t)a->i[GEMM_ROWS], k = (size_t)a->i[GEMM_K], ldx = (size_t)a->i[GEMM_LDX], ldy = (size_t)a->i[GEMM_LDY];
  const float *x = a->buf[GEMM_X], *w = a->buf[GEMM_W];
  float *y = (float *)a->buf[GEMM_Y] + a->i[GEMM_Y_OFFSET];
  for (size_t i = 0; i < n; i++)
    for (size_t r = 0; r < rows; r++) y[i * ldy + r] = (float)koi_ref_dot(x + i * ldx, w + r * k, k);
}

/* ---- embed and pack ---- */
void koi_ref_embed(const koi_ref_args *a)
{
  size_t n_tokens = (size_t)a->i[EMBED_T], dim = (size_t)a->i[EMBED_D], hc = (size_t)a->c[EMBED_HC];
  int32_t row0 = a->i[EMBED_ROW0], row1 = a->i[EMBED_ROW1];
  const int32_t *token = a->buf[EMBED_TOKEN];
  float *x = a->buf[EMBED_X];
  double block[BLOCK][KOI_STRIP];
  weight w;
  weight_init(&w, a, a->c[EMBED_TILE], dim);
  for (size_t t = 0; t < n_tokens; t++) {
    if (token[t] < row0 || token[t] >= row1) continue;
    for (size_t d0 = 0; d0 < dim; d0 += BLOCK) {
      size_t n = dim - d0 < BLOCK ? dim - d0 : BLOCK;
      decode(&w, (size_t)(token[t] - row0) / KOI_STRIP, d0, n, block);
      for (size_t s = 0; s < hc; s++)
        for (size_t d = 0; d < n; d++) x[(t * hc + s) * dim + d0 + d] = (float)block[d][token[t] % KOI_STRIP];
    }
  }
}

void koi_ref_pack(const koi_ref_args *a)
{
  size_t n_panels = (size_t)a->i[PACK_N_PANELS], k = (size_t)a->i[PACK_K], ldx = (size_t)a->i[PACK_LDX], x_div = (size_t)a->i[PACK_X_DIV],
          nt = (size_t)a->c[PACK_NT];
  int32_t has_rows = a->i[PACK_HAS_ROWS], n_rows = a->i[PACK_N_ROWS];
  const float *x = a->buf[PACK_X];
  const int32_t *rows = a->buf[PACK_ROWS];
  float *xp = a->buf[PACK_XP];
  for (size_t at = 0; at < n_panels * nt; at++) {
    int32_t row = has_rows ? rows[at] : (int32_t)at < n_rows ? (int32_t)at : -1;
    float *out = xp + at / nt * k * nt + at % nt;
    for (size_t c = 0; c < k; c++) out[c * nt] = row < 0 ? 0 : x[(size_t)row / x_div * ldx + c];
  }
}
