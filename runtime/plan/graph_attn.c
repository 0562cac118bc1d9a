/* The attention block (2.2 to 2.4) as calls: queries and keys, the indexer, attention over window and compressed rows, output. */
#include <limits.h>
#include <math.h>
#include "graph_impl.h"

enum { ALL_ROWS = 1, CHOSEN_ROWS = 2 };

/* n rows in place; rope: NOTHING, or a table row for every rows_per_pos of them. */
koi_call koi_graph_norm_rope(emit *e, int32_t kind, const koi_laid *norm, koi_ref v, int32_t n, int32_t dim, koi_ref rope, int32_t rows_per_pos)
{
  return (koi_call){.op = &koi_op_norm_rope, .c = {[NORM_ROPE_C_NORM] = kind, [NORM_ROPE_NORM_WT] = norm ? norm->wt : KOI_WT_F32},
                    .buf = {[NORM_ROPE_X] = v, [NORM_ROPE_NORM] = norm ? koi_graph_vector(norm) : NOTHING, [NORM_ROPE_ROPE] = rope, [NORM_ROPE_Y] = v},
                    .i = {[NORM_ROPE_N] = n, [NORM_ROPE_DIM] = dim, [NORM_ROPE_RD] = rope.space ? (int32_t)e->c->rope_dim : 0,
                          [NORM_ROPE_ROWS_PER_POS] = rows_per_pos, [NORM_ROPE_LDX] = dim, [NORM_ROPE_LDY] = dim},
                    .f = {[NORM_ROPE_EPS] = e->c->rms_eps}};
}

static void norm(emit *e, int32_t kind, const koi_laid *w, koi_ref v, int32_t n, int32_t dim, koi_ref rope, int32_t rows_per_pos)
{
  koi_call c = koi_graph_norm_rope(e, kind, w, v, n, dim, rope, rows_per_pos);
  koi_graph_put(e, &c);
}

/* ---- cache rows ---- */
koi_call koi_graph_kv_store(emit *e, koi_ref x, koi_ref rows, int32_t kind, int32_t at)
{
  int32_t dh = (int32_t)e->c->head_dim;
  koi_call c = {.op = &koi_op_kv_store,
                .c = {[KV_STORE_EXACT] = e->exact, [KV_STORE_DH] = dh, [KV_STORE_RD] = (int32_t)e->c->rope_dim, [KV_STORE_PAGE] = KOI_PAGE},
                .buf = {[KV_STORE_X] = x, [KV_STORE_ROWS] = rows, [KV_STORE_TABLES] = TABLES},
                .i = {[KV_STORE_LDX] = dh, [KV_STORE_TABLE] = e->caches->kinds[kind].table,
                      [KV_STORE_PAGE_BYTES] = (int32_t)e->caches->kinds[kind].page_bytes, [KV_STORE_AT] = at}};
  koi_graph_pool(&c, KV_STORE_S0, kind);
  return c;
}

static void store_window(emit *e)
{
  koi_call c = koi_graph_kv_store(e, S(kv), FEED(rows), 0, e->at->window_at);
  c.i[KV_STORE_N] = e->t, c.i[KV_STORE_RING] = (int32_t)koi_caches_ring(e->caches, e->g->chunk);
  koi_graph_put(e, &c);
}

/* ---- what follows the first products of one token ---- */
static void put_latents(emit *e, koi_ref rope, const compressor *p, int32_t n)
{
  const koi_cache_kind *window = &e->caches->kinds[0];
  koi_call c = {.op = &koi_op_latents,
                .c = {[LATENTS_EXACT] = e->exact, [LATENTS_DH] = (int32_t)e->c->head_dim, [LATENTS_RD] = (int32_t)e->c->rope_dim, [LATENTS_PAGE] = KOI_PAGE,
                      [LATENTS_NORM_WT] = W(q_norm)->wt},
                .buf = {[LATENTS_Q] = S(qr), [LATENTS_Q_NORM] = koi_graph_vector(W(q_norm)), [LATENTS_KV] = S(kv), [LATENTS_KV_NORM] = koi_graph_vector(W(kv_norm)),
                        [LATENTS_ROPE] = rope, [LATENTS_ROWS] = FEED(rows), [LATENTS_TABLES] = TABLES},
                .i = {[LATENTS_N] = e->t, [LATENTS_N_KEPT] = n, [LATENTS_Q_DIM] = (int32_t)e->c->q_rank, [LATENTS_TABLE] = window->table,
                      [LATENTS_RING] = (int32_t)koi_caches_ring(e->caches, e->g->chunk), [LATENTS_PAGE_BYTES] = (int32_t)window->page_bytes, [LATENTS_AT] = e->at->window_at},
                .f = {[LATENTS_EPS] = e->c->rms_eps}};
  koi_graph_pool(&c, LATENTS_W0, 0);
  if (n) {
    const koi_cache_spec *s = &e->m->cache;
    koi_graph_pool(&c, LATENTS_S0, e->at->state);
    c.buf[LATENTS_KEEPS] = FEED_RATIO(keep), c.i[LATENTS_R] = (int32_t)s->ratio, c.i[LATENTS_COFF] = (int32_t)s->coff;
    c.i[LATENTS_SLOT_BYTES] = (int32_t)e->caches->kinds[e->at->state].page_bytes;
    c.buf[LATENTS_A] = p->kv, c.i[LATENTS_A_DIM] = p->dim, c.i[LATENTS_A_AT] = p->state_at;
  }
  const compressor *own = p + 1; /* the indexer's */
  if (n > 1) c.buf[LATENTS_B] = own->kv, c.i[LATENTS_B_DIM] = own->dim, c.i[LATENTS_B_AT] = own->state_at;
  koi_graph_put(e, &c);
}

/* ---- indexer (2.4) ---- */
int32_t koi_graph_round_rows(const koi_graph *g, uint32_t n_tokens)
{
  return (int32_t)(koi_scratch_score_floats(g->tunables, g->chunk, g->model->config.max_context) / n_tokens / 16 * 16);
}

uint32_t koi_graph_rounds(const koi_graph *g, uint32_t n_tokens, uint64_t context)
{
  uint64_t rows = (uint64_t)koi_graph_round_rows(g, n_tokens), wanted = koi_ceil_div(context / KOI_CSA_RATIO + 1, rows);
  uint32_t rounds = 1;
  while (rounds < wanted) rounds *= 2; /* a growing conversation must not need a new list all the time */
  return rounds;
}

/* Whether the indexer's products are beside others: those of its queries and their weights, which only a choice needs. */
static bool index_beside(const emit *e)
{
  const beside in[] = {{W(comp_kv_gate), NOTHING}, {W(index_comp_kv_gate), NOTHING}, {W(index_weights), NOTHING}}, q[] = {{W(wq_b), NOTHING}, {W(index_wq_b), NOTHING}};
  return koi_graph_joined(e) && e->m->kind == KOI_CSA && koi_graph_beside_fits(e, in, KOI_COUNT(in)) && koi_graph_beside_fits(e, q, KOI_COUNT(q));
}

/* The last of n products only when rows are chosen. */
static void put_chosen(emit *e, const beside *v, int32_t n, input *in)
{
  e->when = RATIO(ALL);
  koi_graph_beside(e, v, n - 1, in);
  e->when = RATIO(CHOSEN);
  koi_graph_beside(e, v, n, in);
  e->when = KOI_SYM_NONE;
}

static void put_heads(emit *e, koi_ref rope)
{
  int32_t h = (int32_t)e->c->n_heads, dh = (int32_t)e->c->head_dim;
  e->when = RATIO(ALL);
  norm(e, KOI_RMS, NULL, S(q), e->t * h, dh, rope, h);
  e->when = RATIO(CHOSEN);
  CALL(heads, .c = {[HEADS_EXACT] = e->exact, [HEADS_IH] = (int32_t)e->c->index_dim},
       .buf = {[HEADS_Q] = S(q), [HEADS_IQ] = S(iq), [HEADS_ROPE] = rope},
       .i = {[HEADS_N] = e->t, [HEADS_Q_HEADS] = h, [HEADS_DIM] = dh, [HEADS_RD] = (int32_t)e->c->rope_dim, [HEADS_I_HEADS] = (int32_t)e->c->index_heads},
       .f = {[HEADS_EPS] = e->c->rms_eps});
  e->when = KOI_SYM_NONE;
}

/* Chooses index_topk rows for every token, over bounded rounds of rows. */
static void choose(emit *e, input *xn, input *qr)
{
  const koi_config *c = e->c;
  int32_t ih = (int32_t)c->index_dim, nh = (int32_t)c->index_heads, lds = koi_graph_round_rows(e->g, (uint32_t)e->t), ratio = (int32_t)e->m->cache.ratio;
  e->when = RATIO(CHOSEN);
  if (!index_beside(e)) {
    koi_graph_dense(e, W(index_wq_b), qr, e->t, S(iq), nh * ih);
    norm(e, KOI_NO_NORM, NULL, S(iq), e->t * nh, ih, FEED(rope_comp), nh);
    if (!e->exact) CALL(index_round, .c = {[INDEX_ROUND_IH] = ih}, .buf = {[INDEX_ROUND_X] = S(iq)}, .i = {[INDEX_ROUND_N] = e->t * nh});
    koi_graph_dense(e, W(index_weights), xn, e->t, S(iw), nh);
  }
  for (uint32_t r = 0; r < e->feed->shape.n_rounds; r++) {
    e->when = koi_sym_round(e->caches->n_ratios, e->feed->shape.n_rounds, (size_t)e->at->ratio_at, r);
    koi_call s = {.op = &koi_op_index_score,
                  .c = {[INDEX_SCORE_EXACT] = e->exact, [INDEX_SCORE_IH] = ih, [INDEX_SCORE_NH] = nh, [INDEX_SCORE_PAGE] = KOI_PAGE},
                  .buf = {[INDEX_SCORE_Q] = S(iq), [INDEX_SCORE_W] = S(iw), [INDEX_SCORE_ROWS] = FEED(rows), [INDEX_SCORE_TABLES] = TABLES, [INDEX_SCORE_S] = S(scores)},
                  .i = {[INDEX_SCORE_T] = e->t, [INDEX_SCORE_ROW0] = (int32_t)r * lds, [INDEX_SCORE_LDS] = lds, [INDEX_SCORE_R] = ratio,
                        [INDEX_SCORE_TABLE] = e->caches->kinds[e->at->index].table, [INDEX_SCORE_PAGE_BYTES] = (int32_t)e->caches->kinds[e->at->index].page_bytes, [INDEX_SCORE_AT] = e->at->index_at},
                  .sym = {[INDEX_SCORE_N_ROWS] = e->when},
                  .f = {[INDEX_SCORE_WSCALE] = 1.0f / sqrtf((float)ih) / sqrtf((float)nh)}};
    koi_graph_pool(&s, INDEX_SCORE_S0, e->at->index);
    koi_graph_put(e, &s);
    CALL(topk, .buf = {[TOPK_S] = S(scores), [TOPK_IDX] = S(top_rows), [TOPK_VAL] = S(top_vals), [TOPK_ROWS] = FEED(rows)},
         .i = {[TOPK_T] = e->t, [TOPK_ROW0] = (int32_t)r * lds, [TOPK_LDS] = lds, [TOPK_K] = (int32_t)c->index_topk, [TOPK_R] = ratio},
         .sym = {[TOPK_N_ROWS] = e->when});
  }
  e->when = KOI_SYM_NONE;
}

/* ---- attention (2.2) ---- */
/* Whether one token's splits are merged by the one that comes last. */
static bool merged(const emit *e) { return e->t == 1 && e->g->tunables->arrivals && e->c->n_heads <= KOI_ARRIVALS; }

static void attend(emit *e, koi_ref rope, int32_t sel, uint16_t when, uint16_t splits, uint16_t split_rows)
{
  const koi_config *c = e->c;
  int32_t dh = (int32_t)c->head_dim;
  bool comp = e->at->comp != KOI_NO_KIND;
  koi_call a = {.op = &koi_op_attn, .when = when,
                .c = {[ATTN_EXACT] = e->exact, [ATTN_DH] = dh, [ATTN_RD] = (int32_t)c->rope_dim, [ATTN_NH] = (int32_t)c->n_heads, [ATTN_SEL] = sel,
                      [ATTN_PAGE] = KOI_PAGE},
                .buf = {[ATTN_Q] = S(q), [ATTN_ROWS] = FEED(rows), [ATTN_TABLES] = TABLES, [ATTN_IDX] = sel == CHOSEN_ROWS ? S(top_rows) : NOTHING,
                        [ATTN_PO] = S(part_o), [ATTN_ML] = S(part_ml)},
                .i = {[ATTN_T] = e->t, [ATTN_WINDOW] = (int32_t)c->window, [ATTN_W_TABLE] = e->caches->kinds[0].table, [ATTN_W_PAGES] = (int32_t)koi_caches_ring(e->caches, e->g->chunk),
                      [ATTN_W_PAGE_BYTES] = (int32_t)e->caches->kinds[0].page_bytes, [ATTN_W_AT] = e->at->window_at,
                      [ATTN_RATIO] = comp ? (int32_t)e->m->cache.ratio : INT_MAX, [ATTN_C_TABLE] = comp ? e->caches->kinds[e->at->comp].table : 0, [ATTN_C_PAGE_BYTES] = comp ? (int32_t)e->caches->kinds[e->at->comp].page_bytes : 0,
                      [ATTN_C_AT] = e->at->comp_at, [ATTN_K] = (int32_t)c->index_topk},
                .sym = {[ATTN_N_SPLITS] = splits, [ATTN_ROWS_PER_SPLIT] = split_rows},
                .f = {[ATTN_SCALE] = 1.0f / sqrtf((float)dh)}};
  koi_graph_pool(&a, ATTN_W0, 0);
  koi_graph_pool(&a, ATTN_C0, e->at->comp);
  if (merged(e)) {
    a.c[ATTN_MERGED] = 1, a.c[ATTN_ST] = W(sink)->wt;
    a.buf[ATTN_SINK] = koi_graph_vector(W(sink)), a.buf[ATTN_ROPE] = rope, a.buf[ATTN_O] = S(o), a.buf[ATTN_ARRIVALS] = ARRIVALS;
  }
  koi_graph_put(e, &a);
}

static void merge(emit *e, koi_ref rope, uint16_t splits)
{
  CALL(attn_merge, .c = {[ATTN_MERGE_DH] = (int32_t)e->c->head_dim, [ATTN_MERGE_RD] = (int32_t)e->c->rope_dim, [ATTN_MERGE_NH] = (int32_t)e->c->n_heads,
                         [ATTN_MERGE_ST] = W(sink)->wt},
       .buf = {[ATTN_MERGE_PO] = S(part_o), [ATTN_MERGE_ML] = S(part_ml), [ATTN_MERGE_SINK] = koi_graph_vector(W(sink)), [ATTN_MERGE_ROPE] = rope, [ATTN_MERGE_O] = S(o)},
       .i = {[ATTN_MERGE_T] = e->t}, .sym = {[ATTN_MERGE_N_SPLITS] = splits});
}

/* Grouped low-rank output projection, and back into the streams: group g of o_groups is unit g of wo_a. */
static void output(emit *e)
{
  const koi_config *c = e->c;
  int32_t og = (int32_t)c->o_groups, ol = (int32_t)c->o_rank, in = (int32_t)(c->n_heads * c->head_dim / c->o_groups), nt = koi_step_panel(e->g->tunables, (uint32_t)e->t);
  bool few = e->t <= e->g->tunables->vec_tokens, every = koi_graph_every_form(e);
  if (few || every) koi_graph_matvec(e, W(wo_a), S(o), in, (entries){e->t * og, 1, GROUP_IDS_REF}, S(og), ol);
  if (!few || every) {
    panels g = {S(o_panels), (int32_t)koi_ceil_div((uint64_t)e->t, (uint64_t)nt) * og, nt, e->t * og, S(group_units), S(group_rows)};
    koi_graph_pack(e, &g, S(o), in, in, 1);
    koi_graph_matmul(e, W(wo_a), &g, S(og), ol);
  }
  input o = {S(og), S(og_panels), og * ol, false};
  if (koi_graph_post_fits(e, W(wo_b))) {
    const mixing ffn = koi_graph_ffn_mixing(e->w);
    koi_graph_post(e, W(wo_b), S(og), (entries){1, 1, NOTHING}, NOTHING, &ffn);
    return;
  }
  koi_graph_dense(e, W(wo_b), &o, e->t, S(sub_out), (int32_t)c->hidden);
  koi_graph_hc_post(e, NOTHING, 0);
}

/* Products of the normalised input and of the query's latent, and what is made of the rows at once. */
static void queries_and_keys(emit *e, input *xn, input *qr, koi_ref rope, const compressor *p, int32_t n)
{
  int32_t h = (int32_t)e->c->n_heads, dh = (int32_t)e->c->head_dim, q_rank = (int32_t)e->c->q_rank;
  const beside latents[] = {{W(wq_a), S(qr)}, {W(wkv), S(kv)}}, comp[] = {{W(comp_kv_gate), S(ckv)}, {W(index_comp_kv_gate), S(ikv)}, {W(index_weights), S(iw)}};
  const beside q[] = {{W(wq_b), S(q)}, {W(index_wq_b), S(iq)}};
  koi_graph_beside(e, latents, KOI_COUNT(latents), xn);
  if (koi_graph_joined(e)) {
    if (index_beside(e)) put_chosen(e, comp, KOI_COUNT(comp), xn);
    else koi_graph_beside(e, comp, n, xn);
    put_latents(e, rope, p, n);
  } else {
    norm(e, KOI_RMS_WEIGHT, W(q_norm), S(qr), e->t, q_rank, NOTHING, 1);
    norm(e, KOI_RMS_WEIGHT, W(kv_norm), S(kv), e->t, dh, rope, 1);
    store_window(e);
  }
  if (index_beside(e)) put_chosen(e, q, KOI_COUNT(q), qr);
  else koi_graph_beside(e, q, 1, qr);
  if (index_beside(e)) put_heads(e, rope);
  else norm(e, KOI_RMS, NULL, S(q), e->t * h, dh, rope, h);
}

void koi_graph_attention(emit *e, input *xn)
{
  bool compressed = e->m->kind != KOI_SLIDING, indexed = e->m->kind == KOI_CSA;
  koi_ref rope = compressed ? FEED(rope_comp) : FEED(rope_main);
  input qr = {S(qr), S(qr_panels), (int32_t)e->c->q_rank, false};
  const compressor p[] = {{W(comp_kv_gate), W(comp_ape), W(comp_norm), S(ckv), S(pooled), (int32_t)e->c->head_dim, e->at->state_at},
                          {W(index_comp_kv_gate), W(index_comp_ape), W(index_comp_norm), S(ikv), S(ipooled), (int32_t)e->c->index_dim, e->at->index_state_at}};
  queries_and_keys(e, xn, &qr, rope, p, compressed + indexed);
  if (compressed) koi_graph_compress(e, p, compressed + indexed, xn);
  if (indexed) {
    choose(e, xn, &qr);
    attend(e, rope, CHOSEN_ROWS, RATIO(CHOSEN), RATIO(C_SPLITS), RATIO(C_SPLIT_ROWS));
  }
  uint16_t splits = compressed ? RATIO(C_SPLITS) : KOI_SYM_SPLITS;
  attend(e, rope, ALL_ROWS, indexed ? RATIO(ALL) : KOI_SYM_NONE, splits, compressed ? RATIO(C_SPLIT_ROWS) : KOI_SYM_SPLIT_ROWS);
  if (!merged(e)) merge(e, rope, splits);
  output(e);
}
