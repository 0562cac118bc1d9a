/* A checkpoint as data: the config's sizes, and for every layer its weights by role: nothing about devices.
 * Invariant: a model that opened has every weight its config asks for, in a dtype and shape that its role allows. */
#ifndef KOI_MODEL_H
#define KOI_MODEL_H
#include "file/gguf.h"
#include "roles.h"

typedef enum koi_score { KOI_SCORE_SQRTSOFTPLUS, KOI_SCORE_SOFTMAX, KOI_SCORE_SIGMOID } koi_score;

typedef struct koi_yarn {
  bool on;
  float factor, beta_fast, beta_slow;
  uint64_t original; /* tokens */
} koi_yarn;

enum { KOI_MAX_LAYERS = 512, KOI_MAX_RATIO = 1 << 16, KOI_MAX_EXPERTS = 1 << 12, KOI_MAX_VOCAB = 1 << 24 };

/* Sizes (docs/model.md, 1), all checked to be positive and within limits that keep their products below 2^63. */
typedef struct koi_config {
  uint32_t n_layers, hidden, n_heads, head_dim, rope_dim, q_rank, o_groups, o_rank;
  uint32_t n_experts, n_used, inter, n_hash_layers, window;
  uint32_t index_heads, index_dim, index_topk;
  uint32_t n_streams, sinkhorn_iters; /* hc_mult, hc_sinkhorn_iters */
  uint32_t n_vocab, n_mtp;
  uint64_t max_context;
  float rms_eps, hc_eps, swiglu_limit, shared_limit /* the shared expert's */, route_scale;
  koi_score score;
  double rope_theta, compress_theta;
  koi_yarn yarn;       /* of the compress rope only */
  bool tied;           /* tie_word_embeddings: head.weight may be absent, then it is embed.weight */
  int32_t bos, eos;    /* -1: unknown */
  bool hash[KOI_MAX_LAYERS]; /* layer routes by token id; n_hash_layers of them, usually the first */
  /* what the config says of the weights; used only where there are no tensors to say it */
  int32_t float_format, dense_format, expert_format; /* KOI_WT_* */
} koi_config;

/* A matrix as it lies in a file; tensors NULL: absent, or a synthetic model. */
typedef struct koi_piece {
  const koi_tensor *weight;
  const koi_tensor *scale; /* NULL where the format has none */
  int32_t format;          /* KOI_WT_*; KOI_FORMAT_NONE: it cannot be run */
} koi_piece;

/* A weight by its role: n_units stacks of n_sub matrices [rows][k], row-major, each in a format of its own; or a vector or table of rows x k values. */
typedef struct koi_weight {
  int32_t format;       /* KOI_WT_*, of a vector or of the first matrix; ids: KOI_FORMAT_NONE */
  koi_dtype dtype;      /* ids: as stored, I32 or I64 */
  uint32_t n_units, n_sub;
  uint64_t rows, k;     /* 0: the layer has no such weight */
  bool one_matrix;      /* the units are stretches of `rows` rows of one matrix */
  koi_piece piece[2];   /* [n_sub], of units that have none of their own */
  koi_piece *experts;   /* [n_units][n_sub], else NULL */
} koi_weight;

static inline const koi_piece *koi_weight_piece(const koi_weight *w, uint32_t unit, uint32_t sub)
{
  return w->experts ? &w->experts[(size_t)unit * w->n_sub + sub] : &w->piece[sub];
}

/* How a layer sees what lies behind its window: not at all; pooled in short stretches, of which an indexer chooses; pooled in long ones. */
typedef enum koi_layer_kind { KOI_SLIDING, KOI_CSA, KOI_HCA } koi_layer_kind;
enum { KOI_CSA_RATIO = 4 };
static inline koi_layer_kind koi_layer_kind_of(uint32_t ratio) { return !ratio ? KOI_SLIDING : ratio == KOI_CSA_RATIO ? KOI_CSA : KOI_HCA; }

/* What a layer keeps of a conversation beside its window. */
typedef struct koi_cache_spec {
  uint32_t ratio, coff;             /* positions of a compressed row; stretches that one is pooled from. 0: there are none */
  uint32_t state_rows;              /* coff * ratio: positions that the compressors keep open */
  uint32_t row_width, state_width;  /* of a compressed row, and of a row of their state (kv and score each) */
  uint32_t index_row_width, index_state_width; /* the indexer's; 0: it has none */
} koi_cache_spec;

typedef struct koi_layer {
  koi_layer_kind kind;
  uint32_t ratio; /* as the config has it; 0: sliding */
  bool hash;      /* routes by token id */
  koi_cache_spec cache;
  koi_weight w[KOI_N_LAYER_ROLES];
} koi_layer;

struct koine_model {
  koi_config config;
  koi_layer *layers; /* [n_layers] */
  koi_weight top[KOI_N_TOP_ROLES];
  koi_weights *weights; /* NULL: config only, or synthetic */
  bool synthetic;       /* weights are to be made up at upload */
  bool runnable;        /* has weights, or synthetic */
  char *path;           /* as given; for a synthetic model its shape's name */
  char *missing;        /* not runnable: the path of a weight file that is not there; else NULL */
  char *cannot;         /* not runnable: which weight is in a format that has no kernels; else NULL */
  bool gguf;            /* of a GGUF file */
  uint64_t n_mtp_tensors, mtp_bytes; /* recognised, not used */
  koi_weights_index index; /* what model.safetensors.index.json says, zeros without one */
};

#define KOI_MAX_CONFIG_BYTES ((size_t)16 << 20)
/* Reads config.json text. `where` names it in errors. ratios_out: [n_layers], allocated. */
koine_status koi_config_parse(const char *json, size_t n, const char *where, koi_config *out, uint32_t **ratios_out);
/* The same from the metadata of a GGUF file; its path names it in errors. */
koine_status koi_config_gguf(const koi_gguf *g, koi_config *out, uint32_t **ratios_out);
/* `path`: a checkpoint's folder, or a GGUF file. */
koine_status koi_model_open(const char *path, koine_model **out);
koine_status koi_model_synthetic(const koine_shape *shape, koine_model **out);
/* Layers [n] of a model in their real sizes, but with made-up weights and at most n_experts experts each. */
koine_status koi_model_excerpt(const koine_model *m, const uint32_t *layers, uint32_t n, uint32_t n_experts, koine_model **out);
void koi_model_close(koine_model *m);

/* Checks config and weights (NULL: none) against each other and fills m->layers and the rest. m->config and ratios [n_layers] are set. */
koine_status koi_model_bind(koine_model *m, const uint32_t *ratios);
/* The head is the embedding, stored once. */
bool koi_model_tied(const koine_model *m);
/* The format of a stored dtype; KOI_FORMAT_NONE: no weight is stored so. */
int32_t koi_model_format(koi_dtype d);
/* Bytes of a piece as stored, scales included. */
uint64_t koi_piece_bytes(const koi_weight *w, const koi_piece *p);
/* Pieces of a matrix, of which koi_weight_piece has (unit, sub) = (i / n_sub, i % n_sub): one_matrix has one, an expert n_sub. */
static inline uint32_t koi_weight_pieces(const koi_weight *w) { return (w->one_matrix ? 1 : w->n_units) * w->n_sub; }
/* Values of a weight, all its units; and their bytes as stored, scales included. */
uint64_t koi_weight_values(const koi_weight *w);
uint64_t koi_weight_bytes(const koi_weight *w);
/* Calls fn for every weight that the model has; a head that is the embedding is none. layer is -1 outside layers. */
typedef void koi_visit_fn(void *user, int layer, const koi_role *role, const koi_weight *w);
void koi_model_visit(const koine_model *m, koi_visit_fn *fn, void *user);
/* Bytes of all weights as stored. */
uint64_t koi_model_weight_bytes(const koine_model *m);

koine_status koi_model_get_info(const koine_model *m, koine_model_info *out);
/* Cache bytes on a device for `context` tokens; UINT64_MAX when they exceed it. */
typedef uint64_t koi_cache_bytes_fn(const koine_model *m, uint64_t context, koine_cache mode);
/* See koine_model_describe; scratch_bytes: of 512-token chunks, 0 unknown. */
koine_status koi_model_describe(const koine_model *m, const uint64_t *contexts /* [n] */, size_t n, uint64_t scratch_bytes, koi_cache_bytes_fn *cache_bytes,
                                bool json, char **out);
#endif
