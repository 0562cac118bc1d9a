/* Layouts chosen by whole steps, on the host with the model that ships: what is tried, what the log says of it, and how the plan lies afterwards. Which one
 * wins is the machine's business. Usage: t_layouts   (makes a folder of its own in /tmp) */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "checks.h"
#include "device/machine.h"
#include "device/tuned_text.h"
#include "engine/stage.h"
#include "tune/layouts.h"

static char folder[] = "/tmp/koine-layouts-XXXXXX";
static koine_runtime *rt;
static koine_model *model;

static koine_plan *wake(void)
{
  koine_plan *p = NULL;
  koine_plan_options o = {.size = sizeof o, .device = "host", .chunk = 16};
  OK(koine_plan_make(rt, model, &o, &p));
  OK(koine_plan_wake(p, NULL, NULL));
  return p;
}

static int32_t tile_of(const koine_plan *p) { return p->awake ? (int32_t)koi_engine_stage(p, 0)->at.laid->tile : 0; }

typedef struct telling { int n, most; } telling; /* told so often; then it is enough */

static bool told(void *user, const char *what)
{
  telling *t = user;
  CHECK(!strcmp(what, "layout"));
  return ++t->n <= t->most;
}

typedef struct seen { size_t n[KOI_N_OUTCOMES][KOI_MOST_TILE + 1]; } seen;

static koine_status see(void *user, const koi_tuned_line *l, koi_rung rung)
{
  seen *s = user;
  if (l->op == &koi_step_layout && rung == KOI_RUNG_TUNED) s->n[l->outcome][l->p[LAYOUT_TILE]]++;
  return KOINE_OK;
}

static seen log_of(const koine_plan *p)
{
  seen s = {{{0}}};
  OK(koi_tuned_each(koi_engine_stage(p, 0)->dev, see, &s));
  return s;
}

static koine_status tune(koi_drive *v, uint64_t deadline_ns, koi_lost lost, telling *t, koi_step_choice *out)
{
  return koi_layouts_tune(v, deadline_ns, lost, told, t, out);
}

static void test_time_and_cancel(void)
{
  koine_plan *p = wake();
  koi_drive v;
  koi_step_choice out;
  telling none = {0, 9}, one = {0, 1};
  OK(koi_drive_open(p, &v));
  OK(tune(&v, koi_now_ns(), KOI_LOST_NOTHING, &none, &out));
  CHECK(!none.n && !out.n_tried && !out.won && tile_of(p) == 16);
  CHECK(tune(&v, UINT64_MAX, KOI_LOST_NOTHING, &one, &out) == KOINE_ERR_CANCELLED);
  CHECK(one.n == 2 && out.n_tried == 1 && tile_of(p) == 16); /* awake, as it was */
  seen s = log_of(p);
  CHECK(s.n[KOI_OUTCOME_TRYING][32] == 1 && s.n[KOI_OUTCOME_MEASURED][32] == 1 && !s.n[KOI_OUTCOME_TRYING][64] && !s.n[KOI_OUTCOME_WON][32] && !s.n[KOI_OUTCOME_WRONG][32]);
  koi_drive_close(&v);
  koine_plan_free(p);
}

/* What ended a process is given up, and said once. */
static void test_lost(void)
{
  koine_plan *p = wake();
  koi_drive v;
  koi_step_choice out;
  telling all = {0, 9};
  koi_tuned_line l = {.op = &koi_step_layout, .p = {[LAYOUT_TILE] = 64}, .outcome = KOI_OUTCOME_TRYING};
  OK(koi_tuned_append(koi_engine_stage(p, 0)->dev, &l));
  OK(koi_drive_open(p, &v));
  OK(tune(&v, UINT64_MAX, KOI_LOST_CRASHED, &all, &out));
  CHECK(all.n == 1 && out.n_tried == 1);
  seen s = log_of(p);
  CHECK(s.n[KOI_OUTCOME_CRASHED][64] == 1 && !s.n[KOI_OUTCOME_MEASURED][64] && s.n[KOI_OUTCOME_MEASURED][32] == 2);
  CHECK(s.n[KOI_OUTCOME_WON][32] == out.won && tile_of(p) == (out.won ? 32 : 16) && out.p[LAYOUT_TILE] == tile_of(p));
  double seconds;
  OK(koi_drive_step(&v, true, 8, NULL, &seconds)); /* it still works */
  koi_drive_close(&v);
  koine_plan_free(p);
}

/* A layout that the log says holds for the next plan, and at the next waking of one that was made before; lists show it. */
static void test_applied(void)
{
  koine_plan *before = wake();
  koi_tuned_line l = {.op = &koi_step_layout, .p = {[LAYOUT_TILE] = 64}, .outcome = KOI_OUTCOME_WON};
  OK(koi_tuned_append(koi_engine_stage(before, 0)->dev, &l));
  OK(koine_plan_sleep(before));
  OK(koine_plan_wake(before, NULL, NULL));
  CHECK(tile_of(before) == 64);
  koine_plan_free(before);
  char *text = NULL;
  size_t host = 0;
  OK(koi_runtime_find(rt, "host", &host));
  OK(koi_tuned_list(rt, host, host + 1, false, &text));
  CHECK(text && strstr(text, "| layout, bucket 0 | TILE=64 | tuned, user line"));
  koi_free(text);
  OK(koi_tuned_why(rt, host, "layout", false, &text));
  CHECK(strstr(text, "TILE=64") && strstr(text, "default: TILE=16"));
  koi_free(text);
}

/* Parameters that won with tiles of 16 rows are no answer for others, until they are brought along. */
static void test_brought(void)
{
  koine_plan *p = wake();
  koi_device *d = koi_engine_stage(p, 0)->dev;
  koi_target t;
  koi_tuned_table table = {0};
  koi_tuned e = {.op = &koi_op_matvec, .c = {[MATVEC_WT] = KOI_WT_BF16, [MATVEC_TILE] = 16}, .bucket = 4, .rung = KOI_RUNG_TUNED, .origin = KOI_ORIGIN_USER};
  int32_t wide[KOI_MAX_CONSTS] = {[MATVEC_WT] = KOI_WT_BF16, [MATVEC_TILE] = 32};
  koi_rung rung;
  int32_t q[KOI_MAX_PARAMS];
  koi_backend_target(d, &t);
  t.tuned = NULL;
  OK(koi_choose(&t, e.op, e.c, e.bucket, e.p, NULL));
  OK(koi_tuned_put(&table, &e));
  t.tuned = &table;
  CHECK(!koi_choose(&t, e.op, e.c, e.bucket, q, &rung) && rung == KOI_RUNG_TUNED);
  CHECK(!koi_choose(&t, e.op, wide, e.bucket, q, &rung) && rung == KOI_RUNG_DEFAULT);
  pthread_mutex_lock(&d->lock);
  OK(koi_steps_bring(d, &t, &table, "TILE", 16, 32));
  pthread_mutex_unlock(&d->lock);
  CHECK(table.n == 2 && !koi_choose(&t, e.op, wide, e.bucket, q, &rung) && rung == KOI_RUNG_TUNED && !memcmp(q, e.p, koi_op_n_params(e.op) * sizeof *q));
  koi_tuned_clear(&table);
  koine_plan_free(p);
}

int main(void)
{
  const char *top = getenv("srcdir");
  char *path = koi_format("%s/models/austen", top ? top : "."), *log = NULL;
  unsetenv("KOINE_TUNED"), unsetenv("KOINE_LAYOUT");
  if (!mkdtemp(folder)) return printf("t_layouts: no folder\n"), 1;
  koine_runtime_options o = {.size = sizeof o, .cache_dir = folder};
  OK(koine_runtime_open(&o, &rt));
  OK(koine_model_open(path, &model));
  test_brought();
  test_time_and_cancel();
  test_lost();
  test_applied();
  koine_model_close(model);
  koine_runtime_close(rt);
  log = koi_format("%s/tuned.log", folder);
  unlink(log), rmdir(folder);
  koi_free(log), koi_free(path);
  printf("t_layouts: %d checks, %d failed\n", n_checks, n_failed);
  return n_failed != 0;
}
