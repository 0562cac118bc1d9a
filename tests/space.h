/* Recorded spaces: every legal set of parameters of an op on a device, with what it took. Made by bench_space, replayed by t_space. */
#ifndef SPACE_H
#define SPACE_H
#include "kernels/choose.h"
#include "kernels/ops.h"

typedef struct space_point { int32_t p[KOI_MAX_PARAMS]; double us; } space_point; /* us: INFINITY where it does not build or start */

typedef struct space {
  const koi_op *op;
  koi_target t;
  int32_t c[KOI_MAX_CONSTS], bucket;
  char device[400];
  space_point *v; size_t n;
} space;

/* All legal sets in the order of the descriptor's values, us 0. */
bool space_list(space *s);
bool space_read(const char *path, space *out);
bool space_write(const char *path, const space *s);
void space_free(space *s);
space_point *space_find(const space *s, const int32_t *p); /* NULL: it is none */
double space_best(const space *s);
#endif
