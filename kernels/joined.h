/* Ops that do the work of several others in one call, for steps of few tokens, whose time is that of launches: their contracts, in the words of the ops
 * that they join (ops.h). */
#ifndef KOI_JOINED_H
#define KOI_JOINED_H

/* matvec_glu: matvec of two stacked matrices whose tiles lie in this buffer altogether (tile0 0), and swiglu of what they give: with g and u the products of
 * row r of the first and of the second, H[e][y0 + r] = silu(min(g, limit)) * clamp(u, -limit, limit) * w[e], as swiglu says. consts as matvec's.
 * bufs as matvec's with H out [E][ldy] for Y, and w [E].  ints as matvec's, n_sub 2, and has_w.  floats limit */
enum { MATVEC_GLU_W_OF = MATVEC_Y + 1 }; /* bufs */
enum { MATVEC_GLU_HAS_W = MATVEC_Y0 + 1 }; /* ints */
enum { MATVEC_GLU_LIMIT }; /* floats */

/* matvec_post: for one token, the product of a block's last matrix and hc_post of it: with o = (has_o ? O : 0) + sum over e < E of matvec's Y[e], in this order,
 * streams'[j] = post[j]*o + sum_i comb[i][j] streams[i] in place, for the rows of this part, which are whole tiles. Then, MIX rows of the next mixes: what
 * each strip of 16 columns of streams' adds to fn streams', M[strip][m]. An entry whose unit is not in this buffer adds nothing. E 0: the streams stay as they are, and of them are the
 * mixes.
 * With PRE this part is the last one, those before it have had their calls: then, as hc_pre says, Y of the mixes and streams, and post and comb anew, by the
 * work-group that arrives last; D is a multiple of 64, and arrivals 0, as afterwards.
 * consts matvec's, then HC, MIX (0: no mixes), PRE, and hc_pre's ITERS and NORM_WT
 * bufs matvec's but Y, then streams inout [HC][D], O [D], post inout [HC], comb inout [HC][HC], fn f32 tiles of MIX rows and HC*D columns, M out [D/16][MIX],
 *   scale [3], base [MIX], norm [D], Y out [D], arrivals inout i32[1]
 * ints matvec's up to ldx, sub_rows being D, n_sub 1; has_o.  floats rms_eps, hc_eps */
enum { MATVEC_POST_STREAMS = MATVEC_IDS + 1, MATVEC_POST_O, MATVEC_POST_POST, MATVEC_POST_COMB, MATVEC_POST_FN, MATVEC_POST_M, MATVEC_POST_SCALE,
       MATVEC_POST_BASE, MATVEC_POST_NORM, MATVEC_POST_Y, MATVEC_POST_ARRIVALS }; /* bufs */
enum { MATVEC_POST_HAS_O = MATVEC_LDX + 1 }; /* ints */
enum { MATVEC_POST_RMS_EPS, MATVEC_POST_HC_EPS }; /* floats */
enum { MATVEC_POST_HC = MATVEC_TILE + 1, MATVEC_POST_MIX, MATVEC_POST_PRE, MATVEC_POST_ITERS, MATVEC_POST_NORM_WT }; /* consts */

/* matvec_route: for one token, the gate's product, a matrix of n_experts rows whose tiles lie in this buffer altogether, and route of it by the work-group that
 * arrives last; arrivals are 0, as afterwards.
 * consts matvec's, then route's but BT: the bias is float
 * bufs W, S tiles, X [K], logits out [n_experts], bias [n_experts] (HASH 0), token i32[1] and tid2eid (HASH 1), ids out i32[n_used], w out [n_used], arrivals inout i32[1]
 * ints n_experts, K, n_used.  floats route_scale */
enum { MATVEC_ROUTE_LOGITS = MATVEC_X + 1, MATVEC_ROUTE_BIAS, MATVEC_ROUTE_TOKEN, MATVEC_ROUTE_TID2EID, MATVEC_ROUTE_IDS, MATVEC_ROUTE_W_OF, MATVEC_ROUTE_ARRIVALS }; /* bufs */
enum { MATVEC_ROUTE_N_EXPERTS, MATVEC_ROUTE_K, MATVEC_ROUTE_N_USED }; /* ints */
enum { MATVEC_ROUTE_SCALE }; /* floats */
enum { MATVEC_ROUTE_SCORE = MATVEC_TILE + 1, MATVEC_ROUTE_HASH }; /* consts */

/* matvecs: matvec for one vector and three matrices, or stacks of them, whose tiles lie in one buffer each: Yi[s*rowsi + r], i < 3, s < subsi. One of no
 * subs is not there.
 * consts as matvec's
 * bufs W0, S0, X [K], Y0, W1, S1, Y1, W2, S2, Y2
 * ints K, rows0, subs0, rows1, subs1, rows2, subs2 */
enum { MATVECS_W, MATVECS_S, MATVECS_X, MATVECS_Y, MATVECS_W1, MATVECS_S1, MATVECS_Y1, MATVECS_W2, MATVECS_S2, MATVECS_Y2 }; /* bufs */
enum { MATVECS_K, MATVECS_ROWS, MATVECS_SUBS, MATVECS_ROWS1, MATVECS_SUBS1, MATVECS_ROWS2, MATVECS_SUBS2 };               /* ints */
enum { MATVECS_MOST = 3 };

/* latents: for tokens of which each is its sequence's only one in the step, what follows the first products: norm_rope of each row of Q, without RoPE;
 * norm_rope of each row of KV, which kv_store then stores in the window's ring; and for n_kept compressors (A's, B's) pool_keep, for which keeps[i] has
 * one token and from = to. A window that closes with the token may be pooled before or after, as it never reaches back to the position that is
 * replaced. consts as kv_store's, and NORM_WT, the type of both norms. */
enum { LATENTS_Q, LATENTS_Q_NORM, LATENTS_KV, LATENTS_KV_NORM, LATENTS_ROPE, LATENTS_ROWS, LATENTS_TABLES, LATENTS_A, LATENTS_B, LATENTS_KEEPS, LATENTS_W0,
       LATENTS_S0 = LATENTS_W0 + KOI_SLABS }; /* bufs: Q inout [n][q_dim], q_norm, KV inout [n][DH], kv_norm, rope [n][RD/2][2], rows i32[n][2], tables, A [n][2*coff*a_dim], B [n][2*coff*b_dim], keeps i32[n][5], W0..W7 inout, S0..S7 inout */
enum { LATENTS_N, LATENTS_N_KEPT, LATENTS_Q_DIM, LATENTS_TABLE, LATENTS_RING, LATENTS_PAGE_BYTES, LATENTS_AT, LATENTS_R, LATENTS_COFF, LATENTS_SLOT_BYTES,
       LATENTS_A_DIM, LATENTS_A_AT, LATENTS_B_DIM, LATENTS_B_AT };                    /* ints */
enum { LATENTS_EPS };                                                               /* floats */
enum { LATENTS_EXACT, LATENTS_DH, LATENTS_RD, LATENTS_PAGE, LATENTS_NORM_WT };      /* consts */

/* closing: windows that close, made rows of the caches: of compressor A and, where IH is not 0, of the indexer's B what pool gives, by wins, then norm_rope
 * with a weight, in place, and kv_store into pool C or index_store into pool I, by the rows' numbers. R, COFF: pool's, for both. The ape is f32.
 * consts as kv_store's, then NORM_WT, the type of both norms, and IH, R, COFF */
enum { CLOSING_A, CLOSING_A_APE, CLOSING_A_NORM, CLOSING_A_Y, CLOSING_B, CLOSING_B_APE, CLOSING_B_NORM, CLOSING_B_Y, CLOSING_WINS, CLOSING_ROPE, CLOSING_ROWS,
       CLOSING_TABLES, CLOSING_S0, CLOSING_C0 = CLOSING_S0 + KOI_SLABS, CLOSING_I0 = CLOSING_C0 + KOI_SLABS }; /* bufs: A [T][2*coff*DH], A_ape [R][coff*DH], A_norm [DH], YA out [n_win][DH], B [T][2*coff*IH], B_ape, B_norm, YB out [n_win][IH], wins i32[n_win][5], rope [n_win][RD/2][2], rows i32[n_win][2], tables, S0..S7, C0..C7 inout, I0..I7 inout */
enum { CLOSING_N_WIN, CLOSING_SLOT_BYTES, CLOSING_A_AT, CLOSING_B_AT, CLOSING_C_TABLE, CLOSING_C_PAGE_BYTES, CLOSING_C_AT,
       CLOSING_I_TABLE, CLOSING_I_PAGE_BYTES, CLOSING_I_AT };                                       /* ints */
enum { CLOSING_EPS };                                                                              /* floats */
enum { CLOSING_EXACT, CLOSING_DH, CLOSING_RD, CLOSING_PAGE, CLOSING_NORM_WT, CLOSING_IH, CLOSING_R, CLOSING_COFF }; /* consts */

/* heads: norm_rope of the q_heads rows of each token of Q, with rms and no weight; and of the i_heads rows of each of IQ RoPE alone, then, EXACT 0,
 * index_round. consts EXACT, IH
 * bufs Q inout [n][q_heads][dim], IQ inout [n][i_heads][IH], rope [n][rd/2][2].  ints n, q_heads, dim, rd, i_heads.  floats eps */
enum { HEADS_Q, HEADS_IQ, HEADS_ROPE };                      /* bufs */
enum { HEADS_N, HEADS_Q_HEADS, HEADS_DIM, HEADS_RD, HEADS_I_HEADS }; /* ints */
enum { HEADS_EPS };                                          /* floats */
enum { HEADS_EXACT, HEADS_IH };                              /* consts */
#endif
