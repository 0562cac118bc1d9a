/* Sessions: caches that grow with the conversation, prefix reuse, chunks. Does not know ops or layers beyond their cache shapes.
 * Invariant: the caches stand for exactly held[0..n_held); on a device error n_held is 0. */
#include "session.h"
#include <string.h>

/* ---- caches ---- */
static koine_status grow(koine_session *s, koi_buf **b, size_t bytes)
{
  koi_exec *x = s->x;
  const koi_backend *k = x->dev->backend;
  koi_buf *fresh;
  koine_status st = k->alloc(x->dev, bytes ? bytes : 4, &fresh);
  if (st) return koi_error_prefix(st, "cache of %zu bytes", bytes);
  st = k->fill(x->dev, fresh, 0);
  if (*b && !st) st = k->copy(x->dev, fresh, 0, *b, 0, (*b)->bytes < fresh->bytes ? (*b)->bytes : fresh->bytes);
  if (!st) st = k->finish(x->dev); /* the old buffer is freed below */
  if (st) {
    k->free(x->dev, fresh);
    return st;
  }
  if (*b) {
    s->stats.cache_bytes -= (*b)->bytes;
    k->free(x->dev, *b);
  }
  s->stats.cache_bytes += fresh->bytes;
  *b = fresh;
  return KOINE_OK;
}

static koine_status grow_rows(koine_session *s, koi_rows *r, uint64_t cap)
{
  const koi_config *c = &s->x->model->config;
  uint64_t plain = c->head_dim - c->rope_dim;
  if (s->mode == KOINE_CACHE_EXACT) {
    koine_status st = grow(s, &r->codes, cap * c->head_dim * sizeof(float));
    if (!st) r->cap = (uint32_t)cap;
    return st;
  }
  koine_status st = grow(s, &r->codes, cap * plain);
  if (!st) st = grow(s, &r->scales, cap * koi_ceil_div(plain, 64));
  if (!st) st = grow(s, &r->rope, cap * c->rope_dim * sizeof(uint16_t));
  if (!st) r->cap = (uint32_t)cap;
  return st;
}

static koine_status grow_index(koine_session *s, koi_index_rows *r, uint64_t cap)
{
  uint64_t dim = s->x->model->config.index_dim;
  bool exact = s->mode == KOINE_CACHE_EXACT;
  koine_status st = grow(s, &r->codes, exact ? cap * dim * sizeof(float) : cap * koi_ceil_div(dim, 8) * sizeof(uint32_t));
  if (!st && !exact) st = grow(s, &r->scales, cap * koi_ceil_div(dim, 32));
  if (!st) r->cap = (uint32_t)cap;
  return st;
}

static uint64_t round16(uint64_t n) { return koi_ceil_div(n ? n : 1, 16) * 16; }

/* What does not grow: the window ring holds the window before a chunk and the chunk itself. */
static koine_status make_fixed(koine_session *s)
{
  const koi_config *c = &s->x->model->config;
  for (uint32_t l = 0; l < c->n_layers; l++) {
    koi_layer_cache *k = &s->cache[l];
    uint64_t ratio = s->x->model->layers[l].ratio, rows = (uint64_t)koi_coff((uint32_t)ratio) * ratio, coff = koi_coff((uint32_t)ratio);
    koine_status st = grow_rows(s, &k->window, round16((uint64_t)c->window + s->chunk));
    if (!st && ratio) st = grow(s, &k->kv_state, rows * coff * c->head_dim * sizeof(float));
    if (!st && ratio) st = grow(s, &k->score_state, rows * coff * c->head_dim * sizeof(float));
    if (!st && ratio == 4) st = grow(s, &k->ikv_state, rows * coff * c->index_dim * sizeof(float));
    if (!st && ratio == 4) st = grow(s, &k->iscore_state, rows * coff * c->index_dim * sizeof(float));
    if (st) return st;
  }
  return KOINE_OK;
}

/* Room for `positions`; doubles, so that copies stay rare, and ends at exactly the context's rows. */
static koine_status make_room(koine_session *s, uint64_t positions)
{
  if (positions <= s->rows_for) return KOINE_OK;
  uint64_t room = s->rows_for ? 2 * s->rows_for : 1024;
  if (room < positions) room = positions;
  if (room > s->context) room = s->context;
  for (uint32_t l = 0; l < s->x->model->config.n_layers; l++) {
    uint32_t ratio = s->x->model->layers[l].ratio;
    if (!ratio) continue;
    koine_status st = grow_rows(s, &s->cache[l].comp, round16(koi_ceil_div(room, ratio)));
    if (!st && ratio == 4) st = grow_index(s, &s->cache[l].index, round16(koi_ceil_div(room, ratio)));
    if (st) return st;
  }
  s->rows_for = room;
  return KOINE_OK;
}

static void free_buf(koi_exec *x, koi_buf *b)
{
  if (b) x->dev->backend->free(x->dev, b);
}

static void free_cache(koi_exec *x, koi_layer_cache *k)
{
  koi_buf *all[] = {k->window.codes, k->window.scales, k->window.rope, k->comp.codes, k->comp.scales, k->comp.rope, k->kv_state,
                    k->score_state, k->index.codes, k->index.scales, k->ikv_state, k->iscore_state};
  for (size_t i = 0; i < KOI_COUNT(all); i++) free_buf(x, all[i]);
}

/* ---- open and close ---- */
enum { MAX_CONTEXT = 1 << 28 }; /* positions stay far inside int32 */
static koine_status options(const koi_exec *x, const koine_session_options *o, koine_session *s)
{
  uint64_t most = x->model->config.max_context;
  s->mode = o ? o->cache : KOINE_CACHE_PACKED;
  s->context = o && o->context ? o->context : most < 4096 ? most : 4096;
  s->chunk = o && o->chunk ? o->chunk : x->chunk;
  if (s->mode != KOINE_CACHE_PACKED && s->mode != KOINE_CACHE_EXACT) return koi_error(KOINE_ERR_ARG, "unknown cache mode %d", (int)s->mode);
  if (s->chunk > x->chunk) return koi_error(KOINE_ERR_ARG, "chunk of %u tokens: the plan was made for at most %u", s->chunk, x->chunk);
  if (s->context > MAX_CONTEXT) return koi_error(KOINE_ERR_ARG, "context of %llu tokens, expected at most %d", (unsigned long long)s->context, MAX_CONTEXT);
  if (s->context > most) /* the caller asked for it, and nothing here depends on it */
    koi_log(KOINE_LOG_WARNING, "context of %llu tokens: the model was made for %llu (max_position_embeddings)", (unsigned long long)s->context,
            (unsigned long long)most);
  return KOINE_OK;
}

koine_status koi_session_open(koi_exec *x, const koine_session_options *o, koine_session **out)
{
  koine_session *s = koi_alloc(1, sizeof *s);
  if (!s) return KOINE_ERR_MEMORY;
  s->x = x;
  atomic_fetch_add(&x->n_sessions, 1);
  koine_status st = options(x, o, s);
  if (!st && (!(s->cache = koi_alloc(x->model->config.n_layers, sizeof *s->cache)) || !(s->last = koi_alloc(x->model->config.n_vocab, sizeof(float)))))
    st = KOINE_ERR_MEMORY;
  pthread_mutex_lock(&x->lock);
  if (!st) st = make_fixed(s);
  pthread_mutex_unlock(&x->lock);
  if (st) {
    koi_session_close(s);
    return st;
  }
  *out = s;
  return KOINE_OK;
}

void koi_session_close(koine_session *s)
{
  if (!s) return;
  pthread_mutex_lock(&s->x->lock);
  s->x->dev->backend->finish(s->x->dev);
  for (uint32_t l = 0; s->cache && l < s->x->model->config.n_layers; l++) free_cache(s->x, &s->cache[l]);
  pthread_mutex_unlock(&s->x->lock);
  atomic_fetch_sub(&s->x->n_sessions, 1);
  koi_free(s->cache);
  koi_free(s->held);
  koi_free(s->last);
  koi_free(s);
}

/* ---- evaluation ---- */
static koine_status check_tokens(const koine_session *s, const int32_t *tokens, size_t n, size_t n_logits)
{
  uint32_t n_vocab = s->x->model->config.n_vocab;
  if (!n) return koi_error(KOINE_ERR_ARG, "no token to evaluate");
  if (n > s->context) return koi_error(KOINE_ERR_ARG, "%zu tokens, but the session's context is %llu", n, (unsigned long long)s->context);
  if (n_logits > n) return koi_error(KOINE_ERR_ARG, "logits of %zu positions wanted, but there are %zu tokens", n_logits, n);
  for (size_t i = 0; i < n; i++)
    if (tokens[i] < 0 || (uint32_t)tokens[i] >= n_vocab)
      return koi_error(KOINE_ERR_ARG, "token %d at position %zu is outside the vocabulary of %u", tokens[i], i, n_vocab);
  return KOINE_OK;
}

/* How much of `tokens` needs no evaluation: all that is held, or nothing. */
static size_t reusable(const koine_session *s, const int32_t *tokens, size_t n, size_t n_logits)
{
  if (!s->n_held || s->n_held > n || memcmp(s->held, tokens, s->n_held * sizeof *tokens)) return 0;
  if (s->n_held == n && n_logits <= 1 && (n_logits == 0 || s->has_last)) return n;
  return s->n_held <= n - n_logits ? s->n_held : 0;
}

static koine_status remember(koine_session *s, const int32_t *tokens, size_t n)
{
  size_t need = s->n_held + n;
  if (need > s->cap_held) {
    size_t cap = need + need / 2 + 64;
    int32_t *held = koi_realloc(s->held, cap, sizeof *held);
    if (!held) return KOINE_ERR_MEMORY;
    s->held = held, s->cap_held = cap;
  }
  memcpy(s->held + s->n_held, tokens, n * sizeof *tokens);
  return KOINE_OK;
}

static void count(koine_session *s, uint32_t n, uint64_t ns)
{
  s->stats.n_evaluated += n;
  if (n == 1) s->stats.n_decode++, s->stats.decode_ns += ns;
  else s->stats.n_prefill += n, s->stats.prefill_ns += ns;
}

/* One chunk under the device's lock. */
static koine_status chunk(koine_session *s, const int32_t *tokens, uint32_t n, uint32_t n_logits, float *logits)
{
  koi_step step = {.tokens = tokens, .n = n, .n_logits = n_logits, .p0 = s->n_held, .exact = s->mode == KOINE_CACHE_EXACT, .cache = s->cache, .logits = logits};
  koine_status st = remember(s, tokens, n);
  if (st) return st;
  uint64_t start = koi_now_ns();
  pthread_mutex_lock(&s->x->lock);
  st = make_room(s, s->n_held + n);
  if (!st) st = koi_graph_step(s->x, &step);
  if (!st && !n_logits) st = s->x->dev->backend->finish(s->x->dev);
  pthread_mutex_unlock(&s->x->lock);
  if (st) return st;
  s->n_held += n, s->has_last = n_logits > 0;
  if (n_logits) memcpy(s->last, logits + (size_t)(n_logits - 1) * s->x->model->config.n_vocab, s->x->model->config.n_vocab * sizeof(float));
  count(s, n, koi_now_ns() - start);
  return KOINE_OK;
}

koine_status koi_session_eval(koine_session *s, const int32_t *tokens, size_t n_tokens, const koine_eval_options *o, float *logits)
{
  size_t n_logits = o ? o->n_logits : 1, n_vocab = s->x->model->config.n_vocab;
  koine_status st = check_tokens(s, tokens, n_tokens, n_logits);
  if (st) return st;
  if (n_logits && !logits) return koi_error(KOINE_ERR_ARG, "logits wanted, but no room for them was given");
  size_t at = reusable(s, tokens, n_tokens, n_logits), first = at;
  if (at == n_tokens && n_logits) memcpy(logits, s->last, n_vocab * sizeof(float));
  if (!at) s->n_held = 0, s->has_last = false;
  s->stats.n_reused += at;
  while (at < n_tokens) {
    if (atomic_load(&s->cancelled) || (o && o->progress && !o->progress(o->user, "evaluating", at - first, n_tokens - first)))
      return koi_error(KOINE_ERR_CANCELLED, "cancelled after %zu of %zu tokens", at, n_tokens);
    uint32_t n = n_tokens - at < s->chunk ? (uint32_t)(n_tokens - at) : s->chunk;
    size_t wanted_from = n_tokens - n_logits, end = at + n;
    uint32_t rows = end <= wanted_from ? 0 : (uint32_t)(end - (at > wanted_from ? at : wanted_from));
    float *to = rows ? logits + (end - rows - wanted_from) * n_vocab : NULL;
    if ((st = chunk(s, tokens + at, n, rows, to))) {
      s->n_held = 0, s->has_last = false;
      return st;
    }
    at = end;
  }
  if (o && o->progress) o->progress(o->user, "evaluating", at - first, n_tokens - first);
  return KOINE_OK;
}

/* Without marks a prefix is evaluated anew. */
koine_status koi_session_truncate(koine_session *s, size_t n_tokens)
{
  if (n_tokens > s->n_held) return koi_error(KOINE_ERR_ARG, "to be cut to %zu tokens, but the session holds %zu", n_tokens, s->n_held);
  if (n_tokens < s->n_held) s->n_held = 0, s->has_last = false;
  return KOINE_OK;
}

koine_status koi_session_fork(const koine_session *s, koine_session **out)
{
  koine_session_options o = {.size = sizeof o, .cache = s->mode, .context = s->context, .chunk = s->chunk};
  return koi_session_open(s->x, &o, out);
}

koine_status koi_session_explain_nan(koine_session *s)
{
  koi_exec *x = s->x;
  size_t n = s->n_held, n_vocab = x->model->config.n_vocab;
  int32_t *tokens = koi_alloc(n + 1, sizeof *tokens);
  float *logits = koi_alloc(n_vocab, sizeof *logits);
  koine_status st = tokens && logits ? KOINE_OK : KOINE_ERR_MEMORY;
  if (!st) {
    memcpy(tokens, s->held, n * sizeof *tokens);
    pthread_mutex_lock(&x->lock);
    st = koi_exec_clear(x);
    x->check = true; /* other sessions of this plan are checked too meanwhile: slower, not wrong */
    pthread_mutex_unlock(&x->lock);
    s->n_held = 0;
    if (!st) st = koi_session_eval(s, tokens, n, NULL, logits);
    pthread_mutex_lock(&x->lock);
    x->check = false;
    pthread_mutex_unlock(&x->lock);
  }
  koi_free(tokens);
  koi_free(logits);
  return st ? st : koi_error(KOINE_ERR_NUMERIC, "NaN in the logits of op matvec (head) on device %s", x->dev->endpoint->name);
}

/* ---- made-up caches ---- */
static koine_status fill_bytes(koi_exec *x, koi_buf *b, uint8_t low, uint8_t span)
{
  if (!b) return KOINE_OK;
  uint8_t *v = koi_alloc(b->bytes, 1);
  if (!v) return KOINE_ERR_MEMORY;
  uint32_t r = 12345;
  for (size_t i = 0; i < b->bytes; i++) {
    r = r * 1664525u + 1013904223u;
    v[i] = (uint8_t)(low + (r >> 16) % span);
  }
  koine_status st = x->dev->backend->write(x->dev, b, 0, b->bytes, v);
  koi_free(v);
  return st;
}

/* Codes of small finite values in each format, scales near one. bytes 0x30..0x3f are also harmless as float and bf16 patterns. */
static koine_status fill_rows(koi_exec *x, koi_buf *codes, koi_buf *scales, koi_buf *rope)
{
  koine_status st = fill_bytes(x, codes, 0x30, 16);
  if (!st) st = fill_bytes(x, scales, 120, 4);
  return st ? st : fill_bytes(x, rope, 0x3c, 4);
}

koine_status koi_session_fill(koine_session *s, size_t n_tokens)
{
  if (n_tokens > s->context) return koi_error(KOINE_ERR_ARG, "%zu tokens to fill, but the session's context is %llu", n_tokens, (unsigned long long)s->context);
  s->n_held = 0, s->has_last = false;
  int32_t *zeros = koi_alloc(n_tokens + 1, sizeof *zeros);
  koine_status st = zeros ? remember(s, zeros, n_tokens) : KOINE_ERR_MEMORY;
  koi_free(zeros);
  koi_exec *x = s->x;
  pthread_mutex_lock(&x->lock);
  if (!st) st = make_room(s, n_tokens);
  for (uint32_t l = 0; l < x->model->config.n_layers && !st; l++) {
    koi_layer_cache *k = &s->cache[l];
    st = fill_rows(x, k->window.codes, k->window.scales, k->window.rope);
    if (!st) st = fill_rows(x, k->comp.codes, k->comp.scales, k->comp.rope);
    if (!st) st = fill_rows(x, k->index.codes, k->index.scales, NULL);
  }
  pthread_mutex_unlock(&x->lock);
  if (!st) s->n_held = n_tokens;
  return st;
}
