/* Which of a layer's experts have a place on its device, when not all can: whom a step wants comes in turns, and whom the fewest have wanted lately
 * goes, of those whose place fits. Numbers alone; slots.h loads. */
#ifndef KOI_TURNS_H
#define KOI_TURNS_H
#include "plan/lots.h"

enum { KOI_NOBODY = -1 };

typedef struct koi_turns {
  uint32_t n_slots, n_experts;
  const koi_lots *lots; /* who may have which places; NULL: everybody all */
  int32_t *expert;  /* [n_slots] who is there, or KOI_NOBODY */
  int32_t *slot;    /* [n_experts] where it is, or KOI_NOBODY */
  uint32_t *waits;  /* [n_experts] entries of the step that wait for it */
  uint32_t n_wait;  /* experts that are waited for */
  uint64_t *turn;   /* [n_slots] the last turn that the slot was part of, or the next one, for which it is loaded */
  uint32_t n_now;   /* slots that are part of this turn */
  uint64_t n_turns, n_tokens; /* until now */
  float *heat;      /* [n_experts] entries of late: each token makes all of them a little less */
  uint64_t *heated; /* [n_experts] n_tokens then */
} koi_turns;

typedef struct koi_arrival { int32_t expert; uint32_t slot; } koi_arrival;
typedef struct koi_absent { int32_t expert; uint32_t n_entries; float heat; } koi_absent; /* one that a step wants and that has no place */

/* n_slots: 1 to n_experts. lots: NULL, or what divides them, which must outlive the turns. KOINE_ERR_MEMORY. */
koine_status koi_turns_make(uint32_t n_slots, uint32_t n_experts, const koi_lots *lots, koi_turns *out);
void koi_turns_free(koi_turns *t);
/* A step of n_tokens, whose n entries want these experts. */
void koi_turns_begin(koi_turns *t, const int32_t *ids, size_t n, uint32_t n_tokens);
/* Of the step that has begun: who is absent, v [n_experts]; how many. */
size_t koi_turns_absent(const koi_turns *t, koi_absent *v);
/* The heat of whoever would go first if this expert came; less than 0: there is a place for it. */
float koi_turns_coldest(const koi_turns *t, int32_t expert);
/* An absent one stays away in this step: it has no turn. */
void koi_turns_stay(koi_turns *t, int32_t expert);
/* The next turn: t->n_now experts have it, who are there; arrivals [n_slots] are those who have the one after it and are to be loaded meanwhile, *n of
 * them. false: all had theirs. */
bool koi_turns_next(koi_turns *t, koi_arrival *arrivals, size_t *n);
/* The slot of an expert that has its turn now; KOI_NOBODY: it is not its turn. */
int32_t koi_turns_place(const koi_turns *t, int32_t expert);
/* Somebody who was to come could not after all. */
void koi_turns_miss(koi_turns *t, uint32_t slot);
#endif
