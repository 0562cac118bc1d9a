/* Every lie in index or tensors is refused with a line that names it, and nothing leaks. What opens: t_model.c. */
#include "remake.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static void expect_refused(const remake *r, const char *fragment, const char *what)
{
  koine_model *m;
  koine_status s = remake_open(r, &m);
  if (!s) koi_model_close(m);
  remake_refused(s, fragment, what);
}

/* ---- tensors that lie ---- */
static void test_missing_tensor(void **state)
{
  (void)state;
  remake all = remake_load(remake_data("tiny-quant"));
  for (size_t i = 0; i < all.n; i++) {
    item last = all.items[all.n - 1], taken = all.items[i]; /* remove one, in place */
    all.items[i] = last, all.n--;
    expect_refused(&all, taken.name, "missing");
    all.n++;
    all.items[all.n - 1] = last, all.items[i] = taken;
  }
  remake_free(&all);
}

static void test_wrong_shape(void **state)
{
  (void)state;
  remake r = remake_load(remake_data("tiny-quant"));
  for (size_t i = 0; i < r.n; i++) {
    item *t = &r.items[i], kept = *t;
    t->shape[t->n_dims++] = 1; /* one more dimension, the same bytes */
    expect_refused(&r, t->name, "one more dimension");
    assert_non_null(strstr(koi_error_text(), "expected shape ["));
    *t = kept;
    if (t->n_dims < 2 || t->shape[0] == t->shape[1]) continue;
    t->shape[0] = kept.shape[1], t->shape[1] = kept.shape[0];
    expect_refused(&r, t->name, "turned");
    *t = kept;
  }
  remake_free(&r);
}

static void test_wrong_dtype(void **state)
{
  (void)state;
  static const char *const other[][2] = {{"F32", "U32"}, {"BF16", "I16"}, {"F8_E4M3", "F8_E5M2"}, {"F8_E8M0", "BOOL"}, {"I8", "BOOL"}, {"I64", "F64"}};
  remake r = remake_load(remake_data("tiny-quant"));
  for (size_t i = 0; i < r.n; i++) {
    item *t = &r.items[i], kept = *t;
    for (size_t k = 0; k < KOI_COUNT(other); k++)
      if (!strcmp(kept.dtype, other[k][0])) strcpy(t->dtype, other[k][1]);
    assert_string_not_equal(t->dtype, kept.dtype);
    expect_refused(&r, t->name, "dtype");
    assert_non_null(strstr(koi_error_text(), "expected dtype"));
    *t = kept;
  }
  item *t = remake_find(&r, "layers.0.attn.wq_a.weight"); /* FP4 where only FP8 may be */
  strcpy(t->dtype, "I8");
  expect_refused(&r, "layers.0.attn.wq_a.weight: expected dtype", "I8 in attention");
  strcpy(t->dtype, "F8_E4M3");
  t = remake_find(&r, "layers.1.ffn.gate.weight");
  strcpy(t->dtype, "I16");
  expect_refused(&r, "expected dtype F32, F16 or BF16", "gate");
  remake_free(&r);
}

static void test_wrong_ids(void **state)
{
  (void)state;
  static const int64_t ids[] = {4, -1, INT64_MAX, INT64_MIN, 1ll << 32};
  remake r = remake_load(remake_data("tiny-quant"));
  item *t = remake_find(&r, "layers.0.ffn.gate.tid2eid");
  for (size_t i = 0; i < KOI_COUNT(ids); i++) {
    int64_t kept;
    memcpy(&kept, t->data + t->bytes - 8, 8);
    memcpy(t->data + t->bytes - 8, &ids[i], 8);
    expect_refused(&r, "layers.0.ffn.gate.tid2eid: expected expert ids from 0 to 3", "ids");
    assert_non_null(strstr(koi_error_text(), "for token 127"));
    memcpy(t->data + t->bytes - 8, &kept, 8);
  }
  remake_free(&r);
}

/* ---- folders that lie ---- */
static void test_folders(void **state)
{
  (void)state;
  koine_model *m;
  char *folder = remake_mkdir(), path[4200];
  snprintf(path, sizeof path, "%s/config.json", folder);
  remake_refused(koi_model_open(folder, &m), "config.json: expected the model's config: No such file", "no config");
  assert_int_equal(mkfifo(path, 0600), 0);
  remake_refused(koi_model_open(folder, &m), "config.json: expected a regular file", "a pipe");
  unlink(path);
  remake_config(folder, "tiny-quant");
  remake_refused(koi_model_open(path, &m), "expected a checkpoint's folder", "a file");
  snprintf(path, sizeof path, "%s/none", folder);
  remake_refused(koi_model_open(path, &m), "nothing is downloaded", "nothing");

  assert_int_equal(koi_model_open(folder, &m), KOINE_OK); /* a config alone */
  assert_false(m->runnable);
  assert_non_null(strstr(m->missing, "model.safetensors"));
  assert_int_equal(m->layers[1].w[KOI_W_expert_up].format, KOI_WT_FP4);
  assert_int_equal(m->layers[1].w[KOI_W_wq_a].format, KOI_WT_FP8);
  koi_model_close(m);
  remake_put(folder, "model-00001-of-00002.safetensors", "x", 1);
  remake_refused(koi_model_open(folder, &m), "model.safetensors.index.json", "shards without an index");
  remake_rmdir(folder);
}

/* Three shards and an index whose text is `index`, or the right one with `index` NULL. */
static char *sharded(const remake *r, const char *index)
{
  char *folder = remake_mkdir(), path[4200];
  size_t third = r->n / 3, from[4] = {0, third, 2 * third, r->n};
  koi_text o = {0};
  remake_config(folder, "tiny-quant");
  koi_text_add(&o, "{\"metadata\":{\"total_size\":2076376},\"weight_map\":{");
  for (int s = 0; s < 3; s++) {
    snprintf(path, sizeof path, "%s/part%d.safetensors", folder, s);
    remake_write(r, from[s], from[s + 1], path);
    for (size_t i = from[s]; i < from[s + 1]; i++) koi_text_add(&o, "%s\"%s\":\"part%d.safetensors\"", i ? "," : "", r->items[i].name, s);
  }
  koi_text_add(&o, "}}");
  remake_put(folder, "model.safetensors.index.json", index ? index : o.s, index ? strlen(index) : o.len);
  koi_free(o.s);
  return folder;
}

static const struct { const char *index, *fragment; } index_cases[] = {
  {"", "index.json"},
  {"{}", "weight_map with tensors, found none"},
  {"[]", "expected an object"},
  {"{\"weight_map\":{}}", "found none"},
  {"{\"weight_map\":[]}", "expected an object"},
  {"{\"weight_map\":{\"a\":1}}", "expected a string"},
  {"{\"weight_map\":{\"a\":\"part0.safetensors\"}", "found the end"},
  {"{\"weight_map\":{\"a\":\"part0.safetensors\"},\"weight_map\":{}}", "one weight_map, found two"},
  {"{\"weight_map\":{\"a\":\"part0.safetensors\",\"a\":\"part1.safetensors\"}}", "a: expected every tensor once"},
  {"{\"weight_map\":{\"a\":\"part0.safetensors\",\"model.a\":\"part0.safetensors\"}}", "a: expected every tensor once"},
  {"{\"weight_map\":{\"a\":\"../part0.safetensors\"}}", "name of a file in this folder"},
  {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "name of a file in this folder"},
  {"{\"weight_map\":{\"a\":\"..\"}}", "name of a file in this folder"},
  {"{\"weight_map\":{\"a\":\"\"}}", "name of a file in this folder"},
  {"{\"weight_map\":{\"a\":\"part0\\n.safetensors\"}}", "control character"},
  {"{\"weight_map\":{\"a\":\"part0.safetensors\"}}", "a: expected in part0.safetensors, found in no shard"},
  {"{\"weight_map\":{\"a\":\"part0.safetensors\",\"b\":\"part9.safetensors\"}}", "part9.safetensors: expected this shard"},
  {"{\"weight_map\":{\"a\":\"config.json\"}}", "config.json"},
};

static void test_index(void **state)
{
  (void)state;
  remake r = remake_load(remake_data("tiny-quant"));
  koine_model *m;
  for (size_t i = 0; i < KOI_COUNT(index_cases); i++) {
    char *folder = sharded(&r, index_cases[i].index);
    remake_refused(koi_model_open(folder, &m), index_cases[i].fragment, index_cases[i].index);
    remake_rmdir(folder);
  }
  char *folder = sharded(&r, NULL), path[4200];
  assert_int_equal(koi_model_open(folder, &m), KOINE_OK);
  assert_int_equal(m->index.n_tensors, r.n);
  assert_int_equal(m->index.total_bytes, 2076376);
  koi_model_close(m);
  char text[512];
  snprintf(text, sizeof text, "{\"weight_map\":{\"%s\":\"part1.safetensors\",\"%s\":\"part1.safetensors\"}}", r.items[0].name, r.items[r.n / 3].name);
  remake_put(folder, "model.safetensors.index.json", text, strlen(text));
  remake_refused(koi_model_open(folder, &m), "found in no shard", "a shard that the index leaves out");
  remake_rmdir(folder);

  folder = sharded(&r, NULL); /* one shard, then all of them missing */
  for (int s = 1; s < 4; s++) {
    snprintf(path, sizeof path, "%s/part%d.safetensors", folder, s % 3);
    unlink(path);
    koine_status got = koi_model_open(folder, &m);
    if (s < 3) remake_refused(got, "expected this shard as the index names it", "missing shard");
  }
  assert_false(m->runnable);
  assert_non_null(strstr(m->missing, "part0"));
  assert_int_equal(m->index.n_tensors, r.n);
  koi_model_close(m);
  remake_rmdir(folder);

  folder = sharded(&r, NULL); /* a tensor in two shards */
  snprintf(path, sizeof path, "%s/part2.safetensors", folder);
  remake_write(&r, r.n / 3, r.n, path);
  remake_refused(koi_model_open(folder, &m), "expected every tensor once, found it again in", "twice");
  remake_rmdir(folder);
  remake_free(&r);
}

/* A tiny file cut at every byte of its header and at many of its data. */
static void test_truncated(void **state)
{
  (void)state;
  char path[4200], *text, *folder = remake_mkdir();
  size_t n, header = 0;
  snprintf(path, sizeof path, "%s/model.safetensors", remake_data("tiny-quant"));
  assert_int_equal(koi_file_read(path, 1 << 26, &text, &n), KOINE_OK);
  for (int i = 8; i-- > 0;) header = header << 8 | (uint8_t)text[i];
  remake_config(folder, "tiny-quant");
  snprintf(path, sizeof path, "%s/model.safetensors", folder);
  remake_put(folder, "model.safetensors", text, n);
  size_t steps[] = {1, 37, 997}, ends[] = {40, header + 8, n}, cut = 0; /* each byte at first, then coarser: cut from the end down */
  for (int phase = 2; phase >= 0; phase--)
    for (cut = ends[phase] - 1; cut >= (phase ? ends[phase - 1] : 1); cut -= cut > steps[phase] ? steps[phase] : 1) {
      koine_model *m;
      assert_int_equal(truncate(path, (off_t)cut), 0);
      remake_refused(koi_model_open(folder, &m), "model.safetensors: ", "truncated");
    }
  koi_free(text);
  remake_rmdir(folder);
}

static void test_no_memory(void **state)
{
  (void)state;
  char folder[4096];
  snprintf(folder, sizeof folder, "%s", remake_data("tiny-quant"));
  for (long i = 1; i < 500; i++) {
    koine_model *m;
    koi_alloc_fail_at(i);
    koine_status s = koi_model_open(folder, &m);
    koi_alloc_fail_at(0);
    if (s) assert_int_equal(s, KOINE_ERR_MEMORY);
    if (s) continue;
    koi_model_close(m);
    assert_true(i > 10);
    return;
  }
  fail();
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_missing_tensor), cmocka_unit_test(test_wrong_shape), cmocka_unit_test(test_wrong_dtype), cmocka_unit_test(test_wrong_ids),
    cmocka_unit_test(test_folders), cmocka_unit_test(test_index), cmocka_unit_test(test_truncated),
    cmocka_unit_test(test_no_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
