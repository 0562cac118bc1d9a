/* The calls of HIP that the backend uses, on the host's processor. Owns streams, events, modules.
 * Invariant: work is queued as on a device, and done as late as HIP allows: when something waits for it. So what is given back or changed too
 * early shows. What belongs to one device is refused while another is the thread's current one. */
#include "hip_emu.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const int emu_lanes[EMU_DEVICES] = {32, 64, 32, 8, 16, 64};
const char *const emu_unit[EMU_DEVICES] = {"EMU_WMMA_GFX11", "EMU_MFMA", "EMU_WMMA_GFX12", "EMU_SUB_GROUPS", "EMU_SUB_GROUPS", "EMU_MFMA_FP8"};
const char emu_magic[16] = "emulated code 1";
enum { EMU_VERSION = 50221153, MEMORY_BYTES = 1 << 30, N_UNITS = 4, CLOCK_KHZ = 1000000, CACHE_BYTES = 1 << 20, FIRST_BUS = 3, ALIGN_BYTES = 256 };

typedef struct work { /* one thing that is queued */
  enum { COPY, PEER, FILL, LAUNCH, EVENT, WAIT, GRAPH } kind;
  void *to;
  const void *from;
  size_t bytes;
  unsigned char value;
  hipFunction_t function;
  unsigned groups[3], local[3];
  unsigned long args[EMU_MAX_ARGS];
  hipEvent_t event;
  unsigned long count;      /* of the event's records: WAIT */
  hipGraphExec_t graph;
} work;

struct ihipGraph { work *queue; size_t n; };
struct hipGraphExec { int device; struct ihipGraph g; };
struct ihipStream_t { int device; work *queue; size_t n, head; /* work from head on is to be done */ hipError_t failed; hipGraph_t capture; };
struct ihipEvent_t { int device; hipStream_t stream; unsigned long n_recorded, n_done; hipError_t failed; }; /* stream: of the last record; failed: before it */
struct ihipModule_t { struct ihipModuleSymbol_t kernel; };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of all that is here: devices share the processor */
static struct ihipStream_t *streams[16];
static _Thread_local int current;
int emu_current(void) { return current; }

/* ---- work -------------------------------------------------------------------------------------------------------------- */
static hipError_t await(hipEvent_t e, unsigned long count);

static void do_one(hipStream_t s, const work *w)
{
  for (size_t i = 0; w->kind == GRAPH && i < w->graph->g.n; i++) do_one(s, &w->graph->g.queue[i]);
  if (w->kind == GRAPH) return;
  if (w->kind == PEER && !emu_copies_to_peer()) s->failed = hipErrorLaunchFailure;
  else if (w->kind == COPY || w->kind == PEER) memcpy(w->to, w->from, w->bytes);
  else if (w->kind == FILL) memset(w->to, w->value, w->bytes);
  else if (w->kind == EVENT) w->event->n_done++, w->event->failed = s->failed;
  else if (w->kind == WAIT) await(w->event, w->count);
  else if (!emu_run_kernel(w->function, w->groups, w->local, w->args)) s->failed = hipErrorLaunchFailure;
}

/* Until an event was reached so many times, or all. What failed stays failed, as on a device. A wait may come back to a stream that is being drained. */
static hipError_t drain(hipStream_t s, hipEvent_t until, unsigned long count)
{
  while (s->head < s->n && !(until && until->n_done >= count)) {
    work w = s->queue[s->head++];
    do_one(s, &w);
  }
  if (s->head == s->n) s->head = s->n = 0;
  return s->failed;
}

/* Until the event was reached so many times; its stream may be gone by then. */
static hipError_t await(hipEvent_t e, unsigned long count)
{
  if (e->n_done < count) drain(e->stream, e, count);
  return e->failed;
}

static void append(work **queue, size_t *n, const work *w)
{
  if (!(*n & (*n - 1))) *queue = realloc(*queue, (*n ? 2 * *n : 1) * sizeof **queue);
  (*queue)[(*n)++] = *w;
}

static hipError_t enqueue(hipStream_t s, const work *w)
{
  hipError_t code = hipSuccess;
  pthread_mutex_lock(&lock);
  if (!s || s->device != current) code = hipErrorInvalidHandle;
  else if (s->failed) code = s->failed;
  else if (s->capture && w->kind == LAUNCH) append(&s->capture->queue, &s->capture->n, w);
  else if (s->capture) code = hipErrorInvalidHandle;
  else append(&s->queue, &s->n, w);
  pthread_mutex_unlock(&lock);
  return code;
}

/* ---- devices ----------------------------------------------------------------------------------------------------------- */
EMU_API hipError_t hipInit(unsigned flags) { return flags ? hipErrorInvalidValue : hipSuccess; }
EMU_API hipError_t hipRuntimeGetVersion(int *out) { return *out = EMU_VERSION, hipSuccess; }
EMU_API hipError_t hipGetDeviceCount(int *out) { return *out = EMU_DEVICES, hipSuccess; }
EMU_API const char *hipGetErrorName(hipError_t code)
{
  return code == hipErrorOutOfMemory ? "hipErrorOutOfMemory" : code == hipErrorLaunchFailure ? "hipErrorLaunchFailure" : code ? "hipErrorOther" : "hipSuccess";
}

static hipError_t there(int device) { return device < 0 || device >= EMU_DEVICES ? hipErrorInvalidDevice : hipSuccess; }

EMU_API hipError_t hipDeviceGetName(char *out, int room, int device)
{
  if (there(device)) return hipErrorInvalidDevice;
  snprintf(out, (size_t)room, "HIP on the CPU, %d lanes", emu_lanes[device]);
  return hipSuccess;
}

EMU_API hipError_t hipDeviceTotalMem(size_t *out, int device) { return *out = MEMORY_BYTES, there(device); }

EMU_API hipError_t hipDeviceGetAttribute(int *out, hipDeviceAttribute_t which, int device)
{
  const struct { hipDeviceAttribute_t which; int value; } all[] = {
    {hipDeviceAttributeClockRate, CLOCK_KHZ}, {hipDeviceAttributeIntegrated, 0}, {hipDeviceAttributeL2CacheSize, CACHE_BYTES},
    {hipDeviceAttributeMaxThreadsPerBlock, EMU_MAX_GROUP}, {hipDeviceAttributeMultiprocessorCount, N_UNITS}, {hipDeviceAttributePciBusId, FIRST_BUS + device},
    {hipDeviceAttributePciDeviceId, 0}, {hipDeviceAttributePciDomainID, 0}, {hipDeviceAttributeMaxSharedMemoryPerBlock, EMU_LOCAL_BYTES},
    {hipDeviceAttributeWarpSize, there(device) ? 0 : emu_lanes[device]}};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    if (all[i].which == which) return *out = all[i].value, there(device);
  return hipErrorInvalidValue;
}

#undef hipGetDeviceProperties
#ifdef HIP_EMU_SIGNATURES
EMU_API hipError_t hipGetDeviceProperties(hipDeviceProp_t *out, int device)
{
  char *chip = out->gcnArchName;
#else
EMU_API hipError_t hipGetDeviceProperties(void *out, int device);
EMU_API hipError_t hipGetDeviceProperties(void *out, int device)
{
  char *chip = (char *)out + HIP_ARCH_AT_R0000;
#endif
  if (there(device)) return hipErrorInvalidDevice;
  emu_arch(device, chip);
  return hipSuccess;
}

EMU_API hipError_t hipSetDevice(int device) { return there(device) ? hipErrorInvalidDevice : (current = device, hipSuccess); }

/* ---- streams and events ------------------------------------------------------------------------------------------------ */
EMU_API hipError_t hipStreamCreateWithFlags(hipStream_t *out, unsigned flags)
{
  hipStream_t s = flags == hipStreamNonBlocking ? calloc(1, sizeof *s) : NULL;
  pthread_mutex_lock(&lock);
  size_t i = 0, n = sizeof streams / sizeof *streams;
  while (i < n && streams[i]) i++;
  if (s && i < n) s->device = current, streams[i] = *out = s;
  pthread_mutex_unlock(&lock);
  return s && i < n ? hipSuccess : hipErrorInvalidValue;
}

EMU_API hipError_t hipStreamSynchronize(hipStream_t s)
{
  pthread_mutex_lock(&lock);
  hipError_t code = drain(s, NULL, 0);
  pthread_mutex_unlock(&lock);
  return code;
}

EMU_API hipError_t hipStreamDestroy(hipStream_t s)
{
  pthread_mutex_lock(&lock);
  drain(s, NULL, 0);
  for (size_t i = 0; i < sizeof streams / sizeof *streams; i++)
    if (streams[i] == s) streams[i] = NULL;
  pthread_mutex_unlock(&lock);
  free(s->queue);
  free(s);
  return hipSuccess;
}

EMU_API hipError_t hipEventCreateWithFlags(hipEvent_t *out, unsigned flags)
{
  if (flags != hipEventDisableTiming || !(*out = calloc(1, sizeof **out))) return hipErrorInvalidValue;
  (*out)->device = current;
  return hipSuccess;
}

EMU_API hipError_t hipEventDestroy(hipEvent_t e) { return free(e), hipSuccess; }

EMU_API hipError_t hipEventRecord(hipEvent_t e, hipStream_t s)
{
  if (e->device != current) return hipErrorInvalidHandle;
  hipError_t code = enqueue(s, &(work){.kind = EVENT, .event = e});
  pthread_mutex_lock(&lock);
  if (!code) e->stream = s, e->n_recorded++;
  pthread_mutex_unlock(&lock);
  return code;
}

EMU_API hipError_t hipEventSynchronize(hipEvent_t e)
{
  pthread_mutex_lock(&lock);
  hipError_t code = await(e, e->n_recorded);
  pthread_mutex_unlock(&lock);
  return code;
}

/* For what was recorded by now, on whichever device. */
EMU_API hipError_t hipStreamWaitEvent(hipStream_t s, hipEvent_t e, unsigned flags)
{
  pthread_mutex_lock(&lock);
  unsigned long count = e->n_recorded;
  pthread_mutex_unlock(&lock);
  if (flags) return hipErrorInvalidValue;
  return count ? enqueue(s, &(work){.kind = WAIT, .event = e, .count = count}) : hipSuccess;
}

/* ---- memory ------------------------------------------------------------------------------------------------------------ */
EMU_API hipError_t hipMalloc(void **out, size_t bytes)
{
  return bytes > MEMORY_BYTES || posix_memalign(out, ALIGN_BYTES, bytes) ? hipErrorOutOfMemory : hipSuccess;
}

/* Waits for the device, as HIP does. */
EMU_API hipError_t hipFree(void *at)
{
  pthread_mutex_lock(&lock);
  for (size_t i = 0; i < sizeof streams / sizeof *streams; i++)
    if (streams[i] && streams[i]->device == current) drain(streams[i], NULL, 0);
  pthread_mutex_unlock(&lock);
  free(at);
  return hipSuccess;
}

EMU_API hipError_t hipHostMalloc(void **out, size_t bytes, unsigned flags)
{
  (void)flags;
  return (*out = malloc(bytes)) ? hipSuccess : hipErrorOutOfMemory;
}

EMU_API hipError_t hipHostFree(void *at) { return free(at), hipSuccess; }

static hipError_t copy(void *to, const void *from, size_t bytes, hipStream_t s) { return enqueue(s, &(work){.kind = COPY, .to = to, .from = from, .bytes = bytes}); }
EMU_API hipError_t hipMemcpyHtoDAsync(hipDeviceptr_t to, void *from, size_t bytes, hipStream_t s) { return copy(to, from, bytes, s); }
EMU_API hipError_t hipMemcpyDtoHAsync(void *to, hipDeviceptr_t from, size_t bytes, hipStream_t s) { return copy(to, from, bytes, s); }
EMU_API hipError_t hipMemcpyDtoDAsync(hipDeviceptr_t to, hipDeviceptr_t from, size_t bytes, hipStream_t s) { return copy(to, from, bytes, s); }
EMU_API hipError_t hipMemcpyPeerAsync(void *to, int to_device, const void *from, int from_device, size_t bytes, hipStream_t s)
{
  if (from_device != current || !emu_reaches(from_device, to_device)) return hipErrorInvalidValue;
  return enqueue(s, &(work){.kind = PEER, .to = to, .from = from, .bytes = bytes});
}

EMU_API hipError_t hipMemsetD8Async(hipDeviceptr_t to, unsigned char value, size_t bytes, hipStream_t s)
{
  return enqueue(s, &(work){.kind = FILL, .to = to, .value = value, .bytes = bytes});
}

/* ---- kernels ----------------------------------------------------------------------------------------------------------- */
/* From memory to a library. Its name must be new: the loader takes a name that it knows for what it has. */
static void *open_code(const void *bytes, size_t n)
{
  char path[] = "/tmp/koine-kernel-XXXXXX";
  int fd = mkstemp(path);
  void *library = fd >= 0 && write(fd, bytes, n) == (ssize_t)n ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
  if (fd >= 0) close(fd), unlink(path);
  return library;
}

static void find(void *library, const char *name, void *to)
{
  void *symbol = dlsym(library, name);
  memcpy(to, &symbol, sizeof symbol);
}

static hipError_t load_chip_code(hipModule_t *out, const void *image)
{
  hipError_t code = emu_check_chip_code(image, current);
  if (code || !(*out = calloc(1, sizeof **out))) return code ? code : hipErrorOutOfMemory;
  (*out)->kernel = (struct ihipModuleSymbol_t){.image = image, .device = current};
  return hipSuccess;
}

EMU_API hipError_t hipModuleLoadData(hipModule_t *out, const void *image)
{
  emu_code head;
  if (emu_is_chip_code(image)) return load_chip_code(out, image);
  memcpy(&head, image, sizeof head);
  if (memcmp(head.magic, emu_magic, sizeof emu_magic)) return hipErrorInvalidImage;
  if (head.device != (uint32_t)current) return hipErrorNoBinaryForGpu;
  hipModule_t m = calloc(1, sizeof *m);
  struct ihipModuleSymbol_t *k = &m->kernel;
  char *(*shared)(unsigned long *);
  *k = (struct ihipModuleSymbol_t){.library = open_code((const char *)image + sizeof head, head.bytes), .device = current, .group = head.group};
  if (!k->library) return free(m), hipErrorInvalidImage;
  k->link = dlsym(k->library, "emu");
  find(k->library, "emu_keep_args", &k->keep_args);
  find(k->library, "emu_run", &k->run);
  find(k->library, "emu_shared", &shared);
  k->shared = shared(&k->shared_bytes);
  *out = m;
  return hipSuccess;
}

EMU_API hipError_t hipModuleUnload(hipModule_t m)
{
  hipFree(NULL); /* what is queued may be of it */
  if (m->kernel.library) dlclose(m->kernel.library);
  free(m);
  return hipSuccess;
}

EMU_API hipError_t hipModuleGetFunction(hipFunction_t *out, hipModule_t m, const char *name)
{
  if (m->kernel.library ? !dlsym(m->kernel.library, name) : !emu_has_chip_kernel(m->kernel.image, name)) return hipErrorNotFound;
  *out = &m->kernel;
  return hipSuccess;
}

EMU_API hipError_t hipFuncGetAttribute(int *out, hipFunction_attribute which, hipFunction_t f)
{
  *out = which == HIP_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES ? (int)f->shared_bytes : f->group ? (int)f->group : EMU_MAX_GROUP;
  return hipSuccess;
}

EMU_API hipError_t hipModuleLaunchKernel(hipFunction_t f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, hipStream_t s,
                                         void **args, void **extra)
{
  size_t items = (size_t)bx * by * bz;
  if (!gx || !gy || !gz || !items || items > EMU_MAX_GROUP || (f->group && items != f->group) || shared || extra || f->shared_bytes > EMU_LOCAL_BYTES)
    return hipErrorInvalidValue;
  if (f->device != current) return hipErrorInvalidHandle;
  if (!f->library) return hipSuccess;
  work w = {.kind = LAUNCH, .function = f, .groups = {gx, gy, gz}, .local = {bx, by, bz}};
  f->keep_args(w.args, args);
  return enqueue(s, &w);
}

/* ---- graphs ------------------------------------------------------------------------------------------------------------ */
EMU_API hipError_t hipStreamBeginCapture(hipStream_t s, hipStreamCaptureMode mode)
{
  if (s->capture || s->device != current || mode != hipStreamCaptureModeThreadLocal) return hipErrorInvalidValue;
  return (s->capture = calloc(1, sizeof *s->capture)) ? hipSuccess : hipErrorOutOfMemory;
}

EMU_API hipError_t hipStreamEndCapture(hipStream_t s, hipGraph_t *out)
{
  if (!s->capture) return hipErrorInvalidValue;
  *out = s->capture, s->capture = NULL;
  return hipSuccess;
}

EMU_API hipError_t hipGraphDestroy(hipGraph_t g) { return free(g->queue), free(g), hipSuccess; }

EMU_API hipError_t hipGraphInstantiateWithFlags(hipGraphExec_t *out, hipGraph_t g, unsigned long long flags)
{
  hipGraphExec_t x = flags || !g->n ? NULL : calloc(1, sizeof *x);
  if (!x) return hipErrorInvalidValue;
  *x = (struct hipGraphExec){.device = current};
  for (size_t i = 0; i < g->n; i++) append(&x->g.queue, &x->g.n, &g->queue[i]);
  *out = x;
  return hipSuccess;
}

EMU_API hipError_t hipGraphLaunch(hipGraphExec_t x, hipStream_t s)
{
  return x->device != s->device ? hipErrorInvalidHandle : enqueue(s, &(work){.kind = GRAPH, .graph = x});
}

EMU_API hipError_t hipGraphExecDestroy(hipGraphExec_t x) { return free(x->g.queue), free(x), hipSuccess; }
