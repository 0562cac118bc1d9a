/* A contest is held on one shape of a key's calls, the costliest: whether its winner is worth it on the others, too. */
#ifndef KOI_SHAPES_H
#define KOI_SHAPES_H
#include "drive.h"
#include "turn.h"

/* In one more step: each other shape of the keys that won, the default and the winner in turns. What is not faster over all shapes, each by its
 * share, has lost then, and the log says so. No shape is begun after deadline_ns of koi_now_ns: those count as the one that is known. */
koine_status koi_shapes_check(koi_drive *v, koi_shares *s, bool prefill, uint32_t n, uint64_t deadline_ns);
#endif
