/* Guesses who of a layer's experts is wanted next: those of what a layer's own router saw are its choice; whatever is guessed of a recorded trace, who
 * is asked for comes whole; a guess that cannot be read is no error until it is wanted, and is read again then; without memory for guesses a plan wakes
 * without them; they are left out where tokens are quicker without, until that changes. Reads of files fail where the test says, by a pread of its own. */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "checks.h"
#include "device/machine.h"
#include "engine/guess.h"
#include "engine/loads.h"
#include "engine/run.h"
#include "engine/session.h"
#include "engine/worth.h"

enum { N_TOKENS = 48, N_SLOTS = 4, N_THREADS = 3, TRACE = 300, MOST = 64, ROOM = 4096, LATE_US = 3000 };
static koine_runtime *rt;
static koine_model *model;
static int32_t tokens[N_TOKENS];

/* ---- reads that fail ---- */
static pthread_t self;
static atomic_bool all;  /* reads of the test's own thread may fail, too */
static atomic_int every; /* read of so many fails; 0: none */
static atomic_int n_reads, n_bad;

#pragma GCC visibility push(default)
ssize_t pread(int fd, void *to, size_t n, off_t at)
{
  int of = atomic_load(&every);
  if (!of || (!atomic_load(&all) && pthread_equal(pthread_self(), self)) || (atomic_fetch_add(&n_reads, 1) + 1) % of) return syscall(SYS_pread64, fd, to, n, at);
  atomic_fetch_add(&n_bad, 1);
  usleep(LATE_US); /* who waits for the failure asks before its reader tells of it */
  return errno = EIO, -1;
}
#pragma GCC visibility pop

/* Until so many more have failed; what a thread does at last, a test may wait for. */
static void wait_bad(int n)
{
  int tries = 0;
  while (atomic_load(&n_bad) < n && tries++ < 20000) usleep(1000);
  CHECK(atomic_load(&n_bad) >= n);
}

/* ---- the gate ---- */
static size_t n_same, n_all;

static koine_status look(void *user, koi_stage *st, const koi_bound_call *c)
{
  static float x[ROOM];
  int32_t ids[MOST], guess[MOST];
  uint32_t n = st->model->config.n_used;
  bool known;
  if (c->call->kind != KOI_CALL_OP || c->call->op != &koi_op_matvec_route || !c->call->layer) return KOINE_OK;
  OK(st->dev->backend->read(st->dev, c->bound->a.buf[MATVEC_ROUTE_IDS], c->bound->a.at[MATVEC_ROUTE_IDS], n * sizeof *ids, ids));
  OK(st->dev->backend->read(st->dev, c->bound->a.buf[MATVEC_X], c->bound->a.at[MATVEC_X], st->model->config.hidden * sizeof *x, x));
  CHECK(koi_guess_experts(user, (uint32_t)c->call->layer, x, 0, guess, &known) == n && !known);
  for (uint32_t i = 0; i < n; i++)
    for (uint32_t j = 0; j < n; j++) n_same += ids[i] == guess[j];
  n_all += n;
  return KOINE_OK;
}

static void test_gate(void)
{
  koi_guess *g = NULL;
  koine_plan *p = NULL;
  koine_session *s = NULL;
  koine_plan_options po = {.size = sizeof po, .device = "host", .chunk = 1, .context = N_TOKENS};
  koine_session_options so = {.size = sizeof so, .context = N_TOKENS};
  OK(koi_guess_open(model, 0, model->config.n_layers, &g));
  OK(koine_plan_make(rt, model, &po, &p));
  OK(koine_plan_wake(p, NULL, NULL));
  OK(koi_session_open(p, &so, &s));
  if (g && s) {
    koi_watch watch = {.after = look, .user = g};
    float *logits = malloc(model->config.n_vocab * sizeof *logits), x[ROOM] = {0};
    s->watch = &watch;
    for (size_t n = 1; n <= N_TOKENS; n++) OK(koi_session_eval(s, tokens, n, NULL, logits));
    free(logits);
    printf("%zu of %zu experts are those of the layer's own gate\n", n_same, n_all);
    CHECK(n_all == (size_t)N_TOKENS * (model->config.n_layers - 1) * model->config.n_used && n_same * 100 >= n_all * 98);
    x[0] = NAN;
    CHECK(!koi_guess_scores(g, 1, x) && !koi_guess_scores(g, 0, x) && !koi_guess_scores(g, model->config.n_layers, x));
  }
  koi_session_close(s);
  koine_plan_free(p);
  koi_guess_close(g);
}

/* ---- reading ahead ---- */
typedef struct bench { koi_laid_model *laid; koi_loads *loads; uint8_t **right; /* [n_layers][n_experts] */ size_t *bytes; /* [n_layers] */ } bench;

static size_t bytes_of(const koi_laid_model *l, uint32_t layer)
{
  koi_pass p = {0};
  while (koi_loads_pass(l, layer, 0, &p)) {}
  return (size_t)p.end;
}

/* Every expert, by a caller that reads alone and guesses nothing. */
static void read_all(bench *b)
{
  const koi_config *c = &model->config;
  koi_loads *alone = NULL;
  OK(koi_loads_open(b->laid, 0, c->n_layers, N_SLOTS, NULL, 0, &alone));
  CHECK(alone && !koi_loads_ahead(alone));
  for (uint32_t i = 0; i < c->n_layers * c->n_experts && alone; i++) {
    koine_status s;
    koi_loads_ask(alone, i / c->n_experts, &(koi_arrival){(int32_t)(i % c->n_experts), 0}, 1);
    const uint8_t *got = koi_loads_next(alone, &s);
    b->bytes[i / c->n_experts] = bytes_of(b->laid, i / c->n_experts);
    b->right[i] = malloc(b->bytes[i / c->n_experts]);
    CHECK(got && !s);
    if (got) memcpy(b->right[i], got, b->bytes[i / c->n_experts]);
    koi_loads_drop(alone);
  }
  koi_loads_close(alone);
}

static bool is_right(const bench *b, uint32_t layer, int32_t expert, const uint8_t *got)
{
  koi_pass p = {0};
  bool same = got != NULL;
  const uint8_t *want = b->right[layer * model->config.n_experts + (uint32_t)expert];
  while (same && koi_loads_pass(b->laid, layer, 0, &p))
    for (int i = 0; i < KOI_MAX_STREAMS; i++) same &= !memcmp(got + p.at[i], want + p.at[i], (size_t)p.bytes[i]);
  return same;
}

static void take(const bench *b, uint32_t layer, const int32_t *ids, size_t n, size_t n_taken)
{
  koi_arrival a[MOST];
  for (size_t i = 0; i < n; i++) a[i] = (koi_arrival){ids[i], (uint32_t)i};
  koi_loads_ask(b->loads, layer, a, n);
  for (size_t i = 0; i < n_taken; i++) {
    koine_status s;
    const uint8_t *got = koi_loads_next(b->loads, &s);
    CHECK(!s && is_right(b, layer, ids[i], got));
  }
  koi_loads_drop(b->loads);
}

/* As recorded: some guesses right, some wrong, some of a layer that does not come, and what was asked for is not always taken. */
static void test_trace(const bench *b)
{
  char path[ROOM];
  unsigned n_layers = 0, n_experts, n_used = 0, n, id;
  int32_t now[MOST], next[MOST], guess[MOST];
  snprintf(path, sizeof path, "%s/tests/data/routes/austen.txt", getenv("srcdir") ? getenv("srcdir") : ".");
  FILE *f = fopen(path, "r");
  CHECK(f && fscanf(f, "%u %u %u %u", &n_layers, &n_experts, &n_used, &n) == 4 && n_layers == model->config.n_layers && n_used <= MOST / 2);
  for (unsigned i = 0; f && i < TRACE * n_layers; i++) {
    for (unsigned k = 0; k < n_used; k++) CHECK(fscanf(f, "%2x", &id) == 1), next[k] = (int32_t)id;
    for (unsigned k = 0; k < 2 * n_used; k++) guess[k] = (i + k) % 2 ? next[k % n_used] : (int32_t)((i * 7 + k * 5) % n_experts);
    if (i) koi_loads_guess(b->loads, i % 13 ? i % n_layers : (i + 2) % n_layers, guess, i % 5 ? n_used : 2 * n_used);
    if (i) take(b, (i - 1) % n_layers, now, n_used, i % 11 ? n_used : 1);
    memcpy(now, next, sizeof now);
  }
  if (f) fclose(f);
  printf("%llu of %u experts were guessed and begun before they were asked for\n", (unsigned long long)koi_loads_guessed(b->loads), TRACE * n_layers * n_used);
}

static void test_bad_guess(const bench *b)
{
  const int32_t two[] = {3, 7}, one[] = {5};
  koine_status s;
  atomic_store(&n_bad, 0), atomic_store(&every, 1);
  koi_loads_guess(b->loads, 2, two, 2);
  wait_bad(2);
  atomic_store(&every, 0);
  take(b, 2, two, 2, 2); /* read again, or still being read */
  atomic_store(&n_bad, 0), atomic_store(&every, 1);
  koi_loads_guess(b->loads, 3, one, 1);
  wait_bad(1);
  atomic_store(&all, true);
  koi_loads_ask(b->loads, 3, &(koi_arrival){5, 0}, 1);
  CHECK(!koi_loads_next(b->loads, &s) && s == KOINE_ERR_FILE);
  CHECK(strstr(koi_error_text(), "expert 5") && strstr(koi_error_text(), "layers.3") && strstr(koi_error_text(), "model.safetensors"));
  koi_loads_drop(b->loads);
  atomic_store(&every, 0), atomic_store(&all, false);
  take(b, 3, one, 1, 1);
}

static void test_loads(void)
{
  const koi_config *c = &model->config;
  bench b = {.right = calloc(c->n_layers * c->n_experts, sizeof *b.right), .bytes = calloc(c->n_layers, sizeof *b.bytes)};
  OK(koi_lay_share(model, 0, KOI_STRIP, &(koi_share){.layer1 = c->n_layers, .of = KOI_OF_EXPERTS, .n_slots = N_SLOTS}, &b.laid));
  if (b.laid) read_all(&b);
  if (b.laid) OK(koi_loads_open(b.laid, 0, c->n_layers, MOST, NULL, N_THREADS, &b.loads));
  if (b.loads && koi_loads_ahead(b.loads)) test_trace(&b), test_bad_guess(&b);
  koi_loads_close(b.loads);
  koi_lay_free(b.laid);
  for (uint32_t i = 0; i < c->n_layers * c->n_experts; i++) free(b.right[i]);
  free(b.right);
  free(b.bytes);
}

/* ---- whether it pays ---- */
/* A period of tokens that take so long with guesses and without, each seventh ten times as long: how many were guessed. */
static uint32_t period(koi_worth *w, uint64_t with, uint64_t without)
{
  uint32_t n_guessed = 0, n_compared = 0;
  for (uint32_t i = 0; i < KOI_WORTH_PERIOD; i++) {
    bool guessed = koi_worth_next(w);
    n_guessed += guessed;
    n_compared += koi_worth_took(w, (guessed ? with : without) * (i % 7 ? 1 : 10));
  }
  CHECK(n_compared == 1);
  return n_guessed;
}

static void test_worth(void)
{
  enum { MOST = KOI_WORTH_PERIOD - KOI_WORTH_TRIES, FEWEST = KOI_WORTH_TRIES };
  koi_worth w = {0};
  CHECK(period(&w, 900, 1000) == MOST);
  CHECK(period(&w, 1000, 1000) == MOST);
  CHECK(period(&w, 1010, 1000) == MOST); /* too little to tell */
  CHECK(period(&w, 1100, 1000) == FEWEST);
  CHECK(period(&w, 990, 1000) == FEWEST);
  CHECK(period(&w, 900, 1000) == MOST);
  CHECK(w.usual[0] == 1000 && w.usual[1] == 900);
}

/* ---- sessions ---- */
static koine_plan *awake(void)
{
  const char *cache = "host=400K";
  koine_plan_options o = {.size = sizeof o, .device = "host", .chunk = 8, .context = N_TOKENS, .expert_caches = &cache, .n_expert_caches = 1};
  koine_plan *p = NULL;
  if (!koine_plan_make(rt, model, &o, &p) && !koine_plan_wake(p, NULL, NULL)) return p;
  koine_plan_free(p);
  return NULL;
}

/* Token by token, so that what is evaluated again after an error has the same bits. */
static koine_session *open_session(koine_plan *p)
{
  koine_session_options o = {.size = sizeof o, .context = N_TOKENS, .chunk = 1};
  koine_session *s = NULL;
  if (p) OK(koine_session_open(p, &o, &s));
  return s;
}

/* Reads of the threads that read ahead fail now and then: right logits, or an error with tensor and file after which the session goes on. */
static void test_bad_reads(const float *right)
{
  size_t n_vocab = model->config.n_vocab, n_wrong = 0;
  float *got = malloc(n_vocab * sizeof *got);
  koine_plan *p = awake();
  koine_session *s = open_session(p);
  for (size_t n = 1; s && n <= N_TOKENS; n++) {
    atomic_store(&every, 40);
    koine_status st = koine_session_eval(s, tokens, n, NULL, got);
    atomic_store(&every, 0);
    if (st) {
      n_wrong++;
      CHECK(st == KOINE_ERR_FILE && strstr(koine_last_error(), "loading expert") && strstr(koine_last_error(), "model.safetensors"));
      OK(koine_session_eval(s, tokens, n, NULL, got));
    }
    CHECK(!memcmp(got, right + n * n_vocab, n_vocab * sizeof *got));
  }
  printf("%zu of %d tokens ended with an error before they were right, after %d reads that failed\n", n_wrong, N_TOKENS, atomic_load(&n_bad));
  koine_session_close(s);
  koine_plan_free(p);
  free(got);
}

static int n_said;
static void listen(void *user, koine_log_level level, const char *line) { (void)user, (void)level, n_said += strstr(line, "no guesses who is wanted next") != NULL; }

/* A wake of which an allocation is refused; NULL: it failed. */
static koine_plan *wake_without(long at)
{
  n_said = 0;
  koi_alloc_fail_at(at);
  koine_plan *p = awake();
  koi_alloc_fail_at(0);
  CHECK(p || strstr(koine_last_error(), "memory"));
  return p;
}

static void check_without(koine_plan *p, const float *right)
{
  size_t n_vocab = model->config.n_vocab;
  float *got = malloc(n_vocab * sizeof *got);
  koine_plan_usage u = KOINE_PLAN_USAGE_INIT;
  koine_session *s = open_session(p);
  for (size_t n = 1; n <= 2; n++) {
    OK(koine_session_eval(s, tokens, n, NULL, got));
    CHECK(!memcmp(got, right + n * n_vocab, n_vocab * sizeof *got));
  }
  OK(koine_plan_get_usage(p, &u));
  CHECK(n_said == 1 && !u.experts_guessed && !u.guess_bytes && u.experts_loaded > 0);
  koine_session_close(s);
  free(got);
}

static bool is_whole(long at)
{
  koine_plan *p = wake_without(at);
  bool whole = p && !n_said;
  koine_plan_free(p);
  return whole;
}

/* Guesses are what a wake allocates last but for little. What is refused there it goes on without, and says so. */
static void test_no_memory(const float *right)
{
  enum { STEP = 3, LAST = 240 };
  long low = 0, high = 1;
  int n_without = 0;
  koi_log_set(listen, NULL);
  while (!is_whole(high)) low = high, high *= 2;
  while (high - low > 1) *(is_whole((low + high) / 2) ? &high : &low) = (low + high) / 2;
  for (long at = high; at > 0 && at > high - LAST; at -= STEP) {
    koine_plan *p = wake_without(at);
    if (p && n_said && !(n_without++ % 4)) check_without(p, right);
    koine_plan_free(p);
  }
  koi_log_set(NULL, NULL);
  printf("%d wakes went on without guesses\n", n_without);
  CHECK(n_without > 0);
}

static void test_sessions(void)
{
  size_t n_vocab = model->config.n_vocab;
  float *right = calloc((N_TOKENS + 1) * n_vocab, sizeof *right);
  koine_plan *p = awake();
  koine_session *s = open_session(p);
  koine_plan_usage u = KOINE_PLAN_USAGE_INIT;
  for (size_t n = 1; s && n <= N_TOKENS; n++) OK(koine_session_eval(s, tokens, n, NULL, right + n * n_vocab));
  if (s) OK(koine_plan_get_usage(p, &u));
  CHECK(u.experts_guessed > 0 && u.guess_bytes > 0);
  koine_session_close(s);
  koine_plan_free(p);
  test_bad_reads(right);
  test_no_memory(right);
  free(right);
}

int main(void)
{
  char path[ROOM];
  snprintf(path, sizeof path, "%s/models/austen", getenv("srcdir") ? getenv("srcdir") : ".");
  self = pthread_self();
  if (koine_runtime_open(NULL, &rt) || koine_model_open(path, &model)) return printf("%s\n", koine_last_error()), 1;
  for (int i = 0; i < N_TOKENS; i++) tokens[i] = (i * 37 + 11) % ((int)model->config.n_vocab - 8) + 8;
  test_gate();
  test_loads();
  test_worth();
  setenv("KOINE_GUESS", "always", 1);
  test_sessions();
  koine_model_close(model);
  koine_runtime_close(rt);
  printf("t_guess: %d checks, %d failed\n", n_checks, n_failed);
  return n_failed > 0;
}
