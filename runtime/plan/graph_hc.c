/* Hyper-connections (2.1) as calls: the input that a block makes of the streams, and what it gives back to them. For one token both are joined with the
 * product between them, as far as the device's work-groups can tell who comes last. */
#include "graph_impl.h"

/* Whether the mixes of one token are summed by strips: always or never, so that a stage that begins with the layer has the same bits. */
static bool mixes_fit(const emit *e, const koi_laid *fn) { return e->t == 1 && fn->n_parts == 1 && fn->wt == KOI_WT_F32 && !(e->c->hidden % KOI_MOST_TILE); }

bool koi_graph_post_fits(const emit *e, const koi_laid *w)
{
  bool whole = !(e->c->hidden % KOI_MOST_TILE); /* in any layout */
  for (uint32_t i = 0; i < w->n_parts; i++) whole &= e->g->laid->parts[w->first + i].unit1 - e->g->laid->parts[w->first + i].unit0 == w->n_units;
  return e->t == 1 && whole;
}

mixing koi_graph_attn_mixing(const koi_laid *w) { return (mixing){&w[KOI_W_hc_attn_fn], &w[KOI_W_hc_attn_base], &w[KOI_W_hc_attn_scale], &w[KOI_W_attn_norm]}; }
mixing koi_graph_ffn_mixing(const koi_laid *w) { return (mixing){&w[KOI_W_hc_ffn_fn], &w[KOI_W_hc_ffn_base], &w[KOI_W_hc_ffn_scale], &w[KOI_W_ffn_norm]}; }

/* The next block's mixes with a product, and with its last part the block's input. */
static void with_mixes(emit *e, koi_call *c, const mixing *m, bool last)
{
  int32_t hc = (int32_t)e->c->n_streams;
  e->mixed = m && mixes_fit(e, m->fn) ? (int32_t)(e->c->hidden / KOI_STRIP) : 0;
  e->made = e->mixed && last && e->g->tunables->arrivals;
  c->c[MATVEC_POST_HC] = hc, c->buf[MATVEC_POST_POST] = S(post), c->buf[MATVEC_POST_COMB] = S(comb);
  if (!e->mixed) return;
  c->c[MATVEC_POST_MIX] = (2 + hc) * hc;
  c->buf[MATVEC_POST_FN] = koi_graph_codes(m->fn, 0), c->buf[MATVEC_POST_M] = S(mix);
  if (!e->made) return;
  c->c[MATVEC_POST_PRE] = 1, c->c[MATVEC_POST_ITERS] = (int32_t)e->c->sinkhorn_iters, c->c[MATVEC_POST_NORM_WT] = m->norm->wt;
  c->buf[MATVEC_POST_SCALE] = koi_graph_vector(m->scale), c->buf[MATVEC_POST_BASE] = koi_graph_vector(m->base), c->buf[MATVEC_POST_NORM] = koi_graph_vector(m->norm);
  c->buf[MATVEC_POST_Y] = S(xn), c->buf[MATVEC_POST_ARRIVALS] = ARRIVALS;
  c->f[MATVEC_POST_RMS_EPS] = e->c->rms_eps, c->f[MATVEC_POST_HC_EPS] = e->c->hc_eps;
}

/* The mixes of streams that no product of this stage has left. Without entries, by the kernel that there is for wo_b. */
static void put_mixes(emit *e, const mixing *m)
{
  koi_call c = koi_graph_product_call(e, &koi_op_matvec_post, W(wo_b), 0, NOTHING, 0, (entries){0, 1, NOTHING}, S(streams), 0);
  c.i[MATVEC_TILE0] = 0, c.i[MATVEC_TILE1] = (int32_t)(e->c->hidden / e->g->laid->tile);
  with_mixes(e, &c, m, true);
  koi_graph_put(e, &c);
}

void koi_graph_post(emit *e, const koi_laid *w, koi_ref x, entries n, koi_ref o, const mixing *next)
{
  for (uint32_t i = 0; i < w->n_parts; i++) {
    koi_call c = koi_graph_product_call(e, &koi_op_matvec_post, w, i, x, w->k, n, S(streams), 0);
    c.buf[MATVEC_POST_O] = o, c.i[MATVEC_POST_HAS_O] = o.space != KOI_AT_NONE;
    with_mixes(e, &c, next, i + 1 == w->n_parts);
    koi_graph_put(e, &c);
  }
}

/* n rows of streams, whose mixes lie in n_parts parts. */
static void put_pre(emit *e, const mixing *m, koi_ref streams, int32_t n, bool head, koi_ref mix, int32_t n_parts, koi_ref y)
{
  const koi_config *c = e->c;
  CALL(hc_pre, .c = {[HC_PRE_HC] = (int32_t)c->n_streams, [HC_PRE_ITERS] = (int32_t)c->sinkhorn_iters, [HC_PRE_HEAD] = head, [HC_PRE_NORM_WT] = m->norm->wt},
       .buf = {[HC_PRE_M] = mix, [HC_PRE_X] = streams, [HC_PRE_SCALE] = koi_graph_vector(m->scale), [HC_PRE_BASE] = koi_graph_vector(m->base),
               [HC_PRE_NORM] = koi_graph_vector(m->norm), [HC_PRE_Y] = y, [HC_PRE_POST] = S(post), [HC_PRE_COMB] = S(comb)},
       .i = {[HC_PRE_T] = n, [HC_PRE_D] = (int32_t)c->hidden, [HC_PRE_N_PARTS] = n_parts}, .f = {[HC_PRE_RMS_EPS] = c->rms_eps, [HC_PRE_HC_EPS] = c->hc_eps});
}

void koi_graph_hc_pre(emit *e, const mixing *m)
{
  int32_t hc = (int32_t)e->c->n_streams, d = (int32_t)e->c->hidden;
  input in = {S(streams), S(stream_panels), hc * d, false};
  if (!e->mixed && mixes_fit(e, m->fn)) put_mixes(e, m);
  if (!e->mixed) koi_graph_dense(e, m->fn, &in, e->t, S(mix), (2 + hc) * hc);
  if (!e->made) put_pre(e, m, S(streams), e->t, false, S(mix), e->mixed ? e->mixed : 1, S(xn));
  e->mixed = 0, e->made = false;
}

void koi_graph_hc_head(emit *e, const mixing *m, int32_t n)
{
  int32_t hc = (int32_t)e->c->n_streams;
  input in = {S(head_streams), S(head_panels), hc * (int32_t)e->c->hidden, false};
  koi_graph_dense(e, m->fn, &in, n, S(head_mix), hc);
  put_pre(e, m, S(head_streams), n, true, S(head_mix), 1, S(head_x));
}

void koi_graph_hc_post(emit *e, koi_ref parts, int32_t n_parts)
{
  CALL(hc_post, .c = {[HC_POST_HC] = (int32_t)e->c->n_streams},
       .buf = {[HC_POST_X] = S(streams), [HC_POST_O] = S(sub_out), [HC_POST_POST] = S(post), [HC_POST_COMB] = S(comb), [HC_POST_PARTS] = parts},
       .i = {[HC_POST_T] = e->t, [HC_POST_D] = (int32_t)e->c->hidden, [HC_POST_N_PARTS] = n_parts});
}
