/* What a step through the layers decides before any op is called: widths, splits, and from how many tokens on which op is taken. Numbers of a
 * device alone: nothing is compiled, and no op chooses them by itself, since several must agree.
 * Each choice is a record like an op, with constants, parameters and values but no kernel, so that it goes through the same ladder (choose.h),
 * the same log (device/tuned.h) and the same search as the parameters of kernels. */
#ifndef KOI_STEP_H
#define KOI_STEP_H
#include "ops.h"

typedef struct koi_tunables {
  int32_t tile;               /* rows side by side in the weights (layout.h) */
  int32_t nt, nt_group;       /* columns a panel: dense products, experts */
  int32_t nt_least;           /* of panels for few tokens, which are no wider than they must be */
  bool arrivals;              /* the last work-group to come may go on with what needs all (koi_target) */
  int32_t vec_tokens;         /* dense products of up to so many tokens take matvec */
  int32_t vec_strips;         /* and so do those of up to so many strips of 16 rows, whatever the tokens: few rows make few panels, and a card would idle */
  int32_t group_tokens;       /* from so many tokens on experts run as grouped panels; below, an entry at a time */
  int32_t min_split_rows;     /* visible rows a split of attention has at least, unless it is the only one */
  int32_t max_splits;         /* for one token */
  int32_t split_groups;       /* tokens x splits that keep the device busy */
  uint64_t score_floats;      /* the indexer's scores that are held at once */
  uint32_t gemm_from[KOI_N_FORMATS]; /* by weight format: dense products of at least so many tokens take the device's gemm; 0: none */
} koi_tunables;

void koi_step_tunables(const koi_target *t, koi_tunables *out);
/* The same for weights that lie in tiles of `tile` rows already. */
void koi_step_tunables_for(const koi_target *t, int32_t tile, koi_tunables *out);
/* Columns a panel in a step of n_tokens: of dense products; of experts, each of which gets n_used of n_experts of the tokens. The same for all numbers
 * of tokens between two powers of two. */
int32_t koi_step_panel(const koi_tunables *u, uint32_t n_tokens);
int32_t koi_step_group_panel(const koi_tunables *u, uint32_t n_tokens, uint32_t n_used, uint32_t n_experts);
/* Splits of the visible rows that a step of n_tokens may use. */
int32_t koi_step_splits(const koi_tunables *u, int32_t n_tokens);

/* ---- the choices ---- */
enum { LAYOUT_TILE };
enum { PANELS_TILE }; /* constant: what is fast depends on how weights lie */
enum { PANELS_NT, PANELS_NT_GROUP, PANELS_NT_LEAST };
enum { SPLITS_MIN_ROWS, SPLITS_MAX, SPLITS_GROUPS };
enum { CROSSOVERS_TILE }; /* constant */
enum { CROSSOVERS_VEC_TOKENS, CROSSOVERS_GROUP_TOKENS, CROSSOVERS_VEC_STRIPS };
enum { LIBRARY_WT, LIBRARY_TILE }; /* constants */
enum { LIBRARY_FROM };
extern const koi_op koi_step_layout, koi_step_panels, koi_step_splits_of, koi_step_crossovers, koi_step_library;

/* ---- what is only measured: no parameters ---- */
/* A token of a conversation, from end to end: the model by its sizes, the tokens in the caches before, the tokens at once. */
enum { SPEED_LAYERS, SPEED_HIDDEN, SPEED_EXPERTS, SPEED_VOCAB, SPEED_DEPTH, SPEED_TOKENS };
extern const koi_op koi_step_decode, koi_step_prefill;
/* The device's roof: memory read, floats multiplied and added. */
extern const koi_op koi_step_read, koi_step_multiply;

extern const koi_op *const koi_steps[]; /* all of these, NULL-terminated */
/* An op, or one of koi_steps; NULL: there is none of this name. */
const koi_op *koi_step_named(const char *name);
#endif
