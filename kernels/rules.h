/* What the rules of several descriptors share. Inline only; included by ops_*.c. */
#ifndef KOI_RULES_H
#define KOI_RULES_H
#include "choose.h"
#include "layout.h"
#include "ops.h"

/* A koi_param: its macro, the cpu and the gpu column, and what a tuner may try. */
#define KOI_PARAM(name, cpu, gpu, ...) {name, cpu, gpu, (const int32_t[]){__VA_ARGS__}, sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t)}

/* A CPU whose driver fills its vectors with neighbouring work-items and so prefers scalars: vectors of ours only make its compiler slow. */
static inline bool koi_scalar_cpu(const koi_target *t) { return t->local_is_global && t->vector_width <= 1; }

/* Classes of the number of rows, tokens or entries of a call: decode, a few, a short chunk, a long one. */
static inline int32_t koi_bucket_rows(int64_t n) { return n <= 1 ? 0 : n <= 8 ? 1 : n <= 64 ? 2 : 3; }
/* Classes of the length of a sum. */
static inline int32_t koi_bucket_length(int64_t k) { return k <= 1024 ? 0 : k <= 4096 ? 1 : 2; }
#endif
