/* A golden model's tokens and logits, and how far ours may be from them. */
#ifndef GOLDEN_H
#define GOLDEN_H
#include "file/weights.h"

typedef struct golden {
  koi_weights *file;
  const int32_t *tokens; size_t n;
  const float *logits[2]; /* [n][vocabulary] packed, exact; NULL: not there */
} golden;

/* golden.safetensors of a folder. */
koine_status golden_open(const char *folder, golden *out);
void golden_close(golden *g);
/* The largest difference of each position, sorted, in units of `range`. A NaN counts as infinitely far. Free it. */
double *golden_distances(const float *a, const float *b, size_t n, size_t n_vocab, double range);
double golden_range(const float *v, size_t n);
/* Whether the logits are within the bounds of a cache mode; line: the figures. */
bool golden_within(const float *got, const float *want, size_t n, size_t n_vocab, bool exact, char *line, size_t room);
#endif
