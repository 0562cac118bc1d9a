/* What callers of the matrix ops must decide beforehand. */
#ifndef KOI_MAT_H
#define KOI_MAT_H
#include "ops.h"

/* Columns a panel (NT) for matmul and pack with weights of type wt. grouped: panels belong to experts and may be ragged. */
int koi_mat_nt(const koi_target *t, int wt, int grouped);
#endif
