/* A library that has HIP's calls and nothing behind them: t_hip.sh builds it in several ways that are wrong, each with a -D.
 * INIT: what hipInit gives; VERSION: of the runtime; -DhipMalloc=another: a call is missing. */
#include "device/dev_hip.h"
#ifndef INIT
#define INIT 0
#endif
#ifndef VERSION
#define VERSION 60200000
#endif
#define NOTHING(name, result, parameters) \
  result name parameters; \
  result name parameters { return 0; }
#define hipInit other_init /* in the list; these three are our own */
#define hipGetErrorName other_name
#define hipRuntimeGetVersion other_version
HIP_CALLS(NOTHING)
HIPRTC_CALLS(NOTHING)
NOTHING(hipGetDevicePropertiesR0600, hipError_t, (void *, int))
#undef hipInit
#undef hipGetErrorName
#undef hipRuntimeGetVersion

hipError_t hipInit(unsigned flags);
hipError_t hipInit(unsigned flags) { return flags ? 1 : INIT; }
hipError_t hipRuntimeGetVersion(int *out);
hipError_t hipRuntimeGetVersion(int *out) { return *out = VERSION, 0; }
const char *hipGetErrorName(hipError_t code);
const char *hipGetErrorName(hipError_t code) { return code == hipErrorNoDevice ? "hipErrorNoDevice" : "hipErrorStub"; }
