/* A checkpoint as data: the config's sizes, and for every layer its weights by role: nothing about devices.
 * Invariant: a model that opened has every weight its config asks for, in a dtype and shape that its role allows. */
#ifndef KOI_MODEL_H
#define KOI_MODEL_H
#include "file/weights.h"

typedef enum koi_score { KOI_SCORE_SQRTSOFTPLUS, KOI_SCORE_SOFTMAX, KOI_SCORE_SIGMOID } koi_score;

typedef struct koi_yarn {
  bool on;
  float factor, beta_fast, beta_slow;
  uint64_t original; /* tokens */
} koi_yarn;

enum { KOI_MAX_LAYERS = 512, KOI_MAX_RATIO = 1 << 16, KOI_MAX_EXPERTS = 1 << 12, KOI_MAX_VOCAB = 1 << 24 };

/* Sizes as in deepseek-v4.md, section 1; all checked to be positive and within limits that keep their products below 2^63. */
typedef struct koi_config {
  uint32_t n_layers, hidden, n_heads, head_dim, rope_dim, q_rank, o_groups, o_rank;
  uint32_t n_experts, n_used, inter, n_hash_layers, window;
  uint32_t index_heads, index_dim, index_topk;
  uint32_t n_streams, sinkhorn_iters; /* hc_mult, hc_sinkhorn_iters */
  uint32_t n_vocab, n_mtp;
  uint64_t max_context;
  float rms_eps, hc_eps, swiglu_limit, route_scale;
  koi_score score;
  double rope_theta, compress_theta;
  koi_yarn yarn;       /* of the compress rope only */
  bool tied;           /* tie_word_embeddings: head.weight may be absent, then it is embed.weight */
  int32_t bos, eos;    /* -1: unknown */
  bool hash[KOI_MAX_LAYERS]; /* layer routes by token id; n_hash_layers of them, usually the first */
  /* what the config says of the weights; used only where there are no tensors to say it */
  koi_dtype float_dtype, dense_dtype, expert_dtype;
} koi_config;

/* A matrix [rows][k] as it lies in the file (row-major). */
typedef struct koi_matrix {
  const koi_tensor *weight; /* NULL: absent, or a synthetic model (then dtype and shape below still hold) */
  const koi_tensor *scale;  /* E8M0; NULL for F32, F16, BF16 */
  koi_dtype dtype;          /* KOI_I8: two FP4 codes a byte, low nibble first; scale [rows][k/32]. KOI_F8_E4M3: scale [ceil(rows/128)][ceil(k/128)] */
  uint64_t rows, k;         /* k counts values, not bytes */
} koi_matrix;

/* A vector or table: F32, F16 or BF16 [n], or I32/I64 for tid2eid. */
typedef struct koi_vector {
  const koi_tensor *tensor; /* NULL: absent or synthetic */
  koi_dtype dtype;
  uint64_t n;
} koi_vector;

typedef struct koi_hc { koi_matrix fn; koi_vector base, scale; } koi_hc;

typedef struct koi_compressor {
  koi_matrix wkv, wgate; /* [coff*width][hidden] */
  koi_vector ape;        /* [ratio][coff*width] */
  koi_vector norm;       /* [width] */
} koi_compressor;

typedef struct koi_layer {
  uint32_t ratio; /* 0: window only; 4: CSA; other: HCA */
  bool hash;      /* routes by token id */
  koi_vector attn_norm, ffn_norm;
  koi_hc hc_attn, hc_ffn;
  koi_matrix wq_a, wq_b, wkv, wo_a, wo_b; /* wo_a: [o_groups*o_rank][n_heads*head_dim/o_groups] */
  koi_vector q_norm, kv_norm, sink;
  koi_compressor comp;       /* ratio > 0 */
  koi_matrix index_wq_b, index_weights; /* ratio 4 */
  koi_compressor index_comp; /* ratio 4 */
  koi_matrix gate;
  koi_vector gate_bias;      /* [n_experts]; score-routed layers */
  koi_vector tid2eid;        /* [n_vocab][n_used]; hash layers */
  koi_matrix shared[3];      /* w1 (gate), w2 (down), w3 (up) */
  koi_matrix *experts;       /* [n_experts][3], same order; all experts of a layer have one dtype for each of the three */
} koi_layer;

struct koine_model {
  koi_config config;
  koi_layer *layers; /* [n_layers] */
  koi_matrix embed, head;
  koi_vector norm;
  koi_hc hc_head;
  koi_weights *weights; /* NULL: config only, or synthetic */
  bool synthetic;       /* weights are to be made up at upload */
  bool runnable;        /* has weights, or synthetic */
  char *path;           /* as given; for a synthetic model its shape's name */
  char *missing;        /* not runnable: the path of a weight file that is not there; else NULL */
  uint64_t n_mtp_tensors, mtp_bytes; /* recognised, not used */
  koi_weights_index index; /* what model.safetensors.index.json says, zeros without one */
};

/* Reads config.json text. `where` names it in errors. ratios_out: [n_layers], allocated. */
koine_status koi_config_parse(const char *json, size_t n, const char *where, koi_config *out, uint32_t **ratios_out);
koine_status koi_model_open(const char *path, koine_model **out);
koine_status koi_model_synthetic(const koine_shape *shape, koine_model **out);
void koi_model_close(koine_model *m);

static inline uint32_t koi_coff(uint32_t ratio) { return ratio == 4 ? 2 : 1; }
/* Bytes of a matrix as stored, scales included. */
uint64_t koi_matrix_bytes(const koi_matrix *m);
/* Checks config and weights (NULL: none) against each other and fills m->layers and the rest. m->config and ratios [n_layers] are set. */
koine_status koi_model_bind(koine_model *m, const uint32_t *ratios);
/* Calls fn for every matrix/vector of the model with a role name such as "routed experts", "attention", "embedding" (for info, and
 * for upload sizes). layer is -1 outside layers. */
typedef void koi_visit_fn(void *user, int layer, const char *role, const koi_matrix *m, const koi_vector *v);
void koi_model_visit(const koine_model *m, koi_visit_fn *fn, void *user);
/* Cache bytes on a device for `context` tokens, with chunks of up to 512. UINT64_MAX when they exceed it. */
uint64_t koi_model_cache_bytes(const koine_model *m, uint64_t context, koine_cache mode);

koine_status koi_model_get_info(const koine_model *m, koine_model_info *out);
/* See koine_model_describe; scratch_bytes: of 512-token chunks, 0 unknown. */
koine_status koi_model_describe(const koine_model *m, const uint64_t *contexts /* [n] */, size_t n, uint64_t scratch_bytes, bool json,
                                char **out);
#endif
