/* The gap between a stage and the next, where both devices have a way past the host: buffers on the device that takes, through which streams go. Whoever finds none
 * of them free, or too small, goes through host memory. Locking: a slot is one step's from claim to settle; none of these wants a stage's lock. */
#ifndef KOI_GAP_H
#define KOI_GAP_H
#include "stage.h"

enum { KOI_GAP_SLOTS = 2 /* one is filled while the other is read */, KOI_GAP_BYTES = 64 << 20 /* of a slot at most */ };

typedef struct koi_gap_slot { koi_device *from; koi_buf *through; koi_way *way; atomic_bool taken; } koi_gap_slot;
typedef struct koi_gap { koi_gap_slot slot[KOI_GAP_SLOTS]; } koi_gap;
/* Where the streams of a step are between two stages: in a slot, else in host memory. */
typedef struct koi_between { float *host; koi_gap_slot *slot; } koi_between;

/* Before stage `to`, which is awake like the one before it: to->gap stays NULL where there is no way, or no memory that the plan left. KOINE_ERR_MEMORY of the host's. */
koine_status koi_gap_open(const koi_stage *from, koi_stage *to);
void koi_gap_close(koi_stage *to); /* both devices have finished, and `to` is locked */
/* A slot for so many bytes, or NULL. */
koi_gap_slot *koi_gap_claim(const koi_stage *to, uint64_t bytes);
uint64_t koi_gap_bytes(const koi_stage *to);
/* Once its take is queued, or never will be: waits for the give, whose failure it returns, and lets others have the slot. NULL is allowed. */
koine_status koi_gap_settle(koi_gap_slot *s);
/* The two halves of a step; each under the lock of its own stage. */
koine_status koi_gap_give(koi_gap_slot *s, koi_buf *src, size_t at, size_t bytes);
koine_status koi_gap_take(koi_gap_slot *s, koi_buf *dst, size_t bytes);
#endif
