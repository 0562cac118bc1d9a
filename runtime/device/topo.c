/* Reads the machine, or a recorded one, through hwloc into plain data. Owns no hwloc object beyond koi_topo_open.
 * Does not ask any compute driver: hwloc's own OpenCL, CUDA, ... discovery is off, the backends do that themselves and once.
 * Invariant: a fact that hwloc does not have stays 0, "" or -1. */
#include "topo.h"
#include "limits.h"
#include <hwloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CLASS_DISPLAY = 0x03, CLASS_PROCESSOR = 0x0b, CLASS_ACCELERATOR = 0x12 };

static const char *info(hwloc_obj_t obj, const char *key)
{
  const char *v = obj ? hwloc_obj_get_info_by_name(obj, key) : NULL;
  return v ? v : "";
}

static uint32_t n_inside(hwloc_topology_t h, hwloc_obj_t obj, hwloc_obj_type_t type)
{
  int n = obj->cpuset ? hwloc_get_nbobjs_inside_cpuset_by_type(h, obj->cpuset, type) : 0;
  return n > 0 ? (uint32_t)n : 0;
}

/* ---- packages and NUMA nodes ------------------------------------------------------------------------------------------- */
static uint64_t last_cache_bytes(hwloc_topology_t h, hwloc_obj_t package)
{
  static const hwloc_obj_type_t levels[] = {HWLOC_OBJ_L4CACHE, HWLOC_OBJ_L3CACHE, HWLOC_OBJ_L2CACHE};
  uint64_t bytes = 0;
  for (size_t i = 0; i < KOI_COUNT(levels) && !bytes; i++)
    for (hwloc_obj_t c = NULL; (c = hwloc_get_next_obj_inside_cpuset_by_type(h, package->cpuset, levels[i], c));)
      bytes += c->attr->cache.size;
  return bytes;
}

static koine_status read_packages(hwloc_topology_t h, koi_topo *t)
{
  int n = hwloc_get_nbobjs_by_type(h, HWLOC_OBJ_PACKAGE);
  if (n <= 0) return KOINE_OK;
  t->packages = koi_alloc((size_t)n, sizeof *t->packages);
  if (!t->packages) return KOINE_ERR_MEMORY;
  t->n_packages = (size_t)n;
  for (size_t i = 0; i < t->n_packages; i++) {
    hwloc_obj_t obj = hwloc_get_obj_by_type(h, HWLOC_OBJ_PACKAGE, (unsigned)i);
    koi_topo_package *p = &t->packages[i];
    p->index = obj->os_index == HWLOC_UNKNOWN_INDEX ? (uint32_t)i : obj->os_index;
    koi_dev_text(p->name, sizeof p->name, info(obj, "CPUModel"));
    koi_dev_text(p->vendor, sizeof p->vendor, info(obj, "CPUVendor"));
    p->n_cores = n_inside(h, obj, HWLOC_OBJ_CORE);
    p->n_threads = n_inside(h, obj, HWLOC_OBJ_PU);
    p->cache_bytes = last_cache_bytes(h, obj);
  }
  return KOINE_OK;
}

static int32_t package_around(hwloc_topology_t h, const koi_topo *t, hwloc_obj_t node)
{
  if (!node->cpuset || hwloc_bitmap_iszero(node->cpuset)) return -1;
  for (size_t i = 0; i < t->n_packages; i++)
    if (hwloc_bitmap_isincluded(node->cpuset, hwloc_get_obj_by_type(h, HWLOC_OBJ_PACKAGE, (unsigned)i)->cpuset)) return (int32_t)i;
  return -1;
}

static koine_status read_nodes(hwloc_topology_t h, koi_topo *t)
{
  int n = hwloc_get_nbobjs_by_type(h, HWLOC_OBJ_NUMANODE);
  if (n <= 0) return KOINE_OK;
  t->nodes = koi_alloc((size_t)n, sizeof *t->nodes);
  if (!t->nodes) return KOINE_ERR_MEMORY;
  t->n_nodes = (size_t)n;
  for (size_t i = 0; i < t->n_nodes; i++) {
    hwloc_obj_t obj = hwloc_get_obj_by_type(h, HWLOC_OBJ_NUMANODE, (unsigned)i);
    t->nodes[i] = (koi_topo_node){.index = obj->os_index, .package = package_around(h, t, obj), .n_threads = n_inside(h, obj, HWLOC_OBJ_PU),
                                  .memory_bytes = obj->attr->numanode.local_memory};
    for (unsigned cpu = 0; cpu < KOI_MAX_CPUS && obj->cpuset; cpu++)
      if (hwloc_bitmap_isset(obj->cpuset, cpu)) t->nodes[i].cpus[cpu / 64] |= UINT64_C(1) << cpu % 64;
  }
  return KOINE_OK;
}

/* ---- cards ------------------------------------------------------------------------------------------------------------- */
/* A card is near a node when only that one is around it. */
static int32_t node_near(hwloc_topology_t h, const koi_topo *t, hwloc_obj_t obj)
{
  hwloc_obj_t around = hwloc_get_non_io_ancestor_obj(h, obj);
  int32_t found = -1;
  for (size_t i = 0; around && around->nodeset && i < t->n_nodes; i++)
    if (hwloc_bitmap_isset(around->nodeset, t->nodes[i].index)) {
      if (found >= 0) return -1;
      found = (int32_t)i;
    }
  return found;
}

/* The first of these that the recording library wrote, in KiB. */
static uint64_t osdev_memory_bytes(hwloc_obj_t obj)
{
  static const char *const keys[] = {"OpenCLGlobalMemorySize", "CUDAGlobalMemorySize", "RSMIVRAMSize", "LevelZeroHBMSize", "LevelZeroDDRSize"};
  uint64_t bytes = 0;
  for (size_t i = 0; i < KOI_COUNT(keys) && !bytes; i++) bytes = strtoull(info(obj, keys[i]), NULL, 10) << 10;
  return bytes;
}

static uint32_t osdev_units(hwloc_obj_t obj)
{
  static const char *const keys[] = {"OpenCLComputeUnits", "CUDAMultiProcessors"};
  uint32_t n = 0;
  for (size_t i = 0; i < KOI_COUNT(keys) && !n; i++) n = (uint32_t)strtoul(info(obj, keys[i]), NULL, 10);
  return n;
}

static void add_osdev(koi_topo_card *card, hwloc_obj_t obj)
{
  if (card->n_osdevs == KOI_MAX_OSDEVS) return;
  koi_topo_osdev *o = &card->osdevs[card->n_osdevs++];
  koi_dev_text(o->name, sizeof o->name, obj->name ? obj->name : "");
  koi_dev_text(o->kind, sizeof o->kind, obj->subtype ? obj->subtype : "");
  koi_dev_text(o->model, sizeof o->model, info(obj, "GPUModel"));
  koi_dev_text(o->vendor, sizeof o->vendor, info(obj, "GPUVendor"));
  koi_dev_text(o->platform, sizeof o->platform, info(obj, "OpenCLPlatformName"));
  o->memory_bytes = osdev_memory_bytes(obj);
  o->n_units = osdev_units(obj);
}

/* The PCI database's names are best for the vendor, a compute library's for the card. */
static void name_card(koi_topo_card *card, hwloc_obj_t pci)
{
  koi_dev_text(card->vendor, sizeof card->vendor, info(pci, "PCIVendor"));
  for (size_t i = 0; i < card->n_osdevs; i++) {
    if (!card->name[0]) memcpy(card->name, card->osdevs[i].model, sizeof card->name);
    if (!card->vendor[0]) memcpy(card->vendor, card->osdevs[i].vendor, sizeof card->vendor);
  }
  if (!card->name[0]) koi_dev_text(card->name, sizeof card->name, info(pci, "PCIDevice"));
  if (!card->name[0] && card->has_pci) snprintf(card->name, sizeof card->name, "PCI device %04x:%04x", card->vendor_id, card->device_id);
  if (!card->name[0] && card->n_osdevs) koi_dev_text(card->name, sizeof card->name, card->osdevs[0].name);
}

static bool is_card(hwloc_obj_t pci)
{
  uint32_t class = pci->attr->pcidev.class_id, base = class >> 8;
  return base == CLASS_DISPLAY || base == CLASS_ACCELERATOR || (base == CLASS_PROCESSOR && (class & 0xff) == 0x40);
}

static void read_card(hwloc_topology_t h, const koi_topo *t, hwloc_obj_t pci, koi_topo_card *card)
{
  const struct hwloc_pcidev_attr_s *a = &pci->attr->pcidev;
  *card = (koi_topo_card){.has_pci = true, .pci_domain = a->domain, .pci_bus = a->bus, .pci_dev = a->dev, .pci_func = a->func,
                          .vendor_id = a->vendor_id, .device_id = a->device_id, .class_id = a->class_id,
                          .link_bytes_per_s = a->linkspeed > 0 ? a->linkspeed * 1e9 : 0, .node = node_near(h, t, pci),
                          .accelerator = a->class_id >> 8 != CLASS_DISPLAY};
  for (hwloc_obj_t o = NULL; (o = hwloc_get_next_osdev(h, o));) {
    hwloc_obj_t up = o->parent;
    while (up && up->type == HWLOC_OBJ_OS_DEVICE) up = up->parent;
    if (up == pci) add_osdev(card, o);
  }
  name_card(card, pci);
}

/* A compute device of a recording that hangs on no PCI device. */
static bool is_loose(hwloc_obj_t o)
{
  for (hwloc_obj_t up = o->parent; up; up = up->parent)
    if (up->type == HWLOC_OBJ_PCI_DEVICE) return false;
  return o->attr->osdev.type == HWLOC_OBJ_OSDEV_COPROC;
}

static koine_status read_cards(hwloc_topology_t h, koi_topo *t)
{
  size_t n = 0;
  for (hwloc_obj_t o = NULL; (o = hwloc_get_next_pcidev(h, o));) n += is_card(o);
  for (hwloc_obj_t o = NULL; (o = hwloc_get_next_osdev(h, o));) n += is_loose(o);
  if (!n) return KOINE_OK;
  t->cards = koi_alloc(n, sizeof *t->cards);
  if (!t->cards) return KOINE_ERR_MEMORY;
  for (hwloc_obj_t o = NULL; (o = hwloc_get_next_pcidev(h, o));)
    if (is_card(o)) read_card(h, t, o, &t->cards[t->n_cards++]);
  for (hwloc_obj_t o = NULL; (o = hwloc_get_next_osdev(h, o));) {
    if (!is_loose(o)) continue;
    koi_topo_card *card = &t->cards[t->n_cards++];
    *card = (koi_topo_card){.node = node_near(h, t, o), .accelerator = strcmp(info(o, "OpenCLDeviceType"), "GPU") != 0};
    add_osdev(card, o);
    name_card(card, NULL);
  }
  return KOINE_OK;
}

/* ---- the whole ---------------------------------------------------------------------------------------------------------- */
static koine_status read_all(hwloc_topology_t h, koi_topo *t)
{
  hwloc_obj_t root = hwloc_get_root_obj(h);
  char text[2 * KOI_NAME];
  snprintf(text, sizeof text, "%.100s %.100s", info(root, "DMISysVendor"), info(root, "DMIProductName"));
  koi_dev_text(t->machine, sizeof t->machine, text[1] ? text : info(root, "Architecture"));
  snprintf(text, sizeof text, "%.100s %.100s", info(root, "OSName"), info(root, "OSRelease"));
  koi_dev_text(t->os, sizeof t->os, text);
  t->memory_bytes = root->total_memory;
  t->n_threads = n_inside(h, root, HWLOC_OBJ_PU);
  koine_status s = read_packages(h, t);
  if (!s) s = read_nodes(h, t);
  return s ? s : read_cards(h, t);
}

static koine_status load(hwloc_topology_t h, const char *xml)
{
  if (xml && (access(xml, R_OK) || hwloc_topology_set_xml(h, xml)))
    return koi_error(KOINE_ERR_FILE, "%s: cannot be read as an hwloc topology; expected XML as `lstopo --of xml` writes it", xml);
  /* names that this build of hwloc does not have are no error */
  static const char *const off[] = {"opencl", "cuda", "nvml", "rsmi", "levelzero", "gl"};
  for (size_t i = 0; i < KOI_COUNT(off); i++) hwloc_topology_set_components(h, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, off[i]);
  hwloc_topology_set_type_filter(h, HWLOC_OBJ_PCI_DEVICE, HWLOC_TYPE_FILTER_KEEP_ALL);
  hwloc_topology_set_type_filter(h, HWLOC_OBJ_OS_DEVICE, HWLOC_TYPE_FILTER_KEEP_ALL);
  if (!hwloc_topology_load(h)) return KOINE_OK;
  return koi_error(KOINE_ERR_FILE, "%s: is no topology that this hwloc reads; expected XML as its `lstopo --of xml` writes it",
                   xml ? xml : "this machine");
}

koine_status koi_topo_open(const char *xml, koi_topo **out)
{
  hwloc_topology_t h;
  if (hwloc_topology_init(&h)) return koi_error(KOINE_ERR_MEMORY, "hwloc cannot start");
  koi_topo *t = koi_alloc(1, sizeof *t);
  koine_status s = t ? load(h, xml) : KOINE_ERR_MEMORY;
  if (!s) s = read_all(h, t);
  else if (t && !xml) { /* devices can be used without knowing where they sit */
    koi_log(KOINE_LOG_WARNING, "%s", koi_error_text());
    s = KOINE_OK;
  }
  if (!s) t->recorded = xml != NULL, t->limit_bytes = xml ? 0 : koi_limits_memory_bytes("");
  hwloc_topology_destroy(h);
  if (s) {
    koi_topo_close(t);
    return s;
  }
  *out = t;
  return KOINE_OK;
}

koine_status koi_topo_xml(char **out)
{
  hwloc_topology_t h;
  char *xml = NULL;
  int n = 0;
  if (hwloc_topology_init(&h)) return koi_error(KOINE_ERR_MEMORY, "hwloc cannot start");
  koine_status s = load(h, NULL);
  if (!s && hwloc_topology_export_xmlbuffer(h, &xml, &n, 0)) s = koi_error(KOINE_ERR_FILE, "hwloc cannot write this machine as XML");
  if (!s && !(*out = koi_strdup(xml))) s = KOINE_ERR_MEMORY;
  if (xml) hwloc_free_xmlbuffer(h, xml);
  hwloc_topology_destroy(h);
  return s;
}

void koi_topo_close(koi_topo *t)
{
  if (!t) return;
  koi_free(t->packages);
  koi_free(t->nodes);
  koi_free(t->cards);
  koi_free(t);
}
