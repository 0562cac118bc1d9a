/* Owns: the automaton of a grammar: frames, states and where bytes lead, each made when it is first asked for.
 * Does not: write grammars (grammar.c). Invariant: equal frames have one number, and so have equal sets of places. */
#include <string.h>
#include "grammar_impl.h"

enum { UNKNOWN = -3, NO_MEMORY = -2, DEEPEST = 400 }; /* calls in calls: what is deeper many readers of JSON refuse */
#define NONE UINT32_MAX

/* ---- numbers by what they stand for ---- */
static bool widen(koi_grammar *g, koi_index *x)
{
  if (x->n * 2 < x->cap) return true;
  koi_index wider = {.cap = x->cap ? x->cap * 2 : 256, .n = x->n};
  wider.slots = koi_alloc(wider.cap, sizeof *wider.slots);
  if (!wider.slots) return g->failed = true, false;
  for (size_t i = 0; i < x->cap; i++) {
    if (!x->slots[i].number) continue;
    size_t at = x->slots[i].hash & (wider.cap - 1);
    while (wider.slots[at].number) at = (at + 1) & (wider.cap - 1);
    wider.slots[at] = x->slots[i];
  }
  koi_free(x->slots);
  *x = wider;
  return true;
}

static void keep(koi_index *x, uint64_t hash, uint32_t number)
{
  size_t at = hash & (x->cap - 1);
  while (x->slots[at].number) at = (at + 1) & (x->cap - 1);
  x->slots[at] = (koi_index_slot){hash, number + 1};
  x->n++;
}

/* ---- frames ---- */
/* What is left to be written once the frame's rule has ended for this time. */
static uint32_t rest_of(const koi_grammar *g, uint32_t node, uint32_t count, uint32_t parent)
{
  const koi_node *n = &g->nodes[node];
  uint32_t rest = koi_grammar_sum(g->node_least[n->next], g->frames[parent].rest);
  if (n->kind != NODE_REPEAT) return rest;
  for (uint32_t k = count + 1; k < n->least && rest < UINT32_MAX && g->rule_least[n->other]; k++) rest = koi_grammar_sum(rest, g->rule_least[n->other]);
  return rest;
}

static uint32_t frame(koi_grammar *g, uint32_t node, uint32_t count, uint32_t parent)
{
  const uint32_t key[3] = {node, count, parent};
  uint64_t hash = koi_hash(key, sizeof key, 0);
  if (g->frames[parent].depth >= DEEPEST || !widen(g, &g->frame_index)) return NONE;
  const koi_index *x = &g->frame_index;
  for (size_t at = hash & (x->cap - 1); x->slots[at].number; at = (at + 1) & (x->cap - 1)) {
    const koi_frame *f = &g->frames[x->slots[at].number - 1];
    if (x->slots[at].hash == hash && f->node == node && f->count == count && f->parent == parent) return x->slots[at].number - 1;
  }
  if (!koi_grammar_room(g, &g->frames, g->n_frames, &g->cap_frames, sizeof *g->frames)) return NONE;
  g->frames[g->n_frames] = (koi_frame){node, count, parent, g->frames[parent].depth + 1, rest_of(g, node, count, parent)};
  keep(&g->frame_index, hash, (uint32_t)g->n_frames);
  return (uint32_t)g->n_frames++;
}

/* ---- closures: what is reached without a byte ---- */
static void reach(koi_grammar *g, uint32_t node, uint32_t frame)
{
  if (node == KOI_GRAMMAR_NEVER || frame == NONE) return;
  for (size_t i = 0; i < g->n_work; i++)
    if (g->work[i].node == node && g->work[i].frame == frame) return;
  if (koi_grammar_room(g, &g->work, g->n_work, &g->cap_work, sizeof *g->work)) g->work[g->n_work++] = (koi_place){node, frame};
}

/* The rule above has ended: on behind its call, or once more. */
static void leave(koi_grammar *g, uint32_t from)
{
  const koi_frame f = g->frames[from];
  const koi_node *n = &g->nodes[f.node];
  if (!from) return;
  uint32_t done = f.count + 1;
  if (n->kind == NODE_CALL || done >= n->least) reach(g, n->next, f.parent);
  if (n->kind == NODE_CALL || done >= n->most) return;
  if (n->most == KOI_GRAMMAR_ENDLESS && done > n->least) done = n->least; /* beyond that, how often does not matter */
  reach(g, g->rules[n->other], frame(g, f.node, done, f.parent));
}

static bool close_work(koi_grammar *g, bool *accepts)
{
  *accepts = false;
  for (size_t i = 0; i < g->n_work && !g->failed; i++) {
    const koi_place at = g->work[i];
    const koi_node *n = &g->nodes[at.node];
    if (n->kind == NODE_END) *accepts |= !at.frame, leave(g, at.frame);
    if (n->kind == NODE_EITHER) reach(g, n->next, at.frame), reach(g, n->other, at.frame);
    if (n->kind == NODE_CALL) reach(g, g->rules[n->other], frame(g, at.node, 0, at.frame));
    if (n->kind == NODE_REPEAT) {
      if (!n->least) reach(g, n->next, at.frame);
      reach(g, g->rules[n->other], frame(g, at.node, 0, at.frame));
    }
  }
  return !g->failed;
}

/* ---- states ---- */
static bool same_state(const koi_grammar *g, const koi_state *s, const koi_place *p, size_t n, bool accepts)
{
  return s->n == n && s->accepts == accepts && !memcmp(g->places + s->first, p, n * sizeof *p);
}

static bool new_state(koi_grammar *g, bool accepts, size_t n)
{
  size_t all;
  if (!koi_grammar_room(g, &g->states, g->n_states, &g->cap_states, sizeof *g->states)) return false;
  while (koi_add(g->n_places, n, &all) && all > g->cap_places)
    if (!koi_grammar_room(g, &g->places, g->cap_places, &g->cap_places, sizeof *g->places)) return false;
  koi_state *s = &g->states[g->n_states];
  *s = (koi_state){.first = (uint32_t)g->n_places, .n = (uint32_t)n, .least = accepts ? 0 : UINT32_MAX, .accepts = accepts};
  for (size_t i = 0; i < n; i++) {
    const koi_place p = g->places[g->n_places++] = g->work[i];
    uint32_t least = koi_grammar_sum(g->node_least[p.node], g->frames[p.frame].rest);
    if (least < s->least) s->least = least;
  }
  for (size_t b = 0; b < 256; b++) s->to[b] = UNKNOWN;
  return true;
}

/* The state of what `work` reaches; NO_MEMORY. */
static int32_t settle(koi_grammar *g)
{
  bool accepts;
  size_t n = 0;
  if (!close_work(g, &accepts)) return NO_MEMORY;
  for (size_t i = 0; i < g->n_work; i++)
    if (g->nodes[g->work[i].node].kind == NODE_BYTES) g->work[n++] = g->work[i];
  if (!n && !accepts) return KOI_GRAMMAR_DEAD;
  uint64_t hash = koi_hash(g->work, n * sizeof *g->work, accepts);
  if (!widen(g, &g->state_index)) return NO_MEMORY;
  const koi_index *x = &g->state_index;
  for (size_t at = hash & (x->cap - 1); x->slots[at].number; at = (at + 1) & (x->cap - 1)) {
    uint32_t number = x->slots[at].number - 1;
    if (x->slots[at].hash == hash && same_state(g, &g->states[number], g->work, n, accepts)) return (int32_t)number;
  }
  if (!new_state(g, accepts, n)) return NO_MEMORY;
  keep(&g->state_index, hash, (uint32_t)g->n_states);
  return (int32_t)g->n_states++;
}

static void forget(koi_grammar *g)
{
  koi_index *const both[] = {&g->frame_index, &g->state_index};
  for (size_t i = 0; i < 2; i++) {
    both[i]->n = 0;
    if (both[i]->slots) memset(both[i]->slots, 0, both[i]->cap * sizeof *both[i]->slots);
  }
  g->n_frames = g->n_places = g->n_states = 0;
}

/* The bottom frame: an end there is the end of all. */
static bool bottom(koi_grammar *g)
{
  if (!koi_grammar_room(g, &g->frames, 0, &g->cap_frames, sizeof *g->frames)) return false;
  g->frames[0] = (koi_frame){0};
  g->n_frames = 1;
  return true;
}

koine_status koi_grammar_start(koi_grammar *g, int32_t *state)
{
  g->failed = false;
  forget(g);
  if (!bottom(g)) return KOINE_ERR_MEMORY;
  g->n_work = 0;
  reach(g, g->rules[0], 0);
  int32_t s = g->failed ? NO_MEMORY : settle(g);
  if (s == NO_MEMORY) return KOINE_ERR_MEMORY;
  *state = s;
  return KOINE_OK;
}

int32_t koi_grammar_step(koi_grammar *g, int32_t state, unsigned char byte)
{
  if (state < 0) return state;
  const koi_state *s = &g->states[state];
  if (s->to[byte] != UNKNOWN) return s->to[byte];
  g->n_work = 0;
  for (uint32_t i = 0; i < s->n; i++) {
    const koi_place p = g->places[s->first + i];
    const koi_node *n = &g->nodes[p.node];
    if (koi_byte_set_has(&g->sets[n->other], byte)) reach(g, n->next, p.frame);
  }
  int32_t to = g->failed ? NO_MEMORY : settle(g);
  if (to == NO_MEMORY) return g->failed = false, NO_MEMORY;
  return g->states[state].to[byte] = to;
}

bool koi_grammar_accepts(const koi_grammar *g, int32_t state) { return state >= 0 && g->states[state].accepts; }
bool koi_grammar_goes_on(const koi_grammar *g, int32_t state) { return state >= 0 && g->states[state].n; }
uint32_t koi_grammar_least(const koi_grammar *g, int32_t state) { return state >= 0 ? g->states[state].least : UINT32_MAX; }
size_t koi_grammar_n_states(const koi_grammar *g) { return g->n_states; }

/* ---- forgetting ---- */
/* A frame of before among those of now: its parents first. */
static uint32_t carry(koi_grammar *g, const koi_frame *old, uint32_t number)
{
  uint32_t way[DEEPEST + 1], n = 0, now = 0;
  for (; number; number = old[number].parent) way[n++] = number;
  while (n-- && now != NONE) now = frame(g, old[way[n]].node, old[way[n]].count, now);
  return now;
}

koine_status koi_grammar_trim(koi_grammar *g, size_t most, int32_t *state)
{
  if (g->n_states <= most || *state < 0) return KOINE_OK;
  const koi_state s = g->states[*state];
  koi_frame *frames = g->frames;
  koi_place *places = g->places;
  g->frames = NULL, g->places = NULL, g->cap_frames = g->cap_places = 0;
  forget(g);
  bool fine = bottom(g);
  g->n_work = 0;
  for (uint32_t i = 0; i < s.n && fine; i++) reach(g, places[s.first + i].node, carry(g, frames, places[s.first + i].frame));
  if (fine && s.accepts) reach(g, KOI_GRAMMAR_END, 0);
  int32_t now = fine && !g->failed ? settle(g) : NO_MEMORY;
  koi_free(frames);
  koi_free(places);
  if (now == NO_MEMORY) return KOINE_ERR_MEMORY;
  *state = now;
  return KOINE_OK;
}
