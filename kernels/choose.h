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

/* Which file says so; on one rung the user's goes before what ships. */
typedef enum koi_origin { KOI_ORIGIN_USER, KOI_ORIGIN_SHIPPED, KOI_N_ORIGINS } koi_origin;
const char *koi_origin_name(koi_origin s);

/* What measurements say: one record for an op, constants (the weights' layout among them), bucket, rung and origin. A plain table; device/tuned.h reads it from disk. */
typedef struct koi_tuned {
  const koi_op *op;        /* or a choice of a step (step.h) */
  int32_t c[KOI_MAX_CONSTS], bucket, p[KOI_MAX_PARAMS];
  koi_rung rung;
  koi_origin origin;
  uint32_t line, n_samples; /* of its file; what was measured */
  uint64_t when_ms;        /* of records with one key the latest counts */
  double us, default_us;   /* of a call, with p and with the default; 0: not known */
  bool kept;               /* the default was no slower: it stays, and p is not looked at */
} koi_tuned;

typedef struct koi_tuned_table {
  koi_tuned *v; size_t n, cap;
  uint32_t *slots; size_t n_slots; /* places in v, plus 1, by hash; a power of two, more than twice n */
  size_t read, n_lines;            /* bytes and lines of the user's file that are in it */
} koi_tuned_table;
/* Adds, or takes the place of the record with the same key. KOINE_ERR_MEMORY leaves the table as it was. */
koine_status koi_tuned_put(koi_tuned_table *table, const koi_tuned *e);
koine_status koi_tuned_copy(const koi_tuned_table *from, koi_tuned_table *to);
void koi_tuned_clear(koi_tuned_table *table);
/* On one rung, from one origin. NULL: nothing is known. table may be NULL. */
const koi_tuned *koi_tuned_at(const koi_tuned_table *table, const koi_op *op, const int32_t *c, int32_t bucket, koi_rung rung, koi_origin origin);
/* The first of the ladder: by rung, then by origin. */
const koi_tuned *koi_tuned_find(const koi_tuned_table *table, const koi_op *op, const int32_t *c, int32_t bucket);

/* The class of shapes that a call with these ints belongs to. */
int32_t koi_op_bucket(const koi_op *op, const int32_t *ints, const int32_t *c);
/* Whether a kernel may be built with p: the one place where limits of groups and of local memory are looked at. */
bool koi_legal(const koi_target *t, const koi_op *op, const int32_t *c, const int32_t *p);
/* Every parameter, into p; those beyond the op's are left alone. rung may be NULL. KOINE_ERR_DEVICE: none are legal; the message says within
 * what limits, and p holds those that were tried last. */
koine_status koi_choose(const koi_target *t, const koi_op *op, const int32_t *c, int32_t bucket, int32_t *p, koi_rung *rung);

/* Parameters from elsewhere made fit for this device: values that the descriptor does not list give way to the nearest that it does, then repair.
 * False: they are not legal even so. */
bool koi_settle(const koi_target *t, const koi_op *op, const int32_t *c, int32_t *p);

/* What became of each rung of the ladder when koi_choose climbed down. */
typedef enum koi_verdict { KOI_ABSENT, KOI_TAKEN, KOI_REPAIRED /* and taken */, KOI_SAYS_DEFAULT, KOI_ILLEGAL, KOI_NOT_ASKED } koi_verdict;
typedef struct koi_why { const koi_tuned *e; koi_verdict verdict; } koi_why;
/* out: [KOI_RUNG_DEFAULT][KOI_N_ORIGINS]; p: as koi_choose leaves it, so is what is returned. */
koine_status koi_choose_why(const koi_target *t, const koi_op *op, const int32_t *c, int32_t bucket, int32_t *p, koi_rung *rung, koi_why (*out)[KOI_N_ORIGINS]);

/* ---- for the repairs of descriptors ---- */
/* Halves p[i] until p is legal or p[i] would fall below `least`; koi_double likewise up to `most`. */
void koi_halve(const koi_target *t, const koi_op *op, const int32_t *c, int32_t *p, size_t i, int32_t least);
void koi_double(const koi_target *t, const koi_op *op, const int32_t *c, int32_t *p, size_t i, int32_t most);
/* The same until the target's limit of work-items a group, or of local memory, is kept, whatever else is illegal. */
void koi_halve_group(const koi_target *t, const koi_op *op, const int32_t *c, int32_t *p, size_t i);
void koi_halve_local(const koi_target *t, const koi_op *op, const int32_t *c, int32_t *p, size_t i, int32_t least);
#endif
