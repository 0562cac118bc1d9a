/* See meta.h. Owns which keys there are. Does not know tensors. Invariant: what config_gguf.c and vocab.c read, and llama.cpp needs, is there. */
#include "meta.h"
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "model/vocab.h"

enum { MAX_JSON = 256 << 20, QUANTIZATION_VERSION = 2, NORMAL = 1, CONTROL = 3, USER = 4, UNUSED = 5 /* types of tokens */ };
#define PREFIX "deepseek4."

/* ---- sizes ---- */
static void put_sizes(const koi_config *c, koi_out_header *h)
{
  const struct { const char *key; uint64_t value; } ints[] = {
    {PREFIX "block_count", c->n_layers}, {PREFIX "context_length", c->max_context}, {PREFIX "embedding_length", c->hidden}, {PREFIX "vocab_size", c->n_vocab},
    {PREFIX "attention.head_count", c->n_heads}, {PREFIX "attention.head_count_kv", 1}, {PREFIX "attention.key_length", c->head_dim},
    {PREFIX "attention.value_length", c->head_dim}, {PREFIX "attention.q_lora_rank", c->q_rank}, {PREFIX "attention.output_lora_rank", c->o_rank},
    {PREFIX "attention.output_group_count", c->o_groups}, {PREFIX "attention.sliding_window", c->window},
    {PREFIX "attention.indexer.head_count", c->index_heads}, {PREFIX "attention.indexer.key_length", c->index_dim},
    {PREFIX "attention.indexer.top_k", c->index_topk}, {PREFIX "rope.dimension_count", c->rope_dim}, {PREFIX "expert_count", c->n_experts},
    {PREFIX "expert_used_count", c->n_used}, {PREFIX "expert_feed_forward_length", c->inter}, {PREFIX "expert_shared_count", 1},
    {PREFIX "hash_layer_count", c->n_hash_layers}, {PREFIX "hyper_connection.count", c->n_streams},
    {PREFIX "hyper_connection.sinkhorn_iterations", c->sinkhorn_iters},
    {PREFIX "expert_gating_func", c->score == KOI_SCORE_SOFTMAX ? 1 : c->score == KOI_SCORE_SIGMOID ? 2 : 4}};
  const struct { const char *key; double value; } floats[] = {
    {PREFIX "attention.layer_norm_rms_epsilon", (double)c->rms_eps}, {PREFIX "hyper_connection.epsilon", (double)c->hc_eps},
    {PREFIX "expert_weights_scale", (double)c->route_scale}, {PREFIX "rope.freq_base", c->rope_theta},
    {PREFIX "attention.compress_rope_freq_base", c->compress_theta > 0 ? c->compress_theta : c->rope_theta}};
  for (size_t i = 0; i < KOI_COUNT(ints); i++) koi_out_u32(h, ints[i].key, ints[i].value > UINT32_MAX ? UINT32_MAX : (uint32_t)ints[i].value);
  for (size_t i = 0; i < KOI_COUNT(floats); i++) koi_out_f32(h, floats[i].key, (float)floats[i].value);
  koi_out_bool(h, PREFIX "expert_weights_norm", true);
}

static void put_lists(const koine_model *m, koi_out_header *h)
{
  const koi_config *c = &m->config;
  const struct { const char *name; const float *limit; } clamps[] = {{PREFIX "swiglu_clamp_exp", &c->swiglu_limit}, {PREFIX "swiglu_clamp_shexp", &c->shared_limit}};
  koi_out_array(h, PREFIX "attention.compress_ratios", KOI_GGUF_I32, c->n_layers);
  for (uint32_t i = 0; i < c->n_layers; i++) koi_out_word(&h->keys, m->layers[i].ratio, 4);
  for (size_t k = 0; k < KOI_COUNT(clamps); k++) {
    koi_out_array(h, clamps[k].name, KOI_GGUF_F32, c->n_layers);
    for (uint32_t i = 0; i < c->n_layers; i++) koi_out_bytes(&h->keys, clamps[k].limit, 4);
  }
  if (!c->yarn.on) return;
  koi_out_text(h, PREFIX "rope.scaling.type", "yarn");
  koi_out_f32(h, PREFIX "rope.scaling.factor", c->yarn.factor);
  koi_out_u32(h, PREFIX "rope.scaling.original_context_length", (uint32_t)c->yarn.original);
  koi_out_f32(h, PREFIX "rope.scaling.yarn_beta_fast", c->yarn.beta_fast);
  koi_out_f32(h, PREFIX "rope.scaling.yarn_beta_slow", c->yarn.beta_slow);
}

/* ---- the tokenizer ---- */
/* A JSON file of the folder; *out NULL: there is none. */
static koine_status read_json(const koine_model *m, const char *name, json_object **out)
{
  struct stat st;
  char *file = koi_format("%s/%s", m->path, name), *text = NULL;
  size_t n;
  *out = NULL;
  if (!file) return KOINE_ERR_MEMORY;
  koine_status s = stat(file, &st) && errno == ENOENT ? KOINE_OK : koi_file_read(file, MAX_JSON, &text, &n);
  if (text && !(*out = json_tokener_parse(text))) s = koi_error(KOINE_ERR_FILE, "%s: expected JSON", file);
  koi_free(text);
  koi_free(file);
  return s;
}

typedef struct vocab { const char **text; uint8_t *type; size_t n; } vocab;

static koine_status add_token(const koine_model *m, vocab *v, const char *text, int64_t id, uint8_t type)
{
  if (id < 0 || (uint64_t)id >= v->n) return koi_error(KOINE_ERR_FILE, "%s/tokenizer.json: expected ids below vocab_size, %zu, found %jd", m->path, v->n, (intmax_t)id);
  v->text[id] = text, v->type[id] = type;
  return KOINE_OK;
}

static koine_status list_tokens(const koine_model *m, json_object *j, vocab *v)
{
  json_object *words = NULL, *added = json_object_object_get(j, "added_tokens");
  koine_status s = KOINE_OK;
  if (json_object_object_get_ex(j, "model", &words)) words = json_object_object_get(words, "vocab");
  if (!json_object_is_type(words, json_type_object)) return koi_error(KOINE_ERR_FILE, "%s/tokenizer.json: model.vocab: expected an object", m->path);
  if (added && !json_object_is_type(added, json_type_array)) return koi_error(KOINE_ERR_FILE, "%s/tokenizer.json: added_tokens: expected an array", m->path);
  for (struct json_object_iterator i = json_object_iter_begin(words), end = json_object_iter_end(words); !s && !json_object_iter_equal(&i, &end); json_object_iter_next(&i))
    s = add_token(m, v, json_object_iter_peek_name(&i), json_object_get_int64(json_object_iter_peek_value(&i)), NORMAL);
  for (size_t i = 0; !s && added && i < json_object_array_length(added); i++) {
    json_object *a = json_object_array_get_idx(added, i);
    const char *text = json_object_get_string(json_object_object_get(a, "content"));
    s = add_token(m, v, text ? text : "", json_object_get_int64(json_object_object_get(a, "id")), json_object_get_boolean(json_object_object_get(a, "special")) ? CONTROL : USER);
  }
  return s;
}

static void put_tokens(const vocab *v, koi_out_header *h)
{
  char made[32];
  koi_out_array(h, "tokenizer.ggml.tokens", KOI_GGUF_STRING, v->n);
  for (size_t i = 0; i < v->n; i++) {
    snprintf(made, sizeof made, "[PAD%zu]", i);
    const char *s = v->text[i] ? v->text[i] : made;
    koi_out_string(&h->keys, s, strlen(s));
  }
  koi_out_array(h, "tokenizer.ggml.token_type", KOI_GGUF_I32, v->n);
  for (size_t i = 0; i < v->n; i++) koi_out_word(&h->keys, v->text[i] ? v->type[i] : UNUSED, 4);
}

static void put_merges(json_object *j, koi_out_header *h)
{
  json_object *merges = json_object_object_get(json_object_object_get(j, "model"), "merges");
  size_t n = json_object_is_type(merges, json_type_array) ? json_object_array_length(merges) : 0;
  koi_out_array(h, "tokenizer.ggml.merges", KOI_GGUF_STRING, n);
  for (size_t i = 0; i < n; i++) {
    json_object *v = json_object_array_get_idx(merges, i);
    bool pair = json_object_is_type(v, json_type_array) && json_object_array_length(v) == 2;
    const char *a = json_object_get_string(pair ? json_object_array_get_idx(v, 0) : v), *b = pair ? json_object_get_string(json_object_array_get_idx(v, 1)) : NULL;
    koi_text both = {0};
    koi_text_add(&both, "%s%s%s", a ? a : "", b ? " " : "", b ? b : "");
    koi_out_string(&h->keys, both.s ? both.s : "", both.len);
    h->keys.failed |= both.failed;
    koi_free(both.s);
  }
}

/* Whether a prompt begins with the beginning-of-text token, and how a conversation is written, where the folder says so. */
static koine_status put_wording(const koine_model *m, koi_out_header *h)
{
  json_object *j, *v;
  koine_status s = read_json(m, "tokenizer_config.json", &j);
  if (s || !j) return s;
  if ((v = json_object_object_get(j, "add_bos_token"))) koi_out_bool(h, "tokenizer.ggml.add_bos_token", json_object_get_boolean(v));
  v = json_object_object_get(j, "chat_template");
  if (json_object_is_type(v, json_type_string)) koi_out_text(h, "tokenizer.chat_template", json_object_get_string(v));
  json_object_put(j);
  return KOINE_OK;
}

static koine_status put_tokenizer(const koine_model *m, koi_out_header *h)
{
  json_object *j;
  vocab v = {.n = m->config.n_vocab};
  koine_status s = read_json(m, "tokenizer.json", &j);
  if (s) return s;
  koi_out_text(h, "tokenizer.ggml.model", j ? "gpt2" : "none");
  if (!j) return KOINE_OK; /* a model for ids alone */
  v.text = koi_alloc(v.n, sizeof *v.text), v.type = koi_alloc(v.n, 1);
  s = v.text && v.type ? list_tokens(m, j, &v) : KOINE_ERR_MEMORY;
  if (!s && !koi_vocab_published(json_object_object_get(j, "pre_tokenizer")))
    s = koi_error(KOINE_ERR_UNSUPPORTED, "%s/tokenizer.json: pre_tokenizer: expected the published split patterns, for which GGUF has a name, found others", m->path);
  if (!s) {
    koi_out_text(h, "tokenizer.ggml.pre", "deepseek-v3");
    put_tokens(&v, h);
    put_merges(j, h);
    if (m->config.bos >= 0) koi_out_u32(h, "tokenizer.ggml.bos_token_id", (uint32_t)m->config.bos);
    if (m->config.eos >= 0) koi_out_u32(h, "tokenizer.ggml.eos_token_id", (uint32_t)m->config.eos);
    s = put_wording(m, h);
  }
  koi_free(v.text);
  koi_free(v.type);
  json_object_put(j);
  return s;
}

/* ---- all ---- */
/* What another GGUF file says, but for how it is stored. */
static koine_status copy_keys(const koine_model *m, koi_out_header *h)
{
  static const char *const left[] = {"general.file_type", "general.quantization_version", "general.alignment", "split.no", "split.count", "split.tensors.count",
                                     PREFIX "nextn_predict_layers", PREFIX "block_count"};
  koi_gguf *g;
  koine_status s = koi_gguf_open(m->path, &g);
  if (s) return s;
  for (size_t i = 0; i < koi_gguf_count(g); i++) {
    const koi_gguf_value *v = koi_gguf_at(g, i);
    bool leave = false;
    for (size_t k = 0; k < KOI_COUNT(left); k++) leave |= !strcmp(left[k], v->key);
    if (!leave) koi_out_value(h, v);
  }
  koi_out_u32(h, PREFIX "block_count", m->config.n_layers); /* without those that predict further tokens */
  koi_gguf_close(g);
  return KOINE_OK;
}

koine_status koi_meta_put(const koine_model *m, uint32_t file_type, koi_out_header *h)
{
  koine_status s = KOINE_OK;
  size_t n = strlen(m->path);
  while (n > 1 && m->path[n - 1] == '/') n--;
  size_t at = n;
  while (at && m->path[at - 1] != '/') at--;
  char *name = koi_format("%.*s", (int)(n - at), m->path + at);
  if (!name) return KOINE_ERR_MEMORY;
  if (m->gguf) s = copy_keys(m, h);
  else {
    koi_out_text(h, "general.architecture", "deepseek4");
    koi_out_text(h, "general.type", "model");
    koi_out_text(h, "general.name", strcmp(name, ".") ? name : "DeepSeek V4");
    put_sizes(&m->config, h);
    put_lists(m, h);
    s = put_tokenizer(m, h);
  }
  koi_free(name);
  koi_out_u32(h, "general.file_type", file_type);
  koi_out_u32(h, "general.quantization_version", QUANTIZATION_VERSION);
  return s;
}
