/* See graph.h: a chunk from tokens to logits; the blocks of a layer are graph_attn.c's and graph_moe.c's, what all share is graph_impl.h's.
 * One chunk of any size and one token are the same path; only the matrix products choose between matvec, panels and a library. Section numbers
 * are those of docs/model.md. */
#include "graph_impl.h"

enum { MIN_LIBRARY_ROWS = 32 };

/* ---- lists ---- */
void koi_graph_put(emit *e, const koi_call *call)
{
  koi_call *c = koi_calls_add(e->out);
  if (!c) {
    e->failed = true;
    return;
  }
  *c = *call;
  c->layer = e->layer;
  if (!c->when) c->when = e->when;
}

void koi_graph_give(emit *e, koi_ref from, koi_ref host, uint64_t bytes)
{
  koi_graph_put(e, &(koi_call){.kind = KOI_CALL_GIVE, .buf = {[KOI_FROM] = from, [KOI_TO] = host}, .bytes = bytes});
}

void koi_graph_take(emit *e, koi_ref host, koi_ref to, uint64_t bytes)
{
  koi_graph_put(e, &(koi_call){.kind = KOI_CALL_TAKE, .buf = {[KOI_FROM] = host, [KOI_TO] = to}, .bytes = bytes});
}

void koi_graph_pool(koi_call *c, size_t first, int32_t kind)
{
  for (uint32_t s = 0; s < KOI_SLABS && kind != KOI_NO_KIND; s++) c->buf[first + s] = (koi_ref){KOI_AT_POOL, (uint32_t)kind * KOI_SLABS + s, 0};
}

/* ---- products ---- */
koi_ref koi_graph_codes(const koi_laid *w, uint32_t part) { return (koi_ref){KOI_AT_CODES, w->first + part, 0}; }

koi_ref koi_graph_scales(const koi_laid *w, uint32_t part, int32_t wt)
{
  return koi_formats[wt].streams[1].name ? (koi_ref){KOI_AT_SCALES, w->first + part, 0} : NOTHING;
}

koi_ref koi_graph_vector(const koi_laid *w) { return w->n_parts ? (koi_ref){KOI_AT_CODES, w->first, 0} : NOTHING; }

/* With part i of a weight, for matvec and the ops that take what it takes. */
koi_call koi_graph_product_call(const emit *e, const koi_op *op, const koi_laid *w, uint32_t i, koi_ref x, int32_t ldx, entries n, koi_ref y, int32_t ldy)
{
  const koi_part *p = &e->g->laid->parts[w->first + i];
  return (koi_call){.op = op, .c = {[MATVEC_WT] = p->wt, [MATVEC_CARE] = p->care, [MATVEC_TILE] = (int32_t)e->g->laid->tile},
                    .buf = {[MATVEC_W] = koi_graph_codes(w, i), [MATVEC_S] = koi_graph_scales(w, i, p->wt), [MATVEC_X] = x, [MATVEC_IDS] = n.ids, [MATVEC_Y] = y},
                    .i = {[MATVEC_E] = n.n, [MATVEC_K] = w->k, [MATVEC_N_SUB] = w->n_sub, [MATVEC_SUB_ROWS] = w->sub_rows, [MATVEC_UNIT0] = p->unit0,
                          [MATVEC_UNIT1] = p->unit1, [MATVEC_TILE0] = p->tile0, [MATVEC_TILE1] = p->tile1, [MATVEC_HAS_IDS] = n.ids.space != KOI_AT_NONE,
                          [MATVEC_X_DIV] = n.x_div, [MATVEC_LDX] = ldx, [MATVEC_LDY] = ldy}};
}

void koi_graph_matvec(emit *e, const koi_laid *w, koi_ref x, int32_t ldx, entries n, koi_ref y, int32_t ldy)
{
  for (uint32_t i = 0; i < w->n_parts; i++) {
    koi_call c = koi_graph_product_call(e, &koi_op_matvec, w, i, x, ldx, n, y, ldy);
    koi_graph_put(e, &c);
  }
}

bool koi_graph_glu_fits(const emit *e, const koi_laid *w)
{
  int32_t all = w->n_sub * (int32_t)koi_tiles((uint64_t)w->sub_rows, e->g->laid->tile);
  for (uint32_t i = 0; i < w->n_parts; i++) {
    const koi_part *p = &e->g->laid->parts[w->first + i];
    if (p->tile0 || p->tile1 != all) return false;
  }
  return true;
}

void koi_graph_glu(emit *e, const koi_laid *w, koi_ref x, entries n, koi_ref weights, float limit, koi_ref act)
{
  for (uint32_t i = 0; i < w->n_parts; i++) {
    koi_call c = koi_graph_product_call(e, &koi_op_matvec_glu, w, i, x, w->k, n, act, w->sub_rows);
    c.buf[MATVEC_GLU_W_OF] = weights, c.i[MATVEC_GLU_HAS_W] = weights.space != KOI_AT_NONE, c.f[MATVEC_GLU_LIMIT] = limit;
    koi_graph_put(e, &c);
  }
}

void koi_graph_matmul(emit *e, const koi_laid *w, const panels *g, koi_ref y, int32_t ldy)
{
  for (uint32_t i = 0; i < w->n_parts; i++) {
    const koi_part *p = &e->g->laid->parts[w->first + i];
    CALL(matmul, .c = {[MATMUL_WT] = p->wt, [MATMUL_CARE] = p->care, [MATMUL_NT] = g->nt, [MATMUL_TILE] = (int32_t)e->g->laid->tile},
         .buf = {[MATMUL_W] = koi_graph_codes(w, i), [MATMUL_S] = koi_graph_scales(w, i, p->wt), [MATMUL_XP] = g->x, [MATMUL_UNIT] = g->units, [MATMUL_ROWS] = g->rows, [MATMUL_Y] = y},
         .i = {[MATMUL_N_PANELS] = g->n, [MATMUL_K] = w->k, [MATMUL_N_SUB] = w->n_sub, [MATMUL_SUB_ROWS] = w->sub_rows, [MATMUL_UNIT0] = p->unit0,
               [MATMUL_UNIT1] = p->unit1, [MATMUL_TILE0] = p->tile0, [MATMUL_TILE1] = p->tile1, [MATMUL_HAS_ROWS] = g->rows.space != KOI_AT_NONE,
               [MATMUL_N_ROWS] = g->n_rows, [MATMUL_LDY] = ldy});
  }
}

void koi_graph_pack(emit *e, const panels *g, koi_ref x, int32_t k, int32_t ldx, int32_t x_div)
{
  CALL(pack, .c = {[PACK_NT] = g->nt}, .buf = {[PACK_X] = x, [PACK_ROWS] = g->rows, [PACK_XP] = g->x},
       .i = {[PACK_N_PANELS] = g->n, [PACK_K] = k, [PACK_LDX] = ldx, [PACK_X_DIV] = x_div, [PACK_HAS_ROWS] = g->rows.space != KOI_AT_NONE,
             [PACK_N_ROWS] = g->n_rows});
}

/* A part's rows as floats, some at a time, and a library's product with them. A stack of matrices lies like one whose rows are padded to
 * whole tiles at the end of each. */
static void library_part(emit *e, const koi_laid *w, uint32_t part, const input *in, int32_t n, koi_ref y, int32_t ldy)
{
  const koi_part *p = &e->g->laid->parts[w->first + part];
  int32_t rows_each = (int32_t)e->g->laid->tile, sub_tiles = (int32_t)koi_tiles((uint64_t)w->sub_rows, e->g->laid->tile);
  int32_t most = (int32_t)(KOI_WIDE_BYTES / sizeof(float)) / rows_each / w->k;
  for (int32_t tile = p->tile0, tiles; tile < p->tile1; tile += tiles) {
    int32_t in_sub = tile % sub_tiles, row = in_sub * rows_each;
    tiles = smaller(smaller(sub_tiles - in_sub, p->tile1 - tile), most);
    int32_t rows = smaller(tiles * rows_each, w->sub_rows - row);
    CALL(widen, .c = {[WIDEN_WT] = p->wt, [WIDEN_CARE] = p->care, [WIDEN_TILE] = rows_each}, .buf = {[WIDEN_W] = koi_graph_codes(w, part), [WIDEN_S] = koi_graph_scales(w, part, p->wt), [WIDEN_Y] = S(wide)},
         .i = {[WIDEN_K] = w->k, [WIDEN_ROWS] = w->n_sub * sub_tiles * rows_each, [WIDEN_TILE0] = p->tile0, [WIDEN_ROW0] = tile * rows_each,
               [WIDEN_ROW1] = tile * rows_each + rows});
    CALL(gemm, .buf = {[GEMM_X] = in->x, [GEMM_W] = S(wide), [GEMM_Y] = y},
         .i = {[GEMM_N] = n, [GEMM_ROWS] = rows, [GEMM_K] = w->k, [GEMM_LDX] = in->ld, [GEMM_Y_OFFSET] = tile / sub_tiles * w->sub_rows + row, [GEMM_LDY] = ldy});
  }
}

bool koi_graph_library_fits(const koi_laid *w)
{
  return w->n_parts && w->n_units == 1 && w->wt != KOI_FORMAT_NONE && w->sub_rows >= MIN_LIBRARY_ROWS && (uint64_t)w->k * KOI_MOST_TILE * sizeof(float) <= KOI_WIDE_BYTES;
}

/* One token has one form. */
bool koi_graph_every_form(const emit *e) { return e->g->every_form && e->t > 1; }

void koi_graph_dense(emit *e, const koi_laid *w, input *in, int32_t n, koi_ref y, int32_t ldy)
{
  const koi_tunables *u = e->g->tunables;
  bool every = koi_graph_every_form(e), few_strips = w->n_units == 1 && w->n_sub * (int32_t)koi_tiles((uint64_t)w->sub_rows, KOI_STRIP) <= u->vec_strips;
  if (every || n <= u->vec_tokens || few_strips) koi_graph_matvec(e, w, in->x, in->ld, (entries){n, 1, NOTHING}, y, ldy); /* reads what a library's product reads */
  if (!every && (n <= u->vec_tokens || few_strips)) return;
  if (!every && koi_graph_library_fits(w) && u->gemm_from[w->wt] && (uint32_t)n >= u->gemm_from[w->wt]) {
    for (uint32_t i = 0; i < w->n_parts; i++) library_part(e, w, i, in, n, y, ldy);
    return;
  }
  int32_t nt = koi_step_panel(u, (uint32_t)n);
  panels g = {in->panels, (int32_t)koi_ceil_div((uint64_t)n, (uint64_t)nt), nt, n, NOTHING, NOTHING};
  if (!in->packed) koi_graph_pack(e, &g, in->x, w->k, in->ld, 1);
  in->packed = true;
  koi_graph_matmul(e, w, &g, y, ldy);
}

koine_status koi_graph_product(const koi_graph *g, const koi_laid *w, uint32_t n, uint32_t x, uint32_t panels, uint32_t y, koi_calls *calls)
{
  emit e = {.g = g, .out = calls, .layer = -1};
  input in = {SCRATCH(x), SCRATCH(panels), w->k, true};
  koi_graph_dense(&e, w, &in, (int32_t)n, SCRATCH(y), w->n_sub * w->sub_rows);
  return e.failed ? KOINE_ERR_MEMORY : KOINE_OK;
}

/* ---- several beside each other ---- */
/* The part of each, in one format. */
bool koi_graph_beside_fits(const emit *e, const beside *v, int32_t n)
{
  const koi_part *parts = e->g->laid->parts;
  bool fits = e->t == 1;
  for (int32_t i = 0; i < n; i++) fits &= v[i].w->n_parts == 1 && parts[v[i].w->first].wt == parts[v->w->first].wt;
  return fits;
}

void koi_graph_beside(emit *e, const beside *v, int32_t n, input *in)
{
  static const struct { int w, y, rows, subs; } at[MATVECS_MOST] = {
    {MATVECS_W, MATVECS_Y, MATVECS_ROWS, MATVECS_SUBS}, {MATVECS_W1, MATVECS_Y1, MATVECS_ROWS1, MATVECS_SUBS1}, {MATVECS_W2, MATVECS_Y2, MATVECS_ROWS2, MATVECS_SUBS2}};
  koi_call c = {.op = &koi_op_matvecs, .c = {[MATVEC_TILE] = (int32_t)e->g->laid->tile}, .buf = {[MATVECS_X] = in->x}, .i = {[MATVECS_K] = v->w->k}};
  bool joined = n > 1 && koi_graph_beside_fits(e, v, n);
  for (int32_t i = 0; i < n; i++) {
    const koi_laid *w = v[i].w;
    if (!joined) {
      koi_graph_dense(e, w, in, e->t, v[i].y, w->n_sub * w->sub_rows);
      continue;
    }
    const koi_part *p = &e->g->laid->parts[w->first];
    c.c[MATVEC_WT] = p->wt, c.c[MATVEC_CARE] |= p->care;
    c.buf[at[i].w] = koi_graph_codes(w, 0), c.buf[at[i].w + 1] = koi_graph_scales(w, 0, p->wt), c.buf[at[i].y] = v[i].y;
    c.i[at[i].rows] = w->sub_rows, c.i[at[i].subs] = w->n_sub;
  }
  if (joined) koi_graph_put(e, &c);
}

/* ---- layers ---- */
static void layer(emit *e, uint32_t n)
{
  e->layer = (int32_t)n, e->w = e->g->laid->layers[n], e->m = &e->g->model->layers[n];
  if (e->g->of == KOI_OF_EXPERTS) {
    koi_graph_experts(e);
    return;
  }
  e->at = &e->caches->layers[n - e->caches->layer0];
  bool last = n + 1 == e->g->layer1;
  const mixing attn = koi_graph_attn_mixing(e->w), ffn = koi_graph_ffn_mixing(e->w), next = koi_graph_attn_mixing(e->g->laid->layers[last ? n : n + 1]);
  input xn = {S(xn), S(xn_panels), (int32_t)e->c->hidden, false};
  koi_graph_hc_pre(e, &attn);
  koi_graph_attention(e, &xn);
  xn.packed = false;
  koi_graph_hc_pre(e, &ffn);
  koi_graph_moe(e, &xn, last ? NULL : &next);
}

static void embed(emit *e)
{
  const koi_laid *w = &e->g->laid->top[KOI_TOP_embed];
  int32_t tile = (int32_t)e->g->laid->tile;
  for (uint32_t i = 0; i < w->n_parts; i++) {
    const koi_part *p = &e->g->laid->parts[w->first + i];
    CALL(embed, .c = {[EMBED_WT] = p->wt, [EMBED_CARE] = p->care, [EMBED_HC] = (int32_t)e->c->n_streams, [EMBED_TILE] = tile},
         .buf = {[EMBED_W] = koi_graph_codes(w, i), [EMBED_S] = koi_graph_scales(w, i, p->wt), [EMBED_TOKEN] = FEED(tokens), [EMBED_X] = S(streams)},
         .i = {[EMBED_T] = e->t, [EMBED_D] = (int32_t)e->c->hidden, [EMBED_ROW0] = p->tile0 * tile, [EMBED_ROW1] = smaller(p->tile1 * tile, w->sub_rows)});
  }
}

/* Logits of the tokens that are to have them, some rows at a time. */
static void head(emit *e)
{
  const koi_config *c = e->c;
  const koi_laid *top = e->g->laid->top;
  const mixing m = {&top[KOI_TOP_hc_head_fn], &top[KOI_TOP_hc_head_base], &top[KOI_TOP_hc_head_scale], &top[KOI_TOP_norm]};
  uint64_t out = (uint64_t)c->n_vocab * sizeof(float);
  uint32_t n_logits = e->feed->shape.n_logits;
  for (uint32_t done = 0, n; done < n_logits; done += n) {
    n = n_logits - done < KOI_HEAD_ROWS ? n_logits - done : KOI_HEAD_ROWS;
    CALL(gather, .buf = {[GATHER_X] = S(streams), [GATHER_ROWS] = FEED(logit_rows[done / KOI_HEAD_ROWS]), [GATHER_Y] = S(head_streams)},
         .i = {[GATHER_N] = (int32_t)n, [GATHER_D] = (int32_t)(c->n_streams * c->hidden)});
    koi_graph_hc_head(e, &m, (int32_t)n);
    input in = {S(head_x), S(head_panels), (int32_t)c->hidden, false};
    koi_graph_dense(e, &top[KOI_TOP_head], &in, (int32_t)n, S(logits), (int32_t)c->n_vocab);
    koi_graph_put(e, &(koi_call){.kind = KOI_CALL_READ, .buf = {[KOI_FROM] = S(logits)}, .bytes = n * out, .row = done});
  }
}

/* The output projection's groups as units of panels: the same for every layer. */
static void group_outputs(emit *e)
{
  int32_t og = (int32_t)e->c->o_groups, nt = koi_step_panel(e->g->tunables, (uint32_t)e->t);
  CALL(group, .c = {[GROUP_NT] = nt}, .buf = {[GROUP_IDS] = GROUP_IDS_REF, [GROUP_ROWS] = S(group_rows), [GROUP_UNIT] = S(group_units)},
       .i = {[GROUP_E] = e->t * og, [GROUP_N_UNITS] = og, [GROUP_N_PANELS] = (int32_t)koi_ceil_div((uint64_t)e->t, (uint64_t)nt) * og});
}

koine_status koi_graph_calls(const koi_graph *g, const koi_caches *caches, const koi_feed *feed, koi_calls *out)
{
  emit e = {.g = g, .c = &g->model->config, .caches = caches, .feed = feed, .out = out, .layer = -1, .t = (int32_t)feed->shape.n_tokens,
            .exact = feed->shape.exact};
  uint64_t streams = (uint64_t)e.t * e.c->n_streams * e.c->hidden * sizeof(float);
  bool alone = g->of == KOI_OF_EXPERTS;
  if (!alone) koi_graph_put(&e, &(koi_call){.kind = KOI_CALL_FEED, .buf = {{KOI_AT_FEED, 0, 0}}, .bytes = feed->bytes});
  if (!alone && g->layer0 < g->layer1 && (koi_graph_every_form(&e) || e.t > g->tunables->vec_tokens)) group_outputs(&e);
  if (g->embed) embed(&e);
  else if (!alone) koi_graph_take(&e, HOST(IN, 0), S(streams), streams);
  for (uint32_t l = g->layer0; l < g->layer1; l++) layer(&e, l);
  e.layer = (int32_t)g->model->config.n_layers;
  if (g->head) head(&e);
  else if (!alone) koi_graph_give(&e, S(streams), HOST(OUT, 0), streams);
  return e.failed ? koi_error(KOINE_ERR_MEMORY, "out of host memory") : KOINE_OK;
}

koine_status koi_graph_caches(const koi_graph *g, bool exact, koi_caches **out)
{
  return koi_caches_make(g->model, exact, g->layer0, g->of == KOI_OF_EXPERTS ? g->layer0 : g->layer1, out);
}
