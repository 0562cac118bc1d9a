/* Configs: every key that is wrong, missing, disagrees with another or is spelled the newer way: taken, or refused with a line that names it. */
#include "remake.h"
#include <json-c/json.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

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

static const char *const positive[] = { /* no zero, negative, huge, fraction, text, list, bool, null, absence */
  "num_hidden_layers", "hidden_size", "num_attention_heads", "head_dim", "q_lora_rank", "o_groups", "o_lora_rank", "n_routed_experts",
  "num_experts_per_tok", "moe_intermediate_size", "sliding_window", "hc_mult", "hc_sinkhorn_iters", "vocab_size", "max_position_embeddings",
  "index_n_heads", "index_head_dim", "index_topk", "qk_rope_head_dim", "rope_scaling.original_max_position_embeddings"};
static const char *const numbers[] = {"rms_norm_eps", "hc_eps", "routed_scaling_factor", "rope_theta", "compress_rope_theta", "rope_scaling.factor",
                                      "rope_scaling.beta_fast", "rope_scaling.beta_slow"};
static const char *const bad[] = {"0", "-1", "-9223372036854775808", "9223372036854775807", "1e300", "1e999", "99999999999999999999999", "\"128\"", "[4]", "{}",
                                  "true", "4294967297", "2.5", "null", NULL};

static void test_values(void **state)
{
  (void)state;
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
      remake_refused(s, key, key);
      if (!strstr(koi_error_text(), "config.json: ") || !strstr(koi_error_text(), "expected") || !strstr(koi_error_text(), "found")) fail_msg("%s", koi_error_text());
      json_object_put(c);
    }
  }
}

static const struct { const char *key, *value, *fragment; } rules[] = { /* fragment NULL: accepted */
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

static void test_rules(void **state)
{
  (void)state;
  for (size_t i = 0; i < KOI_COUNT(rules); i++) {
    json_object *c = load_config();
    koi_config got;
    uint32_t *ratios = NULL;
    edit(c, rules[i].key, rules[i].value);
    koine_status s = parse(c, &got, &ratios);
    if (rules[i].fragment) remake_refused(s, rules[i].fragment, rules[i].value ? rules[i].value : rules[i].key);
    else if (s) fail_msg("%s = %s: %s", rules[i].key, rules[i].value, koi_error_text());
    else koi_free(ratios);
    json_object_put(c);
  }
}

static void test_text(void **state)
{
  (void)state;
  static const struct { const char *text, *fragment; } cases[] = {
    {"", "the text ends too early"}, {"[]", "expected a JSON object"}, {"7", "expected a JSON object"}, {"null", "expected a JSON object"},
    {"{\"hidden_size\":1,\"hidden_size\":2}", "given twice"}, {"{\"a\":{\"b\":1,\"b\":2}}", "given twice"}, {"{} {}", "something follows"},
    {"{'a':1}", "expected a key"}, {"{\"a\":NaN}", "expected a value"}, {"{\"a\":1,}", "expected a key"}, {"{}", "num_hidden_layers"}};
  koi_config got;
  uint32_t *ratios;
  for (size_t i = 0; i < KOI_COUNT(cases); i++)
    remake_refused(koi_config_parse(cases[i].text, strlen(cases[i].text), "config.json", &got, &ratios), cases[i].fragment, cases[i].text);
  json_object *c = load_config(); /* cut anywhere */
  const char *text = json_object_to_json_string_ext(c, JSON_C_TO_STRING_PLAIN);
  for (size_t n = 0; n < strlen(text); n++) remake_refused(koi_config_parse(text, n, "config.json", &got, &ratios), "config.json: ", "cut");
  json_object_put(c);
}

/* Index keys are needed by CSA layers only. */
static void test_no_csa(void **state)
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
  remake_refused(parse(c, &got, &ratios), "index_topk", "there but wrong");
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

static const struct { const char *key, *value, *fragment; } new_rules[] = {
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

static void test_new(void **state)
{
  (void)state;
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
  for (size_t i = 0; i < KOI_COUNT(new_rules); i++) {
    c = load_config();
    to_new_keys(c);
    edit(c, new_rules[i].key, new_rules[i].value);
    koine_status s = parse(c, &new, &ratios);
    if (new_rules[i].fragment) remake_refused(s, new_rules[i].fragment, new_rules[i].value);
    else if (s) fail_msg("%s: %s", new_rules[i].key, koi_error_text());
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
  remake_refused(koi_model_open(folder, &m), "layers.0.ffn.experts.0.w2: expected a multiple of 32", "48 wide FP4");
  remake_rmdir(folder);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_values), cmocka_unit_test(test_rules), cmocka_unit_test(test_text),
    cmocka_unit_test(test_no_csa), cmocka_unit_test(test_new),   cmocka_unit_test(test_odd_fp4),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
