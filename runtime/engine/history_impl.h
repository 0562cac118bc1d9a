/* What the parts of a history share: pages in history_pages.c, marks in history_marks.c, the rest in history.c. */
#ifndef KOI_HISTORY_IMPL_H
#define KOI_HISTORY_IMPL_H
#include "history.h"

static inline koi_pool *koi_history_pool(const koi_history *h, size_t kind) { return &h->pools[kind]; }
static inline koi_pool *koi_history_states(const koi_history *h, size_t ratio) { return &h->pools[h->caches->ratios[ratio].state]; }
static inline uint32_t koi_history_ring(const koi_history *h) { return koi_caches_ring(h->caches, h->st->plan->chunk); }

/* ---- history_pages.c ---- */
/* What this history may hold at most is promised to its pools, or is no more. */
void koi_history_promise(koi_history *h);
void koi_history_unpromise(koi_history *h);
/* Makes n pages of a kind free. */
koine_status koi_history_reserve(koi_history *h, size_t kind, size_t n);
/* The same without taking anything from others. */
koine_status koi_history_reserve_gently(koi_history *h, size_t kind, size_t n);
/* Before the first history of a mode: pools that have grown often and are not used begin anew. */
koine_status koi_history_begin_anew(koi_stage *st, bool exact);
koine_status koi_history_set_page(koi_history *h, size_t entry, int32_t page);
/* The device's table of a kind becomes what `pages` has, which is laid out as h->pages. */
koine_status koi_history_write_pages(const koi_history *h, size_t kind, const int32_t *pages);
/* Entries of a kind's table. */
size_t koi_history_entries(const koi_history *h, size_t kind);
size_t koi_history_kind(const koi_history *h, size_t entry); /* of an entry of h->pages */
/* All pages that positions [p0, p1) write, each this history's alone. KOINE_ERR_MEMORY: nothing has changed. */
koine_status koi_history_make_room(koi_history *h, uint64_t p0, uint64_t p1);

/* ---- history_marks.c ---- */
/* New marks that the chunk [h->n, p1) passes, with slots for their states. A mark is a convenience: without memory for it there is none. */
koine_status koi_marks_prepare(koi_history *h, uint64_t p1);
/* The chunk up to p1 was evaluated, or not: the new marks take the window's pages, or go. */
void koi_marks_settle(koi_history *h, uint64_t p1, bool done);
/* The slots that the new marks want, as the feed takes them: [n_ratios][n_new]; NULL: no memory. */
koi_feed_mark *koi_marks_feed(const koi_history *h);
koine_status koi_marks_share(const koi_history *from, koi_history *out);
void koi_marks_clear(koi_history *h);
/* Gives up one mark of all histories of a mode that have no chunk prepared; false: there is none. */
bool koi_marks_give_up(koi_stage *st, bool exact);
/* Pages of a kind that marks of all histories of a mode hold, those that they share counted for each. */
size_t koi_marks_hold(const koi_stage *st, bool exact, size_t kind);
#endif
