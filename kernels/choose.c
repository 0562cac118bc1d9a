/* See choose.h. Owns nothing: pure functions of a target and a descriptor. Invariant: what koi_choose answers with KOINE_OK is legal. */
#include "choose.h"
#include <inttypes.h>
#include <string.h>

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

const char *koi_rung_name(koi_rung r)
{
  static const char *const names[KOI_N_RUNGS] = {"tuned", "tuned with another driver or kernel text", "tuned on another device of the architecture",
                                                 "tuned on another device of the vendor", "default"};
  return names[r];
}

koi_tuned *koi_tuned_find(const koi_tuned_table *table, const koi_op *op, const int32_t *c, int32_t bucket)
{
  for (size_t i = 0; table && i < table->n; i++) {
    koi_tuned *e = &table->v[i];
    if (e->op == op && e->bucket == bucket && !memcmp(e->c, c, koi_op_n_consts(op) * sizeof *c)) return e;
  }
  return NULL;
}

static void defaults(const koi_target *t, const koi_op *op, const int32_t *c, int32_t *p)
{
  for (size_t i = 0; i < koi_op_n_params(op); i++) p[i] = t->local_is_global ? op->params[i].cpu : op->params[i].gpu;
  if (op->defaults) op->defaults(t, c, p);
}

/* Whether p is legal, if need be after a repair. */
static bool settled(const koi_target *t, const koi_op *op, const int32_t *c, int32_t *p)
{
  if (op->repair && !koi_legal(t, op, c, p)) op->repair(t, c, p);
  return koi_legal(t, op, c, p);
}

koine_status koi_choose(const koi_target *t, const koi_op *op, const int32_t *c, int32_t bucket, int32_t *p, koi_rung *rung)
{
  const koi_tuned *e = koi_tuned_find(t->tuned, op, c, bucket);
  if (e && !e->kept) {
    memcpy(p, e->p, koi_op_n_params(op) * sizeof *p);
    if (rung) *rung = e->rung;
    if (settled(t, op, c, p)) return KOINE_OK;
  }
  defaults(t, op, c, p); /* hold for every bucket */
  if (rung) *rung = KOI_RUNG_DEFAULT;
  if (settled(t, op, c, p)) return KOINE_OK;
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
