/* The ops: the contract of each, and the names of its arguments, constants and numbers.
 * The descriptors lie in ops_*.c, the references in ref/ref_*.c, the kernels in cl/. */
#ifndef KOI_OPS_H
#define KOI_OPS_H
#include "format.h"
#include "op.h"

/* Every op, in the order of a layer's work. */
#define KOI_OPS(X) \
  X(embed) X(gather) X(pack) X(matvec) X(matvec_glu) X(matvec_post) X(matvecs) X(matmul) X(widen) X(gemm) X(hc_pre) X(hc_post) X(norm_rope) X(kv_store) X(pool) X(pool_keep) X(latents) X(closing) X(heads) X(index_round) \
  X(index_store) X(index_score) X(topk) X(attn) X(attn_merge) X(route) X(matvec_route) X(group) X(swiglu)
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

/* embed: X[t][s][d] = W[0][0][token[t]][d] for every stream s, for tokens whose row lies in [row0, row1) of this part, row0 a multiple of 16.
 * consts WT, CARE, HC, TILE
 * bufs 0 W  1 S  2 tokens i32[T]  3 X out [T][HC][D]
 * ints T, D, row0, row1 */
enum { EMBED_W, EMBED_S, EMBED_TOKEN, EMBED_X }; /* bufs */
enum { EMBED_T, EMBED_D, EMBED_ROW0, EMBED_ROW1 }; /* ints */
enum { EMBED_WT, EMBED_CARE, EMBED_HC, EMBED_TILE }; /* consts */

/* gather: rows by their numbers: Y[i][d] = X[rows[i]][d] for i < n.
 * bufs 0 X [*][D]  1 rows i32[n]  2 Y out [n][D].  ints n, D */
enum { GATHER_X, GATHER_ROWS, GATHER_Y }; /* bufs */
enum { GATHER_N, GATHER_D }; /* ints */

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
 * through the stack: tile = s * ceil(sub_rows/TILE) + r/TILE. Weight types: layout.h.
 * consts WT, CARE (1: codes or scales outside the fast decoder's range may occur), TILE (rows of a tile: 16, 32 or 64)
 * bufs 0 W  1 S scales, as the type has them  2 X [*][ldx]  3 ids i32[E]  4 Y out [E][ldy]
 * ints E, K, n_sub, sub_rows, unit0, unit1, tile0, tile1, has_ids, x_div, ldx, ldy, y0 */
enum { MATVEC_W, MATVEC_S, MATVEC_X, MATVEC_IDS, MATVEC_Y }; /* bufs */
enum { MATVEC_E, MATVEC_K, MATVEC_N_SUB, MATVEC_SUB_ROWS, MATVEC_UNIT0, MATVEC_UNIT1, MATVEC_TILE0, MATVEC_TILE1,
       MATVEC_HAS_IDS, MATVEC_X_DIV, MATVEC_LDX, MATVEC_LDY, MATVEC_Y0 }; /* ints */
enum { MATVEC_WT, MATVEC_CARE, MATVEC_TILE }; /* consts */

/* matmul: matvec for packed panels of NT entries: for panel p with unit[p] in [unit0, unit1) (has_rows; -1: an empty panel) or unit 0
 * (has_rows 0), and column j with row = has_rows ? rows[p*NT+j] : p*NT+j (skipped when -1 or >= n_rows):
 * Y[row][y0 + s*sub_rows + r] = sum_k W[u][s][r][k] * XP[p][k][j].
 * consts WT, CARE, NT, TILE
 * bufs 0 W  1 S  2 XP [n_panels][K][NT]  3 unit i32[n_panels]  4 rows i32[n_panels*NT]  5 Y out [n_rows][ldy]
 * ints n_panels, K, n_sub, sub_rows, unit0, unit1, tile0, tile1, has_rows, n_rows, ldy, y0 */
enum { MATMUL_W, MATMUL_S, MATMUL_XP, MATMUL_UNIT, MATMUL_ROWS, MATMUL_Y }; /* bufs */
enum { MATMUL_N_PANELS, MATMUL_K, MATMUL_N_SUB, MATMUL_SUB_ROWS, MATMUL_UNIT0, MATMUL_UNIT1, MATMUL_TILE0, MATMUL_TILE1,
       MATMUL_HAS_ROWS, MATMUL_N_ROWS, MATMUL_LDY, MATMUL_Y0 }; /* ints */
enum { MATMUL_WT, MATMUL_CARE, MATMUL_NT, MATMUL_TILE }; /* consts */

/* widen: a stretch of rows of a weight as f32 row-major, for a BLAS: Y[r - row0][k] = W[0][0][r][k], row0 <= r < row1, row0 a multiple
 * of TILE and its tile 0 in the buffer is tile0.
 * consts WT, CARE, TILE.  bufs 0 W  1 S  2 Y out [row1-row0][K].  ints K, rows, tile0, row0, row1 */
enum { WIDEN_W, WIDEN_S, WIDEN_Y }; /* bufs */
enum { WIDEN_K, WIDEN_ROWS, WIDEN_TILE0, WIDEN_ROW0, WIDEN_ROW1 }; /* ints */
enum { WIDEN_WT, WIDEN_CARE, WIDEN_TILE }; /* consts */

/* gemm: Y[i][y_offset + r] = sum over j < k of X[i][j] * W[r][j], for i < n, r < rows; all f32, row-major, W's rows k long. The rest of Y is
 * left alone. No kernel of ours: the backend's library does it (backend.h).
 * bufs 0 X [n][ldx]  1 W [rows][k]  2 Y out [n][ldy].  ints n, rows, k, ldx, y_offset, ldy */
enum { GEMM_X, GEMM_W, GEMM_Y }; /* bufs */
enum { GEMM_N, GEMM_ROWS, GEMM_K, GEMM_LDX, GEMM_Y_OFFSET, GEMM_LDY }; /* ints */

/* hc_pre: from the mixes m = fn f (not yet scaled), the sum of n_parts, and the streams (docs/model.md, 2.1): with r = rsqrt(mean(f^2) + rms_eps): pre, post, comb; then
 * y = sum_i pre[i] X[i] and Y = rms(y) * norm.
 * consts HC, ITERS, HEAD (1: only pre; post and comb are not written), NORM_WT (type of norm: KOI_WT_F32/F16/BF16)
 * bufs 0 M [T][n_parts][HEAD ? HC : (2+HC)*HC]  1 X [T][HC][D]  2 scale f32[HEAD ? 1 : 3]  3 base f32[HEAD ? HC : (2+HC)*HC]  4 norm [D]
 *      5 Y out [T][D]  6 post out [T][HC]  7 comb out [T][HC][HC]
 * ints T, D, n_parts.  floats rms_eps, hc_eps */
enum { HC_PRE_M, HC_PRE_X, HC_PRE_SCALE, HC_PRE_BASE, HC_PRE_NORM, HC_PRE_Y, HC_PRE_POST, HC_PRE_COMB }; /* bufs */
enum { HC_PRE_T, HC_PRE_D, HC_PRE_N_PARTS }; /* ints */
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

/* ---- paged caches ----
 * Cache rows lie in pages of PAGE rows (a multiple of 16), a compressor's state in slots of one sequence each. Pages of one kind, and slots, are
 * a pool: up to KOI_SLABS buffers, of which those that are not there are NULL. A page-table entry and a slot's number are slab << 24 | which
 * in the slab. A page holds the rows of several layers; a layer's part of it begins page * page_bytes + at bytes into the slab (both multiples of 64),
 * a slot's at slot * slot_bytes + at. What lies in a part (sizes: layout.h):
 *   KV page      EXACT 0: codes u8[PAGE][DH-RD], scales u8[PAGE][ceil((DH-RD)/64)], rope u16[PAGE][RD], one after the other.  EXACT 1: f32[PAGE][DH]
 *   index page   EXACT 0: codes u32[PAGE/16][ceil(IH/8)][16], scales u8[PAGE/16][ceil(IH/32)][16], like an FP4 weight.  EXACT 1: f32[PAGE/16][IH][16]
 *   state        kv f32[coff*R][coff*dim], then score, the same
 * Where a row belongs is data, so that a call may hold rows of several sequences: rows i32[T][2] = {position or row number, first entry of that row's
 * sequence in `tables`}. The kind's page table begins `table` entries after that, and row r lies in its entry r / PAGE, at row r % PAGE; where it
 * is a ring of n entries, in entry (r / PAGE) % n. Entries of pages that no visible row lies in are not followed (-1). No two rows or records of a
 * call write to the same place. */
#define KOI_SLABS 8
enum { KOI_SLAB_SHIFT = 24 };

/* kv_store: row i of X becomes a cache row, row number rows[i][0]. EXACT 1: as it is. EXACT 0: dims [0, dh-rd) as FP8 in groups of 64 with E8M0
 * scales (docs/model.md, 4), the last rd dims as bf16 (round to nearest even). ring: entries of the ring; 0: the table is none. */
enum { KV_STORE_X, KV_STORE_ROWS, KV_STORE_TABLES, KV_STORE_S0 };                                   /* bufs: X [n][ldx], rows i32[n][2], tables, S0..S7 inout */
enum { KV_STORE_N, KV_STORE_LDX, KV_STORE_TABLE, KV_STORE_RING, KV_STORE_PAGE_BYTES, KV_STORE_AT }; /* ints */
enum { KV_STORE_EXACT, KV_STORE_DH, KV_STORE_RD, KV_STORE_PAGE };                                   /* consts */

/* pool: compressor rows of windows that close in this chunk (docs/model.md, 2.3), before norm and RoPE. Window i is w = win[WIN_INDEX] of its
 * sequence, with positions w*R .. w*R+R-1 and, when coff is 2, the R before them. Position q >= p0 = win[WIN_P0] is row win[WIN_ROW] + q - p0 of the
 * chunk, else row q % (coff*R) of state slot win[WIN_SLOT]; win[WIN_ZERO] is 0. `ape` is added here (chunk and state hold plain projections).
 * A chunk's row: coff*dim values, then as many scores. */
enum { POOL_KV, POOL_APE, POOL_WINS, POOL_Y, POOL_S0 };                             /* bufs: kv [T][ld], ape [R][coff*dim], wins i32[n_win][5], Y out [n_win][dim], S0..S7 */
enum { POOL_N_WIN, POOL_R, POOL_DIM, POOL_LD, POOL_COFF, POOL_SLOT_BYTES, POOL_AT }; /* ints */
enum { POOL_C_AT };                                                                 /* consts: AT, type of ape */
enum { WIN_INDEX, WIN_ROW, WIN_P0, WIN_SLOT, WIN_ZERO, POOL_WIN };                  /* numbers a window */

/* pool_keep: after pool, what later chunks need of this one. keeps[i] = {first row of the chunk, n tokens, p0 of the first, from slot, to slot}: of the last
 * coff*R positions q < p0 + n (q >= 0), row q % (coff*R) of state `to` becomes q's row of the chunk when q >= p0, else that row of state `from`
 * (nothing to do when from is to). most: coff*R when a record's slots differ, else min(largest n, coff*R) or more. No record's `to` is another's `from`. */
enum { POOL_KEEP_KV, POOL_KEEP_KEEPS, POOL_KEEP_S0 }; /* bufs: kv [T][ld] as for pool, keeps i32[n][5], S0..S7 inout */
enum { POOL_KEEP_N, POOL_KEEP_MOST, POOL_KEEP_R, POOL_KEEP_DIM, POOL_KEEP_LD, POOL_KEEP_COFF, POOL_KEEP_SLOT_BYTES, POOL_KEEP_AT }; /* ints */
enum { KEEP_ROW, KEEP_N, KEEP_P0, KEEP_FROM, KEEP_TO, POOL_KEEP_RECORD }; /* numbers a record */

/* index_round: indexer queries, in place: normalised Hadamard of each row of IH, then FP4 rounding in groups of 32, kept as values; a group that is
 * not finite becomes NaN. */
enum { INDEX_ROUND_X };  /* bufs: X inout [n][IH] */
enum { INDEX_ROUND_N };  /* ints */
enum { INDEX_ROUND_IH }; /* consts */

/* index_store: row i of X becomes index row rows[i][0]. EXACT 0: Hadamard and FP4 as above. EXACT 1: no rounding, no Hadamard. */
enum { INDEX_STORE_X, INDEX_STORE_ROWS, INDEX_STORE_TABLES, INDEX_STORE_S0 };           /* bufs: X [n][IH], rows i32[n][2], tables, S0..S7 inout */
enum { INDEX_STORE_N, INDEX_STORE_TABLE, INDEX_STORE_PAGE_BYTES, INDEX_STORE_AT };      /* ints */
enum { INDEX_STORE_EXACT, INDEX_STORE_IH, INDEX_STORE_PAGE };                           /* consts */

/* index_score: scores of index rows row0 .. row0+n_rows-1 (row0 a multiple of 16) for each token, at position pos = rows[t][0]: S[t][i - row0] =
 * sum_h w[t][h] * wscale * relu(q[t][h] . key[i]), written for i < min(row0+n_rows, (pos+1)/R); the rest is left alone. Fastest where the tokens of a
 * sequence are neighbours. */
enum { INDEX_SCORE_Q, INDEX_SCORE_W, INDEX_SCORE_ROWS, INDEX_SCORE_TABLES, INDEX_SCORE_S, INDEX_SCORE_S0 }; /* bufs: Q [T][NH][IH], w [T][NH], rows i32[T][2], tables, S out [T][lds], S0..S7 */
enum { INDEX_SCORE_T, INDEX_SCORE_ROW0, INDEX_SCORE_N_ROWS, INDEX_SCORE_LDS, INDEX_SCORE_R, INDEX_SCORE_TABLE, INDEX_SCORE_PAGE_BYTES, INDEX_SCORE_AT }; /* ints */
enum { INDEX_SCORE_WSCALE };                                                            /* floats */
enum { INDEX_SCORE_EXACT, INDEX_SCORE_IH, INDEX_SCORE_NH, INDEX_SCORE_PAGE };           /* consts */

/* topk: merges scores of rows row0 .. row0+n_rows-1 into the running choice of token t, which sees n = (pos+1)/R rows, pos = rows[t][0]: of the rows below
 * min(row0+n_rows, n) the K best by (score descending, row ascending); idx is kept in ascending order of rows. The count before the call is
 * min(K, row0, n), after it min(K, row0+n_rows, n). NaN ranks below everything; when a score was NaN, in this call or one before, idx[t][0]
 * has its sign bit set, so that the choice does not swallow it. */
enum { TOPK_S, TOPK_IDX, TOPK_VAL, TOPK_ROWS };                         /* bufs: S [T][lds], idx inout i32[T][K], val inout [T][K], rows i32[T][2] */
enum { TOPK_T, TOPK_ROW0, TOPK_N_ROWS, TOPK_LDS, TOPK_K, TOPK_R };      /* ints */

/* attn: partial attention of token t, at position p = rows[t][0] of its sequence, over split s of its visible rows: first the window rows of positions max(0,p-window+1)..p, in
 * the pages of the ring of w_pages entries, then the compressed rows: SEL 0: none; 1: rows 0 .. (p+1)/ratio - 1; 2: idx[t][0 .. min(K, (p+1)/ratio)).
 * Visible rows are numbered in this order; split s has those of [s*rows_per_split, (s+1)*rows_per_split). Scores are q.k * scale.
 * Where idx[t][0] has its sign bit set (topk) the sums of token t are NaN; the bit is no part of the row.
 * ML[t][s][h] = (max, sum of exp(score - max)), PO[t][s][h][d] = sum exp(score - max) * k[d]; an empty split writes max -INFINITY, sum 0, PO 0.
 * With MERGE also O, as attn_merge has it of them, by the work-group that arrives last for a token and its heads; arrivals are 0, as afterwards. */
enum { ATTN_Q, ATTN_ROWS, ATTN_TABLES, ATTN_IDX, ATTN_PO, ATTN_ML, ATTN_W0, ATTN_C0 = ATTN_W0 + KOI_SLABS,
       ATTN_SINK = ATTN_C0 + KOI_SLABS, ATTN_ROPE, ATTN_O, ATTN_ARRIVALS }; /* bufs: Q [T][NH][DH], rows i32[T][2], tables, idx i32[T][K], PO out [T][S][NH][DH], ML out [T][S][NH][2], W0..W7 (window), C0..C7;
                                                                                           of MERGE: sink [NH], rope [T][RD/2][2], O out [T][NH][DH], arrivals inout i32[T*NH] */
enum { ATTN_T, ATTN_WINDOW, ATTN_W_TABLE, ATTN_W_PAGES, ATTN_W_PAGE_BYTES, ATTN_W_AT, ATTN_RATIO, ATTN_C_TABLE, ATTN_C_PAGE_BYTES, ATTN_C_AT, ATTN_K,
       ATTN_N_SPLITS, ATTN_ROWS_PER_SPLIT };                                            /* ints */
enum { ATTN_SCALE };                                                                    /* floats */
enum { ATTN_EXACT, ATTN_DH, ATTN_RD, ATTN_NH, ATTN_SEL, ATTN_PAGE, ATTN_MERGED, ATTN_ST }; /* consts; ST: type of sink */

/* attn_merge: joins the splits with the sink: m = max over splits and sink[h]; o = sum PO*exp(max_s-m) / (sum l_s*exp(max_s-m) + exp(sink-m));
 * then rotates the last RD dims back by the token's cos/sin (conjugate). */
enum { ATTN_MERGE_PO, ATTN_MERGE_ML, ATTN_MERGE_SINK, ATTN_MERGE_ROPE, ATTN_MERGE_O };  /* bufs: PO [T][S][NH][DH], ML [T][S][NH][2], sink [NH], rope [T][RD/2][2], O out [T][NH][DH] */
enum { ATTN_MERGE_T, ATTN_MERGE_N_SPLITS };                                             /* ints */
enum { ATTN_MERGE_DH, ATTN_MERGE_RD, ATTN_MERGE_NH, ATTN_MERGE_ST };                    /* consts; ST: type of sink */

/* route: experts and weights of each token (docs/model.md, 2.5) from the gate's logits. A logit or bias of any expert that is NaN or infinite (HASH 0)
 * makes all of the token's weights NaN: it would otherwise vanish in the choice.
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
#include "joined.h"
#endif
