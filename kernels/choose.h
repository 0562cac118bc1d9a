/* The parameters of a kernel for a device, from numbers alone: nothing is compiled. One ladder for every op; whoever asks learns which rung answered. */
#ifndef KOI_CHOOSE_H
#define KOI_CHOOSE_H
#include "base/base.h"
#include "op.h"

typedef enum koi_rung { KOI_RUNG_TUNED, KOI_RUNG_DEFAULT } koi_rung;

/* The class of shapes that a call with these ints belongs to. */
int32_t koi_op_bucket(const koi_op *op, const int32_t *ints, const int32_t *c);
/* Whether a kernel may be built with p: the one place where limits of groups and of local memory are looked at. */
bool koi_legal(const koi_target *t, const koi_op *op, const int32_t *c, const int32_t *p);
/* Every parameter, into p; those beyond the op's are left alone. rung may be NULL. KOINE_ERR_DEVICE: none are legal; the message says within
 * what limits, and p holds those that were tried last. */
koine_status koi_choose(const koi_target *t, const koi_op *op, const int32_t *c, int32_t bucket, int32_t *p, koi_rung *rung);

/* ---- for the repairs of descriptors ---- */
/* Halves p[i] until p is legal or p[i] would fall below `least`; koi_double likewise up to `most`. */
void koi_halve(const koi_target *t, const koi_op *op, const int32_t *c, int32_t *p, size_t i, int32_t least);
void koi_double(const koi_target *t, const koi_op *op, const int32_t *c, int32_t *p, size_t i, int32_t most);
/* The same until the target's limit of work-items a group, or of local memory, is kept, whatever else is illegal. */
void koi_halve_group(const koi_target *t, const koi_op *op, const int32_t *c, int32_t *p, size_t i);
void koi_halve_local(const koi_target *t, const koi_op *op, const int32_t *c, int32_t *p, size_t i, int32_t least);
#endif
