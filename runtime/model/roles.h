/* The roles of weights: what each is called, its shape, what it may be stored as, which layers have it, and how it is stacked for a device.
 * One table, read by everything from the binding of names to the freeing of buffers. */
#ifndef KOI_ROLES_H
#define KOI_ROLES_H
#include "file/weights.h"
#include "kernels/format.h"

typedef enum koi_dim { /* what shapes are made of */
  KOI_D_ONE, KOI_D_THREE, KOI_D_HIDDEN, KOI_D_VOCAB, KOI_D_Q_RANK, KOI_D_HEADS, KOI_D_Q_DIM, KOI_D_HEAD, KOI_D_O_RANK, KOI_D_GROUPED, KOI_D_GROUP_IN,
  KOI_D_INTER, KOI_D_EXPERTS, KOI_D_USED, KOI_D_STREAMS, KOI_D_MIX, KOI_D_FLAT, KOI_D_RATIO, KOI_D_COMP, KOI_D_ICOMP, KOI_D_IHEADS, KOI_D_IQ_DIM,
  KOI_D_IHEAD, KOI_N_DIMS
} koi_dim;

typedef enum koi_use { /* what a weight is and may be stored as */
  KOI_IDS,    /* table of expert ids, I64 or I32 */
  KOI_FACTOR, /* vector that multiplies: F32, F16, BF16 */
  KOI_TERM,   /* vector or table that is added or compared; the same */
  KOI_TABLE,  /* matrix whose rows are looked up: any of those, or a GGUF file's blocks */
  KOI_FLOATS, /* matrix of a product: the same */
  KOI_DENSE,  /* matrix of a product: any of those, or FP8 */
  KOI_EXPERT  /* matrix of a product: any of those, or FP8 or FP4 */
} koi_use;

typedef enum koi_units { KOI_ONE, KOI_GROUPS, KOI_EXPERTS } koi_units; /* a matrix; stretches of rows of a matrix; matrices of their own */
typedef enum koi_when { KOI_ALWAYS, KOI_COMPRESSED, KOI_INDEXED, KOI_SCORED, KOI_HASHED } koi_when; /* layers that have it */

#define KOI_TOP_ROLES(X) \
  X(embed, "", "embed", NULL, ".weight", TABLE, VOCAB, HIDDEN, ONE, BF16, ALWAYS, "embedding") \
  X(head, "", "head", NULL, ".weight", FLOATS, VOCAB, HIDDEN, ONE, BF16, ALWAYS, "head") \
  X(norm, "", "norm", NULL, ".weight", FACTOR, HIDDEN, ONE, ONE, BF16, ALWAYS, "norms") \
  X(hc_head_fn, "", "hc_head_fn", NULL, "", FLOATS, STREAMS, FLAT, ONE, F32, ALWAYS, "hyper-connections") \
  X(hc_head_base, "", "hc_head_base", NULL, "", TERM, STREAMS, ONE, ONE, F32, ALWAYS, "hyper-connections") \
  X(hc_head_scale, "", "hc_head_scale", NULL, "", FACTOR, ONE, ONE, ONE, F32, ALWAYS, "hyper-connections")

/* Names without "layers.N."; an expert's number stands before its last part. Two names: stacked, the second below the first. */
#define KOI_LAYER_ROLES(X) \
  X(attn_norm, "", "attn_norm", NULL, ".weight", FACTOR, HIDDEN, ONE, ONE, BF16, ALWAYS, "norms") \
  X(ffn_norm, "", "ffn_norm", NULL, ".weight", FACTOR, HIDDEN, ONE, ONE, BF16, ALWAYS, "norms") \
  X(hc_attn_fn, "", "hc_attn_fn", NULL, "", FLOATS, MIX, FLAT, ONE, F32, ALWAYS, "hyper-connections") \
  X(hc_attn_base, "", "hc_attn_base", NULL, "", TERM, MIX, ONE, ONE, F32, ALWAYS, "hyper-connections") \
  X(hc_attn_scale, "", "hc_attn_scale", NULL, "", FACTOR, THREE, ONE, ONE, F32, ALWAYS, "hyper-connections") \
  X(hc_ffn_fn, "", "hc_ffn_fn", NULL, "", FLOATS, MIX, FLAT, ONE, F32, ALWAYS, "hyper-connections") \
  X(hc_ffn_base, "", "hc_ffn_base", NULL, "", TERM, MIX, ONE, ONE, F32, ALWAYS, "hyper-connections") \
  X(hc_ffn_scale, "", "hc_ffn_scale", NULL, "", FACTOR, THREE, ONE, ONE, F32, ALWAYS, "hyper-connections") \
  X(wq_a, "attn.", "wq_a", NULL, ".weight", DENSE, Q_RANK, HIDDEN, ONE, FP8, ALWAYS, "attention") \
  X(wq_b, "attn.", "wq_b", NULL, ".weight", DENSE, Q_DIM, Q_RANK, ONE, FP8, ALWAYS, "attention") \
  X(wkv, "attn.", "wkv", NULL, ".weight", DENSE, HEAD, HIDDEN, ONE, FP8, ALWAYS, "attention") \
  X(wo_a, "attn.", "wo_a", NULL, ".weight", DENSE, O_RANK, GROUP_IN, GROUPS, FP8, ALWAYS, "attention") \
  X(wo_b, "attn.", "wo_b", NULL, ".weight", DENSE, HIDDEN, GROUPED, ONE, FP8, ALWAYS, "attention") \
  X(q_norm, "attn.", "q_norm", NULL, ".weight", FACTOR, Q_RANK, ONE, ONE, BF16, ALWAYS, "norms") \
  X(kv_norm, "attn.", "kv_norm", NULL, ".weight", FACTOR, HEAD, ONE, ONE, BF16, ALWAYS, "norms") \
  X(sink, "attn.", "attn_sink", NULL, "", TERM, HEADS, ONE, ONE, F32, ALWAYS, "attention") \
  X(comp_kv_gate, "attn.compressor.", "wkv", "wgate", ".weight", FLOATS, COMP, HIDDEN, ONE, BF16, COMPRESSED, "compressors") \
  X(comp_ape, "attn.compressor.", "ape", NULL, "", TERM, RATIO, COMP, ONE, F32, COMPRESSED, "compressors") \
  X(comp_norm, "attn.compressor.", "norm", NULL, ".weight", FACTOR, HEAD, ONE, ONE, BF16, COMPRESSED, "compressors") \
  X(index_wq_b, "attn.indexer.", "wq_b", NULL, ".weight", DENSE, IQ_DIM, Q_RANK, ONE, FP8, INDEXED, "indexer") \
  X(index_weights, "attn.indexer.", "weights_proj", NULL, ".weight", FLOATS, IHEADS, HIDDEN, ONE, BF16, INDEXED, "indexer") \
  X(index_comp_kv_gate, "attn.indexer.compressor.", "wkv", "wgate", ".weight", FLOATS, ICOMP, HIDDEN, ONE, BF16, INDEXED, "indexer") \
  X(index_comp_ape, "attn.indexer.compressor.", "ape", NULL, "", TERM, RATIO, ICOMP, ONE, F32, INDEXED, "indexer") \
  X(index_comp_norm, "attn.indexer.compressor.", "norm", NULL, ".weight", FACTOR, IHEAD, ONE, ONE, BF16, INDEXED, "indexer") \
  X(gate, "ffn.", "gate", NULL, ".weight", FLOATS, EXPERTS, HIDDEN, ONE, BF16, ALWAYS, "router") \
  X(gate_bias, "ffn.gate.", "bias", NULL, "", TERM, EXPERTS, ONE, ONE, F32, SCORED, "router") \
  X(tid2eid, "ffn.gate.", "tid2eid", NULL, "", IDS, VOCAB, USED, ONE, F32, HASHED, "router") \
  X(shared_up, "ffn.shared_experts.", "w1", "w3", ".weight", DENSE, INTER, HIDDEN, ONE, FP8, ALWAYS, "shared expert") \
  X(shared_down, "ffn.shared_experts.", "w2", NULL, ".weight", DENSE, HIDDEN, INTER, ONE, FP8, ALWAYS, "shared expert") \
  X(expert_up, "ffn.experts.", "w1", "w3", ".weight", EXPERT, INTER, HIDDEN, EXPERTS, FP4, ALWAYS, "routed experts") \
  X(expert_down, "ffn.experts.", "w2", NULL, ".weight", EXPERT, HIDDEN, INTER, EXPERTS, FP4, ALWAYS, "routed experts")

enum {
#define X(slot, ...) KOI_W_##slot,
  KOI_LAYER_ROLES(X)
#undef X
  KOI_N_LAYER_ROLES
};
enum {
#define X(slot, ...) KOI_TOP_##slot,
  KOI_TOP_ROLES(X)
#undef X
  KOI_N_TOP_ROLES
};

typedef struct koi_role {
  const char *path, *name[2], *suffix; /* path + name + suffix; the scales' tensor has ".scale" for the suffix */
  koi_use use;
  koi_dim rows, k; /* of one unit's matrix; k of a vector: KOI_D_ONE */
  koi_units units;
  int published;   /* KOI_WT_* */
  koi_when when;
  const char *group; /* for people */
} koi_role;

extern const koi_role koi_layer_roles[KOI_N_LAYER_ROLES], koi_top_roles[KOI_N_TOP_ROLES];

/* Lies in tiles, in any format: a table whose rows are looked up, or what products read. */
static inline bool koi_role_is_matrix(const koi_role *r) { return r->use >= KOI_TABLE; }
/* A product of every token with one matrix: neither grouped nor routed. */
static inline bool koi_role_is_dense(const koi_role *r) { return r->use >= KOI_FLOATS && r->units == KOI_ONE; }
/* "layers.3.attn.wq_a", for messages. layer -1: outside layers. Returns out. */
enum { KOI_ROLE_NAME = 64 };
const char *koi_role_name(const koi_role *r, int layer, char out[KOI_ROLE_NAME]);
#endif
