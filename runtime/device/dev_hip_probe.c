/* Finds HIP's devices and asks them what they are. Owns nothing.
 * Invariant: what is listed as an endpoint has what every kernel needs; all else is skipped with the reason. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "dev_hip.h"
#include "prog.h"

enum { MAX_DEVICES = 64 };

/* 0 when the question is refused. */
static uint32_t number(const koi_hip *hip, int ordinal, hipDeviceAttribute_t which)
{
  int v = 0;
  return hip->hipDeviceGetAttribute(&v, which, ordinal) || v < 0 ? 0 : (uint32_t)v;
}

static void find_names(const koi_hip *hip, int ordinal, koi_endpoint *e)
{
  union { char bytes[HIP_PROPERTIES_BYTES]; max_align_t align; } properties = {{0}};
  char name[KOI_NAME] = "";
  int major = hip->version / 10000000, minor = hip->version / 100000 % 100;
  if (hip->hipDeviceGetName(name, sizeof name - 1, ordinal)) name[0] = 0;
  koi_dev_text(e->name, sizeof e->name, name);
  if (!hip->properties(properties.bytes, ordinal)) {
    properties.bytes[hip->arch_at + HIP_ARCH_BYTES - 1] = 0;
    koi_dev_text(e->arch, sizeof e->arch, properties.bytes + hip->arch_at);
  }
  snprintf(e->driver, sizeof e->driver, "%d.%d.%d", major, minor, hip->version % 100000);
  snprintf(e->version, sizeof e->version, "HIP %d.%d", major, minor);
  if (hip->no_compiler) snprintf(e->c_version, sizeof e->c_version, "no hiprtc");
  else snprintf(e->c_version, sizeof e->c_version, "hiprtc %d.%d", hip->compiler_major, hip->compiler_minor);
  if (hip->no_compiler) snprintf(e->why, sizeof e->why, "kernels that did not come with Koine run on the host: %.200s", hip->no_compiler);
}

/* HIP does not say the function: every card of AMD's computes with its first. */
static void find_pci(const koi_hip *hip, int ordinal, koi_endpoint *e)
{
  int bus = 0, device = 0, domain = 0;
  e->has_pci = !hip->hipDeviceGetAttribute(&bus, hipDeviceAttributePciBusId, ordinal) && !hip->hipDeviceGetAttribute(&device, hipDeviceAttributePciDeviceId, ordinal);
  if (hip->hipDeviceGetAttribute(&domain, hipDeviceAttributePciDomainID, ordinal)) domain = 0;
  if (e->has_pci) e->pci_bus = (uint32_t)bus, e->pci_dev = (uint32_t)device, e->pci_domain = (uint32_t)domain;
}

/* Waves have 64 lanes up to gfx9, and 32 from gfx10 on; groups and local memory are as large on all of them. */
void koi_dev_hip_chip(const char *chip, koi_endpoint *e)
{
  *e = (koi_endpoint){.backend = &koi_backend_hip, .type = KOINE_DEVICE_GPU, .vector_width = 1, .subgroups = true, .fp16 = true, .fp64 = true, .denormals = true,
                      .arrivals = true, .usable = true, .local_bytes = 65536, .max_group = 1024, .lanes = strlen(chip) > strlen("gfx90a") ? 32 : 64};
  snprintf(e->arch, sizeof e->arch, "%s", chip);
  snprintf(e->vendor, sizeof e->vendor, "Advanced Micro Devices, Inc."); /* the only one whose devices this runtime has */
  snprintf(e->platform, sizeof e->platform, "HIP");
}

static void describe(const koi_hip *hip, int ordinal, koi_endpoint *e)
{
  size_t bytes = 0;
  koi_dev_hip_chip("", e);
  e->handle = (void *)(uintptr_t)(ordinal + 1);
  snprintf(e->id, sizeof e->id, "hip%d", ordinal);
  find_names(hip, ordinal, e);
  find_pci(hip, ordinal, e);
  if (!hip->hipDeviceTotalMem(&bytes, ordinal)) e->memory_bytes = e->max_buffer_bytes = bytes;
  e->lanes = e->subgroup_sizes[0] = number(hip, ordinal, hipDeviceAttributeWarpSize);
  e->local_bytes = number(hip, ordinal, hipDeviceAttributeMaxSharedMemoryPerBlock);
  e->cache_bytes = number(hip, ordinal, hipDeviceAttributeL2CacheSize);
  e->host_unified = number(hip, ordinal, hipDeviceAttributeIntegrated) != 0;
  e->n_units = number(hip, ordinal, hipDeviceAttributeMultiprocessorCount);
  e->clock_mhz = number(hip, ordinal, hipDeviceAttributeClockRate) / 1000;
  e->max_group = number(hip, ordinal, hipDeviceAttributeMaxThreadsPerBlock);
}

static bool came_with_koine(const koi_endpoint *e)
{
  char folder[2 * KOI_NAME];
  snprintf(folder, sizeof folder, "hip/%.*s", (int)strcspn(e->arch, ":"), e->arch);
  return koi_prog_shipped(folder);
}

/* What every kernel and the compiler need; NULL when all is there. */
static const char *lacking(const koi_hip *hip, const koi_endpoint *e)
{
  if (!e->arch[0]) return "the runtime does not say which chip it is, for which kernels would be compiled";
  if (!e->memory_bytes) return "the runtime does not say how much memory it has";
  if (!e->lanes || !e->max_group) return "the runtime does not say how many work-items a wave and a group have";
  return hip->no_compiler && !came_with_koine(e) ? hip->no_compiler : NULL;
}

static koine_status add_device(koi_probe *out, const koi_hip *hip, int ordinal)
{
  koi_endpoint e;
  describe(hip, ordinal, &e);
  const char *why = lacking(hip, &e);
  if (!why) return koi_probe_add(out, &e);
  char what[2 * KOI_NAME];
  snprintf(what, sizeof what, "HIP: %s", e.name[0] ? e.name : e.id);
  return koi_probe_skip(out, what, why);
}

koine_status koi_dev_hip_probe(koi_probe *out)
{
  const char *why;
  char failed[KOI_NAME];
  int n = 0;
  const koi_hip *hip = koi_dev_hip_load(&why);
  if (!hip) return koi_probe_skip(out, "HIP", why);
  if (hip->no_compiler && !koi_prog_shipped("hip")) return koi_probe_skip(out, "HIP", hip->no_compiler);
  hipError_t code = hip->hipGetDeviceCount(&n);
  if (code || n <= 0) {
    snprintf(failed, sizeof failed, "the runtime has no device%s%s", code ? ": " : "", code ? hip->hipGetErrorName(code) : "");
    return koi_probe_skip(out, "HIP", failed);
  }
  koine_status s = KOINE_OK;
  for (int i = 0; i < n && i < MAX_DEVICES && !s; i++) s = add_device(out, hip, i);
  return s;
}
