/* How far logits lie from those wanted, gathered over a test and held to bounds: those of the golden models. Broken ties move a few. */
#ifndef NEAR_H
#define NEAR_H
#include <stdbool.h>
#include <stddef.h>

/* From the lowest to the highest of x [n]. */
double near_range(const float *x, size_t n);
/* got and want [n]: the largest difference as a share of `range`, which is gathered for the cache mode and given back. On any thread. */
double near_add(bool exact, const float *got, const float *want, size_t n, double range);
/* Prints what was gathered since the last call, and fails the test where it is beyond the bounds. */
void near_assert(const char *what);
#endif
