/* See line.h. Owns the histories and the memory between stages. Invariant: between calls all histories stand at one position, and none is stale. */
#include "line.h"

static koi_stage *stage(const koi_line *l, size_t i) { return koi_engine_stage(l->plan, i); }

/* ---- open and close ---- */
koine_status koi_line_open(koine_plan *plan, bool exact, uint64_t context, koi_line *out)
{
  *out = (koi_line){.plan = plan, .n_stages = plan->n_stages, .h = koi_alloc(plan->n_stages, sizeof *out->h)};
  koine_status s = out->h ? KOINE_OK : KOINE_ERR_MEMORY;
  for (size_t i = 0; i < out->n_stages && !s; i++) {
    koi_stage_lock(stage(out, i));
    s = koi_history_open(stage(out, i), exact, context, &out->h[i]);
    koi_stage_unlock(stage(out, i));
  }
  return s;
}

void koi_line_close(koi_line *l)
{
  for (size_t i = 0; l->h && i < l->n_stages; i++) {
    koi_stage *st = l->h[i].st;
    if (!st) continue;
    koi_stage_lock(st);
    st->dev->backend->finish(st->dev);
    koi_history_close(&l->h[i]);
    koi_stage_unlock(st);
  }
  koi_free(l->h);
  koi_free(l->hidden);
  *l = (koi_line){0};
}

koine_status koi_line_fork(koi_line *from, koi_line *out)
{
  *out = (koi_line){.plan = from->plan, .n_stages = from->n_stages, .h = koi_alloc(from->n_stages, sizeof *out->h)};
  koine_status s = out->h ? KOINE_OK : KOINE_ERR_MEMORY;
  for (size_t i = 0; i < out->n_stages && !s; i++) {
    koi_stage_lock(stage(out, i));
    s = koi_history_fork(&from->h[i], &out->h[i]);
    koi_stage_unlock(stage(out, i));
  }
  return s;
}

/* ---- going back ---- */
static void rewind_one(koi_line *l, size_t i, uint64_t n)
{
  koi_history *h = &l->h[i];
  if (n >= h->n && !h->stale) return;
  koi_stage_lock(h->st);
  koi_history_rewind(h, n);
  koi_stage_unlock(h->st);
}

/* A stage without memory may have given up a mark that the others have: then they go to the one before it. */
void koi_line_rewind(koi_line *l, uint64_t n)
{
  for (bool even = false; !even;) {
    uint64_t least = UINT64_MAX, most = 0;
    for (size_t i = 0; i < l->n_stages; i++) {
      rewind_one(l, i, n);
      least = l->h[i].n < least ? l->h[i].n : least, most = l->h[i].n > most ? l->h[i].n : most;
    }
    even = least == most, n = least;
  }
}

void koi_line_clear(koi_line *l)
{
  for (size_t i = 0; i < l->n_stages; i++) {
    koi_stage_lock(stage(l, i));
    koi_history_clear(&l->h[i]);
    koi_stage_unlock(stage(l, i));
  }
}

koine_status koi_line_fill(koi_line *l, uint64_t n)
{
  koine_status s = KOINE_OK;
  for (size_t i = 0; i < l->n_stages && !s; i++) {
    koi_stage_lock(stage(l, i));
    s = koi_history_fill(&l->h[i], n);
    koi_stage_unlock(stage(l, i));
  }
  if (s) koi_line_clear(l);
  return s;
}

uint64_t koi_line_bytes(const koi_line *l)
{
  uint64_t bytes = 0;
  for (size_t i = 0; i < l->n_stages; i++) { /* for want of memory another session may give up this one's marks */
    koi_stage_lock(stage(l, i));
    bytes += koi_history_bytes(&l->h[i]);
    koi_stage_unlock(stage(l, i));
  }
  return bytes;
}

/* ---- between stages ---- */
static size_t token_floats(const koi_line *l)
{
  const koi_config *c = &l->plan->model->config;
  return (size_t)c->n_streams * c->hidden;
}

koine_status koi_line_make_room(koi_line *l, uint32_t n_tokens)
{
  size_t n;
  if (n_tokens <= l->hidden_tokens || l->n_stages < 2) return KOINE_OK;
  if (!koi_mul(n_tokens * token_floats(l), (l->n_stages - 1) * KOI_LINE_SLOTS, &n)) return koi_error(KOINE_ERR_MEMORY, "streams of %u tokens are too large to count", n_tokens);
  float *hidden = koi_alloc(n, sizeof *hidden);
  if (!hidden) return KOINE_ERR_MEMORY;
  koi_free(l->hidden);
  l->hidden = hidden, l->hidden_tokens = n_tokens;
  return KOINE_OK;
}

koi_between koi_line_between(const koi_line *l, size_t i, size_t c, uint32_t n_tokens)
{
  if (i + 1 >= l->n_stages) return (koi_between){NULL, NULL};
  return (koi_between){l->hidden + (i * KOI_LINE_SLOTS + c % KOI_LINE_SLOTS) * l->hidden_tokens * token_floats(l),
                       koi_gap_claim(stage(l, i + 1), (uint64_t)n_tokens * token_floats(l) * sizeof(float))};
}

/* ---- a step ---- */
static void unprepare(koi_line *l, size_t first, size_t end, const koi_chunk *c)
{
  for (size_t i = first; i < end; i++) {
    koi_stage_lock(stage(l, i));
    koi_history_unprepare(&l->h[i], c);
    koi_stage_unlock(stage(l, i));
  }
}

koine_status koi_line_prepare(koi_line *l, const koi_chunk *c)
{
  koine_status s = KOINE_OK;
  for (size_t i = 0; i < l->n_stages && !s; i++) {
    if (koi_history_is_ready(&l->h[i], c)) continue;
    koi_stage_lock(stage(l, i));
    s = koi_history_prepare(&l->h[i], c);
    koi_stage_unlock(stage(l, i));
    if (s) unprepare(l, 0, i, c);
  }
  return s;
}

/* What each line has on stage i. */
static void seqs_of(const koi_member *v, size_t n, size_t i, koi_seq *out)
{
  for (size_t k = 0; k < n; k++) out[k] = (koi_seq){&v[k].line->h[i], v[k].chunk};
}

/* Memory of the step itself: streams of all rows between stages, which the first line keeps, and bound lists. A stage that is busy with other conversations is not waited
 * for: its list is looked for when the step comes to it. */
static koine_status ready(const koi_member *v, size_t n)
{
  koi_line *l = v->line;
  koi_seq seqs[KOI_MAX_SEQS];
  uint32_t n_tokens = 0;
  for (size_t k = 0; k < n; k++) n_tokens += v[k].chunk->n;
  koine_status s = koi_line_make_room(l, n_tokens);
  for (size_t i = 0; i < l->n_stages && !s; i++) {
    seqs_of(v, n, i, seqs);
    if (!koi_stage_try_lock(stage(l, i))) continue;
    s = koi_history_lists(seqs, n);
    koi_stage_unlock(stage(l, i));
  }
  for (size_t k = 0; k < n && s; k++) unprepare(v[k].line, 0, l->n_stages, v[k].chunk);
  return s;
}

/* Stages from `first` on were not begun; then all lines go to where every stage can, and none beyond where it was: what a stage gave may have been lost unnoticed. */
static void go_back(const koi_member *v, size_t n, size_t first, const uint64_t *began)
{
  for (size_t k = 0; k < n; k++) {
    unprepare(v[k].line, first, v[k].line->n_stages, v[k].chunk);
    koi_line_rewind(v[k].line, began[k]);
  }
}

static koine_status run_stage(const koi_member *v, size_t n, size_t i, const koi_between *in, const koi_between *out, const koi_watch *watch)
{
  koi_stage *st = stage(v->line, i);
  koi_seq seqs[KOI_MAX_SEQS];
  seqs_of(v, n, i, seqs);
  koi_stage_lock(st);
  koine_status s = koi_history_run(seqs, n, in, out, watch);
  koi_stage_unlock(st);
  koine_status given = koi_gap_settle(in->slot);
  return given ? given : s; /* who gave nothing right is the cause */
}

koine_status koi_line_run(const koi_member *v, size_t n, const koi_watch *watch)
{
  koi_line *l = v->line;
  koi_between in = {NULL, NULL}, out;
  uint64_t began[KOI_MAX_SEQS];
  uint32_t n_tokens = 0;
  koine_status s = ready(v, n);
  if (s) return s;
  for (size_t k = 0; k < n; k++) began[k] = koi_line_n(v[k].line), n_tokens += v[k].chunk->n;
  for (size_t i = 0; i < l->n_stages && !s; i++, in = out) {
    out = koi_line_between(l, i, 0, n_tokens);
    s = run_stage(v, n, i, &in, &out, watch);
    if (!s) continue;
    char why[KOI_LINE_WHY];
    koi_print(why, sizeof why, "%s", koi_error_text()); /* going back may fail as well, for the same reason */
    koi_gap_settle(out.slot);
    go_back(v, n, i + 1, began);
    koi_error(s, "%s", why);
  }
  return s;
}

koine_status koi_line_step(koi_line *l, const koi_chunk *c, const koi_watch *watch)
{
  koine_status s = koi_line_prepare(l, c);
  return s ? s : koi_line_run(&(koi_member){l, c}, 1, watch);
}
