/* Random weights as a device has them, and what the tables of ops that read them share. */
#ifndef KOI_VERIFY_WEIGHTS_H
#define KOI_VERIFY_WEIGHTS_H
#include "verify_case.h"

/* ONE_HOT: inputs are unit vectors, so that each output is one weight and must be exact, over every code that is a number. */
enum { ONE_HOT = 1 };
enum { F32 = KOI_WT_F32, F16 = KOI_WT_F16, BF16 = KOI_WT_BF16, FP8 = KOI_WT_FP8, FP4 = KOI_WT_FP4, MXFP4 = KOI_WT_MXFP4, Q8_0 = KOI_WT_Q8_0, Q4_0 = KOI_WT_Q4_0,
       Q4_1 = KOI_WT_Q4_1, Q5_0 = KOI_WT_Q5_0, Q5_1 = KOI_WT_Q5_1, Q2_K = KOI_WT_Q2_K, Q3_K = KOI_WT_Q3_K, Q4_K = KOI_WT_Q4_K, Q5_K = KOI_WT_Q5_K, Q6_K = KOI_WT_Q6_K,
       IQ2_XXS = KOI_WT_IQ2_XXS, IQ2_XS = KOI_WT_IQ2_XS, IQ2_S = KOI_WT_IQ2_S, IQ3_XXS = KOI_WT_IQ3_XXS, IQ3_S = KOI_WT_IQ3_S, IQ4_NL = KOI_WT_IQ4_NL, IQ4_XS = KOI_WT_IQ4_XS };

/* n_units units of tiles [tile0, tile1), of `tile` rows each. one_hot: they meet unit vectors, so that all codes that are numbers may occur. */
typedef struct koi_verify_weight { int wt, care, one_hot; size_t k, sub_rows, n_units, tile0, tile1, tile; } koi_verify_weight;

/* A case of an op with a constant TILE, as the tables have it for tiles of 16 rows, for those of `tile`: what it asks for may grow to whole tiles. */
void koi_verify_lay(const koi_op *op, koi_verify_case *v, int32_t tile);
/* Into the first buffers, which matvec, matmul and widen have alike. */
void koi_verify_weights(koi_verify_job *j, const koi_verify_weight *w);
/* Into those from `slot` on: codes, then scales. */
void koi_verify_weights_at(koi_verify_job *j, int slot, const koi_verify_weight *w);
/* Entries in random order spread over the panels' places, the other places -1. */
void koi_verify_spread(koi_verify_job *j, int32_t *rows, int32_t n_places, int32_t n);
#endif
