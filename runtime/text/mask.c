/* Owns: the vocabulary in the order of its bytes, and for states of the grammar the set of tokens that fit.
 * Does not: know JSON or sampling. Invariant: a kept set belongs to the state of its number; both are forgotten together. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "mask.h"

enum { STATES = 6000, SETS = 256, LONGEST = 512 }; /* states and sets kept; a token with more bytes never fits */

typedef struct entry {
  const char *bytes;
  uint32_t id;
  uint16_t n, shared; /* bytes; how many of them the entry before has, too */
} entry;

typedef struct set {
  uint64_t *bits;  /* by id */
  uint32_t furthest; /* the most bytes that any of its tokens leaves to be written */
  bool any;
} set;

struct koi_mask {
  const koi_tok *tok;
  int32_t mark;
  koi_grammar *g;
  entry *entries;
  size_t n_entries, n_words; /* words of a set's bits */
  set *sets;                 /* [SETS], of the states in set_of */
  int32_t set_of[STATES * 2]; /* by state: which set, or -1 */
  size_t n_sets;
  set now;                   /* for the one step near the end of the answer */
  int32_t state;
};

static int in_order(const void *a, const void *b)
{
  const entry *x = a, *y = b;
  int c = memcmp(x->bytes, y->bytes, x->n < y->n ? x->n : y->n);
  return c ? c : x->n != y->n ? (x->n > y->n) - (x->n < y->n) : (x->id > y->id) - (x->id < y->id);
}

/* The bytes that a token is for the grammar; none for one that never fits. */
static size_t piece(const koi_mask *m, int32_t id, const char **bytes)
{
  size_t n;
  koi_tok_piece(m->tok, id, bytes, &n);
  if (id == m->mark) return *bytes = KOI_GRAMMAR_MARK, 1;
  return koi_tok_is_added(m->tok, id) || (m->mark >= 0 && memchr(*bytes, KOI_GRAMMAR_MARK[0], n)) ? 0 : n;
}

static void sort_vocabulary(koi_mask *m)
{
  for (size_t id = 0; id < koi_tok_n_vocab(m->tok); id++) {
    const char *bytes;
    size_t n = piece(m, (int32_t)id, &bytes);
    if (n && n <= LONGEST) m->entries[m->n_entries++] = (entry){bytes, (uint32_t)id, (uint16_t)n, 0};
  }
  qsort(m->entries, m->n_entries, sizeof *m->entries, in_order);
  for (size_t i = 1; i < m->n_entries; i++) {
    const entry *before = &m->entries[i - 1];
    entry *e = &m->entries[i];
    while (e->shared < e->n && e->shared < before->n && e->bytes[e->shared] == before->bytes[e->shared]) e->shared++;
  }
}

koine_status koi_mask_open(const koi_tok *tok, koi_grammar *grammar, int32_t mark, koi_mask **out)
{
  koi_mask *m = koi_alloc(1, sizeof *m);
  if (!m) return koi_grammar_free(grammar), KOINE_ERR_MEMORY;
  m->tok = tok, m->mark = mark, m->g = grammar, m->n_words = (koi_tok_n_vocab(tok) + 63) / 64;
  m->entries = koi_alloc(koi_tok_n_vocab(tok) + 1, sizeof *m->entries);
  m->sets = koi_alloc(SETS, sizeof *m->sets);
  m->now.bits = koi_alloc(m->n_words + 1, sizeof *m->now.bits);
  koine_status s = m->entries && m->sets && m->now.bits ? KOINE_OK : KOINE_ERR_MEMORY;
  if (!s) sort_vocabulary(m), s = koi_mask_start(m);
  if (s) koi_mask_close(m);
  else *out = m;
  return s;
}

static void forget_sets(koi_mask *m)
{
  memset(m->set_of, 0xff, sizeof m->set_of);
  m->n_sets = 0;
}

void koi_mask_close(koi_mask *m)
{
  if (!m) return;
  for (size_t i = 0; m->sets && i < SETS; i++) koi_free(m->sets[i].bits);
  koi_free(m->sets);
  koi_free(m->now.bits);
  koi_free(m->entries);
  koi_grammar_free(m->g);
  koi_free(m);
}

koine_status koi_mask_start(koi_mask *m)
{
  forget_sets(m);
  return koi_grammar_start(m->g, &m->state);
}

/* The tokens that fit after the state, of which the text can be ended with at most `most` bytes more. */
static koine_status fill(koi_mask *m, uint32_t most, set *out)
{
  int32_t way[LONGEST + 1]; /* the state after each byte of the entry at hand */
  size_t alive = 0;         /* of its bytes, those that fit */
  memset(out->bits, 0, m->n_words * sizeof *out->bits);
  out->furthest = 0, out->any = false;
  way[0] = m->state;
  for (size_t i = 0; i < m->n_entries; i++) {
    const entry *e = &m->entries[i];
    if (e->shared > alive) continue; /* the byte that did not fit is theirs, too */
    for (alive = e->shared; alive < e->n; alive++) {
      int32_t to = koi_grammar_step(m->g, way[alive], (unsigned char)e->bytes[alive]);
      if (to == KOI_GRAMMAR_DEAD) break;
      if (to < 0) return KOINE_ERR_MEMORY;
      way[alive + 1] = to;
    }
    if (alive < e->n) continue;
    uint32_t least = koi_grammar_least(m->g, way[alive]);
    if (least > most) continue;
    out->bits[e->id / 64] |= (uint64_t)1 << e->id % 64;
    out->any = true;
    if (least > out->furthest) out->furthest = least;
  }
  return KOINE_OK;
}

static koine_status set_for_state(koi_mask *m, set **out)
{
  int32_t *which = m->state < STATES * 2 ? &m->set_of[m->state] : NULL;
  if (which && *which >= 0) return *out = &m->sets[*which], KOINE_OK;
  if (m->n_sets == SETS || !which) forget_sets(m);
  set *s = &m->sets[m->n_sets];
  if (!s->bits && !(s->bits = koi_alloc(m->n_words + 1, sizeof *s->bits))) return KOINE_ERR_MEMORY;
  koine_status status = fill(m, UINT32_MAX, s);
  if (!status && which) *which = (int32_t)m->n_sets++;
  *out = s;
  return status;
}

static void leave_only(const koi_mask *m, const set *s, float *logits, size_t n)
{
  bool ends = koi_grammar_accepts(m->g, m->state);
  for (size_t id = 0; id < n; id++) {
    bool fits = id / 64 < m->n_words && s->bits[id / 64] >> id % 64 & 1;
    if (!fits && !(ends && id < koi_tok_n_vocab(m->tok) && koi_tok_is_eos(m->tok, (int32_t)id))) logits[id] = -INFINITY;
  }
}

koine_status koi_mask_apply(koi_mask *m, float *logits, size_t n, uint64_t room)
{
  size_t before = koi_grammar_n_states(m->g);
  koine_status s = koi_grammar_trim(m->g, STATES, &m->state);
  if (koi_grammar_n_states(m->g) < before) forget_sets(m);
  set *fits = NULL;
  if (!s) s = set_for_state(m, &fits);
  /* A byte needs a token at most: with as many tokens as bytes the text can be ended. */
  uint32_t least = koi_grammar_least(m->g, m->state), most = room - 1 < UINT32_MAX ? (uint32_t)(room - 1) : UINT32_MAX;
  if (!s && room && least <= room && fits->furthest > most) {
    s = fill(m, most, &m->now);
    if (!s && (m->now.any || koi_grammar_accepts(m->g, m->state))) fits = &m->now;
  }
  if (s) return s;
  if (!fits->any && !koi_grammar_accepts(m->g, m->state))
    return koi_error(KOINE_ERR_UNSUPPORTED, "no token of the vocabulary goes on where the schema asks for another byte");
  leave_only(m, fits, logits, n);
  return KOINE_OK;
}

koine_status koi_mask_take(koi_mask *m, int32_t id)
{
  const char *bytes;
  if (koi_tok_is_eos(m->tok, id) && koi_grammar_accepts(m->g, m->state)) return KOINE_OK;
  size_t n = piece(m, id, &bytes);
  int32_t state = n ? m->state : KOI_GRAMMAR_DEAD;
  for (size_t i = 0; i < n && state >= 0; i++) state = koi_grammar_step(m->g, state, (unsigned char)bytes[i]);
  if (state == KOI_GRAMMAR_DEAD) return koi_error(KOINE_ERR_ARG, "token %d does not fit the schema", (int)id);
  if (state < 0) return KOINE_ERR_MEMORY;
  m->state = state;
  return KOINE_OK;
}

bool koi_mask_ended(const koi_mask *m) { return koi_grammar_accepts(m->g, m->state) && !koi_grammar_goes_on(m->g, m->state); }
