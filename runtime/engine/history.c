/* See history.h. Owns pages and slots by counting, a stretch of the stage's page tables, and the records of marks.
 * Invariant: entries of `pages` below what n positions need name pages that this history holds; the device's tables say the same. */
#include "history.h"
#include <string.h>

static koi_pool *pool_of(const koi_history *h, size_t kind) { return &h->pools[kind]; }
static koi_pool *state_pool(const koi_history *h, size_t ratio) { return pool_of(h, (size_t)h->caches->ratios[ratio].state); }

/* ---- open and close ---- */
static size_t entries_of(const koi_history *h, size_t kind)
{
  const koi_cache_kind *k = &h->caches->kinds[kind];
  if (k->type == KOI_CACHE_STATE) return 0;
  return k->type == KOI_CACHE_WINDOW ? koi_caches_ring(h->caches, h->st->plan->chunk) : koi_caches_pages(h->caches, kind, h->context, h->st->plan->chunk);
}

static koine_status make_records(koi_history *h)
{
  const koi_caches *c = h->caches;
  h->table_at = koi_alloc(c->n_kinds, sizeof *h->table_at);
  h->slots = koi_alloc(c->n_ratios + 1, sizeof *h->slots);
  if (!h->table_at || !h->slots) return KOINE_ERR_MEMORY;
  for (size_t k = 0; k < c->n_kinds; k++) h->table_at[k] = (int32_t)h->n_tables, h->n_tables += entries_of(h, k);
  for (size_t i = 0; i < c->n_ratios; i++) h->slots[i] = KOI_NO_PAGE;
  h->n_window = koi_ceil_div(c->config->window, KOI_PAGE);
  uint64_t bytes = koi_caches_mark_bytes(c);
  h->max_marks = (size_t)(h->st->plan->mark_bytes / (bytes ? bytes : 1));
  h->pages = koi_alloc(h->n_tables, sizeof *h->pages);
  h->marks = koi_alloc((size_t)(h->context / KOI_MARK < h->max_marks ? h->context / KOI_MARK : h->max_marks) + 2, sizeof *h->marks);
  if (!h->pages || !h->marks) return KOINE_ERR_MEMORY;
  for (size_t i = 0; i < h->n_tables; i++) h->pages[i] = KOI_NO_PAGE;
  return KOINE_OK;
}

/* Pages that a kind grows by at least: few enough for short conversations, and such that doubling reaches the longest. */
static size_t usual(const koi_history *h, size_t kind)
{
  uint64_t least = h->context / 64 > KOI_DEFAULT_CONTEXT ? h->context / 64 : KOI_DEFAULT_CONTEXT;
  return (size_t)koi_caches_pages(h->caches, kind, least < h->context ? least : h->context, h->st->plan->chunk);
}

/* Makes n pages of a kind free. A pool that grew has a buffer that no bound list knows. */
static koine_status reserve(koi_history *h, size_t kind, size_t n)
{
  bool grew = false;
  koine_status s = koi_pool_reserve(pool_of(h, kind), n, usual(h, kind), &grew);
  koine_status forgot = grew ? koi_run_forget(h->st) : KOINE_OK;
  return s ? s : forgot;
}

static koine_status take_slots(koi_history *h)
{
  for (size_t i = 0; i < h->caches->n_ratios; i++) {
    koine_status s = reserve(h, (size_t)h->caches->ratios[i].state, 1);
    if (s) return s;
    h->slots[i] = koi_pool_take(state_pool(h, i));
  }
  return KOINE_OK;
}

koine_status koi_history_open(koi_stage *st, bool exact, uint64_t context, koi_history *out)
{
  *out = (koi_history){.st = st, .caches = st->caches[exact], .pools = st->pools[exact], .exact = exact, .context = context, .tables = -1};
  koine_status s = make_records(out);
  if (!s) s = koi_stage_take_tables(st, out->n_tables, &out->tables);
  if (!s) s = take_slots(out);
  if (s) koi_history_close(out);
  return s;
}

static void drop_mark(koi_history *h, size_t at)
{
  koi_mark *m = &h->marks[at];
  for (size_t i = 0; i < h->n_window; i++) koi_pool_drop(pool_of(h, 0), m->window[i]);
  for (size_t i = 0; i < h->caches->n_ratios; i++) koi_pool_drop(state_pool(h, i), m->slots[i]);
  koi_free(m->window);
  memmove(m, m + 1, (h->n_marks - at - 1) * sizeof *m);
  h->n_marks--;
}

static size_t kind_of_entry(const koi_history *h, size_t entry)
{
  size_t k = 0, kind = 0;
  for (; k < h->caches->n_kinds; k++)
    if (h->caches->kinds[k].type != KOI_CACHE_STATE && (size_t)h->table_at[k] <= entry) kind = k;
  return kind;
}

void koi_history_clear(koi_history *h)
{
  while (h->n_marks) drop_mark(h, h->n_marks - 1);
  for (size_t i = 0; h->pages && i < h->n_tables; i++) {
    koi_pool_drop(pool_of(h, kind_of_entry(h, i)), h->pages[i]);
    h->pages[i] = KOI_NO_PAGE;
  }
  h->n = 0, h->stale = false;
}

void koi_history_close(koi_history *h)
{
  if (!h->st) return;
  koi_history_clear(h);
  for (size_t i = 0; h->slots && i < h->caches->n_ratios; i++) koi_pool_drop(state_pool(h, i), h->slots[i]);
  if (h->tables >= 0) koi_stage_drop_tables(h->st, h->tables, h->n_tables);
  koi_free(h->table_at);
  koi_free(h->pages);
  koi_free(h->slots);
  koi_free(h->marks);
  *h = (koi_history){0};
}

/* ---- pages ---- */
static koine_status set_page(koi_history *h, size_t entry, int32_t page)
{
  koine_status s = h->st->dev->backend->write(h->st->dev, h->st->tables, ((size_t)h->tables + entry) * sizeof page, sizeof page, &page);
  if (!s) h->pages[entry] = page;
  return s;
}

/* The entries of a kind that positions [p0, p1) write: of a ring, `first` and `n` count on over its end. */
typedef struct stretch { uint64_t first, n, ring; } stretch;

static stretch written(const koi_history *h, size_t kind, uint64_t p0, uint64_t p1)
{
  const koi_cache_kind *k = &h->caches->kinds[kind];
  uint64_t r0 = k->ratio ? p0 / k->ratio : p0, r1 = k->ratio ? p1 / k->ratio : p1;
  if (k->type == KOI_CACHE_STATE || r0 == r1) return (stretch){0, 0, 1};
  return (stretch){r0 / KOI_PAGE, (r1 - 1) / KOI_PAGE - r0 / KOI_PAGE + 1, k->type == KOI_CACHE_WINDOW ? koi_caches_ring(h->caches, h->st->plan->chunk) : UINT64_MAX};
}

/* Whether the page at a stretch's i-th place holds rows from before it that stay. */
static bool goes_on(const koi_history *h, size_t kind, uint64_t p0, uint64_t i)
{
  const koi_cache_kind *k = &h->caches->kinds[kind];
  return !i && (k->ratio ? p0 / k->ratio : p0) % KOI_PAGE;
}

static size_t entry_of(const koi_history *h, size_t kind, const stretch *w, uint64_t i) { return (size_t)h->table_at[kind] + (size_t)((w->first + i) % w->ring); }

/* Fresh pages that a kind needs for [p0, p1). A window's page whose positions have left the window makes room for the next. */
static size_t needed(const koi_history *h, size_t kind, uint64_t p0, uint64_t p1)
{
  stretch w = written(h, kind, p0, p1);
  size_t n = 0;
  for (uint64_t i = 0; i < w.n; i++) {
    int32_t page = h->pages[entry_of(h, kind, &w, i)];
    n += page == KOI_NO_PAGE || koi_pool_shared(pool_of(h, kind), page);
  }
  return n;
}

static koine_status make_page(koi_history *h, size_t kind, const stretch *w, uint64_t i, uint64_t p0)
{
  size_t entry = entry_of(h, kind, w, i);
  int32_t old = h->pages[entry];
  if (old != KOI_NO_PAGE && !koi_pool_shared(pool_of(h, kind), old)) return KOINE_OK;
  int32_t page = koi_pool_take(pool_of(h, kind));
  koine_status s = old != KOI_NO_PAGE && goes_on(h, kind, p0, i) ? koi_pool_copy(pool_of(h, kind), old, page) : KOINE_OK;
  if (!s) s = set_page(h, entry, page);
  koi_pool_drop(pool_of(h, kind), s ? page : old);
  return s;
}

/* All pages that a chunk writes, each this history's alone. Memory is reserved first, so that nothing has changed when there is none. */
static koine_status make_room(koi_history *h, uint64_t p0, uint64_t p1)
{
  koine_status s = KOINE_OK;
  for (size_t k = 0; k < h->caches->n_kinds && !s; k++) s = reserve(h, k, needed(h, k, p0, p1));
  for (size_t k = 0; k < h->caches->n_kinds && !s; k++) {
    stretch w = written(h, k, p0, p1);
    for (uint64_t i = 0; i < w.n && !s; i++) s = make_page(h, k, &w, i, p0);
  }
  return s;
}

/* ---- marks ---- */
static size_t window_entry(const koi_history *h, uint64_t at, size_t i)
{
  uint64_t page = at / KOI_PAGE - h->n_window + i;
  return (size_t)h->table_at[0] + (size_t)(page % koi_caches_ring(h->caches, h->st->plan->chunk));
}

/* Which mark can best be done without: the one whose neighbours are nearest to each other, measured by how long ago it was passed. */
static size_t least_worth(const koi_history *h, uint64_t now)
{
  size_t best = 0;
  double least = 1e30;
  for (size_t i = 0; i + 1 < h->n_marks; i++) {
    uint64_t before = i ? h->marks[i - 1].at : 0;
    double worth = (double)(h->marks[i + 1].at - before) / (double)(now + KOI_MARK - h->marks[i].at);
    if (worth < least) least = worth, best = i;
  }
  return best;
}

/* A record and slots for a mark at `at`; false: there is no memory, and none is set. */
static bool prepare_mark(koi_history *h, uint64_t at, koi_mark *m)
{
  size_t n = h->n_window + h->caches->n_ratios;
  int32_t *both = koi_alloc(n + 1, sizeof *both);
  if (!both) return false;
  for (size_t i = 0; i < n; i++) both[i] = KOI_NO_PAGE;
  *m = (koi_mark){at, both, both + h->n_window};
  for (size_t i = 0; i < h->caches->n_ratios; i++) {
    if (!koi_caches_carries(&h->caches->ratios[i], at)) continue;
    if (reserve(h, (size_t)h->caches->ratios[i].state, 1)) {
      for (size_t j = 0; j < i; j++) koi_pool_drop(state_pool(h, j), m->slots[j]);
      koi_free(both);
      return false;
    }
    m->slots[i] = koi_pool_take(state_pool(h, i));
  }
  return true;
}

/* Marks that the chunk [h->n, p1) passes go behind those that there are, with what their states need; h->n_marks does not count them yet.
 * A mark is a convenience: without memory for it there is none. */
static size_t prepare_marks(koi_history *h, uint64_t p1)
{
  size_t n = 0;
  for (uint64_t at = (h->n / KOI_MARK + 1) * KOI_MARK; at <= p1 && h->max_marks; at += KOI_MARK) {
    while (h->n_marks + n >= h->max_marks && h->n_marks) drop_mark(h, least_worth(h, p1)), memmove(&h->marks[h->n_marks], &h->marks[h->n_marks + 1], n * sizeof *h->marks);
    if (h->n_marks + n < h->max_marks && prepare_mark(h, at, &h->marks[h->n_marks + n])) n++;
  }
  return n;
}

/* The chunk was evaluated (or not): the prepared marks take the window's pages, or go. */
static void settle_marks(koi_history *h, size_t n, bool done)
{
  size_t first = h->n_marks;
  h->n_marks += n;
  for (size_t i = first; i < first + n; i++) {
    koi_mark *m = &h->marks[i];
    for (size_t w = 0; w < h->n_window && done; w++) {
      if (m->at / KOI_PAGE + w < h->n_window) continue; /* before the conversation's begin */
      m->window[w] = h->pages[window_entry(h, m->at, w)];
      koi_pool_hold(pool_of(h, 0), m->window[w]);
    }
  }
  while (!done && h->n_marks > first) drop_mark(h, h->n_marks - 1);
}

/* The state slots that the chunk's marks want, as the feed takes them: [n_ratios][n]. */
static koi_feed_mark *marks_of(const koi_history *h, size_t n)
{
  koi_feed_mark *out = koi_alloc(n * h->caches->n_ratios + 1, sizeof *out);
  for (size_t r = 0; out && r < h->caches->n_ratios; r++)
    for (size_t i = 0; i < n; i++) out[r * n + i] = (koi_feed_mark){(uint32_t)(h->marks[h->n_marks + i].at - h->n), h->marks[h->n_marks + i].slots[r]};
  return out;
}

/* ---- rewinding ---- */
/* Puts the mark's window into the ring, and its states into this history's slots. */
static koine_status restore(koi_history *h, const koi_mark *m)
{
  koine_status s = KOINE_OK;
  for (size_t w = 0; w < h->n_window && !s; w++) {
    size_t entry = window_entry(h, m->at, w);
    if (m->window[w] == KOI_NO_PAGE || h->pages[entry] == m->window[w]) continue;
    int32_t old = h->pages[entry];
    if ((s = set_page(h, entry, m->window[w]))) break;
    koi_pool_hold(pool_of(h, 0), m->window[w]);
    koi_pool_drop(pool_of(h, 0), old);
  }
  for (size_t i = 0; i < h->caches->n_ratios && !s; i++)
    if (m->slots[i] != KOI_NO_PAGE) s = koi_pool_copy(state_pool(h, i), m->slots[i], h->slots[i]);
  return s;
}

void koi_history_rewind(koi_history *h, uint64_t n)
{
  if (n >= h->n && !h->stale) return;
  while (h->n_marks && h->marks[h->n_marks - 1].at > n) drop_mark(h, h->n_marks - 1);
  while (h->n_marks) {
    const koi_mark *m = &h->marks[h->n_marks - 1];
    if (!restore(h, m)) {
      h->n = m->at, h->stale = false;
      return;
    }
    drop_mark(h, h->n_marks - 1);
  }
  koi_history_clear(h);
}

/* ---- a chunk ---- */
static koine_status run(koi_history *h, const int32_t *tokens, uint32_t n, uint32_t n_logits, float *logits, const koi_watch *watch, const koi_feed_mark *marks, size_t n_marks)
{
  koi_stage *st = h->st;
  koi_list *list = NULL;
  koi_graph g = koi_plan_graph(st->plan, &st->at);
  koi_shape shape = {.n_tokens = n, .n_logits = n_logits, .n_rounds = koi_graph_rounds(&g, n, h->n + n), .exact = h->exact};
  koi_place place = {.tokens = tokens, .p0 = h->n, .tables = h->tables, .table_at = h->table_at, .slots = h->slots, .marks = marks, .n_marks = n_marks,
                     .freq_main = st->freq_main, .freq_comp = st->freq_comp};
  koine_status s = koi_run_list(st, &shape, &list);
  if (s) return s;
  h->stale = true;
  s = koi_run_step(st, list, &place, logits, watch);
  return s || n_logits ? s : st->dev->backend->finish(st->dev);
}

koine_status koi_history_step(koi_history *h, const int32_t *tokens, uint32_t n, uint32_t n_logits, float *logits, const koi_watch *watch)
{
  koine_status s = make_room(h, h->n, h->n + n);
  size_t n_marks = s ? 0 : prepare_marks(h, h->n + n);
  koi_feed_mark *marks = s ? NULL : marks_of(h, n_marks);
  if (!s && !marks) s = KOINE_ERR_MEMORY;
  if (!s) s = run(h, tokens, n, n_logits, logits, watch, marks, n_marks);
  koi_free(marks);
  settle_marks(h, n_marks, !s);
  if (!s) h->n += n, h->stale = false;
  else if (h->stale) koi_history_rewind(h, h->n);
  return s;
}

/* ---- forks ---- */
static koine_status share_mark(const koi_mark *m, koi_history *out)
{
  koi_mark *to = &out->marks[out->n_marks];
  size_t n = out->n_window + out->caches->n_ratios;
  int32_t *both = koi_alloc(n + 1, sizeof *both);
  if (!both) return KOINE_ERR_MEMORY;
  memcpy(both, m->window, n * sizeof *both);
  *to = (koi_mark){m->at, both, both + out->n_window};
  for (size_t i = 0; i < out->n_window; i++)
    if (to->window[i] != KOI_NO_PAGE) koi_pool_hold(pool_of(out, 0), to->window[i]);
  for (size_t i = 0; i < out->caches->n_ratios; i++)
    if (to->slots[i] != KOI_NO_PAGE) koi_pool_hold(state_pool(out, i), to->slots[i]);
  out->n_marks++;
  return KOINE_OK;
}

koine_status koi_history_fork(const koi_history *from, koi_history *out)
{
  koine_status s = koi_history_open(from->st, from->exact, from->context, out);
  if (s) return s;
  for (size_t i = 0; i < from->n_tables && !s; i++) {
    if (from->pages[i] == KOI_NO_PAGE) continue;
    s = set_page(out, i, from->pages[i]);
    if (!s) koi_pool_hold(pool_of(out, kind_of_entry(out, i)), out->pages[i]);
  }
  for (size_t i = 0; i < from->caches->n_ratios && !s; i++) s = koi_pool_copy(state_pool(out, i), from->slots[i], out->slots[i]);
  for (size_t i = 0; i < from->n_marks && !s; i++) s = share_mark(&from->marks[i], out);
  out->n = from->n, out->stale = from->stale;
  if (s) koi_history_close(out);
  return s;
}

/* ---- made-up rows ---- */
/* Small finite numbers in every format. */
static void make_up(uint8_t *bytes, size_t n)
{
  uint32_t r = 12345;
  for (size_t i = 0; i < n; i++) {
    r = r * 1664525u + 1013904223u;
    bytes[i] = (uint8_t)(0x30 + (r >> 16) % 16);
  }
}

static koine_status fill_kind(koi_history *h, size_t kind, uint64_t n)
{
  bool is_window = h->caches->kinds[kind].type == KOI_CACHE_WINDOW;
  uint64_t p0 = is_window && n > h->caches->config->window ? n - h->caches->config->window : 0;
  stretch w = written(h, kind, p0, n);
  uint8_t *image = koi_alloc(pool_of(h, kind)->page_bytes, 1);
  koine_status s = image ? reserve(h, kind, needed(h, kind, p0, n)) : KOINE_ERR_MEMORY;
  if (!s) make_up(image, pool_of(h, kind)->page_bytes);
  for (uint64_t i = 0; i < w.n && !s; i++) {
    s = make_page(h, kind, &w, i, p0);
    if (!s) s = koi_pool_write(pool_of(h, kind), h->pages[entry_of(h, kind, &w, i)], image);
  }
  koi_free(image);
  return s;
}

koine_status koi_history_fill(koi_history *h, uint64_t n)
{
  koine_status s = KOINE_OK;
  koi_history_clear(h);
  for (size_t k = 0; k < h->caches->n_kinds && !s; k++) s = fill_kind(h, k, n);
  if (!s) h->n = n;
  return s;
}

/* ---- figures ---- */
uint64_t koi_history_bytes(const koi_history *h)
{
  uint64_t bytes = 0;
  for (size_t i = 0; i < h->n_tables; i++)
    if (h->pages[i] != KOI_NO_PAGE) bytes += pool_of(h, kind_of_entry(h, i))->page_bytes;
  for (size_t i = 0; i < h->caches->n_ratios; i++) bytes += state_pool(h, i)->page_bytes;
  return bytes + h->n_marks * koi_caches_mark_bytes(h->caches);
}
