/* Shared by encode*.c. A block's encoder takes its values, what each counts (never NULL, never all zero), and where the block goes. */
#ifndef KOI_ENCODE_IMPL_H
#define KOI_ENCODE_IMPL_H
#include "encode.h"

typedef void koi_encode_block(const float *x, const float *w, uint8_t *out);
koi_encode_block koi_encode_q2_k, koi_encode_q3_k, koi_encode_q4_k, koi_encode_q5_k, koi_encode_q6_k, koi_encode_iq4_xs;                /* encode_k.c */
koi_encode_block koi_encode_iq2_xxs, koi_encode_iq2_xs, koi_encode_iq2_s, koi_encode_iq3_xxs, koi_encode_iq3_s; /* encode_grid.c */

/* The nearest F16; beyond the largest, the largest. What a scale is worth once it is stored. */
uint16_t koi_encode_half(float v);
float koi_encode_stored(float v);
void koi_encode_put(uint8_t *out, uint64_t v, size_t bytes); /* little endian */

/* Codes of a format: all integers from low to high, or these values in rising order. */
typedef struct koi_codes { int low, high; const int8_t *values; /* [high + 1], or NULL */ } koi_codes;
extern const koi_codes koi_codes_iq4;
/* The code whose value is nearest to v, counted from low; *value: what it is worth. */
int koi_encode_nearest(const koi_codes *c, float v, float *value);
/* The scale s (of either sign) for which s times the nearest codes fits x [n] best. 0 for zeros. */
float koi_encode_scale(const koi_codes *c, const float *x, const float *w, size_t n);
/* The line scale * code + min, codes 0 to high, that fits x [n] best; below: with a min that is not above zero. */
typedef struct koi_line { float scale, min; } koi_line;
koi_line koi_encode_line(int high, bool below, const float *x, const float *w, size_t n);
#endif
