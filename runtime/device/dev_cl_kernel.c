/* The OpenCL backend's programs and launches.
 * Owns built kernels and bound calls, each with a cl_kernel of its own: arguments that one sets, no other sees.
 * Invariant: arguments stand in the order of the descriptor: buffers, ints, floats. Building touches no queue and no other kernel. */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "dev_cl.h"

typedef struct built {
  koi_kernel base;
  cl_program program;
  cl_kernel kernel;
} built;

typedef struct bound {
  koi_bound base;
  cl_kernel kernel;
  cl_uint first_int;
  cl_mem part[KOI_MAX_BUFS]; /* where an argument begins inside its buffer; else NULL */
} bound;

/* ---- building ---------------------------------------------------------------------------------------------------------- */
/* The fewest lanes that a kernel may ask its compiler for; 0: there is no choice. */
static uint32_t least_lanes(const koi_endpoint *e)
{
  uint32_t least = 0;
  for (size_t i = 0; e->sized_subgroups && i < KOI_MAX_WIDTHS && e->subgroup_sizes[i]; i++)
    if (!least || e->subgroup_sizes[i] < least) least = e->subgroup_sizes[i];
  return least;
}

/* KOI_SM: which instructions kernels may write out (kernels/cl/unit.clh, dialect.clh); no question of OpenCL's own tells. KOI_LEAST_LANES: dialect.clh.
 * KOI_HALF_SUBNORMALS: unit16.clh. */
static void base_options(const koi_endpoint *e, bool counts, char *out /* [KOI_NAME] */)
{
  int major = 1, minor = 0, device = 1, sm = 0;
  sscanf(e->c_version, "OpenCL C %d.%d", &major, &minor);
  sscanf(e->version, "OpenCL %d", &device);
  bool written_out = sscanf(e->arch, "sm_%d", &sm) == 1;
  const char *arrivals = device > 2 ? "-cl-std=CL3.0 " : "-cl-std=CL2.0 ", *usual = major > 1 || minor >= 2 ? "-cl-std=CL1.2 " : "";
  koi_print(out, KOI_NAME, "%s-cl-mad-enable", counts && !written_out ? arrivals : usual);
  if (written_out) koi_print(out + strlen(out), KOI_NAME - strlen(out), " -D KOI_SM=%d", sm);
  if (least_lanes(e)) koi_print(out + strlen(out), KOI_NAME - strlen(out), " -D KOI_LEAST_LANES=%u", least_lanes(e));
  if (e->fp16_denormals) koi_print(out + strlen(out), KOI_NAME - strlen(out), " -D KOI_HALF_SUBNORMALS=1");
}

koine_status koi_dev_cl_identity(koi_device *device, char **out)
{
  cl_dev *d = (cl_dev *)device;
  const koi_endpoint *e = device->endpoint;
  char version[KOI_NAME] = "", options[KOI_NAME];
  cl_platform_id platform;
  base_options(e, false, options);
  if (!clGetDeviceInfo(d->id, CL_DEVICE_PLATFORM, sizeof platform, &platform, NULL) &&
      clGetPlatformInfo(platform, CL_PLATFORM_VERSION, sizeof version - 1, version, NULL))
    version[0] = 0;
  *out = koi_format("%s\n%s\n%s\n%s\n%s\n%s\n%s\n%s\n%s", e->name, e->arch, e->vendor, e->platform, version, e->driver, e->version, e->c_version,
                    options);
  return *out ? KOINE_OK : KOINE_ERR_MEMORY;
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

static koine_status build_failed(const cl_dev *d, const char *name, cl_program program, cl_int code)
{
  size_t bytes = 0;
  clGetProgramBuildInfo(program, d->id, CL_PROGRAM_BUILD_LOG, 0, NULL, &bytes);
  char *log = koi_alloc(bytes + 1, 1);
  if (!log) return KOINE_ERR_MEMORY;
  if (bytes) clGetProgramBuildInfo(program, d->id, CL_PROGRAM_BUILD_LOG, bytes, log, NULL);
  koine_status s = koi_error(koi_dev_cl_out_of_memory(code) ? KOINE_ERR_MEMORY : KOINE_ERR_DEVICE, "device %s (%s): building op %s failed: %s: %.500s",
                             d->base.endpoint->id, d->base.endpoint->name, name, koi_dev_cl_code(code), error_line(log));
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
static koine_status limits(const cl_dev *d, const char *name, built *k)
{
  const koi_endpoint *e = d->base.endpoint;
  cl_ulong local = 0;
  size_t said[3];
  if (clGetKernelWorkGroupInfo(k->kernel, d->id, CL_KERNEL_WORK_GROUP_SIZE, sizeof k->base.max_group, &k->base.max_group, NULL)) k->base.max_group = 0;
  if (clGetKernelWorkGroupInfo(k->kernel, d->id, CL_KERNEL_COMPILE_WORK_GROUP_SIZE, sizeof said, said, NULL)) said[0] = 0;
  if (k->base.max_group && said[0] && said[0] * said[1] * said[2] > k->base.max_group) k->base.max_group = said[0] * said[1] * said[2]; /* what the text says was compiled for */
  if (clGetKernelWorkGroupInfo(k->kernel, d->id, CL_KERNEL_LOCAL_MEM_SIZE, sizeof local, &local, NULL)) local = 0;
  if (local <= e->local_bytes || !e->local_bytes) return KOINE_OK;
  return koi_error(KOINE_ERR_DEVICE, "device %s (%s): op %s needs %" PRIu64 " bytes of local memory, there are %" PRIu64, e->id, e->name, name,
                   (uint64_t)local, e->local_bytes);
}

static koine_status make_program(const cl_dev *d, const koi_build *b, cl_program *out)
{
  const unsigned char *binary = b->binary;
  cl_int code, loaded = CL_SUCCESS;
  if (binary) *out = clCreateProgramWithBinary(d->context, 1, &d->id, &b->binary_bytes, &binary, &loaded, &code);
  else *out = clCreateProgramWithSource(d->context, 1, (const char *[]){b->text}, NULL, &code);
  if (!*out || code || loaded) return koi_dev_cl_failed(d, "making a program", code ? code : loaded);
  return KOINE_OK;
}

static koine_status compile(const cl_dev *d, const koi_build *b, built *k)
{
  koine_status s = make_program(d, b, &k->program);
  if (s) return s;
  char base[KOI_NAME];
  base_options(d->base.endpoint, b->counts, base);
  char *options = koi_format("%s %s", base, b->defs);
  if (!options) return KOINE_ERR_MEMORY;
  cl_int code = clBuildProgram(k->program, 1, &d->id, options, NULL, NULL);
  koi_free(options);
  if (code) return build_failed(d, b->name, k->program, code);
  k->kernel = clCreateKernel(k->program, b->name, &code);
  if (k->kernel) return limits(d, b->name, k);
  s = koi_dev_cl_failed(d, "making a kernel", code);
  return koi_error_prefix(s, "op %s", b->name);
}

/* A driver that gives none is no error. */
static void save(const built *k, void **binary, size_t *binary_bytes)
{
  size_t bytes = 0;
  if (clGetProgramInfo(k->program, CL_PROGRAM_BINARY_SIZES, sizeof bytes, &bytes, NULL) || !bytes) return;
  unsigned char *out = koi_alloc(bytes, 1);
  if (!out) return;
  if (clGetProgramInfo(k->program, CL_PROGRAM_BINARIES, sizeof out, &out, NULL)) koi_free(out);
  else *binary = out, *binary_bytes = bytes;
}

koine_status koi_dev_cl_build(koi_device *device, const koi_build *b, koi_kernel **out, void **binary, size_t *binary_bytes)
{
  built *k = koi_alloc(1, sizeof *k);
  if (!k) return KOINE_ERR_MEMORY;
  koine_status s = compile((cl_dev *)device, b, k);
  if (s) {
    release(k);
    return s;
  }
  if (b->want_binary) save(k, binary, binary_bytes);
  *out = &k->base;
  return KOINE_OK;
}

void koi_dev_cl_drop(koi_device *device, koi_kernel *kernel)
{
  (void)device;
  if (kernel) release((built *)kernel);
}

/* ---- launching --------------------------------------------------------------------------------------------------------- */
/* Buffers that an argument begins inside of become parts, which the caller releases, whatever is returned. */
static koine_status set_args(cl_dev *d, cl_kernel kernel, const koi_op *op, const koi_args *a, cl_mem *part, cl_uint *first_int)
{
  size_t n_bufs = koi_op_n_bufs(op), n_ints = koi_op_n_ints(op), n_floats = koi_op_n_floats(op);
  cl_uint at = 0;
  cl_int code = CL_SUCCESS;
  for (size_t i = 0; i < n_bufs && !code; i++) {
    const cl_buf *b = (const cl_buf *)a->buf[i];
    koine_status s = b && a->at[i] ? koi_dev_cl_part(d, b, a->at[i], b->base.bytes - a->at[i], &part[i]) : KOINE_OK;
    if (s) return s;
    code = clSetKernelArg(kernel, at++, sizeof(cl_mem), part[i] ? &part[i] : b ? &b->mem : &d->dummy);
  }
  if (first_int) *first_int = at;
  for (size_t i = 0; i < n_ints && !code; i++) code = clSetKernelArg(kernel, at++, sizeof(cl_int), &a->i[i]);
  for (size_t i = 0; i < n_floats && !code; i++) code = clSetKernelArg(kernel, at++, sizeof(cl_float), &a->f[i]);
  return code ? koi_dev_cl_failed(d, "setting arguments", code) : KOINE_OK;
}

static void release_parts(cl_dev *d, cl_mem part[KOI_MAX_BUFS])
{
  for (size_t i = 0; i < KOI_MAX_BUFS; i++)
    if (part[i]) koi_dev_cl_part_drop(d, part[i]);
}

cl_uint koi_dev_cl_dims(const koi_range *r) { return r->global[2] > 1 || r->local[2] > 1 ? 3 : r->global[1] > 1 || r->local[1] > 1 ? 2 : 1; }

static koine_status enqueue(const cl_dev *d, cl_kernel kernel, const koi_op *op, const koi_range *r)
{
  cl_int code = clEnqueueNDRangeKernel(d->queue, kernel, koi_dev_cl_dims(r), NULL, r->global, r->local[0] ? r->local : NULL, 0, NULL, NULL);
  if (!code) return KOINE_OK;
  koine_status s = koi_dev_cl_failed(d, "the launch", code);
  return koi_error_prefix(s, "op %s", op->name);
}

koine_status koi_dev_cl_launch(koi_device *device, koi_kernel *kernel, const koi_args *a, const koi_range *r)
{
  cl_dev *d = (cl_dev *)device;
  cl_kernel k = ((built *)kernel)->kernel;
  cl_mem part[KOI_MAX_BUFS] = {0};
  koine_status s = set_args(d, k, kernel->op, a, part, NULL);
  if (!s) s = enqueue(d, k, kernel->op, r);
  release_parts(d, part); /* what is queued keeps them for as long as it needs them */
  return s;
}

koine_status koi_dev_cl_bind(koi_device *device, koi_kernel *kernel, const koi_args *a, koi_bound **out)
{
  cl_dev *d = (cl_dev *)device;
  cl_int code;
  bound *b = koi_alloc(1, sizeof *b);
  if (!b) return KOINE_ERR_MEMORY;
  b->kernel = clCreateKernel(((built *)kernel)->program, kernel->op->name, &code);
  koine_status s = b->kernel ? set_args(d, b->kernel, kernel->op, a, b->part, &b->first_int) : koi_dev_cl_failed(d, "making a kernel", code);
  if (s) koi_dev_cl_unbind(device, &b->base);
  else *out = &b->base;
  return s ? koi_error_prefix(s, "op %s", kernel->op->name) : KOINE_OK;
}

koine_status koi_dev_cl_patch(koi_device *device, koi_bound *call, size_t i, int32_t value)
{
  bound *b = (bound *)call;
  cl_int code = clSetKernelArg(b->kernel, b->first_int + (cl_uint)i, sizeof(cl_int), &value);
  return code ? koi_dev_cl_failed((cl_dev *)device, "setting arguments", code) : KOINE_OK;
}

koine_status koi_dev_cl_start(koi_device *device, koi_bound *call, const koi_range *r)
{
  return enqueue((cl_dev *)device, ((bound *)call)->kernel, call->op, r);
}

cl_kernel koi_dev_cl_bound_kernel(const koi_bound *call) { return ((const bound *)call)->kernel; }

void koi_dev_cl_unbind(koi_device *device, koi_bound *call)
{
  bound *b = (bound *)call;
  if (b->kernel) clReleaseKernel(b->kernel);
  release_parts((cl_dev *)device, b->part);
  koi_free(b);
}
