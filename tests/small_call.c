/* See small_call.h. */
#include "small_call.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "checks.h"

float small_gu[SMALL_E * SMALL_LDG], small_weights[SMALL_E], small_out[SMALL_E * SMALL_LDH];

koi_args small_call(koi_device *d, bool weighted)
{
  koi_args a = {.i = {[SWIGLU_E] = SMALL_E, [SWIGLU_INTER] = SMALL_INTER, [SWIGLU_LDG] = SMALL_LDG, [SWIGLU_LDH] = SMALL_LDH, [SWIGLU_HAS_W] = weighted}, .f = {[SWIGLU_LIMIT] = 2.0f}};
  OK(d->backend->alloc(d, sizeof small_gu, &a.buf[SWIGLU_GU]));
  OK(d->backend->write(d, a.buf[SWIGLU_GU], 0, sizeof small_gu, small_gu));
  OK(d->backend->alloc(d, sizeof small_out, &a.buf[SWIGLU_H]));
  OK(d->backend->fill(d, a.buf[SWIGLU_H], 0x11));
  if (weighted) {
    OK(d->backend->alloc(d, sizeof small_weights, &a.buf[SWIGLU_W]));
    OK(d->backend->write(d, a.buf[SWIGLU_W], 0, sizeof small_weights, small_weights));
  }
  return a;
}

void small_end(koi_device *d, const koi_args *a)
{
  for (size_t i = 0; i < 3; i++) d->backend->free(d, a->buf[i]);
}

void small_expect(bool weighted)
{
  for (size_t i = 0; i < KOI_COUNT(small_gu); i++) small_gu[i] = (float)((int)(i * 37 % 101) - 50) / 16;
  for (size_t i = 0; i < SMALL_E; i++) small_weights[i] = 0.25f * (float)(i + 1);
  memset(small_out, 0x11, sizeof small_out);
  koi_ref_args r = {.buf = {[SWIGLU_GU] = small_gu, [SWIGLU_W] = weighted ? small_weights : NULL, [SWIGLU_H] = small_out},
                    .bytes = {[SWIGLU_GU] = sizeof small_gu, [SWIGLU_W] = sizeof small_weights, [SWIGLU_H] = sizeof small_out},
                    .i = (const int32_t[]){[SWIGLU_E] = SMALL_E, [SWIGLU_INTER] = SMALL_INTER, [SWIGLU_LDG] = SMALL_LDG, [SWIGLU_LDH] = SMALL_LDH, [SWIGLU_HAS_W] = weighted},
                    .f = (const float[]){[SWIGLU_LIMIT] = 2.0f}};
  koi_op_swiglu.ref(&r);
}

bool small_matches(koi_device *d, const koi_args *a, float relative)
{
  static float got[SMALL_E * SMALL_LDH];
  OK(d->backend->read(d, a->buf[2], 0, sizeof got, got));
  for (size_t i = 0; i < KOI_COUNT(got); i++)
    if (fabsf(got[i] - small_out[i]) > relative * fabsf(small_out[i]) || (i % SMALL_LDH >= SMALL_INTER && memcmp(&got[i], &small_out[i], 4))) {
      printf("element %zu: %.9g, expected %.9g\n", i, (double)got[i], (double)small_out[i]);
      return false;
    }
  return true;
}
