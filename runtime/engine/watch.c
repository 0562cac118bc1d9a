/* What can watch a step's calls: a clock, and a search for NaN. Owns nothing. */
#include "run.h"

static koine_status start_clock(void *user, koi_stage *st, const koi_bound_call *c)
{
  (void)c;
  koine_status s = st->dev->backend->finish(st->dev);
  ((koi_watch_times *)user)->start = koi_now_ns();
  return s;
}

static koine_status stop_clock(void *user, koi_stage *st, const koi_bound_call *c)
{
  koi_watch_times *w = user;
  koine_status s = st->dev->backend->finish(st->dev);
  uint64_t ns = koi_now_ns() - w->start;
  if (s || c->call->kind != KOI_CALL_OP) return s;
  const koi_op *op = c->call->op;
  for (size_t i = 0; i < KOI_MAX_TIMES; i++) {
    koi_op_time *t = &w->times[i];
    if (t->op && t->op != op) continue;
    t->op = op, t->ns += ns, t->calls++;
    t->flops += op->flops ? op->flops(&c->bound->a, c->call->c) : 0;
    t->bytes += op->bytes ? op->bytes(&c->bound->a, c->call->c) : 0;
    break;
  }
  return KOINE_OK;
}

koi_watch koi_watch_time(koi_watch_times *t) { return (koi_watch){start_clock, stop_clock, t}; }

/* Whether the call before wrote another part of the same value. */
static bool goes_on(const koi_call *last, const koi_call *c, size_t b)
{
  return last && last->kind == KOI_CALL_OP && last->op == c->op && last->buf[b].space == c->buf[b].space && last->buf[b].id == c->buf[b].id;
}

static bool is_activation(const koi_call *c, size_t b)
{
  return (c->op->bufs[b].access & KOI_OUT) && c->buf[b].space == KOI_AT_SCRATCH && koi_scratch_is_float(c->buf[b].id);
}

/* What a call leaves alone may hold anything, the bits of a NaN too. */
static koine_status wipe(void *user, koi_stage *st, const koi_bound_call *c)
{
  koi_watch_nan *w = user;
  koine_status s = KOINE_OK;
  for (size_t b = 0; c->call->kind == KOI_CALL_OP && b < koi_op_n_bufs(c->call->op) && !s; b++) {
    bool reads = c->call->op->bufs[b].access & KOI_IN;
    for (size_t o = 0; o < KOI_MAX_BUFS; o++) reads |= o != b && c->bound->a.buf[o] && c->bound->a.buf[o] == c->bound->a.buf[b];
    if (is_activation(c->call, b) && !reads && !goes_on(w->last, c->call, b)) s = st->dev->backend->fill(st->dev, c->bound->a.buf[b], 0);
  }
  w->last = c->call;
  return s;
}

static koine_status look_into(koi_stage *st, const koi_bound_call *c, size_t b)
{
  const koi_op *op = c->call->op;
  koi_buf *buf = c->bound->a.buf[b];
  float *v = koi_alloc(buf->bytes, 1);
  if (!v) return KOINE_ERR_MEMORY;
  koine_status s = st->dev->backend->read(st->dev, buf, 0, buf->bytes, v);
  for (size_t i = 0; i < buf->bytes / sizeof *v && !s; i++)
    if (v[i] != v[i]) s = koi_error(KOINE_ERR_NUMERIC, "op %s wrote NaN to %s[%zu] (device %s)", op->name, op->bufs[b].name, i, st->dev->endpoint->name);
  koi_free(v);
  return s;
}

static koine_status look(void *user, koi_stage *st, const koi_bound_call *c)
{
  (void)user;
  koine_status s = KOINE_OK;
  for (size_t b = 0; c->call->kind == KOI_CALL_OP && b < koi_op_n_bufs(c->call->op) && !s; b++)
    if (is_activation(c->call, b)) s = look_into(st, c, b);
  return s;
}

koi_watch koi_watch_for_nan(koi_watch_nan *w) { return (koi_watch){wipe, look, w}; }
