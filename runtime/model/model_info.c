/* What a model is, as a record, as text and as JSON. Owns: the counting of parameters and bytes. Changes nothing. */
#include "model.h"
#include <string.h>

enum { MAX_ROLES = 16 };
typedef struct share { const char *name; uint64_t bytes, n_params; } share;
/* Precisions: the formats, then stored types that are none: those of ids. Scales count with the codes that they scale. */
enum { N_PRECISIONS = KOI_N_FORMATS + KOI_N_DTYPES };
typedef struct totals {
  const koine_model *m;
  share roles[MAX_ROLES], precisions[N_PRECISIONS];
  size_t n_roles;
  uint64_t bytes, n_params, n_active;
} totals;

/* Parameters are weights: neither scales nor tables of ids. For one token count all but the experts not chosen and the embedding's
 * other rows (an embedding that is the head as well is used whole). */
static void count(void *user, int layer, const koi_role *role, const koi_weight *w)
{
  (void)layer;
  totals *t = user;
  const koi_config *c = &t->m->config;
  uint64_t n = role->use == KOI_IDS ? 0 : koi_weight_values(w), bytes = koi_weight_bytes(w);
  size_t i = 0;
  while (i < t->n_roles && strcmp(t->roles[i].name, role->group)) i++;
  if (i == MAX_ROLES) return;
  if (i == t->n_roles) t->roles[t->n_roles++].name = role->group;
  t->roles[i].bytes += bytes, t->roles[i].n_params += n;
  for (uint32_t p = 0; p < koi_weight_pieces(w); p++) {
    const koi_piece *piece = koi_weight_piece(w, p / w->n_sub, p % w->n_sub);
    koi_dtype dtype = piece->weight ? piece->weight->dtype : w->dtype;
    share *precision = &t->precisions[piece->format != KOI_FORMAT_NONE ? (size_t)piece->format : (size_t)KOI_N_FORMATS + dtype];
    precision->bytes += koi_piece_bytes(w, piece), precision->n_params += n / koi_weight_pieces(w);
  }
  t->bytes += bytes, t->n_params += n;
  if (role->units == KOI_EXPERTS) t->n_active += n / c->n_experts * c->n_used;
  else t->n_active += role->use == KOI_TABLE && !koi_model_tied(t->m) ? c->hidden : n;
}

static totals measure(const koine_model *m)
{
  totals t = {.m = m};
  for (size_t i = 0; i < KOI_N_FORMATS; i++) t.precisions[i].name = koi_formats[i].title;
  for (size_t i = 0; i < KOI_N_DTYPES; i++) t.precisions[KOI_N_FORMATS + i].name = koi_dtype_name((koi_dtype)i);
  koi_model_visit(m, count, &t);
  return t;
}

koine_status koi_model_get_info(const koine_model *m, koine_model_info *out)
{
  const koi_config *c = &m->config;
  totals t = measure(m);
  *out = (koine_model_info){
    .n_layers = c->n_layers, .hidden = c->hidden, .n_vocab = c->n_vocab, .n_experts = c->n_experts, .n_experts_per_token = c->n_used,
    .max_context = c->max_context, .n_params = t.n_params, .n_params_active = t.n_active, .weight_bytes = t.bytes, .has_weights = m->runnable};
  return KOINE_OK;
}

/* ---- what both forms say ---- */
typedef struct layer_counts { uint32_t sliding, csa, hca; } layer_counts;

static layer_counts count_layers(const koine_model *m)
{
  layer_counts n = {0};
  for (uint32_t i = 0; i < m->config.n_layers; i++) {
    koi_layer_kind k = m->layers[i].kind;
    ++*(k == KOI_SLIDING ? &n.sliding : k == KOI_CSA ? &n.csa : &n.hca);
  }
  return n;
}

/* Sizes by name: the same list for text and JSON. */
typedef struct number { const char *key; uint64_t value; } number;
enum { N_SIZES = 19 };
static void list_sizes(const koi_config *c, number *out /* [N_SIZES] */)
{
  const number v[N_SIZES] = {
    {"hidden_size", c->hidden}, {"vocab_size", c->n_vocab}, {"heads", c->n_heads}, {"head_dim", c->head_dim}, {"rope_dim", c->rope_dim},
    {"q_lora_rank", c->q_rank}, {"o_groups", c->o_groups}, {"o_lora_rank", c->o_rank}, {"experts", c->n_experts},
    {"experts_per_token", c->n_used}, {"expert_size", c->inter}, {"sliding_window", c->window}, {"streams", c->n_streams},
    {"sinkhorn_iterations", c->sinkhorn_iters}, {"indexer_heads", c->index_heads}, {"indexer_head_dim", c->index_dim},
    {"indexer_top_k", c->index_topk}, {"mtp_blocks", c->n_mtp}, {"max_context", c->max_context}};
  memcpy(out, v, sizeof v);
}

static const char *state(const koine_model *m) { return m->synthetic ? "synthetic" : m->cannot ? "cannot be run" : m->runnable ? "complete" : m->gguf ? "header only" : "config only"; }

static void size_text(koi_text *t, uint64_t bytes)
{
  static const struct { double unit; const char *name; } units[] = {{1e12, "TB"}, {1e9, "GB"}, {1e6, "MB"}, {1e3, "kB"}};
  for (size_t i = 0; i < KOI_COUNT(units); i++)
    if ((double)bytes >= units[i].unit) {
      koi_text_add(t, "%.2f %s", (double)bytes / units[i].unit, units[i].name);
      return;
    }
  koi_text_add(t, "%ju bytes", (uintmax_t)bytes);
}

static void count_text(koi_text *t, uint64_t n)
{
  koi_text_add(t, "%ju", (uintmax_t)n);
  if (n >= 100000000) koi_text_add(t, " (%.2f billion)", (double)n / 1e9);
}

static const char *score_name(koi_score s)
{
  static const char *const names[] = {[KOI_SCORE_SQRTSOFTPLUS] = "sqrtsoftplus", [KOI_SCORE_SOFTMAX] = "softmax", [KOI_SCORE_SIGMOID] = "sigmoid"};
  return names[s];
}

/* ---- text ---- */
static void shares_text(koi_text *o, const char *title, const share *s, size_t n)
{
  koi_text_add(o, "  by %s\n", title);
  for (size_t i = 0; i < n; i++) {
    if (!s[i].bytes) continue;
    koi_text_add(o, "    %-20s %16ju bytes  ", s[i].name, (uintmax_t)s[i].bytes);
    size_text(o, s[i].bytes);
    koi_text_add(o, "\n");
  }
}

static void head_text(koi_text *o, const koine_model *m)
{
  const koi_config *c = &m->config;
  layer_counts n = count_layers(m);
  number sizes[N_SIZES];
  koi_text_add(o, "model         %s (%s)\n", m->path, state(m));
  if (m->missing) koi_text_add(o, "              weights are not here: %s\n", m->missing);
  if (m->cannot) koi_text_add(o, "              %s\n", m->cannot);
  koi_text_add(o, "architecture  deepseek_v4, %u layers: %u sliding window, %u CSA, %u HCA; %u route by token id\n", c->n_layers, n.sliding, n.csa,
               n.hca, c->n_hash_layers);
  list_sizes(c, sizes);
  for (size_t i = 0; i < N_SIZES; i++) koi_text_add(o, "  %-20s %ju\n", sizes[i].key, (uintmax_t)sizes[i].value);
  koi_text_add(o, "  %-20s %s, weights times %g\n  %-20s %g\n", "routing", score_name(c->score), (double)c->route_scale, "swiglu_limit", (double)c->swiglu_limit);
  koi_text_add(o, "  %-20s theta %g; compressed layers %g", "rope", c->rope_theta, c->compress_theta);
  if (c->yarn.on)
    koi_text_add(o, ", YaRN factor %g from %ju tokens, beta %g and %g", (double)c->yarn.factor, (uintmax_t)c->yarn.original, (double)c->yarn.beta_fast,
                 (double)c->yarn.beta_slow);
  koi_text_add(o, "\n");
}

static void weights_text(koi_text *o, const koine_model *m, const totals *t)
{
  koi_text_add(o, "parameters    ");
  count_text(o, t->n_params);
  koi_text_add(o, " in all, ");
  count_text(o, t->n_active);
  koi_text_add(o, " for one token\n");
  koi_text_add(o, "              counted: weights without scales, tables of ids and MTP blocks; for one token without the experts not\n"
                  "              chosen and the other rows of the embedding\n");
  koi_text_add(o, "weights       %ju bytes, ", (uintmax_t)t->bytes);
  size_text(o, t->bytes);
  koi_text_add(o, "%s\n", m->weights ? ", as stored, scales included" : ", as the config says, scales included");
  shares_text(o, "precision", t->precisions, N_PRECISIONS);
  shares_text(o, "role", t->roles, t->n_roles);
  if (m->n_mtp_tensors && m->weights)
    koi_text_add(o, "MTP blocks    %ju tensors, %ju bytes: recognised, not used\n", (uintmax_t)m->n_mtp_tensors, (uintmax_t)m->mtp_bytes);
  if (m->index.n_tensors)
    koi_text_add(o, "index         %zu tensors in %zu files, %zu of them of MTP blocks; total_size %ju bytes, MTP blocks included\n", m->index.n_tensors,
                 m->index.n_files, m->index.n_mtp, (uintmax_t)m->index.total_bytes);
}

static void caches_text(koi_text *o, const koine_model *m, const uint64_t *contexts, size_t n, koi_cache_bytes_fn *bytes)
{
  koi_text_add(o, "caches        tokens        packed bytes          exact bytes\n");
  for (size_t i = 0; i < n; i++)
    koi_text_add(o, "        %12ju  %18ju  %19ju\n", (uintmax_t)contexts[i], (uintmax_t)bytes(m, contexts[i], KOINE_CACHE_PACKED),
                 (uintmax_t)bytes(m, contexts[i], KOINE_CACHE_EXACT));
}

/* ---- JSON ---- */
static void shares_json(koi_text *o, const char *key, const share *s, size_t n)
{
  bool first = true;
  koi_text_add(o, "  \"%s\": {", key);
  for (size_t i = 0; i < n; i++) {
    if (!s[i].bytes) continue;
    koi_text_add(o, first ? "" : ", ");
    koi_text_json(o, s[i].name);
    koi_text_add(o, ": {\"bytes\": %ju, \"parameters\": %ju}", (uintmax_t)s[i].bytes, (uintmax_t)s[i].n_params);
    first = false;
  }
  koi_text_add(o, "},\n");
}

static void head_json(koi_text *o, const koine_model *m)
{
  const koi_config *c = &m->config;
  layer_counts n = count_layers(m);
  number sizes[N_SIZES];
  koi_text_add(o, "{\n  \"model\": ");
  koi_text_json(o, m->path);
  koi_text_add(o, ",\n  \"architecture\": \"deepseek_v4\",\n  \"state\": \"%s\",\n  \"has_weights\": %s,\n  \"missing\": ", state(m),
               m->runnable ? "true" : "false");
  koi_text_json(o, m->missing);
  koi_text_add(o, ",\n  \"cannot\": ");
  koi_text_json(o, m->cannot);
  koi_text_add(o, ",\n  \"layers\": {\"total\": %u, \"sliding\": %u, \"csa\": %u, \"hca\": %u, \"hash_routed\": %u},\n  \"ratios\": [", c->n_layers, n.sliding,
               n.csa, n.hca, c->n_hash_layers);
  for (uint32_t i = 0; i < c->n_layers; i++) koi_text_add(o, "%s%u", i ? ", " : "", m->layers[i].ratio);
  koi_text_add(o, "],\n  \"sizes\": {");
  list_sizes(c, sizes);
  for (size_t i = 0; i < N_SIZES; i++) koi_text_add(o, "%s\"%s\": %ju", i ? ", " : "", sizes[i].key, (uintmax_t)sizes[i].value);
  koi_text_add(o, "},\n  \"routing\": \"%s\", \"routing_scale\": %.9g, \"swiglu_limit\": %.9g,\n", score_name(c->score), (double)c->route_scale,
               (double)c->swiglu_limit);
  koi_text_add(o, "  \"rope_theta\": %.17g, \"compress_rope_theta\": %.17g, \"yarn\": ", c->rope_theta, c->compress_theta);
  if (c->yarn.on)
    koi_text_add(o, "{\"factor\": %.9g, \"original\": %ju, \"beta_fast\": %.9g, \"beta_slow\": %.9g},\n", (double)c->yarn.factor,
                 (uintmax_t)c->yarn.original, (double)c->yarn.beta_fast, (double)c->yarn.beta_slow);
  else koi_text_add(o, "null,\n");
}

static void weights_json(koi_text *o, const koine_model *m, const totals *t)
{
  koi_text_add(o, "  \"parameters\": {\"total\": %ju, \"active_per_token\": %ju},\n  \"weight_bytes\": %ju,\n", (uintmax_t)t->n_params,
               (uintmax_t)t->n_active, (uintmax_t)t->bytes);
  shares_json(o, "by_precision", t->precisions, N_PRECISIONS);
  shares_json(o, "by_role", t->roles, t->n_roles);
  koi_text_add(o, "  \"mtp\": {\"tensors\": %ju, \"bytes\": %ju},\n", (uintmax_t)m->n_mtp_tensors, (uintmax_t)m->mtp_bytes);
  koi_text_add(o, "  \"index\": {\"tensors\": %zu, \"files\": %zu, \"total_size\": %ju},\n", m->index.n_tensors, m->index.n_files,
               (uintmax_t)m->index.total_bytes);
}

static void caches_json(koi_text *o, const koine_model *m, const uint64_t *contexts, size_t n, koi_cache_bytes_fn *bytes)
{
  koi_text_add(o, "  \"caches\": [");
  for (size_t i = 0; i < n; i++)
    koi_text_add(o, "%s{\"context\": %ju, \"packed_bytes\": %ju, \"exact_bytes\": %ju}", i ? ", " : "", (uintmax_t)contexts[i],
                 (uintmax_t)bytes(m, contexts[i], KOINE_CACHE_PACKED), (uintmax_t)bytes(m, contexts[i], KOINE_CACHE_EXACT));
  koi_text_add(o, "]\n}\n");
}

koine_status koi_model_describe(const koine_model *m, const uint64_t *contexts, size_t n, uint64_t scratch_bytes, koi_cache_bytes_fn *cache_bytes,
                                bool json, char **out)
{
  const uint64_t usual[] = {4096, 65536, m->config.max_context};
  koi_text o = {0};
  totals t = measure(m);
  if (!contexts || !n) contexts = usual, n = m->config.max_context > usual[1] ? 3 : 2;
  if (json) {
    head_json(&o, m);
    weights_json(&o, m, &t);
    koi_text_add(&o, "  \"scratch_bytes\": %ju,\n", (uintmax_t)scratch_bytes);
    caches_json(&o, m, contexts, n, cache_bytes);
  } else {
    head_text(&o, m);
    weights_text(&o, m, &t);
    koi_text_add(&o, "scratch       %ju bytes for chunks of 512 tokens\n", (uintmax_t)scratch_bytes);
    caches_text(&o, m, contexts, n, cache_bytes);
  }
  return koi_text_take(&o, out);
}
