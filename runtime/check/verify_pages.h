/* Paged caches for the cases of the verifier: scrambled pages over some of the slabs, page tables, rows of several sequences. */
#ifndef KOI_VERIFY_PAGES_H
#define KOI_VERIFY_PAGES_H
#include "kernels/ref/ref_cache.h"
#include "verify_case.h"

/* Of each sequence in the call, behind the ints of a case: first position, or row number, and count of its rows. */
#define SEQS [KOI_VERIFY_SEQ] =
static inline const int32_t *koi_verify_seq(const koi_verify_case *v) { return v->i + KOI_VERIFY_SEQ; }
/* How: rows of the sequences in turns, not one sequence after the other. */
#define KOI_VERIFY_MIXED 0x40000000u
/* Int arguments page_bytes and at (slot_bytes and at): of the second of three layers of `part` bytes. PART: bytes of a layer's part, as layout.h has them. */
#define KOI_VERIFY_PAD(n) (((n) + 63) / 64 * 64)
#define KOI_VERIFY_LAYERS(part) 3 * (part) + 64, (part) + 64
#define KOI_VERIFY_KV_PART(exact, dh, rd, page) \
  KOI_VERIFY_PAD((page) * ((exact) ? 4 * (dh) : (dh) - (rd) + ((dh) - (rd) + 63) / 64 + 2 * (rd)))
#define KOI_VERIFY_INDEX_PART(exact, ih, page) KOI_VERIFY_PAD((page) * ((exact) ? 4 * (ih) : ((ih) + 7) / 8 * 4 + ((ih) + 31) / 32))

typedef struct koi_verify_pool {
  int slab0;                                /* slot of S0 */
  int32_t bytes, at, table, ring, page;     /* as the op's; page: rows a page */
  size_t first[KOI_VERIFY_SEQS], end[KOI_VERIFY_SEQS]; /* rows of each sequence that have a page */
  koi_verify_kind kind;
  bool out;                                 /* slabs are poisoned; else all ones, which is NaN in every form */
} koi_verify_pool;

size_t koi_verify_n_seqs(const koi_verify_case *v);
/* Position of token t, from `rows`. */
size_t koi_verify_position(const koi_verify_job *j, int rows, size_t t);
/* Positions that sequence s has, those of this call too. */
size_t koi_verify_seq_end(const koi_verify_case *v, size_t s);
/* n distinct pages or slots of p, scrambled, and its slabs. */
void koi_verify_places(koi_verify_job *j, const koi_verify_pool *p, int32_t *entry, size_t n);
/* The page tables of n pools, their slabs, and `rows`. Entries of no page are -1. */
void koi_verify_tables(koi_verify_job *j, int rows, int tables, const koi_verify_pool *p, size_t n);
/* `rows` of an op that has no tables. */
void koi_verify_rows_only(koi_verify_job *j, int rows);
/* The layer's part of page or slot `entry`, before the op. */
void *koi_verify_part(const koi_verify_job *j, const koi_verify_pool *p, int32_t entry);
/* Chunk rows of all sequences, one after the other, for a compressor: `wide` values, then scores, some of them high or low. */
void koi_verify_chunk(koi_verify_job *j, int kv, size_t n_rows, size_t ld, size_t wide);
/* Small whole numbers times a power of two: the transform's sums are exact in any order, and no sum is near a tie of the rounding. */
void koi_verify_whole(koi_verify_job *j, float *x, size_t n, size_t ih);
/* Keys of the indexer in the slabs with their codes of -0 as 0: which of the two a sum that cancels gives is nobody's business. */
void koi_verify_without_minus_zero(koi_verify_job *j, int slab0, int32_t page_bytes, int32_t at, int32_t page, int32_t ih);
/* The part that row `row` of sequence number s lies in. */
void *koi_verify_row_part(const koi_verify_job *j, int tables, const koi_verify_pool *p, size_t s, size_t row);
#endif
