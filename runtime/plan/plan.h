/* A plan: which device runs which layers, in chunks of how many tokens, and what each will hold. Plain data; making one touches no device, and
 * nothing here can: engine/ wakes it. Results do not depend on who computes what, as far as kernels and their parameters are the same: how
 * attention is cut is the plan's. */
#ifndef KOI_PLAN_H
#define KOI_PLAN_H
#include "device/dev.h"
#include "graph.h"
#include "placement.h"

typedef struct koi_stage_bytes { /* what a stage's device will hold */
  uint64_t weights;  /* as laid out there */
  uint64_t scratch;  /* activations, what steps feed, page tables */
  uint64_t caches;   /* of one conversation of the plan's context */
  uint64_t marks;    /* of its places to rewind to */
  uint64_t programs; /* compiled kernels: an allowance, since drivers do not say */
  uint64_t gates;    /* host memory, counted where it is the device's: copies of gates that guess experts */
  uint64_t total;
} koi_stage_bytes;

typedef struct koi_plan_stage {
  const koi_endpoint *endpoint;
  size_t endpoint_at;          /* in the machine's list */
  uint32_t layer0, layer1;     /* [layer0, layer1) */
  bool embed, head;
  koi_of of;
  struct koi_plan_stage *experts; /* its routed experts, on another device or by turns; of such a stage by turns: all of them on another device, where those
                                     without a place may be computed; NULL: they are here, all of them */
  uint64_t expert_bytes;       /* for the routed experts of all its layers, by turns; 0: room for all */
  uint32_t n_slots;            /* so many of each layer's are there at once; 0: all */
  koi_laid_model *laid;
  koi_tunables tunables;
  koi_stage_bytes bytes;
  uint64_t memory_bytes;       /* that may be used; 0: unknown */
} koi_plan_stage;

/* Experts that have no place, where another device has all of them. */
typedef enum koi_misses { KOI_MISSES_QUICKEST, KOI_MISSES_STAY /* are computed there */, KOI_MISSES_LOAD /* never */ } koi_misses;

struct koine_plan {
  struct koine_runtime *machine;  /* whose devices the engine shares; NULL: it opens one of its own */
  const koine_model *model;
  uint32_t chunk;
  koine_cache cache;              /* counted for; a session may take the other */
  uint64_t context, mark_bytes;
  bool bare;                      /* wakes without weights: there is room for them, and nothing in it (for measuring) */
  bool careless;                  /* bare, with the kernels for weights that need no care (lay.h) in the place of those that do with any */
  bool guess, guess_always;       /* experts by turns: who is wanted next is guessed, and read ahead; also where it was slower */
  koi_misses misses;
  bool keep_layout;               /* weights as laid out are kept in files for the next start */
  int32_t split_groups;           /* koi_tunables.split_groups of every stage; 0: the device's own */
  koi_plan_stage *stages; size_t n_stages; /* in the order of the layers */
  size_t n_all;                   /* behind them in the same array: those of routed experts elsewhere */
  const char *basis;              /* what the choice of devices rests on, in words; NULL: the caller named them, or there was no choice */
  struct koi_engine *awake;       /* NULL while asleep; the engine's */
  uint64_t wake_ns;
};

enum { KOI_SPARE_PART = 8 }; /* of a device's memory that experts by turns leave for what nobody counts: a driver's compiler, a probe */
enum { KOI_DEFAULT_CHUNK = 512, KOI_MAX_CHUNK = 16384, KOI_DEFAULT_CONTEXT = 4096, KOI_MAX_CONTEXT = 1 << 28 /* positions stay far inside int32 */, KOI_MAX_SPLIT_GROUPS = 4096 };
#define KOI_DEFAULT_MARK_BYTES (UINT64_C(256) << 20)

typedef struct koi_plan_wish {
  uint32_t chunk;        /* 0: KOI_DEFAULT_CHUNK */
  koine_cache cache;
  uint64_t context;      /* 0: KOI_DEFAULT_CONTEXT, or the model's if that is less */
  uint64_t mark_bytes;   /* 0: KOI_DEFAULT_MARK_BYTES */
  uint64_t memory_bytes; /* of each device; 0: what the endpoint has */
  const koi_placement *place; /* NULL: all of it on one endpoint */
  bool keep_layout;
  uint32_t split_groups; /* 0: the placement's; where that has none, one device's own, or the greatest of several devices */
} koi_plan_wish;

/* On endpoint e, or as wish->place says, whose devices are endpoints of the machine. Chooses the chunk so that the scratch memory fits every
 * endpoint; refuses what cannot fit, with the numbers. */
koine_status koi_plan_make(struct koine_runtime *machine, const koine_model *m, const koi_endpoint *e, size_t endpoint_at, const koi_plan_wish *wish, koine_plan **out);
void koi_plan_free(koine_plan *p);
koine_status koi_plan_text(const koine_plan *p, char **out);
/* Where everything lies, in one line without an end. */
koine_status koi_plan_line(const koine_plan *p, char **out);
/* Whether guessing can pay for a stage: its experts have their places by turns, in more layers than one. Bytes of its copies of gates then. */
bool koi_plan_guesses(const koi_plan_stage *s, const koine_model *m);
uint64_t koi_plan_gate_bytes(const koine_plan *p, const koi_plan_stage *s);
koi_share koi_plan_share(const koi_plan_stage *s);
/* A stage's, on the device of target t; tile: rows of the tiles that its weights lie in, 0: they will lie as the target says. */
void koi_plan_tunables(const koine_plan *p, const koi_target *t, uint32_t tile, koi_tunables *out);
/* Of a mark of a conversation, on all devices together. */
koine_status koi_plan_mark_bytes(const koine_model *m, bool exact, uint64_t *out);
/* Sums over all stages; of weights, what a step of one token reads. */
koi_stage_bytes koi_plan_bytes(const koine_plan *p);
uint64_t koi_plan_bytes_per_token(const koine_plan *p);
/* Memory that its devices may use, each card's once; 0: unknown. */
uint64_t koi_plan_limit(const koine_plan *p);
/* What the plan leaves of the memory that the stage's device may use; UINT64_MAX: unknown. */
uint64_t koi_plan_spare(const koine_plan *p, const koi_plan_stage *st);
/* What describes the stage to graph.h. */
koi_graph koi_plan_graph(const koine_plan *p, const koi_plan_stage *s);
/* Places the scratch memory of a stage; the lists of the smallest and the largest chunk, in both cache modes, say what lives together. */
koine_status koi_plan_scratch(const koi_graph *g, uint64_t align, koi_scratch *out);
/* What a stage computes, moves and starts at least for a chunk of n_tokens at position p0, by its descriptors; zeros when that cannot be told. */
koi_cost koi_plan_cost(const koine_plan *p, const koi_plan_stage *s, uint32_t n_tokens, uint64_t p0);
/* Scratch bytes for chunks of `chunk` tokens on a device like most; 0 when they cannot be told. */
uint64_t koi_plan_usual_scratch(const koine_model *m, uint32_t chunk);
/* Cache bytes on a device for `context` tokens, in chunks of KOI_DEFAULT_CHUNK. UINT64_MAX when they exceed it or cannot be told. */
uint64_t koi_plan_cache_bytes(const koine_model *m, uint64_t context, koine_cache mode);
#endif
