/* The C references against tests/data/vectors.safetensors, made with DeepSeek's own implementation: every entry of it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/ops.h"
#include "model/rope.h"
#include "kernels/ref/ref.h"
#include "ref_vectors.h"

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
                    .i = (int32_t[]){[HC_PRE_T] = N, [HC_PRE_D] = dim, [HC_PRE_N_PARTS] = 1}, .f = (float[]){[HC_PRE_RMS_EPS] = 0.5f, [HC_PRE_HC_EPS] = 1e-6f},
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
