/* From an op's descriptor to kernels: text, definitions, geometry, choice of parameters, the kernels in use.
 * Locking: as for a backend's hooks, the caller holds the device's lock; koi_kern_build alone needs none. */
#ifndef KOI_KERN_H
#define KOI_KERN_H
#include "backend.h"

/* ---- kern.c ---- */
koine_status koi_kern_open(koi_device *d);
void koi_kern_close(koi_device *d); /* drops every kernel */

/* What the op's rule gives, rounded up to whole groups; false: there is nothing to compute. */
bool koi_kern_range(const koi_kernel *k, const koi_args *a, koi_range *out);
/* Constants and parameters as a compiler takes them: "-D NAME=value -D ...". */
void koi_kern_defs(const koi_op *op, const int32_t *c, const int32_t *p, koi_text *out);
/* One launch: range, limits of the compiled kernel, start. */
koine_status koi_kern_launch(koi_device *d, koi_kernel *k, const koi_args *a);

/* Chooses parameters and builds; where the compiled kernel allows smaller groups than the device says, chooses and builds again. The
 * caller drops it. KOINE_ERR_DEVICE: the device cannot do it (the C reference then does); the message says why. */
koine_status koi_kern_choose(koi_device *d, const koi_op *op, const int32_t *c, int32_t bucket, koi_kernel **out);
/* The same, once for each op, constants and parameters, which the bucket chooses; the device keeps it until it is closed. *out NULL: there is no
 * kernel, and a library's product or the C reference does it (a warning once). */
koine_status koi_kern_get(koi_device *d, const koi_op *op, const int32_t *c, int32_t bucket, koi_kernel **out);
/* The parameters that are chosen first, into p [KOI_MAX_PARAMS]: what kernels are known by. */
void koi_kern_params(const koi_device *d, const koi_op *op, const int32_t *c, int32_t bucket, int32_t *p);
bool koi_kern_known(const koi_device *d, const koi_op *op, const int32_t *c, const int32_t *p);
/* Makes a kernel the answer of koi_kern_get, NULL for none, with the reason; takes the kernel over whatever it returns. */
koine_status koi_kern_keep(koi_device *d, const koi_op *op, const int32_t *c, const int32_t *p, koi_kernel *k, const char *why);

/* ---- kern_build.c ---- */
/* One kernel with these parameters, from disk or from its text; the caller drops it. */
koine_status koi_kern_build(koi_device *d, const koi_op *op, const int32_t *c, const int32_t *p, koi_kernel **out);

typedef struct koi_kern_request { const koi_op *op; int32_t c[KOI_MAX_CONSTS]; int32_t bucket; } koi_kern_request;
/* Makes koi_kern_get answer n requests without building: side by side on the device's n_threads, each only once. A kernel that the device
 * cannot build is no error. progress is called on this thread and may end it (KOINE_ERR_CANCELLED). */
koine_status koi_kern_build_all(koi_device *d, const koi_kern_request *r, size_t n, koine_progress_fn *progress, void *user);
#endif
