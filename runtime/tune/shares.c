/* See shares.h. Owns both lists. Invariant: a key's time is the sum of its calls'. */
#include "shares.h"
#include <stdlib.h>
#include <string.h>

/* ---- timing ------------------------------------------------------------------------------------------------------------ */
static koine_status start_clock(void *user, koi_stage *st, const koi_bound_call *b)
{
  koi_shares *own = user;
  (void)b;
  koine_status s = own->drive ? koi_drive_beat(own->drive) : KOINE_OK;
  if (!s) s = st->dev->backend->finish(st->dev);
  own->start = koi_now_ns();
  return s;
}

static koine_status push(koi_shares *s, const koi_timed *t)
{
  if (s->n == s->cap) {
    size_t cap = s->cap ? 2 * s->cap : 256;
    koi_timed *v = koi_realloc(s->v, cap, sizeof *v);
    if (!v) return KOINE_ERR_MEMORY;
    s->v = v, s->cap = cap;
  }
  s->v[s->n++] = *t;
  return KOINE_OK;
}

static koine_status stop_clock(void *user, koi_stage *st, const koi_bound_call *b)
{
  koi_shares *s = user;
  koine_status status = st->dev->backend->finish(st->dev);
  uint64_t ns = koi_now_ns() - s->start;
  s->ns += ns;
  if (status || b->call->kind != KOI_CALL_OP || !b->bound->kernel || b->bound->kernel->library || !koi_op_n_params(b->call->op)) return status;
  koi_timed t = {.call = b->call, .a = b->bound->a, .bucket = koi_op_bucket(b->call->op, b->bound->a.i, b->call->c), .ns = ns};
  return push(s, &t);
}

koi_watch koi_shares_watch(koi_shares *s) { return (koi_watch){start_clock, stop_clock, s}; }

/* ---- keys -------------------------------------------------------------------------------------------------------------- */
bool koi_shares_same_shape(const koi_timed *a, const koi_timed *b)
{
  return a->call->op == b->call->op && a->bucket == b->bucket && !memcmp(a->call->c, b->call->c, sizeof a->call->c) && !memcmp(a->a.i, b->a.i, sizeof a->a.i);
}

const koi_timed *koi_shares_timed(const koi_shares *s, const koi_call *call)
{
  size_t i = 0;
  while (s->v[i].call != call) i++;
  return &s->v[i];
}

static koi_key *key_of(koi_shares *s, const koi_timed *t)
{
  size_t i = 0;
  while (i < s->n_keys && (s->keys[i].op != t->call->op || s->keys[i].bucket != t->bucket || memcmp(s->keys[i].c, t->call->c, sizeof t->call->c))) i++;
  koi_key *k = &s->keys[i];
  if (i < s->n_keys) return k;
  *k = (koi_key){.op = t->call->op, .bucket = t->bucket};
  memcpy(k->c, t->call->c, sizeof k->c);
  s->n_keys++;
  return k;
}

static int longest_first(const void *a, const void *b)
{
  const koi_key *x = a, *y = b;
  return (x->ns < y->ns) - (x->ns > y->ns);
}

koine_status koi_shares_sum(koi_shares *s)
{
  s->keys = koi_alloc(s->n + 1, sizeof *s->keys);
  if (!s->keys) return KOINE_ERR_MEMORY;
  for (size_t i = 0; i < s->n; i++) {
    koi_key *k = key_of(s, &s->v[i]);
    uint64_t shape_ns = 0;
    for (size_t j = 0; j < s->n; j++)
      if (koi_shares_same_shape(&s->v[i], &s->v[j])) shape_ns += s->v[j].ns;
    k->ns += s->v[i].ns;
    if (shape_ns > k->shape_ns) k->shape_ns = shape_ns, k->call = s->v[i].call;
  }
  qsort(s->keys, s->n_keys, sizeof *s->keys, longest_first);
  return KOINE_OK;
}

void koi_shares_free(koi_shares *s)
{
  koi_free(s->v);
  koi_free(s->keys);
  *s = (koi_shares){0};
}

size_t koi_shares_ring(const koi_shares *s, const koi_bound_call *b, koi_args *out, size_t most)
{
  size_t n = 0;
  koi_timed here = {.call = b->call, .a = b->bound->a, .bucket = koi_op_bucket(b->call->op, b->bound->a.i, b->call->c)};
  out[n++] = here.a;
  for (size_t i = 0; i < s->n && n < most; i++) {
    if (s->v[i].call == b->call || !koi_shares_same_shape(&s->v[i], &here)) continue;
    out[n] = here.a;
    for (size_t k = 0; k < KOI_MAX_BUFS; k++)
      if (b->call->buf[k].space == KOI_AT_CODES || b->call->buf[k].space == KOI_AT_SCALES) out[n].buf[k] = s->v[i].a.buf[k], out[n].at[k] = s->v[i].a.at[k];
    n++;
  }
  return n;
}
