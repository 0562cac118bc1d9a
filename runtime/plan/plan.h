/* A plan: which endpoint runs the model, in chunks of how many tokens. Immutable; asleep until it is woken. Today one endpoint takes
 * every layer. Making one touches no device. */
#ifndef KOI_PLAN_H
#define KOI_PLAN_H
#include "engine/exec.h"

struct koine_plan {
  const koine_model *model;
  const koi_endpoint *endpoint;
  uint32_t chunk;
  uint64_t weight_bytes, scratch_bytes; /* expected */
  koi_exec *awake;                      /* NULL while asleep */
  uint64_t wake_ns;
  koine_cache cache;                    /* of the session that is counted */
  uint64_t context, mark_bytes;
  uint64_t limit_bytes;                 /* that may be used; 0: unknown */
};

enum { KOI_DEFAULT_CHUNK = 512, KOI_MAX_CHUNK = 16384 };

/* Chooses the chunk so that the scratch memory fits the endpoint; refuses what cannot fit, with the numbers. */
koine_status koi_plan_make(const koine_model *m, const koi_endpoint *e, const koine_plan_options *o, koine_plan **out);
koine_status koi_plan_text(const koine_plan *p, char **out);
#endif
