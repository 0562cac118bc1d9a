/* Sessions: which tokens are held, what of a new prefix needs no evaluation, chunks. Does not know ops, layers or pages.
 * Invariant: the caches stand for held[0..h.n), h.n at most n_held; what lies between is evaluated again when it is needed. */
#include "session.h"
#include <string.h>

/* ---- open and close ---- */
enum { MAX_CONTEXT = 1 << 28 }; /* positions stay far inside int32 */
static koine_status options(const koine_plan *p, const koine_session_options *o, koine_session *s)
{
  uint64_t most = p->model->config.max_context;
  s->mode = o ? o->cache : KOINE_CACHE_PACKED;
  s->context = o && o->context ? o->context : most < KOI_DEFAULT_CONTEXT ? most : KOI_DEFAULT_CONTEXT;
  s->chunk = o && o->chunk ? o->chunk : p->chunk;
  if (s->mode != KOINE_CACHE_PACKED && s->mode != KOINE_CACHE_EXACT) return koi_error(KOINE_ERR_ARG, "unknown cache mode %d", (int)s->mode);
  if (s->chunk > p->chunk) return koi_error(KOINE_ERR_ARG, "chunk of %u tokens: the plan was made for at most %u", s->chunk, p->chunk);
  if (s->context > MAX_CONTEXT) return koi_error(KOINE_ERR_ARG, "context of %llu tokens, expected at most %d", (unsigned long long)s->context, MAX_CONTEXT);
  if (s->context > most) /* the caller asked for it, and nothing here depends on it */
    koi_log(KOINE_LOG_WARNING, "context of %llu tokens: the model was made for %llu (max_position_embeddings)", (unsigned long long)s->context,
            (unsigned long long)most);
  return KOINE_OK;
}

static void lock(const koine_session *s) { pthread_mutex_lock(&s->st->dev->lock); }
static void unlock(const koine_session *s) { pthread_mutex_unlock(&s->st->dev->lock); }

static koine_session *new_session(koine_plan *p)
{
  koine_session *s = koi_alloc(1, sizeof *s);
  float *last = koi_alloc(p->model->config.n_vocab, sizeof *last);
  if (!s || !last) {
    koi_free(s);
    koi_free(last);
    return NULL;
  }
  s->plan = p, s->st = koi_engine_stage(p), s->last = last;
  atomic_fetch_add(&p->awake->n_sessions, 1);
  return s;
}

koine_status koi_session_open(koine_plan *plan, const koine_session_options *o, koine_session **out)
{
  koine_session *s = new_session(plan);
  if (!s) return KOINE_ERR_MEMORY;
  koine_status st = options(plan, o, s);
  lock(s);
  if (!st) st = koi_history_open(s->st, s->mode == KOINE_CACHE_EXACT, s->context, &s->h);
  unlock(s);
  if (st) koi_session_close(s);
  else *out = s;
  return st;
}

void koi_session_close(koine_session *s)
{
  if (!s) return;
  lock(s);
  s->st->dev->backend->finish(s->st->dev);
  koi_history_close(&s->h);
  unlock(s);
  atomic_fetch_sub(&s->plan->awake->n_sessions, 1);
  koi_free(s->held);
  koi_free(s->last);
  koi_free(s);
}

/* ---- what is held ---- */
static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

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

static void rewind_to(koine_session *s, size_t n)
{
  if (n >= s->h.n && !s->h.stale) return;
  lock(s);
  koi_history_rewind(&s->h, n);
  unlock(s);
}

void koi_session_clear(koine_session *s)
{
  lock(s);
  koi_history_clear(&s->h);
  unlock(s);
  s->n_held = 0, s->has_last = false;
}

koine_status koi_session_truncate(koine_session *s, size_t n_tokens)
{
  if (n_tokens > s->n_held) return koi_error(KOINE_ERR_ARG, "%zu tokens to keep, but %zu are held", n_tokens, s->n_held);
  if (n_tokens == s->n_held) return KOINE_OK;
  s->n_held = n_tokens, s->has_last = false;
  rewind_to(s, n_tokens);
  return KOINE_OK;
}

koine_status koi_session_fork(koine_session *s, koine_session **out)
{
  koine_session *f = new_session(s->plan);
  if (!f) return KOINE_ERR_MEMORY;
  f->mode = s->mode, f->context = s->context, f->chunk = s->chunk;
  koine_status st = remember(f, s->held, 0, s->n_held);
  lock(s);
  if (!st) st = koi_history_fork(&s->h, &f->h);
  unlock(s);
  if (st) {
    koi_session_close(f);
    return st;
  }
  f->n_held = s->n_held, f->has_last = s->has_last;
  memcpy(f->last, s->last, s->plan->model->config.n_vocab * sizeof *f->last);
  *out = f;
  return KOINE_OK;
}

/* ---- evaluation ---- */
static void count(koine_session *s, uint32_t n, uint64_t ns)
{
  s->stats.n_evaluated += n;
  if (n == 1) s->stats.n_decode++, s->stats.decode_ns += ns;
  else s->stats.n_prefill += n, s->stats.prefill_ns += ns;
}

/* One chunk under the device's lock. */
static koine_status chunk(koine_session *s, const int32_t *tokens, uint32_t n, uint32_t n_logits, float *logits)
{
  size_t n_vocab = s->plan->model->config.n_vocab, at = s->h.n;
  uint64_t start = koi_now_ns();
  koine_status st = remember(s, tokens, at, n);
  if (st) return st;
  lock(s);
  st = koi_history_step(&s->h, tokens, n, n_logits, logits, s->watch);
  unlock(s);
  if (st) return st;
  if (s->h.n >= s->n_held) s->has_last = n_logits > 0;
  if (s->h.n > s->n_held) s->n_held = s->h.n;
  if (n_logits && s->h.n == s->n_held) memcpy(s->last, logits + (size_t)(n_logits - 1) * n_vocab, n_vocab * sizeof(float));
  count(s, n, koi_now_ns() - start);
  return KOINE_OK;
}

static koine_status cancelled(const koine_session *s, const koine_eval_options *o, size_t first, size_t n_tokens)
{
  if (!atomic_load(&s->cancelled) && (!o || !o->progress || o->progress(o->user, "evaluating", s->h.n - first, n_tokens - first))) return KOINE_OK;
  return koi_error(KOINE_ERR_CANCELLED, "cancelled after %zu of %zu tokens", (size_t)s->h.n, n_tokens);
}

/* Evaluates from where the caches stand to n_tokens. What was held already and is only caught up with is chunked by itself, so that the rest is cut
 * as it would have been. */
static koine_status evaluate(koine_session *s, const int32_t *tokens, size_t n_tokens, size_t n_logits, const koine_eval_options *o, float *logits)
{
  size_t first = s->h.n, wanted_from = n_tokens - n_logits, n_vocab = s->plan->model->config.n_vocab;
  while (s->h.n < n_tokens) {
    koine_status st = cancelled(s, o, first, n_tokens);
    if (st) return st;
    size_t at = s->h.n;
    uint32_t n = (uint32_t)smaller((at < s->n_held ? s->n_held : n_tokens) - at, s->chunk);
    size_t end = at + n;
    uint32_t rows = end <= wanted_from ? 0 : (uint32_t)(end - (at > wanted_from ? at : wanted_from));
    st = chunk(s, tokens + at, n, rows, rows ? logits + (end - rows - wanted_from) * n_vocab : NULL);
    if (st) return st;
  }
  if (o && o->progress) o->progress(o->user, "evaluating", s->h.n - first, n_tokens - first);
  return KOINE_OK;
}

koine_status koi_session_eval(koine_session *s, const int32_t *tokens, size_t n_tokens, const koine_eval_options *o, float *logits)
{
  size_t n_logits = o ? o->n_logits : 1, n_vocab = s->plan->model->config.n_vocab, same = common(s, tokens, n_tokens);
  koine_status st = check_tokens(s, tokens, n_tokens, n_logits, same);
  if (st) return st;
  if (n_logits && !logits) return koi_error(KOINE_ERR_ARG, "logits wanted, but no room for them was given");
  bool ready = n_logits ? n_logits == 1 && s->has_last : s->h.n == s->n_held;
  if (same == s->n_held && same == n_tokens && ready) { /* nothing is new */
    if (n_logits) memcpy(logits, s->last, n_vocab * sizeof(float));
    s->stats.n_reused += n_tokens;
    return KOINE_OK;
  }
  if (same < s->n_held) s->n_held = same, s->has_last = false;
  rewind_to(s, smaller(same, n_tokens - n_logits));
  s->stats.n_reused += s->h.n;
  return evaluate(s, tokens, n_tokens, n_logits, o, logits);
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
  return st ? st : koi_error(KOINE_ERR_NUMERIC, "NaN in the logits of op matvec (head) on device %s", s->st->dev->endpoint->name);
}

koine_status koi_session_fill(koine_session *s, size_t n_tokens)
{
  if (n_tokens > s->context) return koi_error(KOINE_ERR_ARG, "%zu tokens to fill, but the session's context is %llu", n_tokens, (unsigned long long)s->context);
  koi_session_clear(s);
  int32_t *zeros = koi_alloc(n_tokens + 1, sizeof *zeros);
  koine_status st = zeros ? remember(s, zeros, 0, n_tokens) : KOINE_ERR_MEMORY;
  koi_free(zeros);
  lock(s);
  if (!st) st = koi_history_fill(&s->h, n_tokens);
  unlock(s);
  if (!st) s->n_held = n_tokens;
  return st;
}

void koi_session_get_stats(const koine_session *s, koine_session_stats *out)
{
  *out = s->stats;
  lock(s); /* for want of memory another session may give up this one's marks */
  out->context = s->context, out->cache_bytes = koi_history_bytes(&s->h);
  unlock(s);
}
