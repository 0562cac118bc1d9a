/* See seeds.h. Owns nothing. First what was found good in spaces that were measured whole (tests/data/spaces), by kind of device; then what other
 * kinds have as default: the rules may be wrong about this one. */
#include "seeds.h"
#include <string.h>

/* Where local memory is ordinary memory. */
static const struct { const koi_op *op; int32_t p[KOI_MAX_PARAMS]; } processors[] = {
  {&koi_op_hc_post, {64, 16, 1}}, {&koi_op_hc_post, {1, 8, 8}},  {&koi_op_hc_post, {1, 16, 64}},
  {&koi_op_swiglu, {1, 16, 64}}, {&koi_op_swiglu, {128, 16, 2}}, {&koi_op_swiglu, {256, 8, 1}},
};

static const koi_target kinds[] = {{.vector_width = 16, .local_is_global = 1}, {.vector_width = 4, .local_is_global = 1},
                                   {.vector_width = 1, .local_is_global = 1}, {.vector_width = 1, .lanes = 32}};

static bool as_kind(const koi_target *t, const koi_op *op, const int32_t *c, int32_t bucket, const koi_target *kind, int32_t *p)
{
  koi_target other = *t;
  other.tuned = NULL, other.vector_width = kind->vector_width, other.local_is_global = kind->local_is_global;
  if (kind->lanes) other.lanes = kind->lanes;
  return !koi_choose(&other, op, c, bucket, p, NULL) && koi_legal(t, op, c, p);
}

bool koi_seed(const koi_target *t, const koi_op *op, const int32_t *c, int32_t bucket, size_t i, int32_t *p)
{
  if (as_kind(t, op, c, bucket, &kinds[0], p) && !i--) return true; /* most processors */
  for (size_t k = 0; k < KOI_COUNT(processors) && t->local_is_global; k++) {
    if (processors[k].op != op || !koi_legal(t, op, c, processors[k].p) || i--) continue;
    memcpy(p, processors[k].p, koi_op_n_params(op) * sizeof *p);
    return true;
  }
  for (size_t k = 1; k < KOI_COUNT(kinds); k++)
    if (as_kind(t, op, c, bucket, &kinds[k], p) && !i--) return true;
  return false;
}
