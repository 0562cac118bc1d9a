/* Rotary embedding tables, made on the host: the reference takes cos/sin of an angle rounded to float32, and at large positions
 * a device's own sin and cos, or one more bit in the angle, would show in the logits. */
#include <math.h>
#include <stdlib.h>
#include "rope.h"

/* The dimension at which `rotations` full turns fit into the original context. */
static double correction_dim(const koi_config *c, double rotations)
{
  return c->rope_dim * log((double)c->yarn.original / (rotations * 2 * M_PI)) / (2 * log(c->compress_theta));
}

static void yarn(const koi_config *c, float *freq)
{
  double top = c->rope_dim - 1;
  double low = floor(correction_dim(c, c->yarn.beta_fast)), high = ceil(correction_dim(c, c->yarn.beta_slow));
  low = fmin(fmax(low, 0), top), high = fmin(fmax(high, 0), top);
  if (low == high) high += 0.001;
  for (uint32_t i = 0; i < c->rope_dim / 2; i++) {
    float ramp = ((float)i - (float)low) / (float)(high - low);
    ramp = fminf(fmaxf(ramp, 0), 1);
    float smooth = 1 - ramp;
    freq[i] = freq[i] / c->yarn.factor * (1 - smooth) + freq[i] * smooth;
  }
}

void koi_rope_freqs(const koi_config *c, bool compressed, float *freq)
{
  double base = compressed ? c->compress_theta : c->rope_theta;
  for (uint32_t i = 0; i < c->rope_dim / 2; i++) {
    float exponent = (float)(2 * i) / (float)c->rope_dim;
    freq[i] = 1.0f / (float)pow(base, exponent);
  }
  if (compressed && c->yarn.on) yarn(c, freq);
}

void koi_rope_row(const float *freq, uint32_t rd, uint64_t position, float *row)
{
  for (uint32_t i = 0; i < rd / 2; i++) {
    float angle = (float)position * freq[i];
    row[2 * i] = (float)cos((double)angle);
    row[2 * i + 1] = (float)sin((double)angle);
  }
}
