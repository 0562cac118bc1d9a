/* Metadata of a GGUF file to koi_config: its keys become those of a config.json, which the one reader then checks.
 * Owns: what the keys are called. Does not check sizes. Invariant: an architecture that is not here is refused by its name. */
#include "config_impl.h"
#include <stdio.h>
#include <string.h>

#define ARCHITECTURE "deepseek4"
#define KEY(name) ARCHITECTURE "." name

/* A key, and its name in a config.json. */
static const struct names { const char *theirs, *ours; } names[] = {
  {KEY("vocab_size"), "vocab_size"},
  {KEY("embedding_length"), "hidden_size"},
  {KEY("context_length"), "max_position_embeddings"},
  {KEY("attention.head_count"), "num_attention_heads"},
  {KEY("attention.head_count_kv"), "num_key_value_heads"},
  {KEY("attention.key_length"), "head_dim"},
  {KEY("attention.layer_norm_rms_epsilon"), "rms_norm_eps"},
  {KEY("attention.q_lora_rank"), "q_lora_rank"},
  {KEY("attention.output_lora_rank"), "o_lora_rank"},
  {KEY("attention.output_group_count"), "o_groups"},
  {KEY("attention.sliding_window"), "sliding_window"},
  {KEY("attention.compress_rope_freq_base"), "compress_rope_theta"},
  {KEY("attention.indexer.head_count"), "index_n_heads"},
  {KEY("attention.indexer.key_length"), "index_head_dim"},
  {KEY("attention.indexer.top_k"), "index_topk"},
  {KEY("rope.dimension_count"), "qk_rope_head_dim"},
  {KEY("rope.freq_base"), "rope_theta"},
  {KEY("expert_count"), "n_routed_experts"},
  {KEY("expert_used_count"), "num_experts_per_tok"},
  {KEY("expert_feed_forward_length"), "moe_intermediate_size"},
  {KEY("expert_shared_count"), "n_shared_experts"},
  {KEY("expert_weights_scale"), "routed_scaling_factor"},
  {KEY("expert_weights_norm"), "norm_topk_prob"},
  {KEY("hash_layer_count"), "num_hash_layers"},
  {KEY("swiglu_clamp_exp"), "swiglu_limit"},
  {KEY("swiglu_clamp_shexp"), "shared_swiglu_limit"},
  {KEY("hyper_connection.count"), "hc_mult"},
  {KEY("hyper_connection.sinkhorn_iterations"), "hc_sinkhorn_iters"},
  {KEY("hyper_connection.epsilon"), "hc_eps"},
}, scaling[] = {
  {KEY("rope.scaling.type"), "type"},
  {KEY("rope.scaling.factor"), "factor"},
  {KEY("rope.scaling.original_context_length"), "original_max_position_embeddings"},
  {KEY("rope.scaling.yarn_beta_fast"), "beta_fast"},
  {KEY("rope.scaling.yarn_beta_slow"), "beta_slow"},
}, shown_only[] = { /* made of more than one key, or of numbers that mean names */
  {KEY("block_count"), "num_hidden_layers"},
  {KEY("nextn_predict_layers"), "num_nextn_predict_layers"},
  {KEY("attention.compress_ratios"), "compress_ratios"},
  {KEY("expert_gating_func"), "scoring_func"},
  {"tokenizer.ggml.bos_token_id", "bos_token_id"},
  {"tokenizer.ggml.eos_token_id", "eos_token_id"},
};

/* What a message calls a key of ours. */
static const char *shown(const char *path, const char *key)
{
  const struct { const struct names *v; size_t n; } lists[] = {
    {names, KOI_COUNT(names)}, {shown_only, KOI_COUNT(shown_only)}, {scaling, KOI_COUNT(scaling)}};
  for (size_t l = *path ? 2 : 0; l < (*path ? 3 : 2); l++)
    for (size_t i = 0; i < lists[l].n; i++)
      if (!strcmp(lists[l].v[i].ours, key)) return lists[l].v[i].theirs;
  return key;
}

typedef struct source {
  const koi_gguf *g;
  const char *where;
} source;

static const koi_gguf_value *find(const source *f, const char *key) { return koi_gguf_find(f->g, key); }

static koine_status wrong(const source *f, const char *key, const char *expected)
{
  const koi_gguf_value *v = find(f, key);
  if (!v) return koi_error(KOINE_ERR_FILE, "%s: %s: expected %s, found no such key", f->where, key, expected);
  return koi_error(KOINE_ERR_FILE, "%s: %s: expected %s, found %s%s", f->where, key, expected, v->array ? "an array of " : "", koi_gguf_type_name(v->type));
}

/* ---- values ---- */
static json_object *from_item(const koi_gguf_value *v, uint64_t i)
{
  koi_gguf_cursor c = {.value = v};
  const char *s;
  size_t n;
  int64_t whole;
  double x;
  if (v->type == KOI_GGUF_BOOL && koi_gguf_int(v, i, &whole)) return json_object_new_boolean(whole != 0);
  if (koi_gguf_int(v, i, &whole)) return json_object_new_int64(whole);
  if (koi_gguf_number(v, i, &x)) return json_object_new_double(x);
  return koi_gguf_string(&c, &s, &n) && n < 256 ? json_object_new_string_len(s, (int)n) : json_object_new_string("a long text");
}

/* A value a layer that must be the same in all of them, or one value. */
static koine_status from_value(const source *f, const char *key, const koi_gguf_value *v, json_object **out)
{
  double first = 0, x = 0;
  if (v->array && (!koi_gguf_number(v, 0, &first) || !v->n)) return wrong(f, key, "numbers");
  for (uint64_t i = 1; i < v->n; i++)
    if (!koi_gguf_number(v, i, &x) || memcmp(&x, &first, sizeof x))
      return koi_error(KOINE_ERR_FILE, "%s: %s: expected one value for all layers, found %g and %g", f->where, key, first, x);
  *out = from_item(v, 0);
  return *out ? KOINE_OK : KOINE_ERR_MEMORY;
}

static koine_status put(json_object *to, const char *key, json_object *v)
{
  if (v && !json_object_object_add(to, key, v)) return KOINE_OK;
  json_object_put(v);
  return koi_error(KOINE_ERR_MEMORY, "out of host memory");
}

static koine_status put_names(const source *f, const struct names *v, size_t n, json_object *to)
{
  koine_status s = KOINE_OK;
  for (size_t i = 0; i < n && !s; i++) {
    const koi_gguf_value *from = find(f, v[i].theirs);
    json_object *value = NULL;
    if (!from) continue;
    s = from_value(f, v[i].theirs, from, &value);
    if (!s) s = put(to, v[i].ours, value);
  }
  return s;
}

/* ---- keys that need more than another name ---- */
/* Whether the blocks from `first` on predict further tokens. Files that hold none of these may say their number all the same. */
static bool predicts(const source *f, int64_t first)
{
  char prefix[48];
  const koi_weights *w = koi_gguf_weights(f->g);
  int len = snprintf(prefix, sizeof prefix, "blk.%jd.nextn.", (intmax_t)first);
  for (size_t i = 0; i < koi_weights_count(w); i++)
    if (!strncmp(koi_weights_at(w, i)->name, prefix, (size_t)len)) return true;
  return false;
}

/* Layers without those that predict further tokens. */
static koine_status put_layers(const source *f, json_object *to)
{
  const koi_gguf_value *all = find(f, KEY("block_count")), *next = find(f, KEY("nextn_predict_layers"));
  int64_t n = 0, n_next = 0;
  if (!all || all->array || !koi_gguf_int(all, 0, &n) || n < 0) return wrong(f, KEY("block_count"), "an integer");
  if (next && (next->array || !koi_gguf_int(next, 0, &n_next) || n_next < 0)) return wrong(f, KEY("nextn_predict_layers"), "an integer");
  if (!predicts(f, n - n_next)) n_next = 0;
  koine_status s = put(to, "num_hidden_layers", json_object_new_int64(n - n_next));
  return s ? s : put(to, "num_nextn_predict_layers", json_object_new_int64(n_next));
}

static koine_status put_ratios(const source *f, json_object *to)
{
  const koi_gguf_value *v = find(f, KEY("attention.compress_ratios"));
  json_object *list = json_object_new_array();
  koine_status s = list ? KOINE_OK : KOINE_ERR_MEMORY;
  if (!s && (!v || !v->array || v->n > 2 * KOI_MAX_LAYERS)) s = wrong(f, KEY("attention.compress_ratios"), "an array of integers, one a layer");
  for (uint64_t i = 0; !s && i < v->n; i++)
    if (json_object_array_add(list, from_item(v, i))) s = KOINE_ERR_MEMORY;
  if (s) return json_object_put(list), s;
  return put(to, "compress_ratios", list);
}

static koine_status put_score(const source *f, json_object *to)
{
  static const char *const scores[] = {[1] = "softmax", [2] = "sigmoid", [4] = "sqrtsoftplus"};
  const koi_gguf_value *v = find(f, KEY("expert_gating_func"));
  int64_t n = 0;
  if (!v || v->array || !koi_gguf_int(v, 0, &n)) return wrong(f, KEY("expert_gating_func"), "1, 2 or 4");
  if (n < 0 || (size_t)n >= KOI_COUNT(scores) || !scores[n])
    return koi_error(KOINE_ERR_FILE, "%s: " ARCHITECTURE ".expert_gating_func: expected 1 (softmax), 2 (sigmoid) or 4 (sqrtsoftplus), found %jd", f->where, (intmax_t)n);
  return put(to, "scoring_func", json_object_new_string(scores[n]));
}

/* A file with a factor and without a type means YaRN, the only one that the model knows; "none" is no scaling, whatever else is said. */
static koine_status put_scaling(const source *f, json_object *to)
{
  const koi_gguf_value *type = find(f, KEY("rope.scaling.type"));
  koi_gguf_cursor c = {.value = type};
  const char *text;
  size_t n;
  if (type && !type->array && koi_gguf_string(&c, &text, &n) && n == 4 && !memcmp(text, "none", 4)) return KOINE_OK;
  if (!type && !find(f, KEY("rope.scaling.factor"))) return KOINE_OK;
  json_object *o = json_object_new_object();
  koine_status s = put(to, "rope_scaling", o);
  if (!s && !type) s = put(o, "type", json_object_new_string("yarn"));
  return s ? s : put_names(f, scaling, KOI_COUNT(scaling), o);
}

/* What GGUF takes for granted where a file does not say it. */
static koine_status put_defaults(const source *f, json_object *to)
{
  return find(f, KEY("rope.freq_base")) ? KOINE_OK : put(to, "rope_theta", json_object_new_double(10000));
}

static koine_status put_tokens(const source *f, json_object *to)
{
  static const struct { const char *theirs, *ours; } ids[] = {
    {"tokenizer.ggml.bos_token_id", "bos_token_id"}, {"tokenizer.ggml.eos_token_id", "eos_token_id"}};
  const koi_gguf_value *tokens = koi_gguf_find(f->g, "tokenizer.ggml.tokens");
  koine_status s = KOINE_OK;
  for (size_t i = 0; i < KOI_COUNT(ids) && !s; i++) {
    const koi_gguf_value *v = koi_gguf_find(f->g, ids[i].theirs);
    if (v && !v->array) s = put(to, ids[i].ours, from_item(v, 0));
  }
  if (!s && !find(f, KEY("vocab_size")) && tokens) s = put(to, "vocab_size", json_object_new_int64((int64_t)tokens->n));
  return s;
}

/* A file without a head of its own uses the embedding. */
static koine_status put_tied(const source *f, json_object *to)
{
  return put(to, "tie_word_embeddings", json_object_new_boolean(!koi_weights_find(koi_gguf_weights(f->g), "output.weight")));
}

/* ---- the architecture ---- */
static koine_status check_architecture(const source *f)
{
  const koi_gguf_value *v = koi_gguf_find(f->g, "general.architecture");
  koi_gguf_cursor c = {.value = v};
  const char *s;
  size_t n;
  if (!v || v->array || !koi_gguf_string(&c, &s, &n))
    return koi_error(KOINE_ERR_FILE, "%s: general.architecture: expected \"" ARCHITECTURE "\" (DeepSeek V4), found no text", f->where);
  if (n == strlen(ARCHITECTURE) && !memcmp(s, ARCHITECTURE, n)) return KOINE_OK;
  return koi_error(KOINE_ERR_FILE, "%s: general.architecture: expected \"" ARCHITECTURE "\" (DeepSeek V4), the one that is supported, found \"%.*s\"", f->where,
                   (int)(n < 80 ? n : 80), s);
}

koine_status koi_config_gguf(const koi_gguf *g, koi_config *out, uint32_t **ratios_out)
{
  const source f = {g, koi_gguf_path(g)};
  koine_status s = check_architecture(&f);
  if (s) return s;
  json_object *root = json_object_new_object();
  if (!root) return koi_error(KOINE_ERR_MEMORY, "out of host memory");
  s = put_names(&f, names, KOI_COUNT(names), root);
  if (!s) s = put_defaults(&f, root);
  if (!s) s = put_layers(&f, root);
  if (!s) s = put_ratios(&f, root);
  if (!s) s = put_score(&f, root);
  if (!s) s = put_scaling(&f, root);
  if (!s) s = put_tokens(&f, root);
  if (!s) s = put_tied(&f, root);
  if (!s) s = koi_config_tree(&(koi_reader){root, f.where, "", shown}, out, ratios_out);
  json_object_put(root);
  return s;
}
