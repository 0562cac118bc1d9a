/* See call.h. Owns a list's memory only. */
#include "call.h"
#include <string.h>

koi_call *koi_calls_add(koi_calls *l)
{
  koi_call *v = koi_grow(l->v, l->n, &l->cap, sizeof *v);
  if (!v) return NULL;
  l->v = v;
  koi_call *c = &l->v[l->n++];
  memset(c, 0, sizeof *c);
  return c;
}

void koi_calls_free(koi_calls *l)
{
  koi_free(l->v);
  *l = (koi_calls){0};
}

bool koi_call_changes(const koi_call *c)
{
  for (size_t i = 0; i < KOI_MAX_INTS; i++)
    if (c->sym[i]) return true;
  return false;
}

void koi_call_args(const koi_call *c, const int32_t *syms, koi_args *out)
{
  memset(out, 0, sizeof *out);
  for (size_t i = 0; i < KOI_MAX_INTS; i++) out->i[i] = !c->sym[i] ? c->i[i] : syms ? syms[c->sym[i]] : 1;
  memcpy(out->f, c->f, sizeof out->f);
}

koi_cost koi_calls_cost(const koi_calls *l, const int32_t *syms)
{
  koi_cost sum = {0};
  for (size_t n = 0; n < l->n; n++) {
    const koi_call *c = &l->v[n];
    if (c->when && syms && !syms[c->when]) continue;
    sum.launches++;
    if (c->kind != KOI_CALL_OP) {
      sum.bytes += (double)c->bytes;
      continue;
    }
    koi_args a;
    koi_call_args(c, syms, &a);
    if (c->op->flops) sum.flops += c->op->flops(&a, c->c);
    if (c->op->bytes) sum.bytes += c->op->bytes(&a, c->c);
  }
  return sum;
}
