/* Config and roles: what opens, and that every lie in config, index or tensors is refused with a line that names it. */
#include "remake.h"
#include "plan/plan.h"
#include <json-c/json.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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

static void expect_error(koine_status s, const char *fragment, const char *what)
{
  if (s != KOINE_ERR_FILE || !strstr(koi_error_text(), fragment) || strchr(koi_error_text(), '\n'))
    fail_msg("%s: expected an error with \"%s\", found %d \"%s\"", what, fragment, s, koi_error_text());
}

static void copy_config(const char *folder, const char *name)
{
  char path[4096], *text;
  size_t n;
  snprintf(path, sizeof path, "%s/config.json", remake_data(name));
  assert_int_equal(koi_file_read(path, 1 << 20, &text, &n), KOINE_OK);
  remake_put(folder, "config.json", text, n);
  koi_free(text);
}

/* Writes the checkpoint beside tiny-quant's config and opens it. */
static koine_status reopen(const remake *r, koine_model **m)
{
  char *folder = remake_mkdir();
  copy_config(folder, "tiny-quant");
  remake_write_all(r, folder);
  koine_status s = koi_model_open(folder, m);
  remake_rmdir(folder);
  return s;
}

static void expect_opens(const remake *r)
{
  koine_model *m;
  koine_status s = reopen(r, &m);
  if (s) fail_msg("%s", koi_error_text());
  koi_model_close(m);
}

static void expect_refused(const remake *r, const char *fragment, const char *what)
{
  koine_model *m;
  koine_status s = reopen(r, &m);
  if (!s) koi_model_close(m);
  expect_error(s, fragment, what);
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
      {0, KOI_W_tid2eid, true}, {0, KOI_W_gate_bias, false}, {1, KOI_W_gate_bias, true}, {0, KOI_W_comp_wkv, false}, {2, KOI_W_comp_wkv, true},
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
  assert_int_equal(reopen(&r, &m), KOINE_OK);
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
    if (!tied) expect_error(s, "head.weight: expected this tensor", "untied without head");
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

static void test_mixed_experts(void **state)
{
  (void)state;
  static const char *const names[] = {"layers.1.ffn.experts.2.w1", "layers.1.ffn.experts.0.w3", "layers.2.ffn.shared_experts.w3"};
  for (size_t i = 0; i < KOI_COUNT(names); i++) {
    remake r = remake_load(remake_data("tiny-quant"));
    char full[100];
    snprintf(full, sizeof full, "%s.weight", names[i]);
    remake_drop(&r, full);
    uint64_t shape[] = {128, 128};
    remake_add(&r, full, "BF16", shape, 2, 128 * 128 * 2);
    expect_refused(&r, full, "mixed");
    assert_non_null(strstr(koi_error_text(), "found BF16"));
    remake_free(&r);
  }
}

/* ---- folders that lie ---- */
static void test_folders(void **state)
{
  (void)state;
  koine_model *m;
  char *folder = remake_mkdir(), path[4200];
  snprintf(path, sizeof path, "%s/config.json", folder);
  expect_error(koi_model_open(folder, &m), "config.json: expected the model's config: No such file", "no config");
  assert_int_equal(mkfifo(path, 0600), 0);
  expect_error(koi_model_open(folder, &m), "config.json: expected a regular file", "a pipe");
  unlink(path);
  copy_config(folder, "tiny-quant");
  expect_error(koi_model_open(path, &m), "expected a checkpoint's folder", "a file");
  snprintf(path, sizeof path, "%s/none", folder);
  expect_error(koi_model_open(path, &m), "nothing is downloaded", "nothing");

  assert_int_equal(koi_model_open(folder, &m), KOINE_OK); /* a config alone */
  assert_false(m->runnable);
  assert_non_null(strstr(m->missing, "model.safetensors"));
  assert_int_equal(m->layers[1].w[KOI_W_expert_up].format, KOI_WT_FP4);
  assert_int_equal(m->layers[1].w[KOI_W_wq_a].format, KOI_WT_FP8);
  koi_model_close(m);
  remake_put(folder, "model-00001-of-00002.safetensors", "x", 1);
  expect_error(koi_model_open(folder, &m), "model.safetensors.index.json", "shards without an index");
  remake_rmdir(folder);
}

/* Three shards and an index whose text is `index`, or the right one with `index` NULL. */
static char *sharded(const remake *r, const char *index)
{
  char *folder = remake_mkdir(), path[4200];
  size_t third = r->n / 3, from[4] = {0, third, 2 * third, r->n};
  koi_text o = {0};
  copy_config(folder, "tiny-quant");
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

static void test_index(void **state)
{
  (void)state;
  static const struct { const char *index, *fragment; } cases[] = {
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
  remake r = remake_load(remake_data("tiny-quant"));
  koine_model *m;
  for (size_t i = 0; i < KOI_COUNT(cases); i++) {
    char *folder = sharded(&r, cases[i].index);
    expect_error(koi_model_open(folder, &m), cases[i].fragment, cases[i].index);
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
  expect_error(koi_model_open(folder, &m), "found in no shard", "a shard that the index leaves out");
  remake_rmdir(folder);

  folder = sharded(&r, NULL); /* one shard, then all of them missing */
  for (int s = 1; s < 4; s++) {
    snprintf(path, sizeof path, "%s/part%d.safetensors", folder, s % 3);
    unlink(path);
    koine_status got = koi_model_open(folder, &m);
    if (s < 3) expect_error(got, "expected this shard as the index names it", "missing shard");
  }
  assert_false(m->runnable);
  assert_non_null(strstr(m->missing, "part0"));
  assert_int_equal(m->index.n_tensors, r.n);
  koi_model_close(m);
  remake_rmdir(folder);

  folder = sharded(&r, NULL); /* a tensor in two shards */
  snprintf(path, sizeof path, "%s/part2.safetensors", folder);
  remake_write(&r, r.n / 3, r.n, path);
  expect_error(koi_model_open(folder, &m), "expected every tensor once, found it again in", "twice");
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
  copy_config(folder, "tiny-quant");
  snprintf(path, sizeof path, "%s/model.safetensors", folder);
  remake_put(folder, "model.safetensors", text, n);
  size_t steps[] = {1, 37, 997}, ends[] = {40, header + 8, n}, cut = 0; /* each byte at first, then coarser: cut from the end down */
  for (int phase = 2; phase >= 0; phase--)
    for (cut = ends[phase] - 1; cut >= (phase ? ends[phase - 1] : 1); cut -= cut > steps[phase] ? steps[phase] : 1) {
      koine_model *m;
      assert_int_equal(truncate(path, (off_t)cut), 0);
      expect_error(koi_model_open(folder, &m), "model.safetensors: ", "truncated");
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

/* ---- configs ---- */
static json_object *load_config(void)
{
  char path[4200];
  snprintf(path, sizeof path, "%s/config.json", remake_data("tiny-quant"));
  json_object *c = json_object_from_file(path);
  assert_non_null(c);
  return c;
}

static koine_status parse(json_object *c, koi_config *out, uint32_t **ratios)
{
  const char *text = json_object_to_json_string_ext(c, JSON_C_TO_STRING_PLAIN);
  return koi_config_parse(text, strlen(text), "config.json", out, ratios);
}

/* Sets path (a key, or object.key, "-" before it: removes it) to JSON `value`. */
static void edit(json_object *c, const char *path, const char *value)
{
  char head[64];
  const char *dot = strchr(path, '.');
  snprintf(head, sizeof head, "%.*s", dot ? (int)(dot - path) : (int)strlen(path), path);
  json_object *o = c;
  if (dot) o = json_object_object_get(c, head);
  json_object_object_del(o, dot ? dot + 1 : head);
  if (value) json_object_object_add(o, dot ? dot + 1 : head, json_tokener_parse(value));
}

static void test_config_values(void **state)
{
  (void)state;
  static const char *const positive[] = { /* no zero, negative, huge, fraction, text, list, bool, null, absence */
    "num_hidden_layers", "hidden_size", "num_attention_heads", "head_dim", "q_lora_rank", "o_groups", "o_lora_rank", "n_routed_experts",
    "num_experts_per_tok", "moe_intermediate_size", "sliding_window", "hc_mult", "hc_sinkhorn_iters", "vocab_size", "max_position_embeddings",
    "index_n_heads", "index_head_dim", "index_topk", "qk_rope_head_dim", "rope_scaling.original_max_position_embeddings"};
  static const char *const numbers[] = {"rms_norm_eps", "hc_eps", "routed_scaling_factor", "rope_theta", "compress_rope_theta", "rope_scaling.factor",
                                        "rope_scaling.beta_fast", "rope_scaling.beta_slow"};
  static const char *const bad[] = {"0", "-1", "-9223372036854775808", "9223372036854775807", "1e300", "1e999", "99999999999999999999999", "\"128\"", "[4]", "{}",
                                    "true", "4294967297", "2.5", "null", NULL};
  for (size_t i = 0; i < KOI_COUNT(positive) + KOI_COUNT(numbers); i++) {
    bool number = i >= KOI_COUNT(positive);
    const char *key = number ? numbers[i - KOI_COUNT(positive)] : positive[i];
    for (size_t k = 0; k < KOI_COUNT(bad); k++) {
      bool defaults = !strncmp(key, "rope_scaling.beta", 17) && (k > 12); /* 32 and 1 unless given */
      if (defaults || (number && (k == 12 || (strstr(key, "theta") && k == 11)))) continue;
      json_object *c = load_config();
      koi_config got;
      uint32_t *ratios;
      edit(c, key, bad[k]);
      koine_status s = parse(c, &got, &ratios);
      if (!s) fail_msg("%s = %s was taken", key, bad[k] ? bad[k] : "absent");
      expect_error(s, key, key);
      if (!strstr(koi_error_text(), "config.json: ") || !strstr(koi_error_text(), "expected") || !strstr(koi_error_text(), "found")) fail_msg("%s", koi_error_text());
      json_object_put(c);
    }
  }
}

static void test_config_rules(void **state)
{
  (void)state;
  static const struct { const char *key, *value, *fragment; } cases[] = { /* fragment NULL: accepted */
    {"norm_topk_prob", "false", "norm_topk_prob: expected true"},
    {"norm_topk_prob", "1", "norm_topk_prob"},
    {"norm_topk_prob", NULL, NULL},
    {"n_shared_experts", "2", "n_shared_experts: expected 1"},
    {"n_shared_experts", "0", "n_shared_experts: expected 1"},
    {"n_shared_experts", "\"1\"", "n_shared_experts: expected 1"},
    {"n_shared_experts", NULL, NULL},
    {"num_key_value_heads", "2", "num_key_value_heads"},
    {"model_type", "\"llama\"", "expected \"deepseek_v4\", found \"llama\""},
    {"model_type", "7", "model_type"},
    {"hidden_act", "\"gelu\"", "hidden_act"},
    {"topk_method", "\"greedy\"", "topk_method"},
    {"attention_bias", "true", "attention_bias: expected false"},
    {"scoring_func", "\"softmax\"", NULL},
    {"scoring_func", "\"sigmoid\"", NULL},
    {"scoring_func", "\"tanh\"", "scoring_func: expected \"sqrtsoftplus\" or \"softmax\" or \"sigmoid\", found \"tanh\""},
    {"scoring_func", NULL, "scoring_func"},
    {"scoring_func", "[1]", "scoring_func"},
    {"index_head_dim", "48", "index_head_dim: expected a power of two"},
    {"index_head_dim", "16", "index_head_dim: expected at least the rotated dims"},
    {"qk_rope_head_dim", "33", "even"},
    {"qk_rope_head_dim", "98", "at most head_dim"},
    {"o_groups", "3", "o_groups: expected a divisor"},
    {"num_experts_per_tok", "5", "num_experts_per_tok: expected at most n_routed_experts, 4, found 5"},
    {"hc_mult", "9", "hc_mult"},
    {"hc_mult", "1", NULL},
    {"num_hash_layers", "0", NULL},
    {"num_hash_layers", "99", NULL}, /* all layers */
    {"num_hash_layers", "-1", "num_hash_layers"},
    {"num_hash_layers", "1.5", "num_hash_layers"},
    {"num_hash_layers", NULL, "num_hash_layers"},
    {"num_nextn_predict_layers", NULL, NULL},
    {"num_nextn_predict_layers", "-1", "num_nextn_predict_layers"},
    {"num_nextn_predict_layers", "1000", "num_nextn_predict_layers"},
    {"compress_ratios", "[0,4,128]", "compress_ratios: expected a list of 4 entries (one a layer), found 3"},
    {"compress_ratios", "[0,4,128,4,0]", NULL},
    {"compress_ratios", "[0,4,7,4]", NULL},
    {"compress_ratios", "[0,4,-128,4]", "compress_ratios[2]"},
    {"compress_ratios", "[0,4,128,\"4\"]", "compress_ratios[3]"},
    {"compress_ratios", "[0,4,128,4.0]", "compress_ratios[3]"},
    {"compress_ratios", "[0,4,128,65537]", "compress_ratios[3]"},
    {"compress_ratios", "[0,4,128,null]", "compress_ratios[3]"},
    {"compress_ratios", "[0,4,128,4,\"x\"]", "compress_ratios[4]"},
    {"compress_ratios", "{}", "compress_ratios"},
    {"compress_ratios", "4", "compress_ratios"},
    {"compress_ratios", NULL, "compress_ratios"},
    {"swiglu_limit", "0", NULL},
    {"swiglu_limit", "-1", "swiglu_limit"},
    {"swiglu_limit", "\"10\"", "swiglu_limit"},
    {"swiglu_limit", NULL, "swiglu_limit"},
    {"rope_scaling", "null", NULL},
    {"rope_scaling", NULL, NULL},
    {"rope_scaling", "{\"type\":\"default\"}", NULL},
    {"rope_scaling", "{\"rope_type\":\"default\"}", NULL},
    {"rope_scaling", "{\"type\":\"linear\",\"factor\":2}", "rope_scaling.type"},
    {"rope_scaling", "\"yarn\"", "rope_scaling: expected an object"},
    {"rope_scaling.type", "5", "rope_scaling.type"},
    {"rope_scaling.factor", "16", NULL},
    {"tie_word_embeddings", "1", "tie_word_embeddings"},
    {"bos_token_id", "null", NULL},
    {"bos_token_id", "128", "bos_token_id: expected a token within the vocabulary, found 128"},
    {"bos_token_id", "-1", "bos_token_id"},
    {"eos_token_id", "[1,2]", NULL},
    {"eos_token_id", "\"x\"", "eos_token_id"},
    {"quantization_config", "null", NULL},
    {"quantization_config", "5", "quantization_config"},
    {"quantization_config.quant_method", "\"awq\"", "quantization_config.quant_method"},
    {"quantization_config.weight_block_size", "[64,64]", "quantization_config.weight_block_size: expected [128,128]"},
    {"quantization_config.weight_block_size", "[128]", "weight_block_size"},
    {"expert_dtype", "4", "expert_dtype"},
    {"torch_dtype", "{}", "torch_dtype"},
    {"partial_rotary_factor", "0.5", "partial_rotary_factor"}, /* disagrees with qk_rope_head_dim */
    {"partial_rotary_factor", "0.3333333333333333", NULL},
    {"partial_rotary_factor", "2", "partial_rotary_factor"},
    {"layer_types", "[\"sliding_attention\"]", "layer_types"},
    {"layer_types", "5", "layer_types"},
    {"layer_types", "[\"sliding_attention\",\"sliding_attention\",\"heavily_compressed_attention\",\"compressed_sparse_attention\"]", "layer_types[1]"},
    {"mlp_layer_types", "[\"moe\",\"dense\",\"moe\",\"moe\"]", "mlp_layer_types[1]"},
    {"mlp_layer_types", "[\"moe\"]", "mlp_layer_types"},
  };
  for (size_t i = 0; i < KOI_COUNT(cases); i++) {
    json_object *c = load_config();
    koi_config got;
    uint32_t *ratios = NULL;
    edit(c, cases[i].key, cases[i].value);
    koine_status s = parse(c, &got, &ratios);
    if (cases[i].fragment) expect_error(s, cases[i].fragment, cases[i].value ? cases[i].value : cases[i].key);
    else if (s) fail_msg("%s = %s: %s", cases[i].key, cases[i].value, koi_error_text());
    else koi_free(ratios);
    json_object_put(c);
  }
}

static void test_config_text(void **state)
{
  (void)state;
  static const struct { const char *text, *fragment; } cases[] = {
    {"", "the text ends too early"}, {"[]", "expected a JSON object"}, {"7", "expected a JSON object"}, {"null", "expected a JSON object"},
    {"{\"hidden_size\":1,\"hidden_size\":2}", "given twice"}, {"{\"a\":{\"b\":1,\"b\":2}}", "given twice"}, {"{} {}", "something follows"},
    {"{'a':1}", "expected a key"}, {"{\"a\":NaN}", "expected a value"}, {"{\"a\":1,}", "expected a key"}, {"{}", "num_hidden_layers"}};
  koi_config got;
  uint32_t *ratios;
  for (size_t i = 0; i < KOI_COUNT(cases); i++)
    expect_error(koi_config_parse(cases[i].text, strlen(cases[i].text), "config.json", &got, &ratios), cases[i].fragment, cases[i].text);
  json_object *c = load_config(); /* cut anywhere */
  const char *text = json_object_to_json_string_ext(c, JSON_C_TO_STRING_PLAIN);
  for (size_t n = 0; n < strlen(text); n++) expect_error(koi_config_parse(text, n, "config.json", &got, &ratios), "config.json: ", "cut");
  json_object_put(c);
}

/* Index keys are needed by CSA layers only. */
static void test_config_no_csa(void **state)
{
  (void)state;
  json_object *c = load_config();
  koi_config got;
  uint32_t *ratios;
  edit(c, "compress_ratios", "[0,0,0,0]");
  edit(c, "compress_rope_theta", NULL);
  edit(c, "index_n_heads", NULL), edit(c, "index_head_dim", NULL), edit(c, "index_topk", NULL);
  if (parse(c, &got, &ratios)) fail_msg("%s", koi_error_text());
  koi_free(ratios);
  edit(c, "index_topk", "\"x\"");
  expect_error(parse(c, &got, &ratios), "index_topk", "there but wrong");
  json_object_put(c);
}

/* The keys that newer configs write instead. */
static void to_new_keys(json_object *c)
{
  static const char *const old[] = {"compress_ratios", "num_hash_layers", "rope_theta", "compress_rope_theta", "rope_scaling", "qk_rope_head_dim"};
  for (size_t i = 0; i < KOI_COUNT(old); i++) edit(c, old[i], NULL);
  edit(c, "layer_types", "[\"sliding_attention\",\"compressed_sparse_attention\",\"heavily_compressed_attention\",\"compressed_sparse_attention\"]");
  edit(c, "mlp_layer_types", "[\"hash_moe\",\"moe\",\"moe\",\"moe\"]");
  edit(c, "compress_rates", "{\"compressed_sparse_attention\":4,\"heavily_compressed_attention\":128}");
  edit(c, "partial_rotary_factor", "0.3333333333333333");
  edit(c, "rope_parameters",
       "{\"main\":{\"rope_type\":\"default\",\"rope_theta\":10000.0,\"partial_rotary_factor\":0.3333333333333333},"
       "\"compress\":{\"rope_type\":\"yarn\",\"rope_theta\":160000.0,\"factor\":16.0,\"beta_fast\":32,\"beta_slow\":1,"
       "\"original_max_position_embeddings\":128,\"attention_factor\":1.0}}");
}

static void expect_equal(const koi_config *a, const koi_config *b)
{
  assert_int_equal(a->rope_dim, b->rope_dim);
  assert_int_equal(a->n_hash_layers, b->n_hash_layers);
  assert_memory_equal(a->hash, b->hash, sizeof a->hash);
  assert_true(a->rope_theta == b->rope_theta && a->compress_theta == b->compress_theta);
  assert_true(a->yarn.on == b->yarn.on && a->yarn.factor == b->yarn.factor && a->yarn.original == b->yarn.original);
  assert_true(a->yarn.beta_fast == b->yarn.beta_fast && a->yarn.beta_slow == b->yarn.beta_slow);
}

static void test_config_new(void **state)
{
  (void)state;
  static const struct { const char *key, *value, *fragment; } cases[] = {
    {"compress_rates.compressed_sparse_attention", "8", "compressed_sparse_attention: expected 4"},
    {"compress_rates.heavily_compressed_attention", "4", "heavily_compressed_attention: expected another"},
    {"compress_rates.heavily_compressed_attention", "0", "heavily_compressed_attention"},
    {"compress_rates.heavily_compressed_attention", "\"x\"", "heavily_compressed_attention"},
    {"compress_rates", "[]", "compress_rates"},
    {"layer_types", "[\"sliding_attention\",\"full_attention\",\"heavily_compressed_attention\",\"compressed_sparse_attention\"]", "layer_types[1]"},
    {"layer_types", "[1,2,3,4]", "layer_types[0]"},
    {"rope_parameters", "{\"main\":{\"rope_type\":\"yarn\",\"rope_theta\":10000,\"factor\":4},\"compress\":{\"rope_theta\":1000}}",
     "rope_parameters.main.rope_type: expected \"default\" (no YaRN"},
    {"rope_parameters", "{\"main\":{\"rope_type\":\"default\"},\"compress\":{\"rope_theta\":1000}}", "rope_theta"},
    {"rope_parameters", "{\"main\":{\"rope_theta\":10000},\"compress\":{}}", "compress_rope_theta"},
    {"rope_parameters", "{\"main\":5,\"compress\":{}}", "rope_parameters.main: expected an object"},
    {"rope_parameters", "{\"main\":{\"rope_theta\":10000,\"partial_rotary_factor\":0.5},\"compress\":{\"rope_theta\":1000}}", "partial_rotary_factor"},
    {"rope_parameters", "{\"main\":{\"rope_theta\":10000},\"compress\":{\"rope_theta\":1000,\"rope_type\":\"yarn\"}}", "rope_parameters.compress.factor"},
    {"rope_parameters", "7", "rope_parameters"},
    {"partial_rotary_factor", NULL, NULL},
    {"compress_rates", NULL, NULL},
    {"compress_rates.heavily_compressed_attention", "64", NULL},
  };
  json_object *c = load_config();
  koi_config old, new;
  uint32_t *ratios, *new_ratios;
  assert_int_equal(parse(c, &old, &ratios), KOINE_OK);
  to_new_keys(c);
  if (parse(c, &new, &new_ratios)) fail_msg("%s", koi_error_text());
  expect_equal(&old, &new);
  assert_memory_equal(ratios, new_ratios, 4 * sizeof *ratios);
  koi_free(new_ratios);
  edit(c, "mlp_layer_types", "[\"moe\",\"hash_moe\",\"moe\",\"hash_moe\"]");
  assert_int_equal(parse(c, &new, &new_ratios), KOINE_OK);
  assert_true(!new.hash[0] && new.hash[1] && !new.hash[2] && new.hash[3] && new.n_hash_layers == 2);
  koi_free(new_ratios), koi_free(ratios);
  json_object_put(c);
  for (size_t i = 0; i < KOI_COUNT(cases); i++) {
    c = load_config();
    to_new_keys(c);
    edit(c, cases[i].key, cases[i].value);
    koine_status s = parse(c, &new, &ratios);
    if (cases[i].fragment) expect_error(s, cases[i].fragment, cases[i].value);
    else if (s) fail_msg("%s: %s", cases[i].key, koi_error_text());
    else koi_free(ratios);
    json_object_put(c);
  }
}

/* FP4 rows come in 32s; a config alone is held to it too. */
static void test_odd_fp4(void **state)
{
  (void)state;
  char *folder = remake_mkdir();
  json_object *c = load_config();
  edit(c, "moe_intermediate_size", "48");
  const char *text = json_object_to_json_string(c);
  remake_put(folder, "config.json", text, strlen(text));
  json_object_put(c);
  koine_model *m;
  expect_error(koi_model_open(folder, &m), "layers.0.ffn.experts.0.w2: expected a multiple of 32", "48 wide FP4");
  remake_rmdir(folder);
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
    cmocka_unit_test(test_tiny),          cmocka_unit_test(test_golden),        cmocka_unit_test(test_forms),        cmocka_unit_test(test_extra),
    cmocka_unit_test(test_tied),          cmocka_unit_test(test_missing_tensor), cmocka_unit_test(test_wrong_shape), cmocka_unit_test(test_wrong_dtype),
    cmocka_unit_test(test_wrong_ids),     cmocka_unit_test(test_mixed_experts), cmocka_unit_test(test_folders),      cmocka_unit_test(test_index),
    cmocka_unit_test(test_truncated),     cmocka_unit_test(test_no_memory),     cmocka_unit_test(test_config_values), cmocka_unit_test(test_config_rules),
    cmocka_unit_test(test_config_text),   cmocka_unit_test(test_config_no_csa), cmocka_unit_test(test_config_new),   cmocka_unit_test(test_odd_fp4),
    cmocka_unit_test(test_synthetic),     cmocka_unit_test(test_synthetic_arguments), cmocka_unit_test(test_describe),
  };
  koi_log_set(on_log, NULL);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
