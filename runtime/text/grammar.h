/* What bytes a text may have: rules of byte sets, alternatives, calls and repetitions, and an automaton that reads a text byte by byte.
 *
 * A grammar is written from its end: each builder takes the node that follows and returns the node to start at. A rule may be called
 * before it is set, and by itself. The automaton is made as it is used: a state is a set of places in the grammar, each with the calls
 * it has to return from, and keeps where each byte leads.
 *
 * Threads: a grammar and its automaton are used by one thread at a time. */
#ifndef KOI_GRAMMAR_H
#define KOI_GRAMMAR_H
#include "base/base.h"

typedef struct koi_grammar koi_grammar;

#define KOI_GRAMMAR_MARK "\xff" /* a control token's byte: no UTF-8 has it */

typedef struct koi_byte_set {
  uint64_t bits[4];
} koi_byte_set;
static inline void koi_byte_set_add(koi_byte_set *s, unsigned from, unsigned to) /* both ends belong to it */
{
  for (unsigned b = from; b <= to; b++) s->bits[b / 64] |= (uint64_t)1 << b % 64;
}
static inline bool koi_byte_set_has(const koi_byte_set *s, unsigned char b) { return s->bits[b / 64] >> b % 64 & 1; }

enum { KOI_GRAMMAR_END = 0, KOI_GRAMMAR_NEVER = 1 }; /* nodes of every grammar: the end of the rule, and what nothing fits */
#define KOI_GRAMMAR_ENDLESS UINT32_MAX               /* as the most repetitions, or the least bytes */

koine_status koi_grammar_new(koi_grammar **out);
void koi_grammar_free(koi_grammar *g);

/* ---- writing: a failed allocation is remembered, koi_grammar_finish tells it ---- */
uint32_t koi_grammar_rule(koi_grammar *g); /* a rule to be set; the first one is where a text starts */
void koi_grammar_set(koi_grammar *g, uint32_t rule, uint32_t start);
uint32_t koi_grammar_bytes(koi_grammar *g, const koi_byte_set *set, uint32_t next);
uint32_t koi_grammar_text(koi_grammar *g, const char *s, size_t n, uint32_t next);
uint32_t koi_grammar_either(koi_grammar *g, uint32_t a, uint32_t b);
uint32_t koi_grammar_call(koi_grammar *g, uint32_t rule, uint32_t next);
/* `rule` least to most times; most may be KOI_GRAMMAR_ENDLESS. */
uint32_t koi_grammar_repeat(koi_grammar *g, uint32_t rule, uint32_t least, uint32_t most, uint32_t next);
size_t koi_grammar_size(const koi_grammar *g); /* nodes until now */

/* No more is written. KOINE_ERR_ARG when no text fits, or when a rule comes to itself without a byte between: *rule names it. */
koine_status koi_grammar_finish(koi_grammar *g, uint32_t *rule);

/* ---- reading: states are numbers ---- */
enum { KOI_GRAMMAR_DEAD = -1 };
/* Where a text starts; all states of before are forgotten. KOINE_ERR_MEMORY. */
koine_status koi_grammar_start(koi_grammar *g, int32_t *state);
/* The state after one more byte; KOI_GRAMMAR_DEAD: no text goes on so. -2: out of memory. */
int32_t koi_grammar_step(koi_grammar *g, int32_t state, unsigned char byte);
bool koi_grammar_accepts(const koi_grammar *g, int32_t state);  /* the text may end here */
bool koi_grammar_goes_on(const koi_grammar *g, int32_t state);  /* a byte may follow */
uint32_t koi_grammar_least(const koi_grammar *g, int32_t state); /* bytes that the shortest ending has */
/* Forgets all states but *state, whose number changes, once there are more than `most`. */
koine_status koi_grammar_trim(koi_grammar *g, size_t most, int32_t *state);
size_t koi_grammar_n_states(const koi_grammar *g);
#endif
