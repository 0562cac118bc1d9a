/* Memory that is refused while conversations grow, and a device that fails while they go on: what was held stays held, nothing leaks, and the
 * next evaluation is right. On the fake backend.
 * usage: t_grow CHECKPOINT      KOINE_TEST_ALL=1: every call is refused once, not a sample
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
#include "engine/history_impl.h"
#include "engine/session.h"
#include "fake.h"
#include "placed.h"
#include "pools.h"

enum { CHUNK = 32, LINE = 272, N_LINES = 3, CONTEXT = 300, N_SESSIONS = 4, FOREVER = 1 << 30 };
static const size_t parts[N_LINES] = {0, 137, 150}; /* where a line leaves line 0 */
static const char *folder;
static koine_runtime *rt;
static koine_model *model;
static koine_plan *plan;
static size_t n_vocab;
static int32_t tokens[N_LINES][LINE];
static float *logits[2][N_LINES]; /* by cache mode: [LINE][n_vocab] of a fresh session */
static bool all_calls;

static koine_cache mode_of(int exact) { return exact ? KOINE_CACHE_EXACT : KOINE_CACHE_PACKED; }
static void allow(void) { fake_refuse(FAKE_ANY, 0, 0, KOINE_OK); }

static koine_status open_session(int exact, uint64_t context, koine_session **out)
{
  koine_session_options o = {.size = sizeof o, .cache = mode_of(exact), .context = context};
  return koine_session_open(plan, &o, out);
}

static koine_session *opened(int exact, uint64_t context)
{
  koine_session *s = NULL;
  assert_int_equal(open_session(exact, context, &s), KOINE_OK);
  return s;
}

static uint64_t evaluated(const koine_session *s)
{
  koine_session_stats st = KOINE_SESSION_STATS_INIT;
  assert_int_equal(koine_session_get_stats(s, &st), KOINE_OK);
  return st.n_evaluated;
}

/* The first n tokens of a line; its logits are right whenever it succeeds. */
static koine_status go(koine_session *s, size_t line, size_t n)
{
  float *x = malloc(n_vocab * sizeof *x);
  memset(x, 0xff, n_vocab * sizeof *x);
  koine_status st = koine_session_eval(s, tokens[line], n, NULL, x);
  const float *want = logits[s->mode == KOINE_CACHE_EXACT][line] + (n - 1) * n_vocab;
  for (size_t v = 0; v < n_vocab && !st; v++)
    if (!(fabsf(x[v] - want[v]) <= 1e-3f)) fail_msg("line %zu, %zu tokens: logit %zu is %g, expected %g", line, n, v, (double)x[v], (double)want[v]);
  free(x);
  return st;
}

static void assert_go(koine_session *s, size_t line, size_t n)
{
  koine_status st = go(s, line, n);
  if (st) fail_msg("line %zu, %zu tokens: %d: %s", line, n, (int)st, koine_last_error());
}

/* ---- memory refused at every growth ---------------------------------------------------------------------------------------------- */
typedef enum what { OPEN, EVAL, FORK, CUT, CLOSE } what;
typedef struct step { what what; int s; size_t n, line; } step; /* FORK: of session n */

/* Opens, grows, passes marks, forks, copies on write, goes back. */
static const step steps[] = {{OPEN, 0, CONTEXT, 0},  {EVAL, 0, 100, 0}, {EVAL, 0, 140, 0}, {FORK, 1, 0, 0},  {EVAL, 1, 145, 1}, {EVAL, 0, 145, 0},
                             {FORK, 2, 1, 0},        {EVAL, 2, 152, 1}, {CUT, 1, 131, 0},  {EVAL, 1, 141, 2}, {FORK, 3, 2, 0},  {EVAL, 3, 160, 1},
                             {CLOSE, 1, 0, 0},       {EVAL, 2, 155, 1}, {OPEN, 1, 5000, 0}, {EVAL, 1, 34, 0}, {EVAL, 0, 262, 0}, {EVAL, 3, 150, 2}};

static koine_status take(koine_session **s, const step *t, int exact)
{
  switch (t->what) {
  case OPEN: return open_session(exact, t->n, &s[t->s]);
  case EVAL: return go(s[t->s], t->line, t->n);
  case FORK: return koine_session_fork(s[t->n], &s[t->s]);
  case CUT: return koine_session_truncate(s[t->s], t->n);
  case CLOSE: koine_session_close(s[t->s]), s[t->s] = NULL;
  }
  return KOINE_OK;
}

/* From allocation `from` on there is no memory, until a step has failed. Returns how many were asked for, and whether one failed. */
static long script(int exact, long from, bool *failed)
{
  koine_session *s[N_SESSIONS] = {NULL};
  *failed = false;
  fake_refuse(FAKE_ALLOC, from, from ? FOREVER : 0, KOINE_ERR_MEMORY);
  for (size_t i = 0; i < KOI_COUNT(steps); i++) {
    size_t held[N_SESSIONS];
    for (int k = 0; k < N_SESSIONS; k++) held[k] = koine_session_n_held(s[k]);
    koine_status st = take(s, &steps[i], exact);
    if (!st) continue;
    assert_int_equal(st, KOINE_ERR_MEMORY);
    assert_non_null(strstr(koine_last_error(), "refused for a test"));
    for (int k = 0; k < N_SESSIONS; k++) { /* an evaluation keeps the chunks that it has finished */
      size_t now = koine_session_n_held(s[k]);
      if (steps[i].what != EVAL || k != steps[i].s) assert_int_equal(now, held[k]);
      else assert_true(now < steps[i].n && (now >= held[k] || now >= parts[steps[i].line]));
    }
    assert_false(*failed);
    *failed = true;
    allow();
    if (take(s, &steps[i], exact)) fail_msg("step %zu with memory again: %s", i, koine_last_error());
  }
  long n = fake_calls(FAKE_ALLOC);
  for (int k = 0; k < N_SESSIONS; k++) koine_session_close(s[k]);
  return n;
}

static void test_refused(void **state)
{
  (void)state;
  for (int exact = 0; exact < 2; exact++) {
    bool failed;
    assert_true(pools_trim(plan));
    uint64_t bytes = koi_engine_stage(plan, 0)->dev->bytes;
    long live = fake_n_live(), n = script(exact, 0, &failed), n_failed = 0;
    assert_true(!failed && n > 8);
    for (long at = 1; at <= n; at += 1 + (exact && !all_calls)) {
      assert_true(pools_trim(plan));
      assert_int_equal(koi_engine_stage(plan, 0)->dev->bytes, bytes);
      assert_int_equal(fake_n_live(), live);
      script(exact, at, &failed);
      n_failed += failed;
    }
    print_message("%ld growths, %ld refused\n", n, n_failed);
    assert_true(n_failed > 4);
    assert_true(pools_trim(plan));
  }
}

/* ---- a device that fails --------------------------------------------------------------------------------------------------------- */
/* A fork goes from `from` tokens on to `to`, and call `at` fails. */
static bool fail_at(koine_session *s, size_t from, size_t to, long at, koine_status status)
{
  koine_session *f = NULL;
  allow();
  assert_int_equal(koine_session_fork(s, &f), KOINE_OK);
  fake_refuse(FAKE_ANY, at, 1, status);
  koine_status st = go(f, 1, to);
  bool refused = fake_calls(FAKE_ANY) >= at;
  allow();
  if (st) {
    size_t held = koine_session_n_held(f);
    assert_true(refused && st == status && held >= from && held < to);
    uint64_t before = evaluated(f);
    assert_go(f, 1, to);
    assert_true(evaluated(f) - before <= to - held + 127);
  }
  assert_go(f, 1, to + 1);
  koine_session_close(f);
  return refused;
}

static void test_device_error(void **state)
{
  (void)state;
  for (int exact = 0; exact < 2; exact++) {
    koine_session *s = opened(exact, CONTEXT);
    assert_go(s, 1, 140);
    long at = 1, n = 0;
    for (; fail_at(s, 140, 143, at, at & 1 ? KOINE_ERR_DEVICE : KOINE_ERR_MEMORY); n++) at += all_calls ? 1 : 9; /* all of one chunk, a copy on write among them */
    assert_go(s, 1, 253);
    for (at = 3; fail_at(s, 253, 258, at, KOINE_ERR_DEVICE); n++) at += all_calls ? 1 : 29; /* over a mark */
    print_message("%ld failures\n", n);
    assert_go(s, 1, 254); /* the one that was forked has seen nothing of it */
    koine_session_close(s);
  }
}

/* A call's numbers are changed one by one. When that fails on the way, whichever step comes next has its own: also the one that went before. */
static void test_failed_patch(void **state)
{
  (void)state;
  koine_session *s = opened(0, CONTEXT);
  assert_go(s, 1, 250);
  bool refused = true;
  for (long at = 1; refused; at++) {
    koine_session *f = NULL;
    allow();
    assert_int_equal(koine_session_fork(s, &f), KOINE_OK);
    assert_go(f, 1, 251);
    assert_int_equal(koine_session_truncate(f, 140), KOINE_OK);
    assert_go(f, 1, 140);
    fake_refuse(FAKE_PATCH, at, 1, KOINE_ERR_DEVICE);
    koine_status st = go(f, 1, 141);
    refused = fake_calls(FAKE_PATCH) >= at;
    assert_int_equal(st, refused ? KOINE_ERR_DEVICE : KOINE_OK);
    allow();
    assert_go(f, 1, 250);
    assert_go(f, 1, 251);
    koine_session_close(f);
    assert_true(refused || at > 2);
  }
  koine_session_close(s);
}

static void test_failed_fork(void **state)
{
  (void)state;
  koine_session *s = opened(0, CONTEXT), *f = NULL;
  assert_go(s, 0, 140);
  koine_status st = KOINE_ERR_DEVICE;
  for (long at = 1; st; at++) {
    fake_refuse(FAKE_ANY, at, 1, KOINE_ERR_DEVICE);
    st = koine_session_fork(s, &f);
    assert_true(fake_calls(FAKE_ANY) < at ? !st : st == KOINE_ERR_DEVICE && !f);
  }
  koine_session_close(f);
  allow();
  st = KOINE_ERR_MEMORY, f = NULL;
  for (long at = 1; st; at++) { /* memory of the host */
    koi_alloc_fail_at(at);
    st = koine_session_fork(s, &f);
    koi_alloc_fail_at(0);
    assert_true(!st || (st == KOINE_ERR_MEMORY && !f));
  }
  koine_session_close(s);
  assert_go(f, 0, 142);
  koine_session_close(f);
}

/* ---- the host's memory ------------------------------------------------------------------------------------------------------------- */
static void test_host_memory(void **state)
{
  (void)state;
  koine_session *s = opened(0, CONTEXT);
  assert_go(s, 0, 126);
  koine_status st = KOINE_ERR_MEMORY;
  for (long at = 1; st; at += all_calls ? 1 : 1 + at / 8) {
    koine_session *f = NULL;
    assert_int_equal(koine_session_fork(s, &f), KOINE_OK);
    for (size_t i = 0; i < plan->n_stages; i++) koi_run_forget(koi_engine_stage(plan, i)); /* lists too want memory */
    koi_alloc_fail_at(at);
    st = go(f, 0, 129);
    koi_alloc_fail_at(0);
    assert_true(!st || (st == KOINE_ERR_MEMORY && koine_session_n_held(f) == 126));
    uint64_t before = evaluated(f);
    assert_go(f, 0, 129);
    assert_true(evaluated(f) - before <= 3);
    koine_session_close(f);
  }
  koine_session_close(s);
}

/* ---- marks are given up before a conversation is ------------------------------------------------------------------------------------- */
static void test_marks_given_up(void **state)
{
  (void)state;
  koine_session *a = opened(0, CONTEXT), *b = opened(0, CONTEXT);
  assert_go(a, 0, 260);
  assert_go(b, 1, 150);
  assert_true(a->line.h[0].n_marks == 2 && b->line.h[0].n_marks == 1);
  koi_pool *window = koi_history_pool(&b->line.h[0], 0);
  fake_refuse(FAKE_ALLOC, 1, FOREVER, KOINE_ERR_MEMORY);
  assert_int_equal(koi_history_reserve(&b->line.h[0], 0, window->n_free + 1), KOINE_OK);
  assert_true(a->line.h[0].n_marks == 1 && a->line.h[0].marks[0].at == 256 && b->line.h[0].n_marks == 1); /* the oldest of the longest conversation */
  assert_int_equal(koi_history_reserve(&b->line.h[0], 0, window->n_free + 1), KOINE_ERR_MEMORY); /* the others' rows are in use beside them */
  assert_int_equal(a->line.h[0].n_marks + b->line.h[0].n_marks, 0);
  assert_int_equal(koine_session_truncate(a, 255), KOINE_OK);
  assert_int_equal(koine_session_n_held(a), 255);
  allow();
  assert_go(a, 0, 258);
  assert_go(b, 1, 152);
  koine_session_close(a);
  koine_session_close(b);
}

/* Hundreds of conversations, each other one a fork: what limits them is memory. */
static void test_hundreds(void **state)
{
  (void)state;
  enum { N = 300 };
  koine_session *s[N];
  for (size_t i = 0; i < N; i += 2) {
    assert_go(s[i] = opened(0, CONTEXT), 0, 2);
    assert_int_equal(koine_session_fork(s[i], &s[i + 1]), KOINE_OK);
    assert_go(s[i + 1], 0, 3);
  }
  for (size_t i = 0; i < N; i++) koine_session_close(s[i]);
}

/* ---- a pool alone ---------------------------------------------------------------------------------------------------------------------- */
static void test_pool(void **state)
{
  (void)state;
  enum { USUAL = 16, MOST = 20000 };
  koi_pool p;
  bool grew = false;
  static int32_t pages[MOST];
  koi_pool_open(&p, koi_engine_stage(plan, 0)->dev, 0, 64);
  p.promised = MOST, p.n_promises = 1;
  for (size_t i = 0; i < MOST; i++) { /* page by page up to what a long conversation has, in so few slabs as there can be */
    assert_int_equal(koi_pool_reserve(&p, 1, USUAL, &grew), KOINE_OK);
    pages[i] = koi_pool_take(&p);
  }
  assert_int_equal(p.n_pages, MOST); /* and no more than was promised */
  assert_int_equal(koi_pool_reserve(&p, 1, USUAL, &grew), KOINE_ERR_MEMORY);
  assert_non_null(strstr(koine_last_error(), "grown 8 times"));
  assert_false(koi_pool_can_trim(&p));
  for (size_t i = 0; i < 20; i++) koi_pool_drop(&p, pages[i]);
  p.reserved = 10;
  assert_false(koi_pool_can_trim(&p));
  p.reserved = 4;
  assert_true(koi_pool_can_trim(&p)); /* the first slab */
  koi_pool_trim(&p);
  assert_int_equal(p.n_free, 4);
  assert_int_equal(p.n_slabs, KOI_SLABS - 1);
  grew = false;
  assert_int_equal(koi_pool_reserve(&p, 30, USUAL, &grew), KOINE_OK);
  assert_true(grew && p.n_slabs == KOI_SLABS);
  for (size_t i = 0; i < 30; i++) pages[i % 20] = koi_pool_take(&p);
  koi_pool_close(&p);
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
  if (fake_runtime_open_many(2, &rt) || koine_model_open(folder, &model) || koine_model_get_info(model, &info) || koine_plan_make(rt, model, &o, &plan) ||
      koine_plan_wake(plan, NULL, NULL)) return -1;
  n_vocab = info.n_vocab;
  for (size_t line = 0; line < N_LINES; line++)
    for (size_t i = 0; i < LINE; i++) tokens[line][i] = (int32_t)((i * i * 31 + i * 7 + (i >= parts[line] ? line * 13 : 0)) % (n_vocab - 2)) + 2;
  koine_eval_options rows = {.size = sizeof rows, .n_logits = LINE};
  for (int exact = 0; exact < 2; exact++)
    for (size_t line = 0; line < N_LINES; line++) {
      koine_session *s = opened(exact, LINE);
      logits[exact][line] = malloc(LINE * n_vocab * sizeof(float));
      assert_int_equal(koine_session_eval(s, tokens[line], LINE, &rows, logits[exact][line]), KOINE_OK);
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
  for (int i = 0; i < 2 * N_LINES; i++) free(logits[i / N_LINES][i % N_LINES]);
  assert_int_equal(fake_n_live(), 0);
  return 0;
}

int main(int argc, char **argv)
{
  static char own[4096];
  const char *top = getenv("srcdir");
  snprintf(own, sizeof own, "%s/tests/data/tiny-quant", top ? top : ".");
  folder = argc > 1 ? argv[1] : own;
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_refused), cmocka_unit_test(test_device_error), cmocka_unit_test(test_failed_patch), cmocka_unit_test(test_failed_fork),
                                     cmocka_unit_test(test_host_memory), cmocka_unit_test(test_marks_given_up), cmocka_unit_test(test_hundreds), cmocka_unit_test(test_pool)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
