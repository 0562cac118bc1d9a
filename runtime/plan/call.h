/* A step, tokens of one conversation or of several, through a stage's layers as a list of calls: plain data that needs no device. What builds kernels, binds and runs them, times
 * them, looks for NaN, places scratch memory, counts bytes and flops, all reads the same list.
 *
 * Nothing in a list depends on where in a conversation the tokens stand: positions, page tables and windows are data that a step feeds
 * (feed.h), and the few numbers that follow from them are symbols, which a bound list patches when they change. */
#ifndef KOI_CALL_H
#define KOI_CALL_H
#include "base/base.h"
#include "kernels/ops.h"

typedef enum koi_space {
  KOI_AT_NONE,
  KOI_AT_SCRATCH, /* id: KOI_S_* (scratch.h) */
  KOI_AT_CODES,   /* id: a part of the weights as laid out (lay.h), its codes or its scales */
  KOI_AT_SCALES,
  KOI_AT_POOL,    /* id: kind * KOI_SLABS + slab */
  KOI_AT_TABLES,  /* the page tables */
  KOI_AT_FEED,    /* `at` bytes into what the step feeds */
  KOI_AT_FIXED,   /* 0: group ids, which never change; 1: KOI_ARRIVALS ints, which are 0 between calls */
  KOI_AT_HOST,    /* host memory that a step is given; `at`, and id: KOI_HOST_* */
} koi_space;
enum { KOI_ARRIVALS = 1024 };

/* Host memory between devices: streams that come from the stage before, that go to the next, and what routed experts elsewhere take and give. */
enum { KOI_HOST_IN, KOI_HOST_OUT, KOI_HOST_EXPERTS, KOI_N_HOST };

typedef struct koi_ref { koi_space space; uint32_t id; uint64_t at; } koi_ref; /* at: bytes from the buffer's begin */

/* Numbers that follow from positions. Those by ratio: KOI_SYM_RATIO + KOI_N_RATIO_SYMS * i + one of the second list, i into koi_caches.ratios;
 * those of a round of the indexer: behind them, as koi_sym_round says. */
enum { KOI_SYM_NONE, KOI_SYM_SEQS /* sequences in the step */, KOI_SYM_SPLITS, KOI_SYM_SPLIT_ROWS, KOI_SYM_RATIO };
enum {
  KOI_SYM_WINDOWS,     /* windows that close in the step */
  KOI_SYM_MARKS,       /* marks that the step passes and that carry something over */
  KOI_SYM_ALL,         /* 1: tokens attend to all compressed rows; 0: to chosen ones */
  KOI_SYM_CHOSEN,      /* the other way round; 0 without an indexer */
  KOI_SYM_C_SPLITS, KOI_SYM_C_SPLIT_ROWS,
  KOI_N_RATIO_SYMS
};
static inline uint16_t koi_sym_ratio(size_t i, int which) { return (uint16_t)(KOI_SYM_RATIO + KOI_N_RATIO_SYMS * (int)i + which); }
/* Rows that round r of a ratio's indexer scores. */
static inline uint16_t koi_sym_round(size_t n_ratios, size_t n_rounds, size_t i, size_t r)
{
  return (uint16_t)(KOI_SYM_RATIO + KOI_N_RATIO_SYMS * n_ratios + i * n_rounds + r);
}

typedef enum koi_call_kind {
  KOI_CALL_OP, KOI_CALL_FEED, KOI_CALL_READ,
  KOI_CALL_GIVE, KOI_CALL_TAKE, /* to host memory, from it */
  KOI_CALL_AWAY, KOI_CALL_BACK, /* the experts' device begins the layer; has given what it made */
} koi_call_kind;
enum { KOI_FROM, KOI_TO }; /* buffers of the kinds that are no op */

typedef struct koi_call {
  koi_call_kind kind;
  int32_t layer;                 /* -1 before the first, n_layers behind the last */
  uint16_t when;                 /* a symbol: the call is left out while it is 0; KOI_SYM_NONE: never */
  /* KOI_CALL_OP */
  const koi_op *op;
  int32_t c[KOI_MAX_CONSTS];
  int32_t i[KOI_MAX_INTS];
  uint16_t sym[KOI_MAX_INTS];    /* not KOI_SYM_NONE: the symbol's value stands in place of i */
  float f[KOI_MAX_FLOATS];
  koi_ref buf[KOI_MAX_BUFS];
  /* GIVE, TAKE: from KOI_FROM to KOI_TO. READ: KOI_FROM to row `row` of the step's logits. FEED: what the step feeds. */
  uint64_t bytes;
  uint32_t row;
} koi_call;

typedef struct koi_calls { koi_call *v; size_t n, cap; } koi_calls;

/* A zeroed call at the end of the list, or NULL. */
koi_call *koi_calls_add(koi_calls *l);
void koi_calls_free(koi_calls *l);
/* Whether any number of the call is a symbol. */
bool koi_call_changes(const koi_call *c);
/* The call's arguments with symbols' values, buffers left NULL: what launch rules, flops and bytes read. syms may be NULL: all 1. */
void koi_call_args(const koi_call *c, const int32_t *syms, koi_args *out);
/* Flops and least bytes moved by a list, without those calls that `syms` leave out. */
typedef struct koi_cost { double flops, bytes; size_t launches; } koi_cost;
koi_cost koi_calls_cost(const koi_calls *l, const int32_t *syms);
#endif
