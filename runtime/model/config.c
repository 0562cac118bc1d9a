/* config.json to koi_config: both generations of keys, every value checked.
 * Owns: the limits of every size. Does not look at tensors.
 * Invariant: a config that parsed has positive sizes within their limits, and they fit each other; products of them stay below 2^63. */
#include "base/jscan.h"
#include "model.h"
#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define MAX_CONFIG_BYTES ((size_t)16 << 20)

/* The object being read. `path` stands before its keys in messages: "" or "rope_scaling.". */
typedef struct reader {
  json_object *object;
  const char *where, *path;
} reader;

static koine_status bad(const reader *r, const char *key, const char *expected, json_object *found)
{
  const char *text = found ? json_object_to_json_string_ext(found, JSON_C_TO_STRING_PLAIN) : "null";
  return koi_error(KOINE_ERR_FILE, "%s: %s%s: expected %s, found %.80s", r->where, r->path, key, expected, text ? text : "?");
}

static koine_status absent(const reader *r, const char *key, const char *expected)
{
  bool null = json_object_object_get_ex(r->object, key, NULL);
  return koi_error(KOINE_ERR_FILE, "%s: %s%s: expected %s, found %s", r->where, r->path, key, expected, null ? "null" : "no such key");
}

/* A key's value; NULL when it is absent or null. */
static json_object *get(const reader *r, const char *key) { return json_object_object_get(r->object, key); }

static koine_status read_u64(const reader *r, const char *key, uint64_t min, uint64_t max, uint64_t *out)
{
  char expected[64];
  json_object *v = get(r, key);
  snprintf(expected, sizeof expected, "an integer from %ju to %ju", (uintmax_t)min, (uintmax_t)max);
  if (!v) return absent(r, key, expected);
  if (!json_object_is_type(v, json_type_int) || json_object_get_int64(v) < 0) return bad(r, key, expected, v);
  uint64_t n = json_object_get_uint64(v);
  if (n < min || n > max) return bad(r, key, expected, v);
  *out = n;
  return KOINE_OK;
}

static koine_status read_u32(const reader *r, const char *key, uint32_t min, uint32_t max, uint32_t *out)
{
  uint64_t n = 0;
  koine_status s = read_u64(r, key, min, max, &n);
  if (!s) *out = (uint32_t)n;
  return s;
}

/* above < value <= max */
static koine_status read_number(const reader *r, const char *key, double above, double max, double *out)
{
  json_object *v = get(r, key);
  bool number = json_object_is_type(v, json_type_int) || json_object_is_type(v, json_type_double);
  double x = number ? json_object_get_double(v) : NAN;
  if (isfinite(x) && x > above && x <= max) {
    *out = x;
    return KOINE_OK;
  }
  char *expected = koi_format("a number above %g, up to %g", above, max);
  koine_status s = !expected ? KOINE_ERR_MEMORY : v ? bad(r, key, expected, v) : absent(r, key, expected);
  koi_free(expected);
  return s;
}

static koine_status read_bool(const reader *r, const char *key, bool *out)
{
  json_object *v = get(r, key);
  if (!v) return KOINE_OK;
  if (!json_object_is_type(v, json_type_boolean)) return bad(r, key, "true or false", v);
  *out = json_object_get_boolean(v);
  return KOINE_OK;
}

/* A text that must be one of `names`; *out is its index, untouched when the key is absent. */
static koine_status read_name(const reader *r, const char *key, const char *const *names, size_t n, size_t *out)
{
  json_object *v = get(r, key);
  if (!v) return KOINE_OK;
  for (size_t i = 0; i < n && json_object_is_type(v, json_type_string); i++)
    if (!strcmp(json_object_get_string(v), names[i])) return *out = i, KOINE_OK;
  char expected[160];
  size_t at = (size_t)snprintf(expected, sizeof expected, "\"%s\"", names[0]);
  for (size_t i = 1; i < n && at < sizeof expected; i++) at += (size_t)snprintf(expected + at, sizeof expected - at, " or \"%s\"", names[i]);
  return bad(r, key, expected, v);
}

/* A sub-object as a reader of its own; object NULL when absent or null. */
static koine_status read_object(const reader *r, const char *key, const char *path, reader *out)
{
  json_object *v = get(r, key);
  if (v && !json_object_is_type(v, json_type_object)) return bad(r, key, "an object", v);
  *out = (reader){v, r->where, path};
  return KOINE_OK;
}

static koine_status read_list(const reader *r, const char *key, size_t min, size_t max, json_object **out)
{
  char expected[80];
  json_object *v = get(r, key);
  *out = v;
  if (!v) return KOINE_OK;
  snprintf(expected, sizeof expected, "a list of %zu entries (one a layer)", min);
  if (!json_object_is_type(v, json_type_array)) return bad(r, key, expected, v);
  size_t n = json_object_array_length(v);
  return n < min || n > max
           ? koi_error(KOINE_ERR_FILE, "%s: %s%s: expected %s, found %zu entries", r->where, r->path, key, expected, n)
           : KOINE_OK;
}

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

static koine_status read_sizes(const reader *r, const size_key *keys, size_t n, koi_config *c)
{
  for (size_t i = 0; i < n; i++) {
    const char *key = keys[i].alias && !get(r, keys[i].key) && get(r, keys[i].alias) ? keys[i].alias : keys[i].key;
    koine_status s = read_u32(r, key, 1, keys[i].max, (uint32_t *)((char *)c + keys[i].at));
    if (s) return s;
  }
  return KOINE_OK;
}

/* ---- layers ---- */
static const char *const layer_types[] = {"sliding_attention", "compressed_sparse_attention", "heavily_compressed_attention"};

/* Rates by layer type, [3]. */
static koine_status read_rates(const reader *r, uint32_t *rates)
{
  static const char *const old_keys[] = {NULL, "compress_rate_csa", "compress_rate_hca"};
  reader dict;
  koine_status s = read_object(r, "compress_rates", "compress_rates.", &dict);
  rates[0] = 0, rates[1] = 4, rates[2] = 128;
  for (int i = 1; i < 3 && !s; i++) {
    if (dict.object && get(&dict, layer_types[i])) s = read_u32(&dict, layer_types[i], 1, KOI_MAX_RATIO, &rates[i]);
    else if (get(r, old_keys[i])) s = read_u32(r, old_keys[i], 1, KOI_MAX_RATIO, &rates[i]);
  }
  if (s) return s;
  if (rates[1] != 4)
    return koi_error(KOINE_ERR_FILE, "%s: compress_rates.compressed_sparse_attention: expected 4 (no other rate is known), found %u", r->where, rates[1]);
  if (rates[2] == 4)
    return koi_error(KOINE_ERR_FILE, "%s: compress_rates.heavily_compressed_attention: expected another rate than 4, found 4", r->where);
  return KOINE_OK;
}

static koine_status read_layer_types(const reader *r, uint32_t n_layers, json_object *list, uint32_t *ratios, bool known)
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
      s = bad(r, key, "\"sliding_attention\", \"compressed_sparse_attention\" or \"heavily_compressed_attention\"", v);
    else if (!known) ratios[i] = rates[type];
    else if (type != (ratios[i] == 0 ? 0u : ratios[i] == 4 ? 1u : 2u))
      s = koi_error(KOINE_ERR_FILE, "%s: %s: expected what compress_ratios says (%u), found \"%s\"", r->where, key, ratios[i], layer_types[type]);
  }
  return s;
}

static koine_status read_ratios(const reader *r, uint32_t n_layers, uint32_t *ratios)
{
  json_object *old, *types;
  koine_status s = read_list(r, "compress_ratios", n_layers, n_layers + 64, &old);
  if (!s) s = read_list(r, "layer_types", n_layers, n_layers + 64, &types);
  if (s) return s;
  if (!old && !types) return absent(r, "compress_ratios", "a list with one entry a layer (or layer_types)");
  for (uint32_t i = 0; old && i < json_object_array_length(old); i++) {
    json_object *v = json_object_array_get_idx(old, i);
    char key[40];
    snprintf(key, sizeof key, "compress_ratios[%u]", i);
    if (!v || !json_object_is_type(v, json_type_int) || json_object_get_int64(v) < 0 || json_object_get_int64(v) > KOI_MAX_RATIO)
      return bad(r, key, "an integer from 0 to 65536", v);
    if (i < n_layers) ratios[i] = (uint32_t)json_object_get_int64(v); /* the rest are MTP blocks' */
  }
  return types ? read_layer_types(r, n_layers, types, ratios, old != NULL) : KOINE_OK;
}

static koine_status read_hash(const reader *r, koi_config *c)
{
  static const char *const kinds[] = {"moe", "hash_moe"};
  json_object *list;
  uint32_t n = 0;
  koine_status s = read_list(r, "mlp_layer_types", c->n_layers, c->n_layers + 64, &list);
  if (!s && (!list || get(r, "num_hash_layers"))) s = read_u32(r, "num_hash_layers", 0, 1 << 16, &n);
  if (s) return s;
  for (uint32_t i = 0; i < c->n_layers; i++) {
    json_object *v = list ? json_object_array_get_idx(list, i) : NULL;
    const char *text = v && json_object_is_type(v, json_type_string) ? json_object_get_string(v) : "";
    char key[40];
    snprintf(key, sizeof key, "mlp_layer_types[%u]", i);
    if (list && strcmp(text, kinds[0]) && strcmp(text, kinds[1])) return bad(r, key, "\"moe\" or \"hash_moe\"", v);
    c->hash[i] = list ? !strcmp(text, kinds[1]) : i < n;
    c->n_hash_layers += c->hash[i];
  }
  return KOINE_OK;
}

/* ---- rope ---- */
/* The type of one set of rope parameters: *yarn or plain. */
static koine_status read_rope_type(const reader *r, bool *yarn)
{
  static const char *const kinds[] = {"default", "yarn"};
  size_t kind = 0;
  koine_status s = read_name(r, get(r, "rope_type") ? "rope_type" : "type", kinds, KOI_COUNT(kinds), &kind);
  *yarn = kind == 1;
  return s;
}

static koine_status read_yarn(const reader *r, koi_yarn *out)
{
  double factor = 1, fast = 32, slow = 1;
  koi_yarn y = {0};
  koine_status s = r->object ? read_rope_type(r, &y.on) : KOINE_OK;
  if (s || !y.on) return s;
  s = read_number(r, "factor", 0, 1e6, &factor);
  if (!s) s = read_u64(r, "original_max_position_embeddings", 1, 1u << 30, &y.original);
  if (!s && get(r, "beta_fast")) s = read_number(r, "beta_fast", 0, 1e6, &fast);
  if (!s && get(r, "beta_slow")) s = read_number(r, "beta_slow", 0, 1e6, &slow);
  y.factor = (float)factor, y.beta_fast = (float)fast, y.beta_slow = (float)slow;
  if (!s) *out = y;
  return s;
}

/* partial_rotary_factor, where `r` has one, must agree with the rotated dims found so far (0: none yet). */
static koine_status read_partial(const reader *r, koi_config *c)
{
  double part = 0;
  if (!r->object || !get(r, "partial_rotary_factor")) return KOINE_OK;
  koine_status s = read_number(r, "partial_rotary_factor", 0, 1, &part);
  if (s) return s;
  double dims = part * c->head_dim, whole = rint(dims);
  if (fabs(dims - whole) > 1e-3 || whole < 1 || (c->rope_dim && c->rope_dim != (uint32_t)whole))
    return koi_error(KOINE_ERR_FILE, "%s: %spartial_rotary_factor: expected a whole number of the %u dims of a head, as its other keys say, found %g",
                     r->where, r->path, c->head_dim, dims);
  c->rope_dim = (uint32_t)whole;
  return KOINE_OK;
}

static koine_status read_theta(const reader *sub, const reader *r, const char *key, double *out)
{
  bool nested = sub->object && get(sub, "rope_theta");
  return read_number(nested ? sub : r, nested ? "rope_theta" : key, 1, 1e12, out);
}

static koine_status read_rope(const reader *r, koi_config *c, bool compressed)
{
  reader all, main = *r, compress, scaling;
  bool yarn = false;
  koine_status s = read_object(r, "rope_parameters", "rope_parameters.", &all);
  if (!s) s = read_object(r, "rope_scaling", "rope_scaling.", &scaling);
  if (s) return s;
  main.object = NULL, compress = main;
  bool nested = all.object && (get(&all, "main") || get(&all, "compress"));
  if (nested) s = read_object(&all, "main", "rope_parameters.main.", &main);
  if (nested && !s) s = read_object(&all, "compress", "rope_parameters.compress.", &compress);
  if (!s && main.object) s = read_rope_type(&main, &yarn);
  if (s) return s;
  if (yarn)
    return koi_error(KOINE_ERR_FILE, "%s: rope_parameters.main.rope_type: expected \"default\" (no YaRN outside the compressed layers), found \"yarn\"",
                     r->where);
  if (get(r, "qk_rope_head_dim")) s = read_u32(r, "qk_rope_head_dim", 1, 1 << 13, &c->rope_dim);
  if (!s) s = read_partial(r, c);
  if (!s) s = read_partial(&main, c);
  if (!s) s = read_partial(&compress, c);
  if (!s && !c->rope_dim) s = absent(r, "qk_rope_head_dim", "an integer (or partial_rotary_factor)");
  if (!s) s = read_theta(&main, r, "rope_theta", &c->rope_theta);
  if (!s && compressed) s = read_theta(&compress, r, "compress_rope_theta", &c->compress_theta);
  return s ? s : read_yarn(nested ? &compress : all.object ? &all : &scaling, &c->yarn);
}

/* ---- the rest ---- */
/* Keys that may be there but have one value only. */
static koine_status check_fixed(const reader *r)
{
  static const struct { const char *key; const char *value; } texts[] = {
    {"model_type", "deepseek_v4"}, {"hidden_act", "silu"}, {"topk_method", "noaux_tc"}};
  static const struct { const char *key; bool value; } flags[] = {{"norm_topk_prob", true}, {"attention_bias", false}, {"mlp_bias", false}};
  static const char *const ones[] = {"n_shared_experts", "num_key_value_heads"};
  koine_status s = KOINE_OK;
  for (size_t i = 0; i < KOI_COUNT(texts) && !s; i++) {
    size_t unused;
    s = read_name(r, texts[i].key, &texts[i].value, 1, &unused);
  }
  for (size_t i = 0; i < KOI_COUNT(flags) && !s; i++) {
    bool v = flags[i].value;
    s = read_bool(r, flags[i].key, &v);
    if (!s && v != flags[i].value) s = bad(r, flags[i].key, v ? "false (true is not supported)" : "true (false is not supported)", get(r, flags[i].key));
  }
  for (size_t i = 0; i < KOI_COUNT(ones) && !s; i++) {
    json_object *v = get(r, ones[i]);
    if (v && (!json_object_is_type(v, json_type_int) || json_object_get_int64(v) != 1)) s = bad(r, ones[i], "1 (nothing else is supported)", v);
  }
  return s;
}

static koine_status read_numbers(const reader *r, koi_config *c)
{
  const struct { const char *key; double above, max; float *to; } keys[] = {
    {"rms_norm_eps", 0, 1, &c->rms_eps},
    {"hc_eps", 0, 1, &c->hc_eps},
    {"swiglu_limit", -1e-30, 1e30, &c->swiglu_limit}, /* 0: no limit */
    {"routed_scaling_factor", 0, 1e6, &c->route_scale}};
  for (size_t i = 0; i < KOI_COUNT(keys); i++) {
    double x = 0;
    koine_status s = read_number(r, keys[i].key, keys[i].above, keys[i].max, &x);
    if (s) return s;
    *keys[i].to = (float)x;
  }
  return KOINE_OK;
}

/* A token's id, or the first of a list of them. */
static koine_status read_token(const reader *r, const char *key, uint32_t n_vocab, int32_t *out)
{
  json_object *v = get(r, key);
  *out = -1;
  if (v && json_object_is_type(v, json_type_array)) v = json_object_array_length(v) ? json_object_array_get_idx(v, 0) : NULL;
  if (!v) return KOINE_OK;
  if (!json_object_is_type(v, json_type_int) || json_object_get_int64(v) < 0 || json_object_get_int64(v) >= n_vocab)
    return bad(r, key, "a token within the vocabulary", v);
  *out = (int32_t)json_object_get_int64(v);
  return KOINE_OK;
}

/* What the weights would be where no tensors say it: a name that is not known here counts as the published one. */
static koine_status read_dtype(const reader *r, const char *key, koi_dtype *out)
{
  static const struct { const char *name; koi_dtype dtype; } names[] = {
    {"bfloat16", KOI_BF16}, {"bf16", KOI_BF16}, {"float16", KOI_F16}, {"float32", KOI_F32}, {"fp8", KOI_F8_E4M3}, {"fp4", KOI_I8}};
  json_object *v = get(r, key);
  if (!v) return KOINE_OK;
  if (!json_object_is_type(v, json_type_string)) return bad(r, key, "the name of a dtype", v);
  for (size_t i = 0; i < KOI_COUNT(names); i++)
    if (!strcmp(json_object_get_string(v), names[i].name)) *out = names[i].dtype;
  return KOINE_OK;
}

static koine_status read_dtypes(const reader *r, koi_config *c)
{
  static const char *const methods[] = {"fp8"};
  reader q;
  size_t unused;
  c->float_dtype = KOI_BF16;
  koine_status s = read_dtype(r, get(r, "dtype") ? "dtype" : "torch_dtype", &c->float_dtype);
  if (!s) s = read_object(r, "quantization_config", "quantization_config.", &q);
  if (!s && q.object) s = read_name(&q, "quant_method", methods, 1, &unused);
  if (s) return s;
  if (c->float_dtype == KOI_F8_E4M3 || c->float_dtype == KOI_I8) c->float_dtype = KOI_BF16;
  c->dense_dtype = c->expert_dtype = q.object ? KOI_F8_E4M3 : c->float_dtype;
  return read_dtype(get(r, "expert_dtype") || !q.object ? r : &q, "expert_dtype", &c->expert_dtype);
}

static koine_status read_blocks(const reader *r)
{
  reader q;
  koine_status s = read_object(r, "quantization_config", "quantization_config.", &q);
  json_object *v = !s && q.object ? get(&q, "weight_block_size") : NULL;
  if (!v) return s;
  bool ok = json_object_is_type(v, json_type_array) && json_object_array_length(v) == 2;
  for (size_t i = 0; i < 2 && ok; i++) {
    json_object *n = json_object_array_get_idx(v, i);
    ok = n && json_object_is_type(n, json_type_int) && json_object_get_int64(n) == 128;
  }
  return ok ? KOINE_OK : bad(&q, "weight_block_size", "[128,128]", v);
}

static koine_status check_fit(const char *where, const koi_config *c, bool csa)
{
  const struct { bool ok; const char *key; uint32_t value; const char *expected; uint32_t other; } rules[] = {
    {c->rope_dim <= c->head_dim, "qk_rope_head_dim", c->rope_dim, "at most head_dim,", c->head_dim},
    {c->rope_dim % 2 == 0, "qk_rope_head_dim", c->rope_dim, "an even number of rotated dims, such as", 64},
    {c->n_heads % c->o_groups == 0, "o_groups", c->o_groups, "a divisor of num_attention_heads,", c->n_heads},
    {c->n_used <= c->n_experts, "num_experts_per_tok", c->n_used, "at most n_routed_experts,", c->n_experts},
    {!csa || (c->index_dim & (c->index_dim - 1)) == 0, "index_head_dim", c->index_dim, "a power of two, such as", 128},
    {!csa || c->index_dim >= c->rope_dim, "index_head_dim", c->index_dim, "at least the rotated dims,", c->rope_dim},
  };
  for (size_t i = 0; i < KOI_COUNT(rules); i++)
    if (!rules[i].ok)
      return koi_error(KOINE_ERR_FILE, "%s: %s: expected %s %u, found %u", where, rules[i].key, rules[i].expected, rules[i].other, rules[i].value);
  return KOINE_OK;
}

static koine_status read_index_sizes(const reader *r, koi_config *c, bool csa)
{
  koine_status s = KOINE_OK;
  for (size_t i = 0; i < KOI_COUNT(index_sizes) && !s; i++)
    if (csa || get(r, index_sizes[i].key)) s = read_sizes(r, &index_sizes[i], 1, c);
  return s;
}

static koine_status read_all(const reader *r, koi_config *c, uint32_t *ratios /* [KOI_MAX_LAYERS] */)
{
  static const char *const scores[] = {[KOI_SCORE_SQRTSOFTPLUS] = "sqrtsoftplus", [KOI_SCORE_SOFTMAX] = "softmax", [KOI_SCORE_SIGMOID] = "sigmoid"};
  bool csa = false, compressed = false;
  size_t score = 0;
  koine_status s = check_fixed(r);
  if (!s) s = read_sizes(r, sizes, KOI_COUNT(sizes), c);
  if (!s) s = read_u64(r, "max_position_embeddings", 1, 1u << 30, &c->max_context);
  if (!s) s = read_ratios(r, c->n_layers, ratios);
  for (uint32_t i = 0; i < c->n_layers && !s; i++) csa |= ratios[i] == 4, compressed |= ratios[i] > 0;
  if (!s) s = read_hash(r, c);
  if (!s) s = read_index_sizes(r, c, csa);
  if (!s && get(r, "num_nextn_predict_layers")) s = read_u32(r, "num_nextn_predict_layers", 0, 64, &c->n_mtp);
  if (!s) s = read_numbers(r, c);
  if (!s && !get(r, "scoring_func")) s = absent(r, "scoring_func", "\"sqrtsoftplus\", \"softmax\" or \"sigmoid\"");
  if (!s) s = read_name(r, "scoring_func", scores, KOI_COUNT(scores), &score);
  c->score = (koi_score)score;
  if (!s) s = read_rope(r, c, compressed);
  if (!s) s = read_bool(r, "tie_word_embeddings", &c->tied);
  if (!s) s = read_token(r, "bos_token_id", c->n_vocab, &c->bos);
  if (!s) s = read_token(r, "eos_token_id", c->n_vocab, &c->eos);
  if (!s) s = read_blocks(r);
  if (!s) s = read_dtypes(r, c);
  return s ? s : check_fit(r->where, c, csa);
}

static koine_status parse_tree(const char *json, size_t n, const char *where, json_object **out)
{
  if (n > MAX_CONFIG_BYTES) return koi_error(KOINE_ERR_FILE, "%s: expected at most %zu bytes, found %zu", where, MAX_CONFIG_BYTES, n);
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

koine_status koi_config_parse(const char *json, size_t n, const char *where, koi_config *out, uint32_t **ratios_out)
{
  koi_config c = {0};
  json_object *root = NULL;
  uint32_t *ratios = NULL;
  koine_status s = parse_tree(json, n, where, &root);
  if (s) return s;
  reader r = {root, where, ""};
  if (!(ratios = koi_alloc(KOI_MAX_LAYERS, sizeof *ratios))) s = KOINE_ERR_MEMORY;
  if (!s) s = read_all(&r, &c, ratios);
  json_object_put(root);
  if (s) koi_free(ratios);
  else *out = c, *ratios_out = ratios;
  return s;
}
