/* Conversations in a folder, so that they outlast the process: a thread writes what has ended, and a prompt finds the file that it can go on from. Nothing
 * that is wrong with the folder or with a file ends an answer: it is evaluated then. */
#ifndef SERVE_DISK_H
#define SERVE_DISK_H
#include "koine.h"
#include "metrics.h"

typedef struct serve_disk serve_disk;
typedef struct serve_disk_options {
  koine_plan *plan;
  koine_session_options session;
  const char *folder;
  uint64_t budget_bytes; /* of the folder's conversations, other models' too */
  serve_metrics *metrics;
  void (*note)(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
} serve_disk_options;

/* Makes the folder, reads what is there, and removes what ended processes left unfinished. NULL without memory. */
serve_disk *serve_disk_open(const serve_disk_options *o);
/* Writes what waits. */
void serve_disk_close(serve_disk *d);
/* How many tokens of the prompt a session can hold that is made of a file; 0: none. */
size_t serve_disk_find(serve_disk *d, const int32_t *prompt, size_t n_prompt);
/* The session of that file, and its tokens for koine_ids_free. KOINE_ERR_FILE: there is none any more. */
koine_status serve_disk_load(serve_disk *d, const int32_t *prompt, size_t n_prompt, koine_session **session, int32_t **tokens, size_t *n_tokens);
/* Whether a conversation is worth a file: none goes as far, and none will that waits. */
bool serve_disk_wants(serve_disk *d, const int32_t *tokens, size_t n_tokens);
/* The session, which stands for these tokens, will be written and is closed then. `wait`: until there is room, where too many wait; else it is closed at
 * once then. False: it was. */
bool serve_disk_keep(serve_disk *d, koine_session *session, const int32_t *tokens, size_t n_tokens, bool wait);
/* Gives up the oldest that waits. False: none does. */
bool serve_disk_shrink(serve_disk *d);
#endif
