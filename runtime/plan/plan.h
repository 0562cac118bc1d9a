/* A plan: which endpoint runs the model, in chunks of how many tokens. Immutable; asleep until it is woken. Today one endpoint takes
 * every layer. Making one touches no device. */
#ifndef KOI_PLAN_H
#define KOI_PLAN_H
#include "device/machine.h"
#include "engine/exec.h"

struct koine_plan {
  koine_runtime *runtime;               /* whose device it takes */
  const koine_model *model;
  const koi_endpoint *endpoint;
  uint32_t chunk;
  uint64_t weight_bytes, scratch_bytes; /* expected */
  koi_exec *awake;                      /* NULL while asleep */
  uint64_t wake_ns;
};

enum { KOI_DEFAULT_CHUNK = 512, KOI_MAX_CHUNK = 16384 };

/* Chooses the chunk so that the scratch memory fits the endpoint; refuses what cannot fit, with the numbers. */
koine_status koi_plan_make(koine_runtime *rt, const koine_model *m, size_t endpoint, uint32_t chunk, koine_plan **out);
koine_status koi_plan_text(const koine_plan *p, char **out);
#endif
