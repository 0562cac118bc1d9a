/* What is likely to be good before anything is measured. */
#ifndef KOI_SEEDS_H
#define KOI_SEEDS_H
#include "kernels/choose.h"
#include "kernels/ops.h"

/* Parameters number i to be tried on a device of this kind, into p; false: there are no more. They are legal. */
bool koi_seed(const koi_target *t, const koi_op *op, const int32_t *c, int32_t bucket, size_t i, int32_t *p);
#endif
