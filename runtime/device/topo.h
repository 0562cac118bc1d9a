/* The machine as hwloc sees it, as plain data: packages, NUMA nodes, cards on PCI, each with its place; topo.c is hwloc's only user. */
#ifndef KOI_TOPO_H
#define KOI_TOPO_H
#include "dev.h"

#define KOI_MAX_OSDEVS 12
enum { KOI_MAX_CPUS = 1024 };

typedef struct koi_topo_package {
  uint32_t index;
  char name[KOI_NAME], vendor[KOI_NAME];
  uint32_t n_cores, n_threads;
  uint64_t cache_bytes; /* of the last level, all together */
} koi_topo_package;

typedef struct koi_topo_node { /* a NUMA node */
  uint32_t index;
  int32_t package;      /* into packages; -1: of none or of several */
  uint32_t n_threads;
  uint64_t memory_bytes;
  uint64_t cpus[KOI_MAX_CPUS / 64]; /* bits, by the system's numbers */
} koi_topo_node;

/* What the system or a library calls a card: "renderD128", or in a recording "opencl0d0" with what that library said of it. */
typedef struct koi_topo_osdev {
  char name[32], kind[32]; /* kind: "OpenCL", ...; "": a plain system device */
  char model[KOI_NAME], vendor[KOI_NAME], platform[KOI_NAME];
  uint64_t memory_bytes;
  uint32_t n_units;
} koi_topo_osdev;

typedef struct koi_topo_card { /* a display or accelerator card */
  bool has_pci;
  uint32_t pci_domain, pci_bus, pci_dev, pci_func;
  uint32_t vendor_id, device_id, class_id;
  char name[KOI_NAME], vendor[KOI_NAME];
  double link_bytes_per_s;  /* as it is now, idle cards lower it; 0 unknown */
  int32_t node;             /* into nodes; -1: near none in particular */
  bool accelerator;         /* not a display */
  koi_topo_osdev osdevs[KOI_MAX_OSDEVS];
  size_t n_osdevs;
} koi_topo_card;

typedef struct koi_topo {
  char machine[KOI_NAME], os[KOI_NAME];
  bool recorded;            /* from a file */
  uint64_t memory_bytes;
  uint64_t limit_bytes;     /* of it, what this process may have; 0: all */
  uint32_t n_threads;
  koi_topo_package *packages; size_t n_packages;
  koi_topo_node *nodes; size_t n_nodes;
  koi_topo_card *cards; size_t n_cards;
} koi_topo;

/* xml NULL: this machine; else a file that hwloc recorded. KOINE_ERR_FILE when it cannot be read. */
koine_status koi_topo_open(const char *xml, koi_topo **out);
void koi_topo_close(koi_topo *t);
/* This machine as hwloc's XML, for koi_topo_open there or elsewhere. Free with koi_free. */
koine_status koi_topo_xml(char **out);
/* ---- topo_near.c ---- */
/* The calling thread goes on on those of its processors that belong to the node (-1: none in particular), where there are several nodes. */
void koi_topo_run_near(const koi_topo *t, int32_t node);
#endif
