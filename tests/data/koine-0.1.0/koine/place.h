/* Machines as data, and the best placement of a model's layers on one. koine.h has the rules. */
#ifndef KOINE_PLACE_H
#define KOINE_PLACE_H
#include "run.h"
#ifdef __cplusplus
extern "C" {
#endif

/* What a machine has and how fast that is, as data: cards, devices, links, costs of layers. Unknown numbers are unknown, not 0. One machine is used
 * by one thread at a time; placements made from it stand on their own. */
typedef struct koine_machine koine_machine;
/* The runtime's machine, with what was measured on it before (kept in the cache folder; forgotten for a device whose driver changed). Keeps the
 * pointer to the runtime. */
KOINE_API koine_status koine_machine_open(koine_runtime *runtime, koine_machine **out);
/* A machine that koine_machine_text wrote, here or elsewhere, or a person; `where` names it in errors (NULL: "machine"). It can be planned for, not measured.
 * KOINE_ERR_FILE names the line. */
KOINE_API koine_status koine_machine_parse(const char *text, const char *where, koine_machine **out);
KOINE_API void koine_machine_close(koine_machine *machine);
/* Measures the links of every usable device, small and large transfers, both ways, alone and while both sides compute, and how fast it reads its
 * memory and computes; keeps it in the cache folder. Some seconds a device. KOINE_ERR_STATE for a machine that was parsed, KOINE_ERR_CANCELLED. */
KOINE_API koine_status koine_machine_probe(koine_machine *machine, koine_progress_fn *progress, void *user);
/* To be read by koine_machine_parse: cards, devices, rates, links, costs, and the topology as hwloc's XML. */
KOINE_API koine_status koine_machine_text(const koine_machine *machine, char **out);
/* The links as a table for people: from each device (and the host) to each. */
KOINE_API koine_status koine_machine_links(const koine_machine *machine, char **out);

/* Bits of koine_place_options.set: members whose zero means something. */
enum {
  KOINE_PLACE_ON_CARDS = 1,       /* n_on_cards is set */
  KOINE_PLACE_EXPERTS_ON_CPU = 2, /* n_experts_on_cpu is set */
  KOINE_PLACE_TOGETHER = 4        /* routed experts stay on the device of their layer */
};
typedef struct koine_place_options {
  size_t size;
  uint64_t context;               /* of one conversation, in tokens, whose caches are counted full; 0: 4096, or the model's if that is less */
  uint32_t chunk;                 /* 0: 512 */
  koine_cache cache;
  double n_streams;               /* conversations that take turns: 0 or 1 is the quickest for one, INFINITY the most tokens a second */
  const char *const *devices; size_t n_devices; /* ids, on this machine parts of names too, here and below; only these take part. NULL: all that are usable. Plain C takes part when it is named or alone */
  const char *const *exclude; size_t n_exclude; /* ids that do not */
  const char *const *layers; size_t n_layers;   /* "DEVICE=FIRST-LAST", inclusive, "DEVICE=3-" to the end: these layers lie there. All layers: nothing is
                                                   searched. Devices named here may share processors */
  const char *const *memory; size_t n_memory;   /* "DEVICE=BYTES", "cl0=8G": most to use there */
  const double *shares; size_t n_shares;        /* layers in proportion to these, on the devices in their order (llama.cpp's -ts) */
  const char *given;              /* a placement as text: only its figures are wanted. NULL: the best is searched */
  unsigned set;                   /* KOINE_PLACE_* */
  uint32_t n_on_cards;            /* so many layers from the end, the head as one, are not on processors, the others are (llama.cpp's -ngl) */
  uint32_t n_experts_on_cpu;      /* routed experts of so many layers from the first lie on processors (llama.cpp's --n-cpu-moe) */
  uint32_t reserved;
  const char *misses_on;          /* an id: where not all routed experts have room on their device, this one has all of them (koine_plan_options.misses_on) */
  const char *const *expert_caches; size_t n_expert_caches; /* "DEVICE=BYTES": routed experts that this device computes have so much of it by turns, and
                                     the rest of its memory is for what else lies there (koine_plan_options.expert_caches). Where nothing says who has
                                     layers, these devices alone do */
} koine_place_options;
#define KOINE_PLACE_OPTIONS_INIT {sizeof(koine_place_options), 0, 0, KOINE_CACHE_PACKED, 0, NULL, 0, NULL, 0, NULL, 0, NULL, 0, NULL, 0, NULL, 0, 0, 0, 0, NULL, NULL, 0}

/* Runs one layer of every kind that the model has, in its real sizes with random weights, on every usable device whose costs are not known yet (all:
 * on every one), and keeps what it took; of the options (NULL: none) devices and exclude say which devices. seconds: about how long in all, 0: 60. A
 * device that has no room for a layer is left as it is, with a warning in the log. As koine_machine_probe, which it calls where links are not known. */
KOINE_API koine_status koine_machine_measure(koine_machine *machine, const koine_model *model, const koine_place_options *options, bool all, uint32_t seconds,
                                             koine_progress_fn *progress, void *user);

/* Which device has which layers, and what that will take. */
typedef struct koine_placement koine_placement;
/* The best placement of the model's layers, of its embedding, head and routed experts on the machine's devices, under their memory. options may be
 * NULL. The model needs no weights. What does not fit has its routed experts by turns on one device; KOINE_ERR_MEMORY when that does not fit either; KOINE_ERR_NO_DEVICE
 * when nothing is known of any device; KOINE_ERR_ARG. */
KOINE_API koine_status koine_place(const koine_machine *machine, const koine_model *model, const koine_place_options *options, koine_placement **out);
KOINE_API void koine_placement_free(koine_placement *placement);
/* A line a stage, then figures. koine_place_options.given takes it, whatever else stands in the text. */
KOINE_API koine_status koine_placement_text(const koine_placement *placement, char **out);
/* As a picture, SVG: devices, layers, bytes, and a token's way in time. */
KOINE_API koine_status koine_placement_svg(const koine_placement *placement, char **out);
typedef struct koine_estimate {
  size_t size;
  double token_s, token_s_low, token_s_high; /* seconds to decode a token of one conversation, in the middle of the context; likely range */
  double most_per_s;                         /* tokens a second of many conversations, at most */
  double prompt_per_s, prompt_per_s_low, prompt_per_s_high; /* tokens a second of a prompt, in chunks */
  uint64_t n_stages;
  bool measured;                             /* from measurements of these devices; else by their rates, measured, given or estimated */
  char reserved[7];
} koine_estimate;
#define KOINE_ESTIMATE_INIT {sizeof(koine_estimate), 0, 0, 0, 0, 0, 0, 0, 0, false, {0}}
KOINE_API koine_status koine_placement_estimate(const koine_placement *placement, koine_estimate *out);

#ifdef __cplusplus
}
#endif
#endif
