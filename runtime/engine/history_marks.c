/* The marks of a history: where they are set, which are given up, and how a conversation goes back to one. See history.h.
 * Invariant: a mark that has settled holds its pages; a new one holds slots alone, unless it comes from a file. */
#include <string.h>
#include "history_impl.h"

/* ---- which ---- */
static size_t n_all(const koi_history *h) { return h->n_marks + h->n_new; }

static void drop_mark(koi_history *h, size_t at)
{
  koi_mark *m = &h->marks[at];
  for (size_t i = 0; m->window && i < h->n_window; i++) koi_pool_drop(koi_history_pool(h, 0), m->window[i]);
  for (size_t i = 0; m->window && i < h->caches->n_ratios; i++) koi_pool_drop(koi_history_states(h, i), m->slots[i]);
  koi_free(m->window);
  memmove(m, m + 1, (n_all(h) - at - 1) * sizeof *m);
  if (at < h->n_marks) h->n_marks--;
  else h->n_new--;
}

/* Which mark can best be done without: the one whose neighbours are nearest to each other, measured by how long ago it was passed. The last one
 * stays, and while a chunk runs also the one that is gone back to when it fails. n_all: there is none to drop. */
static size_t least_worth(const koi_history *h, uint64_t now)
{
  size_t best = n_all(h);
  double least = 1e30;
  for (size_t i = 0; i + 1 < n_all(h); i++) {
    if (h->n_new && i + 1 == h->n_marks) continue;
    uint64_t before = i ? h->marks[i - 1].at : 0;
    double worth = (double)(h->marks[i + 1].at - before) / (double)(now + KOI_MARK - h->marks[i].at);
    if (worth < least) least = worth, best = i;
  }
  return best;
}

static void thin(koi_history *h, size_t most, uint64_t now)
{
  while (n_all(h) > most) {
    size_t at = least_worth(h, now);
    if (at == n_all(h)) return;
    drop_mark(h, at);
  }
}

void koi_marks_clear(koi_history *h)
{
  while (n_all(h)) drop_mark(h, n_all(h) - 1);
}

bool koi_marks_give_up(koi_stage *st, bool exact)
{
  koi_history *from = NULL;
  for (koi_history *h = st->histories[exact]; h; h = h->next)
    if (h->n_marks && !h->n_new && (!from || h->n_marks > from->n_marks)) from = h;
  if (!from) return false;
  if (from->n_marks > 1) thin(from, from->n_marks - 1, from->n);
  else drop_mark(from, 0);
  return true;
}

size_t koi_marks_hold(const koi_stage *st, bool exact, size_t kind)
{
  size_t n = 0;
  for (const koi_history *h = st->histories[exact]; h; h = h->next)
    switch (h->caches->kinds[kind].type) {
    case KOI_CACHE_WINDOW: n += h->n_marks * h->n_window; break;
    case KOI_CACHE_STATE: n += h->n_marks; break;
    default: break;
    }
  return n;
}

/* ---- setting them ---- */
/* Room and slots for a mark; without them it holds nothing. */
static koine_status prepare_mark(koi_history *h, koi_mark *m)
{
  size_t n = h->n_window + h->caches->n_ratios;
  koine_status s = KOINE_OK;
  m->window = koi_alloc(n + 1, sizeof *m->window);
  if (!m->window) return KOINE_ERR_MEMORY;
  m->slots = m->window + h->n_window;
  for (size_t i = 0; i < n; i++) m->window[i] = KOI_NO_PAGE;
  for (size_t i = 0; i < h->caches->n_ratios && !s; i++) {
    if (!koi_caches_carries(&h->caches->ratios[i], m->at)) continue;
    s = koi_history_reserve_gently(h, (size_t)h->caches->ratios[i].state, 1);
    if (!s) m->slots[i] = koi_pool_take(koi_history_states(h, i));
  }
  return s;
}

koine_status koi_marks_prepare(koi_history *h, uint64_t p1)
{
  for (uint64_t at = (h->n / KOI_MARK + 1) * KOI_MARK; at <= p1 && h->max_marks; at += KOI_MARK) h->marks[h->n_marks + h->n_new++] = (koi_mark){.at = at};
  thin(h, h->max_marks + (h->n_marks > 0), p1);
  for (size_t i = h->n_marks; i < n_all(h);) {
    koine_status s = prepare_mark(h, &h->marks[i]);
    if (s && s != KOINE_ERR_MEMORY) return s;
    if (s) drop_mark(h, i);
    else i++;
  }
  return KOINE_OK;
}

static size_t window_entry(const koi_history *h, uint64_t at, size_t i)
{
  uint64_t page = at / KOI_PAGE - h->n_window + i;
  return (size_t)h->table_at[0] + (size_t)(page % koi_history_ring(h));
}

static void hold_window(koi_history *h, koi_mark *m)
{
  for (size_t w = 0; w < h->n_window; w++) {
    if (m->at / KOI_PAGE + w < h->n_window) continue; /* before the conversation's begin */
    m->window[w] = h->pages[window_entry(h, m->at, w)];
    koi_pool_hold(koi_history_pool(h, 0), m->window[w]);
  }
}

void koi_marks_settle(koi_history *h, uint64_t p1, bool done)
{
  for (size_t i = h->n_marks; i < n_all(h) && done; i++) hold_window(h, &h->marks[i]);
  if (done) h->n_marks += h->n_new, h->n_new = 0;
  while (h->n_new) drop_mark(h, n_all(h) - 1);
  thin(h, h->max_marks, p1);
}

koi_feed_mark *koi_marks_feed(const koi_history *h)
{
  size_t n = h->n_new;
  koi_feed_mark *out = koi_alloc(n * h->caches->n_ratios + 1, sizeof *out);
  for (size_t r = 0; out && r < h->caches->n_ratios; r++)
    for (size_t i = 0; i < n; i++) out[r * n + i] = (koi_feed_mark){(uint32_t)(h->marks[h->n_marks + i].at - h->n), h->marks[h->n_marks + i].slots[r]};
  return out;
}

/* ---- going back ---- */
/* Puts the mark's window into the ring, and its states into this history's slots. */
static koine_status restore(koi_history *h, const koi_mark *m)
{
  koine_status s = KOINE_OK;
  for (size_t w = 0; w < h->n_window && !s; w++) {
    size_t entry = window_entry(h, m->at, w);
    if (m->window[w] == KOI_NO_PAGE || h->pages[entry] == m->window[w]) continue;
    int32_t old = h->pages[entry];
    if ((s = koi_history_set_page(h, entry, m->window[w]))) break;
    koi_pool_hold(koi_history_pool(h, 0), m->window[w]);
    koi_pool_drop(koi_history_pool(h, 0), old);
  }
  for (size_t i = 0; i < h->caches->n_ratios && !s; i++)
    if (m->slots[i] != KOI_NO_PAGE) s = koi_pool_copy(koi_history_states(h, i), m->slots[i], h->slots[i]);
  return s;
}

void koi_history_rewind(koi_history *h, uint64_t n)
{
  if (n >= h->n && !h->stale) return;
  h->ready = 0;
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

/* ---- forks ---- */
koine_status koi_marks_share(const koi_history *from, koi_history *out)
{
  size_t n = out->n_window + out->caches->n_ratios;
  for (size_t i = 0; i < from->n_marks; i++) {
    int32_t *both = koi_alloc(n + 1, sizeof *both);
    if (!both) return KOINE_ERR_MEMORY;
    memcpy(both, from->marks[i].window, n * sizeof *both);
    out->marks[out->n_marks++] = (koi_mark){from->marks[i].at, both, both + out->n_window};
    for (size_t w = 0; w < out->n_window; w++)
      if (both[w] != KOI_NO_PAGE) koi_pool_hold(koi_history_pool(out, 0), both[w]);
    for (size_t r = 0; r < out->caches->n_ratios; r++)
      if (both[out->n_window + r] != KOI_NO_PAGE) koi_pool_hold(koi_history_states(out, r), both[out->n_window + r]);
  }
  return KOINE_OK;
}
