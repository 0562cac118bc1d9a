/* See tuned.h. Owns d->tuned.v. Invariant: the table has one record for an op, constants and bucket: of the lines on the best rung, the last. */
#include "tuned.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/paths.h"
#include "kernels/sources.h"

#define FORMAT "koine-tuned-1" /* first field of every line */
enum { MAX_FILE_BYTES = 256 << 20 };

/* The fields of a line, separated by tabs. */
enum {
  F_FORMAT, F_OP, F_CONSTS, F_BUCKET, F_PARAMS, F_VENDOR, F_PLATFORM, F_TYPE, F_NAME, F_ARCH, F_DRIVER, F_VERSION, F_TEXT, F_SAMPLES, F_MEDIAN,
  F_SPREAD, F_OUTCOME, F_SUM, N_FIELDS
};

static const char *const outcomes[KOI_N_OUTCOMES] = {"measured", "refused", "wrong", "won", "kept", "trying", "lost"};
static const char *const types[] = {[KOINE_DEVICE_HOST] = "host", [KOINE_DEVICE_CPU] = "cpu", [KOINE_DEVICE_GPU] = "gpu", [KOINE_DEVICE_ACCELERATOR] = "accelerator"};

static koine_status file_path(const char *cache_dir, char **out)
{
  *out = cache_dir ? koi_format("%s/tuned.log", cache_dir) : NULL;
  return *out || !cache_dir ? KOINE_OK : KOINE_ERR_MEMORY;
}

/* Of the kernel's text: parameters of another text are stale. */
static uint64_t text_hash(const koi_op *op)
{
  const char *text = op->source ? koi_source_text(op->source) : NULL;
  return text ? koi_hash(text, strlen(text), 0) : 0;
}

/* ---- writing ----------------------------------------------------------------------------------------------------------- */
static void put_values(koi_text *t, const char *const *names, size_t stride, size_t n, const int32_t *v)
{
  for (size_t i = 0; i < n; i++, names = (const char *const *)((const char *)names + stride))
    koi_text_add(t, "%s%s=%" PRId32, i ? " " : "", *names, v[i]);
  koi_text_add(t, n ? "\t" : "-\t");
}

static void put_line(koi_text *t, const koi_endpoint *e, const koi_tuned_line *l)
{
  const koi_op *op = l->op;
  koi_text_add(t, FORMAT "\t%s\t", op->name);
  put_values(t, op->consts, sizeof *op->consts, koi_op_n_consts(op), l->c);
  koi_text_add(t, "%" PRId32 "\t", l->bucket);
  put_values(t, &op->params->name, sizeof *op->params, koi_op_n_params(op), l->p);
  koi_text_add(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t", e->vendor, e->platform, types[e->type], e->name, e->arch, e->driver, e->version);
  koi_text_add(t, "%016" PRIx64 "\t%" PRIu32 "\t%.3f\t%.3f\t%s\t", text_hash(op), l->n_samples, l->median_us, l->spread_us, outcomes[l->outcome]);
  if (!t->failed) koi_text_add(t, "%016" PRIx64 "\n", koi_hash(t->s, t->len, 0));
}

/* What a killed process left without its end must not swallow our line. */
static bool ends_open(int fd)
{
  char last = '\n';
  off_t end = lseek(fd, 0, SEEK_END);
  return end > 0 && pread(fd, &last, 1, end - 1) == 1 && last != '\n';
}

static koine_status write_line(const char *path, const koi_text *t)
{
  int fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return koi_error(KOINE_ERR_FILE, "%s: cannot open: %s", path, strerror(errno));
  size_t gap = ends_open(fd) ? 0 : 1; /* the text begins with a line end */
  ssize_t n = write(fd, t->s + gap, t->len - gap);
  int e = errno;
  close(fd);
  if (n == (ssize_t)(t->len - gap)) return KOINE_OK;
  return koi_error(KOINE_ERR_FILE, "%s: writing failed: %s", path, n < 0 ? strerror(e) : "no space");
}

koine_status koi_tuned_append(const koi_device *d, const koi_tuned_line *l)
{
  char *path;
  koi_text line = {0}, all = {0};
  koine_status s = file_path(d->cache_dir, &path);
  if (s || !path) return s;
  put_line(&line, d->endpoint, l);
  if (!line.failed) koi_text_add(&all, "\n%s", line.s);
  if (line.failed || all.failed) s = koi_error(KOINE_ERR_MEMORY, "out of host memory");
  if (!s) s = koi_paths_make(d->cache_dir);
  if (!s) s = write_line(path, &all);
  koi_free(line.s);
  koi_free(all.s);
  koi_free(path);
  return s;
}

/* ---- reading ----------------------------------------------------------------------------------------------------------- */
/* "NAME=value NAME=value": exactly these names, in this order. */
static bool values(const char *text, const char *const *names, size_t stride, size_t n, int32_t *v)
{
  if (!n) return !strcmp(text, "-");
  for (size_t i = 0; i < n; i++, names = (const char *const *)((const char *)names + stride)) {
    size_t len = strlen(*names);
    char *end;
    if (i && *text++ != ' ') return false;
    if (strncmp(text, *names, len) || text[len] != '=') return false;
    long value = strtol(text + len + 1, &end, 10);
    if (end == text + len + 1 || value < INT32_MIN || value > INT32_MAX) return false;
    v[i] = (int32_t)value, text = end;
  }
  return !*text;
}

/* The fields, cut out of `text`; false when they are too few or many, or the sum over them is another. */
static bool cut(char *text, char **field)
{
  char *sum = strrchr(text, '\t'), *end;
  if (!sum) return false;
  uint64_t want = koi_hash(text, (size_t)(sum + 1 - text), 0);
  if (strtoull(sum + 1, &end, 16) != want || *end || end - sum != 17) return false;
  size_t n = 0;
  for (char *at = text; at && n < N_FIELDS; n++) {
    char *next = strchr(at, '\t');
    if (next) *next++ = 0;
    field[n] = at, at = next;
    if (n == N_FIELDS - 1 && next) return false;
  }
  return n == N_FIELDS;
}

static const koi_op *op_of(const char *name)
{
  const koi_op *const *op = koi_ops;
  while (*op && strcmp((*op)->name, name)) op++;
  return *op;
}

/* What this release knows of a sound line; false: it is another's. */
static bool take(char *const *field, koi_tuned_line *l)
{
  if (strcmp(field[F_FORMAT], FORMAT) || !(l->op = op_of(field[F_OP]))) return false;
  l->bucket = (int32_t)strtol(field[F_BUCKET], NULL, 10);
  int o = 0;
  while (o < KOI_N_OUTCOMES && strcmp(outcomes[o], field[F_OUTCOME])) o++;
  l->outcome = (koi_outcome)o;
  return o < KOI_N_OUTCOMES && values(field[F_CONSTS], l->op->consts, sizeof *l->op->consts, koi_op_n_consts(l->op), l->c) &&
         values(field[F_PARAMS], &l->op->params->name, sizeof *l->op->params, koi_op_n_params(l->op), l->p);
}

/* The rung on which a line stands for this device. */
static koi_rung rung_of(char *const *field, const koi_op *op, const koi_endpoint *e)
{
  if (strcmp(field[F_VENDOR], e->vendor) || strcmp(field[F_PLATFORM], e->platform) || strcmp(field[F_TYPE], types[e->type])) return KOI_RUNG_DEFAULT;
  bool arch = !strcmp(field[F_ARCH], e->arch);
  if (!arch || strcmp(field[F_NAME], e->name)) return arch && *e->arch ? KOI_RUNG_ARCH : KOI_RUNG_VENDOR;
  bool fresh = !strcmp(field[F_DRIVER], e->driver) && !strcmp(field[F_VERSION], e->version) && strtoull(field[F_TEXT], NULL, 16) == text_hash(op);
  return fresh ? KOI_RUNG_TUNED : KOI_RUNG_STALE;
}

static koine_status enter(void *user, const koi_tuned_line *l, koi_rung rung)
{
  koi_tuned_table *t = user;
  koi_tuned *e = koi_tuned_find(t, l->op, l->c, l->bucket);
  if ((l->outcome != KOI_OUTCOME_WON && l->outcome != KOI_OUTCOME_KEPT) || (e && e->rung < rung)) return KOINE_OK;
  if (!e) {
    koi_tuned *v = koi_realloc(t->v, t->n + 1, sizeof *v);
    if (!v) return KOINE_ERR_MEMORY;
    t->v = v, e = &v[t->n++];
  }
  *e = (koi_tuned){.op = l->op, .bucket = l->bucket, .rung = rung, .kept = l->outcome == KOI_OUTCOME_KEPT};
  memcpy(e->c, l->c, sizeof e->c);
  memcpy(e->p, l->p, sizeof e->p);
  return KOINE_OK;
}

typedef struct reader { const koi_endpoint *e; const char *path; koi_tuned_each_fn *each; void *user; bool quiet; } reader;

static koine_status read_line(const reader *r, size_t n, char *text)
{
  char *field[N_FIELDS];
  koi_tuned_line l = {0};
  if (!*text) return KOINE_OK;
  if (!cut(text, field)) {
    if (!r->quiet) koi_log(KOINE_LOG_WARNING, "%s: line %zu is damaged and is skipped", r->path, n);
    return KOINE_OK;
  }
  if (!take(field, &l)) {
    if (!r->quiet) koi_log(KOINE_LOG_NOTE, "%s: line %zu is of another release and is skipped", r->path, n);
    return KOINE_OK;
  }
  koi_rung rung = rung_of(field, l.op, r->e);
  return rung == KOI_RUNG_DEFAULT ? KOINE_OK : r->each(r->user, &l, rung);
}

static void say_what_holds(const koi_device *d, const char *path)
{
  size_t n[KOI_N_RUNGS] = {0};
  for (size_t i = 0; i < d->tuned.n; i++) n[d->tuned.v[i].kept ? KOI_RUNG_DEFAULT : d->tuned.v[i].rung]++;
  for (int r = 0; r < KOI_RUNG_DEFAULT; r++)
    if (n[r]) koi_log(KOINE_LOG_NOTE, "%s: parameters of %zu kernels: %s", path, n[r], koi_rung_name((koi_rung)r));
}

static koine_status read_all(const reader *r)
{
  char *all = NULL;
  size_t n_bytes, n = 0;
  struct stat st;
  if (stat(r->path, &st) && errno == ENOENT) return KOINE_OK;
  koine_status s = koi_file_read(r->path, MAX_FILE_BYTES, &all, &n_bytes);
  if (s) return s;
  for (char *text = all, *next; text && !s; text = next) {
    next = strchr(text, '\n');
    if (next) *next++ = 0;
    s = read_line(r, ++n, text);
  }
  koi_free(all);
  return s;
}

koine_status koi_tuned_load(koi_device *d, const char *cache_dir)
{
  const char *wanted = getenv("KOINE_TUNED");
  char *path;
  koi_tuned_drop(d);
  if (wanted && !strcmp(wanted, "off")) return KOINE_OK;
  koine_status s = file_path(cache_dir, &path);
  if (!s && path) s = read_all(&(reader){d->endpoint, path, enter, &d->tuned, false});
  if (s == KOINE_ERR_FILE) koi_log(KOINE_LOG_NOTE, "%s; kernels keep their default parameters", koi_error_text()), s = KOINE_OK;
  else if (!s && path) say_what_holds(d, path);
  koi_free(path);
  return s;
}

koine_status koi_tuned_each(const koi_device *d, koi_tuned_each_fn *each, void *user)
{
  char *path;
  koine_status s = file_path(d->cache_dir, &path);
  if (!s && path) s = read_all(&(reader){d->endpoint, path, each, user, true});
  koi_free(path);
  return s == KOINE_ERR_FILE ? KOINE_OK : s;
}

void koi_tuned_drop(koi_device *d)
{
  koi_free(d->tuned.v);
  d->tuned = (koi_tuned_table){0};
}
