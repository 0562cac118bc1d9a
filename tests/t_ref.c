/* The C references against tests/data/vectors.safetensors, made with DeepSeek's own implementation: every entry of it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/ops.h"
#include "model/rope.h"
#include "kernels/ref/ref.h"
#include "file/weights.h"

static int n_checks, n_failed;
static koi_weights *vectors;
static char used[64][64]; /* names that a test asked for */
static size_t n_used;

static void check(int ok, const char *what, size_t i, double got, double want)
{
  n_checks++;
  if (ok || n_failed++ > 20) return;
  printf("FAIL %s[%zu]: got %.9g, expected %.9g\n", what, i, got, want);
}

/* Entry `name` as 4-byte elements, copied; *n of them. The caller frees. */
static void *entry(const char *name, size_t *n)
{
  const koi_tensor *t = koi_weights_find(vectors, name);
  if (!t) {
    printf("FAIL no entry %s\n", name);
    exit(1);
  }
  snprintf(used[n_used++ % KOI_COUNT(used)], sizeof used[0], "%s", name);
  void *p = malloc(t->bytes);
  memcpy(p, t->data, t->bytes);
  if (n) *n = t->bytes / 4;
  return p;
}

static float *floats(const char *name, size_t *n) { return entry(name, n); }

static int same(float a, float b) { return (a != a && b != b) || a == b; }

static void compare(const char *what, const float *got, const float *want, size_t n, double relative)
{
  for (size_t i = 0; i < n; i++) check(same(got[i], want[i]) || fabs(got[i] - want[i]) <= relative * fabs(want[i]), what, i, got[i], want[i]);
}

/* ---- formats ---- */
static void test_codes(void)
{
  float *want[3] = {floats("e4m3_values", NULL), floats("e8m0_values", NULL), floats("e2m1_values", NULL)};
  for (int i = 0; i < 256; i++) {
    check(same(koi_e4m3((uint8_t)i), want[0][i]) && (want[0][i] != want[0][i] || signbit(koi_e4m3((uint8_t)i)) == signbit(want[0][i])), "e4m3", (size_t)i,
          koi_e4m3((uint8_t)i), want[0][i]);
    check(same(koi_e8m0((uint8_t)i), want[1][i]), "e8m0", (size_t)i, koi_e8m0((uint8_t)i), want[1][i]);
    if (i < 16) check(same(koi_e2m1((uint8_t)i), want[2][i]) && signbit(koi_e2m1((uint8_t)i)) == signbit(want[2][i]), "e2m1", (size_t)i, koi_e2m1((uint8_t)i), want[2][i]);
    /* a code's value rounds to the code: all of E4M3 but NaN */
    if ((i & 127) != 127) check(koi_ref_to_e4m3(want[0][i]) == i, "to_e4m3", (size_t)i, koi_ref_to_e4m3(want[0][i]), i);
    if (i < 16) check(koi_ref_to_e2m1(want[2][i]) == i, "to_e2m1", (size_t)i, koi_ref_to_e2m1(want[2][i]), i);
  }
  check(koi_ref_to_e4m3(NAN) == 0x7f, "to_e4m3 NaN", 0, koi_ref_to_e4m3(NAN), 0x7f);
  check(koi_ref_to_e4m3(-1e9f) == 0xfe, "to_e4m3 clamp", 0, koi_ref_to_e4m3(-1e9f), 0xfe);
  for (int i = 0; i < 3; i++) free(want[i]);
}

/* Ties and carries of bf16, against plain arithmetic on the neighbours. */
static void test_bf16(void)
{
  static const struct { float x; uint16_t want; } cases[] = {
    {1, 0x3f80}, {1.00390625f, 0x3f80}, {1.01171875f, 0x3f82}, {1.00390637f, 0x3f81}, {-1.01171875f, 0xbf82}, {0x1.fffp0f, 0x4000},
    {0x1.ffffp127f, 0x7f80}, {0, 0}, {-0.0f, 0x8000}, {0x1p-133f, 1}, {0x1p-134f, 0}, {0x1.8p-133f, 2}, {INFINITY, 0x7f80}};
  for (size_t i = 0; i < KOI_COUNT(cases); i++) check(koi_ref_to_bf16(cases[i].x) == cases[i].want, "bf16", i, koi_ref_to_bf16(cases[i].x), cases[i].want);
  check(isnan(koi_bf16(koi_ref_to_bf16(NAN))), "bf16 NaN", 0, 0, 0);
}

/* Rows of 128 plain dims through kv_store, then read back by attn over a single row: PO is the row. */
static void test_fp8_rows(void)
{
  enum { N = 96, DH = 130, RD = 2, PAGE = 32 };
  float *in = floats("fp8_group64_in", NULL), *want = floats("fp8_group64_out", NULL);
  static float x[N * DH], q[DH], po[DH], ml[2];
  static float page[N / PAGE * PAGE * DH]; /* more than is needed */
  static int32_t rows[2 * N], tables[N / PAGE];
  int32_t bytes = (int32_t)koi_layout_kv_page(0, DH, RD, PAGE);
  for (int i = 0; i < N; i++) rows[2 * i] = i;
  for (int i = 0; i < N / PAGE; i++) tables[i] = N / PAGE - 1 - i;
  for (int i = 0; i < N; i++) memcpy(x + i * DH, in + i * 128, 128 * sizeof *x);
  koi_ref_args store = {.buf = {[KV_STORE_X] = x, [KV_STORE_ROWS] = rows, [KV_STORE_TABLES] = tables, [KV_STORE_S0] = page},
                        .i = (int32_t[]){[KV_STORE_N] = N, [KV_STORE_LDX] = DH, [KV_STORE_TABLE] = 0, [KV_STORE_RING] = 0, [KV_STORE_PAGE_BYTES] = bytes, [KV_STORE_AT] = 0},
                        .c = (int32_t[]){[KV_STORE_EXACT] = 0, [KV_STORE_DH] = DH, [KV_STORE_RD] = RD, [KV_STORE_PAGE] = PAGE}};
  koi_ref_kv_store(&store);
  for (int32_t p = 0; p < N; p++) {
    koi_ref_args a = {.buf = {[ATTN_Q] = q, [ATTN_ROWS] = rows + 2 * p, [ATTN_TABLES] = tables, [ATTN_PO] = po, [ATTN_ML] = ml, [ATTN_W0] = page},
                      .i = (int32_t[]){[ATTN_T] = 1, [ATTN_WINDOW] = 1, [ATTN_W_PAGES] = N / PAGE, [ATTN_W_PAGE_BYTES] = bytes, [ATTN_RATIO] = 1,
                                       [ATTN_N_SPLITS] = 1, [ATTN_ROWS_PER_SPLIT] = 1},
                      .f = (float[]){1},
                      .c = (int32_t[]){[ATTN_EXACT] = 0, [ATTN_DH] = DH, [ATTN_RD] = RD, [ATTN_NH] = 1, [ATTN_SEL] = 0, [ATTN_PAGE] = PAGE}};
    koi_ref_attn(&a);
    compare("fp8_group64", po, want + p * 128, 128, 0);
  }
  free(in), free(want);
}

/* ---- indexer ---- */
static void check_hadamard(const float *in, const float *want, int n, int ih)
{
  for (int i = 0; i < n; i++) {
    float biggest = 0, x[256];
    memcpy(x, in + i * ih, (size_t)ih * sizeof *x);
    koi_ref_hadamard(x, (size_t)ih);
    for (int d = 0; d < ih; d++) biggest = fmaxf(biggest, fabsf(want[i * ih + d]));
    for (int d = 0; d < ih; d++) check(fabsf(x[d] - want[i * ih + d]) <= 5e-7f * biggest, "hadamard", (size_t)(i * ih + d), x[d], want[i * ih + d]);
  }
}

enum { N = 96, IH = 64, PAGE = 32 }; /* keys, their size, rows of a page */

/* One-hot queries of either sign read one dim of every key. */
static void check_keys(uint32_t *pages, int32_t *tables, int32_t bytes, const float *want)
{
  static float score[N], q[IH];
  static int32_t last[2] = {4 * N, 0};
  for (int d = 0; d < 2 * IH; d++) {
    float weight = d < IH ? 1 : -1;
    memset(q, 0, sizeof q);
    q[d % IH] = weight;
    koi_ref_args a = {.buf = {[INDEX_SCORE_Q] = q, [INDEX_SCORE_W] = &weight, [INDEX_SCORE_ROWS] = last, [INDEX_SCORE_TABLES] = tables,
                              [INDEX_SCORE_S] = score, [INDEX_SCORE_S0] = pages},
                      .i = (int32_t[]){[INDEX_SCORE_T] = 1, [INDEX_SCORE_N_ROWS] = N, [INDEX_SCORE_LDS] = N, [INDEX_SCORE_R] = 4,
                                       [INDEX_SCORE_PAGE_BYTES] = bytes, [INDEX_SCORE_AT] = 0},
                      .f = (float[]){1},
                      .c = (int32_t[]){[INDEX_SCORE_EXACT] = 0, [INDEX_SCORE_IH] = IH, [INDEX_SCORE_NH] = 1, [INDEX_SCORE_PAGE] = PAGE}};
    koi_ref_index_score(&a);
    for (int i = 0; i < N; i++) {
      float w = want[i * IH + d % IH] * weight > 0 ? want[i * IH + d % IH] : 0;
      check(score[i] == w, "index_store", (size_t)(i * IH + d), score[i], w);
    }
  }
}

static void test_indexer(void)
{
  float *in = floats("indexer_in", NULL), *had = floats("indexer_hadamard", NULL), *want = floats("indexer_fp4_out", NULL);
  static float x[N * IH];
  static uint32_t pages[N * 10];
  static int32_t rows[2 * N], tables[N / PAGE];
  int32_t bytes = (int32_t)koi_layout_index_page(0, IH, PAGE);
  for (int i = 0; i < N; i++) rows[2 * i] = i;
  for (int i = 0; i < N / PAGE; i++) tables[i] = N / PAGE - 1 - i;
  check_hadamard(in, had, N, IH);
  memcpy(x, in, sizeof x);
  koi_ref_args round = {.buf = {[INDEX_ROUND_X] = x}, .i = (int32_t[]){[INDEX_ROUND_N] = N}, .c = (int32_t[]){[INDEX_ROUND_IH] = IH}};
  koi_ref_index_round(&round);
  compare("index_round", x, want, N * IH, 0);
  koi_ref_args store = {.buf = {[INDEX_STORE_X] = in, [INDEX_STORE_ROWS] = rows, [INDEX_STORE_TABLES] = tables, [INDEX_STORE_S0] = pages},
                        .i = (int32_t[]){[INDEX_STORE_N] = N, [INDEX_STORE_PAGE_BYTES] = bytes, [INDEX_STORE_AT] = 0},
                        .c = (int32_t[]){[INDEX_STORE_EXACT] = 0, [INDEX_STORE_IH] = IH, [INDEX_STORE_PAGE] = PAGE}};
  koi_ref_index_store(&store);
  check_keys(pages, tables, bytes, want);
  free(in), free(had), free(want);
}

/* Rounding alone, without the transform: groups of 32 as they are. */
static void test_fp4_ties(void)
{
  size_t n;
  float *in = floats("fp4_ties_in", &n), *want = floats("fp4_ties_out", NULL), got[KOI_REF_FP4_GROUP];
  for (size_t g = 0; g < n / KOI_REF_FP4_GROUP; g++) {
    const float *x = in + g * KOI_REF_FP4_GROUP;
    uint8_t scale = koi_ref_fp4_scale(x, KOI_REF_FP4_GROUP);
    for (size_t i = 0; i < KOI_REF_FP4_GROUP; i++) got[i] = koi_e2m1(koi_ref_to_e2m1(koi_ref_unscale(x[i], scale))) * koi_e8m0(scale);
    compare("fp4_ties", got, want + g * KOI_REF_FP4_GROUP, KOI_REF_FP4_GROUP, 0);
  }
  free(in), free(want);
}

/* Top-k in rounds of uneven sizes against counting, for each row, the rows that come before it. */
static void test_topk(void)
{
  enum { N = 137, K = 12 };
  static const int32_t rounds[] = {0, 5, 16, 48, 64, 128, N};
  float score[N], val[K];
  int32_t idx[K];
  for (int kind = 0; kind < 4; kind++) {
    for (int i = 0; i < N; i++) {
      unsigned r = (unsigned)(i + 1) * 2654435761u >> 16;
      score[i] = kind == 0 ? (float)r : kind == 1 ? (float)(r % 5) : kind == 2 ? (float)i : r % 11 == 0 ? NAN : -(float)(r % 7);
    }
    for (size_t s = 0; s + 1 < KOI_COUNT(rounds); s++) {
      koi_ref_args a = {.buf = {[TOPK_S] = score + rounds[s], [TOPK_IDX] = idx, [TOPK_VAL] = val, [TOPK_ROWS] = (int32_t[]){4 * N, 0}},
                        .i = (int32_t[]){[TOPK_T] = 1, [TOPK_ROW0] = rounds[s], [TOPK_N_ROWS] = rounds[s + 1] - rounds[s], [TOPK_LDS] = N, [TOPK_K] = K, [TOPK_R] = 4}};
      koi_ref_topk(&a);
    }
    size_t n = 0;
    for (int i = 0; i < N; i++) {
      int before = 0;
      for (int j = 0; j < N; j++) {
        int nan_i = isnan(score[i]), nan_j = isnan(score[j]);
        before += nan_i != nan_j ? nan_i : score[j] > score[i] || ((nan_i || score[j] == score[i]) && j < i);
      }
      if (before >= K) continue;
      check(n < K && idx[n] == i && same(val[n], score[i]), "topk", n, n < K ? idx[n] : -1, i);
      n++;
    }
    check(n == K, "topk count", (size_t)kind, (double)n, K);
  }
}

/* ---- mHC ----
 * The recorded mixes are scaled already, and `pre` is not an output of hc_pre. Streams that make the scale factor 1 and y readable: stream i is
 * v at column i and 0 elsewhere, with mean square 1/2 over all and eps 1/2; then Y = y / sqrt(mean(y^2) + 1/2) can be inverted. */
static void test_hc(int hc)
{
  enum { N = 40, MAX = 4 };
  char name[8][32];
  static const char *const parts[] = {"mixes", "scale", "base", "pre", "post", "comb"};
  float *v[6];
  for (int i = 0; i < 6; i++) snprintf(name[i], sizeof name[i], "hc%d_%s", hc, parts[i]), v[i] = floats(name[i], NULL);
  int dim = hc * hc / 2;
  static float x[N * MAX * 8], y[N * 8], post[N * MAX], comb[N * MAX * MAX], norm[8];
  memset(x, 0, sizeof x);
  for (int d = 0; d < 8; d++) norm[d] = 1;
  for (int t = 0; t < N; t++)
    for (int i = 0; i < hc; i++) x[(t * hc + i) * dim + i] = sqrtf((float)dim / 2);
  koi_ref_args a = {.buf = {[HC_PRE_M] = v[0], [HC_PRE_X] = x, [HC_PRE_SCALE] = v[1], [HC_PRE_BASE] = v[2], [HC_PRE_NORM] = norm, [HC_PRE_Y] = y,
                            [HC_PRE_POST] = post, [HC_PRE_COMB] = comb},
                    .i = (int32_t[]){[HC_PRE_T] = N, [HC_PRE_D] = dim}, .f = (float[]){[HC_PRE_RMS_EPS] = 0.5f, [HC_PRE_HC_EPS] = 1e-6f},
                    .c = (int32_t[]){[HC_PRE_HC] = hc, [HC_PRE_ITERS] = 20, [HC_PRE_HEAD] = 0, [HC_PRE_NORM_WT] = KOI_WT_F32}};
  koi_ref_hc_pre(&a);
  compare(name[4], post, v[4], (size_t)(N * hc), 2e-6);
  compare(name[5], comb, v[5], (size_t)(N * hc * hc), 2e-6);
  for (int t = 0; t < N; t++) {
    double mean = koi_ref_dot(y + t * dim, y + t * dim, (size_t)dim) / dim, factor = sqrt(0.5 * mean / (1 - mean) + 0.5);
    for (int i = 0; i < hc; i++) {
      double pre = y[t * dim + i] * factor / sqrt(dim / 2.0);
      check(fabs(pre - v[3][t * hc + i]) <= 2e-6 * v[3][t * hc + i], name[3], (size_t)(t * hc + i), pre, v[3][t * hc + i]);
    }
  }
  for (int i = 0; i < 6; i++) free(v[i]);
}

/* ---- experts ---- */
static void test_swiglu(void)
{
  enum { N = 24, INTER = 32 };
  static const float limits[] = {0, 0.5f, 10};
  static const char *const names[] = {"swiglu_limit_0", "swiglu_limit_0.5", "swiglu_limit_10"};
  float *gate = floats("swiglu_gate", NULL), *up = floats("swiglu_up", NULL);
  static float gu[N * 2 * INTER], h[N * INTER];
  for (int i = 0; i < N; i++) {
    memcpy(gu + i * 2 * INTER, gate + i * INTER, INTER * sizeof *gu);
    memcpy(gu + i * 2 * INTER + INTER, up + i * INTER, INTER * sizeof *gu);
  }
  for (size_t l = 0; l < KOI_COUNT(limits); l++) {
    float *want = floats(names[l], NULL);
    koi_ref_args a = {.buf = {[SWIGLU_GU] = gu, [SWIGLU_H] = h}, .f = &limits[l],
                      .i = (int32_t[]){[SWIGLU_E] = N, [SWIGLU_INTER] = INTER, [SWIGLU_LDG] = 2 * INTER, [SWIGLU_LDH] = INTER, [SWIGLU_HAS_W] = 0}};
    koi_ref_swiglu(&a);
    compare(names[l], h, want, N * INTER, 5e-7);
    free(want);
  }
  free(gate), free(up);
}

static void test_route(void)
{
  enum { N = 40, EXPERTS = 16, USED = 4 };
  static const char *const kinds[] = {"sqrtsoftplus", "softmax", "sigmoid"};
  float *logits = floats("route_logits", NULL), *bias = floats("route_bias", NULL);
  for (int32_t kind = 0; kind < 3; kind++) {
    char name[64];
    snprintf(name, sizeof name, "route_%s_experts", kinds[kind]);
    int32_t *want_ids = entry(name, NULL), ids[N * USED], tokens[N];
    snprintf(name, sizeof name, "route_%s_weights_x1.5", kinds[kind]);
    float *want = floats(name, NULL), w[N * USED];
    koi_ref_args a = {.buf = {[ROUTE_LOGITS] = logits, [ROUTE_BIAS] = bias, [ROUTE_IDS] = ids, [ROUTE_W] = w}, .f = (float[]){[ROUTE_ROUTE_SCALE] = 1.5f},
                      .i = (int32_t[]){[ROUTE_T] = N, [ROUTE_N_EXPERTS] = EXPERTS, [ROUTE_N_USED] = USED, [ROUTE_LD] = EXPERTS},
                      .c = (int32_t[]){[ROUTE_SCORE] = kind, [ROUTE_HASH] = 0, [ROUTE_BT] = KOI_WT_F32}};
    koi_ref_route(&a);
    for (size_t i = 0; i < N * USED; i++) check(ids[i] == want_ids[i], name, i, ids[i], want_ids[i]);
    compare(name, w, want, N * USED, 5e-7);
    /* the same experts through a table give the same weights */
    for (int32_t t = 0; t < N; t++) tokens[t] = N - 1 - t;
    int32_t table[N * USED];
    for (int t = 0; t < N; t++) memcpy(table + (N - 1 - t) * USED, want_ids + t * USED, USED * sizeof *table);
    koi_ref_args hash = {.buf = {[ROUTE_LOGITS] = logits, [ROUTE_TOKENS] = tokens, [ROUTE_TID2EID] = table, [ROUTE_IDS] = ids, [ROUTE_W] = w}, .i = a.i,
                         .f = a.f, .c = (int32_t[]){[ROUTE_SCORE] = kind, [ROUTE_HASH] = 1, [ROUTE_BT] = KOI_WT_F32}};
    koi_ref_route(&hash);
    for (size_t i = 0; i < N * USED; i++) check(ids[i] == want_ids[i], "hash ids", i, ids[i], want_ids[i]);
    compare("hash weights", w, want, N * USED, 5e-7);
    free(want_ids), free(want);
  }
  free(logits), free(bias);
}

/* Softplus through route: with two experts of the same logit and a third far below, the weights would not show it; with weights of two experts
 * z and 0 they are s(z) / (s(z) + s(0)). */
static void test_sqrtsoftplus(void)
{
  size_t n;
  float *in = floats("sqrtsoftplus_in", &n), *want = floats("sqrtsoftplus_out", NULL);
  for (size_t i = 0; i < n; i++) {
    float logits[2] = {in[i], 0}, w[2];
    int32_t ids[2], token = 0, table[2] = {0, 1};
    koi_ref_args a = {.buf = {[ROUTE_LOGITS] = logits, [ROUTE_TOKENS] = &token, [ROUTE_TID2EID] = table, [ROUTE_IDS] = ids, [ROUTE_W] = w},
                      .i = (int32_t[]){[ROUTE_T] = 1, [ROUTE_N_EXPERTS] = 2, [ROUTE_N_USED] = 2, [ROUTE_LD] = 2}, .f = (float[]){[ROUTE_ROUTE_SCALE] = 1},
                      .c = (int32_t[]){[ROUTE_SCORE] = 0, [ROUTE_HASH] = 1, [ROUTE_BT] = KOI_WT_F32}};
    koi_ref_route(&a);
    double zero = sqrt(log(2.0)), s = want[i] / (want[i] + zero);
    check(fabs(w[0] - s) <= 5e-7 * s + 0x1p-149, "sqrtsoftplus", i, w[0], s);
  }
  free(in), free(want);
}

/* ---- compressor and RoPE ---- */
/* The previous window's half, then the current one's, as positions 0..7 of two windows of 4. */
static void test_pool(void)
{
  enum { N = 3, DIM = 64 };
  float *kv_in = floats("pool_kv", NULL), *score_in = floats("pool_score", NULL), *want = floats("pool_row", NULL);
  static float state[2 * 8 * 2 * DIM], ape[4 * 2 * DIM], row[DIM];
  float *kv = state, *score = state + 8 * 2 * DIM; /* also the chunk: its row 0 is position 0 */
  for (int i = 0; i < N; i++) {
    for (int q = 0; q < 8; q++) {
      size_t to = (size_t)(q * 2 * DIM + (q < 4 ? 0 : DIM)), from = (size_t)((i * 8 + q) * DIM);
      memcpy(kv + to, kv_in + from, DIM * sizeof *kv), memcpy(score + to, score_in + from, DIM * sizeof *score);
    }
    for (int32_t split = 0; split < 2; split++) { /* all in this chunk; then the first five positions from the state */
      int32_t p0 = split ? 5 : 0;
      koi_ref_args a = {.buf = {[POOL_KV] = state, [POOL_SCORE] = state + 8 * 2 * DIM, [POOL_APE] = ape, [POOL_WINS] = (int32_t[]){1, p0, p0, 0, 0},
                                [POOL_Y] = row, [POOL_S0] = state},
                        .i = (int32_t[]){[POOL_N_WIN] = 1, [POOL_R] = 4, [POOL_DIM] = DIM, [POOL_LD] = 2 * DIM, [POOL_COFF] = 2, [POOL_SLOT_BYTES] = sizeof state,
                                         [POOL_AT] = 0},
                        .c = (int32_t[]){[POOL_C_AT] = KOI_WT_F32}};
      koi_ref_pool(&a);
      compare("pool", row, want + i * DIM, DIM, 2e-6);
    }
  }
  free(kv_in), free(score_in), free(want);
}

static void test_rope(void)
{
  enum { RD = 64 };
  size_t n;
  int32_t *pos = entry("rope_positions", &n);
  koi_config c = {.rope_dim = RD, .rope_theta = 10000, .compress_theta = 160000,
                  .yarn = {.on = true, .factor = 16, .original = 65536, .beta_fast = 32, .beta_slow = 1}};
  for (int yarn = 0; yarn < 2; yarn++) {
    float *cs[2] = {floats(yarn ? "rope_yarn_cos" : "rope_main_cos", NULL), floats(yarn ? "rope_yarn_sin" : "rope_main_sin", NULL)};
    float freq[RD / 2], row[RD];
    koi_rope_freqs(&c, yarn, freq);
    for (size_t i = 0; i < n; i++) {
      koi_rope_row(freq, RD, (uint64_t)pos[i], row);
      for (size_t j = 0; j < RD; j++) {
        float want = cs[j % 2][i * RD / 2 + j / 2];
        check(fabsf(row[j] - want) <= 1e-6f, yarn ? "rope yarn" : "rope main", i * RD + j, row[j], want);
      }
    }
    free(cs[0]), free(cs[1]);
  }
  /* a rotation by cos/sin and attn_merge's conjugate undo each other */
  float x[4] = {1, 2, 3, 4}, y[4], o[4], cs[2] = {0.6f, 0.8f}, ml[2] = {0, 1}, sink = -INFINITY;
  koi_ref_args a = {.buf = {[NORM_ROPE_X] = x, [NORM_ROPE_ROPE] = cs, [NORM_ROPE_Y] = y}, .f = (float[]){[NORM_ROPE_EPS] = 0},
                    .i = (int32_t[]){[NORM_ROPE_N] = 1, [NORM_ROPE_DIM] = 4, [NORM_ROPE_RD] = 2, [NORM_ROPE_ROWS_PER_POS] = 1, [NORM_ROPE_LDX] = 4,
                                     [NORM_ROPE_LDY] = 4},
                    .c = (int32_t[]){[NORM_ROPE_C_NORM] = 0, [NORM_ROPE_NORM_WT] = KOI_WT_F32}};
  koi_ref_norm_rope(&a);
  koi_ref_args b = {.buf = {[ATTN_MERGE_PO] = y, [ATTN_MERGE_ML] = ml, [ATTN_MERGE_SINK] = &sink, [ATTN_MERGE_ROPE] = cs, [ATTN_MERGE_O] = o},
                    .i = (int32_t[]){[ATTN_MERGE_T] = 1, [ATTN_MERGE_N_SPLITS] = 1},
                    .c = (int32_t[]){[ATTN_MERGE_DH] = 4, [ATTN_MERGE_RD] = 2, [ATTN_MERGE_NH] = 1, [ATTN_MERGE_ST] = KOI_WT_F32}};
  koi_ref_attn_merge(&b);
  compare("rotation and back", o, x, 4, 1e-6);
  free(pos);
}

int main(void)
{
  const char *dir = getenv("srcdir");
  char path[4096];
  snprintf(path, sizeof path, "%s/tests/data/vectors.safetensors", dir ? dir : ".");
  if (koi_safetensors_open_file(path, &vectors)) {
    printf("FAIL %s\n", koi_error_text());
    return 1;
  }
  test_codes(), test_bf16(), test_fp8_rows(), test_indexer(), test_fp4_ties(), test_topk(), test_hc(2), test_hc(4);
  test_swiglu(), test_route(), test_sqrtsoftplus(), test_pool(), test_rope();
  for (size_t i = 0; i < koi_weights_count(vectors); i++) {
    size_t u = 0;
    while (u < n_used && strcmp(used[u], koi_weights_at(vectors, i)->name)) u++;
    check(u < n_used, koi_weights_at(vectors, i)->name, i, 0, 1); /* an entry that nothing compares */
  }
  koi_weights_close(vectors);
  printf("t_ref: %d checks, %d failed\n", n_checks, n_failed);
  return n_failed != 0;
}
