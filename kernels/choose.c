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

const char *koi_origin_name(koi_origin s) { return s == KOI_ORIGIN_USER ? "user" : "shipped"; }

/* ---- choosing ---- */
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

static bool is_listed(const koi_param *q, int32_t v)
{
  for (size_t i = 0; i < q->n_values; i++)
    if (q->values[i] == v) return true;
  return false;
}

static int32_t nearest(const koi_param *q, int32_t v, int32_t otherwise)
{
  int64_t best = INT64_MAX;
  int32_t at = otherwise;
  for (size_t i = 0; i < q->n_values; i++) {
    int64_t away = (int64_t)q->values[i] - v;
    if (away < 0) away = -away;
    if (away < best) best = away, at = q->values[i];
  }
  return at;
}

/* Rules of a descriptor see only numbers that it knows: a file may say anything. */
bool koi_settle(const koi_target *t, const koi_op *op, const int32_t *c, int32_t *p)
{
  int32_t first[KOI_MAX_PARAMS] = {0}, fit[KOI_MAX_PARAMS];
  defaults(t, op, c, first);
  memcpy(fit, first, sizeof fit);
  settled(t, op, c, fit);
  for (size_t i = 0; i < koi_op_n_params(op); i++)
    if (!is_listed(&op->params[i], p[i]) && p[i] != first[i] && p[i] != fit[i]) p[i] = nearest(&op->params[i], p[i], first[i]);
  return settled(t, op, c, p);
}

/* Whether the rung answers; p then holds what it says, but for the default. */
static koi_verdict ask(const koi_target *t, const koi_tuned *e, const int32_t *c, int32_t *p)
{
  if (!e) return KOI_ABSENT;
  if (e->kept) return KOI_SAYS_DEFAULT;
  size_t n = koi_op_n_params(e->op) * sizeof *p;
  memcpy(p, e->p, n);
  if (!koi_settle(t, e->op, c, p)) return KOI_ILLEGAL;
  return memcmp(p, e->p, n) ? KOI_REPAIRED : KOI_TAKEN;
}

/* Down the ladder to the first that answers; *rung KOI_RUNG_DEFAULT: none does, or one says that the default stays. */
static void climb(const koi_target *t, const koi_op *op, const int32_t *c, int32_t bucket, int32_t *p, koi_rung *rung, koi_why (*out)[KOI_N_ORIGINS])
{
  bool answered = false;
  *rung = KOI_RUNG_DEFAULT;
  for (int r = 0; r < KOI_RUNG_DEFAULT; r++)
    for (int s = 0; s < KOI_N_ORIGINS; s++) {
      koi_why w = {koi_tuned_at(t->tuned, op, c, bucket, (koi_rung)r, (koi_origin)s), KOI_ABSENT};
      if (w.e) w.verdict = answered ? KOI_NOT_ASKED : ask(t, w.e, c, p);
      if (out) out[r][s] = w;
      if (w.verdict == KOI_TAKEN || w.verdict == KOI_REPAIRED) *rung = (koi_rung)r;
      answered |= w.verdict == KOI_TAKEN || w.verdict == KOI_REPAIRED || w.verdict == KOI_SAYS_DEFAULT;
      if (answered && !out) return;
    }
}

koine_status koi_choose_why(const koi_target *t, const koi_op *op, const int32_t *c, int32_t bucket, int32_t *p, koi_rung *rung, koi_why (*out)[KOI_N_ORIGINS])
{
  koi_rung own;
  if (!rung) rung = &own;
  climb(t, op, c, bucket, p, rung, out);
  if (*rung != KOI_RUNG_DEFAULT) return KOINE_OK;
  defaults(t, op, c, p); /* hold for every bucket */
  if (settled(t, op, c, p)) return KOINE_OK;
  return koi_error(KOINE_ERR_DEVICE, "op %s has no parameters for work-groups of at most %" PRIu32 " and %" PRIu64 " bytes of local memory", op->name,
                   t->max_group, t->local_bytes);
}

koine_status koi_choose(const koi_target *t, const koi_op *op, const int32_t *c, int32_t bucket, int32_t *p, koi_rung *rung)
{
  return koi_choose_why(t, op, c, bucket, p, rung, NULL);
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
