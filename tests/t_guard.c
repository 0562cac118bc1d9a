/* Tuning where a driver fails: a device that does not build one set of parameters, does not start it, answers wrongly, hangs, crashes, or is gone
 * from then on. Each costs that set, the log says so, and the rest is found; and a process that is killed goes on where it was.
 * Usage: t_guard   (makes folders of its own in /tmp) */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "cli/guard.h"
#include "device/machine.h"
#include "tune/contest.h"

static int n_checks, n_failed;
#define CHECK(x) ((void)(n_checks++, (x) ? 0 : (printf("FAIL %s:%d: %s (%s)\n", __FILE__, __LINE__, #x, koi_error_text()), n_failed++)))

/* ---- a device: the host, on which one set of parameters is the best by far and goes wrong ---- */
enum { L, VW, STRETCH }; /* swiglu's parameters */
typedef enum fault { NONE, NOT_BUILT, NOT_STARTED, WRONG, HANGS, CRASHES, VANISHES } fault;
static const int32_t bad[] = {[L] = 64, [VW] = 8, [STRETCH] = 4};
static const char *const bad_text = "\tL=64 VW=8 STRETCH=4\t";
static fault planted_fault;
static bool gone;
static uint64_t ns;

static bool is_bad(const int32_t *p) { return !memcmp(p, bad, sizeof bad); }
static uint64_t planted_now(void *user) { return (void)user, ns; }

static koine_status build(koi_device *d, const koi_build *b, koi_kernel **out, void **binary, size_t *binary_bytes)
{
  if (gone || (planted_fault == NOT_BUILT && strstr(b->defs, "L=64 ") && strstr(b->defs, "VW=8 ") && strstr(b->defs, "STRETCH=4")))
    return koi_error(KOINE_ERR_DEVICE, "planted: not built");
  return koi_backend_host.build(d, b, out, binary, binary_bytes);
}

static koine_status launch(koi_device *d, koi_kernel *k, const koi_args *a, const koi_range *r)
{
  double away = 0;
  for (int i = 0; i < 3; i++) away += fabs(log2(k->p[i]) - log2(bad[i]));
  ns += (uint64_t)(1e5 * (1 + away));
  if (is_bad(k->p)) {
    if (planted_fault == HANGS) for (;;) pause();
    if (planted_fault == CRASHES) raise(SIGKILL);
    gone = planted_fault == VANISHES;
    if (planted_fault == NOT_STARTED) return koi_error(KOINE_ERR_DEVICE, "planted: not started");
  }
  if (gone) return koi_error(KOINE_ERR_DEVICE, "planted: device lost");
  koine_status s = koi_backend_host.launch(d, k, a, r);
  float wrong = 1e9f;
  if (!s && planted_fault == WRONG && is_bad(k->p)) s = d->backend->write(d, a->buf[SWIGLU_H], a->at[SWIGLU_H], sizeof wrong, &wrong);
  return s;
}

/* ---- a contest in it ---- */
static koi_backend planted;
static char folder[64];
static int kill_after; /* this process, after so many candidates; 0: never */

static bool told(void *user, const koi_contest *k, double default_us, double best_us)
{
  (void)user, (void)k, (void)default_us, (void)best_us;
  cli_guard_beat(true);
  if (kill_after && --kill_after == 0) raise(SIGKILL);
  return true;
}

static koine_status contest(koi_lost lost, koi_contest_result *r)
{
  enum { ROWS = 3, INTER = 64 };
  koi_probe p = {0};
  koi_device *d;
  planted = koi_backend_host;
  planted.build = build, planted.launch = launch;
  koine_status s = koi_backend_host.probe(&p);
  if (s) return s;
  koi_endpoint e = p.endpoints[0];
  koi_probe_free(&p);
  e.backend = &planted;
  s = koi_device_open(&e, folder, 1, &d);
  if (s) return s;
  d->backend = &planted;
  koi_args a = {.i = {[SWIGLU_E] = ROWS, [SWIGLU_INTER] = INTER, [SWIGLU_LDG] = 2 * INTER, [SWIGLU_LDH] = INTER}, .f = {7}};
  s = koi_device_alloc(d, ROWS * 2 * INTER * 4, &a.buf[SWIGLU_GU]);
  if (!s) s = koi_device_alloc(d, ROWS * INTER * 4, &a.buf[SWIGLU_H]);
  if (!s) s = d->backend->fill(d, a.buf[SWIGLU_GU], 0);
  koi_contest k = {.d = d, .op = &koi_op_swiglu, .c = koi_op_swiglu.usual, .args = &a, .n_args = 1, .now = planted_now, .told = told,
                   .deadline_ns = UINT64_MAX, .max_candidates = 60, .lost = lost};
  if (!s) s = koi_contest_run(&k, r);
  koi_device_free(d, a.buf[SWIGLU_GU]);
  koi_device_free(d, a.buf[SWIGLU_H]);
  koi_device_close(d);
  return s;
}

static int work(void *user, double left_s, unsigned nth, bool hung)
{
  koi_contest_result r;
  (void)user, (void)left_s;
  cli_guard_beat(true);
  koine_status s = contest(!nth ? KOI_LOST_NOTHING : hung ? KOI_LOST_HUNG : KOI_LOST_CRASHED, &r);
  return s == KOINE_ERR_DEVICE ? CLI_GUARD_GONE : s || !r.won ? 1 : 0;
}

/* ---- what is left ---- */
static int n_lost_children;
static void lost(void *user, int sig, bool hung, bool again) { (void)user, (void)sig, (void)hung, n_lost_children += again; }

static char *log_text(void)
{
  char *text = NULL, *path = koi_format("%s/tuned.log", folder);
  size_t n;
  CHECK(!koi_file_read(path, 1 << 24, &text, &n));
  koi_free(path);
  return text;
}

/* Lines with both texts. */
static int count(const char *log, const char *a, const char *b)
{
  int n = 0;
  for (const char *line = log, *end; *line; line = end + 1) {
    if (!(end = strchr(line, '\n'))) break;
    const char *at = strstr(line, a), *bt = strstr(line, b);
    n += at && at < end && bt && bt < end;
  }
  return n;
}

static void fresh(void)
{
  snprintf(folder, sizeof folder, "/tmp/t_guard.XXXXXX");
  CHECK(mkdtemp(folder) != NULL);
}

static void clear(void)
{
  char *path = koi_format("%s/tuned.log", folder);
  unlink(path), rmdir(folder);
  koi_free(path);
}

static void test_faults(void)
{
  static const struct { fault f; const char *outcome; int children; } cases[] = {
    {NONE, "\twon\t", 0},        {NOT_BUILT, "\trefused\t", 0}, {NOT_STARTED, "\trefused\t", 0}, {WRONG, "\twrong\t", 0},
    {HANGS, "\thung\t", 1},      {CRASHES, "\tcrashed\t", 1},      {VANISHES, "\tcrashed\t", 1},
  };
  for (size_t i = 0; i < KOI_COUNT(cases); i++) {
    fresh();
    planted_fault = cases[i].f, n_lost_children = 0;
    cli_guard g = {.work = work, .budget_s = 600, .limit_s = 5, .most = 5, .lost = lost};
    CHECK(cli_guard_run(&g, 4) == 0 && n_lost_children == cases[i].children);
    char *log = log_text();
    if (count(log, bad_text, cases[i].outcome) != 1 || count(log, "swiglu", "\twon\t") != 1) printf("fault %d\n%s", (int)cases[i].f, log);
    CHECK(count(log, bad_text, cases[i].outcome) == 1 && count(log, "swiglu", "\twon\t") == 1);
    CHECK(count(log, "swiglu", cases[i].outcome) == 1); /* that set alone */
    CHECK(cases[i].f == NONE || !count(log, bad_text, "\tmeasured\t"));
    koi_free(log);
    clear();
  }
  planted_fault = NONE;
}

/* A child that is lost before it is busy, or again and again, is an error; what one returns comes back. */
static int dies(void *user, double left_s, unsigned nth, bool hung)
{
  (void)left_s, (void)nth, (void)hung;
  if (*(bool *)user) cli_guard_beat(true);
  raise(SIGKILL);
  return 0;
}

static int returns(void *user, double left_s, unsigned nth, bool hung) { return (void)user, (void)hung, left_s == 9 && nth == 0 ? 3 : 1; }

static void test_ends(void)
{
  bool busy = false;
  cli_guard g = {.work = dies, .user = &busy, .budget_s = 9, .limit_s = 5, .most = 3, .lost = lost};
  n_lost_children = 0;
  CHECK(cli_guard_run(&g, 4) == 4 && n_lost_children == 0);
  busy = true;
  CHECK(cli_guard_run(&g, 4) == 4 && n_lost_children == 3);
  g.work = returns;
  CHECK(cli_guard_run(&g, 4) == 3);
}

/* Killed after 10 candidates, then started anew: nothing is measured twice but the default and the best so far. */
static void test_resume(void)
{
  koi_contest_result r;
  int how;
  fresh();
  pid_t pid = fork();
  if (pid == 0) {
    kill_after = 10;
    contest(KOI_LOST_NOTHING, &r);
    _exit(1);
  }
  CHECK(waitpid(pid, &how, 0) == pid && WIFSIGNALED(how));
  char *log = log_text();
  int before = count(log, "swiglu", "\tmeasured\t") - 1;
  CHECK(before == 10 && count(log, "swiglu", "\ttrying\t") == 10);
  koi_free(log);
  CHECK(!contest(KOI_LOST_NOTHING, &r) && r.won && is_bad(r.p) && r.n_known == (size_t)before && !r.n_lost);
  log = log_text();
  CHECK(count(log, "swiglu", "\tmeasured\t") == before + 1 /* the default */ + 2 /* the default, the best */ + (int)r.n_tried);
  koi_free(log);
  CHECK(!contest(KOI_LOST_CRASHED, &r) && r.won && is_bad(r.p) && !r.n_tried); /* after a loss what was decided holds */
  clear();
}

int main(void)
{
  unsetenv("KOINE_TUNED");
  test_faults();
  test_ends();
  test_resume();
  printf("t_guard: %d checks, %d failed\n", n_checks, n_failed);
  return n_failed != 0;
}
