/* From a machine, a model and wishes to a placement, with what it will take. Nothing here needs a device. */
#ifndef KOI_ASSIGN_H
#define KOI_ASSIGN_H
#include "costs.h"
#include "placement.h"
#include "skew.h"

typedef struct koi_bound_memory { char device[KOI_SITE_ID]; uint64_t bytes; } koi_bound_memory;

typedef struct koi_assign_wish {
  uint64_t context;            /* of one conversation, which is counted full; 0: 4096, or the model's if that is less */
  uint32_t chunk;              /* 0: 512 */
  bool exact;
  double n_streams;            /* conversations that take turns; 1: the quickest for one, INFINITY: the most tokens a second. 0: 1 */
  bool together;               /* routed experts stay with their layer */
  const char *const *exclude; size_t n_exclude;    /* ids of devices that get nothing */
  const char *const *include; size_t n_include;    /* only these; 0: all */
  const koi_placed *pins; size_t n_pins;           /* layers that lie on a device */
  const koi_bound_memory *memory; size_t n_memory; /* limits by device */
  const double *shares; size_t n_shares;           /* layers in proportion to these, on the devices in their order; 0: as is best */
  int32_t on_cards;            /* so many items from the end (layers, and the head as one) are not on processors, the others are; -1: as is best */
  int32_t experts_on_cpu;      /* the routed experts of so many first layers lie on the processors; -1: as is best */
  koi_skew skew;               /* of the model's routes, from earlier runs; wanted 0: not known */
  const char *misses_on;       /* the device that has all experts where they come by turns; NULL: none */
  const koi_bound_memory *caches; size_t n_caches; /* of the experts that a device computes, what is there at once */
} koi_assign_wish;
enum { KOI_ASSIGN_CHUNK = 16384 };
#define KOI_ASSIGN_WISH {.on_cards = -1, .experts_on_cpu = -1}

typedef struct koi_by_turns { /* routed experts that do not all have room */
  uint64_t all, room;          /* bytes of all of them; that are there at once, 0: all are */
  uint32_t n_slots;            /* of each layer's */
  double compute_s;            /* of a token's, when they are there */
  double misses_s;             /* of a token's on the device that has all of them; 0: there is none, or it is not known */
  double there, least, most;   /* share of those wanted that are there: likely, if routes are less skewed, if they are more */
  double bytes, per_s;         /* that a token loads, and how fast they come */
  double more_device_s, more_host_s; /* that a token takes less with a GiB more on their device, of the host's memory */
} koi_by_turns;

typedef struct koi_assigned_stage { /* beside the placement's stage of the same number */
  uint32_t device, experts;    /* into the site's; experts: KOI_SOLVE_NOWHERE when they are on the same */
  uint32_t misses;             /* as experts: who has all of them, where they come by turns */
  uint64_t weights, caches, own, expert_weights /* on the experts' device */;
  double seconds, low, high;   /* of a token, with what its experts take elsewhere; */
  double hop;                  /* to get what the stage before made */
  koi_by_turns turns;
} koi_assigned_stage;

typedef struct koi_assigned {
  koi_placement placement;
  koi_assigned_stage *stages;  /* [placement.n_stages] */
  uint64_t context; uint32_t chunk;
  double token_s, low_s, high_s;      /* one token of one stream, all stages and hops, with context / 2 tokens before it */
  double longest_s;                   /* of a stage or hop: n streams give at most 1 / longest tokens a second */
  double prompt_per_s, prompt_low, prompt_high; /* tokens a second of a chunk */
  uint32_t n_unknown;          /* devices that took part, or could not, without a measurement */
  bool measured;               /* every device used has measured costs */
  bool estimated;              /* some device used has not even rates of its own */
  bool old;                    /* some device used was measured with other kernels or parameters */
  bool by_turns;               /* some stage's experts do not all have room */
  koi_skew skew;               /* of their routes, as the wish had it */
} koi_assigned;

/* The best placement. KOINE_ERR_MEMORY with the numbers, and what would fit; KOINE_ERR_NO_DEVICE when nothing is known of any device;
 * KOINE_ERR_ARG for wishes that name no device or contradict each other. */
koine_status koi_assign(const koi_site *site, const koine_model *m, const koi_assign_wish *w, koi_assigned *out);
/* What a given placement takes. KOINE_ERR_MEMORY when it does not fit. */
koine_status koi_assign_given(const koi_site *site, const koine_model *m, const koi_assign_wish *w, const koi_placement *p, koi_assigned *out);
/* For a model that does not fit: all on the device that is quickest then, with its routed experts by turns in the memory that is left.
 * KOINE_ERR_MEMORY: not even that has room. */
koine_status koi_assign_turns(const koi_site *site, const koine_model *m, const koi_assign_wish *w, koi_assigned *out);
void koi_assigned_free(koi_assigned *a);
/* ---- assign_text.c ---- */
/* For people; what begins with "layers" is read back by koi_placement_parse. */
const char *koi_assigned_basis(const koi_assigned *a); /* where its figures come from, in words */
koine_status koi_assigned_text(const koi_assigned *a, const koi_site *site, char **out);
/* A picture: SVG with cards, layers, bytes, and a token's way through them in time. */
koine_status koi_assigned_svg(const koi_assigned *a, const koi_site *site, char **out);
#endif
