/* Placements as text: what is printed is read back, what users write is understood or named, gaps and overlaps are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "plan/placement.h"

static void round_trip(const char *text)
{
  koi_placement p = {0};
  koi_text t = {0};
  assert_int_equal(koi_placement_parse(text, &p), KOINE_OK);
  if (p.split_groups) koi_text_add(&t, "place split_groups=%u\n", p.split_groups);
  for (size_t i = 0; i < p.n_stages; i++) koi_placement_stage_text(&p.stages[i], &t), koi_text_add(&t, "\n");
  assert_string_equal(t.s, text);
  koi_free(t.s);
  koi_placement_free(&p);
}

static void test_text(void **state)
{
  (void)state;
  round_trip("layers 0-42 device=cl0 embed head\n");
  round_trip("place split_groups=64\nlayers 0-21 device=cl0 embed\nlayers 22-42 device=cl1/0 experts=host head\n");
  round_trip("layers 0-42 device=cl0 expert_cache=8589934592 misses=host embed head\n");
  round_trip("layers none device=host embed\nlayers 0-0 device=cl0\nlayers 1-42 device=cl1\nlayers none device=cl2 head\n");
  koi_placement p;
  assert_int_equal(koi_placement_parse("plan chunk=512\nlayers 2-5 device=cl1 name=\"a device=x head\" weight_bytes=7\r\nlayers 0-1 device=cl0 embed\n step tokens=1", &p), KOINE_OK);
  assert_int_equal(p.n_stages, 2);
  assert_string_equal(p.stages[0].device, "cl0");
  assert_string_equal(p.stages[1].device, "cl1");
  assert_true(p.stages[0].embed && !p.stages[0].head && !p.stages[1].embed && p.stages[1].head);
  assert_int_equal(koi_placement_check(&p, 6), KOINE_OK);
  koi_placement copy;
  assert_int_equal(koi_placement_copy(&p, &copy), KOINE_OK);
  koi_placement_free(&p);
  assert_int_equal(koi_placement_check(&copy, 6), KOINE_OK);
  koi_placement_free(&copy);
}

static void test_wrong_text(void **state)
{
  (void)state;
  koi_placement p;
  static const char *const wrong[] = {"", "nothing", "layers", "layers 3", "layers 3-1 device=cl0", "layers 0- device=cl0", "layers 0-4294967295 device=cl0",
                                      "layers 0-99999999999 device=cl0", "layers x device=cl0", "layers 0-1x device=cl0", "place split_groups=many\nlayers 0-1 device=a",
                                      "layers 0-1 device=0123456789012345678901234567890123456789012345678901234567890123456789"};
  for (size_t i = 0; i < KOI_COUNT(wrong); i++) assert_int_equal(koi_placement_parse(wrong[i], &p), KOINE_ERR_ARG);
}

static void test_ranges(void **state)
{
  (void)state;
  koi_placed s;
  assert_int_equal(koi_placement_range("cl0=0-3", 6, &s), KOINE_OK);
  assert_true(!strcmp(s.device, "cl0") && s.layer0 == 0 && s.layer1 == 4);
  assert_int_equal(koi_placement_range("a card=3-", 6, &s), KOINE_OK);
  assert_true(!strcmp(s.device, "a card") && s.layer0 == 3 && s.layer1 == 6);
  assert_int_equal(koi_placement_range("cl0/1=5", 6, &s), KOINE_OK);
  assert_true(s.layer0 == 5 && s.layer1 == 6);
  static const char *const wrong[] = {"", "cl0", "=0-3", "cl0=", "cl0=-3", "cl0=3-1", "cl0=0-6", "cl0=6-", "cl0=0-3,4", "cl0=a-b", "cl0=0--1"};
  for (size_t i = 0; i < KOI_COUNT(wrong); i++) {
    assert_int_equal(koi_placement_range(wrong[i], 6, &s), KOINE_ERR_ARG);
    assert_non_null(strstr(koi_error_text(), wrong[i]));
  }
}

static void refused(const char *text, uint32_t n_layers, const char *why)
{
  koi_placement p;
  assert_int_equal(koi_placement_parse(text, &p), KOINE_OK);
  assert_int_equal(koi_placement_check(&p, n_layers), KOINE_ERR_ARG);
  if (!strstr(koi_error_text(), why)) fail_msg("expected %s in: %s", why, koi_error_text());
  koi_placement_free(&p);
}

static void test_check(void **state)
{
  (void)state;
  refused("layers 0-1 device=a\nlayers 3-5 device=b", 6, "layers 2-2 lie on no device");
  refused("layers 0-2 device=a\nlayers 2-5 device=b", 6, "layer 2 lies on a and on b");
  refused("layers 0-4 device=a", 6, "layers 5-5 lie on no device");
  refused("layers 0-6 device=a", 6, "layers 0 to 5");
  refused("layers 0-2 device=a head\nlayers 3-5 device=b", 6, "head in the last");
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_text), cmocka_unit_test(test_wrong_text), cmocka_unit_test(test_ranges), cmocka_unit_test(test_check)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
