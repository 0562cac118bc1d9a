/* The host backend: the C references on plain memory. Owns its buffers; one endpoint, always there, always last.
 * Does not know any op: it hands buffers to op->ref. Invariant: work is done when a call returns, so finish has nothing to do. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "backend.h"

enum { ALIGN_BYTES = 64 };

typedef struct memory { /* a buffer, or a view into one */
  koi_buf base;
  uint8_t *bytes;
  bool is_view;
} memory;

static koine_status probe(koi_probe *out)
{
  koi_endpoint e = {.id = "host", .backend = &koi_backend_host, .type = KOINE_DEVICE_HOST, .local_is_global = true, .host_unified = true,
                    .n_units = 1, .base_align_bytes = ALIGN_BYTES, .vector_width = 16, .fp64 = true, .denormals = true, .arrivals = true,
                    .usable = true};
  snprintf(e.name, sizeof e.name, "C reference");
  snprintf(e.platform, sizeof e.platform, "host");
  snprintf(e.driver, sizeof e.driver, "built in");
  long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
  if (pages > 0 && page_bytes > 0) e.memory_bytes = (uint64_t)pages * (uint64_t)page_bytes;
  e.max_buffer_bytes = e.memory_bytes;
  return koi_probe_add(out, &e);
}

static void unprobe(koi_endpoint *e) { (void)e; }

static koine_status open_device(const koi_endpoint *e, koi_device **out)
{
  koi_device *d = koi_alloc(1, sizeof *d);
  if (!d) return KOINE_ERR_MEMORY;
  *d = (koi_device){.backend = &koi_backend_host, .endpoint = e};
  *out = d;
  return KOINE_OK;
}

static void close_device(koi_device *d) { koi_free(d); }

/* ---- memory ---- */
static koine_status alloc_buffer(koi_device *d, size_t bytes, koi_buf **out)
{
  (void)d;
  size_t padded;
  memory *m = koi_alloc(1, sizeof *m);
  if (!m) return KOINE_ERR_MEMORY;
  if (!koi_add(bytes, ALIGN_BYTES, &padded) || !(m->bytes = aligned_alloc(ALIGN_BYTES, padded / ALIGN_BYTES * ALIGN_BYTES))) {
    koi_free(m);
    return koi_error(KOINE_ERR_MEMORY, "host: out of memory: %zu bytes wanted for a buffer", bytes);
  }
  m->base.bytes = bytes;
  *out = &m->base;
  return KOINE_OK;
}

static koine_status check_range(const koi_buf *b, size_t offset, size_t bytes)
{
  size_t end;
  if (koi_add(offset, bytes, &end) && end <= b->bytes) return KOINE_OK;
  return koi_error(KOINE_ERR_ARG, "host: bytes %zu to %zu+%zu of a buffer of %zu", offset, offset, bytes, b->bytes);
}

static koine_status view_buffer(koi_device *d, koi_buf *parent, size_t offset, size_t bytes, koi_buf **out)
{
  (void)d;
  koine_status s = check_range(parent, offset, bytes);
  if (s) return s;
  if (offset % ALIGN_BYTES) return koi_error(KOINE_ERR_ARG, "host: a view begins at %zu, expected a multiple of %d", offset, ALIGN_BYTES);
  memory *m = koi_alloc(1, sizeof *m);
  if (!m) return KOINE_ERR_MEMORY;
  *m = (memory){{.bytes = bytes}, ((memory *)parent)->bytes + offset, true};
  *out = &m->base;
  return KOINE_OK;
}

static void free_buffer(koi_device *d, koi_buf *b)
{
  (void)d;
  memory *m = (memory *)b;
  if (!m) return;
  if (!m->is_view) free(m->bytes);
  koi_free(m);
}

static koine_status write_buffer(koi_device *d, koi_buf *b, size_t offset, size_t bytes, const void *src)
{
  (void)d;
  koine_status s = check_range(b, offset, bytes);
  if (!s && bytes) memcpy(((memory *)b)->bytes + offset, src, bytes);
  return s;
}

static koine_status read_buffer(koi_device *d, koi_buf *b, size_t offset, size_t bytes, void *dst)
{
  (void)d;
  koine_status s = check_range(b, offset, bytes);
  if (!s && bytes) memcpy(dst, ((memory *)b)->bytes + offset, bytes);
  return s;
}

static koine_status copy_buffer(koi_device *d, koi_buf *to, size_t to_offset, koi_buf *from, size_t from_offset, size_t bytes)
{
  (void)d;
  koine_status s = check_range(to, to_offset, bytes);
  if (!s) s = check_range(from, from_offset, bytes);
  if (!s) memmove(((memory *)to)->bytes + to_offset, ((memory *)from)->bytes + from_offset, bytes);
  return s;
}

static koine_status fill_buffer(koi_device *d, koi_buf *b, uint8_t value)
{
  (void)d;
  memset(((memory *)b)->bytes, value, b->bytes);
  return KOINE_OK;
}

/* ---- kernels: nothing is compiled ---- */
static koine_status build(koi_device *d, const koi_build *b, koi_kernel **out, void **binary, size_t *binary_bytes)
{
  (void)d, (void)b, (void)binary, (void)binary_bytes;
  koi_kernel *k = koi_alloc(1, sizeof *k);
  if (!k) return KOINE_ERR_MEMORY;
  *out = k;
  return KOINE_OK;
}

static void drop(koi_device *d, koi_kernel *k)
{
  (void)d;
  koi_free(k);
}

static koine_status launch(koi_device *d, koi_kernel *k, const koi_args *a, const koi_range *range)
{
  (void)d, (void)range;
  koi_ref_args r = {.i = a->i, .f = a->f, .c = k->c};
  for (size_t i = 0; i < KOI_MAX_BUFS; i++)
    if (a->buf[i]) r.buf[i] = ((memory *)a->buf[i])->bytes + a->at[i], r.bytes[i] = a->buf[i]->bytes - a->at[i];
  k->op->ref(&r);
  return KOINE_OK;
}

static koine_status bind_call(koi_device *d, koi_kernel *k, const koi_args *a, koi_bound **out)
{
  (void)d, (void)k, (void)a;
  koi_bound *b = koi_alloc(1, sizeof *b);
  if (!b) return KOINE_ERR_MEMORY;
  *out = b;
  return KOINE_OK;
}

static koine_status patch(koi_device *d, koi_bound *b, size_t i, int32_t value)
{
  (void)d, (void)b, (void)i, (void)value; /* koi_bound.a has it */
  return KOINE_OK;
}

static koine_status start(koi_device *d, koi_bound *b, const koi_range *r) { return launch(d, b->kernel, &b->a, r); }

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

const koi_backend koi_backend_host = {
  .name = "host", .probe = probe, .unprobe = unprobe, .open = open_device, .close = close_device, .alloc = alloc_buffer, .view = view_buffer,
  .free = free_buffer, .write = write_buffer, .read = read_buffer, .copy = copy_buffer, .fill = fill_buffer, .build = build, .drop = drop,
  .launch = launch, .bind = bind_call, .patch = patch, .start = start, .unbind = unbind, .finish = finish};
