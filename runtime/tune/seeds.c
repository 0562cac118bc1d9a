/* See seeds.h. Owns nothing. What other kinds of devices have as default: the rules may be wrong about this one. */
#include "seeds.h"

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
  for (size_t k = 0; k < KOI_COUNT(kinds); k++)
    if (as_kind(t, op, c, bucket, &kinds[k], p) && !i--) return true;
  return false;
}
