/* Every kernel that a session can need, at wake: built side by side, then launched once, since some drivers compile at the first launch of a
 * work-group size, and anew for a range that 16 bits do not hold. Which kernels these are, the lists say: of chunks on either side of every
 * threshold, in both cache modes. */
#include <string.h>
#include "run.h"

enum { WIDE = 65535 }; /* the first size of a range that is compiled for anew (PoCL 3.1; there, work-items of a dimension) */

typedef struct wanted { koi_kern_request *v; size_t n, cap; } wanted;

static bool same_request(const koi_kern_request *a, const koi_kern_request *b)
{
  return a->op == b->op && a->bucket == b->bucket && !memcmp(a->c, b->c, sizeof a->c);
}

static koine_status want(wanted *w, const koi_call *c)
{
  koi_args a;
  koi_call_args(c, NULL, &a);
  koi_kern_request r = {.op = c->op, .bucket = koi_op_bucket(c->op, a.i, c->c)};
  memcpy(r.c, c->c, sizeof r.c);
  for (size_t i = 0; i < w->n; i++)
    if (same_request(&w->v[i], &r)) return KOINE_OK;
  koi_kern_request *v = koi_grow(w->v, w->n, &w->cap, sizeof *v);
  if (!v) return KOINE_ERR_MEMORY;
  w->v = v;
  w->v[w->n++] = r;
  return KOINE_OK;
}

/* Chunk sizes on either side of every threshold: powers of two and what follows them, as shape buckets and tunables have them. */
static uint32_t next_size(uint32_t n, uint32_t chunk)
{
  uint32_t power = 1;
  while (power < n) power *= 2;
  uint32_t next = n == power ? n + 1 : power;
  return n < chunk && next > chunk ? chunk : next;
}

/* The calls of a chunk of n tokens. */
static koine_status list_of(const koi_stage *st, uint32_t n, bool exact, koi_feed *feed, koi_calls *calls)
{
  koi_shape shape = {.n_tokens = n, .n_logits = n < KOI_HEAD_ROWS ? n : KOI_HEAD_ROWS, .n_rounds = 1, .n_seqs = n < KOI_MAX_SEQS ? n : KOI_MAX_SEQS,
                     .exact = exact};
  koi_graph g = koi_plan_graph(st->plan, &st->at);
  koine_status s = koi_feed_make(st->caches[exact], &shape, koi_stage_align(st), feed);
  return s ? s : koi_graph_calls(&g, st->caches[exact], feed, calls);
}

static koine_status want_list(koi_stage *st, wanted *w, uint32_t n, bool exact)
{
  koi_feed feed = {0};
  koi_calls calls = {0};
  koine_status s = list_of(st, n, exact, &feed, &calls);
  for (size_t i = 0; i < calls.n && !s; i++)
    if (calls.v[i].kind == KOI_CALL_OP) s = want(w, &calls.v[i]);
  koi_calls_free(&calls);
  koi_feed_free(&feed);
  return s;
}

/* ---- launching once ---- */
/* One page and slot of every kind, for the launches alone; `on` false: gives them back. */
static koine_status lend_pages(koi_stage *st, bool exact, bool on)
{
  bool grew = false;
  koine_status s = KOINE_OK;
  for (size_t k = 0; k < st->caches[exact]->n_kinds && !s; k++) {
    koi_pool *p = &st->pools[exact][k];
    uint64_t page_bytes = p->page_bytes, limit = p->limit;
    if (!page_bytes) continue; /* a stage without layers */
    if (on) s = koi_pool_reserve(p, 1, 1, &grew);
    else koi_pool_close(p), koi_pool_open(p, st->dev, limit, page_bytes);
  }
  return s;
}

typedef struct launch { koi_kernel *kernel; bool wide; } launch;
typedef struct launched { launch *v; size_t n, cap; } launched;

/* Whether this is the first of its kind; it counts as launched from now on. */
static koine_status first_launch(launched *l, launch one, bool *first)
{
  for (size_t i = 0; i < l->n; i++)
    if (l->v[i].kernel == one.kernel && l->v[i].wide == one.wide) return KOINE_OK;
  launch *v = koi_grow(l->v, l->n, &l->cap, sizeof *v);
  if (!v) return KOINE_ERR_MEMORY;
  l->v = v;
  l->v[l->n++] = one;
  *first = true;
  return KOINE_OK;
}

static koine_status launch_once(koi_stage *st, launched *l, koi_kernel *k, const koi_args *a)
{
  koi_range r;
  bool first = false;
  if (!koi_kern_range(k, a, &r)) return KOINE_OK;
  bool wide = !k->library && (r.global[0] >= WIDE || r.global[1] >= WIDE || r.global[2] >= WIDE);
  koine_status s = first_launch(l, (launch){k, wide}, &first);
  return s || !first ? s : koi_kern_launch(st->dev, k, a);
}

/* With the least that symbols can be, which is what a call is bound with, and the most. */
static koine_status launch_call(koi_stage *st, launched *l, const koi_call *c, bool exact, const int32_t *most)
{
  koi_args a;
  koi_kernel *k = NULL;
  koi_run_args(st, exact, c, NULL, &a);
  koine_status s = koi_kern_get(st->dev, c->op, c->c, koi_op_bucket(c->op, a.i, c->c), &k);
  if (!s && k) s = launch_once(st, l, k, &a);
  if (!s && k && koi_call_changes(c)) {
    koi_run_args(st, exact, c, most, &a);
    s = launch_once(st, l, k, &a);
  }
  return s ? koi_error_prefix(s, "op %s", c->op->name) : KOINE_OK;
}

static koine_status most_of(const koi_stage *st, const koi_feed *f, int32_t **out)
{
  const koi_graph g = koi_plan_graph(st->plan, &st->at);
  uint32_t n = f->shape.n_tokens;
  koi_splits splits = {koi_step_splits(&st->at.tunables, (int32_t)n), st->at.tunables.min_split_rows};
  *out = koi_alloc(f->n_syms, sizeof **out);
  if (!*out) return KOINE_ERR_MEMORY;
  koi_feed_most(f, &splits, koi_graph_round_rows(&g, n), st->model->config.max_context, *out);
  return KOINE_OK;
}

/* Zeros, but for windows, for which a short chunk has too few rows. */
static koine_status write_feed(koi_stage *st, const koi_feed *f)
{
  uint8_t *image = koi_alloc(f->bytes, 1);
  if (!image) return KOINE_ERR_MEMORY;
  koi_feed_of_states(f, image);
  koine_status s = st->dev->backend->write(st->dev, st->feed, 0, (size_t)f->bytes, image);
  koi_free(image);
  return s;
}

/* The first token of a conversation whose pages and slots are the first of every kind, as tables of zeros say: all that the calls read is
 * zero, or what an earlier call left there. */
static koine_status launch_list(koi_stage *st, launched *l, uint32_t n, bool exact)
{
  koi_feed feed = {0};
  koi_calls calls = {0};
  int32_t *most = NULL;
  koine_status s = list_of(st, n, exact, &feed, &calls);
  if (!s) s = most_of(st, &feed, &most);
  if (!s) s = write_feed(st, &feed);
  for (size_t i = 0; i < calls.n && !s; i++)
    if (calls.v[i].kind == KOI_CALL_OP) s = launch_call(st, l, &calls.v[i], exact, most);
  koi_free(most);
  koi_calls_free(&calls);
  koi_feed_free(&feed);
  return s;
}

koine_status koi_run_build(koi_stage *st, koine_progress_fn *progress, void *user)
{
  wanted w = {0};
  launched l = {0};
  koine_status s = KOINE_OK;
  for (int exact = 0; exact < 2; exact++)
    for (uint32_t n = 1; n <= st->plan->chunk && !s; n = next_size(n, st->plan->chunk)) s = want_list(st, &w, n, exact);
  if (!s) s = koi_kern_build_all(st->dev, w.v, w.n, progress, user);
  if (!s) s = koi_stage_clear(st);
  for (int exact = 0; exact < 2 && !s; exact++) {
    s = lend_pages(st, exact, true);
    for (uint32_t n = 1; n <= st->plan->chunk && !s; n = next_size(n, st->plan->chunk)) s = launch_list(st, &l, n, exact);
    koine_status done = st->dev->backend->finish(st->dev);
    if (!s) s = done;
    lend_pages(st, exact, false);
  }
  koi_free(w.v);
  koi_free(l.v);
  return s;
}
