/* The C references of all ops, by name: what a descriptor's `ref` points at: declarations only. */
#ifndef KOI_OPS_REFS_H
#define KOI_OPS_REFS_H
#include "ops.h"

void koi_ref_embed(const koi_ref_args *a);
void koi_ref_pack(const koi_ref_args *a);
void koi_ref_matvec(const koi_ref_args *a);
void koi_ref_matmul(const koi_ref_args *a);
void koi_ref_widen(const koi_ref_args *a);
void koi_ref_hc_pre(const koi_ref_args *a);
void koi_ref_hc_post(const koi_ref_args *a);
void koi_ref_norm_rope(const koi_ref_args *a);
void koi_ref_kv_store(const koi_ref_args *a);
void koi_ref_pool(const koi_ref_args *a);
void koi_ref_pool_keep(const koi_ref_args *a);
void koi_ref_index_round(const koi_ref_args *a);
void koi_ref_index_store(const koi_ref_args *a);
void koi_ref_index_score(const koi_ref_args *a);
void koi_ref_topk(const koi_ref_args *a);
void koi_ref_attn(const koi_ref_args *a);
void koi_ref_attn_merge(const koi_ref_args *a);
void koi_ref_route(const koi_ref_args *a);
void koi_ref_group(const koi_ref_args *a);
void koi_ref_swiglu(const koi_ref_args *a);
#endif
