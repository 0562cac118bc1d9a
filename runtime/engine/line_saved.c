/* A line as pieces that a file can hold, stage after stage. See line.h. Owns nothing between calls. Invariant: as line.c's. */
#include <string.h>
#include "line.h"

static koi_stage *stage(const koi_line *l, size_t i) { return koi_engine_stage(l->plan, i); }

static bool has_mark(const koi_history *h, uint64_t at)
{
  for (size_t i = 0; i < h->n_marks; i++)
    if (h->marks[i].at == at) return true;
  return false;
}

/* The last stage's, as far as the others have them. */
size_t koi_line_marks(const koi_line *l, uint64_t *out, size_t most)
{
  size_t last = l->n_stages - 1, n = 0, n_good = 0;
  koi_stage_lock(stage(l, last));
  for (size_t i = l->h[last].n_marks > most ? l->h[last].n_marks - most : 0; i < l->h[last].n_marks; i++) out[n++] = l->h[last].marks[i].at;
  koi_stage_unlock(stage(l, last));
  for (size_t s = 0; s < last; s++, n = n_good, n_good = 0) {
    koi_stage_lock(stage(l, s));
    for (size_t i = 0; i < n; i++)
      if (has_mark(&l->h[s], out[i])) out[n_good++] = out[i];
    koi_stage_unlock(stage(l, s));
  }
  return n;
}

void koi_line_free_pieces(const koine_plan *plan, koi_pieces *v)
{
  for (size_t i = 0; v && i < plan->n_stages; i++) koi_free(v[i].v);
  koi_free(v);
}

koine_status koi_line_pieces(const koine_plan *plan, bool exact, const uint64_t *marks, size_t n_marks, koi_pieces **out)
{
  koi_pieces *v = koi_alloc(plan->n_stages, sizeof *v);
  koine_status s = v ? KOINE_OK : KOINE_ERR_MEMORY;
  for (size_t i = 0; i < plan->n_stages && !s; i++) s = koi_history_pieces(koi_engine_stage(plan, i)->caches[exact], marks, n_marks, &v[i]);
  if (s) koi_line_free_pieces(plan, v);
  else *out = v;
  return s;
}

/* Room for one piece of any stage. */
static uint8_t *desk(const koi_line *l, const koi_pieces *v)
{
  uint64_t most = 1;
  for (size_t i = 0; i < l->n_stages; i++) most = v[i].most_bytes > most ? v[i].most_bytes : most;
  return koi_alloc((size_t)most, 1);
}

static size_t bytes_of(const koi_history *h, const koi_piece_at *p) { return (size_t)h->caches->kinds[p->kind].page_bytes; }

koine_status koi_line_save(koi_line *l, const uint64_t *marks, const koi_pieces *v, koi_piece_fn *put, void *user)
{
  uint8_t *at = desk(l, v);
  koine_status s = at ? KOINE_OK : KOINE_ERR_MEMORY;
  for (size_t i = 0; i < l->n_stages && !s; i++)
    for (size_t k = 0; k < v[i].n && !s; k++) {
      const koi_piece_at *p = &v[i].v[k];
      koi_stage_lock(stage(l, i));
      s = koi_history_read(&l->h[i], p, marks[p->mark], at);
      koi_stage_unlock(stage(l, i));
      if (!s) s = put(user, at, bytes_of(&l->h[i], p));
    }
  koi_free(at);
  return s;
}

static koine_status expect(koi_line *l, const uint64_t *marks, size_t n)
{
  koine_status s = KOINE_OK;
  for (size_t i = 0; i < l->n_stages && !s; i++) {
    koi_stage_lock(stage(l, i));
    s = koi_history_expect(&l->h[i], marks, n);
    koi_stage_unlock(stage(l, i));
  }
  return s;
}

static koine_status arrive(koi_line *l, uint64_t at)
{
  koine_status s = KOINE_OK;
  for (size_t i = 0; i < l->n_stages && !s; i++) {
    koi_stage_lock(stage(l, i));
    s = koi_history_arrive(&l->h[i], at);
    koi_stage_unlock(stage(l, i));
  }
  return s;
}

koine_status koi_line_load(koi_line *l, const uint64_t *marks, const koi_pieces *v, size_t first, size_t n_kept, koi_piece_fn *get, void *user)
{
  uint8_t *at = desk(l, v);
  koine_status s = at ? expect(l, marks + first, n_kept) : KOINE_ERR_MEMORY;
  for (size_t i = 0; i < l->n_stages && !s; i++)
    for (size_t k = 0; k < v[i].n && !s; k++) {
      const koi_piece_at *p = &v[i].v[k];
      if ((s = get(user, at, bytes_of(&l->h[i], p)))) break;
      koi_stage_lock(stage(l, i));
      s = koi_history_write(&l->h[i], p, marks[p->mark], at);
      koi_stage_unlock(stage(l, i));
    }
  if (!s) s = arrive(l, marks[first + n_kept - 1]);
  if (s) koi_line_clear(l);
  koi_free(at);
  return s;
}
