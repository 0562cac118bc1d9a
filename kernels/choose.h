#ifndef KOI_CHOOSE_H
#define KOI_CHOOSE_H
#include "op.h"
static inline int32_t koi_op_bucket(const koi_op *op, const int32_t *ints, const int32_t *c) { return (void)op, (void)ints, (void)c, 0; }
#endif
