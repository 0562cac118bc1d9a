/* Ways of the HIP backend: copies from card to card past the host, where the runtime says that one reaches the other's memory. Owns the events of a way.
 * Invariant: the giver's stream writes into the buffer between only behind `emptied`, the taker's reads it only behind `filled`; nobody waits on the host. */
#include "dev_hip.h"

typedef struct way {
  koi_way base;
  hipEvent_t filled, emptied; /* of the giver's stream; of the taker's */
} way;

static hip_dev *giver(const way *w) { return (hip_dev *)w->base.from; }
static hip_dev *taker(const way *w) { return (hip_dev *)w->base.to; }
static koine_status done(const hip_dev *d, const char *what, hipError_t code) { return code ? koi_dev_hip_failed(d, what, code) : KOINE_OK; }

/* What is enabled stays so for the process: whoever comes later finds it done. */
static bool reaches(hip_dev *from, const hip_dev *to)
{
  int can = 0;
  if (from->ordinal == to->ordinal || from->hip->hipDeviceCanAccessPeer(&can, from->ordinal, to->ordinal) || !can) return false;
  if (from->hip->hipSetDevice(from->ordinal)) return false;
  hipError_t code = from->hip->hipDeviceEnablePeerAccess(to->ordinal, 0);
  return !code || code == hipErrorPeerAccessAlreadyEnabled;
}

koine_status koi_dev_hip_way_open(koi_device *from, koi_device *to, koi_way **out)
{
  if (!reaches((hip_dev *)from, (hip_dev *)to)) return KOINE_OK;
  way *w = koi_alloc(1, sizeof *w);
  if (!w) return KOINE_ERR_MEMORY;
  w->base = (koi_way){from, to};
  koine_status s = koi_dev_hip_enter(giver(w));
  if (!s) s = done(giver(w), "making an event", giver(w)->hip->hipEventCreateWithFlags(&w->filled, hipEventDisableTiming));
  if (!s) s = koi_dev_hip_enter(taker(w));
  if (!s) s = done(taker(w), "making an event", taker(w)->hip->hipEventCreateWithFlags(&w->emptied, hipEventDisableTiming));
  if (s) koi_dev_hip_way_close(&w->base);
  else *out = &w->base;
  return s;
}

void koi_dev_hip_way_close(koi_way *base)
{
  way *w = (way *)base;
  const koi_hip *hip = taker(w)->hip; /* the giver may be closed by now */
  if (w->filled) hip->hipEventDestroy(w->filled);
  if (w->emptied) hip->hipEventDestroy(w->emptied);
  koi_free(w);
}

/* An event that was never recorded has happened. */
koine_status koi_dev_hip_way_give(koi_way *base, koi_buf *src, size_t at, koi_buf *through, size_t bytes)
{
  way *w = (way *)base;
  hip_dev *d = giver(w);
  koine_status s = koi_dev_hip_enter(d);
  if (!s) s = done(d, "waiting for an event", d->hip->hipStreamWaitEvent(d->stream, w->emptied, 0));
  if (!s)
    s = done(d, "a copy to another device",
             d->hip->hipMemcpyPeerAsync(((hip_buf *)through)->at, taker(w)->ordinal, ((hip_buf *)src)->at + at, d->ordinal, bytes, d->stream));
  return s ? s : done(d, "recording an event", d->hip->hipEventRecord(w->filled, d->stream));
}

koine_status koi_dev_hip_way_take(koi_way *base, koi_buf *through, koi_buf *dst, size_t bytes)
{
  way *w = (way *)base;
  hip_dev *d = taker(w);
  koine_status s = koi_dev_hip_enter(d);
  if (!s) s = done(d, "waiting for an event", d->hip->hipStreamWaitEvent(d->stream, w->filled, 0));
  if (!s) s = done(d, "a copy", d->hip->hipMemcpyDtoDAsync(((hip_buf *)dst)->at, ((hip_buf *)through)->at, bytes, d->stream));
  return s ? s : done(d, "recording an event", d->hip->hipEventRecord(w->emptied, d->stream));
}

koine_status koi_dev_hip_way_wait(koi_way *base)
{
  way *w = (way *)base;
  hip_dev *d = giver(w);
  koine_status s = koi_dev_hip_enter(d);
  return s ? s : done(d, "waiting for an event", d->hip->hipEventSynchronize(w->filled));
}
