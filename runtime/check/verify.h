/* Every op of a device against the C reference. */
#ifndef KOI_VERIFY_H
#define KOI_VERIFY_H
#include "device/backend.h"

typedef struct koi_verify_counts {
  size_t n_ops, n_cases, n_kernels; /* n_kernels: op x constants x parameters that were built */
  size_t n_wrong;                   /* runs that differed */
  size_t n_host;                    /* op x constants that the device cannot build: they run on the host, which is slow and not wrong */
  size_t n_refused;                 /* swept parameters that the device would not build or start */
} koi_verify_counts;

typedef struct koi_verify_options {
  const char *op;     /* only this one; NULL: all */
  const int32_t *c, *p; /* of op: these parameters alone (p NULL: the defaults), on the cases whose constants are most like c; NULL: as max_sets says */
  koi_kernel *kernel; /* with c and p: built already, for the cases that have its very constants; NULL: none is */
  uint32_t max_sets;  /* parameter sets tried for each op and its constants; 0 or 1: the defaults only */
  bool all;           /* with those cases that else are for whoever asks for their constants */
  bool small;         /* without the cases that an interpreter needs minutes for */
  bool bare;          /* for a device that checks accesses itself: buffers of the exact size, outputs never initialised */
  bool twice;         /* every case runs twice, and what it leaves must be the same bit by bit */
  bool first;         /* ends at the first difference */
  bool verbose;       /* a line a case in the report, not only a line an op */
  koi_verify_counts *counts; /* NULL: not wanted */
} koi_verify_options;

/* Adds a line an op to *report, and a line for each difference. o may be NULL: defaults. KOINE_ERR_CHECK: something differed, and the message
 * names op, case, place and driver; KOINE_ERR_CANCELLED; KOINE_ERR_DEVICE, KOINE_ERR_MEMORY. */
koine_status koi_verify_ops(koi_device *d, const koi_verify_options *o, koine_progress_fn *progress, void *user, koi_text *report);
#endif
