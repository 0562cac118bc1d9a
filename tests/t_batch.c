/* Batches: who is in a step, how evaluations end, sessions that are refused memory or fail beside others that go on. On the fake backend.
 * usage: t_batch CHECKPOINT      KOINE_TEST_ALL=1: every call is refused once, not a sample
 * KOINE_TEST_LAYERS: layers over the two fakes, "fake=0-1;fake1=2-" */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "engine/batch.h"
#include "fake.h"
#include "placed.h"
#include "pools.h"

enum { CHUNK = 32, LINE = 272, N_LINES = 3, CONTEXT = 300, MANY = KOI_MAX_SEQS + 6, FOREVER = 1 << 30 };
static const char *folder;
static koine_runtime *rt;
static koine_model *model;
static koine_plan *plan;
static size_t n_vocab;
static int32_t tokens[N_LINES][LINE];
static float *want[2][N_LINES]; /* by cache mode: [LINE][n_vocab] of a session alone */
static bool all_calls;

#define OK(call) do { if (call) fail_msg("%s: %s", #call, koine_last_error()); } while (0)

static void allow(void) { fake_refuse(FAKE_ANY, 0, 0, KOINE_OK); }

static koine_session *opened(int exact)
{
  koine_session_options o = {.size = sizeof o, .cache = exact ? KOINE_CACHE_EXACT : KOINE_CACHE_PACKED, .context = CONTEXT};
  koine_session *s = NULL;
  OK(koine_session_open(plan, &o, &s));
  return s;
}

static koine_batch *batch_of(uint32_t step, uint32_t prompt)
{
  koine_batch_options o = {sizeof o, step, prompt};
  koine_batch *b = NULL;
  OK(koine_batch_open(plan, &o, &b));
  return b;
}

/* ---- conversations: each evaluates a part of a line, with the logits of its last token ---------------------------------------------------- */
typedef struct talk {
  koine_session *s;
  size_t line, n; /* the tokens it is to have evaluated */
  float *logits;
  bool ended;
  koine_status status;
  char why[KOI_LINE_WHY];
} talk;

static talk talk_of(int exact, size_t line)
{
  talk t = {.s = opened(exact), .line = line, .logits = malloc(n_vocab * sizeof(float))};
  assert_non_null(t.logits);
  return t;
}

static void hang_up(talk *t)
{
  koine_session_close(t->s);
  free(t->logits);
}

static koine_status say(koine_batch *b, talk *t, size_t n)
{
  t->n = n, t->ended = false;
  memset(t->logits, 0xff, n_vocab * sizeof *t->logits);
  return koine_batch_eval(b, t->s, tokens[t->line], n, NULL, t->logits);
}

static void assert_right(const talk *t)
{
  const float *w = want[t->s->mode == KOINE_CACHE_EXACT][t->line] + (t->n - 1) * n_vocab;
  for (size_t v = 0; v < n_vocab; v++)
    if (!(fabsf(t->logits[v] - w[v]) <= 1e-3f)) fail_msg("line %zu, %zu tokens: logit %zu is %g, expected %g", t->line, t->n, v, (double)t->logits[v], (double)w[v]);
}

/* One step; those of the n talks that ended in it know how. */
static size_t step(koine_batch *b, talk *t, size_t n)
{
  size_t n_ended;
  OK(koine_batch_step(b, &n_ended));
  for (size_t i = 0; i < n_ended; i++) {
    koine_batch_result r = KOINE_BATCH_RESULT_INIT;
    OK(koine_batch_ended(b, i, &r));
    assert_true(!r.ids && !r.n_ids);
    for (size_t k = 0; k < n; k++) {
      if (t[k].s != r.session) continue;
      t[k].ended = true, t[k].status = r.status;
      snprintf(t[k].why, sizeof t[k].why, "%s", r.message);
      if (!r.status) assert_right(&t[k]);
    }
  }
  return n_ended;
}

static void finish(koine_batch *b, talk *t, size_t n)
{
  while (koine_batch_n_sessions(b)) step(b, t, n);
}

static void assert_all_right(const talk *t, size_t n)
{
  for (size_t k = 0; k < n; k++)
    if (!t[k].ended || t[k].status) fail_msg("conversation %zu: ended %d, %d: %s", k, t[k].ended, (int)t[k].status, t[k].why);
}

/* ---- who may, and what is refused ------------------------------------------------------------------------------------------------------------ */
static void test_refusals(void **state)
{
  (void)state;
  koine_batch *a = batch_of(0, 0), *b = batch_of(0, 0), *none = NULL;
  koine_session *f = NULL;
  size_t n_ended;
  talk t = talk_of(0, 0);
  float x;
  koine_batch_options o = {sizeof o, CHUNK + 1, 0};
  koine_batch_result r = KOINE_BATCH_RESULT_INIT;
  assert_int_equal(koine_batch_open(plan, &o, &none), KOINE_ERR_ARG);
  OK(koine_batch_step(a, &n_ended)); /* nobody is there */
  assert_int_equal(n_ended, 0);
  assert_int_equal(koine_batch_eval(a, t.s, tokens[0], 0, NULL, t.logits), KOINE_ERR_ARG);
  assert_int_equal(koine_batch_eval(a, t.s, tokens[0], CONTEXT + 1, NULL, t.logits), KOINE_ERR_ARG);
  assert_int_equal(koine_batch_n_sessions(a), 0);
  OK(say(a, &t, 40));
  assert_int_equal(koine_batch_eval(a, t.s, tokens[0], 41, NULL, &x), KOINE_ERR_STATE);
  assert_int_equal(koine_batch_eval(b, t.s, tokens[0], 41, NULL, &x), KOINE_ERR_STATE);
  assert_non_null(strstr(koine_last_error(), "batch"));
  assert_int_equal(koine_session_eval(t.s, tokens[0], 41, NULL, &x), KOINE_ERR_STATE);
  assert_int_equal(koine_session_truncate(t.s, 0), KOINE_ERR_STATE);
  assert_int_equal(koine_session_fork(t.s, &f), KOINE_ERR_STATE);
  koine_batch_drop(b, t.s); /* it is not there */
  assert_int_equal(koine_batch_n_sessions(a), 1);
  assert_int_equal(step(a, &t, 1), 0);
  assert_int_equal(koine_batch_ended(a, 0, &r), KOINE_ERR_ARG);
  koine_batch_drop(a, t.s);
  assert_int_equal(koine_batch_n_sessions(a), 0);
  assert_int_equal(koine_session_n_held(t.s), CHUNK);
  OK(say(b, &t, 40));
  finish(b, &t, 1);
  assert_all_right(&t, 1);
  OK(say(b, &t, 40)); /* nothing is new: it ends in a step all the same */
  assert_int_equal(step(b, &t, 1), 1);
  assert_all_right(&t, 1);
  OK(say(b, &t, 70));
  koine_batch_close(b);
  OK(koine_session_truncate(t.s, 10));
  OK(say(a, &t, 70));
  hang_up(&t);
  assert_int_equal(koine_batch_n_sessions(a), 0);
  koine_batch_close(a);
}

/* ---- order ------------------------------------------------------------------------------------------------------------------------------------- */
/* One that decodes gets its token in every step, whatever prompts come; these share what is left, and get more when nobody decodes. */
static void test_order(void **state)
{
  (void)state;
  enum { PROMPT = 20, N = 3 };
  koine_batch *b = batch_of(0, PROMPT);
  talk t[N] = {talk_of(0, 0), talk_of(0, 1), talk_of(0, 2)};
  OK(say(b, &t[0], 3));
  finish(b, t, N);
  OK(say(b, &t[1], 100));
  OK(say(b, &t[2], 25));
  for (size_t n = 4; n < 7; n++) {
    OK(say(b, &t[0], n));
    step(b, t, N);
    assert_true(t[0].ended && !t[0].status);
    if (n == 4) assert_int_equal(koine_session_n_held(t[1].s) + koine_session_n_held(t[2].s), PROMPT);
    if (n == 4) assert_true(koine_session_n_held(t[1].s) && koine_session_n_held(t[2].s) < 25);
  }
  finish(b, t, N);
  assert_all_right(t, N);
  OK(say(b, &t[1], 200));
  step(b, t, N);
  assert_int_equal(koine_session_n_held(t[1].s), 100 + CHUNK);
  OK(say(b, &t[2], 230)); /* whoever came later does not wait for the end of the first */
  OK(say(b, &t[0], 180));
  for (int k = 0; k < 3; k++) step(b, t, N);
  assert_true(koine_session_n_held(t[0].s) > 6 && koine_session_n_held(t[2].s) > 25 && koine_session_n_held(t[1].s) > 100 + CHUNK);
  finish(b, t, N);
  assert_all_right(t, N);
  for (size_t k = 0; k < N; k++) hang_up(&t[k]);
  koine_batch_close(b);
}

/* More sessions than a step takes, and both cache modes: everybody's turn comes. */
static void test_many(void **state)
{
  (void)state;
  static talk t[MANY];
  koine_batch *b = batch_of(0, 0);
  for (size_t k = 0; k < MANY; k++) {
    t[k] = talk_of(k % 3 == 0, k % N_LINES);
    OK(say(b, &t[k], 1 + k % 5));
  }
  finish(b, t, MANY);
  assert_all_right(t, MANY);
  for (size_t k = 0; k < MANY; k++) OK(say(b, &t[k], 6));
  size_t n_steps = 0;
  for (; koine_batch_n_sessions(b); n_steps++) step(b, t, MANY);
  assert_all_right(t, MANY);
  assert_true(n_steps <= 14);
  for (size_t k = 0; k < MANY; k++) hang_up(&t[k]);
  koine_batch_close(b);
}

/* ---- ends ---------------------------------------------------------------------------------------------------------------------------------------- */
static bool no_more(void *user, const char *what, uint64_t done, uint64_t total) { return (void)user, (void)what, (void)total, done < CHUNK / 2; }

static void test_cancel(void **state)
{
  (void)state;
  koine_batch *b = batch_of(0, 0);
  talk t[3] = {talk_of(0, 0), talk_of(0, 1), talk_of(1, 2)};
  koine_eval_options o = {.size = sizeof o, .n_logits = 1, .progress = no_more};
  for (size_t k = 0; k < 2; k++) OK(say(b, &t[k], 200));
  OK(koine_batch_eval(b, t[2].s, tokens[2], 200, &o, t[2].logits));
  for (int k = 0; k < 4; k++) step(b, t, 3);
  size_t held = koine_session_n_held(t[0].s);
  koine_session_cancel(t[0].s);
  finish(b, t, 3);
  assert_true(t[0].ended && t[0].status == KOINE_ERR_CANCELLED && strstr(t[0].why, "cancelled after"));
  assert_true(t[2].ended && t[2].status == KOINE_ERR_CANCELLED && koine_session_n_held(t[2].s) >= CHUNK / 2);
  assert_true(held && koine_session_n_held(t[0].s) == held);
  assert_true(t[1].ended && !t[1].status);
  OK(say(b, &t[0], 200));
  finish(b, t, 3);
  assert_all_right(t, 2);
  for (size_t k = 0; k < 3; k++) hang_up(&t[k]);
  koine_batch_close(b);
}

/* Three conversations beside each other: over a mark, from one page to the next, a fork that copies on write. */
enum { N_TALKS = 4 };
static void begin(int exact, koine_batch *b, talk *t)
{
  for (size_t k = 0; k < N_TALKS - 1; k++) t[k] = talk_of(exact, k);
  OK(say(b, &t[0], 126));
  OK(say(b, &t[1], 140));
  finish(b, t, N_TALKS - 1);
  t[3] = (talk){.line = 1, .logits = malloc(n_vocab * sizeof(float))};
  OK(koine_session_fork(t[1].s, &t[3].s));
}

static const size_t ends[N_TALKS] = {131, 152, 70, 145};

/* A conversation that is refused memory ends alone and loses nothing; the others end well. Returns the allocations; *failed: those refused. */
static long refused(int exact, long from, size_t *failed)
{
  talk t[N_TALKS];
  koine_batch *b = batch_of(0, 0);
  begin(exact, b, t);
  *failed = 0;
  for (size_t k = 0; k < N_TALKS; k++) OK(say(b, &t[k], ends[k]));
  fake_refuse(FAKE_ALLOC, from, from ? FOREVER : 0, KOINE_ERR_MEMORY);
  while (koine_batch_n_sessions(b)) {
    size_t held[N_TALKS];
    for (size_t k = 0; k < N_TALKS; k++) held[k] = koine_session_n_held(t[k].s);
    step(b, t, N_TALKS);
    for (size_t k = 0; k < N_TALKS; k++) {
      if (!t[k].ended || !t[k].status) continue;
      assert_int_equal(t[k].status, KOINE_ERR_MEMORY);
      assert_non_null(strstr(t[k].why, "refused for a test"));
      assert_int_equal(koine_session_n_held(t[k].s), held[k]);
      t[k].status = KOINE_OK, ++*failed;
      allow();
      OK(say(b, &t[k], ends[k]));
    }
  }
  long n = fake_calls(FAKE_ALLOC);
  allow();
  assert_all_right(t, N_TALKS);
  for (size_t k = 0; k < N_TALKS; k++) hang_up(&t[k]);
  koine_batch_close(b);
  return n;
}

static void test_refused_memory(void **state)
{
  (void)state;
  for (int exact = 0; exact < 2; exact++) {
    size_t failed, n_failed = 0;
    assert_true(pools_trim(plan));
    long live = fake_n_live(), n = refused(exact, 0, &failed);
    assert_true(!failed && n > 2);
    for (long at = 1; at <= n; at++) {
      assert_true(pools_trim(plan));
      assert_int_equal(fake_n_live(), live);
      refused(exact, at, &failed);
      n_failed += failed;
    }
    print_message("%ld growths, %zu evaluations refused\n", n, n_failed);
    assert_true(n_failed > 2);
    assert_true(pools_trim(plan));
  }
}

/* A device that fails ends all that were in the step, at a place that they go on from. */
static void test_device_error(void **state)
{
  (void)state;
  long n = 0;
  bool reached = true;
  for (long at = 1; reached; at += all_calls ? 1 : 97) {
    talk t[N_TALKS];
    koine_batch *b = batch_of(0, 0);
    begin(at & 1, b, t);
    for (size_t k = 0; k < N_TALKS; k++) OK(say(b, &t[k], ends[k]));
    fake_refuse(FAKE_ANY, at, 1, KOINE_ERR_DEVICE);
    finish(b, t, N_TALKS);
    reached = fake_calls(FAKE_ANY) >= at;
    allow();
    size_t failed = 0;
    for (size_t k = 0; k < N_TALKS; k++) {
      failed += t[k].status != KOINE_OK;
      assert_true(t[k].ended && (!t[k].status || t[k].status == KOINE_ERR_DEVICE));
      assert_true(koine_session_n_held(t[k].s) <= ends[k]);
      OK(say(b, &t[k], ends[k] + 1));
    }
    assert_true(reached || !failed);
    n += failed > 0;
    finish(b, t, N_TALKS);
    assert_all_right(t, N_TALKS);
    for (size_t k = 0; k < N_TALKS; k++) hang_up(&t[k]);
    koine_batch_close(b);
  }
  print_message("%ld failures\n", n);
  assert_true(n > 4);
}

/* Memory of the host: what is refused is said, and nothing is lost. */
static void test_host_memory(void **state)
{
  (void)state;
  size_t n_failed = 0, idle = 0; /* without memory for a mark there is none, and nothing fails */
  for (long at = 1; idle < 8; at += all_calls ? 1 : 1 + at / 8) {
    talk t[N_TALKS];
    koine_batch *b = batch_of(0, 0);
    begin(0, b, t);
    for (size_t k = 0; k < N_TALKS; k++) OK(say(b, &t[k], ends[k]));
    for (size_t i = 0; i < plan->n_stages; i++) koi_run_forget(koi_engine_stage(plan, i)); /* lists too want memory */
    size_t failed = 0;
    koi_alloc_fail_at(at);
    size_t n_ended;
    koine_status s = koine_batch_step(b, &n_ended);
    koi_alloc_fail_at(0);
    assert_true(!s || s == KOINE_ERR_MEMORY);
    failed += s != KOINE_OK;
    for (size_t i = 0; !s && i < n_ended; i++) {
      koine_batch_result r = KOINE_BATCH_RESULT_INIT;
      OK(koine_batch_ended(b, i, &r));
      assert_true(!r.status || r.status == KOINE_ERR_MEMORY);
      failed += r.status != KOINE_OK;
      for (size_t k = 0; k < N_TALKS; k++)
        if (t[k].s == r.session) OK(say(b, &t[k], ends[k]));
    }
    finish(b, t, N_TALKS);
    assert_all_right(t, N_TALKS);
    n_failed += failed, idle = failed ? 0 : idle + 1;
    for (size_t k = 0; k < N_TALKS; k++) hang_up(&t[k]);
    koine_batch_close(b);
  }
  print_message("%zu failures\n", n_failed);
  assert_true(n_failed > 16);
}

/* ---- */
static int setup(void **state)
{
  (void)state;
  koine_model_info info = KOINE_MODEL_INFO_INIT;
  koine_plan_options o = {.size = sizeof o, .device = "fake", .chunk = CHUNK};
  const char *all = getenv("KOINE_TEST_ALL");
  all_calls = all && all[0] == '1';
  placed_options(&o);
  if (fake_runtime_open_many(2, &rt) || koine_model_open(folder, &model) || koine_model_get_info(model, &info) || koine_plan_make(rt, model, &o, &plan)) return -1;
  koine_batch *asleep = NULL;
  assert_int_equal(koine_batch_open(plan, NULL, &asleep), KOINE_ERR_STATE);
  OK(koine_plan_wake(plan, NULL, NULL));
  n_vocab = info.n_vocab;
  for (size_t line = 0; line < N_LINES; line++)
    for (size_t i = 0; i < LINE; i++) tokens[line][i] = (int32_t)((i * i * 31 + i * 7 + line * 13) % (n_vocab - 2)) + 2;
  koine_eval_options rows = {.size = sizeof rows, .n_logits = LINE};
  for (int exact = 0; exact < 2; exact++)
    for (size_t line = 0; line < N_LINES; line++) {
      koine_session *s = opened(exact);
      want[exact][line] = malloc(LINE * n_vocab * sizeof(float));
      OK(koine_session_eval(s, tokens[line], LINE, &rows, want[exact][line]));
      koine_session_close(s);
    }
  return 0;
}

static int teardown(void **state)
{
  (void)state;
  allow();
  koine_plan_free(plan);
  koine_model_close(model);
  koine_runtime_close(rt);
  for (int i = 0; i < 2 * N_LINES; i++) free(want[i / N_LINES][i % N_LINES]);
  assert_int_equal(fake_n_live(), 0);
  return 0;
}

int main(int argc, char **argv)
{
  static char own[4096];
  const char *top = getenv("srcdir");
  snprintf(own, sizeof own, "%s/tests/data/tiny-quant", top ? top : ".");
  folder = argc > 1 ? argv[1] : own;
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_refusals), cmocka_unit_test(test_order), cmocka_unit_test(test_many), cmocka_unit_test(test_cancel),
                                     cmocka_unit_test(test_refused_memory), cmocka_unit_test(test_device_error), cmocka_unit_test(test_host_memory)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
