/* Host-side repacking of a weight from the file's row-major form into tiles (kernels/layout.h). upload.c is written against this. */
#ifndef KOI_REPACK_H
#define KOI_REPACK_H
#include "model/model.h"

/* Tiles [tile0, tile1) of rows [row0, row0 + rows) of m (tile t is rows row0 + 16t ..; rows past row0 + rows are zero codes and zero-byte
 * scales) into codes and scales, which begin at tile0. scales may be NULL for types without. A matrix without a tensor (synthetic model)
 * gets random codes and scales that keep outputs of order one for inputs of order one. */
void koi_repack_rows(const koi_matrix *m, uint64_t row0, uint64_t rows, uint64_t tile0, uint64_t tile1, void *codes, void *scales);
/* Whether m has codes or scales outside the fast decoders' range (CARE). */
bool koi_repack_care(const koi_matrix *m);
/* Row-major random rows [row0, row0 + n) of a float-typed matrix without a tensor (the embedding). */
void koi_repack_random_rows(const koi_matrix *m, uint64_t row0, uint64_t n, void *out);
#endif
