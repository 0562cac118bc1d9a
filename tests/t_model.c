/* Roles: what opens, and what a model says of itself. What is refused: t_model_lies.c; configs: t_config.c. */
#include "remake.h"
#include "plan/plan.h"
#include <json-c/json.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char last_log[1024];
static int n_logged;
static void on_log(void *user, koine_log_level level, const char *line)
{
  (void)user, (void)level;
  n_logged++;
  snprintf(last_log, sizeof last_log, "%s", line);
}

static void expect_opens(const remake *r)
{
  koine_model *m;
  koine_status s = remake_open(r, &m);
  if (s) fail_msg("%s", koi_error_text());
  koi_model_close(m);
}

static void expect_refused(const remake *r, const char *fragment, const char *what)
{
  koine_model *m;
  koine_status s = remake_open(r, &m);
  if (!s) koi_model_close(m);
  remake_refused(s, fragment, what);
}

/* ---- what opens ---- */
static void test_tiny(void **state)
{
  (void)state;
  for (int quant = 0; quant < 2; quant++) {
    koine_model *m;
    assert_int_equal(koi_model_open(remake_data(quant ? "tiny-quant" : "tiny-float"), &m), KOINE_OK);
    assert_true(m->runnable && !m->synthetic && m->weights && !m->missing);
    assert_int_equal(m->config.n_layers, 4);
    assert_int_equal(m->config.head_dim, 96);
    assert_int_equal(m->config.rope_dim, 32);
    assert_int_equal(m->config.n_hash_layers, 1);
    assert_true(m->layers[0].hash && !m->layers[1].hash);
    assert_int_equal(m->layers[1].ratio, 4);
    assert_int_equal(m->layers[2].ratio, 128);
    assert_true(m->config.yarn.on);
    assert_int_equal(m->layers[1].kind, KOI_CSA);
    assert_int_equal(m->layers[1].cache.coff, 2);
    assert_int_equal(m->layers[1].cache.index_state_width, 2 * m->config.index_dim);
    assert_true(m->layers[2].kind == KOI_HCA && !m->layers[2].cache.index_row_width && m->layers[2].cache.state_rows == 128);
    assert_true(m->layers[0].kind == KOI_SLIDING && !m->layers[0].cache.state_rows);
    const koi_weight *w = m->layers[1].w;
    assert_int_equal(w[KOI_W_expert_up].format, quant ? KOI_WT_FP4 : KOI_WT_BF16);
    assert_int_equal(w[KOI_W_wq_a].format, quant ? KOI_WT_FP8 : KOI_WT_BF16);
    assert_true(!w[KOI_W_wq_a].piece[0].scale == !quant);
    assert_true(w[KOI_W_expert_up].n_units == m->config.n_experts && w[KOI_W_expert_up].n_sub == 2);
    assert_string_equal(koi_weight_piece(&w[KOI_W_expert_up], 2, 1)->weight->name, "layers.1.ffn.experts.2.w3.weight");
    static const struct { uint32_t layer; int role; bool there; } some[] = {
      {0, KOI_W_tid2eid, true}, {0, KOI_W_gate_bias, false}, {1, KOI_W_gate_bias, true}, {0, KOI_W_comp_kv_gate, false}, {2, KOI_W_comp_kv_gate, true},
      {2, KOI_W_index_wq_b, false}, {3, KOI_W_index_comp_ape, true}};
    for (size_t i = 0; i < KOI_COUNT(some); i++) {
      const koi_weight *x = &m->layers[some[i].layer].w[some[i].role];
      assert_true(!x->piece[0].weight == !some[i].there && !x->rows == !some[i].there);
    }
    assert_int_equal(w[KOI_W_expert_down].rows, 128); /* w2: [hidden][inter] */
    assert_int_equal(w[KOI_W_expert_down].k, quant ? 128 : 64);
    koi_model_close(m);
  }
}

static void test_golden(void **state)
{
  (void)state;
  static const char *const names[] = {"float-mini", "float-yarn", "float-pro", "quant-mini", "quant-wide", "quant-fp8experts", "tiny-float", "tiny-quant"};
  const char *dir = getenv("srcdir");
  int skipped = 0;
  for (size_t i = 0; i < KOI_COUNT(names); i++) {
    char path[4096];
    koine_model *m;
    snprintf(path, sizeof path, "%s/../shared/golden/%s", dir ? dir : ".", names[i]);
    if (access(path, R_OK)) {
      print_message("skipped: %s is not there\n", path);
      skipped++;
      continue;
    }
    n_logged = 0;
    if (koi_model_open(path, &m)) fail_msg("%s", koi_error_text());
    assert_int_equal(n_logged, 0);
    assert_true(m->runnable);
    assert_true(!m->n_mtp_tensors == !strncmp(names[i], "tiny", 4));
    if (!strcmp(names[i], "quant-wide")) assert_int_equal(m->index.n_files, 3);
    koi_model_close(m);
  }
  if (skipped) skip();
}

/* The same model in every form that the format allows. */
static void test_forms(void **state)
{
  (void)state;
  const char *folder = remake_data("tiny-quant");
  remake r = remake_load(folder);
  for (size_t i = 0; i < r.n; i++) { /* model. in front */
    char name[160];
    snprintf(name, sizeof name, "%.150s", r.items[i].name);
    snprintf(r.items[i].name, sizeof r.items[i].name, "model.%.150s", name);
  }
  n_logged = 0;
  expect_opens(&r);
  assert_int_equal(n_logged, 0);
  remake_free(&r);

  r = remake_load(remake_data("tiny-quant")); /* scales and codes as U8 */
  for (size_t i = 0; i < r.n; i++)
    if (!strcmp(r.items[i].dtype, "F8_E8M0") || !strcmp(r.items[i].dtype, "I8")) strcpy(r.items[i].dtype, "U8");
  expect_opens(&r);
  remake_free(&r);

  for (int to16 = 0; to16 < 2; to16++) { /* floats in other precisions */
    r = remake_load(remake_data("tiny-quant"));
    for (size_t i = 0; i < r.n; i++)
      if (!strcmp(r.items[i].dtype, "BF16") || (to16 && !strcmp(r.items[i].dtype, "F32"))) remake_widen(&r.items[i], to16 ? "F16" : "F32");
    expect_opens(&r);
    remake_free(&r);
  }

  r = remake_load(remake_data("tiny-quant")); /* expert table in I32 */
  item *t = remake_find(&r, "layers.0.ffn.gate.tid2eid");
  for (size_t i = 0; i < t->bytes / 8; i++) memmove(t->data + i * 4, t->data + i * 8, 4);
  t->bytes /= 2;
  strcpy(t->dtype, "I32");
  expect_opens(&r);
  remake_free(&r);
}

/* Tensors without a role: noted, not refused; those of MTP blocks are counted. */
static void test_extra(void **state)
{
  (void)state;
  remake r = remake_load(remake_data("tiny-quant"));
  uint64_t shape[] = {2, 3};
  remake_add(&r, "layers.0.attn.novelty", "Q9", shape, 2, 5);
  remake_add(&r, "mtp.0.enorm.weight", "BF16", shape, 2, 12);
  koine_model *m;
  n_logged = 0;
  assert_int_equal(remake_open(&r, &m), KOINE_OK);
  assert_int_equal(n_logged, 1);
  assert_non_null(strstr(last_log, "1, the first is layers.0.attn.novelty"));
  assert_int_equal(m->n_mtp_tensors, 1);
  assert_int_equal(m->mtp_bytes, 12);
  koi_model_close(m);
  remake_add(&r, "layers.4.attn.attn_sink", "F32", shape, 1, 8);
  expect_refused(&r, "layers.4.attn.attn_sink: expected layers 0 to 3", "one layer too many");
  remake_free(&r);
}

static void test_tied(void **state)
{
  (void)state;
  remake r = remake_load(remake_data("tiny-float"));
  remake_drop(&r, "head.weight");
  for (int tied = 0; tied < 2; tied++) {
    char *folder = remake_mkdir(), path[4096];
    snprintf(path, sizeof path, "%s/config.json", remake_data("tiny-float"));
    json_object *c = json_object_from_file(path);
    json_object_object_add(c, "tie_word_embeddings", json_object_new_boolean(tied));
    const char *text = json_object_to_json_string(c);
    remake_put(folder, "config.json", text, strlen(text));
    json_object_put(c);
    remake_write_all(&r, folder);
    koine_model *m;
    koine_model_info info;
    koine_status s = koi_model_open(folder, &m);
    if (!tied) remake_refused(s, "head.weight: expected this tensor", "untied without head");
    else {
      assert_int_equal(s, KOINE_OK);
      assert_true(m->top[KOI_TOP_head].piece[0].weight == m->top[KOI_TOP_embed].piece[0].weight && koi_model_tied(m));
      koi_model_get_info(m, &info);
      assert_true(info.n_params_active > 128 * 128);
      koi_model_close(m);
    }
    remake_rmdir(folder);
  }
  remake_free(&r);
}

/* ---- sizes and descriptions ---- */
static void test_synthetic(void **state)
{
  (void)state;
  koine_model *m;
  koine_model_info info;
  koine_shape s = {.size = sizeof s, .name = "v4-flash"};
  assert_int_equal(koi_model_synthetic(&s, &m), KOINE_OK);
  koi_model_get_info(m, &info);
  assert_true(info.n_params / 1000000000 == 284 && info.n_params_active / 1000000000 == 13);
  assert_true(m->synthetic && m->runnable && info.n_layers == 43);
  assert_true(koi_plan_cache_bytes(m, 1 << 20, KOINE_CACHE_PACKED) <= 3800000000u);
  assert_true(koi_plan_cache_bytes(m, 1 << 20, KOINE_CACHE_PACKED) >= 3600000000u);
  assert_true(koi_plan_cache_bytes(m, UINT64_MAX, KOINE_CACHE_EXACT) == UINT64_MAX);
  assert_true(info.weight_bytes > 155e9 && info.weight_bytes < 157e9);
  koi_model_close(m);
  s.name = "v4-pro";
  assert_int_equal(koi_model_synthetic(&s, &m), KOINE_OK);
  koi_model_get_info(m, &info);
  assert_true(info.n_params / 1000000000 == 1572 && info.n_params_active / 1000000000 == 48);
  assert_int_equal(m->layers[60].ratio, 4);
  koi_model_close(m);
  const int32_t ratios[] = {0, 4};
  s = (koine_shape){sizeof s, "v4-flash", ratios, 2, 16, 4096};
  assert_int_equal(koi_model_synthetic(&s, &m), KOINE_OK);
  assert_true(m->config.n_layers == 2 && m->config.n_hash_layers == 2 && m->config.n_experts == 16 && m->config.n_vocab == 4096);
  assert_null(koi_weight_piece(&m->layers[1].w[KOI_W_expert_up], 15, 1)->weight);
  assert_int_equal(m->layers[1].w[KOI_W_expert_up].format, KOI_WT_FP4);
  koi_model_close(m);
}

static void test_synthetic_arguments(void **state)
{
  (void)state;
  const int32_t negative[] = {-1}, huge[] = {1 << 20};
  const koine_shape bad[] = {{0, "v4-flash", NULL, 0, 0, 0}, {sizeof *bad, NULL, NULL, 0, 0, 0}, {sizeof *bad, "v5", NULL, 0, 0, 0},
                             {sizeof *bad, "v4-pro", negative, 1, 0, 0}, {sizeof *bad, "v4-pro", huge, 1, 0, 0}, {sizeof *bad, "v4-pro", negative, 0, 0, 0},
                             {sizeof *bad, "v4-pro", NULL, 0, 5, 0}, {sizeof *bad, "v4-pro", NULL, 0, 1u << 30, 0}, {sizeof *bad, "v4-pro", NULL, 0, 0, 1u << 30}};
  koine_model *m = NULL;
  assert_int_equal(koi_model_synthetic(NULL, &m), KOINE_ERR_ARG);
  for (size_t i = 0; i < KOI_COUNT(bad); i++) assert_int_equal(koi_model_synthetic(&bad[i], &m), KOINE_ERR_ARG);
  assert_null(m);
}

static uint64_t sum(json_object *o, const char *key)
{
  uint64_t n = 0;
  json_object_object_foreach(json_object_object_get(o, key), name, share)
  {
    (void)name;
    n += json_object_get_uint64(json_object_object_get(share, "bytes"));
  }
  return n;
}

static void test_describe(void **state)
{
  (void)state;
  koine_model *m;
  char *text, *json;
  const uint64_t contexts[] = {1000, 1 << 20};
  assert_int_equal(koi_model_open(remake_data("tiny-quant"), &m), KOINE_OK);
  assert_int_equal(koi_model_describe(m, contexts, 2, 12345, koi_plan_cache_bytes, false, &text), KOINE_OK);
  assert_int_equal(koi_model_describe(m, contexts, 2, 12345, koi_plan_cache_bytes, true, &json), KOINE_OK);
  assert_non_null(strstr(text, "deepseek_v4, 4 layers: 1 sliding window, 2 CSA, 1 HCA"));
  assert_non_null(strstr(text, "12345 bytes for chunks of 512"));
  json_object *o = json_tokener_parse(json), *caches = json_object_object_get(o, "caches");
  uint64_t stored = 0;
  for (size_t i = 0; i < koi_weights_count(m->weights); i++) stored += koi_weights_at(m->weights, i)->bytes;
  assert_int_equal(json_object_get_uint64(json_object_object_get(o, "weight_bytes")), stored); /* every byte of the file is counted */
  assert_int_equal(sum(o, "by_precision"), stored);
  assert_int_equal(sum(o, "by_role"), stored);
  assert_int_equal(json_object_array_length(caches), 2);
  assert_int_equal(json_object_get_uint64(json_object_object_get(json_object_array_get_idx(caches, 1), "packed_bytes")),
                   koi_plan_cache_bytes(m, 1 << 20, KOINE_CACHE_PACKED));
  json_object_put(o);
  koi_free(text), koi_free(json);
  koi_model_close(m);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_tiny), cmocka_unit_test(test_golden), cmocka_unit_test(test_forms), cmocka_unit_test(test_extra),
    cmocka_unit_test(test_tied), cmocka_unit_test(test_synthetic), cmocka_unit_test(test_synthetic_arguments), cmocka_unit_test(test_describe),
  };
  koi_log_set(on_log, NULL);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
