/* What the parts of the OpenCL backend share. Included by dev_cl*.c and clblast.c only: the one place where OpenCL's header is seen. */
#ifndef KOI_DEV_CL_H
#define KOI_DEV_CL_H
#undef CL_TARGET_OPENCL_VERSION
#define CL_TARGET_OPENCL_VERSION 120 /* what every device here has; newer questions are spelled in dev_cl_probe.c */
#include <CL/cl.h>
#include "backend.h"

/* ---- dev_cl_cause.c ---- */
/* Adds what the loader's list of drivers (.icd files) has and cannot be loaded; *n: how many are listed. */
koine_status koi_dev_cl_icds(koi_probe *out, size_t *n);
const char *koi_dev_cl_icd_folder(void);
/* Whether a driver may end the process when the loader asks for platforms, for its folder of compiled kernels has no name: then what to do. */
bool koi_dev_cl_nameless_cache(char *out, size_t room);
/* Whether the folder where this platform's driver keeps compiled kernels is full, closed or damaged, or its linker is not there: then why, and
 * what to do. */
bool koi_dev_cl_cache_fault(const char *platform, char *out, size_t room);

/* ---- clblast.c ---- */
typedef struct koi_clblast { /* what it keeps for a device; zero at first */
  cl_mem temp;
  size_t bytes;
  bool used;
} koi_clblast;
koine_status koi_clblast_gemm(cl_context context, cl_command_queue queue, koi_clblast *own, const koi_gemm *g, cl_mem x, cl_mem w, cl_mem y);
void koi_clblast_close(koi_clblast *own);

/* ---- dev_cl.c ---- */
/* A stretch of an allocation as an object of OpenCL's. Where parts cannot be given back (keeps_parts), neither can an allocation that has some: it waits
 * for the next one of its size, with its parts, among `idle`; origin 0 and its own size then. */
typedef struct cl_part {
  cl_mem root, mem;
  size_t origin, bytes, users;
  struct cl_part *next;
} cl_part;

typedef struct koi_cl_record koi_cl_record;

typedef struct cl_dev {
  koi_device base;
  cl_device_id id;
  cl_context context;
  cl_command_queue queue;
  cl_mem dummy;             /* stands for a buffer that an op does not use */
  unsigned char *stage;     /* [STAGE_BYTES] small writes wait here, so that they need not block */
  size_t stage_used;        /* since the queue was last empty */
  cl_part *parts, *idle;
  koi_clblast blas;
  koi_cl_record *record;    /* the driver's functions that record calls; NULL: there are none */
  uint64_t waits;           /* how often everything queued was waited for */
} cl_dev;

typedef struct cl_buf {
  koi_buf base;
  cl_mem mem;
  cl_mem root;              /* the allocation, and where this buffer begins in it: OpenCL has no views of views */
  size_t root_offset;
} cl_buf;

/* A stretch of a buffer as an object of OpenCL's; *out NULL after a failure. The same stretch is the same object for all who ask: a driver may do
 * work for each at every launch, and may not stand two. Each drops it. */
koine_status koi_dev_cl_part(cl_dev *d, const cl_buf *b, size_t offset, size_t bytes, cl_mem *out);
void koi_dev_cl_part_drop(cl_dev *d, cl_mem part);

/* ---- dev_cl_code.c ---- */
/* An OpenCL status as text, "CL_OUT_OF_RESOURCES (-5)". Valid until the thread's next call. */
const char *koi_dev_cl_code(cl_int code);
bool koi_dev_cl_out_of_memory(cl_int code);
koine_status koi_dev_cl_failed(const cl_dev *d, const char *what, cl_int code);

/* ---- dev_cl_probe.c ---- */
koine_status koi_dev_cl_probe(koi_probe *out);
koine_status koi_dev_cl_split(const koi_endpoint *e, const uint32_t *units, size_t n, koi_probe *out);

/* ---- dev_cl_kernel.c ---- */
koine_status koi_dev_cl_identity(koi_device *d, char **out);
koine_status koi_dev_cl_build(koi_device *d, const koi_build *b, koi_kernel **out, void **binary, size_t *binary_bytes);
void koi_dev_cl_drop(koi_device *d, koi_kernel *k);
koine_status koi_dev_cl_launch(koi_device *d, koi_kernel *k, const koi_args *a, const koi_range *r);
koine_status koi_dev_cl_bind(koi_device *d, koi_kernel *k, const koi_args *a, koi_bound **out);
koine_status koi_dev_cl_patch(koi_device *d, koi_bound *b, size_t i, int32_t value);
koine_status koi_dev_cl_start(koi_device *d, koi_bound *b, const koi_range *r);
void koi_dev_cl_unbind(koi_device *d, koi_bound *b);
cl_kernel koi_dev_cl_bound_kernel(const koi_bound *b);
cl_uint koi_dev_cl_dims(const koi_range *r);

/* ---- dev_cl_record.c ---- */
/* d->record, where the driver has an extension that we know. */
koine_status koi_dev_cl_find_record(cl_dev *d);
koine_status koi_dev_cl_record(koi_device *d, koi_bound *const *calls, const koi_range *ranges, size_t n, koi_recorded **out);
koine_status koi_dev_cl_replay(koi_device *d, koi_recorded *r);
void koi_dev_cl_unrecord(koi_device *d, koi_recorded *r);
#endif
