/* Pools of a plan that no session uses. */
#ifndef POOLS_H
#define POOLS_H
#include "engine/run.h"

/* Their device memory goes, so that they grow again; whether nothing is left. */
static inline bool pools_trim(const koine_plan *plan)
{
  size_t left = 0;
  for (size_t i = 0; i < plan->n_stages; i++) {
    koi_stage *st = koi_engine_stage(plan, i);
    if (koi_run_forget(st)) return false;
    for (int exact = 0; exact < 2; exact++)
      for (size_t k = 0; k < st->caches[exact]->n_kinds; k++) koi_pool_trim(&st->pools[exact][k]), left += st->pools[exact][k].n_pages;
  }
  return !left;
}
#endif
