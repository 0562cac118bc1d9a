/* Conversations that are held so that a request which begins like one of them evaluates only the rest. One thread uses a store. */
#ifndef SERVE_STORE_H
#define SERVE_STORE_H
#include <stdbool.h>
#include "disk.h"

typedef struct serve_held {
  koine_session *session;
  int32_t *tokens; /* [n_all] the conversation, of which the session holds the first n_tokens: an answer's last token was chosen, not evaluated */
  size_t n_tokens, n_all, cap;
  size_t n_kept;   /* tokens of it that the disk was given */
  uint64_t used;   /* when, counted in uses */
  bool busy;
  bool evaluating; /* in a batch: nobody can fork it */
} serve_held;

enum { SERVE_HELD = 256 };

typedef struct serve_store {
  koine_plan *plan;
  koine_session_options options;
  serve_disk *disk;      /* NULL: memory alone */
  uint64_t budget_bytes; /* most bytes of caches that idle conversations keep */
  uint64_t n_uses, n_evicted;
  serve_held *held[SERVE_HELD]; /* [n_held] */
  size_t n_held;
} serve_store;

/* What the disk does not have goes there first. */
void serve_store_close(serve_store *s);
/* The conversation that begins most like the prompt, *n_common tokens of it; NULL when none begins like it. Those that are being evaluated are
 * passed over. */
serve_held *serve_store_find(serve_store *s, const int32_t *prompt, size_t n_prompt, size_t *n_common);
/* Takes from disk what begins more like the prompt than all that is in memory. */
void serve_store_recall(serve_store *s, const int32_t *prompt, size_t n_prompt);
/* A session for a prompt that begins as `like` does (NULL: as none), busy from now on: that one, a fork of it, or a new one, of which *n_common is 0
 * then. Memory that is short is taken from idle ones. */
koine_status serve_store_take(serve_store *s, serve_held *like, size_t *n_common, serve_held **out);
/* The conversation is now these n_all tokens, of which the first n_known were known. */
koine_status serve_held_note(serve_held *h, const int32_t *tokens, size_t n_known, size_t n_all);
/* Its session has gone on, or back. */
void serve_held_settle(serve_held *h);
/* Gives up the idle conversation that was not used for longest, or one that waits for the disk. False: there is none. */
bool serve_store_shrink(serve_store *s);
/* No longer busy: kept under the budget, if it holds anything, and on disk. */
void serve_store_give(serve_store *s, serve_held *h);
uint64_t serve_store_bytes(const serve_store *s);
#endif
