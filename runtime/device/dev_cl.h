/* What the parts of the OpenCL backend share. Included by dev_cl*.c and clblast.c only: the one place where OpenCL's header is seen. */
#ifndef KOI_DEV_CL_H
#define KOI_DEV_CL_H
#undef CL_TARGET_OPENCL_VERSION
#define CL_TARGET_OPENCL_VERSION 120 /* what every device here has; newer questions are spelled in dev_cl_probe.c */
#include <CL/cl.h>
#include "backend.h"

/* An OpenCL status as text, "CL_OUT_OF_RESOURCES (-5)". Valid until the thread's next call. */
const char *koi_dev_cl_code(cl_int code);
koine_status koi_dev_cl_probe(koi_probe *out);

/* ---- dev_cl_cause.c ---- */
/* Adds what the loader's list of drivers (.icd files) has and cannot be loaded; *n: how many are listed. */
koine_status koi_dev_cl_icds(koi_probe *out, size_t *n);
const char *koi_dev_cl_icd_folder(void);
/* Whether the folder where this platform's driver keeps compiled kernels is full, closed or damaged: then why, and what to do. */
bool koi_dev_cl_cache_fault(const char *platform, char *out, size_t room);

/* ---- clblast.c ---- */
typedef struct koi_clblast { /* what it keeps for a device; zero at first */
  cl_mem temp;
  size_t bytes;
  bool used;
} koi_clblast;
koine_status koi_clblast_gemm(cl_context context, cl_command_queue queue, koi_clblast *own, const koi_gemm *g, cl_mem x, cl_mem w, cl_mem y);
void koi_clblast_close(koi_clblast *own);
#endif
