/* Rotary embedding tables. */
#ifndef KOI_ROPE_H
#define KOI_ROPE_H
#include "model.h"

/* Frequencies [rope_dim/2] of the plain or of the compressed layers, in float32 as the reference computes them. */
void koi_rope_freqs(const koi_config *c, bool compressed, float *freq);
/* cos/sin pairs [rd/2][2] of a position. */
void koi_rope_row(const float *freq, uint32_t rd, uint64_t position, float *row);
#endif
