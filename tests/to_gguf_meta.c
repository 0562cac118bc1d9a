/* See to_gguf_impl.h: the metadata. Its table of names is its own: that of the runtime is what it tests. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "to_gguf_impl.h"

static json_object *config_value(const to_gguf_source *c, const char *key)
{
  json_object *v = json_object_object_get(c->config, key);
  to_gguf_must(v != NULL, key);
  return v;
}

static uint64_t put_numbers(const to_gguf_source *c, make_gguf *m)
{
  static const char *const ints[][2] = {
    {"vocab_size", "vocab_size"}, {"num_hidden_layers", "block_count"}, {"hidden_size", "embedding_length"},
    {"max_position_embeddings", "context_length"}, {"num_attention_heads", "attention.head_count"}, {"num_key_value_heads", "attention.head_count_kv"},
    {"head_dim", "attention.key_length"}, {"head_dim", "attention.value_length"}, {"q_lora_rank", "attention.q_lora_rank"},
    {"o_lora_rank", "attention.output_lora_rank"}, {"o_groups", "attention.output_group_count"}, {"sliding_window", "attention.sliding_window"},
    {"index_n_heads", "attention.indexer.head_count"}, {"index_head_dim", "attention.indexer.key_length"}, {"index_topk", "attention.indexer.top_k"},
    {"qk_rope_head_dim", "rope.dimension_count"}, {"n_routed_experts", "expert_count"}, {"num_experts_per_tok", "expert_used_count"},
    {"moe_intermediate_size", "expert_feed_forward_length"}, {"n_shared_experts", "expert_shared_count"}, {"num_hash_layers", "hash_layer_count"},
    {"hc_mult", "hyper_connection.count"}, {"hc_sinkhorn_iters", "hyper_connection.sinkhorn_iterations"}};
  static const char *const floats[][2] = {
    {"rms_norm_eps", "attention.layer_norm_rms_epsilon"}, {"rope_theta", "rope.freq_base"}, {"compress_rope_theta", "attention.compress_rope_freq_base"},
    {"routed_scaling_factor", "expert_weights_scale"}, {"hc_eps", "hyper_connection.epsilon"}};
  char key[96];
  for (size_t i = 0; i < KOI_COUNT(ints); i++) {
    snprintf(key, sizeof key, "deepseek4.%s", ints[i][1]);
    make_gguf_u32(m, key, (uint32_t)json_object_get_int(config_value(c, ints[i][0])));
  }
  for (size_t i = 0; i < KOI_COUNT(floats); i++) {
    snprintf(key, sizeof key, "deepseek4.%s", floats[i][1]);
    make_gguf_f32(m, key, (float)json_object_get_double(config_value(c, floats[i][0])));
  }
  return KOI_COUNT(ints) + KOI_COUNT(floats);
}

static uint64_t put_architecture(const to_gguf_source *c, make_gguf *m)
{
  json_object *ratios = config_value(c, "compress_ratios"), *yarn = json_object_object_get(c->config, "rope_scaling");
  const char *score = json_object_get_string(config_value(c, "scoring_func"));
  size_t n = json_object_array_length(ratios), layers = (size_t)json_object_get_int(config_value(c, "num_hidden_layers"));
  make_gguf_text(m, "general.architecture", "deepseek4");
  make_gguf_array(m, "deepseek4.attention.compress_ratios", KOI_GGUF_I32, n);
  for (size_t i = 0; i < n; i++) make_gguf_word(m, (uint64_t)json_object_get_int(json_object_array_get_idx(ratios, i)), 4);
  make_gguf_u32(m, "deepseek4.expert_gating_func", !strcmp(score, "softmax") ? 1 : !strcmp(score, "sigmoid") ? 2 : 4);
  make_gguf_key(m, "deepseek4.expert_weights_norm", KOI_GGUF_BOOL);
  make_gguf_word(m, 1, 1);
  make_gguf_array(m, "deepseek4.swiglu_clamp_exp", KOI_GGUF_F32, layers);
  for (size_t i = 0; i < layers; i++) {
    float limit = (float)json_object_get_double(config_value(c, "swiglu_limit"));
    make_gguf_bytes(m, &limit, 4);
  }
  make_gguf_u32(m, "tokenizer.ggml.bos_token_id", (uint32_t)json_object_get_int(config_value(c, "bos_token_id")));
  make_gguf_u32(m, "tokenizer.ggml.eos_token_id", (uint32_t)json_object_get_int(config_value(c, "eos_token_id")));
  if (!yarn) return 7;
  make_gguf_text(m, "deepseek4.rope.scaling.type", "yarn");
  make_gguf_f32(m, "deepseek4.rope.scaling.factor", (float)json_object_get_double(json_object_object_get(yarn, "factor")));
  make_gguf_u32(m, "deepseek4.rope.scaling.original_context_length", (uint32_t)json_object_get_int(json_object_object_get(yarn, "original_max_position_embeddings")));
  make_gguf_f32(m, "deepseek4.rope.scaling.yarn_beta_fast", (float)json_object_get_double(json_object_object_get(yarn, "beta_fast")));
  make_gguf_f32(m, "deepseek4.rope.scaling.yarn_beta_slow", (float)json_object_get_double(json_object_object_get(yarn, "beta_slow")));
  return 12;
}

/* Texts by id, of the vocabulary and of the added tokens; types as llama.cpp numbers them: 1 normal, 3 control, 4 user-defined. */
static size_t list_tokens(const to_gguf_source *c, const char **texts, uint32_t *types, size_t cap)
{
  size_t n = 0;
  json_object *added = json_object_object_get(c->tokenizer, "added_tokens");
  json_object_object_foreach(json_object_object_get(json_object_object_get(c->tokenizer, "model"), "vocab"), text, id) {
    size_t i = (size_t)json_object_get_int(id);
    to_gguf_must(i < cap, text);
    texts[i] = text, types[i] = 1;
    if (i >= n) n = i + 1;
  }
  for (size_t k = 0; k < json_object_array_length(added); k++) {
    json_object *a = json_object_array_get_idx(added, k);
    size_t i = (size_t)json_object_get_int(json_object_object_get(a, "id"));
    to_gguf_must(i < cap, "added token");
    texts[i] = json_object_get_string(json_object_object_get(a, "content"));
    types[i] = json_object_get_boolean(json_object_object_get(a, "special")) ? 3 : 4;
    if (i >= n) n = i + 1;
  }
  return n;
}

static uint64_t put_tokenizer(const to_gguf_source *c, to_gguf_kind kind, make_gguf *m)
{
  enum { CAP = 200000 };
  if (!c->tokenizer) return 0;
  const char **texts = calloc(CAP, sizeof *texts);
  uint32_t *types = calloc(CAP, sizeof *types);
  size_t n = list_tokens(c, texts, types, CAP);
  json_object *merges = json_object_object_get(json_object_object_get(c->tokenizer, "model"), "merges");
  make_gguf_text(m, "tokenizer.ggml.model", "gpt2");
  make_gguf_text(m, "tokenizer.ggml.pre", kind == TO_GGUF_DS4 ? "joyai-llm" : "deepseek-v3");
  make_gguf_array(m, "tokenizer.ggml.tokens", KOI_GGUF_STRING, n);
  for (size_t i = 0; i < n; i++) make_gguf_string(m, texts[i] ? texts[i] : "[unused]");
  make_gguf_array(m, "tokenizer.ggml.token_type", KOI_GGUF_I32, n);
  for (size_t i = 0; i < n; i++) make_gguf_word(m, texts[i] ? types[i] : 5, 4);
  make_gguf_array(m, "tokenizer.ggml.merges", KOI_GGUF_STRING, json_object_array_length(merges));
  for (size_t i = 0; i < json_object_array_length(merges); i++) {
    json_object *v = json_object_array_get_idx(merges, i);
    char both[1024];
    if (json_object_is_type(v, json_type_string)) snprintf(both, sizeof both, "%s", json_object_get_string(v));
    else snprintf(both, sizeof both, "%s %s", json_object_get_string(json_object_array_get_idx(v, 0)), json_object_get_string(json_object_array_get_idx(v, 1)));
    make_gguf_string(m, both);
  }
  free(texts);
  free(types);
  return 5;
}

uint64_t to_gguf_meta(const to_gguf_source *c, to_gguf_kind kind, make_gguf *m)
{
  uint64_t n = put_numbers(c, m);
  n += put_architecture(c, m);
  if (kind == TO_GGUF_DS4) make_gguf_u32(m, "deepseek4.nextn_predict_layers", 1), n++;
  return n + put_tokenizer(c, kind, m);
}
