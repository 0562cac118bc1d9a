/* Tensor names to roles: one table says what every weight is called, its shape, its dtypes and its role.
 * Owns: koine_model. Does not read any file format, and knows nothing of devices.
 * Invariant: a model that opened has every weight its config asks for, in a dtype and shape that its role allows. */
#include "base/kind.h"
#include "model.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_CONFIG_BYTES ((size_t)16 << 20)

/* ---- the table ---- */
typedef enum dim { /* sizes that shapes are made of */
  D_1, D_3, D_HIDDEN, D_VOCAB, D_QRANK, D_HEADS, D_QDIM, D_HEAD, D_GROUPED, D_GROUP_IN, D_INTER, D_EXPERTS, D_USED, D_STREAMS, D_MIX, D_FLAT,
  D_RATIO, D_COMP, D_ICOMP, D_IHEADS, D_IQDIM, D_IHEAD, N_DIMS
} dim;

typedef enum kind { /* what a weight may be made of */
  FLOATS,  /* matrix in F32, F16, BF16 */
  DENSE,   /* the same, or F8_E4M3 with scales in 128x128 blocks */
  EXPERT,  /* the same, or FP4 with a scale for 32 values */
  VECTOR,  /* F32, F16, BF16; `rows` is its length, or [rows][cols] of a table */
  IDS      /* I64 or I32 */
} kind;

enum { ALWAYS, COMPRESSED, CSA, SCORED, HASHED }; /* layers that have it */

typedef struct role {
  const char *name; /* without "layers.N." and ".weight", which `suffix` adds */
  const char *suffix;
  size_t at; /* in koi_layer or koine_model */
  kind kind;
  dim rows, cols; /* cols of a vector: D_1, or the second dimension of a table */
  koi_dtype published;
  int when;
  const char *group; /* for koi_model_visit */
} role;

#define L(field) offsetof(koi_layer, field)
#define M(field) offsetof(koine_model, field)
static const char EMBEDDING[] = "embedding", HEAD[] = "head", NORMS[] = "norms", MHC[] = "hyper-connections", ATTENTION[] = "attention",
                  COMPRESSOR[] = "compressors", INDEXER[] = "indexer", ROUTER[] = "router", SHARED[] = "shared expert", ROUTED[] = "routed experts";

static const role model_roles[] = {
  {"embed", ".weight", M(embed), FLOATS, D_VOCAB, D_HIDDEN, KOI_BF16, ALWAYS, EMBEDDING},
  {"head", ".weight", M(head), FLOATS, D_VOCAB, D_HIDDEN, KOI_BF16, ALWAYS, HEAD},
  {"norm", ".weight", M(norm), VECTOR, D_HIDDEN, D_1, KOI_BF16, ALWAYS, NORMS},
  {"hc_head_fn", "", M(hc_head.fn), FLOATS, D_STREAMS, D_FLAT, KOI_F32, ALWAYS, MHC},
  {"hc_head_base", "", M(hc_head.base), VECTOR, D_STREAMS, D_1, KOI_F32, ALWAYS, MHC},
  {"hc_head_scale", "", M(hc_head.scale), VECTOR, D_1, D_1, KOI_F32, ALWAYS, MHC},
};

static const role layer_roles[] = {
  {"attn_norm", ".weight", L(attn_norm), VECTOR, D_HIDDEN, D_1, KOI_BF16, ALWAYS, NORMS},
  {"ffn_norm", ".weight", L(ffn_norm), VECTOR, D_HIDDEN, D_1, KOI_BF16, ALWAYS, NORMS},
  {"hc_attn_fn", "", L(hc_attn.fn), FLOATS, D_MIX, D_FLAT, KOI_F32, ALWAYS, MHC},
  {"hc_attn_base", "", L(hc_attn.base), VECTOR, D_MIX, D_1, KOI_F32, ALWAYS, MHC},
  {"hc_attn_scale", "", L(hc_attn.scale), VECTOR, D_3, D_1, KOI_F32, ALWAYS, MHC},
  {"hc_ffn_fn", "", L(hc_ffn.fn), FLOATS, D_MIX, D_FLAT, KOI_F32, ALWAYS, MHC},
  {"hc_ffn_base", "", L(hc_ffn.base), VECTOR, D_MIX, D_1, KOI_F32, ALWAYS, MHC},
  {"hc_ffn_scale", "", L(hc_ffn.scale), VECTOR, D_3, D_1, KOI_F32, ALWAYS, MHC},
  {"attn.wq_a", ".weight", L(wq_a), DENSE, D_QRANK, D_HIDDEN, KOI_F8_E4M3, ALWAYS, ATTENTION},
  {"attn.wq_b", ".weight", L(wq_b), DENSE, D_QDIM, D_QRANK, KOI_F8_E4M3, ALWAYS, ATTENTION},
  {"attn.wkv", ".weight", L(wkv), DENSE, D_HEAD, D_HIDDEN, KOI_F8_E4M3, ALWAYS, ATTENTION},
  {"attn.wo_a", ".weight", L(wo_a), DENSE, D_GROUPED, D_GROUP_IN, KOI_F8_E4M3, ALWAYS, ATTENTION},
  {"attn.wo_b", ".weight", L(wo_b), DENSE, D_HIDDEN, D_GROUPED, KOI_F8_E4M3, ALWAYS, ATTENTION},
  {"attn.q_norm", ".weight", L(q_norm), VECTOR, D_QRANK, D_1, KOI_BF16, ALWAYS, NORMS},
  {"attn.kv_norm", ".weight", L(kv_norm), VECTOR, D_HEAD, D_1, KOI_BF16, ALWAYS, NORMS},
  {"attn.attn_sink", "", L(sink), VECTOR, D_HEADS, D_1, KOI_F32, ALWAYS, ATTENTION},
  {"attn.compressor.wkv", ".weight", L(comp.wkv), FLOATS, D_COMP, D_HIDDEN, KOI_BF16, COMPRESSED, COMPRESSOR},
  {"attn.compressor.wgate", ".weight", L(comp.wgate), FLOATS, D_COMP, D_HIDDEN, KOI_BF16, COMPRESSED, COMPRESSOR},
  {"attn.compressor.ape", "", L(comp.ape), VECTOR, D_RATIO, D_COMP, KOI_F32, COMPRESSED, COMPRESSOR},
  {"attn.compressor.norm", ".weight", L(comp.norm), VECTOR, D_HEAD, D_1, KOI_BF16, COMPRESSED, COMPRESSOR},
  {"attn.indexer.wq_b", ".weight", L(index_wq_b), DENSE, D_IQDIM, D_QRANK, KOI_F8_E4M3, CSA, INDEXER},
  {"attn.indexer.weights_proj", ".weight", L(index_weights), FLOATS, D_IHEADS, D_HIDDEN, KOI_BF16, CSA, INDEXER},
  {"attn.indexer.compressor.wkv", ".weight", L(index_comp.wkv), FLOATS, D_ICOMP, D_HIDDEN, KOI_BF16, CSA, INDEXER},
  {"attn.indexer.compressor.wgate", ".weight", L(index_comp.wgate), FLOATS, D_ICOMP, D_HIDDEN, KOI_BF16, CSA, INDEXER},
  {"attn.indexer.compressor.ape", "", L(index_comp.ape), VECTOR, D_RATIO, D_ICOMP, KOI_F32, CSA, INDEXER},
  {"attn.indexer.compressor.norm", ".weight", L(index_comp.norm), VECTOR, D_IHEAD, D_1, KOI_BF16, CSA, INDEXER},
  {"ffn.gate", ".weight", L(gate), FLOATS, D_EXPERTS, D_HIDDEN, KOI_BF16, ALWAYS, ROUTER},
  {"ffn.gate.bias", "", L(gate_bias), VECTOR, D_EXPERTS, D_1, KOI_F32, SCORED, ROUTER},
  {"ffn.gate.tid2eid", "", L(tid2eid), IDS, D_VOCAB, D_USED, KOI_I64, HASHED, ROUTER},
  {"ffn.shared_experts.w1", ".weight", L(shared[0]), DENSE, D_INTER, D_HIDDEN, KOI_F8_E4M3, ALWAYS, SHARED},
  {"ffn.shared_experts.w2", ".weight", L(shared[1]), DENSE, D_HIDDEN, D_INTER, KOI_F8_E4M3, ALWAYS, SHARED},
  {"ffn.shared_experts.w3", ".weight", L(shared[2]), DENSE, D_INTER, D_HIDDEN, KOI_F8_E4M3, ALWAYS, SHARED},
};

/* The same for every expert; `at` counts in its koi_matrix[3]. */
static const role expert_roles[] = {
  {"w1", ".weight", 0 * sizeof(koi_matrix), EXPERT, D_INTER, D_HIDDEN, KOI_I8, ALWAYS, ROUTED},
  {"w2", ".weight", 1 * sizeof(koi_matrix), EXPERT, D_HIDDEN, D_INTER, KOI_I8, ALWAYS, ROUTED},
  {"w3", ".weight", 2 * sizeof(koi_matrix), EXPERT, D_INTER, D_HIDDEN, KOI_I8, ALWAYS, ROUTED},
};

static void layer_dims(const koi_config *c, uint32_t ratio, uint64_t *dims /* [N_DIMS] */)
{
  uint64_t s = c->n_streams, qdim = (uint64_t)c->n_heads * c->head_dim, coff = koi_coff(ratio);
  const uint64_t v[N_DIMS] = {
    [D_1] = 1, [D_3] = 3, [D_HIDDEN] = c->hidden, [D_VOCAB] = c->n_vocab, [D_QRANK] = c->q_rank, [D_HEADS] = c->n_heads, [D_QDIM] = qdim,
    [D_HEAD] = c->head_dim, [D_GROUPED] = (uint64_t)c->o_groups * c->o_rank, [D_GROUP_IN] = qdim / c->o_groups, [D_INTER] = c->inter,
    [D_EXPERTS] = c->n_experts, [D_USED] = c->n_used, [D_STREAMS] = s, [D_MIX] = (2 + s) * s, [D_FLAT] = s * c->hidden, [D_RATIO] = ratio,
    [D_COMP] = coff * c->head_dim, [D_ICOMP] = coff * c->index_dim, [D_IHEADS] = c->index_heads,
    [D_IQDIM] = (uint64_t)c->index_heads * c->index_dim, [D_IHEAD] = c->index_dim,
  };
  memcpy(dims, v, sizeof v);
}

static bool applies(const role *r, const koi_layer *l)
{
  return r->when == ALWAYS || (r->when == COMPRESSED && l->ratio) || (r->when == CSA && l->ratio == 4) || (r->when == SCORED && !l->hash) ||
         (r->when == HASHED && l->hash);
}

static bool is_vector(const role *r) { return r->kind == VECTOR || r->kind == IDS; }

/* ---- binding ---- */
typedef struct binder {
  koine_model *m;
  uint64_t dims[N_DIMS];
  char prefix[64]; /* "layers.3.ffn.experts.7." */
  uint8_t *used;   /* [tensors] whether it found a role */
} binder;

static bool is_float(koi_dtype d) { return d == KOI_F32 || d == KOI_F16 || d == KOI_BF16; }

static koine_status find(binder *b, const char *name, const char *suffix, const koi_tensor **out)
{
  char full[160];
  snprintf(full, sizeof full, "%s%s%s", b->prefix, name, suffix);
  *out = koi_weights_find(b->m->weights, full);
  if (!*out) return koi_error(KOINE_ERR_FILE, "%s: %s: expected this tensor, found none of its name", b->m->path, full);
  b->used[*out - koi_weights_at(b->m->weights, 0)] = 1;
  return KOINE_OK;
}

static koine_status expect_shape(const koi_tensor *t, uint32_t n_dims, uint64_t rows, uint64_t cols)
{
  if (t->n_dims == n_dims && t->shape[0] == rows && (n_dims == 1 || t->shape[1] == cols)) return KOINE_OK;
  char found[128] = "[", expected[64];
  size_t at = 1;
  for (uint32_t i = 0; i < t->n_dims && at < 100; i++) at += (size_t)snprintf(found + at, sizeof found - at, "%s%ju", i ? ", " : "", (uintmax_t)t->shape[i]);
  if (n_dims == 1) snprintf(expected, sizeof expected, "[%ju]", (uintmax_t)rows);
  else snprintf(expected, sizeof expected, "[%ju, %ju]", (uintmax_t)rows, (uintmax_t)cols);
  return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected shape %s, found %s%s", t->file, t->name, expected, found, at >= 100 ? "..." : "]");
}

static koine_status wrong_dtype(const koi_tensor *t, const char *expected)
{
  return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected dtype %s, found %s", t->file, t->name, expected, koi_dtype_name(t->dtype));
}

static uint64_t blocks(uint64_t n, uint64_t size) { return n / size + (n % size != 0); }

static koine_status bind_scale(binder *b, const role *r, koi_matrix *m)
{
  koine_status s = find(b, r->name, ".scale", &m->scale);
  if (s) return s;
  if (m->scale->dtype != KOI_F8_E8M0 && m->scale->dtype != KOI_U8) return wrong_dtype(m->scale, "F8_E8M0 or U8");
  bool fp4 = m->dtype == KOI_I8;
  return expect_shape(m->scale, 2, fp4 ? m->rows : blocks(m->rows, 128), fp4 ? m->k / 32 : blocks(m->k, 128));
}

static koine_status bind_matrix(binder *b, const role *r, koi_matrix *m)
{
  static const char *const expected[] = {[FLOATS] = "F32, F16 or BF16", [DENSE] = "F32, F16, BF16 or F8_E4M3", [EXPERT] = "F32, F16, BF16, F8_E4M3 or I8"};
  const koi_tensor *t;
  koine_status s = find(b, r->name, r->suffix, &t);
  if (s) return s;
  m->weight = t, m->dtype = t->dtype == KOI_U8 ? KOI_I8 : t->dtype;
  bool fp4 = m->dtype == KOI_I8, ok = is_float(m->dtype) || (r->kind != FLOATS && m->dtype == KOI_F8_E4M3) || (r->kind == EXPERT && fp4);
  if (!ok) return wrong_dtype(t, expected[r->kind]);
  if (fp4 && m->k % 32)
    return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected a multiple of 32 values a row in FP4, found %ju", t->file, t->name, (uintmax_t)m->k);
  s = expect_shape(t, 2, m->rows, fp4 ? m->k / 2 : m->k);
  return s || is_float(m->dtype) ? s : bind_scale(b, r, m);
}

/* Every expert id of a hash layer's table is one that exists. */
static koine_status check_ids(const koi_tensor *t, uint32_t n_experts, uint32_t n_used)
{
  size_t size = koi_dtype_bytes(t->dtype), n = t->bytes / size;
  for (size_t i = 0; i < n; i++) {
    int64_t id = 0;
    int32_t id32 = 0;
    memcpy(size == 8 ? (void *)&id : (void *)&id32, t->data + i * size, size);
    if (size == 4) id = id32;
    if (id < 0 || id >= n_experts)
      return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected expert ids from 0 to %u, found %jd for token %zu", t->file, t->name, n_experts - 1,
                       (intmax_t)id, i / n_used);
  }
  return KOINE_OK;
}

static koine_status bind_vector(binder *b, const role *r, koi_vector *v)
{
  const koi_tensor *t;
  bool table = r->kind == IDS || r->cols != D_1;
  koine_status s = find(b, r->name, r->suffix, &t);
  if (s) return s;
  v->tensor = t, v->dtype = t->dtype;
  if (r->kind == VECTOR && !is_float(t->dtype)) return wrong_dtype(t, "F32, F16 or BF16");
  if (r->kind == IDS && t->dtype != KOI_I64 && t->dtype != KOI_I32) return wrong_dtype(t, "I64 or I32");
  s = expect_shape(t, table ? 2 : 1, b->dims[r->rows], b->dims[r->cols]);
  return s || r->kind != IDS ? s : check_ids(t, b->m->config.n_experts, b->m->config.n_used);
}

/* What the weight would be, where no tensor says it. */
static koi_dtype presumed(const koine_model *m, const role *r)
{
  const koi_config *c = &m->config;
  if (r->kind == DENSE) return c->dense_dtype;
  if (r->kind == EXPERT) return c->expert_dtype;
  return r->published == KOI_BF16 ? c->float_dtype : r->published;
}

static koine_status bind_role(binder *b, const role *r, void *base)
{
  void *at = (char *)base + r->at;
  if (is_vector(r)) {
    koi_vector *v = at;
    *v = (koi_vector){.dtype = presumed(b->m, r), .n = b->dims[r->rows] * b->dims[r->cols]};
    return b->m->weights ? bind_vector(b, r, v) : KOINE_OK;
  }
  koi_matrix *m = at;
  *m = (koi_matrix){.dtype = presumed(b->m, r), .rows = b->dims[r->rows], .k = b->dims[r->cols]};
  if (b->m->weights) return bind_matrix(b, r, m);
  return m->dtype == KOI_I8 && m->k % 32
           ? koi_error(KOINE_ERR_FILE, "%s: %s%s: expected a multiple of 32 values a row in FP4, found %ju", b->m->path, b->prefix, r->name, (uintmax_t)m->k)
           : KOINE_OK;
}

/* A device takes stacks: gate over up, and all experts of a layer. One stack has one dtype. */
static koine_status expect_same(const koi_matrix *m, const koi_matrix *first)
{
  if (m->dtype == first->dtype) return KOINE_OK;
  return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected dtype %s as in %.200s (they are stacked), found %s", m->weight->file, m->weight->name,
                   koi_dtype_name(first->dtype), first->weight->name, koi_dtype_name(m->dtype));
}

static koine_status bind_experts(binder *b, uint32_t layer)
{
  koi_layer *l = &b->m->layers[layer];
  koine_status s = expect_same(&l->shared[2], &l->shared[0]);
  l->experts = koi_alloc((size_t)b->m->config.n_experts * 3, sizeof *l->experts);
  if (!l->experts) return KOINE_ERR_MEMORY;
  for (uint32_t e = 0; e < b->m->config.n_experts && !s; e++) {
    koi_matrix *m = &l->experts[e * 3];
    snprintf(b->prefix, sizeof b->prefix, "layers.%u.ffn.experts.%u.", layer, e);
    for (int i = 0; i < 3 && !s; i++) {
      s = bind_role(b, &expert_roles[i], m);
      if (!s) s = expect_same(&m[i], &l->experts[i == 2 ? 0 : i]);
    }
  }
  return s;
}

static koine_status bind_layer(binder *b, uint32_t layer)
{
  koi_layer *l = &b->m->layers[layer];
  koine_status s = KOINE_OK;
  layer_dims(&b->m->config, l->ratio, b->dims);
  snprintf(b->prefix, sizeof b->prefix, "layers.%u.", layer);
  for (size_t i = 0; i < KOI_COUNT(layer_roles) && !s; i++)
    if (applies(&layer_roles[i], l)) s = bind_role(b, &layer_roles[i], l);
  return s ? s : bind_experts(b, layer);
}

static koine_status bind_model(binder *b)
{
  koine_model *m = b->m;
  koine_status s = KOINE_OK;
  layer_dims(&m->config, 0, b->dims);
  for (size_t i = 0; i < KOI_COUNT(model_roles) && !s; i++) {
    const role *r = &model_roles[i];
    bool tied = r->at == M(head) && m->config.tied && (!m->weights || !koi_weights_find(m->weights, "head.weight"));
    if (tied) m->head = m->embed;
    else s = bind_role(b, r, m);
  }
  return s;
}

/* Tensors that found no role are worth a note, but a layer that the config does not have means that the two do not belong together. */
static koine_status check_unused(const binder *b)
{
  size_t n = 0;
  const koi_tensor *first = NULL;
  for (size_t i = koi_weights_count(b->m->weights); i-- > 0;) {
    const koi_tensor *t = koi_weights_at(b->m->weights, i);
    unsigned layer;
    if (b->used[i] || !strncmp(t->name, "mtp.", 4)) continue;
    if (sscanf(t->name, "layers.%9u.", &layer) == 1 && layer >= b->m->config.n_layers)
      return koi_error(KOINE_ERR_FILE, "%s: %.200s: expected layers 0 to %u as num_hidden_layers says, found layer %u", t->file, t->name,
                       b->m->config.n_layers - 1, layer);
    n++, first = t;
  }
  if (n) koi_log(KOINE_LOG_WARNING, "%s: tensors without a role are not used: %zu, the first is %.200s", b->m->path, n, first->name);
  return KOINE_OK;
}

koine_status koi_model_bind(koine_model *m, const uint32_t *ratios)
{
  binder b = {.m = m};
  m->layers = koi_alloc(m->config.n_layers, sizeof *m->layers);
  if (m->weights) b.used = koi_alloc(koi_weights_count(m->weights), 1);
  koine_status s = m->layers && (b.used || !m->weights) ? bind_model(&b) : KOINE_ERR_MEMORY;
  for (uint32_t i = 0; i < m->config.n_layers && !s; i++) {
    m->layers[i].ratio = ratios[i], m->layers[i].hash = m->config.hash[i];
    s = bind_layer(&b, i);
  }
  if (!s && m->weights) s = check_unused(&b);
  koi_free(b.used);
  return s;
}

/* ---- opening ---- */
static koine_status read_config(koine_model *m, uint32_t **ratios)
{
  struct stat st;
  char *file = koi_format("%s/config.json", m->path), *text = NULL;
  size_t n;
  koine_status s = file ? KOINE_OK : KOINE_ERR_MEMORY;
  if (!s) s = koi_kind_check_folder(m->path, false);
  if (!s && stat(m->path, &st)) s = koi_error(KOINE_ERR_FILE, "%s: expected a model's folder: %s", m->path, strerror(errno));
  else if (!s && stat(file, &st)) s = koi_error(KOINE_ERR_FILE, "%s: expected the model's config: %s", file, strerror(errno));
  else if (!s && !S_ISREG(st.st_mode)) s = koi_error(KOINE_ERR_FILE, "%s: expected a regular file", file);
  if (!s) s = koi_file_read(file, MAX_CONFIG_BYTES, &text, &n);
  if (!s) s = koi_config_parse(text, n, file, &m->config, ratios);
  koi_free(text);
  koi_free(file);
  return s;
}

static void count_mtp(koine_model *m)
{
  for (size_t i = 0; i < koi_weights_count(m->weights); i++) {
    const koi_tensor *t = koi_weights_at(m->weights, i);
    if (strncmp(t->name, "mtp.", 4)) continue;
    m->n_mtp_tensors++;
    m->mtp_bytes += t->bytes;
  }
}

static koine_status read_weights(koine_model *m)
{
  koine_status s = koi_safetensors_open(m->path, &m->weights);
  if (s) return s;
  m->index = koi_weights_get_index(m->weights);
  const char *absent = koi_weights_absent(m->weights);
  if (!absent) {
    m->runnable = true;
    count_mtp(m);
    if (!koi_weights_find(m->weights, "embed.weight") && koi_weights_find(m->weights, "embed_tokens.weight"))
      s = koi_error(KOINE_ERR_FILE, "%s: expected tensors named as DeepSeek publishes them (embed.weight), found the Hugging Face library's names "
                    "(embed_tokens.weight)", m->path);
    return s;
  }
  m->missing = koi_strdup(absent);
  m->n_mtp_tensors = m->index.n_mtp;
  koi_weights_close(m->weights);
  m->weights = NULL;
  return m->missing ? KOINE_OK : KOINE_ERR_MEMORY;
}

koine_status koi_model_open(const char *path, koine_model **out)
{
  uint32_t *ratios = NULL;
  koine_model *m = koi_alloc(1, sizeof *m);
  koine_status s = m && (m->path = koi_strdup(path)) ? KOINE_OK : KOINE_ERR_MEMORY;
  if (!s) s = read_config(m, &ratios);
  if (!s) s = read_weights(m);
  if (!s) s = koi_model_bind(m, ratios);
  koi_free(ratios);
  if (s) koi_model_close(m);
  else *out = m;
  return s;
}

void koi_model_close(koine_model *m)
{
  if (!m) return;
  for (uint32_t i = 0; m->layers && i < m->config.n_layers; i++) koi_free(m->layers[i].experts);
  koi_free(m->layers);
  koi_weights_close(m->weights);
  koi_free(m->missing);
  koi_free(m->path);
  koi_free(m);
}

/* ---- sizes ---- */
uint64_t koi_matrix_bytes(const koi_matrix *m)
{
  if (!m->rows) return 0;
  if (m->dtype == KOI_I8) return m->rows * (m->k / 2 + m->k / 32);
  uint64_t bytes = m->rows * m->k * koi_dtype_bytes(m->dtype);
  return m->dtype == KOI_F8_E4M3 ? bytes + blocks(m->rows, 128) * blocks(m->k, 128) : bytes;
}

static void visit(const role *r, const void *base, int layer, koi_visit_fn *fn, void *user)
{
  const void *at = (const char *)base + r->at;
  fn(user, layer, r->group, is_vector(r) ? NULL : at, is_vector(r) ? at : NULL);
}

void koi_model_visit(const koine_model *m, koi_visit_fn *fn, void *user)
{
  bool shared = m->config.tied && m->head.weight == m->embed.weight;
  for (size_t i = 0; i < KOI_COUNT(model_roles); i++)
    if (!(shared && model_roles[i].at == M(head))) visit(&model_roles[i], m, -1, fn, user);
  for (uint32_t n = 0; n < m->config.n_layers; n++) {
    const koi_layer *l = &m->layers[n];
    for (size_t i = 0; i < KOI_COUNT(layer_roles); i++)
      if (applies(&layer_roles[i], l)) visit(&layer_roles[i], l, (int)n, fn, user);
    for (size_t i = 0; i < (size_t)m->config.n_experts * 3; i++) fn(user, (int)n, ROUTED, &l->experts[i], NULL);
  }
}

/* Rows of row_bytes, stored in steps of 16; saturates. */
static uint64_t rows_bytes(uint64_t rows, uint64_t row_bytes)
{
  uint64_t bytes;
  if (rows > UINT64_MAX - 15 || __builtin_mul_overflow((rows + 15) / 16 * 16, row_bytes, &bytes)) return UINT64_MAX;
  return bytes;
}

uint64_t koi_model_cache_bytes(const koine_model *m, uint64_t context, koine_cache mode)
{
  const koi_config *c = &m->config;
  bool packed = mode == KOINE_CACHE_PACKED;
  uint64_t plain = c->head_dim - c->rope_dim, total = 0;
  uint64_t row = packed ? plain + blocks(plain, 64) + 2 * c->rope_dim : 4ull * c->head_dim;
  uint64_t index_row = packed ? blocks(c->index_dim, 2) + blocks(c->index_dim, 32) : 4ull * c->index_dim;
  for (uint32_t n = 0; n < c->n_layers; n++) {
    uint64_t ratio = m->layers[n].ratio, coff = koi_coff((uint32_t)ratio);
    uint64_t parts[4] = {rows_bytes(c->window + 512ull, row)};
    if (ratio) parts[1] = rows_bytes(blocks(context, ratio), row);
    if (ratio) parts[2] = 2 * coff * ratio * coff * 4 * (c->head_dim + (ratio == 4 ? c->index_dim : 0ull));
    if (ratio == 4) parts[3] = rows_bytes(blocks(context, ratio), index_row);
    for (size_t i = 0; i < KOI_COUNT(parts); i++)
      if (__builtin_add_overflow(total, parts[i], &total)) return UINT64_MAX;
  }
  return total;
}
