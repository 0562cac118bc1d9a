/* What the descriptors of the cache and attention ops share: lists of values, ways of cutting work, slabs. Inline only, no state. */
#ifndef KOI_OPS_CUT_H
#define KOI_OPS_CUT_H
#include "rules.h"

#define VALUES(name, ...) static const int32_t name[] = {__VA_ARGS__}
/* For ops whose parameter `l` is the work-items a group, and that can give way by smaller groups only. */
#define GROUP_OF(op, l) \
  static uint64_t op##_items(const int32_t *c, const int32_t *p) { return (void)c, (uint64_t)p[l]; } \
  static void op##_repair(const koi_target *t, const int32_t *c, int32_t *p) { koi_halve(t, &koi_op_##op, c, p, l, 1); }
#define PARAM(name, cpu, gpu, list) {name, cpu, gpu, list, sizeof(list) / sizeof *(list)}
/* The buffers of a pool from number `first` on. */
#define SLAB(first, n, name, access) [(first) + (n)] = {name #n, "[pages or slots]", access}
#define SLABS(first, name, access) \
  SLAB(first, 0, name, access), SLAB(first, 1, name, access), SLAB(first, 2, name, access), SLAB(first, 3, name, access), \
  SLAB(first, 4, name, access), SLAB(first, 5, name, access), SLAB(first, 6, name, access), SLAB(first, 7, name, access)

VALUES(widths, 1, 2, 4, 8, 16);
VALUES(groups, 1, 32, 64, 128, 256);

static inline size_t at_least_0(int32_t n) { return n > 0 ? (size_t)n : 0; }
static inline size_t ceil_to(size_t n, size_t unit) { return (n + unit - 1) / unit; }
static inline int32_t smaller(int32_t a, int32_t b) { return a < b ? a : b; }

static inline int32_t halved_until_divides(int32_t v, int32_t a, int32_t b)
{
  while (v > 1 && (a % v || b % v)) v /= 2;
  return v;
}

static inline int32_t cpu_width(const koi_target *t, int32_t want)
{
  int32_t w = t->vector_width > 0 ? (int32_t)t->vector_width : 4, v = 1;
  while (v * 2 <= w && v < 16) v *= 2;
  return t->local_is_global ? v : want;
}

/* One work-item an item, `lanes` of them a group. */
static inline void by_item(koi_range *r, size_t n, int32_t lanes)
{
  size_t l = (size_t)lanes;
  *r = (koi_range){{ceil_to(n, l) * l, 1, 1}, {l, 1, 1}};
}

static inline void by_group(koi_range *r, size_t x, size_t y, size_t z, int32_t lanes)
{
  *r = (koi_range){{x * (size_t)lanes, y, z}, {(size_t)lanes, 1, 1}};
}

/* Bytes of a row in the cache. */
static inline double kv_row_bytes(int exact, int32_t dh, int32_t rd)
{
  return exact ? 4.0 * dh : dh - rd + (double)koi_ceil_div((uint64_t)(dh - rd), 64) + 2.0 * rd;
}
static inline double index_row_bytes(int exact, int32_t ih) { return exact ? 4.0 * ih : ih * 17.0 / 32; }
#endif
