/* The sampler against what its parameters promise, the gate against itself however its input is cut. */
#include "text/sample.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { N = 8 };
static const koi_sample_params greedy = {.top_p = 1, .repetition_penalty = 1};

static const float logits[N] = {0.5f, 2, -1, 2, 1, -INFINITY, 0, -3};

static koi_sampler *open(koi_sample_params p, size_t n)
{
  koi_sampler *s = NULL;
  if (koi_sample_open(&p, n, &s)) fail_msg("%s", koi_error_text());
  return s;
}

static koi_sample_params plain(float temperature)
{
  koi_sample_params p = greedy;
  p.temperature = temperature;
  p.seed = 42;
  return p;
}

static int32_t next(koi_sampler *s, const float *l)
{
  int32_t id = -1;
  if (koi_sample_next(s, l, "head", &id)) fail_msg("%s", koi_error_text());
  return id;
}

static void test_greedy(void **state)
{
  (void)state;
  koi_sampler *s = open(greedy, N);
  assert_int_equal(next(s, logits), 1); /* of equal logits the lower id */
  koi_sample_close(s);
}

/* Frequencies of many draws against the distribution that is wanted. */
static void expect_frequencies(koi_sample_params p, const double *want)
{
  enum { DRAWS = 40000 };
  koi_sampler *s = open(p, N);
  int count[N] = {0};
  for (int i = 0; i < DRAWS; i++) count[next(s, logits)]++;
  for (int i = 0; i < N; i++) {
    double sigma = sqrt(want[i] * (1 - want[i]) * DRAWS);
    if (want[i] == 0 ? count[i] != 0 : fabs(count[i] - want[i] * DRAWS) > 5 * sigma) fail_msg("id %d: %d of %d draws, expected %g", i, count[i], DRAWS, want[i] * DRAWS);
  }
  koi_sample_close(s);
}

static void soften(double t, const bool *kept, double *out)
{
  double sum = 0;
  for (int i = 0; i < N; i++) sum += out[i] = kept[i] ? exp(logits[i] / t) : 0;
  for (int i = 0; i < N; i++) out[i] /= sum;
}

static void test_filters(void **state)
{
  (void)state;
  static const struct { float t; int32_t k; float p, min; bool kept[N]; } cases[] = {
    {1, 0, 1, 0, {1, 1, 1, 1, 1, 0, 1, 1}},
    {0.5f, 0, 1, 0, {1, 1, 1, 1, 1, 0, 1, 1}},
    {1, 1, 1, 0, {0, 1}},
    {1, 2, 1, 0, {0, 1, 0, 1}},
    {1, 3, 1, 0, {0, 1, 0, 1, 1}},
    {1, 100, 1, 0, {1, 1, 1, 1, 1, 0, 1, 1}},
    {1, 0, 0, 0, {0, 1}},
    {1, 0, 0.5f, 0, {0, 1, 0, 1}},    /* each of the two greatest has 0.36 */
    {1, 0, 0.8f, 0, {0, 1, 0, 1, 1}}, /* and the third 0.13 */
    {1, 3, 0.5f, 0, {0, 1, 0, 1}},    /* top-p of what top-k left */
    {1, 0, 1, 0.3f, {0, 1, 0, 1, 1}}, /* e^-1 is 0.37 of the greatest, e^-1.5 is 0.22 */
    {1, 0, 1, 1, {0, 1, 0, 1}},
    {2, 0, 1, 0.4f, {1, 1, 0, 1, 1}},
  };
  for (size_t i = 0; i < KOI_COUNT(cases); i++) {
    koi_sample_params p = plain(cases[i].t);
    double want[N];
    p.top_k = cases[i].k, p.top_p = cases[i].p, p.min_p = cases[i].min;
    soften(cases[i].t, cases[i].kept, want);
    expect_frequencies(p, want);
  }
}

static void test_seed(void **state)
{
  (void)state;
  enum { BIG = 5000, DRAWS = 200 };
  static float big[BIG];
  for (int i = 0; i < BIG; i++) big[i] = (float)((i * 7919) % 1000) / 200;
  koi_sample_params p = plain(1);
  p.top_k = 400, p.top_p = 0.9f, p.min_p = 0.01f, p.presence_penalty = 0.3f;
  koi_sampler *a = open(p, BIG), *b = open(p, BIG);
  p.seed++;
  koi_sampler *c = open(p, BIG);
  int32_t first[DRAWS];
  int n_other = 0;
  for (int i = 0; i < DRAWS; i++) {
    first[i] = next(a, big);
    assert_int_equal(next(b, big), first[i]);
    n_other += next(c, big) != first[i];
    koi_sample_see(a, first[i]), koi_sample_see(b, first[i]);
  }
  assert_true(n_other > DRAWS / 2);
  koi_sample_reset(a);
  for (int i = 0; i < DRAWS; i++) {
    assert_int_equal(next(a, big), first[i]);
    koi_sample_see(a, first[i]);
  }
  koi_sample_close(a), koi_sample_close(b), koi_sample_close(c);
}

static void test_penalties(void **state)
{
  (void)state;
  static const float l[4] = {2, 1.5f, -1, -1.2f};
  const int32_t prompt[] = {0, 99, -1};
  koi_sample_params p = greedy;
  p.repetition_penalty = 1.5f;
  koi_sampler *s = open(p, 4);
  assert_int_equal(next(s, l), 0);
  koi_sample_see_prompt(s, prompt, 3); /* 2 / 1.5 is below 1.5 */
  assert_int_equal(next(s, l), 1);
  koi_sample_see(s, 1);
  assert_int_equal(next(s, l), 0); /* 1.33 against 1 */
  koi_sample_close(s);
  p = greedy;
  p.presence_penalty = 0.7f;
  s = open(p, 4);
  koi_sample_see_prompt(s, prompt, 1); /* of no account for this one */
  assert_int_equal(next(s, l), 0);
  koi_sample_see(s, 0);
  assert_int_equal(next(s, l), 1);
  koi_sample_see(s, 1);
  for (int i = 0; i < 9; i++) koi_sample_see(s, 0);
  assert_int_equal(next(s, l), 0);
  koi_sample_close(s);
  p = greedy;
  p.frequency_penalty = 0.3f;
  s = open(p, 4);
  koi_sample_see(s, 0);
  assert_int_equal(next(s, l), 0);
  koi_sample_see(s, 0);
  assert_int_equal(next(s, l), 1);
  koi_sample_close(s);
  static const float negative[2] = {-1, -1.2f}; /* a negative logit grows more negative */
  p = greedy;
  p.repetition_penalty = 1.5f;
  s = open(p, 2);
  koi_sample_see(s, 0);
  assert_int_equal(next(s, negative), 1);
  koi_sample_close(s);
}

static void test_errors(void **state)
{
  (void)state;
  koi_sampler *s = open(plain(1), 3);
  int32_t id;
  static const struct { float l[3]; const char *says; } bad[] = {
    {{0, NAN, 0}, "logit 1 of 3 is not a number"}, {{0, 0, INFINITY}, "logit 2 of 3 is infinite"}, {{-INFINITY, -INFINITY, -INFINITY}, "all 3 logits"}};
  for (size_t i = 0; i < KOI_COUNT(bad); i++) {
    assert_int_equal(koi_sample_next(s, bad[i].l, "head matvec", &id), KOINE_ERR_NUMERIC);
    assert_non_null(strstr(koi_error_text(), bad[i].says));
    assert_non_null(strstr(koi_error_text(), "head matvec"));
  }
  koi_sample_close(s);
  static const struct { koi_sample_params p; const char *says; } wrong[] = {
    {{.temperature = -1, .top_p = 1, .repetition_penalty = 1}, "temperature"}, {{.temperature = NAN, .top_p = 1, .repetition_penalty = 1}, "temperature"},
    {{.top_p = 1.1f, .repetition_penalty = 1}, "top_p"}, {{.top_p = 1, .min_p = -0.1f, .repetition_penalty = 1}, "min_p"}, {{.top_p = 1}, "repetition_penalty"},
    {{.top_p = 1, .repetition_penalty = 1, .top_k = -1}, "top_k"}, {{.top_p = 1, .repetition_penalty = 1, .presence_penalty = INFINITY}, "presence_penalty"}};
  for (size_t i = 0; i < KOI_COUNT(wrong); i++) {
    assert_int_equal(koi_sample_open(&wrong[i].p, 3, &s), KOINE_ERR_ARG);
    assert_non_null(strstr(koi_error_text(), wrong[i].says));
  }
  assert_int_equal(koi_sample_open(&greedy, 0, &s), KOINE_ERR_ARG);
  koi_sample_gate *g;
  const char *stops[] = {"x", ""}, *inside[] = {"\x80"};
  assert_int_equal(koi_sample_gate_open(stops, 2, &g), KOINE_ERR_ARG);
  assert_int_equal(koi_sample_gate_open(inside, 1, &g), KOINE_ERR_ARG);
}

/* ---- the gate ---- */
static bool valid_utf8(const char *s, size_t n)
{
  for (size_t i = 0; i < n;) {
    unsigned char c = (unsigned char)s[i];
    size_t len = c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
    if ((c & 0xC0) == 0x80 || i + len > n) return false;
    for (size_t k = 1; k < len; k++)
      if (((unsigned char)s[i + k] & 0xC0) != 0x80) return false;
    i += len;
  }
  return true;
}

/* All that a gate gives for a text fed in pieces of `size` bytes. */
static void run_gate(const char *const *stops, size_t n_stops, const char *in, size_t n, size_t size, char *out, int *which)
{
  koi_sample_gate *g;
  const char *text;
  size_t n_text, at = 0;
  bool stopped = false;
  assert_int_equal(koi_sample_gate_open(stops, n_stops, &g), KOINE_OK);
  for (size_t i = 0; i < n && !stopped; i += size) {
    assert_int_equal(koi_sample_gate_feed(g, in + i, n - i < size ? n - i : size, 0, &text, &n_text, &stopped), KOINE_OK);
    assert_true(valid_utf8(text, n_text));
    memcpy(out + at, text, n_text);
    at += n_text;
  }
  assert_int_equal(koi_sample_gate_end(g, &text, &n_text), KOINE_OK);
  memcpy(out + at, text, n_text);
  out[at + n_text] = 0;
  *which = koi_sample_gate_stop(g);
  koi_sample_gate_close(g);
}

static void test_gate(void **state)
{
  (void)state;
#define UNKNOWN "\xEF\xBF\xBD"
  static const struct { const char *stops[3], *in, *out; int which; } cases[] = {
    {{NULL}, "", "", -1}, {{NULL}, "plain \xE4\xBD\xA0\xF0\x9F\x98\x80.", "plain \xE4\xBD\xA0\xF0\x9F\x98\x80.", -1},
    {{"END"}, "textEND more", "text", 0}, {{"END"}, "EN", "EN", -1}, {{"END"}, "EENENDx", "EEN", 0}, {{"abab"}, "abaabab", "aba", 0},
    {{"aab"}, "aaaab", "aa", 0}, {{"abcd", "bc"}, "xabcd", "xa", 1}, {{"bc", "abc"}, "xabcd", "x", 1}, {{"\n\n", "\nB"}, "A\nB", "A", 1},
    {{"\xE4\xBD\xA0"}, "a\xE4\xBD\xA1\xE4\xBD\xA0" "b", "a\xE4\xBD\xA1", 0}, {{NULL}, "a\xFF" "b\xC0\x80", "a" UNKNOWN "b" UNKNOWN UNKNOWN, -1},
    {{NULL}, "\xE4\xBD", UNKNOWN, -1}, {{NULL}, "\xE4\xBD" "a", UNKNOWN "a", -1}, {{NULL}, "\xED\xA0\x80", UNKNOWN UNKNOWN UNKNOWN, -1},
    {{NULL}, "\xF4\x90\x80\x80", UNKNOWN UNKNOWN UNKNOWN UNKNOWN, -1}, {{NULL}, "\xF0\x9F\x98\xF0\x9F\x98\x80", UNKNOWN "\xF0\x9F\x98\x80", -1}, {{UNKNOWN "x"}, "a\xFFx", "a", 0},
  };
  for (size_t i = 0; i < KOI_COUNT(cases); i++)
    for (size_t size = 1; size <= 12; size++) {
      size_t n_stops = 0;
      char out[128];
      int which;
      while (n_stops < 3 && cases[i].stops[n_stops]) n_stops++;
      run_gate(cases[i].stops, n_stops, cases[i].in, strlen(cases[i].in), size, out, &which);
      if (strcmp(out, cases[i].out) || which != cases[i].which) fail_msg("case %zu by %zu: \"%s\", stop %d; expected \"%s\", %d", i, size, out, which, cases[i].out, cases[i].which);
    }
}

/* Text is held back only while it may still become a stop text. */
static void test_gate_at_once(void **state)
{
  (void)state;
  static const struct { const char *in, *out; } steps[] = {
    {"a", "a"}, {"b\n", "b"}, {"c", "\nc"}, {"\nS", ""}, {"T", ""}, {"x", "\nSTx"}, {"\xE4", ""}, {"\xBD", ""}, {"\xA0", "\xE4\xBD\xA0"}, {"\nST", ""}, {"OP", ""}, {"z", ""}};
  const char *stops[] = {"\nSTOP"}, *text;
  koi_sample_gate *g;
  size_t n;
  bool stopped;
  assert_int_equal(koi_sample_gate_open(stops, 1, &g), KOINE_OK);
  for (size_t i = 0; i < KOI_COUNT(steps); i++) {
    assert_int_equal(koi_sample_gate_feed(g, steps[i].in, strlen(steps[i].in), 0, &text, &n, &stopped), KOINE_OK);
    assert_int_equal(n, strlen(steps[i].out));
    assert_memory_equal(text, steps[i].out, n);
    assert_int_equal(stopped, i >= 10);
  }
  koi_sample_gate_close(g);
}

static void test_memory(void **state)
{
  (void)state;
  const char *stops[] = {"stop", "other"}, *text;
  for (long at = 1;; at++) {
    koi_sampler *s = NULL;
    koi_sample_gate *g = NULL;
    size_t n;
    bool stopped;
    koi_alloc_fail_at(at);
    koine_status status = koi_sample_open(&greedy, 10, &s);
    if (status == KOINE_OK) status = koi_sample_gate_open(stops, 2, &g);
    if (status == KOINE_OK) status = koi_sample_gate_feed(g, "abc st", 6, 0, &text, &n, &stopped);
    koi_alloc_fail_at(0);
    koi_sample_close(s);
    koi_sample_gate_close(g);
    if (status == KOINE_OK) break;
    assert_int_equal(status, KOINE_ERR_MEMORY);
    assert_true(at < 100);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_greedy), cmocka_unit_test(test_filters), cmocka_unit_test(test_seed), cmocka_unit_test(test_penalties), cmocka_unit_test(test_errors),
    cmocka_unit_test(test_gate), cmocka_unit_test(test_gate_at_once), cmocka_unit_test(test_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
