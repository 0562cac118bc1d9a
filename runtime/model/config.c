/* config.json to koi_config: both generations of keys, every value checked.
 * Owns: the limits of every size. Does not look at tensors.
 * Invariant: a config that parsed has positive sizes within their limits, and they fit each other; products of them stay below 2^63. */
#include "base/jscan.h"
#include "config_impl.h"
#include <stdio.h>
#include <string.h>

/* ---- sizes ---- */
typedef struct size_key {
  const char *key, *alias; /* alias: what the Hugging Face library calls it */
  size_t at;
  uint32_t max;
} size_key;

#define AT(field) offsetof(koi_config, field)
static const size_key sizes[] = {
  {"num_hidden_layers", NULL, AT(n_layers), KOI_MAX_LAYERS},
  {"hidden_size", NULL, AT(hidden), 1 << 16},
  {"num_attention_heads", NULL, AT(n_heads), 1 << 12},
  {"head_dim", NULL, AT(head_dim), 1 << 13},
  {"q_lora_rank", NULL, AT(q_rank), 1 << 16},
  {"o_groups", NULL, AT(o_groups), 1 << 12},
  {"o_lora_rank", NULL, AT(o_rank), 1 << 16},
  {"n_routed_experts", "num_local_experts", AT(n_experts), KOI_MAX_EXPERTS},
  {"num_experts_per_tok", NULL, AT(n_used), KOI_MAX_EXPERTS},
  {"moe_intermediate_size", "intermediate_size", AT(inter), 1 << 20},
  {"sliding_window", NULL, AT(window), 1 << 20},
  {"hc_mult", NULL, AT(n_streams), 8},
  {"hc_sinkhorn_iters", NULL, AT(sinkhorn_iters), 1000},
  {"vocab_size", NULL, AT(n_vocab), KOI_MAX_VOCAB},
};
static const size_key index_sizes[] = {
  {"index_n_heads", NULL, AT(index_heads), 1 << 12},
  {"index_head_dim", NULL, AT(index_dim), 1 << 12},
  {"index_topk", NULL, AT(index_topk), 1 << 20},
};

static koine_status read_sizes(const koi_reader *r, const size_key *keys, size_t n, koi_config *c)
{
  for (size_t i = 0; i < n; i++) {
    const char *key = keys[i].alias && !koi_reader_get(r, keys[i].key) && koi_reader_get(r, keys[i].alias) ? keys[i].alias : keys[i].key;
    koine_status s = koi_reader_u32(r, key, 1, keys[i].max, (uint32_t *)((char *)c + keys[i].at));
    if (s) return s;
  }
  return KOINE_OK;
}

/* ---- layers ---- */
static const char *const layer_types[] = {"sliding_attention", "compressed_sparse_attention", "heavily_compressed_attention"};

/* Rates by layer type, [3]. */
static koine_status read_rates(const koi_reader *r, uint32_t *rates)
{
  static const char *const old_keys[] = {NULL, "compress_rate_csa", "compress_rate_hca"};
  koi_reader dict;
  koine_status s = koi_reader_object(r, "compress_rates", "compress_rates.", &dict);
  rates[0] = 0, rates[1] = KOI_CSA_RATIO, rates[2] = 128;
  for (int i = 1; i < 3 && !s; i++) {
    if (dict.object && koi_reader_get(&dict, layer_types[i])) s = koi_reader_u32(&dict, layer_types[i], 1, KOI_MAX_RATIO, &rates[i]);
    else if (koi_reader_get(r, old_keys[i])) s = koi_reader_u32(r, old_keys[i], 1, KOI_MAX_RATIO, &rates[i]);
  }
  if (s) return s;
  if (koi_layer_kind_of(rates[1]) != KOI_CSA)
    return koi_error(KOINE_ERR_FILE, "%s: compress_rates.compressed_sparse_attention: expected %d (no other rate is known), found %u", r->where,
                     KOI_CSA_RATIO, rates[1]);
  if (koi_layer_kind_of(rates[2]) == KOI_CSA)
    return koi_error(KOINE_ERR_FILE, "%s: compress_rates.heavily_compressed_attention: expected another rate than %d, found %u", r->where, KOI_CSA_RATIO,
                     rates[2]);
  return KOINE_OK;
}

static koine_status read_layer_types(const koi_reader *r, uint32_t n_layers, json_object *list, uint32_t *ratios, bool known)
{
  uint32_t rates[3];
  koine_status s = read_rates(r, rates);
  for (uint32_t i = 0; i < n_layers && !s; i++) {
    char key[40];
    size_t type = KOI_COUNT(layer_types);
    snprintf(key, sizeof key, "layer_types[%u]", i);
    json_object *v = json_object_array_get_idx(list, i);
    for (size_t t = 0; v && json_object_is_type(v, json_type_string) && t < KOI_COUNT(layer_types); t++)
      if (!strcmp(json_object_get_string(v), layer_types[t])) type = t;
    if (type == KOI_COUNT(layer_types))
      s = koi_reader_bad(r, key, "\"sliding_attention\", \"compressed_sparse_attention\" or \"heavily_compressed_attention\"", v);
    else if (!known) ratios[i] = rates[type];
    else if (type != (size_t)koi_layer_kind_of(ratios[i]))
      s = koi_error(KOINE_ERR_FILE, "%s: %s: expected what compress_ratios says (%u), found \"%s\"", r->where, key, ratios[i], layer_types[type]);
  }
  return s;
}

static koine_status read_ratios(const koi_reader *r, uint32_t n_layers, uint32_t *ratios)
{
  json_object *old, *types;
  koine_status s = koi_reader_list(r, "compress_ratios", n_layers, n_layers + 64, &old);
  if (!s) s = koi_reader_list(r, "layer_types", n_layers, n_layers + 64, &types);
  if (s) return s;
  if (!old && !types) return koi_reader_absent(r, "compress_ratios", "a list with one entry a layer (or layer_types)");
  for (uint32_t i = 0; old && i < json_object_array_length(old); i++) {
    json_object *v = json_object_array_get_idx(old, i);
    char key[40];
    snprintf(key, sizeof key, "compress_ratios[%u]", i);
    if (!v || !json_object_is_type(v, json_type_int) || json_object_get_int64(v) < 0 || json_object_get_int64(v) > KOI_MAX_RATIO)
      return koi_reader_bad(r, key, "an integer from 0 to 65536", v);
    if (i < n_layers) ratios[i] = (uint32_t)json_object_get_int64(v); /* the rest are MTP blocks' */
  }
  return types ? read_layer_types(r, n_layers, types, ratios, old != NULL) : KOINE_OK;
}

static koine_status read_hash(const koi_reader *r, koi_config *c)
{
  static const char *const kinds[] = {"moe", "hash_moe"};
  json_object *list;
  uint32_t n = 0;
  koine_status s = koi_reader_list(r, "mlp_layer_types", c->n_layers, c->n_layers + 64, &list);
  if (!s && (!list || koi_reader_get(r, "num_hash_layers"))) s = koi_reader_u32(r, "num_hash_layers", 0, 1 << 16, &n);
  if (s) return s;
  for (uint32_t i = 0; i < c->n_layers; i++) {
    json_object *v = list ? json_object_array_get_idx(list, i) : NULL;
    const char *text = v && json_object_is_type(v, json_type_string) ? json_object_get_string(v) : "";
    char key[40];
    snprintf(key, sizeof key, "mlp_layer_types[%u]", i);
    if (list && strcmp(text, kinds[0]) && strcmp(text, kinds[1])) return koi_reader_bad(r, key, "\"moe\" or \"hash_moe\"", v);
    c->hash[i] = list ? !strcmp(text, kinds[1]) : i < n;
    c->n_hash_layers += c->hash[i];
  }
  return KOINE_OK;
}

/* ---- the rest ---- */
/* Keys that may be there but have one value only. */
static koine_status check_fixed(const koi_reader *r)
{
  static const struct { const char *key; const char *value; } texts[] = {
    {"model_type", "deepseek_v4"}, {"hidden_act", "silu"}, {"topk_method", "noaux_tc"}};
  static const struct { const char *key; bool value; } flags[] = {{"norm_topk_prob", true}, {"attention_bias", false}, {"mlp_bias", false}};
  static const char *const ones[] = {"n_shared_experts", "num_key_value_heads"};
  koine_status s = KOINE_OK;
  for (size_t i = 0; i < KOI_COUNT(texts) && !s; i++) {
    size_t unused;
    s = koi_reader_name(r, texts[i].key, &texts[i].value, 1, &unused);
  }
  for (size_t i = 0; i < KOI_COUNT(flags) && !s; i++) {
    bool v = flags[i].value;
    s = koi_reader_bool(r, flags[i].key, &v);
    if (!s && v != flags[i].value) s = koi_reader_bad(r, flags[i].key, v ? "false (true is not supported)" : "true (false is not supported)", koi_reader_get(r, flags[i].key));
  }
  for (size_t i = 0; i < KOI_COUNT(ones) && !s; i++) {
    json_object *v = koi_reader_get(r, ones[i]);
    if (v && (!json_object_is_type(v, json_type_int) || json_object_get_int64(v) != 1)) s = koi_reader_bad(r, ones[i], "1 (nothing else is supported)", v);
  }
  return s;
}

static koine_status read_numbers(const koi_reader *r, koi_config *c)
{
  const struct { const char *key; double above, max; float *to; } keys[] = {
    {"rms_norm_eps", 0, 1, &c->rms_eps},
    {"hc_eps", 0, 1, &c->hc_eps},
    {"swiglu_limit", -1e-30, 1e30, &c->swiglu_limit}, /* 0: no limit */
    {"routed_scaling_factor", 0, 1e6, &c->route_scale}};
  for (size_t i = 0; i < KOI_COUNT(keys); i++) {
    double x = 0;
    koine_status s = koi_reader_number(r, keys[i].key, keys[i].above, keys[i].max, &x);
    if (s) return s;
    *keys[i].to = (float)x;
  }
  c->shared_limit = c->swiglu_limit;
  if (!koi_reader_get(r, "shared_swiglu_limit")) return KOINE_OK;
  double x = 0; /* only GGUF files can tell the two apart */
  koine_status s = koi_reader_number(r, "shared_swiglu_limit", -1e-30, 1e30, &x);
  c->shared_limit = (float)x;
  return s;
}

/* A token's id, or the first of a list of them. */
static koine_status read_token(const koi_reader *r, const char *key, uint32_t n_vocab, int32_t *out)
{
  json_object *v = koi_reader_get(r, key);
  *out = -1;
  if (v && json_object_is_type(v, json_type_array)) v = json_object_array_length(v) ? json_object_array_get_idx(v, 0) : NULL;
  if (!v) return KOINE_OK;
  if (!json_object_is_type(v, json_type_int) || json_object_get_int64(v) < 0 || json_object_get_int64(v) >= n_vocab)
    return koi_reader_bad(r, key, "a token within the vocabulary", v);
  *out = (int32_t)json_object_get_int64(v);
  return KOINE_OK;
}

/* What the weights would be where no tensors say it: a name that is not known here counts as the published one. */
static koine_status read_dtype(const koi_reader *r, const char *key, int32_t *out)
{
  static const struct { const char *name; int32_t format; } names[] = {
    {"bfloat16", KOI_WT_BF16}, {"bf16", KOI_WT_BF16}, {"float16", KOI_WT_F16}, {"float32", KOI_WT_F32}, {"fp8", KOI_WT_FP8}, {"fp4", KOI_WT_FP4}};
  json_object *v = koi_reader_get(r, key);
  if (!v) return KOINE_OK;
  if (!json_object_is_type(v, json_type_string)) return koi_reader_bad(r, key, "the name of a dtype", v);
  for (size_t i = 0; i < KOI_COUNT(names); i++)
    if (!strcmp(json_object_get_string(v), names[i].name)) *out = names[i].format;
  return KOINE_OK;
}

static koine_status read_dtypes(const koi_reader *r, koi_config *c)
{
  static const char *const methods[] = {"fp8"};
  koi_reader q;
  size_t unused;
  c->float_format = KOI_WT_BF16;
  koine_status s = read_dtype(r, koi_reader_get(r, "dtype") ? "dtype" : "torch_dtype", &c->float_format);
  if (!s) s = koi_reader_object(r, "quantization_config", "quantization_config.", &q);
  if (!s && q.object) s = koi_reader_name(&q, "quant_method", methods, 1, &unused);
  if (s) return s;
  if (c->float_format == KOI_WT_FP8 || c->float_format == KOI_WT_FP4) c->float_format = KOI_WT_BF16;
  c->dense_format = c->expert_format = q.object ? KOI_WT_FP8 : c->float_format;
  return read_dtype(koi_reader_get(r, "expert_dtype") || !q.object ? r : &q, "expert_dtype", &c->expert_format);
}

static koine_status read_blocks(const koi_reader *r)
{
  koi_reader q;
  koine_status s = koi_reader_object(r, "quantization_config", "quantization_config.", &q);
  json_object *v = !s && q.object ? koi_reader_get(&q, "weight_block_size") : NULL;
  if (!v) return s;
  bool ok = json_object_is_type(v, json_type_array) && json_object_array_length(v) == 2;
  for (size_t i = 0; i < 2 && ok; i++) {
    json_object *n = json_object_array_get_idx(v, i);
    ok = n && json_object_is_type(n, json_type_int) && json_object_get_int64(n) == 128;
  }
  return ok ? KOINE_OK : koi_reader_bad(&q, "weight_block_size", "[128,128]", v);
}

static koine_status check_fit(const koi_reader *r, const koi_config *c, bool csa)
{
  const struct { bool ok; const char *key; uint32_t value; const char *expected, *of; uint32_t other; } rules[] = {
    {c->rope_dim <= c->head_dim, "qk_rope_head_dim", c->rope_dim, "at most", "head_dim", c->head_dim},
    {c->rope_dim % 2 == 0, "qk_rope_head_dim", c->rope_dim, "an even number of rotated dims, such as", NULL, 64},
    {c->n_heads % c->o_groups == 0, "o_groups", c->o_groups, "a divisor of", "num_attention_heads", c->n_heads},
    {c->n_used <= c->n_experts, "num_experts_per_tok", c->n_used, "at most", "n_routed_experts", c->n_experts},
    {!csa || (c->index_dim & (c->index_dim - 1)) == 0, "index_head_dim", c->index_dim, "a power of two, such as", NULL, 128},
    {!csa || c->index_dim >= c->rope_dim, "index_head_dim", c->index_dim, "at least the rotated dims,", NULL, c->rope_dim},
  };
  char key[KOI_READER_KEY], of[KOI_READER_KEY];
  for (size_t i = 0; i < KOI_COUNT(rules); i++)
    if (!rules[i].ok)
      return koi_error(KOINE_ERR_FILE, "%s: %s: expected %s %s%s%u, found %u", r->where, koi_reader_full_key(r, rules[i].key, key), rules[i].expected,
                       rules[i].of ? koi_reader_full_key(r, rules[i].of, of) : "", rules[i].of ? ", " : "", rules[i].other, rules[i].value);
  return KOINE_OK;
}

static koine_status read_index_sizes(const koi_reader *r, koi_config *c, bool csa)
{
  koine_status s = KOINE_OK;
  for (size_t i = 0; i < KOI_COUNT(index_sizes) && !s; i++)
    if (csa || koi_reader_get(r, index_sizes[i].key)) s = read_sizes(r, &index_sizes[i], 1, c);
  return s;
}

static koine_status read_all(const koi_reader *r, koi_config *c, uint32_t *ratios /* [KOI_MAX_LAYERS] */)
{
  static const char *const scores[] = {[KOI_SCORE_SQRTSOFTPLUS] = "sqrtsoftplus", [KOI_SCORE_SOFTMAX] = "softmax", [KOI_SCORE_SIGMOID] = "sigmoid"};
  bool csa = false, compressed = false;
  size_t score = 0;
  koine_status s = check_fixed(r);
  if (!s) s = read_sizes(r, sizes, KOI_COUNT(sizes), c);
  if (!s) s = koi_reader_u64(r, "max_position_embeddings", 1, 1u << 30, &c->max_context);
  if (!s) s = read_ratios(r, c->n_layers, ratios);
  for (uint32_t i = 0; i < c->n_layers && !s; i++) csa |= koi_layer_kind_of(ratios[i]) == KOI_CSA, compressed |= ratios[i] > 0;
  if (!s) s = read_hash(r, c);
  if (!s) s = read_index_sizes(r, c, csa);
  if (!s && koi_reader_get(r, "num_nextn_predict_layers")) s = koi_reader_u32(r, "num_nextn_predict_layers", 0, 64, &c->n_mtp);
  if (!s) s = read_numbers(r, c);
  if (!s && !koi_reader_get(r, "scoring_func")) s = koi_reader_absent(r, "scoring_func", "\"sqrtsoftplus\", \"softmax\" or \"sigmoid\"");
  if (!s) s = koi_reader_name(r, "scoring_func", scores, KOI_COUNT(scores), &score);
  c->score = (koi_score)score;
  if (!s) s = koi_config_rope(r, c, compressed);
  if (!s) s = koi_reader_bool(r, "tie_word_embeddings", &c->tied);
  if (!s) s = read_token(r, "bos_token_id", c->n_vocab, &c->bos);
  if (!s) s = read_token(r, "eos_token_id", c->n_vocab, &c->eos);
  if (!s) s = read_blocks(r);
  if (!s) s = read_dtypes(r, c);
  return s ? s : check_fit(r, c, csa);
}

static koine_status parse_tree(const char *json, size_t n, const char *where, json_object **out)
{
  if (n > KOI_MAX_CONFIG_BYTES) return koi_error(KOINE_ERR_FILE, "%s: expected at most %zu bytes, found %zu", where, KOI_MAX_CONFIG_BYTES, n);
  koine_status s = koi_jscan_check(json, n, where); /* json-c would keep the last of two equal keys in silence */
  if (s) return s;
  json_tokener *tok = json_tokener_new_ex(KOI_JSCAN_DEPTH + 2);
  json_object *root = tok ? json_tokener_parse_ex(tok, json, (int)n) : NULL;
  if (tok) json_tokener_free(tok);
  if (!root || !json_object_is_type(root, json_type_object)) {
    json_object_put(root);
    return koi_error(KOINE_ERR_FILE, "%s: expected a JSON object", where);
  }
  *out = root;
  return KOINE_OK;
}

koine_status koi_config_tree(const koi_reader *r, koi_config *out, uint32_t **ratios_out)
{
  koi_config c = {0};
  uint32_t *ratios = koi_alloc(KOI_MAX_LAYERS, sizeof *ratios);
  koine_status s = ratios ? read_all(r, &c, ratios) : KOINE_ERR_MEMORY;
  if (s) koi_free(ratios);
  else *out = c, *ratios_out = ratios;
  return s;
}

koine_status koi_config_parse(const char *json, size_t n, const char *where, koi_config *out, uint32_t **ratios_out)
{
  json_object *root = NULL;
  koine_status s = parse_tree(json, n, where, &root);
  if (s) return s;
  s = koi_config_tree(&(koi_reader){.object = root, .where = where, .path = ""}, out, ratios_out);
  json_object_put(root);
  return s;
}
