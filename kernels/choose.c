/* See choose.h. Owns nothing: pure functions of a target and a descriptor. Invariant: what koi_choose answers with KOINE_OK is legal. */
#include "choose.h"
#include <inttypes.h>

int32_t koi_op_bucket(const koi_op *op, const int32_t *ints, const int32_t *c) { return op->bucket ? op->bucket(ints, c) : 0; }

static bool group_fits(const koi_target *t, const koi_op *op, const int32_t *c, const int32_t *p)
{
  uint64_t items = op->group_items ? op->group_items(c, p) : 1;
  return items && (!t->max_group || items <= t->max_group);
}

static bool local_fits(const koi_target *t, const koi_op *op, const int32_t *c, const int32_t *p)
{
  return !t->local_bytes || !op->local_bytes || op->local_bytes(c, p) <= t->local_bytes;
}

bool koi_legal(const koi_target *t, const koi_op *op, const int32_t *c, const int32_t *p)
{
  return group_fits(t, op, c, p) && local_fits(t, op, c, p) && (!op->legal || op->legal(t, c, p));
}

koine_status koi_choose(const koi_target *t, const koi_op *op, const int32_t *c, int32_t bucket, int32_t *p, koi_rung *rung)
{
  (void)bucket; /* the defaults hold for every shape */
  for (size_t i = 0; i < koi_op_n_params(op); i++) p[i] = t->local_is_global ? op->params[i].cpu : op->params[i].gpu;
  if (op->defaults) op->defaults(t, c, p);
  if (rung) *rung = KOI_RUNG_DEFAULT;
  if (op->repair && !koi_legal(t, op, c, p)) op->repair(t, c, p);
  if (koi_legal(t, op, c, p)) return KOINE_OK;
  return koi_error(KOINE_ERR_DEVICE, "op %s has no parameters for work-groups of at most %" PRIu32 " and %" PRIu64 " bytes of local memory", op->name,
                   t->max_group, t->local_bytes);
}

void koi_halve(const koi_target *t, const koi_op *op, const int32_t *c, int32_t *p, size_t i, int32_t least)
{
  while (!koi_legal(t, op, c, p) && p[i] / 2 >= least) p[i] /= 2;
}

void koi_halve_group(const koi_target *t, const koi_op *op, const int32_t *c, int32_t *p, size_t i)
{
  while (!group_fits(t, op, c, p) && p[i] > 1) p[i] /= 2;
}

void koi_halve_local(const koi_target *t, const koi_op *op, const int32_t *c, int32_t *p, size_t i, int32_t least)
{
  while (!local_fits(t, op, c, p) && p[i] / 2 >= least) p[i] /= 2;
}

void koi_double(const koi_target *t, const koi_op *op, const int32_t *c, int32_t *p, size_t i, int32_t most)
{
  while (!koi_legal(t, op, c, p) && p[i] * 2 <= most) p[i] *= 2;
}
