/* Wakes a plan's device: opens it, lays out scratch memory, uploads, builds kernels; runs single op calls. What the calls are is
 * graph.c's business. Invariant: `built` has one entry for each op and constants seen; entries never move while a call runs. */
#include <stdlib.h>
#include <string.h>
#include "exec.h"
#include "gemm.h"
#include "graph.h"
#include "kernels/mat.h"
#include "kernels/ops_refs.h"

/* ---- scratch: lifetimes within a layer, so that memory is shared by what never lives at once ---- */
enum { PRE, QKV, COMPRESS, ATTEND, MERGE, OUT_A, OUT_B, POST, FFN, GROUP, UP, ACT, DOWN, PARTS, HEAD };

static const struct { uint8_t first, last; } lifetime[KOI_N_SCRATCH] = {
  [KOI_S_tokens] = {PRE, HEAD}, [KOI_S_rope_main] = {PRE, HEAD}, [KOI_S_rope_comp] = {PRE, HEAD}, [KOI_S_streams] = {PRE, HEAD},
  [KOI_S_mix] = {PRE, HEAD}, [KOI_S_post] = {PRE, HEAD}, [KOI_S_comb] = {PRE, HEAD}, [KOI_S_xn] = {PRE, HEAD},
  [KOI_S_xn_panels] = {PRE, PARTS}, [KOI_S_stream_panels] = {PRE, PRE}, [KOI_S_qr] = {QKV, COMPRESS}, [KOI_S_qr_panels] = {QKV, COMPRESS},
  [KOI_S_q] = {QKV, ATTEND}, [KOI_S_kv] = {QKV, COMPRESS}, [KOI_S_ckv] = {COMPRESS, COMPRESS}, [KOI_S_cscore] = {COMPRESS, COMPRESS},
  [KOI_S_pooled] = {COMPRESS, COMPRESS}, [KOI_S_ikv] = {COMPRESS, COMPRESS}, [KOI_S_iscore] = {COMPRESS, COMPRESS},
  [KOI_S_ipooled] = {COMPRESS, COMPRESS}, [KOI_S_iq] = {COMPRESS, COMPRESS}, [KOI_S_iw] = {COMPRESS, COMPRESS},
  [KOI_S_scores] = {COMPRESS, COMPRESS}, [KOI_S_top_rows] = {COMPRESS, ATTEND}, [KOI_S_top_vals] = {COMPRESS, ATTEND},
  [KOI_S_part_o] = {ATTEND, MERGE}, [KOI_S_part_ml] = {ATTEND, MERGE}, [KOI_S_o] = {MERGE, OUT_A}, [KOI_S_o_panels] = {OUT_A, OUT_A},
  [KOI_S_og] = {OUT_A, OUT_B}, [KOI_S_og_panels] = {OUT_B, OUT_B}, [KOI_S_sub_out] = {OUT_B, PARTS}, [KOI_S_gate] = {FFN, GROUP},
  [KOI_S_ids] = {FFN, PARTS}, [KOI_S_weights] = {FFN, PARTS}, [KOI_S_rows] = {GROUP, PARTS}, [KOI_S_units] = {GROUP, PARTS},
  [KOI_S_group_ids] = {PRE, HEAD}, [KOI_S_group_rows] = {PRE, HEAD}, [KOI_S_group_units] = {PRE, HEAD},
  [KOI_S_up_panels] = {UP, UP}, [KOI_S_up] = {UP, ACT}, [KOI_S_act] = {ACT, DOWN}, [KOI_S_down_panels] = {DOWN, DOWN},
  [KOI_S_parts] = {DOWN, PARTS}, [KOI_S_shared_up] = {PARTS, PARTS}, [KOI_S_shared_act] = {PARTS, PARTS}, [KOI_S_shared_panels] = {PARTS, PARTS},
  [KOI_S_head_streams] = {HEAD, HEAD}, [KOI_S_head_mix] = {HEAD, HEAD}, [KOI_S_head_x] = {HEAD, HEAD}, [KOI_S_head_panels] = {HEAD, HEAD},
  [KOI_S_logits] = {HEAD, HEAD},
};

typedef struct cut { uint64_t chunk, nt, nt_group, head_rows, part_rows, n_units; } cut; /* what scratch sizes depend on, beside the model */

static uint64_t max64(uint64_t a, uint64_t b) { return a > b ? a : b; }
static uint64_t min64(uint64_t a, uint64_t b) { return a < b ? a : b; }

uint32_t koi_graph_max_splits(uint32_t n_units, uint32_t n_tokens)
{
  uint64_t wanted = min64(max64(4 * (uint64_t)n_units, 8), 64);
  return (uint32_t)max64(min64(wanted / n_tokens, 32), 1);
}

static cut cut_for(uint32_t chunk, uint32_t nt, uint32_t nt_group, uint32_t n_units)
{
  cut k = {.chunk = chunk, .nt = nt, .nt_group = nt_group, .head_rows = min64(chunk, 32), .n_units = n_units};
  for (uint32_t t = 1; t <= chunk; t++) k.part_rows = max64(k.part_rows, (uint64_t)t * koi_graph_max_splits(n_units, t));
  return k;
}

/* Elements (4 bytes each) of every scratch buffer. */
static void scratch_sizes(const koine_model *m, const cut *k, uint64_t n[KOI_N_SCRATCH])
{
  const koi_config *c = &m->config;
  uint64_t t = k->chunk, dense = koi_ceil_div(t, k->nt) * k->nt, e = t * c->n_used, streams = (uint64_t)c->n_streams * c->hidden;
  uint64_t panels = koi_graph_panels(e, c->n_experts, k->nt_group), columns = panels * k->nt_group;
  uint64_t group_columns = koi_ceil_div(t, k->nt) * c->o_groups * k->nt, heads = (uint64_t)c->n_heads * c->head_dim;
  uint64_t mix = (2 + c->n_streams) * (uint64_t)c->n_streams, hr = k->head_rows, head_cols = koi_ceil_div(hr, k->nt) * k->nt;
  uint64_t comp = 0, index = 0, index_comp = 0, min_ratio = 0;
  for (uint32_t l = 0; l < c->n_layers; l++) {
    uint32_t r = m->layers[l].ratio;
    const koi_cache_spec *s = &m->layers[l].cache;
    comp = max64(comp, s->state_width), index = max64(index, s->index_row_width), index_comp = max64(index_comp, s->index_state_width);
    if (r) min_ratio = min_ratio ? min64(min_ratio, r) : r;
  }
  uint64_t windows = min_ratio ? t / min_ratio + 1 : 0;
  const uint64_t size[KOI_N_SCRATCH] = {
    [KOI_S_tokens] = t, [KOI_S_rope_main] = t * c->rope_dim, [KOI_S_rope_comp] = t * c->rope_dim, [KOI_S_streams] = t * streams,
    [KOI_S_mix] = t * mix, [KOI_S_post] = t * c->n_streams, [KOI_S_comb] = t * c->n_streams * c->n_streams, [KOI_S_xn] = t * c->hidden,
    [KOI_S_xn_panels] = dense * c->hidden, [KOI_S_stream_panels] = dense * streams, [KOI_S_qr] = t * c->q_rank, [KOI_S_qr_panels] = dense * c->q_rank,
    [KOI_S_q] = t * heads, [KOI_S_kv] = t * c->head_dim, [KOI_S_ckv] = t * comp, [KOI_S_cscore] = t * comp, [KOI_S_pooled] = windows * c->head_dim,
    [KOI_S_ikv] = t * index_comp, [KOI_S_iscore] = t * index_comp, [KOI_S_ipooled] = index ? windows * index : 0,
    [KOI_S_iq] = index ? t * c->index_heads * index : 0, [KOI_S_iw] = index ? t * c->index_heads : 0,
    [KOI_S_scores] = index ? koi_graph_score_floats(t, c->max_context) : 0, [KOI_S_top_rows] = index ? t * c->index_topk : 0,
    [KOI_S_top_vals] = index ? t * c->index_topk : 0, [KOI_S_part_o] = k->part_rows * heads, [KOI_S_part_ml] = k->part_rows * c->n_heads * 2,
    [KOI_S_o] = t * heads, [KOI_S_o_panels] = group_columns * (heads / c->o_groups), [KOI_S_og] = t * c->o_groups * c->o_rank,
    [KOI_S_og_panels] = dense * c->o_groups * c->o_rank, [KOI_S_sub_out] = t * c->hidden, [KOI_S_gate] = t * c->n_experts, [KOI_S_ids] = e,
    [KOI_S_weights] = e, [KOI_S_rows] = columns, [KOI_S_units] = panels, [KOI_S_group_ids] = t * c->o_groups, [KOI_S_group_rows] = group_columns,
    [KOI_S_group_units] = group_columns / k->nt, [KOI_S_up_panels] = columns * c->hidden, [KOI_S_up] = e * 2 * c->inter, [KOI_S_act] = e * c->inter,
    [KOI_S_down_panels] = columns * c->inter, [KOI_S_parts] = e * c->hidden, [KOI_S_shared_up] = t * 2 * c->inter,
    [KOI_S_shared_act] = t * c->inter, [KOI_S_shared_panels] = dense * c->inter, [KOI_S_head_streams] = hr * streams, [KOI_S_head_mix] = hr * mix,
    [KOI_S_head_x] = hr * c->hidden, [KOI_S_head_panels] = head_cols * max64(streams, c->hidden), [KOI_S_logits] = hr * c->n_vocab,
  };
  memcpy(n, size, sizeof size);
}

typedef struct place { size_t offset, bytes; } place;

/* First offset at which buffer i meets none of those placed before it while both live. */
static size_t first_free(const place *p, const int *order, int n_placed, int i, size_t bytes)
{
  size_t at = 0;
  for (bool moved = true; moved;) {
    moved = false;
    for (int j = 0; j < n_placed; j++) {
      int o = order[j];
      bool together = lifetime[i].first <= lifetime[o].last && lifetime[o].first <= lifetime[i].last;
      if (together && at < p[o].offset + p[o].bytes && p[o].offset < at + bytes) at = p[o].offset + p[o].bytes, moved = true;
    }
  }
  return at;
}

/* Places all scratch buffers in one arena, largest first; returns the arena's bytes. */
static size_t place_scratch(const koine_model *m, const cut *k, size_t align, place p[KOI_N_SCRATCH])
{
  uint64_t n[KOI_N_SCRATCH];
  scratch_sizes(m, k, n);
  int order[KOI_N_SCRATCH];
  size_t total = 0;
  for (int i = 0; i < KOI_N_SCRATCH; i++) {
    p[i].bytes = koi_ceil_div(max64(n[i], 1) * 4, align) * align;
    int j = i;
    for (; j > 0 && p[order[j - 1]].bytes < p[i].bytes; j--) order[j] = order[j - 1];
    order[j] = i;
  }
  for (int j = 0; j < KOI_N_SCRATCH; j++) {
    int i = order[j];
    p[i].offset = first_free(p, order, j, i, p[i].bytes);
    total = max64(total, p[i].offset + p[i].bytes);
  }
  return total;
}

uint64_t koi_exec_scratch_bytes(const koine_model *m, uint32_t chunk)
{
  place p[KOI_N_SCRATCH];
  cut k = cut_for(chunk, 16, 16, 8);
  return place_scratch(m, &k, 256, p);
}

static koine_status make_scratch(koi_exec *x)
{
  place p[KOI_N_SCRATCH];
  cut k = cut_for(x->chunk, (uint32_t)x->nt, (uint32_t)x->nt_group, x->target.n_units);
  size_t align = max64(x->dev->endpoint->base_align_bytes, 128);
  size_t bytes = place_scratch(x->model, &k, align, p);
  x->head_rows = (uint32_t)k.head_rows;
  koine_status s = x->dev->backend->alloc(x->dev, bytes, &x->arena);
  for (int i = 0; i < KOI_N_SCRATCH && !s; i++) s = x->dev->backend->view(x->dev, x->arena, p[i].offset, p[i].bytes, &x->s[i]);
  x->scratch_bytes = bytes;
  return s;
}

/* ---- rope and constant tables ---- */
/* The output projection's groups as the units of its entries: entry t*o_groups + g belongs to group g. */
static koine_status write_group_ids(koi_exec *x)
{
  size_t n = (size_t)x->chunk * x->model->config.o_groups;
  int32_t *ids = koi_alloc(n, sizeof(int32_t));
  if (!ids) return KOINE_ERR_MEMORY;
  for (size_t i = 0; i < n; i++) ids[i] = (int32_t)(i % x->model->config.o_groups);
  koine_status s = x->dev->backend->write(x->dev, x->s[KOI_S_group_ids], 0, n * sizeof(int32_t), ids);
  koi_free(ids);
  return s;
}

static koine_status make_tables(koi_exec *x)
{
  const koi_config *c = &x->model->config;
  x->freq_main = koi_alloc(c->rope_dim / 2 + 1, sizeof(float));
  x->freq_comp = koi_alloc(c->rope_dim / 2 + 1, sizeof(float));
  x->ratios = koi_alloc(c->n_layers, sizeof(uint32_t));
  x->rope_win = koi_alloc(c->n_layers, sizeof(koi_buf *));
  if (!x->freq_main || !x->freq_comp || !x->ratios || !x->rope_win) return KOINE_ERR_MEMORY;
  koi_rope_freqs(c, false, x->freq_main);
  koi_rope_freqs(c, true, x->freq_comp);
  for (uint32_t l = 0; l < c->n_layers; l++) {
    uint32_t r = x->model->layers[l].ratio;
    size_t i = 0;
    while (i < x->n_ratios && x->ratios[i] != r) i++;
    if (!r || i < x->n_ratios) continue;
    uint64_t bytes = (uint64_t)(x->chunk / r + 1) * c->rope_dim * sizeof(float);
    koine_status s = x->dev->backend->alloc(x->dev, max64(bytes, 4), &x->rope_win[x->n_ratios]);
    if (s) return s;
    x->scratch_bytes += bytes;
    x->ratios[x->n_ratios++] = r;
  }
  return write_group_ids(x);
}

koine_status koi_exec_clear(koi_exec *x)
{
  koine_status s = x->dev->backend->fill(x->dev, x->arena, 0);
  return s ? s : write_group_ids(x);
}

/* ---- op calls ---- */
static struct koi_built *find_built(koi_exec *x, const koi_op *op, const int32_t *c, size_t n_consts)
{
  for (size_t i = 0; i < x->n_built; i++)
    if (x->built[i].op == op && !memcmp(x->built[i].c, c, n_consts * sizeof *c)) return &x->built[i];
  return NULL;
}

static koine_status build(koi_exec *x, const koi_op *op, const int32_t *c, size_t n_consts, struct koi_built **out)
{
  if (x->n_built == x->cap_built) {
    size_t cap = x->cap_built ? 2 * x->cap_built : 64;
    void *p = koi_realloc(x->built, cap, sizeof *x->built);
    if (!p) return KOINE_ERR_MEMORY;
    x->built = p, x->cap_built = cap;
  }
  struct koi_built *b = &x->built[x->n_built];
  memset(b, 0, sizeof *b);
  b->op = op;
  memcpy(b->c, c, n_consts * sizeof *c);
  koine_status s = koi_backend_build(x->dev, op, b->c, &b->kernel);
  if (s == KOINE_ERR_DEVICE) {
    koi_log(KOINE_LOG_WARNING, "%s runs on the host: %s", op->name, koi_error_text());
    b->kernel = NULL, s = KOINE_OK;
  }
  if (s) return s;
  x->n_built++;
  *out = b;
  return KOINE_OK;
}

static void note_time(koi_exec *x, const koi_op *op, uint64_t ns, const koi_args *a, const int32_t *c)
{
  for (size_t i = 0; i < KOI_COUNT(x->times); i++) {
    koi_op_time *t = &x->times[i];
    if (t->op && t->op != op) continue;
    t->op = op, t->ns += ns, t->calls++;
    t->flops += op->flops ? op->flops(a, c) : 0;
    t->bytes += op->bytes ? op->bytes(a, c) : 0;
    return;
  }
}

/* Only after a NaN was seen in the logits: finds the op that wrote the first one. */
static koine_status look_for_nan(koi_exec *x, const koi_op *op, const koi_args *a)
{
  for (size_t b = 0; b < koi_op_n_bufs(op); b++) {
    if (!(op->bufs[b].access & KOI_OUT) || !a->buf[b] || !koi_graph_is_activation(x, a->buf[b])) continue;
    float *v = koi_alloc(a->buf[b]->bytes, 1);
    if (!v) return KOINE_ERR_MEMORY;
    koine_status s = x->dev->backend->read(x->dev, a->buf[b], 0, a->buf[b]->bytes, v);
    for (size_t i = 0; i < a->buf[b]->bytes / 4 && !s; i++)
      if (v[i] != v[i]) s = koi_error(KOINE_ERR_NUMERIC, "op %s wrote NaN to %s[%zu] (device %s)", op->name, op->bufs[b].name, i, x->dev->endpoint->name);
    koi_free(v);
    if (s) return s;
  }
  return KOINE_OK;
}

static double gemm_flops(const koi_args *a, const int32_t *c)
{
  (void)c;
  return 2.0 * a->i[0] * a->i[1] * a->i[2];
}

static double gemm_bytes(const koi_args *a, const int32_t *c)
{
  (void)c;
  return 4.0 * ((double)a->i[0] * a->i[2] + (double)a->i[1] * a->i[2] + (double)a->i[0] * a->i[1]);
}

/* The device's own product among the ops: for times and checks, never built. */
static const koi_op gemm_op = {.name = "gemm", .bufs = {{"X", "[n][ldx]", KOI_IN}, {"W", "[rows][k]", KOI_IN}, {"Y", "[n][ldy]", KOI_OUT}},
                               .ints = {"n", "rows", "k", "ldx", "y_offset", "ldy"}, .flops = gemm_flops, .bytes = gemm_bytes};

static koine_status start_call(koi_exec *x, const koi_op *op, koi_kernel *kernel, const int32_t *c, const koi_args *a)
{
  const koi_backend *b = x->dev->backend;
  const koi_gemm g = {(size_t)a->i[0], (size_t)a->i[1], (size_t)a->i[2], (size_t)a->i[3], (size_t)a->i[4], (size_t)a->i[5]};
  if (op == &gemm_op) return b->gemm(x->dev, &g, a->buf[0], a->buf[1], a->buf[2]);
  return kernel ? b->launch(x->dev, kernel, a) : koi_backend_fallback(x->dev, op, c, a);
}

static koine_status run(koi_exec *x, const koi_op *op, koi_kernel *kernel, const int32_t *c, const koi_args *a)
{
  koine_status s;
  uint64_t start = 0;
  if (x->profile) {
    if ((s = x->dev->backend->finish(x->dev))) return s;
    start = koi_now_ns();
  }
  if ((s = start_call(x, op, kernel, c, a))) return koi_error_prefix(s, "op %s", op->name);
  if (x->profile) {
    if ((s = x->dev->backend->finish(x->dev))) return s;
    note_time(x, op, koi_now_ns() - start, a, c);
  }
  return x->check ? look_for_nan(x, op, a) : KOINE_OK;
}

koine_status koi_exec_call(koi_exec *x, const koi_op *op, const int32_t *c, const koi_args *a)
{
  size_t n_consts = koi_op_n_consts(op);
  struct koi_built *b = find_built(x, op, c, n_consts);
  koine_status s = b ? KOINE_OK : build(x, op, c, n_consts, &b);
  return s || x->dry ? s : run(x, op, b->kernel, b->c, a);
}

koine_status koi_exec_gemm(koi_exec *x, const koi_args *a)
{
  static const int32_t none[KOI_MAX_CONSTS];
  return x->dry ? KOINE_OK : run(x, &gemm_op, NULL, none, a);
}

/* ---- wake and sleep ---- */
static koine_status lay_and_upload(koi_exec *x, koine_progress_fn *progress, void *user)
{
  koine_status s = koi_lay(x->model, x->dev->endpoint->max_buffer_bytes, 0, x->model->config.n_layers, &x->laid);
  if (!s && !(x->put = koi_alloc(x->laid->n_parts, sizeof *x->put))) s = KOINE_ERR_MEMORY;
  return s ? s : koi_upload(x->dev, x->laid, x->put, progress, user);
}

koine_status koi_exec_wake(const koine_model *m, const koi_endpoint *e, uint32_t chunk, koine_progress_fn *progress, void *user, koi_exec **out)
{
  koi_exec *x = koi_alloc(1, sizeof *x);
  if (!x) return KOINE_ERR_MEMORY;
  if (pthread_mutex_init(&x->lock, NULL)) {
    koi_free(x);
    return koi_error(KOINE_ERR_MEMORY, "cannot make a mutex");
  }
  x->model = m, x->chunk = chunk;
  koine_status s = e->backend->open(e, &x->dev);
  if (!s) {
    koi_backend_target(x->dev, &x->target);
    x->nt = koi_mat_nt(&x->target, KOI_WT_FP8, 0), x->nt_group = koi_mat_nt(&x->target, KOI_WT_FP4, 1);
    s = make_scratch(x);
  }
  if (!s) s = make_tables(x);
  if (!s) s = koi_gemm_wake(x);
  if (!s) s = lay_and_upload(x, progress, user);
  if (!s) s = koi_graph_build(x, progress, user);
  if (s) {
    koi_exec_sleep(x);
    return s;
  }
  *out = x;
  return KOINE_OK;
}

void koi_exec_sleep(koi_exec *x)
{
  if (!x) return;
  if (x->dev) {
    const koi_backend *b = x->dev->backend;
    b->finish(x->dev); /* queued work may still use what is freed below */
    for (size_t i = 0; i < x->n_built; i++)
      if (x->built[i].kernel) b->drop(x->dev, x->built[i].kernel);
    if (x->laid) koi_upload_free(x->dev, x->put, x->laid->n_parts);
    for (int i = 0; i < KOI_N_SCRATCH; i++)
      if (x->s[i]) b->free(x->dev, x->s[i]);
    for (size_t i = 0; i < x->n_ratios; i++) b->free(x->dev, x->rope_win[i]);
    if (x->wide) b->free(x->dev, x->wide);
    if (x->arena) b->free(x->dev, x->arena);
    b->close(x->dev);
  }
  koi_lay_free(x->laid);
  koi_free(x->put);
  koi_free(x->built);
  koi_free(x->freq_main);
  koi_free(x->freq_comp);
  koi_free(x->ratios);
  koi_free(x->rope_win);
  pthread_mutex_destroy(&x->lock);
  koi_free(x);
}
