/* What the parts of the HIP backend share. No header of ROCm's: its library is opened at run time, and its C interface, which does not change between
 * ROCm 5.2 and 7, is written out here in ROCm's own names. tests/hip_signatures.c holds the list to ROCm's headers where they are installed. */
#ifndef KOI_DEV_HIP_H
#define KOI_DEV_HIP_H
#include "backend.h"

#ifndef HIP_INCLUDE_HIP_HIP_RUNTIME_API_H
typedef int hipError_t;
typedef int hipDeviceAttribute_t;
typedef int hipFunction_attribute;
typedef void *hipDeviceptr_t;
typedef struct ihipStream_t *hipStream_t;
typedef struct ihipEvent_t *hipEvent_t;
typedef struct ihipModule_t *hipModule_t;
typedef struct ihipModuleSymbol_t *hipFunction_t;
typedef int hipStreamCaptureMode;
typedef struct ihipGraph *hipGraph_t;
typedef struct hipGraphExec *hipGraphExec_t;
typedef int hiprtcResult;
typedef struct _hiprtcProgram *hiprtcProgram;
#endif

/* X(name, result, parameters): all that this backend calls. */
#define HIP_CALLS(X) \
  X(hipInit, hipError_t, (unsigned)) \
  X(hipRuntimeGetVersion, hipError_t, (int *)) \
  X(hipGetDeviceCount, hipError_t, (int *)) \
  X(hipGetErrorName, const char *, (hipError_t)) \
  X(hipDeviceGetName, hipError_t, (char *, int, int)) \
  X(hipDeviceTotalMem, hipError_t, (size_t *, int)) \
  X(hipDeviceGetAttribute, hipError_t, (int *, hipDeviceAttribute_t, int)) \
  X(hipSetDevice, hipError_t, (int)) \
  X(hipStreamCreateWithFlags, hipError_t, (hipStream_t *, unsigned)) \
  X(hipStreamDestroy, hipError_t, (hipStream_t)) \
  X(hipStreamSynchronize, hipError_t, (hipStream_t)) \
  X(hipEventCreateWithFlags, hipError_t, (hipEvent_t *, unsigned)) \
  X(hipEventDestroy, hipError_t, (hipEvent_t)) \
  X(hipEventRecord, hipError_t, (hipEvent_t, hipStream_t)) \
  X(hipEventSynchronize, hipError_t, (hipEvent_t)) \
  X(hipMalloc, hipError_t, (void **, size_t)) \
  X(hipFree, hipError_t, (void *)) \
  X(hipHostMalloc, hipError_t, (void **, size_t, unsigned)) \
  X(hipHostFree, hipError_t, (void *)) \
  X(hipMemcpyHtoDAsync, hipError_t, (hipDeviceptr_t, void *, size_t, hipStream_t)) \
  X(hipMemcpyDtoHAsync, hipError_t, (void *, hipDeviceptr_t, size_t, hipStream_t)) \
  X(hipMemcpyDtoDAsync, hipError_t, (hipDeviceptr_t, hipDeviceptr_t, size_t, hipStream_t)) \
  X(hipDeviceCanAccessPeer, hipError_t, (int *, int, int)) \
  X(hipDeviceEnablePeerAccess, hipError_t, (int, unsigned)) \
  X(hipMemcpyPeerAsync, hipError_t, (void *, int, const void *, int, size_t, hipStream_t)) \
  X(hipStreamWaitEvent, hipError_t, (hipStream_t, hipEvent_t, unsigned)) \
  X(hipMemsetD8Async, hipError_t, (hipDeviceptr_t, unsigned char, size_t, hipStream_t)) \
  X(hipModuleLoadData, hipError_t, (hipModule_t *, const void *)) \
  X(hipModuleUnload, hipError_t, (hipModule_t)) \
  X(hipModuleGetFunction, hipError_t, (hipFunction_t *, hipModule_t, const char *)) \
  X(hipFuncGetAttribute, hipError_t, (int *, hipFunction_attribute, hipFunction_t)) \
  X(hipModuleLaunchKernel, hipError_t, (hipFunction_t, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, hipStream_t, void **, void **)) \
  X(hipStreamBeginCapture, hipError_t, (hipStream_t, hipStreamCaptureMode)) \
  X(hipStreamEndCapture, hipError_t, (hipStream_t, hipGraph_t *)) \
  X(hipGraphInstantiateWithFlags, hipError_t, (hipGraphExec_t *, hipGraph_t, unsigned long long)) \
  X(hipGraphLaunch, hipError_t, (hipGraphExec_t, hipStream_t)) \
  X(hipGraphExecDestroy, hipError_t, (hipGraphExec_t)) \
  X(hipGraphDestroy, hipError_t, (hipGraph_t))
#define HIPRTC_CALLS(X) \
  X(hiprtcVersion, hiprtcResult, (int *, int *)) \
  X(hiprtcGetErrorString, const char *, (hiprtcResult)) \
  X(hiprtcCreateProgram, hiprtcResult, (hiprtcProgram *, const char *, const char *, int, const char **, const char **)) \
  X(hiprtcDestroyProgram, hiprtcResult, (hiprtcProgram *)) \
  X(hiprtcCompileProgram, hiprtcResult, (hiprtcProgram, int, const char **)) \
  X(hiprtcGetProgramLogSize, hiprtcResult, (hiprtcProgram, size_t *)) \
  X(hiprtcGetProgramLog, hiprtcResult, (hiprtcProgram, char *)) \
  X(hiprtcGetCodeSize, hiprtcResult, (hiprtcProgram, size_t *)) \
  X(hiprtcGetCode, hiprtcResult, (hiprtcProgram, char *))

#ifndef HIP_INCLUDE_HIP_HIP_RUNTIME_API_H
enum {
  hipSuccess = 0, hipErrorOutOfMemory = 2, hipErrorNoDevice = 100, hipErrorInvalidDevice = 101, hipErrorPeerAccessAlreadyEnabled = 704,
  hipStreamNonBlocking = 1, hipEventDisableTiming = 2, hipStreamCaptureModeThreadLocal = 1,
  hipDeviceAttributeClockRate = 5, hipDeviceAttributeIntegrated = 16, hipDeviceAttributeL2CacheSize = 19, hipDeviceAttributeMaxThreadsPerBlock = 56,
  hipDeviceAttributeMultiprocessorCount = 63, hipDeviceAttributePciBusId = 67, hipDeviceAttributePciDeviceId = 68, hipDeviceAttributePciDomainID = 69,
  hipDeviceAttributeMaxSharedMemoryPerBlock = 74, hipDeviceAttributeWarpSize = 87,
  HIP_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK = 0, HIP_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES = 1
};
#endif
/* Of a device's properties, of which there are two layouts, only the chip's name is asked for: where it stands, by the function that fills it in. */
enum { HIP_PROPERTIES_BYTES = 4096, HIP_ARCH_BYTES = 256, HIP_ARCH_AT_R0000 = 396, HIP_ARCH_AT_R0600 = 1160 };

#define HIP_MEMBER(name, result, parameters) result(*name) parameters;
typedef struct koi_hip {
  HIP_CALLS(HIP_MEMBER)
  HIPRTC_CALLS(HIP_MEMBER)
  hipError_t (*properties)(void *, int);
  size_t arch_at;           /* in what properties fills in */
  int version;              /* of the runtime: major * 10000000 + minor * 100000 + patch */
  const char *no_compiler;  /* NULL: hiprtc is there; else why not: programs that came with Koine run all the same */
  int compiler_major, compiler_minor;
} koi_hip;
#undef HIP_MEMBER

/* ---- dev_hip_load.c ---- */
/* ROCm's libraries, loaded once and kept for as long as the process lives. NULL: not to be had, and *why, which stays valid. */
const koi_hip *koi_dev_hip_load(const char **why);

/* ---- dev_hip.c ---- */
enum { KOI_HIP_HALVES = 2 };
typedef struct hip_dev {
  koi_device base;
  const koi_hip *hip;
  int ordinal;
  hipStream_t stream;
  unsigned char *stage;     /* [KOI_HIP_HALVES][STAGE_BYTES] pinned: what is written waits here */
  hipEvent_t left[KOI_HIP_HALVES]; /* behind the last copy out of this half */
  bool busy[KOI_HIP_HALVES];
  size_t half, used;        /* where the next write goes */
} hip_dev;

typedef struct hip_buf {
  koi_buf base;
  unsigned char *at;        /* on the device */
  bool is_view;
} hip_buf;

/* Everything of HIP's is asked for on the thread's current device: every hook begins with this. */
koine_status koi_dev_hip_enter(hip_dev *d);
koine_status koi_dev_hip_failed(const hip_dev *d, const char *what, hipError_t code);

/* ---- dev_hip_probe.c ---- */
koine_status koi_dev_hip_probe(koi_probe *out);
/* An endpoint with what every device of this runtime has, and its chip with what follows from that alone, for whoever compiles without a device. */
void koi_dev_hip_chip(const char *chip, koi_endpoint *e);

/* ---- dev_hip_kernel.c ---- */
koine_status koi_dev_hip_identity(koi_device *d, char **out);
koine_status koi_dev_hip_portable(const koi_endpoint *e, char **chip, char **identity);
/* What compilers are told of a program, in words between blanks, for koi_free: "--offload-arch=... -O3 -D A=1 -D B=2"; NULL without memory. */
char *koi_dev_hip_options(const char *chip, const koi_build *b);
koine_status koi_dev_hip_build(koi_device *d, const koi_build *b, koi_kernel **out, void **binary, size_t *binary_bytes);
void koi_dev_hip_drop(koi_device *d, koi_kernel *k);
koine_status koi_dev_hip_launch(koi_device *d, koi_kernel *k, const koi_args *a, const koi_range *r);
koine_status koi_dev_hip_bind(koi_device *d, koi_kernel *k, const koi_args *a, koi_bound **out);
koine_status koi_dev_hip_patch(koi_device *d, koi_bound *b, size_t i, int32_t value);
koine_status koi_dev_hip_start(koi_device *d, koi_bound *b, const koi_range *r);
void koi_dev_hip_unbind(koi_device *d, koi_bound *b);

/* ---- dev_hip_record.c ---- */
koine_status koi_dev_hip_record(koi_device *d, koi_bound *const *calls, const koi_range *ranges, size_t n, koi_recorded **out);
koine_status koi_dev_hip_replay(koi_device *d, koi_recorded *r);
void koi_dev_hip_unrecord(koi_device *d, koi_recorded *r);

/* ---- dev_hip_way.c ---- */
koine_status koi_dev_hip_way_open(koi_device *from, koi_device *to, koi_way **out);
void koi_dev_hip_way_close(koi_way *w);
koine_status koi_dev_hip_way_give(koi_way *w, koi_buf *src, size_t at, koi_buf *through, size_t bytes);
koine_status koi_dev_hip_way_take(koi_way *w, koi_buf *through, koi_buf *dst, size_t bytes);
koine_status koi_dev_hip_way_wait(koi_way *w);
#endif
