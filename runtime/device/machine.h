/* The machine's devices: every backend's endpoints, merged to cards, in the order of preference, the public object.
 * Environment: KOINE_BACKENDS=opencl,hip,host limits which backends are asked. */
#ifndef KOI_RUNTIME_H
#define KOI_RUNTIME_H
#include <pthread.h>
#include "dev.h"
#include "topo.h"

/* A physical card; its memory counts once however many endpoints reach it. The host is a card too: CPU endpoints belong to it. */
typedef struct koi_card {
  char name[KOI_NAME], vendor[KOI_NAME];
  koine_device_type type;
  const koi_topo_card *place;  /* NULL: hwloc sees no such card */
  size_t endpoint0, n_endpoints; /* consecutive in the runtime's endpoints */
  uint64_t memory_bytes;
  bool shares_host_memory;
  int32_t node;                /* into topo->nodes, -1 unknown */
} koi_card;

struct koine_runtime {
  koi_topo *topo;
  koi_endpoint *endpoints;     /* [n_endpoints] best first: GPUs, accelerators, CPUs, the host reference; of one type those with memory of their own, then by units times clock; those that were measured among themselves by speed */
  size_t n_endpoints;
  koi_skipped *skipped;
  size_t n_skipped;
  koi_card *cards;             /* reached ones in the order of the endpoints, then those that no driver reached */
  size_t n_cards;
  char *shipped_dir;           /* of measurements that ship (tuned.h); NULL: none */
  struct koi_tuned_table *tuned; /* [n_endpoints] parameters that measurements chose, by the order of the probe; NULL: nobody looked */
  char *cache_dir;             /* for devices opened from now on; NULL: nothing is kept on disk */
  uint32_t n_threads;          /* the same; 0: as many as processors */
  pthread_mutex_t lock;        /* of `open` */
  struct koi_open_device { struct koi_device *device; size_t n_uses; bool failed; } *open; /* [n_endpoints] machine_open.h */
};

/* A runtime from a topology and what was probed: takes over both, whatever it returns. */
koine_status koi_runtime_make(koi_topo *topo, koi_probe *probe, koine_runtime **out);
/* The card of endpoint i. */
const koi_card *koi_runtime_card(const koine_runtime *rt, size_t i);
/* Adds an op to what the endpoint's `why` says is done on the host; once each. */
void koi_runtime_note_host_op(koine_runtime *rt, size_t i, const char *op);

/* ---- machine_find.c ---- */
/* Whether KOINE_BACKENDS lets this backend be asked. */
bool koi_runtime_wants(const char *backend);
/* `text`: an id, or a part of id, name, vendor, platform or type in any case; NULL or "": the best that is usable, and the log
 * says which, and why no other. Several matches: the first, with a warning. KOINE_ERR_NO_DEVICE lists what there is, and what was skipped. */
koine_status koi_runtime_find(const koine_runtime *rt, const char *text, size_t *out);
/* Says to the log which device is used when none was named, and why no other. */
void koi_runtime_tell(const koine_runtime *rt, size_t chosen);
const char *koi_runtime_type_name(koine_device_type type);
/* What devices may keep on disk: dir NULL: the user's cache folder; "": nothing; else a folder, made when it is needed. */
koine_status koi_runtime_set_cache(koine_runtime *rt, const char *dir);

/* ---- machine_split.c ---- */
/* Adds what "ID=UNITS,UNITS,..." asks for to the endpoints that were found. */
koine_status koi_machine_split(koi_probe *p, const char *text);
/* ---- machine_tuned.c ---- */
/* Reads the logs of measurements: the endpoints' known parameters, and their order. Before any device is open. KOINE_ERR_MEMORY. */
koine_status koi_runtime_measure(koine_runtime *rt);
void koi_runtime_forget(koine_runtime *rt);
/* Why endpoint i stands where it does. */
void koi_runtime_order_text(const koine_runtime *rt, size_t i, char *out, size_t room);

/* ---- machine_text.c ---- */
koine_status koi_runtime_text(const koine_runtime *rt, char **out);
koine_status koi_runtime_json(const koine_runtime *rt, char **out);
#endif
