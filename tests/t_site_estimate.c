/* Which devices take part in a plan, and how, when nothing was measured: by what is known of their cards, in the machine's order, the best of many. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "plan/assign.h"

static koine_model *flash;

static const char *const cards = "card id=a type=GPU memory_bytes=25000000000\ncard id=b type=GPU memory_bytes=17000000000\ncard id=host type=host memory_bytes=268000000000 shares_host_memory\n"
                                 "device id=gpu0 card=a units=96\ndevice id=gpu1 card=b units=32\ndevice id=cpu card=host units=16\n";
static const char *const shared = "card id=\"host\" type=host memory_bytes=400000000000 shares_host_memory\n"
                                  "device id=\"cl0\" card=\"host\" bytes_per_s=2e10 flops_per_s=1e11 launch_s=1e-5\n"
                                  "device id=\"cl1\" card=\"host\" bytes_per_s=3e10 flops_per_s=1e11 launch_s=1e-5\n"
                                  "device id=\"cl2\" card=\"host\" bytes_per_s=1e10 flops_per_s=1e11 launch_s=1e-5\n"
                                  "device id=\"host\" card=\"host\" reference bytes_per_s=9e10 flops_per_s=9e11 launch_s=1e-5\n";

static koi_site site_of(const char *text)
{
  koi_site s;
  if (koi_site_parse(text, "text", &s)) fail_msg("%s", koi_error_text());
  return s;
}

static koi_assigned ask(const koi_site *s, const koi_assign_wish *w)
{
  koi_assigned a;
  if (koi_assign(s, flash, w, &a)) fail_msg("%s", koi_error_text());
  return a;
}

static const char *device_of(const koi_assigned *a, uint32_t layer)
{
  for (size_t i = 0; i < a->placement.n_stages; i++)
    if (layer >= a->placement.stages[i].layer0 && layer < a->placement.stages[i].layer1) return a->placement.stages[i].device;
  return "none";
}

/* Cards by their memory, of what shares processors the first in the machine's order, and what was measured before what was not. */
static void test_estimated(void **state)
{
  (void)state;
  koi_site s = site_of(cards);
  koi_assign_wish w = KOI_ASSIGN_WISH;
  koi_assigned a;
  for (size_t i = 0; i < s.n_devices; i++) s.devices[i].rates = (koi_rates){NAN, NAN, NAN};
  a = ask(&s, &w);
  assert_true(a.estimated && !a.measured && a.n_unknown == s.n_devices && isnan(s.devices[0].rates.bytes_per_s));
  assert_true(a.placement.n_stages > 1 && a.high_s > 4 * a.low_s);
  koi_assigned_free(&a);
  koi_site_free(&s);
  s = site_of(shared);
  for (size_t i = 0; i < s.n_devices; i++) s.devices[i].rates = (koi_rates){NAN, NAN, NAN};
  s.devices[2].n_units = 64; /* the order already says what is best, and knows more than units */
  a = ask(&s, &w);
  assert_true(a.placement.n_stages == 1 && !strcmp(a.placement.stages[0].device, "cl0"));
  koi_assigned_free(&a);
  s.devices[1].rates = (koi_rates){1e9, 1e9, 1e-4};
  a = ask(&s, &w);
  assert_true(a.placement.n_stages == 1 && !strcmp(a.placement.stages[0].device, "cl1") && !a.estimated);
  koi_assigned_free(&a);
  koi_site_free(&s);
}

/* More devices than are searched over: the slower driver of a card goes first, then the slowest card, never what is named. */
static void test_many(void **state)
{
  (void)state;
  koi_site s;
  koi_text t = {0};
  for (int i = 0; i < 14; i++)
    koi_text_add(&t, "card id=\"c%d\" type=GPU memory_bytes=20000000000\ndevice id=\"g%d\" card=\"c%d\" bytes_per_s=%d00000000000 flops_per_s=1e13 launch_s=1e-5\n", i, i, i, 9 - i % 8);
  koi_text_add(&t, "device id=\"slow\" card=\"c0\" bytes_per_s=8e11 flops_per_s=1e13 launch_s=1e-5\n");
  s = site_of(t.s);
  koi_assign_wish w = KOI_ASSIGN_WISH;
  w.pins = &(koi_placed){.device = "g7", .layer0 = 42, .layer1 = 43}, w.n_pins = 1; /* the slowest of all */
  koi_assigned a = ask(&s, &w);
  assert_string_equal(device_of(&a, 42), "g7");
  for (size_t i = 0; i < a.placement.n_stages; i++)
    assert_true(strcmp(a.placement.stages[i].device, "slow") && strcmp(a.placement.stages[i].device, "g6"));
  koi_assigned_free(&a);
  koi_site_free(&s);
  koi_free(t.s);
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_estimated), cmocka_unit_test(test_many)};
  if (koi_model_synthetic(&(koine_shape){.size = sizeof(koine_shape), .name = "v4-flash"}, &flash)) return 1;
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  koi_model_close(flash);
  return failed;
}
