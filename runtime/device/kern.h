/* From an op's descriptor to kernels: text, definitions, geometry, choice of parameters, the kernels in use.
 * Locking: as for a backend's hooks, the caller holds the device's lock; koi_kern_build alone needs none. */
#ifndef KOI_KERN_H
#define KOI_KERN_H
#include "backend.h"

/* ---- kern.c: one kernel and its calls ---- */
/* What the op's rule gives, rounded up to whole groups; false: there is nothing to compute. */
bool koi_kern_range(const koi_kernel *k, const koi_args *a, koi_range *out);
/* Whether the compiled kernel allows the groups that it is launched with. */
bool koi_kern_fits(const koi_kernel *k);
/* Constants and parameters as a compiler takes them: "-D NAME=value -D ...". */
void koi_kern_defs(const koi_op *op, const int32_t *c, const int32_t *p, koi_text *out);
/* One launch: range, limits of the compiled kernel, start; or one call of the backend's library. */
koine_status koi_kern_launch(koi_device *d, koi_kernel *k, const koi_args *a);
/* A call of an op that the backend's library does (koi_kernel.library). */
koine_status koi_kern_library(koi_device *d, const koi_args *a);
/* Only what koi_kern_build gave. */
void koi_kern_drop(koi_device *d, koi_kernel *k);

/* ---- kern_cache.c: the kernels of a device, one for each op, constants and parameters ---- */
typedef struct koi_kern_key { const koi_op *op; int32_t c[KOI_MAX_CONSTS], p[KOI_MAX_PARAMS]; } koi_kern_key; /* zeros behind what the op has */

koine_status koi_kern_open(koi_device *d);
void koi_kern_close(koi_device *d); /* drops every kernel */

/* Chooses parameters, and finds or builds their kernel, which the device keeps until it is closed; where a compiled kernel allows smaller
 * groups than the device says, chooses again. *out NULL: the C reference runs it (a warning once for each op and constants). */
koine_status koi_kern_get(koi_device *d, const koi_op *op, const int32_t *c, int32_t bucket, koi_kernel **out);
/* The same with KOINE_ERR_DEVICE and the reason where there is no kernel. */
koine_status koi_kern_choose(koi_device *d, const koi_op *op, const int32_t *c, int32_t bucket, koi_kernel **out);

/* Chooses anew from now on: what is chosen from has changed. Kernels stay; lists that are bound to them are the caller's matter. */
void koi_kern_forget(koi_device *d);

/* How far the kernels that there are answer: *out set, or NULL and in *key what must be built first. */
koine_status koi_kern_find(const koi_device *d, const koi_op *op, const int32_t *c, int32_t bucket, koi_kern_key *key, koi_kernel **out);
/* Adds a kernel, or NULL with the reason that it cannot be built. Takes it over whatever it returns. */
koine_status koi_kern_add(koi_device *d, const koi_kern_key *key, koi_kernel *k, const char *why);

/* ---- kern_build.c ---- */
/* One kernel with these parameters, from disk or from its text; the caller drops it. */
koine_status koi_kern_build(koi_device *d, const koi_op *op, const int32_t *c, const int32_t *p, koi_kernel **out);

typedef struct koi_kern_request { const koi_op *op; int32_t c[KOI_MAX_CONSTS]; int32_t bucket; } koi_kern_request;
/* Makes koi_kern_get answer n requests without building: side by side on the device's n_threads, each kernel only once. A kernel that the
 * device cannot build is no error. progress is called on this thread and may end it (KOINE_ERR_CANCELLED). */
koine_status koi_kern_build_all(koi_device *d, const koi_kern_request *r, size_t n, koine_progress_fn *progress, void *user);
#endif
