/* The list of all ops, in the order of a layer's work. */
#include "ops.h"

const koi_op *const koi_ops[] = {
  &koi_op_embed,
  &koi_op_pack,
  &koi_op_matvec,
  &koi_op_matmul,
  &koi_op_widen,
  &koi_op_hc_pre,
  &koi_op_hc_post,
  &koi_op_norm_rope,
  &koi_op_kv_store,
  &koi_op_pool,
  &koi_op_pool_keep,
  &koi_op_index_round,
  &koi_op_index_store,
  &koi_op_index_score,
  &koi_op_topk,
  &koi_op_attn,
  &koi_op_attn_merge,
  &koi_op_route,
  &koi_op_group,
  &koi_op_swiglu,
  NULL};
