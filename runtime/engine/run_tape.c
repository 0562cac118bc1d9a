/* See run_impl.h. Owns the recordings of a list. Invariant: `as` of a recording says for each call of its stretch which version of its arguments it has, 0
 * where the call is left out; versions never come back.
 * A call whose arguments change again and again is left outside, and parts what is recorded; a stretch has a recording for each of the few ways
 * in which its calls come (a window closes, a mark is passed), made when one comes for the second time. */
#include "run_impl.h"
#include <string.h>

enum {
  MAX_TOKENS = 64, /* of a step that is recorded: kernels of longer ones leave the host time enough */
  WAYS = 4,        /* recordings of a stretch */
  MIN_CALLS = 2,   /* in a recording */
  RESTLESS = 32    /* steps in which a call's arguments change twice, and it is left outside from then on */
};

typedef struct way { koi_recorded *rec; uint32_t *as; uint64_t used; } way; /* as: [stretch.n] */
typedef struct stretch {
  uint32_t first, n;
  uint32_t *states; /* memory of way.as and of last */
  uint32_t *last;   /* [n] how it came last when nothing recorded was right */
  way ways[WAYS];
} stretch;
typedef struct mark { uint32_t version, now; uint64_t changed; bool seen, loose; } mark; /* of a call: now 0: left out in this step; changed: in which step last */

struct koi_tape {
  stretch *v;      /* [n] */
  size_t n;
  uint32_t *at;    /* [calls.n] 1 + the stretch that begins here; 0: none does */
  mark *marks;     /* [calls.n] */
  koi_bound **calls; /* [calls.n] and ranges: for one recording */
  koi_range *ranges;
  uint64_t step;
  bool off;        /* the device refused */
};

/* ---- stretches ---- */
static void drop_stretches(koi_stage *st, koi_tape *t)
{
  for (size_t i = 0; i < t->n; i++) {
    for (size_t k = 0; k < WAYS; k++)
      if (t->v[i].ways[k].rec) st->dev->backend->unrecord(st->dev, t->v[i].ways[k].rec);
    koi_free(t->v[i].states);
  }
  t->n = 0;
}

static bool fits(const koi_tape *t, const koi_bound_call *b, size_t i)
{
  return b->call->kind == KOI_CALL_OP && b->bound->kernel && !b->bound->kernel->library && !t->marks[i].loose;
}

static bool make_stretch(koi_tape *t, size_t first, size_t n)
{
  stretch *s = &t->v[t->n];
  *s = (stretch){.first = (uint32_t)first, .n = (uint32_t)n, .states = koi_alloc(n * (WAYS + 1), sizeof *s->states)};
  if (!s->states) return false;
  for (size_t k = 0; k < WAYS; k++) s->ways[k].as = s->states + n * k;
  s->last = s->states + n * WAYS;
  t->at[first] = (uint32_t)++t->n;
  return true;
}

/* false: without memory, and then there are fewer stretches. */
static bool find_stretches(koi_tape *t, const koi_list *l)
{
  bool ok = true;
  memset(t->at, 0, l->calls.n * sizeof *t->at);
  for (size_t i = 0, n; i < l->calls.n && ok; i += n ? n : 1) {
    for (n = 0; i + n < l->calls.n && fits(t, &l->v[i + n], i + n);) n++;
    if (n >= MIN_CALLS) ok = make_stretch(t, i, n);
  }
  return ok;
}

/* ---- a list's tape ---- */
koine_status koi_run_tape_make(koi_stage *st, const koi_list *l, koi_tape **out)
{
  *out = NULL;
  if (!st->dev->records || l->shape.n_tokens > MAX_TOKENS) return KOINE_OK;
  koi_tape *t = koi_alloc(1, sizeof *t);
  if (!t) return KOINE_ERR_MEMORY;
  t->v = koi_alloc(l->calls.n, sizeof *t->v);
  t->at = koi_alloc(l->calls.n, sizeof *t->at);
  t->marks = koi_alloc(l->calls.n, sizeof *t->marks);
  t->calls = koi_alloc(l->calls.n, sizeof *t->calls);
  t->ranges = koi_alloc(l->calls.n, sizeof *t->ranges);
  if (t->v && t->at && t->marks && t->calls && t->ranges && find_stretches(t, l)) {
    *out = t;
    return KOINE_OK;
  }
  koi_run_tape_free(st, t);
  return KOINE_ERR_MEMORY;
}

void koi_run_tape_free(koi_stage *st, koi_tape *t)
{
  if (!t) return;
  if (t->v) drop_stretches(st, t);
  koi_free(t->v);
  koi_free(t->at);
  koi_free(t->marks);
  koi_free(t->calls);
  koi_free(t->ranges);
  koi_free(t);
}

/* Whether the call is left outside from now on. */
static bool look(mark *m, const koi_bound_call *b, uint64_t step)
{
  if (m->seen && m->version == b->version) return false;
  if (!m->seen) { /* what a list is bound with are no numbers of a step */
    m->seen = true, m->version = b->version;
    return false;
  }
  bool again = m->changed && step - m->changed <= RESTLESS && !m->loose;
  m->version = b->version, m->changed = step, m->loose |= again;
  return again;
}

void koi_run_tape_step(koi_stage *st, const koi_list *l)
{
  koi_tape *t = l->tape;
  bool anew = false;
  if (!t || t->off) return;
  t->step++;
  for (size_t i = 0; i < l->calls.n; i++) {
    const koi_bound_call *b = &l->v[i];
    bool out = b->empty || (b->call->when && !l->syms[b->call->when]);
    if (!out) anew |= look(&t->marks[i], b, t->step);
    t->marks[i].now = out ? 0 : b->version + 1;
  }
  if (!anew) return;
  drop_stretches(st, t);
  find_stretches(t, l);
}

/* ---- playing ---- */
static bool comes_as(const koi_tape *t, const stretch *s, const uint32_t *as)
{
  for (size_t i = 0; i < s->n; i++)
    if (t->marks[s->first + i].now != as[i]) return false;
  return true;
}

static way *find(const koi_tape *t, stretch *s)
{
  for (size_t k = 0; k < WAYS; k++)
    if (s->ways[k].rec && comes_as(t, s, s->ways[k].as)) return &s->ways[k];
  return NULL;
}

static void keep(const koi_tape *t, const stretch *s, uint32_t *as)
{
  for (size_t i = 0; i < s->n; i++) as[i] = t->marks[s->first + i].now;
}

static way *oldest(stretch *s)
{
  way *w = &s->ways[0];
  for (size_t k = 1; k < WAYS; k++)
    if (s->ways[k].used < w->used) w = &s->ways[k];
  return w;
}

/* What a device refuses to record it starts, as before; where it is lost, the next start says so. */
static way *record(koi_stage *st, const koi_list *l, stretch *s)
{
  koi_tape *t = l->tape;
  const koi_backend *k = st->dev->backend;
  size_t n = 0;
  for (size_t i = s->first; i < s->first + s->n; i++)
    if (t->marks[i].now) t->calls[n] = l->v[i].bound, t->ranges[n++] = l->v[i].range;
  if (n < MIN_CALLS) return NULL;
  way *w = oldest(s);
  if (w->rec) k->unrecord(st->dev, w->rec);
  w->rec = NULL;
  if (k->record(st->dev, t->calls, t->ranges, n, &w->rec)) {
    koi_log(KOINE_LOG_NOTE, "steps are not recorded: %s", koi_error_text());
    t->off = true;
    return NULL;
  }
  keep(t, s, w->as);
  return w;
}

koine_status koi_run_tape_play(koi_stage *st, const koi_list *l, size_t at, size_t *n)
{
  koi_tape *t = l->tape;
  *n = 0;
  if (!t || t->off || !t->at[at]) return KOINE_OK;
  stretch *s = &t->v[t->at[at] - 1];
  way *w = find(t, s);
  if (!w && comes_as(t, s, s->last)) w = record(st, l, s);
  if (!w) {
    keep(t, s, s->last);
    return KOINE_OK;
  }
  w->used = t->step;
  *n = s->n;
  koine_status failed = st->dev->backend->replay(st->dev, w->rec);
  if (failed == KOINE_ERR_DEVICE) atomic_store(&st->dev->failed, true);
  return failed;
}
