/* See disk.h. Owns the folder's index, the sessions that wait, and the thread that writes them. Knows names and times of files; what is in them is the
 * library's (koine_session_save). Invariant: the lock is held for index and queue alone, never while a file is read or written. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "disk.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "disk_index.h"
#include "reply.h"

enum { MOST_WAITING = 4, PATH_BYTES = 4096 };
static const char ending[] = ".koine", unfinished[] = ".new";

typedef struct waiting { koine_session *session; int32_t *tokens; size_t n_tokens; } waiting;

struct serve_disk {
  serve_disk_options o;
  pthread_t thread;
  bool failed; /* the last save did; the thread's */
  pthread_mutex_t lock; /* of what follows */
  pthread_cond_t changed;
  serve_index index;
  waiting queue[MOST_WAITING]; /* [n_waiting] the oldest first */
  size_t n_waiting;
  waiting now; /* being written; session NULL: none */
  bool ending;
};

static void path_of(const serve_disk *d, const char *name, char *out) { snprintf(out, PATH_BYTES, "%s/%s", d->o.folder, name); }

static bool ends_in(const char *s, const char *end)
{
  size_t n = strlen(s), m = strlen(end);
  return n >= m && !strcmp(s + n - m, end);
}

/* ---- what the folder has ---- */
/* koine_session_save's NAME.PROCESS.FD.new, of a process that is no more. */
static bool is_left_over(const char *name)
{
  const char *at = strstr(name, ending);
  long pid = at ? atol(at + sizeof ending) : 0;
  return at && ends_in(name, unfinished) && pid > 0 && kill((pid_t)pid, 0) && errno == ESRCH;
}

/* What the library says of a file: nothing where it is another model's, or none. */
static void look(const serve_disk *d, const char *path, serve_file *f)
{
  int32_t *tokens = NULL, *marks = NULL;
  size_t n_tokens = 0, n_marks = 0;
  if (koine_session_look(d->o.plan, path, &tokens, &n_tokens, &marks, &n_marks)) {
    serve_count(d->o.metrics, SERVE_M_DISK_FOREIGN, 1);
    return;
  }
  uint64_t *hashes = serve_index_hashes(tokens, n_tokens);
  for (size_t i = n_marks > SERVE_MARKS ? n_marks - SERVE_MARKS : 0; hashes && i < n_marks; i++) {
    size_t at = (size_t)marks[i];
    if (at % SERVE_BLOCK == 0 && at) f->mark[f->n_marks].at = at, f->mark[f->n_marks++].hash = hashes[at / SERVE_BLOCK - 1];
  }
  free(hashes);
  koine_ids_free(tokens), koine_ids_free(marks);
}

static void add_file(serve_disk *d, const char *name)
{
  char path[PATH_BYTES];
  struct stat st;
  serve_file f = {0};
  pthread_mutex_lock(&d->lock);
  bool known = serve_index_named(&d->index, name);
  pthread_mutex_unlock(&d->lock);
  path_of(d, name, path);
  if (known || strlen(name) >= sizeof f.name || lstat(path, &st) || !S_ISREG(st.st_mode)) return;
  strcpy(f.name, name), f.bytes = (uint64_t)st.st_size, f.used = st.st_mtim;
  look(d, path, &f);
  pthread_mutex_lock(&d->lock);
  serve_index_add(&d->index, &f);
  pthread_mutex_unlock(&d->lock);
}

/* With the lock: names whose files are gone are forgotten. */
static void forget_gone(serve_disk *d)
{
  char path[PATH_BYTES];
  for (size_t i = d->index.n; i-- > 0;) {
    path_of(d, d->index.file[i].name, path);
    if (access(path, F_OK) && errno == ENOENT) serve_index_remove(&d->index, &d->index.file[i]);
  }
}

/* With the lock. */
static void drop_file(serve_disk *d, serve_file *f)
{
  char path[PATH_BYTES];
  path_of(d, f->name, path);
  unlink(path);
  serve_index_remove(&d->index, f);
}

static void report(serve_disk *d)
{
  serve_gauge_set(d->o.metrics, SERVE_G_DISK, d->index.n);
  serve_gauge_set(d->o.metrics, SERVE_G_DISK_BYTES, serve_index_bytes(&d->index));
}

/* The folder as it is now, other processes' files too, under the budget. */
static void scan(serve_disk *d)
{
  DIR *dir = opendir(d->o.folder);
  for (struct dirent *e; dir && (e = readdir(dir));) {
    char path[PATH_BYTES];
    if (ends_in(e->d_name, ending)) add_file(d, e->d_name);
    path_of(d, e->d_name, path);
    if (is_left_over(e->d_name)) unlink(path);
  }
  if (dir) closedir(dir);
  pthread_mutex_lock(&d->lock);
  forget_gone(d);
  while (d->index.n && serve_index_bytes(&d->index) > d->o.budget_bytes) {
    drop_file(d, serve_index_oldest(&d->index));
    serve_count(d->o.metrics, SERVE_M_DISK_EVICTED, 1);
  }
  report(d);
  pthread_mutex_unlock(&d->lock);
}

/* ---- writing ---- */
/* Files of which this conversation is the continuation, and which have nothing that it has not. */
static void drop_beginnings(serve_disk *d, const waiting *w, const char *name)
{
  uint64_t *hashes = serve_index_hashes(w->tokens, w->n_tokens);
  serve_file *f = serve_index_named(&d->index, name);
  size_t n_new = f && f->n_marks ? f->mark[f->n_marks - 1].at : 0;
  for (size_t i = d->index.n; hashes && i-- > 0;) {
    f = &d->index.file[i];
    size_t last = f->n_marks ? f->mark[f->n_marks - 1].at : SIZE_MAX;
    if (strcmp(f->name, name) && last <= n_new && f->mark[f->n_marks - 1].hash == hashes[last / SERVE_BLOCK - 1]) drop_file(d, f);
  }
  free(hashes);
}

static void save(serve_disk *d, const waiting *w)
{
  char name[SERVE_NAME], path[PATH_BYTES];
  serve_random_id(name, 24);
  strcat(name, ending);
  path_of(d, name, path);
  mkdir(d->o.folder, 0700); /* somebody may have removed it */
  koine_status s = koine_session_save(w->session, path);
  if (s == KOINE_ERR_STATE) return; /* its marks went for others' memory */
  if (s) {
    serve_count(d->o.metrics, SERVE_M_DISK_FAILED, 1);
    if (!d->failed) d->o.note("koine: a conversation is not kept on disk: %s", koine_last_error());
    d->failed = true;
    return;
  }
  d->failed = false;
  serve_count(d->o.metrics, SERVE_M_DISK_SAVED, 1);
  add_file(d, name);
  pthread_mutex_lock(&d->lock);
  drop_beginnings(d, w, name);
  pthread_mutex_unlock(&d->lock);
  scan(d);
}

static void let_go(waiting *w)
{
  koine_session_close(w->session);
  free(w->tokens);
}

/* With the lock. */
static waiting take_first(serve_disk *d)
{
  waiting w = d->queue[0];
  memmove(d->queue, d->queue + 1, --d->n_waiting * sizeof *d->queue);
  pthread_cond_broadcast(&d->changed);
  return w;
}

static void *run(void *user)
{
  serve_disk *d = user;
  pthread_mutex_lock(&d->lock);
  while (d->n_waiting || !d->ending) {
    if (!d->n_waiting) {
      pthread_cond_wait(&d->changed, &d->lock);
      continue;
    }
    waiting w = d->now = take_first(d);
    pthread_mutex_unlock(&d->lock);
    save(d, &w);
    pthread_mutex_lock(&d->lock);
    d->now = (waiting){0};
    pthread_mutex_unlock(&d->lock);
    let_go(&w);
    pthread_mutex_lock(&d->lock);
  }
  pthread_mutex_unlock(&d->lock);
  return NULL;
}

/* ---- from outside ---- */
static void dispose(serve_disk *d)
{
  pthread_cond_destroy(&d->changed);
  pthread_mutex_destroy(&d->lock);
  free(d->index.file);
  free(d);
}

serve_disk *serve_disk_open(const serve_disk_options *o)
{
  serve_disk *d = calloc(1, sizeof *d);
  if (!d) return NULL;
  d->o = *o;
  pthread_mutex_init(&d->lock, NULL);
  pthread_cond_init(&d->changed, NULL);
  mkdir(o->folder, 0700);
  if (access(o->folder, R_OK | W_OK | X_OK)) o->note("koine: --cache-dir %s: no conversation can be kept there: %s", o->folder, strerror(errno));
  scan(d);
  if (!pthread_create(&d->thread, NULL, run, d)) return d;
  dispose(d);
  return NULL;
}

void serve_disk_close(serve_disk *d)
{
  if (!d) return;
  pthread_mutex_lock(&d->lock);
  d->ending = true;
  pthread_cond_broadcast(&d->changed);
  pthread_mutex_unlock(&d->lock);
  pthread_join(d->thread, NULL);
  dispose(d);
}

/* With the lock: the last token is left, whose logits are wanted. */
static serve_file *find(serve_disk *d, const int32_t *prompt, size_t n_prompt, size_t *at)
{
  uint64_t *hashes = serve_index_hashes(prompt, n_prompt);
  serve_file *f = hashes && n_prompt ? serve_index_find(&d->index, hashes, n_prompt - 1, at) : NULL;
  free(hashes);
  return f;
}

size_t serve_disk_find(serve_disk *d, const int32_t *prompt, size_t n_prompt)
{
  size_t at = 0;
  pthread_mutex_lock(&d->lock);
  find(d, prompt, n_prompt, &at);
  pthread_mutex_unlock(&d->lock);
  return at;
}

/* A file that was ours by its head, and whose rest is not: it is not asked again. */
static void quarantine(serve_disk *d, const char *name)
{
  pthread_mutex_lock(&d->lock);
  serve_file *f = serve_index_named(&d->index, name);
  if (f) drop_file(d, f);
  report(d);
  pthread_mutex_unlock(&d->lock);
  serve_count(d->o.metrics, SERVE_M_DISK_DAMAGED, 1);
}

koine_status serve_disk_load(serve_disk *d, const int32_t *prompt, size_t n_prompt, koine_session **session, int32_t **tokens, size_t *n_tokens)
{
  char name[SERVE_NAME] = "", path[PATH_BYTES];
  size_t at = 0, n_marks;
  int32_t *marks = NULL, *own = NULL;
  pthread_mutex_lock(&d->lock);
  serve_file *f = find(d, prompt, n_prompt, &at);
  if (f) {
    strcpy(name, f->name);
    clock_gettime(CLOCK_REALTIME, &f->used);
  }
  pthread_mutex_unlock(&d->lock);
  if (!name[0]) return KOINE_ERR_FILE;
  path_of(d, name, path);
  koine_status s = koine_session_look(d->o.plan, path, &own, n_tokens, &marks, &n_marks);
  koine_ids_free(marks);
  if (!s) s = koine_session_load(d->o.plan, &d->o.session, path, *n_tokens, session);
  if (s == KOINE_ERR_FILE) quarantine(d, name);
  if (s) {
    koine_ids_free(own);
    return s;
  }
  utimensat(AT_FDCWD, path, NULL, 0); /* files that were used last stay longest, in later processes too */
  size_t n_held = koine_session_n_held(*session);
  *n_tokens = n_held < *n_tokens ? n_held : *n_tokens;
  *tokens = own;
  serve_count(d->o.metrics, SERVE_M_DISK_LOADED, 1);
  return KOINE_OK;
}

static bool begins_so(const waiting *w, const int32_t *tokens, size_t n) { return w->n_tokens >= n && !memcmp(w->tokens, tokens, n * sizeof *tokens); }

bool serve_disk_wants(serve_disk *d, const int32_t *tokens, size_t n_tokens)
{
  size_t last = n_tokens / SERVE_BLOCK * SERVE_BLOCK;
  if (!last || serve_disk_find(d, tokens, last + 1) == last) return false;
  pthread_mutex_lock(&d->lock);
  bool waits = d->now.session && begins_so(&d->now, tokens, last);
  for (size_t i = 0; i < d->n_waiting; i++) waits |= begins_so(&d->queue[i], tokens, last);
  pthread_mutex_unlock(&d->lock);
  return !waits;
}

bool serve_disk_keep(serve_disk *d, koine_session *session, const int32_t *tokens, size_t n_tokens, bool wait)
{
  waiting w = {session, malloc((n_tokens + 1) * sizeof *tokens), n_tokens};
  if (w.tokens) memcpy(w.tokens, tokens, n_tokens * sizeof *tokens);
  pthread_mutex_lock(&d->lock);
  while (wait && d->n_waiting == MOST_WAITING) pthread_cond_wait(&d->changed, &d->lock);
  bool kept = w.tokens && d->n_waiting < MOST_WAITING;
  if (kept) d->queue[d->n_waiting++] = w;
  pthread_cond_broadcast(&d->changed);
  pthread_mutex_unlock(&d->lock);
  if (!kept) let_go(&w);
  return kept;
}

bool serve_disk_shrink(serve_disk *d)
{
  waiting w = {0};
  pthread_mutex_lock(&d->lock);
  if (d->n_waiting) w = take_first(d);
  pthread_mutex_unlock(&d->lock);
  bool any = w.session;
  let_go(&w);
  return any;
}
