/* What the parts of the OpenCL backend share. Included by dev_cl*.c only: the one place where OpenCL's header is seen. */
#ifndef KOI_DEV_CL_H
#define KOI_DEV_CL_H
#undef CL_TARGET_OPENCL_VERSION
#define CL_TARGET_OPENCL_VERSION 120 /* what every device here has; newer questions are spelled in dev_cl_probe.c */
#include <CL/cl.h>
#include "backend.h"

/* An OpenCL status as text, "CL_OUT_OF_RESOURCES (-5)". Valid until the thread's next call. */
const char *koi_dev_cl_code(cl_int code);
koine_status koi_dev_cl_probe(koi_probe *out);
#endif
