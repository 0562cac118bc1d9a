/* Tuning without a device worth tuning: the search on made-up costs, and contests on the host behind a clock of our own, where the time of a
 * launch is a number that we plant. Parameters that refuse, answer wrongly or are slow cost themselves only.
 * Then all of koine_tune on the host, with the model that ships. Usage: t_tune   (makes a folder of its own in /tmp) */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "device/machine.h"
#include "check/verify.h"
#include "tune/contest.h"
#include "tune/search.h"

static int n_checks, n_failed;
#define CHECK(x) ((void)(n_checks++, (x) ? 0 : (printf("FAIL %s:%d: %s (%s)\n", __FILE__, __LINE__, #x, koi_error_text()), n_failed++)))

/* ---- the search, by itself ---- */
enum { A, B, C, D };
static int fits(const koi_target *t, const int32_t *c, const int32_t *p) { return (void)t, (void)c, p[A] * p[B] <= 256; }
#define VALUES(...) (const int32_t[]){__VA_ARGS__}, sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t)
static const koi_op made_up = {
  .name = "made up", .legal = fits,
  .params = {[A] = {"A", 1, 1, VALUES(1, 2, 4, 8, 16, 32, 64, 128)}, [B] = {"B", 4, 4, VALUES(1, 2, 4, 8, 16, 32)},
             [C] = {"C", 0, 0, VALUES(0, 1)}, [D] = {"D", 3, 3, VALUES(1, 2, 4, 8)} /* the default is none of the values */}};

/* Least at `best`, a valley around it, and another one at the default that a walk downhill stays in when C is 0. */
static double cost_at(const int32_t *p, const int32_t *best)
{
  double cost = 1;
  for (int i = 0; i < 4; i++) cost += i == C ? 2.0 * abs(p[i] - best[i]) : fabs(log2(p[i]) - log2(best[i]));
  return cost;
}

static size_t evaluations(const int32_t *best, size_t most, bool *found)
{
  koi_target t = {0};
  koi_search s;
  int32_t p[KOI_MAX_PARAMS] = {1, 4, 0, 3};
  CHECK(!koi_search_open(&s, &t, &made_up, NULL, p, cost_at(p, best)));
  while (s.n < most && koi_search_best(&s)->cost > 1 && koi_search_next(&s, p)) {
    CHECK(fits(&t, NULL, p) && koi_search_is_new(&s, p));
    CHECK(!koi_search_tell(&s, p, cost_at(p, best)));
  }
  *found = koi_search_best(&s)->cost == 1;
  size_t n = s.n;
  koi_search_close(&s);
  return n;
}

/* 296 legal settings of 384 and the default; most of the optima at the edges of the space. */
static void test_search(void)
{
  static const int32_t best[][4] = {{128, 2, 1, 8}, {8, 32, 1, 1}, {1, 1, 0, 8}, {64, 4, 0, 2}, {1, 4, 1, 4}, {16, 16, 1, 2}};
  for (size_t i = 0; i < KOI_COUNT(best); i++) {
    bool found;
    size_t n = evaluations(best[i], 60, &found);
    if (!found) printf("optimum %zu not found in %zu evaluations\n", i, n);
    CHECK(found);
  }
}

/* Everything is asked for once, then nothing; failures are no obstacle. */
static void test_exhaustion(void)
{
  koi_target t = {0};
  koi_search s;
  int32_t p[KOI_MAX_PARAMS] = {1, 4, 0, 3};
  CHECK(!koi_search_open(&s, &t, &made_up, NULL, p, 5));
  while (s.n < 1000 && koi_search_next(&s, p)) {
    CHECK(koi_search_is_new(&s, p));
    CHECK(!koi_search_tell(&s, p, p[A] % 3 ? INFINITY : 7));
  }
  CHECK(s.n > 280 && s.n < 400 && koi_search_best(&s) == s.tried);
  CHECK(!koi_search_is_new(&s, p));
  koi_search_close(&s);
}

/* ---- contests: the host with planted costs ---- */
static struct {
  uint64_t ns;                              /* the clock */
  double (*cost)(const koi_kernel *k);      /* microseconds of a launch */
  bool (*refuses)(const koi_kernel *k), (*lies)(const koi_kernel *k);
  size_t n_builds, n_live, n_launches;
} plant;

static uint64_t planted_now(void *user) { return (void)user, plant.ns; }

static koine_status build(koi_device *d, const koi_build *b, koi_kernel **out, void **binary, size_t *binary_bytes)
{
  if (strstr(b->defs, "VW=4 ") && plant.refuses) return koi_error(KOINE_ERR_DEVICE, "planted: no VW=4");
  koine_status s = koi_backend_host.build(d, b, out, binary, binary_bytes);
  plant.n_builds++, plant.n_live += !s;
  return s;
}

static void drop(koi_device *d, koi_kernel *k)
{
  plant.n_live -= k != NULL;
  koi_backend_host.drop(d, k);
}

static koine_status launch(koi_device *d, koi_kernel *k, const koi_args *a, const koi_range *r)
{
  static uint64_t noise = 88172645463325252u;
  noise ^= noise << 13, noise ^= noise >> 7, noise ^= noise << 17;
  plant.n_launches++;
  plant.ns += (uint64_t)(1000 * plant.cost(k) * (1 + 0.02 * (double)(noise % 100) / 100));
  if (plant.refuses && plant.refuses(k)) return koi_error(KOINE_ERR_DEVICE, "planted: not started");
  koine_status s = koi_backend_host.launch(d, k, a, r);
  float wrong = 1e9f;
  if (!s && plant.lies && plant.lies(k)) s = d->backend->write(d, a->buf[SWIGLU_H], a->at[SWIGLU_H], sizeof wrong, &wrong);
  return s;
}

static koi_backend planted;
static koi_endpoint endpoint;
static char folder[] = "/tmp/t_tune.XXXXXX";

static koine_status open_planted(koi_device **out)
{
  koi_probe p = {0};
  planted = koi_backend_host;
  planted.build = build, planted.drop = drop, planted.launch = launch;
  koine_status s = koi_backend_host.probe(&p);
  if (s) return s;
  endpoint = p.endpoints[0];
  endpoint.backend = &planted;
  koi_probe_free(&p);
  s = koi_device_open(&endpoint, folder, 1, out);
  if (!s) (*out)->backend = &planted;
  return s;
}

enum { N_ROWS = 3, INTER = 64 };

static koi_args call(koi_device *d)
{
  koi_args a = {.i = {[SWIGLU_E] = N_ROWS, [SWIGLU_INTER] = INTER, [SWIGLU_LDG] = 2 * INTER, [SWIGLU_LDH] = INTER}, .f = {7}};
  CHECK(!koi_device_alloc(d, N_ROWS * 2 * INTER * 4, &a.buf[SWIGLU_GU]));
  CHECK(!koi_device_alloc(d, N_ROWS * INTER * 4, &a.buf[SWIGLU_H]));
  CHECK(!d->backend->fill(d, a.buf[SWIGLU_GU], 0));
  return a;
}

static koi_rung chosen(koi_device *d, int32_t bucket, int32_t *p)
{
  koi_target t;
  koi_rung rung = KOI_N_RUNGS;
  CHECK(!koi_tuned_load(d, folder));
  koi_backend_target(d, &t);
  CHECK(!koi_choose(&t, &koi_op_swiglu, koi_op_swiglu.usual, bucket, p, &rung));
  return rung;
}

static koi_contest_result contest(koi_device *d, int32_t bucket, size_t most)
{
  koi_args a = call(d);
  koi_contest k = {.d = d, .op = &koi_op_swiglu, .c = koi_op_swiglu.usual, .bucket = bucket, .args = &a, .n_args = 1, .now = planted_now,
                   .deadline_ns = UINT64_MAX, .max_candidates = most};
  koi_contest_result r = {0};
  CHECK(!koi_contest_run(&k, &r));
  CHECK(r.n_tried <= most && !plant.n_live);
  koi_device_free(d, a.buf[SWIGLU_GU]);
  koi_device_free(d, a.buf[SWIGLU_H]);
  return r;
}

/* ---- what is planted ---- */
enum { L, VW, STRETCH }; /* swiglu's parameters */
static double away(const koi_kernel *k, int32_t l, int32_t vw, int32_t stretch)
{
  return fabs(log2(k->p[L]) - log2(l)) + fabs(log2(k->p[VW]) - log2(vw)) + fabs(log2(k->p[STRETCH]) - log2(stretch));
}
static double valley(const koi_kernel *k) { return 100 * (1 + away(k, 64, 8, 4)); }
static double flat(const koi_kernel *k) { return (void)k, 100; }
static double peak(const koi_kernel *k) { return 100 * (20 - away(k, 1, 16, 16)); } /* but for the default all is a little better */
static double hole(const koi_kernel *k) { return k->p[L] == 64 ? 10 : valley(k); }
/* A machine that is busy in every other slice of time, as long as a sample: what runs there takes three times as long, whoever it is. */
static double busy(const koi_kernel *k) { return (void)k, plant.n_launches / 20 % 2 ? 300 : 100; }
static bool is_64(const koi_kernel *k) { return k->p[L] == 64; }
static bool is_1(const koi_kernel *k) { return k->p[L] == 1; }
static bool is_128(const koi_kernel *k) { return k->p[L] == 128; }

static void plant_these(double (*cost)(const koi_kernel *), bool (*refuses)(const koi_kernel *), bool (*lies)(const koi_kernel *))
{
  plant.cost = cost, plant.refuses = refuses, plant.lies = lies;
}

static void test_optimum(koi_device *d)
{
  int32_t p[KOI_MAX_PARAMS] = {0};
  plant_these(valley, NULL, NULL);
  koi_contest_result r = contest(d, 0, 60);
  CHECK(r.won && r.p[L] == 64 && r.p[VW] == 8 && r.p[STRETCH] == 4 && r.best_us < 110 && r.default_us > 500);
  CHECK(chosen(d, 0, p) == KOI_RUNG_TUNED && p[L] == 64 && p[VW] == 8 && p[STRETCH] == 4);
  CHECK(chosen(d, 3, p) == KOI_RUNG_DEFAULT && p[L] == 1); /* another bucket */
  r = contest(d, 3, 1); /* what was best elsewhere is the first to be tried */
  CHECK(r.won && r.n_tried == 1 && r.p[L] == 64 && chosen(d, 3, p) == KOI_RUNG_TUNED);
}

static void test_no_better(koi_device *d)
{
  int32_t p[KOI_MAX_PARAMS] = {0};
  plant_these(flat, NULL, NULL); /* the noise alone makes no winner */
  CHECK(!contest(d, 3, 40).won && chosen(d, 3, p) == KOI_RUNG_DEFAULT && p[L] == 1);
  plant_these(busy, NULL, NULL);
  for (int32_t other = 20; other < 30; other++) CHECK(!contest(d, other, 30).won);
  plant_these(flat, NULL, NULL);
  size_t builds = plant.n_builds;
  koi_contest_result r = contest(d, 2, 1);
  CHECK(!r.won && r.n_tried == 1 && plant.n_builds > builds);
  plant_these(peak, NULL, NULL);
  CHECK(contest(d, 2, 30).won && chosen(d, 2, p) == KOI_RUNG_TUNED);
}

/* The fastest answers wrongly: the next that is right wins. */
static void test_wrong(koi_device *d)
{
  int32_t p[KOI_MAX_PARAMS] = {0};
  char *log, *path = koi_format("%s/tuned.log", folder);
  size_t n;
  plant_these(hole, NULL, is_64);
  koi_contest_result r = contest(d, 1, 60);
  CHECK(r.n_wrong >= 1 && r.won && r.p[L] != 64 && chosen(d, 1, p) == KOI_RUNG_TUNED && p[L] == r.p[L] && p[L] != 64);
  CHECK(!koi_file_read(path, 1 << 24, &log, &n) && strstr(log, "\twrong\t") && strstr(log, "\twon\t") && strstr(log, "\tkept\t"));
  koi_free(log);
  koi_free(path);
}

static void test_refused(koi_device *d)
{
  int32_t p[KOI_MAX_PARAMS] = {0};
  plant_these(valley, is_128, NULL); /* and VW 4 is not built at all */
  koi_contest_result r = contest(d, 11, 60);
  CHECK(r.won && r.n_refused >= 2 && r.p[L] == 64 && r.p[VW] == 8 && chosen(d, 11, p) == KOI_RUNG_TUNED);
}

/* The verifier runs what was tuned, for whatever bucket: here L 64 for buckets 0 and 3. */
static void test_verified(koi_device *d)
{
  int32_t p[KOI_MAX_PARAMS] = {0};
  koi_text report = {0};
  koi_verify_options o = {.op = "swiglu"};
  plant_these(valley, NULL, NULL);
  CHECK(contest(d, 3, 40).p[L] == 64 && chosen(d, 3, p) == KOI_RUNG_TUNED && !koi_verify_ops(d, &o, NULL, NULL, &report));
  plant.lies = is_64;
  CHECK(koi_verify_ops(d, &o, NULL, NULL, &report) == KOINE_ERR_CHECK && strstr(koi_error_text(), "L=64"));
  koi_tuned_drop(d);
  CHECK(!koi_verify_ops(d, &o, NULL, NULL, &report));
  koi_free(report.s);
  koi_kern_close(d);
  CHECK(!koi_kern_open(d) && !plant.n_live);
}

static bool stop(void *user, const koi_contest *k, double default_us, double best_us)
{
  CHECK(k->op == &koi_op_swiglu && default_us >= best_us && best_us > 0);
  return ++*(int *)user < 3;
}

/* Cancelled, out of time before it began, and a device that refuses the default. */
static void test_ends(koi_device *d)
{
  koi_args a = call(d);
  int n_told = 0;
  koi_contest_result r;
  koi_contest k = {.d = d, .op = &koi_op_swiglu, .c = koi_op_swiglu.usual, .args = &a, .n_args = 1, .told = stop, .user = &n_told, .deadline_ns = UINT64_MAX};
  plant_these(valley, NULL, NULL);
  CHECK(koi_contest_run(&k, &r) == KOINE_ERR_CANCELLED && n_told == 3 && !plant.n_live);
  k.told = NULL, k.deadline_ns = 0, k.bucket = 7;
  int32_t p[KOI_MAX_PARAMS] = {0};
  CHECK(!koi_contest_run(&k, &r) && !r.won && !r.n_tried && !plant.n_live);
  (void)chosen(d, 7, p);
  CHECK(!koi_tuned_find(&d->tuned, k.op, k.c, 7)); /* nothing was tried, nothing is known */
  plant_these(valley, is_1, NULL);
  CHECK(koi_contest_run(&k, &r) == KOINE_ERR_DEVICE && !r.won && !plant.n_live);
  koi_device_free(d, a.buf[SWIGLU_GU]);
  koi_device_free(d, a.buf[SWIGLU_H]);
}

/* ---- a plan, from beginning to end ---- */
static const char *model_path(void)
{
  static char at[1024];
  const char *top = getenv("srcdir");
  snprintf(at, sizeof at, "%s/models/austen", top ? top : ".");
  return at;
}

static bool until_told(void *user, const char *what, uint64_t done, uint64_t total)
{
  CHECK(done <= total && (total == 2 || total == 600));
  return !strstr(what, user); /* what ends it */
}

static void test_plan(void)
{
  koine_runtime *rt = NULL;
  koine_model *m = NULL;
  koine_plan *p = NULL;
  char *report = NULL;
  koine_runtime_options ro = {.size = sizeof ro, .cache_dir = folder};
  koine_plan_options po = {.size = sizeof po, .device = "host", .chunk = 16};
  koine_tune_options o = {.size = sizeof o, .seconds = 2};
  CHECK(!koine_runtime_open(&ro, &rt) && !koine_model_open(model_path(), &m) && !koine_plan_make(rt, m, &po, &p));
  if (p) {
    CHECK(koine_tune(p, &o, NULL, NULL, &report) == KOINE_ERR_STATE && strstr(koine_last_error(), "asleep"));
    CHECK(!koine_plan_wake(p, NULL, NULL));
    CHECK(koine_tune(p, NULL, NULL, NULL, NULL) == KOINE_ERR_ARG);
    setenv("KOINE_TUNED", "off", 1);
    CHECK(koine_tune(p, &o, NULL, NULL, &report) == KOINE_ERR_STATE && strstr(koine_last_error(), "KOINE_TUNED"));
    unsetenv("KOINE_TUNED");
    CHECK(koine_tune(p, &o, until_told, "measuring", &report) == KOINE_ERR_CANCELLED);
    o.seconds = 600; /* so that there is time for a contest, however busy the machine is */
    CHECK(koine_tune(p, &o, until_told, "tuning decode, matvec", &report) == KOINE_ERR_CANCELLED && !report);
    o.seconds = 2;
    CHECK(!koine_tune(p, &o, until_told, "no such thing", &report));
    CHECK(report && strstr(report, "| decode | matvec WT=") && strstr(report, "| prefill | matmul WT="));
  }
  koine_text_free(report);
  koine_plan_free(p);
  koine_model_close(m);
  koine_runtime_close(rt);
}

int main(void)
{
  koi_device *d;
  unsetenv("KOINE_TUNED");
  if (!mkdtemp(folder)) return printf("t_tune: no folder\n"), 1;
  test_search();
  test_exhaustion();
  if (open_planted(&d)) return printf("t_tune: %s\n", koi_error_text()), 1;
  test_optimum(d);
  test_no_better(d);
  test_wrong(d);
  test_refused(d);
  test_verified(d);
  test_ends(d);
  d->backend = &koi_backend_host;
  koi_device_close(d);
  test_plan();
  char *path = koi_format("%s/tuned.log", folder);
  unlink(path), rmdir(folder);
  koi_free(path);
  printf("t_tune: %d checks, %d failed\n", n_checks, n_failed);
  return n_failed != 0;
}
