/* Plans for machines that are not here: described ones against the plans beside them, wishes kept, refusals with their numbers, devices that share
 * processors or memory, measured costs, text and pictures; and that plans are better than an even split and a split by memory. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "assign_better.h"
#include "svg.h"
#include "plan/assign.h"

static const char *folder; /* tests/data/machines */
static koine_model *flash, *pro;

static char *read_text(const char *name, const char *ending)
{
  char path[512], *text;
  size_t n;
  snprintf(path, sizeof path, "%s/%s.%s", folder, name, ending);
  if (koi_file_read(path, 1 << 24, &text, &n)) fail_msg("%s", koi_error_text());
  return text;
}

static koi_site site_of(const char *name)
{
  koi_site s;
  char *text = read_text(name, "machine");
  if (koi_site_parse(text, name, &s)) fail_msg("%s", koi_error_text());
  koi_free(text);
  return s;
}

static char *lines_of(const koi_placement *p)
{
  koi_text t = {0};
  for (size_t i = 0; i < p->n_stages; i++) koi_placement_stage_text(&p->stages[i], &t), koi_text_add(&t, "\n");
  return t.s;
}

/* ---- described machines ------------------------------------------------------------------------------------------------ */
static const struct { const char *machine, *plan; bool pro; } plans[] = {
  {"r9700_x4", "r9700_x4.flash", false}, {"b580_rtx3060", "b580_rtx3060.flash", false}, {"mi50_x4_a770", "mi50_x4_a770.flash", false},
  {"rtx3090_x8", "rtx3090_x8.flash", false}, {"mi300x", "mi300x.flash", false}, {"epyc_dual", "epyc_dual.flash", false}, {"epyc_dual", "epyc_dual.pro", true},
  {"unlike", "unlike.flash", false}, {"strix_halo", "strix_halo.flash", false}, {"laptop", "laptop.flash", false},
};

/* The file has "layers" lines, or a line "refused: " with a part of the message; the rest explains. */
static void compare_plan(const char *machine, const char *plan, const koine_model *m)
{
  koi_site s = site_of(machine);
  koi_assigned a;
  koi_placement want;
  koi_assign_wish w = KOI_ASSIGN_WISH;
  char *text = read_text(plan, "plan"), *refused = strstr(text, "refused: ");
  koine_status status = koi_assign(&s, m, &w, &a);
  if (refused) {
    refused += 9, refused[strcspn(refused, "\n")] = 0;
    assert_int_equal(status, KOINE_ERR_MEMORY);
    if (!strstr(koi_error_text(), refused)) fail_msg("%s: expected \"%s\" in: %s", plan, refused, koi_error_text());
  } else {
    if (status) fail_msg("%s: %s", plan, koi_error_text());
    assert_int_equal(koi_placement_parse(text, &want), KOINE_OK);
    char *have = lines_of(&a.placement), *expected = lines_of(&want), *said = NULL;
    assert_string_equal(have, expected);
    koi_placement_free(&want);
    assert_int_equal(koi_assigned_text(&a, &s, &said), KOINE_OK); /* what is printed is read back */
    assert_int_equal(koi_placement_parse(said, &want), KOINE_OK);
    koi_free(expected);
    expected = lines_of(&want);
    assert_string_equal(have, expected);
    assert_true(a.low_s < a.token_s && a.token_s < a.high_s && a.longest_s <= a.token_s && !a.measured);
    koi_free(have), koi_free(expected), koi_free(said);
    koi_placement_free(&want);
    koi_assigned_free(&a);
  }
  koi_free(text);
  koi_site_free(&s);
}

static void test_described(void **state)
{
  (void)state;
  for (size_t i = 0; i < KOI_COUNT(plans); i++) compare_plan(plans[i].machine, plans[i].plan, plans[i].pro ? pro : flash);
}

static void test_site_text(void **state)
{
  (void)state;
  static const char *const wrong[] = {"", "machine name=\"x\"", "card", "card id=a type=toaster", "device id=d card=none", "card id=a\ndevice id=d card=a\ndevice id=d card=a",
                                      "card id=a\ndevice id=d card=a bytes_per_s=nan", "card id=a\ndevice id=d card=a bytes_per_s=-1", "card id=a\ndevice id=d card=a bytes_per_s=0",
                                      "card id=a\ndevice id=d card=a\ncost device=e seconds=1 expected=1", "card id=a\ndevice id=d card=a\ncost device=d seconds=0 expected=1",
                                      "card id=a\ndevice id=d card=a\ncost device=d kind=odd seconds=1 expected=1", "card id=a memory_bytes=99999999999999999999999", "nonsense"};
  koi_site s = site_of("unlike"), back;
  char *text, *again;
  koi_site_cost *c = koi_site_add_cost(&s);
  *c = (koi_site_cost){.device = 1, .part = KOI_PART_EXPERTS, .kind = KOI_HCA, .hash = true, .width = 4096, .n_tokens = 128, .position = 2048, .seconds = 0.25, .low = 0.125, .high = 0.5, .expected = 0.75};
  s.topology = koi_strdup("<topology>\ndevice nonsense\n</topology>\n");
  snprintf(s.name, sizeof s.name, "with spaces = and <signs>");
  assert_int_equal(koi_site_text(&s, &text), KOINE_OK);
  if (koi_site_parse(text, "text", &back)) fail_msg("%s", koi_error_text());
  assert_int_equal(koi_site_text(&back, &again), KOINE_OK);
  assert_string_equal(text, again);
  assert_true(back.n_costs == 1 && back.costs[0].hash && back.costs[0].width == 4096 && back.costs[0].kind == KOI_HCA && back.costs[0].high == 0.5 && isnan(back.devices[0].to_host_busy.latency_s));
  koi_free(text), koi_free(again);
  koi_site_free(&s), koi_site_free(&back);
  for (size_t i = 0; i < KOI_COUNT(wrong); i++) assert_int_equal(koi_site_parse(wrong[i], "wrong", &back), KOINE_ERR_FILE);
}

/* ---- wishes ------------------------------------------------------------------------------------------------------------ */
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

static void test_wishes(void **state)
{
  (void)state;
  koi_site s = site_of("unlike");
  koi_assign_wish free_ = KOI_ASSIGN_WISH, w = free_;
  koi_assigned best = ask(&s, &free_), a;
  w.exclude = (const char *const[]){"gpu0"}, w.n_exclude = 1;
  a = ask(&s, &w);
  for (uint32_t l = 0; l < 43; l++) assert_string_not_equal(device_of(&a, l), "gpu0");
  assert_true(a.token_s > best.token_s);
  koi_assigned_free(&a);
  w = free_, w.include = (const char *const[]){"cpu"}, w.n_include = 1;
  a = ask(&s, &w);
  assert_true(a.placement.n_stages == 1 && a.token_s > best.token_s);
  koi_assigned_free(&a);
  w = free_, w.pins = &(koi_placed){.device = "gpu2", .layer0 = 40, .layer1 = 42}, w.n_pins = 1;
  a = ask(&s, &w);
  assert_string_equal(device_of(&a, 40), "gpu2");
  assert_string_equal(device_of(&a, 41), "gpu2");
  assert_true(a.token_s >= best.token_s);
  koi_assigned_free(&a);
  w = free_, w.memory = &(koi_bound_memory){"gpu1", UINT64_C(5) << 30}, w.n_memory = 1;
  a = ask(&s, &w);
  for (size_t i = 0; i < a.placement.n_stages; i++)
    if (!strcmp(a.placement.stages[i].device, "gpu1")) assert_true(a.stages[i].weights < UINT64_C(5) << 30);
  assert_true(a.token_s >= best.token_s);
  koi_assigned_free(&a), koi_assigned_free(&best);
  koi_site_free(&s);
}

static void test_as_llama(void **state)
{
  (void)state;
  koi_site s = site_of("unlike");
  koi_assign_wish w = KOI_ASSIGN_WISH;
  w.on_cards = 3; /* the head and layers 41 and 42 */
  koi_assigned a = ask(&s, &w);
  assert_string_equal(device_of(&a, 40), "cpu");
  assert_string_not_equal(device_of(&a, 41), "cpu");
  koi_assigned_free(&a);
  w = (koi_assign_wish)KOI_ASSIGN_WISH, w.experts_on_cpu = 10000;
  a = ask(&s, &w);
  for (size_t i = 0; i < a.placement.n_stages; i++)
    if (a.placement.stages[i].layer1 > a.placement.stages[i].layer0 && strcmp(a.placement.stages[i].device, "cpu")) assert_string_equal(a.placement.stages[i].experts, "cpu");
  koi_assigned_free(&a);
  w.experts_on_cpu = 40;
  a = ask(&s, &w);
  for (size_t i = 0; i < a.placement.n_stages; i++) {
    const koi_placed *p = &a.placement.stages[i];
    if (p->layer1 > p->layer0 && strcmp(p->device, "cpu")) assert_int_equal(p->experts[0] != 0, p->layer0 < 40);
    if (p->experts[0]) assert_true(p->layer1 <= 40);
  }
  koi_assigned_free(&a);
  w = (koi_assign_wish)KOI_ASSIGN_WISH, w.shares = (const double[]){0, 0, 0, 5}, w.n_shares = 4;
  a = ask(&s, &w);
  assert_true(a.placement.n_stages == 1 && !strcmp(a.placement.stages[0].device, "cpu"));
  koi_assigned_free(&a);
  w.shares = (const double[]){3, 1}, w.n_shares = 2;
  assert_int_equal(koi_assign(&s, flash, &w, &a), KOINE_ERR_MEMORY); /* 33 layers do not fit gpu0 */
  assert_non_null(strstr(koi_error_text(), "gpu0"));
  w.n_shares = 9, w.shares = (const double[]){1, 1, 1, 1, 1, 1, 1, 1, 1};
  assert_int_equal(koi_assign(&s, flash, &w, &a), KOINE_ERR_ARG);
  koi_site_free(&s);
}

static void test_wrong_wishes(void **state)
{
  (void)state;
  koi_site s = site_of("unlike");
  koi_assigned a;
  koi_assign_wish w = KOI_ASSIGN_WISH;
  w.exclude = (const char *const[]){"gpu9"}, w.n_exclude = 1;
  assert_int_equal(koi_assign(&s, flash, &w, &a), KOINE_ERR_ARG);
  assert_non_null(strstr(koi_error_text(), "gpu9"));
  w.exclude = (const char *const[]){"gpu2"}, w.pins = &(koi_placed){.device = "gpu2", .layer0 = 0, .layer1 = 1}, w.n_pins = 1;
  assert_int_equal(koi_assign(&s, flash, &w, &a), KOINE_ERR_ARG);
  w = (koi_assign_wish)KOI_ASSIGN_WISH, w.pins = (const koi_placed[]){{.device = "gpu0", .layer0 = 0, .layer1 = 2}, {.device = "gpu1", .layer0 = 10, .layer1 = 11}, {.device = "gpu0", .layer0 = 20, .layer1 = 21}},
  w.n_pins = 3;
  assert_int_equal(koi_assign(&s, flash, &w, &a), KOINE_ERR_MEMORY); /* two ranges for one device */
  assert_non_null(strstr(koi_error_text(), "one range"));
  w.pins = &(koi_placed){.device = "gpu0", .layer0 = 0, .layer1 = 50}, w.n_pins = 1;
  assert_int_equal(koi_assign(&s, flash, &w, &a), KOINE_ERR_ARG);
  for (size_t i = 0; i < s.n_devices; i++) s.devices[i].usable = false;
  w = (koi_assign_wish)KOI_ASSIGN_WISH;
  assert_int_equal(koi_assign(&s, flash, &w, &a), KOINE_ERR_NO_DEVICE);
  koi_site_free(&s);
}

/* What is said to fit does. */
static void test_refusal(void **state)
{
  (void)state;
  koi_site s = site_of("strix_halo");
  koi_assigned a;
  koi_assign_wish w = KOI_ASSIGN_WISH;
  s.cards[0].memory_bytes = s.cards[1].memory_bytes = UINT64_C(147) << 30;
  w.context = 1000000;
  assert_int_equal(koi_assign(&s, flash, &w, &a), KOINE_ERR_MEMORY);
  char *at = strstr(koi_error_text(), "a context of ");
  assert_non_null(at);
  w.context = strtoull(at + 13, NULL, 10);
  assert_true(w.context > 1000 && w.context < 1000000);
  if (koi_assign(&s, flash, &w, &a)) fail_msg("%s", koi_error_text());
  koi_assigned_free(&a);
  koi_site_free(&s);
}

/* ---- what is one card, one memory -------------------------------------------------------------------------------------- */
static const char *const shared = "card id=\"host\" type=host memory_bytes=400000000000 shares_host_memory\n"
                                  "device id=\"cl0\" card=\"host\" bytes_per_s=2e10 flops_per_s=1e11 launch_s=1e-5\n"
                                  "device id=\"cl1\" card=\"host\" bytes_per_s=3e10 flops_per_s=1e11 launch_s=1e-5\n"
                                  "device id=\"cl2\" card=\"host\" bytes_per_s=1e10 flops_per_s=1e11 launch_s=1e-5\n"
                                  "device id=\"host\" card=\"host\" reference bytes_per_s=9e10 flops_per_s=9e11 launch_s=1e-5\n";

static void test_one_card(void **state)
{
  (void)state;
  koi_site s;
  assert_int_equal(koi_site_parse(shared, "shared", &s), KOINE_OK);
  koi_assign_wish w = KOI_ASSIGN_WISH;
  for (int streams = 0; streams < 2; streams++) {
    w.n_streams = streams ? INFINITY : 1;
    koi_assigned a = ask(&s, &w); /* the fastest of three that share processors, and never plain C */
    assert_true(a.placement.n_stages == 1 && !strcmp(a.placement.stages[0].device, "cl1"));
    koi_assigned_free(&a);
  }
  w.pins = (const koi_placed[]){{.device = "cl0", .layer0 = 0, .layer1 = 3}, {.device = "cl2", .layer0 = 3, .layer1 = 5}}, w.n_pins = 2;
  koi_assigned a = ask(&s, &w); /* unless several are named */
  assert_string_equal(device_of(&a, 2), "cl0");
  assert_string_equal(device_of(&a, 4), "cl2");
  koi_assigned_free(&a);
  w = (koi_assign_wish)KOI_ASSIGN_WISH, w.include = (const char *const[]){"host"}, w.n_include = 1;
  a = ask(&s, &w);
  assert_string_equal(device_of(&a, 0), "host");
  koi_assigned_free(&a);
  s.cards[0].memory_bytes = UINT64_C(100) << 30; /* one memory for both, whatever is pinned */
  w = (koi_assign_wish)KOI_ASSIGN_WISH, w.pins = (const koi_placed[]){{.device = "cl0", .layer0 = 0, .layer1 = 21}, {.device = "cl2", .layer0 = 21, .layer1 = 43}}, w.n_pins = 2;
  assert_int_equal(koi_assign(&s, flash, &w, &a), KOINE_ERR_MEMORY);
  assert_non_null(strstr(koi_error_text(), "share"));
  koi_site_free(&s);
}

/* ---- measured costs ---------------------------------------------------------------------------------------------------- */
static void test_measured(void **state)
{
  (void)state;
  koi_site s = site_of("mi300x");
  uint32_t items = koi_costs_items(flash);
  double *expected = calloc(items * KOI_N_PARTS, sizeof *expected);
  koi_step_at at = {1, 2048}, far = {1, 100000};
  koi_costs before, after;
  assert_int_equal(koi_costs_expect(flash, &at, false, &s.devices[0].rates, 1, expected), KOINE_OK);
  assert_int_equal(koi_costs_make(&s, flash, &far, false, &before), KOINE_OK);
  for (int p = 0; p < 2; p++) { /* a layer of 4 ms, half of it experts, of the kind that layer 20 is */
    koi_site_cost *c = koi_site_add_cost(&s);
    *c = (koi_site_cost){.part = p ? KOI_PART_EXPERTS : KOI_PART_REST, .kind = flash->layers[20].kind, .n_tokens = 1, .position = 2048, .seconds = 0.002,
                         .low = 0.0019, .high = 0.0022, .expected = expected[21 * KOI_N_PARTS + (p ? KOI_PART_EXPERTS : KOI_PART_REST)]};
  }
  assert_int_equal(koi_costs_make(&s, flash, &at, false, &after), KOINE_OK);
  assert_true(fabs(after.seconds[21] - 0.004) < 1e-9 && fabs(after.expert_seconds[21] - 0.002) < 1e-9);
  assert_true(after.low[21] < 0.0039 && after.high[21] > 0.0043 && after.high[21] < 0.006);
  koi_costs_free(&after);
  assert_int_equal(koi_costs_make(&s, flash, &far, false, &after), KOINE_OK); /* further on it takes longer, in the same ratio */
  assert_true(after.seconds[21] > 0.004 && before.seconds[21] != after.seconds[21]);
  koi_costs_free(&before), koi_costs_free(&after);
  for (uint32_t i = 0; i < items; i++)
    for (int p = 0; p < KOI_N_PARTS; p++) /* every part of every item is something, or is not there */
      assert_int_equal(expected[i * KOI_N_PARTS + (uint32_t)p] > 0, i == 0 ? p == KOI_PART_EMBED : i + 1 == items ? p == KOI_PART_HEAD : p < KOI_PART_EMBED);
  free(expected);
  koi_site_free(&s);
}

/* ---- pictures ---------------------------------------------------------------------------------------------------------- */
static void test_svg(void **state)
{
  (void)state;
  for (size_t i = 0; i < KOI_COUNT(plans); i++) {
    koi_site s = site_of(plans[i].machine);
    koi_assign_wish w = KOI_ASSIGN_WISH;
    koi_assigned a;
    char *svg;
    snprintf(s.name, sizeof s.name, "<b> & \"co\"");
    snprintf(s.devices[0].name, sizeof s.devices[0].name, "a<b>&c");
    if (koi_assign(&s, plans[i].pro ? pro : flash, &w, &a) == KOINE_OK) {
      assert_int_equal(koi_assigned_svg(&a, &s, &svg), KOINE_OK);
      check_svg(svg);
      assert_non_null(strstr(svg, "&lt;b&gt; &amp;"));
      koi_free(svg);
      koi_assigned_free(&a);
    }
    koi_site_free(&s);
  }
}

/* ---- better than simple rules ------------------------------------------------------------------------------------------ */
static void test_better(void **state)
{
  (void)state;
  koi_site s = site_of("r9700_x4");
  assign_better(&s, flash);
  koi_site_free(&s);
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_described), cmocka_unit_test(test_site_text), cmocka_unit_test(test_wishes), cmocka_unit_test(test_as_llama),
                                     cmocka_unit_test(test_wrong_wishes), cmocka_unit_test(test_refusal), cmocka_unit_test(test_one_card), cmocka_unit_test(test_measured),
                                     cmocka_unit_test(test_svg), cmocka_unit_test(test_better)};
  char path[512];
  snprintf(path, sizeof path, "%s/tests/data/machines", getenv("srcdir") ? getenv("srcdir") : ".");
  folder = path;
  if (koi_model_synthetic(&(koine_shape){.size = sizeof(koine_shape), .name = "v4-flash"}, &flash) || koi_model_synthetic(&(koine_shape){.size = sizeof(koine_shape), .name = "v4-pro"}, &pro)) return 1;
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  koi_model_close(flash), koi_model_close(pro);
  return failed;
}
