/* What an op is: one record an op, for the runtime, the tuner, the tests and the C reference alike. The ops themselves: ops.h.
 *
 * An op is called with buffers, ints and floats (koi_args) and was built with constants (`consts`, part of the meaning: types and
 * sizes that the compiler should see) and parameters (`params`, no part of the meaning: how the kernel is cut). A kernel's arguments
 * are its buffers, then its ints, then its floats, in the descriptor's order; consts and params reach it as -D NAME=value.
 * All activations are float, row-major. Unused buffers are NULL in koi_args (the backend passes a dummy).
 *
 * Weight matrices lie on the device in tiles (kernels/layout.h), whose rows are the constant TILE of the ops that read them. */
#ifndef KOI_OP_H
#define KOI_OP_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KOI_MAX_BUFS 36
#define KOI_MAX_INTS 16
#define KOI_MAX_FLOATS 4
#define KOI_MAX_CONSTS 10
#define KOI_MAX_PARAMS 16

typedef struct koi_buf koi_buf;

typedef struct koi_args {
  koi_buf *buf[KOI_MAX_BUFS];
  size_t at[KOI_MAX_BUFS]; /* bytes into buf at which the argument begins, a multiple of the endpoint's base_align_bytes */
  int32_t i[KOI_MAX_INTS];
  float f[KOI_MAX_FLOATS];
} koi_args;

/* The same with host pointers: what the C reference sees. bytes: sizes of the buffers. */
typedef struct koi_ref_args {
  void *buf[KOI_MAX_BUFS];
  size_t bytes[KOI_MAX_BUFS];
  const int32_t *i;
  const float *f;
  const int32_t *c;
} koi_ref_args;

typedef struct koi_range { size_t global[3], local[3]; } koi_range; /* local[0] 0: the driver chooses */

/* What a rule for parameters may look at: the device in numbers, never its name. */
typedef struct koi_target {
  uint32_t vector_width;  /* native float vector width */
  uint32_t lanes;         /* work-group multiple; 0 unknown */
  uint32_t max_group;     /* 0 unknown: no limit */
  uint64_t local_bytes;   /* 0 unknown: no limit */
  uint32_t n_units;
  int local_is_global;    /* CPUs: work-groups of one work-item with wide vectors */
  int denormals;
  int arrivals;           /* work-groups can tell each other that they have come so far (koi_op.counts) */
  int32_t tile;           /* rows of the weights' tiles that somebody insists on; 0: what was measured, or the default */
  const struct koi_tuned_table *tuned; /* what measurements chose (choose.h); NULL: nothing. No rule looks at it */
} koi_target;

typedef struct koi_param {
  const char *name;            /* the macro */
  int32_t cpu, gpu;            /* defaults: where local memory is ordinary memory, and elsewhere */
  const int32_t *values;       /* what the tuner may try */
  size_t n_values;
} koi_param;

enum {
  KOI_IN = 1, KOI_OUT = 2, KOI_INOUT = 3,
  KOI_PARTS = KOI_OUT | 4 /* written, perhaps by several calls together: others' elements are left alone, and none is read */
};
typedef struct koi_buf_desc { const char *name, *shape; int access; } koi_buf_desc;

enum { KOI_ALWAYS_COUNTS = -1 };

typedef struct koi_op {
  const char *name;            /* also the kernel's function name */
  const char *source;          /* file in kernels/cl without its ending; NULL: a backend's library does it, or the C reference */
  koi_buf_desc bufs[KOI_MAX_BUFS];
  const char *ints[KOI_MAX_INTS], *floats[KOI_MAX_FLOATS], *consts[KOI_MAX_CONSTS]; /* NULL-terminated unless full */
  koi_param params[KOI_MAX_PARAMS];                                               /* ends at name NULL */
  int32_t usual[KOI_MAX_CONSTS]; /* constants as DeepSeek's models have them: to ask a device that runs nothing yet */
  int counts; /* its work-groups count who arrives last (ARRIVE of the dialect), which needs a target with `arrivals`: KOI_ALWAYS_COUNTS, or where constant `counts` is 1; 0: never */
  /* What is good on this target, legal or not: p holds the cpu or gpu column. NULL: that column. */
  void (*defaults)(const koi_target *t, const int32_t *c, int32_t *p);
  /* Makes p legal, by as little as it can. NULL: there is nothing to give way. */
  void (*repair)(const koi_target *t, const int32_t *c, int32_t *p);
  /* Whether p suits the constants. NULL: any. Limits of the target are koi_legal's (choose.h), by the two numbers below. */
  int (*legal)(const koi_target *t, const int32_t *c, const int32_t *p);
  uint64_t (*group_items)(const int32_t *c, const int32_t *p); /* work-items a group */
  uint64_t (*local_bytes)(const int32_t *c, const int32_t *p); /* of local memory a group; NULL: none */
  /* The class of shapes that a call belongs to: parameters are chosen once for each. NULL: all are one. */
  int32_t (*bucket)(const int32_t *ints, const int32_t *c);
  void (*launch)(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out);
  double (*flops)(const koi_args *a, const int32_t *c);
  double (*bytes)(const koi_args *a, const int32_t *c); /* that must move at least */
  void (*ref)(const koi_ref_args *a); /* the C reference: defines correct */
} koi_op;

size_t koi_op_n_bufs(const koi_op *op);
size_t koi_op_n_ints(const koi_op *op);
size_t koi_op_n_floats(const koi_op *op);
size_t koi_op_n_consts(const koi_op *op);
size_t koi_op_n_params(const koi_op *op);
bool koi_op_counts(const koi_op *op, const int32_t *c);
/* The place of a constant of this name; -1: the op has none. */
int koi_op_const(const koi_op *op, const char *name);
#endif
