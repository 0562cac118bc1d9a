/* How skewed a model's routes are, as runs find it and plans go by it: kept by model, beside other models', whatever the file was before; nothing where
 * no file is allowed; a plan that says where its figure comes from. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/base.h"
#include "checks.h"
#include "plan/skew.h"

enum { ROOM = 4096, N_TOKENS = 260 };
static koine_model *model;
static char dir[] = "/tmp/t_skew.XXXXXX", file[ROOM];

static void test_share(void)
{
  for (double skew = 0.05; skew < 2; skew += 0.1)
    for (int slots = 1; slots < 64; slots += 9) {
      double there = koi_skew_share(slots, 64, skew), found = koi_skew_of(there, slots, 64);
      CHECK(there > (double)slots / 64 && found > skew - 1e-6 && found < skew + 1e-6);
    }
  CHECK(koi_skew_of(0, 3, 64) < 1e-6 && koi_skew_share(64, 64, 0.7) > 1 - 1e-12);
}

static void put(const char *text, size_t n)
{
  FILE *f = fopen(file, "wb");
  CHECK(f && fwrite(text, 1, n, f) == n && !fclose(f));
}

static bool has(const char *word)
{
  char *text;
  size_t n;
  if (koi_file_read(file, 1 << 20, &text, &n)) return false;
  bool found = strstr(text, word) != NULL;
  koi_free(text);
  return found;
}

static const koi_skew some = {.wanted = 4000, .there = 1500, .n_slots = 4, .n_experts = 16};
static bool known(koi_skew *x) { return koi_skew_known(dir, model, x); }

static void test_kept(void)
{
  static const char other[] = "model=0123456789abcdef skew=0.5 wanted=5000 there=2000 slots=3 experts=16\n";
  koi_skew x, few = some;
  few.wanted = 900, few.there = 300;
  CHECK(!known(&x));
  koi_skew_keep(dir, model, &few);
  koi_skew_keep(NULL, model, &some);
  koi_skew_keep("", model, &some);
  CHECK(!known(&x) && access(file, F_OK) && !koi_skew_known(NULL, model, &x) && !koi_skew_known("", model, &x));
  put(other, strlen(other));
  koi_skew_keep(dir, model, &some);
  double once = koi_skew_of(1500.0 / 4000, 4, 16);
  CHECK(known(&x) && x.wanted == 4000 && x.there == 1500 && x.skew > once - 1e-5 && x.skew < once + 1e-5 && has(other + 40) && has("0123456789abcdef"));
  koi_skew more = {.wanted = 12000, .there = 9000, .n_slots = 8, .n_experts = 16};
  koi_skew_keep(dir, model, &more);
  double both = (once + 3 * koi_skew_of(0.75, 8, 16)) / 4;
  CHECK(known(&x) && x.wanted == 16000 && x.there == 10500 && x.n_slots == 8 && x.skew > both - 1e-5 && x.skew < both + 1e-5 && has("0123456789abcdef"));
  setenv("KOINE_TUNED", "off", 1);
  CHECK(!known(&x));
  unsetenv("KOINE_TUNED");
}

/* What is no line counts for nothing, and is gone when a run writes. */
static void test_damage(void)
{
  static const char *const bad[] = {
    "", "\n\n", "model", "model=%s", "model=%s skew=0.5 wanted=5000 there=2000 slots=3 experts=16", "model=%s skew=0.5 wanted=5000 there=2000 slots=3\n",
    "model=%s skew=-1 wanted=5000 there=2000 slots=3 experts=16\n", "model=%s skew=nan wanted=5000 there=2000 slots=3 experts=16\n", "model=%s skew=9 wanted=5000 there=2000 slots=3 experts=16\n",
    "model=%s skew=0.5 wanted=5000 there=5001 slots=3 experts=16\n", "model=%s skew=0.5 wanted=0 there=0 slots=3 experts=16\n", "model=%s skew=0.5 wanted=5000 there=2000 slots=16 experts=16\n",
    "model=%s skew=0.5 wanted=5000 there=2000 slots=0 experts=16\n", "model=%s skew=0.5 wanted=5000 there=2000 slots=3 experts=17\n", "model=%s0 skew=0.5 wanted=5000 there=2000 slots=3 experts=16\n"};
  char name[17] = "", text[ROOM], *whole;
  size_t n;
  koi_skew x;
  CHECK(!koi_file_read(file, ROOM, &whole, &n) && n > 30);
  memcpy(name, whole + strlen("model="), 16);
  koi_free(whole);
  for (size_t i = 0; i < KOI_COUNT(bad); i++) {
    n = (size_t)snprintf(text, sizeof text, bad[i], name);
    put(text, n);
    CHECK(!known(&x));
    koi_skew_keep(dir, model, &some);
    CHECK(known(&x) && x.wanted == 4000);
  }
  char *noise = malloc(100000);
  for (size_t i = 0; i < 100000; i++) noise[i] = (char)(i * 2654435761u >> 13);
  for (n = 50000; n <= 100000; n += 50000) {
    put(noise, n);
    CHECK(!known(&x));
    koi_skew_keep(dir, model, &some);
    CHECK(known(&x));
  }
  free(noise);
  unlink(file);
  CHECK(!mkdir(file, 0700)); /* a folder in its place */
  koi_skew_keep(dir, model, &some);
  CHECK(!known(&x) && !rmdir(file));
}

/* ---- a run, and a plan after it ---- */
static void check_plan(koine_runtime *rt, const char *says)
{
  koine_machine *m = NULL;
  koine_placement *p = NULL;
  char *text = NULL;
  koine_place_options o = {.size = sizeof o, .given = "layers 0-4 device=host expert_cache=800000 embed head"};
  OK(koine_machine_open(rt, &m));
  if (m) OK(koine_place(m, model, &o, &p));
  if (p) OK(koine_placement_text(p, &text));
  CHECK(text && strstr(text, says));
  koine_text_free(text);
  koine_placement_free(p);
  koine_machine_close(m);
}

static void run(koine_runtime *rt, koi_skew *usage)
{
  const char *cache = "host=800K";
  koine_plan_options po = {.size = sizeof po, .device = "host", .chunk = 8, .context = N_TOKENS, .expert_caches = &cache, .n_expert_caches = 1};
  koine_session_options so = {.size = sizeof so, .context = N_TOKENS, .chunk = 1};
  koine_plan *p = NULL;
  koine_session *s = NULL;
  int32_t tokens[N_TOKENS];
  koine_plan_usage u = KOINE_PLAN_USAGE_INIT;
  float *logits = malloc(model->config.n_vocab * sizeof *logits);
  for (int i = 0; i < N_TOKENS; i++) tokens[i] = (i * i * 37 + 11) % ((int)model->config.n_vocab - 8) + 8;
  OK(koine_plan_make(rt, model, &po, &p));
  OK(koine_plan_wake(p, NULL, NULL));
  OK(koine_session_open(p, &so, &s));
  if (s) OK(koine_session_eval(s, tokens, N_TOKENS, NULL, logits));
  OK(koine_plan_get_usage(p, &u));
  *usage = (koi_skew){.wanted = u.experts_there + u.experts_loaded, .there = u.experts_there};
  koine_session_close(s);
  koine_plan_free(p);
  free(logits);
}

static void test_run(void)
{
  koine_runtime_options o = {.size = sizeof o, .cache_dir = dir};
  koine_runtime *rt = NULL;
  koi_skew x, u;
  unlink(file);
  OK(koine_runtime_open(&o, &rt));
  check_plan(rt, "experts: how many are there is not known from runs of this model: a power law of 0.5 is taken");
  run(rt, &u);
  CHECK(known(&x) && x.n_slots == 4 && x.n_experts == 16 && x.wanted == u.wanted - 4 * model->config.n_used * model->config.n_layers && x.there <= u.there && x.there + 50 > u.there);
  check_plan(rt, "experts: how many are there follows from earlier runs of this model");
  koine_runtime_close(rt);
}

int main(void)
{
  char path[ROOM], command[ROOM];
  unsetenv("KOINE_TUNED");
  snprintf(path, sizeof path, "%s/models/austen", getenv("srcdir") ? getenv("srcdir") : ".");
  if (!mkdtemp(dir) || koine_model_open(path, &model)) return printf("%s\n", koine_last_error()), 1;
  snprintf(file, sizeof file, "%s/routes.txt", dir);
  test_share();
  test_kept();
  test_damage();
  test_run();
  koine_model_close(model);
  snprintf(command, sizeof command, "rm -r %s", dir);
  CHECK(!system(command));
  printf("t_skew: %d checks, %d failed\n", n_checks, n_failed);
  return n_failed > 0;
}
