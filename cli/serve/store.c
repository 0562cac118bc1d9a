/* Owns: sessions between requests, and which of them a request goes on with.
 * Invariant: tokens of an entry are a beginning of what its session holds. */
#include "store.h"
#include "disk_index.h"
#include <stdlib.h>
#include <string.h>

enum { FORK_WORTH = 128 }; /* tokens in common: below it is as quick to begin anew */

static uint64_t bytes_of(const serve_held *h)
{
  koine_session_stats k = KOINE_SESSION_STATS_INIT;
  return koine_session_get_stats(h->session, &k) ? 0 : k.cache_bytes;
}

uint64_t serve_store_bytes(const serve_store *s)
{
  uint64_t sum = 0;
  for (size_t i = 0; i < s->n_held; i++) sum += bytes_of(s->held[i]);
  return sum;
}

static void leave(serve_store *s, serve_held *h)
{
  size_t i = 0;
  while (i < s->n_held && s->held[i] != h) i++;
  if (i < s->n_held) s->held[i] = s->held[--s->n_held];
  free(h->tokens);
  free(h);
}

static void drop(serve_store *s, serve_held *h)
{
  koine_session_close(h->session);
  leave(s, h);
}

/* More of it, by a mark at least, than what the disk was given. */
static bool is_wanted(const serve_store *s, const serve_held *h)
{
  return s->disk && h->n_tokens / SERVE_BLOCK > h->n_kept / SERVE_BLOCK && serve_disk_wants(s->disk, h->tokens, h->n_tokens);
}

/* The idle one that was not used for longest; NULL: all are busy. */
static serve_held *oldest(const serve_store *s, const serve_held *but)
{
  serve_held *found = NULL;
  for (size_t i = 0; i < s->n_held; i++)
    if (!s->held[i]->busy && s->held[i] != but && (!found || s->held[i]->used < found->used)) found = s->held[i];
  return found;
}

static bool evict(serve_store *s, const serve_held *but)
{
  serve_held *h = oldest(s, but);
  if (!h) return false;
  drop(s, h);
  s->n_evicted++;
  return true;
}

void serve_store_close(serve_store *s)
{
  for (serve_held *h; (h = oldest(s, NULL)); leave(s, h)) {
    if (is_wanted(s, h)) serve_disk_keep(s->disk, h->session, h->tokens, h->n_tokens, true);
    else koine_session_close(h->session);
  }
}

bool serve_store_shrink(serve_store *s) { return evict(s, NULL) || (s->disk && serve_disk_shrink(s->disk)); }

serve_held *serve_store_find(serve_store *s, const int32_t *prompt, size_t n_prompt, size_t *n_common)
{
  serve_held *best = NULL;
  *n_common = 0;
  for (size_t i = 0; i < s->n_held; i++) {
    serve_held *h = s->held[i];
    if (h->evaluating) continue;
    size_t n = 0, most = h->n_tokens < n_prompt ? h->n_tokens : n_prompt;
    while (n < most && h->tokens[n] == prompt[n]) n++;
    if (n > *n_common || (best && n == *n_common && n && best->busy && !h->busy)) best = h, *n_common = n;
  }
  return best;
}

static koine_status open_one(serve_store *s, serve_held *like, serve_held **out)
{
  serve_held *h = calloc(1, sizeof *h);
  if (!h) return KOINE_ERR_MEMORY;
  koine_status status = like ? koine_session_fork(like->session, &h->session) : koine_session_open(s->plan, &s->options, &h->session);
  if (!status && like) status = serve_held_note(h, like->tokens, 0, like->n_tokens);
  if (status) {
    koine_session_close(h->session);
    free(h);
    return status;
  }
  s->held[s->n_held++] = h;
  *out = h;
  return KOINE_OK;
}

void serve_store_recall(serve_store *s, const int32_t *prompt, size_t n_prompt)
{
  size_t n_common, n_tokens = 0;
  koine_session *session = NULL;
  int32_t *tokens = NULL;
  koine_status status;
  serve_store_find(s, prompt, n_prompt, &n_common);
  if (!s->disk || serve_disk_find(s->disk, prompt, n_prompt) <= n_common || (s->n_held == SERVE_HELD && !evict(s, NULL))) return;
  while ((status = serve_disk_load(s->disk, prompt, n_prompt, &session, &tokens, &n_tokens)) == KOINE_ERR_MEMORY && evict(s, NULL)) continue;
  if (status) return;
  serve_held *h = calloc(1, sizeof *h);
  if (h) h->session = session, h->used = ++s->n_uses;
  if (h && !serve_held_note(h, tokens, 0, n_tokens)) h->n_kept = h->n_tokens, s->held[s->n_held++] = h;
  else koine_session_close(session), free(h);
  koine_ids_free(tokens);
}

koine_status serve_store_take(serve_store *s, serve_held *like, size_t *n_common, serve_held **out)
{
  /* What would be cut off is kept where it is much, and another goes its own way. */
  bool own = like && !like->busy && *n_common >= like->n_tokens / 2, forks = like && !own && *n_common >= FORK_WORTH;
  serve_held *h = own ? like : NULL;
  koine_status status = KOINE_OK;
  if (!h && s->n_held == SERVE_HELD && !evict(s, like)) return KOINE_ERR_STATE;
  while (!h && (status = open_one(s, forks ? like : NULL, &h)) == KOINE_ERR_MEMORY && evict(s, like)) continue;
  if (!h && like && !like->busy) h = like, status = KOINE_OK; /* no memory for another: this one is cut */
  if (status) return status;
  if (h != like && !forks) *n_common = 0;
  h->busy = true;
  h->used = ++s->n_uses;
  *out = h;
  return KOINE_OK;
}

void serve_held_settle(serve_held *h)
{
  size_t n_held = koine_session_n_held(h->session);
  h->n_tokens = n_held < h->n_all ? n_held : h->n_all;
}

koine_status serve_held_note(serve_held *h, const int32_t *tokens, size_t n_known, size_t n_all)
{
  if (n_all > h->cap) {
    int32_t *own = realloc(h->tokens, 2 * n_all * sizeof *own);
    if (!own) return KOINE_ERR_MEMORY;
    h->tokens = own, h->cap = 2 * n_all;
  }
  if (n_known < h->n_kept) h->n_kept = n_known;
  if (n_all > n_known) memcpy(h->tokens + n_known, tokens + n_known, (n_all - n_known) * sizeof *tokens);
  h->n_all = n_all;
  serve_held_settle(h);
  return KOINE_OK;
}

/* A fork is written, so that the conversation can go on meanwhile. */
static void keep(serve_store *s, serve_held *h)
{
  koine_session *fork = NULL;
  if (is_wanted(s, h) && !koine_session_fork(h->session, &fork) && serve_disk_keep(s->disk, fork, h->tokens, h->n_tokens, false)) h->n_kept = h->n_tokens;
}

void serve_store_give(serve_store *s, serve_held *h)
{
  h->busy = false;
  serve_held_settle(h);
  if (h->n_tokens) keep(s, h);
  else drop(s, h);
  while (serve_store_bytes(s) > s->budget_bytes && evict(s, NULL)) continue;
}
