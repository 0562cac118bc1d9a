/* What the parts of plan.c share. */
#ifndef KOI_PLAN_IMPL_H
#define KOI_PLAN_IMPL_H
#include "plan.h"

/* ---- plan_count.c ---- */
/* The chunk that every stage's scratch memory allows, then the bytes of all that the stages hold; weights are laid out by then. */
koine_status koi_plan_fit_chunks(koine_plan *p);
koine_status koi_plan_count_stage(koine_plan *p, koi_plan_stage *st);
/* KOINE_ERR_MEMORY with the numbers when a device cannot hold what lies there. */
koine_status koi_plan_check_memory(const koine_plan *p);
#endif
