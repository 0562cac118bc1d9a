/* See gap.h. Owns the ways and the buffers. Invariant: a slot that nobody has is not written or read by what its claimer does from now on, but for what its way
 * orders. */
#include "gap.h"

static uint64_t slot_bytes(const koi_stage *st)
{
  const koi_config *c = &st->model->config;
  uint64_t bytes = (uint64_t)st->plan->chunk * c->n_streams * c->hidden * sizeof(float);
  return bytes < KOI_GAP_BYTES ? bytes : KOI_GAP_BYTES;
}

static koine_status open_slot(koi_device *from, koi_device *to, size_t bytes, koi_gap_slot *s)
{
  koine_status st = to->backend->way_open(from, to, &s->way);
  if (st || !s->way) return st;
  s->from = from;
  pthread_mutex_lock(&to->lock);
  st = koi_device_alloc(to, bytes, &s->through);
  pthread_mutex_unlock(&to->lock);
  return st;
}

/* A driver that refuses leaves the way through the host, and says why. */
koine_status koi_gap_open(const koi_stage *from, koi_stage *to)
{
  koi_device *a = from->dev, *b = to->dev;
  uint64_t bytes = slot_bytes(to);
  if (a == b || a->backend != b->backend || !b->backend->way_open || koi_plan_spare(to->plan, &to->at) / KOI_GAP_SLOTS < bytes) return KOINE_OK;
  koi_gap *g = koi_alloc(1, sizeof *g);
  if (!g) return KOINE_ERR_MEMORY;
  to->gap = g;
  koine_status s = KOINE_OK;
  for (size_t i = 0; i < KOI_GAP_SLOTS && !s; i++) s = open_slot(a, b, (size_t)bytes, &g->slot[i]);
  if (s) koi_log(KOINE_LOG_NOTE, "streams go from %s to %s through the host: %s", a->endpoint->id, b->endpoint->id, koi_error_text());
  if (!s && g->slot[0].way) {
    koi_log(KOINE_LOG_DEBUG, "streams go from %s to %s past the host", a->endpoint->id, b->endpoint->id);
    return KOINE_OK;
  }
  pthread_mutex_lock(&b->lock);
  koi_gap_close(to);
  pthread_mutex_unlock(&b->lock);
  return KOINE_OK;
}

void koi_gap_close(koi_stage *to)
{
  koi_gap *g = to->gap;
  for (size_t i = 0; g && i < KOI_GAP_SLOTS; i++) {
    koi_device_free(to->dev, g->slot[i].through);
    if (g->slot[i].way) to->dev->backend->way_close(g->slot[i].way);
  }
  koi_free(g);
  to->gap = NULL;
}

uint64_t koi_gap_bytes(const koi_stage *to) { return to->gap ? KOI_GAP_SLOTS * to->gap->slot[0].through->bytes : 0; }

koi_gap_slot *koi_gap_claim(const koi_stage *to, uint64_t bytes)
{
  for (size_t i = 0; to->gap && i < KOI_GAP_SLOTS; i++) {
    koi_gap_slot *s = &to->gap->slot[i];
    if (bytes <= s->through->bytes && !atomic_exchange(&s->taken, true)) return s;
  }
  return NULL;
}

koine_status koi_gap_settle(koi_gap_slot *s)
{
  koine_status st = s ? s->from->backend->way_wait(s->way) : KOINE_OK;
  if (st == KOINE_ERR_DEVICE) atomic_store(&s->from->failed, true);
  if (s) atomic_store(&s->taken, false);
  return st;
}

koine_status koi_gap_give(koi_gap_slot *s, koi_buf *src, size_t at, size_t bytes) { return s->from->backend->way_give(s->way, src, at, s->through, bytes); }
koine_status koi_gap_take(koi_gap_slot *s, koi_buf *dst, size_t bytes) { return s->from->backend->way_take(s->way, s->through, dst, bytes); }
