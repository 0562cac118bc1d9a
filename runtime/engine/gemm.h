/* The second entry for dense products of many tokens: rows of the weight widened to floats, then a library's product on the device (the backend's
 * gemm). Which entry a device takes is a choice of a step (koi_step_library): `koine tune` and `koine bench --gemm` measure it into the log, from which
 * the stage's tunables come, so that results are the same from run to run. Nothing measured: the own kernels.
 * Environment: KOINE_GEMM=own, or the library's name, decides in place of the log. */
#ifndef KOI_GEMM_H
#define KOI_GEMM_H
#include "stage.h"

enum { KOI_GEMM_MIN_TOKENS = 64 };

typedef struct koi_gemm_figure { /* of one weight format: all dense products of the layers for one full chunk */
  bool used;                     /* the model has such weights */
  double own_ms, library_ms;     /* 0: not measured */
} koi_gemm_figure;

/* Of what the tunables say, keeps what this device, build and chunk can do. A device whose gemm fails keeps to the own kernels, with a warning. */
koine_status koi_gemm_wake(koi_stage *st);
/* Which formats the layers' dense products have; measures nothing. f: [KOI_N_FORMATS]. */
void koi_gemm_types(const koi_stage *st, koi_gemm_figure *f);
#define KOI_GEMM_NO_DEADLINE UINT64_MAX
/* Times both entries on every dense product of the layers, for full chunks; remembers the faster and uses it from now on. Until deadline_ns of
 * koi_now_ns: what is left then is not decided, and a library that is far behind is not timed to the end. The stage's lock is held. */
koine_status koi_gemm_measure(koi_stage *st, uint64_t deadline_ns, koine_progress_fn *progress, void *user, koi_gemm_figure *f);
#endif
