/* The OpenCL backend: contexts and buffers. Finding devices is dev_cl_probe.c's, kernels are dev_cl_kernel.c's.
 * Owns everything it makes from a probed device on: context, one in-order queue, buffers and their parts.
 * Does not own the device handle (OpenCL's root devices live as long as the process).
 * Invariant: whatever the driver answers becomes a koi_status with the device and OpenCL's own name for the code; nothing is retried. */
#include "dev_cl.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { STAGE_BYTES = 1 << 20, STAGE_MAX_WRITE = 64 << 10, DUMMY_BYTES = 64 };

/* ---- device ------------------------------------------------------------------------------------------------------------ */
/* What a driver wants a work-group to be a multiple of is only known of a compiled kernel. */
static uint32_t preferred_multiple(const cl_dev *d)
{
  const char *text = "__kernel void probe(__global float *x) { x[get_global_id(0)] += 1.0f; }";
  cl_int code;
  size_t multiple = 0;
  cl_program program = clCreateProgramWithSource(d->context, 1, &text, NULL, &code);
  if (!program) return 0;
  cl_kernel kernel = clBuildProgram(program, 1, &d->id, "", NULL, NULL) ? NULL : clCreateKernel(program, "probe", &code);
  if (kernel) {
    if (clGetKernelWorkGroupInfo(kernel, d->id, CL_KERNEL_PREFERRED_WORK_GROUP_SIZE_MULTIPLE, sizeof multiple, &multiple, NULL)) multiple = 0;
    clReleaseKernel(kernel);
  }
  clReleaseProgram(program);
  return (uint32_t)multiple;
}

static void forget(cl_part *p)
{
  while (p) {
    cl_part *next = p->next;
    koi_free(p);
    p = next;
  }
}

static void close_(koi_device *device)
{
  cl_dev *d = (cl_dev *)device;
  if (d->queue) clFinish(d->queue);
#ifdef HAVE_CLBLAST
  koi_clblast_close(&d->blas);
#endif
  if (d->dummy) clReleaseMemObject(d->dummy);
  if (d->queue) clReleaseCommandQueue(d->queue);
  if (d->context) clReleaseContext(d->context);
  forget(d->parts);
  forget(d->idle);
  koi_free(d->stage);
  koi_free(d->record);
  koi_free(d);
}

static koine_status set_up(cl_dev *d)
{
  cl_int code;
  d->context = clCreateContext(NULL, 1, &d->id, NULL, NULL, &code);
  if (!d->context) return koi_dev_cl_failed(d, "making a context", code);
  d->queue = clCreateCommandQueue(d->context, d->id, 0, &code);
  if (!d->queue) return koi_dev_cl_failed(d, "making a queue", code);
  static const unsigned char zeros[DUMMY_BYTES];
  d->dummy = clCreateBuffer(d->context, CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR, DUMMY_BYTES, (void *)(uintptr_t)zeros, &code);
  if (!d->dummy) return koi_dev_cl_failed(d, "the first allocation", code);
  d->stage = koi_alloc(STAGE_BYTES, 1);
  if (!d->stage) return KOINE_ERR_MEMORY;
  if (!d->base.endpoint->lanes && !d->base.endpoint->local_is_global) d->base.lanes = preferred_multiple(d);
  return koi_dev_cl_find_record(d);
}

static koine_status open_(const koi_endpoint *e, koi_device **out)
{
  cl_dev *d = koi_alloc(1, sizeof *d);
  if (!d) return KOINE_ERR_MEMORY;
  d->base = (koi_device){.backend = &koi_backend_cl, .endpoint = e};
  d->id = e->handle;
  koine_status s = set_up(d);
  if (s) {
    close_(&d->base);
    return s;
  }
  *out = &d->base;
  return KOINE_OK;
}

static void unprobe(koi_endpoint *e)
{
  if (e->part && e->handle) clReleaseDevice(e->handle);
  e->handle = NULL;
}

/* ---- buffers ----------------------------------------------------------------------------------------------------------- */
static koine_status alloc_failed(const cl_dev *d, size_t bytes, cl_int code)
{
  const koi_endpoint *e = d->base.endpoint;
  bool memory = koi_dev_cl_out_of_memory(code) || code == CL_OUT_OF_RESOURCES || code == CL_INVALID_BUFFER_SIZE;
  return koi_error(memory ? KOINE_ERR_MEMORY : KOINE_ERR_DEVICE,
                   "device %s (%s): allocating %zu bytes failed: %s; it has %" PRIu64 " bytes, at most %" PRIu64 " in one allocation", e->id,
                   e->name, bytes, koi_dev_cl_code(code), e->memory_bytes, e->max_buffer_bytes);
}

static cl_mem take_idle(cl_dev *d, size_t bytes)
{
  cl_part **at = &d->idle;
  while (*at && (*at)->bytes != bytes) at = &(*at)->next;
  cl_part *p = *at;
  if (!p) return NULL;
  cl_mem mem = p->mem;
  *at = p->next;
  koi_free(p);
  return mem;
}

static koine_status alloc(koi_device *device, size_t bytes, koi_buf **out)
{
  cl_dev *d = (cl_dev *)device;
  if (d->base.endpoint->max_buffer_bytes && bytes > d->base.endpoint->max_buffer_bytes)
    return alloc_failed(d, bytes, CL_INVALID_BUFFER_SIZE);
  cl_buf *b = koi_alloc(1, sizeof *b);
  if (!b) return KOINE_ERR_MEMORY;
  cl_int code;
  b->base.bytes = bytes;
  b->mem = b->root = take_idle(d, bytes);
  if (!b->mem) b->mem = b->root = clCreateBuffer(d->context, CL_MEM_READ_WRITE, bytes ? bytes : 1, NULL, &code);
  if (!b->mem) {
    koi_free(b);
    return alloc_failed(d, bytes, code);
  }
  *out = &b->base;
  return KOINE_OK;
}

koine_status koi_dev_cl_part(cl_dev *d, const cl_buf *b, size_t offset, size_t bytes, cl_mem *out)
{
  cl_buffer_region region = {b->root_offset + offset, bytes};
  cl_int code;
  cl_part *p = d->parts;
  *out = NULL;
  while (p && (p->root != b->root || p->origin != region.origin || p->bytes != bytes)) p = p->next;
  if (!p) {
    if (!(p = koi_alloc(1, sizeof *p))) return KOINE_ERR_MEMORY;
    *p = (cl_part){.root = b->root, .origin = region.origin, .bytes = bytes, .next = d->parts};
    p->mem = clCreateSubBuffer(b->root, CL_MEM_READ_WRITE, CL_BUFFER_CREATE_TYPE_REGION, &region, &code);
    if (!p->mem) {
      koi_free(p);
      return koi_dev_cl_failed(d, "a view of a buffer", code);
    }
    d->parts = p;
  }
  p->users++;
  *out = p->mem;
  return KOINE_OK;
}

void koi_dev_cl_part_drop(cl_dev *d, cl_mem part)
{
  cl_part **at = &d->parts;
  while (*at && (*at)->mem != part) at = &(*at)->next;
  cl_part *p = *at;
  if (!p || --p->users || d->base.endpoint->keeps_parts) return;
  *at = p->next;
  clReleaseMemObject(p->mem);
  koi_free(p);
}

static koine_status view(koi_device *device, koi_buf *parent, size_t offset, size_t bytes, koi_buf **out)
{
  cl_dev *d = (cl_dev *)device;
  cl_buf *p = (cl_buf *)parent;
  size_t end;
  if (!bytes || !koi_add(offset, bytes, &end) || end > parent->bytes)
    return koi_error(KOINE_ERR_ARG, "device %s: a view of %zu bytes at %zu in a buffer of %zu", d->base.endpoint->id, bytes, offset, parent->bytes);
  cl_buf *b = koi_alloc(1, sizeof *b);
  if (!b) return KOINE_ERR_MEMORY;
  *b = (cl_buf){.base = {.bytes = bytes}, .root = p->root, .root_offset = p->root_offset + offset};
  koine_status s = koi_dev_cl_part(d, p, offset, bytes, &b->mem);
  if (s) koi_free(b);
  else *out = &b->base;
  return s;
}

static void free_root(cl_dev *d, const cl_buf *b)
{
  const cl_part *p = d->base.endpoint->keeps_parts ? d->parts : NULL;
  while (p && p->root != b->mem) p = p->next;
  cl_part *idle = p ? koi_alloc(1, sizeof *idle) : NULL;
  if (p && !idle) return; /* lost until the process ends */
  if (!p) {
    clReleaseMemObject(b->mem);
    return;
  }
  *idle = (cl_part){.root = b->mem, .mem = b->mem, .bytes = b->base.bytes, .next = d->idle};
  d->idle = idle;
}

static void free_(koi_device *device, koi_buf *buf)
{
  cl_buf *b = (cl_buf *)buf;
  if (!b) return;
  if (b->mem == b->root) free_root((cl_dev *)device, b);
  else koi_dev_cl_part_drop((cl_dev *)device, b->mem);
  koi_free(b);
}

static koine_status in_range(const cl_dev *d, const char *what, const koi_buf *b, size_t offset, size_t bytes)
{
  size_t end;
  if (koi_add(offset, bytes, &end) && end <= b->bytes) return KOINE_OK;
  return koi_error(KOINE_ERR_ARG, "device %s: %s of %zu bytes at %zu in a buffer of %zu", d->base.endpoint->id, what, bytes, offset, b->bytes);
}

static koine_status finish(koi_device *device)
{
  cl_dev *d = (cl_dev *)device;
  cl_int code = clFinish(d->queue);
  d->stage_used = 0, d->waits++;
  return code ? koi_dev_cl_failed(d, "waiting", code) : KOINE_OK;
}

static koine_status flush(koi_device *device)
{
  cl_dev *d = (cl_dev *)device;
  cl_int code = clFlush(d->queue);
  return code ? koi_dev_cl_failed(d, "beginning", code) : KOINE_OK;
}

/* A small write is copied aside and queued: a blocking one would wait for everything before it. */
static koine_status write_(koi_device *device, koi_buf *b, size_t offset, size_t bytes, const void *src)
{
  cl_dev *d = (cl_dev *)device;
  koine_status s = in_range(d, "a write", b, offset, bytes);
  if (s || !bytes) return s;
  bool small = bytes <= STAGE_MAX_WRITE;
  if (small) {
    if (bytes > STAGE_BYTES - d->stage_used && (s = finish(device))) return s;
    src = memcpy(d->stage + d->stage_used, src, bytes);
    d->stage_used += bytes;
  }
  cl_int code = clEnqueueWriteBuffer(d->queue, ((cl_buf *)b)->mem, small ? CL_FALSE : CL_TRUE, offset, bytes, src, 0, NULL, NULL);
  return code ? koi_dev_cl_failed(d, "a write", code) : KOINE_OK;
}

static koine_status read_(koi_device *device, koi_buf *b, size_t offset, size_t bytes, void *dst)
{
  cl_dev *d = (cl_dev *)device;
  koine_status s = in_range(d, "a read", b, offset, bytes);
  if (s || !bytes) return s;
  cl_int code = clEnqueueReadBuffer(d->queue, ((cl_buf *)b)->mem, CL_TRUE, offset, bytes, dst, 0, NULL, NULL);
  if (code) return koi_dev_cl_failed(d, "a read", code);
  d->stage_used = 0, d->waits++;
  return KOINE_OK;
}

static koine_status copy(koi_device *device, koi_buf *to, size_t to_offset, koi_buf *from, size_t from_offset, size_t bytes)
{
  cl_dev *d = (cl_dev *)device;
  koine_status s = in_range(d, "a copy to", to, to_offset, bytes);
  if (!s) s = in_range(d, "a copy from", from, from_offset, bytes);
  if (s || !bytes) return s;
  cl_int code = clEnqueueCopyBuffer(d->queue, ((cl_buf *)from)->mem, ((cl_buf *)to)->mem, from_offset, to_offset, bytes, 0, NULL, NULL);
  return code ? koi_dev_cl_failed(d, "a copy", code) : KOINE_OK;
}

/* Drivers fill fastest with wide patterns; a size that is no multiple of one takes the next narrower. */
static koine_status fill(koi_device *device, koi_buf *b, uint8_t value)
{
  cl_dev *d = (cl_dev *)device;
  if (!b->bytes) return KOINE_OK;
  unsigned char pattern[16];
  memset(pattern, value, sizeof pattern);
  size_t width = sizeof pattern;
  while (b->bytes % width) width /= 2;
  cl_int code = clEnqueueFillBuffer(d->queue, ((cl_buf *)b)->mem, pattern, width, 0, b->bytes, 0, NULL, NULL);
  return code ? koi_dev_cl_failed(d, "a fill", code) : KOINE_OK;
}

/* ---- dense products ---------------------------------------------------------------------------------------------------- */
#ifdef HAVE_CLBLAST
#define GEMM_NAME "clblast"
static koine_status gemm_(koi_device *device, const koi_gemm *g, koi_buf *x, koi_buf *w, koi_buf *y)
{
  cl_dev *d = (cl_dev *)device;
  koine_status s = koi_clblast_gemm(d->context, d->queue, &d->blas, g, ((cl_buf *)x)->mem, ((cl_buf *)w)->mem, ((cl_buf *)y)->mem);
  device->gemm_bytes = d->blas.bytes;
  return s ? koi_error_prefix(s, "device %s (%s)", device->endpoint->id, device->endpoint->name) : KOINE_OK;
}
#else
#define gemm_ NULL
#define GEMM_NAME NULL
#endif

const koi_backend koi_backend_cl = {
  .name = "opencl", .probe = koi_dev_cl_probe, .unprobe = unprobe, .split = koi_dev_cl_split, .open = open_, .close = close_, .alloc = alloc, .view = view, .free = free_,
  .write = write_, .read = read_, .copy = copy, .fill = fill, .identity = koi_dev_cl_identity, .build = koi_dev_cl_build, .drop = koi_dev_cl_drop,
  .launch = koi_dev_cl_launch, .bind = koi_dev_cl_bind, .patch = koi_dev_cl_patch, .start = koi_dev_cl_start, .unbind = koi_dev_cl_unbind,
  .record = koi_dev_cl_record, .replay = koi_dev_cl_replay, .unrecord = koi_dev_cl_unrecord,
  .finish = finish, .flush = flush, .gemm = gemm_, .gemm_name = GEMM_NAME};
