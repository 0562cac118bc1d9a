/* Two devices of which one is lost at any call of a life, has less memory than it says, allows small allocations, or refuses one, with layers on both
 * or with experts that one computes where the other has no place for them: an error that names it, nothing left behind, other sessions that end cleanly, and another plan of what is left. On the fake backend.
 * usage: t_lost CHECKPOINT      KOINE_TEST_ALL=1: every call is tried, not a sample */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "fake.h"

enum { N_PROMPT = 20, N_TOKENS = 22, CONTEXT = 64, CHUNK = 8, FEW = 3, SAMPLE = 24, SMALL_BUFFER = 10 << 18 };

static int n_checks, n_failed;
static koine_runtime *rt;
static koine_model *model;
static size_t n_vocab;
static int32_t tokens[N_TOKENS];
static float *right, *got; /* [n_vocab] of the last position */

/* Attention and experts of the first layers apart, the rest on the other device. */
static const char *const layers[] = {"fake=0-1", "fake1=2-"}, *const experts[] = {"fake1=0-0"}, *const only[] = {"fake=0-", "fake1=0-"},
                  *const cache[] = {"fake=800000"};
static bool misses; /* in the place of these: experts by turns on one device, and on the other all of them, which computes those that are not there */

static void check(bool ok, const char *what, long at)
{
  n_checks++;
  if (ok || n_failed++ > 20) return;
  printf("FAIL %s at %ld (%s)\n", what, at, koine_last_error());
}

/* ---- lives --------------------------------------------------------------------------------------------------------------- */
static koine_status evaluate(koine_session *s)
{
  koine_eval_options o = {.size = sizeof o, .n_logits = 1};
  memset(got, 0xff, n_vocab * sizeof *got);
  koine_status st = koine_session_eval(s, tokens, N_PROMPT, &o, got); /* several chunks: both stages at once */
  for (size_t n = N_PROMPT + 1; n <= N_TOKENS && !st; n++) st = koine_session_eval(s, tokens, n, &o, got);
  return st;
}

static koine_status open_session(koine_plan *plan, koine_session **out)
{
  koine_session_options o = {.size = sizeof o, .context = CONTEXT, .chunk = misses ? FEW : CHUNK};
  return koine_session_open(plan, &o, out);
}

/* one: on this device alone; -1: on both. */
static koine_status wake(int one, koine_plan **out)
{
  koine_plan_options o = {.size = sizeof o, .chunk = CHUNK, .layers = one < 0 ? layers : only + one, .n_layers = one < 0 ? 2 : 1, .experts = experts,
                          .n_experts = one < 0};
  if (one < 0 && misses) o.layers = only, o.n_layers = 1, o.n_experts = 0, o.expert_caches = cache, o.n_expert_caches = 1, o.misses_on = "fake1";
  koine_plan *plan = NULL;
  koine_status s = koine_plan_make(rt, model, &o, &plan);
  if (!s) s = koine_plan_wake(plan, NULL, NULL);
  if (s && plan) koine_plan_free(plan);
  if (!s) *out = plan;
  return s;
}

static koine_status life(int one)
{
  koine_plan *plan = NULL;
  koine_session *session = NULL;
  koine_status s = wake(one, &plan);
  if (!s) s = open_session(plan, &session);
  if (!s) s = evaluate(session);
  char why[1024];
  snprintf(why, sizeof why, "%s", koine_last_error());
  koine_session_close(session);
  if (plan) koine_plan_free(plan);
  return s ? koi_error(s, "%s", why) : s;
}

static bool is_right(void) { return !memcmp(got, right, n_vocab * sizeof *got); }

static long step(long n)
{
  const char *all = getenv("KOINE_TEST_ALL");
  long sample = misses ? 4 * SAMPLE : SAMPLE; /* few calls are those of the device that helps */
  return (all && all[0] == '1') || n <= sample ? 1 : n / sample;
}

static bool names_lost(void)
{
  char words[64];
  snprintf(words, sizeof words, "device %s:", fake_lost());
  return strstr(koine_last_error(), words) != NULL;
}

/* ---- a device is lost ------------------------------------------------------------------------------------------------------ */
static void test_lost(void)
{
  fake_lose_at(0);
  check(!life(-1) && is_right(), "a life on two devices", 0);
  long n = fake_calls(FAKE_ANY), n_lost[2] = {0};
  for (long at = 1; at <= n; at += step(n)) {
    fake_lose_at(at);
    koine_status s = life(-1);
    bool closing = !s; /* it was lost when all was done */
    check(closing || (s == KOINE_ERR_DEVICE && names_lost()), "the error names what was lost", at);
    check(!fake_n_live(), "nothing is left", at);
    int other = strcmp(fake_lost(), "fake") ? 0 : 1;
    n_lost[1 - other]++;
    check(!life(other) && is_right(), "a plan without it", at);
    check(!fake_n_live(), "nothing is left of that either", at);
  }
  check(n_lost[0] > 3 && n_lost[1] > 3, "both were lost", n_lost[0]);
  fake_lose_at(0);
  check(!life(-1) && is_right(), "the life after", 0);
}

/* Who names no device gets none that was lost. */
static void test_left(const char *left)
{
  koine_plan_options o = {.size = sizeof o, .chunk = CHUNK};
  koine_plan *plan = NULL;
  char *line = NULL, want[64];
  snprintf(want, sizeof want, "all layers on %s (", left);
  check(!koine_plan_make(rt, model, &o, &plan) && !koine_plan_line(plan, &line) && strstr(line, want), "a plan of what is left", 0);
  koine_text_free(line);
  if (plan) koine_plan_free(plan);
}

/* Two sessions: one meets the loss, the other ends with the same error; forks and cuts do not hang either. */
static void test_others(void)
{
  fake_lose_at(0);
  koine_plan *plan = NULL;
  koine_session *a = NULL, *b = NULL, *fork = NULL;
  check(!wake(-1, &plan) && !open_session(plan, &a) && !open_session(plan, &b) && !evaluate(a) && !evaluate(b), "two sessions", 0);
  koine_session_close(a);
  a = NULL;
  check(!open_session(plan, &a), "a fresh one", 0);
  fake_lose_at(40);
  check(evaluate(a) == KOINE_ERR_DEVICE && names_lost(), "the one that meets it", 40);
  check(koine_session_truncate(b, N_PROMPT) == KOINE_OK, "a cut of the other", 0);
  check(evaluate(b) == KOINE_ERR_DEVICE && names_lost(), "the other", 0);
  check(koine_session_fork(b, &fork) == KOINE_ERR_DEVICE && !fork, "a fork", 0);
  check(koine_plan_sleep(plan) == KOINE_ERR_STATE, "sessions are open", 0);
  koine_session_close(a), koine_session_close(b);
  check(!koine_plan_sleep(plan), "the plan sleeps", 0);
  koine_plan_free(plan);
  test_left(strcmp(fake_lost(), "fake") ? "fake" : "fake1");
  check(!fake_n_live(), "nothing is left", 0);
  fake_lose_at(0);
}

/* ---- memory ---------------------------------------------------------------------------------------------------------------- */
static void test_refused(void)
{
  fake_refuse(FAKE_ALLOC, 0, 0, KOINE_OK);
  check(!life(-1), "a life", 0);
  long n = fake_calls(FAKE_ALLOC), n_failures = 0;
  for (long at = 1; at <= n; at += step(n)) {
    fake_refuse(FAKE_ALLOC, at, 1, KOINE_ERR_MEMORY);
    koine_status s = life(-1);
    check(s ? s == KOINE_ERR_MEMORY && strstr(koine_last_error(), "device fake") : is_right(), "the refusal names the device", at); /* pages come in fewer, too */
    n_failures += s != KOINE_OK;
    check(!fake_n_live(), "nothing is left", at);
  }
  check(n_failures > 10, "refusals that count", n_failures);
  fake_refuse(FAKE_ALLOC, 0, 0, KOINE_OK);
}

static void test_less_memory(void)
{
  koine_plan *plan = NULL;
  koine_plan_usage u = KOINE_PLAN_USAGE_INIT;
  check(!wake(-1, &plan) && !koine_plan_get_usage(plan, &u), "a plan", 0);
  if (plan) koine_plan_free(plan);
  uint64_t all = u.weight_bytes + u.scratch_bytes;
  for (int i = 1; i < 12; i++) {
    fake_memory(all * (uint64_t)i / 16);
    koine_status s = life(-1);
    check(!s || (s == KOINE_ERR_MEMORY && strstr(koine_last_error(), "device fake")), "less memory than planned", i);
    check(i > 4 || s, "so little is not enough", i);
    check(!fake_n_live(), "nothing is left", i);
  }
  fake_memory(0);
  check(!life(-1) && is_right(), "the life after", 0);
}

/* Allocations that are limited cut weights into parts, and change no bit. */
static void test_small_buffers(void)
{
  koine_runtime *before = rt;
  fake_max_buffer(SMALL_BUFFER);
  check(!fake_runtime_open_many(2, &rt), "a machine with small allocations", 0);
  check(!life(-1) && is_right(), "a life on it", 0);
  koine_runtime_close(rt);
  fake_max_buffer(0);
  rt = before;
}

int main(int argc, char **argv)
{
  koine_model_info info = KOINE_MODEL_INFO_INIT;
  char own[4096];
  const char *top = getenv("srcdir");
  snprintf(own, sizeof own, "%s/tests/data/tiny-quant", top ? top : ".");
  if (fake_runtime_open_many(2, &rt) || koine_model_open(argc > 1 ? argv[1] : own, &model) || koine_model_get_info(model, &info))
    return printf("FAIL %s\n", koine_last_error()), 1;
  n_vocab = info.n_vocab;
  for (int i = 0; i < N_TOKENS; i++) tokens[i] = (i * 37 + 5) % 100;
  right = malloc(n_vocab * sizeof *right);
  got = malloc(n_vocab * sizeof *got);
  check(!life(0), "a life on one device", 0);
  memcpy(right, got, n_vocab * sizeof *right);
  test_others();
  test_lost();
  test_refused();
  test_less_memory();
  test_small_buffers();
  misses = true;
  setenv("KOINE_MISS", "cpu", 1);
  test_lost();
  test_refused();
  test_small_buffers();
  koine_model_close(model);
  koine_runtime_close(rt);
  free(right);
  free(got);
  printf("t_lost: %d checks, %d failed\n", n_checks, n_failed);
  return n_failed != 0;
}
