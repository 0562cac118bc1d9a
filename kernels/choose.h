/* The parameters of a kernel for a device, from numbers alone: nothing is compiled. One ladder for every op; whoever asks learns which rung answered. */
#ifndef KOI_CHOOSE_H
#define KOI_CHOOSE_H
#include "base/base.h"
#include "op.h"

/* Where an answer comes from, best first. */
typedef enum koi_rung {
  KOI_RUNG_TUNED,   /* measured on this device, with this driver and this kernel text */
  KOI_RUNG_STALE,   /* on this device with another driver, or with another text of the kernel */
  KOI_RUNG_ARCH,    /* on another device of the same architecture, under the same platform */
  KOI_RUNG_VENDOR,  /* on another device of the same vendor and kind, under the same platform */
  KOI_RUNG_DEFAULT, /* not measured, or what measurements left as it was */
  KOI_N_RUNGS
} koi_rung;
const char *koi_rung_name(koi_rung r);

/* What measurements say: one record an op, constants and bucket. A plain table; device/tuned.h reads it from disk. */
typedef struct koi_tuned {
  const koi_op *op;
  int32_t c[KOI_MAX_CONSTS], bucket, p[KOI_MAX_PARAMS];
  koi_rung rung;
  bool kept; /* the default was no slower: it stays, and p is not looked at */
} koi_tuned;
typedef struct koi_tuned_table { koi_tuned *v; size_t n; } koi_tuned_table;
/* NULL: nothing is known. table may be NULL. */
koi_tuned *koi_tuned_find(const koi_tuned_table *table, const koi_op *op, const int32_t *c, int32_t bucket);

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
