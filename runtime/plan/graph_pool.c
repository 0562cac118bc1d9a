/* Compressors (2.3) as calls: windows that close are pooled and become rows of the caches, open ones are carried over. */
#include "graph_impl.h"

/* ---- rows ---- */
static void store_compressed(emit *e)
{
  koi_call c = koi_graph_kv_store(e, S(pooled), FEED_RATIO(win_rows), e->at->comp, e->at->comp_at);
  c.when = c.sym[KV_STORE_N] = RATIO(WINDOWS);
  koi_graph_put(e, &c);
}

static void store_index(emit *e)
{
  koi_call c = {.op = &koi_op_index_store, .when = RATIO(WINDOWS),
                .c = {[INDEX_STORE_EXACT] = e->exact, [INDEX_STORE_IH] = (int32_t)e->c->index_dim, [INDEX_STORE_PAGE] = KOI_PAGE},
                .buf = {[INDEX_STORE_X] = S(ipooled), [INDEX_STORE_ROWS] = FEED_RATIO(win_rows), [INDEX_STORE_TABLES] = TABLES},
                .i = {[INDEX_STORE_TABLE] = e->caches->kinds[e->at->index].table, [INDEX_STORE_PAGE_BYTES] = (int32_t)e->caches->kinds[e->at->index].page_bytes,
                      [INDEX_STORE_AT] = e->at->index_at},
                .sym = {[INDEX_STORE_N] = RATIO(WINDOWS)}};
  koi_graph_pool(&c, INDEX_STORE_S0, e->at->index);
  koi_graph_put(e, &c);
}

/* ---- windows ---- */
static void keep(emit *e, const compressor *p, koi_ref records, uint16_t n, uint16_t when, int32_t most)
{
  const koi_cache_spec *s = &e->m->cache;
  koi_call c = {.op = &koi_op_pool_keep, .when = when, .buf = {[POOL_KEEP_KV] = p->kv, [POOL_KEEP_KEEPS] = records},
                .i = {[POOL_KEEP_MOST] = most, [POOL_KEEP_R] = (int32_t)s->ratio, [POOL_KEEP_DIM] = p->dim,
                      [POOL_KEEP_LD] = 2 * (int32_t)s->coff * p->dim, [POOL_KEEP_COFF] = (int32_t)s->coff,
                      [POOL_KEEP_SLOT_BYTES] = (int32_t)e->caches->kinds[e->at->state].page_bytes, [POOL_KEEP_AT] = p->state_at},
                .sym = {[POOL_KEEP_N] = n}};
  koi_graph_pool(&c, POOL_KEEP_S0, e->at->state);
  koi_graph_put(e, &c);
}

/* Whether windows that close become rows in one call. */
static bool closing_fits(const emit *e, const compressor *p, int32_t n)
{
  bool fits = koi_graph_joined(e);
  for (int32_t i = 0; i < n; i++) fits &= p[i].ape->wt == KOI_WT_F32 && p[i].norm->wt == p->norm->wt;
  return fits;
}

static void put_closing(emit *e, const compressor *p, int32_t n)
{
  const koi_cache_spec *s = &e->m->cache;
  const koi_cache_kind *kinds = e->caches->kinds, *comp = &kinds[e->at->comp];
  static const int first[] = {CLOSING_A, CLOSING_B};
  koi_call c = {.op = &koi_op_closing, .when = RATIO(WINDOWS),
                .c = {[CLOSING_EXACT] = e->exact, [CLOSING_DH] = (int32_t)e->c->head_dim, [CLOSING_RD] = (int32_t)e->c->rope_dim, [CLOSING_PAGE] = KOI_PAGE,
                      [CLOSING_NORM_WT] = p->norm->wt, [CLOSING_R] = (int32_t)s->ratio, [CLOSING_COFF] = (int32_t)s->coff},
                .buf = {[CLOSING_WINS] = FEED_RATIO(wins), [CLOSING_ROPE] = FEED_RATIO(win_rope), [CLOSING_ROWS] = FEED_RATIO(win_rows), [CLOSING_TABLES] = TABLES},
                .i = {[CLOSING_SLOT_BYTES] = (int32_t)kinds[e->at->state].page_bytes,
                      [CLOSING_A_AT] = p->state_at, [CLOSING_C_TABLE] = comp->table, [CLOSING_C_PAGE_BYTES] = (int32_t)comp->page_bytes, [CLOSING_C_AT] = e->at->comp_at},
                .sym = {[CLOSING_N_WIN] = RATIO(WINDOWS)}, .f = {[CLOSING_EPS] = e->c->rms_eps}};
  for (int32_t i = 0; i < n; i++) {
    koi_ref *of = c.buf + first[i];
    of[CLOSING_A] = p[i].kv, of[CLOSING_A_APE] = koi_graph_vector(p[i].ape), of[CLOSING_A_NORM] = koi_graph_vector(p[i].norm), of[CLOSING_A_Y] = p[i].pooled;
  }
  koi_graph_pool(&c, CLOSING_S0, e->at->state);
  koi_graph_pool(&c, CLOSING_C0, e->at->comp);
  if (n > 1) {
    koi_graph_pool(&c, CLOSING_I0, e->at->index);
    const koi_cache_kind *index = &kinds[e->at->index];
    const compressor *own = p + 1; /* the indexer's */
    c.c[CLOSING_IH] = own->dim, c.i[CLOSING_B_AT] = own->state_at;
    c.i[CLOSING_I_TABLE] = index->table, c.i[CLOSING_I_PAGE_BYTES] = (int32_t)index->page_bytes, c.i[CLOSING_I_AT] = e->at->index_at;
  }
  koi_graph_put(e, &c);
}

/* Pools the windows that close in this step, and normalises them. */
static void pool(emit *e, const compressor *p)
{
  const koi_cache_spec *s = &e->m->cache;
  koi_call c = {.op = &koi_op_pool, .when = RATIO(WINDOWS), .c = {[POOL_C_AT] = p->ape->wt},
                .buf = {[POOL_KV] = p->kv, [POOL_APE] = koi_graph_vector(p->ape), [POOL_WINS] = FEED_RATIO(wins), [POOL_Y] = p->pooled},
                .i = {[POOL_R] = (int32_t)s->ratio, [POOL_DIM] = p->dim, [POOL_LD] = 2 * (int32_t)s->coff * p->dim, [POOL_COFF] = (int32_t)s->coff,
                      [POOL_SLOT_BYTES] = (int32_t)e->caches->kinds[e->at->state].page_bytes, [POOL_AT] = p->state_at},
                .sym = {[POOL_N_WIN] = RATIO(WINDOWS)}};
  koi_graph_pool(&c, POOL_S0, e->at->state);
  koi_graph_put(e, &c);
  c = koi_graph_norm_rope(e, KOI_RMS_WEIGHT, p->norm, p->pooled, 0, p->dim, FEED_RATIO(win_rope), 1);
  c.when = c.sym[NORM_ROPE_N] = RATIO(WINDOWS);
  koi_graph_put(e, &c);
}

/* The n compressors: windows that close become rows, the open ones are carried over; the marks' before the sequences' own, whose states they read. */
void koi_graph_compress(emit *e, const compressor *p, int32_t n, input *xn)
{
  const koi_cache_spec *s = &e->m->cache;
  int32_t all = (int32_t)(s->coff * s->ratio);
  bool one = closing_fits(e, p, n);
  for (int32_t i = 0; i < n; i++) {
    if (!koi_graph_joined(e)) koi_graph_dense(e, p[i].kv_gate, xn, e->t, p[i].kv, 2 * (int32_t)s->coff * p[i].dim);
    if (!one) pool(e, &p[i]);
    else if (i == 0) put_closing(e, p, n);
    keep(e, &p[i], FEED_RATIO(marks), RATIO(MARKS), RATIO(MARKS), all);
    if (!koi_graph_joined(e)) keep(e, &p[i], FEED_RATIO(keep), KOI_SYM_SEQS, KOI_SYM_NONE, smaller(e->t, all));
    if (!one) (i == 0 ? store_compressed : store_index)(e);
  }
}
