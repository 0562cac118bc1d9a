/* See saved.h. Owns the form of the files: a head, the tokens, the marks, then the pieces of every stage. Invariant: nothing of a file is believed
 * before its head's sum was right, and no session is made of one whose pieces' sum was not. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "saved.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/newfile.h"
#include "model/fingerprint.h"

enum { FORMAT = 1, ORDER = 0x01020304, MOST_MARKS = 64 };
static const char magic[8] = "koisaved";

typedef struct head {
  char magic[8];
  uint32_t order, format;      /* ORDER as the machine has it that wrote the file; FORMAT */
  char version[32];            /* of the library */
  uint64_t model, layout;      /* fingerprints: of the model, and of what pieces there are and how large */
  uint32_t exact, n_marks;
  uint64_t n_tokens, bytes;    /* bytes: of the whole file */
  uint64_t pieces_sum, sum;    /* sum: of the head with 0 in its place, of the tokens and marks */
} head;

typedef struct text { head h; int32_t *tokens; uint64_t *marks; koi_pieces *pieces; } text; /* all but the pieces' bytes */

/* ---- sums ---- */
/* Whole words: any change of one shows. */
static uint64_t sum(uint64_t h, const void *data, size_t n)
{
  const uint8_t *p = data;
  for (uint64_t w; n >= sizeof w; p += sizeof w, n -= sizeof w) {
    memcpy(&w, p, sizeof w);
    h = (h ^ w) * 0x9e3779b97f4a7c15u;
    h ^= h >> 29;
  }
  return n ? koi_hash(p, n, h) : h;
}

static uint64_t sum_of(const text *t)
{
  head h = t->h;
  h.sum = 0;
  uint64_t x = sum(1, &h, sizeof h);
  x = sum(x, t->tokens, h.n_tokens * sizeof *t->tokens);
  return sum(x, t->marks, h.n_marks * sizeof *t->marks);
}

/* ---- what a file must be of ---- */
static uint64_t model_of(const koine_plan *p)
{
  uint64_t h = atomic_load(&p->awake->model);
  if (!h) atomic_store(&p->awake->model, h = koi_model_fingerprint(p->model));
  return h;
}

static uint64_t layout_of(const koine_plan *p, bool exact)
{
  uint64_t h = koi_hash(&p->n_stages, sizeof p->n_stages, KOI_PAGE * 1000 + KOI_MARK);
  for (size_t i = 0; i < p->n_stages; i++) {
    const koi_caches *c = koi_engine_stage(p, i)->caches[exact];
    const uint32_t layers[] = {c->layer0, c->layer1};
    h = koi_hash(layers, sizeof layers, h);
    for (size_t k = 0; k < c->n_kinds; k++) {
      const uint64_t own[] = {(uint64_t)c->kinds[k].type, c->kinds[k].ratio, c->kinds[k].coff, c->kinds[k].n_layers, c->kinds[k].page_bytes};
      h = koi_hash(own, sizeof own, h);
    }
  }
  return h;
}

static head head_for(const koine_plan *p, bool exact)
{
  head h = {.order = ORDER, .format = FORMAT, .model = model_of(p), .layout = layout_of(p, exact), .exact = exact};
  memcpy(h.magic, magic, sizeof magic);
  koi_print(h.version, sizeof h.version, "%s", PACKAGE_VERSION);
  return h;
}

static uint64_t bytes_of(const koine_plan *p, const text *t)
{
  uint64_t n = sizeof t->h + t->h.n_tokens * sizeof *t->tokens + t->h.n_marks * sizeof *t->marks;
  for (size_t i = 0; i < p->n_stages; i++) n += t->pieces[i].bytes;
  return n;
}

static void clear(const koine_plan *p, text *t)
{
  koi_free(t->tokens);
  koi_free(t->marks);
  koi_line_free_pieces(p, t->pieces);
  *t = (text){0};
}

/* ---- writing ---- */
/* Of all marks those that are worth their bytes: the last one, and others each about twice as far from it. */
static uint32_t choose(uint64_t *marks, size_t n)
{
  uint64_t last = marks[n - 1], far = 0;
  size_t at = n;
  for (size_t i = n; i-- > 0;)
    if (last - marks[i] >= far) marks[--at] = marks[i], far = last > marks[i] ? 2 * (last - marks[i]) : KOI_MARK;
  memmove(marks, marks + at, (n - at) * sizeof *marks);
  return (uint32_t)(n - at);
}

static koine_status describe(koine_session *s, text *t)
{
  size_t most = (size_t)(koi_line_n(&s->line) / KOI_MARK), n;
  t->marks = koi_alloc(most + 1, sizeof *t->marks);
  if (!t->marks) return KOINE_ERR_MEMORY;
  n = koi_line_marks(&s->line, t->marks, most);
  if (!n) return koi_error(KOINE_ERR_STATE, "the session holds %zu tokens and no mark to save: one stands at every %d tokens, as far as memory allows", s->n_held, KOI_MARK);
  t->h = head_for(s->plan, s->mode == KOINE_CACHE_EXACT);
  t->h.n_marks = choose(t->marks, n), t->h.n_tokens = t->marks[t->h.n_marks - 1];
  t->tokens = koi_alloc(t->h.n_tokens, sizeof *t->tokens);
  if (!t->tokens) return KOINE_ERR_MEMORY;
  memcpy(t->tokens, s->held, t->h.n_tokens * sizeof *t->tokens);
  koine_status st = koi_line_pieces(s->plan, t->h.exact, t->marks, t->h.n_marks, &t->pieces);
  if (!st) t->h.bytes = bytes_of(s->plan, t);
  return st;
}

typedef struct writer { koi_newfile *f; uint64_t at, sum; } writer;

static koine_status put(void *user, void *bytes, size_t n)
{
  writer *w = user;
  koine_status s = koi_newfile_write(w->f, w->at, bytes, n);
  w->at += n, w->sum = sum(w->sum, bytes, n);
  return s;
}

static koine_status write_all(koine_session *s, text *t, koi_newfile *f)
{
  size_t n_tokens = t->h.n_tokens * sizeof *t->tokens, n_marks = t->h.n_marks * sizeof *t->marks;
  writer w = {.f = f, .at = sizeof t->h + n_tokens + n_marks, .sum = 1};
  koine_status st = koi_newfile_room(f, t->h.bytes);
  if (!st) st = koi_newfile_write(f, sizeof t->h, t->tokens, n_tokens);
  if (!st) st = koi_newfile_write(f, sizeof t->h + n_tokens, t->marks, n_marks);
  if (!st) st = koi_line_save(&s->line, t->marks, t->pieces, put, &w);
  t->h.pieces_sum = w.sum;
  t->h.sum = sum_of(t);
  return st ? st : koi_newfile_write(f, 0, &t->h, sizeof t->h);
}

koine_status koi_session_save(koine_session *s, const char *path)
{
  text t = {0};
  koi_newfile *f = NULL;
  koine_status st = describe(s, &t);
  if (!st) st = koi_newfile_open(path, 0600, &f);
  if (!st) st = write_all(s, &t, f);
  if (st) koi_newfile_drop(f);
  else st = koi_newfile_finish(f);
  clear(s->plan, &t);
  return st;
}

/* ---- reading ---- */
typedef struct reader { const char *path; int fd; uint64_t sum; } reader;

static koine_status get(void *user, void *bytes, size_t n)
{
  reader *r = user;
  for (size_t done = 0; done < n;) {
    ssize_t got = read(r->fd, (char *)bytes + done, n - done);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return koi_error(KOINE_ERR_FILE, "%s: cannot be read: %s", r->path, got ? strerror(errno) : "it ends early");
    done += (size_t)got;
  }
  r->sum = sum(r->sum, bytes, n);
  return KOINE_OK;
}

static koine_status foreign(const reader *r, const char *what) { return koi_error(KOINE_ERR_FILE, "%s: expected a session saved %s", r->path, what); }

static koine_status damaged(const reader *r) { return koi_error(KOINE_ERR_FILE, "%s: a saved session that was damaged: remove it", r->path); }

/* Whose it is; then the file's size bounds what it counts. */
static koine_status check_head(const koine_plan *p, const reader *r, const head *h)
{
  struct stat st;
  if (memcmp(h->magic, magic, sizeof magic)) return foreign(r, "by koine_session_save, found another file");
  if (h->order != ORDER) return foreign(r, "on a machine with the same order of bytes");
  if (h->format != FORMAT || h->exact > 1 || strncmp(h->version, PACKAGE_VERSION, sizeof h->version)) return foreign(r, "by this version, " PACKAGE_VERSION);
  if (h->model != model_of(p)) return foreign(r, "of this model, found another model's");
  if (h->layout != layout_of(p, h->exact)) return foreign(r, "with the same layers on each device, found another placement's");
  if (fstat(r->fd, &st) || (uint64_t)st.st_size != h->bytes) return damaged(r);
  bool fits = h->n_tokens && h->n_tokens <= h->bytes / sizeof(int32_t) && h->n_marks && h->n_marks <= MOST_MARKS;
  return fits ? KOINE_OK : damaged(r);
}

static bool is_sound(const koine_plan *p, const text *t)
{
  uint64_t before = 0;
  for (uint32_t i = 0; i < t->h.n_marks; before = t->marks[i], i++)
    if (t->marks[i] % KOI_MARK || t->marks[i] <= before) return false;
  for (uint64_t i = 0; i < t->h.n_tokens; i++)
    if (t->tokens[i] < 0 || (uint32_t)t->tokens[i] >= p->model->config.n_vocab) return false;
  return before == t->h.n_tokens;
}

static koine_status read_text(const koine_plan *p, reader *r, text *t)
{
  koine_status s = get(r, &t->h, sizeof t->h);
  if (s || (s = check_head(p, r, &t->h))) return s;
  t->tokens = koi_alloc(t->h.n_tokens, sizeof *t->tokens);
  t->marks = koi_alloc(t->h.n_marks, sizeof *t->marks);
  s = t->tokens && t->marks ? get(r, t->tokens, t->h.n_tokens * sizeof *t->tokens) : KOINE_ERR_MEMORY;
  if (!s) s = get(r, t->marks, t->h.n_marks * sizeof *t->marks);
  if (!s && (t->h.sum != sum_of(t) || !is_sound(p, t))) s = damaged(r);
  if (!s) s = koi_line_pieces(p, t->h.exact, t->marks, t->h.n_marks, &t->pieces);
  return s || t->h.bytes == bytes_of(p, t) ? s : damaged(r);
}

static koine_status open_text(const koine_plan *p, const char *path, reader *r, text *t)
{
  *t = (text){0};
  *r = (reader){.path = path, .fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (r->fd < 0) return koi_error(KOINE_ERR_FILE, "%s: cannot open: %s", path, strerror(errno));
  return read_text(p, r, t);
}

static void close_text(const koine_plan *p, reader *r, text *t)
{
  if (r->fd >= 0) close(r->fd);
  clear(p, t);
}

koine_status koi_session_look(koine_plan *plan, const char *path, int32_t **tokens, size_t *n_tokens, int32_t **marks, size_t *n_marks)
{
  reader r;
  text t;
  koine_status s = open_text(plan, path, &r, &t);
  int32_t *own = s ? NULL : koi_alloc(t.h.n_marks, sizeof *own);
  if (!s && !own) s = KOINE_ERR_MEMORY;
  if (!s) {
    for (uint32_t i = 0; i < t.h.n_marks; i++) own[i] = (int32_t)t.marks[i];
    *tokens = t.tokens, *n_tokens = t.h.n_tokens, *marks = own, *n_marks = t.h.n_marks;
    t.tokens = NULL;
  }
  close_text(plan, &r, &t);
  return s;
}

/* The marks from *first on, up to `most` tokens and as many as the session keeps. */
static uint32_t wanted(const text *t, const koine_session *s, size_t most, uint32_t *first)
{
  uint32_t n = 0;
  size_t kept = koi_history_most_marks(&s->line.h[0]);
  while (n < t->h.n_marks && t->marks[n] <= most) n++;
  *first = n > kept ? n - (uint32_t)kept : 0;
  return n - *first;
}

static koine_status fill(koine_session *s, const text *t, reader *r, size_t most)
{
  uint32_t first, n = wanted(t, s, most, &first);
  if (!n) return koi_error(KOINE_ERR_ARG, "%s: the first mark is at %llu tokens, beyond the %zu that are wanted", r->path, (unsigned long long)t->marks[0], most);
  size_t n_tokens = (size_t)t->marks[first + n - 1];
  koine_status st = koi_session_hold(s, t->tokens, n_tokens);
  r->sum = 1;
  if (!st) st = koi_line_load(&s->line, t->marks, t->pieces, first, n, get, r);
  return st || r->sum == t->h.pieces_sum ? st : damaged(r);
}

koine_status koi_session_load(koine_plan *plan, const koine_session_options *o, const char *path, size_t n_tokens, koine_session **out)
{
  reader r;
  text t;
  koine_session *s = NULL;
  koine_status st = open_text(plan, path, &r, &t);
  if (!st) st = koi_session_open(plan, o, &s);
  if (!st && (s->mode == KOINE_CACHE_EXACT) != (t.h.exact == 1)) st = foreign(&r, t.h.exact ? "in the session's cache mode, packed, found exact" : "in the session's cache mode, exact, found packed");
  if (!st) st = fill(s, &t, &r, n_tokens < s->context ? n_tokens : (size_t)s->context);
  if (st) koi_session_close(s);
  else *out = s;
  close_text(plan, &r, &t);
  return st;
}
