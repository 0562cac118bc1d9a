/* Experts that have no place and stay where they lie, on a device that has all of them: who stays, by made-up figures; the logits that come with all
 * experts there, for budgets from one of a layer to all, in both cache modes, a token and three at a time, whether all stay, none, or as many as is quicker; figures that add up; what
 * is refused.
 * usage: t_misses [CHECKPOINT]...    PoCL in two parts, and either part beside the host; KOINE_MISS is the test's own.
 *        KOINE_TEST_ALL=1: every budget, not one expert of a layer and all */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "checks.h"
#include "decoded.h"
#include "device/machine.h"
#include "engine/stay.h"
#include "koine.h"

enum { N_TOKENS = 40, N_PROMPT = 24, ROOM = 4096 };
static koine_runtime *rt;
static koine_model *model;
static koine_model_info info = KOINE_MODEL_INFO_INIT;
static int32_t tokens[N_TOKENS];
static char parts[2][64];

/* ---- who stays ---- */
static koi_stay known(uint64_t stay_ns, uint64_t load_ns)
{
  koi_stay c = {0};
  for (int i = 0; i < KOI_STAY_TRIES; i++) koi_stay_stayed(&c, 2, 2 * stay_ns), koi_stay_loaded(&c, 3, 3 * load_ns);
  return c;
}

static size_t choose(koi_stay c, koi_absent *v, size_t n, float coldest) { return koi_stay_choose(&c, v, n, coldest); }

/* Of two, each of which takes 400 where it lies. */
static size_t n_come(float heat, uint64_t load_ns, float coldest)
{
  koi_absent two[] = {{4, 1, heat}, {6, 1, 1}};
  size_t n = choose(known(400, load_ns), two, 2, coldest);
  CHECK(n == 2 || two[1].expert == 4);
  return 2 - n;
}

static void test_choice(void)
{
  koi_absent four[] = {{7, 1, 4}, {3, 1, 1}, {9, 1, 3}, {1, 1, 2}}, entries[] = {{5, 3, 9}, {2, 1, 9}, {8, 1, 9}};
  CHECK(choose(known(100, 100), four, 4, 0) == 2 && four[0].expert == 3 && four[1].expert == 1);
  CHECK(choose(known(100, 290), four, 4, 0) == 3 && four[3].expert == 7);
  CHECK(choose(known(1000, 100), four, 4, 0) == 0);
  CHECK(choose(known(100, 150), entries, 3, 0) == 2 && entries[2].expert == 5); /* three entries of one expert take as long as three experts, where they lie */
  CHECK(choose(known(1, 1000), four, 4, 0) == 4);
  CHECK(choose(known(300, 1000), four, 4, 0) == 3 && four[3].expert == 7);
  /* who was wanted often enough comes, in the place of somebody colder */
  CHECK(n_come(3, 1000, 2) == 1);
  CHECK(n_come(3, 1000, -1) == 1);
  CHECK(n_come(3, 1000, 5) == 0);
  CHECK(n_come(2, 1000, -1) == 0);
  CHECK(n_come(3, 1300, 2) == 0);
  CHECK(choose(known(100, 100), four, 0, 0) == 0);
}

/* Nothing is known at first: both are tried. The first measurement of either is passed over; what was not done for long is tried again. */
static void test_learning(void)
{
  koi_stay c = {0};
  size_t n_stayed = 0, n = 0;
  for (; n < 2 * KOI_STAY_TRIES; n++) {
    koi_absent one = {3, 1, 1};
    size_t k = koi_stay_choose(&c, &one, 1, 0);
    if (k) koi_stay_stayed(&c, 1, n_stayed++ ? 100 : 1000000);
    else koi_stay_loaded(&c, 1, 300);
  }
  CHECK(n_stayed == KOI_STAY_TRIES && c.stay.ns == 100 && c.load.ns == 300);
  for (n = 0; n < 2 * KOI_STAY_RETRY; n++) { /* too cold to come */
    koi_absent one = {3, 1, 1};
    if (!koi_stay_choose(&c, &one, 1, 2)) break;
    koi_stay_stayed(&c, 1, 100);
  }
  CHECK(n <= KOI_STAY_RETRY && n + 2 > KOI_STAY_RETRY);
}

/* ---- logits ---- */
static koine_plan *awake(const koine_plan_options *o, const char *how)
{
  koine_plan *p = NULL;
  if (how) setenv("KOINE_MISS", how, 1);
  else unsetenv("KOINE_MISS");
  koine_status s = koine_plan_make(rt, model, o, &p);
  if (!s) s = koine_plan_wake(p, NULL, NULL);
  if (s) printf("%s\n", koine_last_error());
  CHECK(!s);
  if (!s) return p;
  koine_plan_free(p);
  return NULL;
}

/* In chunks of three. */
static koine_status evaluate(koine_plan *p, koine_cache mode, float *logits)
{
  koine_session_options o = {.size = sizeof o, .cache = mode, .context = 64, .chunk = 3};
  return decoded_by(p, &o, &(decoded){tokens, N_PROMPT, N_TOKENS, info.n_vocab}, logits);
}

static bool alike(const float *want, const float *got) { return decoded_alike(&(decoded){tokens, N_PROMPT, N_TOKENS, info.n_vocab}, want, got); }

/* Bytes of all routed experts on a device; of a plan that has them by turns, with another device for those without a place. */
static uint64_t expert_bytes(const koine_plan_options *like)
{
  koine_plan *p = NULL;
  char *text = NULL;
  uint64_t bytes = 0;
  OK(koine_plan_make(rt, model, like, &p));
  if (p) OK(koine_plan_describe(p, &text));
  const char *line = text ? strstr(text, "\nexperts ") : NULL, *all = line ? strstr(line + 1, "\nexperts ") : NULL, *at = all ? strstr(all, " weight_bytes=") : NULL;
  if (at) bytes = strtoull(at + strlen(" weight_bytes="), NULL, 10);
  CHECK(bytes && strstr(text, " misses="));
  koine_text_free(text);
  koine_plan_free(p);
  return bytes;
}

typedef struct run { koine_plan_options o; koine_cache mode; const float *want; float *got; unsigned n_slots; } run;

static koine_plan_usage once(const run *r, const char *how)
{
  koine_plan_usage u = KOINE_PLAN_USAGE_INIT;
  koine_plan *p = awake(&r->o, how);
  checks_tried = how ? how : "measured";
  for (int again = 0; p && again < 2; again++) {
    OK(evaluate(p, r->mode, r->got));
    CHECK(alike(r->want, r->got));
  }
  if (p) OK(koine_plan_get_usage(p, &u));
  koine_plan_free(p);
  return u;
}

static void test_budget(const run *r)
{
  koine_plan_usage cpu = once(r, "cpu"), load = once(r, "load"), quickest = once(r, NULL);
  uint64_t wanted = load.experts_there + load.experts_loaded;
  printf("%s, %u there: of %llu wanted %llu elsewhere when all stay, %llu as is quicker\n", checks_on, r->n_slots, (unsigned long long)wanted,
         (unsigned long long)cpu.experts_elsewhere, (unsigned long long)quickest.experts_elsewhere);
  CHECK(!load.experts_elsewhere && !load.elsewhere_ns);
  CHECK(cpu.experts_elsewhere > 0 && cpu.elsewhere_ns > 0 && !cpu.experts_loaded);
  CHECK(cpu.experts_there + cpu.experts_elsewhere == wanted);
  CHECK(quickest.experts_there + quickest.experts_loaded + quickest.experts_elsewhere == wanted);
  CHECK(quickest.experts_elsewhere >= KOI_STAY_TRIES / 2 && quickest.experts_loaded >= KOI_STAY_TRIES / 2);
}

static void test_devices(const char *device, const char *misses_on, koine_cache mode)
{
  size_t bytes = (size_t)N_TOKENS * info.n_vocab * sizeof(float);
  char given[96], name[256];
  const char *caches[] = {given};
  float *want = malloc(bytes), *got = malloc(bytes);
  run r = {.mode = mode, .want = want, .got = got};
  r.o = (koine_plan_options){.size = sizeof r.o, .device = device, .chunk = 16, .cache = mode};
  koine_plan *whole = awake(&r.o, NULL);
  if (whole) OK(evaluate(whole, mode, want));
  koine_plan_free(whole);
  r.o.expert_caches = caches, r.o.n_expert_caches = 1, r.o.misses_on = misses_on;
  snprintf(name, sizeof name, "%s beside %s%s", misses_on, device, mode == KOINE_CACHE_EXACT ? ", exact" : "");
  snprintf(given, sizeof given, "%s=1T", device);
  checks_on = name;
  uint64_t each = expert_bytes(&r.o) / info.n_experts;
  for (r.n_slots = 1; r.n_slots <= info.n_experts && each; r.n_slots++) {
    if (!getenv("KOINE_TEST_ALL") && r.n_slots > 1 && (mode == KOINE_CACHE_EXACT || r.n_slots < info.n_experts)) continue;
    snprintf(given, sizeof given, "%s=%llu", device, (unsigned long long)(r.n_slots * each + each / 2));
    test_budget(&r);
  }
  free(want);
  free(got);
}

/* ---- what is looked at call by call ---- */
static void test_bench(void)
{
  char given[96];
  const char *caches[] = {given};
  const uint32_t n_gen[] = {8};
  koine_plan_options o = {.size = sizeof o, .device = parts[0], .chunk = 16, .expert_caches = caches, .n_expert_caches = 1, .misses_on = parts[1]};
  koine_bench_options b = {.size = sizeof b, .n_gen = n_gen, .n_n_gen = 1, .repetitions = 1, .ops = true, .format = KOINE_FORMAT_JSON};
  char *text = NULL;
  snprintf(given, sizeof given, "%s=1M", parts[0]);
  koine_plan *p = awake(&o, "cpu");
  if (p) OK(koine_bench(p, &b, NULL, NULL, &text));
  CHECK(text && strstr(text, "\"elsewhere\": ") && !strstr(text, "\"elsewhere\": 0,") && strstr(text, "\"op\": "));
  koine_text_free(text);
  koine_plan_free(p);
}

/* ---- what is refused ---- */
static void test_refused(void)
{
  char given[96];
  const char *caches[] = {given};
  koine_plan_options o = {.size = sizeof o, .device = parts[0], .chunk = 16, .expert_caches = caches, .n_expert_caches = 1, .misses_on = parts[0]};
  koine_plan *p = NULL;
  snprintf(given, sizeof given, "%s=1M", parts[0]);
  CHECK(koine_plan_make(rt, model, &o, &p) == KOINE_ERR_ARG && strstr(koine_last_error(), "name another device"));
  o.misses_on = "nobody";
  CHECK(koine_plan_make(rt, model, &o, &p) == KOINE_ERR_NO_DEVICE && strstr(koine_last_error(), "misses on nobody"));
  o.misses_on = "host", o.memory_bytes = 1 << 20;
  CHECK(koine_plan_make(rt, model, &o, &p) == KOINE_ERR_MEMORY);
}

/* ---- all of it ---- */
static bool part_portable(void)
{
  char text[80];
  const char *list[] = {text};
  size_t i;
  koine_runtime_options o = {.size = sizeof o, .subdevices = list, .n_subdevices = 1};
  if (koine_runtime_open(NULL, &rt) || koi_runtime_find(rt, "Portable", &i) || rt->endpoints[i].n_units < 2) return false;
  snprintf(text, sizeof text, "%s=1,1", rt->endpoints[i].id);
  for (int k = 0; k < 2; k++) snprintf(parts[k], sizeof parts[k], "%s/%d", rt->endpoints[i].id, k);
  koine_runtime_close(rt);
  return !koine_runtime_open(&o, &rt);
}

static void test_model(const char *path)
{
  if (koine_model_open(path, &model) || koine_model_get_info(model, &info)) return CHECK(!*koine_last_error());
  for (size_t i = 0; i < N_TOKENS; i++) tokens[i] = (int32_t)((i * 37 + 11) % (info.n_vocab - 2) + 1);
  for (int exact = 0; exact < 2; exact++) {
    koine_cache mode = exact ? KOINE_CACHE_EXACT : KOINE_CACHE_PACKED;
    test_devices(parts[0], parts[1], mode);
    test_devices(parts[1], "host", mode);
    test_devices("host", parts[0], mode);
  }
  test_bench();
  test_refused();
  koine_model_close(model);
}

int main(int argc, char **argv)
{
  char path[ROOM];
  test_choice();
  test_learning();
  if (!part_portable()) return printf("no device Portable of two units here\n"), n_failed ? 1 : 77;
  snprintf(path, sizeof path, "%s/tests/data/tiny-quant", getenv("srcdir") ? getenv("srcdir") : ".");
  for (int i = 1; i < argc; i++) test_model(argv[i]);
  if (argc < 2) test_model(path);
  koine_runtime_close(rt);
  printf("t_misses: %d checks, %d failed\n", n_checks, n_failed);
  return n_failed > 0;
}
