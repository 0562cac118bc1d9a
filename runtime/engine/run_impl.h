/* Stretches of a bound list that its device has recorded: one request in the place of many starts. What a step would start decides, not what is
 * thought to have changed: a recording is replayed only where exactly its calls come, each with the numbers that it had. */
#ifndef KOI_RUN_IMPL_H
#define KOI_RUN_IMPL_H
#include "run.h"

/* *out NULL: nothing of this list is recorded. */
koine_status koi_run_tape_make(koi_stage *st, const koi_list *l, koi_tape **out);
void koi_run_tape_free(koi_stage *st, koi_tape *t); /* NULL is allowed */
/* A step begins, whose symbols are patched. */
void koi_run_tape_step(koi_stage *st, const koi_list *l);
/* Replays, or records and replays, what begins at call `at`; *n: how many calls of the list that was, 0: the caller starts this one. */
koine_status koi_run_tape_play(koi_stage *st, const koi_list *l, size_t at, size_t *n);

/* ---- run_beside.c ---- */
/* A layer of a stage by turns has begun (koi_slots_begin): whose experts stay where they lie is computed there from here on. */
void koi_run_beside_begin(koi_beside *b, const koi_step *x, uint32_t layer);
/* Until that is done, with no device meanwhile but the one that `holder` has, which is given free and taken again. */
void koi_run_beside_wait(koi_beside *b, koi_stage *holder); /* NULL is allowed */
/* What they made, once it was waited for, to where the stage gave what its own made. */
koine_status koi_run_beside_end(koi_beside *b, const koi_step *x);
/* The calls of one layer of a list, one after the other. */
koine_status koi_run_layer(koi_stage *st, const koi_step *x, const koi_list *l, uint32_t layer);
#endif
