/* What every op descriptor has in common: counting its lists, its parameters before any tuning, its kernel text.
 * The descriptors lie in ops_*.c, their list in ops_all.c. */
#include "ops.h"
#include <string.h>
#include "sources.h"

static size_t count(const char *const *names, size_t max)
{
  size_t n = 0;
  while (n < max && names[n]) n++;
  return n;
}

size_t koi_op_n_bufs(const koi_op *op)
{
  size_t n = 0;
  while (n < KOI_MAX_BUFS && op->bufs[n].name) n++;
  return n;
}

size_t koi_op_n_ints(const koi_op *op) { return count(op->ints, KOI_MAX_INTS); }
size_t koi_op_n_floats(const koi_op *op) { return count(op->floats, KOI_MAX_FLOATS); }
size_t koi_op_n_consts(const koi_op *op) { return count(op->consts, KOI_MAX_CONSTS); }

size_t koi_op_n_params(const koi_op *op)
{
  size_t n = 0;
  while (n < KOI_MAX_PARAMS && op->params[n].name) n++;
  return n;
}

void koi_op_defaults(const koi_op *op, const koi_target *t, const int32_t *c, int32_t *p)
{
  for (size_t i = 0; i < koi_op_n_params(op); i++) p[i] = t->local_is_global ? op->params[i].cpu : op->params[i].gpu;
  if (op->choose) op->choose(t, c, p);
}

const char *koi_source_text(const char *name)
{
  const struct koi_source *s = koi_sources;
  while (s->name && strcmp(s->name, name)) s++;
  return s->text;
}
