/* The hooks of every backend, on every device of this machine: memory, views, kernels, refusals, the fallback; and the fake that other
 * tests use for faults. What each op computes is the op tests' matter: here one small op stands for all.
 * Usage: t_backend [PART OF A DEVICE'S NAME] */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/sources.h"
#include "device/kern.h"
#include "device/machine_open.h"
#include "checks.h"
#include "fake.h"
#include "small_call.h"

/* ---- memory -------------------------------------------------------------------------------------------------------------- */
enum { BIG = 200003 }; /* bytes: more than one staged write, no multiple of anything */

static void test_buffer(koi_device *d)
{
  const koi_backend *b = d->backend;
  static uint8_t in[BIG], out[BIG];
  for (size_t i = 0; i < BIG; i++) in[i] = (uint8_t)(i * 7 + i / 256);
  koi_buf *x, *y;
  OK(b->alloc(d, BIG, &x));
  OK(b->alloc(d, BIG, &y));
  CHECK(x->bytes == BIG);
  OK(b->write(d, x, 0, BIG, in));
  OK(b->read(d, x, 0, BIG, out));
  CHECK(!memcmp(in, out, BIG));
  OK(b->read(d, x, 70001, 777, out)); /* odd offsets */
  CHECK(!memcmp(in + 70001, out, 777));
  OK(b->fill(d, y, 0xa5));
  OK(b->copy(d, y, 13, x, 5, 4001));
  OK(b->read(d, y, 0, BIG, out));
  CHECK(all_are(out, 13, 0xa5) && !memcmp(out + 13, in + 5, 4001) && all_are(out + 4014, BIG - 4014, 0xa5));
  for (size_t i = 0; i < 3000; i++) { /* small writes are queued: the source changes at once, and there are more than fit aside */
    uint8_t piece[1000];
    memset(piece, (int)(i & 255), sizeof piece);
    OK(b->write(d, y, i % 100 * 1000, sizeof piece, piece));
    memset(piece, 0xee, sizeof piece);
  }
  OK(b->finish(d));
  OK(b->read(d, y, 0, BIG, out));
  for (size_t i = 0; i < 100; i++) CHECK(all_are(out + i * 1000, 1000, (uint8_t)(2900 + i)));
  OK(b->write(d, y, BIG, 0, in));
  OK(b->read(d, y, 0, 0, out));
  CHECK(b->write(d, x, BIG - 1, 2, in) == KOINE_ERR_ARG);
  CHECK(b->read(d, x, SIZE_MAX, 2, out) == KOINE_ERR_ARG);
  CHECK(b->copy(d, x, 1, y, 0, BIG) == KOINE_ERR_ARG);
  b->free(d, x);
  b->free(d, y);
}

static void test_fill(koi_device *d)
{
  static const size_t sizes[] = {1, 2, 3, 4, 15, 16, 17, 1000, 65537};
  static uint8_t out[65537];
  for (size_t i = 0; i < KOI_COUNT(sizes); i++) {
    koi_buf *x;
    OK(d->backend->alloc(d, sizes[i], &x));
    OK(d->backend->fill(d, x, (uint8_t)(i + 1)));
    OK(d->backend->read(d, x, 0, sizes[i], out));
    CHECK(all_are(out, sizes[i], (uint8_t)(i + 1)));
    d->backend->free(d, x);
  }
}

static void test_views(koi_device *d)
{
  const koi_backend *b = d->backend;
  size_t step = d->endpoint->base_align_bytes ? d->endpoint->base_align_bytes : 1;
  koi_buf *whole, *part, *inner, *none = NULL;
  uint8_t *out = koi_alloc(8, step);
  OK(b->alloc(d, 8 * step, &whole));
  OK(b->fill(d, whole, 1));
  OK(b->view(d, whole, 2 * step, 4 * step, &part));
  OK(b->view(d, part, step, 2 * step, &inner)); /* 3 .. 5 of the whole */
  OK(b->fill(d, part, 2));
  OK(b->fill(d, inner, 3));
  OK(b->read(d, whole, 0, 8 * step, out));
  for (size_t i = 0; i < 8; i++) CHECK(all_are(out + i * step, step, i < 2 || i > 5 ? 1 : i < 3 || i > 4 ? 2 : 3));
  OK(b->copy(d, whole, 0, inner, 0, step));
  OK(b->read(d, whole, 0, step, out));
  CHECK(all_are(out, step, 3));
  CHECK(b->view(d, whole, step, 8 * step, &none) == KOINE_ERR_ARG && b->view(d, part, SIZE_MAX, 2, &none) == KOINE_ERR_ARG && !none);
  CHECK(b->read(d, inner, step, 2 * step, out) == KOINE_ERR_ARG);
  b->free(d, inner);
  b->free(d, part);
  b->free(d, whole);
  koi_free(out);
}

static void test_too_large(koi_device *d)
{
  koi_buf *x = NULL;
  CHECK(d->backend->alloc(d, SIZE_MAX / 2, &x) == KOINE_ERR_MEMORY && !x);
  CHECK(strstr(koi_error_text(), "bytes"));
  OK(d->backend->alloc(d, 64, &x)); /* and the device goes on */
  d->backend->free(d, x);
}

/* ---- kernels ------------------------------------------------------------------------------------------------------------- */
static void test_launch(koi_device *d)
{
  for (int weighted = 0; weighted < 2; weighted++) { /* unweighted: the second buffer is NULL */
    koi_kernel *k, *same;
    int32_t c[KOI_MAX_CONSTS] = {0};
    small_expect(weighted);
    koi_args a = small_call(d, weighted);
    OK(koi_kern_choose(d, &koi_op_swiglu, c, 0, &same));
    OK(koi_kern_build(d, &koi_op_swiglu, c, same->p, &k));
    CHECK(k->op == &koi_op_swiglu && k != same && koi_kern_fits(k));
    OK(koi_kern_launch(d, k, &a));
    CHECK(small_matches(d, &a, 1e-5f));
    koi_kern_drop(d, k); /* the other one stays whole */
    OK(d->backend->fill(d, a.buf[SWIGLU_H], 0x11));
    OK(koi_kern_launch(d, same, &a));
    CHECK(small_matches(d, &a, 1e-5f));
    a.i[0] = 0; /* nothing to do is no error */
    OK(koi_kern_launch(d, same, &a));
    OK(d->backend->finish(d));
    small_end(d, &a);
  }
}

static void test_fallback(koi_device *d)
{
  int32_t c[KOI_MAX_CONSTS] = {0};
  small_expect(true);
  koi_args a = small_call(d, true);
  OK(koi_backend_fallback(d, &koi_op_swiglu, c, &a));
  CHECK(small_matches(d, &a, 0));
  small_end(d, &a);
}

/* One buffer in two places is one memory. */
static void test_fallback_in_place(koi_device *d)
{
  float x[6] = {3, 4, 3, 4, 3, 4}, rope[2] = {1, 0};
  koi_args a = {.i = {[NORM_ROPE_N] = 3, [NORM_ROPE_DIM] = 2, [NORM_ROPE_RD] = 2, [NORM_ROPE_ROWS_PER_POS] = 1, [NORM_ROPE_LDX] = 2, [NORM_ROPE_LDY] = 2}};
  int32_t c[KOI_MAX_CONSTS] = {[NORM_ROPE_C_NORM] = 1}; /* rms without weight */
  OK(d->backend->alloc(d, sizeof x, &a.buf[NORM_ROPE_X]));
  OK(d->backend->alloc(d, 3 * sizeof rope, &a.buf[NORM_ROPE_ROPE]));
  for (size_t i = 0; i < 3; i++) OK(d->backend->write(d, a.buf[NORM_ROPE_ROPE], i * sizeof rope, sizeof rope, rope));
  a.buf[NORM_ROPE_Y] = a.buf[NORM_ROPE_X];
  OK(d->backend->write(d, a.buf[NORM_ROPE_X], 0, sizeof x, x));
  OK(koi_backend_fallback(d, &koi_op_norm_rope, c, &a));
  OK(d->backend->read(d, a.buf[NORM_ROPE_X], 0, sizeof x, x));
  for (size_t i = 0; i < 6; i++) CHECK(fabsf(x[i] - (float)(3 + i % 2) / sqrtf(12.5f)) < 1e-6f);
  d->backend->free(d, a.buf[NORM_ROPE_X]);
  d->backend->free(d, a.buf[NORM_ROPE_ROPE]);
}

/* ---- refusals of a compiler ---------------------------------------------------------------------------------------------- */
static void wide_launch(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out)
{
  (void)a, (void)c, (void)p;
  out->global[0] = out->local[0] = (size_t)1 << 20;
}

static int never(const koi_target *t, const int32_t *c, const int32_t *p) { (void)t, (void)c, (void)p; return 0; }

static void test_bad_kernels(koi_device *d)
{
  koi_kernel *k = NULL;
  int32_t c[KOI_MAX_CONSTS] = {0}, p[KOI_MAX_PARAMS] = {1, 1, 1};
  koi_op broken = koi_op_swiglu;
  broken.consts[0] = "float"; /* -D float=0: no C any more */
  CHECK(koi_kern_build(d, &broken, c, p, &k) == KOINE_ERR_DEVICE && !k);
  CHECK(strstr(koi_error_text(), d->endpoint->id) && strstr(koi_error_text(), "swiglu") && strstr(koi_error_text(), "rror"));
  CHECK(koi_kern_choose(d, &broken, c, 0, &k) == KOINE_ERR_DEVICE && !k);
  broken = koi_op_swiglu;
  broken.source = "no_such_file";
  CHECK(koi_kern_build(d, &broken, c, p, &k) == KOINE_ERR_DEVICE && strstr(koi_error_text(), "no_such_file"));
  broken = koi_op_swiglu;
  broken.name = "no_such_kernel";
  CHECK(koi_kern_build(d, &broken, c, p, &k) == KOINE_ERR_DEVICE && strstr(koi_error_text(), "no_such_kernel"));
  broken = koi_op_swiglu;
  broken.legal = never;
  CHECK(koi_kern_choose(d, &broken, c, 0, &k) == KOINE_ERR_DEVICE && strstr(koi_error_text(), "no parameters"));
  broken = koi_op_swiglu;
  broken.launch = wide_launch;
  OK(koi_kern_build(d, &broken, c, p, &k));
  small_expect(true);
  koi_args a = small_call(d, true);
  CHECK(koi_kern_launch(d, k, &a) == KOINE_ERR_DEVICE && strstr(koi_error_text(), "1048576"));
  koi_kern_drop(d, k);
  OK(koi_kern_choose(d, &koi_op_swiglu, c, 0, &k)); /* and the device goes on */
  OK(koi_kern_launch(d, k, &a));
  CHECK(small_matches(d, &a, 1e-5f));
  small_end(d, &a);
}

/* ---- exhaustion of the host's memory ------------------------------------------------------------------------------------- */
static koine_status short_life(const koi_endpoint *e)
{
  koi_device *d;
  koi_kernel *k = NULL;
  koi_bound *b = NULL, *reference = NULL;
  koi_range r;
  koi_args a = {.i = {[SWIGLU_E] = SMALL_E, [SWIGLU_INTER] = SMALL_INTER, [SWIGLU_LDG] = SMALL_LDG, [SWIGLU_LDH] = SMALL_LDH}, .f = {[SWIGLU_LIMIT] = 2.0f}};
  int32_t c[KOI_MAX_CONSTS] = {0};
  koine_status s = koi_device_open(e, NULL, 0, &d);
  if (s) return s;
  s = koi_device_alloc(d, sizeof small_gu, &a.buf[0]);
  if (!s) s = d->backend->view(d, a.buf[0], 0, 64, &a.buf[1]);
  if (!s) s = koi_device_alloc(d, sizeof small_out, &a.buf[2]);
  if (!s) s = d->backend->write(d, a.buf[0], 0, sizeof small_gu, small_gu);
  if (!s) s = koi_kern_get(d, &koi_op_swiglu, c, 0, &k);
  if (!s) s = koi_kern_launch(d, k, &a);
  if (!s) s = koi_backend_fallback(d, &koi_op_swiglu, c, &a);
  if (!s) s = koi_device_bind(d, &koi_op_swiglu, c, k, &a, &b);
  if (!s) s = koi_device_bind(d, &koi_op_swiglu, c, NULL, &a, &reference);
  if (!s) s = koi_device_patch(d, b, 0, 2);
  if (!s && koi_kern_range(k, &b->a, &r)) s = koi_device_start(d, b, &r);
  if (!s) s = koi_device_start(d, reference, NULL);
  if (!s) s = d->backend->finish(d);
  koi_device_unbind(d, b);
  koi_device_unbind(d, reference);
  for (size_t i = 3; i-- > 0;) koi_device_free(d, a.buf[i]);
  CHECK(!d->bytes);
  koi_device_close(d);
  return s;
}

static void test_exhaustion(const koi_endpoint *e)
{
  koine_status s = KOINE_ERR_MEMORY;
  for (long n = 1; s == KOINE_ERR_MEMORY && n < 100; n++) {
    koi_alloc_fail_at(n);
    s = short_life(e);
    koi_alloc_fail_at(0);
  }
  CHECK(s == KOINE_OK);
}

/* ---- the fake ------------------------------------------------------------------------------------------------------------ */
/* One device a machine: opened once, closed by the last who gives it back, opened again. */
static void test_shared(koine_runtime *rt, size_t i)
{
  koi_device *one = NULL, *two = NULL;
  koi_buf *x;
  fake_refuse(FAKE_OPEN, 1, 1, KOINE_ERR_DEVICE);
  CHECK(koi_machine_device(rt, i, &one) == KOINE_ERR_DEVICE && !one);
  for (int turn = 0; turn < 2; turn++) {
    fake_refuse(FAKE_ANY, 0, 0, KOINE_OK);
    OK(koi_machine_device(rt, i, &one));
    OK(koi_machine_device(rt, i, &two));
    CHECK(one == two && fake_calls(FAKE_OPEN) == 1 && !one->cache_dir);
    OK(koi_device_alloc(one, 1000, &x));
    CHECK(two->bytes == 1000);
    koi_machine_device_drop(rt, one);
    koi_device_free(two, x);
    CHECK(!two->bytes && fake_n_live() == 1);
    koi_machine_device_drop(rt, two);
    CHECK(!fake_n_live());
  }
}

static void test_fake(void)
{
  koine_runtime *rt = NULL;
  OK(fake_runtime_open(&rt));
  size_t i = 9;
  OK(koi_runtime_find(rt, "fake", &i));
  const koi_endpoint *e = &rt->endpoints[i];
  checks_on = e->id;
  for (fake_kind kind = FAKE_OPEN; kind <= FAKE_ANY; kind++) {
    fake_refuse(kind, 0, 0, KOINE_OK);
    OK(short_life(e));
    long n = fake_calls(kind);
    for (long at = 1; at <= n; at++) {
      fake_refuse(kind, at, 1, KOINE_ERR_MEMORY);
      CHECK(short_life(e) == KOINE_ERR_MEMORY && strstr(koi_error_text(), fake_kind_name(kind == FAKE_ANY ? FAKE_OPEN : kind) + (kind == FAKE_ANY ? 4 : 0)));
      CHECK(!fake_n_live());
    }
  }
  fake_refuse(FAKE_ANY, 0, 0, KOINE_OK);
  test_shared(rt, i);
  koine_runtime_close(rt);
}

/* ---- descriptors and their texts ----------------------------------------------------------------------------------------- */
static void test_sources(void)
{
  checks_on = "the op table";
  for (size_t i = 0; koi_ops[i]; i++) {
    const koi_op *op = koi_ops[i];
    const char *text = koi_source_text(op->source);
    char function[64];
    snprintf(function, sizeof function, " void %s(", op->name); /* behind KERNEL, or KERNEL_OF(n) */
    bool ok = op->source ? text && strstr(text, "KOI_DIALECT") && !strstr(text, "#include \"") && strstr(text, function) : !text; /* or a library's */
    if (!ok) printf("op %s: no complete text\n", op->name);
    CHECK(ok);
    CHECK(op->launch && op->ref && koi_op_n_bufs(op));
    for (size_t j = 0; j < i; j++) CHECK(strcmp(op->name, koi_ops[j]->name));
  }
  CHECK(!koi_source_text("no_such_file"));
}

static void test_device(const koi_endpoint *e)
{
  koi_device *d = NULL;
  checks_on = e->id;
  OK(koi_device_open(e, NULL, 0, &d));
  if (!d) return;
  printf("%s: %s, %s\n", e->id, e->name, e->driver);
  koi_target t;
  koi_backend_target(d, &t);
  CHECK(t.vector_width >= 1 && t.n_units >= 1 && d->endpoint == e && d->backend == e->backend);
  test_buffer(d);
  test_fill(d);
  test_views(d);
  test_launch(d);
  test_fallback(d);
  test_fallback_in_place(d);
  if (e->type != KOINE_DEVICE_HOST) { /* the reference compiles nothing, and a sanitizer stops at what malloc would refuse */
    test_too_large(d);
    test_bad_kernels(d);
  }
  koi_device_close(d);
  test_exhaustion(e);
}

int main(int argc, char **argv)
{
  koine_runtime *rt = NULL;
  const char *part = argc > 1 ? argv[1] : "";
  test_sources();
  test_fake();
  OK(koine_runtime_open(NULL, &rt));
  for (size_t i = 0; rt && i < rt->n_endpoints; i++)
    if (strstr(rt->endpoints[i].name, part) || !strcmp(rt->endpoints[i].id, part)) test_device(&rt->endpoints[i]);
  koine_runtime_close(rt);
  printf("t_backend: %d checks, %d failed\n", n_checks, n_failed);
  return n_failed != 0;
}
