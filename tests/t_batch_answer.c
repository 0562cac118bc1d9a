/* Answers of a batch through the public header, on models/austen and the host: each as koine_generate gives it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "koine.h"

enum { CONTEXT = 96 };
static koine_runtime *rt;
static koine_model *model;
static koine_plan *plan;
static koine_tokenizer *tokenizer;

#define OK(call) do { if (call) fail_msg("%s: %s", #call, koine_last_error()); } while (0)

typedef struct gathered {
  char text[4096];
  size_t n_text, n_ids, stop_after; /* tokens; 0: never */
} gathered;

static bool on_text(void *user, const char *text, size_t n)
{
  gathered *g = user;
  assert_true(n > 0 && g->n_text + n < sizeof g->text);
  memcpy(g->text + g->n_text, text, n);
  g->n_text += n;
  return true;
}

static bool on_token(void *user, int32_t id) { return (void)id, ++((gathered *)user)->n_ids != ((gathered *)user)->stop_after; }

static size_t ask(int32_t **ids)
{
  static const char text[] = "It is a truth universally acknowledged, that a single man in possession";
  size_t n = 0;
  OK(koine_tokenize(tokenizer, text, strlen(text), KOINE_TOKENIZE_BOS, ids, &n));
  return n;
}

enum { N_ANSWERS = 4 };
typedef struct answer { gathered g; koine_session *s; koine_generate_options o; int32_t *ids; size_t n_ids; koine_stop stop; } answer;

static answer *answers_of(const char *const *stops)
{
  answer *a = calloc(N_ANSWERS, sizeof *a);
  koine_session_options so = {.size = sizeof so, .context = CONTEXT};
  for (size_t i = 0; i < N_ANSWERS; i++) {
    OK(koine_session_open(plan, &so, &a[i].s));
    a[i].o = (koine_generate_options)KOINE_GENERATE_OPTIONS_INIT;
    a[i].o.sampling.temperature = 0.7f, a[i].o.sampling.seed = i + 1, a[i].o.text = on_text, a[i].o.token = on_token, a[i].o.user = &a[i].g;
    a[i].o.n_predict = i == 1 ? 7 : 0, a[i].o.stops = stops, a[i].o.n_stops = i == 2, a[i].g.stop_after = i == 3 ? 5 : 0;
  }
  return a;
}

static void answers_free(answer *a)
{
  for (size_t i = 0; i < N_ANSWERS; i++) koine_session_close(a[i].s), koine_ids_free(a[i].ids);
  free(a);
}

/* What an answer of a batch says, and why it ends, is what koine_generate gives. The reference's sums do not depend on who is beside. */
static void test_batch(void **state)
{
  (void)state;
  static const char *const stops[] = {"e"};
  answer *alone = answers_of(stops), *a = answers_of(stops);
  koine_batch *b = NULL;
  koine_batch_result r = KOINE_BATCH_RESULT_INIT;
  int32_t *prompt = NULL;
  size_t n_prompt = ask(&prompt), n_ended, n = 0;
  OK(koine_batch_open(plan, NULL, &b));
  for (size_t i = 0; i < N_ANSWERS; i++) {
    OK(koine_generate(alone[i].s, tokenizer, prompt, n_prompt - i, &alone[i].o, &alone[i].ids, &alone[i].n_ids, &alone[i].stop));
    OK(koine_batch_generate(b, a[i].s, tokenizer, prompt, n_prompt - i, &a[i].o));
  }
  while (koine_batch_n_sessions(b)) {
    OK(koine_batch_step(b, &n_ended));
    for (size_t k = 0; k < n_ended; k++, n++) {
      OK(koine_batch_ended(b, k, &r));
      size_t i = 0;
      while (a[i].s != r.session) i++;
      if (r.status) fail_msg("answer %zu: %s", i, r.message);
      assert_int_equal(r.stop, alone[i].stop);
      assert_int_equal(r.n_ids, alone[i].n_ids);
      assert_memory_equal(r.ids, alone[i].ids, r.n_ids * sizeof *r.ids);
      assert_true(a[i].g.n_text == alone[i].g.n_text && !memcmp(a[i].g.text, alone[i].g.text, a[i].g.n_text));
    }
  }
  assert_int_equal(n, N_ANSWERS);
  for (size_t i = 0; i < N_ANSWERS; i++) assert_int_equal(koine_session_n_held(a[i].s), koine_session_n_held(alone[i].s));
  a[0].g = (gathered){0};
  OK(koine_batch_generate(b, a[0].s, tokenizer, prompt, n_prompt, &a[0].o));
  for (int k = 0; k < 3; k++) OK(koine_batch_step(b, &n_ended));
  koine_session_cancel(a[0].s);
  OK(koine_batch_step(b, &n_ended));
  assert_int_equal(n_ended, 1);
  OK(koine_batch_ended(b, 0, &r));
  assert_true(r.status == KOINE_ERR_CANCELLED && r.n_ids == 3 && !memcmp(r.ids, alone[0].ids, 3 * sizeof *r.ids));
  assert_int_equal(koine_batch_generate(b, a[0].s, tokenizer, prompt, CONTEXT + 1, &a[0].o), KOINE_ERR_ARG);
  assert_int_equal(koine_batch_n_sessions(b), 0);
  koine_batch_close(b);
  koine_ids_free(prompt);
  answers_free(alone), answers_free(a);
}

int main(void)
{
  static char folder[1024];
  const char *top = getenv("srcdir");
  koine_plan_options p = KOINE_PLAN_OPTIONS_INIT;
  snprintf(folder, sizeof folder, "%s/models/austen", top ? top : ".");
  setenv("KOINE_BACKENDS", "host", 1);
  p.device = "host";
  if (koine_runtime_open(NULL, &rt) || koine_model_open(folder, &model) || koine_tokenizer_open(folder, &tokenizer) || koine_plan_make(rt, model, &p, &plan) ||
      koine_plan_wake(plan, NULL, NULL)) return printf("%s\n", koine_last_error()), 1;
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_batch)};
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  koine_plan_free(plan);
  koine_tokenizer_close(tokenizer);
  koine_model_close(model);
  koine_runtime_close(rt);
  return failed;
}
