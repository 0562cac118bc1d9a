/* The second entry for dense products: the device's gemm on awkward shapes against plain C, and the choice between the entries, which the log of
 * measurements keeps.
 * Usage: t_gemm MODEL FOLDER   FOLDER: empty, to keep choices in
 * KOINE_TEST_DEVICE  the device (default: any that has a gemm). Exit 77 where none has. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "engine/gemm.h"
#include "plan/plan.h"
#include "device/machine.h"
#include "device/tuned.h"
#include "tune/library.h"
#include "checks.h"

static void log_line(void *user, koine_log_level level, const char *text)
{
  (void)user, (void)level;
  printf("note: %s\n", text);
}

static float value(size_t i) { return (float)((i * 2654435761u) >> 8 & 0xffff) / 32768.0f - 1.0f; }

/* The sum in double; the error bound is that of any order of float sums. */
static bool right(const koi_gemm *g, const float *x, const float *w, const float *y)
{
  for (size_t i = 0; i < g->n; i++)
    for (size_t c = 0; c < g->ldy; c++) {
      float got = y[i * g->ldy + c];
      if (c < g->y_offset || c >= g->y_offset + g->rows) {
        if (got == got) return printf("row %zu: column %zu was written\n", i, c), false;
        continue;
      }
      double sum = 0, size = 0;
      for (size_t j = 0; j < g->k; j++) {
        double p = (double)x[i * g->ldx + j] * w[(c - g->y_offset) * g->k + j];
        sum += p, size += fabs(p);
      }
      if (!(fabs(got - sum) <= 1e-6 * size)) return printf("row %zu, column %zu: %g, expected %g\n", i, c, got, sum), false;
    }
  return true;
}

/* Y is all NaN before, so that what is read or left out shows. */
static void test_product(koi_device *d, koi_gemm g)
{
  const koi_backend *b = d->backend;
  size_t nx = g.n * g.ldx, nw = g.rows * g.k, ny = g.n * g.ldy;
  float *x = malloc(nx * sizeof *x), *w = malloc(nw * sizeof *w), *y = malloc(ny * sizeof *y);
  koi_buf *bx, *bw, *by;
  for (size_t i = 0; i < nx; i++) x[i] = i % g.ldx < g.k ? value(i) : NAN;
  for (size_t i = 0; i < nw; i++) w[i] = value(i + 77);
  OK(b->alloc(d, nx * sizeof *x, &bx));
  OK(b->alloc(d, nw * sizeof *w, &bw));
  OK(b->alloc(d, ny * sizeof *y, &by));
  OK(b->write(d, bx, 0, nx * sizeof *x, x));
  OK(b->write(d, bw, 0, nw * sizeof *w, w));
  OK(b->fill(d, by, 0xff));
  OK(b->gemm(d, &g, bx, bw, by));
  OK(b->read(d, by, 0, ny * sizeof *y, y));
  printf("n %zu, rows %zu, k %zu\n", g.n, g.rows, g.k);
  CHECK(right(&g, x, w, y));
  b->free(d, bx), b->free(d, bw), b->free(d, by);
  free(x), free(w), free(y);
}

/* Small ones and large ones take different kernels of CLBlast, ragged ones padded copies. */
static void test_products(const koi_endpoint *e)
{
  static const koi_gemm shapes[] = {
    {.n = 64, .rows = 32, .k = 64, .ldx = 64, .ldy = 32}, {.n = 70, .rows = 50, .k = 33, .ldx = 40, .y_offset = 7, .ldy = 61},
    {.n = 129, .rows = 256, .k = 257, .ldx = 257, .y_offset = 16, .ldy = 300}, {.n = 128, .rows = 512, .k = 320, .ldx = 320, .ldy = 512}};
  koi_device *d;
  OK(koi_device_open(e, NULL, 0, &d));
  for (size_t i = 0; i < KOI_COUNT(shapes); i++) test_product(d, shapes[i]);
  koi_device_close(d);
}

static koine_plan *wake(koine_runtime *rt, koine_model *m, const char *device)
{
  koine_plan_options po = {.size = sizeof po, .device = device, .chunk = 160};
  koine_plan *plan = NULL;
  OK(koine_plan_make(rt, m, &po, &plan));
  OK(koine_plan_wake(plan, NULL, NULL));
  return plan;
}

static void remember(const koi_endpoint *e, const char *folder, int32_t wt, int32_t from)
{
  koi_device d = {.endpoint = e, .cache_dir = (char *)(uintptr_t)folder}; /* only read */
  koi_tuned_line l = {.op = &koi_step_library, .c = {[LIBRARY_WT] = wt, [LIBRARY_TILE] = 16}, .p = {[LIBRARY_FROM] = from}, .outcome = from ? KOI_OUTCOME_WON : KOI_OUTCOME_KEPT};
  OK(koi_tuned_append(&d, &l));
}

/* Read at waking, from the log of measurements; the benchmark adds what it found. */
static void test_choice(koine_runtime *rt, koine_model *m, const koi_endpoint *e, const char *folder)
{
  char *below = koi_format("%s/koine", folder), *path = koi_format("%s/koine/tuned.log", folder), *table = NULL, *text = NULL;
  size_t n;
  koine_plan *plan = wake(rt, m, e->id);
  const koi_tunables *u = &koi_engine_stage(plan, 0)->at.tunables;
  for (int wt = 0; wt < KOI_N_FORMATS; wt++) CHECK(!u->gemm_from[wt]); /* nothing measured: the own kernels */
  koine_plan_free(plan);
  koi_endpoint other = *e;
  snprintf(other.driver, sizeof other.driver, "another driver");
  remember(e, below, KOI_WT_FP8, 128);
  remember(&other, below, KOI_WT_FP8, 0);  /* a better rung answers */
  remember(&other, below, KOI_WT_F16, 77); /* no listed number: the nearest */
  remember(e, below, KOI_WT_BF16, 0);
  plan = wake(rt, m, e->id);
  u = &koi_engine_stage(plan, 0)->at.tunables;
  CHECK(u->gemm_from[KOI_WT_FP8] == 128 && !u->gemm_from[KOI_WT_BF16] && u->gemm_from[KOI_WT_F16] == 64 && !u->gemm_from[KOI_WT_F32]);
  koine_plan_usage with;
  OK(koine_plan_get_usage(plan, &with));
  CHECK(with.scratch_bytes >= (16 << 20));
  koine_bench_options o = {.size = sizeof o, .gemm = true, .format = KOINE_FORMAT_JSON, .n_prompt = (const uint32_t[]){64}, .n_n_prompt = 1, .repetitions = 1};
  OK(koine_bench(plan, &o, NULL, NULL, &table));
  CHECK(table && strstr(table, "\"dense_gemm\": {") && strstr(table, "\"own_ms\": "));
  koine_text_free(table);
  koine_plan_free(plan);
  CHECK(!koi_file_read(path, 1 << 20, &text, &n) && strstr(text, "another driver") && strstr(text, "\tlibrary\tWT=fp8 TILE=16\t") && strstr(text, "chunks of 160 tokens"));
  koi_free(text);
  koi_free(path);
  koi_free(below);
}

typedef struct seen { size_t n[KOI_N_OUTCOMES]; } seen;

static koine_status see(void *user, const koi_tuned_line *l, koi_rung rung)
{
  seen *s = user;
  if (l->op == &koi_step_library && rung == KOI_RUNG_TUNED) s->n[l->outcome]++;
  return KOINE_OK;
}

static seen log_of(const koi_stage *st)
{
  seen s = {{0}};
  OK(koi_tuned_each(st->dev, see, &s));
  return s;
}

static size_t n_told;
static bool told(void *user, const char *what)
{
  n_told++;
  CHECK(!strcmp(what, "library"));
  return !user;
}

/* As koine tune has it: bounded in time, cancelled, and given up where it ended the process. Who is faster is the machine's business. */
static void test_tune(koine_runtime *rt, koine_model *m, const char *device)
{
  koi_step_choice c[KOI_N_FORMATS] = {{0}};
  koi_gemm_figure used[KOI_N_FORMATS] = {{0}};
  koine_plan *plan = wake(rt, m, device);
  koi_stage *st = koi_engine_stage(plan, 0);
  seen a = log_of(st);
  OK(koi_library_tune(st, 0, KOI_LOST_NOTHING, told, NULL, c)); /* no time */
  seen b = log_of(st);
  CHECK(!n_told && !memcmp(&a, &b, sizeof a));
  CHECK(koi_library_tune(st, UINT64_MAX - 1, KOI_LOST_NOTHING, told, plan, c) == KOINE_ERR_CANCELLED && n_told == 1);
  b = log_of(st); /* begun and ended, and nothing decided */
  CHECK(b.n[KOI_OUTCOME_TRYING] == a.n[KOI_OUTCOME_TRYING] + 1 && b.n[KOI_OUTCOME_MEASURED] == a.n[KOI_OUTCOME_MEASURED] + 1);
  CHECK(b.n[KOI_OUTCOME_WON] == a.n[KOI_OUTCOME_WON] && b.n[KOI_OUTCOME_KEPT] == a.n[KOI_OUTCOME_KEPT]);
  OK(koi_library_tune(st, UINT64_MAX - 1, KOI_LOST_NOTHING, told, NULL, c));
  koi_gemm_types(st, used);
  for (int wt = 0; wt < KOI_N_FORMATS; wt++) {
    CHECK((c[wt].n_tried > 0) == used[wt].used && c[wt].won == (c[wt].best_s < c[wt].default_s));
    if (used[wt].used) CHECK(c[wt].won == (st->at.tunables.gemm_from[wt] > 0));
  }
  a = log_of(st);
  CHECK(a.n[KOI_OUTCOME_WON] + a.n[KOI_OUTCOME_KEPT] > b.n[KOI_OUTCOME_WON] + b.n[KOI_OUTCOME_KEPT]);
  koi_tuned_line l = {.op = &koi_step_library, .c = {[LIBRARY_TILE] = 16}, .p = {[LIBRARY_FROM] = KOI_GEMM_MIN_TOKENS}, .outcome = KOI_OUTCOME_TRYING};
  while (!used[l.c[LIBRARY_WT]].used) l.c[LIBRARY_WT]++;
  OK(koi_tuned_append(st->dev, &l));
  for (int i = 0; i < 2; i++) { /* the process ended in it: not again, and said once */
    n_told = 0;
    OK(koi_library_tune(st, UINT64_MAX - 1, KOI_LOST_CRASHED, told, NULL, c));
    CHECK(!n_told && log_of(st).n[KOI_OUTCOME_CRASHED] == 1);
  }
  koine_plan_free(plan);
}

int main(int argc, char **argv)
{
  koine_runtime *rt;
  koine_model *m = NULL;
  const char *wanted = getenv("KOINE_TEST_DEVICE");
  size_t at = 0;
  koine_log_set(log_line, NULL);
  if (argc != 3) return printf("usage: t_gemm MODEL FOLDER\n"), 2;
  setenv("XDG_CACHE_HOME", argv[2], 1);
  unsetenv("KOINE_GEMM");
  unsetenv("KOINE_TUNED");
  if (koine_runtime_open(NULL, &rt)) return printf("%s\n", koine_last_error()), 1;
  while (!wanted && at < rt->n_endpoints && !rt->endpoints[at].backend->gemm) at++;
  if ((wanted && koi_runtime_find(rt, wanted, &at)) || at == rt->n_endpoints || !rt->endpoints[at].backend->gemm) {
    printf("skip: no %s with a gemm here\n", wanted ? wanted : "device");
    koine_runtime_close(rt);
    return 77;
  }
  test_products(&rt->endpoints[at]);
  OK(koine_model_open(argv[1], &m));
  if (m) test_choice(rt, m, &rt->endpoints[at], argv[2]);
  if (m) test_tune(rt, m, rt->endpoints[at].id);
  koine_model_close(m);
  koine_runtime_close(rt);
  printf("t_gemm: %d checks, %d failed\n", n_checks, n_failed);
  return n_failed != 0;
}
