/* Conversations that go back, fork and share pages, through the public API: what is evaluated again, and logits against those of fresh sessions.
 * usage: t_rewind CHECKPOINT      KOINE_TEST_DEVICE: the device (default host, where the long conversation is a shorter one)
 * KOINE_TEST_ALL=1: a random walk of 2,000 operations on any device, not of some hundred
 *
 * Every conversation here is the beginning of one of a few lines, which part from line 0 at different positions: so the right logits of every
 * position are known from one evaluation of each line. */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "engine/session.h"
#include "near.h"
#include "placed.h"

enum { N_LINES = 5, CHUNK = 128, MAX_LONG = 4000, LINE = 420, MAX_SESSIONS = 6, N_MARKS = 3 };
typedef struct lines { /* of one cache mode */
  koine_cache mode;
  size_t n;            /* tokens of a line */
  int32_t *tokens[N_LINES];
  float *logits[N_LINES]; /* [n][n_vocab] */
  double range;
} lines;

static const size_t parts[N_LINES] = {0, 1, 100, 128, 391}; /* where a line leaves line 0 */
static const char *folder;
static koine_runtime *rt;
static koine_model *model;
static koine_plan *plan;
static size_t n_vocab, n_long, n_walk;
static lines both[2];

/* ---- numbers ---- */
static uint64_t seed = 1;
static size_t below(size_t n)
{
  seed = seed * 6364136223846793005u + 1442695040888963407u;
  return (size_t)(seed >> 33) % n;
}

static int32_t token_at(size_t line, size_t i)
{
  uint64_t own = line && i >= parts[line] ? line : 0, x = (i + 1) * 0x9e3779b97f4a7c15u + own * 0xd1b54a32d192ed03u;
  x ^= x >> 29, x *= 0xbf58476d1ce4e5b9u, x ^= x >> 32;
  return (int32_t)(x % (n_vocab - 2)) + 2;
}

/* Tokens that two lines begin with alike. */
static size_t alike(const lines *l, size_t a, size_t b)
{
  size_t n = 0;
  while (n < l->n && l->tokens[a][n] == l->tokens[b][n]) n++;
  return n;
}

/* ---- plans and sessions ---- */
static koine_plan *make_plan(uint64_t mark_bytes)
{
  const char *device = getenv("KOINE_TEST_DEVICE");
  koine_plan_options o = {.size = sizeof o, .device = device ? device : "host", .chunk = CHUNK, .mark_bytes = mark_bytes};
  placed_options(&o);
  koine_plan *p = NULL;
  assert_int_equal(koine_plan_make(rt, model, &o, &p), KOINE_OK);
  assert_int_equal(koine_plan_wake(p, NULL, NULL), KOINE_OK);
  return p;
}

static koine_session *open_in(koine_plan *p, koine_cache mode, uint64_t context)
{
  koine_session_options o = {.size = sizeof o, .cache = mode, .context = context};
  koine_session *s = NULL;
  assert_int_equal(koine_session_open(p, &o, &s), KOINE_OK);
  return s;
}

static koine_session *fork_of(koine_session *s)
{
  koine_session *f = NULL;
  assert_int_equal(koine_session_fork(s, &f), KOINE_OK);
  assert_int_equal(koine_session_n_held(f), koine_session_n_held(s));
  return f;
}

/* With every session closed, no page, no table and no promise is left. */
static void assert_nothing_held(const koine_plan *p)
{
  const koi_stage *st = koi_engine_stage(p, 0);
  for (int exact = 0; exact < 2; exact++) {
    assert_null(st->histories[exact]);
    for (size_t k = 0; k < st->caches[exact]->n_kinds; k++) {
      const koi_pool *pool = &st->pools[exact][k];
      assert_int_equal(pool->n_free, pool->n_pages);
      assert_int_equal(pool->promised + pool->n_promises + pool->reserved, 0);
    }
  }
  for (size_t i = 0; i < KOI_TABLE_INTS / 64; i++) assert_int_equal(st->tables_used[i], 0);
}

static koine_session_stats stats(const koine_session *s)
{
  koine_session_stats st = KOINE_SESSION_STATS_INIT;
  assert_int_equal(koine_session_get_stats(s, &st), KOINE_OK);
  return st;
}

static uint64_t evaluated(const koine_session *s) { return stats(s).n_evaluated; }

/* ---- right logits ---- */
static void compare(const lines *l, size_t line, size_t n, const float *got)
{
  double most = near_add(l->mode == KOINE_CACHE_EXACT, got, l->logits[line] + (n - 1) * n_vocab, n_vocab, l->range);
  if (most > 0.2) fail_msg("line %zu, %zu tokens, cache mode %d: logits off by %g of their range", line, n, (int)l->mode, most);
}

/* Evaluates the first n tokens of a line, compares, and tells how many tokens that took. */
static uint64_t go(koine_session *s, const lines *l, size_t line, size_t n)
{
  float *x = malloc(n_vocab * sizeof *x);
  uint64_t before = evaluated(s), known = stats(s).n_reused;
  memset(x, 0xff, n_vocab * sizeof *x);
  koine_status st = koine_session_eval(s, l->tokens[line], n, NULL, x);
  if (st) fail_msg("%d: %s", (int)st, koine_last_error());
  compare(l, line, n, x);
  free(x);
  assert_int_equal(koine_session_n_held(s), n);
  assert_int_equal(evaluated(s) - before + (stats(s).n_reused - known), n); /* each token is one or the other */
  return evaluated(s) - before;
}

static void make_lines(lines *l, koine_cache mode, size_t n, size_t n_lines)
{
  *l = (lines){.mode = mode, .n = n};
  koine_session *s = open_in(plan, mode, n);
  koine_eval_options o = {.size = sizeof o, .n_logits = n};
  for (size_t i = 0; i < n_lines; i++) {
    l->tokens[i] = malloc(n * sizeof **l->tokens);
    l->logits[i] = malloc(n * n_vocab * sizeof **l->logits);
    for (size_t t = 0; t < n; t++) l->tokens[i][t] = token_at(i, t);
    koi_session_clear(s);
    assert_int_equal(koine_session_eval(s, l->tokens[i], n, &o, l->logits[i]), KOINE_OK);
  }
  koine_session_close(s);
  l->range = near_range(l->logits[0], n * n_vocab);
}

static void free_lines(lines *l)
{
  for (size_t i = 0; i < N_LINES; i++) free(l->tokens[i]), free(l->logits[i]);
}

/* ---- regenerating ---- */
/* A fork goes back to `cut`, by truncating or by another token there, and on to what line 0 has from there. */
static void regenerate(koine_session *s, lines *l, size_t cut, bool truncate)
{
  koine_session *f = fork_of(s);
  size_t more = 1 + below(9), n = cut + more < l->n ? cut + more : l->n;
  int32_t was = l->tokens[0][cut];
  if (truncate) assert_int_equal(koine_session_truncate(f, cut), KOINE_OK);
  else {
    float *x = malloc(n_vocab * sizeof *x);
    l->tokens[0][cut] = was == 2 ? 3 : 2;
    assert_int_equal(koine_session_eval(f, l->tokens[0], cut + 1, NULL, x), KOINE_OK);
    l->tokens[0][cut] = was;
    free(x);
    assert_true(evaluated(f) <= 127 + 1);
  }
  assert_true(go(f, l, 0, n) <= 127 + (n - cut));
  koine_session_close(f);
}

static void test_regenerate(void **state)
{
  (void)state;
  for (int exact = 0; exact < 2; exact++) {
    lines l;
    make_lines(&l, exact ? KOINE_CACHE_EXACT : KOINE_CACHE_PACKED, n_long, 1);
    koine_session *s = open_in(plan, l.mode, n_long + 200);
    assert_int_equal(go(s, &l, 0, n_long), n_long);
    const size_t cuts[] = {0, 1, 2, 126, 127, 128, 129, 255, 256, 257, n_long - 1, n_long - 2, n_long - 17, n_long / 128 * 128, n_long / 128 * 128 - 1, n_long - 128, n_long - 129};
    for (size_t i = 0; i < KOI_COUNT(cuts); i++) regenerate(s, &l, cuts[i], i & 1);
    for (size_t i = 0; i < 12; i++) regenerate(s, &l, below(n_long - 1), i & 1);
    size_t cut = n_long; /* several in a row, without going on between */
    for (int i = 0; i < 4; i++) {
      cut -= 1 + below(150);
      assert_int_equal(koine_session_truncate(s, cut), KOINE_OK);
      assert_int_equal(koine_session_n_held(s), cut);
    }
    assert_true(go(s, &l, 0, cut) <= 127 + 1); /* its logits were forgotten */
    assert_int_equal(go(s, &l, 0, cut), 0);
    assert_int_equal(koine_session_truncate(s, cut + 1), KOINE_ERR_ARG);
    assert_true(go(s, &l, 0, n_long) <= n_long - cut);
    koine_session_close(s);
    free_lines(&l);
    assert_nothing_held(plan);
  }
  near_assert("regenerate");
}

/* Logits of many positions that are held. */
static void test_rows(void **state)
{
  (void)state;
  lines *l = &both[1];
  koine_session *s = open_in(plan, l->mode, LINE);
  float *x = malloc(200 * n_vocab * sizeof *x);
  koine_eval_options o = {.size = sizeof o, .n_logits = 200};
  go(s, l, 2, LINE);
  uint64_t before = evaluated(s);
  assert_int_equal(koine_session_eval(s, l->tokens[2], LINE, &o, x), KOINE_OK);
  assert_true(evaluated(s) - before <= 200 + 127);
  for (size_t i = 0; i < 200; i++) compare(l, 2, LINE - 199 + i, x + i * n_vocab);
  assert_true(go(s, l, 1, 3) <= 3);
  free(x);
  koine_session_close(s);
  near_assert("rows");
}

/* ---- a small budget for marks ---- */
static void test_thinned(void **state)
{
  (void)state;
  uint64_t mark_bytes = koi_engine_stage(plan, 0)->mark_bytes[0]; /* on all stages */
  for (uint64_t most = 0; most < N_MARKS; most += 1 + (n_long < MAX_LONG)) { /* fewer on the host */
    koine_plan *p = make_plan(most ? most * mark_bytes : 1);
    lines *l = &both[0];
    koine_session *s = open_in(p, l->mode, LINE);
    go(s, l, 0, 40); /* so that chunks end between marks */
    go(s, l, 0, LINE);
    assert_true(s->line.h[0].n_marks == (most < LINE / 128 ? most : LINE / 128));
    if (most) assert_true(go(s, l, 0, LINE - 2) <= 127 + 1); /* the newest mark is there */
    for (int i = 0; i < 4; i++) {
      koine_session *f = fork_of(s);
      size_t cut = below(LINE);
      assert_int_equal(koine_session_truncate(f, cut), KOINE_OK);
      go(f, l, 0, cut + 1);
      assert_true(f->line.h[0].n_marks <= most);
      koine_session_close(f);
    }
    koine_session_close(s);
    assert_nothing_held(p);
    koine_plan_free(p);
  }
  near_assert("thinned marks");
}

/* ---- forks ---- */
static void test_forks(void **state)
{
  (void)state;
  for (int i = 0; i < 4; i++) {
    lines *l = &both[i & 1];
    koine_session *a = open_in(plan, l->mode, LINE), *b, *c;
    go(a, l, 0, 390); /* a page and a window are open */
    b = fork_of(a);
    assert_int_equal(go(b, l, 0, 390), 0);
    for (size_t n = 393; n <= 401; n += 2) { /* in turns */
      assert_true(go(a, l, 0, n) <= 3);
      assert_true(go(b, l, 4, n) <= 4);
    }
    c = fork_of(b);
    if (i & 2) koine_session_close(b), b = NULL;
    assert_int_equal(koine_session_truncate(c, 380), KOINE_OK);
    assert_true(go(c, l, 0, 396) <= 16 + 127);
    if (b) assert_int_equal(go(b, l, 4, 405), 4);
    koine_session_close(a);
    assert_int_equal(go(c, l, 0, 400), 4);
    assert_true(go(c, l, 3, 140) <= 12 + 127);
    koine_session_close(b);
    koine_session_close(c);
    assert_nothing_held(plan);
  }
  near_assert("forks");
}

/* ---- a random walk ---- */
typedef struct walker { koine_session *s; size_t line, n; } walker; /* stands for n tokens of a line */

static void walk_on(walker *w, const lines *l)
{
  size_t kind = below(10), line = w->line, n = w->n;
  if (kind < 5) n += 1 + below(kind < 4 ? 4 : 60);                                      /* goes on */
  else if (kind < 7) n = below(n + 1);                                                  /* goes back */
  else line = below(N_LINES), n = kind < 9 ? alike(l, line, w->line) : below(200) + 1; /* another line */
  if (kind >= 7 && kind < 9) n = (n < w->n ? n : w->n) + 1 + below(5);
  if (n > l->n) n = l->n;
  if (kind >= 5 && kind < 7) {
    assert_int_equal(koine_session_truncate(w->s, n), KOINE_OK);
    assert_int_equal(koine_session_n_held(w->s), n);
  } else {
    size_t same = alike(l, line, w->line);
    same = same < w->n ? same : w->n;
    same = same < n ? same : n;
    assert_true(go(w->s, l, line, n) <= n - same + 128);
  }
  w->line = line, w->n = n;
}

static void test_walk(void **state)
{
  (void)state;
  walker w[2][MAX_SESSIONS] = {0};
  for (size_t i = 0; i < n_walk; i++) {
    int exact = (int)below(2);
    walker *at = &w[exact][below(MAX_SESSIONS)], *other = &w[exact][below(MAX_SESSIONS)];
    if (!at->s) *at = (walker){open_in(plan, both[exact].mode, LINE), 0, 0};
    else if (!below(20)) {
      koine_session_close(at->s);
      *at = (walker){0};
    } else if (!other->s && !below(3)) *other = (walker){fork_of(at->s), at->line, at->n};
    else walk_on(at, &both[exact]);
  }
  for (size_t i = 0; i < 2 * MAX_SESSIONS; i++) koine_session_close(w[i / MAX_SESSIONS][i % MAX_SESSIONS].s);
  assert_nothing_held(plan);
  near_assert("walk");
}

/* ---- many sessions ---- */
typedef struct thread { koine_session *s; const lines *l; uint64_t seed; } thread;
static void *worker(void *arg)
{
  thread *t = arg;
  for (size_t i = 0; i < 12; i++) {
    t->seed = t->seed * 6364136223846793005u + 1442695040888963407u;
    size_t n = 1 + (size_t)(t->seed >> 33) % (i ? 200 : t->l->n), line = (size_t)(t->seed >> 60) % N_LINES;
    koine_session *f = NULL;
    float *x = malloc(n_vocab * sizeof *x);
    if (koine_session_eval(t->s, t->l->tokens[line], n, NULL, x) || koine_session_fork(t->s, &f)) return NULL;
    compare(t->l, line, n, x);
    free(x);
    koine_session_close(i & 1 ? f : t->s);
    if (!(i & 1)) t->s = f;
  }
  return t;
}

static void test_threads(void **state)
{
  (void)state;
  pthread_t id[2];
  thread t[2] = {{open_in(plan, both[0].mode, LINE), &both[0], 3}, {open_in(plan, both[0].mode, 2 * LINE), &both[0], 4}};
  void *ended[2];
  for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&id[i], NULL, worker, &t[i]), 0);
  for (int i = 0; i < 2; i++) assert_int_equal(pthread_join(id[i], &ended[i]), 0);
  for (int i = 0; i < 2; i++) assert_non_null(ended[i]), koine_session_close(t[i].s);
  assert_nothing_held(plan);
  near_assert("threads");
}

/* More sessions than a pool has slabs, of different contexts, each with a mark; then one of the longest context. */
static void test_many(void **state)
{
  (void)state;
  enum { N = 64, HUGE_CONTEXT = 1 << 20 };
  koine_plan *p = make_plan(0);
  const lines *l = &both[0];
  koine_session *s[N];
  bool slow = n_long < MAX_LONG;
  for (size_t i = 0; i < N; i++) s[i] = open_in(p, l->mode, i % 3 ? 4096 : 700 + 40 * i), go(s[i], l, i % N_LINES, slow && i % 16 ? 3 : 130 + i % 7);
  for (size_t i = 0; i < N; i++) go(s[i], l, i % N_LINES, (slow && i % 16 ? 3 : 130 + i % 7) + 1);
  koine_session *huge = open_in(p, l->mode, HUGE_CONTEXT);
  go(huge, l, 0, 5);
  assert_int_equal(koi_session_fill(huge, HUGE_CONTEXT - 300), KOINE_OK);
  int32_t *held = malloc(HUGE_CONTEXT * sizeof *held);
  float *x = malloc(n_vocab * sizeof *x);
  memset(held, 0, HUGE_CONTEXT * sizeof *held);
  assert_int_equal(koine_session_eval(huge, held, HUGE_CONTEXT - 298, NULL, x), KOINE_OK);
  for (size_t v = 0; v < n_vocab; v++) assert_true(isfinite(x[v]));
  for (size_t i = 0; i < N; i++) {
    if (i % 5 == 0) go(s[i], l, i % N_LINES, (slow && i % 16 ? 3 : 130 + i % 7) + 2);
    koine_session_close(s[i]);
  }
  koine_session_close(huge);
  free(held), free(x);
  assert_nothing_held(p);
  koine_plan_free(p);
  near_assert("many sessions");
}

/* ---- */
static int setup(void **state)
{
  (void)state;
  koine_model_info info = KOINE_MODEL_INFO_INIT;
  const char *device = getenv("KOINE_TEST_DEVICE"), *all = getenv("KOINE_TEST_ALL");
  bool host = !device || !strcmp(device, "host");
  n_long = host ? 450 : MAX_LONG, n_walk = all && all[0] == '1' ? 2000 : host ? 150 : 500;
  if (koine_runtime_open(NULL, &rt) || koine_model_open(folder, &model) || koine_model_get_info(model, &info)) return -1;
  n_vocab = info.n_vocab;
  plan = make_plan(0);
  for (int exact = 0; exact < 2; exact++) make_lines(&both[exact], exact ? KOINE_CACHE_EXACT : KOINE_CACHE_PACKED, LINE, N_LINES);
  return 0;
}

static int teardown(void **state)
{
  (void)state;
  for (int exact = 0; exact < 2; exact++) free_lines(&both[exact]);
  koine_plan_free(plan);
  koine_model_close(model);
  koine_runtime_close(rt);
  return 0;
}

int main(int argc, char **argv)
{
  folder = argc > 1 ? argv[1] : "tests/data/tiny-quant";
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_regenerate), cmocka_unit_test(test_rows),    cmocka_unit_test(test_thinned), cmocka_unit_test(test_forks),
                                     cmocka_unit_test(test_walk),       cmocka_unit_test(test_threads), cmocka_unit_test(test_many)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
