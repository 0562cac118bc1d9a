/* The GGUF reader: what is right opens, every lie is refused with a line that names it. */
#include "make_gguf.h"
#include "remake.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define DIMS(...) (const uint64_t[]){__VA_ARGS__}

/* Opens the bytes, exactly sized on the heap, so that a sanitizer sees any read beyond. */
static koine_status open_bytes(const void *p, size_t n, koi_gguf **g, uint8_t **keep)
{
  *keep = malloc(n ? n : 1);
  if (n) memcpy(*keep, p, n);
  return koi_gguf_open_memory(*keep, n, "mem.gguf", g);
}

static void expect_refused(const void *p, size_t n, const char *fragment, const char *what)
{
  koi_gguf *g;
  uint8_t *keep;
  koine_status s = open_bytes(p, n, &g, &keep);
  if (!s) koi_gguf_close(g);
  free(keep);
  if (s != KOINE_ERR_FILE || !strstr(koi_error_text(), fragment) || !strstr(koi_error_text(), "mem.gguf") || strchr(koi_error_text(), '\n'))
    fail_msg("%.200s: expected an error with \"%s\", found %d \"%s\"", what, fragment, s, koi_error_text());
}

/* One of everything: each type of value, arrays, tensors of three types. */
static void make_whole(make_gguf *m, uint32_t version)
{
  make_gguf_begin(m, version, 3, 15);
  for (uint32_t type = 0; type < KOI_N_GGUF_TYPES; type++) {
    static const size_t bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    char key[32];
    snprintf(key, sizeof key, "type.%u", type);
    if (type == KOI_GGUF_ARRAY) {
      make_gguf_array(m, key, KOI_GGUF_I16, 3);
      for (int i = 0; i < 3; i++) make_gguf_word(m, (uint64_t)(i - 1), 2);
    } else if (type == KOI_GGUF_STRING) make_gguf_text(m, key, "a text");
    else {
      make_gguf_key(m, key, type);
      make_gguf_word(m, type == KOI_GGUF_F32 ? 0x3fc00000 : type == KOI_GGUF_F64 ? 0x3ff8000000000000 : type == KOI_GGUF_BOOL ? 1 : UINT64_MAX, bytes[type]);
    }
  }
  make_gguf_array(m, "texts", KOI_GGUF_STRING, 3);
  make_gguf_string(m, "");
  make_gguf_string(m, "two");
  make_gguf_string(m, "three");
  make_gguf_u32(m, "general.alignment", 64);
  make_gguf_tensor(m, "b", 2, DIMS(3, 2), 0, 0);
  make_gguf_tensor(m, "a", 4, DIMS(64, 2, 3, 1), 8, 64); /* read with three */
  make_gguf_tensor(m, "new", 1, DIMS(7), 77, 512);
  make_gguf_pad(m, 64);
  for (int i = 0; i < 64 + 408; i++) make_gguf_word(m, (uint64_t)i, 1);
  make_gguf_pad(m, 64);
  for (int i = 0; i < 9; i++) make_gguf_word(m, 0, 1);
}

static void check_values(const koi_gguf *g)
{
  static const double want[] = {255, -1, 65535, -1, 4294967295.0, -1, 1.5, 1, 0, -1, 1.8446744073709552e19, -1, 1.5};
  for (uint32_t type = 0; type < KOI_N_GGUF_TYPES; type++) {
    char key[32];
    double x = 0;
    int64_t n = 0;
    snprintf(key, sizeof key, "type.%u", type);
    const koi_gguf_value *v = koi_gguf_find(g, key);
    assert_non_null(v);
    assert_int_equal(v->array, type == KOI_GGUF_ARRAY);
    assert_int_equal(koi_gguf_number(v, 0, &x), type != KOI_GGUF_STRING);
    if (type != KOI_GGUF_STRING) assert_true(x == want[type]);
    bool whole = type != KOI_GGUF_STRING && type != KOI_GGUF_F32 && type != KOI_GGUF_F64 && type != KOI_GGUF_U64; /* that one is beyond int64_t */
    assert_int_equal(koi_gguf_int(v, 0, &n), whole);
    if (whole) assert_true((double)n == want[type]);
    assert_false(koi_gguf_number(v, v->n, &x));
  }
}

static void check_tensors(const koi_gguf *g, const uint8_t *keep, size_t n)
{
  const koi_weights *w = koi_gguf_weights(g);
  const koi_tensor *a = koi_weights_find(w, "a"), *b = koi_weights_find(w, "b"), *other = koi_weights_find(w, "new");
  assert_int_equal(koi_weights_count(w), 3);
  assert_true(a && b && other);
  assert_int_equal(a->dtype, KOI_Q8_0);
  assert_true(a->n_dims == 3 && a->shape[0] == 3 && a->shape[1] == 2 && a->shape[2] == 64);
  assert_int_equal(a->bytes, 3 * 2 * 2 * 34);
  assert_true(b->dtype == KOI_F32 && b->n_dims == 2 && b->shape[0] == 2 && b->shape[1] == 3 && b->bytes == 24);
  assert_int_equal(a->data - b->data, 64);
  assert_true(b->data[0] == 0 && b->data[23] == 23 && a->data[0] == 64);
  assert_int_equal((b->data - keep) % 64, 0);
  assert_true(other->dtype == KOI_DTYPE_OTHER && other->data < keep + n);
}

static void test_good(void **state)
{
  (void)state;
  for (uint32_t version = 2; version <= 3; version++) {
    make_gguf m = {0};
    koi_gguf *g;
    uint8_t *keep;
    const char *s;
    size_t n;
    make_whole(&m, version);
    if (open_bytes(m.s, m.n, &g, &keep)) fail_msg("%s", koi_error_text());
    assert_int_equal(koi_gguf_count(g), 15);
    check_values(g);
    check_tensors(g, keep, m.n);
    koi_gguf_cursor c = {.value = koi_gguf_find(g, "texts")};
    for (size_t i = 0; i < 3; i++) assert_true(koi_gguf_string(&c, &s, &n) && n == strlen(((const char *[]){"", "two", "three"})[i]));
    assert_true(!memcmp(s, "three", 5) && !koi_gguf_string(&c, &s, &n));
    assert_null(koi_gguf_find(g, "absent"));
    koi_weights_close(koi_gguf_take(g));
    koi_gguf_close(g);
    free(keep);
    make_gguf_free(&m);
  }
}

/* Every prefix is refused: the last tensor's type has no known size, so all before its first byte counts. */
static void test_truncated(void **state)
{
  (void)state;
  make_gguf m = {0};
  make_whole(&m, 3);
  for (size_t n = 0; n < m.n - 9; n++) {
    char what[40];
    snprintf(what, sizeof what, "%zu bytes of %zu", n, m.n);
    expect_refused(m.s, n, n < 4 ? "header" : "", what);
  }
  make_gguf_free(&m);
}

/* Every byte changed in several ways: it opens or is refused in one line, and what opens lies within the bytes. */
static void test_flipped(void **state)
{
  (void)state;
  static const uint8_t flips[] = {0x01, 0x10, 0x80, 0xff};
  make_gguf m = {0};
  size_t opened = 0;
  make_whole(&m, 3);
  for (size_t i = 0; i < m.n; i++)
    for (size_t f = 0; f < sizeof flips; f++) {
      koi_gguf *g;
      uint8_t *keep;
      m.s[i] ^= flips[f];
      koine_status s = open_bytes(m.s, m.n, &g, &keep);
      m.s[i] ^= flips[f];
      if (s && (s != KOINE_ERR_FILE || strchr(koi_error_text(), '\n'))) fail_msg("byte %zu: %d %s", i, s, koi_error_text());
      for (size_t t = 0; !s && t < koi_weights_count(koi_gguf_weights(g)); t++) {
        const koi_tensor *x = koi_weights_at(koi_gguf_weights(g), t);
        assert_true(x->data >= keep && x->bytes <= m.n && x->data + x->bytes <= keep + m.n);
      }
      if (!s) koi_gguf_close(g), opened++;
      free(keep);
    }
  assert_true(opened > 0);
  make_gguf_free(&m);
}

/* ---- lies, one a file ---- */
typedef void lie_fn(make_gguf *m);
static void keys(make_gguf *m, uint64_t n) { make_gguf_begin(m, 3, 0, n); }
static void tensors(make_gguf *m, uint64_t n) { make_gguf_begin(m, 3, n, 0); }
static void data(make_gguf *m, size_t n)
{
  make_gguf_pad(m, 32);
  for (size_t i = 0; i < n; i++) make_gguf_word(m, 0, 1);
}
static void magic(make_gguf *m) { make_gguf_bytes(m, "GGML\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24); }
static void version1(make_gguf *m) { make_gguf_begin(m, 1, 0, 0); }
static void version4(make_gguf *m) { make_gguf_begin(m, 4, 0, 0); }
static void big_endian(make_gguf *m) { make_gguf_begin(m, 0x03000000, 0, 0); }
static void tensors_max(make_gguf *m) { tensors(m, UINT64_MAX); }
static void tensors_63(make_gguf *m) { tensors(m, UINT64_C(1) << 63); }
static void tensors_32(make_gguf *m) { tensors(m, UINT64_C(1) << 32); }
static void keys_max(make_gguf *m) { keys(m, UINT64_MAX); }
static void keys_32(make_gguf *m) { keys(m, UINT64_C(1) << 32); }
static void long_key(make_gguf *m) { keys(m, 1), make_gguf_word(m, UINT64_MAX, 8), data(m, 64); }
static void empty_key(make_gguf *m) { keys(m, 1), make_gguf_u32(m, "", 1), data(m, 64); }
static void control_key(make_gguf *m) { keys(m, 1), make_gguf_u32(m, "a\nb", 1), data(m, 64); }
static void two_keys(make_gguf *m) { keys(m, 2), make_gguf_u32(m, "k", 1), make_gguf_u32(m, "k", 2); }
static void type_13(make_gguf *m) { keys(m, 1), make_gguf_key(m, "k", 13), data(m, 64); }
static void long_text(make_gguf *m) { keys(m, 1), make_gguf_key(m, "k", KOI_GGUF_STRING), make_gguf_word(m, UINT64_MAX, 8), data(m, 64); }
static void long_array(make_gguf *m) { keys(m, 1), make_gguf_array(m, "k", KOI_GGUF_U64, UINT64_C(1) << 61), data(m, 64); }
static void long_texts(make_gguf *m) { keys(m, 1), make_gguf_array(m, "k", KOI_GGUF_STRING, UINT64_MAX), data(m, 64); }
static void nested(make_gguf *m) { keys(m, 1), make_gguf_array(m, "k", KOI_GGUF_ARRAY, 1), data(m, 64); }
static void array_type(make_gguf *m) { keys(m, 1), make_gguf_array(m, "k", 99, 1), data(m, 64); }
static void bool_2(make_gguf *m) { keys(m, 1), make_gguf_key(m, "k", KOI_GGUF_BOOL), make_gguf_word(m, 2, 1), data(m, 64); }
static void align_0(make_gguf *m) { keys(m, 1), make_gguf_u32(m, "general.alignment", 0); }
static void align_3(make_gguf *m) { keys(m, 1), make_gguf_u32(m, "general.alignment", 3); }
static void align_big(make_gguf *m) { keys(m, 1), make_gguf_u32(m, "general.alignment", 1u << 31); }
static void align_text(make_gguf *m) { keys(m, 1), make_gguf_text(m, "general.alignment", "32"); }
static void one(make_gguf *m, uint32_t n_dims, const uint64_t *dims, uint32_t type, uint64_t offset)
{
  tensors(m, 1);
  make_gguf_tensor(m, "x", n_dims, dims, type, offset);
  data(m, 256);
}
static void dims_0(make_gguf *m) { one(m, 0, NULL, 0, 0); }
static void dims_5(make_gguf *m) { one(m, 5, DIMS(1, 1, 1, 1, 1), 0, 0); }
static void zero(make_gguf *m) { one(m, 2, DIMS(0, 4), 0, 0); }
static void wide(make_gguf *m) { one(m, 1, DIMS(UINT64_C(1) << 40), 0, 0); }
static void overflow(make_gguf *m) { one(m, 4, DIMS(UINT64_C(1) << 32, UINT64_C(1) << 32, 1, 1), 0, 0); }
static void overflow_byte(make_gguf *m) { one(m, 2, DIMS(UINT64_C(1) << 62, 2), 0, 0); }
static void ragged(make_gguf *m) { one(m, 1, DIMS(33), 8, 0); }
static void beyond(make_gguf *m) { one(m, 1, DIMS(65), 0, 0); }
static void offset_max(make_gguf *m) { one(m, 1, DIMS(1), 0, UINT64_MAX); }
static void offset_end(make_gguf *m) { one(m, 1, DIMS(1), 0, 256); }
static void offset_odd(make_gguf *m) { one(m, 1, DIMS(1), 0, 4); }
static void overlap(make_gguf *m)
{
  tensors(m, 2);
  make_gguf_tensor(m, "x", 1, DIMS(16), 0, 0);
  make_gguf_tensor(m, "y", 1, DIMS(16), 0, 32);
  data(m, 256);
}
static void two_tensors(make_gguf *m)
{
  tensors(m, 2);
  make_gguf_tensor(m, "x", 1, DIMS(8), 0, 0);
  make_gguf_tensor(m, "x", 1, DIMS(8), 0, 32);
  data(m, 256);
}

static void test_lies(void **state)
{
  (void)state;
  static const struct { const char *what; lie_fn *make; const char *fragment; } lies[] = {
#define LIE(name, fragment) {#name, name, fragment}
    LIE(magic, "begins with GGUF"), LIE(version1, "version 2 or 3 of GGUF, found 1"), LIE(version4, "found 4"), LIE(big_endian, "big-endian"),
    LIE(tensors_max, "tensors in 24 bytes, found 18446744073709551615"), LIE(tensors_63, "found 9223372036854775808"), LIE(tensors_32, "found 4294967296"),
    LIE(keys_max, "keys in 24 bytes"), LIE(keys_32, "keys in 24 bytes"), LIE(long_key, "key 1 of 1: expected a name"), LIE(empty_key, "expected a name of 1"),
    LIE(control_key, "control character"), LIE(two_keys, "k: expected every key once"), LIE(type_13, "expected a type from 0 to 12, found 13"),
    LIE(long_text, "key 1 of 1: expected 18446744073709551615 bytes"), LIE(long_array, "items of uint64"), LIE(long_texts, "items of string"),
    LIE(nested, "array of arrays"), LIE(array_type, "found 99"), LIE(bool_2, "0 or 1, found 2"), LIE(align_0, "general.alignment: expected a power of two"),
    LIE(align_3, "power of two"), LIE(align_big, "power of two"), LIE(align_text, "power of two"), LIE(dims_0, "1 to 4 dimensions, found 0"),
    LIE(dims_5, "1 to 4 dimensions, found 5"), LIE(zero, "at least 1, found 0"), LIE(wide, "x: expected its 4398046511104 bytes"),
    LIE(overflow, "more than 2^64 bytes"), LIE(overflow_byte, "more than 2^64 bytes"), LIE(ragged, "multiple of 32 values a row in Q8_0, found 33"),
    LIE(beyond, "x: expected its 260 bytes at 0 within 256"), LIE(offset_max, "expected its offset within"), LIE(offset_end, "expected its 4 bytes at 256"),
    LIE(offset_odd, "multiple of 32, found 4"), LIE(overlap, "y: its data overlap those of x"), LIE(two_tensors, "x: expected every tensor once"),
  };
  for (size_t i = 0; i < KOI_COUNT(lies); i++) {
    make_gguf m = {0};
    lies[i].make(&m);
    expect_refused(m.s, m.n, lies[i].fragment, lies[i].what);
    make_gguf_free(&m);
  }
}

/* ---- split models ---- */
static void put_part(const char *folder, const char *file, uint32_t no, uint32_t count, uint32_t total, const char *tensor)
{
  make_gguf m = {0};
  make_gguf_begin(&m, 3, 1, 3);
  make_gguf_u32(&m, "split.no", no);
  make_gguf_u32(&m, "split.count", count);
  make_gguf_u32(&m, "split.tensors.count", total);
  make_gguf_tensor(&m, tensor, 1, DIMS(8), 0, 0);
  data(&m, 32);
  remake_put(folder, file, m.s, m.n);
  make_gguf_free(&m);
}

static void expect_path(const char *folder, const char *file, const char *fragment /* NULL: it opens, with this many tensors */, size_t n)
{
  char path[4200];
  koi_gguf *g;
  snprintf(path, sizeof path, "%s/%s", folder, file);
  koine_status s = koi_gguf_open(path, &g);
  if (fragment && (s != KOINE_ERR_FILE || !strstr(koi_error_text(), fragment))) fail_msg("%s: expected \"%s\", found %d \"%s\"", file, fragment, s, koi_error_text());
  if (!fragment && s) fail_msg("%s: %s", file, koi_error_text());
  if (!s) assert_int_equal(koi_weights_count(koi_gguf_weights(g)), n);
  if (!s) koi_gguf_close(g);
}

static void test_split(void **state)
{
  (void)state;
  char *dir = remake_mkdir();
  put_part(dir, "m-00001-of-00003.gguf", 0, 3, 3, "a");
  put_part(dir, "m-00002-of-00003.gguf", 1, 3, 3, "b");
  expect_path(dir, "m-00001-of-00003.gguf", "m-00003-of-00003.gguf: expected this file", 0);
  put_part(dir, "m-00003-of-00003.gguf", 2, 3, 3, "c");
  expect_path(dir, "m-00001-of-00003.gguf", NULL, 3);
  expect_path(dir, "m-00002-of-00003.gguf", "expected the first part of a split model, found part 2", 0);
  put_part(dir, "m-00003-of-00003.gguf", 2, 3, 3, "a");
  expect_path(dir, "m-00001-of-00003.gguf", "a: expected every tensor once, found it again in", 0);
  put_part(dir, "m-00003-of-00003.gguf", 1, 3, 3, "c");
  expect_path(dir, "m-00001-of-00003.gguf", "expected part 3 of 3 by its name, found that its metadata say part 2 of 3", 0);
  put_part(dir, "m-00003-of-00003.gguf", 2, 4, 3, "c");
  expect_path(dir, "m-00001-of-00003.gguf", "say part 3 of 4 (split.no", 0);
  put_part(dir, "m-00003-of-00003.gguf", 2, 3, 3, "c");
  put_part(dir, "m-00001-of-00003.gguf", 0, 3, 7, "a");
  expect_path(dir, "m-00001-of-00003.gguf", "expected 7 tensors as split.tensors.count says, found 3", 0);
  put_part(dir, "plain.gguf", 0, 3, 3, "a");
  expect_path(dir, "plain.gguf", "expected a name that ends in -00001-of-00003.gguf", 0);
  remake_put(dir, "m-00002-of-00003.gguf", "GGUF", 4);
  expect_path(dir, "m-00001-of-00003.gguf", "m-00002-of-00003.gguf: expected at least 8 bytes", 0);
  expect_path(dir, "none.gguf", "none.gguf: cannot open", 0);
  expect_path(dir, ".", "expected a regular file", 0);
  remake_rmdir(dir);
}

/* No allocation that fails leaks or crashes. */
static void test_memory(void **state)
{
  (void)state;
  make_gguf m = {0};
  make_whole(&m, 3);
  koine_status s = KOINE_ERR_MEMORY;
  for (long i = 1; s && i < 100; i++) {
    koi_gguf *g;
    uint8_t *keep;
    koi_alloc_fail_at(i);
    s = open_bytes(m.s, m.n, &g, &keep);
    koi_alloc_fail_at(0);
    if (s) assert_int_equal(s, KOINE_ERR_MEMORY);
    else koi_gguf_close(g);
    free(keep);
  }
  assert_int_equal(s, KOINE_OK);
  make_gguf_free(&m);
}

/* Readers and writers share one table of ggml's numbers: here they are a second time, from ggml.h. */
static void test_numbers(void **state)
{
  (void)state;
  static const struct { koi_dtype dtype; int number; } all[] = {
    {KOI_F32, 0}, {KOI_F16, 1}, {KOI_Q4_0, 2}, {KOI_Q4_1, 3}, {KOI_Q5_0, 6}, {KOI_Q5_1, 7}, {KOI_Q8_0, 8}, {KOI_Q2_K, 10}, {KOI_Q3_K, 11}, {KOI_Q4_K, 12}, {KOI_Q5_K, 13},
    {KOI_Q6_K, 14}, {KOI_IQ2_XXS, 16}, {KOI_IQ2_XS, 17}, {KOI_IQ3_XXS, 18}, {KOI_IQ1_S, 19}, {KOI_IQ4_NL, 20}, {KOI_IQ3_S, 21}, {KOI_IQ2_S, 22}, {KOI_IQ4_XS, 23}, {KOI_I8, 24},
    {KOI_I32, 26}, {KOI_I64, 27}, {KOI_IQ1_M, 29}, {KOI_BF16, 30}, {KOI_TQ1_0, 34}, {KOI_TQ2_0, 35}, {KOI_MXFP4, 39}, {KOI_F8_E4M3, -1}, {KOI_U8, -1}, {KOI_DTYPE_OTHER, -1}};
  for (size_t i = 0; i < KOI_COUNT(all); i++) assert_int_equal(koi_gguf_dtype_number(all[i].dtype), all[i].number);
}

int main(void)
{
  const struct CMUnitTest all[] = {cmocka_unit_test(test_good), cmocka_unit_test(test_truncated), cmocka_unit_test(test_flipped), cmocka_unit_test(test_lies),
                                   cmocka_unit_test(test_split), cmocka_unit_test(test_numbers), cmocka_unit_test(test_memory)};
  return cmocka_run_group_tests(all, NULL, NULL);
}
