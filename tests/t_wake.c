/* Nothing is built or compiled after wake, whatever a session does in either cache mode: chunks of every size, all thresholds of the lists, forks, cuts,
 * and steps of several sessions.
 * Without arguments: models of the published sizes on a device that does nothing. Every call that a session starts must have been launched once at wake
 * with its kernel and work-group size, and with a range beyond 16 bits if it has such a one, since drivers compile for these.
 * With checkpoints: PoCL, which compiles what it keeps on disk at such a first launch. No new file may appear after wake.
 * usage: t_wake [CHECKPOINT...]
 * KOINE_TEST_DEVICE: PoCL's device (default: portable). KOINE_TEST_CACHE: PoCL's folder (default: a fresh one, removed afterwards). */
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "device/machine.h"
#include "engine/session.h"
#include "checks.h"
#include "null.h"

enum { POCL_CHUNK = 100, TOKENS = 280 };

/* ---- the driver's files ---- */
typedef struct files { char **v; size_t n, cap; } files;
static files *listed;

static int list_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
  (void)st, (void)at;
  if (type != FTW_F) return 0;
  if (listed->n == listed->cap) {
    listed->cap = listed->cap ? 2 * listed->cap : 256;
    listed->v = realloc(listed->v, listed->cap * sizeof *listed->v);
  }
  listed->v[listed->n++] = strdup(path);
  return 0;
}

static files list(const char *folder)
{
  files f = {0};
  listed = &f;
  nftw(folder, list_one, 16, FTW_PHYS);
  return f;
}

static void free_files(files *f)
{
  for (size_t i = 0; i < f->n; i++) free(f->v[i]);
  free(f->v);
}

static bool has(const files *f, const char *path)
{
  for (size_t i = 0; i < f->n; i++)
    if (!strcmp(f->v[i], path)) return true;
  return false;
}

static void check_files(const char *folder, const files *before)
{
  files after = list(folder);
  size_t fresh = 0;
  for (size_t i = 0; i < after.n; i++)
    if (!has(before, after.v[i])) printf("new: %s\n", after.v[i]), fresh++;
  CHECK(before->n > 0);
  CHECK(!fresh);
  free_files(&after);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at) { return (void)st, (void)type, (void)at, remove(path); }

/* ---- sessions ---- */
static koine_plan *plan;
static int32_t *tokens;
static float *logits; /* [LOGITS][n_vocab] */
enum { LOGITS = KOI_HEAD_ROWS + 1 };

static koine_session *open_session(koine_cache mode, uint32_t chunk, size_t context)
{
  koine_session_options o = {.size = sizeof o, .cache = mode, .context = context, .chunk = chunk};
  koine_session *s = NULL;
  OK(koi_session_open(plan, &o, &s));
  return s;
}

static void eval(koine_session *s, size_t n, size_t n_logits)
{
  koine_eval_options o = {.size = sizeof o, .n_logits = n_logits};
  OK(koi_session_eval(s, tokens, n, &o, logits));
}

static const uint32_t sizes[] = {1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 63, 64, 65, POCL_CHUNK, 511, 512, 1023, 1024, KOI_MAX_CHUNK};

/* Chunks of every size from the first token on; the last is shorter. */
static void from_the_first(koine_cache mode)
{
  for (size_t i = 0; i < KOI_COUNT(sizes) && sizes[i] <= plan->chunk; i++) {
    koine_session *s = open_session(mode, sizes[i], TOKENS);
    if (!s) return;
    eval(s, TOKENS, 1);
    koi_session_close(s);
  }
}

/* Chunks of every size, two and the begin of a third, behind made-up rows. */
static void from_depth(koine_cache mode, size_t depth)
{
  koine_session *s = open_session(mode, 0, depth + 3 * plan->chunk), *f;
  if (!s) return;
  memset(tokens, 0, depth * sizeof *tokens);
  OK(koi_session_fill(s, depth));
  for (size_t i = 0; i < KOI_COUNT(sizes) && sizes[i] <= plan->chunk; i++) {
    f = NULL;
    OK(koi_session_fork(s, &f));
    if (!f) break;
    f->chunk = sizes[i];
    eval(f, depth + 2 * sizes[i] + (sizes[i] + 1) / 2, 1);
    koi_session_close(f);
  }
  koi_session_close(s);
}

/* Logits of several positions: of few, of one more than are computed at once. */
static void rows_of_logits(koine_cache mode)
{
  koine_session *s = open_session(mode, 0, TOKENS);
  if (!s) return;
  eval(s, 3, 2);
  eval(s, 50, LOGITS);
  eval(s, 59, 9);
  eval(s, 60, 1);
  eval(s, TOKENS, KOI_HEAD_ROWS);
  koi_session_close(s);
}

/* A fork and its parent go on from the same place, each by tokens of its own; then the parent is cut behind its last mark, and before the first. */
static void fork_and_cut(koine_cache mode)
{
  koine_session *s = open_session(mode, plan->chunk < 7 ? plan->chunk : 7, TOKENS), *f = NULL;
  if (!s) return;
  eval(s, TOKENS - 20, 1);
  OK(koi_session_fork(s, &f));
  eval(s, TOKENS - 1, 1);
  tokens[TOKENS - 10] ^= 1;
  if (f) eval(f, TOKENS - 1, 1);
  OK(koi_session_truncate(s, TOKENS - 15));
  eval(s, TOKENS, 1);
  OK(koi_session_truncate(s, 20));
  eval(s, TOKENS / 2, 2);
  koi_session_close(f);
  koi_session_close(s);
}

/* Several sessions in common steps behind made-up rows: single tokens, and every fourth with a prompt. */
static void together(koine_cache mode, size_t depth)
{
  static const size_t counts[] = {2, 5, 16, KOI_MAX_SEQS};
  uint32_t prompt = plan->chunk / 4 + 1;
  memset(tokens, 0, depth * sizeof *tokens);
  for (size_t c = 0; c < KOI_COUNT(counts); c++) {
    koine_session *s[KOI_MAX_SEQS] = {NULL};
    koine_batch *b = NULL;
    size_t n_ended;
    OK(koine_batch_open(plan, NULL, &b));
    for (size_t i = 0; i < counts[c] && (s[i] = open_session(mode, 0, depth + prompt + 4)); i++) OK(koi_session_fill(s[i], depth));
    for (size_t n = 1; n < 4; n++) {
      for (size_t i = 0; i < counts[c] && s[i]; i++) OK(koine_batch_eval(b, s[i], tokens, depth + n + (i % 4 ? 0 : prompt), NULL, logits));
      while (koine_batch_n_sessions(b)) OK(koine_batch_step(b, &n_ended));
    }
    koine_batch_close(b);
    for (size_t i = 0; i < counts[c]; i++) koi_session_close(s[i]);
  }
}

/* deep: also where a model of the published sizes begins to choose rows, and far behind that. */
static void run(koine_cache mode, bool deep)
{
  from_the_first(mode);
  together(mode, 0);
  if (deep) from_depth(mode, 4 * plan->model->config.index_topk - 2), from_depth(mode, 100000), together(mode, 4 * plan->model->config.index_topk - 2);
  rows_of_logits(mode);
  fork_and_cut(mode);
}

static unsigned long n_built(void)
{
  const koi_device *d = koi_engine_stage(plan, 0)->dev;
  return atomic_load(&d->built.from_source) + atomic_load(&d->built.from_disk);
}

/* Both modes on the plan, which is awake. */
static void run_all(bool deep)
{
  const koi_config *c = &plan->model->config;
  size_t most = deep ? 200000 : TOKENS;
  unsigned long built = n_built();
  tokens = calloc(most, sizeof *tokens);
  logits = calloc((size_t)LOGITS * c->n_vocab, sizeof *logits);
  for (size_t i = 0; i < most; i++) tokens[i] = (int32_t)((i * 37 + 5) % (c->n_vocab - 1));
  CHECK(built > 0);
  run(KOINE_CACHE_EXACT, deep);
  run(KOINE_CACHE_PACKED, deep);
  CHECK(n_built() == built);
  free(tokens), free(logits);
}

/* ---- the device that does nothing ---- */
typedef struct variant { const koi_kernel *kernel; size_t local[3]; bool wide; } variant;
static variant known[4096];
static size_t n_known, n_unknown;

static void watch(const koi_kernel *k, const koi_range *r, bool bound)
{
  variant v = {.kernel = k, .wide = r->global[0] >= 65535 || r->global[1] >= 65535 || r->global[2] >= 65535};
  memcpy(v.local, r->local, sizeof v.local);
  for (size_t i = 0; i < n_known; i++)
    if (known[i].kernel == k && known[i].wide == v.wide && !memcmp(known[i].local, v.local, sizeof v.local)) return;
  if (n_known < KOI_COUNT(known)) known[n_known++] = v;
  n_unknown += bound;
  if (bound) printf("first launched after wake: %s, groups of %zu x %zu x %zu in %zu x %zu x %zu\n", k->op->name, r->local[0], r->local[1], r->local[2], r->global[0], r->global[1], r->global[2]);
}

/* cpu: with the parameters for processors. */
static void test_shape(const char *name, uint32_t chunk, bool cpu)
{
  koine_shape shape = {.size = sizeof shape, .name = name};
  koi_plan_wish wish = {.chunk = chunk};
  koi_endpoint e = null_endpoint;
  koine_model *m = NULL;
  if (cpu) e.type = KOINE_DEVICE_CPU, e.local_is_global = e.host_unified = true, e.vector_width = 16, e.n_units = 2;
  n_known = n_unknown = 0;
  OK(koi_model_synthetic(&shape, &m));
  if (m) OK(koi_plan_make(NULL, m, &e, 0, &wish, &plan));
  if (plan) {
    plan->bare = true;
    OK(koi_engine_wake(plan, NULL, NULL));
    if (plan->awake) run_all(true);
    CHECK(n_known > 20 && !n_unknown);
    printf("%s, chunks of %u, %s: %zu variants of %lu kernels, %.0f ms to wake\n", name, chunk, cpu ? "cpu" : "gpu", n_known, plan->awake ? n_built() : 0,
           (double)plan->wake_ns / 1e6);
    koi_engine_sleep(plan);
  }
  koi_plan_free(plan);
  koi_model_close(m);
  plan = NULL;
}

/* ---- PoCL ---- */
static void test_checkpoint(koine_runtime *rt, size_t endpoint, const char *folder, const char *cache)
{
  koi_plan_wish wish = {.chunk = POCL_CHUNK, .context = TOKENS};
  koine_model *m = NULL;
  OK(koi_model_open(folder, &m));
  if (m) OK(koi_plan_make(rt, m, &rt->endpoints[endpoint], endpoint, &wish, &plan));
  if (plan) OK(koi_engine_wake(plan, NULL, NULL));
  if (plan && plan->awake) {
    files before = list(cache);
    uint64_t start = koi_now_ns();
    CHECK(before.n > 0);
    run_all(false);
    check_files(cache, &before);
    printf("%s: %lu programs and %zu files after %.1f s to wake, sessions %.1f s\n", folder, n_built(), before.n, (double)plan->wake_ns / 1e9,
           (double)(koi_now_ns() - start) / 1e9);
    free_files(&before);
  }
  if (plan) koi_engine_sleep(plan);
  koi_plan_free(plan);
  koi_model_close(m);
  plan = NULL;
}

static int test_pocl(char **folders, int n)
{
  char made[] = "/tmp/koine-wake-XXXXXX";
  const char *cache = getenv("KOINE_TEST_CACHE"), *device = getenv("KOINE_TEST_DEVICE");
  koine_runtime *rt;
  size_t endpoint;
  int status = 0;
  if (!cache && !(cache = mkdtemp(made))) return printf("no folder for a cache\n"), 1;
  setenv("POCL_CACHE_DIR", cache, 1);
  if (koine_runtime_open(NULL, &rt)) return printf("%s\n", koi_error_text()), 1;
  if (koi_runtime_find(rt, device ? device : "portable", &endpoint)) printf("skip: no PoCL here\n"), status = 77;
  for (int i = 0; i < n && !status; i++) test_checkpoint(rt, endpoint, folders[i], cache);
  koine_runtime_close(rt);
  if (cache == made) nftw(made, remove_one, 16, FTW_DEPTH | FTW_PHYS);
  return status;
}

static void log_line(void *user, koine_log_level level, const char *line)
{
  (void)user;
  if (level <= KOINE_LOG_WARNING) printf("note: %s\n", line);
}

int main(int argc, char **argv)
{
  int status = 0;
  koine_log_set(log_line, NULL);
  if (argc > 1) status = test_pocl(argv + 1, argc - 1);
  else {
    null_watch = watch;
    static const uint32_t chunks[] = {1, POCL_CHUNK, KOI_DEFAULT_CHUNK, KOI_MAX_CHUNK};
    for (size_t i = 0; i < 2 * KOI_COUNT(chunks); i++) test_shape("v4-flash", chunks[i / 2], i % 2);
    test_shape("v4-pro", KOI_DEFAULT_CHUNK, false);
  }
  printf("%d checks, %d failed\n", n_checks, n_failed);
  return n_failed ? 1 : status;
}
