/* See shapes.h. Owns the marks of what was looked at. Invariant: a step's own kernel runs after the two, so that what they wrote is written anew. */
#include "shapes.h"
#include <string.h>

static const double worthwhile = 0.99;

typedef struct shapes { koi_drive *v; koi_shares *s; bool *seen; uint64_t deadline_ns; koi_turn turn; } shapes; /* seen: [s->n] */

static koi_key *won_key(const koi_shares *s, const koi_timed *t)
{
  for (size_t i = 0; i < s->n_keys; i++) {
    koi_key *k = &s->keys[i];
    if (k->r.won && k->op == t->call->op && k->bucket == t->bucket && !memcmp(k->c, t->call->c, sizeof k->c)) return k;
  }
  return NULL;
}

/* The share of the shape of timed call number `at`, all of which are marked. */
static uint64_t mark(const shapes *h, size_t at)
{
  uint64_t ns = 0;
  for (size_t i = 0; i < h->s->n; i++)
    if (koi_shares_same_shape(&h->s->v[i], &h->s->v[at])) h->seen[i] = true, ns += h->s->v[i].ns;
  return ns;
}

static koine_status before_call(void *user, koi_stage *st, const koi_bound_call *b)
{
  shapes *h = user;
  size_t at = 0;
  koine_status s = koi_drive_beat(h->v);
  if (s) return s;
  while (at < h->s->n && h->s->v[at].call != b->call) at++;
  koi_key *k = at < h->s->n && !h->seen[at] ? won_key(h->s, &h->s->v[at]) : NULL;
  if (!k || koi_now_ns() > h->deadline_ns) return KOINE_OK;
  double share = (double)mark(h, at), was, is;
  if (k->call == b->call || koi_shares_same_shape(&h->s->v[at], koi_shares_timed(h->s, k->call))) return KOINE_OK;
  koi_turn_open(&h->turn, h->s, st, b);
  koi_contest c = {.d = st->dev, .op = k->op, .c = k->c, .bucket = k->bucket, .args = h->turn.args, .n_args = h->turn.n, .deadline_ns = h->deadline_ns};
  s = koi_contest_pair(&c, k->r.p, &was, &is);
  koi_turn_close(&h->turn, st->dev);
  if (!s) k->before += share, k->after += share * is / was;
  return s == KOINE_ERR_DEVICE ? KOINE_OK : s;
}

static koine_status judge(koi_stage *st, koi_key *k)
{
  if (!k->r.won || k->after < worthwhile * k->before) return KOINE_OK;
  koi_tuned_line l = {.op = k->op, .bucket = k->bucket, .outcome = KOI_OUTCOME_KEPT, .note = "not faster over all shapes"};
  memcpy(l.c, k->c, sizeof l.c);
  memcpy(l.p, k->r.p, sizeof l.p);
  k->r.won = false;
  return koi_tuned_append(st->dev, &l);
}

koine_status koi_shapes_check(koi_drive *v, koi_shares *s, bool prefill, uint32_t n, uint64_t deadline_ns)
{
  shapes h = {.v = v, .s = s, .seen = koi_alloc(s->n + 1, sizeof *h.seen), .deadline_ns = deadline_ns};
  koi_watch watch = {before_call, NULL, &h};
  double seconds;
  if (!h.seen) return KOINE_ERR_MEMORY;
  for (size_t i = 0; i < s->n_keys; i++) {
    koi_key *k = &s->keys[i];
    k->before = (double)k->shape_ns, k->after = k->r.won ? k->before * k->r.best_us / k->r.default_us : k->before;
  }
  koine_status st = koi_drive_step(v, prefill, n, &watch, &seconds);
  for (size_t i = 0; i < s->n_keys && !st; i++) st = judge(koi_engine_stage(v->plan, 0), &s->keys[i]);
  koi_free(h.seen);
  return st;
}
