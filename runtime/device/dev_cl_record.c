/* Recorded calls of the OpenCL backend: cl_khr_command_buffer. Owns recordings. The extension is provisional, and its functions and numbers are spelled
 * here as its versions 0.9.0 to 0.9.7 have them, which agree in all that is used: headers have other types with other releases.
 * Invariant: where the driver does not allow it, a recording that may still run is not enqueued again before it has been waited for. */
#include <stdio.h>
#include <string.h>
#include "dev_cl.h"

enum {
  ASK_EXTENSIONS_WITH_VERSION = 0x1060, /* named[] */
  ASK_CAPABILITIES = 0x12A9,            /* cl_ulong: */
  CAN_OVERLAP = 1 << 2,                 /* a recording may be enqueued again while it runs */
  ASK_REQUIRED_QUEUE = 0x12AA,          /* cl_ulong: properties that a queue must have */
  FLAGS = 0x1293,                       /* of a recording: */
  OVERLAPS = 1 << 0,
  NAMED_BYTES = 64, MAX_NAMED = 512,
  MAJOR_SHIFT = 22, MINOR_SHIFT = 12, MINOR_MASK = 0x3ff, PATCH_MASK = 0xfff,
  KNOWN_MINOR = 9, KNOWN_PATCH = 7
};
typedef struct named { cl_uint version; char name[NAMED_BYTES]; } named;

typedef struct cl_recording *recording; /* cl_command_buffer_khr */
struct koi_cl_record {
  bool overlaps;
  recording (*create)(cl_uint, const cl_command_queue *, const cl_ulong *, cl_int *);
  cl_int (*finalize)(recording);
  cl_int (*release)(recording);
  cl_int (*enqueue)(cl_uint, cl_command_queue *, recording, cl_uint, const cl_event *, cl_event *);
  cl_int (*kernel)(recording, cl_command_queue, const void *, cl_kernel, cl_uint, const size_t *, const size_t *, const size_t *, cl_uint, const cl_uint *, cl_uint *, void *);
};

typedef struct recorded {
  koi_recorded base;
  recording what;
  uint64_t waits; /* of the device, when it was enqueued last */
} recorded;

/* ---- whether there is such a thing ---- */
static bool known(cl_uint version)
{
  return !(version >> MAJOR_SHIFT) && (version >> MINOR_SHIFT & MINOR_MASK) == KNOWN_MINOR && (version & PATCH_MASK) <= KNOWN_PATCH;
}

static bool has_extension(cl_device_id id)
{
  size_t bytes = 0;
  bool found = false;
  if (clGetDeviceInfo(id, ASK_EXTENSIONS_WITH_VERSION, 0, NULL, &bytes) || !bytes || bytes > MAX_NAMED * sizeof(named)) return false;
  named *list = koi_alloc(bytes, 1);
  if (list && !clGetDeviceInfo(id, ASK_EXTENSIONS_WITH_VERSION, bytes, list, NULL))
    for (size_t i = 0; i < bytes / sizeof *list; i++)
      if (!strncmp(list[i].name, "cl_khr_command_buffer", NAMED_BYTES)) found = known(list[i].version);
  koi_free(list);
  return found;
}

/* POSIX lets an object's address stand for a function's; C has no cast for it. */
static bool find(cl_platform_id platform, const char *name, void *to)
{
  void *at = clGetExtensionFunctionAddressForPlatform(platform, name);
  memcpy(to, &at, sizeof at);
  return at != NULL;
}

koine_status koi_dev_cl_find_record(cl_dev *d)
{
  cl_platform_id platform;
  cl_ulong required = 0, can = 0;
  koi_cl_record r = {0};
  if (!has_extension(d->id) || clGetDeviceInfo(d->id, CL_DEVICE_PLATFORM, sizeof platform, &platform, NULL)) return KOINE_OK;
  if (clGetDeviceInfo(d->id, ASK_REQUIRED_QUEUE, sizeof required, &required, NULL) || required) return KOINE_OK; /* our queue has none */
  if (clGetDeviceInfo(d->id, ASK_CAPABILITIES, sizeof can, &can, NULL)) can = 0;
  r.overlaps = can & CAN_OVERLAP;
  bool all = find(platform, "clCreateCommandBufferKHR", &r.create) && find(platform, "clFinalizeCommandBufferKHR", &r.finalize) &&
             find(platform, "clReleaseCommandBufferKHR", &r.release) && find(platform, "clEnqueueCommandBufferKHR", &r.enqueue) &&
             find(platform, "clCommandNDRangeKernelKHR", &r.kernel);
  if (!all) return KOINE_OK;
  if (!(d->record = koi_alloc(1, sizeof r))) return KOINE_ERR_MEMORY;
  *d->record = r;
  d->base.can_record = true;
  return KOINE_OK;
}

/* ---- recording ---- */
static cl_int record_all(const cl_dev *d, recording what, koi_bound *const *calls, const koi_range *ranges, size_t n)
{
  cl_int code = CL_SUCCESS;
  for (size_t i = 0; i < n && !code; i++) {
    const koi_range *g = &ranges[i];
    code = d->record->kernel(what, NULL, NULL, koi_dev_cl_bound_kernel(calls[i]), koi_dev_cl_dims(g), NULL, g->global, g->local[0] ? g->local : NULL, 0, NULL, NULL, NULL);
  }
  return code ? code : d->record->finalize(what);
}

koine_status koi_dev_cl_record(koi_device *device, koi_bound *const *calls, const koi_range *ranges, size_t n, koi_recorded **out)
{
  cl_dev *d = (cl_dev *)device;
  const cl_ulong overlapping[] = {FLAGS, OVERLAPS, 0};
  cl_int code = CL_SUCCESS;
  recorded *r = koi_alloc(1, sizeof *r);
  if (!r) return KOINE_ERR_MEMORY;
  *r = (recorded){.base = {n}, .waits = d->waits - 1};
  r->what = d->record->create(1, &d->queue, d->record->overlaps ? overlapping : NULL, &code);
  if (r->what) code = record_all(d, r->what, calls, ranges, n);
  else if (!code) code = CL_OUT_OF_HOST_MEMORY; /* a driver that says nothing */
  if (!code) {
    *out = &r->base;
    return KOINE_OK;
  }
  if (r->what) d->record->release(r->what);
  koi_free(r);
  return koi_dev_cl_failed(d, "recording calls", code);
}

koine_status koi_dev_cl_replay(koi_device *device, koi_recorded *what)
{
  cl_dev *d = (cl_dev *)device;
  recorded *r = (recorded *)what;
  koine_status s = r->waits == d->waits && !d->record->overlaps ? device->backend->finish(device) : KOINE_OK;
  if (s) return s;
  cl_int code = d->record->enqueue(0, NULL, r->what, 0, NULL, NULL);
  if (code) return koi_dev_cl_failed(d, "replaying calls", code);
  r->waits = d->waits;
  return KOINE_OK;
}

void koi_dev_cl_unrecord(koi_device *device, koi_recorded *what)
{
  cl_dev *d = (cl_dev *)device;
  recorded *r = (recorded *)what;
  if (r->waits == d->waits) clFinish(d->queue);
  d->record->release(r->what);
  koi_free(r);
}
