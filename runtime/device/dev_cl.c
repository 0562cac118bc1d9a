/* The OpenCL backend: contexts, buffers, programs, launches. Finding devices is dev_cl_probe.c's.
 * Owns everything it makes from a probed device on: context, one in-order queue, buffers, a list of built kernels.
 * Does not own the device handle (OpenCL's root devices live as long as the process).
 * Invariant: whatever the driver answers becomes a koi_status with the device and OpenCL's own name for the code; nothing is retried. */
#include "dev_cl.h"
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "kernels/sources.h"

enum { STAGE_BYTES = 1 << 20, STAGE_MAX_WRITE = 64 << 10, DUMMY_BYTES = 64, OPTIONS_BYTES = 2048 };

typedef struct cl_dev {
  koi_device base;
  cl_device_id id;
  cl_context context;
  cl_command_queue queue;
  cl_mem dummy;             /* stands for a buffer that an op does not use */
  unsigned char *stage;     /* [STAGE_BYTES] small writes wait here, so that they need not block */
  size_t stage_used;        /* since the queue was last empty */
  struct built *kernels;    /* every built kernel in use */
  koi_clblast blas;
} cl_dev;

typedef struct cl_buf {
  koi_buf base;
  cl_mem mem;
  cl_mem root;              /* the allocation, and where this buffer begins in it: OpenCL has no views of views */
  size_t root_offset;
} cl_buf;

typedef struct built {
  koi_kernel base;
  cl_program program;
  cl_kernel kernel;
  size_t n_uses;
  struct built *next;
} built;

/* ---- status codes ------------------------------------------------------------------------------------------------------ */
static const struct { cl_int code; const char *name; } codes[] = {
  {0, "CL_SUCCESS"}, {-1, "CL_DEVICE_NOT_FOUND"}, {-2, "CL_DEVICE_NOT_AVAILABLE"}, {-3, "CL_COMPILER_NOT_AVAILABLE"},
  {-4, "CL_MEM_OBJECT_ALLOCATION_FAILURE"}, {-5, "CL_OUT_OF_RESOURCES"}, {-6, "CL_OUT_OF_HOST_MEMORY"},
  {-7, "CL_PROFILING_INFO_NOT_AVAILABLE"}, {-8, "CL_MEM_COPY_OVERLAP"}, {-11, "CL_BUILD_PROGRAM_FAILURE"}, {-12, "CL_MAP_FAILURE"},
  {-13, "CL_MISALIGNED_SUB_BUFFER_OFFSET"}, {-14, "CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST"},
  {-15, "CL_COMPILE_PROGRAM_FAILURE"}, {-16, "CL_LINKER_NOT_AVAILABLE"}, {-17, "CL_LINK_PROGRAM_FAILURE"},
  {-30, "CL_INVALID_VALUE"}, {-31, "CL_INVALID_DEVICE_TYPE"}, {-32, "CL_INVALID_PLATFORM"}, {-33, "CL_INVALID_DEVICE"},
  {-34, "CL_INVALID_CONTEXT"}, {-35, "CL_INVALID_QUEUE_PROPERTIES"}, {-36, "CL_INVALID_COMMAND_QUEUE"}, {-38, "CL_INVALID_MEM_OBJECT"},
  {-42, "CL_INVALID_BINARY"}, {-43, "CL_INVALID_BUILD_OPTIONS"}, {-44, "CL_INVALID_PROGRAM"}, {-45, "CL_INVALID_PROGRAM_EXECUTABLE"},
  {-46, "CL_INVALID_KERNEL_NAME"}, {-47, "CL_INVALID_KERNEL_DEFINITION"}, {-48, "CL_INVALID_KERNEL"}, {-49, "CL_INVALID_ARG_INDEX"},
  {-50, "CL_INVALID_ARG_VALUE"}, {-51, "CL_INVALID_ARG_SIZE"}, {-52, "CL_INVALID_KERNEL_ARGS"}, {-53, "CL_INVALID_WORK_DIMENSION"},
  {-54, "CL_INVALID_WORK_GROUP_SIZE"}, {-55, "CL_INVALID_WORK_ITEM_SIZE"}, {-56, "CL_INVALID_GLOBAL_OFFSET"},
  {-57, "CL_INVALID_EVENT_WAIT_LIST"}, {-58, "CL_INVALID_EVENT"}, {-59, "CL_INVALID_OPERATION"}, {-61, "CL_INVALID_BUFFER_SIZE"},
  {-63, "CL_INVALID_GLOBAL_WORK_SIZE"}, {-64, "CL_INVALID_PROPERTY"}, {-66, "CL_INVALID_COMPILER_OPTIONS"},
  {-67, "CL_INVALID_LINKER_OPTIONS"}, {-1001, "CL_PLATFORM_NOT_FOUND_KHR"}};

const char *koi_dev_cl_code(cl_int code)
{
  static _Thread_local char text[64];
  const char *name = "OpenCL error";
  for (size_t i = 0; i < KOI_COUNT(codes); i++)
    if (codes[i].code == code) name = codes[i].name;
  snprintf(text, sizeof text, "%s (%d)", name, (int)code);
  return text;
}

static int out_of_memory(cl_int code) { return code == CL_MEM_OBJECT_ALLOCATION_FAILURE || code == CL_OUT_OF_HOST_MEMORY; }

/* Drivers that allocate at first use report exhaustion from any call, so that these codes mean memory everywhere. */
static koine_status failed(const cl_dev *d, const char *what, cl_int code)
{
  return koi_error(out_of_memory(code) ? KOINE_ERR_MEMORY : KOINE_ERR_DEVICE, "device %s (%s): %s failed: %s", d->base.endpoint->id,
                   d->base.endpoint->name, what, koi_dev_cl_code(code));
}

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
  koi_free(d->stage);
  koi_free(d);
}

static koine_status set_up(cl_dev *d)
{
  cl_int code;
  d->context = clCreateContext(NULL, 1, &d->id, NULL, NULL, &code);
  if (!d->context) return failed(d, "making a context", code);
  d->queue = clCreateCommandQueue(d->context, d->id, 0, &code);
  if (!d->queue) return failed(d, "making a queue", code);
  static const unsigned char zeros[DUMMY_BYTES];
  d->dummy = clCreateBuffer(d->context, CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR, DUMMY_BYTES, (void *)(uintptr_t)zeros, &code);
  if (!d->dummy) return failed(d, "the first allocation", code);
  d->stage = koi_alloc(STAGE_BYTES, 1);
  if (!d->stage) return KOINE_ERR_MEMORY;
  if (!d->base.endpoint->lanes && !d->base.endpoint->local_is_global) d->base.lanes = preferred_multiple(d);
  return KOINE_OK;
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

static void unprobe(koi_endpoint *e) { e->handle = NULL; }

/* ---- buffers ----------------------------------------------------------------------------------------------------------- */
static koine_status alloc_failed(const cl_dev *d, size_t bytes, cl_int code)
{
  const koi_endpoint *e = d->base.endpoint;
  bool memory = out_of_memory(code) || code == CL_OUT_OF_RESOURCES || code == CL_INVALID_BUFFER_SIZE;
  return koi_error(memory ? KOINE_ERR_MEMORY : KOINE_ERR_DEVICE,
                   "device %s (%s): allocating %zu bytes failed: %s; it has %" PRIu64 " bytes, at most %" PRIu64 " in one allocation", e->id,
                   e->name, bytes, koi_dev_cl_code(code), e->memory_bytes, e->max_buffer_bytes);
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
  b->mem = b->root = clCreateBuffer(d->context, CL_MEM_READ_WRITE, bytes ? bytes : 1, NULL, &code);
  if (!b->mem) {
    koi_free(b);
    return alloc_failed(d, bytes, code);
  }
  *out = &b->base;
  return KOINE_OK;
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
  cl_buffer_region region = {b->root_offset, bytes};
  cl_int code;
  b->mem = clCreateSubBuffer(b->root, CL_MEM_READ_WRITE, CL_BUFFER_CREATE_TYPE_REGION, &region, &code);
  if (!b->mem) {
    koi_free(b);
    return failed(d, "a view of a buffer", code);
  }
  *out = &b->base;
  return KOINE_OK;
}

static void free_(koi_device *device, koi_buf *buf)
{
  (void)device;
  if (!buf) return;
  clReleaseMemObject(((cl_buf *)buf)->mem);
  koi_free(buf);
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
  d->stage_used = 0;
  return code ? failed(d, "waiting", code) : KOINE_OK;
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
  return code ? failed(d, "a write", code) : KOINE_OK;
}

static koine_status read_(koi_device *device, koi_buf *b, size_t offset, size_t bytes, void *dst)
{
  cl_dev *d = (cl_dev *)device;
  koine_status s = in_range(d, "a read", b, offset, bytes);
  if (s || !bytes) return s;
  cl_int code = clEnqueueReadBuffer(d->queue, ((cl_buf *)b)->mem, CL_TRUE, offset, bytes, dst, 0, NULL, NULL);
  if (code) return failed(d, "a read", code);
  d->stage_used = 0;
  return KOINE_OK;
}

static koine_status copy(koi_device *device, koi_buf *to, size_t to_offset, koi_buf *from, size_t from_offset, size_t bytes)
{
  cl_dev *d = (cl_dev *)device;
  koine_status s = in_range(d, "a copy to", to, to_offset, bytes);
  if (!s) s = in_range(d, "a copy from", from, from_offset, bytes);
  if (s || !bytes) return s;
  cl_int code = clEnqueueCopyBuffer(d->queue, ((cl_buf *)from)->mem, ((cl_buf *)to)->mem, from_offset, to_offset, bytes, 0, NULL, NULL);
  return code ? failed(d, "a copy", code) : KOINE_OK;
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
  return code ? failed(d, "a fill", code) : KOINE_OK;
}

/* ---- kernels ----------------------------------------------------------------------------------------------------------- */
static koine_status build_options(const koi_endpoint *e, const koi_op *op, const int32_t *c, const int32_t *p, char *out)
{
  int major = 1, minor = 0;
  sscanf(e->c_version, "OpenCL C %d.%d", &major, &minor);
  int n = snprintf(out, OPTIONS_BYTES, "%s-cl-mad-enable", major > 1 || minor >= 2 ? "-cl-std=CL1.2 " : "");
  for (size_t i = 0; i < koi_op_n_consts(op) && n < OPTIONS_BYTES; i++)
    n += snprintf(out + n, (size_t)(OPTIONS_BYTES - n), " -D %s=%d", op->consts[i], (int)c[i]);
  for (size_t i = 0; i < koi_op_n_params(op) && n < OPTIONS_BYTES; i++)
    n += snprintf(out + n, (size_t)(OPTIONS_BYTES - n), " -D %s=%d", op->params[i].name, (int)p[i]);
  return n < OPTIONS_BYTES ? KOINE_OK : koi_error(KOINE_ERR_ARG, "op %s: build options of over %d bytes", op->name, OPTIONS_BYTES);
}

/* The first line that speaks of an error, else the first with anything on it. */
static const char *error_line(char *log)
{
  char *first = NULL, *save;
  for (char *line = strtok_r(log, "\r\n", &save); line; line = strtok_r(NULL, "\r\n", &save)) {
    while (isspace((unsigned char)*line)) line++;
    if (strstr(line, "rror:") || strstr(line, "ERROR")) return line;
    if (!first && *line) first = line;
  }
  return first ? first : "the compiler gave no message";
}

static koine_status build_failed(const cl_dev *d, const koi_op *op, cl_program program, cl_int code)
{
  size_t bytes = 0;
  clGetProgramBuildInfo(program, d->id, CL_PROGRAM_BUILD_LOG, 0, NULL, &bytes);
  char *log = koi_alloc(bytes + 1, 1);
  if (!log) return KOINE_ERR_MEMORY;
  if (bytes) clGetProgramBuildInfo(program, d->id, CL_PROGRAM_BUILD_LOG, bytes, log, NULL);
  koine_status s = koi_error(out_of_memory(code) ? KOINE_ERR_MEMORY : KOINE_ERR_DEVICE, "device %s (%s): building op %s failed: %s: %.500s",
                             d->base.endpoint->id, d->base.endpoint->name, op->name, koi_dev_cl_code(code), error_line(log));
  koi_free(log);
  return s;
}

static void release(built *k)
{
  if (k->kernel) clReleaseKernel(k->kernel);
  if (k->program) clReleaseProgram(k->program);
  koi_free(k);
}

/* Registers and local memory are known of a compiled kernel only. A question that is refused limits nothing. */
static koine_status limits(const cl_dev *d, const koi_op *op, built *k)
{
  const koi_endpoint *e = d->base.endpoint;
  cl_ulong local = 0;
  if (clGetKernelWorkGroupInfo(k->kernel, d->id, CL_KERNEL_WORK_GROUP_SIZE, sizeof k->base.max_group, &k->base.max_group, NULL)) k->base.max_group = 0;
  if (clGetKernelWorkGroupInfo(k->kernel, d->id, CL_KERNEL_LOCAL_MEM_SIZE, sizeof local, &local, NULL)) local = 0;
  if (local <= e->local_bytes || !e->local_bytes) return KOINE_OK;
  return koi_error(KOINE_ERR_DEVICE, "device %s (%s): op %s needs %" PRIu64 " bytes of local memory, there are %" PRIu64, e->id, e->name, op->name,
                   (uint64_t)local, e->local_bytes);
}

static koine_status compile(cl_dev *d, const koi_op *op, const int32_t *c, const int32_t *p, built *k)
{
  const char *text = koi_source_text(op->source);
  if (!text) return koi_error(KOINE_ERR_DEVICE, "device %s: op %s: there is no kernel text %s.cl", d->base.endpoint->id, op->name, op->source);
  char options[OPTIONS_BYTES];
  koine_status s = build_options(d->base.endpoint, op, c, p, options);
  if (s) return s;
  cl_int code;
  k->program = clCreateProgramWithSource(d->context, 1, &text, NULL, &code);
  if (!k->program) return failed(d, "making a program", code);
  code = clBuildProgram(k->program, 1, &d->id, options, NULL, NULL);
  if (code) return build_failed(d, op, k->program, code);
  k->kernel = clCreateKernel(k->program, op->name, &code);
  if (!k->kernel) {
    s = failed(d, "making a kernel", code);
    return koi_error_prefix(s, "op %s", op->name);
  }
  return limits(d, op, k);
}

static built *find_built(const cl_dev *d, const koi_op *op, const int32_t *c, const int32_t *p)
{
  built *k = d->kernels;
  while (k && !(k->base.op == op && !memcmp(k->base.c, c, koi_op_n_consts(op) * sizeof *c) && !memcmp(k->base.p, p, koi_op_n_params(op) * sizeof *p)))
    k = k->next;
  return k;
}

static koine_status build(koi_device *device, const koi_op *op, const int32_t *c, const int32_t *p, koi_kernel **out)
{
  cl_dev *d = (cl_dev *)device;
  built *k = find_built(d, op, c, p);
  if (!k) {
    k = koi_alloc(1, sizeof *k);
    if (!k) return KOINE_ERR_MEMORY;
    koine_status s = compile(d, op, c, p, k);
    if (s) {
      release(k);
      return s;
    }
    k->base.op = op;
    memcpy(k->base.c, c, koi_op_n_consts(op) * sizeof *c);
    memcpy(k->base.p, p, koi_op_n_params(op) * sizeof *p);
    k->next = d->kernels;
    d->kernels = k;
  }
  k->n_uses++;
  *out = &k->base;
  return KOINE_OK;
}

static void drop(koi_device *device, koi_kernel *kernel)
{
  cl_dev *d = (cl_dev *)device;
  built *k = (built *)kernel;
  if (!k || --k->n_uses) return;
  built **at = &d->kernels;
  while (*at != k) at = &(*at)->next;
  *at = k->next;
  release(k);
}

static cl_int set_args(const cl_dev *d, const built *k, const koi_args *a)
{
  const koi_op *op = k->base.op;
  size_t n_bufs = koi_op_n_bufs(op), n_ints = koi_op_n_ints(op), n_floats = koi_op_n_floats(op);
  cl_uint at = 0;
  cl_int code = CL_SUCCESS;
  for (size_t i = 0; i < n_bufs && !code; i++) {
    const cl_mem *mem = a->buf[i] ? &((cl_buf *)a->buf[i])->mem : &d->dummy;
    code = clSetKernelArg(k->kernel, at++, sizeof *mem, mem);
  }
  for (size_t i = 0; i < n_ints && !code; i++) code = clSetKernelArg(k->kernel, at++, sizeof(cl_int), &a->i[i]);
  for (size_t i = 0; i < n_floats && !code; i++) code = clSetKernelArg(k->kernel, at++, sizeof(cl_float), &a->f[i]);
  return code;
}

/* The driver's own code for it says too little. */
static koine_status fits(const cl_dev *d, const built *k, const koi_range *r)
{
  size_t group = r->local[0] * r->local[1] * r->local[2];
  if (!r->local[0] || !k->base.max_group || group <= k->base.max_group) return KOINE_OK;
  return koi_error(KOINE_ERR_DEVICE, "device %s (%s): op %s wants work-groups of %zu x %zu x %zu = %zu, the compiled kernel allows %zu",
                   d->base.endpoint->id, d->base.endpoint->name, k->base.op->name, r->local[0], r->local[1], r->local[2], group, k->base.max_group);
}

static koine_status launch(koi_device *device, koi_kernel *kernel, const koi_args *a)
{
  cl_dev *d = (cl_dev *)device;
  built *k = (built *)kernel;
  koi_range r = {{1, 1, 1}, {1, 1, 1}};
  kernel->op->launch(a, kernel->c, kernel->p, &r);
  if (!r.global[0] || !r.global[1] || !r.global[2]) return KOINE_OK; /* nothing to compute */
  koine_status s = fits(d, k, &r);
  if (s) return s;
  cl_uint n_dims = r.global[2] > 1 || r.local[2] > 1 ? 3 : r.global[1] > 1 || r.local[1] > 1 ? 2 : 1;
  for (cl_uint i = 0; r.local[0] && i < n_dims; i++) r.global[i] += (r.local[i] - r.global[i] % r.local[i]) % r.local[i];
  cl_int code = set_args(d, k, a);
  if (!code) code = clEnqueueNDRangeKernel(d->queue, k->kernel, n_dims, NULL, r.global, r.local[0] ? r.local : NULL, 0, NULL, NULL);
  if (!code) return KOINE_OK;
  s = failed(d, "the launch", code);
  return koi_error_prefix(s, "op %s", kernel->op->name);
}

/* ---- dense products ---------------------------------------------------------------------------------------------------- */
#ifdef HAVE_CLBLAST
static koine_status gemm_(koi_device *device, const koi_gemm *g, koi_buf *x, koi_buf *w, koi_buf *y)
{
  cl_dev *d = (cl_dev *)device;
  koine_status s = koi_clblast_gemm(d->context, d->queue, &d->blas, g, ((cl_buf *)x)->mem, ((cl_buf *)w)->mem, ((cl_buf *)y)->mem);
  device->gemm_bytes = d->blas.bytes;
  return s ? koi_error_prefix(s, "device %s (%s)", device->endpoint->id, device->endpoint->name) : KOINE_OK;
}
#else
#define gemm_ NULL
#endif

const koi_backend koi_backend_cl = {
  .name = "opencl", .probe = koi_dev_cl_probe, .unprobe = unprobe, .open = open_, .close = close_, .alloc = alloc, .view = view,
  .free = free_, .write = write_, .read = read_, .copy = copy, .fill = fill, .build = build, .drop = drop, .launch = launch, .finish = finish,
  .gemm = gemm_};
