/* A checkpoint's folder as a GGUF file, with the names that llama.cpp's converter gives. */
#ifndef TO_GGUF_H
#define TO_GGUF_H
#include <stdbool.h>

/* Matrices in FP8 become BF16, which has all of their values, or with q8 Q8_0, as embedding and head do; FP4 becomes MXFP4, or without a loss Q8_0
 * where it is an expert's w3; all else stays. Aborts on failure. n_parts above 1:
 * path ends in "-00001-of-0000N.gguf", and the parts beside it are written too. */
void to_gguf(const char *folder, const char *path, bool q8, unsigned n_parts);
#endif
