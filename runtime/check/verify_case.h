/* What the machinery of verify.c and the tables of cases (verify_mat.c, verify_gemm.c, verify_rows.c, verify_cache.c, verify_joined.c, verify_index.c, verify_attn.c) share. */
#ifndef KOI_VERIFY_CASE_H
#define KOI_VERIFY_CASE_H
#include "kernels/ref/ref.h"
#include "base/base.h"
#include "kernels/ops.h"

/* What an output holds before the op runs: a quiet NaN that no op makes. */
#define KOI_VERIFY_POISON 0x7fe5c35au
/* Allowed error of a sum of products, relative to the sum of their magnitudes. */
#define KOI_VERIFY_TOLERANCE 4e-6f

enum { KOI_VERIFY_SEQ = KOI_MAX_INTS, KOI_VERIFY_SEQS = 4 };

/* One call. `how`: what is special about the inputs, by the op's own flags; the highest bit marks cases too large for an interpreter. */
typedef struct koi_verify_case {
  const char *what;
  int32_t c[KOI_MAX_CONSTS], i[KOI_MAX_INTS + 2 * KOI_VERIFY_SEQS]; /* from KOI_VERIFY_SEQ on no argument: see verify_pages.h */
  float f[KOI_MAX_FLOATS];
  unsigned how;
} koi_verify_case;
#define KOI_VERIFY_BIG 0x80000000u
/* Only where constants are asked for (koi_verify_options.c): the published models', so that what a tuner tries is checked as it will run. */
#define KOI_VERIFY_ASKED 0x20000000u

/* FP4: words of eight codes, in which -0 counts as 0. */
typedef enum koi_verify_kind { KOI_VERIFY_RAW, KOI_VERIFY_I32, KOI_VERIFY_F32, KOI_VERIFY_FP4 } koi_verify_kind;

typedef struct koi_verify_slot { /* one buffer of the call */
  uint8_t *in, *want, *got; /* before the op; after it, by the reference and by the device */
  uint8_t *once;            /* what the device left at the first of two runs; NULL: there was none */
  float *bound;             /* [bytes/4] allowed difference; NULL: none */
  size_t bytes;
  koi_verify_kind kind;
  int same_as;              /* this buffer is that slot's too; -1: no */
} koi_verify_slot;

typedef struct koi_verify_job {
  const koi_op *op;
  const koi_verify_case *v;
  koi_verify_slot slot[KOI_MAX_BUFS];
  uint64_t seed;
  bool denormals; /* the device keeps fp32 subnormals */
  bool failed;    /* an allocation did */
} koi_verify_job;

typedef struct koi_verify_op {
  const koi_op *op;
  const koi_verify_case *cases;
  size_t n_cases;
  void (*make)(koi_verify_job *j);   /* the slots and what is in them; may return early when j->failed */
  void (*bound)(koi_verify_job *j);  /* after the reference: allowed differences; NULL: none allowed */
  void (*settle)(koi_verify_job *j); /* before the comparison, for results that may be written in more than one way; NULL */
  size_t free_from;                  /* a case holds whatever its constants from this number on are; 0: only with its own */
} koi_verify_op;

extern const koi_verify_op koi_verify_mat[], koi_verify_products[], koi_verify_panels[], koi_verify_gemm[], koi_verify_rows[], koi_verify_cache[], koi_verify_joined[], koi_verify_index[],
  koi_verify_attn[]; /* end at op NULL */

/* ---- inputs: the generator, and slots. NULL when memory is exhausted (j->failed is set). ---- */
uint64_t koi_verify_bits(koi_verify_job *j);
/* Uniform in [0, n). */
int32_t koi_verify_below(koi_verify_job *j, int32_t n);
/* Uniform in [low, high). */
float koi_verify_real(koi_verify_job *j, float low, float high);
void *koi_verify_bytes(koi_verify_job *j, int slot, size_t bytes, koi_verify_kind kind);
/* n random floats in [-size, size). */
float *koi_verify_floats(koi_verify_job *j, int slot, size_t n, float size);
/* n numbers of a stored type (KOI_WT_F32, F16, BF16) in [middle-size, middle+size), and some F16 subnormals. */
void koi_verify_typed(koi_verify_job *j, int slot, int type, size_t n, float middle, float size);
/* An output, poisoned. */
void *koi_verify_out(koi_verify_job *j, int slot, size_t bytes, koi_verify_kind kind);

/* ---- verify_rows.c ---- */
/* Tokens, and a table of the experts of each, as route has them. */
void koi_verify_route_tables(koi_verify_job *j, int tokens_at, int table_at, size_t n_tokens, size_t n_experts, size_t n_used);

/* ---- verify_compare.c ---- */
enum { KOI_VERIFY_TEXT = 400 };
/* False, and what is wrong in out [KOI_VERIFY_TEXT]. bare: the device's outputs held nothing, so what the reference left alone is not looked at. */
bool koi_verify_compare(const koi_verify_slot *s, const koi_buf_desc *desc, bool bare, char *out);

/* ---- bounds ---- */
/* For an op that is linear in every buffer: tolerance x what the reference gives for magnitudes of the inputs. wt: the format of weights with k
 * columns in tiles of `tile` rows, which lie where matvec and matmul have them; KOI_FORMAT_NONE: there are none. For each float output. */
void koi_verify_bound_linear(koi_verify_job *j, int wt, size_t k, int32_t tile);
/* relative x the largest magnitude in each row of n elements of what the reference gave. */
void koi_verify_bound_rows(koi_verify_job *j, int slot, size_t n, float relative);
/* relative x the magnitude of each element, but at least `least`. */
void koi_verify_bound_each(koi_verify_job *j, int slot, float relative, float least);
#endif
