/* What the parts of the emulation of HIP share: ROCm's calls on the host's processor, for tests of the backend and of kernels as HIP.
 * Devices: "emulated32" with 32 lanes and WMMA as gfx11 has it, "emulated64" with 64 and MFMA as gfx90a has it, "emulated32_12" with 32 and WMMA as gfx12 has it; "emulated8" and
 * "emulated16" with so many lanes and the matrix products of OpenCL's sub-groups, which no device of HIP has, so that the text which calls these runs, too;
 * "emulated64_fp8" with MFMA as gfx942 has it.
 * Where ROCm's headers are installed they declare what is defined here, and the compiler holds both to each other. */
#ifndef HIP_EMU_H
#define HIP_EMU_H
#if defined(__has_include)
#if __has_include(<hip/hip_runtime_api.h>) && __has_include(<hip/hiprtc.h>)
#define __HIP_PLATFORM_AMD__ 1
#define HIP_EMU_SIGNATURES 1
#include <hip/hip_runtime_api.h>
#include <hip/hiprtc.h>
#endif
#endif
#include "device/dev_hip.h"
#ifndef HIP_EMU_SIGNATURES
enum {
  hipErrorInvalidValue = 1, hipErrorPeerAccessUnsupported = 217, hipErrorInvalidImage = 200, hipErrorNoBinaryForGpu = 209, hipErrorInvalidHandle = 400, hipErrorNotFound = 500, hipErrorLaunchFailure = 719,
  HIPRTC_SUCCESS = 0, HIPRTC_ERROR_INVALID_INPUT = 3, HIPRTC_ERROR_INVALID_OPTION = 5, HIPRTC_ERROR_COMPILATION = 6, HIPRTC_ERROR_INTERNAL_ERROR = 11
};
#endif
#include <stdbool.h>
#include "hip_emu_kernel.h"
#define EMU_API __attribute__((visibility("default")))

enum { EMU_DEVICES = 6, EMU_MAX_GROUP = 1024, EMU_LOCAL_BYTES = 65536 };
extern const int emu_lanes[EMU_DEVICES];
extern const char *const emu_unit[EMU_DEVICES];

/* A code object: this, and behind it the library that a host's compiler made of a kernel's text. */
typedef struct emu_code { char magic[16]; uint32_t device, group; uint64_t bytes; } emu_code; /* group: as compiled for; 0 any */
extern const char emu_magic[16];

struct ihipModuleSymbol_t { /* a loaded kernel */
  void *library;            /* NULL: code for a chip, whose kernels do nothing */
  const void *image;
  int device;
  uint32_t group;
  emu_link **link;
  void (*keep_args)(unsigned long *to, void **from);
  void (*run)(const unsigned long *from);
  char *shared;             /* local memory */
  unsigned long shared_bytes;
};

/* ---- hip_emu_chip.c ---- */
/* What the device says of its chip. HIP_EMU_CHIPS gives the first devices other names, "gfx1100,gfx942:sramecc+:xnack-": then they load code that a compiler made
 * for these chips, too. */
const char *emu_arch(int device, char out[HIP_ARCH_BYTES]);
/* Code for AMD's chips: it is looked at as a driver does, and does nothing. */
bool emu_is_chip_code(const void *image);
hipError_t emu_check_chip_code(const void *image, int device);
bool emu_has_chip_kernel(const void *image, const char *name);

/* ---- hip_emu_peer.c ---- */
/* Whether the first device's copies reach the second's memory, by now. HIP_EMU_PEERS=off: no device can; lost: all can, and their copies fail when they come to be done. */
bool emu_reaches(int from, int to);
/* For tests, by dlsym: copies from device to device that were done. */
EMU_API unsigned long emu_n_peer_copies(void);
bool emu_copies_to_peer(void); /* counts one; false: it fails */

/* ---- hip_emu.c ---- */
int emu_current(void); /* the thread's device */

/* ---- hip_emu_run.c ---- */
/* Every work-group, one after the other. False: some work-items wait at a barrier that the others do not reach. */
bool emu_run_kernel(const struct ihipModuleSymbol_t *f, const unsigned groups[3], const unsigned local[3], const unsigned long *args);
#endif
