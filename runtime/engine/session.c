/* Sessions: which tokens are held, what of a new prefix needs no evaluation, chunks. Does not know ops, layers or pages.
 * Invariant: the caches stand for held[0..n), n = koi_line_n at most n_held; what lies between is evaluated again when it is needed. */
#include "session.h"
#include <string.h>

/* ---- open and close ---- */
static koine_status options(const koine_plan *p, const koine_session_options *o, koine_session *s)
{
  uint64_t most = p->model->config.max_context;
  s->mode = o ? o->cache : KOINE_CACHE_PACKED;
  s->context = o && o->context ? o->context : most < KOI_DEFAULT_CONTEXT ? most : KOI_DEFAULT_CONTEXT;
  s->chunk = o && o->chunk ? o->chunk : p->chunk;
  if (s->mode != KOINE_CACHE_PACKED && s->mode != KOINE_CACHE_EXACT) return koi_error(KOINE_ERR_ARG, "unknown cache mode %d", (int)s->mode);
  if (s->chunk > p->chunk) return koi_error(KOINE_ERR_ARG, "chunk of %u tokens: the plan was made for at most %u", s->chunk, p->chunk);
  if (s->context > KOI_MAX_CONTEXT) return koi_error(KOINE_ERR_ARG, "context of %llu tokens, expected at most %d", (unsigned long long)s->context, KOI_MAX_CONTEXT);
  if (s->context > most) /* the caller asked for it, and nothing here depends on it */
    koi_log(KOINE_LOG_WARNING, "context of %llu tokens: the model was made for %llu (max_position_embeddings)", (unsigned long long)s->context,
            (unsigned long long)most);
  return KOINE_OK;
}

static koine_session *new_session(koine_plan *p)
{
  koine_session *s = koi_alloc(1, sizeof *s);
  float *last = koi_alloc(p->model->config.n_vocab, sizeof *last);
  if (!s || !last) {
    koi_free(s);
    koi_free(last);
    return NULL;
  }
  s->plan = p, s->last = last;
  atomic_fetch_add(&p->awake->n_sessions, 1);
  return s;
}

koine_status koi_session_open(koine_plan *plan, const koine_session_options *o, koine_session **out)
{
  koine_session *s = new_session(plan);
  if (!s) return KOINE_ERR_MEMORY;
  koine_status st = options(plan, o, s);
  if (!st) st = koi_line_open(plan, s->mode == KOINE_CACHE_EXACT, s->context, &s->line);
  if (st) koi_session_close(s);
  else *out = s;
  return st;
}

void koi_session_close(koine_session *s)
{
  if (!s) return;
  koi_line_close(&s->line);
  atomic_fetch_sub(&s->plan->awake->n_sessions, 1);
  koi_free(s->held);
  koi_free(s->last);
  koi_free(s);
}

/* ---- what is held ---- */
static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

static size_t held_rows(const koine_session *s) { return (size_t)koi_line_n(&s->line); }

/* Tokens that `tokens` and what is held begin with alike: whole blocks at the speed of memory, since every step of a long conversation comes here. */
static size_t common(const koine_session *s, const int32_t *tokens, size_t n)
{
  enum { BLOCK = 1024 };
  size_t most = smaller(n, s->n_held), same = 0;
  while (most - same >= BLOCK && !memcmp(s->held + same, tokens + same, BLOCK * sizeof *tokens)) same += BLOCK;
  while (same < most && s->held[same] == tokens[same]) same++;
  return same;
}

/* Only those that are new: the others were checked when they came. */
static koine_status check_tokens(const koine_session *s, const int32_t *tokens, size_t n, size_t n_logits, size_t same)
{
  uint32_t n_vocab = s->plan->model->config.n_vocab;
  if (!n) return koi_error(KOINE_ERR_ARG, "no token to evaluate");
  if (n > s->context) return koi_error(KOINE_ERR_ARG, "%zu tokens, but the session's context is %llu", n, (unsigned long long)s->context);
  if (n_logits > n) return koi_error(KOINE_ERR_ARG, "logits of %zu positions wanted, but there are %zu tokens", n_logits, n);
  for (size_t i = same; i < n; i++)
    if (tokens[i] < 0 || (uint32_t)tokens[i] >= n_vocab)
      return koi_error(KOINE_ERR_ARG, "token %d at position %zu is outside the vocabulary of %u", tokens[i], i, n_vocab);
  return KOINE_OK;
}

static koine_status remember(koine_session *s, const int32_t *tokens, size_t at, size_t n)
{
  size_t need = at + n;
  if (need > s->cap_held) {
    size_t cap = need + need / 2 + 64;
    int32_t *held = koi_realloc(s->held, cap, sizeof *held);
    if (!held) return KOINE_ERR_MEMORY;
    s->held = held, s->cap_held = cap;
  }
  if (n) memmove(s->held + at, tokens, n * sizeof *tokens);
  return KOINE_OK;
}

void koi_session_clear(koine_session *s)
{
  koi_line_clear(&s->line);
  s->n_held = s->redo = 0, s->has_last = false;
}

koine_status koi_session_truncate(koine_session *s, size_t n_tokens)
{
  if (n_tokens > s->n_held) return koi_error(KOINE_ERR_ARG, "%zu tokens to keep, but %zu are held", n_tokens, s->n_held);
  if (n_tokens == s->n_held) return KOINE_OK;
  s->n_held = n_tokens, s->redo = 0, s->has_last = false;
  koi_line_rewind(&s->line, n_tokens);
  return KOINE_OK;
}

koine_status koi_session_fork(koine_session *s, koine_session **out)
{
  koine_session *f = new_session(s->plan);
  if (!f) return KOINE_ERR_MEMORY;
  f->mode = s->mode, f->context = s->context, f->chunk = s->chunk;
  koine_status st = remember(f, s->held, 0, s->n_held);
  if (!st) st = koi_line_fork(&s->line, &f->line);
  if (st) {
    koi_session_close(f);
    return st;
  }
  f->n_held = s->n_held, f->has_last = s->has_last;
  memcpy(f->last, s->last, s->plan->model->config.n_vocab * sizeof *f->last);
  *out = f;
  return KOINE_OK;
}

koine_status koi_session_hold(koine_session *s, const int32_t *tokens, size_t n_tokens)
{
  koine_status st = remember(s, tokens, 0, n_tokens);
  if (!st) s->n_held = n_tokens;
  return st;
}

/* ---- evaluation ---- */
static void count(koine_session *s, uint32_t n, uint64_t ns)
{
  s->stats.n_evaluated += n;
  if (n == 1) s->stats.n_decode++, s->stats.decode_ns += ns;
  else s->stats.n_prefill += n, s->stats.prefill_ns += ns;
}

/* A chunk that all stages have finished, up to position `end`. */
static void finished(koine_session *s, const koi_chunk *c, size_t end, uint64_t ns)
{
  size_t n_vocab = s->plan->model->config.n_vocab;
  if (end >= s->n_held) s->has_last = c->n_logits > 0;
  if (end > s->n_held) s->n_held = end;
  if (c->n_logits && end == s->n_held) memcpy(s->last, c->logits + (size_t)(c->n_logits - 1) * n_vocab, n_vocab * sizeof(float));
  count(s, c->n, ns);
}

void koi_session_finished(koine_session *s, const koi_chunk *c, uint64_t ns) { finished(s, c, held_rows(s), ns); }

void koi_session_failed(koine_session *s) { s->redo = s->n_held; }

static bool goes_on(const koine_session *s, const koi_work *w, size_t done)
{
  const koine_eval_options *o = w->o;
  return !atomic_load(&s->cancelled) && (!o || !o->progress || o->progress(o->user, "evaluating", done - w->first, w->n - w->first));
}

static koine_status cancelled(const koine_session *s, size_t n_tokens)
{
  return koi_error(KOINE_ERR_CANCELLED, "cancelled after %zu of %zu tokens", held_rows(s), n_tokens);
}

koine_status koi_session_goes_on(koine_session *s, const koi_work *w) { return goes_on(s, w, held_rows(s)) ? KOINE_OK : cancelled(s, w->n); }

bool koi_session_done(const koine_session *s, const koi_work *w) { return w->first == w->n || held_rows(s) == w->n; }

/* The chunk that begins at `at`. */
static koi_chunk cut(const koine_session *s, const koi_work *w, size_t at, size_t most)
{
  size_t wanted_from = w->n - w->n_logits;
  uint32_t n = (uint32_t)smaller((at < s->redo ? s->redo : w->n) - at, smaller(s->chunk, most));
  size_t end = at + n;
  uint32_t rows = end <= wanted_from ? 0 : (uint32_t)(end - (at > wanted_from ? at : wanted_from));
  return (koi_chunk){w->tokens + (at - w->first), n, rows, rows ? w->logits + (end - rows - wanted_from) * s->plan->model->config.n_vocab : NULL};
}

koine_status koi_session_next(koine_session *s, const koi_work *w, size_t most, koi_chunk *out)
{
  size_t at = held_rows(s);
  *out = cut(s, w, at, most);
  return remember(s, out->tokens, at, out->n);
}

/* A chunk after the other. */
static koine_status evaluate(koine_session *s, const koi_work *w)
{
  koine_status st = KOINE_OK;
  while (!koi_session_done(s, w) && !st) {
    koi_chunk c;
    if ((st = koi_session_goes_on(s, w))) return st;
    uint64_t start = koi_now_ns();
    if ((st = koi_session_next(s, w, w->n, &c))) return st;
    if ((st = koi_line_step(&s->line, &c, s->watch))) koi_session_failed(s);
    else koi_session_finished(s, &c, koi_now_ns() - start);
  }
  return st;
}

/* Chunks on all stages at once. */
typedef struct flowing { koine_session *s; const koi_work *w; const koi_chunk *v; uint64_t last_ns; size_t at; bool stopped; } flowing;

static bool flowed(void *user, size_t c)
{
  flowing *f = user;
  uint64_t now = koi_now_ns();
  f->at += f->v[c].n;
  finished(f->s, &f->v[c], f->at, now - f->last_ns);
  f->last_ns = now;
  f->stopped |= f->at < f->w->n && !goes_on(f->s, f->w, f->at);
  return !f->stopped;
}

static koine_status evaluate_flowing(koine_session *s, const koi_work *w)
{
  size_t n = 0, at = w->first;
  koi_chunk *v = koi_alloc((w->n - at) / s->chunk + 3, sizeof *v); /* one more ends at s->redo, one at the end */
  koine_status st = v ? remember(s, w->tokens, at, w->n - at) : KOINE_ERR_MEMORY;
  for (; !st && at < w->n; at += v[n - 1].n) v[n] = cut(s, w, at, w->n), n++;
  flowing f = {.s = s, .w = w, .v = v, .last_ns = koi_now_ns(), .at = w->first};
  if (!st && !goes_on(s, w, w->first)) st = cancelled(s, w->n);
  else if (!st && (st = koi_flow_run(&s->line, v, n, flowed, &f))) koi_session_failed(s);
  koi_free(v);
  return !st && f.stopped && f.at < w->n ? cancelled(s, w->n) : st;
}

koine_status koi_session_begin(koine_session *s, const int32_t *tokens, size_t n_tokens, const koine_eval_options *o, float *logits, koi_work *out)
{
  size_t n_logits = o ? o->n_logits : 1, n_vocab = s->plan->model->config.n_vocab, same = common(s, tokens, n_tokens);
  koine_status st = check_tokens(s, tokens, n_tokens, n_logits, same);
  if (st) return st;
  if (n_logits && !logits) return koi_error(KOINE_ERR_ARG, "logits wanted, but no room for them was given");
  bool ready = n_logits ? n_logits == 1 && s->has_last : held_rows(s) == s->n_held;
  if (same == s->n_held && same == n_tokens && ready) { /* nothing is new */
    if (n_logits) memcpy(logits, s->last, n_vocab * sizeof(float));
    s->stats.n_reused += n_tokens;
    *out = (koi_work){tokens + n_tokens, n_tokens, n_tokens, n_logits, logits, o};
    return KOINE_OK;
  }
  if (same < s->n_held) s->n_held = same, s->redo = 0, s->has_last = false;
  koi_line_rewind(&s->line, smaller(same, n_tokens - n_logits));
  s->stats.n_reused += held_rows(s);
  *out = (koi_work){tokens + held_rows(s), held_rows(s), n_tokens, n_logits, logits, o};
  return KOINE_OK;
}

koine_status koi_session_eval(koine_session *s, const int32_t *tokens, size_t n_tokens, const koine_eval_options *o, float *logits)
{
  koi_work w;
  koine_status st = koi_session_begin(s, tokens, n_tokens, o, logits, &w);
  if (st || koi_session_done(s, &w)) return st;
  bool flow = s->plan->n_stages > 1 && !s->watch && w.n - w.first > s->chunk;
  s->evaluating = true;
  st = (flow ? evaluate_flowing : evaluate)(s, &w);
  s->evaluating = false;
  if (!st && o && o->progress) o->progress(o->user, "evaluating", w.n - w.first, w.n - w.first);
  return st;
}

koine_status koi_session_explain_nan(koine_session *s)
{
  size_t n = s->n_held, n_vocab = s->plan->model->config.n_vocab;
  int32_t *tokens = koi_alloc(n + 1, sizeof *tokens);
  float *logits = koi_alloc(n_vocab, sizeof *logits);
  koi_watch_nan nan = {0};
  koi_watch watch = koi_watch_for_nan(&nan);
  koine_status st = tokens && logits ? KOINE_OK : KOINE_ERR_MEMORY;
  if (!st) {
    memcpy(tokens, s->held, n * sizeof *tokens);
    koi_session_clear(s);
    s->watch = &watch;
    st = koi_session_eval(s, tokens, n, NULL, logits);
    s->watch = NULL;
  }
  koi_free(tokens);
  koi_free(logits);
  return st ? st : koi_error(KOINE_ERR_NUMERIC, "NaN in the logits of op matvec (head) on device %s",
                                 koi_engine_stage(s->plan, s->plan->n_stages - 1)->dev->endpoint->name);
}

koine_status koi_session_check_logits(koine_session *s, const float *logits, size_t n_rows)
{
  size_t n = n_rows * s->plan->model->config.n_vocab, i = 0;
  while (i < n && logits[i] == logits[i]) i++;
  return i < n ? koi_session_explain_nan(s) : KOINE_OK;
}

koine_status koi_session_alone(const koine_session *s, const char *what)
{
  if (s->evaluating) return koi_error(KOINE_ERR_STATE, "%s: the session is being evaluated: wait for the end of koine_session_eval, whose progress this was called from", what);
  return s->batch ? koi_error(KOINE_ERR_STATE, "%s: the session has work under way in a batch: wait for its end, or take it out with koine_batch_drop", what) : KOINE_OK;
}

koine_status koi_session_fill(koine_session *s, size_t n_tokens)
{
  if (n_tokens > s->context) return koi_error(KOINE_ERR_ARG, "%zu tokens to fill, but the session's context is %llu", n_tokens, (unsigned long long)s->context);
  koi_session_clear(s);
  int32_t *zeros = koi_alloc(n_tokens + 1, sizeof *zeros);
  koine_status st = zeros ? remember(s, zeros, 0, n_tokens) : KOINE_ERR_MEMORY;
  koi_free(zeros);
  if (!st) st = koi_line_fill(&s->line, n_tokens);
  if (!st) s->n_held = n_tokens;
  return st;
}

void koi_session_get_stats(const koine_session *s, koine_session_stats *out)
{
  *out = s->stats;
  out->context = s->context, out->cache_bytes = koi_line_bytes(&s->line);
}
