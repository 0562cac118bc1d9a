/* The file of remembered choices (gemm.h): a line a device and weight format, fields separated by tabs.
 * Invariant: a file that is absent, unreadable or damaged only ever means the own kernels. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "base/paths.h"
#include "gemm.h"

enum { N_FIELDS = 8, MAX_FILE_BYTES = 1 << 20 };

static const char heading[] = "# koine: device, driver, version, weight format, faster entry, tokens, own ms, library ms; made by koine bench --gemm\n";

uint32_t koi_gemm_from(uint32_t n_tokens) { return n_tokens / 2 > KOI_GEMM_MIN_TOKENS ? n_tokens / 2 : KOI_GEMM_MIN_TOKENS; }

static koine_status file_path(const koi_device *d, char **out)
{
  *out = d->cache_dir ? koi_format("%s/gemm", d->cache_dir) : NULL;
  return *out || !d->cache_dir ? KOINE_OK : KOINE_ERR_MEMORY;
}

typedef struct line { char *field[N_FIELDS]; int wt; uint32_t tokens; bool library; } line;

/* Cuts `text` into the fields of a line; false when they are not what is written here. */
static bool parse(const char *library, char *text, line *l)
{
  size_t n = 0;
  for (char *at = text; at; n++) {
    char *next = strchr(at, '\t');
    if (next) *next++ = 0;
    if (n < N_FIELDS) l->field[n] = at;
    at = next;
  }
  if (n != N_FIELDS) return false;
  for (l->wt = 0; l->wt < KOI_N_FORMATS && strcmp(l->field[3], koi_formats[l->wt].name); l->wt++) {}
  l->library = library && !strcmp(l->field[4], library);
  char *end;
  unsigned long tokens = strtoul(l->field[5], &end, 10);
  l->tokens = (uint32_t)tokens;
  return l->wt < KOI_N_FORMATS && (l->library || !strcmp(l->field[4], "own")) && !*end && tokens >= KOI_GEMM_MIN_TOKENS && tokens <= INT32_MAX;
}

static bool is_device(const line *l, const koi_endpoint *e)
{
  return !strcmp(l->field[0], e->name) && !strcmp(l->field[1], e->driver) && !strcmp(l->field[2], e->version);
}

typedef void line_fn(void *user, const char *text, const line *l);

/* Every good line of the file. Without a file there are none. */
static koine_status each_line(const koi_device *d, const char *path, line_fn *fn, void *user)
{
  char *all = NULL, *save = NULL;
  size_t n_bytes, n = 0;
  struct stat st;
  if (stat(path, &st) && errno == ENOENT) return KOINE_OK;
  koine_status s = koi_file_read(path, MAX_FILE_BYTES, &all, &n_bytes);
  if (s) return s;
  for (char *text = strtok_r(all, "\n", &save); text && !s; text = strtok_r(NULL, "\n", &save)) {
    char *whole = koi_strdup(text);
    line l = {0};
    n++;
    if (!whole) s = KOINE_ERR_MEMORY;
    else if (*text != '#' && !parse(d->backend->gemm_name, text, &l)) koi_log(KOINE_LOG_NOTE, "%s: entry %zu is none of koine bench --gemm and is skipped", path, n);
    else if (*text != '#') fn(user, whole, &l);
    koi_free(whole);
  }
  koi_free(all);
  return s;
}

typedef struct recalling { const koi_endpoint *e; uint32_t *from; } recalling;

static void recall_line(void *user, const char *text, const line *l)
{
  const recalling *r = user;
  (void)text;
  if (is_device(l, r->e)) r->from[l->wt] = l->library ? koi_gemm_from(l->tokens) : 0;
}

koine_status koi_gemm_recall(const koi_device *d, uint32_t *from)
{
  char *path;
  recalling r = {d->endpoint, from};
  koine_status s = file_path(d, &path);
  if (!s && path) s = each_line(d, path, recall_line, &r);
  if (s == KOINE_ERR_FILE) koi_log(KOINE_LOG_NOTE, "%s; dense products take the own kernels", koi_error_text()), s = KOINE_OK;
  koi_free(path);
  return s;
}

typedef struct rewriting { const koi_endpoint *e; const koi_gemm_figure *f; koi_text out; } rewriting;

static void keep_line(void *user, const char *text, const line *l)
{
  rewriting *r = user;
  if (!is_device(l, r->e) || !r->f[l->wt].own_ms) koi_text_add(&r->out, "%s\n", text);
}

static koine_status rewrite(const koi_device *d, const char *path, const koi_gemm_figure *f, uint32_t n_tokens, rewriting *r)
{
  const koi_endpoint *e = d->endpoint;
  koi_text_add(&r->out, "%s", heading);
  koine_status s = each_line(d, path, keep_line, r);
  for (int wt = 0; wt < KOI_N_FORMATS; wt++)
    if (f[wt].own_ms)
      koi_text_add(&r->out, "%s\t%s\t%s\t%s\t%s\t%" PRIu32 "\t%.3f\t%.3f\n", e->name, e->driver, e->version, koi_formats[wt].name,
                   f[wt].library_ms < f[wt].own_ms ? d->backend->gemm_name : "own", n_tokens, f[wt].own_ms, f[wt].library_ms);
  if (!s) s = koi_paths_make(d->cache_dir);
  if (!s && r->out.failed) s = koi_error(KOINE_ERR_MEMORY, "out of host memory");
  return s ? s : koi_file_replace(path, r->out.s, r->out.len);
}

koine_status koi_gemm_remember(const koi_device *d, const koi_gemm_figure *f, uint32_t n_tokens)
{
  char *path;
  koine_status s = file_path(d, &path);
  if (s) return s;
  if (!path) return koi_error(KOINE_ERR_FILE, "there is no cache folder");
  rewriting r = {d->endpoint, f, {0}};
  s = rewrite(d, path, f, n_tokens, &r);
  koi_free(r.out.s);
  koi_free(path);
  return s;
}
