/* See null.h. Owns the counts. */
#include "null.h"
#include <string.h>

void (*null_watch)(const koi_kernel *k, const koi_range *r, bool bound);
static null_counts counts;
void null_reset(void) { counts = (null_counts){0}; }
null_counts null_count(void) { return counts; }

static koine_status open_device(const koi_endpoint *e, koi_device **out)
{
  koi_device *d = koi_alloc(1, sizeof *d);
  if (!d) return KOINE_ERR_MEMORY;
  *d = (koi_device){.backend = e->backend, .endpoint = e, .can_record = true}; /* who builds may be another */
  *out = d;
  return KOINE_OK;
}

static void close_device(koi_device *d) { koi_free(d); }

/* ---- memory ---- */
static koine_status alloc_buffer(koi_device *d, size_t bytes, koi_buf **out)
{
  (void)d;
  if (!(*out = koi_alloc(1, sizeof **out))) return KOINE_ERR_MEMORY;
  (*out)->bytes = bytes;
  return KOINE_OK;
}

static koine_status view_buffer(koi_device *d, koi_buf *parent, size_t offset, size_t bytes, koi_buf **out)
{
  (void)parent, (void)offset;
  return alloc_buffer(d, bytes, out);
}

static void free_buffer(koi_device *d, koi_buf *b)
{
  (void)d;
  koi_free(b);
}

static koine_status write_buffer(koi_device *d, koi_buf *b, size_t offset, size_t bytes, const void *src)
{
  (void)d, (void)b, (void)offset, (void)bytes, (void)src;
  counts.writes++;
  return KOINE_OK;
}

/* What is read is not looked at either. */
static koine_status read_buffer(koi_device *d, koi_buf *b, size_t offset, size_t bytes, void *dst)
{
  (void)d, (void)b, (void)offset, (void)bytes, (void)dst;
  counts.reads++;
  return KOINE_OK;
}

static koine_status copy_buffer(koi_device *d, koi_buf *to, size_t to_offset, koi_buf *from, size_t from_offset, size_t bytes)
{
  (void)d, (void)to, (void)to_offset, (void)from, (void)from_offset, (void)bytes;
  counts.copies++;
  return KOINE_OK;
}

static koine_status fill_buffer(koi_device *d, koi_buf *b, uint8_t value)
{
  (void)d, (void)b, (void)value;
  counts.fills++;
  return KOINE_OK;
}

/* ---- kernels ---- */
static koine_status build(koi_device *d, const koi_build *b, koi_kernel **out, void **binary, size_t *binary_bytes)
{
  (void)d, (void)b, (void)binary, (void)binary_bytes;
  *out = koi_alloc(1, sizeof **out);
  return *out ? KOINE_OK : KOINE_ERR_MEMORY;
}

static void drop(koi_device *d, koi_kernel *k)
{
  (void)d;
  koi_free(k);
}

static koine_status launch(koi_device *d, koi_kernel *k, const koi_args *a, const koi_range *r)
{
  (void)d, (void)a;
  counts.launches++;
  if (null_watch) null_watch(k, r, false);
  return KOINE_OK;
}

static koine_status bind_call(koi_device *d, koi_kernel *k, const koi_args *a, koi_bound **out)
{
  (void)d, (void)k, (void)a;
  *out = koi_alloc(1, sizeof **out);
  return *out ? KOINE_OK : KOINE_ERR_MEMORY;
}

static koine_status patch(koi_device *d, koi_bound *b, size_t i, int32_t value)
{
  (void)d, (void)b, (void)i, (void)value;
  counts.patches++;
  return KOINE_OK;
}

static koine_status start(koi_device *d, koi_bound *b, const koi_range *r)
{
  (void)d;
  counts.launches++;
  if (null_watch) null_watch(b->kernel, r, true);
  return KOINE_OK;
}

/* Every kernel of a recording counts by itself. */
typedef struct recorded { koi_recorded base; koi_bound **calls; koi_range *ranges; } recorded;

static void unrecord(koi_device *d, koi_recorded *p)
{
  (void)d;
  recorded *r = (recorded *)p;
  koi_free(r->calls);
  koi_free(r->ranges);
  koi_free(r);
}

static koine_status record(koi_device *d, koi_bound *const *calls, const koi_range *ranges, size_t n, koi_recorded **out)
{
  recorded *r = koi_alloc(1, sizeof *r);
  if (!r) return KOINE_ERR_MEMORY;
  *r = (recorded){{n}, koi_alloc(n, sizeof *r->calls), koi_alloc(n, sizeof *r->ranges)};
  if (!r->calls || !r->ranges) return unrecord(d, &r->base), KOINE_ERR_MEMORY;
  memcpy(r->calls, calls, n * sizeof *calls);
  memcpy(r->ranges, ranges, n * sizeof *ranges);
  *out = &r->base;
  counts.records++;
  counts.recorded += n;
  return KOINE_OK;
}

static koine_status replay(koi_device *d, koi_recorded *p)
{
  (void)d;
  recorded *r = (recorded *)p;
  for (size_t i = 0; null_watch && i < p->n; i++) null_watch(r->calls[i]->kernel, &r->ranges[i], true);
  counts.launches += p->n, counts.replays++, counts.replayed += p->n;
  return KOINE_OK;
}

static void unbind(koi_device *d, koi_bound *b)
{
  (void)d;
  koi_free(b);
}

static koine_status finish(koi_device *d)
{
  (void)d;
  return KOINE_OK;
}

const koi_backend null_backend = {
  .name = "null", .open = open_device, .close = close_device, .alloc = alloc_buffer, .view = view_buffer, .free = free_buffer, .write = write_buffer,
  .read = read_buffer, .copy = copy_buffer, .fill = fill_buffer, .build = build, .drop = drop, .launch = launch, .bind = bind_call, .patch = patch,
  .start = start, .unbind = unbind, .record = record, .replay = replay, .unrecord = unrecord, .finish = finish};

const koi_endpoint null_endpoint = {
  .id = "null", .backend = &null_backend, .name = "nothing", .platform = "null", .driver = "built in", .type = KOINE_DEVICE_GPU,
  .memory_bytes = UINT64_C(1) << 41, .local_bytes = 65536, .n_units = 64, .max_group = 1024, .base_align_bytes = 256, .vector_width = 1, .lanes = 32,
  .denormals = true, .arrivals = true, .usable = true};
