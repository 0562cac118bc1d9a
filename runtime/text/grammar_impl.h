/* The records of a grammar, which grammar.c writes and grammar_state.c reads. */
#ifndef KOI_GRAMMAR_IMPL_H
#define KOI_GRAMMAR_IMPL_H
#include "grammar.h"

typedef enum node_kind { NODE_END, NODE_NEVER, NODE_BYTES, NODE_EITHER, NODE_CALL, NODE_REPEAT } node_kind;
typedef struct koi_node {
  node_kind kind;
  uint32_t next;        /* EITHER: the one */
  uint32_t other;       /* BYTES: the set; EITHER: the other; CALL, REPEAT: the rule */
  uint32_t least, most; /* REPEAT */
} koi_node;

/* A call to return from: interned, so that equal stacks have one number. Frame 0 is the bottom. */
typedef struct koi_frame {
  uint32_t node;   /* the CALL or REPEAT */
  uint32_t count;  /* REPEAT: how often before */
  uint32_t parent;
  uint32_t depth;
  uint32_t rest;   /* bytes of the shortest text from this rule's end to the end of all */
} koi_frame;

typedef struct koi_place {
  uint32_t node, frame; /* a BYTES node */
} koi_place;

typedef struct koi_state {
  uint32_t first, n; /* its places */
  uint32_t least;
  bool accepts;
  int32_t to[256];   /* UNKNOWN until asked */
} koi_state;

/* Numbers by the hash of what they stand for, in open addressing; a free slot has number 0, so that a number is kept as one more. */
typedef struct koi_index_slot {
  uint64_t hash;
  uint32_t number;
} koi_index_slot;
typedef struct koi_index {
  koi_index_slot *slots;
  size_t cap, n;
} koi_index;

struct koi_grammar {
  koi_node *nodes;
  koi_byte_set *sets;
  uint32_t *rules;       /* their starts */
  uint32_t *node_least;  /* bytes of the shortest text from a node to its rule's end */
  uint32_t *rule_least;
  size_t n_nodes, cap_nodes, n_sets, cap_sets, n_rules, cap_rules;
  bool failed;           /* memory */

  koi_frame *frames;
  koi_place *places;     /* of all states */
  koi_state *states;
  size_t n_frames, cap_frames, n_places, cap_places, n_states, cap_states;
  koi_index frame_index, state_index;
  koi_place *work;       /* a closure while it is made: nodes of all kinds, each with its frame */
  size_t n_work, cap_work;
};

/* Room for one more of a list; false and g->failed without memory. */
bool koi_grammar_room(koi_grammar *g, void *list, size_t n, size_t *cap, size_t size);
static inline uint32_t koi_grammar_sum(uint32_t a, uint32_t b) { return a > UINT32_MAX - b ? UINT32_MAX : a + b; }
#endif
