/* t_ref: DeepSeek's own numbers, what compares with them, and the tests of ref_cache.c. */
#ifndef REF_VECTORS_H
#define REF_VECTORS_H
#include "file/weights.h"

enum { MAX_USED = 64 };
extern int n_checks, n_failed;
extern koi_weights *vectors;
extern char used[MAX_USED][64]; /* names that a test asked for */
extern size_t n_used;

void check(int ok, const char *what, size_t i, double got, double want);
/* Entry `name` as 4-byte elements, copied; *n of them. The caller frees. */
void *entry(const char *name, size_t *n);
float *floats(const char *name, size_t *n);
int same(float a, float b);
void compare(const char *what, const float *got, const float *want, size_t n, double relative);

void test_indexer(void);
void test_fp4_ties(void);
void test_topk(void);
void test_pool(void);
void test_rope(void);
#endif
