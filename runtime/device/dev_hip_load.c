/* ROCm's libraries, opened at run time: a build needs nothing of ROCm, and a machine may have any of its releases, or none.
 * Owns the table of functions and the handles, which stay for as long as the process lives: ROCm's threads do not survive an unloading.
 * Invariant: a table that is handed out has every function. */
#include "dev_hip.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WHY_BYTES = 512, MIN_VERSION = 50200000 };

/* Newest first. Releases before 7 may have the compiler's functions in the runtime itself. */
static const struct { const char *runtime, *compiler; } releases[] = {
  {"libamdhip64.so.7", "libhiprtc.so.7"},
  {"libamdhip64.so.6", "libhiprtc.so.6"},
  {"libamdhip64.so.5", "libhiprtc.so.5"},
  {"libamdhip64.so", "libhiprtc.so"},
};
static const char *const folders[] = {"", "/opt/rocm/lib/"}; /* where the loader looks, and where AMD's own packages put it */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static koi_hip table;
static bool loaded;
static char why[WHY_BYTES], no_compiler[WHY_BYTES];

/* A library that is there and cannot be loaded says more than the next, which is not there. */
static void note(const char *path)
{
  const char *error = dlerror();
  if (!error) error = path;
  if (!why[0] && !strstr(error, "No such file")) snprintf(why, sizeof why, "%s", error);
}

static void *open_library(const char *folder, const char *name)
{
  char path[KOI_NAME];
  snprintf(path, sizeof path, "%s%s", folder, name);
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) note(path);
  return library;
}

/* The compiler of a runtime, which may be in it; NULL: it is missing, which only ends what is not compiled yet. library NULL: it can be nowhere else. */
static void *open_compiler(void *runtime, const char *name, const char *folder, const char *library)
{
  void *compiler = dlsym(runtime, "hiprtcCompileProgram") ? runtime : library ? open_library(folder, library) : NULL;
  if (!compiler) snprintf(no_compiler, sizeof no_compiler, "%.200s is there, but not %s, its compiler", name, library ? library : "hiprtc");
  return compiler;
}

/* The first release that is there: runtime and compiler. NULL: none, and why. */
static void *open_release(void **compiler)
{
  const char *told = getenv("KOINE_HIP_LIBRARY");
  if (told && *told) {
    void *runtime = open_library("", told);
    if (!runtime && !why[0]) snprintf(why, sizeof why, "KOINE_HIP_LIBRARY names %.200s, which is not there", told);
    *compiler = runtime ? open_compiler(runtime, told, "", NULL) : NULL;
    return runtime;
  }
  for (size_t f = 0; f < KOI_COUNT(folders); f++)
    for (size_t i = 0; i < KOI_COUNT(releases); i++) {
      void *runtime = open_library(folders[f], releases[i].runtime);
      if (!runtime) continue;
      *compiler = open_compiler(runtime, releases[i].runtime, folders[f], releases[i].compiler);
      return runtime;
    }
  if (!why[0]) snprintf(why, sizeof why, "ROCm is not installed: no libamdhip64.so.7, .6 or .5 where the loader looks");
  return NULL;
}

/* POSIX lets an object's address stand for a function's; C has no cast for it. */
static bool find(void *library, const char *name, void *to, char *missing, size_t room)
{
  void *symbol = dlsym(library, name);
  memcpy(to, &symbol, sizeof symbol);
  size_t n = strlen(missing);
  if (!symbol && n < room) snprintf(missing + n, room - n, "%s%s", n ? ", " : "", name);
  return symbol != NULL;
}

static bool find_all(void *runtime, void *compiler)
{
  char missing[WHY_BYTES / 2] = "";
#define FIND_RUNTIME(name, result, parameters) find(runtime, #name, &table.name, missing, sizeof missing);
#define FIND_COMPILER(name, result, parameters) find(compiler, #name, &table.name, missing, sizeof missing);
  HIP_CALLS(FIND_RUNTIME)
  if (compiler) {
    HIPRTC_CALLS(FIND_COMPILER)
  } else table.no_compiler = no_compiler;
  char none[1] = "";
  bool newer = find(runtime, "hipGetDevicePropertiesR0600", &table.properties, none, 0);
  table.arch_at = newer ? HIP_ARCH_AT_R0600 : HIP_ARCH_AT_R0000;
  if (!newer) find(runtime, "hipGetDeviceProperties", &table.properties, missing, sizeof missing);
  if (!missing[0]) return true;
  snprintf(why, sizeof why, "its library lacks %s: ROCm 5.2 or later is needed, whole", missing);
  return false;
}

static bool check_versions(void)
{
  hipError_t code = table.hipInit(0);
  if (code) {
    bool none = code == hipErrorNoDevice || code == hipErrorInvalidDevice;
    snprintf(why, sizeof why, "hipInit failed: %s (%d)%s", table.hipGetErrorName(code), (int)code,
             none ? ": no AMD GPU, no driver for it (/dev/kfd), or no right to use it" : "");
    return false;
  }
  if ((code = table.hipRuntimeGetVersion(&table.version))) {
    snprintf(why, sizeof why, "asking for its version failed: %s (%d)", table.hipGetErrorName(code), (int)code);
    return false;
  }
  if (table.version < MIN_VERSION) {
    snprintf(why, sizeof why, "its runtime says version %d.%d, ROCm 5.2 or later is needed", table.version / 10000000, table.version / 100000 % 100);
    return false;
  }
  if (!table.no_compiler && table.hiprtcVersion(&table.compiler_major, &table.compiler_minor)) {
    snprintf(why, sizeof why, "its compiler does not say its version");
    return false;
  }
  return true;
}

static void load(void)
{
  void *compiler = NULL, *runtime = open_release(&compiler);
  loaded = runtime && find_all(runtime, compiler) && check_versions();
}

const koi_hip *koi_dev_hip_load(const char **out)
{
  pthread_once(&once, load);
  *out = why;
  return loaded ? &table : NULL;
}
