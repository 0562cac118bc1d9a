/* A thinking turn whose reasoning the next prompt leaves out: what is evaluated anew, and the logits against a fresh session's. On
 * models/austen; KOINE_TEST_MODEL: another checkpoint. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "koine.h"
#include "near.h"

static const char *folder;
static koine_runtime *rt;
static koine_model *model;
static koine_plan *plan;
static koine_tokenizer *tokenizer;
static koine_chat *chat;

#define OK(call) do { if (call) fail_msg("%s: %s", #call, koine_last_error()); } while (0)

static int setup(void **state)
{
  (void)state;
  koine_runtime_options r = KOINE_RUNTIME_OPTIONS_INIT;
  koine_plan_options p = KOINE_PLAN_OPTIONS_INIT;
  r.cache_dir = "", p.device = "host";
  OK(koine_runtime_open(&r, &rt));
  OK(koine_model_open(folder, &model));
  OK(koine_tokenizer_open(folder, &tokenizer));
  OK(koine_chat_open(folder, &chat));
  OK(koine_plan_make(rt, model, &p, &plan));
  OK(koine_plan_wake(plan, NULL, NULL));
  return 0;
}

static int teardown(void **state)
{
  (void)state;
  koine_plan_free(plan);
  koine_chat_close(chat);
  koine_tokenizer_close(tokenizer);
  koine_model_close(model);
  koine_runtime_close(rt);
  return 0;
}

static size_t encode(const char *json, int32_t **ids)
{
  koine_chat_options o = KOINE_CHAT_OPTIONS_INIT;
  size_t n;
  o.thinking = KOINE_THINK_HIGH;
  OK(koine_chat_prompt(chat, tokenizer, json, strlen(json), &o, NULL, NULL, ids, &n));
  return n;
}

static koine_session_stats stats(const koine_session *s)
{
  koine_session_stats st = KOINE_SESSION_STATS_INIT;
  OK(koine_session_get_stats(s, &st));
  return st;
}

/* The next prompt leaves the reasoning out: what stood before it is kept, and only what comes after the mark below the cut is evaluated. */
static void dropped(koine_cache mode)
{
  char first[1600] = "", thought[400] = "", json[4096];
  while (strlen(first) < 1500) strcat(first, "My dear sister, you are very good. ");
  while (strlen(thought) < 300) strcat(thought, "She is kind. ");
  int32_t *held, *next;
  snprintf(json, sizeof json, "[{\"role\":\"user\",\"content\":\"%s\"},{\"role\":\"assistant\",\"reasoning_content\":\"%s\",\"content\":\"Yes.\"}]", first, thought);
  size_t n_held = encode(json, &held), cut = 0;
  snprintf(json, sizeof json, "[{\"role\":\"user\",\"content\":\"%s\"},{\"role\":\"assistant\",\"reasoning_content\":\"%s\",\"content\":\"Yes.\"},{\"role\":\"user\",\"content\":\"And he?\"}]",
           first, thought);
  size_t n_next = encode(json, &next);
  while (cut < n_held && cut < n_next && held[cut] == next[cut]) cut++;
  assert_true(cut > 2 * 128 && cut % 128 && n_held > cut + 40 && n_next < n_held && n_next < cut + 40); /* there is reasoning, and it is gone */
  koine_session_options o = KOINE_SESSION_OPTIONS_INIT;
  koine_model_info info = KOINE_MODEL_INFO_INIT;
  koine_session *s, *fresh;
  o.cache = mode;
  OK(koine_model_get_info(model, &info));
  float *got = malloc(info.n_vocab * sizeof *got), *want = malloc(info.n_vocab * sizeof *want);
  OK(koine_session_open(plan, &o, &s));
  OK(koine_session_open(plan, &o, &fresh));
  OK(koine_session_eval(s, held, n_held, NULL, got));
  koine_session_stats before = stats(s);
  assert_int_equal(before.n_evaluated, n_held);
  OK(koine_session_eval(s, next, n_next, NULL, got));
  assert_int_equal(stats(s).n_evaluated - before.n_evaluated, n_next - cut / 128 * 128);
  assert_int_equal(stats(s).n_reused - before.n_reused, cut / 128 * 128);
  assert_int_equal(koine_session_n_held(s), n_next);
  OK(koine_session_eval(fresh, next, n_next, NULL, want));
  near_add(mode == KOINE_CACHE_EXACT, got, want, info.n_vocab, near_range(want, info.n_vocab));
  koine_session_close(fresh);
  koine_session_close(s);
  free(want);
  free(got);
  koine_ids_free(next);
  koine_ids_free(held);
}

static void test_dropped_reasoning(void **state)
{
  (void)state;
  dropped(KOINE_CACHE_PACKED);
  dropped(KOINE_CACHE_EXACT);
  near_assert("reasoning dropped");
}

int main(void)
{
  static char own[1024];
  const char *top = getenv("srcdir");
  snprintf(own, sizeof own, "%s/models/austen", top ? top : ".");
  folder = getenv("KOINE_TEST_MODEL") ? getenv("KOINE_TEST_MODEL") : own;
  setenv("KOINE_BACKENDS", "host", 1);
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_dropped_reasoning)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
