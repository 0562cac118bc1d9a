/* Cases of gemm for the verifier: the one product that a library may do, of plain numbers. A table of calls, and how their inputs are made. */
#include "verify_case.h"

static const koi_verify_case gemm_cases[] = {
  /* | n, rows, k, ldx, y_offset, ldy */
  {"one value", {0}, {1, 1, 1, 1, 0, 1}, {0}, 0},
  {"one row", {0}, {1, 40, 64, 64, 0, 40}, {0}, 0},
  {"odd sizes", {0}, {3, 17, 33, 40, 5, 29}, {0}, 0},
  {"one column of X", {0}, {9, 31, 1, 7, 0, 31}, {0}, 0},
  {"rows beside others", {0}, {64, 64, 128, 128, 64, 192}, {0}, 0},
  {"ragged", {0}, {67, 130, 259, 260, 3, 140}, {0}, 0},
  {"wide", {0}, {128, 512, 1024, 1024, 0, 512}, {0}, KOI_VERIFY_BIG},
};

static void make_gemm(koi_verify_job *j)
{
  const int32_t *i = j->v->i;
  koi_verify_floats(j, GEMM_X, (size_t)(i[GEMM_N] * i[GEMM_LDX]), 1);
  koi_verify_floats(j, GEMM_W, (size_t)(i[GEMM_ROWS] * i[GEMM_K]), 1);
  koi_verify_out(j, GEMM_Y, (size_t)(i[GEMM_N] * i[GEMM_LDY]) * 4, KOI_VERIFY_F32);
}

static void gemm_bound(koi_verify_job *j) { koi_verify_bound_linear(j, KOI_FORMAT_NONE, 0, 0); }

const koi_verify_op koi_verify_gemm[] = {{&koi_op_gemm, gemm_cases, sizeof gemm_cases / sizeof *gemm_cases, make_gemm, gemm_bound, NULL, 0},
                                         {NULL, NULL, 0, NULL, NULL, NULL, 0}};
