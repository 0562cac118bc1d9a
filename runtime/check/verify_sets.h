/* Which parameters the verifier runs an op with. */
#ifndef KOI_VERIFY_SETS_H
#define KOI_VERIFY_SETS_H
#include "kernels/choose.h"

enum { KOI_VERIFY_SETS = 64 };
typedef struct koi_verify_set { int32_t p[KOI_MAX_PARAMS]; } koi_verify_set;

/* Up to `most` sets for these constants, beside what was tuned for them; how many. group: a number of the constants, so that different ones sweep
 * different parameters. sets: [KOI_VERIFY_SETS + 1], of which the first is what is chosen for the first bucket, legal or not. */
size_t koi_verify_sets(const koi_target *t, const koi_op *op, const int32_t *c, uint32_t most, size_t group, koi_verify_set *sets);
#endif
