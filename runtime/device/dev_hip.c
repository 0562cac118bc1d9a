/* The HIP backend: devices, streams and buffers. Finding devices is dev_hip_probe.c's, kernels are dev_hip_kernel.c's.
 * Owns everything it makes from a probed device on: one stream, pinned memory for what is written, the events that say when it is free, buffers.
 * Does not own ROCm's libraries (dev_hip_load.c).
 * Invariant: whatever the driver answers becomes a koi_status with the device and HIP's own name for the code; nothing is retried. */
#include "dev_hip.h"
#include <inttypes.h>
#include <string.h>

enum { STAGE_BYTES = 2 << 20 }; /* a half of the stage: one is filled while the other is copied from */

koine_status koi_dev_hip_failed(const hip_dev *d, const char *what, hipError_t code)
{
  const koi_endpoint *e = d->base.endpoint;
  return koi_error(code == hipErrorOutOfMemory ? KOINE_ERR_MEMORY : KOINE_ERR_DEVICE, "device %s (%s): %s failed: %s (%d)", e->id, e->name, what,
                   d->hip->hipGetErrorName(code), (int)code);
}

static koine_status done(const hip_dev *d, const char *what, hipError_t code) { return code ? koi_dev_hip_failed(d, what, code) : KOINE_OK; }

koine_status koi_dev_hip_enter(hip_dev *d) { return done(d, "choosing the device", d->hip->hipSetDevice(d->ordinal)); }

/* ---- device ------------------------------------------------------------------------------------------------------------ */
static void close_(koi_device *device)
{
  hip_dev *d = (hip_dev *)device;
  d->hip->hipSetDevice(d->ordinal);
  if (d->stream) d->hip->hipStreamSynchronize(d->stream);
  for (size_t i = 0; i < KOI_HIP_HALVES; i++)
    if (d->left[i]) d->hip->hipEventDestroy(d->left[i]);
  if (d->stage) d->hip->hipHostFree(d->stage);
  if (d->stream) d->hip->hipStreamDestroy(d->stream);
  koi_free(d);
}

static koine_status set_up(hip_dev *d)
{
  void *stage = NULL;
  koine_status s = koi_dev_hip_enter(d);
  if (!s) s = done(d, "making a stream", d->hip->hipStreamCreateWithFlags(&d->stream, hipStreamNonBlocking));
  if (!s) s = done(d, "allocating pinned memory", d->hip->hipHostMalloc(&stage, KOI_HIP_HALVES * STAGE_BYTES, 0));
  d->stage = stage;
  for (size_t i = 0; i < KOI_HIP_HALVES && !s; i++) s = done(d, "making an event", d->hip->hipEventCreateWithFlags(&d->left[i], hipEventDisableTiming));
  return s;
}

static koine_status open_(const koi_endpoint *e, koi_device **out)
{
  const char *why;
  hip_dev *d = koi_alloc(1, sizeof *d);
  if (!d) return KOINE_ERR_MEMORY;
  d->base = (koi_device){.backend = &koi_backend_hip, .endpoint = e, .can_record = true};
  d->hip = koi_dev_hip_load(&why);
  d->ordinal = (int)(uintptr_t)e->handle - 1;
  koine_status s = set_up(d);
  if (s) {
    close_(&d->base);
    return s;
  }
  *out = &d->base;
  return KOINE_OK;
}

static void unprobe(koi_endpoint *e) { (void)e; }

/* ---- buffers ----------------------------------------------------------------------------------------------------------- */
static koine_status alloc(koi_device *device, size_t bytes, koi_buf **out)
{
  hip_dev *d = (hip_dev *)device;
  const koi_endpoint *e = device->endpoint;
  void *at = NULL;
  koine_status s = koi_dev_hip_enter(d);
  if (s) return s;
  hipError_t code = bytes > e->max_buffer_bytes ? (hipError_t)hipErrorOutOfMemory : d->hip->hipMalloc(&at, bytes ? bytes : 1);
  if (code)
    return koi_error(code == hipErrorOutOfMemory ? KOINE_ERR_MEMORY : KOINE_ERR_DEVICE, "device %s (%s): allocating %zu bytes failed: %s; it has %" PRIu64 " bytes", e->id,
                     e->name, bytes, d->hip->hipGetErrorName(code), e->memory_bytes);
  hip_buf *b = koi_alloc(1, sizeof *b);
  if (!b) {
    d->hip->hipFree(at);
    return KOINE_ERR_MEMORY;
  }
  *b = (hip_buf){.base = {.bytes = bytes}, .at = at};
  *out = &b->base;
  return KOINE_OK;
}

static koine_status in_range(const hip_dev *d, const char *what, const koi_buf *b, size_t offset, size_t bytes)
{
  size_t end;
  if (koi_add(offset, bytes, &end) && end <= b->bytes) return KOINE_OK;
  return koi_error(KOINE_ERR_ARG, "device %s: %s of %zu bytes at %zu in a buffer of %zu", d->base.endpoint->id, what, bytes, offset, b->bytes);
}

static koine_status view(koi_device *device, koi_buf *parent, size_t offset, size_t bytes, koi_buf **out)
{
  koine_status s = in_range((hip_dev *)device, "a view", parent, offset, bytes);
  hip_buf *b = s ? NULL : koi_alloc(1, sizeof *b);
  if (!b) return s ? s : KOINE_ERR_MEMORY;
  *b = (hip_buf){.base = {.bytes = bytes}, .at = ((hip_buf *)parent)->at + offset, .is_view = true};
  *out = &b->base;
  return KOINE_OK;
}

/* The driver waits for what still uses the memory. */
static void free_(koi_device *device, koi_buf *buf)
{
  hip_dev *d = (hip_dev *)device;
  hip_buf *b = (hip_buf *)buf;
  if (!b) return;
  if (!b->is_view && !koi_dev_hip_enter(d)) d->hip->hipFree(b->at);
  koi_free(b);
}

/* ---- transfers --------------------------------------------------------------------------------------------------------- */
static koine_status finish(koi_device *device)
{
  hip_dev *d = (hip_dev *)device;
  koine_status s = koi_dev_hip_enter(d);
  if (!s) s = done(d, "waiting", d->hip->hipStreamSynchronize(d->stream));
  if (s) return s;
  memset(d->busy, 0, sizeof d->busy);
  d->used = 0;
  return KOINE_OK;
}

/* The other half, once what was copied from it has gone. */
static koine_status next_half(hip_dev *d)
{
  koine_status s = done(d, "recording an event", d->hip->hipEventRecord(d->left[d->half], d->stream));
  if (s) return s;
  d->busy[d->half] = true;
  d->half = (d->half + 1) % KOI_HIP_HALVES, d->used = 0;
  if (!d->busy[d->half]) return KOINE_OK;
  d->busy[d->half] = false;
  return done(d, "waiting for an event", d->hip->hipEventSynchronize(d->left[d->half]));
}

/* Everything goes through pinned memory, from which the device copies by itself: nothing waits, unless both halves are full. */
static koine_status write_(koi_device *device, koi_buf *buf, size_t offset, size_t bytes, const void *src)
{
  hip_dev *d = (hip_dev *)device;
  unsigned char *to = ((hip_buf *)buf)->at + offset;
  koine_status s = in_range(d, "a write", buf, offset, bytes);
  if (!s) s = koi_dev_hip_enter(d);
  for (size_t n; bytes && !s; src = (const char *)src + n, to += n, bytes -= n) {
    n = 0;
    if (d->used == STAGE_BYTES && (s = next_half(d))) break;
    n = bytes < STAGE_BYTES - d->used ? bytes : STAGE_BYTES - d->used;
    unsigned char *stage = d->stage + d->half * STAGE_BYTES + d->used;
    memcpy(stage, src, n);
    d->used += n;
    s = done(d, "a write", d->hip->hipMemcpyHtoDAsync(to, stage, n, d->stream));
  }
  return s;
}

static koine_status read_(koi_device *device, koi_buf *buf, size_t offset, size_t bytes, void *dst)
{
  hip_dev *d = (hip_dev *)device;
  koine_status s = in_range(d, "a read", buf, offset, bytes);
  if (s || !bytes) return s;
  s = koi_dev_hip_enter(d);
  if (!s) s = done(d, "a read", d->hip->hipMemcpyDtoHAsync(dst, ((hip_buf *)buf)->at + offset, bytes, d->stream));
  return s ? s : finish(device);
}

static koine_status copy(koi_device *device, koi_buf *to, size_t to_offset, koi_buf *from, size_t from_offset, size_t bytes)
{
  hip_dev *d = (hip_dev *)device;
  koine_status s = in_range(d, "a copy to", to, to_offset, bytes);
  if (!s) s = in_range(d, "a copy from", from, from_offset, bytes);
  if (s || !bytes) return s;
  s = koi_dev_hip_enter(d);
  return s ? s : done(d, "a copy", d->hip->hipMemcpyDtoDAsync(((hip_buf *)to)->at + to_offset, ((hip_buf *)from)->at + from_offset, bytes, d->stream));
}

static koine_status fill(koi_device *device, koi_buf *buf, uint8_t value)
{
  hip_dev *d = (hip_dev *)device;
  koine_status s = buf->bytes ? koi_dev_hip_enter(d) : KOINE_OK;
  if (s || !buf->bytes) return s;
  return done(d, "a fill", d->hip->hipMemsetD8Async(((hip_buf *)buf)->at, value, buf->bytes, d->stream));
}

const koi_backend koi_backend_hip = {
  .name = "hip", .probe = koi_dev_hip_probe, .unprobe = unprobe, .open = open_, .close = close_, .alloc = alloc, .view = view, .free = free_,
  .write = write_, .read = read_, .copy = copy, .fill = fill, .identity = koi_dev_hip_identity, .portable = koi_dev_hip_portable, .build = koi_dev_hip_build, .drop = koi_dev_hip_drop,
  .launch = koi_dev_hip_launch, .bind = koi_dev_hip_bind, .patch = koi_dev_hip_patch, .start = koi_dev_hip_start, .unbind = koi_dev_hip_unbind,
  .record = koi_dev_hip_record, .replay = koi_dev_hip_replay, .unrecord = koi_dev_hip_unrecord,
  .way_open = koi_dev_hip_way_open, .way_close = koi_dev_hip_way_close, .way_give = koi_dev_hip_way_give, .way_take = koi_dev_hip_way_take,
  .way_wait = koi_dev_hip_way_wait, .finish = finish};
