/* See scratch.h. Owns nothing that outlives a call. Invariant: two buffers overlap in the arena only when in no list one of them is written
 * while a value of the other is still to be read. */
#include "scratch.h"
#include "kernels/layout.h"

static uint64_t max64(uint64_t a, uint64_t b) { return a > b ? a : b; }
static uint64_t min64(uint64_t a, uint64_t b) { return a < b ? a : b; }

bool koi_scratch_is_float(uint32_t id)
{
  enum { F = 1, I = 0 };
#define X(name, kind, n) kind,
  static const uint8_t is_float[] = {KOI_SCRATCH(X)};
#undef X
  return id < KOI_N_SCRATCH && is_float[id];
}

const char *koi_scratch_name(uint32_t id)
{
#define X(name, kind, n) #name,
  static const char *const names[] = {KOI_SCRATCH(X)};
#undef X
  return names[id];
}

uint64_t koi_scratch_panels(uint64_t n, uint64_t n_units, uint64_t nt) { return min64(koi_ceil_div(n, nt) + n_units, n); }

uint64_t koi_scratch_score_floats(const koi_tunables *t, uint64_t chunk, uint64_t context)
{
  uint64_t all = chunk * koi_ceil_div(context / KOI_CSA_RATIO + 1, 16) * 16;
  return min64(all, max64(t->score_floats, chunk * 256));
}

/* ---- sizes ---- */
typedef struct widest { uint64_t comp, icomp, windows, iwindows; } widest; /* over the layers */

static widest widest_of(const koine_model *m, uint32_t layer0, uint32_t layer1, uint64_t chunk)
{
  widest w = {0};
  for (uint32_t l = layer0; l < layer1; l++) {
    const koi_layer *y = &m->layers[l];
    if (y->kind == KOI_SLIDING) continue;
    uint64_t windows = chunk / y->cache.ratio + min64(chunk, KOI_MAX_SEQS);
    w.comp = max64(w.comp, (uint64_t)y->cache.coff * m->config.head_dim), w.windows = max64(w.windows, windows);
    if (y->kind == KOI_CSA) w.icomp = max64(w.icomp, (uint64_t)y->cache.coff * m->config.index_dim), w.iwindows = max64(w.iwindows, windows);
  }
  return w;
}

void koi_scratch_sizes(const koine_model *m, uint32_t layer0, uint32_t layer1, const koi_tunables *u, uint32_t chunk, koi_scratch *out)
{
  const koi_config *c = &m->config;
  widest w = widest_of(m, layer0, layer1, chunk);
  uint64_t t = chunk, nt = (uint64_t)u->nt, columns = koi_ceil_div(t, nt) * nt, hc = c->n_streams, d = c->hidden, streams = hc * d;
  uint64_t mix = (2 + hc) * hc, dh = c->head_dim, h = c->n_heads, heads = h * dh, q_rank = c->q_rank, o_rank = c->o_rank, groups = c->o_groups;
  uint64_t comp = w.comp, icomp = w.icomp, windows = w.windows, iwindows = w.iwindows, index = w.icomp > 0;
  uint64_t ih = c->index_dim, nh = c->index_heads, top_k = c->index_topk, scores = koi_scratch_score_floats(u, t, c->max_context);
  uint64_t strips = koi_tiles(d, KOI_STRIP), inter = c->inter, experts = c->n_experts, e = t * c->n_used, panels = 0, expert_columns = 0, group_columns = columns * groups, vocab = c->n_vocab;
  uint64_t hr = min64(t, KOI_HEAD_ROWS), head_columns = koi_ceil_div(hr, nt) * nt, part_rows = 0, wide = KOI_WIDE_BYTES / sizeof(float);
  for (uint32_t n = 1; n <= chunk; n++) {
    uint64_t width = (uint64_t)koi_step_group_panel(u, n, c->n_used, c->n_experts), some = koi_scratch_panels((uint64_t)n * c->n_used, experts, width);
    part_rows = max64(part_rows, (uint64_t)n * (uint64_t)koi_step_splits(u, (int32_t)n));
    panels = max64(panels, some), expert_columns = max64(expert_columns, some * width);
  }
#define X(name, kind, n) out->bytes[KOI_S_##name] = max64(n, 1) * 4;
  KOI_SCRATCH(X)
#undef X
}

/* ---- lifetimes ---- */
typedef struct span { size_t first, last; } span; /* calls, counted through all lists */
typedef struct life { span *v; size_t n, cap; } life;

static koine_status begin(life *l, size_t call)
{
  span *v = koi_grow(l->v, l->n, &l->cap, sizeof *v);
  if (!v) return KOINE_ERR_MEMORY;
  l->v = v;
  l->v[l->n++] = (span){call, call};
  return KOINE_OK;
}

/* One use of a buffer. A value begins where the buffer is written as a whole, or where a layer writes the first part of it. */
static koine_status use(life *l, size_t call, size_t layer_begin, bool reads, bool whole)
{
  span *now = l->n ? &l->v[l->n - 1] : NULL;
  bool fresh = !now || (!reads && (whole || now->last < layer_begin));
  if (fresh) return begin(l, call);
  now->last = call;
  return KOINE_OK;
}

static koine_status use_call(life *lives, const koi_call *c, size_t at, size_t layer_begin)
{
  for (size_t b = 0; b < KOI_MAX_BUFS; b++) {
    if (c->buf[b].space != KOI_AT_SCRATCH) continue;
    int access = c->kind == KOI_CALL_OP ? c->op->bufs[b].access : b == KOI_TO ? KOI_OUT : KOI_IN;
    bool reads = access & KOI_IN;
    for (size_t o = 0; o < KOI_MAX_BUFS && !reads; o++) /* in place through two arguments */
      reads = o != b && c->buf[o].space == KOI_AT_SCRATCH && c->buf[o].id == c->buf[b].id && c->kind == KOI_CALL_OP && (c->op->bufs[o].access & KOI_IN);
    koine_status s = use(&lives[c->buf[b].id], at, layer_begin, reads, access == KOI_OUT);
    if (s) return s;
  }
  return KOINE_OK;
}

static koine_status find_lives(const koi_calls *lists, size_t n, life *lives)
{
  size_t at = 0;
  for (size_t l = 0; l < n; l++) {
    size_t layer_begin = at;
    for (size_t i = 0; i < lists[l].n; i++, at++) {
      if (i && lists[l].v[i].layer != lists[l].v[i - 1].layer) layer_begin = at;
      koine_status s = use_call(lives, &lists[l].v[i], at, layer_begin);
      if (s) return s;
    }
  }
  return KOINE_OK;
}

static bool meet(const life *a, const life *b)
{
  for (size_t i = 0, j = 0; i < a->n && j < b->n;) {
    if (a->v[i].first <= b->v[j].last && b->v[j].first <= a->v[i].last) return true;
    if (a->v[i].last < b->v[j].last) i++;
    else j++;
  }
  return false;
}

/* ---- places ---- */
/* First offset at which buffer i meets none of those placed before it while both live. */
static uint64_t first_free(const koi_scratch *s, const life *lives, const uint32_t *order, size_t n_placed, uint32_t i)
{
  uint64_t at = 0;
  for (bool moved = true; moved;) {
    moved = false;
    for (size_t j = 0; j < n_placed; j++) {
      uint32_t o = order[j];
      if (at < s->at[o] + s->bytes[o] && s->at[o] < at + s->bytes[i] && meet(&lives[i], &lives[o])) at = s->at[o] + s->bytes[o], moved = true;
    }
  }
  return at;
}

static void place_all(const life *lives, uint64_t align, koi_scratch *s)
{
  uint32_t order[KOI_N_SCRATCH];
  size_t n = 0;
  s->arena_bytes = 0;
  for (uint32_t i = 0; i < KOI_N_SCRATCH; i++) {
    s->bytes[i] = koi_ceil_div(s->bytes[i], align) * align;
    if (!lives[i].n) continue;
    size_t j = n++;
    for (; j > 0 && s->bytes[order[j - 1]] < s->bytes[i]; j--) order[j] = order[j - 1];
    order[j] = i;
  }
  for (size_t j = 0; j < n; j++) {
    uint32_t i = order[j];
    s->at[i] = first_free(s, lives, order, j, i);
    s->arena_bytes = max64(s->arena_bytes, s->at[i] + s->bytes[i]);
  }
}

koine_status koi_scratch_place(const koi_calls *lists, size_t n, uint64_t align, koi_scratch *s)
{
  life lives[KOI_N_SCRATCH] = {0};
  koine_status status = find_lives(lists, n, lives);
  if (!status) place_all(lives, align, s);
  for (size_t i = 0; i < KOI_N_SCRATCH; i++) koi_free(lives[i].v);
  return status;
}
