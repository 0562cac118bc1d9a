/* A card as plain data, reached through endpoints: no vendor types. Unknown numbers are 0. */
#ifndef KOI_DEV_H
#define KOI_DEV_H
#include "base/base.h"
#include "kernels/op.h"

#define KOI_NAME 128
#define KOI_MAX_WIDTHS 8

/* What a backend says about one way to reach a card. Filled by the backend's probe; never by guessing. */
typedef struct koi_endpoint {
  char id[16];               /* "cl0", "host" */
  const struct koi_backend *backend;
  void *handle;              /* the backend's own */
  char name[KOI_NAME], vendor[KOI_NAME], platform[KOI_NAME], driver[KOI_NAME], version[KOI_NAME], c_version[KOI_NAME];
  char arch[KOI_NAME];       /* the driver's name of the chip where it differs from the card's */
  koine_device_type type;
  bool has_pci;
  uint32_t pci_domain, pci_bus, pci_dev, pci_func;
  uint64_t memory_bytes, max_buffer_bytes, local_bytes, cache_bytes;
  bool local_is_global;      /* "local" memory is ordinary memory (CPUs) */
  bool host_unified;
  uint32_t n_units, clock_mhz, max_group, base_align_bytes;
  uint32_t vector_width;     /* native float vector width; what a driver prefers says how its compiler likes its input, not what the device has */
  uint32_t lanes;            /* preferred work-group multiple of a compiled kernel, 0 unknown */
  uint32_t subgroup_sizes[KOI_MAX_WIDTHS]; /* zero-terminated unless full; known even where kernels cannot use them */
  bool subgroups;            /* kernels can use them */
  bool sized_subgroups;      /* a kernel can say how wide its own are */
  bool fp16, fp64, denormals, integer_dot, integer_dot_fast;
  bool fp16_denormals;       /* arithmetic in fp16 keeps them */
  bool arrivals;             /* kernels' atomics reach the whole device, and order what its work-groups write */
  bool keeps_programs;       /* the driver keeps compiled programs on disk itself */
  bool keeps_parts;          /* its driver cannot give back a part of an allocation */
  bool part;                 /* of the compute units of the endpoint whose id its own begins with */
  bool usable;               /* can run kernels */
  char why[256];             /* why not, or what is done on the host instead; "" */
  const char *cache_dir;     /* the runtime's; NULL: nothing is written */
  const struct koi_tuned_table *known; /* what measurements said when the machine was looked at (tuned.h); NULL: nothing */
  char order[KOI_NAME];      /* what was measured and so decides the order of devices; "": nothing */
} koi_endpoint;

/* A platform or device that was found and skipped, with the reason. */
typedef struct koi_skipped { char what[KOI_NAME * 2]; char why[256]; } koi_skipped;

typedef struct koi_probe {
  koi_endpoint *endpoints; size_t n_endpoints;
  koi_skipped *skipped; size_t n_skipped;
} koi_probe;
/* Append a copy; KOINE_ERR_MEMORY. */
koine_status koi_probe_add(koi_probe *p, const koi_endpoint *e);
koine_status koi_probe_skip(koi_probe *p, const char *what, const char *why);
void koi_probe_free(koi_probe *p);
/* The endpoint in numbers, for rules of parameters; opening the device may find out more. */
void koi_dev_target(const koi_endpoint *e, koi_target *t);
/* What buffers begin at a multiple of. */
static inline uint64_t koi_dev_align(const koi_endpoint *e) { return e->base_align_bytes > 128 ? e->base_align_bytes : 128; }
/* Copies a text that a driver or a file made, fit for terminals and JSON: printable ASCII, single spaces, cut to `room` with its zero. */
void koi_dev_text(char *out, size_t room, const char *from);
#endif
