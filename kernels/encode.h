/* Rows of floats to the blocks of a format, as files have them: by searching for the scales whose codes have the least sum of squared errors.
 * The way back is koi_formats[].decode. Nothing here allocates, so it cannot fail. */
#ifndef KOI_ENCODE_H
#define KOI_ENCODE_H
#include "format.h"

/* Whether there is an encoder for KOI_WT_*: not for FP8 and FP4, which keep their scales in another tensor. */
bool koi_encode_can(int wt);
/* x [n] values, n a multiple of the block's columns, all finite, to blocks at out. w [n]: what the square of each value's error counts, none
 * below zero; NULL: all count the same. The same input gives the same bytes. */
void koi_encode_row(int wt, const float *x, const float *w, size_t n, uint8_t *out);
#endif
