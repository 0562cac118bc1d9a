/* The second entry for dense products of many tokens: rows of the weight widened to floats, then the device's gemm (CLBlast).
 *
 * Which entry a device takes is measured once (`koine bench --gemm`), remembered in a file and read at every wake, so that results are
 * the same from run to run. Nothing remembered: the own kernels.
 * Environment: KOINE_GEMM=own|clblast decides in place of the file, which lies in the device's cache folder. */
#ifndef KOI_GEMM_H
#define KOI_GEMM_H
#include "exec.h"

enum { KOI_GEMM_TYPES = KOI_N_FORMATS, KOI_GEMM_MIN_TOKENS = 64 };

typedef struct koi_gemm_figure { /* of one weight type: all dense products of the layers for one full chunk */
  bool used;                     /* the model has such weights */
  double own_ms, clblast_ms;     /* 0: not measured */
} koi_gemm_figure;

const char *koi_gemm_type_name(int wt);
/* Decides by weight type and gets the scratch memory ready. A device whose gemm fails keeps to the own kernels, with a warning. */
koine_status koi_gemm_wake(koi_exec *x);
/* Whether a product of n tokens with this weight takes the device's gemm. */
bool koi_gemm_takes(const koi_exec *x, const koi_laid *m, int32_t n);
/* y[i] = m in[i] for n rows, a bounded number of the weight's rows at a time. */
koine_status koi_gemm_product(koi_exec *x, const koi_laid *m, koi_buf *in, int32_t ldx, int32_t n, koi_buf *y, int32_t ldy);
/* Which weight types the layers' dense products have; measures nothing. */
void koi_gemm_types(const koi_exec *x, koi_gemm_figure f[KOI_GEMM_TYPES]);
/* Times both entries on every dense product of the layers, for full chunks; remembers the faster and uses it from now on. */
koine_status koi_gemm_measure(koi_exec *x, koine_progress_fn *progress, void *user, koi_gemm_figure f[KOI_GEMM_TYPES]);
#endif
