/* Whole models against the logits of DeepSeek's own implementation, in both cache modes and in chunks of every awkward size.
 *
 * usage: t_golden FOLDER...       each with a checkpoint and golden.safetensors; a folder that is absent is a counted skip
 * KOINE_TEST_DEVICE  the device (default: host)     KOINE_TEST_CHUNKS  "1,3,7,..." (default: 0,1,7,129; 0 is all at once)
 *
 * Bounds: those of the golden models' README. d[t] = max |logits - golden| / range of all golden logits. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "file/weights.h"

static int n_passed, n_failed, n_skipped;

typedef struct bound { double at, most; } bound; /* quantile, value */
static const bound exact_bounds[] = {{0.5, 3e-6}, {0.9, 1e-5}, {0.97, 1e-4}}, packed_bounds[] = {{0.5, 5e-4}, {0.9, 3e-3}, {0.97, 2e-2}};
enum { N_BOUNDS = 3 };

static void result(int ok, const char *what)
{
  printf("%s %s\n", ok ? "ok  " : "FAIL", what);
  fflush(stdout);
  if (ok) n_passed++;
  else n_failed++;
}

static int ascending(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double range(const float *v, size_t n)
{
  float low = v[0], high = v[0];
  for (size_t i = 0; i < n; i++) low = v[i] < low ? v[i] : low, high = v[i] > high ? v[i] : high;
  return high - low;
}

/* d[t], sorted. A NaN counts as infinitely far. */
static double *distances(const float *a, const float *b, size_t n, size_t n_vocab, double r)
{
  double *d = calloc(n, sizeof *d);
  for (size_t t = 0; t < n; t++)
    for (size_t v = 0; v < n_vocab; v++) {
      double x = fabs((double)a[t * n_vocab + v] - b[t * n_vocab + v]) / r;
      if (!(x <= d[t])) d[t] = isnan(x) ? INFINITY : x;
    }
  qsort(d, n, sizeof *d, ascending);
  return d;
}

static void check_bounds(const char *what, const float *got, const float *want, size_t n, size_t n_vocab, const bound *b)
{
  double *d = distances(got, want, n, n_vocab, range(want, n * n_vocab));
  char line[512];
  int ok = 1, at = snprintf(line, sizeof line, "%s:", what);
  for (int i = 0; i < N_BOUNDS; i++) {
    double x = d[(size_t)((double)(n - 1) * b[i].at)];
    ok &= x <= b[i].most;
    at += snprintf(line + at, sizeof line - (size_t)at, " %g%% %.1e (<= %.0e)", b[i].at * 100, x, b[i].most);
  }
  result(ok, line);
  free(d);
}

/* Against the same model in one chunk: a broken tie may move a few positions. */
static void check_same(const char *what, const float *got, const float *want, size_t n, size_t n_vocab)
{
  double *d = distances(got, want, n, n_vocab, range(want, n * n_vocab));
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
    check_bounds(what, got, golden, n, n_vocab, mode == KOINE_CACHE_EXACT ? exact_bounds : packed_bounds);
    if (whole && mode == KOINE_CACHE_EXACT) check_same(what, got, whole, n, n_vocab);
    if (!whole) whole = got;
    else free(got);
  }
  free(whole);
}

static const void *entry(const koi_weights *w, const char *name, size_t *n)
{
  const koi_tensor *t = koi_weights_find(w, name);
  if (t && n) *n = t->shape[0];
  return t ? t->data : NULL;
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
  koi_weights *golden = NULL;
  koine_model *model = NULL;
  koine_plan *plan = NULL;
  koine_plan_options po = {.size = sizeof po, .device = getenv("KOINE_TEST_DEVICE") ? getenv("KOINE_TEST_DEVICE") : "host", .chunk = 1024};
  koine_model_info info = {0};
  koine_status s = koi_safetensors_open_file(golden_path, &golden);
  if (!s) s = koine_model_open(folder, &model);
  if (!s) s = koine_model_get_info(model, &info);
  if (!s) s = koine_plan_make(rt, model, &po, &plan);
  if (!s) s = koine_plan_wake(plan, NULL, NULL);
  if (s) printf("%s\n", koine_last_error()), result(0, folder);
  else {
    size_t n = 0;
    const int32_t *tokens = entry(golden, "tokens", &n);
    const float *exact = entry(golden, "logits_exact", NULL), *packed = entry(golden, "logits_packed", NULL);
    const char *name = strrchr(folder, '/') ? strrchr(folder, '/') + 1 : folder;
    if (exact) test_mode(plan, name, KOINE_CACHE_EXACT, tokens, n, info.n_vocab, exact);
    if (packed) test_mode(plan, name, KOINE_CACHE_PACKED, tokens, n, info.n_vocab, packed);
    if (!exact && !packed) result(0, "no logits in golden.safetensors");
  }
  koine_plan_free(plan);
  koine_model_close(model);
  koi_weights_close(golden);
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
