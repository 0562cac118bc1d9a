/* See turn.h. Owns the copies until it is closed. Invariant: args and copies are whole, whatever could not be allocated. */
#include "turn.h"
#include <inttypes.h>

enum { MOST_COPIED = 256 << 20 };

static bool is_weight(const koi_bound_call *b, size_t k)
{
  int space = b->call->buf[k].space;
  return b->bound->a.buf[k] && (space == KOI_AT_CODES || space == KOI_AT_SCALES);
}

static size_t weight_bytes(const koi_bound_call *b)
{
  size_t n = 0;
  for (size_t k = 0; k < KOI_MAX_BUFS; k++) n += is_weight(b, k) ? b->bound->a.buf[k]->bytes - b->bound->a.at[k] : 0;
  return n;
}

/* One set of arguments more; false: there is no memory for it, and nothing has changed. */
static bool copy(koi_turn *t, koi_device *d, const koi_bound_call *b)
{
  size_t before = t->n_copies;
  koi_args a = b->bound->a;
  koine_status s = KOINE_OK;
  for (size_t k = 0; k < KOI_MAX_BUFS && !s; k++) {
    if (!is_weight(b, k)) continue;
    size_t bytes = a.buf[k]->bytes - a.at[k];
    koi_buf *to = NULL;
    s = koi_device_alloc(d, bytes, &to);
    if (!s) t->copies[t->n_copies++] = to, s = d->backend->copy(d, to, 0, a.buf[k], a.at[k], bytes);
    if (!s) a.buf[k] = to, a.at[k] = 0;
  }
  if (!s) t->args[t->n++] = a;
  while (s && t->n_copies > before) koi_device_free(d, t->copies[--t->n_copies]);
  return !s;
}

void koi_turn_open(koi_turn *t, const koi_shares *s, koi_stage *st, const koi_bound_call *b)
{
  const koi_call *c = b->call;
  size_t each = weight_bytes(b), copied = 0, n_streams = 0;
  t->n = koi_shares_ring(s, b, t->args, KOI_TURN), t->n_copies = 0;
  for (size_t k = 0; k < KOI_MAX_BUFS; k++) n_streams += is_weight(b, k);
  double read = c->op->bytes ? c->op->bytes(&b->bound->a, c->c) : 0, want = 2.0 * (double)st->dev->endpoint->cache_bytes;
  if (!each) return;
  while (read * (double)t->n < want && t->n < KOI_TURN && t->n_copies + n_streams <= KOI_COUNT(t->copies) && copied + each <= MOST_COPIED && copy(t, st->dev, b)) copied += each;
  if (read * (double)t->n < want)
    koi_log(KOINE_LOG_NOTE, "op %s is timed on %.0f MB of weights, less than twice the device's cache of %" PRIu64 " MB", c->op->name, read * (double)t->n / 0x1p20,
            st->dev->endpoint->cache_bytes >> 20);
}

void koi_turn_close(koi_turn *t, koi_device *d)
{
  d->backend->finish(d);
  while (t->n_copies) koi_device_free(d, t->copies[--t->n_copies]);
}
