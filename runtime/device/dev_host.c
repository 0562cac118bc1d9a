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
                    .n_units = 1, .base_align_bytes = ALIGN_BYTES, .vector_width = 16, .fp64 = true, .denormals = true,
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
  *m = (memory){{bytes}, ((memory *)parent)->bytes + offset, true};
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

/* ---- kernels ---- */
static koine_status build(koi_device *d, const koi_op *op, const int32_t *c, const int32_t *p, koi_kernel **out)
{
  (void)d;
  koi_kernel *k = koi_alloc(1, sizeof *k);
  if (!k) return KOINE_ERR_MEMORY;
  k->op = op;
  for (size_t i = 0; i < koi_op_n_consts(op); i++) k->c[i] = c[i];
  for (size_t i = 0; i < koi_op_n_params(op); i++) k->p[i] = p[i];
  *out = k;
  return KOINE_OK;
}

static void drop(koi_device *d, koi_kernel *k)
{
  (void)d;
  koi_free(k);
}

static koine_status launch(koi_device *d, koi_kernel *k, const koi_args *a)
{
  (void)d;
  koi_ref_args r = {.i = a->i, .f = a->f, .c = k->c};
  for (size_t i = 0; i < KOI_MAX_BUFS; i++)
    if (a->buf[i]) r.buf[i] = ((memory *)a->buf[i])->bytes + a->at[i], r.bytes[i] = a->buf[i]->bytes - a->at[i];
  k->op->ref(&r);
  return KOINE_OK;
}

static koine_status finish(koi_device *d)
{
  (void)d;
  return KOINE_OK;
}

const koi_backend koi_backend_host = {"host", probe,       unprobe,     open_device, close_device, alloc_buffer, view_buffer, free_buffer,
                                      write_buffer, read_buffer, copy_buffer, fill_buffer, build,  drop,         launch,      finish, NULL};
