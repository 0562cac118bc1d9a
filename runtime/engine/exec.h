/* An awake plan: one device with the model's weights on it, its kernels and its scratch memory.
 * Locking: `lock` serialises everything that touches the device; a session holds it for one chunk at a time. */
#ifndef KOI_EXEC_H
#define KOI_EXEC_H
#include <pthread.h>
#include <stdatomic.h>
#include "device/backend.h"
#include "model/model.h"
#include "model/rope.h"

/* ---- weights on the device ---- */
typedef struct koi_mat_part { /* what one buffer holds: units [unit0, unit1), tiles [tile0, tile1) of each unit's stack */
  koi_buf *codes, *scales;
  int32_t unit0, unit1, tile0, tile1;
} koi_mat_part;

typedef struct koi_mat {
  int32_t wt, care;
  int32_t k, sub_rows, n_sub, n_units;
  koi_mat_part *parts;
  size_t n_parts;
  uint64_t bytes;      /* on the device */
} koi_mat;

typedef struct koi_vec { koi_buf *buf; int32_t type; } koi_vec; /* type: KOI_WT_F32/F16/BF16 */

typedef struct koi_dev_hc { koi_mat fn; koi_vec base, scale; } koi_dev_hc;
typedef struct koi_dev_comp { koi_mat wkv, wgate; koi_vec ape, norm; } koi_dev_comp;

typedef struct koi_dev_layer {
  koi_vec attn_norm, ffn_norm, q_norm, kv_norm, sink, gate_bias, tid2eid;
  koi_dev_hc hc_attn, hc_ffn;
  koi_mat wq_a, wq_b, wkv, wo_a, wo_b, gate;
  koi_dev_comp comp, index_comp;
  koi_mat index_wq_b, index_weights;
  koi_mat shared_up, shared_down, expert_up, expert_down; /* up: w1 and w3 stacked */
} koi_dev_layer;

typedef struct koi_table_part { koi_buf *buf; int32_t row0, row1; } koi_table_part;

typedef struct koi_dev_model {
  koi_dev_layer *layers;
  koi_table_part *embed;
  size_t n_embed;
  int32_t embed_type;
  koi_mat head;
  koi_vec norm;
  koi_dev_hc hc_head;
  uint64_t bytes;
} koi_dev_model;

/* ---- scratch ---- */
#define KOI_SCRATCH(X) \
  X(tokens) X(rope_main) X(rope_comp) X(streams) X(mix) X(post) X(comb) X(xn) X(xn_panels) X(stream_panels) \
  X(qr) X(qr_panels) X(q) X(kv) X(ckv) X(cscore) X(pooled) X(ikv) X(iscore) X(ipooled) X(iq) X(iw) X(scores) X(top_rows) X(top_vals) \
  X(part_o) X(part_ml) X(o) X(o_panels) X(og) X(og_panels) X(sub_out) X(gate) X(ids) X(weights) X(rows) X(units) X(group_ids) X(group_rows) X(group_units) \
  X(up_panels) X(up) X(act) X(down_panels) X(parts) X(shared_up) X(shared_act) X(shared_panels) \
  X(head_streams) X(head_mix) X(head_x) X(head_panels) X(logits)
enum {
#define X(name) KOI_S_##name,
  KOI_SCRATCH(X)
#undef X
  KOI_N_SCRATCH
};

typedef struct koi_op_time { const koi_op *op; uint64_t ns, calls; double flops, bytes; } koi_op_time;

typedef struct koi_exec {
  pthread_mutex_t lock;
  atomic_uint n_sessions;       /* open now */
  const koine_model *model;
  koi_device *dev;
  koi_target target;
  koi_dev_model weights;
  uint32_t chunk;               /* most tokens a step */
  uint32_t head_rows;           /* most logits rows at once */
  uint32_t score_rows;          /* indexer rows scored at once for a full chunk; a multiple of 16 */
  int32_t nt, nt_group;         /* panel widths: dense, grouped */
  koi_buf *s[KOI_N_SCRATCH];    /* views of `arena`, or buffers of their own */
  koi_buf *arena;
  koi_buf *wide;                /* rows of a weight as floats, on their way to the device's gemm; NULL until that is wanted */
  uint32_t gemm_from[KOI_WT_FP4 + 1]; /* by weight type: dense products of at least so many tokens take the device's gemm; 0: none */
  koi_buf **rope_win;           /* [n_ratios] cos/sin of the windows that close in a chunk */
  uint32_t *ratios;             /* [n_ratios] distinct ratios above 0 */
  size_t n_ratios;
  float *freq_main, *freq_comp; /* [rope_dim/2] */
  uint64_t scratch_bytes, weight_bytes_per_token;
  struct koi_built { const koi_op *op; int32_t c[KOI_MAX_CONSTS]; koi_kernel *kernel; } *built; /* kernel NULL: the host does it */
  size_t n_built, cap_built;
  bool dry;                     /* calls only build kernels */
  bool profile;                 /* calls wait and are timed into `times` */
  bool check;                   /* calls look for NaN in what they wrote */
  koi_op_time times[64];
} koi_exec;

/* Opens the endpoint, uploads, compiles. */
koine_status koi_exec_wake(const koine_model *m, const koi_endpoint *e, uint32_t chunk, koine_progress_fn *progress, void *user, koi_exec **out);
void koi_exec_sleep(koi_exec *x);
/* Scratch bytes that a model needs for chunks of `chunk` tokens on a device with these panel widths (sizes only). */
uint64_t koi_exec_scratch_bytes(const koine_model *m, uint32_t chunk);

/* One op call. Builds the kernel at its first use; falls back to the C reference where the device cannot build it. */
koine_status koi_exec_call(koi_exec *x, const koi_op *op, const int32_t *c, const koi_args *a);
/* One call of the device's gemm: bufs X, W, Y; ints n, rows, k, ldx, y_offset, ldy (backend.h). */
koine_status koi_exec_gemm(koi_exec *x, const koi_args *a);
/* Zeroes all scratch memory (so that what is stale cannot be mistaken for a result). */
koine_status koi_exec_clear(koi_exec *x);

/* ---- upload.c ---- */
koine_status koi_upload(koi_exec *x, koine_progress_fn *progress, void *user);
void koi_upload_free(koi_exec *x);
#endif
