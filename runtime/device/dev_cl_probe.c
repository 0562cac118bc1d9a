/* Finds OpenCL devices and asks them what they are. Owns nothing: OpenCL's root devices live as long as the process.
 * Every question may be refused and then leaves its field 0 or "": drivers differ in what they answer, and extension lists and headers are
 * believed less than the answer. Tokens beyond OpenCL 1.2 are therefore spelled here.
 * Invariant: what is listed as an endpoint has what every kernel needs; all else is skipped with the reason. */
#include <stdio.h>
#include <string.h>
#include "dev_cl.h"

enum {
  ASK_HALF_FP_CONFIG = 0x1033,
  ASK_ATOMICS = 0x1063,      /* cl_ulong of what atomics can: */
  ATOMICS_ORDER = 1 << 1, ATOMICS_DEVICE = 1 << 5,
  ASK_FENCES = 0x1064,       /* the same of fences */
  ASK_MAX_NUM_SUB_GROUPS = 0x105C,
  ASK_DOT_8BIT = 0x1074,     /* six cl_bool: signed, unsigned, mixed, and these saturating */
  ASK_DOT_4X8_PACKED = 0x1075,
  ASK_PCI_KHR = 0x410F,      /* four cl_uint: domain, bus, device, function */
  ASK_PCI_AMD = 0x4037,      /* cl_uint 1, 17 unused bytes, bus, device, function */
  ASK_PCI_BUS_NV = 0x4008,
  ASK_PCI_SLOT_NV = 0x4009,  /* device * 8 + function */
  ASK_PCI_DOMAIN_NV = 0x400A,
  ASK_CAPABILITY_NV = 0x4000, /* cl_uint; the part behind the point by the next number */
  ASK_WARP_NV = 0x4003,
  ASK_WAVEFRONT_AMD = 0x4043,
  ASK_BOARD_NAME_AMD = 0x4038,
  ASK_SUB_GROUP_SIZES_INTEL = 0x4108, /* size_t list */
  ASK_ICD_SUFFIX = 0x0920,   /* of a platform: the prefix of its functions' names */
  MAX_PLATFORMS = 64,
  MAX_DEVICES = 64
};

/* ---- tolerant questions ------------------------------------------------------------------------------------------------ */
/* The bytes of the answer, 0 when it is refused or does not fit. */
static size_t ask(cl_device_id id, cl_device_info token, void *out, size_t room)
{
  size_t bytes = 0;
  memset(out, 0, room);
  if (clGetDeviceInfo(id, token, 0, NULL, &bytes) || !bytes || bytes > room) return 0;
  return clGetDeviceInfo(id, token, bytes, out, NULL) ? 0 : bytes;
}

static uint64_t number(cl_device_id id, cl_device_info token)
{
  union { cl_uint u32; cl_ulong u64; } v;
  size_t bytes = ask(id, token, &v, sizeof v);
  return bytes == sizeof v.u32 ? v.u32 : bytes == sizeof v.u64 ? v.u64 : 0;
}

static void text(cl_device_id id, cl_device_info token, char *out /* [KOI_NAME] */)
{
  char s[1024];
  ask(id, token, s, sizeof s - 1);
  s[sizeof s - 1] = 0;
  koi_dev_text(out, KOI_NAME, s);
}

static void platform_text(cl_platform_id id, cl_platform_info token, char *out /* [KOI_NAME] */)
{
  char s[1024] = "";
  if (clGetPlatformInfo(id, token, sizeof s - 1, s, NULL)) s[0] = 0;
  koi_dev_text(out, KOI_NAME, s);
}

/* Whether the driver's list has this very word. The list can be long: it is fetched whole. */
static bool extension(const char *list, const char *name)
{
  size_t n = strlen(name);
  for (const char *at = list; (at = strstr(at, name)); at += n)
    if ((at == list || at[-1] == ' ') && (at[n] == ' ' || !at[n])) return true;
  return false;
}

static char *extensions(cl_device_id id)
{
  size_t bytes = 0;
  if (clGetDeviceInfo(id, CL_DEVICE_EXTENSIONS, 0, NULL, &bytes)) bytes = 0;
  char *list = koi_alloc(bytes + 1, 1);
  if (list && bytes && clGetDeviceInfo(id, CL_DEVICE_EXTENSIONS, bytes, list, NULL)) list[0] = 0;
  return list;
}

/* ---- one device -------------------------------------------------------------------------------------------------------- */
static void find_pci(cl_device_id id, koi_endpoint *e)
{
  cl_uint khr[4];
  unsigned char amd[24];
  cl_uint type;
  e->has_pci = true;
  if (ask(id, ASK_PCI_KHR, khr, sizeof khr) == sizeof khr) {
    e->pci_domain = khr[0], e->pci_bus = khr[1], e->pci_dev = khr[2], e->pci_func = khr[3];
    return;
  }
  bool known = ask(id, ASK_PCI_AMD, amd, sizeof amd) == sizeof amd;
  memcpy(&type, amd, sizeof type);
  if (known && type == 1) {
    e->pci_bus = amd[21], e->pci_dev = amd[22], e->pci_func = amd[23];
    return;
  }
  cl_uint bus, slot, domain;
  if (ask(id, ASK_PCI_BUS_NV, &bus, sizeof bus) == sizeof bus && ask(id, ASK_PCI_SLOT_NV, &slot, sizeof slot) == sizeof slot) {
    if (ask(id, ASK_PCI_DOMAIN_NV, &domain, sizeof domain) != sizeof domain) domain = 0;
    e->pci_domain = domain, e->pci_bus = bus & 0xff, e->pci_dev = slot >> 3, e->pci_func = slot & 7;
    return;
  }
  e->has_pci = false;
}

static void find_subgroups(cl_device_id id, const char *list, koi_endpoint *e)
{
  size_t sizes[64];
  size_t n = ask(id, ASK_SUB_GROUP_SIZES_INTEL, sizes, sizeof sizes) / sizeof sizes[0], kept = 0;
  for (size_t i = 0; i < n && kept < KOI_MAX_WIDTHS; i++)
    if (sizes[i]) e->subgroup_sizes[kept++] = (uint32_t)sizes[i];
  uint32_t width = (uint32_t)number(id, ASK_WAVEFRONT_AMD);
  if (!width) width = (uint32_t)number(id, ASK_WARP_NV);
  if (width && !kept) e->subgroup_sizes[0] = width;
  e->lanes = width;
  e->subgroups = number(id, ASK_MAX_NUM_SUB_GROUPS) > 0 || extension(list, "cl_khr_subgroups") || extension(list, "cl_intel_subgroups");
  e->sized_subgroups = extension(list, "cl_intel_required_subgroup_size");
}

/* The extension says that the functions are there, not that they are fast: that is another question. */
static void find_dot(cl_device_id id, const char *list, koi_endpoint *e)
{
  cl_bool fast[6];
  e->integer_dot = extension(list, "cl_khr_integer_dot_product");
  if (ask(id, ASK_DOT_8BIT, fast, sizeof fast) && fast[0]) e->integer_dot_fast = true;
  if (ask(id, ASK_DOT_4X8_PACKED, fast, sizeof fast) && fast[0]) e->integer_dot_fast = true;
}

/* OpenCL 2 has them, OpenCL 3 where it says so; and the chips for which kernels write the instructions out (kernels/cl/dialect.clh). */
static bool find_arrivals(cl_device_id id, const koi_endpoint *e)
{
  const uint64_t need = ATOMICS_ORDER | ATOMICS_DEVICE;
  int major = 0, sm;
  if (sscanf(e->arch, "sm_%d", &sm) == 1) return sm >= 70;
  sscanf(e->version, "OpenCL %d", &major);
  return major == 2 || (major > 2 && (number(id, ASK_ATOMICS) & need) == need && (number(id, ASK_FENCES) & need) == need);
}

static koine_device_type device_type(cl_device_id id)
{
  cl_device_type type = number(id, CL_DEVICE_TYPE);
  return type & CL_DEVICE_TYPE_GPU ? KOINE_DEVICE_GPU : type & CL_DEVICE_TYPE_CPU ? KOINE_DEVICE_CPU : KOINE_DEVICE_ACCELERATOR;
}

static void find_names(cl_device_id id, const char *platform, koi_endpoint *e)
{
  text(id, CL_DEVICE_NAME, e->name);
  text(id, ASK_BOARD_NAME_AMD, e->arch);
  if (e->arch[0]) { /* then CL_DEVICE_NAME is the chip and this is the card */
    char chip[KOI_NAME];
    memcpy(chip, e->name, sizeof chip);
    memcpy(e->name, e->arch, sizeof chip);
    memcpy(e->arch, chip, sizeof chip);
  }
  cl_uint major, minor;
  if (!e->arch[0] && ask(id, ASK_CAPABILITY_NV, &major, sizeof major) == sizeof major && ask(id, ASK_CAPABILITY_NV + 1, &minor, sizeof minor) == sizeof minor)
    snprintf(e->arch, sizeof e->arch, "sm_%u%u", major, minor);
  text(id, CL_DEVICE_VENDOR, e->vendor);
  text(id, CL_DRIVER_VERSION, e->driver);
  text(id, CL_DEVICE_VERSION, e->version);
  text(id, CL_DEVICE_OPENCL_C_VERSION, e->c_version);
  koi_dev_text(e->platform, sizeof e->platform, platform);
}

/* What no question tells. PoCL has a cache of its own, and would compile every kernel once more to give a binary. NVIDIA's driver (580.159.04) ends the
 * process in clReleaseMemObject of a part of a buffer that overlaps others. */
static void find_habits(cl_device_id id, koi_endpoint *e)
{
  char suffix[KOI_NAME];
  cl_platform_id platform;
  if (ask(id, CL_DEVICE_PLATFORM, &platform, sizeof platform) != sizeof platform) return;
  platform_text(platform, ASK_ICD_SUFFIX, suffix);
  e->keeps_programs = !strcmp(suffix, "POCL");
  e->keeps_parts = !strcmp(suffix, "NV");
}

static koine_status describe(cl_device_id id, const char *platform, koi_endpoint *e)
{
  char *list = extensions(id);
  if (!list) return KOINE_ERR_MEMORY;
  find_names(id, platform, e);
  find_pci(id, e);
  find_subgroups(id, list, e);
  find_dot(id, list, e);
  e->handle = id;
  e->backend = &koi_backend_cl;
  e->type = device_type(id);
  e->memory_bytes = number(id, CL_DEVICE_GLOBAL_MEM_SIZE);
  e->max_buffer_bytes = number(id, CL_DEVICE_MAX_MEM_ALLOC_SIZE);
  e->local_bytes = number(id, CL_DEVICE_LOCAL_MEM_SIZE);
  e->cache_bytes = number(id, CL_DEVICE_GLOBAL_MEM_CACHE_SIZE);
  e->local_is_global = number(id, CL_DEVICE_LOCAL_MEM_TYPE) == CL_GLOBAL;
  e->host_unified = number(id, CL_DEVICE_HOST_UNIFIED_MEMORY) != 0;
  e->n_units = (uint32_t)number(id, CL_DEVICE_MAX_COMPUTE_UNITS);
  e->clock_mhz = (uint32_t)number(id, CL_DEVICE_MAX_CLOCK_FREQUENCY);
  e->max_group = (uint32_t)number(id, CL_DEVICE_MAX_WORK_GROUP_SIZE);
  e->base_align_bytes = (uint32_t)number(id, CL_DEVICE_MEM_BASE_ADDR_ALIGN) / 8;
  e->vector_width = (uint32_t)number(id, CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT);
  e->fp16 = extension(list, "cl_khr_fp16");
  e->fp16_denormals = e->fp16 && (number(id, ASK_HALF_FP_CONFIG) & CL_FP_DENORM) != 0;
  e->fp64 = extension(list, "cl_khr_fp64");
  find_habits(id, e);
  e->arrivals = find_arrivals(id, e);
  e->denormals = (number(id, CL_DEVICE_SINGLE_FP_CONFIG) & CL_FP_DENORM) != 0;
  koi_free(list);
  return KOINE_OK;
}

/* A question that is refused counts in the device's favour: the first build then decides. */
static bool denied(cl_device_id id, cl_device_info token)
{
  cl_ulong v;
  return ask(id, token, &v, sizeof v) && !v;
}

/* What every kernel needs; NULL when all is there. */
static const char *lacking(cl_device_id id, const koi_endpoint *e)
{
  int major = 0, minor = 0;
  static _Thread_local char why[KOI_NAME + 64];
  if (denied(id, CL_DEVICE_AVAILABLE)) return "the driver says that it is not available";
  if (denied(id, CL_DEVICE_COMPILER_AVAILABLE)) return "the driver has no compiler for it";
  if (denied(id, CL_DEVICE_ENDIAN_LITTLE)) return "it is not little-endian";
  if (denied(id, CL_DEVICE_SINGLE_FP_CONFIG)) return "it has no 32-bit floating point";
  if (!e->max_buffer_bytes) return "it allows no buffers";
  if (sscanf(e->version, "OpenCL %d.%d", &major, &minor) != 2 || major > 1 || minor >= 2) return NULL;
  snprintf(why, sizeof why, "OpenCL 1.2 is needed, it has %s", e->version);
  return why;
}

static koine_status add_device(koi_probe *out, cl_device_id id, const char *platform, size_t *n_found)
{
  koi_endpoint e = {.usable = true};
  koine_status s = describe(id, platform, &e);
  if (s) return s;
  const char *why = lacking(id, &e);
  if (!why) {
    e.usable = !koi_dev_cl_cache_fault(platform, e.why, sizeof e.why);
    snprintf(e.id, sizeof e.id, "cl%zu", (*n_found)++);
    return koi_probe_add(out, &e);
  }
  char what[2 * KOI_NAME + 16];
  snprintf(what, sizeof what, "%s: %s", platform, e.name[0] ? e.name : "a device without a name");
  return koi_probe_skip(out, what, why);
}

static koine_status add_platform(koi_probe *out, cl_platform_id platform, size_t *n_found)
{
  char name[KOI_NAME], why[2 * KOI_NAME];
  platform_text(platform, CL_PLATFORM_NAME, name);
  if (!name[0]) snprintf(name, sizeof name, "a platform without a name");
  cl_device_id ids[MAX_DEVICES];
  cl_uint n = 0;
  cl_int code = clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, MAX_DEVICES, ids, &n);
  if (code == CL_DEVICE_NOT_FOUND || (!code && !n)) {
    bool fault = koi_dev_cl_cache_fault(name, why, sizeof why);
    return koi_probe_skip(out, name, fault ? why : "the platform has no device");
  }
  if (code) {
    snprintf(why, sizeof why, "asking for its devices failed: %s", koi_dev_cl_code(code));
    return koi_probe_skip(out, name, why);
  }
  koine_status s = KOINE_OK;
  for (cl_uint i = 0; i < n && i < MAX_DEVICES && !s; i++) s = add_device(out, ids[i], name, n_found);
  return s;
}

koine_status koi_dev_cl_probe(koi_probe *out)
{
  cl_platform_id platforms[MAX_PLATFORMS];
  cl_uint n = 0;
  char fatal[2 * KOI_NAME];
  if (koi_dev_cl_nameless_cache(fatal, sizeof fatal)) return koi_probe_skip(out, "OpenCL", fatal);
  cl_int code = clGetPlatformIDs(MAX_PLATFORMS, platforms, &n);
  size_t n_found = 0, n_listed = 0;
  koine_status s = koi_dev_cl_icds(out, &n_listed);
  if (!s && (code || !n)) {
    char why[2 * KOI_NAME];
    if (n_listed) snprintf(why, sizeof why, "no driver listed in %.150s can be used: %s", koi_dev_cl_icd_folder(), koi_dev_cl_code(code));
    else snprintf(why, sizeof why, "no OpenCL driver is installed: no .icd file in %.150s", koi_dev_cl_icd_folder());
    return koi_probe_skip(out, "OpenCL", why);
  }
  for (cl_uint i = 0; i < n && i < MAX_PLATFORMS && !s; i++) s = add_platform(out, platforms[i], &n_found);
  return s;
}

/* ---- parts ------------------------------------------------------------------------------------------------------------- */
/* The parts that were not taken over are released. */
static koine_status add_parts(const koi_endpoint *e, const cl_device_id *ids, size_t n, koi_probe *out)
{
  koine_status s = KOINE_OK;
  for (size_t i = 0; i < n; i++) {
    koi_endpoint part = {.usable = e->usable, .part = true};
    if (!s) s = describe(ids[i], e->platform, &part);
    memcpy(part.why, e->why, sizeof part.why);
    snprintf(part.id, sizeof part.id, "%.10s/%zu", e->id, i);
    if (!s) s = koi_probe_add(out, &part);
    if (s) clReleaseDevice(ids[i]);
  }
  return s;
}

koine_status koi_dev_cl_split(const koi_endpoint *e, const uint32_t *units, size_t n, koi_probe *out)
{
  cl_device_partition_property how[MAX_DEVICES + 3] = {CL_DEVICE_PARTITION_BY_COUNTS};
  cl_device_id ids[MAX_DEVICES];
  cl_uint n_made = 0;
  if (n > MAX_DEVICES) return koi_error(KOINE_ERR_NO_DEVICE, "device %s (%s): %zu parts wanted, expected at most %d", e->id, e->name, n, MAX_DEVICES);
  for (size_t i = 0; i < n; i++) how[i + 1] = units[i];
  how[n + 1] = CL_DEVICE_PARTITION_BY_COUNTS_LIST_END;
  cl_int code = clCreateSubDevices(e->handle, how, (cl_uint)n, ids, &n_made);
  if (code || n_made != n)
    return koi_error(KOINE_ERR_NO_DEVICE, "device %s (%s): its driver does not part its %u compute units like this: %s", e->id, e->name, e->n_units, koi_dev_cl_code(code));
  return add_parts(e, ids, n, out);
}
