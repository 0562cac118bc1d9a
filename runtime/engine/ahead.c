/* See ahead.h. Owns threads, and the memory of the pieces on their way. Invariant: pieces are handed out in the order of the laid model, whoever
 * read them, and a piece's slot is written by one thread from when it is begun until it is ready.
 * Locking: `lock` guards all but the pieces' bytes. Threads allocate nothing but the text of an error. */
#include "ahead.h"
#include "base/thread.h"
#include <string.h>

enum { MAX_READERS = 8, LEAST_BYTES = 4 << 20 /* of a model that is worth a thread */ };

typedef struct slot {
  koi_piece_read piece;
  koine_status status;
  char *why;
  bool ready;
} slot;

typedef struct reader { struct koi_ahead *a; pthread_t thread; koi_fetch *f; } reader;

struct koi_ahead {
  const koi_laid_model *l;
  koi_span at;      /* the piece to be begun next: layer, role, part, unit, tile0 */
  bool all;         /* every piece was begun */
  slot *slots;      /* [n_slots], of which piece i has i % n_slots */
  size_t n_slots;
  uint64_t begun, taken; /* pieces; those between are on their way or ready */
  bool held, stop;  /* held: the one taken last is still in use */
  pthread_mutex_t lock;
  pthread_cond_t ready, room;
  reader readers[MAX_READERS];
  size_t n_fetches, n_threads;
};

/* ---- the order ---- */
static const koi_laid *laid_of(const koi_laid_model *l, const koi_span *s) { return s->layer < 0 ? &l->top[s->role] : &l->layers[s->layer][s->role]; }

/* The first part of the first weight that there is from (layer, role) on; false: none. */
static bool first_part(const koi_laid_model *l, koi_span *s)
{
  while (s->layer < (int)l->model->config.n_layers) {
    uint32_t n = s->layer < 0 ? KOI_N_TOP_ROLES : KOI_N_LAYER_ROLES;
    for (; s->role < n; s->role++) {
      const koi_laid *w = laid_of(l, s);
      if (!w->n_parts) continue;
      s->part = w->first, s->unit = (uint32_t)l->parts[s->part].unit0, s->tile0 = (uint64_t)l->parts[s->part].tile0;
      return true;
    }
    s->layer++, s->role = 0;
  }
  return false;
}

/* The next piece into *out; false: there was none. */
static bool next_piece(koi_ahead *a, koi_span *out)
{
  koi_span *s = &a->at;
  if (a->all) return false;
  const koi_part *p = &a->l->parts[s->part];
  const koi_laid *w = laid_of(a->l, s);
  s->tile1 = (uint64_t)p->tile1;
  *out = *s, out->tile1 = koi_span_next(a->l, s);
  s->tile0 = out->tile1;
  if (s->tile0 < s->tile1) return true;
  s->tile0 = (uint64_t)p->tile0;
  if (++s->unit < (uint32_t)p->unit1) return true;
  if (++s->part < w->first + w->n_parts) {
    s->unit = (uint32_t)a->l->parts[s->part].unit0, s->tile0 = (uint64_t)a->l->parts[s->part].tile0;
    return true;
  }
  s->role++;
  a->all = !first_part(a->l, s);
  return true;
}

/* ---- reading ---- */
static void fill(koi_fetch *f, slot *to)
{
  to->piece.care = false;
  to->status = koi_fetch_tiles(f, &to->piece.span, to->piece.out, &to->piece.care);
  to->why = to->status ? koi_strdup(koi_error_text()) : NULL;
}

static void *work(void *user)
{
  reader *r = user;
  koi_ahead *a = r->a;
  pthread_mutex_lock(&a->lock);
  for (;;) {
    while (!a->stop && !a->all && a->begun - a->taken + a->held >= a->n_slots) pthread_cond_wait(&a->room, &a->lock);
    slot *to = &a->slots[a->begun % a->n_slots];
    if (a->stop || !next_piece(a, &to->piece.span)) break;
    a->begun++;
    pthread_mutex_unlock(&a->lock);
    fill(r->f, to);
    pthread_mutex_lock(&a->lock);
    to->ready = true;
    if (to->status) a->all = true;
    pthread_cond_signal(&a->ready);
  }
  pthread_cond_broadcast(&a->room);
  pthread_mutex_unlock(&a->lock);
  return NULL;
}

static koine_status failed(slot *from)
{
  koine_status s = koi_error(from->status, "%s", from->why ? from->why : "a weight cannot be read");
  koi_free(from->why);
  from->why = NULL;
  return s;
}

const koi_piece_read *koi_ahead_next(koi_ahead *a, koine_status *s)
{
  *s = KOINE_OK;
  if (!a->n_threads) {
    slot *only = &a->slots[0];
    if (!next_piece(a, &only->piece.span)) return NULL;
    fill(a->readers[0].f, only);
    if (only->status) *s = failed(only);
    return *s ? NULL : &only->piece;
  }
  pthread_mutex_lock(&a->lock);
  a->held = false;
  pthread_cond_signal(&a->room);
  slot *from = &a->slots[a->taken % a->n_slots];
  while (!from->ready && (!a->all || a->taken < a->begun)) pthread_cond_wait(&a->ready, &a->lock);
  bool some = from->ready;
  from->ready = false;
  if (some) a->taken++, a->held = true;
  pthread_mutex_unlock(&a->lock);
  if (some && from->status) *s = failed(from);
  return some && !*s ? &from->piece : NULL;
}

/* ---- making it ---- */
static void widen(uint64_t *bytes, const koi_fetch *f, int layer, uint32_t n_roles, const koi_laid *laid)
{
  for (uint32_t r = 0; r < n_roles; r++)
    for (uint32_t p = laid[r].first; p < laid[r].first + laid[r].n_parts; p++) {
      koi_span one = koi_fetch_unit(f, layer, r, p, (uint32_t)f->l->parts[p].unit0);
      if (one.tile1 - one.tile0 > koi_span_at_once(f->l, &one)) one.tile1 = one.tile0 + koi_span_at_once(f->l, &one);
      for (int s = 0; s < KOI_MAX_STREAMS; s++)
        if (koi_fetch_bytes(f, &one, s) > bytes[s]) bytes[s] = koi_fetch_bytes(f, &one, s);
    }
}

static koine_status make_slots(koi_ahead *a)
{
  uint64_t bytes[KOI_MAX_STREAMS] = {0};
  const koi_fetch *f = a->readers[0].f;
  widen(bytes, f, -1, KOI_N_TOP_ROLES, a->l->top);
  for (uint32_t n = 0; n < a->l->model->config.n_layers; n++) widen(bytes, f, (int)n, KOI_N_LAYER_ROLES, a->l->layers[n]);
  a->slots = koi_alloc(a->n_slots, sizeof *a->slots);
  for (size_t i = 0; i < a->n_slots && a->slots; i++)
    for (int s = 0; s < KOI_MAX_STREAMS; s++)
      if (bytes[s] && !(a->slots[i].piece.out[s] = koi_alloc(bytes[s], 1))) return KOINE_ERR_MEMORY;
  return a->slots ? KOINE_OK : KOINE_ERR_MEMORY;
}

static void start(koi_ahead *a)
{
  while (a->n_fetches > 1 && a->n_threads < a->n_fetches && koi_thread_start(&a->readers[a->n_threads].thread, work, &a->readers[a->n_threads])) a->n_threads++;
}

koine_status koi_ahead_open(const koi_laid_model *l, struct koi_kept *kept, uint32_t n_threads, bool pass, koi_ahead **out)
{
  koi_ahead *a = koi_alloc(1, sizeof *a);
  koine_status s = a ? KOINE_OK : KOINE_ERR_MEMORY;
  size_t n = l->bytes < LEAST_BYTES || n_threads < 2 ? 1 : n_threads < MAX_READERS ? n_threads : MAX_READERS;
  if (!a) return s;
  pthread_mutex_init(&a->lock, NULL);
  pthread_cond_init(&a->ready, NULL);
  pthread_cond_init(&a->room, NULL);
  a->l = l, a->at.layer = -1, a->all = !first_part(l, &a->at), a->n_slots = n > 1 ? n + 2 : 1;
  for (; a->n_fetches < n && !s; a->n_fetches += !s) {
    a->readers[a->n_fetches].a = a;
    s = koi_fetch_open(l, kept, pass, &a->readers[a->n_fetches].f);
  }
  if (!s) s = make_slots(a);
  if (s) koi_ahead_close(a);
  else start(a), *out = a;
  return s;
}

void koi_ahead_close(koi_ahead *a)
{
  if (!a) return;
  pthread_mutex_lock(&a->lock);
  a->stop = true;
  pthread_cond_broadcast(&a->room);
  pthread_mutex_unlock(&a->lock);
  for (size_t i = 0; i < a->n_threads; i++) pthread_join(a->readers[i].thread, NULL);
  for (size_t i = 0; i < a->n_fetches; i++) koi_fetch_close(a->readers[i].f);
  for (size_t i = 0; i < a->n_slots && a->slots; i++) {
    for (int s = 0; s < KOI_MAX_STREAMS; s++) koi_free(a->slots[i].piece.out[s]);
    koi_free(a->slots[i].why);
  }
  koi_free(a->slots);
  pthread_cond_destroy(&a->room);
  pthread_cond_destroy(&a->ready);
  pthread_mutex_destroy(&a->lock);
  koi_free(a);
}
