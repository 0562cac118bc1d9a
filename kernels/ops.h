/* Op descriptors: one record an op, for the runtime, the tuner, the tests and the C reference alike.
 *
 * An op is called with buffers, ints and floats (koi_args) and was built with constants (`consts`, part of the meaning: types and
 * sizes that the compiler should see) and parameters (`params`, no part of the meaning: how the kernel is cut). A kernel's arguments
 * are its buffers, then its ints, then its floats, in the descriptor's order; consts and params reach it as -D NAME=value.
 * All activations are float, row-major. Unused buffers are NULL in koi_args (the backend passes a dummy).
 *
 * Weight matrices lie on the device in tiles of 16 rows (kernels/layout.h). */
#ifndef KOI_OPS_H
#define KOI_OPS_H
#include <stddef.h>
#include <stdint.h>

#define KOI_MAX_BUFS 12
#define KOI_MAX_INTS 16
#define KOI_MAX_FLOATS 4
#define KOI_MAX_CONSTS 10
#define KOI_MAX_PARAMS 8

typedef struct koi_buf koi_buf;

typedef struct koi_args {
  koi_buf *buf[KOI_MAX_BUFS];
  int32_t i[KOI_MAX_INTS];
  float f[KOI_MAX_FLOATS];
} koi_args;

/* The same with host pointers: what the C reference sees. bytes: sizes of the buffers. */
typedef struct koi_ref_args {
  void *buf[KOI_MAX_BUFS];
  size_t bytes[KOI_MAX_BUFS];
  const int32_t *i;
  const float *f;
  const int32_t *c;
} koi_ref_args;

typedef struct koi_range { size_t global[3], local[3]; } koi_range; /* local[0] 0: the driver chooses */

/* What a rule for parameters may look at: the device in numbers, never its name. */
typedef struct koi_target {
  uint32_t vector_width;  /* preferred float vector width */
  uint32_t lanes;         /* work-group multiple; 0 unknown */
  uint32_t max_group;
  uint64_t local_bytes;
  uint32_t n_units;
  int local_is_global;    /* CPUs: work-groups of one work-item with wide vectors */
  int denormals;
} koi_target;

typedef struct koi_param {
  const char *name;            /* the macro */
  int32_t cpu, gpu;            /* defaults: where local memory is ordinary memory, and elsewhere */
  const int32_t *values;       /* what the tuner may try */
  size_t n_values;
} koi_param;

enum { KOI_IN = 1, KOI_OUT = 2, KOI_INOUT = 3 };
typedef struct koi_buf_desc { const char *name, *shape; int access; } koi_buf_desc;

typedef struct koi_op {
  const char *name;            /* also the kernel's function name */
  const char *source;          /* file in kernels/cl without its ending */
  koi_buf_desc bufs[KOI_MAX_BUFS];
  const char *ints[KOI_MAX_INTS], *floats[KOI_MAX_FLOATS], *consts[KOI_MAX_CONSTS]; /* NULL-terminated unless full */
  koi_param params[KOI_MAX_PARAMS];                                               /* ends at name NULL */
  /* NULL: any combination. Else 1 when the parameters are legal for these constants on this target. */
  int (*legal)(const koi_target *t, const int32_t *c, const int32_t *p);
  /* NULL: the cpu/gpu defaults. Else adjusts the defaults in p to the constants and the target so that they are legal. */
  void (*choose)(const koi_target *t, const int32_t *c, int32_t *p);
  void (*launch)(const koi_args *a, const int32_t *c, const int32_t *p, koi_range *out);
  double (*flops)(const koi_args *a, const int32_t *c);
  double (*bytes)(const koi_args *a, const int32_t *c); /* that must move at least */
  void (*ref)(const koi_ref_args *a); /* the C reference: defines correct */
} koi_op;

size_t koi_op_n_bufs(const koi_op *op);
size_t koi_op_n_ints(const koi_op *op);
size_t koi_op_n_floats(const koi_op *op);
size_t koi_op_n_consts(const koi_op *op);
size_t koi_op_n_params(const koi_op *op);
/* The parameters for a target before any tuning: defaults, adjusted by choose. */
void koi_op_defaults(const koi_op *op, const koi_target *t, const int32_t *c, int32_t *p);
extern const koi_op *const koi_ops[]; /* NULL-terminated, every op */

/* ---- types that constants name ---- */
enum { KOI_WT_F32, KOI_WT_F16, KOI_WT_BF16, KOI_WT_FP8, KOI_WT_FP4 }; /* a weight's stored precision */

/* ---- the ops ------------------------------------------------------------------------------------------------------------
 * Notation: T tokens of this chunk, p0 the position of its first; D hidden; HC streams; E entries. f32 unless said. Sizes in [] are in
 * elements, slowest first. Every op writes exactly the elements stated, nothing else. */

/* embed: X[t][s][d] = table[token[t]][d] for every stream s, for tokens whose row lies in [row0, row1) of this table part.
 * consts WT (f32, f16, bf16), HC.
 * bufs 0 table [row1-row0][D] stored type, row-major  1 tokens i32[T]  2 X out [T][HC][D]
 * ints T, D, row0, row1 */
extern const koi_op koi_op_embed;

/* pack: panels of NT columns for matmul: XP[p][k][j] = X[rows[p*NT+j] / x_div][k], or 0 where rows[] is -1.
 * When has_rows is 0, rows[i] is i for i < n_rows, else -1.
 * consts NT.  bufs 0 X [*][ldx]  1 rows i32[n_panels*NT]  2 XP out [n_panels][K][NT]
 * ints n_panels, K, ldx, x_div, has_rows, n_rows */
extern const koi_op koi_op_pack;

/* matvec: one output row an entry e < E: Y[e][y0 + s*sub_rows + r] = sum_k W[u][s][r][k] * X[e / x_div][k], u = has_ids ? ids[e] : 0,
 * for the units u in [unit0, unit1) and, of each sub-matrix stack, the tiles [tile0, tile1) that this buffer holds; other outputs are
 * left alone. W is n_sub matrices of sub_rows rows, each padded to whole tiles, one after the other (layout.h); tile numbers count
 * through the stack: tile = s * ceil(sub_rows/16) + r/16. Weight types: layout.h.
 * consts WT, CARE (1: codes or scales outside the fast decoder's range may occur)
 * bufs 0 W  1 S u8 (E8M0; types FP8, FP4)  2 X [*][ldx]  3 ids i32[E]  4 Y out [E][ldy]
 * ints E, K, n_sub, sub_rows, unit0, unit1, tile0, tile1, has_ids, x_div, ldx, ldy, y0 */
extern const koi_op koi_op_matvec;

/* matmul: the same for packed panels of NT entries: for panel p with unit[p] in [unit0, unit1) (has_rows; -1: an empty panel) or unit 0
 * (has_rows 0), and column j with row = has_rows ? rows[p*NT+j] : p*NT+j (skipped when -1 or >= n_rows):
 * Y[row][y0 + s*sub_rows + r] = sum_k W[u][s][r][k] * XP[p][k][j].
 * consts WT, CARE, NT
 * bufs 0 W  1 S  2 XP [n_panels][K][NT]  3 unit i32[n_panels]  4 rows i32[n_panels*NT]  5 Y out [n_rows][ldy]
 * ints n_panels, K, n_sub, sub_rows, unit0, unit1, tile0, tile1, has_rows, n_rows, ldy, y0 */
extern const koi_op koi_op_matmul;

/* widen: a stretch of rows of a weight as f32 row-major, for a BLAS: Y[r - row0][k] = W[0][0][r][k], row0 <= r < row1, row0 a multiple
 * of 16 and its tile 0 in the buffer is tile0.
 * consts WT, CARE.  bufs 0 W  1 S  2 Y out [row1-row0][K].  ints K, rows, tile0, row0, row1 */
extern const koi_op koi_op_widen;

/* hc_pre: from the mixes m = fn f (not yet scaled) and the streams, section 2.1: with r = rsqrt(mean(f^2) + rms_eps): pre, post, comb; then
 * y = sum_i pre[i] X[i] and Y = rms(y) * norm.
 * consts HC, ITERS, HEAD (1: only pre; post and comb are not written), NT_ (type of norm: KOI_WT_F32/F16/BF16)
 * bufs 0 M [T][HEAD ? HC : (2+HC)*HC]  1 X [T][HC][D]  2 scale f32[HEAD ? 1 : 3]  3 base f32[HEAD ? HC : (2+HC)*HC]  4 norm [D]
 *      5 Y out [T][D]  6 post out [T][HC]  7 comb out [T][HC][HC]
 * ints T, D.  floats rms_eps, hc_eps */
extern const koi_op koi_op_hc_pre;

/* hc_post: X'[j] = post[j]*o + sum_i comb[i][j] X[i] in place, with o = O[t] + sum over n_parts of parts[t*n_parts + i] in this order.
 * consts HC.  bufs 0 X inout [T][HC][D]  1 O [T][D]  2 post [T][HC]  3 comb [T][HC][HC]  4 parts [T*n_parts][D]
 * ints T, D, n_parts */
extern const koi_op koi_op_hc_post;

/* norm_rope: n rows of `dim`: NORM 0: none, 1: rms without weight, 2: rms with weight; then RoPE on the last rd dims (interleaved pairs)
 * with cos/sin of table row i / rows_per_pos. rd 0: no RoPE. Y may be X.
 * consts NORM, NT_.  bufs 0 X [n][ldx]  1 norm [dim]  2 rope [*][rd/2][2] (cos, sin)  3 Y out [n][ldy]
 * ints n, dim, rd, rows_per_pos, ldx, ldy.  floats eps */
extern const koi_op koi_op_norm_rope;

/* kv_store: row i goes to cache row (first + i) % cap. EXACT 1: as it is. EXACT 0: dims [0, dh-rd) as FP8 in groups of 64 with E8M0 scales
 * (deepseek-v4.md section 4), the last rd dims as bf16 (round to nearest even).
 * consts EXACT, DH, RD.  bufs 0 X [n][ldx]  1 codes out u8[cap][DH-RD] (EXACT: f32[cap][DH])  2 scales out u8[cap][ceil((DH-RD)/64)]  3 rope out u16[cap][RD]
 * ints n, first, cap, ldx */
extern const koi_op koi_op_kv_store;

/* pool: compressor rows of the windows win0 .. win0+n_win-1 that close in this chunk (section 2.3), before norm and RoPE. Window i has
 * positions i*R .. i*R+R-1. Position q >= p0 is row q-p0 of kv/score, else row q % (coff*R) of the state. coff = 2 when R is 4, else 1;
 * `ape` is added here (kv/score and the state hold plain projections).
 * consts AT (type of ape).  bufs 0 kv [T][ld]  1 score [T][ld]  2 kv_state [coff*R][coff*dim]  3 score_state  4 ape [R][coff*dim]  5 Y out [n_win][dim]
 * ints p0, R, dim, win0, n_win, ld */
extern const koi_op koi_op_pool;

/* pool_keep: after pool, the last min(T, coff*R) positions of the chunk go into the state: row q % (coff*R).
 * bufs 0 kv [T][ld]  1 score [T][ld]  2 kv_state out  3 score_state out.  ints T, p0, R, dim, ld */
extern const koi_op koi_op_pool_keep;

/* index_round: indexer queries, in place: normalised Hadamard of each row of IH, then FP4 rounding in groups of 32, kept as values.
 * consts IH.  bufs 0 X inout [n][IH].  ints n */
extern const koi_op koi_op_index_round;

/* index_store: indexer keys to cache rows first .. first+n-1. EXACT 0: Hadamard and FP4 as above, stored like an FP4 weight (layout.h):
 * codes u32[tile][ceil(IH/8)][16], scales u8[tile][ceil(IH/32)][16]. EXACT 1: f32[tile][IH][16], no rounding, no Hadamard.
 * consts EXACT, IH.  bufs 0 X [n][IH]  1 codes out  2 scales out.  ints n, first */
extern const koi_op koi_op_index_store;

/* index_score: scores of cache rows row0 .. row0+n_rows-1 (row0 a multiple of 16) for each token: S[t][i - row0] =
 * sum_h w[t][h] * wscale * relu(q[t][h] . key[i]), written for i < min(row0+n_rows, (p0+t+1)/4); the rest is left alone.
 * consts EXACT, IH, NH.  bufs 0 Q [T][NH][IH]  1 w [T][NH]  2 codes  3 scales  4 S out [T][lds]
 * ints T, p0, row0, n_rows, lds.  floats wscale */
extern const koi_op koi_op_index_score;

/* topk: merges scores of rows row0 .. row0+n_rows-1 into the running choice of token t: of the rows below min(row0+n_rows, (p0+t+1)/4)
 * the K best by (score descending, row ascending); idx is kept in ascending order of rows. The count before the call is
 * min(K, row0, (p0+t+1)/4), after it min(K, row0+n_rows, (p0+t+1)/4). NaN ranks below everything.
 * bufs 0 S [T][lds]  1 idx inout i32[T][K]  2 val inout [T][K].  ints T, p0, row0, n_rows, lds, K */
extern const koi_op koi_op_topk;

/* attn: partial attention of token t over split s of its visible rows: first the window rows of positions max(0,p-w+1)..p (cache row
 * q % cap), then the compressed rows: SEL 0: none; 1: rows 0 .. (p+1)/ratio - 1; 2: idx[t][0 .. min(K, (p+1)/4)). Visible rows are numbered
 * in this order; split s has those of [s*rows_per_split, (s+1)*rows_per_split). Scores are q.k * scale.
 * ML[t][s][h] = (max, sum of exp(score - max)), PO[t][s][h][d] = sum exp(score - max) * k[d]; an empty split writes max -INFINITY, sum 0, PO 0.
 * consts EXACT, DH, RD, H, SEL
 * bufs 0 Q [T][H][DH]  1 w_codes  2 w_scales  3 w_rope  4 c_codes  5 c_scales  6 c_rope (as kv_store)  7 idx i32[T][K]  8 PO out [T][S][H][DH]  9 ML out [T][S][H][2]
 * ints T, p0, window, cap, ratio, K, n_splits, rows_per_split.  floats scale */
extern const koi_op koi_op_attn;

/* attn_merge: joins the splits with the sink: m = max over splits and sink[h]; o = sum PO*exp(max_s-m) / (sum l_s*exp(max_s-m) + exp(sink-m));
 * then rotates the last RD dims back by the token's cos/sin (conjugate).
 * consts DH, RD, H, ST (type of sink).  bufs 0 PO [T][S][H][DH]  1 ML [T][S][H][2]  2 sink [H]  3 rope [T][RD/2][2]  4 O out [T][H][DH]
 * ints T, n_splits */
extern const koi_op koi_op_attn_merge;

/* route: experts and weights of each token (section 2.5) from the gate's logits. A logit or bias of any expert that is NaN or infinite (HASH 0)
 * makes all of the token's weights NaN: it would otherwise vanish in the choice.
 * consts SCORE (0 sqrtsoftplus, 1 softmax, 2 sigmoid), HASH, BT (type of bias)
 * bufs 0 logits [T][ld]  1 bias [n_experts] (HASH 0)  2 tokens i32[T]  3 tid2eid i32[n_vocab][n_used] (HASH 1)  4 ids out i32[T][n_used]  5 w out [T][n_used]
 * ints T, n_experts, n_used, ld.  floats route_scale */
extern const koi_op koi_op_route;

/* group: entries e = 0 .. E-1 with ids[e] in [0, n_units), stably sorted by unit into panels of NT; panels of a unit are consecutive, units ascending.
 * rows[p*NT+j] = entry or -1; unit[p] = unit, or -1 for the panels left over (their rows are -1). n_panels >= ceil(E/NT) + n_units always fits.
 * consts NT.  bufs 0 ids i32[E]  1 rows out i32[n_panels*NT]  2 unit out i32[n_panels]
 * ints E, n_units, n_panels */
extern const koi_op koi_op_group;

/* swiglu: H[e][i] = silu(min(g, limit)) * clamp(u, -limit, limit) * w[e], g = GU[e][i], u = GU[e][inter+i]; no clamp when limit <= 0; w is 1
 * when has_w is 0.  bufs 0 GU [E][ldg]  1 w [E]  2 H out [E][ldh].  ints E, inter, ldg, ldh, has_w.  floats limit */
extern const koi_op koi_op_swiglu;
#endif
