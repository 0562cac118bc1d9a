/* The pages of a history: which positions lie where, memory for what a chunk writes, copies of what is shared. See history.h.
 * Invariant: entries of `pages` below what n positions need name pages that this history holds; the device's tables say the same. */
#include <string.h>
#include "history_impl.h"

/* ---- memory ---- */
enum { FEW_MARKS = 4, FEW_STATES = 8 }; /* states are small */

/* Whether marks hold slots of this kind: what nothing is carried over in at any of them needs none. */
static bool in_marks(const koi_cache_kind *k) { return k->coff > 1 || KOI_MARK % k->ratio; }

/* Pages of a kind that this history may hold at most; with the marks that there can be while a chunk runs. */
static size_t promise_of(const koi_history *h, size_t kind)
{
  uint64_t passed = h->context / KOI_MARK, marks = (passed < h->max_marks ? passed : h->max_marks) + (h->max_marks > 0), own = koi_caches_pages(h->caches, kind, h->context, h->st->plan->chunk);
  switch (h->caches->kinds[kind].type) {
  case KOI_CACHE_WINDOW: return (size_t)(own + marks * h->n_window);
  case KOI_CACHE_STATE: return (size_t)(own + (in_marks(&h->caches->kinds[kind]) ? marks : 0));
  default: return (size_t)own;
  }
}

void koi_history_promise(koi_history *h)
{
  for (size_t k = 0; k < h->caches->n_kinds; k++) koi_history_pool(h, k)->promised += promise_of(h, k), koi_history_pool(h, k)->n_promises++;
}

void koi_history_unpromise(koi_history *h)
{
  for (size_t k = 0; k < h->caches->n_kinds; k++) koi_history_pool(h, k)->promised -= promise_of(h, k), koi_history_pool(h, k)->n_promises--;
}

/* Pages that a kind grows by at least: few enough for short conversations, and such that doubling reaches the longest. */
static size_t usual(const koi_history *h, size_t kind)
{
  uint64_t least = h->context / 64 > KOI_DEFAULT_CONTEXT ? h->context / 64 : KOI_DEFAULT_CONTEXT;
  size_t own = (size_t)koi_caches_pages(h->caches, kind, least < h->context ? least : h->context, h->st->plan->chunk);
  switch (h->caches->kinds[kind].type) {
  case KOI_CACHE_WINDOW: return own + FEW_MARKS * h->n_window;
  case KOI_CACHE_STATE: return own + FEW_STATES;
  default: return own;
  }
}

/* A pool that grew has a buffer that no bound list knows. */
koine_status koi_history_reserve_gently(koi_history *h, size_t kind, size_t n)
{
  bool grew = false;
  koine_status s = koi_pool_reserve(koi_history_pool(h, kind), n, usual(h, kind), &grew);
  koine_status forgot = grew ? koi_run_forget(h->st) : KOINE_OK;
  return s ? s : forgot;
}

/* Slabs that nobody uses go, of all pools. */
static koine_status trim(koi_stage *st, bool *freed)
{
  bool can = false;
  for (int exact = 0; exact < 2; exact++)
    for (size_t k = 0; k < st->caches[exact]->n_kinds; k++) can |= koi_pool_can_trim(&st->pools[exact][k]);
  koine_status s = can ? koi_run_forget(st) : KOINE_OK;
  for (int exact = 0; exact < 2 && can && !s; exact++)
    for (size_t k = 0; k < st->caches[exact]->n_kinds; k++) koi_pool_trim(&st->pools[exact][k]);
  *freed = can && !s;
  return s;
}

/* Between conversations: those to come may be larger than all that few slabs are left for. */
koine_status koi_history_begin_anew(koi_stage *st, bool exact)
{
  bool often = false, freed;
  for (size_t k = 0; k < st->caches[exact]->n_kinds; k++) {
    const koi_pool *p = &st->pools[exact][k];
    if (p->n_promises) return KOINE_OK;
    often |= p->n_slabs > KOI_SLABS / 2;
  }
  return often ? trim(st, &freed) : KOINE_OK;
}

koine_status koi_history_reserve(koi_history *h, size_t kind, size_t n)
{
  const koi_pool *p = koi_history_pool(h, kind);
  for (;;) {
    koine_status s = koi_history_reserve_gently(h, kind, n), trimmed;
    bool freed;
    if (s != KOINE_ERR_MEMORY) return s;
    if ((trimmed = trim(h->st, &freed))) return trimmed;
    if (freed) continue;
    if (p->n_free + koi_marks_hold(h->st, h->exact, kind) < n || !koi_marks_give_up(h->st, h->exact)) return s;
  }
}

/* ---- which pages ---- */
/* Where the nth entry of a kind's table lies on the device, in bytes. */
static size_t entry_at(const koi_history *h, size_t kind, size_t nth) { return ((size_t)(h->tables + h->caches->kinds[kind].table) + nth) * sizeof(int32_t); }

koine_status koi_history_set_page(koi_history *h, size_t entry, int32_t page)
{
  size_t kind = koi_history_kind(h, entry), nth = entry - (size_t)h->table_at[kind];
  koine_status s = h->st->dev->backend->write(h->st->dev, h->st->tables, entry_at(h, kind, nth), sizeof page, &page);
  if (!s) h->pages[entry] = page;
  return s;
}

koine_status koi_history_write_pages(const koi_history *h, size_t kind, const int32_t *pages)
{
  size_t n = koi_history_entries(h, kind);
  return n ? h->st->dev->backend->write(h->st->dev, h->st->tables, entry_at(h, kind, 0), n * sizeof *pages, pages + h->table_at[kind]) : KOINE_OK;
}

size_t koi_history_kind(const koi_history *h, size_t entry)
{
  size_t k = 0, kind = 0;
  for (; k < h->caches->n_kinds; k++)
    if (h->caches->kinds[k].type != KOI_CACHE_STATE && (size_t)h->table_at[k] <= entry) kind = k;
  return kind;
}

/* The entries of a kind that positions [p0, p1) write: of a ring, `first` and `n` count on over its end. */
typedef struct stretch { uint64_t first, n, ring; } stretch;

static stretch written(const koi_history *h, size_t kind, uint64_t p0, uint64_t p1)
{
  const koi_cache_kind *k = &h->caches->kinds[kind];
  uint64_t r0 = k->ratio ? p0 / k->ratio : p0, r1 = k->ratio ? p1 / k->ratio : p1;
  if (k->type == KOI_CACHE_STATE || !k->n_layers || r0 == r1) return (stretch){0, 0, 1};
  return (stretch){r0 / KOI_PAGE, (r1 - 1) / KOI_PAGE - r0 / KOI_PAGE + 1, k->type == KOI_CACHE_WINDOW ? koi_history_ring(h) : UINT64_MAX};
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
    n += page == KOI_NO_PAGE || koi_pool_shared(koi_history_pool(h, kind), page);
  }
  return n;
}

static koine_status make_page(koi_history *h, size_t kind, const stretch *w, uint64_t i, uint64_t p0)
{
  koi_pool *pool = koi_history_pool(h, kind);
  size_t entry = entry_of(h, kind, w, i);
  int32_t old = h->pages[entry];
  if (old != KOI_NO_PAGE && !koi_pool_shared(pool, old)) return KOINE_OK;
  int32_t page = koi_pool_take(pool);
  koine_status s = old != KOI_NO_PAGE && goes_on(h, kind, p0, i) ? koi_pool_copy(pool, old, page) : KOINE_OK;
  if (!s) s = koi_history_set_page(h, entry, page);
  koi_pool_drop(pool, s ? page : old);
  return s;
}

/* Memory is reserved first, so that nothing has changed when there is none; what one kind has reserved is not taken back for another. */
koine_status koi_history_make_room(koi_history *h, uint64_t p0, uint64_t p1)
{
  koine_status s = KOINE_OK;
  for (size_t k = 0; k < h->caches->n_kinds && !s; k++) {
    size_t n = needed(h, k, p0, p1);
    s = koi_history_reserve(h, k, n);
    koi_history_pool(h, k)->reserved = s ? 0 : n;
  }
  for (size_t k = 0; k < h->caches->n_kinds; k++) koi_history_pool(h, k)->reserved = 0;
  for (size_t k = 0; k < h->caches->n_kinds && !s; k++) {
    stretch w = written(h, k, p0, p1);
    for (uint64_t i = 0; i < w.n && !s; i++) s = make_page(h, k, &w, i, p0);
  }
  return s;
}

/* A ring's entries are counted once, however often the positions go round. */
koine_status koi_history_reserve_for(koi_history *h, uint64_t n)
{
  koine_status s = KOINE_OK;
  for (size_t k = 0; k < h->caches->n_kinds && !s; k++) {
    stretch w = written(h, k, h->n, h->n + n);
    uint64_t most = h->caches->kinds[k].type == KOI_CACHE_WINDOW && w.n > w.ring ? w.ring * KOI_PAGE : n;
    s = koi_history_reserve(h, k, needed(h, k, h->n, h->n + most));
  }
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
  koi_pool *pool = koi_history_pool(h, kind);
  bool is_window = h->caches->kinds[kind].type == KOI_CACHE_WINDOW;
  uint64_t p0 = is_window && n > h->caches->config->window ? n - h->caches->config->window : 0;
  stretch w = written(h, kind, p0, n);
  uint8_t *image = koi_alloc(pool->page_bytes, 1);
  koine_status s = image ? koi_history_reserve(h, kind, needed(h, kind, p0, n)) : KOINE_ERR_MEMORY;
  if (!s) make_up(image, pool->page_bytes);
  for (uint64_t i = 0; i < w.n && !s; i++) {
    s = make_page(h, kind, &w, i, p0);
    if (!s) s = koi_pool_write(pool, h->pages[entry_of(h, kind, &w, i)], image);
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
