/* The HIP backend on HIP on the CPU (tests/hip_emu.c), with 32 and with 64 lanes: what its kernels may rely on, and that what they may not shows.
 * Small kernels of its own, written as for HIP; what each op computes is t_ops' matter (t_device_hip.sh). Exit 77 without a clang. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "device/kern.h"
#include "checks.h"

enum { N = 64, GROUPS = 3 };

/* KERNEL(buffer of GROUPS * N ints, an int): one group of N work-items. */
#define HEAD \
  "#define KERNEL extern \"C\" __attribute__((global)) void\n" \
  "#define LANE __builtin_amdgcn_workitem_id_x()\n" \
  "#define BARRIER() __builtin_amdgcn_s_barrier()\n" \
  "#define X (x + __builtin_amdgcn_workgroup_id_x() * 64)\n"

static const struct { const char *name, *text; } kernels[] = {
  {"ids", HEAD "KERNEL ids(int *x, int add) { X[LANE] = (int)(__builtin_amdgcn_workgroup_id_x() * 1000 + LANE) + add; }"},
  {"turn", HEAD /* what the neighbour has; each wave is a ring */
   "KERNEL turn(int *x, int add) { int w = __builtin_amdgcn_wavefrontsize(); X[LANE] = __builtin_amdgcn_ds_bpermute((LANE + 1) % w * 4, (int)LANE) + add; }"},
  {"votes", HEAD /* odd lanes, of those below */
   "KERNEL votes(int *x, int add) { unsigned long long odd = __builtin_amdgcn_ballot_w64(LANE & 1);"
   " X[LANE] = (int)__builtin_amdgcn_mbcnt_hi((unsigned)(odd >> 32), __builtin_amdgcn_mbcnt_lo((unsigned)odd, 0)) + __builtin_amdgcn_readfirstlane((int)LANE) * 100 + add; }"},
  {"apart", HEAD /* lanes that are elsewhere give nothing */
   "KERNEL apart(int *x, int add) { int v = 0; if (LANE % 2) v = __builtin_amdgcn_ds_bpermute((LANE ^ 1) * 4, 7) + 1; X[LANE] = v + add; }"},
  {"local", HEAD /* each reads what another wrote, either way round */
   "KERNEL local(int *x, int add) { __attribute__((shared)) int a[64]; a[LANE] = (int)LANE; BARRIER(); int v = a[63 - LANE]; BARRIER(); a[LANE] = v; BARRIER();"
   " X[LANE] = a[63 - LANE] + add; }"},
  {"last", HEAD /* the last of all groups to arrive adds up */
   "KERNEL last(int *x, int add) { if (LANE == 0) X[1] = __atomic_fetch_add(x, 1, __ATOMIC_ACQ_REL) + add; }"},
};

static int expected(const char *name, int lanes, int group, int i)
{
  int wave = i / lanes * lanes;
  if (!strcmp(name, "ids")) return group * 1000 + i;
  if (!strcmp(name, "turn")) return wave + (i - wave + 1) % lanes;
  if (!strcmp(name, "votes")) return (i - wave) / 2 + wave * 100;
  if (!strcmp(name, "apart")) return i % 2;
  return i;
}

static koi_op op = {.bufs = {{"x", "[GROUPS][N]", KOI_INOUT}}, .ints = {"add"}};

static koine_status build(koi_device *d, const char *name, const char *text, size_t group, koi_kernel **out)
{
  koi_build b = {.name = name, .text = text, .defs = "", .group_items = group};
  koine_status s = d->backend->build(d, &b, out, NULL, NULL);
  op.name = name;
  if (!s) (*out)->op = &op;
  return s;
}

/* Runs it with group work-items on out, which holds 0 at first. */
static koine_status run(koi_device *d, koi_kernel *k, int add, size_t group, int *out /* [GROUPS * N] */)
{
  koi_args a = {.i = {add}};
  const koi_range r = {{GROUPS * group, 1, 1}, {group, 1, 1}};
  koine_status s = d->backend->alloc(d, GROUPS * N * sizeof *out, &a.buf[0]);
  if (s) return s;
  s = d->backend->fill(d, a.buf[0], 0);
  if (!s) s = d->backend->launch(d, k, &a, &r);
  if (!s) s = d->backend->read(d, a.buf[0], 0, GROUPS * N * sizeof *out, out);
  d->backend->free(d, a.buf[0]);
  return s;
}

static void test_kernels(koi_device *d)
{
  int out[GROUPS * N], lanes = (int)d->endpoint->lanes;
  for (size_t t = 0; t < KOI_COUNT(kernels); t++) {
    koi_kernel *k;
    checks_tried = kernels[t].name;
    OK(build(d, kernels[t].name, kernels[t].text, N, &k));
    OK(run(d, k, 5, N, out));
    if (!strcmp(checks_tried, "last")) CHECK(out[0] == GROUPS && out[1] + out[N + 1] + out[2 * N + 1] == 3 * 5 + 0 + 1 + 2);
    else
      for (int i = 0; i < GROUPS * N; i++) CHECK(out[i] == expected(checks_tried, lanes, i / N, i % N) + 5);
    d->backend->drop(d, k);
  }
  checks_tried = "";
}

/* Sums of a group's 64: one by shuffles, which believes that a wave has as many, one in local memory, which believes that lanes run in step. */
static void test_wrong_lanes(koi_device *d)
{
  static const char shuffled[] = HEAD "KERNEL shuffled(int *x, int add) { int v = (int)LANE, w = __builtin_amdgcn_wavefrontsize();"
    " for (int n = 32; n; n /= 2) v += __builtin_amdgcn_ds_bpermute((LANE + n) % w * 4, v); if (LANE == 0) X[0] = v + add; }";
  static const char in_step[] = HEAD "KERNEL in_step(int *x, int add) { __attribute__((shared)) volatile int a[64]; a[LANE] = (int)LANE;"
    " for (int n = 32; n; n /= 2) if (LANE < n) a[LANE] = a[LANE] + a[LANE + n]; if (LANE == 0) X[0] = a[0] + add; }";
  koi_kernel *k;
  int out[GROUPS * N];
  OK(build(d, "shuffled", shuffled, N, &k));
  OK(run(d, k, 0, N, out));
  CHECK((out[0] == 63 * 64 / 2) == (d->endpoint->lanes == 64));
  d->backend->drop(d, k);
  OK(build(d, "in_step", in_step, N, &k));
  OK(run(d, k, 0, N, out));
  CHECK(out[0] != 63 * 64 / 2 || out[N] != 63 * 64 / 2 || out[2 * N] != 63 * 64 / 2);
  d->backend->drop(d, k);
}

/* What a device refuses, at once or when it is waited for. */
static void test_refused(koi_device *d)
{
  koi_kernel *k = NULL;
  int out[GROUPS * N];
  koi_build damaged = {.name = "ids", .text = "", .defs = "", .binary = "nothing that a compiler made, but long enough for one", .binary_bytes = 54};
  CHECK(d->backend->build(d, &damaged, &k, NULL, NULL) == KOINE_ERR_DEVICE && !k && strstr(koi_error_text(), "loading a program"));
  CHECK(build(d, "ids", HEAD "KERNEL ids(int *x, int add) { nothing; }", N, &k) == KOINE_ERR_DEVICE && !k && strstr(koi_error_text(), "nothing"));
  OK(build(d, "ids", kernels[0].text, N / 2, &k));
  CHECK(k->max_group == N / 2);
  CHECK(run(d, k, 0, N, out) == KOINE_ERR_DEVICE && strstr(koi_error_text(), "the launch failed"));
  OK(run(d, k, 0, N / 2, out));
  d->backend->drop(d, k);
}

/* A barrier that some do not reach: the last test on a device, which is lost then, as a real one is. */
static void test_lost(koi_device *d)
{
  koi_kernel *k;
  int out[GROUPS * N];
  OK(build(d, "lost", HEAD "KERNEL lost(int *x, int add) { if (LANE < 60) BARRIER(); X[LANE] = add; }", N, &k));
  CHECK(run(d, k, 1, N, out) == KOINE_ERR_DEVICE && strstr(koi_error_text(), "hipErrorLaunchFailure"));
  CHECK(d->backend->finish(d) == KOINE_ERR_DEVICE);
  d->backend->drop(d, k);
}

/* What one device's compiler made is not loaded on the other, though a cache may be asked by both. */
static void test_foreign(koi_device *a, koi_device *b)
{
  koi_build build = {.name = "ids", .text = kernels[0].text, .defs = "", .want_binary = true}, kept = build;
  koi_kernel *k = NULL, *other = NULL;
  void *binary = NULL;
  char *of_a, *of_b;
  OK(a->backend->build(a, &build, &k, &binary, &kept.binary_bytes));
  kept.binary = binary, kept.want_binary = false;
  CHECK(binary && b->backend->build(b, &kept, &other, NULL, NULL) == KOINE_ERR_DEVICE && !other);
  OK(a->backend->identity(a, &of_a));
  OK(b->backend->identity(b, &of_b));
  CHECK(strcmp(of_a, of_b));
  a->backend->drop(a, k);
  koi_free(binary), koi_free(of_a), koi_free(of_b);
}

int main(void)
{
  koi_probe p = {0};
  koi_device *d[2];
  const char *clang = getenv("KOINE_CLANG");
  char *have = koi_format("command -v %s >/dev/null", clang && *clang ? clang : "clang-19");
  setenv("KOINE_HIP_LIBRARY", "tests/.libs/libhipemu.so", 0);
  if (system(have)) {
    printf("SKIP: no clang-19, which compiles kernels for HIP on the CPU\n");
    return 77;
  }
  OK(koi_backend_hip.probe(&p));
  CHECK(p.n_endpoints == 6 && !p.n_skipped && p.endpoints[0].lanes == 32 && p.endpoints[1].lanes == 64);
  for (size_t i = 0; i < 2 && !n_failed; i++) OK(koi_device_open(&p.endpoints[i], NULL, 1, &d[i]));
  if (!n_failed) test_foreign(d[0], d[1]);
  for (size_t i = 0; i < 2 && !n_failed; i++) {
    checks_on = p.endpoints[i].id;
    test_kernels(d[i]);
    test_wrong_lanes(d[i]);
    test_refused(d[i]);
    test_lost(d[i]);
    koi_device_close(d[i]);
  }
  koi_probe_free(&p);
  koi_free(have);
  printf("t_hip: %d checks, %d failed\n", n_checks, n_failed);
  return n_failed ? 1 : 0;
}
