/* What every op descriptor has in common: counting its lists, its kernel text.
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

int koi_op_const(const koi_op *op, const char *name)
{
  for (size_t i = 0; i < koi_op_n_consts(op); i++)
    if (!strcmp(op->consts[i], name)) return (int)i;
  return -1;
}

const char *koi_source_text(const char *name)
{
  const struct koi_source *s = koi_sources;
  if (!name) return NULL;
  while (s->name && strcmp(s->name, name)) s++;
  return s->text;
}

bool koi_op_counts(const koi_op *op, const int32_t *c) { return op->counts == KOI_ALWAYS_COUNTS || (op->counts && c[op->counts]); }
