/* The list of all ops as data. */
#include "ops.h"

#define X(name) &koi_op_##name,
const koi_op *const koi_ops[] = {KOI_OPS(X) NULL};
