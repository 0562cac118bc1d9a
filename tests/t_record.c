/* Steps whose calls a device has recorded: the same bits as without, whatever changes between them, and few requests; what was recorded is forgotten
 * before what it is made of. On a fake device; with KOINE_TEST_DEVICE on that one, which is a skip where it cannot record.
 * usage: t_record [CHECKPOINT]      KOINE_TEST_SMALL: a short conversation, in packed caches alone */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "checks.h"
#include "engine/session.h"
#include "fake.h"

enum { N = 300, MORE = 40, ROUNDS = 20, CONTEXT = 512, CHUNK = 64, MANY = N + MORE + 3 * ROUNDS };

static size_t n_first = N, back = 130, n_more = MORE, n_rounds = ROUNDS;

static koine_runtime *rt;
static koine_model *model;
static const char *device;
static size_t n_vocab, n_got;
static float *right, *got; /* [MANY][n_vocab] */
static int32_t tokens[2][N];
static long n_requests, n_records;

static long requests(void) { return fake_calls(FAKE_START) + fake_calls(FAKE_REPLAY); }

static koine_status wake(const char *records, koine_plan **out)
{
  koine_plan_options o = {.size = sizeof o, .device = device, .chunk = CHUNK};
  setenv("KOINE_RECORD", records, 1);
  koine_status s = koine_plan_make(rt, model, &o, out);
  return s ? s : koine_plan_wake(*out, NULL, NULL);
}

static koine_session *open_in(koine_plan *p, koine_cache cache)
{
  koine_session_options o = {.size = sizeof o, .cache = cache, .context = CONTEXT};
  koine_session *s = NULL;
  OK(koine_session_open(p, &o, &s));
  return s;
}

static koine_status eval(koine_session *s, int line, size_t n)
{
  koine_eval_options o = {.size = sizeof o, .n_logits = 1};
  return koine_session_eval(s, tokens[line], n, &o, got + n_got++ * n_vocab);
}

/* Token by token over windows that close, marks, pools that grow; back and on with other tokens; two conversations and a fork by turns. */
static void talk(koine_plan *p, koine_cache cache)
{
  koine_session *a = open_in(p, cache), *b = open_in(p, cache), *f = NULL;
  for (size_t n = 1; n <= n_first; n++) OK(eval(a, 0, n));
  for (size_t n = back; n < back + n_more; n++) OK(eval(a, 1, n));
  OK(koine_session_fork(a, &f));
  for (size_t i = 0; i < n_rounds; i++) {
    OK(eval(a, 1, back + n_more + i));
    OK(eval(b, 0, CHUNK + i));
    OK(eval(f, 1, back + n_more + i));
  }
  koine_session_close(a);
  koine_session_close(f);
  koine_session_close(b);
}

static bool can_record(void)
{
  koine_plan *p = NULL;
  OK(wake("on", &p));
  bool can = p && koi_engine_stage(p, 0)->dev->can_record;
  koine_plan_free(p);
  return can;
}

static void life(const char *records, koine_cache cache)
{
  koine_plan *p = NULL;
  n_got = 0;
  OK(wake(records, &p));
  fake_refuse(FAKE_ANY, 0, 0, KOINE_OK);
  fake_records(true);
  talk(p, cache);
  n_requests = requests(), n_records = fake_calls(FAKE_RECORD);
  CHECK(koi_engine_stage(p, 0)->dev->can_record && koi_engine_stage(p, 0)->dev->records == !strcmp(records, "on"));
  koine_plan_free(p);
}

static void test_bits(koine_cache cache)
{
  life("off", cache);
  size_t n = n_got;
  long all = n_requests;
  CHECK(!n_records && !fake_n_replayed());
  memcpy(right, got, n * n_vocab * sizeof *got);
  memset(got, 0xff, n * n_vocab * sizeof *got);
  life("on", cache);
  CHECK(n_got == n);
  for (size_t i = 0; i < n; i++)
    if (memcmp(got + i * n_vocab, right + i * n_vocab, n_vocab * sizeof *got)) {
      printf("evaluation %zu of %zu has other bits\n", i, n);
      CHECK(!"same bits");
      break;
    }
  if (strcmp(device, "fake")) return;
  printf("%s: %ld requests for kernels, %ld with %ld recordings of %ld calls\n", cache ? "exact" : "packed", all, n_requests, n_records, fake_n_replayed());
  CHECK(n_requests < all / 3 && n_requests - fake_calls(FAKE_REPLAY) + fake_n_replayed() == all);
  CHECK(n_records > 4 && n_records < 200);
  CHECK(!fake_n_torn() && !fake_n_live());
}

/* ---- faults ---- */
static void test_refused(void)
{
  koine_plan *p = NULL;
  OK(wake("on", &p));
  koine_session *s = open_in(p, KOINE_CACHE_PACKED);
  fake_refuse(FAKE_RECORD, 1, 1000, KOINE_ERR_DEVICE);
  n_got = 0;
  for (size_t n = 1; n <= ROUNDS; n++) OK(eval(s, 0, n));
  CHECK(fake_calls(FAKE_RECORD) == 1 && !fake_calls(FAKE_REPLAY)); /* once, and goes on without */
  koine_session_close(s);
  koine_plan_free(p);
  CHECK(!fake_n_live());
}

static void test_lost(void)
{
  koine_plan *p = NULL;
  OK(wake("on", &p));
  koine_session *s = open_in(p, KOINE_CACHE_PACKED);
  n_got = 0;
  fake_refuse(FAKE_REPLAY, 5, 1, KOINE_ERR_DEVICE);
  size_t n = 1;
  while (n <= ROUNDS && !eval(s, 0, n)) n++;
  CHECK(n <= ROUNDS && strstr(koine_last_error(), "replay 5 refused for a test"));
  n_got = 0;
  for (n = 1; n <= ROUNDS; n++) OK(eval(s, 0, n));
  koine_session_close(s);
  koine_plan_free(p);
  CHECK(!fake_n_live());
}

/* Times of single ops want every call by itself. */
static void test_watched(void)
{
  koine_plan *p = NULL;
  OK(wake("on", &p));
  koine_session *s = open_in(p, KOINE_CACHE_PACKED);
  n_got = 0;
  for (size_t n = 1; n <= ROUNDS; n++) OK(eval(s, 0, n));
  long before = fake_calls(FAKE_REPLAY);
  koi_op_time times[KOI_MAX_TIMES] = {0};
  koi_watch_times clock = {.times = times};
  koi_watch watch = koi_watch_time(&clock);
  s->watch = &watch;
  OK(eval(s, 0, ROUNDS + 1));
  CHECK(before && fake_calls(FAKE_REPLAY) == before && times[0].calls);
  koine_session_close(s);
  koine_plan_free(p);
}

int main(int argc, char **argv)
{
  koine_model_info info = {.size = sizeof info};
  char own[4096];
  const char *top = getenv("srcdir");
  device = getenv("KOINE_TEST_DEVICE");
  snprintf(own, sizeof own, "%s/tests/data/tiny-quant", top ? top : ".");
  fake_records(true);
  OK(device ? koine_runtime_open(NULL, &rt) : fake_runtime_open(&rt));
  if (!device) device = "fake";
  OK(koine_model_open(argc > 1 ? argv[1] : own, &model));
  OK(koine_model_get_info(model, &info));
  n_vocab = info.n_vocab;
  bool small = getenv("KOINE_TEST_SMALL") != NULL;
  if (small) n_first = 16, back = 10, n_more = 4, n_rounds = 2;
  for (size_t i = 0; i < N; i++) tokens[0][i] = (int32_t)((i * 37 + 5) % 100), tokens[1][i] = i < back ? tokens[0][i] : (int32_t)((i * 53 + 7) % 100);
  right = malloc(MANY * n_vocab * sizeof *right);
  got = malloc(MANY * n_vocab * sizeof *got);
  if (!can_record()) return printf("%s cannot record calls: cl_khr_command_buffer or HIP is wanted\n", device), n_failed ? 1 : 77;
  test_bits(KOINE_CACHE_PACKED);
  if (!small) test_bits(KOINE_CACHE_EXACT);
  if (!strcmp(device, "fake")) {
    test_refused();
    test_lost();
    test_watched();
  }
  koine_model_close(model);
  koine_runtime_close(rt);
  free(right);
  free(got);
  printf("t_record: %d checks, %d failed\n", n_checks, n_failed);
  return n_failed != 0;
}
