/* Whole models against the logits of DeepSeek's own implementation, in both cache modes, in chunks of every awkward size, and in steps that
 * several conversations share.
 *
 * usage: t_golden FOLDER...       each with a checkpoint and golden.safetensors; a folder that is absent is a counted skip
 * KOINE_TEST_DEVICE  the device (default: host)     KOINE_TEST_CHUNKS  "1,3,7,..." (default: 0,1,7,129; 0 is all at once)
 * KOINE_TEST_EXPERT_CACHE  "DEVICE=BYTES": routed experts have their places by turns
 * KOINE_TEST_ALONE   without steps that several conversations share: for devices on which a model takes minutes
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "golden.h"
#include "mixed.h"

static int n_passed, n_failed, n_skipped;

static void result(int ok, const char *what)
{
  printf("%s %s\n", ok ? "ok  " : "FAIL", what);
  fflush(stdout);
  if (ok) n_passed++;
  else n_failed++;
}

static void check_bounds(const char *what, const float *got, const float *want, size_t n, size_t n_vocab, bool exact)
{
  char line[512], figures[384];
  bool ok = golden_within(got, want, n, n_vocab, exact, figures, sizeof figures);
  snprintf(line, sizeof line, "%.120s:%s", what, figures);
  result(ok, line);
}

/* Against the same model in one chunk: a broken tie may move a few positions. */
static void check_same(const char *what, const float *got, const float *want, size_t n, size_t n_vocab)
{
  double *d = golden_distances(got, want, n, n_vocab, golden_range(want, n * n_vocab));
  char line[512];
  snprintf(line, sizeof line, "%s: as one chunk, 97%% %.1e, most %.1e (<= 1e-5)", what, d[(size_t)((double)(n - 1) * 0.97)], d[n - 1]);
  result(d[(size_t)((double)(n - 1) * 0.97)] <= 1e-5, line);
  free(d);
}

static float *run(koine_plan *plan, koine_cache mode, uint32_t chunk, const int32_t *tokens, size_t n, size_t n_vocab)
{
  koine_session_options o = {.size = sizeof o, .cache = mode, .context = n, .chunk = chunk};
  koine_eval_options e = {.size = sizeof e, .n_logits = n};
  koine_session *s;
  float *logits = malloc(n * n_vocab * sizeof *logits);
  memset(logits, 0xff, n * n_vocab * sizeof *logits); /* NaN */
  if (koine_session_open(plan, &o, &s)) return free(logits), NULL;
  koine_status st = koine_session_eval(s, tokens, n, &e, logits);
  koine_session_close(s);
  if (!st) return logits;
  free(logits);
  return NULL;
}

static void test_mode(koine_plan *plan, const char *name, koine_cache mode, const int32_t *tokens, size_t n, size_t n_vocab, const float *golden)
{
  const char *chunks = getenv("KOINE_TEST_CHUNKS");
  char what[256];
  float *whole = NULL;
  for (const char *c = chunks ? chunks : "0,1,7,129"; c; c = strchr(c, ',') ? strchr(c, ',') + 1 : NULL) {
    uint32_t chunk = (uint32_t)atoi(c);
    snprintf(what, sizeof what, "%s %s chunk %u", name, mode == KOINE_CACHE_EXACT ? "exact" : "packed", chunk);
    if (chunk > n) continue;
    float *got = run(plan, mode, chunk, tokens, n, n_vocab);
    if (!got) {
      printf("%s\n", koine_last_error());
      result(0, what);
      continue;
    }
    check_bounds(what, got, golden, n, n_vocab, mode == KOINE_CACHE_EXACT);
    if (whole && mode == KOINE_CACHE_EXACT) check_same(what, got, whole, n, n_vocab);
    if (!whole) whole = got;
    else free(got);
  }
  free(whole);
}

/* Several sessions in common steps: the golden text in whole prompts, ragged pieces and single tokens, and beside it other texts, which are held to
 * what a session of their own gives. */
static void test_mixed(koine_plan *plan, const char *name, koine_cache mode, const int32_t *tokens, size_t n, size_t n_vocab, const float *golden)
{
  enum { OTHER = 3, N = 5 };
  static const koine_batch_options steps[] = {{sizeof *steps, 48, 11}, {sizeof *steps, 0, 0}};
  mixed v[N] = {{.pieces = {0}}, {.pieces = {1}}, {.pieces = {3, 7, 1, 29, 2}}, {.pieces = {40, 1}}, {.pieces = {1, 13}}};
  int32_t other[2][n];
  bool exact = mode == KOINE_CACHE_EXACT;
  char what[256];
  for (size_t i = 0; i < n; i++) other[0][i] = tokens[n - 1 - i], other[1][i] = tokens[(7 * i + 3) % n];
  for (size_t k = 0; k < N; k++) {
    v[k].tokens = k < OTHER ? tokens : other[k - OTHER], v[k].n = n - (k == 2 || k == 4 ? n / 3 : 0);
    v[k].logits = malloc(n * n_vocab * sizeof(float));
  }
  for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
    for (size_t k = 0; k < N; k++) memset(v[k].logits, 0xff, n * n_vocab * sizeof(float)); /* NaN */
    if (mixed_run(plan, mode, &steps[i], n_vocab, v, N)) printf("%s\n", koine_last_error()), result(0, name);
    for (size_t k = 0; k < N; k++) {
      float *alone = k < OTHER ? NULL : run(plan, mode, 0, v[k].tokens, v[k].n, n_vocab);
      snprintf(what, sizeof what, "%s %s, conversation %zu of %d in steps of %u", name, exact ? "exact" : "packed", k, N, steps[i].tokens);
      if (k < OTHER || alone) check_bounds(what, v[k].logits, k < OTHER ? golden : alone, v[k].n, n_vocab, exact);
      else printf("%s\n", koine_last_error()), result(0, what);
      free(alone);
    }
  }
  for (size_t k = 0; k < N; k++) free(v[k].logits);
}

static void test_model(koine_runtime *rt, const char *folder)
{
  char golden_path[1024];
  snprintf(golden_path, sizeof golden_path, "%s/golden.safetensors", folder);
  if (access(golden_path, R_OK)) {
    printf("skip %s: no golden.safetensors there\n", folder);
    n_skipped++;
    return;
  }
  golden g = {0};
  koine_model *model = NULL;
  koine_plan *plan = NULL;
  koine_plan_options po = {.size = sizeof po, .device = getenv("KOINE_TEST_DEVICE") ? getenv("KOINE_TEST_DEVICE") : "host", .chunk = 1024};
  const char *cache = getenv("KOINE_TEST_EXPERT_CACHE");
  po.expert_caches = &cache, po.n_expert_caches = cache != NULL, po.misses_on = getenv("KOINE_TEST_MISSES_ON");
  koine_model_info info = {0};
  koine_status s = golden_open(folder, &g);
  if (!s) s = koine_model_open(folder, &model);
  if (!s) s = koine_model_get_info(model, &info);
  if (!s) s = koine_plan_make(rt, model, &po, &plan);
  if (!s) s = koine_plan_wake(plan, NULL, NULL);
  if (s) printf("%s\n", koine_last_error()), result(0, folder);
  else {
    const char *name = strrchr(folder, '/') ? strrchr(folder, '/') + 1 : folder;
    for (int exact = 1; exact >= 0; exact--)
      if (g.logits[exact]) {
        test_mode(plan, name, exact ? KOINE_CACHE_EXACT : KOINE_CACHE_PACKED, g.tokens, g.n, info.n_vocab, g.logits[exact]);
        if (!getenv("KOINE_TEST_ALONE")) test_mixed(plan, name, exact ? KOINE_CACHE_EXACT : KOINE_CACHE_PACKED, g.tokens, g.n, info.n_vocab, g.logits[exact]);
      }
    if (!g.logits[0] && !g.logits[1]) result(0, "no logits in golden.safetensors");
  }
  koine_plan_free(plan);
  koine_model_close(model);
  golden_close(&g);
}

static void log_line(void *user, koine_log_level level, const char *line)
{
  (void)user, (void)level;
  printf("note: %s\n", line);
}

/* Whether the device that is asked for is here at all. */
static int device_is_here(const koine_runtime *rt, const char *wanted)
{
  for (size_t i = 0; i < koine_runtime_n_devices(rt); i++) {
    koine_device_info d;
    if (koine_runtime_device(rt, i, &d)) continue;
    const char *texts[] = {d.id, d.name, d.vendor, d.platform};
    for (size_t j = 0; j < sizeof texts / sizeof *texts; j++)
      if (strcasestr(texts[j], wanted)) return 1;
  }
  return 0;
}

int main(int argc, char **argv)
{
  koine_runtime *rt;
  koine_log_set(log_line, NULL);
  if (koine_runtime_open(NULL, &rt)) return printf("%s\n", koine_last_error()), 1;
  const char *wanted = getenv("KOINE_TEST_DEVICE");
  if (wanted && !device_is_here(rt, wanted)) {
    printf("skip: no device %s here\n", wanted);
    koine_runtime_close(rt);
    return 77;
  }
  for (int i = 1; i < argc; i++) test_model(rt, argv[i]);
  koine_runtime_close(rt);
  printf("%d passed, %d failed, %d skipped\n", n_passed, n_failed, n_skipped);
  return n_failed ? 1 : n_passed ? 0 : 77;
}
