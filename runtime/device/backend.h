/* A backend is one record of hooks and one exported constant.
 * Locking: the caller serialises every call on one koi_device by its `lock`, except build and identity, which several threads may be in
 * at once (unless build_alone); different devices are independent.
 * Order: write, copy, fill, launch, start and read on a device happen in the order of the calls; read and finish block, the rest may
 * return before the work is done, but `src` of write may be reused at once. */
#ifndef KOI_BACKEND_H
#define KOI_BACKEND_H
#include <pthread.h>
#include <stdatomic.h>
#include "dev.h"
#include "kernels/choose.h"
#include "kernels/ops.h"

/* How many kernels came from where since the device was opened. */
typedef struct koi_build_counts { atomic_ulong from_source, from_disk, shipped; } koi_build_counts;

typedef struct koi_device { /* backends put their own fields behind it */
  const struct koi_backend *backend;
  const koi_endpoint *endpoint;
  uint32_t lanes; /* work-group multiple that opening found out; 0: the endpoint's */
  bool can_record; /* it has the hooks for it, and what they need of the driver */
  size_t gemm_bytes; /* device memory that `gemm` keeps for itself */
  atomic_bool failed; /* a step ended in KOINE_ERR_DEVICE here */
  /* What koi_device_open adds. */
  bool records;              /* steps are recorded here */
  pthread_mutex_t lock;      /* whoever touches the device holds it */
  uint64_t bytes;            /* allocated now, by koi_device_alloc */
  char *cache_dir;           /* what may be kept on disk lies here; NULL: nothing is */
  uint32_t n_threads;        /* that may compile at once */
  struct koi_kerns *kerns;   /* kern.c's: every kernel in use */
  struct koi_progs *progs;   /* prog.c's: compiled programs on disk, from here and from elsewhere */
  koi_build_counts built;
  koi_tuned_table tuned;     /* tuned.c's: parameters that measurements chose */
} koi_device;

/* Device memory. A view shares the memory of its parent and dies before it. Backends put their own fields behind it. */
struct koi_buf {
  size_t bytes;
  bool counted; /* in koi_device.bytes */
};

typedef struct koi_kernel { /* one op built for one device with constants and parameters; op, c and p are kern.c's to fill in */
  const koi_op *op;
  int32_t c[KOI_MAX_CONSTS]; /* by op->consts */
  int32_t p[KOI_MAX_PARAMS]; /* by op->params */
  size_t max_group;          /* work-items a group that the compiled kernel allows; 0 unknown */
  bool library;              /* the backend's gemm does it: nothing is compiled, and none of the hooks below sees it */
} koi_kernel;

typedef struct koi_build {
  const char *name;          /* of the kernel's function */
  const char *text;          /* the whole source */
  const char *defs;          /* "-D NAME=value -D ..." */
  size_t group_items;        /* work-items a group that it will be launched with; 0 unknown */
  bool counts;               /* the text uses ARRIVE */
  const void *binary;        /* NULL: from the text; else what an earlier build gave */
  size_t binary_bytes;
  bool want_binary;
} koi_build;

/* A call to be repeated. Backends put their own fields behind it. */
typedef struct koi_bound {
  koi_kernel *kernel;        /* NULL: the C reference does it */
  const koi_op *op;
  int32_t c[KOI_MAX_CONSTS];
  koi_args a;                /* as patched */
} koi_bound;

/* Calls that are started by one request. Backends put their own fields behind it. */
typedef struct koi_recorded { size_t n; } koi_recorded; /* n: calls */

/* Bytes from one device to another, past the host. Backends put their own fields behind it. */
typedef struct koi_way { koi_device *from, *to; } koi_way;

/* As koi_op_gemm (ops.h); offsets are where the arguments begin in their buffers, in floats. */
typedef struct koi_gemm { size_t n, rows, k, ldx, y_offset, ldy, x_offset, w_offset; } koi_gemm;

typedef struct koi_backend {
  const char *name; /* what koine_device_info.backend says */
  /* Adds the endpoints this backend finds, and what it skipped with the reason. Fails only for lack of memory. */
  koine_status (*probe)(koi_probe *out);
  void (*unprobe)(koi_endpoint *e); /* releases e->handle */
  /* Adds n endpoints of so many compute units of e each. KOINE_ERR_NO_DEVICE when it cannot be parted so. NULL: none can. */
  koine_status (*split)(const koi_endpoint *e, const uint32_t *units, size_t n, koi_probe *out);
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
  /* A text that names device, driver and compiler with their versions: two devices with the same may exchange binaries. koi_free takes it
   * back. NULL: this backend has no binaries. */
  koine_status (*identity)(koi_device *d, char **out);
  /* The same of binaries that any driver of such a chip takes: *chip as a folder is named, *identity a text that names it and how to compile for it. Both are
   * for koi_free. NULL: there are none. */
  koine_status (*portable)(const koi_endpoint *e, char **chip, char **identity);
  /* Compiles. KOINE_ERR_DEVICE with the compiler's first error line when the device cannot (the caller then uses the C reference), or when
   * it refuses the binary (the caller then builds from the text). *binary, for koi_free, is set where it is wanted and can be had. */
  koine_status (*build)(koi_device *d, const koi_build *b, koi_kernel **out, void **binary, size_t *binary_bytes);
  bool build_alone; /* one build at a time */
  void (*drop)(koi_device *d, koi_kernel *k);
  /* Once, with the range that koi_kern_range gave. */
  koine_status (*launch)(koi_device *d, koi_kernel *k, const koi_args *a, const koi_range *r);
  /* The same in parts, for calls that are repeated: arguments are set once, then ints are patched, and a start decides nothing. The wrappers
   * below fill in what koi_bound has in common. */
  koine_status (*bind)(koi_device *d, koi_kernel *k, const koi_args *a, koi_bound **out);
  koine_status (*patch)(koi_device *d, koi_bound *b, size_t i, int32_t value); /* on failure the argument is as it was */
  koine_status (*start)(koi_device *d, koi_bound *b, const koi_range *r);
  void (*unbind)(koi_device *d, koi_bound *b);
  /* Bound calls that come again and again as they are now, with a kernel of the backend's each. Record starts nothing; what is patched later does not
   * change what was recorded. Replay starts all of them, in their order. The calls must outlive it; unrecord waits for what still runs of it. Only where the
   * device says can_record. */
  koine_status (*record)(koi_device *d, koi_bound *const *calls, const koi_range *ranges, size_t n, koi_recorded **out);
  koine_status (*replay)(koi_device *d, koi_recorded *r);
  void (*unrecord)(koi_device *d, koi_recorded *r);
  /* A way between two devices of the backend, for a buffer of the second's through which bytes go: one give, then one take of it, and so on. NULL, or *out NULL:
   * there is none. None of these but take holds `to`, and open, wait and close need no device's lock. */
  koine_status (*way_open)(koi_device *from, koi_device *to, koi_way **out);
  void (*way_close)(koi_way *w); /* once both devices have finished */
  koine_status (*way_give)(koi_way *w, koi_buf *src, size_t at, koi_buf *through, size_t bytes); /* queued on `from`, behind what `to` still takes */
  koine_status (*way_take)(koi_way *w, koi_buf *through, koi_buf *dst, size_t bytes);            /* queued on `to`, behind the give */
  koine_status (*way_wait)(koi_way *w); /* until the give is done: what failed on `from` until then shows here */
  koine_status (*finish)(koi_device *d);
  koine_status (*flush)(koi_device *d); /* what is queued begins, without waiting for it; NULL: nothing ever waits to begin */
  /* A library's dense product, queued like a launch; what Y held is not read. NULL: there is none. Its kernels are built at its first call. */
  koine_status (*gemm)(koi_device *d, const koi_gemm *g, koi_buf *x, koi_buf *w, koi_buf *y);
  const char *gemm_name; /* of that library, as one word */
} koi_backend;

extern const koi_backend koi_backend_cl, koi_backend_hip, koi_backend_host;
extern const koi_backend *const koi_backends[]; /* NULL-terminated, best first */

/* ---- device.c ---- */
/* cache_dir NULL: nothing is kept on disk. n_threads 0: as many as processors. */
koine_status koi_device_open(const koi_endpoint *e, const char *cache_dir, uint32_t n_threads, koi_device **out);
/* Everything allocated and bound must be gone; kernels need not. */
void koi_device_close(koi_device *d);
koine_status koi_device_alloc(koi_device *d, size_t bytes, koi_buf **out);
/* KOINE_ERR_MEMORY where so many bytes more than are allocated, by whomever, would be more than the limit. limit 0: none. */
koine_status koi_device_room(const koi_device *d, uint64_t limit, uint64_t bytes);
void koi_device_free(koi_device *d, koi_buf *b); /* views too; NULL is allowed */
/* A call to be repeated, by a kernel, the library or, where k is NULL, the C reference. The kernel and the buffers must outlive it. */
koine_status koi_device_bind(koi_device *d, const koi_op *op, const int32_t *c, koi_kernel *k, const koi_args *a, koi_bound **out);
koine_status koi_device_patch(koi_device *d, koi_bound *b, size_t i, int32_t value); /* int argument i */
koine_status koi_device_start(koi_device *d, koi_bound *b, const koi_range *r); /* r: ignored without a kernel */
void koi_device_unbind(koi_device *d, koi_bound *b); /* NULL is allowed */
koine_status koi_device_flush(koi_device *d);

/* ---- backends.c ---- */
/* The device in numbers, for the rules of parameters. */
void koi_backend_target(const koi_device *d, koi_target *t);
/* Whether the op's parameters can be legal within the endpoint's numbers, at the model family's usual sizes: nothing is compiled. */
bool koi_backend_fits(const koi_endpoint *e, const koi_op *op);
/* Runs op->ref on the device's buffers through host copies: what any device can do, slowly. The same koi_buf in two
 * places is one memory for the reference too; overlapping views are not. */
koine_status koi_backend_fallback(koi_device *d, const koi_op *op, const int32_t *c, const koi_args *a);
#endif
