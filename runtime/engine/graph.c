/* Layers to op calls. Owns no memory: everything lies in the exec's scratch or in the session's caches. One chunk of any size and one
 * token are the same path; only the matrix products choose between matvec and panels. Section numbers are those of DeepSeek's model
 * as our specification describes it (docs/model.md). */
#include <limits.h>
#include <math.h>
#include <string.h>
#include "gemm.h"
#include "graph.h"
#include "kernels/layout.h"

/* An activation that several products read: packed into panels at the first product that wants them. */
typedef struct input {
  koi_buf *x, *panels;
  int32_t ld;
  bool packed;
} input;

typedef struct step { /* one chunk on its way through the layers */
  koi_exec *x;
  const koi_step *s;
  const koi_config *c;
  int32_t t, p0, exact;
} step;

#define C(...) {__VA_ARGS__}
#define CALL(op, consts, bufs, ints, floats) \
  koi_exec_call(x, &koi_op_##op, (const int32_t[KOI_MAX_CONSTS])consts, &(koi_args){.buf = bufs, .i = ints, .f = floats})
#define TRY(expr) do { koine_status try_status = (expr); if (try_status) return try_status; } while (0)
#define S(name) x->s[KOI_S_##name]

/* ---- products ---- */
typedef struct entries { int32_t n, x_div; koi_buf *ids; } entries; /* rows of a matvec and, for grouped weights, their units */

static koine_status matvec(koi_exec *x, const koi_mat *m, koi_buf *in, int32_t ldx, entries e, koi_buf *y, int32_t ldy)
{
  for (size_t i = 0; i < m->n_parts; i++) {
    const koi_mat_part *p = &m->parts[i];
    TRY(CALL(matvec, C([MATVEC_WT] = m->wt, [MATVEC_CARE] = m->care),
             C([MATVEC_W] = p->codes, [MATVEC_S] = p->scales, [MATVEC_X] = in, [MATVEC_IDS] = e.ids, [MATVEC_Y] = y),
             C([MATVEC_E] = e.n, [MATVEC_K] = m->k, [MATVEC_N_SUB] = m->n_sub, [MATVEC_SUB_ROWS] = m->sub_rows, [MATVEC_UNIT0] = p->unit0,
               [MATVEC_UNIT1] = p->unit1, [MATVEC_TILE0] = p->tile0, [MATVEC_TILE1] = p->tile1, [MATVEC_HAS_IDS] = e.ids != NULL,
               [MATVEC_X_DIV] = e.x_div, [MATVEC_LDX] = ldx, [MATVEC_LDY] = ldy),
             C(0)));
  }
  return KOINE_OK;
}

typedef struct panels { koi_buf *x; int32_t n, nt, n_rows; koi_buf *units, *rows; } panels; /* units and rows NULL: dense */

static koine_status matmul(koi_exec *x, const koi_mat *m, const panels *g, koi_buf *y, int32_t ldy)
{
  for (size_t i = 0; i < m->n_parts; i++) {
    const koi_mat_part *p = &m->parts[i];
    TRY(CALL(matmul, C([MATMUL_WT] = m->wt, [MATMUL_CARE] = m->care, [MATMUL_NT] = g->nt),
             C([MATMUL_W] = p->codes, [MATMUL_S] = p->scales, [MATMUL_XP] = g->x, [MATMUL_UNIT] = g->units, [MATMUL_ROWS] = g->rows, [MATMUL_Y] = y),
             C([MATMUL_N_PANELS] = g->n, [MATMUL_K] = m->k, [MATMUL_N_SUB] = m->n_sub, [MATMUL_SUB_ROWS] = m->sub_rows, [MATMUL_UNIT0] = p->unit0,
               [MATMUL_UNIT1] = p->unit1, [MATMUL_TILE0] = p->tile0, [MATMUL_TILE1] = p->tile1, [MATMUL_HAS_ROWS] = g->rows != NULL,
               [MATMUL_N_ROWS] = g->n_rows, [MATMUL_LDY] = ldy),
             C(0)));
  }
  return KOINE_OK;
}

static koine_status pack(koi_exec *x, const panels *g, koi_buf *in, int32_t k, int32_t ldx, int32_t x_div)
{
  return CALL(pack, C([PACK_NT] = g->nt), C([PACK_X] = in, [PACK_ROWS] = g->rows, [PACK_XP] = g->x),
              C([PACK_N_PANELS] = g->n, [PACK_K] = k, [PACK_LDX] = ldx, [PACK_X_DIV] = x_div, [PACK_HAS_ROWS] = g->rows != NULL, [PACK_N_ROWS] = g->n_rows),
              C(0));
}

/* y[t] = m in[t] for n rows. */
static koine_status dense(koi_exec *x, const koi_mat *m, input *in, int32_t n, koi_buf *y, int32_t ldy)
{
  if (n <= x->tune.vec_tokens) return matvec(x, m, in->x, in->ld, (entries){n, 1, NULL}, y, ldy);
  if (koi_gemm_takes(x, m, n)) {
    TRY(koi_gemm_product(x, m, in->x, in->ld, n, y, ldy));
    if (!x->dry) return KOINE_OK; /* smaller chunks want the kernels below, too */
  }
  panels g = {in->panels, (int32_t)koi_ceil_div((uint64_t)n, (uint64_t)x->tune.nt), x->tune.nt, n, NULL, NULL};
  if (!in->packed) TRY(pack(x, &g, in->x, m->k, in->ld, 1));
  in->packed = true;
  return matmul(x, m, &g, y, ldy);
}

koine_status koi_graph_product(koi_exec *x, const koi_mat *m, koi_buf *in, koi_buf *panels, int32_t n, koi_buf *y)
{
  input i = {in, panels, m->k, true};
  return dense(x, m, &i, n, y, m->n_sub * m->sub_rows);
}

/* ---- hyper-connections (2.1) ---- */
static koine_status hc_pre(koi_exec *x, const koi_dev_hc *hc, const koi_vec *norm, koi_buf *streams, koi_buf *panel, int32_t n, bool head,
                           koi_buf *mix, koi_buf *y)
{
  const koi_config *c = &x->model->config;
  int32_t h = (int32_t)c->n_streams, d = (int32_t)c->hidden;
  input in = {streams, panel, h * d, false};
  TRY(dense(x, &hc->fn, &in, n, mix, head ? h : (2 + h) * h));
  return CALL(hc_pre, C([HC_PRE_HC] = h, [HC_PRE_ITERS] = (int32_t)c->sinkhorn_iters, [HC_PRE_HEAD] = head, [HC_PRE_NORM_WT] = norm->type),
              C([HC_PRE_M] = mix, [HC_PRE_X] = streams, [HC_PRE_SCALE] = hc->scale.buf, [HC_PRE_BASE] = hc->base.buf, [HC_PRE_NORM] = norm->buf,
                [HC_PRE_Y] = y, [HC_PRE_POST] = S(post), [HC_PRE_COMB] = S(comb)),
              C([HC_PRE_T] = n, [HC_PRE_D] = d), C([HC_PRE_RMS_EPS] = c->rms_eps, [HC_PRE_HC_EPS] = c->hc_eps));
}

static koine_status hc_post(koi_exec *x, int32_t n, koi_buf *o, koi_buf *parts, int32_t n_parts)
{
  const koi_config *c = &x->model->config;
  return CALL(hc_post, C([HC_POST_HC] = (int32_t)c->n_streams),
              C([HC_POST_X] = S(streams), [HC_POST_O] = o, [HC_POST_POST] = S(post), [HC_POST_COMB] = S(comb), [HC_POST_PARTS] = parts),
              C([HC_POST_T] = n, [HC_POST_D] = (int32_t)c->hidden, [HC_POST_N_PARTS] = n_parts), C(0));
}

/* ---- norms, RoPE ---- */
enum { NO_NORM, RMS, RMS_WEIGHT };

static koine_status norm_rope(koi_exec *x, int32_t kind, const koi_vec *norm, koi_buf *v, int32_t n, int32_t dim, koi_buf *rope, int32_t rows_per_pos)
{
  const koi_config *c = &x->model->config;
  return CALL(norm_rope, C([NORM_ROPE_C_NORM] = kind, [NORM_ROPE_NORM_WT] = norm ? norm->type : KOI_WT_F32),
              C([NORM_ROPE_X] = v, [NORM_ROPE_NORM] = norm ? norm->buf : NULL, [NORM_ROPE_ROPE] = rope, [NORM_ROPE_Y] = v),
              C([NORM_ROPE_N] = n, [NORM_ROPE_DIM] = dim, [NORM_ROPE_RD] = rope ? (int32_t)c->rope_dim : 0, [NORM_ROPE_ROWS_PER_POS] = rows_per_pos,
                [NORM_ROPE_LDX] = dim, [NORM_ROPE_LDY] = dim),
              C([NORM_ROPE_EPS] = c->rms_eps));
}

static koine_status store(const step *w, koi_buf *v, const koi_rows *to, int32_t n, int32_t first)
{
  koi_exec *x = w->x;
  int32_t dh = (int32_t)w->c->head_dim;
  return CALL(kv_store, C(w->exact, dh, (int32_t)w->c->rope_dim), C(v, to->codes, to->scales, to->rope), C(n, first, (int32_t)to->cap, dh), C(0));
}

static koi_buf *window_rope(const koi_exec *x, uint32_t ratio)
{
  size_t i = 0;
  while (x->ratios[i] != ratio) i++;
  return x->rope_win[i];
}

/* ---- compressors (2.3) ---- */
typedef struct compress { const koi_dev_comp *w; koi_buf *kv, *score, *pooled, *kv_state, *score_state; int32_t ratio, dim; } compress;

/* Pools the windows that close in this chunk into `pooled` and carries the open ones over. *first and *n: their rows. */
static koine_status pool(const step *w, input *xn, const compress *p, int32_t *first, int32_t *n)
{
  koi_exec *x = w->x;
  int32_t ld = (int32_t)koi_coff((uint32_t)p->ratio) * p->dim;
  *first = w->p0 / p->ratio, *n = (w->p0 + w->t) / p->ratio - *first;
  TRY(dense(x, &p->w->wkv, xn, w->t, p->kv, ld));
  TRY(dense(x, &p->w->wgate, xn, w->t, p->score, ld));
  if (*n > 0 || x->dry) {
    TRY(CALL(pool, C(p->w->ape.type), C(p->kv, p->score, p->kv_state, p->score_state, p->w->ape.buf, p->pooled),
             C(w->p0, p->ratio, p->dim, *first, *n, ld), C(0)));
    TRY(norm_rope(x, RMS_WEIGHT, &p->w->norm, p->pooled, *n, p->dim, window_rope(x, (uint32_t)p->ratio), 1));
  }
  return CALL(pool_keep, C(0), C(p->kv, p->score, p->kv_state, p->score_state), C(w->t, w->p0, p->ratio, p->dim, ld), C(0));
}

static koine_status compress_rows(const step *w, const koi_dev_layer *l, const koi_layer_cache *cache, int32_t ratio, input *xn)
{
  koi_exec *x = w->x;
  compress p = {&l->comp, S(ckv), S(cscore), S(pooled), cache->kv_state, cache->score_state, ratio, (int32_t)w->c->head_dim};
  int32_t first, n;
  TRY(pool(w, xn, &p, &first, &n));
  return n > 0 || x->dry ? store(w, S(pooled), &cache->comp, n, first) : KOINE_OK;
}

/* ---- indexer (2.4) ---- */
static koine_status index_keys(const step *w, const koi_dev_layer *l, const koi_layer_cache *cache, input *xn)
{
  koi_exec *x = w->x;
  int32_t ih = (int32_t)w->c->index_dim, first, n;
  compress p = {&l->index_comp, S(ikv), S(iscore), S(ipooled), cache->ikv_state, cache->iscore_state, 4, ih};
  TRY(pool(w, xn, &p, &first, &n));
  if (n <= 0 && !x->dry) return KOINE_OK;
  return CALL(index_store, C(w->exact, ih), C(S(ipooled), cache->index.codes, cache->index.scales), C(n, first), C(0));
}

/* Chooses index_topk rows for every token, over bounded rounds of rows. */
static koine_status index_choose(const step *w, const koi_dev_layer *l, const koi_layer_cache *cache, input *xn, input *qr)
{
  koi_exec *x = w->x;
  const koi_config *c = w->c;
  int32_t ih = (int32_t)c->index_dim, nh = (int32_t)c->index_heads, rows = (w->p0 + w->t) / 4, k = (int32_t)c->index_topk;
  TRY(dense(x, &l->index_wq_b, qr, w->t, S(iq), nh * ih));
  TRY(norm_rope(x, NO_NORM, NULL, S(iq), w->t * nh, ih, S(rope_comp), nh));
  if (!w->exact) TRY(CALL(index_round, C([INDEX_ROUND_IH] = ih), C([INDEX_ROUND_X] = S(iq)), C([INDEX_ROUND_N] = w->t * nh), C(0)));
  TRY(dense(x, &l->index_weights, xn, w->t, S(iw), nh));
  int32_t lds = (int32_t)(koi_graph_score_floats(&x->tune, x->chunk, c->max_context) / (uint64_t)w->t / 16 * 16);
  float scale = 1.0f / sqrtf((float)ih) / sqrtf((float)nh);
  for (int32_t row0 = 0; row0 < rows; row0 += lds) {
    int32_t n = rows - row0 < lds ? rows - row0 : lds;
    TRY(CALL(index_score, C(w->exact, ih, nh), C(S(iq), S(iw), cache->index.codes, cache->index.scales, S(scores)), C(w->t, w->p0, row0, n, lds), C(scale)));
    TRY(CALL(topk, C(0), C(S(scores), S(top_rows), S(top_vals)), C(w->t, w->p0, row0, n, lds, k), C(0)));
  }
  return KOINE_OK;
}

/* ---- attention (2.2) ---- */
enum { ALL_ROWS = 1, CHOSEN_ROWS = 2 };

static koine_status attend(const step *w, const koi_dev_layer *l, const koi_layer_cache *cache, int32_t ratio, koi_buf *rope)
{
  koi_exec *x = w->x;
  const koi_config *c = w->c;
  int32_t h = (int32_t)c->n_heads, dh = (int32_t)c->head_dim, rd = (int32_t)c->rope_dim, k = (int32_t)c->index_topk, end = w->p0 + w->t;
  int32_t comp = ratio ? end / ratio : 0, sel = ratio == 4 && comp > k ? CHOSEN_ROWS : ALL_ROWS;
  int32_t visible = (end < (int32_t)c->window ? end : (int32_t)c->window) + (sel == CHOSEN_ROWS ? k : comp);
  int32_t splits = koi_step_splits(&x->tune, w->t);
  int32_t rows = (int32_t)koi_ceil_div((uint64_t)visible, (uint64_t)splits);
  rows = rows < x->tune.min_split_rows ? x->tune.min_split_rows : rows;
  splits = (int32_t)koi_ceil_div((uint64_t)visible, (uint64_t)rows);
  TRY(CALL(attn, C(w->exact, dh, rd, h, sel),
           C(S(q), cache->window.codes, cache->window.scales, cache->window.rope, cache->comp.codes, cache->comp.scales, cache->comp.rope, S(top_rows),
             S(part_o), S(part_ml)),
           C(w->t, w->p0, (int32_t)c->window, (int32_t)cache->window.cap, ratio ? ratio : INT_MAX, k, splits, rows), C(1.0f / sqrtf((float)dh))));
  return CALL(attn_merge, C([ATTN_MERGE_DH] = dh, [ATTN_MERGE_RD] = rd, [ATTN_MERGE_NH] = h, [ATTN_MERGE_ST] = l->sink.type),
              C([ATTN_MERGE_PO] = S(part_o), [ATTN_MERGE_ML] = S(part_ml), [ATTN_MERGE_SINK] = l->sink.buf, [ATTN_MERGE_ROPE] = rope, [ATTN_MERGE_O] = S(o)),
              C([ATTN_MERGE_T] = w->t, [ATTN_MERGE_N_SPLITS] = splits), C(0));
}

/* Grouped low-rank output projection: group g of o_groups is unit g of wo_a. */
static koine_status output(const step *w, const koi_dev_layer *l)
{
  koi_exec *x = w->x;
  const koi_config *c = w->c;
  int32_t og = (int32_t)c->o_groups, ol = (int32_t)c->o_rank, in = (int32_t)(c->n_heads * c->head_dim / c->o_groups);
  if (w->t <= x->tune.vec_tokens) {
    TRY(matvec(x, &l->wo_a, S(o), in, (entries){w->t * og, 1, S(group_ids)}, S(og), ol));
  } else {
    panels g = {S(o_panels), (int32_t)koi_ceil_div((uint64_t)w->t, (uint64_t)x->tune.nt) * og, x->tune.nt, w->t * og, S(group_units), S(group_rows)};
    TRY(pack(x, &g, S(o), in, in, 1));
    TRY(matmul(x, &l->wo_a, &g, S(og), ol));
  }
  input o = {S(og), S(og_panels), og * ol, false};
  return dense(x, &l->wo_b, &o, w->t, S(sub_out), (int32_t)c->hidden);
}

static koine_status attention(const step *w, const koi_dev_layer *l, const koi_layer_cache *cache, int32_t ratio, input *xn)
{
  koi_exec *x = w->x;
  const koi_config *c = w->c;
  int32_t h = (int32_t)c->n_heads, dh = (int32_t)c->head_dim;
  koi_buf *rope = ratio ? S(rope_comp) : S(rope_main);
  input qr = {S(qr), S(qr_panels), (int32_t)c->q_rank, false};
  TRY(dense(x, &l->wq_a, xn, w->t, S(qr), (int32_t)c->q_rank));
  TRY(norm_rope(x, RMS_WEIGHT, &l->q_norm, S(qr), w->t, (int32_t)c->q_rank, NULL, 1));
  TRY(dense(x, &l->wq_b, &qr, w->t, S(q), h * dh));
  TRY(norm_rope(x, RMS, NULL, S(q), w->t * h, dh, rope, h));
  TRY(dense(x, &l->wkv, xn, w->t, S(kv), dh));
  TRY(norm_rope(x, RMS_WEIGHT, &l->kv_norm, S(kv), w->t, dh, rope, 1));
  TRY(store(w, S(kv), &cache->window, w->t, w->p0));
  if (ratio) TRY(compress_rows(w, l, cache, ratio, xn));
  if (ratio == 4) TRY(index_keys(w, l, cache, xn));
  if (ratio == 4 && (x->dry || (w->p0 + w->t) / 4 > (int32_t)c->index_topk)) TRY(index_choose(w, l, cache, xn, &qr));
  TRY(attend(w, l, cache, ratio, rope));
  return output(w, l);
}

/* ---- mixture of experts (2.5) ---- */
static koine_status swiglu(const step *w, koi_buf *up, koi_buf *weights, koi_buf *act, int32_t n)
{
  koi_exec *x = w->x;
  int32_t i = (int32_t)w->c->inter;
  return CALL(swiglu, C(0), C([SWIGLU_GU] = up, [SWIGLU_W] = weights, [SWIGLU_H] = act),
              C([SWIGLU_E] = n, [SWIGLU_INTER] = i, [SWIGLU_LDG] = 2 * i, [SWIGLU_LDH] = i, [SWIGLU_HAS_W] = weights != NULL),
              C([SWIGLU_LIMIT] = w->c->swiglu_limit));
}

static koine_status experts_one_by_one(const step *w, const koi_dev_layer *l)
{
  koi_exec *x = w->x;
  const koi_config *c = w->c;
  int32_t top = (int32_t)c->n_used, n = w->t * top, d = (int32_t)c->hidden, i = (int32_t)c->inter;
  TRY(matvec(x, &l->expert_up, S(xn), d, (entries){n, top, S(ids)}, S(up), 2 * i));
  TRY(swiglu(w, S(up), S(weights), S(act), n));
  return matvec(x, &l->expert_down, S(act), i, (entries){n, 1, S(ids)}, S(parts), d);
}

static koine_status experts_grouped(const step *w, const koi_dev_layer *l)
{
  koi_exec *x = w->x;
  const koi_config *c = w->c;
  int32_t top = (int32_t)c->n_used, n = w->t * top, d = (int32_t)c->hidden, i = (int32_t)c->inter;
  int32_t n_panels = (int32_t)koi_graph_panels((uint64_t)n, c->n_experts, (uint64_t)x->tune.nt_group);
  panels up = {S(up_panels), n_panels, x->tune.nt_group, n, S(units), S(rows)}, down = {S(down_panels), n_panels, x->tune.nt_group, n, S(units), S(rows)};
  TRY(CALL(group, C([GROUP_NT] = x->tune.nt_group), C([GROUP_IDS] = S(ids), [GROUP_ROWS] = S(rows), [GROUP_UNIT] = S(units)),
           C([GROUP_E] = n, [GROUP_N_UNITS] = (int32_t)c->n_experts, [GROUP_N_PANELS] = n_panels), C(0)));
  TRY(pack(x, &up, S(xn), d, d, top));
  TRY(matmul(x, &l->expert_up, &up, S(up), 2 * i));
  TRY(swiglu(w, S(up), S(weights), S(act), n));
  TRY(pack(x, &down, S(act), i, i, 1));
  return matmul(x, &l->expert_down, &down, S(parts), d);
}

static koine_status moe(const step *w, const koi_dev_layer *l, bool hash, input *xn)
{
  koi_exec *x = w->x;
  const koi_config *c = w->c;
  int32_t n_experts = (int32_t)c->n_experts, i = (int32_t)c->inter;
  TRY(dense(x, &l->gate, xn, w->t, S(gate), n_experts));
  TRY(CALL(route, C([ROUTE_SCORE] = (int32_t)c->score, [ROUTE_HASH] = hash, [ROUTE_BT] = l->gate_bias.type),
           C([ROUTE_LOGITS] = S(gate), [ROUTE_BIAS] = l->gate_bias.buf, [ROUTE_TOKENS] = S(tokens), [ROUTE_TID2EID] = l->tid2eid.buf,
             [ROUTE_IDS] = S(ids), [ROUTE_W] = S(weights)),
           C([ROUTE_T] = w->t, [ROUTE_N_EXPERTS] = n_experts, [ROUTE_N_USED] = (int32_t)c->n_used, [ROUTE_LD] = n_experts),
           C([ROUTE_ROUTE_SCALE] = c->route_scale)));
  TRY((w->t < x->tune.group_tokens ? experts_one_by_one : experts_grouped)(w, l));
  input act = {S(shared_act), S(shared_panels), i, false};
  TRY(dense(x, &l->shared_up, xn, w->t, S(shared_up), 2 * i));
  TRY(swiglu(w, S(shared_up), NULL, S(shared_act), w->t));
  return dense(x, &l->shared_down, &act, w->t, S(sub_out), (int32_t)c->hidden);
}

/* ---- layers ---- */
static koine_status layer(const step *w, uint32_t n)
{
  koi_exec *x = w->x;
  const koi_dev_layer *l = &x->weights.layers[n];
  const koi_layer *m = &x->model->layers[n];
  int32_t top = (int32_t)w->c->n_used;
  input xn = {S(xn), S(xn_panels), (int32_t)w->c->hidden, false};
  TRY(hc_pre(x, &l->hc_attn, &l->attn_norm, S(streams), S(stream_panels), w->t, false, S(mix), S(xn)));
  TRY(attention(w, l, &w->s->cache[n], (int32_t)m->ratio, &xn));
  TRY(hc_post(x, w->t, S(sub_out), NULL, 0));
  xn.packed = false;
  TRY(hc_pre(x, &l->hc_ffn, &l->ffn_norm, S(streams), S(stream_panels), w->t, false, S(mix), S(xn)));
  TRY(moe(w, l, m->hash, &xn));
  return hc_post(x, w->t, S(sub_out), S(parts), top);
}

static koine_status embed(const step *w)
{
  koi_exec *x = w->x;
  const koi_dev_model *m = &x->weights;
  for (size_t i = 0; i < m->n_embed; i++)
    TRY(CALL(embed, C([EMBED_WT] = m->embed_type, [EMBED_HC] = (int32_t)w->c->n_streams),
             C([EMBED_TABLE] = m->embed[i].buf, [EMBED_TOKEN] = S(tokens), [EMBED_X] = S(streams)),
             C([EMBED_T] = w->t, [EMBED_D] = (int32_t)w->c->hidden, [EMBED_ROW0] = m->embed[i].row0, [EMBED_ROW1] = m->embed[i].row1), C(0)));
  return KOINE_OK;
}

/* Logits of the last n_logits tokens, some rows at a time. */
static koine_status head(const step *w)
{
  koi_exec *x = w->x;
  const koi_config *c = w->c;
  const koi_backend *b = x->dev->backend;
  size_t row = (size_t)c->n_streams * c->hidden * sizeof(float), out = (size_t)c->n_vocab * sizeof(float);
  for (uint32_t done = 0; done < w->s->n_logits;) {
    uint32_t n = w->s->n_logits - done < x->head_rows ? w->s->n_logits - done : x->head_rows, from = (uint32_t)w->t - w->s->n_logits + done;
    if (!x->dry) TRY(b->copy(x->dev, S(head_streams), 0, S(streams), from * row, n * row));
    TRY(hc_pre(x, &x->weights.hc_head, &x->weights.norm, S(head_streams), S(head_panels), (int32_t)n, true, S(head_mix), S(head_x)));
    input in = {S(head_x), S(head_panels), (int32_t)c->hidden, false};
    TRY(dense(x, &x->weights.head, &in, (int32_t)n, S(logits), (int32_t)c->n_vocab));
    if (!x->dry) TRY(b->read(x->dev, S(logits), 0, n * out, w->s->logits + (size_t)done * c->n_vocab));
    done += n;
  }
  return KOINE_OK;
}

/* ---- what changes with the chunk ---- */
static koine_status write_rope(koi_exec *x, koi_buf *to, const float *freq, uint64_t first, uint64_t every, uint64_t n)
{
  uint32_t rd = x->model->config.rope_dim;
  if (!n || !rd) return KOINE_OK;
  float *rows = koi_alloc(n * rd, sizeof(float));
  if (!rows) return KOINE_ERR_MEMORY;
  for (uint64_t i = 0; i < n; i++) koi_rope_row(freq, rd, (first + i) * every, rows + i * rd);
  koine_status s = x->dev->backend->write(x->dev, to, 0, n * rd * sizeof(float), rows);
  koi_free(rows);
  return s;
}

static koine_status prepare(const step *w)
{
  koi_exec *x = w->x;
  int32_t og = (int32_t)w->c->o_groups;
  if (!x->dry) {
    TRY(x->dev->backend->write(x->dev, S(tokens), 0, (size_t)w->t * sizeof(int32_t), w->s->tokens));
    TRY(write_rope(x, S(rope_main), x->freq_main, w->s->p0, 1, w->s->n));
    TRY(write_rope(x, S(rope_comp), x->freq_comp, w->s->p0, 1, w->s->n));
    for (size_t i = 0; i < x->n_ratios; i++) {
      uint64_t first = w->s->p0 / x->ratios[i];
      TRY(write_rope(x, x->rope_win[i], x->freq_comp, first, x->ratios[i], (w->s->p0 + w->s->n) / x->ratios[i] - first));
    }
  }
  if (w->t <= x->tune.vec_tokens) return KOINE_OK;
  return CALL(group, C([GROUP_NT] = x->tune.nt), C([GROUP_IDS] = S(group_ids), [GROUP_ROWS] = S(group_rows), [GROUP_UNIT] = S(group_units)),
              C([GROUP_E] = w->t * og, [GROUP_N_UNITS] = og, [GROUP_N_PANELS] = (int32_t)koi_ceil_div((uint64_t)w->t, (uint64_t)x->tune.nt) * og), C(0));
}

koine_status koi_graph_step(koi_exec *x, const koi_step *s)
{
  step w = {x, s, &x->model->config, (int32_t)s->n, (int32_t)s->p0, s->exact};
  TRY(prepare(&w));
  TRY(embed(&w));
  for (uint32_t l = 0; l < w.c->n_layers; l++) TRY(layer(&w, l));
  return head(&w);
}

koine_status koi_graph_build(koi_exec *x, koine_progress_fn *progress, void *user)
{
  const uint32_t sizes[] = {1, x->chunk < 2 ? 1 : x->chunk};
  koi_layer_cache *none = koi_alloc(x->model->config.n_layers, sizeof *none);
  if (!none) return KOINE_ERR_MEMORY;
  koine_status s = KOINE_OK;
  x->dry = true;
  for (size_t i = 0; i < KOI_COUNT(sizes) && !s; i++) {
    if (progress && !progress(user, "compiling kernels", i, KOI_COUNT(sizes))) s = koi_error(KOINE_ERR_CANCELLED, "cancelled while compiling kernels");
    koi_step step = {.n = sizes[i], .n_logits = sizes[i] < 2 ? 1 : 2, .cache = none};
    if (!s) s = koi_graph_step(x, &step);
  }
  x->dry = false;
  koi_free(none);
  if (!s && progress) progress(user, "compiling kernels", KOI_COUNT(sizes), KOI_COUNT(sizes));
  return s;
}

bool koi_graph_is_activation(const koi_exec *x, const koi_buf *b)
{
  static const int integers[] = {KOI_S_tokens, KOI_S_top_rows, KOI_S_ids, KOI_S_rows, KOI_S_units, KOI_S_group_ids, KOI_S_group_rows, KOI_S_group_units};
  for (size_t i = 0; i < KOI_COUNT(integers); i++)
    if (b == x->s[integers[i]]) return false;
  for (int i = 0; i < KOI_N_SCRATCH; i++)
    if (b == x->s[i]) return true;
  return false;
}
