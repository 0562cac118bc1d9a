/* Random weights as a device has them, for the tables of cases. */
#ifndef KOI_VERIFY_WEIGHTS_H
#define KOI_VERIFY_WEIGHTS_H
#include "verify_case.h"

/* n_units units of tiles [tile0, tile1), of `tile` rows each. one_hot: they meet unit vectors, so that all codes that are numbers may occur. */
typedef struct koi_verify_weight { int wt, care, one_hot; size_t k, sub_rows, n_units, tile0, tile1, tile; } koi_verify_weight;

/* A case of an op with a constant TILE, as the tables have it for tiles of 16 rows, for those of `tile`: what it asks for may grow to whole tiles. */
void koi_verify_lay(const koi_op *op, koi_verify_case *v, int32_t tile);
/* Into the first buffers, which matvec, matmul and widen have alike. */
void koi_verify_weights(koi_verify_job *j, const koi_verify_weight *w);
#endif
