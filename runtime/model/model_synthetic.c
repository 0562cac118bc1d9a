/* Models of the published sizes without files, for benchmarks. Owns: the two shapes. Weights are made up by whoever uploads them. */
#include "model.h"
#include <string.h>

typedef struct preset {
  const char *name;
  koi_config config;
  uint32_t first_ratio; /* of the first two layers; then 4 and 128 take turns */
} preset;

/* What the two have in common. */
#define COMMON                                                                                                                             \
  .head_dim = 512, .rope_dim = 64, .o_rank = 1024, .n_used = 6, .n_hash_layers = 3, .window = 128, .index_heads = 64, .index_dim = 128,  \
  .n_streams = 4, .sinkhorn_iters = 20, .n_vocab = 129280, .n_mtp = 1, .max_context = 1048576, .rms_eps = 1e-6f, .hc_eps = 1e-6f,        \
  .swiglu_limit = 10, .shared_limit = 10, .score = KOI_SCORE_SQRTSOFTPLUS, .rope_theta = 10000, .compress_theta = 160000,                                     \
  .yarn = {true, 16, 32, 1, 65536}, .bos = 0, .eos = 1, .float_format = KOI_WT_BF16, .dense_format = KOI_WT_FP8, .expert_format = KOI_WT_FP4

static const preset presets[] = {
  {"v4-flash", {COMMON, .n_layers = 43, .hidden = 4096, .n_heads = 64, .q_rank = 1024, .o_groups = 8, .n_experts = 256, .inter = 2048,
                .index_topk = 512, .route_scale = 1.5f}, 0},
  {"v4-pro", {COMMON, .n_layers = 61, .hidden = 7168, .n_heads = 128, .q_rank = 1536, .o_groups = 16, .n_experts = 384, .inter = 3072,
              .index_topk = 1024, .route_scale = 2.5f}, 128},
};

static koine_status apply(const koine_shape *shape, const preset *p, koi_config *c, uint32_t *ratios /* [KOI_MAX_LAYERS] */)
{
  *c = p->config;
  if (shape->ratios && (!shape->n_ratios || shape->n_ratios > KOI_MAX_LAYERS))
    return koi_error(KOINE_ERR_ARG, "%s: expected 1 to %d compress ratios, found %zu", p->name, KOI_MAX_LAYERS, shape->n_ratios);
  if (shape->ratios) c->n_layers = (uint32_t)shape->n_ratios;
  for (uint32_t i = 0; i < c->n_layers; i++) {
    int32_t own = i < 2 ? (int32_t)p->first_ratio : i % 2 ? 128 : KOI_CSA_RATIO, r = shape->ratios ? shape->ratios[i] : own;
    if (r < 0 || r > KOI_MAX_RATIO) return koi_error(KOINE_ERR_ARG, "%s: compress ratio %u: expected 0 to %d, found %d", p->name, i, KOI_MAX_RATIO, r);
    ratios[i] = (uint32_t)r;
  }
  if (shape->n_experts) c->n_experts = shape->n_experts;
  if (shape->n_vocab) c->n_vocab = shape->n_vocab;
  if (c->n_experts < c->n_used || c->n_experts > KOI_MAX_EXPERTS)
    return koi_error(KOINE_ERR_ARG, "%s: expected %u to %d experts, found %u", p->name, c->n_used, KOI_MAX_EXPERTS, c->n_experts);
  if (c->n_vocab > KOI_MAX_VOCAB) return koi_error(KOINE_ERR_ARG, "%s: expected a vocabulary of at most %d, found %u", p->name, KOI_MAX_VOCAB, c->n_vocab);
  if (c->eos >= (int32_t)c->n_vocab) c->eos = -1;
  if (c->n_hash_layers > c->n_layers) c->n_hash_layers = c->n_layers;
  for (uint32_t i = 0; i < c->n_hash_layers; i++) c->hash[i] = true;
  return KOINE_OK;
}

static koine_status build(const koine_shape *shape, const preset *p, koine_model *m)
{
  uint32_t *ratios = koi_alloc(KOI_MAX_LAYERS, sizeof *ratios);
  m->path = koi_strdup(p->name);
  koine_status s = ratios && m->path ? apply(shape, p, &m->config, ratios) : KOINE_ERR_MEMORY;
  if (!s) s = koi_model_bind(m, ratios);
  koi_free(ratios);
  m->synthetic = m->runnable = true;
  return s;
}

koine_status koi_model_synthetic(const koine_shape *shape, koine_model **out)
{
  if (!shape || shape->size < sizeof *shape || !shape->name) return koi_error(KOINE_ERR_ARG, "expected a shape with its size and name set");
  const preset *p = NULL;
  for (size_t i = 0; i < KOI_COUNT(presets); i++)
    if (!strcmp(shape->name, presets[i].name)) p = &presets[i];
  if (!p) return koi_error(KOINE_ERR_ARG, "shape: expected v4-flash or v4-pro, found \"%.80s\"", shape->name);
  koine_model *m = koi_alloc(1, sizeof *m);
  koine_status s = m ? build(shape, p, m) : KOINE_ERR_MEMORY;
  if (s) koi_model_close(m);
  else *out = m;
  return s;
}
