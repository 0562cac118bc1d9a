/* The second entry for dense products of many tokens: rows of the weight widened to floats, then a library's product on the device (the backend's
 * gemm). Which entry a device takes is measured once (`koine bench --gemm`), remembered in a file and read at every wake, so that results are the
 * same from run to run. Nothing remembered: the own kernels.
 * Environment: KOINE_GEMM=own, or the library's name, decides in place of the file, which lies in the device's cache folder. */
#ifndef KOI_GEMM_H
#define KOI_GEMM_H
#include "stage.h"

enum { KOI_GEMM_MIN_TOKENS = 64 };

typedef struct koi_gemm_figure { /* of one weight format: all dense products of the layers for one full chunk */
  bool used;                     /* the model has such weights */
  double own_ms, library_ms;     /* 0: not measured */
} koi_gemm_figure;

/* Decides by weight format, into the stage's tunables. A device whose gemm fails keeps to the own kernels, with a warning. */
koine_status koi_gemm_wake(koi_stage *st);
/* Which formats the layers' dense products have; measures nothing. f: [KOI_N_FORMATS]. */
void koi_gemm_types(const koi_stage *st, koi_gemm_figure *f);
/* Times both entries on every dense product of the layers, for full chunks; remembers the faster and uses it from now on. */
koine_status koi_gemm_measure(koi_stage *st, koine_progress_fn *progress, void *user, koi_gemm_figure *f);

/* ---- gemm_file.c ---- */
/* What is remembered of the device, into from [KOI_N_FORMATS]: tokens from which on the library's product is taken. */
koine_status koi_gemm_recall(const koi_device *d, uint32_t *from);
/* Remembers which was faster for chunks of n_tokens. */
koine_status koi_gemm_remember(const koi_device *d, const koi_gemm_figure *f, uint32_t n_tokens);
/* From how many tokens on a product takes the library, when it was faster for n_tokens: far below that it need not hold. */
uint32_t koi_gemm_from(uint32_t n_tokens);
#endif
