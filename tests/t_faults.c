/* A device that refuses a call, or a host without memory, at any point of a model's life: every refusal ends in an error, leaks nothing
 * on the device, and the next evaluation gives the right logits.
 * usage: t_faults CHECKPOINT      KOINE_TEST_ALL=1: every call is refused once; else a sample */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "fake.h"

enum { N_PROMPT = 20, N_MORE = 2, N_TOKENS = N_PROMPT + N_MORE, CONTEXT = 64, CHUNK = 8, SAMPLE = 12 };

static int n_checks, n_failed;
static koine_runtime *rt;
static koine_model *model;
static size_t n_vocab;
static int32_t tokens[N_TOKENS];
static float *right, *got; /* [n_vocab] of the last position */

static void check(bool ok, const char *what, const char *kind, long at)
{
  n_checks++;
  if (ok || n_failed++ > 20) return;
  printf("FAIL %s at %s %ld (%s)\n", what, kind, at, koine_last_error());
}

/* ---- lives --------------------------------------------------------------------------------------------------------------- */
static koine_status evaluate(koine_session *s)
{
  koine_eval_options o = {.size = sizeof o, .n_logits = 1};
  memset(got, 0xff, n_vocab * sizeof *got);
  koine_status st = koine_session_eval(s, tokens, N_PROMPT, &o, got);
  for (size_t n = N_PROMPT + 1; n <= N_TOKENS && !st; n++) st = koine_session_eval(s, tokens, n, &o, got);
  return st;
}

static koine_status open_session(koine_plan *plan, koine_cache cache, koine_session **out)
{
  koine_session_options o = {.size = sizeof o, .cache = cache, .context = CONTEXT, .chunk = CHUNK};
  return koine_session_open(plan, &o, out);
}

static koine_status wake(koine_plan **out)
{
  koine_plan_options o = {.size = sizeof o, .device = "fake", .chunk = CHUNK};
  koine_plan *plan = NULL;
  koine_status s = koine_plan_make(rt, model, &o, &plan);
  if (!s) s = koine_plan_wake(plan, NULL, NULL);
  if (s) koine_plan_free(plan);
  else *out = plan;
  return s;
}

static fake_kind reported_kind = FAKE_ANY;
static long n_reportable; /* calls of that kind before closing, which returns no status */

static koine_status whole_life(void)
{
  koine_plan *plan = NULL;
  koine_session *session = NULL;
  koine_status s = wake(&plan);
  if (!s) s = open_session(plan, KOINE_CACHE_PACKED, &session);
  if (!s) s = evaluate(session);
  n_reportable = fake_calls(reported_kind);
  koine_session_close(session);
  koine_plan_free(plan);
  return s;
}

static bool is_right(void) { return !memcmp(got, right, n_vocab * sizeof *got); }

/* Every call when asked for, else about SAMPLE of them, the first and the last among them. */
static long step(long n)
{
  const char *all = getenv("KOINE_TEST_ALL");
  return (all && all[0] == '1') || n <= SAMPLE ? 1 : n / SAMPLE;
}

/* ---- a device that refuses ------------------------------------------------------------------------------------------------ */
/* Of caches that have no room for what is usual less is asked for: a single refusal is then none. */
static bool had_less(fake_kind kind, koine_status s) { return kind == FAKE_ALLOC && !s && strstr(koine_last_error(), "cache of") && is_right(); }

static void test_life(fake_kind kind, koine_status status)
{
  enum { ONCE = 1, FOR_GOOD = 1000 };
  const char *name = fake_kind_name(kind);
  reported_kind = kind;
  fake_refuse(kind, 0, 0, KOINE_OK);
  check(!whole_life() && is_right(), "a whole life", name, 0);
  long n = fake_calls(kind), reportable = n_reportable;
  for (long times = ONCE; times <= (kind == FAKE_ALLOC ? FOR_GOOD : ONCE); times += FOR_GOOD - ONCE)
    for (long at = 1; at <= n; at += step(n)) {
      fake_refuse(kind, at, times, status);
      koine_status s = whole_life();
      check(s == (at <= reportable ? status : KOINE_OK) || (times == ONCE && had_less(kind, s)), "the refusal is reported", name, at);
      check(strstr(koine_last_error(), "refused for a test") != NULL, "the message says why", name, at);
      check(!fake_n_live(), "nothing is left on the device", name, at);
    }
  fake_refuse(kind, 0, 0, KOINE_OK);
  check(!whole_life() && is_right(), "the life after", name, 0);
}

/* The plan stays awake and the session open: after an error it holds what was finished before, and can be used again. */
static void test_session(koine_cache cache, koine_status status)
{
  koine_plan *plan = NULL;
  koine_session *session = NULL;
  fake_refuse(FAKE_ANY, 0, 0, KOINE_OK);
  check(!wake(&plan) && !open_session(plan, cache, &session), "a session", "any call", 0);
  if (!session) return;
  fake_refuse(FAKE_ANY, 0, 0, KOINE_OK);
  check(!evaluate(session), "an evaluation", "any call", 0);
  long n = fake_calls(FAKE_ANY);
  float *want = malloc(n_vocab * sizeof *want);
  memcpy(want, got, n_vocab * sizeof *want);
  for (long at = 1; at <= n; at += step(n)) {
    koine_session_close(session); /* from the beginning, so that caches grow again */
    session = NULL;
    check(!open_session(plan, cache, &session), "a new session", "any call", at);
    if (!session) break;
    fake_refuse(FAKE_ANY, at, 1, status);
    koine_status s = evaluate(session);
    bool refused = fake_calls(FAKE_ANY) >= at;
    check(refused ? s == status && koine_session_n_held(session) < N_TOKENS : !s, "the evaluation ends in the error", "any call", at);
    fake_refuse(FAKE_ANY, 0, 0, KOINE_OK);
    check(!evaluate(session) && !memcmp(got, want, n_vocab * sizeof *got), "the same session again", "any call", at);
  }
  koine_session_close(session);
  koine_plan_free(plan);
  check(!fake_n_live(), "nothing is left on the device", "any call", 0);
  free(want);
}

/* A compiler that can build nothing: the C reference does it all. */
static void test_no_kernels(void)
{
  fake_refuse(FAKE_BUILD, 1, 1000000, KOINE_ERR_DEVICE);
  check(!whole_life() && is_right(), "a life without any kernel", "build", 0);
  check(!fake_calls(FAKE_LAUNCH) && !fake_n_live(), "no kernel ran", "launch", 0);
}

/* ---- a host without memory ------------------------------------------------------------------------------------------------ */
static void test_no_memory(void)
{
  fake_refuse(FAKE_ANY, 0, 0, KOINE_OK);
  koine_status s = KOINE_ERR_MEMORY;
  const char *all = getenv("KOINE_TEST_ALL");
  for (long at = 1; s; at += (all && all[0] == '1') ? 1 : 1 + at / 16) {
    koi_alloc_fail_at(at);
    s = whole_life();
    koi_alloc_fail_at(0);
    check(s == KOINE_OK || s == KOINE_ERR_MEMORY, "memory runs out", "allocation", at);
    check(!fake_n_live(), "nothing is left on the device", "allocation", at);
    if (at > 100000000) break;
  }
  check(!s && !whole_life() && is_right(), "the life after", "allocation", 0);
}

int main(int argc, char **argv)
{
  koine_model_info info;
  char own[4096];
  const char *top = getenv("srcdir");
  snprintf(own, sizeof own, "%s/tests/data/tiny-quant", top ? top : ".");
  if (fake_runtime_open(&rt) || koine_model_open(argc > 1 ? argv[1] : own, &model) || koine_model_get_info(model, &info)) return printf("FAIL %s\n", koine_last_error()), 1;
  n_vocab = info.n_vocab;
  for (int i = 0; i < N_TOKENS; i++) tokens[i] = (i * 37 + 5) % 100;
  right = malloc(n_vocab * sizeof *right);
  got = malloc(n_vocab * sizeof *got);
  check(!whole_life(), "the first life", "any call", 0);
  memcpy(right, got, n_vocab * sizeof *right);
  for (fake_kind kind = FAKE_OPEN; kind < FAKE_N_KINDS; kind++) test_life(kind, kind == FAKE_ALLOC || kind == FAKE_BUILD ? KOINE_ERR_MEMORY : KOINE_ERR_DEVICE);
  test_session(KOINE_CACHE_PACKED, KOINE_ERR_DEVICE);
  test_session(KOINE_CACHE_EXACT, KOINE_ERR_MEMORY);
  test_no_kernels();
  test_no_memory();
  koine_model_close(model);
  koine_runtime_close(rt);
  free(right);
  free(got);
  printf("t_faults: %d checks, %d failed\n", n_checks, n_failed);
  return n_failed != 0;
}
