/* Routed experts that have their places on a device by turns: from the checkpoint into those of their layer when a step wants them. Under the lock of
 * the stage whose experts they are, and, but for koi_slots_figures, of its device. */
#ifndef KOI_SLOTS_H
#define KOI_SLOTS_H
#include "stage.h"

typedef struct koi_slots koi_slots;

/* For a stage of routed experts alone, awake but for them. */
koine_status koi_slots_open(koi_stage *st, koi_slots **out);
void koi_slots_close(koi_slots *s); /* NULL is allowed */
/* A layer's part of a step: the experts of n_tokens, ids [n_tokens][n_used], which are copied. */
void koi_slots_begin(koi_slots *s, uint32_t layer, const int32_t *ids, uint32_t n_tokens);
/* Of the layer that has begun: who is not there and stays where it lies, to be computed by the stage that st->experts is. Of each entry ids
 * [n_tokens][n_used] has whom it wants of those, -1: it wants somebody else. How many entries want any. */
uint32_t koi_slots_stay(koi_slots *s, int32_t *ids);
/* What computing those entries took. */
void koi_slots_stayed(koi_slots *s, uint32_t n_entries, uint64_t ns);
/* The next turn: places [n_tokens][n_used] says where each expert is that has it, -1: it is not its turn; *now: somebody has it. Who has the one after it
 * is read from here on, by threads. false: all had theirs. */
bool koi_slots_turn(koi_slots *s, int32_t *places, bool *now);
/* While that is computed: of a step of one token, what its router saw and the token say who will likely be wanted in the next layer; threads that have
 * nothing else to do read them. Nothing for all but a layer's last turn. */
void koi_slots_guess(koi_slots *s, const float *x /* [hidden] */, int32_t token);
/* Those to the device, once it was told to compute this turn. KOINE_ERR_FILE for a checkpoint that cannot be read: who could not come is not there, and
 * the next step tries again. before: a failure of this turn, after which nobody comes. */
koine_status koi_slots_load(koi_slots *s, koine_status before);
koi_expert_figures koi_slots_figures(const koi_slots *s);
#endif
