/* See history.h. Owns pages and slots by counting, a stretch of the stage's page tables, and the records of marks. Pages: history_pages.c; marks:
 * history_marks.c. Invariant: the compressed rows and the window's rows of n positions are there, and the states are theirs unless it is stale. */
#include "history.h"
#include <string.h>
#include "history_impl.h"

/* ---- open and close ---- */
size_t koi_history_entries(const koi_history *h, size_t kind)
{
  const koi_cache_kind *k = &h->caches->kinds[kind];
  if (k->type == KOI_CACHE_STATE || !k->n_layers) return 0;
  return k->type == KOI_CACHE_WINDOW ? koi_history_ring(h) : koi_caches_pages(h->caches, kind, h->context, h->st->plan->chunk);
}

static koine_status make_records(koi_history *h)
{
  const koi_caches *c = h->caches;
  uint64_t bytes = h->st->mark_bytes[h->exact], passed = h->context / KOI_MARK, at_once = h->st->plan->chunk / KOI_MARK + 1;
  h->table_at = koi_alloc(c->n_kinds, sizeof *h->table_at);
  if (!h->table_at) return KOINE_ERR_MEMORY; /* before there are slots that close would give back */
  h->slots = koi_alloc(c->n_ratios + 1, sizeof *h->slots);
  if (!h->slots) return KOINE_ERR_MEMORY;
  for (size_t k = 0; k < c->n_kinds; k++) {
    size_t entries = koi_history_entries(h, k);
    h->table_at[k] = (int32_t)h->n_tables, h->n_tables += entries;
    if (entries > h->n_stretch) h->n_stretch = entries;
  }
  for (size_t i = 0; i < c->n_ratios; i++) h->slots[i] = KOI_NO_PAGE;
  h->n_window = c->kinds[0].n_layers ? koi_ceil_div(c->config->window, KOI_PAGE) : 0;
  h->max_marks = (size_t)(h->st->plan->mark_bytes / (bytes ? bytes : 1));
  h->pages = koi_alloc(h->n_tables, sizeof *h->pages);
  for (size_t i = 0; h->pages && i < h->n_tables; i++) h->pages[i] = KOI_NO_PAGE;
  h->marks = koi_alloc((size_t)((passed < h->max_marks ? passed : h->max_marks) + at_once), sizeof *h->marks);
  return h->pages && h->marks ? KOINE_OK : KOINE_ERR_MEMORY;
}

static koine_status take_slots(koi_history *h)
{
  for (size_t i = 0; i < h->caches->n_ratios; i++) {
    koine_status s = koi_history_reserve(h, (size_t)h->caches->ratios[i].state, 1);
    if (s) return s;
    h->slots[i] = koi_pool_take(koi_history_states(h, i));
  }
  return KOINE_OK;
}

static void enter_list(koi_history *h)
{
  koi_history **first = &h->st->histories[h->exact];
  h->next = *first, h->link = first;
  if (*first) (*first)->link = &h->next;
  *first = h;
  koi_history_promise(h);
}

static void leave_list(koi_history *h)
{
  if (!h->link) return;
  *h->link = h->next;
  if (h->next) h->next->link = h->link;
  koi_history_unpromise(h);
}

koine_status koi_history_open(koi_stage *st, bool exact, uint64_t context, koi_history *out)
{
  *out = (koi_history){.st = st, .caches = st->caches[exact], .pools = st->pools[exact], .exact = exact, .context = context, .tables = -1};
  koine_status s = koi_history_begin_anew(st, exact);
  if (!s) s = make_records(out);
  if (!s) s = koi_stage_take_tables(st, out->n_stretch, &out->tables);
  if (!s) enter_list(out);
  if (!s) s = take_slots(out);
  if (s) koi_history_close(out);
  return s;
}

void koi_history_clear(koi_history *h)
{
  koi_marks_clear(h);
  for (size_t i = 0; h->pages && i < h->n_tables; i++) {
    if (h->pages[i] == KOI_NO_PAGE) continue;
    koi_pool_drop(koi_history_pool(h, koi_history_kind(h, i)), h->pages[i]);
    h->pages[i] = KOI_NO_PAGE;
  }
  h->n = h->ready = 0, h->stale = false;
}

void koi_history_close(koi_history *h)
{
  if (!h->st) return;
  koi_history_clear(h);
  for (size_t i = 0; h->slots && i < h->caches->n_ratios; i++) koi_pool_drop(koi_history_states(h, i), h->slots[i]);
  leave_list(h);
  if (h->tables >= 0) koi_stage_drop_tables(h->st, h->tables, h->n_stretch);
  koi_free(h->table_at);
  koi_free(h->pages);
  koi_free(h->slots);
  koi_free(h->marks);
  *h = (koi_history){0};
}

/* ---- a step ---- */
/* The shape of a step: what its sequences have in common. Room for as many of them as the next power of two, so that lists are few. */
static koi_shape shape_of(const koi_seq *v, size_t n)
{
  const koi_stage *st = v->h->st;
  koi_graph g = koi_plan_graph(st->plan, &st->at);
  koi_shape shape = {.n_seqs = 1, .exact = v->h->exact};
  uint64_t farthest = 0;
  for (size_t i = 0; i < n; i++) {
    uint64_t end = v[i].h->n + v[i].c->n;
    shape.n_tokens += v[i].c->n, shape.n_logits += st->at.head ? v[i].c->n_logits : 0;
    farthest = end > farthest ? end : farthest;
  }
  while (shape.n_seqs < n) shape.n_seqs *= 2;
  shape.n_rounds = koi_graph_rounds(&g, shape.n_tokens, farthest);
  return shape;
}

static koine_status find_lists(const koi_seq *v, size_t n, koi_step *step)
{
  koi_shape shape = shape_of(v, n);
  koine_status s = koi_run_list(v->h->st, &shape, &step->list);
  return s ? s : koi_run_experts(v->h->st, shape.n_tokens, step);
}

koine_status koi_history_lists(const koi_seq *v, size_t n)
{
  koi_step lists = {0};
  return find_lists(v, n, &lists);
}

static koi_place place_of(const koi_seq *q)
{
  const koi_history *h = q->h;
  return (koi_place){.p0 = h->n, .n_tokens = q->c->n, .n_logits = q->c->n_logits, .tokens = q->c->tokens, .logits = q->c->logits, .tables = h->tables,
                     .slots = h->slots, .marks = h->feed, .n_marks = h->n_new};
}

static koine_status run(const koi_seq *v, size_t n, koi_step *step)
{
  koi_stage *st = v->h->st;
  koi_place places[KOI_MAX_SEQS];
  uint32_t n_logits = 0;
  koine_status s = find_lists(v, n, step);
  if (s) return s;
  for (size_t i = 0; i < n; i++) places[i] = place_of(&v[i]), v[i].h->stale = true, n_logits += v[i].c->n_logits;
  step->places = places, step->n_places = n;
  s = koi_run_step(st, step);
  return s || !st->at.head || n_logits ? s : st->dev->backend->finish(st->dev);
}

static void settle(koi_history *h, const koi_chunk *c, bool done)
{
  koi_free(h->feed);
  h->feed = NULL;
  koi_marks_settle(h, h->n + c->n, done);
}

/* For the chunk, and for what else its last pages hold; but a chunk that ends where they do may pass a mark, and so has something to prepare. */
static koine_status make_room(koi_history *h, uint32_t n_tokens)
{
  uint64_t end = h->n + n_tokens, ahead = koi_ceil_div(end, KOI_PAGE) * KOI_PAGE;
  if (ahead > h->context && h->context >= end) ahead = h->context;
  koine_status s = koi_history_make_room(h, h->n, ahead);
  h->ready = s ? 0 : ahead % KOI_PAGE ? ahead : ahead - 1;
  return s;
}

koine_status koi_history_prepare(koi_history *h, const koi_chunk *c)
{
  koine_status s = make_room(h, c->n);
  if (!s) s = koi_marks_prepare(h, h->n + c->n);
  if (!s && !(h->feed = koi_marks_feed(h))) s = KOINE_ERR_MEMORY;
  if (s) settle(h, c, false);
  return s;
}

void koi_history_unprepare(koi_history *h, const koi_chunk *c) { settle(h, c, false); }

koine_status koi_history_run(const koi_seq *v, size_t n, const koi_between *in, const koi_between *out, const koi_watch *watch)
{
  koi_step step = {.host = {[KOI_HOST_IN] = (uint8_t *)in->host, [KOI_HOST_OUT] = (uint8_t *)out->host}, .in = in->slot, .out = out->slot, .watch = watch};
  koine_status s = run(v, n, &step);
  for (size_t i = 0; i < n; i++) {
    koi_history *h = v[i].h;
    settle(h, v[i].c, !s);
    if (!s) h->n += v[i].c->n, h->stale = false;
    else if (h->stale) koi_history_rewind(h, h->n);
  }
  return s;
}

/* ---- forks ---- */
static koine_status share_pages(const koi_history *from, koi_history *out)
{
  koine_status s = KOINE_OK;
  for (size_t k = 0; k < from->caches->n_kinds && !s; k++) s = koi_history_write_pages(out, k, from->pages);
  for (size_t i = 0; i < from->n_tables && !s; i++) {
    if (from->pages[i] == KOI_NO_PAGE) continue;
    out->pages[i] = from->pages[i];
    koi_pool_hold(koi_history_pool(out, koi_history_kind(out, i)), out->pages[i]);
  }
  for (size_t i = 0; i < from->caches->n_ratios && !s; i++) s = koi_pool_copy(koi_history_states(out, i), from->slots[i], out->slots[i]);
  return s;
}

koine_status koi_history_fork(koi_history *from, koi_history *out)
{
  from->ready = 0;
  koine_status s = koi_history_open(from->st, from->exact, from->context, out);
  if (s) return s;
  s = share_pages(from, out);
  if (!s) s = koi_marks_share(from, out);
  out->n = from->n, out->stale = from->stale;
  if (s) koi_history_close(out);
  return s;
}

/* ---- figures ---- */
uint64_t koi_history_bytes(const koi_history *h)
{
  uint64_t bytes = 0;
  for (size_t i = 0; i < h->n_tables; i++)
    if (h->pages[i] != KOI_NO_PAGE) bytes += koi_history_pool(h, koi_history_kind(h, i))->page_bytes;
  for (size_t i = 0; i < h->caches->n_ratios; i++) bytes += koi_history_states(h, i)->page_bytes;
  return bytes + h->n_marks * koi_caches_mark_bytes(h->caches);
}
