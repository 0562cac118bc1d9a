/* One small op, swiglu, that stands for all where a device's hooks and kernels are tried: its arguments, and what must come of it. */
#ifndef SMALL_CALL_H
#define SMALL_CALL_H
#include "device/kern.h"

enum { SMALL_E = 5, SMALL_INTER = 333, SMALL_LDG = 700, SMALL_LDH = 340 };
extern float small_gu[SMALL_E * SMALL_LDG], small_weights[SMALL_E], small_out[SMALL_E * SMALL_LDH];

/* Fills the three above: input, weights, and by the reference the output. */
void small_expect(bool weighted);
/* The same arguments in buffers of the device; unweighted: the second is NULL. */
koi_args small_call(koi_device *d, bool weighted);
void small_end(koi_device *d, const koi_args *a);
/* Whether the output is as expected within `relative`, and what lies between the rows as it was. */
bool small_matches(koi_device *d, const koi_args *a, float relative);
#endif
