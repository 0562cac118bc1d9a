/* The ops: the contract of each, and the names of its arguments, constants and numbers.
 * The descriptors lie in ops_*.c, the references in ref/ref_*.c, the kernels in cl/. */
#ifndef KOI_OPS_H
#define KOI_OPS_H
#include "op.h"
#include "format.h"

/* Every op, in the order of a layer's work. */
#define KOI_OPS(X) \
  X(embed) X(pack) X(matvec) X(matmul) X(widen) X(hc_pre) X(hc_post) X(norm_rope) X(kv_store) X(pool) X(pool_keep) X(index_round) \
  X(index_store) X(index_score) X(topk) X(attn) X(attn_merge) X(route) X(group) X(swiglu)
/* Of each: the descriptor koi_op_NAME, and the C reference that it points at. */
#define X(name) \
  extern const koi_op koi_op_##name; \
  void koi_ref_##name(const koi_ref_args *a);
KOI_OPS(X)
#undef X
extern const koi_op *const koi_ops[]; /* NULL-terminated, every op */

/* ---- the ops ------------------------------------------------------------------------------------------------------------
 * Below each contract stand the numbers of its buffers, ints, floats and constants (OP_NAME, in the contract's order; a constant that
 * shares its name with another class is OP_C_NAME).
 * Notation: T tokens of this chunk, p0 the position of its first; D hidden; HC streams; E entries. f32 unless said. Sizes in [] are in
 * elements, slowest first. Every op writes exactly the elements stated, nothing else. */

/* embed: X[t][s][d] = table[token[t]][d] for every stream s, for tokens whose row lies in [row0, row1) of this table part.
 * consts WT (f32, f16, bf16), HC.
 * bufs 0 table [row1-row0][D] stored type, row-major  1 tokens i32[T]  2 X out [T][HC][D]
 * ints T, D, row0, row1 */
enum { EMBED_TABLE, EMBED_TOKEN, EMBED_X }; /* bufs */
enum { EMBED_T, EMBED_D, EMBED_ROW0, EMBED_ROW1 }; /* ints */
enum { EMBED_WT, EMBED_HC }; /* consts */

/* pack: panels of NT columns for matmul: XP[p][k][j] = X[rows[p*NT+j] / x_div][k], or 0 where rows[] is -1.
 * When has_rows is 0, rows[i] is i for i < n_rows, else -1.
 * consts NT.  bufs 0 X [*][ldx]  1 rows i32[n_panels*NT]  2 XP out [n_panels][K][NT]
 * ints n_panels, K, ldx, x_div, has_rows, n_rows */
enum { PACK_X, PACK_ROWS, PACK_XP }; /* bufs */
enum { PACK_N_PANELS, PACK_K, PACK_LDX, PACK_X_DIV, PACK_HAS_ROWS, PACK_N_ROWS }; /* ints */
enum { PACK_NT }; /* consts */

/* matvec: one output row an entry e < E: Y[e][y0 + s*sub_rows + r] = sum_k W[u][s][r][k] * X[e / x_div][k], u = has_ids ? ids[e] : 0,
 * for the units u in [unit0, unit1) and, of each sub-matrix stack, the tiles [tile0, tile1) that this buffer holds; other outputs are
 * left alone. W is n_sub matrices of sub_rows rows, each padded to whole tiles, one after the other (layout.h); tile numbers count
 * through the stack: tile = s * ceil(sub_rows/16) + r/16. Weight types: layout.h.
 * consts WT, CARE (1: codes or scales outside the fast decoder's range may occur)
 * bufs 0 W  1 S u8 (E8M0; types FP8, FP4)  2 X [*][ldx]  3 ids i32[E]  4 Y out [E][ldy]
 * ints E, K, n_sub, sub_rows, unit0, unit1, tile0, tile1, has_ids, x_div, ldx, ldy, y0 */
enum { MATVEC_W, MATVEC_S, MATVEC_X, MATVEC_IDS, MATVEC_Y }; /* bufs */
enum { MATVEC_E, MATVEC_K, MATVEC_N_SUB, MATVEC_SUB_ROWS, MATVEC_UNIT0, MATVEC_UNIT1, MATVEC_TILE0, MATVEC_TILE1,
       MATVEC_HAS_IDS, MATVEC_X_DIV, MATVEC_LDX, MATVEC_LDY, MATVEC_Y0 }; /* ints */
enum { MATVEC_WT, MATVEC_CARE }; /* consts */

/* matmul: the same for packed panels of NT entries: for panel p with unit[p] in [unit0, unit1) (has_rows; -1: an empty panel) or unit 0
 * (has_rows 0), and column j with row = has_rows ? rows[p*NT+j] : p*NT+j (skipped when -1 or >= n_rows):
 * Y[row][y0 + s*sub_rows + r] = sum_k W[u][s][r][k] * XP[p][k][j].
 * consts WT, CARE, NT
 * bufs 0 W  1 S  2 XP [n_panels][K][NT]  3 unit i32[n_panels]  4 rows i32[n_panels*NT]  5 Y out [n_rows][ldy]
 * ints n_panels, K, n_sub, sub_rows, unit0, unit1, tile0, tile1, has_rows, n_rows, ldy, y0 */
enum { MATMUL_W, MATMUL_S, MATMUL_XP, MATMUL_UNIT, MATMUL_ROWS, MATMUL_Y }; /* bufs */
enum { MATMUL_N_PANELS, MATMUL_K, MATMUL_N_SUB, MATMUL_SUB_ROWS, MATMUL_UNIT0, MATMUL_UNIT1, MATMUL_TILE0, MATMUL_TILE1,
       MATMUL_HAS_ROWS, MATMUL_N_ROWS, MATMUL_LDY, MATMUL_Y0 }; /* ints */
enum { MATMUL_WT, MATMUL_CARE, MATMUL_NT }; /* consts */

/* widen: a stretch of rows of a weight as f32 row-major, for a BLAS: Y[r - row0][k] = W[0][0][r][k], row0 <= r < row1, row0 a multiple
 * of 16 and its tile 0 in the buffer is tile0.
 * consts WT, CARE.  bufs 0 W  1 S  2 Y out [row1-row0][K].  ints K, rows, tile0, row0, row1 */
enum { WIDEN_W, WIDEN_S, WIDEN_Y }; /* bufs */
enum { WIDEN_K, WIDEN_ROWS, WIDEN_TILE0, WIDEN_ROW0, WIDEN_ROW1 }; /* ints */
enum { WIDEN_WT, WIDEN_CARE }; /* consts */

/* hc_pre: from the mixes m = fn f (not yet scaled) and the streams, section 2.1: with r = rsqrt(mean(f^2) + rms_eps): pre, post, comb; then
 * y = sum_i pre[i] X[i] and Y = rms(y) * norm.
 * consts HC, ITERS, HEAD (1: only pre; post and comb are not written), NORM_WT (type of norm: KOI_WT_F32/F16/BF16)
 * bufs 0 M [T][HEAD ? HC : (2+HC)*HC]  1 X [T][HC][D]  2 scale f32[HEAD ? 1 : 3]  3 base f32[HEAD ? HC : (2+HC)*HC]  4 norm [D]
 *      5 Y out [T][D]  6 post out [T][HC]  7 comb out [T][HC][HC]
 * ints T, D.  floats rms_eps, hc_eps */
enum { HC_PRE_M, HC_PRE_X, HC_PRE_SCALE, HC_PRE_BASE, HC_PRE_NORM, HC_PRE_Y, HC_PRE_POST, HC_PRE_COMB }; /* bufs */
enum { HC_PRE_T, HC_PRE_D }; /* ints */
enum { HC_PRE_RMS_EPS, HC_PRE_HC_EPS }; /* floats */
enum { HC_PRE_HC, HC_PRE_ITERS, HC_PRE_HEAD, HC_PRE_NORM_WT }; /* consts */

/* hc_post: X'[j] = post[j]*o + sum_i comb[i][j] X[i] in place, with o = O[t] + sum over n_parts of parts[t*n_parts + i] in this order.
 * consts HC.  bufs 0 X inout [T][HC][D]  1 O [T][D]  2 post [T][HC]  3 comb [T][HC][HC]  4 parts [T*n_parts][D]
 * ints T, D, n_parts */
enum { HC_POST_X, HC_POST_O, HC_POST_POST, HC_POST_COMB, HC_POST_PARTS }; /* bufs */
enum { HC_POST_T, HC_POST_D, HC_POST_N_PARTS }; /* ints */
enum { HC_POST_HC }; /* consts */

/* norm_rope: n rows of `dim`: NORM 0: none, 1: rms without weight, 2: rms with weight; then RoPE on the last rd dims (interleaved pairs)
 * with cos/sin of table row i / rows_per_pos. rd 0: no RoPE. Y may be X.
 * consts NORM, NORM_WT (its type).  bufs 0 X [n][ldx]  1 norm [dim]  2 rope [*][rd/2][2] (cos, sin)  3 Y out [n][ldy]
 * ints n, dim, rd, rows_per_pos, ldx, ldy.  floats eps */
enum { NORM_ROPE_X, NORM_ROPE_NORM, NORM_ROPE_ROPE, NORM_ROPE_Y }; /* bufs */
enum { NORM_ROPE_N, NORM_ROPE_DIM, NORM_ROPE_RD, NORM_ROPE_ROWS_PER_POS, NORM_ROPE_LDX, NORM_ROPE_LDY }; /* ints */
enum { NORM_ROPE_EPS }; /* floats */
enum { NORM_ROPE_C_NORM, NORM_ROPE_NORM_WT }; /* consts */

/* kv_store: row i goes to cache row (first + i) % cap. EXACT 1: as it is. EXACT 0: dims [0, dh-rd) as FP8 in groups of 64 with E8M0 scales
 * (deepseek-v4.md section 4), the last rd dims as bf16 (round to nearest even).
 * consts EXACT, DH, RD.  bufs 0 X [n][ldx]  1 codes out u8[cap][DH-RD] (EXACT: f32[cap][DH])  2 scales out u8[cap][ceil((DH-RD)/64)]  3 rope out u16[cap][RD]
 * ints n, first, cap, ldx */

/* pool: compressor rows of the windows win0 .. win0+n_win-1 that close in this chunk (section 2.3), before norm and RoPE. Window i has
 * positions i*R .. i*R+R-1. Position q >= p0 is row q-p0 of kv/score, else row q % (coff*R) of the state. coff = 2 when R is 4, else 1;
 * `ape` is added here (kv/score and the state hold plain projections).
 * consts AT (type of ape).  bufs 0 kv [T][ld]  1 score [T][ld]  2 kv_state [coff*R][coff*dim]  3 score_state  4 ape [R][coff*dim]  5 Y out [n_win][dim]
 * ints p0, R, dim, win0, n_win, ld */

/* pool_keep: after pool, the last min(T, coff*R) positions of the chunk go into the state: row q % (coff*R).
 * bufs 0 kv [T][ld]  1 score [T][ld]  2 kv_state out  3 score_state out.  ints T, p0, R, dim, ld */

/* index_round: indexer queries, in place: normalised Hadamard of each row of IH, then FP4 rounding in groups of 32, kept as values.
 * consts IH.  bufs 0 X inout [n][IH].  ints n */
enum { INDEX_ROUND_X }; /* bufs */
enum { INDEX_ROUND_N }; /* ints */
enum { INDEX_ROUND_IH }; /* consts */

/* index_store: indexer keys to cache rows first .. first+n-1. EXACT 0: Hadamard and FP4 as above, stored like an FP4 weight (layout.h):
 * codes u32[tile][ceil(IH/8)][16], scales u8[tile][ceil(IH/32)][16]. EXACT 1: f32[tile][IH][16], no rounding, no Hadamard.
 * consts EXACT, IH.  bufs 0 X [n][IH]  1 codes out  2 scales out.  ints n, first */

/* index_score: scores of cache rows row0 .. row0+n_rows-1 (row0 a multiple of 16) for each token: S[t][i - row0] =
 * sum_h w[t][h] * wscale * relu(q[t][h] . key[i]), written for i < min(row0+n_rows, (p0+t+1)/4); the rest is left alone.
 * consts EXACT, IH, NH.  bufs 0 Q [T][NH][IH]  1 w [T][NH]  2 codes  3 scales  4 S out [T][lds]
 * ints T, p0, row0, n_rows, lds.  floats wscale */

/* topk: merges scores of rows row0 .. row0+n_rows-1 into the running choice of token t: of the rows below min(row0+n_rows, (p0+t+1)/4)
 * the K best by (score descending, row ascending); idx is kept in ascending order of rows. The count before the call is
 * min(K, row0, (p0+t+1)/4), after it min(K, row0+n_rows, (p0+t+1)/4). NaN ranks below everything.
 * bufs 0 S [T][lds]  1 idx inout i32[T][K]  2 val inout [T][K].  ints T, p0, row0, n_rows, lds, K */

/* attn: partial attention of token t over split s of its visible rows: first the window rows of positions max(0,p-w+1)..p (cache row
 * q % cap), then the compressed rows: SEL 0: none; 1: rows 0 .. (p+1)/ratio - 1; 2: idx[t][0 .. min(K, (p+1)/4)). Visible rows are numbered
 * in this order; split s has those of [s*rows_per_split, (s+1)*rows_per_split). Scores are q.k * scale.
 * ML[t][s][h] = (max, sum of exp(score - max)), PO[t][s][h][d] = sum exp(score - max) * k[d]; an empty split writes max -INFINITY, sum 0, PO 0.
 * consts EXACT, DH, RD, H, SEL
 * bufs 0 Q [T][H][DH]  1 w_codes  2 w_scales  3 w_rope  4 c_codes  5 c_scales  6 c_rope (as kv_store)  7 idx i32[T][K]  8 PO out [T][S][H][DH]  9 ML out [T][S][H][2]
 * ints T, p0, window, cap, ratio, K, n_splits, rows_per_split.  floats scale */

/* attn_merge: joins the splits with the sink: m = max over splits and sink[h]; o = sum PO*exp(max_s-m) / (sum l_s*exp(max_s-m) + exp(sink-m));
 * then rotates the last RD dims back by the token's cos/sin (conjugate).
 * consts DH, RD, H, ST (type of sink).  bufs 0 PO [T][S][H][DH]  1 ML [T][S][H][2]  2 sink [H]  3 rope [T][RD/2][2]  4 O out [T][H][DH]
 * ints T, n_splits */
enum { ATTN_MERGE_PO, ATTN_MERGE_ML, ATTN_MERGE_SINK, ATTN_MERGE_ROPE, ATTN_MERGE_O }; /* bufs */
enum { ATTN_MERGE_T, ATTN_MERGE_N_SPLITS }; /* ints */
enum { ATTN_MERGE_DH, ATTN_MERGE_RD, ATTN_MERGE_NH, ATTN_MERGE_ST }; /* consts */

/* route: experts and weights of each token (section 2.5) from the gate's logits.
 * consts SCORE (0 sqrtsoftplus, 1 softmax, 2 sigmoid), HASH, BT (type of bias)
 * bufs 0 logits [T][ld]  1 bias [n_experts] (HASH 0)  2 tokens i32[T]  3 tid2eid i32[n_vocab][n_used] (HASH 1)  4 ids out i32[T][n_used]  5 w out [T][n_used]
 * ints T, n_experts, n_used, ld.  floats route_scale */
enum { ROUTE_LOGITS, ROUTE_BIAS, ROUTE_TOKENS, ROUTE_TID2EID, ROUTE_IDS, ROUTE_W }; /* bufs */
enum { ROUTE_T, ROUTE_N_EXPERTS, ROUTE_N_USED, ROUTE_LD }; /* ints */
enum { ROUTE_ROUTE_SCALE }; /* floats */
enum { ROUTE_SCORE, ROUTE_HASH, ROUTE_BT }; /* consts */

/* group: entries e = 0 .. E-1 with ids[e] in [0, n_units), stably sorted by unit into panels of NT; panels of a unit are consecutive, units ascending.
 * rows[p*NT+j] = entry or -1; unit[p] = unit, or -1 for the panels left over (their rows are -1). n_panels >= ceil(E/NT) + n_units always fits.
 * consts NT.  bufs 0 ids i32[E]  1 rows out i32[n_panels*NT]  2 unit out i32[n_panels]
 * ints E, n_units, n_panels */
enum { GROUP_IDS, GROUP_ROWS, GROUP_UNIT }; /* bufs */
enum { GROUP_E, GROUP_N_UNITS, GROUP_N_PANELS }; /* ints */
enum { GROUP_NT }; /* consts */

/* swiglu: H[e][i] = silu(min(g, limit)) * clamp(u, -limit, limit) * w[e], g = GU[e][i], u = GU[e][inter+i]; no clamp when limit <= 0; w is 1
 * when has_w is 0.  bufs 0 GU [E][ldg]  1 w [E]  2 H out [E][ldh].  ints E, inter, ldg, ldh, has_w.  floats limit */
enum { SWIGLU_GU, SWIGLU_W, SWIGLU_H }; /* bufs */
enum { SWIGLU_E, SWIGLU_INTER, SWIGLU_LDG, SWIGLU_LDH, SWIGLU_HAS_W }; /* ints */
enum { SWIGLU_LIMIT }; /* floats */
#endif
