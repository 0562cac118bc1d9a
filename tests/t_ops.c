/* Every op on every device found, against the C reference. And the verifier itself, against ops that are wrong in known ways.
 * KOINE_TEST_DEVICE: only the device of this id, or with this in its name or platform. KOINE_TEST_OP: only this op.
 * KOINE_TEST_ALL: with the cases that else only a tuner asks for. KOINE_TEST_SETS: parameter sets for each op and its constants (default 4). KOINE_TEST_SMALL: without the large cases.
 * KOINE_TEST_BARE: for Oclgrind: buffers of the exact size, nothing initialised that the op should not read. KOINE_TEST_VERBOSE: a line a case. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "check/verify.h"
#include "kernels/step.h"
#include "check/verify_case.h"

static int n_failed;

static void fail(const char *what, const char *detail)
{
  printf("FAIL %s: %s\n", what, detail);
  n_failed++;
}

/* ---- the verifier against wrong ops ---- */
static const koi_op *real_op;
static koi_op fake_op;
static int fault;
static const char *const fault_names[] = {"wrong value", "not written", "written too much", "written before", "written behind", "input changed", "slow rounding error"};

/* matvec's reference with a fault in Y. */
static void wrong_ref(const koi_ref_args *a)
{
  float *y = a->buf[MATVEC_Y], y0 = y[0], *last = y + a->bytes[MATVEC_Y] / 4;
  real_op->ref(a);
  for (size_t i = 0; i < a->bytes[MATVEC_Y] / 4; i++) {
    uint32_t bits;
    memcpy(&bits, &y[i], 4);
    if (fault == 2 && bits == KOI_VERIFY_POISON) y[i] = 0;
    if (fault == 6) y[i] *= 1.001f;
    if (bits == KOI_VERIFY_POISON || y[i] != y[i]) continue;
    if (fault == 0) y[i] += 1;
    if (fault == 1) memcpy(&y[i], &(const uint32_t){KOI_VERIFY_POISON}, 4);
    if (fault < 2) break;
  }
  if (fault == 3) y[-1] = y0;
  if (fault == 4) *last = y0;
  if (fault == 5) ((float *)a->buf[MATVEC_X])[0] += 1;
}

static koine_status wrong_launch(koi_device *d, koi_kernel *k, const koi_args *a, const koi_range *r)
{
  koi_kernel wrong = *k;
  real_op = k->op;
  fake_op = *k->op;
  fake_op.ref = wrong_ref;
  wrong.op = &fake_op;
  return koi_backend_host.launch(d, &wrong, a, r);
}

static koine_status refuse_build(koi_device *d, const koi_build *b, koi_kernel **out, void **binary, size_t *binary_bytes)
{
  (void)d, (void)out, (void)binary, (void)binary_bytes;
  return koi_error(KOINE_ERR_DEVICE, "no compiler for %s", b->name);
}

static bool stop(void *user, const char *what, uint64_t done, uint64_t total)
{
  (void)user, (void)what, (void)total;
  return done < 1;
}

/* The host's device with other hooks. */
static koi_device *open_broken(const koi_endpoint *host, const koi_backend *broken)
{
  koi_device *d;
  if (koi_device_open(host, NULL, 1, &d)) {
    fail("verifier", koi_error_text());
    exit(1);
  }
  d->backend = broken;
  return d;
}

static void test_verifier(const koi_endpoint *host)
{
  koi_backend broken = koi_backend_host;
  koi_device *d = open_broken(host, &broken);
  koi_verify_counts n;
  koi_verify_options o = {.op = "matvec", .small = true, .counts = &n};
  for (fault = 0; fault < (int)KOI_COUNT(fault_names); fault++) {
    koi_text report = {0};
    broken.launch = wrong_launch;
    koine_status s = koi_verify_ops(d, &o, NULL, NULL, &report);
    if (s != KOINE_ERR_CHECK || !n.n_wrong || !strstr(koi_error_text(), "matvec") || !strstr(koi_error_text(), "driver"))
      fail(fault_names[fault], s ? koi_error_text() : "the verifier saw nothing");
    koi_free(report.s);
  }
  koi_text report = {0};
  koi_device_close(d);
  broken.build = refuse_build;
  d = open_broken(host, &broken);
  if (koi_verify_ops(d, &o, NULL, NULL, &report) || !n.n_host || n.n_wrong) fail("a device that builds nothing", "expected ops on the host, none wrong");
  o.op = NULL;
  if (koi_verify_ops(d, &o, stop, NULL, &report) != KOINE_ERR_CANCELLED) fail("cancelling", "went on");
  koi_free(report.s);
  koi_device_close(d);
}

/* ---- devices ---- */
static bool named(const koi_endpoint *e)
{
  const char *want = getenv("KOINE_TEST_DEVICE");
  return !want || !*want || !strcmp(e->id, want) || strcasestr(e->name, want) || strcasestr(e->platform, want);
}

/* Says what is running, so that a crash or a hang in a driver has a name. */
static bool say(void *user, const char *what, uint64_t done, uint64_t total)
{
  uint64_t *last = user, now = koi_now_ns();
  if (done) printf(" %.1f s\n", (double)(now - *last) * 1e-9);
  printf("%2llu/%llu %s", (unsigned long long)done + 1, (unsigned long long)total, what);
  fflush(stdout);
  *last = now;
  return true;
}

static void test_device(const koi_endpoint *e)
{
  const char *sets = getenv("KOINE_TEST_SETS");
  koi_verify_counts n = {0};
  koi_verify_options o = {.op = getenv("KOINE_TEST_OP"), .max_sets = sets ? (uint32_t)atoi(sets) : 4, .all = getenv("KOINE_TEST_ALL") != NULL, .small = getenv("KOINE_TEST_SMALL") != NULL,
                          .bare = getenv("KOINE_TEST_BARE") != NULL, .verbose = getenv("KOINE_TEST_VERBOSE") != NULL, .counts = &n};
  koi_device *d;
  koi_text report = {0};
  printf("== %s: %s (%s %s)\n", e->id, e->name, e->platform, e->driver);
  fflush(stdout);
  if (koi_device_open(e, NULL, 0, &d)) {
    fail(e->id, koi_error_text());
    return;
  }
  uint64_t start = koi_now_ns(), last = start;
  koine_status s = koi_verify_ops(d, &o, say, &last, &report);
  printf("\n");
  if (s) fail(e->id, koi_error_text());
  else if (n.n_host) fail(e->id, "an op runs on the host");
  printf("%s%.1f s\n", report.s ? report.s : "", (double)(koi_now_ns() - start) * 1e-9);
  koi_free(report.s);
  koi_device_close(d);
}

int main(void)
{
  size_t n_tested = 0;
  const char *op = getenv("KOINE_TEST_OP");
  if (op && !koi_step_named(op)) return printf("KOINE_TEST_OP=%s: there is no such op\n", op), 2;
  for (size_t b = 0; koi_backends[b]; b++) {
    koi_probe p = {0};
    if (koi_backends[b]->probe(&p)) fail(koi_backends[b]->name, koi_error_text());
    for (size_t i = 0; i < p.n_skipped; i++) printf("skipped %s: %s\n", p.skipped[i].what, p.skipped[i].why);
    for (size_t i = 0; i < p.n_endpoints; i++) {
      const koi_endpoint *e = &p.endpoints[i];
      if (e->backend == &koi_backend_host && !getenv("KOINE_TEST_BARE")) test_verifier(e);
      if (e->usable && named(e)) test_device(e), n_tested++;
      else printf("skipped %s: %s\n", e->id, e->usable ? "not asked for" : e->why);
    }
    for (size_t i = 0; i < p.n_endpoints; i++) p.endpoints[i].backend->unprobe(&p.endpoints[i]);
    koi_probe_free(&p);
  }
  if (!n_tested) fail("devices", "none of that name");
  printf("t_ops: %zu devices, %d failed\n", n_tested, n_failed);
  return n_failed != 0;
}
