/* What a step through the layers decides before any op is called: widths, splits, and from how many tokens on which op is taken. Numbers of a
 * device alone: nothing is compiled, and no op chooses them by itself, since several must agree. */
#ifndef KOI_STEP_H
#define KOI_STEP_H
#include "ops.h"

typedef struct koi_tunables {
  int32_t nt, nt_group;       /* columns a panel: dense products, experts */
  int32_t vec_tokens;         /* dense products of up to so many tokens take matvec */
  int32_t group_tokens;       /* from so many tokens on experts run as grouped panels; below, an entry at a time */
  int32_t min_split_rows;     /* visible rows a split of attention has at least, unless it is the only one */
  int32_t max_splits;         /* for one token */
  int32_t split_groups;       /* tokens x splits that keep the device busy */
  uint64_t score_floats;      /* the indexer's scores that are held at once */
  uint32_t gemm_from[KOI_N_FORMATS]; /* by weight format: dense products of at least so many tokens take the device's gemm; 0: none */
} koi_tunables;

void koi_step_tunables(const koi_target *t, koi_tunables *out);
/* Splits of the visible rows that a step of n_tokens may use. */
int32_t koi_step_splits(const koi_tunables *u, int32_t n_tokens);
#endif
