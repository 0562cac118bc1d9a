/* Kernels of a device, on every device of this machine: built side by side and kept, launched once or bound, with arguments that begin inside
 * their buffers; by the C reference too. What the hooks do by themselves is t_backend's matter.
 * Usage: t_kern [PART OF A DEVICE'S NAME] */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "device/kern.h"
#include "device/machine.h"
#include "checks.h"
#include "small_call.h"

/* Calls that begin inside their buffers: input and output in one buffer, each at an offset. */
static koi_args call_inside(koi_device *d, size_t step)
{
  koi_args a = small_call(d, true), in = a;
  size_t at_gu = step, at_out = (at_gu + sizeof small_gu + step - 1) / step * step;
  OK(koi_device_alloc(d, at_out + sizeof small_out, &in.buf[0]));
  OK(d->backend->fill(d, in.buf[0], 0x11));
  OK(d->backend->write(d, in.buf[0], at_gu, sizeof small_gu, small_gu));
  d->backend->free(d, a.buf[0]);
  d->backend->free(d, a.buf[2]);
  in.buf[2] = in.buf[0], in.at[0] = at_gu, in.at[2] = at_out;
  return in;
}

static bool inside_as_expected(koi_device *d, const koi_args *a, float relative)
{
  koi_args out = {0};
  static uint8_t before[4096];
  size_t n = a->at[0] < sizeof before ? a->at[0] : sizeof before;
  OK(d->backend->read(d, a->buf[0], 0, n, before));
  OK(d->backend->view(d, a->buf[2], a->at[2], sizeof small_out, &out.buf[2]));
  bool ok = small_matches(d, &out, relative) && all_are(before, n, 0x11);
  d->backend->free(d, out.buf[2]);
  OK(d->backend->fill(d, a->buf[0], 0x11)); /* for the next way to run it */
  OK(d->backend->write(d, a->buf[0], a->at[0], sizeof small_gu, small_gu));
  return ok;
}

static void test_offsets(koi_device *d)
{
  size_t step = d->endpoint->base_align_bytes ? d->endpoint->base_align_bytes : 64;
  koi_kernel *k;
  koi_bound *b;
  koi_range r;
  int32_t c[KOI_MAX_CONSTS] = {0};
  small_expect(true);
  koi_args a = call_inside(d, step);
  OK(koi_kern_get(d, &koi_op_swiglu, c, 0, &k));
  OK(koi_kern_launch(d, k, &a));
  CHECK(inside_as_expected(d, &a, 1e-5f));
  OK(koi_backend_fallback(d, &koi_op_swiglu, c, &a));
  CHECK(inside_as_expected(d, &a, 0));
  for (int by_reference = 0; by_reference < 2; by_reference++) {
    OK(koi_device_bind(d, &koi_op_swiglu, c, by_reference ? NULL : k, &a, &b));
    CHECK(koi_kern_range(k, &a, &r));
    OK(koi_device_start(d, b, &r));
    CHECK(inside_as_expected(d, &a, 1e-5f));
    koi_device_unbind(d, b);
  }
  d->backend->free(d, a.buf[1]);
  koi_device_free(d, a.buf[0]);
  CHECK(!d->bytes);
}

/* Two bound calls of one kernel, and launches between them, do not see each other's arguments; a patched int is patched for good. */
static void test_bound(koi_device *d)
{
  koi_kernel *k;
  koi_bound *one, *two;
  koi_range r;
  int32_t c[KOI_MAX_CONSTS] = {0};
  OK(koi_kern_get(d, &koi_op_swiglu, c, 0, &k));
  small_expect(true);
  koi_args a = small_call(d, true), other = small_call(d, false);
  OK(koi_device_bind(d, &koi_op_swiglu, c, k, &a, &one));
  OK(koi_device_bind(d, &koi_op_swiglu, c, k, &other, &two));
  OK(koi_device_patch(d, one, 0, 2));
  OK(koi_kern_launch(d, k, &other));
  CHECK(koi_kern_range(k, &one->a, &r));
  OK(koi_device_start(d, one, &r));
  float last[SMALL_LDH];
  OK(d->backend->read(d, a.buf[2], 4 * sizeof last, sizeof last, last));
  CHECK(all_are((uint8_t *)last, sizeof last, 0x11)); /* entry 4 is beyond the two */
  OK(koi_device_patch(d, one, 0, SMALL_E));
  CHECK(koi_kern_range(k, &one->a, &r));
  for (int i = 0; i < 3; i++) {
    OK(koi_device_start(d, two, &r));
    OK(koi_device_start(d, one, &r));
  }
  CHECK(small_matches(d, &a, 1e-5f));
  small_expect(false);
  CHECK(small_matches(d, &other, 1e-5f));
  koi_device_unbind(d, one);
  koi_device_unbind(d, two);
  small_end(d, &a);
  small_end(d, &other);
}

/* A recording has the arguments of its time, whatever is patched later, as often as it is replayed; and starts nothing when it is made. */
static void test_recorded(koi_device *d)
{
  koi_kernel *k;
  koi_bound *b[2];
  koi_range r[2];
  koi_recorded *rec = NULL;
  int32_t c[KOI_MAX_CONSTS] = {0};
  if (!d->can_record) return;
  OK(koi_kern_get(d, &koi_op_swiglu, c, 0, &k));
  small_expect(true);
  koi_args a[2] = {small_call(d, true), small_call(d, false)};
  for (int i = 0; i < 2; i++) {
    OK(koi_device_bind(d, &koi_op_swiglu, c, k, &a[i], &b[i]));
    CHECK(koi_kern_range(k, &a[i], &r[i]));
  }
  OK(d->backend->record(d, b, r, 2, &rec));
  float first[SMALL_LDH];
  OK(d->backend->read(d, a[0].buf[2], 0, sizeof first, first));
  CHECK(rec && rec->n == 2 && all_are((uint8_t *)first, sizeof first, 0x11));
  OK(koi_device_patch(d, b[0], 0, 1));
  for (int i = 0; i < 3 && rec; i++) { /* while the one before may still run */
    for (int n = 0; n < 2; n++) OK(d->backend->fill(d, a[n].buf[2], 0x11));
    OK(d->backend->replay(d, rec));
  }
  CHECK(small_matches(d, &a[0], 1e-5f));
  small_expect(false);
  CHECK(small_matches(d, &a[1], 1e-5f));
  if (rec) d->backend->unrecord(d, rec);
  for (int i = 0; i < 2; i++) {
    koi_device_unbind(d, b[i]);
    small_end(d, &a[i]);
  }
}

static void test_build_all(koi_device *d)
{
  static const koi_kern_request r[] = {{&koi_op_swiglu, {0}, 0}, {&koi_op_pack, {8}, 0}, {&koi_op_swiglu, {0}, 0}, {&koi_op_pack, {16}, 0}, {&koi_op_group, {8}, 0}};
  koi_kernel *k[KOI_COUNT(r)], *again;
  OK(koi_kern_build_all(d, r, KOI_COUNT(r), NULL, NULL));
  unsigned long n = atomic_load(&d->built.from_source);
  for (size_t i = 0; i < KOI_COUNT(r); i++) {
    OK(koi_kern_get(d, r[i].op, r[i].c, 0, &k[i]));
    CHECK(k[i] && k[i]->op == r[i].op && k[i]->c[0] == r[i].c[0]);
  }
  CHECK(k[0] == k[2] && k[1] != k[3]);
  OK(koi_kern_get(d, r[1].op, r[1].c, 0, &again));
  CHECK(again == k[1] && atomic_load(&d->built.from_source) == n);
}

static void test_device(const koi_endpoint *e)
{
  koi_device *d = NULL;
  checks_on = e->id;
  OK(koi_device_open(e, NULL, 0, &d));
  if (!d) return;
  printf("%s: %s, %s\n", e->id, e->name, e->driver);
  test_offsets(d);
  test_bound(d);
  test_recorded(d);
  test_build_all(d);
  koi_device_close(d);
}

int main(int argc, char **argv)
{
  koine_runtime *rt = NULL;
  const char *part = argc > 1 ? argv[1] : "";
  OK(koine_runtime_open(NULL, &rt));
  for (size_t i = 0; rt && i < rt->n_endpoints; i++)
    if (strstr(rt->endpoints[i].name, part) || !strcmp(rt->endpoints[i].id, part)) test_device(&rt->endpoints[i]);
  koine_runtime_close(rt);
  printf("t_kern: %d checks, %d failed\n", n_checks, n_failed);
  return n_failed != 0;
}
