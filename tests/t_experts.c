/* Routed experts that have their places by turns: the golden logits for every budget from one expert of a layer to all, in both cache modes and in
 * chunks of several sizes; figures that add up; a checkpoint that cannot be read any more.
 * usage: t_experts CHECKPOINT [DEVICE]    on the host unless said */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "decoded.h"
#include "koine.h"

enum { N_TOKENS = 61, N_PROMPT = 50, ROOM = 4096 };
static int n_checks, n_failed;
static koine_runtime *rt;
static koine_model *model;
static koine_model_info info = KOINE_MODEL_INFO_INIT;
static const char *device = "host";
static char id[64]; /* the device's */
static int32_t tokens[N_TOKENS];
static unsigned long long each; /* bytes of one expert of every layer */

static void check(int ok, const char *what, long at)
{
  n_checks++;
  if (ok || n_failed++ > 20) return;
  printf("FAIL %s at %ld (%s)\n", what, at, koine_last_error());
}

static koine_plan *awake(const char *cache, koine_cache mode, uint32_t chunk)
{
  koine_plan_options o = {.size = sizeof o, .device = device, .chunk = chunk, .cache = mode, .expert_caches = &cache, .n_expert_caches = cache != NULL};
  koine_plan *plan = NULL;
  koine_status s = koine_plan_make(rt, model, &o, &plan);
  if (!s) s = koine_plan_wake(plan, NULL, NULL);
  check(!s, "a plan", (long)s);
  return s ? NULL : plan;
}

static koine_status evaluate(koine_plan *plan, koine_cache mode, float *logits)
{
  koine_session_options o = {.size = sizeof o, .cache = mode, .context = 128};
  return decoded_by(plan, &o, &(decoded){tokens, N_PROMPT, N_TOKENS, info.n_vocab}, logits);
}

static bool alike(const float *want, const float *got) { return decoded_alike(&(decoded){tokens, N_PROMPT, N_TOKENS, info.n_vocab}, want, got); }

static unsigned long long number_behind(const char *text, const char *word)
{
  const char *at = strstr(text, word);
  return at ? strtoull(at + strlen(word), NULL, 10) : 0;
}

/* Bytes of one expert of every layer, which a plan with room for all tells. */
static void measure(void)
{
  char cache[96], *text = NULL;
  snprintf(cache, sizeof cache, "%s=1T", id);
  const char *given = cache;
  koine_plan_options o = {.size = sizeof o, .device = device, .expert_caches = &given, .n_expert_caches = 1};
  koine_plan *plan = NULL;
  if (koine_plan_make(rt, model, &o, &plan) || koine_plan_describe(plan, &text)) return check(0, "a plan of all experts", 0);
  const char *line = strstr(text, "\nexperts ");
  check(line && number_behind(line, " slots=") == info.n_experts, "room for all", 0);
  each = line ? number_behind(line, " weight_bytes=") / info.n_experts : 0;
  koine_text_free(text);
  koine_plan_free(plan);
}

static void check_figures(koine_plan *plan, unsigned n_slots)
{
  koine_plan_usage u = KOINE_PLAN_USAGE_INIT;
  check(!koine_plan_get_usage(plan, &u), "usage", 0);
  check(u.experts_loaded > 0 && u.expert_bytes == u.experts_loaded * (each / info.n_layers), "bytes are those of the experts that were read", (long)u.experts_loaded);
  check(u.experts_there > 0 || n_slots < info.n_experts, "experts that were there", (long)u.experts_there);
  if (n_slots == info.n_experts) check(u.experts_loaded <= (uint64_t)info.n_experts * info.n_layers, "with room for all each is read once", (long)u.experts_loaded);
}

/* Guesses change no bit and no choice of who stays; their figures add up. tiny-quant has more layers that can be guessed than one. */
static void test_guesses(koine_cache mode)
{
  size_t bytes = (size_t)N_TOKENS * info.n_vocab * sizeof(float);
  float *with = malloc(bytes), *without = malloc(bytes);
  for (unsigned n = 1; n < info.n_experts; n++) {
    koine_plan_usage u = KOINE_PLAN_USAGE_INIT, off = KOINE_PLAN_USAGE_INIT;
    char cache[96];
    snprintf(cache, sizeof cache, "%s=%llu", id, n * each + each / 2);
    setenv("KOINE_GUESS", "always", 1);
    koine_plan *plan = awake(cache, mode, 7);
    setenv("KOINE_GUESS", "off", 1);
    koine_plan *plain = awake(cache, mode, 7);
    unsetenv("KOINE_GUESS");
    if (plan && plain) {
      check(!evaluate(plan, mode, with) && !evaluate(plain, mode, without), "logits", n);
      check(!memcmp(with, without, bytes), "the same bits with guesses and without", n);
      check(!koine_plan_get_usage(plan, &u) && !koine_plan_get_usage(plain, &off), "usage", n);
      check(u.experts_there == off.experts_there && u.experts_loaded == off.experts_loaded && u.expert_bytes == off.expert_bytes, "the same experts stay", n);
      check(!off.experts_guessed && !off.guess_ns && !off.guess_bytes, "none when they are off", n);
      check(u.guess_bytes > 0, "gates are counted", n);
      check(u.guesses_right <= u.experts_guessed && u.guesses_used <= u.guesses_right, "of guesses some are right, and of these some used", (long)u.experts_guessed);
      printf("%u of %u there: %llu guessed, %llu right, %llu used\n", n, info.n_experts, (unsigned long long)u.experts_guessed, (unsigned long long)u.guesses_right,
             (unsigned long long)u.guesses_used);
    }
    koine_plan_free(plan);
    koine_plan_free(plain);
  }
  free(with);
  free(without);
}

static void test_budget(unsigned n_slots, koine_cache mode, uint32_t chunk, const float *want, float *got)
{
  char cache[96];
  snprintf(cache, sizeof cache, "%s=%llu", id, n_slots * each + each / 2);
  koine_plan *plan = awake(cache, mode, chunk);
  if (!plan) return;
  for (int again = 0; again < 2; again++) {
    check(!evaluate(plan, mode, got), "logits", n_slots);
    check(alike(want, got), "logits as with all experts there", (long)(n_slots * 1000 + chunk));
  }
  check_figures(plan, n_slots);
  koine_plan_free(plan);
}

static void test_mode(koine_cache mode)
{
  static const uint32_t chunks[] = {64, 7, 1};
  float *want = malloc((size_t)N_TOKENS * info.n_vocab * sizeof *want), *got = malloc((size_t)N_TOKENS * info.n_vocab * sizeof *got);
  koine_plan *plan = awake(NULL, mode, 64);
  if (plan) check(!evaluate(plan, mode, want), "logits of all experts", 0);
  koine_plan_free(plan);
  for (unsigned n = 1; n <= info.n_experts; n++)
    for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++) test_budget(n, mode, chunks[c], want, got);
  free(want);
  free(got);
}

static void test_refused(void)
{
  static const char *const bad[] = {"", "=5", "host", "host=", "host=x", "host=-1", "host=0", "host=1Q", "host=99999999999999999999", "nobody=1G"};
  char little[96];
  const char *given = little;
  koine_plan_options o = {.size = sizeof o, .device = device, .expert_caches = &given, .n_expert_caches = 1};
  koine_plan *plan = NULL;
  snprintf(little, sizeof little, "%s=%llu", id, each - 1);
  check(koine_plan_make(rt, model, &o, &plan) == KOINE_ERR_MEMORY, "too little for one expert", 0);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    given = bad[i];
    check(koine_plan_make(rt, model, &o, &plan) != KOINE_OK, bad[i], (long)i);
  }
}

/* The file becomes shorter behind an awake plan, and as long as it was: an error with its name, and nothing else. */
static void test_shorter(const char *folder)
{
  struct stat st;
  char dir[] = "/tmp/t_experts.XXXXXX", command[ROOM], path[ROOM], cache[96];
  float *got = malloc((size_t)N_TOKENS * info.n_vocab * sizeof *got);
  koine_model *whole = model;
  if (!mkdtemp(dir)) return check(0, "a folder", 0);
  snprintf(command, sizeof command, "cp '%s'/config.json '%s'/*.safetensors %s", folder, folder, dir);
  snprintf(path, sizeof path, "%s/model.safetensors", dir);
  snprintf(cache, sizeof cache, "%s=%llu", id, each);
  check(!system(command) && !koine_model_open(dir, &model), "a copy", 0);
  koine_plan *plan = awake(cache, KOINE_CACHE_PACKED, 64);
  if (plan) {
    check(!evaluate(plan, KOINE_CACHE_PACKED, got), "before", 0);
    check(!stat(path, &st) && !truncate(path, 4096), "shorter", 0);
    check(evaluate(plan, KOINE_CACHE_PACKED, got) == KOINE_ERR_FILE && strstr(koine_last_error(), "model.safetensors"), "an error with the file's name", 0);
    check(evaluate(plan, KOINE_CACHE_PACKED, got) == KOINE_ERR_FILE, "and again", 0);
    check(!truncate(path, st.st_size), "longer", 0);
    check(evaluate(plan, KOINE_CACHE_PACKED, got) == KOINE_ERR_FILE && strstr(koine_last_error(), "model.safetensors: was written to"), "a file of zeros", 0);
  }
  koine_plan_free(plan);
  koine_model_close(model);
  model = whole;
  snprintf(command, sizeof command, "rm -r %s", dir);
  check(!system(command), "cleared away", 0);
  free(got);
}

static int find_device(void)
{
  for (size_t i = 0; i < koine_runtime_n_devices(rt); i++) {
    koine_device_info d = KOINE_DEVICE_INFO_INIT;
    if (koine_runtime_device(rt, i, &d) || (!strstr(d.platform, device) && !strstr(d.name, device) && strcmp(d.id, device))) continue;
    snprintf(id, sizeof id, "%s", d.id);
    return 1;
  }
  return 0;
}

int main(int argc, char **argv)
{
  if (argc < 2) return 2;
  if (argc > 2) device = argv[2];
  if (koine_runtime_open(NULL, &rt) || koine_model_open(argv[1], &model) || koine_model_get_info(model, &info)) return printf("%s\n", koine_last_error()), 1;
  if (!find_device()) return printf("no device %s\n", device), 77;
  for (size_t i = 0; i < N_TOKENS; i++) tokens[i] = (int32_t)((i * 37 + 11) % (info.n_vocab - 2) + 1);
  measure();
  if (each) {
    test_mode(KOINE_CACHE_PACKED);
    test_mode(KOINE_CACHE_EXACT);
    test_guesses(KOINE_CACHE_PACKED);
    test_guesses(KOINE_CACHE_EXACT);
    test_refused();
    test_shorter(argv[1]);
  }
  koine_model_close(model);
  koine_runtime_close(rt);
  printf("t_experts on %s: %d checks, %d failed\n", id, n_checks, n_failed);
  return n_failed > 0;
}
