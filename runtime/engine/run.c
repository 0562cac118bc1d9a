/* See run.h. Owns the lists. Invariant: a bound list has the stage's buffers as they are now: who changes one forgets the lists. */
#include "run.h"
#include "gap.h"
#include "slots.h"
#include "run_impl.h"
#include <string.h>

/* ---- resolving ---- */
static koi_buf *buffer_of(const koi_stage *st, bool exact, const koi_ref *r)
{
  switch (r->space) {
  case KOI_AT_SCRATCH: return st->s[r->id];
  case KOI_AT_CODES: return st->put[r->id].codes;
  case KOI_AT_SCALES: return st->put[r->id].scales;
  case KOI_AT_POOL: return st->pools[exact][r->id / KOI_SLABS].slab[r->id % KOI_SLABS];
  case KOI_AT_TABLES: return st->tables;
  case KOI_AT_FEED: return st->feed;
  case KOI_AT_FIXED: return r->id ? st->arrivals : st->group_ids;
  case KOI_AT_HOST:
  case KOI_AT_NONE: break;
  }
  return NULL;
}

void koi_run_args(const koi_stage *st, bool exact, const koi_call *c, const int32_t *syms, koi_args *out)
{
  koi_call_args(c, syms, out);
  for (size_t i = 0; i < koi_op_n_bufs(c->op); i++) out->buf[i] = buffer_of(st, exact, &c->buf[i]), out->at[i] = (size_t)c->buf[i].at;
}

/* ---- binding ---- */
static koine_status bind_op(koi_stage *st, koi_list *l, koi_bound_call *b)
{
  const koi_call *c = b->call;
  koi_args a;
  koi_kernel *k = NULL;
  koi_run_args(st, l->shape.exact, c, l->syms, &a);
  koine_status s = koi_kern_get(st->dev, c->op, c->c, koi_op_bucket(c->op, a.i, c->c), &k);
  if (!s) s = koi_device_bind(st->dev, c->op, c->c, k, &a, &b->bound);
  if (s) return koi_error_prefix(s, "op %s", c->op->name);
  b->empty = k && !koi_kern_range(k, &a, &b->range);
  return KOINE_OK;
}

static koine_status bind_call(koi_stage *st, koi_list *l, size_t n)
{
  koi_bound_call *b = &l->v[n];
  b->call = &l->calls.v[n];
  l->n_bound = n + 1;
  if (b->call->kind == KOI_CALL_OP) return bind_op(st, l, b);
  b->from = buffer_of(st, l->shape.exact, &b->call->buf[KOI_FROM]), b->to = buffer_of(st, l->shape.exact, &b->call->buf[KOI_TO]);
  b->at = (size_t)b->call->buf[KOI_FROM].at;
  return KOINE_OK;
}

static void free_list(koi_stage *st, koi_list *l)
{
  if (!l) return;
  koi_run_tape_free(st, l->tape);
  for (size_t i = 0; l->v && i < l->n_bound; i++) koi_device_unbind(st->dev, l->v[i].bound);
  koi_calls_free(&l->calls);
  koi_feed_free(&l->feed);
  koi_free(l->v);
  koi_free(l->changing);
  koi_free(l->syms);
  koi_free(l->fresh);
  koi_free(l->image);
  koi_free(l);
}

static koine_status make_calls(koi_stage *st, const koi_shape *shape, koi_list *l)
{
  koi_caches *caches = st->caches[shape->exact];
  koi_graph g = koi_plan_graph(st->plan, &st->at);
  l->shape = *shape;
  koine_status s = koi_feed_make(caches, shape, koi_stage_align(st), &l->feed);
  if (!s) s = koi_graph_calls(&g, caches, &l->feed, &l->calls);
  if (s) return s;
  l->syms = koi_alloc(l->feed.n_syms, sizeof *l->syms);
  l->fresh = koi_alloc(l->feed.n_syms, sizeof *l->fresh);
  l->image = koi_alloc(l->feed.bytes, 1);
  l->v = koi_alloc(l->calls.n, sizeof *l->v);
  l->changing = koi_alloc(l->calls.n, sizeof *l->changing);
  if (!l->syms || !l->fresh || !l->image || !l->v || !l->changing) return KOINE_ERR_MEMORY;
  for (size_t i = 0; i < l->calls.n; i++)
    if (koi_call_changes(&l->calls.v[i])) l->changing[l->n_changing++] = (uint32_t)i;
  for (size_t i = 1; i < l->feed.n_syms; i++) l->syms[i] = 1; /* what a first step patches; a rule for ranges never sees 0 splits */
  return KOINE_OK;
}

static koine_status make_list(koi_stage *st, const koi_shape *shape, koi_list **out)
{
  koi_list *l = koi_alloc(1, sizeof *l);
  koine_status s = l ? make_calls(st, shape, l) : KOINE_ERR_MEMORY;
  for (size_t i = 0; !s && i < l->calls.n; i++) s = bind_call(st, l, i);
  if (!s) s = koi_run_tape_make(st, l, &l->tape);
  if (s) free_list(st, l);
  else *out = l;
  return s;
}

static bool same_shape(const koi_shape *a, const koi_shape *b)
{
  return a->n_tokens == b->n_tokens && a->n_logits == b->n_logits && a->n_rounds == b->n_rounds && a->n_seqs == b->n_seqs && a->exact == b->exact;
}

static void to_front(koi_stage *st, size_t i, koi_list *l)
{
  memmove(&st->lists[1], &st->lists[0], i * sizeof *st->lists);
  st->lists[0] = l;
}

koine_status koi_run_list(koi_stage *st, const koi_shape *shape, koi_list **out)
{
  size_t i = 0;
  while (i < KOI_MAX_LISTS && st->lists[i] && !same_shape(&st->lists[i]->shape, shape)) i++;
  koi_list *l = i < KOI_MAX_LISTS ? st->lists[i] : NULL;
  if (!l) {
    koine_status s = make_list(st, shape, &l);
    if (s) return s;
    if (i == KOI_MAX_LISTS) {
      koine_status done = st->dev->backend->finish(st->dev); /* what it bound may still run */
      free_list(st, st->lists[--i]);
      st->lists[i] = NULL;
      if (done) {
        free_list(st, l);
        return done;
      }
    }
  }
  to_front(st, i, l);
  *out = l;
  return KOINE_OK;
}

koine_status koi_run_forget(koi_stage *st)
{
  koine_status s = st->dev->backend->finish(st->dev);
  for (size_t i = 0; i < KOI_MAX_LISTS; i++) {
    free_list(st, st->lists[i]);
    st->lists[i] = NULL;
  }
  return s;
}

/* ---- a step ---- */
static koine_status patch_call(koi_stage *st, koi_list *l, koi_bound_call *b)
{
  const koi_call *c = b->call;
  bool changed = false;
  for (size_t i = 0; i < KOI_MAX_INTS; i++) {
    if (!c->sym[i] || l->fresh[c->sym[i]] == b->bound->a.i[i]) continue;
    koine_status s = koi_device_patch(st->dev, b->bound, i, l->fresh[c->sym[i]]);
    if (s) return koi_error_prefix(s, "op %s", c->op->name);
    changed = true;
    b->version++;
  }
  if (changed && b->bound->kernel) b->empty = !koi_kern_range(b->bound->kernel, &b->bound->a, &b->range);
  return KOINE_OK;
}

static koine_status patch(koi_stage *st, koi_list *l)
{
  if (!memcmp(l->syms, l->fresh, l->feed.n_syms * sizeof *l->syms)) return KOINE_OK;
  for (size_t i = 0; i < l->n_changing; i++) {
    koi_bound_call *b = &l->v[l->changing[i]];
    if (b->call->when && !l->fresh[b->call->when]) continue;
    koine_status s = patch_call(st, l, b);
    if (s) {
      l->syms[KOI_SYM_NONE] = -1; /* some calls have the new numbers, some the old: every next step patches */
      return s;
    }
  }
  memcpy(l->syms, l->fresh, l->feed.n_syms * sizeof *l->syms);
  return KOINE_OK;
}

/* Rows `row` on of the step's logits, `n` of them, to the sequences that they belong to. */
static koine_status read_logits(koi_stage *st, const koi_step *x, const koi_bound_call *b, uint32_t row, uint32_t n)
{
  uint32_t n_vocab = st->model->config.n_vocab, first = 0, done = 0;
  koine_status s = KOINE_OK;
  for (size_t k = 0; k < x->n_places && done < n && !s; first += x->places[k++].n_logits) {
    const koi_place *p = &x->places[k];
    uint32_t at = row + done - first, left = n - done;
    if (row + done >= first + p->n_logits) continue;
    uint32_t some = p->n_logits - at < left ? p->n_logits - at : left;
    size_t bytes = (size_t)n_vocab * sizeof(float);
    s = st->dev->backend->read(st->dev, b->from, b->at + done * bytes, some * bytes, p->logits + (size_t)at * n_vocab);
    done += some;
  }
  return s;
}

static koine_status give(koi_stage *st, const koi_step *x, const koi_bound_call *b, const koi_ref *to, size_t n)
{
  if (x->out && to->id == KOI_HOST_OUT) return koi_gap_give(x->out, b->from, b->at, n);
  return st->dev->backend->read(st->dev, b->from, b->at, n, x->host[to->id] + to->at);
}

static koine_status take(koi_stage *st, const koi_step *x, const koi_bound_call *b, const koi_ref *from, size_t n)
{
  if (!n) return KOINE_OK;
  if (x->in && from->id == KOI_HOST_IN) return koi_gap_take(x->in, b->to, n);
  return st->dev->backend->write(st->dev, b->to, 0, n, x->host[from->id] + from->at);
}

static koine_status start(koi_stage *st, const koi_step *x, const koi_list *l, const koi_bound_call *b)
{
  const koi_backend *k = st->dev->backend;
  const koi_call *c = b->call;
  const koi_ref *from = &c->buf[KOI_FROM], *to = &c->buf[KOI_TO];
  size_t n = (size_t)c->bytes;
  koine_status s = KOINE_OK;
  switch (c->kind) {
  case KOI_CALL_OP: s = koi_device_start(st->dev, b->bound, &b->range); break;
  case KOI_CALL_FEED: s = k->write(st->dev, st->feed, 0, n, l->image); break;
  case KOI_CALL_READ: s = read_logits(st, x, b, c->row, (uint32_t)(n / sizeof(float) / st->model->config.n_vocab)); break;
  case KOI_CALL_GIVE: s = give(st, x, b, to, n); break;
  case KOI_CALL_TAKE: s = take(st, x, b, from, n); break;
  case KOI_CALL_AWAY:
  case KOI_CALL_BACK: break;
  }
  return s && c->op ? koi_error_prefix(s, "op %s", c->op->name) : s;
}

static koine_status watched(koi_stage *st, const koi_step *x, const koi_list *l, const koi_bound_call *b)
{
  koine_status s = KOINE_OK;
  if (b->empty || (b->call->when && !l->syms[b->call->when])) return s;
  if (x->watch && x->watch->before) s = x->watch->before(x->watch->user, st, b);
  if (!s) s = start(st, x, l, b);
  if (!s && x->watch && x->watch->after) s = x->watch->after(x->watch->user, st, b);
  if (s == KOINE_ERR_DEVICE) atomic_store(&st->dev->failed, true);
  return s;
}

/* Call `at`, and those behind it that the device has recorded with it; moves `at` behind them. What watches a step wants to see each. */
static koine_status advance(koi_stage *st, const koi_step *x, const koi_list *l, size_t *at)
{
  size_t n = 0;
  koine_status s = x->watch ? KOINE_OK : koi_run_tape_play(st, l, *at, &n);
  if (!n) s = watched(st, x, l, &l->v[*at]);
  *at += n ? n : 1;
  return s;
}

/* ---- experts elsewhere ---- */
static void change_device(koi_stage *from, koi_stage *to)
{
  pthread_mutex_unlock(&from->dev->lock);
  pthread_mutex_lock(&to->dev->lock);
}

static koine_status list_on(koi_stage *st, koi_stage *other, uint32_t n_tokens, koi_list **out)
{
  koi_shape shape = {.n_tokens = n_tokens, .n_rounds = 1, .n_seqs = 1};
  change_device(st, other);
  koine_status s = koi_run_list(other, &shape, out);
  change_device(other, st);
  return s;
}

/* Of few tokens each entry reads its expert's weights, wherever these are. Of many each expert is read once for all of them, and is better had here. */
static bool may_stay(const koi_stage *by_turns, uint32_t n_tokens)
{
  return by_turns->beside && n_tokens < (uint32_t)by_turns->experts->at.tunables.group_tokens && by_turns->plan->misses != KOI_MISSES_LOAD;
}

koine_status koi_run_experts(koi_stage *st, uint32_t n_tokens, koi_step *out)
{
  koi_stage *other = st->experts;
  out->experts = out->stay = NULL;
  koine_status s = other ? list_on(st, other, n_tokens, &out->experts) : KOINE_OK;
  return s || !other || !may_stay(other, n_tokens) ? s : list_on(st, other->experts, n_tokens, &out->stay);
}

static koine_status until(koi_stage *other, const koi_step *x, bool giving, size_t *at)
{
  const koi_list *l = x->experts;
  koine_status s = KOINE_OK;
  while (*at < l->calls.n && !s && (l->v[*at].call->kind == KOI_CALL_GIVE) == giving) s = advance(other, x, l, at);
  return s;
}

koine_status koi_run_layer(koi_stage *st, const koi_step *x, const koi_list *l, uint32_t layer)
{
  koine_status s = KOINE_OK;
  for (size_t i = 0; i < l->calls.n && !s; i++)
    if (l->calls.v[i].layer == (int32_t)layer) s = watched(st, x, l, &l->v[i]);
  return s;
}

/* A layer's experts as many at a time as have a place: the same calls for every turn, in which only entries of those who have it are computed, while
 * those of the next are read. */
static koine_status in_turns(koi_stage *other, const koi_step *x, size_t *at)
{
  const koi_list *l = x->experts;
  uint32_t n = l->shape.n_tokens;
  int32_t *ids = (int32_t *)(void *)(x->host[KOI_HOST_EXPERTS] + koi_graph_desk(&other->model->config, n).ids);
  size_t begin = *at;
  bool now = false;
  koine_status s = KOINE_OK;
  koi_slots_begin(other->slots, (uint32_t)l->calls.v[begin].layer, ids, n);
  if (x->stay) koi_run_beside_begin(other->beside, x, (uint32_t)l->calls.v[begin].layer);
  if (x->watch) koi_run_beside_wait(other->beside, other); /* which looks at one call at a time */
  while (!s && koi_slots_turn(other->slots, ids, &now)) {
    if (now) *at = begin, s = until(other, x, false, at);
    if (now && !s) s = koi_device_flush(other->dev);
    if (!s) koi_slots_guess(other->slots, (const float *)(const void *)x->host[KOI_HOST_EXPERTS], x->places->tokens[0]);
    s = koi_slots_load(other->slots, s);
  }
  while (*at < l->calls.n && l->v[*at].call->kind != KOI_CALL_GIVE) ++*at; /* nobody had a turn */
  return s;
}

/* The calls from `at` on that give nothing back, or those that do. What they are given is in host memory by now, so that both devices compute at
 * once from here on. */
static koine_status run_experts(koi_stage *st, const koi_step *x, bool giving, size_t *at)
{
  koi_stage *other = st->experts;
  koine_status s = koi_device_flush(st->dev);
  if (giving) koi_run_beside_wait(other->beside, st);
  change_device(st, other);
  if (!*at) koi_run_tape_step(other, x->experts);
  s = s ? s : other->slots && !giving ? in_turns(other, x, at) : until(other, x, giving, at);
  if (!s) s = koi_device_flush(other->dev);
  if (!s && giving && x->stay) s = koi_run_beside_end(other->beside, x);
  change_device(other, st);
  return s;
}

koine_status koi_run_step(koi_stage *st, const koi_step *step)
{
  koi_list *l = step->list;
  koi_step x = *step;
  koi_graph g = koi_plan_graph(st->plan, &st->at);
  koi_splits splits = {koi_step_splits(&st->at.tunables, (int32_t)l->shape.n_tokens), st->at.tunables.min_split_rows};
  size_t at = 0;
  if (st->experts) x.host[KOI_HOST_EXPERTS] = st->desk;
  koi_freqs freqs = {st->freq_main, st->freq_comp};
  koi_feed_fill(&l->feed, x.places, x.n_places, &freqs, &splits, koi_graph_round_rows(&g, l->shape.n_tokens), l->image, l->fresh);
  koine_status s = patch(st, l);
  if (!s) koi_run_tape_step(st, l);
  for (size_t i = 0; i < l->calls.n && !s;) {
    koi_call_kind kind = l->calls.v[i].kind;
    if (kind == KOI_CALL_AWAY || kind == KOI_CALL_BACK) s = run_experts(st, &x, kind == KOI_CALL_BACK, &at), i++;
    else s = advance(st, &x, l, &i);
  }
  if (s && st->experts) koi_run_beside_wait(st->experts->beside, st);
  return s;
}
