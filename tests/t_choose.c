/* The chooser: which rung answers, that what it answers is legal for any constants and any device, that a device too small is reported, and
 * that repair changes nothing that is legal already. And the tunables of a step. No device is asked. */
#include <stdio.h>
#include <string.h>
#include "kernels/choose.h"
#include "kernels/step.h"

static int n_checks, n_failed;
#define CHECK(x) ((void)(n_checks++, (x) ? 0 : (printf("FAIL %s:%d: %s\n", __FILE__, __LINE__, #x), n_failed++)))

static uint64_t seed = 0x9e3779b97f4a7c15u;
static uint32_t below(uint32_t n)
{
  seed ^= seed >> 12, seed ^= seed << 25, seed ^= seed >> 27;
  return (uint32_t)((seed * 0x2545f4914f6cdd1du >> 33) % n);
}
#define ONE_OF(list) list[below(KOI_COUNT(list))]

/* ---- rungs, with an op of its own ---- */
enum { P_L, P_V };
static uint64_t items(const int32_t *c, const int32_t *p) { return (void)c, (uint64_t)p[P_L]; }
static uint64_t local(const int32_t *c, const int32_t *p) { return (uint64_t)p[P_L] * (uint64_t)c[0]; }
static int even(const koi_target *t, const int32_t *c, const int32_t *p) { return (void)t, (void)c, p[P_V] % 2 == 0; }
static void policy(const koi_target *t, const int32_t *c, int32_t *p)
{
  (void)c;
  if (t->n_units == 7) p[P_V] = 6;
}
static const koi_op small;
static void repair(const koi_target *t, const int32_t *c, int32_t *p) { koi_halve(t, &small, c, p, P_L, 2); }
static int32_t bucket(const int32_t *i, const int32_t *c) { return i[0] + c[0]; }
static const koi_op small = {.name = "small", .consts = {"C"}, .params = {[P_L] = {.name = "L", .cpu = 2, .gpu = 64}, [P_V] = {.name = "V", .cpu = 8, .gpu = 4}},
                             .defaults = policy, .repair = repair, .legal = even, .group_items = items, .local_bytes = local, .bucket = bucket};

static void test_ladder(void)
{
  int32_t p[KOI_MAX_PARAMS] = {[2] = 77}, c[KOI_MAX_CONSTS] = {4};
  koi_rung rung = KOI_RUNG_TUNED;
  koi_target gpu = {.n_units = 3}, cpu = {.n_units = 7, .local_is_global = 1};
  CHECK(!koi_choose(&gpu, &small, c, 0, p, &rung) && rung == KOI_RUNG_DEFAULT && p[P_L] == 64 && p[P_V] == 4 && p[2] == 77);
  CHECK(!koi_choose(&cpu, &small, c, 0, p, NULL) && p[P_L] == 2 && p[P_V] == 6);
  gpu.max_group = 20; /* repaired by the group, then by local memory, then not at all */
  CHECK(!koi_choose(&gpu, &small, c, 0, p, NULL) && p[P_L] == 16 && p[P_V] == 4);
  gpu.local_bytes = 40;
  CHECK(!koi_choose(&gpu, &small, c, 0, p, NULL) && p[P_L] == 8);
  gpu.max_group = 1;
  CHECK(koi_choose(&gpu, &small, c, 0, p, NULL) == KOINE_ERR_DEVICE && strstr(koi_error_text(), "small") && strstr(koi_error_text(), "at most 1"));
  gpu = (koi_target){.n_units = 3};
  p[P_L] = 0, p[P_V] = 2;
  CHECK(!koi_legal(&gpu, &small, c, p)); /* a group of nobody */
  p[P_L] = 4;
  CHECK(koi_legal(&gpu, &small, c, p));
  p[P_V] = 3;
  CHECK(!koi_legal(&gpu, &small, c, p));
  CHECK(koi_op_bucket(&small, (const int32_t[]){30}, c) == 34 && koi_op_bucket(&koi_op_widen, (const int32_t[KOI_MAX_INTS]){0}, c) == 0);
}

/* ---- every op ---- */
/* A device as they come, and worse ones. */
static koi_target any_target(void)
{
  static const uint32_t groups[] = {0, 1, 2, 8, 24, 64, 100, 256, 1024}, widths[] = {0, 1, 2, 4, 8, 16};
  static const uint64_t bytes[] = {0, 1, 64, 512, 4095, 16384, 32768, 65536};
  return (koi_target){.vector_width = ONE_OF(widths), .lanes = 32, .max_group = ONE_OF(groups), .local_bytes = ONE_OF(bytes), .n_units = 1 + below(200),
                      .local_is_global = (int)below(2), .denormals = 1};
}

/* The op's usual constants, some of them others: types and flags stay what they may be. */
static void any_consts(const koi_op *op, int32_t *c)
{
  static const int32_t sizes[] = {16, 32, 64, 128, 256, 512}, heads[] = {1, 2, 3, 4, 6, 12, 64, 128}, panels[] = {1, 3, 8, 12, 16, 32};
  memcpy(c, op->usual, sizeof op->usual);
  for (size_t i = 0; i < koi_op_n_consts(op); i++) {
    const char *name = op->consts[i];
    if (!strcmp(name, "WT")) c[i] = (int32_t)below(KOI_N_FORMATS);
    else if (!strcmp(name, "NT")) c[i] = ONE_OF(panels);
    else if (!strcmp(name, "TILE")) c[i] = 16 << below(3);
    else if (!strcmp(name, "NH")) c[i] = ONE_OF(heads);
    else if (!strcmp(name, "IH")) c[i] = ONE_OF(sizes);
    else if (!strcmp(name, "CARE") || !strcmp(name, "EXACT") || !strcmp(name, "HASH") || !strcmp(name, "HEAD")) c[i] = (int32_t)below(2);
    else if (!strcmp(name, "DH")) c[i] = 2 * (33 + (int32_t)below(300));
    else if (!strcmp(name, "RD")) c[i] = 2 + 2 * (int32_t)below(32); /* below DH's least */
  }
}

static void say(const koi_target *t, const koi_op *op, const int32_t *c, const int32_t *p)
{
  printf("     op %s, group %u, local %llu, width %u, cpu %d:", op->name, t->max_group, (unsigned long long)t->local_bytes, t->vector_width, t->local_is_global);
  for (size_t i = 0; i < koi_op_n_consts(op); i++) printf(" %s=%d", op->consts[i], c[i]);
  for (size_t i = 0; i < koi_op_n_params(op); i++) printf(" %s=%d", op->params[i].name, p[i]);
  printf("\n");
}

static void test_op(const koi_op *op)
{
  for (int n = 0; n < 2000; n++) {
    koi_target t = any_target();
    int32_t c[KOI_MAX_CONSTS] = {0}, p[KOI_MAX_PARAMS] = {0}, again[KOI_MAX_PARAMS];
    any_consts(op, c);
    koine_status s = koi_choose(&t, op, c, 0, p, NULL);
    int before = n_failed;
    CHECK(!s == koi_legal(&t, op, c, p));
    CHECK(!s || (s == KOINE_ERR_DEVICE && strstr(koi_error_text(), op->name)));
    bool roomy = (!t.max_group || t.max_group >= 64) && (!t.local_bytes || t.local_bytes >= 16384);
    CHECK(!s || !roomy); /* every real device can do every op */
    if (t.max_group && !s && op->group_items) CHECK(op->group_items(c, p) <= t.max_group);
    memcpy(again, p, sizeof p);
    if (!s && op->repair) op->repair(&t, c, again);
    CHECK(!memcmp(p, again, sizeof p));
    if (n_failed > before) say(&t, op, c, p);
    if (n_failed > before + 4) return;
  }
}

/* Parameters that a tuner may try, any mixture: repair ends, and leaves what is legal or what the limits refuse. */
static void test_repair(const koi_op *op)
{
  for (int n = 0; n < 2000 && op->repair; n++) {
    koi_target t = any_target();
    int32_t c[KOI_MAX_CONSTS] = {0}, p[KOI_MAX_PARAMS] = {0};
    any_consts(op, c);
    for (size_t i = 0; i < koi_op_n_params(op); i++) p[i] = op->params[i].values[below((uint32_t)op->params[i].n_values)];
    op->repair(&t, c, p);
    for (size_t i = 0; i < koi_op_n_params(op); i++) CHECK(p[i] >= 0 && p[i] <= 4096);
    if (!koi_legal(&t, op, c, p)) continue;
    CHECK(!op->local_bytes || !t.local_bytes || op->local_bytes(c, p) <= t.local_bytes);
  }
}

/* ---- a step ---- */
static void test_step(void)
{
  koi_tunables u;
  koi_step_tunables(&(koi_target){.n_units = 1}, &u);
  CHECK(u.split_groups == 8 && koi_step_splits(&u, 1) == 8 && koi_step_splits(&u, 3) == 2 && koi_step_splits(&u, 512) == 1);
  koi_step_tunables(&(koi_target){.n_units = 108}, &u);
  CHECK(u.split_groups == 64 && koi_step_splits(&u, 1) == 32 && koi_step_splits(&u, 2) == 32 && koi_step_splits(&u, 4) == 16);
  CHECK(u.nt == koi_op_pack.usual[PACK_NT] && u.nt_group == koi_op_matmul.usual[MATMUL_NT] && u.nt_group == koi_op_group.usual[GROUP_NT]);
  for (int i = 0; i < KOI_N_FORMATS; i++) CHECK(!u.gemm_from[i]);
}

int main(void)
{
  test_ladder();
  test_step();
  for (const koi_op *const *op = koi_ops; *op; op++) {
    CHECK(!(*op)->source || (*op)->group_items);
    test_op(*op);
    test_repair(*op);
  }
  printf("t_choose: %d checks, %d failed\n", n_checks, n_failed);
  return n_failed != 0;
}
