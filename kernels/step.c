/* See step.h. Owns nothing. Invariant: the same target has the same tunables, whatever ran before. */
#include "step.h"

void koi_step_tunables(const koi_target *t, koi_tunables *out)
{
  uint64_t groups = 4 * (uint64_t)t->n_units;
  if (groups < 8) groups = 8;
  if (groups > 64) groups = 64;
  *out = (koi_tunables){.nt = 16, .nt_group = 16, .vec_tokens = 1, .group_tokens = 4, .min_split_rows = 16, .max_splits = 32,
                        .split_groups = (int32_t)groups, .score_floats = (uint64_t)4 << 20};
}

int32_t koi_step_splits(const koi_tunables *u, int32_t n_tokens)
{
  int32_t n = u->split_groups / n_tokens;
  if (n > u->max_splits) n = u->max_splits;
  return n > 1 ? n : 1;
}
