/* The safetensors reader and the JSON scanner under it: what is right opens, every lie is refused with a line that names it. */
#include "remake.h"
#include "base/jscan.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

/* Opens header + `data` zero bytes exactly sized on the heap, so that a sanitizer sees any read beyond. */
static koine_status open_text(const char *header, size_t data, koi_weights **w, uint8_t **keep)
{
  size_t n = strlen(header);
  *keep = malloc(8 + n + data);
  for (int i = 0; i < 8; i++) (*keep)[i] = (uint8_t)((uint64_t)n >> 8 * i);
  memcpy(*keep + 8, header, n);
  memset(*keep + 8 + n, 0, data);
  return koi_safetensors_open_memory(*keep, 8 + n + data, "mem", w);
}

static void expect_refused(koine_status s, koi_weights *w, const char *fragment, const char *what)
{
  if (!s) koi_weights_close(w);
  if (s != KOINE_ERR_FILE || !strstr(koi_error_text(), fragment) || strchr(koi_error_text(), '\n'))
    fail_msg("%.200s: expected an error with \"%s\", found %d \"%s\"", what, fragment, s, koi_error_text());
}

#define T(name, dtype, shape, a, b) "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #a "," #b "]}"

static void test_good(void **state)
{
  (void)state;
  static const struct { const char *header; size_t data, n; } cases[] = {
    {"{}", 0, 0},
    {"{}   \n\t ", 0, 0},
    {"{\"__metadata__\":{}}", 0, 0},
    {"{\"__metadata__\":{\"format\":\"pt\",\"x\":\"\\u0041\"}," T("a", "F32", "[2,3]", 0, 24) "}", 24, 1},
    {"{" T("b", "U8", "[5]", 24, 29) "," T("a", "F32", "[2,3]", 0, 24) "}", 29, 2},
    {"{" T("scalar", "F32", "[]", 0, 4) "," T("none", "F32", "[0,7]", 4, 4) "," T("x", "I64", "[1]", 4, 12) "}", 12, 3},
    {"{" T("half", "F4", "[4]", 0, 2) "," T("new", "Q7", "[9]", 2, 3) "}", 3, 2},
    {"{\"a\":{\"shape\":[1],\"later\":[{\"x\":null}],\"data_offsets\":[0,1],\"dtype\":\"U8\"}}", 1, 1},
    {"{" T("\\u0061b", "U8", "[1]", 0, 1) "," T("\\ud83d\\ude00", "U8", "[1]", 1, 2) "}", 2, 2},
  };
  for (size_t i = 0; i < KOI_COUNT(cases); i++) {
    koi_weights *w;
    uint8_t *keep;
    if (open_text(cases[i].header, cases[i].data, &w, &keep)) fail_msg("%s: %s", cases[i].header, koi_error_text());
    assert_int_equal(koi_weights_count(w), cases[i].n);
    for (size_t j = 0; j < cases[i].n; j++) {
      const koi_tensor *t = koi_weights_at(w, j);
      assert_ptr_equal(koi_weights_find(w, t->name), t);
      assert_string_equal(t->file, "mem");
    }
    assert_null(koi_weights_find(w, "absent"));
    assert_null(koi_weights_absent(w));
    koi_weights_close(w);
    free(keep);
  }
}

static void test_fields(void **state)
{
  (void)state;
  koi_weights *w;
  uint8_t *keep;
  assert_int_equal(open_text("{" T("model.a.b", "BF16", "[2,3]", 0, 12) "," T("odd", "F64", "[1]", 12, 20) "}", 20, &w, &keep), KOINE_OK);
  const koi_tensor *t = koi_weights_find(w, "a.b");
  assert_non_null(t);
  assert_int_equal(t->dtype, KOI_BF16);
  assert_int_equal(t->n_dims, 2);
  assert_int_equal(t->shape[0], 2);
  assert_int_equal(t->shape[1], 3);
  assert_int_equal(t->bytes, 12);
  assert_int_equal(t->data - keep, 8 + (keep[0] | keep[1] << 8));
  assert_int_equal(koi_weights_find(w, "odd")->dtype, KOI_DTYPE_OTHER);
  assert_ptr_equal(koi_weights_find(w, "odd")->data, t->data + 12);
  koi_weights_close(w);
  free(keep);
}

static const struct { const char *header; size_t data; const char *fragment; } lies[] = {
  {"", 0, "begins with '{'"},
  {" {}", 0, "begins with '{'"},
  {"[]", 0, "begins with '{'"},
  {"{", 0, "ends too early"},
  {"{}x", 0, "something follows"},
  {"{} {}", 0, "something follows"},
  {"{\"a\"}", 0, "expected ':'"},
  {"{\"a\":1}", 0, "a: JSON byte"},
  {"{a:1}", 0, "expected a key"},
  {"{" T("a", "U8", "[1]", 0, 1) ",}", 1, "expected a key"},
  {"{" T("a", "U8", "[1]", 0, 1) " " T("b", "U8", "[1]", 1, 2) "}", 2, "expected ','"},
  {"{\"__metadata__\":{\"a\":1}}", 0, "__metadata__"},
  {"{\"__metadata__\":[]}", 0, "__metadata__"},
  {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "one __metadata__, found two"},
  {"{" T("a", "U8", "[1]", 0, 1) "," T("a", "U8", "[1]", 1, 2) "}", 2, "a: expected every tensor once"},
  {"{" T("a", "U8", "[1]", 0, 1) "," T("\\u0061", "U8", "[1]", 1, 2) "}", 2, "a: expected every tensor once"},
  {"{" T("a", "U8", "[1]", 0, 1) "," T("model.a", "U8", "[1]", 1, 2) "}", 2, "a: expected every tensor once"},
  {"{" T("a", "U8", "[1]", 0, 1) "," T("b", "U8", "[2]", 0, 2) "}", 2, "overlap"},
  {"{" T("a", "U8", "[2]", 0, 2) "," T("b", "U8", "[2]", 1, 3) "}", 3, "b: its data overlap those of a"},
  {"{" T("a", "U8", "[1]", 0, 1) "," T("b", "U8", "[1]", 2, 3) "}", 3, "b: expected its data at offset 1, found a hole"},
  {"{" T("a", "U8", "[1]", 1, 2) "}", 2, "a: expected its data at offset 0"},
  {"{" T("a", "U8", "[1]", 0, 1) "}", 2, "expected 1 bytes of data"},
  {"{}", 1, "expected 0 bytes of data"},
  {"{" T("a", "U8", "[2]", 0, 2) "}", 1, "a: expected offsets within 1 bytes of data, found 0 to 2"},
  {"{" T("a", "U8", "[1]", 1, 0) "}", 1, "found 1 to 0"},
  {"{" T("a", "U8", "[1]", 0, 18446744073709551615) "}", 1, "offsets within"},
  {"{" T("a", "U8", "[1]", 0, 18446744073709551616) "}", 1, "integer from 0"},
  {"{" T("a", "U8", "[1]", 0, -1) "}", 1, "integer from 0"},
  {"{" T("a", "U8", "[1]", 0, 1.0) "}", 1, "integer from 0"},
  {"{" T("a", "U8", "[1]", 0, 1e0) "}", 1, "integer from 0"},
  {"{" T("a", "U8", "[1]", 00, 1) "}", 1, "leading zeros"},
  {"{" T("a", "U8", "[1]", "0", 1) "}", 1, "integer from 0"},
  {"{" T("a", "U8", "[1]", 0, true) "}", 1, "integer from 0"},
  {"{" T("a", "U8", "[2]", 0, 1) "}", 1, "a: expected 2 bytes for its shape and dtype, found 1"},
  {"{" T("a", "F32", "[1]", 0, 1) "}", 1, "a: expected 4 bytes"},
  {"{" T("a", "F4", "[3]", 0, 2) "}", 2, "and a part"},
  {"{" T("a", "U8", "[18446744073709551615,2]", 0, 1) "}", 1, "more than 2^64 bits"},
  {"{" T("a", "U8", "[4294967296,4294967296,4294967296]", 0, 1) "}", 1, "more than 2^64 bits"},
  {"{" T("a", "I64", "[1152921504606846976]", 0, 0) "}", 0, "more than 2^64 bits"},
  {"{" T("a", "U8", "[1,1,1,1,1,1,1,1,1]", 0, 1) "}", 1, "at most 8 dimensions"},
  {"{" T("a", "U8", "[-1]", 0, 1) "}", 1, "integer from 0"},
  {"{" T("a", "U8", "[1.5]", 0, 1) "}", 1, "integer from 0"},
  {"{" T("a", "U8", "1", 0, 1) "}", 1, "expected an array"},
  {"{" T("a", "U8", "[[1]]", 0, 1) "}", 1, "integer from 0"},
  {"{" T("a", "U8", "null", 0, 1) "}", 1, "expected an array"},
  {"{\"a\":{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "expected a string"},
  {"{\"a\":{\"dtype\":\"a_dtype_with_a_very_long_name\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "too long"},
  {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "a: expected a dtype, found none"},
  {"{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, "a: expected a shape, found none"},
  {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, "a: expected a data_offsets, found none"},
  {"{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "one dtype, found two"},
  {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "one shape, found two"},
  {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"data_offsets\":[0,1]}}", 1, "one data_offsets, found two"},
  {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0]}}", 1, "two data_offsets, found fewer"},
  {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[]}}", 1, "two data_offsets, found fewer"},
  {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,2]}}", 1, "two data_offsets, found more"},
  {"{\"a\\u0000b\":{}}", 0, "zero character"},
  {"{\"a\\nb\":{}}", 0, "control character"},
  {"{\"a\nb\":{}}", 0, "control character"},
  {"{\"\\ud800\":{}}", 0, "surrogate"},
  {"{\"\\udc00\":{}}", 0, "surrogate"},
  {"{\"\\ud800\\u0041\":{}}", 0, "surrogate"},
  {"{\"\\x\":{}}", 0, "unknown escape"},
  {"{\"\\u12g4\":{}}", 0, "hexadecimal"},
  {"{\"\xff\":{}}", 0, "not UTF-8"},
  {"{\"\xc0\x80\":{}}", 0, "not UTF-8"},
  {"{\"\xe0\x80\x80\":{}}", 0, "not UTF-8"},
  {"{\"\xed\xa0\x80\":{}}", 0, "not UTF-8"},
  {"{\"\xf4\x90\x80\x80\":{}}", 0, "not UTF-8"},
  {"{\"\xe2\x82", 0, "not UTF-8"},
  {"{\"a\":{\"x\":nul}}", 0, "expected a value"},
  {"{\"a\":{\"x\":NaN}}", 0, "expected a value"},
  {"{\"a\":{\"x\":-}}", 0, "expected a digit"},
  {"{\"a\":{\"x\":1.}}", 0, "expected a digit"},
  {"{\"a\":{\"x\":1e}}", 0, "expected a digit"},
};

static void test_lies(void **state)
{
  (void)state;
  for (size_t i = 0; i < KOI_COUNT(lies); i++) {
    koi_weights *w = NULL;
    uint8_t *keep;
    expect_refused(open_text(lies[i].header, lies[i].data, &w, &keep), w, lies[i].fragment, lies[i].header);
    free(keep);
  }
}

static void test_deep(void **state)
{
  (void)state;
  char header[1100];
  koi_weights *w = NULL;
  uint8_t *keep;
  memset(header, '[', 1000);
  header[1000] = 0;
  assert_int_equal(koi_jscan_check(header, 1000, "deep"), KOINE_ERR_FILE);
  assert_non_null(strstr(koi_error_text(), "nested too deeply"));
  memcpy(header, "{\"a\":{\"x\":", 10);
  expect_refused(open_text(header, 0, &w, &keep), w, "nested too deeply", "1000 brackets");
  free(keep);
}

static void test_length(void **state)
{
  (void)state;
  static const uint64_t lengths[] = {0, 1, 3, 100000001, 1ull << 32, 1ull << 60, (1ull << 60) + 2, 1ull << 63, UINT64_MAX - 8, UINT64_MAX - 7, UINT64_MAX};
  for (size_t i = 0; i < KOI_COUNT(lengths); i++) {
    uint8_t *bytes = malloc(10);
    for (int k = 0; k < 8; k++) bytes[k] = (uint8_t)(lengths[i] >> 8 * k);
    bytes[8] = '{', bytes[9] = '}';
    koi_weights *w = NULL;
    expect_refused(koi_safetensors_open_memory(bytes, 10, "mem", &w), w, "mem: ", "header length");
    free(bytes);
  }
  for (size_t n = 0; n < 8; n++) {
    uint8_t *bytes = calloc(n + 1, 1);
    koi_weights *w = NULL;
    expect_refused(koi_safetensors_open_memory(bytes, n, "mem", &w), w, "at least 8 bytes", "short");
    free(bytes);
  }
}

/* A header of the shape real files have, with everything the reader looks at. */
static const char sample[] = "{\"__metadata__\":{\"format\":\"pt\"}," T("layers.0.a", "F32", "[2,2]", 0, 16) "," T("model.b", "BF16", "[3]", 16, 22) "," T("c", "I8", "[1,2]", 22, 24) "}";

static void test_truncated(void **state)
{
  (void)state;
  size_t n = 8 + strlen(sample) + 24;
  for (size_t cut = 0; cut < n; cut++) {
    koi_weights *w = NULL;
    uint8_t *whole, *part = malloc(cut + 1);
    assert_int_equal(open_text(sample, 24, &w, &whole), KOINE_OK);
    koi_weights_close(w);
    part = realloc(part, cut ? cut : 1);
    memcpy(part, whole, cut);
    expect_refused(koi_safetensors_open_memory(part, cut, "mem", &w), w, "mem: ", "truncated");
    free(part), free(whole);
  }
}

/* Any byte changed to any value: opens or is refused, and never reads outside (the sanitizers watch). */
static void test_flipped(void **state)
{
  (void)state;
  size_t n = 8 + strlen(sample) + 24, opened = 0;
  uint8_t *whole, *copy = malloc(n);
  koi_weights *w = NULL;
  assert_int_equal(open_text(sample, 24, &w, &whole), KOINE_OK);
  koi_weights_close(w);
  for (size_t at = 0; at < n - 24; at++)
    for (int v = 0; v < 256; v++) {
      memcpy(copy, whole, n);
      copy[at] = (uint8_t)v;
      koine_status s = koi_safetensors_open_memory(copy, n, "mem", &w);
      assert_true(s == KOINE_OK || s == KOINE_ERR_FILE);
      if (s) continue;
      opened++;
      for (size_t i = 0; i < koi_weights_count(w); i++) {
        const koi_tensor *t = koi_weights_at(w, i);
        assert_true(t->data >= copy && t->data + t->bytes <= copy + n);
      }
      koi_weights_close(w);
    }
  assert_true(opened > 300); /* names may change freely */
  free(copy), free(whole);
}

static void test_check(void **state)
{
  (void)state;
  static const struct { const char *text; const char *fragment; } cases[] = {
    {"{\"a\":1,\"b\":{\"a\":2},\"c\":[{\"a\":1},{\"a\":2}]}", NULL},
    {"[]", NULL},
    {" -0.5e+3 ", NULL},
    {"\"\\u00e9\\\\\\/\"", NULL},
    {"{\"a\":1,\"b\":2,\"a\":3}", "given twice"},
    {"{\"a\":1,\"\\u0061\":3}", "given twice"},
    {"{\"x\":[{\"b\":{\"c\":1,\"d\":2,\"c\":3}}]}", "given twice"},
    {"", "found the end"},
    {"{} x", "found 'x'"},
    {"[1,]", "found ']'"},
    {"01", "leading zeros"},
    {"{\"a\":\x01}", "byte 0x01"},
    {"truex", "something follows"},
    {"+1", "expected a value"},
  };
  for (size_t i = 0; i < KOI_COUNT(cases); i++) {
    koine_status s = koi_jscan_check(cases[i].text, strlen(cases[i].text), "here");
    if (s != (cases[i].fragment ? KOINE_ERR_FILE : KOINE_OK) || (s && !strstr(koi_error_text(), cases[i].fragment)))
      fail_msg("%s: %d %s", cases[i].text, s, koi_error_text());
  }
}

static void test_files(void **state)
{
  (void)state;
  koi_weights *w = NULL;
  char *folder = remake_mkdir(), path[4096];
  assert_int_equal(koi_safetensors_open_file(remake_data("vectors.safetensors"), &w), KOINE_OK);
  assert_non_null(koi_weights_find(w, "rope_yarn_cos"));
  koi_weights_close(w);
  snprintf(path, sizeof path, "%s/fifo", folder);
  assert_int_equal(mkfifo(path, 0600), 0);
  expect_refused(koi_safetensors_open_file(path, &w), w, "regular file", "a pipe");
  expect_refused(koi_safetensors_open_file(folder, &w), w, "regular file", "a folder");
  snprintf(path, sizeof path, "%s/none", folder);
  expect_refused(koi_safetensors_open_file(path, &w), w, "cannot open", "no file");
  remake_put(folder, "none", "", 0);
  expect_refused(koi_safetensors_open_file(path, &w), w, "at least 8 bytes", "an empty file");
  remake_rmdir(folder);
}

/* As many tensors as V4-Pro has: the reader must not be quadratic anywhere. */
static void test_many(void **state)
{
  (void)state;
  enum { N = 150000 };
  koi_text o = {0};
  koi_text_add(&o, "{");
  for (int i = 0; i < N; i++)
    koi_text_add(&o, "%s\"layers.%d.ffn.experts.%d.w%d.weight\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%d,%d]}", i ? "," : "", i / 2000, i / 3 % 667, i % 3,
                 N - 1 - i, N - i);
  koi_text_add(&o, "}");
  koi_weights *w;
  uint8_t *keep;
  assert_false(o.failed);
  clock_t start = clock();
  assert_int_equal(open_text(o.s, N, &w, &keep), KOINE_OK);
  for (size_t i = 0; i < koi_weights_count(w); i++) assert_ptr_equal(koi_weights_find(w, koi_weights_at(w, i)->name), koi_weights_at(w, i));
  long ms = (long)((clock() - start) / (CLOCKS_PER_SEC / 1000));
  print_message("%d tensors opened and found in %ld ms\n", N, ms);
  assert_true(ms < 10000); /* 150 ms, and some 1 s under sanitizers; a quadratic step would take minutes */
  koi_weights_close(w);
  free(keep);
  koi_free(o.s);
}

static void test_no_memory(void **state)
{
  (void)state;
  for (long i = 1; i < 100; i++) {
    koi_weights *w = NULL;
    uint8_t *keep;
    koi_alloc_fail_at(i);
    koine_status s = open_text(sample, 24, &w, &keep);
    koi_alloc_fail_at(0);
    free(keep);
    if (s) assert_int_equal(s, KOINE_ERR_MEMORY);
    if (s) continue;
    koi_weights_close(w);
    assert_true(i > 4);
    return;
  }
  fail();
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_good),      cmocka_unit_test(test_fields),  cmocka_unit_test(test_lies),  cmocka_unit_test(test_deep),
    cmocka_unit_test(test_length),    cmocka_unit_test(test_truncated), cmocka_unit_test(test_flipped), cmocka_unit_test(test_check),
    cmocka_unit_test(test_files),     cmocka_unit_test(test_many),    cmocka_unit_test(test_no_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
