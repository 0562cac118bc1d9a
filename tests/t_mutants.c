/* The verifier against kernels that are a little wrong: every patch in tests/data/mutants is applied to the text of a kernel. What comes of it
 * builds, starts, and is found wrong by the verifier's cases; the text without it is found right, with the same constants and parameters.
 * A patch begins with "Op:", "With:" (constants and parameters that differ from what is usual; gpu: parameters as for a GPU) and "Why:"; with "On:" too where
 * the text is one device's alone, by its architecture.
 * Usage: t_mutants [PART OF A NAME]   (the first processor with an OpenCL driver that is PoCL's; else it is skipped)
 * KOINE_TEST_DEVICE=ID: on this device instead. On a GPU only those patches are tried that say gpu; on a processor not those that say apart, whose
 * fault shows only where work-items do not run one after the other. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "check/verify.h"
#include "device/kern.h"
#include "kernels/sources.h"

enum { MAX_MUTANTS = 200, SKIPPED = 77 };

typedef struct mutant {
  char name[260], with[256], on[64];
  const koi_op *op;
  char *patch;                      /* hunks */
  int32_t c[KOI_MAX_CONSTS], p[KOI_MAX_PARAMS];
} mutant;

static int n_failed;
static const char *patched; /* what is built in place of the op's text; NULL: that */
static const koi_backend *real;
static koi_backend backend;           /* the same with another build */

static void fail(const char *name, const char *what)
{
  printf("FAIL %s: %s\n", name, what);
  n_failed++;
}

/* ---- patches ---- */
/* The lines of a hunk that were there (mark '-'), or that are to be there (mark '+'), as one text. *hunk: behind its @@ line; moved behind it. */
static char *side(const char *hunk, char mark)
{
  size_t len = strlen(hunk), n = 0;
  char *out = malloc(len + 1);
  for (const char *line = hunk, *end; *line && strncmp(line, "@@", 2); line = end + 1) {
    if (!(end = strchr(line, '\n'))) break;
    if (*line != ' ' && *line != mark) continue;
    memcpy(out + n, line + 1, (size_t)(end - line));
    n += (size_t)(end - line);
  }
  out[n] = 0;
  return out;
}

/* text with one hunk applied, where its lines stand exactly once; NULL: they do not. */
static char *replace(const char *text, const char *was, const char *is)
{
  const char *at = strstr(text, was);
  if (!at || !*was || strstr(at + 1, was)) return NULL;
  size_t before = (size_t)(at - text);
  char *out = malloc(strlen(text) + strlen(is) + 1);
  memcpy(out, text, before);
  strcpy(out + before, is);
  strcat(out, at + strlen(was));
  return out;
}

static char *apply(const char *text, const char *patch)
{
  char *now = strdup(text);
  for (const char *hunk = strstr(patch, "\n@@"); hunk && now; hunk = strstr(hunk, "\n@@")) {
    hunk = strchr(hunk + 1, '\n') + 1;
    char *was = side(hunk, '-'), *is = side(hunk, '+'), *next = replace(now, was, is);
    free(was), free(is), free(now);
    now = next;
  }
  return now;
}

/* ---- what a patch says about itself ---- */
static bool header(const char *all, const char *key, char *out, size_t size)
{
  const char *at = strstr(all, key);
  if (!at || at > strstr(all, "--- ")) return false;
  at += strlen(key);
  snprintf(out, size, "%.*s", (int)strcspn(at, "\n"), at);
  return true;
}

static bool set(mutant *m, const char *name, size_t len, int32_t value)
{
  for (size_t i = 0; i < koi_op_n_consts(m->op); i++)
    if (strlen(m->op->consts[i]) == len && !strncmp(m->op->consts[i], name, len)) return m->c[i] = value, true;
  for (size_t i = 0; i < koi_op_n_params(m->op); i++)
    if (strlen(m->op->params[i].name) == len && !strncmp(m->op->params[i].name, name, len)) return m->p[i] = value, true;
  return false;
}

/* Constants first: parameters are chosen for them, and then those that are given replace them. */
static bool take(mutant *m, const koi_target *device)
{
  koi_target t = *device;
  bool ok = true;
  memcpy(m->c, m->op->usual, sizeof m->c);
  if (strstr(m->with, "gpu")) t.local_is_global = 0, t.vector_width = 1, t.lanes = 32;
  for (int pass = 0; pass < 2 && ok; pass++) {
    if (pass && koi_choose(&t, m->op, m->c, 0, m->p, NULL)) return false;
    for (const char *at = m->with; *at; at += strspn(at, " ")) {
      size_t len = strcspn(at, " "), name = strcspn(at, "=");
      if (name < len) ok = ok && set(m, at, name, atoi(at + name + 1));
      at += len;
    }
  }
  return ok && koi_legal(device, m->op, m->c, m->p);
}

static const koi_op *op_of(const char *name)
{
  const koi_op *const *op = koi_ops;
  while (*op && strcmp((*op)->name, name)) op++;
  return *op;
}

static bool suits(const mutant *m, const koi_target *t, const char *arch)
{
  if (*m->on && strcmp(m->on, arch)) return false;
  return t->local_is_global ? !strstr(m->with, "apart") : strstr(m->with, "gpu") != NULL;
}

static bool load(const char *folder, const char *file, const koi_target *t, mutant *m)
{
  char *path = koi_format("%s/%s", folder, file), op[64];
  size_t n;
  *m = (mutant){0};
  snprintf(m->name, sizeof m->name, "%s", file);
  bool ok = !koi_file_read(path, 1 << 20, &m->patch, &n) && header(m->patch, "Op: ", op, sizeof op) && (m->op = op_of(op)) &&
            header(m->patch, "With: ", m->with, sizeof m->with) && strstr(m->patch, "Why: ") && (header(m->patch, "On: ", m->on, sizeof m->on), take(m, t));
  koi_free(path);
  return ok;
}

/* ---- running ---- */
static koine_status build(koi_device *d, const koi_build *b, koi_kernel **out, void **binary, size_t *binary_bytes)
{
  koi_build with = *b;
  if (patched) with.text = patched;
  return real->build(d, &with, out, binary, binary_bytes);
}

static koine_status verify(koi_device *d, const mutant *m, koi_verify_counts *n)
{
  koi_verify_options o = {.op = m->op->name, .c = m->c, .p = m->p, .counts = n, .small = true, .twice = true, .first = true};
  koi_text report = {0};
  koine_status s = koi_verify_ops(d, &o, NULL, NULL, &report);
  koi_free(report.s);
  return s;
}

static bool same_calls(const mutant *a, const mutant *b)
{
  return a->op == b->op && !memcmp(a->c, b->c, sizeof a->c) && !memcmp(a->p, b->p, sizeof a->p);
}

static void test(koi_device *d, const mutant *all, size_t at)
{
  const mutant *m = &all[at];
  koi_verify_counts n = {0};
  size_t before = 0;
  while (!same_calls(&all[before], m)) before++;
  patched = NULL;
  if (before == at && (verify(d, m, &n) || !n.n_kernels || n.n_refused || n.n_host)) fail(m->name, n.n_kernels ? koi_error_text() : "without the patch nothing runs");
  char *text = apply(koi_source_text(m->op->source), m->patch);
  if (!text) {
    fail(m->name, "its lines are not in the kernel's text, or more than once");
    return;
  }
  patched = text;
  koine_status s = verify(d, m, &n);
  if (s != KOINE_ERR_CHECK) fail(m->name, s ? koi_error_text() : n.n_kernels && !n.n_refused ? "survives: the cases miss it" : "does not build or start");
  else printf("killed %s: %s\n", m->name, koi_error_text());
  fflush(stdout);
  patched = NULL;
  free(text);
}

static int by_name(const void *a, const void *b) { return strcmp(((const mutant *)a)->name, ((const mutant *)b)->name); }

static void test_all(koi_device *d, const char *only)
{
  static mutant all[MAX_MUTANTS];
  size_t n = 0;
  koi_target t;
  const char *top = getenv("srcdir");
  char *folder = koi_format("%s/tests/data/mutants", top ? top : ".");
  DIR *dir = opendir(folder);
  koi_backend_target(d, &t);
  for (struct dirent *e; dir && (e = readdir(dir)) && n < MAX_MUTANTS;) {
    if (!strstr(e->d_name, ".patch") || (only && !strstr(e->d_name, only))) continue;
    bool loaded = load(folder, e->d_name, &t, &all[n]);
    if (!suits(&all[n], &t, d->endpoint->arch)) continue;
    if (loaded) n++;
    else fail(e->d_name, "cannot be read, or has no header that holds here");
  }
  if (dir) closedir(dir);
  qsort(all, n, sizeof *all, by_name);
  for (size_t i = 0; i < n; i++) test(d, all, i);
  if (!only && n < (t.local_is_global ? 20 : 5)) fail(folder, "too few mutants");
  printf("t_mutants: %zu mutants, %d failed\n", n, n_failed);
  for (size_t i = 0; i < n; i++) koi_free(all[i].patch);
  koi_free(folder);
}

static bool wanted(const koi_endpoint *e)
{
  const char *id = getenv("KOINE_TEST_DEVICE");
  return e->usable && (id && *id ? !strcmp(e->id, id) : strstr(e->platform, "Portable") != NULL);
}

static void run_on(const koi_endpoint *e, const char *only)
{
  koi_device *d;
  if (koi_device_open(e, NULL, 0, &d)) {
    fail(e->id, koi_error_text());
    return;
  }
  real = d->backend;
  backend = *real;
  backend.build = build, d->backend = &backend;
  test_all(d, only);
  d->backend = real;
  koi_device_close(d);
}

int main(int argc, char **argv)
{
  koi_probe p = {0};
  bool found = false;
  for (size_t i = 0; koi_backends[i]; i++)
    if (koi_backends[i]->probe(&p)) fail("devices", koi_error_text());
  for (size_t i = 0; i < p.n_endpoints && !found; i++)
    if ((found = wanted(&p.endpoints[i]))) run_on(&p.endpoints[i], argc > 1 ? argv[1] : NULL);
  for (size_t i = 0; i < p.n_endpoints; i++) p.endpoints[i].backend->unprobe(&p.endpoints[i]);
  koi_probe_free(&p);
  if (!found && !n_failed) printf("skipped: no PoCL, or no device of that name\n");
  return n_failed ? 1 : found ? 0 : SKIPPED;
}
