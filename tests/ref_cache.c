/* t_ref: the indexer, the compressor, RoPE. */
#include "ref_vectors.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/ops.h"
#include "kernels/ref/ref.h"
#include "model/rope.h"

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

void test_indexer(void)
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
void test_fp4_ties(void)
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
void test_topk(void)
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
    check((idx[0] < 0) == (kind == 3), "topk: a NaN is marked", (size_t)kind, idx[0], kind == 3);
    idx[0] &= INT32_MAX;
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

/* ---- compressor and RoPE ---- */
/* The previous window's half, then the current one's, as positions 0..7 of two windows of 4. */
void test_pool(void)
{
  enum { N = 3, DIM = 64 };
  float *kv_in = floats("pool_kv", NULL), *score_in = floats("pool_score", NULL), *want = floats("pool_row", NULL);
  static float state[2 * 8 * 2 * DIM], chunk[8 * 4 * DIM], ape[4 * 2 * DIM], row[DIM]; /* the chunk's row 0 is position 0 */
  float *kv = state, *score = state + 8 * 2 * DIM;
  for (int i = 0; i < N; i++) {
    for (int q = 0; q < 8; q++) {
      size_t to = (size_t)(q * 2 * DIM + (q < 4 ? 0 : DIM)), from = (size_t)((i * 8 + q) * DIM);
      memcpy(kv + to, kv_in + from, DIM * sizeof *kv), memcpy(score + to, score_in + from, DIM * sizeof *score);
      memcpy(chunk + q * 4 * DIM, kv + q * 2 * DIM, 2 * DIM * sizeof *kv), memcpy(chunk + q * 4 * DIM + 2 * DIM, score + q * 2 * DIM, 2 * DIM * sizeof *score);
    }
    for (int32_t split = 0; split < 2; split++) { /* all in this chunk; then the first five positions from the state */
      int32_t p0 = split ? 5 : 0;
      koi_ref_args a = {.buf = {[POOL_KV] = chunk, [POOL_APE] = ape, [POOL_WINS] = (int32_t[]){1, p0, p0, 0, 0},
                                [POOL_Y] = row, [POOL_S0] = state},
                        .i = (int32_t[]){[POOL_N_WIN] = 1, [POOL_R] = 4, [POOL_DIM] = DIM, [POOL_LD] = 4 * DIM, [POOL_COFF] = 2, [POOL_SLOT_BYTES] = sizeof state,
                                         [POOL_AT] = 0},
                        .c = (int32_t[]){[POOL_C_AT] = KOI_WT_F32}};
      koi_ref_pool(&a);
      compare("pool", row, want + i * DIM, DIM, 2e-6);
    }
  }
  free(kv_in), free(score_in), free(want);
}

void test_rope(void)
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
