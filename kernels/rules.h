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

/* Of `rows` rows, whole tiles or not. */
static inline double koi_weight_bytes(int wt, double rows, int32_t k)
{
  uint64_t strip = 0;
  for (int s = 0; s < KOI_MAX_STREAMS; s++) strip += koi_format_tile_bytes(wt, s, (uint64_t)k, KOI_STRIP);
  return rows / KOI_STRIP * (double)strip;
}

/* Of a group whose n work-items choose a token's experts: room to join what each has found, and the ranking keys (MAXE of kernels/cl/route.clh). */
static inline uint64_t koi_route_local(int hash, uint64_t n) { return ((hash ? n : 2 * n) + (hash ? 0 : 1024)) * sizeof(float); }

static inline int koi_tile_legal(int32_t tile) { return tile == 16 || tile == 32 || tile == KOI_MOST_TILE; }

/* Defaults are for tiles of 16 rows: of larger ones as many work-items a group take fewer tiles (*tg), then fewer parts of a row (*ks). */
static inline void koi_keep_group(int32_t tile, int32_t *tg, int32_t *ks)
{
  for (int32_t more = tile / KOI_STRIP; more > 1; more /= 2) {
    int32_t *less = *tg > 1 ? tg : ks;
    if (*less > 1) *less /= 2;
  }
}
#endif
