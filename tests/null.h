/* A backend whose calls do nothing but count: what a step costs the host. Buffers know their size and have no memory; kernels are built at once. */
#ifndef NULL_H
#define NULL_H
#include "device/backend.h"

/* Called for every kernel that is launched or (bound) started; NULL: nobody is. */
extern void (*null_watch)(const koi_kernel *k, const koi_range *r, bool bound);

/* Kernels, copies, fills and writes since the last null_reset; reads and patched arguments beside them. Kernels of recordings count like others;
 * recordings made and their kernels, recordings replayed and their kernels. */
typedef struct null_counts { unsigned long launches, copies, fills, writes, reads, patches, records, recorded, replays, replayed; } null_counts;

extern const koi_backend null_backend;
/* A card with room for any model. */
extern const koi_endpoint null_endpoint;
void null_reset(void);
null_counts null_count(void);
#endif
