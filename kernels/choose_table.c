/* The table of what measurements say (choose.h). Owns its memory. Invariant: `slots` finds every record of `v` by its key, and no two have the same. */
#include <string.h>
#include "choose.h"

enum { FIRST = 64 };

typedef struct key { const koi_op *op; const int32_t *c; int32_t bucket; koi_rung rung; koi_origin origin; } key;

static key key_of(const koi_tuned *e) { return (key){e->op, e->c, e->bucket, e->rung, e->origin}; }

static bool same(const koi_tuned *e, const key *k)
{
  return e->op == k->op && e->bucket == k->bucket && e->rung == k->rung && e->origin == k->origin &&
         !memcmp(e->c, k->c, koi_op_n_consts(k->op) * sizeof *k->c);
}

/* The slot of the key, or the free one where it would be. There is always a free one. */
static size_t slot_of(const koi_tuned_table *t, const key *k)
{
  const int32_t rest[] = {k->bucket, (int32_t)k->rung, (int32_t)k->origin};
  uint64_t h = koi_hash(k->c, koi_op_n_consts(k->op) * sizeof *k->c, koi_hash(rest, sizeof rest, koi_hash(&k->op, sizeof k->op, 0)));
  size_t at = (size_t)(h ^ h >> 32) & (t->n_slots - 1);
  while (t->slots[at] && !same(&t->v[t->slots[at] - 1], k)) at = (at + 1) & (t->n_slots - 1);
  return at;
}

static koine_status grow(koi_tuned_table *t)
{
  size_t cap = t->cap ? 2 * t->cap : FIRST;
  if (cap > UINT32_MAX / 4) return koi_error(KOINE_ERR_MEMORY, "more than %zu tuned kernels", t->cap);
  uint32_t *slots = koi_alloc(4 * cap, sizeof *slots);
  koi_tuned *v = slots ? koi_realloc(t->v, cap, sizeof *v) : NULL;
  if (!v) {
    koi_free(slots);
    return KOINE_ERR_MEMORY;
  }
  koi_free(t->slots);
  t->v = v, t->cap = cap, t->slots = slots, t->n_slots = 4 * cap;
  for (size_t i = 0; i < t->n; i++) {
    key k = key_of(&v[i]);
    slots[slot_of(t, &k)] = (uint32_t)i + 1;
  }
  return KOINE_OK;
}

koine_status koi_tuned_put(koi_tuned_table *t, const koi_tuned *e)
{
  koine_status s = t->n == t->cap ? grow(t) : KOINE_OK;
  if (s) return s;
  key k = key_of(e);
  size_t at = slot_of(t, &k);
  if (!t->slots[at]) t->slots[at] = (uint32_t)++t->n;
  t->v[t->slots[at] - 1] = *e;
  return KOINE_OK;
}

koine_status koi_tuned_copy(const koi_tuned_table *from, koi_tuned_table *to)
{
  koi_tuned_table t = *from;
  t.v = koi_alloc(from->cap + 1, sizeof *t.v);
  t.slots = koi_alloc(from->n_slots + 1, sizeof *t.slots);
  if (!t.v || !t.slots) {
    koi_free(t.v);
    koi_free(t.slots);
    return KOINE_ERR_MEMORY;
  }
  if (from->n) memcpy(t.v, from->v, from->n * sizeof *t.v);
  if (from->n_slots) memcpy(t.slots, from->slots, from->n_slots * sizeof *t.slots);
  *to = t;
  return KOINE_OK;
}

void koi_tuned_clear(koi_tuned_table *t)
{
  koi_free(t->v);
  koi_free(t->slots);
  *t = (koi_tuned_table){0};
}

const koi_tuned *koi_tuned_at(const koi_tuned_table *t, const koi_op *op, const int32_t *c, int32_t bucket, koi_rung rung, koi_origin origin)
{
  if (!t || !t->n) return NULL;
  key k = {op, c, bucket, rung, origin};
  uint32_t i = t->slots[slot_of(t, &k)];
  return i ? &t->v[i - 1] : NULL;
}

const koi_tuned *koi_tuned_find(const koi_tuned_table *t, const koi_op *op, const int32_t *c, int32_t bucket)
{
  const koi_tuned *e = NULL;
  for (int r = 0; r < KOI_RUNG_DEFAULT && !e; r++)
    for (int s = 0; s < KOI_N_ORIGINS && !e; s++) e = koi_tuned_at(t, op, c, bucket, (koi_rung)r, (koi_origin)s);
  return e;
}
