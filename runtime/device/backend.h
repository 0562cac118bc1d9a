/* A backend is one record of hooks and one exported constant.
 * Locking: the caller serialises every call on one koi_device; different devices are independent.
 * Order: write, copy, fill, launch and read on a device happen in the order of the calls; read and finish block, the rest may return
 * before the work is done, but `src` of write may be reused at once. */
#ifndef KOI_BACKEND_H
#define KOI_BACKEND_H
#include "dev.h"
#include "kernels/ops.h"

typedef struct koi_device { /* backends put their own fields behind it */
  const struct koi_backend *backend;
  const koi_endpoint *endpoint;
  uint32_t lanes; /* work-group multiple that opening found out; 0: the endpoint's */
  size_t gemm_bytes; /* device memory that `gemm` keeps for itself */
} koi_device;

/* Device memory. A view shares the memory of its parent and dies before it. Backends put their own fields behind it. */
struct koi_buf {
  size_t bytes;
};

typedef struct koi_kernel { /* one op built for one device with constants and parameters */
  const koi_op *op;
  int32_t c[KOI_MAX_CONSTS]; /* by op->consts */
  int32_t p[KOI_MAX_PARAMS]; /* by op->params */
  size_t max_group;          /* work-items a group that the compiled kernel allows; 0 unknown */
} koi_kernel;

/* Y[i][y_offset + r] = sum over j of X[i][j] * W[r][j], for i < n, r < rows, j < k; all float and row-major, W's rows k long. */
typedef struct koi_gemm { size_t n, rows, k, ldx, y_offset, ldy; } koi_gemm;

typedef struct koi_backend {
  const char *name; /* what koine_device_info.backend says */
  /* Adds the endpoints this backend finds, and what it skipped with the reason. Fails only for lack of memory. */
  koine_status (*probe)(koi_probe *out);
  void (*unprobe)(koi_endpoint *e); /* releases e->handle */
  koine_status (*open)(const koi_endpoint *e, koi_device **out);
  void (*close)(koi_device *d);
  koine_status (*alloc)(koi_device *d, size_t bytes, koi_buf **out);
  /* offset is a multiple of the endpoint's base_align_bytes */
  koine_status (*view)(koi_device *d, koi_buf *parent, size_t offset, size_t bytes, koi_buf **out);
  void (*free)(koi_device *d, koi_buf *b);
  koine_status (*write)(koi_device *d, koi_buf *b, size_t offset, size_t bytes, const void *src);
  koine_status (*read)(koi_device *d, koi_buf *b, size_t offset, size_t bytes, void *dst);
  koine_status (*copy)(koi_device *d, koi_buf *to, size_t to_offset, koi_buf *from, size_t from_offset, size_t bytes);
  koine_status (*fill)(koi_device *d, koi_buf *b, uint8_t value); /* the whole buffer */
  /* Compiles. c and p are never NULL. KOINE_ERR_DEVICE with the compiler's first error line when the device cannot: the caller then uses the C reference. */
  koine_status (*build)(koi_device *d, const koi_op *op, const int32_t *c, const int32_t *p, koi_kernel **out);
  void (*drop)(koi_device *d, koi_kernel *k);
  koine_status (*launch)(koi_device *d, koi_kernel *k, const koi_args *a);
  koine_status (*finish)(koi_device *d);
  /* A library's dense product, queued like a launch; what Y held is not read. NULL: there is none. Its kernels are built at its first call. */
  koine_status (*gemm)(koi_device *d, const koi_gemm *g, koi_buf *x, koi_buf *w, koi_buf *y);
} koi_backend;

extern const koi_backend koi_backend_cl, koi_backend_host;
extern const koi_backend *const koi_backends[]; /* NULL-terminated, best first */

/* The device in numbers, for the rules of parameters. */
void koi_backend_target(const koi_device *d, koi_target *t);
/* Whether the op's parameters can be legal within the endpoint's numbers, at the model family's usual sizes: nothing is compiled. */
bool koi_backend_fits(const koi_endpoint *e, const koi_op *op);
/* Builds an op with its parameters before any tuning; where the compiled kernel allows smaller groups than the device says, chooses and builds
 * again. KOINE_ERR_DEVICE: the device cannot do it (the caller then uses the C reference); the message says why. */
koine_status koi_backend_build(koi_device *d, const koi_op *op, const int32_t *c, koi_kernel **out);
/* Runs op->ref on the device's buffers through host copies: what any device can do, slowly. The same koi_buf in two
 * places is one memory for the reference too; overlapping views are not. */
koine_status koi_backend_fallback(koi_device *d, const koi_op *op, const int32_t *c, const koi_args *a);
#endif
