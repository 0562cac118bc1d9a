/* A checkpoint's folder as a GGUF file, with the names that llama.cpp's converter gives. */
#ifndef TO_GGUF_H
#define TO_GGUF_H

/* What becomes of the tensors. Matrices in FP8 become BF16, which has all of their values; FP4 becomes MXFP4, or without a loss Q8_0 where it is an
 * expert's w3; all else stays.
 * TO_GGUF_Q8: FP8 becomes Q8_0, as embedding, head and the compressors' tables do.
 * TO_GGUF_DS4: what files for ds4 have otherwise: a count of blocks that predict further tokens, which are not there, and another name of the split
 * patterns; and what other writers do with shapes: slow dimensions of 1, groups of rows. */
typedef enum to_gguf_kind { TO_GGUF_PLAIN, TO_GGUF_Q8, TO_GGUF_DS4 } to_gguf_kind;

/* Aborts on failure. n_parts above 1: path ends in "-00001-of-0000N.gguf", and the parts beside it are written too. */
void to_gguf(const char *folder, const char *path, to_gguf_kind kind, unsigned n_parts);
#endif
