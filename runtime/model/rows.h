/* Rows of a weight's matrices out of its file into memory, by reading and not through the mapping: what cannot be read is an error that names file
 * and tensor. */
#ifndef KOI_ROWS_H
#define KOI_ROWS_H
#include "model.h"

/* What one thread reads into. Zeros make an empty one. */
typedef struct koi_rows {
  uint8_t *codes, *scales;
  size_t codes_room, scales_room; /* bytes */
  bool pass;                      /* the file's pages are not wanted again soon (koi_tensor_pass) */
  koi_stored m;                   /* the rows that were read; of a weight that is made up, all of the matrix */
  uint64_t first;                 /* which of m's is the first that was asked for */
} koi_rows;

/* Rows [row, row + n) of a piece's matrix. */
koine_status koi_rows_read(koi_rows *r, const koi_weight *w, const koi_piece *p, uint64_t row, uint64_t n);
/* Room for that, so that reading does not allocate. */
koine_status koi_rows_room(koi_rows *r, const koi_weight *w, const koi_piece *p, uint64_t n);
/* Bytes [at, at + n) of a tensor; NULL: the status is *s. */
const uint8_t *koi_rows_bytes(koi_rows *r, const koi_tensor *t, uint64_t at, size_t n, koine_status *s);
koine_status koi_rows_bytes_room(koi_rows *r, uint64_t n);
void koi_rows_free(koi_rows *r);
#endif
