/* Owns: the nodes and rules of a grammar, the shortest text of each, and the search for rules that never end.
 * Does not: read texts (grammar_state.c). Invariant: node 0 ends a rule, node 1 fits nothing. */
#include <string.h>
#include "grammar_impl.h"

bool koi_grammar_room(koi_grammar *g, void *list, size_t n, size_t *cap, size_t size)
{
  if (n < *cap) return true;
  void **p = list;
  size_t more = *cap ? *cap * 2 : 64;
  void *grown = more < UINT32_MAX / 2 ? koi_realloc(*p, more, size) : NULL;
  if (!grown) return g->failed = true, false;
  *p = grown, *cap = more;
  return true;
}

static uint32_t node(koi_grammar *g, koi_node n)
{
  if (g->failed || !koi_grammar_room(g, &g->nodes, g->n_nodes, &g->cap_nodes, sizeof *g->nodes)) return KOI_GRAMMAR_NEVER;
  g->nodes[g->n_nodes] = n;
  return (uint32_t)g->n_nodes++;
}

koine_status koi_grammar_new(koi_grammar **out)
{
  koi_grammar *g = koi_alloc(1, sizeof *g);
  if (!g) return KOINE_ERR_MEMORY;
  node(g, (koi_node){.kind = NODE_END});
  node(g, (koi_node){.kind = NODE_NEVER});
  if (g->failed) return koi_grammar_free(g), KOINE_ERR_MEMORY;
  *out = g;
  return KOINE_OK;
}

void koi_grammar_free(koi_grammar *g)
{
  if (!g) return;
  void *const lists[] = {g->nodes, g->sets, g->rules, g->node_least, g->rule_least, g->frames, g->places, g->states, g->frame_index.slots, g->state_index.slots, g->work};
  for (size_t i = 0; i < KOI_COUNT(lists); i++) koi_free(lists[i]);
  koi_free(g);
}

uint32_t koi_grammar_rule(koi_grammar *g)
{
  if (g->failed || !koi_grammar_room(g, &g->rules, g->n_rules, &g->cap_rules, sizeof *g->rules)) return 0;
  g->rules[g->n_rules] = KOI_GRAMMAR_NEVER;
  return (uint32_t)g->n_rules++;
}

void koi_grammar_set(koi_grammar *g, uint32_t rule, uint32_t start)
{
  if (!g->failed) g->rules[rule] = start;
}

uint32_t koi_grammar_bytes(koi_grammar *g, const koi_byte_set *set, uint32_t next)
{
  size_t i = 0; /* few different sets are used often */
  while (i < g->n_sets && i < 64 && memcmp(&g->sets[i], set, sizeof *set)) i++;
  if (i == g->n_sets || i == 64) {
    if (g->failed || !koi_grammar_room(g, &g->sets, g->n_sets, &g->cap_sets, sizeof *g->sets)) return KOI_GRAMMAR_NEVER;
    g->sets[i = g->n_sets++] = *set;
  }
  return node(g, (koi_node){.kind = NODE_BYTES, .next = next, .other = (uint32_t)i});
}

uint32_t koi_grammar_text(koi_grammar *g, const char *s, size_t n, uint32_t next)
{
  while (n--) {
    koi_byte_set one = {0};
    koi_byte_set_add(&one, (unsigned char)s[n], (unsigned char)s[n]);
    next = koi_grammar_bytes(g, &one, next);
  }
  return next;
}

uint32_t koi_grammar_either(koi_grammar *g, uint32_t a, uint32_t b)
{
  if (a == KOI_GRAMMAR_NEVER || a == b) return b;
  return b == KOI_GRAMMAR_NEVER ? a : node(g, (koi_node){.kind = NODE_EITHER, .next = a, .other = b});
}

uint32_t koi_grammar_call(koi_grammar *g, uint32_t rule, uint32_t next) { return node(g, (koi_node){.kind = NODE_CALL, .next = next, .other = rule}); }

uint32_t koi_grammar_repeat(koi_grammar *g, uint32_t rule, uint32_t least, uint32_t most, uint32_t next)
{
  if (!most) return next;
  return node(g, (koi_node){.kind = NODE_REPEAT, .next = next, .other = rule, .least = least, .most = most});
}

size_t koi_grammar_size(const koi_grammar *g) { return g->n_nodes; }

/* ---- the shortest texts ---- */
static uint32_t times(uint32_t n, uint32_t bytes)
{
  uint64_t all = bytes == UINT32_MAX && n ? UINT32_MAX : (uint64_t)n * bytes;
  return all < UINT32_MAX ? (uint32_t)all : UINT32_MAX;
}

static uint32_t least_of(const koi_grammar *g, const koi_node *n)
{
  const uint32_t *least = g->node_least;
  switch (n->kind) {
  case NODE_END: return 0;
  case NODE_NEVER: return UINT32_MAX;
  case NODE_BYTES: return koi_grammar_sum(1, least[n->next]);
  case NODE_EITHER: return least[n->next] < least[n->other] ? least[n->next] : least[n->other];
  case NODE_CALL: return koi_grammar_sum(g->rule_least[n->other], least[n->next]);
  case NODE_REPEAT: return koi_grammar_sum(times(n->least, g->rule_least[n->other]), least[n->next]);
  }
  return UINT32_MAX;
}

/* Until nothing changes: a node's successors have lower numbers, so a round settles what calls nothing that is open. */
static void find_least(koi_grammar *g)
{
  memset(g->node_least, 0xff, g->n_nodes * sizeof *g->node_least);
  memset(g->rule_least, 0xff, g->n_rules * sizeof *g->rule_least);
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t i = 0; i < g->n_nodes; i++) {
      uint32_t v = least_of(g, &g->nodes[i]);
      if (v < g->node_least[i]) g->node_least[i] = v, changed = true;
    }
    for (size_t r = 0; r < g->n_rules; r++) {
      uint32_t v = g->node_least[g->rules[r]];
      if (v < g->rule_least[r]) g->rule_least[r] = v, changed = true;
    }
  }
}

/* ---- rules that come to themselves without a byte between ---- */
typedef struct walk {
  koi_grammar *g;
  uint8_t *node_seen; /* [n_nodes] 1: on the way, 2: done */
  uint32_t *stack;    /* nodes on the way and to be visited */
  size_t n, cap;
} walk;

static bool push(walk *w, uint32_t node)
{
  if (!koi_grammar_room(w->g, &w->stack, w->n, &w->cap, sizeof *w->stack)) return false;
  w->stack[w->n++] = node;
  return true;
}

/* The nodes that are reached from one without reading a byte. */
static size_t without_a_byte(const koi_grammar *g, const koi_node *n, uint32_t to[2])
{
  switch (n->kind) {
  case NODE_EITHER: return to[0] = n->next, to[1] = n->other, 2;
  case NODE_CALL: to[0] = g->rules[n->other], to[1] = n->next; return g->rule_least[n->other] ? 1 : 2;
  case NODE_REPEAT: to[0] = g->rules[n->other], to[1] = n->next; return n->least && g->rule_least[n->other] ? 1 : 2;
  default: return 0;
  }
}

/* Depth first; a node met again while it is on the way is a circle. */
static bool circle_from(walk *w, uint32_t start)
{
  if (!push(w, start)) return false;
  while (w->n) {
    uint32_t at = w->stack[w->n - 1], to[2];
    if (w->node_seen[at]) {
      w->node_seen[at] = 2, w->n--;
      continue;
    }
    w->node_seen[at] = 1;
    size_t n = without_a_byte(w->g, &w->g->nodes[at], to);
    for (size_t k = 0; k < n; k++) {
      if (w->node_seen[to[k]] == 1) return true;
      if (!w->node_seen[to[k]] && !push(w, to[k])) return false;
    }
  }
  return false;
}

static bool comes_to_itself(koi_grammar *g, uint32_t *rule)
{
  walk w = {g, koi_alloc(g->n_nodes, 1), NULL, 0, 0};
  bool found = false;
  if (!w.node_seen) g->failed = true;
  for (size_t r = 0; r < g->n_rules && !found && !g->failed; r++)
    if (!w.node_seen[g->rules[r]] && (found = circle_from(&w, g->rules[r]))) *rule = (uint32_t)r;
  koi_free(w.node_seen);
  koi_free(w.stack);
  return found;
}

koine_status koi_grammar_finish(koi_grammar *g, uint32_t *rule)
{
  *rule = 0;
  if (g->failed) return KOINE_ERR_MEMORY;
  g->node_least = koi_alloc(g->n_nodes, sizeof *g->node_least);
  g->rule_least = koi_alloc(g->n_rules + 1, sizeof *g->rule_least);
  if (!g->node_least || !g->rule_least) return KOINE_ERR_MEMORY;
  find_least(g);
  if (comes_to_itself(g, rule)) return koi_error(KOINE_ERR_ARG, "expected a value that ends, found one that refers to itself");
  if (g->failed) return KOINE_ERR_MEMORY;
  return g->rule_least[0] == UINT32_MAX ? koi_error(KOINE_ERR_ARG, "no text fits") : KOINE_OK;
}
