/* The backend's list of HIP's calls and numbers (device/dev_hip.h) against ROCm's own headers, by the compiler. Nothing without these headers. */
#include "hip_emu.h"
#ifdef HIP_EMU_SIGNATURES
#include <stddef.h>
#define SAME(name, result, parameters) _Static_assert(__builtin_types_compatible_p(__typeof__(name), result parameters), #name);
HIP_CALLS(SAME)
HIPRTC_CALLS(SAME)
_Static_assert(offsetof(hipDeviceProp_t, gcnArchName) == HIP_ARCH_AT_R0000 && sizeof(hipDeviceProp_t) <= HIP_PROPERTIES_BYTES, "hipDeviceProp_t");
#endif
