/* A machine as the planner sees it: cards, the devices that reach them, links and measured costs, as plain data that can be written down,
 * carried elsewhere and read again. Unknown numbers are NaN, unknown texts "". */
#ifndef KOI_SITE_H
#define KOI_SITE_H
#include "device/machine.h"
#include "model/model.h"

enum { KOI_SITE_ID = 64 };

typedef struct koi_site_card { /* memory counts once, however many devices reach it */
  char id[KOI_SITE_ID], name[KOI_NAME];
  koine_device_type type;
  bool shares_host_memory;       /* all such cards compute on the same memory, so at most one of them is used */
  uint64_t memory_bytes;         /* that may be used; 0: unknown, no limit */
} koi_site_card;

typedef struct koi_link { double latency_s, bytes_per_s; } koi_link; /* of one transfer: latency + bytes / rate */
typedef struct koi_rates { double bytes_per_s, flops_per_s, launch_s; } koi_rates; /* that a device reaches at best */

typedef struct koi_site_device {
  char id[KOI_SITE_ID], name[KOI_NAME], driver[KOI_NAME];
  uint32_t card;
  bool usable, reference;        /* reference: plain C, used only when it is named or nothing else is there */
  bool estimated;                /* the rates are koi_site_estimate's */
  bool old;                      /* its costs are of other kernels or parameters than it has now */
  uint64_t parameters;           /* of the kernels when its costs were measured (koi_tuned_hash); 0: unknown */
  uint32_t n_units;
  uint64_t memory_bytes;         /* of its card's that it can use; 0: all */
  uint64_t max_buffer_bytes;
  koi_rates rates;
  koi_link to_host, from_host;   /* while nothing else runs */
  koi_link to_host_busy, from_host_busy; /* while both sides compute */
} koi_site_device;

/* A part of a layer, measured. Its ratio to what the rates let expect is what carries over to other lengths and models. */
typedef enum koi_part_of { KOI_PART_REST, KOI_PART_EXPERTS, KOI_PART_EMBED, KOI_PART_HEAD, KOI_N_PARTS } koi_part_of;
typedef struct koi_site_cost {
  uint32_t device;
  koi_part_of part;
  koi_layer_kind kind;
  bool hash;
  uint32_t width;                /* of the model's streams; 0: not known */
  uint32_t n_tokens;
  uint64_t position;
  double seconds, low, high;     /* median and range */
  double expected;               /* by the device's rates, for the same calls */
} koi_site_cost;

typedef struct koi_site {
  char name[KOI_NAME];
  koi_site_card *cards; size_t n_cards;
  koi_site_device *devices; size_t n_devices;
  koi_site_cost *costs; size_t n_costs;
  double disk_per_s, cached_per_s; /* bytes of a checkpoint's experts laid out a second, from the disk, from the page cache; 0: not measured */
  char *topology;                /* hwloc's XML; NULL: none */
} koi_site;

/* What a runtime has found; rates, links and costs are unknown. Devices are in the runtime's order. */
koine_status koi_site_of(const koine_runtime *rt, koi_site *out);
void koi_site_free(koi_site *s);
koi_site_card *koi_site_add_card(koi_site *s);       /* NULL without memory; so are the next two. What they give is blank, and good until the next */
koi_site_device *koi_site_add_device(koi_site *s);
koi_site_cost *koi_site_add_cost(koi_site *s);
/* n_devices: there is none. */
size_t koi_site_find(const koi_site *s, const char *id);
/* Never KOINE_OK: says which devices there are in place of this one. */
koine_status koi_site_missing(const koi_site *s, const char *id);
const char *koi_site_kind_name(koi_layer_kind kind);

/* ---- site_estimate.c ---- */
/* The same site with likely rates for devices that have none, as far as their cards are known. `out` shares everything with s but its devices,
 * which koi_free releases. */
koine_status koi_site_estimate(const koi_site *s, koi_site *out);
/* Whether a device computes on the host's memory. */
bool koi_site_on_host(const koi_site *s, size_t device);

/* ---- site_text.c ---- */
/* Lines "machine", "card", "device", "cost", then "topology" and hwloc's XML. What is written is read back; a person can write one too. */
koine_status koi_site_text(const koi_site *s, char **out);
/* `where` names it in errors, with the line. KOINE_ERR_FILE. */
koine_status koi_site_parse(const char *text, const char *where, koi_site *out);
/* Links as a table: a row from each device and the host to each. */
koine_status koi_site_links(const koi_site *s, char **out);
#endif
