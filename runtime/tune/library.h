/* Our kernels against the device's library for dense products in prefill (engine/gemm.h), format by format. */
#ifndef KOI_LIBRARY_H
#define KOI_LIBRARY_H
#include "steps.h"

/* Until deadline_ns of koi_now_ns; what is undecided then stays as it was. The log and the stage have what is found. Nothing where the device has no
 * library, or chunks are too small for one; a library that fails is passed over with a warning. told: before each product; false ends it in KOINE_ERR_CANCELLED. */
koine_status koi_library_tune(koi_stage *st, uint64_t deadline_ns, koi_lost lost, bool (*told)(void *user, const char *what), void *user, koi_step_choice *out /* [KOI_N_FORMATS] */);
#endif
