/* The mixture of experts (2.5) as calls. Few tokens take their experts an entry at a time; more are grouped into panels by expert.
 * Routed experts may be computed on another device: it is given tokens, ids and weights, works while the shared expert does here, and gives
 * every expert's part, so that these are summed here as ever. */
#include "graph_impl.h"

static void swiglu(emit *e, koi_ref up, koi_ref weights, koi_ref act, int32_t n, float limit)
{
  int32_t inter = (int32_t)e->c->inter;
  CALL(swiglu, .buf = {[SWIGLU_GU] = up, [SWIGLU_W] = weights, [SWIGLU_H] = act},
       .i = {[SWIGLU_E] = n, [SWIGLU_INTER] = inter, [SWIGLU_LDG] = 2 * inter, [SWIGLU_LDH] = inter, [SWIGLU_HAS_W] = weights.space != KOI_AT_NONE},
       .f = {[SWIGLU_LIMIT] = limit});
}

static entries own_rows(const emit *e) { return (entries){e->t * (int32_t)e->c->n_used, 1, S(ids)}; }

static void up_one_by_one(emit *e)
{
  int32_t top = (int32_t)e->c->n_used, n = e->t * top, d = (int32_t)e->c->hidden, inter = (int32_t)e->c->inter;
  entries all = {n, top, S(ids)};
  if (koi_graph_glu_fits(e, W(expert_up))) koi_graph_glu(e, W(expert_up), S(xn), all, S(weights), e->c->swiglu_limit, S(act));
  else {
    koi_graph_matvec(e, W(expert_up), S(xn), d, all, S(up), 2 * inter);
    swiglu(e, S(up), S(weights), S(act), n, e->c->swiglu_limit);
  }
}

static void experts_one_by_one(emit *e)
{
  up_one_by_one(e);
  koi_graph_matvec(e, W(expert_down), S(act), (int32_t)e->c->inter, own_rows(e), S(parts), (int32_t)e->c->hidden);
}

static void experts_grouped(emit *e)
{
  const koi_config *c = e->c;
  int32_t top = (int32_t)c->n_used, n = e->t * top, d = (int32_t)c->hidden, inter = (int32_t)c->inter;
  int32_t nt = koi_step_group_panel(e->g->tunables, (uint32_t)e->t, c->n_used, c->n_experts);
  int32_t n_units = W(expert_up)->n_units, n_panels = (int32_t)koi_scratch_panels((uint64_t)n, (uint64_t)n_units, (uint64_t)nt);
  panels up = {S(up_panels), n_panels, nt, n, S(units), S(rows)}, down = {S(down_panels), n_panels, nt, n, S(units), S(rows)};
  CALL(group, .c = {[GROUP_NT] = nt}, .buf = {[GROUP_IDS] = S(ids), [GROUP_ROWS] = S(rows), [GROUP_UNIT] = S(units)},
       .i = {[GROUP_E] = n, [GROUP_N_UNITS] = n_units, [GROUP_N_PANELS] = n_panels});
  koi_graph_pack(e, &up, S(xn), d, d, top);
  koi_graph_matmul(e, W(expert_up), &up, S(up), 2 * inter);
  swiglu(e, S(up), S(weights), S(act), n, e->c->swiglu_limit);
  koi_graph_pack(e, &down, S(act), inter, inter, 1);
  koi_graph_matmul(e, W(expert_down), &down, S(parts), d);
}

static bool one_by_one(const emit *e) { return e->t < e->g->tunables->group_tokens; }
static void routed(emit *e) { (one_by_one(e) ? experts_one_by_one : experts_grouped)(e); }

static void shared(emit *e, input *xn)
{
  int32_t inter = (int32_t)e->c->inter;
  input act = {S(shared_act), S(shared_panels), inter, false};
  bool glu = e->t <= e->g->tunables->vec_tokens && koi_graph_glu_fits(e, W(shared_up)), every = koi_graph_every_form(e);
  if (glu || every) koi_graph_glu(e, W(shared_up), xn->x, (entries){e->t, 1, NOTHING}, NOTHING, e->c->shared_limit, S(shared_act));
  if (!glu || every) {
    koi_graph_dense(e, W(shared_up), xn, e->t, S(shared_up), 2 * inter);
    swiglu(e, S(shared_up), NOTHING, S(shared_act), e->t, e->c->shared_limit);
  }
  koi_graph_dense(e, W(shared_down), &act, e->t, S(sub_out), (int32_t)e->c->hidden);
}

/* ---- on another device ---- */
koi_desk koi_graph_desk(const koi_config *c, uint64_t n)
{
  uint64_t entries = n * c->n_used * sizeof(float), row = (uint64_t)c->hidden * sizeof(float);
  koi_desk d = {.entries = entries, .rows = n * row, .ids = n * row, .weights = n * row + entries, .parts = n * row + 2 * entries};
  d.all = d.parts + n * c->n_used * row;
  return d;
}

void koi_graph_host_bytes(const koi_config *c, uint32_t n_tokens, uint64_t bytes[KOI_N_HOST])
{
  bytes[KOI_HOST_IN] = bytes[KOI_HOST_OUT] = (uint64_t)n_tokens * c->n_streams * c->hidden * sizeof(float);
  bytes[KOI_HOST_EXPERTS] = koi_graph_desk(c, n_tokens).all;
}

static void send(emit *e)
{
  koi_desk d = koi_graph_desk(e->c, (uint64_t)e->t);
  koi_graph_give(e, S(xn), HOST(EXPERTS, d.xn), d.rows);
  koi_graph_give(e, S(ids), HOST(EXPERTS, d.ids), d.entries);
  koi_graph_give(e, S(weights), HOST(EXPERTS, d.weights), d.entries);
  koi_graph_put(e, &(koi_call){.kind = KOI_CALL_AWAY});
}

static void receive(emit *e)
{
  koi_desk d = koi_graph_desk(e->c, (uint64_t)e->t);
  koi_graph_put(e, &(koi_call){.kind = KOI_CALL_BACK});
  koi_graph_take(e, HOST(EXPERTS, d.parts), S(parts), d.all - d.parts);
}

void koi_graph_experts(emit *e)
{
  koi_desk d = koi_graph_desk(e->c, (uint64_t)e->t);
  koi_graph_take(e, HOST(EXPERTS, d.parts), S(parts), 0); /* from here on: turns before this one left theirs */
  koi_graph_take(e, HOST(EXPERTS, d.xn), S(xn), d.rows);
  koi_graph_take(e, HOST(EXPERTS, d.ids), S(ids), d.entries);
  koi_graph_take(e, HOST(EXPERTS, d.weights), S(weights), d.entries);
  routed(e);
  koi_graph_give(e, S(parts), HOST(EXPERTS, d.parts), d.all - d.parts);
}

/* ---- all of it ---- */
/* Whether one token's experts are chosen by the gate's work-group that comes last. */
static bool chosen_at_once(const emit *e)
{
  return e->t == 1 && e->g->tunables->arrivals && W(gate)->n_parts == 1 && (e->m->hash || W(gate_bias)->wt == KOI_WT_F32);
}

static void choose_at_once(emit *e, input *xn)
{
  const koi_part *p = &e->g->laid->parts[W(gate)->first];
  CALL(matvec_route, .c = {[MATVEC_WT] = p->wt, [MATVEC_CARE] = p->care, [MATVEC_TILE] = (int32_t)e->g->laid->tile, [MATVEC_ROUTE_SCORE] = (int32_t)e->c->score,
                           [MATVEC_ROUTE_HASH] = e->m->hash},
       .buf = {[MATVEC_W] = koi_graph_codes(W(gate), 0), [MATVEC_S] = koi_graph_scales(W(gate), 0, p->wt), [MATVEC_X] = xn->x, [MATVEC_ROUTE_LOGITS] = S(gate),
               [MATVEC_ROUTE_BIAS] = koi_graph_vector(W(gate_bias)), [MATVEC_ROUTE_TOKEN] = FEED(tokens), [MATVEC_ROUTE_TID2EID] = koi_graph_vector(W(tid2eid)),
               [MATVEC_ROUTE_IDS] = S(ids), [MATVEC_ROUTE_W_OF] = S(weights), [MATVEC_ROUTE_ARRIVALS] = ARRIVALS},
       .i = {[MATVEC_ROUTE_N_EXPERTS] = (int32_t)e->c->n_experts, [MATVEC_ROUTE_K] = W(gate)->k, [MATVEC_ROUTE_N_USED] = (int32_t)e->c->n_used},
       .f = {[MATVEC_ROUTE_SCALE] = e->c->route_scale});
}

static void choose(emit *e, input *xn)
{
  const koi_config *c = e->c;
  int32_t n_experts = (int32_t)c->n_experts;
  koi_graph_dense(e, W(gate), xn, e->t, S(gate), n_experts);
  CALL(route, .c = {[ROUTE_SCORE] = (int32_t)c->score, [ROUTE_HASH] = e->m->hash, [ROUTE_BT] = W(gate_bias)->wt},
       .buf = {[ROUTE_LOGITS] = S(gate), [ROUTE_BIAS] = koi_graph_vector(W(gate_bias)), [ROUTE_TOKENS] = FEED(tokens),
               [ROUTE_TID2EID] = koi_graph_vector(W(tid2eid)), [ROUTE_IDS] = S(ids), [ROUTE_W] = S(weights)},
       .i = {[ROUTE_T] = e->t, [ROUTE_N_EXPERTS] = n_experts, [ROUTE_N_USED] = (int32_t)c->n_used, [ROUTE_LD] = n_experts},
       .f = {[ROUTE_ROUTE_SCALE] = c->route_scale});
}

void koi_graph_moe(emit *e, input *xn, const mixing *next)
{
  bool apart = e->g->of == KOI_OF_TRUNK;
  const koi_config *c = e->c;
  (chosen_at_once(e) ? choose_at_once : choose)(e, xn);
  if (!apart && one_by_one(e) && koi_graph_post_fits(e, W(expert_down))) {
    up_one_by_one(e);
    shared(e, xn);
    koi_graph_post(e, W(expert_down), S(act), own_rows(e), S(sub_out), next);
    return;
  }
  (apart ? send : routed)(e);
  shared(e, xn);
  if (apart) receive(e);
  koi_graph_hc_post(e, S(parts), (int32_t)c->n_used);
}
